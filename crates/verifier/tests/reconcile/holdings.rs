//! Holdings as an interval: what is known, bounded, unbounded, unproven, shared.

use assay_types::{Amount, Asset};
use assay_verifier::{Balance, Stage, Verdict};
use serde_json::json;

use crate::world::*;

fn interval(world: &World) -> (String, Option<String>) {
    let holdings = world.line().holdings;
    (holdings.low.to_string(), holdings.high.map(|high| high.to_string()))
}

fn between(low: u64, high: u64) -> (String, Option<String>) {
    (low.to_string(), Some(high.to_string()))
}

#[test]
fn an_unknown_account_is_zero_in_low_and_its_claim_in_high() {
    let silent = |last_verified| World::new(100, 60).also(held(2, unknown("the node is silent", last_verified)));
    assert_eq!(interval(&silent(None)), ("60".into(), None));
    assert_eq!(interval(&silent(Some(7))), ("60".into(), None), "what was there once bounds nothing by itself");
    assert_eq!(interval(&silent(None).claims(claim(2, 9))), between(60, 69));
    assert_eq!(interval(&silent(Some(7)).claims(claim(2, 9))), between(60, 69));
    assert_eq!(interval(&silent(Some(9)).claims(claim(2, 7))), between(60, 69));
    assert_eq!(interval(&silent(None).claims(claim(2, 7)).claims(claim(2, 9))), between(60, 69));
    assert_eq!(interval(&silent(None).claims(claim(3, 9))), ("60".into(), None), "a claim about another wallet");
}

#[test]
fn what_nodes_disagree_about_is_bounded_by_what_they_say_and_by_no_claim() {
    let disputed = |owed, at_most| World::new(owed, 60).also(held(2, disputed(at_most))).claims(claim(2, 1000));
    assert_eq!(interval(&disputed(100, 30)), between(60, 90));
    assert_eq!(disputed(91, 30).line().verdict, Verdict::Short, "none of their answers would clear it");
    assert_eq!(disputed(90, 30).line().verdict, Verdict::Indeterminate, "one of them would");
    assert_eq!(disputed(61, 30).line().verdict, Verdict::Indeterminate);
    assert_eq!(disputed(60, 30).line().verdict, Verdict::Backed, "what is owed is there by all of them");
}

#[test]
fn a_shortage_that_no_unknown_can_fill_is_short() {
    let silent = |claimed| World::new(100, 60).also(held(2, unknown("x", None))).claims(claim(2, claimed));
    assert_eq!(silent(39).line().verdict, Verdict::Short);
    assert_eq!(silent(39).line().missing.to_string(), "1");
    assert_eq!(silent(40).line().verdict, Verdict::Indeterminate);
    let unbounded = World::new(100, 60).also(held(2, unknown("x", None)));
    assert_eq!(unbounded.line().verdict, Verdict::Indeterminate);
    assert_eq!(unbounded.line().missing_at_most.to_string(), "40");
    assert_eq!(unbounded.line().unknown_amount, None);
    let enough = World::new(60, 60).also(held(2, unknown("x", None)));
    assert_eq!(enough.line().verdict, Verdict::Backed);
    assert_eq!(rules(&enough.judge()), ["not-covered warning"]);
}

#[test]
fn what_is_unknown_is_grouped_by_its_reason() {
    let mut world = World::new(100, 60);
    for number in 10..20 {
        world = world.also(held(number, unknown("not scanned", Some(1)))).claims(claim(number, 0));
    }
    let line = world.also(held(30, unknown("no answer", None))).line();
    assert_eq!(line.accounts.unknown, 11);
    let shown = serde_json::to_value(&line.unknown).unwrap();
    assert_eq!(shown[0]["reason"], "not scanned");
    assert_eq!((&shown[0]["accounts"], &shown[0]["bound"]), (&json!(10), &json!("10")));
    assert_eq!(shown[0]["examples"].as_array().unwrap().len(), 5);
    assert_eq!(shown[0]["examples"][0]["last_verified"], "1");
    assert_eq!(shown[0]["examples"][0]["last_verified_height"], 90);
    assert_eq!((&shown[1]["accounts"], &shown[1]["bound"]), (&json!(1), &json!(null)));
}

#[test]
fn however_many_reasons_there_are_the_answer_is_bounded() {
    let mut world = World::new(100, 60);
    for number in 0..90 {
        let account = held(100 + number, unknown(&format!("reason {number}"), Some(1)));
        world = world.also(account).claims(claim(100 + number, 0));
    }
    let line = world.line();
    assert_eq!(line.unknown.len(), 21);
    assert_eq!(line.unknown[20].accounts, 70);
    assert_eq!(line.unknown_amount.unwrap().to_string(), "90");
}

