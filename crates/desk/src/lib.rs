//! The daemon's middle: it keeps statements, verdicts and alerts, evaluates what a block, a statement or the time changes,
//! and shows one picture of it.
//!
//! Knows no node protocol and no HTTP: chains come as [`Source`]s, and whoever serves the picture reads [`View`].

mod alert;
mod gate;
mod view;

pub use alert::{Alert, State};
pub use gate::{Gate, Signal};
pub use view::{BlockView, ChainView, ExchangeView, StatementView, Trouble, View};
