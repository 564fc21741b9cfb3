//! Three levels at which an indicator speaks: to watch, to alert, to halt.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::coins::Wide;
use crate::line::ratio;
use crate::policy::Decimal;
use crate::{Finding, Severity};

/// By what multiple something must be exceeded, for each level; a level that is left out is never reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Levels {
    /// Somebody should look.
    pub watch: Option<Decimal>,
    /// Something is wrong.
    pub alert: Option<Decimal>,
    /// Trading should stop.
    pub halt: Option<Decimal>,
    /// An alert once raised stays until this is no longer exceeded, so that what swings about a level is told once; as `watch`
    /// where it is left out.
    pub clear: Option<Decimal>,
}

/// Nothing is said unless the policy says when.
impl Default for Levels {
    fn default() -> Levels {
        Levels { watch: None, alert: None, halt: None, clear: None }
    }
}

/// The level of what raises no alert, and clears none.
pub const HELD: &str = "held";

impl Levels {
    /// Levels at these whole and ten-thousandth parts, such as 10_100 for 1.01.
    pub(crate) fn at(watch: u32, alert: u32, halt: u32) -> Levels {
        let decimal = |parts| Some(Decimal::ten_thousandths(parts));
        Levels { watch: decimal(watch), alert: decimal(alert), halt: decimal(halt), clear: None }
    }

    /// The highest level whose multiple of `whole` is less than `part`.
    fn reached(&self, part: Wide, whole: Wide) -> Option<(&'static str, Severity, Decimal)> {
        let levels = [
            ("halt", Severity::Critical, self.halt),
            ("alert", Severity::Error, self.alert),
            ("watch", Severity::Warning, self.watch),
            (HELD, Severity::Notice, self.clear),
        ];
        let exceeded = |(name, severity, at): (_, _, Option<Decimal>)| {
            at.filter(|at| at.is_exceeded_by(part, whole)).map(|at| (name, severity, at))
        };
        levels.into_iter().find_map(exceeded)
    }

    /// The finding, where a level is reached. Its evidence gets the level, what it is set at, and how far it is exceeded.
    pub(crate) fn finding(
        &self,
        rule: &'static str,
        asset: &str,
        (part, whole): (Wide, Wide),
        message: impl FnOnce(&str) -> String,
        evidence: impl FnOnce() -> Value,
    ) -> Option<Finding> {
        let (level, severity, at) = self.reached(part, whole)?;
        let (ratio, mut evidence) = (ratio(part, whole), evidence());
        evidence["level"] = json!(level);
        evidence["at"] = json!(at);
        evidence["ratio"] = json!(ratio);
        let message = message(ratio.as_deref().unwrap_or("more than any number of"));
        Some(Finding { rule, severity, asset: Some(asset.to_owned()), message, evidence: evidence.into() })
    }
}
