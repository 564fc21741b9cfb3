//! A block's verified answers, digested to what moves balances. Pure.

use alloy::consensus::{Eip658Value, Header, ReceiptEnvelope, Transaction as _};
use alloy::eips::eip4895::Withdrawal;
use alloy::primitives::{Address, B256, Bytes, Log, TxKind, U256};
use alloy::sol_types::{SolCall, SolEvent, sol};
use assay_types::{Account, Asset, Payment};

use crate::trace::Frame;
use crate::verify::Transaction;

sol! {
    #![sol(alloy_sol_types = alloy::sol_types)]
    /// ERC-20's event. ERC-721's has the same first topic, and one topic more.
    event Transfer(address indexed from, address indexed to, uint256 value);
    /// ERC-20's payment.
    function transfer(address to, uint256 value) external returns (bool);
}

/// A block, as far as balances go. Everything in it was rebuilt from what the header commits to, except for a blob's
/// price and `changes`.
#[derive(Debug)]
pub(crate) struct Digest {
    /// Who gets the tips.
    pub(crate) beneficiary: Address,
    /// In order.
    pub(crate) transactions: Vec<Tx>,
    /// In order: to whom, and wei.
    pub(crate) withdrawals: Vec<(Address, U256)>,
}

/// One transaction.
#[derive(Debug)]
pub(crate) struct Tx {
    pub(crate) id: B256,
    pub(crate) sender: Address,
    /// To whom the value goes: for a creation, the contract's address.
    pub(crate) recipient: Address,
    pub(crate) creates: bool,
    /// What arrived; zero when it failed.
    pub(crate) value: U256,
    /// What the sender paid for gas and blobs.
    pub(crate) fee: U256,
    /// The beneficiary's part of it.
    pub(crate) tip: U256,
    /// Its logs' first index within the block.
    pub(crate) first_log: u32,
    pub(crate) logs: Vec<Log>,
    /// What the node's trace says that it did to native balances, by address; `None` where there is no trace.
    pub(crate) changes: Option<Vec<Change>>,
    /// By which calls, where that was asked for.
    pub(crate) frames: Vec<Frame>,
}

/// A native balance before and after a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) account: Address,
    pub(crate) before: U256,
    pub(crate) after: U256,
}

/// An ERC-20 payment in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenTransfer {
    pub(crate) token: Address,
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) value: U256,
}

/// A transaction with its sender, as the node gives them.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) transaction: Transaction,
    pub(crate) sender: Address,
}

/// A receipt with the price of its blobs, which no root commits to.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) receipt: ReceiptEnvelope,
    pub(crate) blob_gas_price: Option<u128>,
}

impl Digest {
    /// Joins transactions and receipts, of which there must be equally many. `Err` says which transaction's receipt
    /// cannot be, and why.
    pub(crate) fn new(
        header: &Header,
        sent: Vec<Sent>,
        received: Vec<Received>,
        withdrawals: &[Withdrawal],
    ) -> Result<Digest, (B256, String)> {
        let (mut first_log, mut gas_before) = (0, 0);
        let blob_prices = || sent.iter().zip(&received).filter(|(sent, _)| sent.transaction.is_eip4844());
        let first_price = blob_prices().next().map(|(_, received)| received.blob_gas_price);
        if let Some((sent, _)) = blob_prices().find(|(_, received)| Some(received.blob_gas_price) != first_price) {
            let why = "its blobs have another price than those of another transaction of the block";
            return Err((*sent.transaction.tx_hash(), why.into()));
        }
        let mut transactions = Vec::with_capacity(sent.len());
        for (sent, received) in sent.into_iter().zip(received) {
            let id = *sent.transaction.tx_hash();
            let tx = digested(header, sent, received, first_log, &mut gas_before).map_err(|why| (id, why))?;
            first_log += u32::try_from(tx.logs.len()).map_err(|_| (id, "it has more logs than can be".to_owned()))?;
            transactions.push(tx);
        }
        let withdrawals =
            withdrawals.iter().map(|w| (w.address, U256::from(w.amount) * U256::from(1_000_000_000u64))).collect();
        Ok(Digest { beneficiary: header.beneficiary, transactions, withdrawals })
    }
}

fn digested(
    header: &Header,
    sent: Sent,
    received: Received,
    first_log: u32,
    gas_before: &mut u64,
) -> Result<Tx, String> {
    let Sent { transaction, sender } = sent;
    let receipt = received.receipt.into_receipt();
    let Eip658Value::Eip658(succeeded) = receipt.status else {
        return Err("it has no status".into());
    };
    let gas = receipt
        .cumulative_gas_used
        .checked_sub(*gas_before)
        .ok_or("the gas used up to it is less than the gas used before it")?;
    *gas_before = receipt.cumulative_gas_used;
    let price = transaction.effective_gas_price(header.base_fee_per_gas);
    let tip_price = price.saturating_sub(u128::from(header.base_fee_per_gas.unwrap_or(0)));
    let blob_fee = blob_fee(&transaction, received.blob_gas_price)?;
    let (recipient, creates) = match transaction.kind() {
        TxKind::Call(to) => (to, false),
        TxKind::Create => (sender.create(transaction.nonce()), true),
    };
    Ok(Tx {
        id: *transaction.tx_hash(),
        sender,
        recipient,
        creates,
        value: if succeeded { transaction.value() } else { U256::ZERO },
        // neither can overflow: 64 bits by 128 bits, and as much again
        fee: U256::from(gas) * U256::from(price) + blob_fee,
        tip: U256::from(gas) * U256::from(tip_price),
        first_log,
        logs: receipt.logs,
        changes: None,
        frames: Vec::new(),
    })
}

