//! Transactions and receipts: from the JSON that nodes write to the bytes that a header commits to, in one pass. Pure.
//!
//! Known are Ethereum's types 0 to 4 (EIP-155, 2930, 1559, 4844, 7702), which Polygon and BNB share, and the OP stack's deposits (type 0x7e,
//! `specs/protocol/deposits.md`). Of any other type the bytes must come from the node, and what they say is not read.

use alloy::consensus::crypto::secp256k1::recover_signer_unchecked;
use alloy::eips::eip2930::AccessList;
use alloy::eips::eip7702::SignedAuthorization;
use alloy::primitives::{Address, B256, Bloom, Bytes, Log, LogData, Signature, TxKind, U64, U128, U256, keccak256};
use alloy::rlp::{Encodable, Header};
use assay_types::BlockRef;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// The OP stack's deposits.
const DEPOSIT: u8 = 0x7e;
/// EIP-4844: the gas of one blob.
const BLOB_GAS: u64 = 1 << 17;

/// The chains of whose transactions, receipts and headers every one can be rebuilt here: one that cannot is a lie, or newer than we are.
/// Ethereum with its test networks, Polygon, BNB, OP and Base with theirs.
const KNOWN: [u64; 12] = [1, 17_000, 560_048, 11_155_111, 137, 80_002, 56, 97, 10, 11_155_420, 8_453, 84_532];

/// Is everything of this chain known here?
pub(crate) fn knows(chain_number: u64) -> bool {
    KNOWN.contains(&chain_number)
}

/// Polygon: what a block takes over from the main chain is done by a transaction at its end with this id, to which none of its roots commits
/// (before PIP-74; bor's `GetDerivedBorTxHash`).
pub(crate) fn state_sync(chain_number: u64, at: BlockRef) -> Option<B256> {
    let is_polygon = matches!(chain_number, 137 | 80_002);
    is_polygon.then(|| keccak256([&b"matic-bor-receipt-"[..], &at.height.0.to_be_bytes(), &at.hash.0].concat()))
}

/// Where a transaction stands, by what the node says beside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    pub(crate) block_hash: Option<B256>,
    pub(crate) block_number: Option<U64>,
    pub(crate) transaction_index: Option<U64>,
}

/// A transaction as blocks hold it, without blobs.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    /// As the node says, as all here is until it was held against a root and a signature.
    pub(crate) id: B256,
    pub(crate) sender: Address,
    pub(crate) place: Place,
    pub(crate) kind: u8,
    pub(crate) nonce: u64,
    pub(crate) to: TxKind,
    /// Wei, as `mint` is, which a deposit gives its sender before.
    pub(crate) value: U256,
    pub(crate) mint: U256,
    pub(crate) input: Bytes,
    /// The gas of its blobs, and the most that each of it may cost.
    pub(crate) blobs: Option<(u64, u128)>,
    price: Price,
    /// What the block's root commits to: its type, and its fields as RLP (EIP-2718). Empty where the type is not known.
    pub(crate) bytes: Vec<u8>,
    /// The hash that was signed, and the signature; a deposit has none.
    signed: Option<(B256, Signature)>,
}

/// Wei for each gas.
#[derive(Debug, Clone, Copy)]
enum Price {
    Fixed(u128),
    /// EIP-1559: at most so much, and so much above the block's base fee.
    UpTo(u128, u128),
}

impl Transaction {
    /// Is it of a type that is not known here? Then its bytes are the node's, or not there.
    pub(crate) fn is_foreign(&self) -> bool {
        !matches!(self.kind, 0..=4 | DEPOSIT)
    }

    pub(crate) fn is_deposit(&self) -> bool {
        self.kind == DEPOSIT
    }

    /// What each gas costs in a block with this base fee.
    pub(crate) fn gas_price(&self, base_fee: u64) -> u128 {
        match self.price {
            Price::Fixed(price) => price,
            Price::UpTo(most, tip) => most.min(tip.saturating_add(base_fee.into())),
        }
    }

