//! What whoever is on duty does first, by rule. An operator's own words take their place in `[[alerts.rule]]`.

/// Every rule that can raise an alert, with the first steps.
pub const FIRST_STEPS: &[(&str, &str)] = &[
    (
        "beyond-finality",
        "Ask other nodes which branch is the chain; halt the chain's coins until it is known. To go on with another: `assay index --accept-reorg`.",
    ),
    (
        "cold-ratio",
        "See in the evidence which kind of coins is hot; ask the exchange when they return. Where it cannot be told: `assay check`.",
    ),
    (
        "credits-over-inventory",
        "Ask the exchange what was credited and from which inventory; until answered, hold withdrawals of the asset.",
    ),
    (
        "deposits-not-on-chain",
        "Ask for the transactions of the deposits that were booked; hold withdrawals of the asset until they are shown.",
    ),
    (
        "dropped-account",
        "Ask the exchange why the account is no longer declared; until it is, watch it: `assay history ADDRESS`.",
    ),
    ("dropped-asset", "Ask for a statement with the asset in it; what was owed before is still owed."),
    ("elsewhere-not-accepted", "Ask for the custodian's attestation, or leave the coins out."),
    ("frozen-account", "Ask the token's issuer why; coins that cannot be paid out are no use to customers."),
    ("ledger-jump", "Compare the ledger's growth with the deposits on chain: `assay explain EXCHANGE ASSET`."),
    ("ledger-over-holdings", "See by how much and since which statement: `assay explain EXCHANGE ASSET`."),
    (
        "nodes-disagree",
        "Compare the block at the height that is named with a third source; stop the node that is wrong.",
    ),
    ("not-covered", "Check that the account's chain is followed from before the account's first coin: `assay check`."),
    ("not-reported", "Ask for a statement that reports the asset; the wallets declared for it hold some."),
    ("not-segregated", "Ask the exchange to move its customers' coins to wallets declared as theirs."),
    (
        "outflow-since-statement",
        "Look at the debits since the statement: `assay history ADDRESS`; ask the exchange whether they are its own.",
    ),
    (
        "phantom-assets",
        "Stop credits and withdrawals of the asset; then find what makes the difference: `assay explain EXCHANGE ASSET`.",
    ),
    ("range-exhausting", "Ask the exchange to declare a longer range of the descriptor before it is used up."),
    (
        "rewritten-history",
        "Ask the exchange why it sent another statement under a number that was taken; both digests are kept.",
    ),
    ("roll-forward-broken", "Ask for the flows that are missing between the two statements."),
    ("same-kind", "See which asset is short in its own kind; what is held in another kind covers none of it."),
    ("shared-account", "Ask both exchanges to prove control of the account by a signed message."),
    ("stale-index", "See why the chain is not followed: `assay check`, then the node's own log."),
    ("stale-statement", "Ask the exchange for its statement; until it comes nothing is known of its ledger."),
    (
        "token-code-changed",
        "Read what the token's issuer announced, and its new code, before its balances are relied upon.",
    ),
    ("turnover-over-holdings", "Ask who traded: a few accounts, or many; compare with the credits of the day."),
    ("unexplained-difference", "Ask for the items in flight: `assay explain EXCHANGE ASSET` says what is left."),
    ("unproven", "Check the token's storage layout, or let two nodes be asked."),
    ("unsettled-item", "Look the item's transaction up; ask the exchange for the right one."),
    ("wallet-shortfall", "Compare the claimed balance with `assay balance ADDRESS` at the statement's block."),
];

/// The first steps for a rule; nothing for a name that is none.
pub fn first_steps(rule: &str) -> Option<&'static str> {
    FIRST_STEPS.iter().find(|(name, _)| *name == rule).map(|(_, steps)| *steps)
}
