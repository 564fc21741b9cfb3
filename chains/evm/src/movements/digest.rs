//! A block's verified answers, digested to what moves balances. Pure.

use std::collections::BTreeSet;

use alloy::consensus::Header;
use alloy::eips::eip4895::Withdrawal;
use alloy::eips::eip7702::SignedAuthorization;
use alloy::primitives::{Address, B256, Log, TxKind, U256};
use alloy::sol_types::{SolCall, SolEvent, sol};
use assay_types::{Account, Asset, Kind, Payment};

use crate::codec::{Receipt, Transaction};

sol! {
    #![sol(alloy_sol_types = alloy::sol_types)]
    /// ERC-20's event. ERC-721's has the same first topic, and one topic more.
    event Transfer(address indexed from, address indexed to, uint256 value);
    /// ERC-20's payment.
    function transfer(address to, uint256 value) external returns (bool);
}

/// A block, as far as balances go. Everything in it was rebuilt from what the header commits to, except for what a transaction's bytes cost on the
/// chain below, `frames`, and transactions of which another thing is said.
#[derive(Debug, Default)]
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
    /// Does the block commit to it, and do we know how?
    pub(crate) is_committed: bool,
    /// And to its fee? What the OP stack takes for the chain below is in no root.
    pub(crate) is_fee_committed: bool,
    /// It is of a type that is not known here.
    pub(crate) is_foreign: bool,
    /// What a deposit from the chain below gave its sender before, whatever became of it.
    pub(crate) mint: U256,
    /// What it gave to whom it called, where it called anyone and that is known.
    pub(crate) input: Option<Vec<u8>>,
    pub(crate) succeeded: bool,
    /// What arrived; zero when it failed.
    pub(crate) value: U256,
    /// What the sender paid for gas and blobs, and on the OP stack for its bytes on the chain below and to the operator.
    pub(crate) fee: U256,
    /// The beneficiary's part of it.
    pub(crate) tip: U256,
    /// Its logs' first index within the block.
    pub(crate) first_log: u32,
    pub(crate) logs: Vec<Log>,
    /// EIP-7702: by which accounts get code, or lose it.
    pub(crate) authorizations: Vec<SignedAuthorization>,
    /// What its calls moved, as the node's trace says, in the order of execution. Nothing where there is no trace.
    pub(crate) frames: Vec<Frame>,
    /// Payees that are not watched, of whom nothing proves that they got what these transfers say; and payers of watched accounts, whose payment may
    /// have been the coins of another transaction.
    pub(crate) unproven: BTreeSet<Address>,
    /// What its trace says again, with the place among those: moved once more, or told twice.
    pub(crate) repeated: Vec<(usize, Frame)>,
    /// The contracts that were created, as its trace says.
    pub(crate) created: Vec<Address>,
    /// Is it known what it paid by calls?
    pub(crate) is_told: bool,
    /// Polygon's state sync: nobody sent it, and nodes leave its trace out, or begin it with a call of their own.
    pub(crate) is_state_sync: bool,
}

/// Native coins that a call within a transaction moved. From an account to itself they go where it destroys itself with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) value: U256,
    pub(crate) kind: Kind,
}

/// The gas of a plain transfer, which runs no code. Refunds, or rules to come, may take others below it, so that only exactly this counts.
const PLAIN_GAS: u64 = 21_000;

/// An ERC-20 payment in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenTransfer {
    pub(crate) token: Address,
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) value: U256,
}

