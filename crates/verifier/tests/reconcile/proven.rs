//! A line says how many accounts, and how much, were proven at its block, around it, and earlier.

use assay_types::Height;
use assay_verifier::{Balance, ProvenEvidence, ProvenPart, When, Wide};
use serde_json::{Value, json};

use crate::world::*;

/// An account of 60 and one of 5 that are verified, and one of 7 that is not.
fn world(when: Option<When>) -> World {
    let unproven = Balance::Known { amount: 7.into(), proven: false };
    let mut world = World::new(100, 60).also(held(2, known(5))).also(held(3, unproven));
    let chain = world.evidence.blocks[0].chain.clone();
    world.evidence.proven.extend(when.map(|when| ProvenEvidence { chain, when }));
    world
}

fn told(world: &World) -> Value {
    serde_json::to_value(world.line().accounts).unwrap()["proven"].clone()
}

fn looked(at_block: (u64, u64), earlier: (u64, u64), lowest: Option<u64>) -> When {
    let units = |(accounts, amount): (u64, u64)| (accounts, Wide::from(amount));
    let part = ProvenPart {
        at_block: units(at_block),
        earlier: units(earlier),
        lowest: lowest.map(Height),
        ..ProvenPart::none("BTC")
    };
    When::Looked(vec![ProvenPart::none("ETH"), part])
}

#[test]
fn a_line_says_how_many_were_proven_when() {
    let part = |accounts: u64, amount: &str| json!({ "accounts": accounts, "amount": amount });
    let split = told(&world(Some(looked((1, 60), (1, 7), Some(90)))));
    assert_eq!((&split["at_block"], &split["around"]), (&part(1, "60"), &part(1, "5")));
    let earlier = json!({ "accounts": 1, "amount": "7", "lowest": [{ "chain": "bitcoin", "height": 90 }] });
    assert_eq!(split["earlier"], earlier);
    let never = told(&world(Some(looked((2, 65), (0, 0), None))));
    assert_eq!((&never["at_block"], &never["around"]), (&part(2, "65"), &part(0, "0")));
    assert_eq!(never["earlier"], json!({ "accounts": 0, "amount": "0", "lowest": [] }));
    let walked = told(&world(Some(When::Walked)));
    assert_eq!((&walked["at_block"], &walked["around"]["accounts"]), (&part(2, "65"), &json!(0)));
    assert_eq!(told(&world(None)), Value::Null, "where it was not looked at, nothing is said");
}

#[test]
fn where_only_proofs_count_nothing_rests_on_earlier_ones() {
    let strict = world(Some(looked((1, 60), (1, 7), Some(90)))).policy(json!({ "require": "verified" }));
    assert_eq!(strict.line().accounts.unknown, 1);
    assert_eq!(told(&strict)["earlier"]["accounts"], 0);
}
