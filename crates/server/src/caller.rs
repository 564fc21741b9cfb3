//! Who asks, and what they may.

use crate::problem::Problem;
use crate::scope::{Act, Scope, may};

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The token's id.
    pub(crate) name: String,
    pub(crate) scope: Scope,
    /// SHA-256 of the token's secret, to look again whether it still counts.
    pub(crate) digest: Option<[u8; 32]>,
}

impl Caller {
    pub(crate) fn may(&self, act: &Act<'_>) -> bool {
        may(&self.scope, act)
    }

    /// Refuses openly: what is asked for is no secret.
    pub(crate) fn must(&self, act: &Act<'_>) -> Result<(), Problem> {
        if self.may(act) { Ok(()) } else { Err(Problem::forbidden()) }
    }

    /// Refuses as if there were no such exchange.
    pub(crate) fn must_see(&self, exchange: &str) -> Result<(), Problem> {
        if self.may(&Act::ReadExchange(exchange)) { Ok(()) } else { Err(Problem::not_found()) }
    }
}