/// EIP-4844: blobs are paid for apart, at a price that is in the receipt, and at most what the sender allowed.
fn blob_fee(transaction: &Transaction, price: Option<u128>) -> Result<U256, String> {
    let Some(gas) = transaction.blob_gas_used() else { return Ok(U256::ZERO) };
    let price = price.ok_or("it carries blobs, and the price of their gas is not there")?;
    if transaction.max_fee_per_blob_gas().is_none_or(|most| price > most) {
        return Err("its blobs cost more than their sender allowed".into());
    }
    Ok(U256::from(gas) * U256::from(price))
}

impl Tx {
    /// What the trace says of an account that fee, value and tip do not explain: (credit, debit), of which one is zero.
    /// `None` for a sum that no balance can have.
    pub(crate) fn unexplained(&self, change: &Change, beneficiary: Address) -> Option<(U256, U256)> {
        let is = |role: Address| role == change.account;
        let when = |role: bool, amount: U256| if role { amount } else { U256::ZERO };
        let paid = when(is(self.sender), self.fee).checked_add(when(is(self.sender), self.value))?;
        let got = when(is(self.recipient), self.value).checked_add(when(is(beneficiary), self.tip))?;
        let expected_and_debits = change.before.checked_add(got)?;
        let actual_and_debits = change.after.checked_add(paid)?;
        Some((
            actual_and_debits.saturating_sub(expected_and_debits),
            expected_and_debits.saturating_sub(actual_and_debits),
        ))
    }

    /// Everything that it paid to anyone: its value, then native coins by internal calls as far as they are known, then
    /// the tokens that `is_token` knows.
    pub(crate) fn payments(&self, beneficiary: Address, is_token: impl Fn(&Address) -> bool) -> Vec<Payment> {
        let native = |to: Address, amount: U256| Payment {
            index: None,
            to: Account::new(to.as_slice()),
            asset: Asset::Native,
            amount: amount.into(),
        };
        let mut payments = Vec::new();
        if !self.value.is_zero() {
            payments.push(native(self.recipient, self.value));
        }
        for change in self.changes.iter().flatten() {
            match self.unexplained(change, beneficiary) {
                Some((credit, _)) if !credit.is_zero() => payments.push(native(change.account, credit)),
                _ => {}
            }
        }
        for (index, log) in (self.first_log..).zip(&self.logs) {
            if let Some(moved) = token_transfer(log).filter(|moved| is_token(&moved.token)) {
                payments.push(Payment {
                    index: Some(index),
                    to: Account::new(moved.to.as_slice()),
                    asset: Asset::Token(moved.token.into()),
                    amount: moved.value.into(),
                });
            }
        }
        payments
    }
}

/// An ERC-20 `Transfer`: three topics, the two addresses among them clean, and one word of data. Anything else is none.
pub(crate) fn token_transfer(log: &Log) -> Option<TokenTransfer> {
    let [topic, from, to] = log.topics() else { return None };
    if *topic != Transfer::SIGNATURE_HASH || log.data.data.len() != 32 {
        return None;
    }
    let address = |word: &B256| word[..12].iter().all(|b| *b == 0).then(|| Address::from_word(*word));
    Some(TokenTransfer {
        token: log.address,
        from: address(from)?,
        to: address(to)?,
        value: U256::from_be_slice(&log.data.data),
    })
}

/// What a transaction that has not run yet would pay: its value, or a token's plain `transfer`.
pub(crate) fn promised(transaction: &Transaction, is_token: impl Fn(&Address) -> bool) -> Vec<Payment> {
    let TxKind::Call(to) = transaction.kind() else { return Vec::new() };
    let mut payments = Vec::new();
    if !transaction.value().is_zero() {
        let (to, amount) = (Account::new(to.as_slice()), transaction.value().into());
        payments.push(Payment { index: None, to, asset: Asset::Native, amount });
    }
    if is_token(&to)
        && let Some(call) = token_call(transaction.input())
    {
        let (asset, amount) = (Asset::Token(to.into()), call.value.into());
        payments.push(Payment { index: None, to: Account::new(call.to.as_slice()), asset, amount });
    }
    payments
}

fn token_call(input: &Bytes) -> Option<transferCall> {
    (input.len() == 68).then(|| transferCall::abi_decode(input).ok()).flatten()
}
