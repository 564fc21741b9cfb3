//! What became of a statement's items in flight: where their transactions are, and what these pay. Nodes are asked only what no block can tell: the
//! mempool, and of a transaction that no block is known to tell of, which one it is in.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use assay_store::{Coverage, Movement, Store, Transaction};
use assay_types::{
    Account, AccountNo, Amount, Asset, AssetEntry, BlockRef, Chain, ChainId, Deployment, Direction, Header, Height,
    Kind, Pair, Payment, Statement, Told, TxId,
};
use assay_verifier::{Doubted, Evidence, Found, ItemEvidence, Paid, Spent, Unattributed, Wide};

use crate::opened::Opened;
use crate::question::{Question, finer, flights};
use crate::{DeskError, Source, World};

/// Adds to the evidence.
pub(crate) fn items(
    world: &World,
    question: &Question<'_>,
    opened: &Opened<'_>,
    statement: &Statement,
    evidence: &mut Evidence,
) -> Result<(), DeskError> {
    let chain = opened.chain;
    let here = statement.assets.iter().flat_map(flights).filter(|item| item.chain == chain.id);
    let txids: BTreeSet<TxId> = here.filter_map(|item| item.txid).collect();
    in_waiting(world, question, opened, (statement, &txids), &mut evidence.items)?;
    if txids.is_empty() {
        return Ok(());
    }
    let mempool = Mempool::ask(opened);
    let mut blocks = BTreeSet::new();
    for txid in txids {
        let found = match &opened.store {
            Ok(store) => match in_a_block(world, question, chain, store, txid)? {
                None => beside(store, txid)?,
                found => found,
            },
            Err(_) => None,
        };
        let found = match found {
            Some(found) => found,
            None => mempool.find(world, question, opened, txid)?,
        };
        if let Found::Block { at, .. } = &found {
            blocks.insert((at.height, at.hash));
        }
        evidence.items.push(ItemEvidence { chain: chain.id.clone(), txid, found });
    }
    for (height, hash) in blocks {
        let at = BlockRef { height, hash };
        if let Ok(store) = &opened.store {
            evidence.unattributed.extend(unattributed(world, question, chain, store, at)?);
        }
    }
    Ok(())
}

/// The accounts on a chain that are to be paid by withdrawals which name no transaction.
fn unnamed<'a>(statement: &'a Statement, chain: &ChainId) -> HashSet<&'a Account> {
    let withdrawals = statement.assets.iter().flat_map(|report| &report.pending_withdrawals);
    let unnamed = withdrawals.filter(|item| item.chain == *chain && item.txid.is_none());
    unnamed.filter_map(|item| item.to.as_ref().map(|(account, _)| account)).collect()
}

/// Is it of use to know what waits in the chain's mempool?
pub fn asks_what_waits(statement: &Statement, chain: &ChainId) -> bool {
    !unnamed(statement, chain).is_empty()
}

/// What waits in the mempool and pays withdrawals that name no transaction, out of the exchange's own accounts. Where that is not
/// known they stay without one, and are owed all the same.
fn in_waiting(
    world: &World,
    question: &Question<'_>,
    opened: &Opened<'_>,
    (statement, named): (&Statement, &BTreeSet<TxId>),
    evidence: &mut Vec<ItemEvidence>,
) -> Result<(), DeskError> {
    let chain = opened.chain;
    let payees = unnamed(statement, &chain.id);
    if payees.is_empty() {
        return Ok(());
    }
    let (Ok(waiting), Ok(store)) = (chain.waiting(), &opened.store) else { return Ok(()) };
    for (txid, touch) in waiting.withdrawals() {
        let concerned = touch.payments.iter().any(|payment| payees.contains(&payment.to)) && !named.contains(&txid);
        // What was mined since it was looked does not wait any more.
        if !concerned || store.transaction(txid)?.is_some() {
            continue;
        }
        let payers: BTreeSet<AccountNo> = touch.debits.iter().map(|(account, _)| *account).collect();
        for payer in payers {
            if is_own(question, chain, &store.account(payer)?) {
                let payments = paid(world, chain, touch.payments.clone())?;
                let found = Found::Mempool { payments, complete: true };
                evidence.push(ItemEvidence { chain: chain.id.clone(), txid, found });
                break;
            }
        }
    }
    Ok(())
}

/// Is it an account of the exchange's?
fn is_own(question: &Question<'_>, chain: &Source, account: &Account) -> bool {
    let mut declared = question.exchange.accounts.iter().filter(|declared| declared.terms.chain == chain.id);
    declared.any(|declared| declared.account == *account && declared.terms.is_theirs(question.as_of))
}

