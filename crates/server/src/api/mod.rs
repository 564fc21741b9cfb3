//! The handlers, by what they are about.

pub(crate) mod accounts;
pub(crate) mod alerts;
pub(crate) mod events;
pub(crate) mod exchanges;
pub(crate) mod gate;
pub(crate) mod history;
pub(crate) mod probes;
pub(crate) mod statements;
pub(crate) mod subject;
pub(crate) mod wallets;
