//! A block's bytes become what they do to the watched scripts, once they are proven to be that block's.
//!
//! The hash that was asked for commits to the header, its work makes a forged header expensive, and its merkle root
//! commits to every transaction without its witness. Nothing leaves [`extract`] before all of that was checked.
//!
//! Transactions of 64 bytes, which an inner node of the tree can be mistaken for, are allowed: the network's rules allow
//! them. A list of transactions forged that way would have to begin with a coinbase made of hashes, 27 bytes of which are
//! zero, and it is checked that it begins with a coinbase.

use std::ops::Range;

use assay_types::{
    Amount, Asset, Block, BlockHash, BlockRef, Body, Direction, Effect, Fault, Fingerprint, Header, Input, Kind, Leg,
    Outpoint, Spend, TakePayment, Timestamp, TxId, Watch,
};

use crate::address::is_unspendable;
use crate::buffer::Buffer;
use crate::cursor::{Cursor, Parts, ReadError, Take, TxIn, TxOut};
use crate::merkle;
use crate::network::{Network, written};
use crate::pow::{self, HEADER_BYTES, RawHeader};
use crate::sha256d::{self, RawHash, double_sha256};

/// The most that a block can have: its weight is at most 4,000,000 and a byte weighs at least 1.
pub(crate) const MAX_BLOCK_BYTES: usize = 4_000_000;
/// An input has at least 41 bytes; on average a block's take far more.
const BYTES_PER_INPUT: usize = 150;

/// What is wrong with a block's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BlockFault {
    /// They end too early, or are not a block's.
    Unreadable(Fault, String),
    /// They contradict something that they must agree with.
    Contradicts {
        /// What.
        against: &'static str,
        /// How.
        why: String,
    },
}

/// Checks the bytes and says what they do.
pub(crate) fn extract(
    network: &Network,
    bytes: impl Into<Buffer>,
    at: BlockRef,
    watch: &Watch,
) -> Result<Block, BlockFault> {
    let mut bytes = bytes.into();
    let header = check_own_header(network, &bytes, at)?;
    let mut extractor = Extractor::new(watch, at, network, &bytes);
    let rest = match extractor.walk() {
        Ok(end) => bytes.len() - end,
        Err(error) => return Err(extractor.fault.unwrap_or_else(|| unreadable(error, bytes.len()))),
    };
    if rest > 0 {
        return Err(contradicts("its transaction count", format!("{rest} bytes follow the last transaction")));
    }
    let effects = extractor.effects();
    let Extractor { transactions, spends, overwritten, .. } = extractor;
    transactions.iter().for_each(|transaction| transaction.drop_marker(&mut bytes));
    let preimages: Vec<sha256d::Message> =
        transactions.iter().map(|transaction| transaction.preimage(&bytes)).collect();
    let txids = sha256d::of_each(&preimages);
    check_merkle_root(&header, &txids)?;
    let txids = txids.into_iter().map(|txid| TxId(reversed(txid))).collect();
    let body = Box::new(RawBody { bytes, transactions });
    Ok(Block {
        header: header.into_header(at),
        txids,
        effects,
        spends,
        overwritten,
        readings: vec![],
        blank: vec![],
        remarks: vec![],
        sealed: None,
        checked: true,
        opening: false,
        body,
    })
}

/// A hash from the order of SHA-256 to the order of writing, or back.
pub(crate) fn reversed(mut hash: RawHash) -> RawHash {
    hash.reverse();
    hash
}

struct OwnHeader([u8; HEADER_BYTES]);

impl OwnHeader {
    fn into_header(self, at: BlockRef) -> Header {
        let raw = RawHeader(&self.0);
        let parent = BlockHash(reversed(raw.parent()));
        let time = Timestamp::from_unix_s(i64::from(raw.time()));
        Header { height: at.height, hash: at.hash, parent, time, seal: self.0.to_vec() }
    }
}

fn check_own_header(network: &Network, bytes: &[u8], at: BlockRef) -> Result<OwnHeader, BlockFault> {
    if bytes.len() > MAX_BLOCK_BYTES {
        return Err(BlockFault::Unreadable(
            Fault::Oversized,
            format!("{} bytes are more than any block has", bytes.len()),
        ));
    }
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or_else(|| {
        BlockFault::Unreadable(Fault::Truncated, format!("it ends after {} bytes, within the header", bytes.len()))
    })?;
    let hash = double_sha256(header);
    if reversed(hash) != at.hash.0 {
        let why = format!("the header that came has hash {}", BlockHash(reversed(hash)));
        return Err(contradicts("the hash that was asked for", why));
    }
    pow::check_work(network, hash, RawHeader(header).bits()).map_err(|why| contradicts("its proof of work", why))?;
    Ok(OwnHeader(*header))
}

