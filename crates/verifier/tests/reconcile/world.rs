//! A small exchange on two chains, to be changed by each story.
//!
//! `acme` reports BTC on the Bitcoin chain, in whole units. B is block 100 there. Account n is hers below 100.

use std::sync::Arc;

use assay_types::{
    Account, Amount, Asset, AssetReport, BlockHash, BlockRef, ChainId, Digest, Height, InFlight, Placement, Statement,
    Timestamp, TxId, WalletClaim,
};
use assay_verifier::{
    AccountEvidence, At, Balance, BlockUsed, Evidence, Finding, Found, ItemEvidence, Line, Paid, Policy,
    Reconciliation, Spent, Unattributed, Wide, reconcile,
};

pub const BITCOIN: &str = "bip122:000000000019d6689c085ae165831e93";
pub const ETHEREUM: &str = "eip155:1";
pub const B: u64 = 100;
pub const AS_OF: &str = "2026-02-06T10:00:00Z";

#[derive(Debug, Clone)]
pub struct World {
    pub statement: Statement,
    pub evidence: Evidence,
    pub policy: Policy,
    pub now: Timestamp,
}

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn chain(id: &str) -> ChainId {
    id.parse().unwrap()
}

pub fn account(number: u8) -> Account {
    Account::new(&[number; 20])
}

pub fn txid(number: u8) -> TxId {
    TxId([number; 32])
}

pub fn at(height: u64) -> BlockRef {
    BlockRef { height: Height(height), hash: BlockHash([u8::try_from(height % 251).unwrap(); 32]) }
}

pub fn block(id: &str, name: &str, is_final: bool) -> BlockUsed {
    let at = At::Block { at: at(B), time: time("2026-02-06T09:58:00Z"), after: None, is_final };
    BlockUsed { chain: chain(id), name: name.into(), named: false, at }
}

pub fn report(symbol: &str, customers: u64) -> AssetReport {
    AssetReport {
        symbol: symbol.into(),
        decimals: 0,
        customers: Amount::from(customers),
        house: None,
        negative: Amount::ZERO,
        pending_withdrawals: vec![],
        uncredited_deposits: vec![],
        unconfirmed_credits: vec![],
        elsewhere: vec![],
        flows: None,
        inventory: None,
        volume: vec![],
    }
}

pub fn held(number: u8, balance: Balance) -> AccountEvidence {
    AccountEvidence {
        chain: chain(BITCOIN),
        account: account(number),
        address: format!("address-{number}"),
        role: "hot".into(),
        owner: "customers",
        asset: Asset::Native,
        symbol: "BTC".into(),
        balance,
        shared_with: vec![],
        summed: false,
        counted: true,
        theirs: true,
    }
}

pub fn known(units: u64) -> Balance {
    Balance::Known { amount: Amount::from(units), proven: true }
}

pub fn unknown(reason: &str, last_verified: Option<u64>) -> Balance {
    let last_verified = last_verified.map(|units| (Amount::from(units), Height(90)));
    Balance::Unknown { reason: reason.into(), last_verified, at_most: None }
}

/// Of nodes that disagree none gives it more.
pub fn disputed(at_most: u64) -> Balance {
    let at_most = Some(Amount::from(at_most));
    Balance::Unknown { reason: "nodes disagree".into(), last_verified: None, at_most }
}

pub fn claim(number: u8, units: u64) -> WalletClaim {
    WalletClaim {
        field: format!("wallets[{number}]"),
        chain: chain(BITCOIN),
        account: account(number),
        address: format!("address-{number}"),
        symbol: "BTC".into(),
        claimed: Amount::from(units),
    }
}

/// An item that names transaction `tx`, output `index`.
pub fn item(tx: u8, index: u32, units: u64) -> InFlight {
    InFlight {
        field: format!("item-{tx}-{index}-{units}"),
        chain: chain(BITCOIN),
        to: None,
        txid: Some(txid(tx)),
        placement: Placement::Index(index),
        amount: Amount::from(units),
    }
}

/// A withdrawal by transaction `tx` to account `to`.
pub fn withdrawal(tx: u8, to: u8, units: u64) -> InFlight {
    let to = Some((account(to), format!("address-{to}")));
    InFlight { to, placement: Placement::Whole, ..item(tx, 0, units) }
}

