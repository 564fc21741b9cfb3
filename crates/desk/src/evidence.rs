//! Gathers what the chains say of one exchange as of an instant: blocks, balances, and what became of items in flight (`items`).
//!
//! It reads stores as they are, beside whoever indexes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use assay_registry::Declared;
use assay_store::{Coverage, Lookup};
use assay_types::{Account, Amount, Asset, AssetEntry, ChainId, Deployment, Header, Height, Statement};
use assay_verifier::{AccountEvidence, At, Balance, Evidence, Found, ItemEvidence, SumEvidence, Wide};

use crate::books::FEW_PAIRS;
use crate::items::items;
use crate::opened::{Opened, open};
use crate::parts::side_by_side;
use crate::question::{Question, concerned, finer};
use crate::remarked::remarked;
use crate::rests::rests;
use crate::sheet::{Group, Named, Sheet};
use crate::{DeskError, Sums, World, cohorts};

/// Everything that a reconciliation of this statement needs.
///
/// # Errors
/// When a database fails.
pub fn gather(world: &World, question: &Question<'_>, statement: &Statement) -> Result<Evidence, DeskError> {
    let mut evidence = Evidence::default();
    for chain in concerned(world, question.exchange, Some(statement)) {
        let opened = open(chain, question, &mut evidence.notices)?;
        items(world, question, &opened, statement, &mut evidence)?;
        let items = std::mem::take(&mut evidence.items);
        accounts(world, question, &opened, &named(world, &opened, statement, &items), &mut evidence)?;
        evidence.items = items;
        if let (Ok(store), Some(header)) = (&opened.store, &opened.header) {
            evidence.notices.extend(remarked(world, question, chain, store, header)?);
            let assets = assets(world, &chain.id);
            evidence.proven.extend(rests(question, chain, (store, header), &opened.disputed, &assets)?);
        }
        evidence.blocks.push(opened.used);
    }
    Ok(evidence)
}

/// Blocks and balances alone, with the header of each block.
///
/// # Errors
/// When a database fails.
pub fn balances(world: &World, question: &Question<'_>) -> Result<(Evidence, Vec<(String, Header)>), DeskError> {
    let (mut evidence, mut headers) = (Evidence::default(), Vec::new());
    for chain in concerned(world, question.exchange, None) {
        let opened = open(chain, question, &mut evidence.notices)?;
        accounts(world, question, &opened, &BTreeSet::new(), &mut evidence)?;
        headers.extend(opened.header.map(|header| (chain.name.clone(), header)));
        evidence.blocks.push(opened.used);
    }
    Ok((evidence, headers))
}

/// What is spoken of one by one: what the statement claims, and what its transactions pay.
fn named<'a>(
    world: &World,
    opened: &Opened<'_>,
    statement: &'a Statement,
    items: &'a [ItemEvidence],
) -> BTreeSet<(&'a Account, Asset)> {
    let chain = &opened.chain.id;
    let claimed = statement.wallets.iter().filter(|claim| claim.chain == *chain);
    let claimed = claimed.map(|claim| (&claim.account, claim.symbol.as_str()));
    let paid = items.iter().filter(|item| item.chain == *chain).flat_map(|item| match &item.found {
        Found::Mempool { payments, .. } | Found::Block { paid: payments, .. } => &payments[..],
        Found::Nowhere { .. } => &[],
    });
    let paid = paid.map(|paid| (&paid.to, paid.symbol.as_str()));
    let mut deployed: HashMap<&str, Vec<Asset>> = HashMap::new();
    for entry in &world.directory.assets {
        let here = entry.on.iter().filter(|on| on.chain == *chain).map(|on| on.asset);
        deployed.entry(&entry.symbol).or_default().extend(here);
    }
    let assets = |symbol: &str| deployed.get(symbol).map_or(&[][..], Vec::as_slice);
    claimed.chain(paid).flat_map(|(account, symbol)| assets(symbol).iter().map(move |on| (account, *on))).collect()
}

/// The assets on a chain, in the directory's order.
fn assets<'a>(world: &'a World, chain: &ChainId) -> Vec<(&'a AssetEntry, &'a Deployment)> {
    let on_chain = |entry: &'a AssetEntry| {
        let here = entry.on.iter().filter(|on| on.chain == *chain);
        here.map(move |on| (entry, on)).collect::<Vec<_>>()
    };
    world.directory.assets.iter().flat_map(on_chain).collect()
}

