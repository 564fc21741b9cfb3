//! What lies between ledger and chain: where each item's transaction is, and what follows from it.
//!
//! | item | not found | in the mempool | in a block up to B | in a block after B |
//! |---|---|---|---|---|
//! | pending withdrawal | counts | counts | settled: does not count | counts |
//! | uncredited deposit | counts | does not count | counts | does not count |
//! | unconfirmed credit | does not deduct | does not deduct | is in the holdings: does not deduct | deducts |
//!
//! What is said about an item is the business of the rule `unsettled-item`.

use std::collections::BTreeMap;

use assay_types::{Account, BlockHash, ChainId, InFlight, Statement, TxId};
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use crate::allotment::{Fit, Owner, Share, Use, allot, forgive_the_untold};
use crate::coins::{Wide, wide};
use crate::holdings::Blocks;
use crate::item::{List, Place};
use crate::judged::{Judged, Transactions};
use crate::unnamed;
use crate::{At, Evidence, Found, Paid};

/// Judges every item of the statement, in its order.
pub(crate) fn judge<'a>(statement: &'a Statement, evidence: &'a Evidence, blocks: &Blocks<'a>) -> Vec<Judged<'a>> {
    let transactions: Transactions<'a> =
        evidence.items.iter().map(|item| ((&item.chain, item.txid), &item.found)).collect();
    let mut judged = Vec::new();
    for (number, report) in (0..).zip(&statement.assets) {
        let lists = [
            (List::PendingWithdrawals, &report.pending_withdrawals),
            (List::UncreditedDeposits, &report.uncredited_deposits),
            (List::UnconfirmedCredits, &report.unconfirmed_credits),
        ];
        for (list, item) in lists.into_iter().flat_map(|(list, items)| items.iter().map(move |item| (list, item))) {
            judged.push(Judged {
                report: number,
                list,
                symbol: &report.symbol,
                decimals: report.decimals,
                item,
                tx: item.txid,
                place: place(item, blocks, &transactions),
                fit: Fit::Untold,
                granted: Share::default(),
                untold: Wide::ZERO,
            });
        }
    }
    unnamed::find(&mut judged, &transactions);
    let owners = Owners::of_payees(evidence);
    allot_all(&mut judged, &transactions, &owners);
    grant(&mut judged, &transactions, &owners);
    leave_open(&mut judged, &transactions);
    look_beside(&mut judged, evidence, &transactions);
    judged
}

fn place<'a>(item: &InFlight, blocks: &Blocks<'a>, transactions: &Transactions<'a>) -> Place<'a> {
    let Some(txid) = item.txid else { return Place::NoTransaction };
    let found = transactions.get(&(&item.chain, txid)).copied();
    if matches!(found, Some(Found::Mempool { .. })) {
        return Place::Mempool; // Whatever B is, it comes later.
    }
    let b = match blocks.get(&item.chain).map(|block| &block.at) {
        None => return Place::Unknown { why: "no block of its chain was looked at" },
        Some(At::Unknown { reason }) => return Place::Unknown { why: reason },
        Some(At::Block { at, .. }) => at,
    };
    match found {
        None => Place::Nowhere { unasked: Some("it was not looked up") },
        Some(Found::Nowhere { unasked }) => Place::Nowhere { unasked: unasked.as_deref() },
        Some(Found::Mempool { .. }) => Place::Mempool,
        Some(Found::Block { at, .. }) if at.height > b.height => Place::After(*at),
        Some(Found::Block { at, .. }) if at.height == b.height && at.hash != b.hash => {
            Place::Unknown { why: "it was found on another branch of its chain" }
        }
        Some(Found::Block { at, .. }) => Place::UpTo(*at),
    }
}

