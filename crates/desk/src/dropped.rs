//! Accounts that an exchange declared once and declares no longer: remembered, so that nothing disappears by deleting a line.

use std::collections::{BTreeSet, HashMap};

use assay_registry::{Declared, Exchange};
use assay_store::{Records, Row, Table};
use assay_types::{Account, ChainId, Height};
use assay_verifier::Coins;
use assay_verifier::rules::{DROPPED_ACCOUNT, Dropped, dropped_account};

use crate::alert::Observation;
use crate::{DeskError, World};

const DECLARED: &[u8] = b"declared\0";
const DROPPED: &[u8] = b"dropped\0";

/// An account by chain and address, as it is kept: `chain`, a tab, `address`.
pub(crate) type Place = (String, String);

/// An exchange that was declared once and is declared no longer.
pub(crate) struct Gone {
    pub(crate) exchange: String,
    /// Its accounts that nobody declares.
    places: Vec<Place>,
    /// What is told of it; nothing while that is not known.
    pub(crate) told: Option<Vec<Observation>>,
}

/// Compares what is declared with what was declared before, remembers both, and gives every account that is dropped and that nobody
/// else declares.
///
/// # Errors
/// When the database fails.
pub(crate) fn note(records: &Records, world: &World, exchange: &Exchange) -> Result<Vec<Place>, DeskError> {
    let directory = &world.directory;
    let known = [DECLARED, exchange.id.as_bytes()].concat();
    let line = |Declared { account, terms, .. }: &Declared| {
        format!("{}\t{}", terms.chain, directory.address(&terms.chain, account))
    };
    let now: BTreeSet<String> = exchange.accounts.iter().map(line).collect();
    let text = |key: &[u8]| lines(records, records.get(Table::Meta, key)?.unwrap_or_default());
    let before = text(&known)?;
    let key = [DROPPED, exchange.id.as_bytes()].concat();
    let was_dropped = text(&key)?;
    let dropped: BTreeSet<String> = was_dropped.union(&before).filter(|place| !now.contains(*place)).cloned().collect();
    let row = |key: &[u8], lines: &BTreeSet<String>| {
        let text: Vec<&str> = lines.iter().map(String::as_str).collect();
        Row { table: Table::Meta, key: key.to_vec(), value: Some(text.join("\n").into_bytes()) }
    };
    if now != before || dropped != was_dropped {
        records.write(&[row(&known, &now), row(&key, &dropped)])?;
    }
    Ok(undeclared(world, &dropped))
}

/// The exchanges of which accounts are remembered, and that are declared no longer.
///
/// # Errors
/// When the database fails.
pub(crate) fn exchanges(records: &Records, world: &World) -> Result<Vec<Gone>, DeskError> {
    let mut gone = Vec::new();
    for (key, value) in records.oldest_first(Table::Meta, DECLARED, usize::MAX)? {
        let exchange = String::from_utf8_lossy(&key[DECLARED.len()..]).into_owned();
        if world.exchange(&exchange).is_some() {
            continue;
        }
        let mut all = lines(records, value)?;
        let dropped = records.get(Table::Meta, &[DROPPED, exchange.as_bytes()].concat())?;
        all.extend(lines(records, dropped.unwrap_or_default())?);
        tracing::warn!(exchange, accounts = all.len(), "an exchange that was declared is declared no longer");
        gone.push(Gone { exchange, places: undeclared(world, &all), told: None });
    }
    Ok(gone)
}

impl Gone {
    /// Looks at what its accounts hold on the last indexed blocks.
    ///
    /// # Errors
    /// When a database fails.
    pub(crate) fn look(&mut self, world: &World) -> Result<(), DeskError> {
        let (held, is_all) = held(world, &self.places)?;
        let findings = dropped_account(&held);
        if findings.is_empty() && !is_all {
            self.told = None; // not to be told is not to hold nothing
            return Ok(());
        }
        let told = findings.into_iter().map(|finding| Observation {
            rule: finding.rule,
            severity: finding.severity,
            exchange: self.exchange.clone(),
            asset: finding.asset,
            message: format!("the exchange is declared no longer: {}", finding.message),
            subject: String::new(),
            patient: false,
            holds: false,
        });
        self.told = Some(told.collect());
        Ok(())
    }

    /// May an alert of it end by this rule? While its accounts hold something nobody can tell but what they hold.
    pub(crate) fn judges(&self, rule: &str) -> bool {
        self.told.as_ref().is_some_and(|told| rule == DROPPED_ACCOUNT || told.is_empty())
    }
}

fn lines(records: &Records, value: Vec<u8>) -> Result<BTreeSet<String>, DeskError> {
    let text = String::from_utf8(value).map_err(|_| records.damaged("a list of accounts cannot be read"))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Those that no exchange declares: what another one declares is watched.
fn undeclared(world: &World, lines: &BTreeSet<String>) -> Vec<Place> {
    let read = |id: &str, address: &str| {
        let chain = world.directory.chain(id)?;
        Some((chain.id.clone(), chain.addresses.parse(address).ok()?))
    };
    // What cannot be read is on a chain that has left the configuration: nobody declares that.
    let (mut known, mut places): (HashMap<(ChainId, Account), Place>, Vec<Place>) = Default::default();
    for (id, address) in lines.iter().filter_map(|line| line.split_once('\t')) {
        let place = (id.to_owned(), address.to_owned());
        match read(id, address) {
            Some(account) => drop(known.insert(account, place)),
            None => places.push(place),
        }
    }
    if !known.is_empty() {
        for on in world.declarations.exchanges.iter().flat_map(|exchange| exchange.accounts.iter()) {
            known.remove(&(on.terms.chain.clone(), on.account.clone()));
        }
    }
    places.extend(known.into_values());
    places.sort_unstable();
    places
}

/// What dropped accounts hold on the last indexed blocks, as far as the indexes tell; and do they tell of all of them?
///
/// # Errors
/// When a database fails.
pub(crate) fn held(world: &World, dropped: &[Place]) -> Result<(Vec<Dropped>, bool), DeskError> {
    let (mut held, mut is_all) = (Vec::new(), true);
    for (id, address) in dropped {
        let known = world.directory.chain(id).and_then(|chain| {
            let source = world.sources.iter().find(|source| source.id == chain.id)?;
            Some((chain, source.store().ok()?, chain.addresses.parse(address).ok()?))
        });
        let number = known.as_ref().map(|(_, store, account)| store.number(account)).transpose()?.flatten();
        let (Some((chain, store, _)), Some((number, _))) = (known, number) else {
            is_all = false;
            continue;
        };
        for entry in &world.directory.assets {
            for on in entry.on.iter().filter(|on| on.chain == chain.id) {
                let amount = store.balance(number, on.asset, Height(u64::MAX))?;
                if amount.is_zero() {
                    continue;
                }
                let Some(amount) = amount.scaled_up(entry.decimals() - on.decimals) else { continue };
                let (chain, address, symbol) = (chain.name.clone(), address.clone(), entry.symbol.clone());
                held.push(Dropped { chain, address, symbol, holds: Coins::new(amount, entry.decimals()) });
            }
        }
    }
    Ok((held, is_all))
}
