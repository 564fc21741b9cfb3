//! Transactions.

use std::ops::Range;

use alloy::consensus::crypto::secp256k1::recover_signer_unchecked;
use alloy::eips::eip2930::AccessList;
use alloy::eips::eip7702::SignedAuthorization;
use alloy::primitives::{Address, B256, Signature, TxKind, U256, keccak256};
use alloy::rlp::{Encodable, Header};
use serde::{Deserialize, Deserializer};

use super::{DEPOSIT, Place, Text, kind_of, need, read, typed_header};
use crate::json::{self, FromJson, Json, Wrong};

/// EIP-4844: the gas of one blob.
const BLOB_GAS: u64 = 1 << 17;

/// These fields as RLP, one after the other.
macro_rules! encoded {
    ($($field:expr),*) => {{
        let mut bytes = Vec::with_capacity(32);
        $($field.encode(&mut bytes);)*
        bytes
    }};
}

/// A transaction as blocks hold it, without blobs.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    /// As the node says, as all here is until it was held against a root and a signature.
    pub(crate) id: B256,
    pub(crate) sender: Address,
    pub(crate) place: Place,
    pub(crate) kind: u8,
    /// It is of a type that is not known here, or its JSON does not hold all of it: its bytes are the node's, or not there.
    pub(crate) is_foreign: bool,
    /// A field that its type has, and its JSON has not.
    pub(crate) lacks: Option<&'static str>,
    pub(crate) nonce: u64,
    pub(crate) to: TxKind,
    /// Wei, as `mint` is, which a deposit gives its sender before.
    pub(crate) value: U256,
    pub(crate) mint: U256,
    /// The gas of its blobs, and the most that each of it may cost.
    pub(crate) blobs: Option<(u64, u128)>,
    /// EIP-7702: who lets their account have code, or none any more.
    pub(crate) authorizations: Vec<SignedAuthorization>,
    price: Price,
    /// What the block's root commits to: its type, and its fields as RLP (EIP-2718). Empty where the type is not known.
    pub(crate) bytes: Vec<u8>,
    /// Where its input is among these.
    input: Range<usize>,
    /// A deposit has none.
    signed: Option<Signed>,
}

/// What was signed, and how.
#[derive(Debug, Clone)]
struct Signed {
    /// Where the fields are among the transaction's bytes.
    fields: Range<usize>,
    /// EIP-155: the chain, where a legacy transaction names it.
    chain: Option<u128>,
    signature: Signature,
}

/// Wei for each gas.
#[derive(Debug, Clone, Copy)]
enum Price {
    Fixed(u128),
    /// EIP-1559: at most so much, and so much above the block's base fee.
    UpTo(u128, u128),
}

impl Transaction {
    pub(crate) fn is_deposit(&self) -> bool {
        self.kind == DEPOSIT
    }

    pub(crate) fn input(&self) -> &[u8] {
        &self.bytes[self.input.clone()]
    }

    /// What each gas costs in a block with this base fee.
    pub(crate) fn gas_price(&self, base_fee: u64) -> u128 {
        match self.price {
            Price::Fixed(price) => price,
            Price::UpTo(most, tip) => most.min(tip.saturating_add(base_fee.into())),
        }
    }

    /// The hash of its bytes must be its id, and these be of the type that it is said to be.
    ///
    /// A signature of zeros, which no real network takes, is what test nodes give a transaction of an account that they
    /// impersonate; its id and sender are then what the node says.
    pub(crate) fn check(&self, hash: B256) -> Result<(), String> {
        if self.is_impersonated() {
            return Ok(());
        }
        if hash != self.id {
            return Err(format!("{hash} was rebuilt, {} is committed to", self.id));
        }
        if self.is_foreign && self.bytes.first() != Some(&self.kind) {
            return Err(format!("it is said to be of type {:#x}, and is not", self.kind));
        }
        Ok(())
    }

    /// Are these its bytes as networks pass them on, with its blobs behind what was signed (EIP-4844)?
    pub(crate) fn is_passed_on_as(&self, bytes: &[u8]) -> bool {
        let (Some(kind), Some(fields)) = (bytes.first(), self.bytes.get(1..)) else { return false };
        let mut parts = &bytes[1..];
        let is_list = Header::decode(&mut parts).is_ok_and(|header| header.list);
        self.blobs.is_some() && *kind == self.kind && is_list && parts.starts_with(fields)
    }