#[test]
fn the_policy_says_whether_what_is_not_proven_counts() {
    let unproven = || World::new(100, 60).also(held(2, Balance::Known { amount: Amount::from(40), proven: false }));
    let counted = unproven().judge();
    assert_eq!((counted.verdict, rules(&counted)), (Verdict::Backed, vec!["unproven notice".into()]));
    assert_eq!(counted.findings[0].message, "40 BTC on 1 account count without a proof");
    let strict = || unproven().policy(json!({ "require": "verified" }));
    assert_eq!(interval(&strict()), ("60".into(), None), "an unproven value bounds nothing");
    assert_eq!(strict().judge().verdict, Verdict::Indeterminate);
    assert_eq!(rules(&strict().judge()), ["not-covered warning"]);
    assert_eq!(strict().claims(claim(2, 39)).judge().verdict, Verdict::Short);
}

#[test]
fn an_account_that_a_rival_declares_too_never_makes_short_and_hides_no_shortage() {
    let shared = |customers| {
        let mut account = held(2, known(40));
        account.shared_with = vec!["globex".into()];
        World::new(customers, 60).also(account)
    };
    assert_eq!(interval(&shared(100)), between(60, 100));
    assert_eq!(shared(60).judge().verdict, Verdict::Backed);
    assert_eq!(shared(100).judge().verdict, Verdict::Indeterminate);
    assert_eq!(shared(101).judge().verdict, Verdict::Short);
    assert_eq!(rules(&shared(100).judge()), ["shared-account warning"]);
    let finding = &shared(100).judge().findings[0];
    assert_eq!(finding.message, "1 account declared by globex too");
    assert_eq!(finding.evidence.json()["examples"][0]["address"], "address-2");
    assert_eq!(shared(100).line().unknown[0].reason, "also declared by globex");
}

#[test]
fn coins_count_once() {
    let twice = World::new(100, 60).also(held(1, known(60)));
    assert_eq!(interval(&twice), between(60, 60));
    let mut former = held(2, known(40));
    former.counted = false;
    assert_eq!(interval(&World::new(100, 60).also(former)), between(60, 60));
    let mut token = held(1, known(40));
    token.asset = Asset::Token([1; 20]);
    assert_eq!(interval(&World::new(100, 60).also(token)), between(100, 100), "another deployment of the asset");
    let mut split = World::new(60, 60);
    split.statement.assets.push(report("BTC", 60));
    let verdicts: Vec<Verdict> = split.judge().lines.iter().map(|line| line.verdict).collect();
    assert_eq!(verdicts, [Verdict::Backed, Verdict::Short], "an asset that is reported twice");
}

#[test]
fn without_its_block_no_balance_of_a_chain_is_known() {
    let blind = World::new(60, 60).blind("the named block is not on the chain");
    assert_eq!(interval(&blind), ("0".into(), None));
    let judged = blind.judge();
    assert_eq!((judged.verdict, judged.stage), (Verdict::Indeterminate, Stage::Provisional));
    assert_eq!(rules(&judged), ["not-covered warning"]);
    let mut no_block = World::new(60, 60);
    no_block.evidence.blocks[0].chain = chain(ETHEREUM);
    assert_eq!(interval(&no_block), ("0".into(), None));
    let bounded = World::new(60, 60).blind("x").claims(claim(1, 59));
    assert_eq!(bounded.judge().verdict, Verdict::Short);
}

#[test]
fn an_asset_without_any_account_is_a_phantom() {
    let mut world = World::new(60, 60);
    world.statement.assets.push(report("DOGE", 7));
    let judged = world.judge();
    assert_eq!(judged.verdict, Verdict::Short);
    assert_eq!(rules(&judged), ["phantom-assets critical"]);
    assert_eq!(judged.findings[0].message, "acme owes 7 DOGE and holds at most 0: 7 DOGE are not there");
}

#[test]
fn where_nothing_was_looked_at_nothing_is_concluded() {
    let mut world = World::new(60, 60);
    world.evidence.blocks.clear();
    assert_eq!(world.judge().verdict, Verdict::Indeterminate);
    world.evidence.accounts.clear();
    assert_eq!(world.judge().verdict, Verdict::Indeterminate);
    world.btc().customers = Amount::ZERO;
    assert_eq!(world.judge().verdict, Verdict::Indeterminate);
    assert_eq!(world.judge().stage, Stage::Provisional);
    let mut silent = World::new(60, 60);
    silent.statement.assets.clear();
    let judged = silent.judge();
    assert_eq!((judged.verdict, judged.lines.len()), (Verdict::Indeterminate, 0));
    assert_eq!(rules(&judged), ["not-reported notice"]);
}

#[test]
fn a_verdict_is_final_when_all_its_blocks_are() {
    let mut world = World::new(60, 60);
    assert_eq!(world.judge().stage, Stage::Final);
    world.evidence.blocks.push(block(ETHEREUM, "ethereum", false));
    assert_eq!(world.judge().stage, Stage::Provisional);
}

#[test]
fn the_worst_line_is_the_verdict() {
    let mut world = World::new(60, 60).also(held(2, unknown("x", None)));
    world.statement.assets.push(report("DOGE", 0));
    assert_eq!(world.judge().verdict, Verdict::Backed);
    world.btc().customers = Amount::from(61);
    assert_eq!(world.judge().verdict, Verdict::Indeterminate);
    world.statement.assets[1].customers = Amount::from(1);
    assert_eq!(world.judge().verdict, Verdict::Short);
}
