//! Receipts, and the logs in them.

use alloy::primitives::{Address, B256, Bloom, Log, LogData, U256};
use alloy::rlp::Encodable;
use serde::{Deserialize, Deserializer};

use super::{DEPOSIT, Place, Text, kind_of, need, read, typed_header};
use crate::json::{self, FromJson, Json, Wrong};

/// What a transaction did, as blocks commit to it, and what the node says beside that.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) place: Place,
    /// Of which transaction it says it is, and how much gas that used by itself: nothing is made of either.
    pub(crate) id: Option<B256>,
    pub(crate) gas_used: Option<u64>,
    pub(crate) kind: u8,
    pub(crate) succeeded: Option<bool>,
    /// What there was instead before the Byzantium fork (EIP-658).
    pub(crate) state_root: Option<B256>,
    /// By it and all before it in the block.
    pub(crate) gas: u64,
    pub(crate) bloom: Bloom,
    pub(crate) logs: Vec<Log>,
    /// A deposit's nonce, and the version of its receipt, without which the root leaves the nonce out too (op-geth's `EncodeIndex`).
    pub(crate) deposit: [Option<u64>; 2],
    /// The contract that a deposit created, to which no root commits.
    pub(crate) contract: Option<Address>,
    /// The price of its blobs' gas, to which no root commits.
    pub(crate) blob_gas_price: Option<u128>,
    /// What its sender paid for its bytes on the chain below (OP stack), to which no root commits.
    pub(crate) l1_fee: U256,
    /// What it paid for each gas, by the node's word.
    pub(crate) gas_price: Option<u128>,
    pub(crate) operator: Operator,
    /// The greatest of its logs' numbers within the block.
    pub(crate) last_log: Option<u64>,
}

/// OP stack since Isthmus: what its operator takes of each gas, and of each transaction; since Jovian by another rule (`specs/protocol/isthmus`,
/// `jovian`: operator fee).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Operator {
    scalar: u64,
    constant: u64,
    since_jovian: bool,
}

impl Receipt {
    /// Adds what the block's root commits to.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let status = self.succeeded.unwrap_or_default();
        let outcome: &dyn Encodable = match &self.state_root {
            Some(root) => root,
            None => &status,
        };
        let deposit: &[Option<u64>] = if self.deposit[1].is_some() { &self.deposit } else { &[] };
        let deposit = deposit.iter().flatten();
        let lengths: usize = deposit.clone().map(Encodable::length).sum();
        let payload_length = outcome.length() + self.gas.length() + self.bloom.length() + self.logs.length() + lengths;
        typed_header(self.kind, payload_length, bytes);
        outcome.encode(bytes);
        self.gas.encode(bytes);
        self.bloom.encode(bytes);
        self.logs.encode(bytes);
        deposit.for_each(|number| number.encode(bytes));
    }

    /// What its sender paid the operator for so much gas.
    pub(crate) fn operator_fee(&self, gas: u64) -> U256 {
        let Operator { scalar, constant, since_jovian } = self.operator;
        let by_gas = U256::from(gas) * U256::from(scalar);
        let by_gas = if since_jovian { by_gas * U256::from(100) } else { by_gas / U256::from(1_000_000) };
        by_gas + U256::from(constant)
    }
}

texts!(ReceiptTexts {
    kind = b"type",
    status = b"status",
    root = b"root",
    gas = b"cumulativeGasUsed",
    bloom = b"logsBloom",
    blob_gas_price = b"blobGasPrice",
    l1_fee = b"l1Fee",
    gas_price = b"effectiveGasPrice",
    operator_scalar = b"operatorFeeScalar",
    operator_constant = b"operatorFeeConstant",
    footprint_scalar = b"daFootprintGasScalar",
    deposit_nonce = b"depositNonce",
    deposit_version = b"depositReceiptVersion",
    contract = b"contractAddress",
    block_hash = b"blockHash",
    block_number = b"blockNumber",
    index = b"transactionIndex",
    id = b"transactionHash",
    gas_used = b"gasUsed",
});

impl FromJson for Receipt {
    fn from_json(json: &mut Json<'_>) -> Result<Receipt, Wrong> {
        let (mut texts, mut logs, mut last_log) = (ReceiptTexts::default(), None, None);
        json.fields(|name, json| match name {
            b"logs" => {
                let logs = logs.get_or_insert_with(Vec::new);
                json.items(|json| {
                    let (log, number) = log_from_json(json)?;
                    logs.push(log);
                    last_log = last_log.max(number);
                    Ok(())
                })
            }
            _ => texts.take(name, json),
        })?;
        let kind = kind_of(texts.kind)?;
        if texts.status.is_none() && texts.root.is_none() {
            return Err(Wrong::Missing("status"));
        }
        let is_deposit = kind == DEPOSIT;
        Ok(Receipt {
            place: Place::read(texts.block_hash, texts.block_number, texts.index)?,
            id: read("transactionHash", texts.id, json::hash)?,
            gas_used: read("gasUsed", texts.gas_used, json::u64)?,
            kind,
            state_root: read("root", texts.root.filter(|_| texts.status.is_none()), json::hash)?,
            succeeded: read("status", texts.status, json::u64)?.map(|status| status == 1),
            gas: need("cumulativeGasUsed", texts.gas, json::u64)?,
            bloom: need("logsBloom", texts.bloom, json::bytes)?.into(),
            logs: logs.ok_or(Wrong::Missing("logs"))?,
            deposit: [
                read("depositNonce", texts.deposit_nonce.filter(|_| is_deposit), json::u64)?,
                read("depositReceiptVersion", texts.deposit_version.filter(|_| is_deposit), json::u64)?,
            ],
            contract: read("contractAddress", texts.contract.filter(|_| is_deposit), json::address)?,
            blob_gas_price: read("blobGasPrice", texts.blob_gas_price, json::u128)?,
            l1_fee: read("l1Fee", texts.l1_fee, json::u256)?.unwrap_or_default(),
            gas_price: read("effectiveGasPrice", texts.gas_price, json::u128)?,
            operator: Operator {
                scalar: read("operatorFeeScalar", texts.operator_scalar, json::u64)?.unwrap_or_default(),
                constant: read("operatorFeeConstant", texts.operator_constant, json::u64)?.unwrap_or_default(),
                since_jovian: texts.footprint_scalar.is_some(),
            },
            last_log,
        })
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Receipt, D::Error> {
        json::deserialize(json)
    }
}

texts!(LogTexts { address = b"address", data = b"data", index = b"logIndex" });

/// A log, and its number within the block.
fn log_from_json(json: &mut Json<'_>) -> Result<(Log, Option<u64>), Wrong> {
    let (mut texts, mut topics) = (LogTexts::default(), None);
    json.fields(|name, json| match name {
        b"topics" => {
            let topics = topics.insert(Vec::new());
            json.items(|json| B256::from_json(json).map(|topic| topics.push(topic)))
        }
        _ => texts.take(name, json),
    })?;
    let data = need("data", texts.data, |text| {
        let mut data = Vec::new();
        json::extend(&mut data, text).map(|_| data)
    })?;
    let data = LogData::new_unchecked(topics.ok_or(Wrong::Missing("topics"))?, data.into());
    let address = need("address", texts.address, json::address)?;
    Ok((Log { address, data }, read("logIndex", texts.index, json::u64)?))
}
