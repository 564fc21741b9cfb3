//! What each rule says, and what it leaves alone.

use assay_types::{Amount, Asset, Elsewhere, ElsewhereKind};
use assay_verifier::{At, Balance, Finding, Severity, Verdict, exit_code};
use serde_json::json;

use crate::world::*;

#[test]
fn a_phantom_is_named_with_what_is_needed_to_recompute_it() {
    let mut world = World::new(66_261_900, 4_279_400);
    world.btc().decimals = 3;
    world = world.unconfirmed(item(9, 0, 10)).tx(9, in_block(B + 1, vec![paid(0, 1, 10)]));
    let judged = world.policy(json!({ "shortage_tolerance": { "BTC": "0.005" } })).judge();
    assert_eq!(rules(&judged), ["phantom-assets critical"]);
    let Finding { message, evidence, asset, .. } = &*judged.findings[0];
    let evidence = evidence.json();
    assert_eq!(
        message,
        "acme owes 66,261.9 BTC and holds at most 4,279.4, with 0.01 more proven on the way or accepted elsewhere: \
         61,982.49 BTC are not there"
    );
    assert_eq!(asset.as_deref(), Some("BTC"));
    for (field, value) in [("owed", "66261.9"), ("deductions", "0.01"), ("missing", "61982.49"), ("tolerance", "0.005")]
    {
        assert_eq!(evidence[field], value, "{field}");
    }
    assert_eq!(evidence["holdings"], json!({ "low": "4279.4", "high": "4279.4" }));
    assert_eq!(evidence["statement"], judged.statement.digest.to_string());
    assert_eq!(evidence["policy"], judged.policy.digest.to_string());
    assert_eq!(evidence["blocks"][0]["height"], B);
}

#[test]
fn a_tolerated_shortage_is_backed() {
    let world = |customers| World::new(customers, 100).policy(json!({ "shortage_tolerance": { "BTC": "5.9" } }));
    assert_eq!(world(105).judge().verdict, Verdict::Backed);
    assert_eq!(world(106).judge().verdict, Verdict::Short);
}

#[test]
fn coins_elsewhere_count_as_the_policy_accepts_them() {
    let mut world = World::new(100, 60);
    let coins =
        |kind, units| Elsewhere { kind, name: Some("Vault".into()), amount: Amount::from(units), attestation: None };
    world.btc().elsewhere = vec![coins(ElsewhereKind::Custodian, 30), coins(ElsewhereKind::Staked, 10)];
    let judged = world.judge();
    assert_eq!(judged.verdict, Verdict::Short);
    assert_eq!(rules(&judged)[1..], ["elsewhere-not-accepted notice", "elsewhere-not-accepted notice"]);
    let some = world.clone().policy(json!({ "accept_elsewhere": ["custodian"] }));
    assert_eq!(some.line().elsewhere.to_string(), "30");
    assert_eq!(some.judge().verdict, Verdict::Short);
    let all = world.policy(json!({ "accept_elsewhere": ["custodian", "staked"] }));
    assert_eq!((all.judge().verdict, rules(&all.judge())), (Verdict::Backed, vec![]));
}

#[test]
fn a_difference_is_a_deficit_or_a_surplus_beyond_the_tolerance() {
    // 0.0001 of 10,000 is 1
    let world = |holds| World::new(9_000, holds).house(1_000);
    let findings = |holds| rules(&world(holds).judge());
    assert_eq!(findings(10_000), [""; 0]);
    assert_eq!(findings(9_999), [""; 0]);
    assert_eq!(findings(9_998), ["unexplained-difference error"]);
    assert_eq!(findings(10_001), [""; 0]);
    assert_eq!(findings(10_002), ["unexplained-difference notice"]);
    let deficit = world(9_998).judge();
    assert_eq!(deficit.verdict, Verdict::Backed, "the house's own coins are missing, not the customers'");
    assert_eq!(deficit.lines[0].difference.as_ref().unwrap().to_string(), "-2");
    assert_eq!(deficit.findings[0].message, "2 BTC less on chain than the ledger accounts for");
}

#[test]
fn a_difference_needs_exact_holdings_and_a_known_house() {
    assert_eq!(World::new(100, 50).line().difference, None);
    let unknown_account = World::new(100, 50).house(0).also(held(2, unknown("x", None))).claims(claim(2, 0));
    assert_eq!(unknown_account.line().difference, None, "an account of which only the claim is known");
    assert_eq!(unknown_account.line().verdict, Verdict::Short);
}

#[test]
fn negative_balances_explain_a_difference_and_lower_no_debt() {
    let mut world = World::new(110, 100).house(0);
    world.btc().negative = Amount::from(10);
    let judged = world.judge();
    assert_eq!(judged.lines[0].difference.as_ref().unwrap().to_string(), "0");
    assert_eq!((judged.verdict, rules(&judged)), (Verdict::Short, vec!["phantom-assets critical".into()]));
}