fn in_a_block(
    world: &World,
    question: &Question<'_>,
    chain: &Source,
    store: &Store,
    txid: TxId,
) -> Result<Option<Found>, DeskError> {
    let Some(transaction) = store.transaction(txid)? else { return Ok(None) };
    let Some(header) = store.header(transaction.height)? else { return Ok(None) };
    let doubted = doubted(world, question, chain, store, (txid, &transaction))?;
    let (mut spent, mut unread) = (Vec::new(), BTreeSet::new());
    for (number, asset, amount) in transaction.debits {
        if !is_own(question, chain, &store.account(number)?) {
            continue;
        }
        if let Some((entry, deployment)) = world.directory.deployed(&chain.id, asset) {
            spent.push(Spent { symbol: entry.symbol.clone(), amount: scale(amount, entry, deployment) });
        }
        unread.extend(unread_of(world, chain, store, number, header.height)?);
    }
    let mut paid = paid(world, chain, transaction.payments)?;
    let coin = || world.directory.deployed(&chain.id, Asset::Native).map(|(entry, _)| entry.symbol.clone());
    let all = || world.directory.assets.iter().filter(|entry| entry.deployed_on(&chain.id).next().is_some());
    let untold = match transaction.told {
        Told::All => vec![],
        Told::NotCalls => coin().into_iter().collect(),
        Told::Nothing => {
            // What came to the exchange's own accounts, state shows.
            paid.retain(|payment| is_own(question, chain, &payment.to));
            all().map(|entry| entry.symbol.clone()).collect()
        }
    };
    Ok(Some(Found::Block { at: header.at(), paid, spent, untold, unread: unread.into_iter().collect(), doubted }))
}

/// The assets for which a block was not read of an account.
fn unread_of(
    world: &World,
    chain: &Source,
    store: &Store,
    account: AccountNo,
    at: Height,
) -> Result<Vec<String>, DeskError> {
    let mut unread = Vec::new();
    for entry in &world.directory.assets {
        for deployment in entry.deployed_on(&chain.id) {
            if store.is_unread((account, deployment.asset), at)? {
                unread.push(entry.symbol.clone());
            }
        }
    }
    Ok(unread)
}

/// The assets for which a block was not read of one of the exchange's accounts. Of very many accounts it is looked at some.
fn unread(
    world: &World,
    question: &Question<'_>,
    chain: &Source,
    store: &Store,
    at: Height,
) -> Result<Vec<String>, DeskError> {
    const SOME: usize = 10_000;
    let mut unread = BTreeSet::new();
    let own = question.exchange.accounts.iter().filter(|declared| declared.terms.chain == chain.id);
    for declared in own.filter(|declared| declared.terms.is_theirs(question.as_of)).take(SOME) {
        if let Some((number, _)) = store.number(&declared.account)? {
            unread.extend(unread_of(world, chain, store, number, at)?);
        }
    }
    Ok(unread.into_iter().collect())
}

/// What a transaction moved of tokens, by their events, and what it brought of native coins, and state does not bear out: it was taken back, or in the
/// same block as much moved the other way, and nothing says by what, or traces alone do. Of others' accounts, where they are followed, what came to them.
fn doubted(
    world: &World,
    question: &Question<'_>,
    chain: &Source,
    store: &Store,
    (txid, transaction): (TxId, &Transaction),
) -> Result<Vec<Doubted>, DeskError> {
    let mut told: BTreeMap<Pair, [Wide; 2]> = BTreeMap::new();
    let mut add = |number, asset, way: Direction, amount: Amount| {
        // Whom it paid of the native coins is proven of the payee.
        if asset != Asset::Native || way == Direction::Credit {
            told.entry((number, asset)).or_default()[usize::from(way == Direction::Debit)] += Wide::from(amount.0);
        }
    };
    for (number, asset, amount) in &transaction.debits {
        add(*number, *asset, Direction::Debit, *amount);
    }
    for Payment { to, asset, amount, .. } in &transaction.payments {
        if let Some((number, _)) = store.number(to)? {
            add(number, *asset, Direction::Credit, *amount);
        }
    }
    let mut doubted = Vec::new();
    for ((number, asset), told) in told {
        let Some((entry, deployment)) = world.directory.deployed(&chain.id, asset) else { continue };
        let finer = |units: Wide| units * finer(entry, deployment);
        let moved = Moved::by(txid, store, (number, asset), transaction.height)?;
        let is_unknown = matches!(store.coverage(number, asset, transaction.height)?, Coverage::Unknown(_));
        let is_native = asset == Asset::Native;
        let denied = match is_unknown {
            true if is_native => [moved.by_calls, Wide::ZERO],
            true => told,
            false => moved.denied(told, transaction.told == Told::All),
        };
        if denied == [Wide::ZERO; 2] && moved.by_calls == Wide::ZERO {
            continue;
        }
        // Of the many that an exchange may have each is looked at, which is put off until it matters.
        let [came, went] = match is_own(question, chain, &store.account(number)?) {
            true if moved.by_calls > Wide::ZERO => {
                let gone = gone(world, question, chain, store, transaction.height)?;
                [(finer(denied[0]) + gone.min(finer(moved.by_calls))).min(finer(told[0])), finer(denied[1])]
            }
            true => denied.map(finer),
            false if is_native => [Wide::ZERO, finer(denied[0])],
            false => continue,
        };
        if [came, went] != [Wide::ZERO; 2] {
            doubted.push(Doubted { symbol: entry.symbol.clone(), came, went });
        }
    }
    Ok(doubted)
}

