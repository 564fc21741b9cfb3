//! Accounts that an exchange declared once and declares no longer: remembered, so that nothing disappears by deleting a line.

use std::collections::BTreeSet;

use assay_registry::{Declared, Exchange};
use assay_store::{Records, Row, Table};
use assay_types::{Directory, Height};
use assay_verifier::Coins;
use assay_verifier::rules::Dropped;

use crate::{DeskError, World};

const DECLARED: &[u8] = b"declared\0";
const DROPPED: &[u8] = b"dropped\0";

/// An account by chain and address, as it is kept: `chain`, a tab, `address`.
pub(crate) type Place = (String, String);

/// Compares what is declared with what was declared before, remembers both, and gives every account that is dropped.
///
/// # Errors
/// When the database fails.
pub(crate) fn note(records: &Records, directory: &Directory, exchange: &Exchange) -> Result<Vec<Place>, DeskError> {
    let known = [DECLARED, exchange.id.as_bytes()].concat();
    let line = |Declared { account, terms, .. }: &Declared| {
        format!("{}\t{}", terms.chain, directory.address(&terms.chain, account))
    };
    let now: BTreeSet<String> = exchange.accounts.iter().map(line).collect();
    let text = |key: &[u8]| -> Result<BTreeSet<String>, DeskError> {
        let value = records.get(Table::Meta, key)?.unwrap_or_default();
        let text = String::from_utf8(value).map_err(|_| records.damaged("a list of accounts cannot be read"))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
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
    let place = |line: &String| line.split_once('\t').map(|(chain, address)| (chain.to_owned(), address.to_owned()));
    Ok(dropped.iter().filter_map(place).collect())
}

/// What dropped accounts hold on the last indexed blocks, as far as the indexes tell.
///
/// # Errors
/// When a database fails.
pub(crate) fn held(world: &World, dropped: &[Place]) -> Result<Vec<Dropped>, DeskError> {
    let mut held = Vec::new();
    for (id, address) in dropped {
        let Some(chain) = world.directory.chain(id) else { continue };
        let Some(source) = world.sources.iter().find(|source| source.id == chain.id) else { continue };
        let (Ok(store), Ok(account)) = (source.store(), chain.addresses.parse(address)) else { continue };
        let Some((number, _)) = store.number(&account)? else { continue };
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
    Ok(held)
}
