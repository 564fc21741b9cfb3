//! Which payment of a transaction stands for which item in flight.
//!
//! The one promise that everything rests on: no payment stands twice for coins that came in, and no coin settles two
//! withdrawals. It does not ask where the transaction is, or what follows from it.

use std::cmp::Reverse;

use assay_types::{Account, InFlight, Placement};
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use crate::Paid;
use crate::coins::{Wide, wide};
use crate::item::List;

/// One item in flight that names the transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use<'a> {
    pub(crate) list: List,
    pub(crate) symbol: &'a str,
    pub(crate) item: &'a InFlight,
}

/// What a transaction pays towards one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// All of it.
    Pays(Share),
    /// Less than it says.
    Less(Share),
    /// Nothing to that account, in that asset, at that place.
    Elsewhere,
    /// It would, but other items have used that.
    UsedBefore,
    /// That cannot be told.
    Untold,
}

/// Coins of an item that its transaction pays, never more than the item says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Share {
    /// To accounts that are the exchange's alone.
    pub(crate) clear: Wide,
    /// To accounts that another exchange declares too.
    pub(crate) contested: Wide,
}

impl Share {
    pub(crate) fn total(self) -> Wide {
        self.clear + self.contested
    }
}

/// Whose an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Counted in the exchange's holdings, and declared by no other.
    Declared,
    /// Counted, and declared by another exchange too.
    Shared,
    /// Anyone's.
    Other,
}