/// Output or log `index` pays account `to`.
pub fn paid(index: u32, to: u8, units: u64) -> Paid {
    Paid { index: Some(index), to: account(to), symbol: "BTC".into(), amount: Amount::from(units) }
}

pub fn in_block(height: u64, paid: Vec<Paid>) -> Found {
    Found::Block { at: at(height), paid, spent: vec![], untold: vec![], unread: vec![], doubted: vec![] }
}

pub fn spending(found: Found, units: u64) -> Found {
    match found {
        Found::Block { at, paid, untold, unread, doubted, .. } => {
            let spent = vec![Spent { symbol: "BTC".into(), amount: Amount::from(units) }];
            Found::Block { at, paid, spent, untold, unread, doubted }
        }
        other => other,
    }
}

pub fn in_mempool(payments: Vec<Paid>) -> Found {
    Found::Mempool { payments, complete: true }
}

pub const NOWHERE: Found = Found::Nowhere { unasked: None };

impl World {
    /// `acme` owes `customers` and holds `holds` on account 1.
    pub fn new(customers: u64, holds: u64) -> World {
        let statement = Statement {
            digest: Digest::of(b"statement"),
            exchange: "acme".into(),
            sequence: None,
            previous: None,
            as_of: time(AS_OF),
            blocks: vec![],
            assets: vec![report("BTC", customers)],
            wallets: vec![],
        };
        let evidence = Evidence {
            blocks: vec![block(BITCOIN, "bitcoin", true)],
            accounts: vec![held(1, known(holds))],
            ..Evidence::default()
        };
        World { statement, evidence, policy: Policy::default(), now: time("2026-02-06T10:01:00Z") }
    }

    pub fn policy(mut self, policy: serde_json::Value) -> World {
        self.policy = serde_json::from_value(policy).unwrap();
        self
    }

    pub fn also(mut self, account: AccountEvidence) -> World {
        self.evidence.accounts.push(account);
        self
    }

    pub fn btc(&mut self) -> &mut AssetReport {
        &mut self.statement.assets[0]
    }

    pub fn house(mut self, units: u64) -> World {
        self.btc().house = Some(Amount::from(units));
        self
    }

    pub fn claims(mut self, claim: WalletClaim) -> World {
        self.statement.wallets.push(claim);
        self
    }

    pub fn pending(mut self, item: InFlight) -> World {
        self.btc().pending_withdrawals.push(item);
        self
    }

    pub fn uncredited(mut self, item: InFlight) -> World {
        self.btc().uncredited_deposits.push(item);
        self
    }

    pub fn unconfirmed(mut self, item: InFlight) -> World {
        self.btc().unconfirmed_credits.push(item);
        self
    }

    /// What was found about transaction `tx`.
    pub fn tx(mut self, tx: u8, found: Found) -> World {
        self.evidence.items.push(ItemEvidence { chain: chain(BITCOIN), txid: txid(tx), found });
        self
    }

    /// What moved at this block, and no transaction is known to have moved.
    pub fn beside(mut self, height: u64, came: u64, went: u64) -> World {
        let (chain, at, symbol) = (chain(BITCOIN), at(height), "BTC".into());
        let (came, went) = (Wide::from(came), Wide::from(went));
        self.evidence.unattributed.push(Unattributed { chain, at, symbol, came, went });
        self
    }

    pub fn blind(mut self, reason: &str) -> World {
        self.evidence.blocks[0].at = At::Unknown { reason: reason.into() };
        self
    }

    pub fn judge(&self) -> Reconciliation {
        reconcile(&self.statement, &self.evidence, &self.policy, self.now, "assay 0.0.0")
    }

    /// The only line.
    pub fn line(&self) -> Line {
        let lines = self.judge().lines;
        assert_eq!(lines.len(), 1);
        lines[0].clone()
    }
}

/// Rule and severity of each finding, in order.
pub fn rules(reconciliation: &Reconciliation) -> Vec<String> {
    let name = |finding: &Arc<Finding>| {
        let severity = serde_json::to_value(finding.severity).unwrap();
        format!("{} {}", finding.rule, severity.as_str().unwrap())
    };
    reconciliation.findings.iter().map(name).collect()
}