/// The balances: sums of accounts where they are kept, and the others one by one.
fn accounts(
    world: &World,
    question: &Question<'_>,
    opened: &Opened<'_>,
    named: &BTreeSet<(&Account, Asset)>,
    evidence: &mut Evidence,
) -> Result<(), DeskError> {
    let chain = &opened.chain.id;
    let block = opened.looked_at.as_ref().map(|header| header.height);
    let assets = assets(world, chain);
    let of = |declared: &Declared, place: usize, summed: bool, shared: &[String], balance: Balance| {
        let (entry, deployment) = assets.get(place)?;
        Some(AccountEvidence {
            chain: chain.clone(),
            account: declared.account.clone(),
            address: world.directory.address(chain, &declared.account),
            role: declared.terms.role.as_str().into(),
            owner: declared.terms.owner.as_str(),
            asset: deployment.asset,
            symbol: entry.symbol.clone(),
            balance,
            shared_with: shared.to_vec(),
            summed,
            counted: declared.terms.counts(question.as_of, block),
            theirs: declared.terms.is_theirs(question.as_of),
        })
    };
    let Some(sheet) = sheet(world, question, opened, named)? else {
        let shared = shared_with(world, question, chain, block);
        let mut looked_up = lookup(opened)?;
        for declared in question.exchange.accounts.iter().filter(|declared| declared.terms.chain == *chain) {
            let shared = shared.get(&declared.account).map_or(&[][..], Vec::as_slice);
            for (place, on) in assets.iter().enumerate() {
                let balance = balance(opened, looked_up.as_mut(), &declared.account, None, *on)?;
                evidence.accounts.extend(of(declared, place, false, shared, balance));
            }
        }
        return Ok(());
    };
    let mut sums = sheet.sums;
    let apart = sheet.apart.iter().map(|place| (*place, None));
    let spoken_of = sheet.named.into_iter().map(|(place, known)| (place, Some(known)));
    let listed: BTreeMap<(u32, u16), Option<Named>> = apart.chain(spoken_of).collect();
    let mut listed: Vec<Listed<'_>> = listed
        .into_iter()
        .filter_map(|((place, asset), known)| {
            let declared = question.exchange.accounts.get(usize::try_from(place).ok()?)?;
            Some(Listed { place, declared, asset, on: *assets.get(usize::from(asset))?, known })
        })
        .collect();
    let balances = side_by_side(&mut listed, FEW_PAIRS, |listed| -> Result<Vec<Balance>, DeskError> {
        let mut looked_up = lookup(opened)?;
        let balance =
            |one: &Listed<'_>| balance(opened, looked_up.as_mut(), &one.declared.account, one.known.clone(), one.on);
        listed.iter().map(balance).collect()
    });
    let balances: Vec<Vec<Balance>> = balances.into_iter().collect::<Result<_, _>>()?;
    let mut looked_up = lookup(opened)?;
    for (one, balance) in listed.iter().zip(balances.into_iter().flatten()) {
        let Listed { place, declared, asset, on: (_, deployment), .. } = *one;
        let shared = sheet.shared.get(&place).map_or_else(Vec::new, |others| rivals(world, question, block, others));
        let summed = !sheet.apart.contains(&(place, asset));
        let alone = summed && declared.terms.counts(question.as_of, block) && opened.stands_alone(declared, deployment);
        if alone {
            take_out(&mut sums, looked_up.as_mut(), block, one)?;
        }
        evidence.accounts.extend(of(declared, asset.into(), summed && !alone, &shared, balance));
    }
    for (group, (accounts, amount)) in sums.into_iter().filter(|(_, (accounts, _))| *accounts > 0) {
        let Some((entry, deployment)) = assets.get(usize::from(group.asset)) else { continue };
        evidence.sums.push(SumEvidence {
            chain: chain.clone(),
            symbol: entry.symbol.clone(),
            owner: group.owner.as_str(),
            cold: group.cold,
            proven: group.proven,
            accounts,
            amount: amount * finer(entry, deployment),
        });
    }
    Ok(())
}

/// An account in an asset that is looked up by itself.
struct Listed<'a> {
    /// The account's place among the exchange's.
    place: u32,
    declared: &'a Declared,
    /// The asset's place among the chain's.
    asset: u16,
    on: (&'a AssetEntry, &'a Deployment),
    /// Where the account was asked for.
    known: Option<Named>,
}

/// To look up balances in a chain's store, if it is there.
fn lookup<'a>(opened: &'a Opened<'_>) -> Result<Option<Lookup<'a>>, DeskError> {
    Ok(opened.store.as_ref().ok().map(|store| store.lookup()).transpose()?)
}

/// Takes an account out of the sum that it is in.
fn take_out(
    sums: &mut BTreeMap<Group, (u64, Wide)>,
    looked_up: Option<&mut Lookup<'_>>,
    block: Option<Height>,
    one: &Listed<'_>,
) -> Result<(), DeskError> {
    let moved = || DeskError::Damaged("a block was taken back while its balances were summed".into());
    let (Some(looked_up), Some(block), Some((number, _))) = (looked_up, block, &one.known) else { return Err(moved()) };
    let standing = looked_up.standing((*number, one.on.1.asset), block)?;
    let group = Group::of(one.declared, one.asset, standing.coverage == Coverage::Verified);
    let (accounts, amount) = sums.get_mut(&group).ok_or_else(moved)?;
    *accounts = accounts.checked_sub(1).ok_or_else(moved)?;
    *amount = amount.checked_sub(Wide::from(standing.balance.0)).ok_or_else(moved)?;
    Ok(())
}