    /// It must hash to its id, and be of the type that it is said to be.
    ///
    /// A signature of zeros, which no real network takes, is what test nodes give a transaction of an account that they
    /// impersonate; its id and sender are then what the node says.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.is_impersonated() {
            return Ok(());
        }
        let hash = keccak256(&self.bytes);
        if hash != self.id {
            return Err(format!("{hash} was rebuilt, {} is committed to", self.id));
        }
        if self.is_foreign() && self.bytes.first() != Some(&self.kind) {
            return Err(format!("it is said to be of type {:#x}, and is not", self.kind));
        }
        Ok(())
    }

    /// Its signature must be its sender's: most of what a block's check takes.
    pub(crate) fn check_sender(&self) -> Result<(), String> {
        let Some((hash, signature)) = self.signed.as_ref().filter(|_| !self.is_impersonated()) else { return Ok(()) };
        let recovered = recover_signer_unchecked(signature, *hash).map_err(|error| error.to_string())?;
        let said = self.sender;
        let is_right = recovered == said;
        is_right.then_some(()).ok_or_else(|| format!("it is said to be from {said}, and was signed by {recovered}"))
    }

    fn is_impersonated(&self) -> bool {
        self.signed.as_ref().is_some_and(|(_, signature)| signature.r().is_zero() && signature.s().is_zero())
    }
}

impl<'de> Deserialize<'de> for Transaction {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Transaction, D::Error> {
        TransactionJson::deserialize(json)?.read()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransactionJson {
    hash: B256,
    from: Address,
    #[serde(rename = "type")]
    kind: Option<U64>,
    nonce: Option<U64>,
    gas: U64,
    to: Option<Address>,
    value: U256,
    input: Bytes,
    gas_price: Option<U128>,
    max_fee_per_gas: Option<U128>,
    max_priority_fee_per_gas: Option<U128>,
    max_fee_per_blob_gas: Option<U128>,
    chain_id: Option<U64>,
    access_list: Option<AccessList>,
    authorization_list: Option<Vec<SignedAuthorization>>,
    blob_versioned_hashes: Option<Vec<B256>>,
    v: Option<U128>,
    y_parity: Option<U128>,
    r: Option<U256>,
    s: Option<U256>,
    source_hash: Option<B256>,
    mint: Option<U256>,
    is_system_tx: Option<bool>,
    block_hash: Option<B256>,
    block_number: Option<U64>,
    transaction_index: Option<U64>,
}

/// These fields as RLP, one after the other.
macro_rules! encoded {
    ($($field:expr),*) => {{
        let mut bytes = Vec::with_capacity(256);
        $($field.encode(&mut bytes);)*
        bytes
    }};
}

impl TransactionJson {
    fn read<E: Error>(mut self) -> Result<Transaction, E> {
        let kind = self.kind.map_or(Ok(0), u8::try_from).map_err(|_| E::custom("its type is none"))?;
        let to = self.to.map_or(TxKind::Create, TxKind::Call);
        let fields = self.fields(kind, to)?;
        let (mut bytes, mut signed) = (Vec::new(), None);
        if matches!(kind, 0..=4) {
            let v = need("v", self.y_parity.filter(|_| kind > 0).or(self.v))?;
            let (r, s) = (need("r", self.r)?, need("s", self.s)?);
            // EIP-155: what is signed names the chain, which the signature names again.
            let chain = (kind == 0 && v >= U128::from(35)).then(|| (v - U128::from(35)) / U128::from(2));
            let is_odd = if chain.is_some() || v >= U128::from(27) { !v.bit(0) } else { v.bit(0) };
            let of_chain = chain.map(|chain| encoded!(chain, 0u8, 0u8));
            let hash = keccak256(typed(kind, &[&fields, &of_chain.unwrap_or_default()]));
            bytes = typed(kind, &[&fields, &if kind == 0 { encoded!(v, r, s) } else { encoded!(is_odd, r, s) }]);
            signed = Some((hash, Signature::new(r, s, is_odd)));
        } else if kind == DEPOSIT {
            bytes = typed(kind, &[&fields]);
        }
        let price = match (kind, self.gas_price) {
            (DEPOSIT, _) => Price::Fixed(0),
            (2..=4, _) => {
                let (most, tip) = (self.max_fee_per_gas, self.max_priority_fee_per_gas);
                Price::UpTo(most.unwrap_or_default().to(), tip.unwrap_or_default().to())
            }
            (_, price) => Price::Fixed(price.unwrap_or_default().to()),
        };
        let blobs = match (kind, &self.blob_versioned_hashes, self.max_fee_per_blob_gas) {
            (3, Some(blobs), Some(most)) => Some((BLOB_GAS.saturating_mul(blobs.len() as u64), most.to())),
            _ => None,
        };
        Ok(Transaction {
            id: self.hash,
            sender: self.from,
            place: Place {
                block_hash: self.block_hash,
                block_number: self.block_number,
                transaction_index: self.transaction_index,
            },
            kind,
            nonce: self.nonce.unwrap_or_default().to(),
            to,
            value: self.value,
            mint: self.mint.filter(|_| kind == DEPOSIT).unwrap_or_default(),
            input: std::mem::take(&mut self.input),
            blobs,
            price,
            bytes,
            signed,
        })
    }

