//! Who may do what. Pure, and in one place.

use serde::Deserialize;

/// What a caller is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Anyone on this machine, where no tokens are configured: reads, and submits nothing.
    Local,
    /// Supervises every exchange. Speaks for none of them.
    Regulator,
    /// One exchange, by its id.
    Exchange(String),
    /// Looks at accounts and chains.
    Analyst,
}

/// The words of the tokens file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ScopeWord {
    /// [`Scope::Regulator`]
    Regulator,
    /// [`Scope::Exchange`]
    Exchange,
    /// [`Scope::Analyst`]
    Analyst,
}

/// What a caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act<'a> {
    /// Anything about the exchange with this id.
    ReadExchange(&'a str),
    /// Hand in a statement of the exchange with this id.
    Submit(&'a str),
    /// Announce accounts that the exchange with this id will use.
    Announce(&'a str),
    /// Take on an alert of the exchange with this id.
    Acknowledge(&'a str),
    /// See and set what keeps alerts quiet.
    Silence,
    /// Balances and histories.
    ReadAccounts,
    /// Where the chains' indexes stand, and what troubles them.
    ReadChains,
    /// What monitoring scrapes, and why we are not ready.
    ReadMetrics,
}

/// May a caller of this scope do this?
pub fn may(scope: &Scope, act: &Act<'_>) -> bool {
    match (scope, act) {
        (Scope::Local | Scope::Regulator, Act::Submit(_) | Act::Announce(_)) => false,
        (Scope::Local, Act::Acknowledge(_) | Act::Silence) => false,
        (Scope::Local | Scope::Regulator, _) => true,
        (Scope::Exchange(own), Act::ReadExchange(id) | Act::Submit(id)) => own == id,
        (Scope::Exchange(own), Act::Announce(id) | Act::Acknowledge(id)) => own == id,
        // Whoever is watched does not say what is told of them.
        (Scope::Exchange(_), Act::Silence) => false,
        (Scope::Exchange(_), Act::ReadAccounts | Act::ReadChains | Act::ReadMetrics) => false,
        (Scope::Analyst, Act::ReadAccounts | Act::ReadChains) => true,
        (Scope::Analyst, Act::ReadExchange(_) | Act::Submit(_) | Act::ReadMetrics) => false,
        (Scope::Analyst, Act::Announce(_) | Act::Acknowledge(_) | Act::Silence) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_may_exactly_what_the_table_says() {
        let acts = [
            Act::ReadExchange("acme"),
            Act::ReadExchange("other"),
            Act::Submit("acme"),
            Act::Submit("other"),
            Act::ReadAccounts,
            Act::ReadChains,
            Act::ReadMetrics,
            Act::Acknowledge("acme"),
            Act::Acknowledge("other"),
            Act::Silence,
            Act::Announce("acme"),
            Act::Announce("other"),
        ];
        let table = [
            (Scope::Local, "1100111000 00"),
            (Scope::Regulator, "1100111111 00"),
            (Scope::Exchange("acme".into()), "1010000100 10"),
            (Scope::Analyst, "0000110000 00"),
        ];
        for (scope, expected) in table {
            let found = acts.map(|act| if may(&scope, &act) { '1' } else { '0' });
            assert_eq!(String::from_iter(found), expected.replace(' ', ""), "{scope:?}");
        }
    }
}
