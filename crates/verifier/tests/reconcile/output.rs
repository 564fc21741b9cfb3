//! The JSON that `assay verify --json` prints.

use assay_types::Amount;
use serde_json::{Value, json};

use crate::world::*;

fn shown(world: &World) -> Value {
    serde_json::to_value(world.judge()).unwrap()
}

#[test]
fn the_case_of_february_2026_reads_as_the_contract_says() {
    let mut world = World::new(662_619, 42_794).house(175);
    world.now = time("2026-02-06T10:20:00Z");
    let shown = shown(&world);
    assert_eq!(shown["exchange"], "acme");
    assert_eq!(shown["verdict"], "short");
    assert_eq!(shown["stage"], "final");
    assert_eq!(shown["evaluated_at"], "2026-02-06T10:20:00Z");
    let digest = world.statement.digest.to_string();
    assert_eq!(shown["statement"], json!({ "digest": digest, "as_of": "2026-02-06T10:00:00Z" }));
    assert_eq!(shown["policy"], json!({ "digest": world.policy.digest().to_string() }));
    assert_eq!(shown["program"], "assay 0.0.0");
    let block = json!({ "chain": "bitcoin", "height": 100, "hash": "64".repeat(32), "final": true });
    assert_eq!(shown["blocks"], json!([block]));
    let line = &shown["lines"][0];
    let expected = json!({ "asset": "BTC", "holdings": { "low": "42794", "high": "42794" }, "customers": "662619",
        "owed": "662619", "deductions": "0", "house": "175", "difference": "-620000", "coverage_ratio": "0.0645",
        "verdict": "short", "missing": "619825" });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&line[field], value, "{field}");
    }
    let severities: Vec<&str> =
        shown["findings"].as_array().unwrap().iter().map(|finding| finding["severity"].as_str().unwrap()).collect();
    assert_eq!(severities, ["critical", "error", "warning"]);
}

#[test]
fn what_is_not_known_is_null() {
    let world = World::new(0, 60).also(held(2, unknown("x", None)));
    let line = &shown(&world)["lines"][0];
    for field in ["house", "difference", "coverage_ratio", "unknown_amount"] {
        assert_eq!(line[field], Value::Null, "{field}");
    }
    assert_eq!(line["holdings"], json!({ "low": "60", "high": null }));
    assert_eq!(line["verdict"], "backed");
    let blind = shown(&world.blind("no answer"));
    let block = json!({ "chain": "bitcoin", "height": null, "hash": null, "final": false, "unknown": "no answer" });
    assert_eq!(blind["blocks"], json!([block]));
}

#[test]
fn the_largest_amounts_are_summed_exactly() {
    let mut world = World::new(0, 0);
    world.btc().customers = Amount::MAX;
    let mut withdrawal = withdrawal(9, 200, 0);
    withdrawal.amount = Amount::MAX;
    world = world.pending(withdrawal.clone()).pending(withdrawal);
    for number in [2, 3, 4] {
        let mut account = held(number, known(0));
        account.balance = assay_verifier::Balance::Known { amount: Amount::MAX, proven: true };
        world = world.also(account);
    }
    let line = &shown(&world)["lines"][0];
    let three_times = "347376267711948586270712955026063723559809953996921692118372752023739388919805";
    assert_eq!((&line["owed"], &line["holdings"]["low"]), (&json!(three_times), &json!(three_times)));
    assert_eq!((&line["verdict"], &line["coverage_ratio"]), (&json!("backed"), &json!("1.0000")));
    world.evidence.accounts.pop();
    assert_eq!(shown(&world)["lines"][0]["coverage_ratio"], "0.6666");
}