    /// The fields of its type, up to the signature.
    fn fields<E: Error>(&self, kind: u8, to: TxKind) -> Result<Vec<u8>, E> {
        let (gas, value, input) = (&self.gas, &self.value, &self.input);
        let chain = || need("chainId", self.chain_id);
        let nonce = || need("nonce", self.nonce);
        let price = || need("gasPrice", self.gas_price);
        let most = || need("maxFeePerGas", self.max_fee_per_gas);
        let tip = || need("maxPriorityFeePerGas", self.max_priority_fee_per_gas);
        let accesses = || need("accessList", self.access_list.as_ref());
        Ok(match kind {
            0 => encoded!(nonce()?, price()?, gas, to, value, input),
            1 => encoded!(chain()?, nonce()?, price()?, gas, to, value, input, accesses()?),
            2 => encoded!(chain()?, nonce()?, tip()?, most()?, gas, to, value, input, accesses()?),
            3 => {
                let most_for_blobs = need("maxFeePerBlobGas", self.max_fee_per_blob_gas)?;
                let blobs = need("blobVersionedHashes", self.blob_versioned_hashes.as_ref())?;
                let nonce = nonce()?;
                encoded!(chain()?, nonce, tip()?, most()?, gas, to, value, input, accesses()?, most_for_blobs, blobs)
            }
            4 => {
                let authorizations = need("authorizationList", self.authorization_list.as_ref())?;
                encoded!(chain()?, nonce()?, tip()?, most()?, gas, to, value, input, accesses()?, authorizations)
            }
            DEPOSIT => {
                let (source, mint) = (need("sourceHash", self.source_hash)?, self.mint.unwrap_or_default());
                encoded!(source, self.from, to, mint, value, gas, self.is_system_tx.unwrap_or_default(), input)
            }
            _ => Vec::new(),
        })
    }
}

fn need<T, E: Error>(name: &'static str, field: Option<T>) -> Result<T, E> {
    field.ok_or_else(|| E::missing_field(name))
}

/// A list of these fields, which are RLP already, behind its type if it has one.
fn typed(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let payload_length = fields.iter().map(|some| some.len()).sum();
    let mut bytes = Vec::with_capacity(payload_length + 6);
    if kind > 0 {
        bytes.push(kind);
    }
    Header { list: true, payload_length }.encode(&mut bytes);
    fields.iter().for_each(|some| bytes.extend_from_slice(some));
    bytes
}

/// What a transaction did, as blocks commit to it, and what the node says beside that.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) place: Place,
    pub(crate) kind: u8,
    /// `None` before the Byzantium fork, which put a state root there.
    pub(crate) succeeded: Option<bool>,
    /// By it and all before it in the block.
    pub(crate) gas: u64,
    pub(crate) bloom: Bloom,
    pub(crate) logs: Vec<Log>,
    /// A deposit's nonce, and the version of its receipt, which say how it is encoded.
    pub(crate) deposit: [Option<u64>; 2],
    /// The price of its blobs' gas, to which no root commits.
    pub(crate) blob_gas_price: Option<u128>,
    /// What its sender paid for its bytes on the chain below (OP stack), to which no root commits.
    pub(crate) l1_fee: U256,
    /// The greatest of its logs' numbers within the block.
    pub(crate) last_log: Option<u64>,
}

impl Receipt {
    /// What the block's root commits to.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let status = encoded!(self.succeeded.unwrap_or_default(), self.gas, self.bloom, self.logs);
        let deposit: Vec<u8> = self.deposit.iter().flatten().flat_map(|number| encoded!(*number)).collect();
        typed(self.kind, &[&status, &deposit])
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Receipt, D::Error> {
        let json = ReceiptJson::deserialize(json)?;
        let kind = json.kind.map_or(Ok(0), u8::try_from).map_err(|_| D::Error::custom("its type is none"))?;
        if json.status.is_none() && json.root.is_none() {
            return Err(D::Error::missing_field("status"));
        }
        let number = |number: Option<U64>| number.filter(|_| kind == DEPOSIT).map(|number| number.to());
        Ok(Receipt {
            place: Place {
                block_hash: json.block_hash,
                block_number: json.block_number,
                transaction_index: json.transaction_index,
            },
            kind,
            succeeded: json.status.map(|status| status == U64::ONE),
            gas: json.cumulative_gas_used.to(),
            bloom: json.logs_bloom,
            last_log: json.logs.iter().filter_map(|log| log.log_index).max().map(|index| index.to()),
            logs: json.logs.into_iter().map(LogJson::read).collect(),
            deposit: [number(json.deposit_nonce), number(json.deposit_receipt_version)],
            blob_gas_price: json.blob_gas_price.map(|price| price.to()),
            l1_fee: json.l1_fee.unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptJson {
    #[serde(rename = "type")]
    kind: Option<U64>,
    status: Option<U64>,
    root: Option<B256>,
    cumulative_gas_used: U64,
    logs_bloom: Bloom,
    logs: Vec<LogJson>,
    blob_gas_price: Option<U128>,
    l1_fee: Option<U256>,
    deposit_nonce: Option<U64>,
    deposit_receipt_version: Option<U64>,
    block_hash: Option<B256>,
    block_number: Option<U64>,
    transaction_index: Option<U64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogJson {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
    log_index: Option<U64>,
}

impl LogJson {
    fn read(self) -> Log {
        Log { address: self.address, data: LogData::new_unchecked(self.topics, self.data) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxEnvelope, TxLegacy};
    use alloy::eips::eip2718::Encodable2718;
    use alloy::eips::eip2930::AccessListItem;
    use alloy::eips::eip7702::Authorization;
    use alloy::signers::SignerSync;
    use alloy::signers::local::PrivateKeySigner;
    use assay_types::{BlockHash, Height};
    use serde_json::{Value, json};

    fn access_list() -> AccessList {
        let keys = vec![B256::ZERO, B256::repeat_byte(3)];
        AccessList(vec![AccessListItem { address: Address::repeat_byte(5), storage_keys: keys }])
    }

    /// One of each type of Ethereum's, with as many fields as it can have, signed, as the library writes and encodes them.
    fn each_type() -> Vec<(Value, Vec<u8>, Address)> {
        let signer = PrivateKeySigner::random();
        let (to, value, input) = (Address::repeat_byte(7), U256::from(1u128 << 90), Bytes::from(vec![0, 1, 0x80]));
        let (nonce, gas_limit, gas_price) = (0x1234, 21_000, 30_000_000_000);
        let (max_fee_per_gas, max_priority_fee_per_gas, access_list) = (30_000_000_000, 0, access_list());
        let legacy = |chain_id: Option<u64>, to: TxKind| TxLegacy {
            chain_id,
            nonce,
            gas_price,
            gas_limit,
            to,
            value,
            input: input.clone(),
        };
        let kind = TxKind::Call(to);
        let authorization = Authorization { chain_id: U256::from(1), address: to, nonce: 0 };
        let signature = signer.sign_hash_sync(&authorization.signature_hash()).unwrap();
        let authorization_list = vec![authorization.into_signed(signature)];
        let chain_id = 1;
        let sign = |hash: B256| signer.sign_hash_sync(&hash).unwrap();
        macro_rules! signed {
            ($transaction:expr) => {{
                let transaction = $transaction;
                let signature = sign(transaction.signature_hash());
                TxEnvelope::from(transaction.into_signed(signature))
            }};
        }
        let blobs = TxEip4844 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            input: input.clone(),
            access_list: access_list.clone(),
            blob_versioned_hashes: vec![B256::repeat_byte(1); 2],
            max_fee_per_blob_gas: 9,
        };
        let all = [
            signed!(legacy(None, kind)),
            signed!(legacy(Some(1), kind)),
            signed!(legacy(Some(11_155_111), TxKind::Create)),
            signed!(TxEip2930 {
                chain_id,
                nonce,
                gas_price,
                gas_limit,
                to: kind,
                value,
                input: input.clone(),
                access_list: access_list.clone()
            }),
            signed!(TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: kind,
                value,
                input: input.clone(),
                access_list: access_list.clone(),
            }),
            signed!(blobs),
            signed!(TxEip7702 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                input: input.clone(),
                access_list,
                authorization_list,
            }),
        ];
        let written = |envelope: TxEnvelope| {
            let mut json = serde_json::to_value(&envelope).unwrap();
            json["from"] = json!(signer.address());
            (json, envelope.encoded_2718(), signer.address())
        };
        all.into_iter().map(written).collect()
    }

    #[test]
    fn transactions_are_encoded_as_the_library_encodes_them_and_their_signers_found() {
        for (json, bytes, signer) in each_type() {
            let read: Transaction =
                serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json}"));
            assert_eq!(read.bytes, bytes, "{json}");
            assert_eq!((read.check(), read.check_sender()), (Ok(()), Ok(())), "{json}");
            assert_eq!(read.gas_price(1), 30_000_000_000u128.min(if read.kind < 2 { u128::MAX } else { 1 }), "{json}");
            assert_eq!(read.blobs, (read.kind == 3).then_some((2 * BLOB_GAS, 9)), "{json}");
            let another = Transaction { sender: Address::ZERO, ..read.clone() };
            assert!(another.check_sender().unwrap_err().contains(&signer.to_string()));
            assert!(Transaction { id: B256::ZERO, ..read.clone() }.check().is_err());
            // What is left out is named.
            for field in json
                .as_object()
                .unwrap()
                .keys()
                .filter(|name| !["type", "v", "yParity", "to", "chainId", "nonce"].contains(&name.as_str()))
            {
                let mut less = json.clone();
                less.as_object_mut().unwrap().remove(field);
                let missing = serde_json::from_value::<Transaction>(less);
                let is_unused = read.kind > 1 && field == "gasPrice";
                assert!(
                    is_unused || missing.is_err_and(|error| error.to_string().contains(field)),
                    "{field} of {json}"
                );
            }
        }
    }

    #[test]
    fn polygons_state_sync_has_an_id_of_its_block() {
        let at = |height| BlockRef { height: Height(height), hash: BlockHash([0xab; 32]) };
        let bytes = [&b"matic-bor-receipt-\0\0\0\0\0\0\x01\0"[..], &[0xab; 32]].concat();
        assert_eq!(state_sync(137, at(256)), Some(keccak256(bytes)));
        assert_ne!(state_sync(137, at(256)), state_sync(137, at(257)));
        assert_eq!(state_sync(1, at(256)), None, "anyone could add such a transaction to another chain's blocks");
    }
}
