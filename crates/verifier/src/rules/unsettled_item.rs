use assay_types::Statement;
use serde_json::{Value, json};

use crate::allotment::{Fit, Share};
use crate::coins::{Coins, Wide};
use crate::holdings::Blocks;
use crate::item::{List, Place};
use crate::judged::Judged;
use crate::{Finding, Severity};

/// **`unsettled-item`**: an in-flight item that the chain does not bear out. Beside it **`unconfirmed-item`** (notice): one
/// that waits in the mempool.
///
/// An error when the transaction is nowhere, pays less or elsewhere, only moves the exchange's own coins, or was used for
/// another item. A warning when the item is settled already, in the holdings already, or comes after the statement's block;
/// and when it could not be looked up, so that a node that is silent accuses nobody.
///
/// Catches invented and repeated items behind which a shortage could hide, and lists that are not kept up.
///
/// Cannot judge withdrawals that name no transaction: they are owed, and nothing more is said than which one in the mempool may
/// be theirs. Policy: none.
pub(crate) fn unsettled_item(statement: &Statement, blocks: &Blocks<'_>, judged: &Judged<'_>) -> Option<Finding> {
    let (severity, why) = concern(judged)?;
    let (asset, amount) = (judged.symbol, Coins::new(judged.item.amount, judged.decimals));
    let effect = match (judged.list, judged.counts(), judged.granted.clear) {
        (List::UnconfirmedCredits, _, Wide::ZERO) if !judged.untold.is_zero() => "it may have come".to_owned(),
        (List::UnconfirmedCredits, _, Wide::ZERO) => "it is not deducted".to_owned(),
        (List::UnconfirmedCredits, _, granted) => format!("{} is deducted", coins(judged, granted).grouped()),
        (_, true, _) if !judged.untold.is_zero() => "it may be owed".to_owned(),
        (_, true, _) => "it is owed".to_owned(),
        (_, false, _) => "it is not owed".to_owned(),
    };
    let what = match judged.list {
        List::PendingWithdrawals => "pending withdrawal",
        List::UncreditedDeposits => "uncredited deposit",
        List::UnconfirmedCredits => "unconfirmed credit",
    };
    let field = &judged.item.field;
    Some(Finding {
        rule: if severity == Severity::Notice { "unconfirmed-item" } else { "unsettled-item" },
        severity,
        asset: Some(asset.to_owned()),
        message: format!("{field}: {what} of {} {asset}: {why}; {effect}", amount.grouped()),
        evidence: shown(statement, blocks, judged).into(),
    })
}

/// How bad, and why in words; `None` where the item is as the statement says. Read it beside the table of `in_flight`.
fn concern(judged: &Judged<'_>) -> Option<(Severity, String)> {
    use List::{PendingWithdrawals, UnconfirmedCredits, UncreditedDeposits};
    use Severity::{Error, Notice, Warning};
    let (severity, why) = match (&judged.place, judged.list, judged.fit) {
        (Place::NoTransaction | Place::Unknown { .. }, PendingWithdrawals, _) => return None,
        (Place::NoTransaction, ..) => (Error, "it names no transaction".to_owned()),
        (Place::Unknown { why }, ..) => (Warning, format!("it cannot be judged, as {why}")),
        (Place::Nowhere { unasked: None }, ..) => (
            Error,
            "its transaction is known to have moved no followed account in a block, and does not wait in the mempool"
                .to_owned(),
        ),
        (Place::Nowhere { unasked: Some(why) }, ..) => {
            (Warning, format!("its transaction is in no block, and the mempool could not be asked: {why}"))
        }
        (_, _, Fit::Less(share)) => (Error, less(judged, share)),
        (_, PendingWithdrawals, Fit::Elsewhere) => (Error, "its transaction does not pay that address".to_owned()),
        (_, _, Fit::Elsewhere) => {
            (Error, format!("its transaction pays no {} to a declared account there", judged.symbol))
        }
        (_, _, Fit::UsedBefore) => (Error, "what its transaction pays is used by another item".to_owned()),
        (..) if judged.is_own_coins() => {
            (Error, "its transaction moves the exchange's own coins, and brings less than that".to_owned())
        }
        (Place::Mempool | Place::After(_), PendingWithdrawals, _) => return None,
        (Place::Mempool, ..) => (Notice, "its transaction waits in the mempool".to_owned()),
        (Place::UpTo(at), PendingWithdrawals, Fit::Untold) => (
            Warning,
            format!(
                "not all that its transaction paid in block {} is told, or can be held against that block",
                at.height
            ),
        ),
        (Place::UpTo(at), PendingWithdrawals, _) => (Warning, format!("it was settled in block {}", at.height)),
        (Place::UpTo(_), UncreditedDeposits, _) => return None,
        (Place::UpTo(at), UnconfirmedCredits, _) => {
            (Warning, format!("it is in the holdings already, since block {}", at.height))
        }
        (Place::After(at), UncreditedDeposits, _) => {
            (Warning, format!("it came after the statement's block, in block {}", at.height))
        }
        (Place::After(at), UnconfirmedCredits, _) if !judged.untold.is_zero() => (
            Warning,
            format!("not all that it brought in block {} is told, or can be held against that block", at.height),
        ),
        (Place::After(_), UnconfirmedCredits, _) => return None,
    };
    Some((severity, why))
}

fn less(judged: &Judged<'_>, share: Share) -> String {
    format!("its transaction pays {}, which is less", coins(judged, share.total()).grouped())
}

fn coins(judged: &Judged<'_>, units: Wide) -> Coins {
    Coins::of(units, judged.decimals)
}

fn shown(statement: &Statement, blocks: &Blocks<'_>, judged: &Judged<'_>) -> Value {
    let mut shown = json!(judged.line(blocks));
    shown["statement"] = json!(statement.digest);
    shown["address"] = json!(judged.item.to.as_ref().map(|(_, address)| address));
    if let Fit::Pays(share) | Fit::Less(share) = judged.fit {
        shown["paid"] = json!(coins(judged, share.total()));
    }
    shown
}