    /// Its signature must be its sender's: most of what a block's check takes.
    pub(crate) fn check_sender(&self) -> Result<(), String> {
        let Some(signed) = self.signed.as_ref().filter(|_| !self.is_impersonated()) else { return Ok(()) };
        let of_chain = signed.chain.map(|chain| encoded!(chain, 0u8, 0u8)).unwrap_or_default();
        let hash = keccak256(typed(self.kind, &[&self.bytes[signed.fields.clone()], &of_chain]));
        let recovered = recover_signer_unchecked(&signed.signature, hash).map_err(|error| error.to_string())?;
        let said = self.sender;
        let is_right = recovered == said;
        is_right.then_some(()).ok_or_else(|| format!("it is said to be from {said}, and was signed by {recovered}"))
    }

    /// Is its sender's address what stands for a signature, as Hardhat has it of accounts that it impersonates? That can be somebody else's signature too.
    pub(crate) fn is_signed_by_name(&self) -> bool {
        let name = U256::from_be_slice(self.sender.as_slice());
        self.signed.as_ref().is_some_and(|signed| signed.signature.r() == name && signed.signature.s() == name)
    }

    fn is_impersonated(&self) -> bool {
        self.signed.as_ref().is_some_and(|signed| signed.signature.r().is_zero() && signed.signature.s().is_zero())
    }
}

impl FromJson for Transaction {
    fn from_json(json: &mut Json<'_>) -> Result<Transaction, Wrong> {
        let mut texts = TransactionTexts::default();
        json.fields(|name, json| texts.take(name, json))?;
        texts.read()
    }
}

impl<'de> Deserialize<'de> for Transaction {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Transaction, D::Error> {
        json::deserialize(json)
    }
}

texts!(TransactionTexts {
    hash = b"hash",
    from = b"from",
    kind = b"type",
    nonce = b"nonce",
    gas = b"gas",
    to = b"to",
    value = b"value",
    input = b"input",
    gas_price = b"gasPrice",
    most = b"maxFeePerGas",
    tip = b"maxPriorityFeePerGas",
    most_for_blobs = b"maxFeePerBlobGas",
    chain = b"chainId",
    accesses = b"accessList",
    authorizations = b"authorizationList",
    blobs = b"blobVersionedHashes",
    v = b"v",
    y_parity = b"yParity",
    r = b"r",
    s = b"s",
    source = b"sourceHash",
    queue = b"queueIndex",
    mint = b"mint",
    is_system = b"isSystemTx",
    block_hash = b"blockHash",
    block_number = b"blockNumber",
    index = b"transactionIndex",
});

/// The parts of a transaction that follow from its bytes.
#[derive(Default)]
struct Encoded {
    bytes: Vec<u8>,
    input: Range<usize>,
    signed: Option<Signed>,
    blobs: Option<(u64, u128)>,
    authorizations: Vec<SignedAuthorization>,
}