/// What left the exchange's accounts in a block, and nothing says by what: that may be what came to others of them.
fn gone(world: &World, question: &Question<'_>, chain: &Source, store: &Store, at: Height) -> Result<Wide, DeskError> {
    let Some(header) = store.header(at)? else { return Ok(Wide::ZERO) };
    let moved = unattributed(world, question, chain, store, header.at())?;
    Ok(moved.map_or(Wide::ZERO, |moved| moved.went))
}

/// What moved an account in one asset in a block.
#[derive(Default)]
struct Moved {
    /// What a transaction brought, and what it took.
    borne_out: [Wide; 2],
    /// What speaks against either: it moved the other way, and nothing says by what.
    against: [Wide; 2],
    /// What calls of the transaction brought of the native coins.
    by_calls: Wide,
    /// What calls took of them within the block.
    taken: Wide,
}

impl Moved {
    fn by(txid: TxId, store: &Store, (number, asset): Pair, at: Height) -> Result<Moved, DeskError> {
        let mut moved = Moved::default();
        for movement in store.movements(number, asset, at, at)? {
            let Movement { direction, amount, kind, txid: by, .. } = movement?;
            let (units, is_debit) = (Wide::from(amount.0), direction == Direction::Debit);
            match kind {
                Kind::Unattributed => moved.against[usize::from(!is_debit)] += units,
                _ if by == Some(txid) => moved.borne_out[usize::from(is_debit)] += units,
                _ => {}
            }
            match is_debit {
                _ if asset != Asset::Native || !kind.is_traced() => {}
                true => moved.taken += units,
                false if by == Some(txid) => moved.by_calls += units,
                false => {}
            }
        }
        Ok(moved)
    }

    /// What of that which is told is not to be relied upon. Where not all is proven that calls of the transaction did, nothing is that they brought.
    fn denied(&self, told: [Wide; 2], is_proven: bool) -> [Wide; 2] {
        let round = self.by_calls.min(if is_proven { self.taken } else { self.by_calls });
        let unsure = [self.against[0] + round, self.against[1]];
        [0, 1].map(|way| {
            let borne_out = self.borne_out[way];
            (told[way].saturating_sub(borne_out) + borne_out.min(unsure[way])).min(told[way])
        })
    }
}

/// One that is not known to have moved anyone, in a block in which something moved that no transaction is known to have moved.
fn beside(store: &Store, txid: TxId) -> Result<Option<Found>, DeskError> {
    let header = store.unattributed_beside(&txid)?.map(|height| store.header(height)).transpose()?.flatten();
    Ok(header.map(|header| nothing_known_at(header.at())))
}

fn nothing_known_at(at: BlockRef) -> Found {
    Found::Block { at, paid: vec![], spent: vec![], untold: vec![], unread: vec![], doubted: vec![] }
}

/// What moved the exchange's own accounts in a block, and no transaction is known to have moved.
fn unattributed(
    world: &World,
    question: &Question<'_>,
    chain: &Source,
    store: &Store,
    at: BlockRef,
) -> Result<Option<Unattributed>, DeskError> {
    let Some(moved) = store.unattributed(&at)? else { return Ok(None) };
    let Some((entry, deployment)) = world.directory.deployed(&chain.id, Asset::Native) else { return Ok(None) };
    let (mut came, mut went) = (Wide::ZERO, Wide::ZERO);
    for payment in moved.payments.iter().filter(|payment| is_own(question, chain, &payment.to)) {
        came += Wide::from(payment.amount.0) * finer(entry, deployment);
    }
    for (number, _, amount) in moved.debits {
        if is_own(question, chain, &store.account(number)?) {
            went += Wide::from(amount.0) * finer(entry, deployment);
        }
    }
    Ok(Some(Unattributed { chain: chain.id.clone(), at, symbol: entry.symbol.clone(), came, went }))
}