fn check_merkle_root(header: &OwnHeader, txids: &[RawHash]) -> Result<(), BlockFault> {
    const ROOT: &str = "its header's merkle root";
    let stated = RawHeader(&header.0).merkle_root();
    match merkle::root(txids) {
        None if txids.is_empty() => Err(contradicts(ROOT, "there is no transaction".into())),
        None => Err(contradicts(ROOT, "transactions are repeated so that the root stays the same".into())),
        Some(root) if root != stated => {
            let [root, stated] = [root, stated].map(|hash| TxId(reversed(hash)));
            Err(contradicts(ROOT, format!("the merkle root of its transactions is {root}, the header's is {stated}")))
        }
        Some(_) => Ok(()),
    }
}

fn contradicts(against: &'static str, why: String) -> BlockFault {
    BlockFault::Contradicts { against, why }
}

fn unreadable(error: ReadError, length: usize) -> BlockFault {
    let why = match error {
        ReadError::TooShort => {
            return BlockFault::Unreadable(
                Fault::Truncated,
                format!("it ends after {length} bytes, within a transaction"),
            );
        }
        other => format!("in a transaction, {other}"),
    };
    BlockFault::Unreadable(Fault::Garbled, why)
}

/// An output that can be spent.
struct Output {
    amount: u64,
    /// Where its script stands in the block.
    script: Range<u32>,
    tx: u32,
    index: u32,
    place: u32,
}

/// Collects while the parser walks over the block.
struct Extractor<'w> {
    watch: &'w Watch,
    at: BlockRef,
    main: bool,
    bytes: &'w [u8],
    transactions: Vec<Place>,
    outputs: Vec<Output>,
    /// Of the outputs' scripts.
    hashes: Vec<u64>,
    fingerprint: Fingerprint,
    spends: Vec<Spend>,
    overwritten: Option<Outpoint>,
    has_coinbase: bool,
    /// The transaction that is being walked over.
    tx: u32,
    /// Of the next input or output, and of the transaction's first input.
    place: u32,
    first_place: u32,
    fault: Option<BlockFault>,
}

impl<'w> Extractor<'w> {
    fn new(watch: &'w Watch, at: BlockRef, network: &Network, bytes: &'w [u8]) -> Extractor<'w> {
        let expected = bytes.len() / BYTES_PER_INPUT;
        Extractor {
            watch,
            at,
            main: network.kind == bitcoin::Network::Bitcoin,
            bytes,
            transactions: vec![],
            outputs: Vec::with_capacity(expected),
            hashes: Vec::with_capacity(expected),
            fingerprint: Fingerprint::get(),
            spends: Vec::with_capacity(expected),
            overwritten: None,
            has_coinbase: false,
            tx: 0,
            place: 0,
            first_place: 0,
            fault: None,
        }
    }

    /// The outputs that pay watched scripts.
    fn effects(&self) -> Vec<Effect> {
        let mut effects = vec![];
        let script = |output: usize| {
            let Range { start, end } = self.outputs[output].script;
            &self.bytes[start as usize..end as usize]
        };
        self.watch.find_each(&self.hashes, script, |output, account| {
            let Output { amount, tx, index, place, .. } = self.outputs[output];
            let (asset, direction, amount) = (Asset::Native, Direction::Credit, Amount::from(amount));
            let kind = if tx == 0 { Kind::Coinbase } else { Kind::Transfer };
            effects.push(Effect::Output(Leg { account, asset, direction, amount, kind, tx: Some(tx), index, place }));
        });
        effects
    }

    fn next_place(&mut self) -> u32 {
        self.place += 1;
        self.place - 1
    }

    /// Goes over all transactions; says where the last one ends.
    fn walk(&mut self) -> Result<usize, ReadError> {
        let mut cursor = Cursor::at(self.bytes, HEADER_BYTES);
        let count = cursor.count()?;
        self.transactions.reserve(count.min(MAX_BLOCK_BYTES / 60));
        for tx in 0..count {
            (self.tx, self.first_place) = (narrow(tx), self.place);
            let parts = cursor.transaction(self)?;
            if !self.has_coinbase {
                return Err(self.stop("its first transaction is not a coinbase"));
            }
            self.transactions.push(Place::of(&parts, self.first_place));
        }
        Ok(cursor.place())
    }

    fn stop(&mut self, why: &str) -> ReadError {
        self.fault = Some(contradicts("the rules of blocks", why.into()));
        ReadError::Stopped
    }

    /// Only the first transaction is a coinbase: one input that spends nothing.
    fn coinbase(&mut self) -> Result<(), ReadError> {
        if self.tx > 0 {
            return Err(self.stop("a transaction after the first is a coinbase"));
        }
        (self.has_coinbase, self.overwritten) = (true, overwritten(self.main, self.at));
        Ok(())
    }
}

