//! The mempool: which transactions wait for a block, and what their bytes do.
//!
//! No block commits to any of it, so nothing here is proven but that a transaction's bytes have its id. What inputs are worth, and
//! whose they are, only those know who know the outputs that they spend.

use assay_types::{Account, Amount, Asset, NodeError, Outpoint, Payment, Pending, TxId};
use serde::de::IgnoredAny;
use serde_json::value::{RawValue, to_raw_value};

use crate::block::reversed;
use crate::cursor::{Cursor, ReadError, Take, TxIn, TxOut};
use crate::node::Node;
use crate::sha256d::double_sha256;

/// So many are asked for in one request: some 100 kB, as transactions are.
const AT_ONCE: usize = 100;

/// The ids of what waits; Bitcoin Core gives those that others spend from first.
pub(crate) fn list(node: &Node) -> Result<Vec<TxId>, NodeError> {
    const SUBJECT: &str = "the mempool";
    let ids: Vec<String> = node.call_for_list(SUBJECT, "getrawmempool")?;
    let read = |id: &String| {
        let mut txid = TxId([0; 32]);
        let is_id = const_hex::check_raw(id) && const_hex::decode_to_slice(id, &mut txid.0).is_ok();
        is_id.then_some(txid).ok_or_else(|| node.unreadable(SUBJECT, "it lists what is no id of a transaction".into()))
    };
    ids.iter().map(read).collect()
}

/// What these transactions do, in their order, but for those that left meanwhile.
pub(crate) fn transactions(node: &Node, txids: &[TxId]) -> Result<Vec<(TxId, Pending)>, NodeError> {
    let mut found = Vec::with_capacity(txids.len());
    txids.chunks(AT_ONCE).try_for_each(|txids| some(node, txids, &mut found))?;
    Ok(found)
}

/// In one request, or where its answer cannot be read, as when it is too long, in two for half of them each.
fn some(node: &Node, txids: &[TxId], found: &mut Vec<(TxId, Pending)>) -> Result<(), NodeError> {
    const SUBJECT: &str = "transactions of the mempool";
    let params = |txid: &TxId| to_raw_value(&(txid.to_string(), false));
    let params = txids.iter().map(params).collect::<Result<Vec<Box<RawValue>>, _>>();
    let params = params.map_err(|error| node.unreadable(SUBJECT, error.to_string()))?;
    match node.call_each::<String>(SUBJECT, "getrawtransaction", &params) {
        Err(NodeError::Unreadable { .. }) if txids.len() > 1 => {
            let (first, second) = txids.split_at(txids.len() / 2);
            some(node, first, found)?;
            some(node, second, found)
        }
        answers => {
            for (txid, hex) in txids.iter().zip(answers?) {
                if let Some(hex) = hex {
                    found.push((*txid, checked(node, *txid, &hex)?));
                }
            }
            Ok(())
        }
    }
}

/// A transaction that is in the mempool.
pub(crate) fn pending(node: &Node, txid: TxId) -> Result<Option<Pending>, NodeError> {
    let subject = format!("transaction {txid}");
    let id = txid.to_string();
    let Some(hex) = node.call_if_known::<String>(&subject, "getrawtransaction", &[id.as_str().into(), false.into()])?
    else {
        return Ok(None);
    };
    // A node with a transaction index gives those that are in a block as well.
    if node.call_if_known::<IgnoredAny>(&subject, "getmempoolentry", &[id.into()])?.is_none() {
        return Ok(None);
    }
    checked(node, txid, &hex).map(Some)
}

/// Bytes that have the id that was asked for.
fn checked(node: &Node, txid: TxId, hex: &str) -> Result<Pending, NodeError> {
    let subject = || format!("transaction {txid}");
    let unreadable = |why: String| node.unreadable(&subject(), why);
    let bytes = const_hex::decode(hex).map_err(|error| unreadable(format!("not hexadecimal: {error}")))?;
    let (found, pending) = read(&bytes).map_err(unreadable)?;
    if found != txid {
        return Err(node.contradiction(&subject(), "the id that was asked for", format!("it has id {found}")));
    }
    Ok(pending)
}

