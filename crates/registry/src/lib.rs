//! What people declare: exchanges with their accounts, and the assets that there are.
//!
//! Reads files and knows no chain: addresses are parsed by the [`assay_types::Directory`] that the caller gives.
//! Everything wrong in them is reported with its file, line and field.

mod account;
mod accounts;
mod assets;
mod csv;
mod exchange;
mod native;
mod signature;
mod source;
mod time;
mod toml;

pub use account::{Declared, Origin, Owner, Proof, Ranged, Role};
pub use accounts::Accounts;
pub use assets::{AssetBlock, DeploymentBlock, assets};
pub use exchange::{Declarations, Exchange, Shared, load};
pub use native::{ChainNative, Native};
pub use signature::{SecretKey, SignatureError, StatementKey};
pub use source::{Source, read_bytes, read_text};
pub use time::{TimeZone, UnknownTimezone, timezone};