impl Take for Extractor<'_> {
    #[inline(always)]
    fn input(&mut self, _: usize, of: usize, input: &TxIn) -> Result<(), ReadError> {
        let place = self.next_place();
        let is_null = input.vout == u32::MAX && *input.txid == [0; 32];
        if is_null && of == 1 {
            return self.coinbase();
        }
        if is_null || self.tx == 0 {
            return Err(self.stop("its first transaction is not a coinbase, or another one spends what does not exist"));
        }
        let fingerprint = self.fingerprint.of_raw(input.txid, input.vout);
        self.spends.push(Spend { fingerprint, tx: self.tx, place });
        Ok(())
    }

    #[inline(always)]
    fn output(&mut self, nth: usize, output: &TxOut) -> Result<(), ReadError> {
        let place = self.next_place();
        // Block 0's coins were never entered into the set of coins. An output of nothing moves nothing.
        if self.at.height.0 == 0 || output.amount == 0 || is_unspendable(output.script) {
            return Ok(());
        }
        let start = narrow(output.place);
        self.hashes.push(self.watch.hash(output.script));
        let script = start..start + narrow(output.script.len());
        self.outputs.push(Output { script, amount: output.amount, tx: self.tx, index: narrow(nth), place });
        Ok(())
    }
}

/// Where a transaction stands in its block.
struct Place {
    start: u32,
    /// Its first input's place among the block's inputs and outputs, and where it starts.
    first_place: u32,
    inputs: u32,
    /// Where its first output starts, and its last one ends.
    outputs: u32,
    outputs_end: u32,
    end: u32,
    has_witness: bool,
}

impl Place {
    fn of(parts: &Parts, first_place: u32) -> Place {
        let Parts { whole, inputs, outputs, has_witness } = parts;
        let [start, inputs, outputs, outputs_end, end] =
            [whole.start, *inputs, outputs.start, outputs.end, whole.end].map(narrow);
        Place { start, first_place, inputs, outputs, outputs_end, end, has_witness: *has_witness }
    }

    const VERSION: usize = 4;
    const MARKER_AND_FLAG: usize = 2;
    const LOCK_TIME: usize = 4;

    /// Moves the version up to the inputs, over what announces a witness (BIP 144): so what is hashed stands together.
    fn drop_marker(&self, bytes: &mut [u8]) {
        let start = self.start as usize;
        if self.has_witness {
            bytes.copy_within(start..start + Self::VERSION, start + Self::MARKER_AND_FLAG);
        }
    }

    /// What its id is the hash of: all but the witness, and what announced it.
    fn preimage<'b>(&self, bytes: &'b [u8]) -> sha256d::Message<'b> {
        let [start, outputs_end, end] = [self.start, self.outputs_end, self.end].map(|place| place as usize);
        if !self.has_witness {
            return sha256d::Message { bytes: &bytes[start..], length: end - start, following: None };
        }
        let start = start + Self::MARKER_AND_FLAG;
        let following = bytes[..end].last_chunk::<{ Self::LOCK_TIME }>().copied();
        sha256d::Message { bytes: &bytes[start..], length: outputs_end - start, following }
    }
}

/// Twice in the history of the main network a coinbase repeated an earlier one, whose unspent output was lost as its
/// outpoint was overwritten (BIP 30). To the store the lost coins are spent by the coinbase that overwrites them.
fn overwritten(main: bool, at: BlockRef) -> Option<Outpoint> {
    const AT_91842: TxId = TxId(written(b"d5d27987d2a3dfc724e359870c6644b40e497bdc0589a033220fe15429d88599"));
    const AT_91880: TxId = TxId(written(b"e3bf3d07d4b0375638d5f1db5255fe07ba2c4cb067cd81b84ee974b6585fb468"));
    match (main, at.height.0) {
        (true, 91_842) => Some(Outpoint { txid: AT_91842, vout: 0 }),
        (true, 91_880) => Some(Outpoint { txid: AT_91880, vout: 0 }),
        _ => None,
    }
}

