//! Withdrawals that name no transaction: one that waits in the mempool, and that no item names, may pay them.
//!
//! No sum hangs on it: while it waits, such a withdrawal is owed either way.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use assay_types::{Account, ChainId, TxId};
use foldhash::{HashMap, HashMapExt as _, HashSet};

use crate::Found;
use crate::coins::{Wide, wide};
use crate::item::{List, Place};
use crate::judged::{Judged, Transactions};

/// To whom, in what.
type Payee<'a> = (&'a ChainId, &'a Account, &'a str);

/// Gives each of these withdrawals, larger ones first, the transaction that pays its address the least that is enough. What is paid
/// there stands for as many of them as it is enough for.
pub(crate) fn find<'a>(judged: &mut [Judged<'a>], transactions: &Transactions<'a>) {
    let is_open = |one: &Judged<'_>| one.list == List::PendingWithdrawals && one.tx.is_none();
    let mut larger_first: Vec<usize> = (0..judged.len()).filter(|number| is_open(&judged[*number])).collect();
    if larger_first.is_empty() {
        return;
    }
    larger_first.sort_by_key(|number| Reverse(judged[*number].item.amount));
    let mut unused = unused(judged, transactions);
    for number in larger_first {
        let one = &mut judged[number];
        let Some((to, _)) = &one.item.to else { continue };
        let Some(paid) = unused.get_mut(&(&one.item.chain, to, one.symbol)) else { continue };
        let amount = wide(one.item.amount);
        let Some((left, txid)) = paid.range((amount, TxId([0; 32]))..).next().copied() else { continue };
        paid.remove(&(left, txid));
        paid.insert((left - amount, txid));
        (one.tx, one.place) = (Some(txid), Place::Mempool);
    }
}

/// What transactions in the mempool that no item names pay to each.
fn unused<'a>(judged: &[Judged<'a>], transactions: &Transactions<'a>) -> HashMap<Payee<'a>, BTreeSet<(Wide, TxId)>> {
    let named: HashSet<(&ChainId, TxId)> =
        judged.iter().filter_map(|one| one.tx.map(|txid| (&one.item.chain, txid))).collect();
    let mut unused: HashMap<Payee<'a>, BTreeSet<(Wide, TxId)>> = HashMap::new();
    for ((chain, txid), found) in transactions {
        let Found::Mempool { payments, complete: true } = found else { continue };
        if named.contains(&(*chain, *txid)) {
            continue;
        }
        let mut sums: HashMap<Payee<'a>, Wide> = HashMap::new();
        for paid in payments {
            *sums.entry((*chain, &paid.to, paid.symbol.as_str())).or_default() += wide(paid.amount);
        }
        sums.into_iter().for_each(|(payee, sum)| {
            unused.entry(payee).or_default().insert((sum, *txid));
        });
    }
    unused
}
