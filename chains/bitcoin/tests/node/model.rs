//! The naive store: every watched coin in a map, every header kept.

use std::collections::{HashMap, HashSet};

use assay_bitcoin::BitcoinChain;
use assay_testnodes::Bitcoind;
use assay_types::{
    Account, AccountNo, Addresses, Amount, Ancestors, BlockRef, Chain, Effect, Header, Height, Outpoint, Reads, Watch,
};
use serde_json::json;
use serde_json::value::RawValue;

pub struct Model {
    pub watch: Watch,
    coins: HashMap<Outpoint, (AccountNo, Amount)>,
    headers: Headers,
}

#[derive(Default)]
struct Headers(Vec<Header>);

impl Ancestors for Headers {
    fn header(&self, height: Height) -> Option<Header> {
        self.0.get(usize::try_from(height.0).unwrap()).cloned()
    }
}

impl Model {
    pub fn of(accounts: &[Account]) -> Model {
        let watch = accounts.iter().cloned().zip((0..).map(AccountNo)).collect();
        Model { watch, coins: HashMap::new(), headers: Headers::default() }
    }

    /// Follows the chain up to the node's tip.
    pub fn follow(&mut self, chain: &BitcoinChain) {
        let tip = chain.tip().unwrap().head;
        for height in self.headers.0.len() as u64..=tip.height.0 {
            let hash = chain.hash_at(Height(height)).unwrap().unwrap();
            let block = chain.block(BlockRef { height: Height(height), hash }, &self.watch, &Reads::ALL).unwrap();
            if let Some(parent) = self.headers.0.last() {
                assert_eq!(block.header.parent, parent.hash);
            }
            chain.check_header(&block.header, &self.headers).unwrap();
            self.headers.0.push(block.header.clone());
            let mut places: Vec<u32> = block.spends.iter().map(|spend| spend.place).collect();
            assert!(places.is_sorted_by(|one, next| one < next), "places increase");
            places.extend(block.effects.iter().map(|effect| self.enter(effect, &block.txids)));
            assert!(places[block.spends.len()..].is_sorted_by(|one, next| one < next), "places increase");
            assert_eq!(places.iter().collect::<HashSet<_>>().len(), places.len(), "a place is of one");
            for input in block.inputs() {
                self.coins.remove(&input.spends);
            }
        }
        assert_eq!(chain.hash_at(tip.height.next()).unwrap(), None);
    }

    fn enter(&mut self, effect: &Effect, txids: &[assay_types::TxId]) -> u32 {
        match effect {
            Effect::Output(leg) => {
                let txid = txids[usize::try_from(leg.tx.unwrap()).unwrap()];
                let earlier = self.coins.insert(Outpoint { txid, vout: leg.index }, (leg.account, leg.amount));
                assert_eq!(earlier, None);
                leg.place
            }
            Effect::Leg(_) | Effect::Traced(_) => panic!("Bitcoin has none"),
        }
    }

    pub fn balance(&self, account: &Account) -> Amount {
        let number = self.watch.number(&account.0).unwrap();
        let amounts = self.coins.values().filter(|(owner, _)| *owner == number).map(|(_, amount)| *amount);
        amounts.fold(Amount::ZERO, |sum, amount| sum.checked_add(amount).unwrap())
    }

    /// What the node's own set of coins says of each script.
    pub fn agrees_with(&self, node: &Bitcoind, addresses: &dyn Addresses) {
        #[derive(serde::Deserialize)]
        struct Scan {
            total_amount: Box<RawValue>,
        }
        for (_, account) in self.watch.by_number() {
            let account = Account::new(account);
            let descriptor = format!("raw({})", const_hex::encode(&account.0));
            let scan = node.call_raw("scantxoutset", json!(["start", [descriptor]])).unwrap();
            let scan: Scan = serde_json::from_str(scan.get()).unwrap();
            let theirs = Amount::from_coins(scan.total_amount.get(), 8).unwrap();
            assert_eq!(self.balance(&account), theirs, "{}", addresses.show(&account));
        }
    }
}