/// A place in a block: its bytes were counted before.
fn narrow(place: usize) -> u32 {
    u32::try_from(place).expect("a block has at most four million bytes")
}

/// The block's bytes, for the few transactions that moved a watched account.
struct RawBody {
    bytes: Buffer,
    transactions: Vec<Place>,
}

impl Body for RawBody {
    fn each_payment(&self, tx: u32, take: &mut TakePayment<'_>) {
        let Some(place) = self.transactions.get(tx as usize) else { return };
        let mut cursor = Cursor::at(&self.bytes[..place.outputs_end as usize], place.outputs as usize);
        for index in 0.. {
            let Ok(output) = cursor.output() else { break };
            take(Some(index), output.script, Asset::Native, Amount::from(output.amount));
        }
    }

    fn inputs(&self, spends: &[Spend]) -> Vec<Input> {
        let mut found = Vec::with_capacity(spends.len());
        for spends in spends.chunk_by(|one, other| one.tx == other.tx) {
            let tx = spends[0].tx;
            let Place { first_place, inputs, outputs, .. } = self.transactions[tx as usize];
            let mut cursor = Cursor::at(&self.bytes[..outputs as usize], inputs as usize);
            let mut wanted = spends.iter().peekable();
            // From one to the next: that of a transaction of thousands is not looked for from its beginning each time.
            for (index, place) in (0..).zip(first_place..) {
                let (Some(next), Ok(TxIn { txid, vout })) = (wanted.peek(), cursor.input()) else { break };
                if next.place == place {
                    let spends = Outpoint { txid: TxId(reversed(*txid)), vout };
                    found.push(Input { spends, tx, index, place });
                    wanted.next();
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::{Account, AccountNo, Height};
    use bitcoin::consensus::{deserialize, serialize};
    use bitcoin::hashes::Hash as _;
    use bitcoin::{CompactTarget, ScriptBuf};
    use bitcoin_test_data::blocks::mainnet_702861;

    const HEIGHT: Height = Height(702_861);

    fn network(reference: &str) -> &'static Network {
        Network::of(&format!("bip122:{reference}").parse().unwrap()).unwrap()
    }

    fn main_network() -> &'static Network {
        network("000000000019d6689c085ae165831e93")
    }

    fn regtest() -> &'static Network {
        network("0f9188f13cb7b2c71f2a335e3a4fc328")
    }

    fn at(bytes: &[u8], height: Height) -> BlockRef {
        BlockRef { height, hash: BlockHash(reversed(double_sha256(&bytes[..HEADER_BYTES]))) }
    }

    fn watch_of(scripts: impl IntoIterator<Item = ScriptBuf>) -> Watch {
        let distinct: std::collections::BTreeSet<ScriptBuf> = scripts.into_iter().collect();
        distinct.iter().zip((0..).map(AccountNo)).map(|(script, number)| (script.as_bytes(), number)).collect()
    }

    /// The same, decoded in full by the library and read naively.
    fn naive(block: &bitcoin::Block, watch: &Watch) -> (Vec<Effect>, Vec<Input>) {
        let (mut effects, mut inputs, mut place) = (vec![], vec![], 0);
        for (tx, transaction) in (0..).zip(&block.txdata) {
            for (index, input) in (0..).zip(&transaction.input) {
                if tx > 0 {
                    let (txid, vout) = (input.previous_output.txid.to_byte_array(), input.previous_output.vout);
                    let spends = Outpoint { txid: TxId(reversed(txid)), vout };
                    inputs.push(Input { spends, tx, index, place });
                }
                place += 1;
            }
            for (index, output) in (0..).zip(&transaction.output) {
                if let Some(account) = watch.number(output.script_pubkey.as_bytes()) {
                    let amount = Amount::from(output.value.to_sat());
                    let kind = if tx == 0 { Kind::Coinbase } else { Kind::Transfer };
                    let (asset, direction) = (Asset::Native, Direction::Credit);
                    effects.push(Effect::Output(Leg {
                        account,
                        asset,
                        direction,
                        amount,
                        kind,
                        tx: Some(tx),
                        index,
                        place,
                    }));
                }
                place += 1;
            }
        }
        (effects, inputs)
    }

    #[test]
    fn a_real_block_is_read_as_the_library_reads_it() {
        let bytes = mainnet_702861();
        let decoded: bitcoin::Block = deserialize(bytes).unwrap();
        let outputs = decoded.txdata.iter().flat_map(|transaction| &transaction.output);
        let spendable = outputs.filter(|output| !output.script_pubkey.is_op_return() && output.value.to_sat() > 0);
        let watch = watch_of(spendable.step_by(3).map(|output| output.script_pubkey.clone()));
        let block = extract(main_network(), bytes.to_vec(), at(bytes, HEIGHT), &watch).unwrap();

        let txids: Vec<_> = decoded.txdata.iter().map(|it| TxId(reversed(it.compute_txid().to_byte_array()))).collect();
        assert_eq!(block.txids, txids);
        let (effects, inputs) = naive(&decoded, &watch);
        assert!(!effects.is_empty());
        assert_eq!((&block.effects, &block.inputs()), (&effects, &inputs));
        let spend = |it: &Input| Spend { fingerprint: Fingerprint::get().of(&it.spends), tx: it.tx, place: it.place };
        assert_eq!(block.spends, inputs.iter().map(spend).collect::<Vec<_>>());
        let some: Vec<Input> = inputs.into_iter().filter(|input| input.place % 7 < 2).collect();
        assert_eq!(block.body.inputs(&some.iter().map(spend).collect::<Vec<_>>()), some);
        assert_eq!(block.header.hash.to_string(), decoded.block_hash().to_string());
        assert_eq!(block.header.parent.to_string(), decoded.header.prev_blockhash.to_string());
        assert_eq!(block.header.time.unix_s(), i64::from(decoded.header.time));
        assert_eq!(block.header.seal, bytes[..HEADER_BYTES]);
        for (tx, transaction) in (0..).zip(&decoded.txdata) {
            let paid: Vec<_> = block.body.payments(tx).into_iter().map(|it| (it.to, it.amount)).collect();
            let outputs = transaction.output.iter();
            let expected = outputs.map(|it| (Account::new(it.script_pubkey.as_bytes()), it.value.to_sat().into()));
            assert_eq!(paid, expected.collect::<Vec<_>>());
        }
        assert_eq!(block.body.payments(2_500), []);
    }

    /// What is found wrong with an altered copy of the real block, when the real one was asked for.
    fn fault_of(alter: impl Fn(&mut Vec<u8>)) -> Option<&'static str> {
        let mut bytes = mainnet_702861().to_vec();
        let at = at(&bytes, HEIGHT);
        alter(&mut bytes);
        match extract(main_network(), bytes, at, &Watch::default()) {
            Ok(_) => None,
            Err(BlockFault::Unreadable(..)) => Some("unreadable"),
            Err(BlockFault::Contradicts { against, .. }) => Some(against),
        }
    }

