//! The play exchange's internal ledger: who owns what, to the unit, and what lies between it and the chains.
//!
//! It knows no chain. Statements are written from it, whatever the chains hold.

use std::collections::BTreeMap;

use assay_types::{Amount, Digest, Timestamp};
use serde_json::{Value, json};

use crate::failure::Failure;

/// One asset's ledger.
pub struct Ledger {
    /// The asset's symbol.
    pub symbol: &'static str,
    /// Its chain's alias.
    pub chain: &'static str,
    /// Its decimals.
    pub decimals: u8,
    /// What each customer owns.
    customers: BTreeMap<u32, Amount>,
    /// The house's own.
    house: Amount,
    /// What was funded for rewards.
    inventory: Option<Amount>,
    /// Withdrawn here, and not yet settled on chain.
    pending_withdrawals: Vec<Item>,
    /// On chain, and not yet here.
    uncredited_deposits: Vec<Item>,
    /// Here, and not yet on chain.
    unconfirmed_credits: Vec<Item>,
    flows: BTreeMap<&'static str, Amount>,
}

/// Something between ledger and chain.
#[derive(Clone, Default)]
pub struct Item {
    /// Whose it is.
    pub customer: u32,
    /// How much.
    pub amount: Amount,
    /// To where; withdrawals have it.
    pub address: Option<String>,
    /// Its transaction, once there is one.
    pub txid: Option<String>,
    /// `vout` or `log_index`, with its number.
    pub place: Option<(&'static str, u64)>,
}

impl Item {
    fn json(&self, ledger: &Ledger) -> Value {
        let mut item = json!({ "chain": ledger.chain, "amount": self.amount.to_coins(ledger.decimals) });
        if let Some(address) = &self.address {
            item["address"] = json!(address);
        }
        if let Some(txid) = &self.txid {
            item["txid"] = json!(txid);
        }
        if let Some((name, number)) = self.place {
            item[name] = json!(number);
        }
        item
    }
}

impl Ledger {
    /// An empty ledger.
    pub fn new(symbol: &'static str, chain: &'static str, decimals: u8) -> Ledger {
        Ledger {
            symbol,
            chain,
            decimals,
            customers: BTreeMap::new(),
            house: Amount::ZERO,
            inventory: None,
            pending_withdrawals: vec![],
            uncredited_deposits: vec![],
            unconfirmed_credits: vec![],
            flows: BTreeMap::new(),
        }
    }

    /// What all customers own.
    pub fn customers(&self) -> Result<Amount, Failure> {
        total(self.customers.values().copied())
    }

    /// The house's own.
    pub fn house(&self) -> Amount {
        self.house
    }

    /// What the chain must hold, if this ledger is true.
    pub fn expected_holdings(&self) -> Result<Amount, Failure> {
        let owed = plus(self.customers()?, plus(of(&self.pending_withdrawals)?, of(&self.uncredited_deposits)?)?)?;
        minus(plus(owed, self.house)?, of(&self.unconfirmed_credits)?)
    }

    /// What it owes: customers, withdrawals on their way, deposits not yet credited.
    pub fn owed(&self) -> Result<Amount, Failure> {
        plus(self.customers()?, plus(of(&self.pending_withdrawals)?, of(&self.uncredited_deposits)?)?)
    }

    /// A customer's coins came in.
    pub fn deposit(&mut self, customer: u32, amount: Amount) -> Result<(), Failure> {
        self.flow("deposits", amount)?;
        self.credit(customer, amount)
    }

    /// The same amount for many customers, the remainder for the first.
    pub fn deposit_spread(&mut self, total: Amount, among: u32) -> Result<(), Failure> {
        let (each, rest) = total.0.div_rem(Amount::from(u64::from(among)).0);
        (0..among).try_for_each(|customer| self.deposit(customer, each.into()))?;
        self.deposit(0, rest.into())
    }

    /// A customer takes coins out: they are on their way from now on. Gives the item's number.
    pub fn withdraw(&mut self, customer: u32, amount: Amount, address: &str) -> Result<(), Failure> {
        self.flow("withdrawals", amount)?;
        self.debit(customer, amount)?;
        let item = Item { customer, amount, address: Some(address.to_owned()), ..Item::default() };
        self.pending_withdrawals.push(item);
        Ok(())
    }

