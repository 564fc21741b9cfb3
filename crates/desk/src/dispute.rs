//! What nodes disagree about: balances that one of them tells otherwise, from final blocks of its own.
//!
//! Only what blocks since the fork touched can differ. So a disagreement makes unknown what hangs on it and nothing else: a shortage
//! that none of the answers would clear stays one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use assay_store::{Coverage, Store};
use assay_types::{Account, Amount, Asset, Header, Height};
use assay_verifier::rules::Dissent;

use crate::DeskError;

/// A node that has other final blocks, with what it says by them.
#[derive(Clone)]
pub struct Branch {
    /// Which node, and from where on.
    pub dissent: Dissent,
    /// Its blocks, followed beside ours; nothing while they could not be read.
    pub store: Option<Arc<Store>>,
}

/// Balances that are told differently, with the most that any node tells, in the deployment's base units; `None` where that is
/// not known.
pub(crate) type Disputed = HashMap<(Account, Asset), Option<Amount>>;

/// Compares our balances after this block with what each node says. `theirs` finds the block of another store that answers the same
/// question. The inner error says why nothing can be told.
///
/// # Errors
/// When a database fails.
pub(crate) fn disputed(
    branches: &[Branch],
    (store, at): (&Store, &Header),
    theirs: impl Fn(&Store) -> Result<Option<Header>, DeskError>,
) -> Result<Result<Disputed, String>, DeskError> {
    let mut disputed = Disputed::new();
    for Branch { dissent, store: other } in branches.iter().filter(|branch| branch.dissent.from <= at.height.0) {
        let unread = || {
            let Dissent { node, from, .. } = dissent;
            Ok(Err(format!("node {node} has other blocks from {from} on, and what they say is not known")))
        };
        let Some(other) = other else { return unread() };
        let (Some(there), Some(fork)) = (theirs(other)?, Height(dissent.from).previous()) else { return unread() };
        let (Some(ours), Some(others)) = (store.past(fork, at.height)?, other.past(fork, there.height)?) else {
            return unread();
        };
        let mut pairs: BTreeSet<(Account, Asset)> = BTreeSet::new();
        for (store, past) in [(store, &ours), (other, &others)] {
            for (number, asset) in past.touched() {
                pairs.insert((store.account(*number)?, *asset));
            }
        }
        for (account, asset) in pairs {
            let (we, they) = (known(store, &account, asset, at)?, known(other, &account, asset, &there)?);
            if we != they {
                let most = we.zip(they).map(|(we, they)| we.max(they));
                let known = disputed.entry((account, asset)).or_insert(most);
                *known = known.zip(most).map(|(one, other)| one.max(other));
            }
        }
    }
    Ok(Ok(disputed))
}

fn known(store: &Store, account: &Account, asset: Asset, at: &Header) -> Result<Option<Amount>, DeskError> {
    let Some((number, true)) = store.number(account)? else { return Ok(None) };
    Ok(match store.coverage(number, asset, at.height)? {
        Coverage::Unknown(_) => None,
        Coverage::Verified | Coverage::Unproven => Some(store.balance(number, asset, at.height)?),
    })
}