    #[test]
    fn no_byte_of_the_header_can_be_changed() {
        for place in 0..HEADER_BYTES {
            assert_eq!(fault_of(|bytes| bytes[place] ^= 1), Some("the hash that was asked for"), "{place}");
        }
    }

    #[test]
    fn what_moves_coins_cannot_be_changed() {
        let decoded: bitcoin::Block = deserialize(mainnet_702861()).unwrap();
        // Within the first transaction that has several inputs: version, outpoint, amount, script, lock time.
        let alterations: [fn(&mut bitcoin::Transaction); 6] = [
            |tx| tx.version.0 += 1,
            |tx| tx.input[0].previous_output.vout += 1,
            |tx| tx.output[0].value += bitcoin::Amount::ONE_SAT,
            |tx| tx.output[0].script_pubkey.push_opcode(bitcoin::opcodes::OP_TRUE),
            |tx| tx.lock_time = bitcoin::absolute::LockTime::from_consensus(tx.lock_time.to_consensus_u32() + 1),
            |tx| tx.output.truncate(tx.output.len() - 1),
        ];
        for alter in alterations {
            let mut block = decoded.clone();
            alter(block.txdata.iter_mut().skip(1).find(|tx| tx.input.len() > 2 && tx.output.len() > 1).unwrap());
            assert_eq!(fault_of(|bytes| *bytes = serialize(&block)), Some("its header's merkle root"));
        }
        let rearrange: [fn(&mut Vec<bitcoin::Transaction>); 4] = [
            |txs| txs.swap(5, 6),
            |txs| txs.truncate(txs.len() - 1),
            |txs| txs.push(txs[7].clone()),
            // 2,500 leaves are 625 nodes two levels up: the last four again give the same root (CVE-2012-2459).
            |txs| txs.extend_from_within(2_496..),
        ];
        for rearrange in rearrange {
            let mut block = decoded.clone();
            rearrange(&mut block.txdata);
            assert_eq!(fault_of(|bytes| *bytes = serialize(&block)), Some("its header's merkle root"));
        }
    }