    /// The withdrawals to this address have a transaction now.
    pub fn withdrawal_sent(&mut self, address: &str, txid: &str) {
        let to = |item: &&mut Item| item.address.as_deref() == Some(address);
        self.pending_withdrawals.iter_mut().filter(to).for_each(|item| item.txid = Some(txid.to_owned()));
    }

    /// A block has this transaction: what waited for it is done.
    pub fn settled(&mut self, txid: &str) {
        let waits = |item: &Item| item.txid.as_deref() != Some(txid);
        self.pending_withdrawals.retain(waits);
        self.unconfirmed_credits.retain(waits);
    }

    /// A deposit was seen on chain, and is not credited yet.
    pub fn deposit_seen(&mut self, item: Item) {
        self.uncredited_deposits.push(item);
    }

    /// Every deposit that was seen is credited.
    pub fn credit_seen(&mut self) -> Result<(), Failure> {
        let seen = std::mem::take(&mut self.uncredited_deposits);
        seen.into_iter().try_for_each(|item| self.deposit(item.customer, item.amount))
    }

    /// A deposit is credited before its block.
    pub fn credit_early(&mut self, item: Item) -> Result<(), Failure> {
        self.deposit(item.customer, item.amount)?;
        self.unconfirmed_credits.push(item);
        Ok(())
    }

    /// Writes a credit into the list without crediting anybody: a lie.
    pub fn invent_credit(&mut self, item: Item) {
        self.unconfirmed_credits.push(item);
    }

    /// Takes every entry of that list back.
    pub fn forget_credits(&mut self) {
        self.unconfirmed_credits.clear();
    }

    /// The house pays a fee to the chain.
    pub fn pay_fee(&mut self, fee: Amount) -> Result<(), Failure> {
        self.house = minus(self.house, fee)?;
        Ok(())
    }

    /// The house brings coins of its own.
    pub fn house_brings(&mut self, amount: Amount) -> Result<(), Failure> {
        self.house = plus(self.house, amount)?;
        Ok(())
    }

    /// The house sets aside so much for rewards.
    pub fn set_aside(&mut self, inventory: Amount) {
        self.inventory = Some(inventory);
    }

    /// Credits a customer with coins that came from nowhere. Nothing here stops it: that is the story.
    pub fn reward(&mut self, customer: u32, amount: Amount) -> Result<(), Failure> {
        self.flow("rewards", amount)?;
        self.credit(customer, amount)
    }

    /// One customer sells to another.
    pub fn trade(&mut self, seller: u32, buyer: u32, amount: Amount) -> Result<(), Failure> {
        self.debit(seller, amount)?;
        self.credit(buyer, amount)
    }

    fn credit(&mut self, customer: u32, amount: Amount) -> Result<(), Failure> {
        let balance = self.customers.entry(customer).or_default();
        *balance = plus(*balance, amount)?;
        Ok(())
    }

    fn debit(&mut self, customer: u32, amount: Amount) -> Result<(), Failure> {
        let balance = self.customers.entry(customer).or_default();
        *balance = minus(*balance, amount)?;
        Ok(())
    }

    fn flow(&mut self, name: &'static str, amount: Amount) -> Result<(), Failure> {
        let sum = self.flows.entry(name).or_default();
        *sum = plus(*sum, amount)?;
        Ok(())
    }