/// Says of each item what its transaction pays towards it.
fn allot_all(judged: &mut [Judged<'_>], transactions: &Transactions<'_>, owners: &Owners<'_>) {
    let mut by_transaction: BTreeMap<(&ChainId, TxId), Vec<usize>> = BTreeMap::new();
    for (number, one) in judged.iter().enumerate() {
        if let Some(txid) = one.tx {
            by_transaction.entry((&one.item.chain, txid)).or_default().push(number);
        }
    }
    for ((chain, txid), numbers) in by_transaction {
        let (payments, complete, [untold, unread], doubted) = match transactions.get(&(chain, txid)) {
            Some(Found::Mempool { payments, complete }) => (payments, *complete, [&[][..]; 2], &[][..]),
            Some(Found::Block { paid, untold, unread, doubted, .. }) => {
                (paid, true, [&untold[..], &unread[..]], &doubted[..])
            }
            Some(Found::Nowhere { .. }) | None => continue,
        };
        let uses: Vec<Use<'_>> = numbers
            .iter()
            .map(|number| &judged[*number])
            .map(|one| Use { list: one.list, symbol: one.symbol, item: one.item })
            .collect();
        let mut fits = allot(payments, &|account| owners.of(chain, account), &uses);
        if !complete {
            forgive_the_untold(&uses, &mut fits);
        }
        for (one, fit) in uses.iter().zip(&mut fits) {
            let is_untold = match fit {
                Fit::Elsewhere | Fit::Less(_) => untold.iter().any(|it| it == one.symbol),
                Fit::Pays(_) => doubted.iter().any(|it| it.symbol == one.symbol && !it.went.is_zero()),
                Fit::UsedBefore | Fit::Untold => false,
            };
            let is_unread = matches!(fit, Fit::Elsewhere | Fit::Less(_)) && unread.iter().any(|it| it == one.symbol);
            if is_untold && one.list == List::PendingWithdrawals || is_unread {
                *fit = Fit::Untold;
            }
        }
        for (number, fit) in numbers.into_iter().zip(fits) {
            judged[number].fit = fit;
        }
    }
}

/// Grants deductions: what credits in blocks after B bring, net of what the same transaction took from the exchange's
/// own accounts. Moving one's own coins brings nothing. What state does not bear out may not have come.
fn grant(judged: &mut [Judged<'_>], transactions: &Transactions<'_>, owners: &Owners<'_>) {
    let mut open: HashMap<(&ChainId, TxId, &str), (Share, Wide)> = HashMap::new();
    let mut larger_first: Vec<&mut Judged<'_>> = judged.iter_mut().filter(|one| one.brings().is_some()).collect();
    larger_first.sort_by_key(|one| std::cmp::Reverse(one.item.amount));
    for one in larger_first {
        let (Some(share), Some(txid)) = (one.brings(), one.tx) else { continue };
        let chain = &one.item.chain;
        let (open, doubted) = open.entry((chain, txid, one.symbol)).or_insert_with(|| {
            transactions
                .get(&(chain, txid))
                .map_or_else(Default::default, |found| net(found, chain, one.symbol, owners))
        });
        one.granted = Share { clear: share.clear.min(open.clear), contested: share.contested.min(open.contested) };
        one.untold = (share.total() - one.granted.total()).min(*doubted);
        *open = Share { clear: open.clear - one.granted.clear, contested: open.contested - one.granted.contested };
        *doubted -= one.untold;
    }
    // Where B is unknown the credit may well come after it: not known is no excuse, and no accusation either.
    let unplaced =
        |one: &&mut Judged<'_>| one.list == List::UnconfirmedCredits && matches!(one.place, Place::Unknown { .. });
    for one in judged.iter_mut().filter(unplaced) {
        one.granted = Share { clear: Wide::ZERO, contested: wide(one.item.amount) };
    }
}

/// Withdrawals that calls may have settled of which no trace tells: together at most what their transaction took from the exchange and is not
/// seen to have paid for others; all of it where that block was not read.
fn leave_open(judged: &mut [Judged<'_>], transactions: &Transactions<'_>) {
    let mut left: HashMap<(&ChainId, TxId, &str), Wide> = HashMap::new();
    let settled = |one: &&mut Judged<'_>| one.list == List::PendingWithdrawals && matches!(one.place, Place::UpTo(_));
    let mut settled: Vec<&mut Judged<'_>> = judged.iter_mut().filter(settled).collect();
    settled.sort_by_key(|one| matches!(one.fit, Fit::Untold));
    for one in settled {
        let (Some(txid), chain) = (one.tx, &one.item.chain) else { continue };
        let left = left.entry((chain, txid, one.symbol)).or_insert_with(|| match transactions.get(&(chain, txid)) {
            Some(Found::Block { unread, .. }) if unread.iter().any(|it| it == one.symbol) => Wide::MAX,
            found => spent(found, one.symbol),
        });
        let part = match one.fit {
            Fit::Pays(share) => share.total().min(*left),
            Fit::Untold => wide(one.item.amount).min(*left),
            _ => continue,
        };
        *left -= part;
        if one.fit == Fit::Untold {
            one.untold = part;
            one.fit = if part.is_zero() { Fit::Elsewhere } else { Fit::Untold };
        }
    }
}

/// Withdrawals that were settled, or credits that came, perhaps, by what moved in the block of their transaction and no transaction is known to
/// have moved: together at most that, and credits net of what their transaction is known to have taken from the exchange.
fn look_beside(judged: &mut [Judged<'_>], evidence: &Evidence, transactions: &Transactions<'_>) {
    let mut left: HashMap<(&ChainId, BlockHash, &str), (Wide, Wide)> = HashMap::new();
    for one in &evidence.unattributed {
        left.insert((&one.chain, one.at.hash, &one.symbol), (one.came, one.went));
    }
    let mut netted = HashSet::new();
    let is_open = |one: &&mut Judged<'_>| matches!(one.fit, Fit::Elsewhere | Fit::Untold);
    let mut open: Vec<&mut Judged<'_>> = judged.iter_mut().filter(is_open).collect();
    open.sort_by_key(|one| std::cmp::Reverse(one.item.amount));
    for one in open {
        let (Some(at), Some(txid), chain) = (one.block(), one.tx, &one.item.chain) else { continue };
        let Some((came, went)) = left.get_mut(&(chain, at.hash, one.symbol)) else { continue };
        let left = match (one.list, one.place) {
            (List::PendingWithdrawals, Place::UpTo(_)) => went,
            (List::UnconfirmedCredits, Place::After(_)) => {
                if netted.insert((chain, txid, one.symbol)) {
                    *came = came.saturating_sub(spent(transactions.get(&(chain, txid)), one.symbol));
                }
                came
            }
            // It counts as it stands; but that its transaction brought nothing is not known.
            (List::UncreditedDeposits, _) if !came.is_zero() => {
                one.fit = Fit::Untold;
                continue;
            }
            _ => continue,
        };
        let part = (wide(one.item.amount) - one.untold).min(*left);
        if !part.is_zero() {
            (*left, one.untold, one.fit) = (*left - part, one.untold + part, Fit::Untold);
        }
    }
}

/// What a transaction in a block took from the exchange's accounts in one asset.
fn spent(found: Option<&&Found>, symbol: &str) -> Wide {
    let Some(Found::Block { spent, .. }) = found else { return Wide::ZERO };
    spent.iter().filter(|spent| spent.symbol == symbol).map(|spent| wide(spent.amount)).sum()
}

/// What a transaction in a block brought to the exchange's accounts in one asset, beyond what it took from them; and how much more, if what state
/// does not bear out came.
fn net(found: &Found, chain: &ChainId, symbol: &str, owners: &Owners<'_>) -> (Share, Wide) {
    let Found::Block { paid, doubted, .. } = found else { return Default::default() };
    let spent = spent(Some(&found), symbol);
    let paid_to = |owner: Owner| -> Wide {
        let to = |paid: &&Paid| paid.symbol == symbol && owners.of(chain, &paid.to) == owner;
        paid.iter().filter(to).map(|paid| wide(paid.amount)).sum()
    };
    let clear = paid_to(Owner::Declared);
    let all = (clear + paid_to(Owner::Shared)).saturating_sub(spent);
    let doubted: Wide = doubted.iter().filter(|one| one.symbol == symbol).map(|one| one.came).sum();
    let doubted = doubted.min(all);
    let clear = clear.saturating_sub(spent).saturating_sub(doubted);
    (Share { clear, contested: all - doubted - clear }, doubted)
}

/// Whose the accounts are that the named transactions pay: few, however many are declared.
struct Owners<'a>(HashMap<(&'a ChainId, &'a Account), Owner>);

impl<'a> Owners<'a> {
    fn of_payees(evidence: &'a Evidence) -> Owners<'a> {
        let mut payees: HashSet<(&ChainId, &Account)> = HashSet::new();
        for item in &evidence.items {
            let (Found::Mempool { payments, .. } | Found::Block { paid: payments, .. }) = &item.found else { continue };
            payees.extend(payments.iter().map(|paid| (&item.chain, &paid.to)));
        }
        let mut owners = HashMap::new();
        for one in evidence.accounts.iter().filter(|one| one.theirs && !payees.is_empty()) {
            let account = (&one.chain, &one.account);
            if payees.contains(&account) {
                let owner = if one.shared_with.is_empty() { Owner::Declared } else { Owner::Shared };
                owners.entry(account).or_insert(owner);
            }
        }
        Owners(owners)
    }

    fn of(&self, chain: &ChainId, account: &Account) -> Owner {
        self.0.get(&(chain, account)).copied().unwrap_or(Owner::Other)
    }
}
