//! Who may do what. One pure function decides; everything that is not allowed here is refused.

use serde::Deserialize;

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "scope", rename_all = "lowercase")]
pub enum Scope {
    /// Reads everything.
    Regulator,
    /// Submits the statements of one exchange, and reads that exchange.
    Exchange {
        /// Its id.
        exchange: String,
    },
    /// Reads accounts and chains.
    Analyst,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act<'a> {
    /// To see that there is an exchange, and all that is said of it.
    ReadExchange(&'a str),
    /// To bring its ledger.
    Submit(&'a str),
    /// What an account held and how it came to.
    ReadAccounts,
    /// Where the chains stand.
    ReadChains,
    /// How the daemon does.
    ReadMetrics,
}

/// May this scope do that?
pub fn may(scope: &Scope, act: Act<'_>) -> bool {
    match (scope, act) {
        // A regulator that could bring statements could put words into an exchange's mouth.
        (Scope::Regulator, Act::Submit(_)) => false,
        (Scope::Regulator, _) => true,
        (Scope::Exchange { exchange }, Act::ReadExchange(id) | Act::Submit(id)) => exchange == id,
        (Scope::Exchange { .. } | Scope::Analyst, Act::ReadChains) => true,
        (Scope::Analyst, Act::ReadAccounts) => true,
        (Scope::Exchange { .. }, Act::ReadAccounts | Act::ReadMetrics) => false,
        (Scope::Analyst, Act::ReadExchange(_) | Act::Submit(_) | Act::ReadMetrics) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_may_do_exactly_this() {
        let acme = Scope::Exchange { exchange: "acme".into() };
        let table = [
            (Act::ReadExchange("acme"), [true, true, false]),
            (Act::ReadExchange("beta"), [true, false, false]),
            (Act::Submit("acme"), [false, true, false]),
            (Act::Submit("beta"), [false, false, false]),
            (Act::ReadAccounts, [true, false, true]),
            (Act::ReadChains, [true, true, true]),
            (Act::ReadMetrics, [true, false, false]),
        ];
        for (act, allowed) in table {
            let found = [&Scope::Regulator, &acme, &Scope::Analyst].map(|scope| may(scope, act));
            assert_eq!(found, allowed, "{act:?}");
        }
    }
}