#[test]
fn a_wallet_must_hold_what_is_claimed_of_it() {
    let world = |claimed| World::new(10, 60).claims(claim(1, claimed));
    assert_eq!(rules(&world(60).judge()), [""; 0]);
    let less = world(61).judge();
    assert_eq!((less.verdict, rules(&less)), (Verdict::Backed, vec!["wallet-shortfall error".into()]));
    assert_eq!(less.findings[0].message, "wallets[1]: 61 BTC are claimed of address-1, which holds 60");
    assert_eq!(less.findings[0].evidence.json()["block"]["height"], B);
    let undeclared = World::new(10, 60).claims(claim(77, 1)).judge();
    assert_eq!(undeclared.findings[0].message, "wallets[77]: 1 BTC are claimed of address-77, which is not declared");
    let unknown_balance = World::new(10, 60).also(held(2, unknown("x", None))).claims(claim(2, 1000)).judge();
    assert_eq!(rules(&unknown_balance), ["not-covered warning"]);
    let unproven = World::new(10, 60).also(held(2, Balance::Known { amount: Amount::from(1), proven: false }));
    let unproven = unproven.claims(claim(2, 2));
    assert_eq!(rules(&unproven.judge()), ["wallet-shortfall error", "unproven notice"]);
    let strict = unproven.policy(json!({ "require": "verified" }));
    assert_eq!(rules(&strict.judge()), ["not-covered warning"]);
}

#[test]
fn a_statement_ages_from_its_instant_or_from_the_block_after_the_one_it_names() {
    let findings = |now: &str, named: bool, after: Option<&str>| {
        let mut world = World::new(10, 60);
        world.now = time(now);
        world.evidence.blocks[0].named = named;
        if let At::Block { after: next, .. } = &mut world.evidence.blocks[0].at {
            *next = after.map(time);
        }
        rules(&world.judge()).len()
    };
    assert_eq!(findings("2026-02-06T10:05:00Z", false, None), 0);
    assert_eq!(findings("2026-02-06T10:05:01Z", false, None), 1);
    assert_eq!(findings("2026-02-06T09:55:00Z", false, None), 0, "clocks differ");
    assert_eq!(findings("2026-02-06T09:54:59Z", false, None), 1, "from the future");
    assert_eq!(findings("2026-02-06T10:01:00Z", true, Some("2026-02-06T09:56:00Z")), 0);
    assert_eq!(findings("2026-02-06T10:01:00Z", true, Some("2026-02-06T09:55:59Z")), 1);
    assert_eq!(
        findings("2026-02-06T10:01:00Z", false, Some("2026-02-06T09:00:00Z")),
        0,
        "a block that it did not name"
    );
    assert_eq!(findings("2026-02-06T10:05:00Z", true, Some("2026-02-06T10:04:00Z")), 0, "it cannot become younger");
    assert_eq!(findings("2026-02-06T10:05:01Z", true, Some("2026-02-06T10:04:00Z")), 1);
}

#[test]
fn what_is_held_and_not_reported_is_said() {
    let mut other = held(1, known(5));
    other.symbol = "DOGE".into();
    other.asset = Asset::Token([1; 20]);
    let judged = World::new(10, 60).also(other.clone()).judge();
    assert_eq!(rules(&judged), ["not-reported notice"]);
    assert_eq!(judged.lines.len(), 1);
    other.balance = known(0);
    assert_eq!(rules(&World::new(10, 60).also(other).judge()), [""; 0]);
}

#[test]
fn the_worst_finding_comes_first_and_the_gatherers_own_are_among_them() {
    let mut world =
        World::new(100, 60).house(0).also(held(2, unknown("x", Some(1)))).claims(claim(2, 0)).claims(claim(1, 61));
    world.now = time("2026-02-06T11:00:00Z");
    let notice =
        |rule, severity| Finding { rule, severity, asset: None, message: "m".into(), evidence: json!({}).into() };
    world.evidence.notices =
        vec![notice("z-notice", Severity::Notice), notice("named-block-ignored", Severity::Warning)];
    let expected = [
        "phantom-assets critical",
        "wallet-shortfall error",
        "named-block-ignored warning",
        "stale-statement warning",
        "not-covered warning",
        "z-notice notice",
    ];
    assert_eq!(rules(&world.judge()), expected);
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let code = |world: World| exit_code(&world.judge());
    assert_eq!(code(World::new(60, 60)), 0);
    assert_eq!(code(World::new(61, 60)), 1);
    assert_eq!(code(World::new(10, 60).claims(claim(1, 61))), 1);
    assert_eq!(code(World::new(61, 60).also(held(2, unknown("x", None)))), 3);
    assert_eq!(code(World::new(60, 60).also(held(2, unknown("x", None)))), 0, "a warning that nothing hangs on");
    let late = |mut world: World| {
        world.now = time("2026-02-07T10:00:00Z");
        world
    };
    assert_eq!(code(late(World::new(60, 60))), 3);
    assert_eq!(code(late(World::new(61, 60))), 1, "a discrepancy comes before age");
}