/// What is kept of sums over the exchange's accounts at the block, where something is, and there is a block.
fn sheet(
    world: &World,
    question: &Question<'_>,
    opened: &Opened<'_>,
    named: &BTreeSet<(&Account, Asset)>,
) -> Result<Option<Sheet>, DeskError> {
    let (Ok(store), Some(header)) = (&opened.store, &opened.looked_at) else { return Ok(None) };
    let at = (header.at(), question.as_of);
    let mut named = named.clone();
    named.extend(opened.disputed.keys().map(|(account, asset)| (account, *asset)));
    let on = (&opened.chain.id, &**store);
    if let Sums::Kept(books) = &world.sums
        && let Some(sheet) = books.sheet(world, on, question.exchange, at, &named)?
    {
        return Ok(Some(sheet));
    }
    match &world.sums {
        // Of a block that is not known each account says for itself why it is not, and what it held last.
        Sums::Stored | Sums::Kept(_) if opened.header.is_some() => {
            cohorts::sheet(world, on, question.exchange, at, &named)
        }
        _ => Ok(None),
    }
}

/// Those of the other exchanges with whom the account counts as well.
fn rivals(world: &World, question: &Question<'_>, block: Option<Height>, others: &[(u16, u32)]) -> Vec<String> {
    let named = others.iter().filter_map(|(exchange, declared)| {
        let exchange = world.declarations.exchanges.get(usize::from(*exchange))?;
        let declared = exchange.accounts.get(usize::try_from(*declared).ok()?)?;
        let counts = exchange.id != question.exchange.id && declared.terms.counts(question.as_of, block);
        counts.then(|| exchange.id.clone())
    });
    named.collect()
}

/// The other exchanges with whom an account counts as well.
fn shared_with<'a>(
    world: &'a World,
    question: &Question<'_>,
    chain: &ChainId,
    block: Option<Height>,
) -> BTreeMap<&'a Account, Vec<String>> {
    let mut shared: BTreeMap<&Account, Vec<String>> = BTreeMap::new();
    for other in world.declarations.exchanges.iter().filter(|other| other.id != question.exchange.id) {
        let here = other.accounts.iter().filter(|declared| declared.terms.chain == *chain);
        for declared in here.filter(|declared| declared.terms.counts(question.as_of, block)) {
            shared.entry(&declared.account).or_default().push(other.id.clone());
        }
    }
    shared
}

fn balance(
    opened: &Opened<'_>,
    looked_up: Option<&mut Lookup<'_>>,
    account: &Account,
    known: Option<Named>,
    (entry, deployment): (&AssetEntry, &Deployment),
) -> Result<Balance, DeskError> {
    let unknown = |reason: &str| Ok(Balance::Unknown { reason: reason.into(), last_verified: None, at_most: None });
    let (store, looked_up, header) = match (&opened.store, looked_up, &opened.looked_at, &opened.used.at) {
        (Ok(store), Some(looked_up), Some(header), _) => (store, looked_up, header),
        (.., At::Unknown { reason }) => return unknown(reason),
        (Err(reason), ..) => return unknown(reason),
        _ => return unknown("no block"),
    };
    let (number, grade) = known.map_or((None, None), |(number, grade)| (Some((number, true)), grade));
    let number = match number.map_or_else(|| store.number(account), |known| Ok(Some(known)))? {
        None => return unknown("declared, and not indexed yet: run assay index"),
        Some((_, false)) => return unknown("declared late: its history is still being filled in"),
        Some((number, true)) => number,
    };
    let asset = deployment.asset;
    let scaled = |amount: Amount| amount.scaled_up(entry.decimals() - deployment.decimals);
    let last_known = |reason: String| -> Result<Balance, DeskError> {
        let last = store.last_verified(number, asset, header.height)?;
        let last_verified = last.and_then(|(height, amount)| Some((scaled(amount)?, height)));
        Ok(Balance::Unknown { reason, last_verified, at_most: None })
    };
    if let At::Unknown { reason } = &opened.used.at {
        return last_known(reason.clone());
    }
    if let Some(most) = opened.disputed.get(&(account.clone(), asset)) {
        let (reason, at_most) = ("the chain's nodes disagree about it".into(), most.and_then(scaled));
        return Ok(Balance::Unknown { reason, last_verified: None, at_most });
    }
    let pair = (number, asset);
    let standing = match grade {
        Some(grade) => looked_up.with_balance(pair, grade, header.height)?,
        None => looked_up.standing(pair, header.height)?,
    };
    match standing.coverage {
        Coverage::Unknown(reason) => last_known(reason),
        grade => match scaled(standing.balance) {
            Some(amount) => Ok(Balance::Known { amount, proven: grade == Coverage::Verified }),
            // No statement can claim so much, and nobody holds it who is to be believed.
            None => unknown(&format!("{} units are more than 2^256 - 1 of its finest deployment", standing.balance)),
        },
    }
}
