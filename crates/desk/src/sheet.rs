//! What one exchange's accounts hold at one block, summed, and who is to be looked up: as the store's totals say, or the books, reckoned
//! back from the tip.

use std::collections::{BTreeMap, BTreeSet};

use assay_registry::{Declared, Owner, Role};
use assay_store::{Coverage, Lookup, Standing};
use assay_types::{AccountNo, Height, Pair};
use assay_verifier::Wide;

use crate::DeskError;

/// One exchange's accounts on one chain at one block.
#[derive(Default)]
pub(crate) struct Sheet {
    /// How many accounts, and their sum in the deployment's base units.
    pub(crate) sums: BTreeMap<Group, (u64, Wide)>,
    /// What is to be looked up one by one, by place among the exchange's accounts and the chain's assets.
    pub(crate) apart: BTreeSet<(u32, u16)>,
    /// What was asked for, by the same places.
    pub(crate) named: BTreeMap<(u32, u16), Named>,
    /// Accounts that other exchanges declare too: which exchange, and where among its accounts.
    pub(crate) shared: BTreeMap<u32, Vec<(u16, u32)>>,
}

impl Sheet {
    /// Adds so many accounts, and what they hold together.
    pub(crate) fn add(&mut self, group: Group, accounts: u64, amount: Wide) {
        let sum = self.sums.entry(group).or_default();
        (sum.0, sum.1) = (sum.0 + accounts, sum.1 + amount);
    }
}

/// An account's number, and how well it is known in the asset, where that need not be looked up.
pub(crate) type Named = (AccountNo, Option<Coverage>);

/// Accounts of which a sheet tells the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    /// The asset's place among the chain's.
    pub(crate) asset: u16,
    /// Whose coins they are.
    pub(crate) owner: Owner,
    /// Is their role `cold`?
    pub(crate) cold: bool,
    /// Are the balances proven?
    pub(crate) proven: bool,
}

impl Group {
    /// That of one account's balance in this asset.
    pub(crate) fn of(declared: &Declared, asset: u16, proven: bool) -> Group {
        Group { asset, owner: declared.terms.owner, cold: declared.terms.role == Role::Cold, proven }
    }
}

/// A sheet of the tip, and what is to be reckoned back from it.
pub(crate) struct Draft {
    pub(crate) sheet: Sheet,
    /// Does only what is proven count as known?
    pub(crate) strict: bool,
    pub(crate) tip: Height,
    pub(crate) at: Height,
    pub(crate) reckoned: Vec<Reckoned>,
}

/// An account that may have stood otherwise at the block than it does at the tip.
pub(crate) struct Reckoned {
    pub(crate) pair: Pair,
    /// The account's and the asset's.
    pub(crate) place: (u32, u16),
    /// That of the account, where it counts, proven or not.
    pub(crate) group: Option<Group>,
    /// How it stood and stands; else that is to be looked up.
    pub(crate) known: Option<(Standing, Standing)>,
}

impl Draft {
    /// The sheet of the block itself.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) fn sheet(self, looked_up: &mut Lookup<'_>) -> Result<Sheet, DeskError> {
        let Draft { mut sheet, strict, tip, at, reckoned } = self;
        // One block after the other: from pair to pair it is not far.
        let mut all = |height, of: fn((Standing, Standing)) -> Standing| -> Result<Vec<Standing>, DeskError> {
            let standing = |one: &Reckoned| match one.known.clone() {
                Some(known) => Ok(of(known)),
                None => Ok(looked_up.standing(one.pair, height)?),
            };
            reckoned.iter().map(standing).collect()
        };
        let (then, now) = (all(at, |(then, _)| then)?, all(tip, |(_, now)| now)?);
        for (Reckoned { place, group, .. }, (then, now)) in reckoned.into_iter().zip(then.into_iter().zip(now)) {
            let (now_proven, then_proven) = (grade(&now.coverage, strict), grade(&then.coverage, strict));
            if then_proven.is_none() {
                sheet.apart.insert(place);
            }
            let Some(group) = group else { continue };
            if let Some(proven) = now_proven {
                let sum = sheet.sums.entry(Group { proven, ..group }).or_default();
                (sum.0, sum.1) = (sum.0 - 1, sum.1 - Wide::from(now.balance.0));
            }
            if let Some(proven) = then_proven {
                sheet.add(Group { proven, ..group }, 1, Wide::from(then.balance.0));
            }
        }
        sheet.sums.retain(|_, (accounts, _)| *accounts > 0);
        Ok(sheet)
    }
}

/// Is it known as well as the policy asks, and how well?
pub(crate) fn grade(coverage: &Coverage, strict: bool) -> Option<bool> {
    match coverage {
        Coverage::Verified => Some(true),
        Coverage::Unproven if !strict => Some(false),
        Coverage::Unproven | Coverage::Unknown(_) => None,
    }
}
