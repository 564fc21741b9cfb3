//! What is known of the tokens that an exchange holds, beside balances: another code than the day before, and accounts that they stop.

use std::collections::BTreeMap;

use assay_registry::Declared;
use assay_store::Store;
use assay_types::{AccountNo, Amount, Asset, AssetEntry, Deployment, Header, Height, Timestamp};
use assay_verifier::rules::{CodeChange, Frozen, frozen_account, token_code_changed};
use assay_verifier::{Coins, Finding};

use crate::question::Question;
use crate::{DeskError, Source, World};

/// For how long a change of code is a finding.
const A_DAY_S: i64 = 24 * 3_600;
/// How many accounts a finding names.
const EXAMPLES: usize = 5;

/// The findings about the tokens on this chain as of this block.
pub(crate) fn remarked(
    world: &World,
    question: &Question<'_>,
    source: &Source,
    store: &Store,
    at: &Header,
) -> Result<Vec<Finding>, DeskError> {
    let mut findings = Vec::new();
    for entry in &world.directory.assets {
        for deployment in entry.on.iter().filter(|on| on.chain == source.id) {
            if let Asset::Token(_) = deployment.asset {
                findings.extend(code_change(source, store, at, (entry, deployment))?);
                findings.extend(frozen(world, question, source, store, at, (entry, deployment))?);
            }
        }
    }
    Ok(findings)
}

fn code_change(
    source: &Source,
    store: &Store,
    at: &Header,
    (entry, on): (&AssetEntry, &Deployment),
) -> Result<Option<Finding>, DeskError> {
    let codes: Vec<(Height, [u8; 32])> =
        store.codes(on.asset)?.into_iter().filter(|(height, _)| *height <= at.height).collect();
    let [.., (seen, before), (by, since)] = &codes[..] else { return Ok(None) };
    let day_before = Timestamp::from_unix_s(at.time.unix_s() - A_DAY_S);
    if store.header(*by)?.is_none_or(|header| header.time < day_before) {
        return Ok(None);
    }
    let token = match on.asset {
        Asset::Token(address) => const_hex::encode_prefixed(address),
        Asset::Native => return Ok(None),
    };
    Ok(Some(token_code_changed(&CodeChange {
        chain: source.name.clone(),
        asset: entry.symbol.clone(),
        token,
        after: seen.0,
        by: by.0,
        fingerprints: [before, since].map(const_hex::encode),
    })))
}

/// The exchange's own among the accounts that the token stops.
fn frozen(
    world: &World,
    question: &Question<'_>,
    source: &Source,
    store: &Store,
    at: &Header,
    (entry, on): (&AssetEntry, &Deployment),
) -> Result<Option<Finding>, DeskError> {
    let stopped: BTreeMap<AccountNo, Height> = store.frozen(on.asset, at.height)?.into_iter().collect();
    if stopped.is_empty() {
        return Ok(None);
    }
    let (mut sum, mut accounts, mut examples) = (Amount::ZERO, 0, Vec::new());
    let counts = |declared: &&Declared| {
        declared.terms.chain == source.id && declared.terms.counts(question.as_of, Some(at.height))
    };
    let mut lookup = store.lookup()?;
    for declared in question.exchange.accounts.iter().filter(counts) {
        let Some((number, true)) = store.number(&declared.account)? else { continue };
        let Some(since) = stopped.get(&number) else { continue };
        let held = lookup.balance((number, on.asset), at.height)?;
        if held == Amount::ZERO {
            continue;
        }
        (sum, accounts) = (sum.checked_add(held).unwrap_or(Amount::MAX), accounts + 1);
        if examples.len() < EXAMPLES {
            examples.push((world.directory.address(&source.id, &declared.account), since.0));
        }
    }
    let amount = Coins::new(sum, on.decimals);
    let (chain, asset) = (source.name.clone(), entry.symbol.clone());
    Ok((accounts > 0).then(|| frozen_account(&Frozen { chain, asset, amount, accounts, examples })))
}