    #[test]
    fn the_first_transaction_and_no_other_is_a_coinbase() {
        let decoded: bitcoin::Block = deserialize(mainnet_702861()).unwrap();
        let rearrange: [fn(&mut Vec<bitcoin::Transaction>); 4] = [
            |txs| txs.swap(0, 1),
            |txs| txs.push(txs[0].clone()),
            |txs| {
                let input = txs[1].input[0].clone();
                txs[0].input.push(input);
            },
            |txs| {
                let input = txs[0].input[0].clone();
                txs[1].input.push(input);
            },
        ];
        for rearrange in rearrange {
            let mut block = decoded.clone();
            rearrange(&mut block.txdata);
            assert_eq!(fault_of(|bytes| *bytes = serialize(&block)), Some("the rules of blocks"));
        }
    }

    #[test]
    fn a_block_has_its_length() {
        let length = mainnet_702861().len();
        for short in [0, 1, 79, 80, 81, 90, 1_000, length / 2, length - 1] {
            assert_eq!(fault_of(|bytes| bytes.truncate(short)), Some("unreadable"), "{short}");
        }
        for more in [1, 80, 1_000_000] {
            assert_eq!(fault_of(|bytes| bytes.resize(length + more, 0)), Some("its transaction count"), "{more}");
        }
        assert_eq!(fault_of(|bytes| bytes.resize(MAX_BLOCK_BYTES + 1, 0)), Some("unreadable"));
    }

    #[test]
    fn whatever_byte_is_flipped_nothing_false_comes_out() {
        let bytes = mainnet_702861();
        let watch = watch_of(
            deserialize::<bitcoin::Block>(bytes)
                .unwrap()
                .txdata
                .iter()
                .skip(1)
                .map(|tx| tx.output[0].script_pubkey.clone()),
        );
        let honest = extract(main_network(), bytes.to_vec(), at(bytes, HEIGHT), &watch).unwrap();
        for place in (HEADER_BYTES..bytes.len()).step_by(20_011) {
            for mask in [0x01, 0x80, 0xff] {
                let mut altered = bytes.to_vec();
                altered[place] ^= mask;
                // A witness moves no coins, and may be altered unnoticed.
                if let Ok(block) = extract(main_network(), altered, at(bytes, HEIGHT), &watch) {
                    assert_eq!((&block.txids, &block.effects), (&honest.txids, &honest.effects), "{place}");
                    assert_eq!(block.spends, honest.spends, "{place}");
                }
            }
        }
    }

    /// A regtest block of these transactions, with its work done.
    fn mined(transactions: Vec<bitcoin::Transaction>) -> Vec<u8> {
        let mut block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        block.txdata = transactions;
        block.header.merkle_root = block.compute_merkle_root().unwrap();
        block.header.bits = CompactTarget::from_consensus(0x207f_ffff);
        while !block.header.target().is_met_by(block.block_hash()) {
            block.header.nonce += 1;
        }
        serialize(&block)
    }

