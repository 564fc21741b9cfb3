//! The HTTP API over what the desk knows: reading for those who may, statements from exchanges, events, and metrics.
//!
//! Decides nothing about money: every number comes from the desk's picture or from a chain's store. What is decided here is
//! who may see what, see [`may`].

mod answer;
mod api;
mod app;
mod caller;
mod cursor;
mod guard;
mod metrics;
mod pages;
mod problem;
mod rate;
mod router;
mod scope;
mod seats;
mod serve;
#[cfg(test)]
mod tests;
mod tokens;

pub use scope::{Act, Scope, may};
pub use serve::{ServeError, Settings, Tls, serve};
pub use tokens::{NamedToken, NewToken, TokenError, create_token, revoke_token, tokens_in};