impl TransactionTexts<'_> {
    fn read(&self) -> Result<Transaction, Wrong> {
        let kind = kind_of(self.kind)?;
        let to = read("to", self.to, json::address)?.map_or(TxKind::Create, TxKind::Call);
        let most = read("maxFeePerGas", self.most, json::u128)?;
        let price = match kind {
            DEPOSIT => Price::Fixed(0),
            2..=4 => {
                let tip = read("maxPriorityFeePerGas", self.tip, json::u128)?;
                Price::UpTo(most.unwrap_or_default(), tip.unwrap_or_default())
            }
            _ => Price::Fixed(read("gasPrice", self.gas_price, json::u128)?.unwrap_or_default()),
        };
        let mint = if kind == DEPOSIT { read("mint", self.mint, json::u256)? } else { None };
        let (encoded, lacks) = match self.encode(kind) {
            Err(Wrong::Missing(field)) => (None, Some(field)),
            encoded => (encoded?, None),
        };
        let is_foreign = encoded.is_none();
        let Encoded { bytes, input, signed, blobs, authorizations } = encoded.unwrap_or_default();
        Ok(Transaction {
            id: need("hash", self.hash, json::hash)?,
            sender: need("from", self.from, json::address)?,
            place: Place::read(self.block_hash, self.block_number, self.index)?,
            kind,
            is_foreign,
            lacks,
            nonce: read("nonce", self.nonce, json::u64)?.unwrap_or_default(),
            to,
            value: read("value", self.value, json::u256)?.unwrap_or_default(),
            mint: mint.unwrap_or_default(),
            blobs,
            authorizations,
            price,
            bytes,
            input,
            signed,
        })
    }

    /// Nothing of a type that is not known here.
    fn encode(&self, kind: u8) -> Result<Option<Encoded>, Wrong> {
        let (mut fields, mut blobs, mut authorizations) = (Fields::new(), None, Vec::new());
        let input = match kind {
            // Scroll's messages from the chain below have the same type, and a `queueIndex` instead.
            DEPOSIT if self.queue.is_none() || self.source.is_some() => {
                fields.bytes("sourceHash", self.source)?;
                fields.bytes("from", self.from)?;
                fields.recipient(self.to)?;
                fields.number("mint", self.mint.or(Some(b"\"0x\"")))?;
                fields.number("value", self.value)?;
                fields.number("gas", self.gas)?;
                fields.encode(self.is_system == Some(b"true"));
                fields.bytes("input", self.input)?
            }
            0..=4 => {
                if kind > 0 {
                    fields.number("chainId", self.chain)?;
                }
                fields.number("nonce", self.nonce)?;
                if kind < 2 {
                    fields.number("gasPrice", self.gas_price)?;
                } else {
                    fields.number("maxPriorityFeePerGas", self.tip)?;
                    fields.number("maxFeePerGas", self.most)?;
                }
                fields.number("gas", self.gas)?;
                fields.recipient(self.to)?;
                fields.number("value", self.value)?;
                let input = fields.bytes("input", self.input)?;
                if kind > 0 {
                    fields.list::<AccessList>("accessList", self.accesses)?;
                }
                if kind == 3 {
                    fields.number("maxFeePerBlobGas", self.most_for_blobs)?;
                    let count = fields.list::<Vec<B256>>("blobVersionedHashes", self.blobs)?.len() as u64;
                    let most = need("maxFeePerBlobGas", self.most_for_blobs, json::u128)?;
                    blobs = Some((BLOB_GAS.saturating_mul(count), most));
                }
                if kind == 4 {
                    authorizations = fields.list("authorizationList", self.authorizations)?;
                }
                input
            }
            _ => return Ok(None),
        };
        let to_be_signed = fields.all();
        let signed = if kind == DEPOSIT { None } else { Some(self.sign(kind, &mut fields)?) };
        let (bytes, before) = fields.typed(kind);
        let within = |range: Range<usize>| before + range.start..before + range.end;
        let signed = signed.map(|(chain, signature)| Signed { fields: within(to_be_signed), chain, signature });
        Ok(Some(Encoded { bytes, input: within(input), signed, blobs, authorizations }))
    }

    /// Adds the signature; and the chain that it names.
    fn sign(&self, kind: u8, fields: &mut Fields) -> Result<(Option<u128>, Signature), Wrong> {
        let (r, s) = (need("r", self.r, json::u256)?, need("s", self.s, json::u256)?);
        let text = self.y_parity.filter(|_| kind > 0).or(self.v);
        let v = need("v", text, json::u128)?;
        // EIP-155: what is signed names the chain, which the signature names again.
        let chain = (kind == 0 && v >= 35).then(|| (v - 35) / 2);
        let is_odd = (v % 2 == 1) != (chain.is_some() || v >= 27);
        if kind == 0 {
            fields.number("v", text)?;
        } else {
            fields.encode(is_odd);
        }
        fields.number("r", self.r)?;
        fields.number("s", self.s)?;
        Ok((chain, Signature::new(r, s, is_odd)))
    }
}

/// Fields as RLP, one after the other, behind room for what comes before them.
struct Fields(Vec<u8>);

impl Fields {
    /// A type, and the header of a list.
    const ROOM: usize = 10;

    fn new() -> Fields {
        let mut bytes = Vec::with_capacity(256);
        bytes.resize(Fields::ROOM, 0);
        Fields(bytes)
    }

    /// Where they are among themselves.
    fn all(&self) -> Range<usize> {
        0..self.0.len() - Fields::ROOM
    }

