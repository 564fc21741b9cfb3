//! The halt signal for an exchange's trading engine, by asset.

use assay_types::{Digest, Timestamp};
use serde::Serialize;

/// What the trading engine should do with one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// The asset's symbol.
    pub asset: String,
    /// What to do.
    pub signal: Signal,
    /// Why, in words; empty when nothing stands against it.
    pub reason: String,
    /// The statement whose verdict it rests on.
    pub statement: Option<Digest>,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// After this instant it says nothing any more: ask again.
    pub expires_at: Timestamp,
    /// Is Assay itself blind, so that the policy's choice for that case is given?
    pub blind: bool,
}

/// `allow` or `halt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Go on.
    Allow,
    /// Stop.
    Halt,
}
