//! The rules: each a pure function that says what is wrong, how bad it is, and from what anyone can recompute it.
//!
//! Every rule's page is its own documentation: what it catches, what it cannot, and the policy keys that it heeds.

mod beyond_finality;
mod cold_ratio;
mod credits_over_inventory;
mod deposits_not_on_chain;
mod dropped_account;
mod dropped_asset;
mod elsewhere_not_accepted;
mod frozen_account;
mod ledger_jump;
mod ledger_over_holdings;
mod levels;
mod nodes_disagree;
mod not_covered;
mod not_reported;
mod not_segregated;
mod outflow_since_statement;
mod phantom_assets;
mod range_exhausting;
mod rewritten_history;
mod roll_forward_broken;
mod same_kind;
mod shared_account;
mod stale_index;
mod stale_statement;
mod token_code_changed;
mod turnover_over_holdings;
mod unexplained_difference;
mod unproven;
mod unsettled_item;
mod wallet_shortfall;

pub use beyond_finality::{Departure, beyond_finality};
pub use cold_ratio::{ColdCoins, ColdDay, MeanPrice, Untold, cold_ratio};
pub use credits_over_inventory::credits_over_inventory;
pub use deposits_not_on_chain::deposits_not_on_chain;
pub use dropped_account::{DROPPED_ACCOUNT, Dropped, dropped_account};
pub use dropped_asset::{Unreported, dropped_asset, unreported};
pub use elsewhere_not_accepted::elsewhere_not_accepted;
pub use frozen_account::{Frozen, frozen_account};
pub use ledger_jump::{Before, ledger_jump};
pub use ledger_over_holdings::ledger_over_holdings;
pub use levels::{HELD, Levels};
pub use nodes_disagree::{Dissent, nodes_disagree};
pub use not_covered::not_covered;
pub(crate) use not_reported::not_reported;
pub use not_segregated::not_segregated;
pub use outflow_since_statement::outflow_since_statement;
pub use phantom_assets::phantom_assets;
pub use range_exhausting::{RESERVE, RangeUse, range_exhausting};
pub use rewritten_history::{Rewritten, rewritten_history};
pub use roll_forward_broken::{Previous, roll_forward_broken};
pub(crate) use roll_forward_broken::{is_corrected_down, next_to_it};
pub use same_kind::same_kind;
pub use shared_account::shared_account;
pub use stale_index::{Following, stale_index};
pub(crate) use stale_statement::STALE_STATEMENT;
pub use stale_statement::stale_statement;
pub use token_code_changed::{CodeChange, token_code_changed};
pub use turnover_over_holdings::turnover_over_holdings;
pub use unexplained_difference::unexplained_difference;
pub use unproven::unproven;
pub(crate) use unsettled_item::unsettled_item;
pub use wallet_shortfall::wallet_shortfall;

/// The rules that compare an asset's ledger with its holdings. While the holdings are not known, or the ledger does not speak of the
/// asset, they find nothing, which clears nothing either.
pub const OF_HOLDINGS: &[&str] = &[
    "ledger-jump",
    "ledger-over-holdings",
    "not-segregated",
    "outflow-since-statement",
    "phantom-assets",
    "same-kind",
    "turnover-over-holdings",
    "unexplained-difference",
    "wallet-shortfall",
];

/// `1 account`, `2 accounts`
fn accounts(count: u64) -> String {
    if count == 1 { "1 account".to_owned() } else { format!("{count} accounts") }
}