    /// A list of them, behind its type if it has one; and how much comes before them.
    fn typed(mut self, kind: u8) -> (Vec<u8>, usize) {
        let mut before = Vec::with_capacity(Fields::ROOM);
        typed_header(kind, self.all().len(), &mut before);
        let unused = Fields::ROOM - before.len();
        self.0[unused..Fields::ROOM].copy_from_slice(&before);
        self.0.drain(..unused);
        (self.0, before.len())
    }

    fn encode(&mut self, field: impl Encodable) {
        field.encode(&mut self.0);
    }

    fn number(&mut self, name: &'static str, text: Text<'_>) -> Result<(), Wrong> {
        let (bytes, length) = need(name, text, json::number)?;
        self.encode(&bytes[32 - length..]);
        Ok(())
    }

    /// Says where they are.
    fn bytes(&mut self, name: &'static str, text: Text<'_>) -> Result<Range<usize>, Wrong> {
        let text = text.ok_or(Wrong::Missing(name))?;
        let payload_length = text.len().saturating_sub(4) / 2;
        if payload_length == 1 {
            let [byte] = json::bytes(text).ok_or(Wrong::Field(name))?;
            self.encode(&[byte][..]);
        } else {
            Header { list: false, payload_length }.encode(&mut self.0);
            json::extend(&mut self.0, text).ok_or(Wrong::Field(name))?;
        }
        let all = self.all();
        Ok(all.end - payload_length..all.end)
    }

    fn recipient(&mut self, text: Text<'_>) -> Result<(), Wrong> {
        match text {
            Some(_) => self.bytes("to", text).map(drop),
            None => {
                self.encode(&[][..] as &[u8]);
                Ok(())
            }
        }
    }

    fn list<T: Encodable + for<'a> Deserialize<'a> + Default>(
        &mut self,
        name: &'static str,
        text: Text<'_>,
    ) -> Result<T, Wrong> {
        let list = need(name, text, |text| match text {
            b"[]" => Some(T::default()),
            text => serde_json::from_slice(text).ok(),
        })?;
        self.encode(&list);
        Ok(list)
    }
}

/// A list of these fields, which are RLP already, behind its type if it has one.
fn typed(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let payload_length = fields.iter().map(|some| some.len()).sum();
    let mut bytes = Vec::with_capacity(payload_length + 6);
    typed_header(kind, payload_length, &mut bytes);
    fields.iter().for_each(|some| bytes.extend_from_slice(some));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxEnvelope, TxLegacy};
    use alloy::eips::eip2718::Encodable2718;
    use alloy::eips::eip2930::AccessListItem;
    use alloy::eips::eip7702::Authorization;
    use alloy::primitives::Bytes;
    use alloy::signers::SignerSync;
    use alloy::signers::local::PrivateKeySigner;
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
            assert_eq!((read.check(keccak256(&read.bytes)), read.check_sender()), (Ok(()), Ok(())), "{json}");
            assert_eq!(read.gas_price(1), 30_000_000_000u128.min(if read.kind < 2 { u128::MAX } else { 1 }), "{json}");
            assert_eq!(read.blobs, (read.kind == 3).then_some((2 * BLOB_GAS, 9)), "{json}");
            let another = Transaction { sender: Address::ZERO, ..read.clone() };
            assert!(another.check_sender().unwrap_err().contains(&signer.to_string()));
            assert!(Transaction { id: B256::ZERO, ..read.clone() }.check(keccak256(&read.bytes)).is_err());
            // Whom a test node impersonates is named where a signature would be.
            let mut by_name = json.clone();
            let name = U256::from_be_slice(signer.as_slice());
            (by_name["r"], by_name["s"]) = (json!(name), json!(name));
            let by_name: Transaction = serde_json::from_value(by_name).unwrap();
            assert!(by_name.is_signed_by_name() && !read.is_signed_by_name() && by_name.check_sender().is_err());
            // What is left out is named.
            for field in json
                .as_object()
                .unwrap()
                .keys()
                .filter(|name| !["type", "v", "yParity", "to", "chainId", "nonce"].contains(&name.as_str()))
            {
                let mut less = json.clone();
                less.as_object_mut().unwrap().remove(field);
                let is_unused = read.kind > 1 && field == "gasPrice";
                let is_named = match serde_json::from_value::<Transaction>(less) {
                    Ok(less) => less.lacks == Some(field),
                    Err(error) => error.to_string().contains(field),
                };
                assert!(is_unused || is_named, "{field} of {json}");
            }
        }
    }
}