    fn coinbase(outputs: &[(u64, &[u8])]) -> bitcoin::Transaction {
        let mut coinbase = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).txdata.remove(0);
        let output = |(value, script): &(u64, &[u8])| bitcoin::TxOut {
            value: bitcoin::Amount::from_sat(*value),
            script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
        };
        coinbase.output = outputs.iter().map(output).collect();
        coinbase
    }

    #[test]
    fn coins_that_nobody_can_spend_are_nobodys() {
        let long = vec![0x51; crate::address::MAX_SCRIPT_BYTES + 1];
        let scripts: [&[u8]; 5] = [&[0x51], &[0x6a], &[0x6a, 0x01, 0x51], &long, &[0x52]];
        let watch = watch_of(scripts.iter().map(|script| ScriptBuf::from_bytes(script.to_vec())));
        let bytes = mined(vec![coinbase(&[
            (1, scripts[0]),
            (2, scripts[1]),
            (3, scripts[2]),
            (4, scripts[3]),
            (0, scripts[4]),
        ])]);
        let block = extract(regtest(), bytes.clone(), at(&bytes, Height(1)), &watch).unwrap();
        let [Effect::Output(leg)] = block.effects[..] else { panic!("{:?}", block.effects) };
        assert_eq!((leg.amount, leg.kind, leg.index, leg.place), (Amount::from(1), Kind::Coinbase, 0, 1));
        assert_eq!(block.body.payments(0).len(), scripts.len());
        let genesis = extract(regtest(), bytes.clone(), at(&bytes, Height(0)), &watch).unwrap();
        assert_eq!(genesis.effects, [], "the first coinbase was never entered into the set of coins");
    }

    #[test]
    fn a_repeated_coinbase_loses_the_coins_of_the_first() {
        let watch = watch_of([ScriptBuf::from_bytes(vec![0x51])]);
        let bytes = mined(vec![coinbase(&[(50, &[0x51])])]);
        for (height, lost) in [
            (91_842, Some("d5d27987d2a3dfc724e359870c6644b40e497bdc0589a033220fe15429d88599")),
            (91_880, Some("e3bf3d07d4b0375638d5f1db5255fe07ba2c4cb067cd81b84ee974b6585fb468")),
            (91_812, None),
            (91_722, None),
        ] {
            let mut extractor = Extractor::new(&watch, at(&bytes, Height(height)), main_network(), &bytes);
            extractor.walk().unwrap();
            let overwritten = extractor.overwritten.map(|outpoint| (outpoint.txid.to_string(), outpoint.vout));
            assert_eq!(overwritten, lost.map(|txid| (txid.into(), 0)));
            assert_eq!(extractor.spends, []);
            assert!(matches!(extractor.effects()[..], [Effect::Output(Leg { place: 1, .. })]), "lost, then given");
        }
        // Elsewhere the heights mean nothing.
        let block = extract(regtest(), bytes.clone(), at(&bytes, Height(91_842)), &watch).unwrap();
        assert_eq!((block.effects.len(), block.overwritten), (1, None));
    }

    #[test]
    fn a_transaction_without_outputs_pays_nothing() {
        let mut burnt = coinbase(&[]);
        burnt.input[0].previous_output = bitcoin::OutPoint { txid: bitcoin::Txid::from_byte_array([3; 32]), vout: 0 };
        let with_witness = |mut transaction: bitcoin::Transaction| {
            transaction.input[0].witness.push([7; 9]);
            transaction
        };
        let bytes = mined(vec![coinbase(&[(50, &[0x51])]), burnt.clone(), with_witness(burnt), coinbase(&[])]);
        let block = extract(regtest(), bytes.clone(), at(&bytes, Height(5)), &watch_of([]));
        assert!(block.is_err(), "the last one is a second coinbase");
        let decoded: bitcoin::Block = deserialize(&bytes).unwrap();
        let bytes = mined(decoded.txdata[..3].to_vec());
        let block = extract(regtest(), bytes.clone(), at(&bytes, Height(5)), &watch_of([])).unwrap();
        assert_eq!([0, 1, 2].map(|tx| block.body.payments(tx).len()), [1, 0, 0]);
    }

    #[test]
    fn a_transaction_of_64_bytes_is_one_like_others() {
        let mut small = coinbase(&[(7, &[0x51, 0x51, 0x51, 0x51])]);
        small.input[0].previous_output = bitcoin::OutPoint { txid: bitcoin::Txid::from_byte_array([3; 32]), vout: 0 };
        small.input[0].script_sig = ScriptBuf::new();
        assert_eq!(serialize(&small).len(), 64);
        let bytes = mined(vec![coinbase(&[(50, &[0x51])]), small]);
        let watch = watch_of([ScriptBuf::from_bytes(vec![0x51; 4])]);
        let block = extract(regtest(), bytes.clone(), at(&bytes, Height(5)), &watch).unwrap();
        assert!(matches!(block.effects[..], [Effect::Output(Leg { tx: Some(1), .. })]));
        assert!(matches!(block.inputs()[..], [Input { tx: 1, .. }]));
    }
}