/// Allots a transaction's payments to the items that name it, in an order of its own: what the statement's order is
/// changes no sum. Withdrawals consume coins paid to their address. Deposits come before credits, so that an output that
/// is said to be both raises the debt and does not lower it.
pub(crate) fn allot(payments: &[Paid], owner: &dyn Fn(&Account) -> Owner, uses: &[Use<'_>]) -> Vec<Fit> {
    let owners: Vec<Owner> = payments.iter().map(|paid| owner(&paid.to)).collect();
    let mut fits = vec![Fit::Untold; uses.len()];
    let spent_on_withdrawals = settle(payments, uses, &mut fits);
    let mut taken = vec![false; payments.len()];
    receive(List::UncreditedDeposits, payments, &owners, uses, &mut taken, &mut fits);
    for (taken, also) in taken.iter_mut().zip(&spent_on_withdrawals) {
        *taken |= also;
    }
    receive(List::UnconfirmedCredits, payments, &owners, uses, &mut taken, &mut fits);
    fits
}

/// Where not all payments can be told, what is missing proves nothing; but the same output named again is used twice.
pub(crate) fn forgive_the_untold(uses: &[Use<'_>], fits: &mut [Fit]) {
    let mut named = HashSet::new();
    for (one, fit) in uses.iter().zip(fits.iter_mut()) {
        if matches!(fit, Fit::Elsewhere | Fit::Less(_)) {
            let again =
                matches!(one.item.placement, Placement::Index(_)) && !named.insert((one.symbol, one.item.placement));
            *fit = if again && one.list != List::PendingWithdrawals { Fit::UsedBefore } else { Fit::Untold };
        }
    }
}

/// Withdrawals: each coin paid to an address settles once. Says which payments were used for it.
fn settle(payments: &[Paid], uses: &[Use<'_>], fits: &mut [Fit]) -> Vec<bool> {
    let mut left: Vec<Wide> = payments.iter().map(|paid| wide(paid.amount)).collect();
    let mut used = vec![false; payments.len()];
    let mut by_payee: HashMap<(&Account, &str), Vec<usize>> = HashMap::new();
    for (place, paid) in payments.iter().enumerate() {
        by_payee.entry((&paid.to, &paid.symbol)).or_default().push(place);
    }
    let candidates = |one: &Use<'_>| -> Vec<usize> {
        let to = one.item.to.as_ref().map(|(account, _)| account);
        let all = to.and_then(|to| by_payee.get(&(to, one.symbol))).map_or(&[][..], Vec::as_slice);
        all.iter().copied().filter(|place| at(one.item.placement, &payments[*place])).collect()
    };
    let mut open = of_list(List::PendingWithdrawals, uses);
    open.sort_by_key(|number| matches!(uses[*number].item.placement, Placement::Whole));
    // First those that a payment of their own matches, so that none of the others takes from it.
    open.retain(|number| {
        let amount = wide(uses[*number].item.amount);
        let exact = candidates(&uses[*number]).into_iter().find(|place| !used[*place] && left[*place] == amount);
        let Some(place) = exact else { return true };
        (left[place], used[place]) = (Wide::ZERO, true);
        fits[*number] = Fit::Pays(Share { clear: amount, contested: Wide::ZERO });
        false
    });
    for number in open {
        let (places, amount) = (candidates(&uses[number]), wide(uses[number].item.amount));
        let paid: Wide = places.iter().map(|place| wide(payments[*place].amount)).sum();
        let unused: Wide = places.iter().map(|place| left[*place]).sum();
        fits[number] = if places.is_empty() {
            Fit::Elsewhere
        } else if paid < amount {
            Fit::Less(Share { clear: paid, contested: Wide::ZERO })
        } else if unused < amount {
            Fit::UsedBefore
        } else {
            consume(&places, amount, &mut left, &mut used);
            Fit::Pays(Share { clear: amount, contested: Wide::ZERO })
        };
    }
    used
}

fn consume(places: &[usize], amount: Wide, left: &mut [Wide], used: &mut [bool]) {
    let mut open = amount;
    for place in places {
        let part = left[*place].min(open);
        left[*place] -= part;
        open -= part;
        used[*place] |= !part.is_zero();
    }
}

/// Coins that came in: each payment to a declared account is used once.
fn receive(list: List, payments: &[Paid], owners: &[Owner], uses: &[Use<'_>], taken: &mut [bool], fits: &mut [Fit]) {
    let candidates = |one: &Use<'_>| -> Vec<usize> {
        let to = one.item.to.as_ref().map(|(account, _)| account);
        let fits = |place: &usize| {
            let paid = &payments[*place];
            owners[*place] != Owner::Other
                && paid.symbol == one.symbol
                && at(one.item.placement, paid)
                && to.is_none_or(|to| *to == paid.to)
        };
        (0..payments.len()).filter(fits).collect()
    };
    let mut open = of_list(list, uses);
    // First those that name their output or log, then those that one payment matches, then one for all that is left.
    let is_exact = |item: &InFlight, place: &usize| payments[*place].amount == item.amount;
    open.sort_by_cached_key(|number| {
        let Use { item, .. } = uses[*number];
        let exact = || candidates(&uses[*number]).iter().any(|place| is_exact(item, place));
        let rank = match item.placement {
            Placement::Index(_) => 0,
            Placement::Whole if exact() => 1,
            Placement::Whole => 2,
        };
        (rank, item.to.is_none())
    });
    for number in open {
        let item = uses[number].item;
        let mut places = candidates(&uses[number]);
        let none_at_all = places.is_empty();
        // One payment that matches is what the item means, even if another item has used it already.
        let exact: Vec<usize> = places.iter().copied().filter(|place| is_exact(item, place)).collect();
        let one_only = !exact.is_empty();
        if one_only {
            places = exact;
        }
        places.retain(|place| !taken[*place]);
        if one_only {
            places.truncate(1);
        }
        places.iter().for_each(|place| taken[*place] = true);
        fits[number] = if none_at_all {
            Fit::Elsewhere
        } else if places.is_empty() {
            Fit::UsedBefore
        } else {
            share(item, payments, owners, &places)
        };
    }
}

fn share(item: &InFlight, payments: &[Paid], owners: &[Owner], chosen: &[usize]) -> Fit {
    let paid_to = |owner: Owner| -> Wide {
        chosen.iter().filter(|place| owners[**place] == owner).map(|place| wide(payments[*place].amount)).sum()
    };
    let said = wide(item.amount);
    let clear = paid_to(Owner::Declared).min(said);
    let contested = paid_to(Owner::Shared).min(said - clear);
    let share = Share { clear, contested };
    if share.total() < said { Fit::Less(share) } else { Fit::Pays(share) }
}

/// The items of a list, larger ones first.
fn of_list(list: List, uses: &[Use<'_>]) -> Vec<usize> {
    let mut open: Vec<usize> = (0..uses.len()).filter(|number| uses[*number].list == list).collect();
    open.sort_by_key(|number| Reverse(uses[*number].item.amount));
    open
}

fn at(placement: Placement, paid: &Paid) -> bool {
    match placement {
        Placement::Whole => true,
        Placement::Index(index) => paid.index == Some(index),
    }
}