    fn report(&mut self) -> Result<Value, Failure> {
        let coins = |amount: Amount| amount.to_coins(self.decimals);
        let list = |items: &[Item]| items.iter().map(|item| item.json(self)).collect::<Vec<_>>();
        let mut report = json!({
            "asset": self.symbol,
            "customers": coins(self.customers()?),
            "house": coins(self.house),
            "negative": "0",
            "pending_withdrawals": list(&self.pending_withdrawals),
            "uncredited_deposits": list(&self.uncredited_deposits),
            "unconfirmed_credits": list(&self.unconfirmed_credits),
            "flows": self.flows.iter().map(|(name, amount)| (*name, coins(*amount))).collect::<BTreeMap<_, _>>(),
        });
        if let Some(inventory) = self.inventory {
            report["inventory"] = json!(coins(inventory));
        }
        self.flows.clear();
        Ok(report)
    }
}

/// Everything that a statement says beside the ledgers.
pub struct Head {
    /// The instant.
    pub as_of: Timestamp,
    /// The last block of each chain: alias, height, hash.
    pub blocks: Vec<(&'static str, u64, String)>,
    /// Balances of wallets, as the exchange's own nodes say: chain, address, symbol, coins.
    pub wallets: Vec<(&'static str, String, &'static str, String)>,
}

/// Numbers the statements and links each to the one before.
#[derive(Default)]
pub struct Chronicle {
    sequence: u64,
    previous: Option<Digest>,
}

impl Chronicle {
    /// The next statement: its number and its bytes.
    pub fn next(&mut self, head: &Head, ledgers: &mut [&mut Ledger]) -> Result<(u64, Vec<u8>), Failure> {
        self.sequence += 1;
        let blocks: BTreeMap<_, _> = head
            .blocks
            .iter()
            .map(|(chain, height, hash)| (*chain, json!({ "height": height, "hash": hash })))
            .collect();
        let wallets = head.wallets.iter().map(|(chain, address, symbol, claimed)| {
            json!({ "chain": chain, "address": address, "asset": symbol, "claimed": claimed })
        });
        let mut statement = json!({
            "format": "assay.statement/1",
            "exchange": "acme",
            "sequence": self.sequence,
            "as_of": { "time": head.as_of.to_string(), "blocks": blocks },
            "assets": ledgers.iter_mut().map(|ledger| ledger.report()).collect::<Result<Vec<_>, _>>()?,
            "wallets": wallets.collect::<Vec<_>>(),
        });
        if let Some(previous) = self.previous {
            statement["previous"] = json!(previous);
        }
        let bytes = format!("{statement:#}\n").into_bytes();
        self.previous = Some(Digest::of(&bytes));
        Ok((self.sequence, bytes))
    }
}

fn of(items: &[Item]) -> Result<Amount, Failure> {
    total(items.iter().map(|item| item.amount))
}

/// The sum of amounts.
pub fn total(amounts: impl IntoIterator<Item = Amount>) -> Result<Amount, Failure> {
    amounts.into_iter().try_fold(Amount::ZERO, plus)
}

/// The sum of two.
pub fn plus(one: Amount, other: Amount) -> Result<Amount, Failure> {
    one.checked_add(other).ok_or_else(|| super::broken("an amount of the play is too large"))
}

/// What is left.
pub fn minus(from: Amount, amount: Amount) -> Result<Amount, Failure> {
    from.checked_sub(amount).ok_or_else(|| super::broken("somebody in the play spends more than there is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coin_is_somewhere() {
        let mut book = Ledger::new("BTC", "bitcoin", 8);
        book.deposit_spread(Amount::from(1_001), 10).unwrap();
        book.house_brings(Amount::from(50)).unwrap();
        book.withdraw(3, Amount::from(40), "bcrt1q").unwrap();
        book.credit_early(Item { amount: Amount::from(7), ..Item::default() }).unwrap();
        book.deposit_seen(Item { amount: Amount::from(5), ..Item::default() });
        assert_eq!(book.customers().unwrap(), Amount::from(968));
        assert_eq!(book.owed().unwrap(), Amount::from(1_013));
        assert_eq!(book.expected_holdings().unwrap(), Amount::from(1_056));
        book.withdrawal_sent("bcrt1q", "aa");
        book.settled("aa");
        book.pay_fee(Amount::from(1)).unwrap();
        book.credit_seen().unwrap();
        assert_eq!(book.expected_holdings().unwrap(), Amount::from(1_015));
        assert!(book.withdraw(3, Amount::from(1_000), "bcrt1q").is_err());
    }

    #[test]
    fn statements_are_numbered_and_linked() {
        let mut book = Ledger::new("BTC", "bitcoin", 8);
        let mut chronicle = Chronicle::default();
        let head = Head { as_of: Timestamp::from_unix_s(0), blocks: vec![], wallets: vec![] };
        let (_, first) = chronicle.next(&head, &mut [&mut book]).unwrap();
        let (number, second) = chronicle.next(&head, &mut [&mut book]).unwrap();
        let second: Value = serde_json::from_slice(&second).unwrap();
        assert_eq!((number, &second["previous"]), (2, &json!(Digest::of(&first))));
    }
}