impl Digest {
    /// Joins transactions and receipts, of which there must be equally many. `Err` says which transaction's receipt
    /// cannot be, and why. `is_price_told`: what gas costs is as the receipts say, for it may follow another rule than Ethereum's.
    pub(crate) fn new(
        header: &Header,
        is_price_told: bool,
        sent: Vec<Transaction>,
        receipts: Vec<Receipt>,
        withdrawals: &[Withdrawal],
    ) -> Result<Digest, (B256, String)> {
        let (mut first_log, mut gas_before) = (0, 0);
        let blob_prices = || sent.iter().zip(&receipts).filter(|(sent, _)| sent.blobs.is_some());
        let first_price = blob_prices().next().map(|(_, receipt)| receipt.blob_gas_price);
        if let Some((sent, _)) = blob_prices().find(|(_, receipt)| Some(receipt.blob_gas_price) != first_price) {
            return Err((
                sent.id,
                "its blobs have another price than those of another transaction of the block".into(),
            ));
        }
        // Every block of the OP stack begins with a deposit. Elsewhere there is no chain below that would be paid.
        let is_of_op_stack = sent.first().is_some_and(Transaction::is_deposit);
        let mut transactions = Vec::with_capacity(sent.len());
        for (sent, receipt) in sent.into_iter().zip(receipts) {
            let id = sent.id;
            let costs_below = is_of_op_stack && !sent.is_deposit();
            let price = receipt.gas_price.filter(|_| is_price_told);
            let tx = digested(header, &sent, receipt, price, costs_below, first_log, &mut gas_before)
                .map_err(|why| (id, why))?;
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
    sent: &Transaction,
    receipt: Receipt,
    price: Option<u128>,
    costs_below: bool,
    first_log: u32,
    gas_before: &mut u64,
) -> Result<Tx, String> {
    // Polygon's state sync is not counted.
    let gas = if receipt.gas == 0 { Some(0) } else { receipt.gas.checked_sub(*gas_before) };
    let gas = gas.ok_or("the gas used up to it is less than the gas used before it")?;
    *gas_before = receipt.gas;
    let succeeded = receipt.succeeded == Some(true);
    let base_fee = header.base_fee_per_gas.unwrap_or(0);
    let price = price.unwrap_or_else(|| sent.gas_price(base_fee));
    let tip_price = price.saturating_sub(base_fee.into());
    let blob_fee = blob_fee(sent, receipt.blob_gas_price)?;
    let is_blob_price_known = blob_fee.is_zero() || receipt.blob_gas_price.is_some_and(|price| may_cost(header, price));
    let (recipient, creates) = match sent.to {
        TxKind::Call(to) => (to, false),
        TxKind::Create => {
            let nonce = receipt.deposit[0].unwrap_or(sent.nonce);
            // Of a deposit, test nodes commit to the nonce after it.
            let earlier = nonce.checked_sub(1).map(|nonce| sent.sender.create(nonce));
            (earlier.filter(|_| earlier == receipt.contract).unwrap_or_else(|| sent.sender.create(nonce)), true)
        }
    };
    // neither product can overflow: 64 bits by 128 bits, and as much again
    let fee = U256::from(gas) * U256::from(price) + blob_fee;
    let below = if costs_below { receipt.l1_fee.saturating_add(receipt.operator_fee(gas)) } else { U256::ZERO };
    Ok(Tx {
        id: sent.id,
        sender: sent.sender,
        recipient,
        creates,
        is_committed: true,
        is_fee_committed: is_blob_price_known && below.is_zero(),
        is_foreign: sent.is_foreign,
        input: (gas != PLAIN_GAS && !sent.is_foreign).then(|| sent.input().to_vec()),
        succeeded,
        mint: sent.mint,
        value: if succeeded { sent.value } else { U256::ZERO },
        fee: fee.checked_add(below).ok_or("its fee on the chain below is more than there is")?,
        tip: U256::from(gas) * U256::from(tip_price),
        first_log,
        logs: receipt.logs,
        authorizations: sent.authorizations.clone(),
        frames: Vec::new(),
        unproven: BTreeSet::new(),
        repeated: Vec::new(),
        created: Vec::new(),
        // One that failed paid nobody.
        is_told: gas == PLAIN_GAS || !succeeded,
        is_state_sync: false,
    })
}

/// EIP-4844: blobs are paid for apart, at a price that is in the receipt, and at most what the sender allowed.
fn blob_fee(transaction: &Transaction, price: Option<u128>) -> Result<U256, String> {
    let Some((gas, most)) = transaction.blobs else { return Ok(U256::ZERO) };
    let price = price.ok_or("it carries blobs, and the price of their gas is not there")?;
    if price > most {
        return Err("its blobs cost more than their sender allowed".into());
    }
    Ok(U256::from(gas) * U256::from(price))
}

/// By how much the blobs of the blocks before raise the price: EIP-4844, EIP-7691, and the forks of EIP-7892 that are known here. By another rule a
/// price is the node's word.
const BLOB_FRACTIONS: [u64; 4] = [3_338_477, 5_007_716, 8_346_193, 11_684_671];

/// Can the gas of blobs cost this in the block?
fn may_cost(header: &Header, price: u128) -> bool {
    let excess = header.excess_blob_gas.unwrap_or_default();
    BLOB_FRACTIONS.iter().any(|fraction| exponential(excess, *fraction) == Some(U256::from(price)))
}

/// The fraction's power of e, as EIP-4844 has it (`fake_exponential`); nothing where no coin could be worth it. alloy's is of 128 bits, which what a
/// lying header says can exceed.
fn exponential(numerator: u64, denominator: u64) -> Option<U256> {
    if numerator / denominator > 80 {
        return None;
    }
    let (numerator, denominator) = (U256::from(numerator), U256::from(denominator));
    let (mut sum, mut term, mut nth) = (U256::ZERO, denominator, U256::ONE);
    while !term.is_zero() {
        sum += term;
        term = term * numerator / (denominator * nth);
        nth += U256::ONE;
    }
    Some(sum / denominator)
}

impl Tx {
    /// Everything that it paid to anyone: its value, then what its calls paid as far as that is known and not [`Tx::unproven`], then
    /// the tokens that `is_token` knows.
    pub(crate) fn payments(&self, is_token: impl Fn(&Address) -> bool) -> Vec<Payment> {
        let native = |to: Address, amount: U256| Payment {
            index: None,
            to: Account::new(to.as_slice()),
            asset: Asset::Native,
            amount: amount.into(),
        };
        let mut payments = Vec::new();
        for (to, amount) in [(self.sender, self.mint), (self.recipient, self.value)] {
            if !amount.is_zero() {
                payments.push(native(to, amount));
            }
        }
        let paid = self.frames.iter().filter(|frame| frame.from != frame.to && !self.unproven.contains(&frame.to));
        payments.extend(paid.map(|frame| native(frame.to, frame.value)));
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
    let TxKind::Call(to) = transaction.to else { return Vec::new() };
    let mut payments = Vec::new();
    if !transaction.value.is_zero() {
        let (to, amount) = (Account::new(to.as_slice()), transaction.value.into());
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

fn token_call(input: &[u8]) -> Option<transferCall> {
    (input.len() == 68).then(|| transferCall::abi_decode(input).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_cost_what_the_blocks_before_make_them_cost() {
        let header = |excess| Header { excess_blob_gas: Some(excess), ..Header::default() };
        // The examples of EIP-4844's reference tests.
        for (excess, price) in [(0, 1), (2_314_057, 1), (2_314_058, 2), (10 * 1024 * 1024, 23)] {
            assert!(may_cost(&header(excess), price), "{excess}");
            assert_eq!(exponential(excess, BLOB_FRACTIONS[0]), Some(U256::from(price)), "{excess}");
        }
        assert!(!may_cost(&header(2_314_058), 3) && !may_cost(&header(u64::MAX), u128::MAX));
        assert_eq!(exponential(50_000, 1_000), alloy_exponential(50_000, 1_000));
    }

    fn alloy_exponential(numerator: u128, denominator: u128) -> Option<U256> {
        Some(U256::from(alloy::eips::eip4844::fake_exponential(1, numerator, denominator)))
    }
}
