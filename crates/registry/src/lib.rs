//! What people declare: exchanges with their accounts, the assets that there are, and what these cost.
//!
//! Reads files and knows no chain: addresses are parsed by the [`assay_types::Directory`] that the caller gives.
//! Everything wrong in them is reported with its file, line and field.

mod account;
mod accounts;
mod assets;
mod csv;
mod exchange;
mod native;
mod prices;
mod signature;
mod source;
mod time;
mod toml;

pub use account::{Declared, Origin, Owner, Proof, Ranged, Role, Terms};
pub use accounts::Accounts;
pub use assets::{AssetBlock, DeploymentBlock, assets};
pub use exchange::{Declarations, Exchange, Shared, load};
pub use native::{ChainNative, Native};
pub use prices::{Mean, Prices};
pub use signature::{SecretKey, SignatureError, StatementKey};
pub use source::{Source, read_bytes, read_text};
pub use time::{Date, TimeZone, UnknownTimezone, last_daily, timezone, year_up_to_last_month};