/// In base units of the asset's finest deployment. Items cannot be larger than the most that this says.
fn scale(amount: Amount, entry: &AssetEntry, deployment: &Deployment) -> Amount {
    amount.scaled_up(entry.decimals() - deployment.decimals).unwrap_or(Amount::MAX)
}

/// Payments in assets that are known; others are no coins of a statement.
fn paid(world: &World, chain: &Source, payments: Vec<Payment>) -> Result<Vec<Paid>, DeskError> {
    let mut paid = Vec::new();
    for Payment { index, to, asset, amount } in payments {
        if let Some((entry, deployment)) = world.directory.deployed(&chain.id, asset) {
            paid.push(Paid { index, to, symbol: entry.symbol.clone(), amount: scale(amount, entry, deployment) });
        }
    }
    Ok(paid)
}

/// The node's mempool behind the last block, or why it cannot be asked.
struct Mempool {
    node: Result<(Box<dyn Chain>, Header), String>,
    /// So many blocks are still looked into for what should be in them and moved no followed account.
    looks: Cell<usize>,
}

/// Who pays from accounts that are not declared has thousands of such transactions.
const MOST_LOOKS: usize = 8;

impl Mempool {
    /// A transaction that is in a block which is not indexed yet is in no mempool either: then absence says nothing.
    fn ask(opened: &Opened<'_>) -> Mempool {
        let ask = || -> Result<(Box<dyn Chain>, Header), String> {
            let node = opened.chain.connect()?;
            let tip = node.tip().map_err(|error| error.to_string())?;
            let indexed = match &opened.store {
                Ok(store) => store.tip().map_err(|error| error.to_string())?,
                Err(reason) => return Err(reason.clone()),
            };
            match indexed.filter(|header| header.at() == tip.head) {
                Some(header) => Ok((node, header)),
                None => Err(format!("the index is not at the node's last block, {}", tip.head.height)),
            }
        };
        Mempool { node: ask(), looks: Cell::new(MOST_LOOKS) }
    }

    fn find(
        &self,
        world: &World,
        question: &Question<'_>,
        opened: &Opened<'_>,
        txid: TxId,
    ) -> Result<Found, DeskError> {
        let chain = opened.chain;
        let nowhere = |why| Found::Nowhere { unasked: Some(why) };
        let (node, last) = match &self.node {
            Ok(asked) => asked,
            Err(why) => return Ok(nowhere(why.clone())),
        };
        match node.pending(txid, last) {
            Ok(Some(pending)) => {
                let payments = paid(world, chain, pending.payments)?;
                Ok(Found::Mempool { payments, complete: chain.id.namespace() == "bip122" })
            }
            Ok(None) => mined(world, question, opened, (&**node, &self.looks), txid),
            Err(error) => Ok(nowhere(error.to_string())),
        }
    }
}

/// One that moved no watched account as far as blocks tell, and does not wait: the node says in which block it is, and that counts where
/// something moved there that no transaction is known to have moved, or that was not read.
fn mined(
    world: &World,
    question: &Question<'_>,
    opened: &Opened<'_>,
    (node, looks): (&dyn Chain, &Cell<usize>),
    txid: TxId,
) -> Result<Found, DeskError> {
    let nowhere = |unasked| Ok(Found::Nowhere { unasked });
    let Ok(store) = &opened.store else { return nowhere(None) };
    let is_looked_for = |at: BlockRef| store.unattributed(&at).is_ok_and(|moved| moved.is_some());
    let is_ours = |at: BlockRef| store.header(at.height).is_ok_and(|ours| ours.is_some_and(|ours| ours.at() == at));
    let may_look = || looks.get().checked_sub(1).map(|left| looks.set(left)).is_some();
    let at = match node.mined(txid, &|at| is_looked_for(at) || is_ours(at) && may_look()) {
        Ok(Some(at)) => at,
        Ok(None) => return nowhere(None),
        Err(error) => return nowhere(Some(error.to_string())),
    };
    let ours = store.header(at.height)?;
    if ours.as_ref().is_none_or(|ours| ours.at() != at) && at.height >= node.first() {
        return nowhere(Some(format!("the node has it in a block {} that is not indexed", at.height)));
    }
    let unread = unread(world, question, opened.chain, store, at.height)?;
    match nothing_known_at(at) {
        Found::Block { at, paid, spent, untold, doubted, .. } if !unread.is_empty() => {
            Ok(Found::Block { at, paid, spent, untold, unread, doubted })
        }
        known if is_looked_for(at) => Ok(known),
        _ => nowhere(None),
    }
}