/// Its id, and what it does.
fn read(bytes: &[u8]) -> Result<(TxId, Pending), String> {
    let (mut cursor, mut pending) = (Cursor::at(bytes, 0), Told(Pending { payments: vec![], spends: vec![] }));
    let parts = cursor.transaction(&mut pending).map_err(|error| error.to_string())?;
    if cursor.place() < bytes.len() {
        return Err(format!("{} bytes follow it", bytes.len() - cursor.place()));
    }
    Ok((TxId(reversed(double_sha256(&parts.without_witness(bytes)))), pending.0))
}

struct Told(Pending);

impl Take for Told {
    fn input(&mut self, _: usize, _: usize, input: &TxIn) -> Result<(), ReadError> {
        self.0.spends.push(Outpoint { txid: TxId(reversed(*input.txid)), vout: input.vout });
        Ok(())
    }

    fn output(&mut self, nth: usize, output: &TxOut) -> Result<(), ReadError> {
        let (to, asset, amount) = (Account::new(output.script), Asset::Native, Amount::from(output.amount));
        self.0.payments.push(Payment { index: u32::try_from(nth).ok(), to, asset, amount });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::{Account, Amount, Payment};
    use bitcoin::consensus::{deserialize, serialize};
    use bitcoin::hashes::Hash as _;
    use bitcoin_test_data::blocks::mainnet_702861;

    fn transactions() -> Vec<bitcoin::Transaction> {
        deserialize::<bitcoin::Block>(mainnet_702861()).unwrap().txdata
    }

    #[test]
    fn real_transactions_are_read_as_the_library_reads_them() {
        for transaction in transactions() {
            let (txid, pending) = read(&serialize(&transaction)).unwrap();
            assert_eq!(txid.to_string(), transaction.compute_txid().to_string());
            let spends = transaction.input.iter().map(|input| {
                let bitcoin::OutPoint { txid, vout } = input.previous_output;
                Outpoint { txid: TxId(reversed(txid.to_byte_array())), vout }
            });
            assert_eq!(pending.spends, spends.collect::<Vec<_>>());
            let payments = (0..).zip(&transaction.output).map(|(vout, output)| Payment {
                index: Some(vout),
                to: Account::new(output.script_pubkey.as_bytes()),
                asset: assay_types::Asset::Native,
                amount: Amount::from(output.value.to_sat()),
            });
            assert_eq!(pending.payments, payments.collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_transaction_is_said_to_be_none() {
        let is_segwit = |transaction: &bitcoin::Transaction| !transaction.input[0].witness.is_empty();
        let all = transactions();
        for transaction in [all.iter().find(|it| is_segwit(it)), all.iter().find(|it| !is_segwit(it))] {
            let bytes = serialize(transaction.unwrap());
            let id = read(&bytes).unwrap().0;
            for end in 0..bytes.len() {
                assert!(read(&bytes[..end]).is_err(), "{end} bytes of it");
            }
            assert_eq!(read(&[&bytes[..], &[0, 0]].concat()), Err("2 bytes follow it".into()));
            // Whatever byte is changed, it is not taken for the same, unless that is in a witness, which moves nothing.
            let honest = read(&bytes).unwrap();
            for place in 0..bytes.len() {
                for mask in [0x01, 0x80, 0xff] {
                    let mut altered = bytes.clone();
                    altered[place] ^= mask;
                    if let Ok(other) = read(&altered) {
                        assert!(other.0 != id || other == honest, "byte {place}");
                    }
                }
            }
        }
        // Announced sizes are not believed.
        for huge in
            ["02000000ff", "0200000001", "02000000feffffffff", "02000000ffffffffffffffffff", "02000000000100fdffff"]
        {
            assert!(read(&const_hex::decode(huge).unwrap()).is_err(), "{huge}");
        }
    }
}
