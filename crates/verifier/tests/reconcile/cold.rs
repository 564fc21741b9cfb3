//! `cold-ratio`: when the customers' coins are cold enough, when they are not, and when nobody can tell.

use assay_types::{Amount, Digest};
use assay_verifier::rules::{ColdCoins, ColdDay, MeanPrice, Untold, cold_ratio};
use assay_verifier::{Coins, Finding, Interval, Severity, StatementLine};
use serde_json::{Value, json};

use crate::world::{World, held, known, report, time, unknown};

fn coins(units: u64) -> Coins {
    Coins::new(Amount::from(units), 2)
}

/// So many owed, so many cold, at this price; in hundredths of a coin.
fn kind(asset: &str, customers: u64, cold: u64, price: u64) -> ColdCoins {
    between(asset, customers, (cold, Some(cold)), Ok(price))
}

fn between(asset: &str, customers: u64, cold: (u64, Option<u64>), price: Result<u64, &str>) -> ColdCoins {
    ColdCoins {
        asset: asset.into(),
        customers: coins(customers),
        cold: Interval { low: coins(cold.0), high: cold.1.map(coins) },
        price: price.map(|units| MeanPrice { price: coins(units), days: 365 }).map_err(str::to_owned),
    }
}

const NO_PRICE: Result<u64, &str> = Err("there is no price from 2025-01-01 to 2025-12-31");

fn day(coins: Vec<ColdCoins>) -> ColdDay {
    let statement = StatementLine { digest: Digest::of(b"statement"), as_of: time("2026-01-31T14:59:00Z") };
    ColdDay {
        day: "2026-01-31".into(),
        at: time("2026-01-31T15:00:00Z"),
        year: ("2025-01-01".into(), "2025-12-31".into()),
        currency: Some("KRW".into()),
        coins: Ok((statement, coins)),
    }
}

fn found(day: &ColdDay) -> Option<Finding> {
    cold_ratio(day, "0.8".parse().unwrap())
}

/// What is said of these coins: nothing, that they are too hot, or that it is not known.
fn said(coins: Vec<ColdCoins>) -> &'static str {
    match found(&day(coins)) {
        None => "met",
        Some(finding) => match (finding.severity, finding.evidence.json()["level"].as_str()) {
            (Severity::Error, None) => "broken",
            (Severity::Warning, Some("indeterminate")) => "open",
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn four_fifths_are_enough_and_one_unit_less_is_not() {
    let table = [
        (vec![kind("BTC", 10_000, 8_000, 1)], "met"),
        (vec![kind("BTC", 10_000, 7_999, 1)], "broken"),
        (vec![kind("BTC", 10_000, 10_000, 1)], "met"),
        (vec![kind("BTC", 10_000, 0, 1)], "broken"),
        // By value and not by kind: a dear coin that is cold outweighs a cheap one that is hot.
        (vec![kind("BTC", 100, 100, 400), kind("XRP", 100, 0, 100)], "met"),
        (vec![kind("BTC", 100, 100, 399), kind("XRP", 100, 0, 100)], "broken"),
        (vec![kind("BTC", 100, 100, 400), kind("XRP", 101, 0, 100)], "broken"),
        // Nothing is owed.
        (vec![], "met"),
        (vec![kind("BTC", 0, 0, 1)], "met"),
    ];
    for (coins, expected) in table {
        assert_eq!(said(coins.clone()), expected, "{coins:?}");
    }
}

#[test]
fn a_surplus_of_one_coin_hides_no_shortage_of_another() {
    // 100 of each are owed, at the same price: 60 of the one are cold, and of the other more than is owed.
    let with = |other: u64| said(vec![kind("BTC", 100, 59, 1), kind("XRP", 100, other, 1)]);
    assert_eq!([with(100), with(101), with(1_000_000)], ["broken"; 3]);
    assert_eq!(said(vec![kind("BTC", 100, 60, 1), kind("XRP", 100, 1_000_000, 1)]), "met");
}

#[test]
fn a_price_that_is_missing_leaves_it_open_unless_it_changes_nothing() {
    let table = [
        // Four fifths of the coins without a price are cold, whatever they cost; or less, and the others too.
        (vec![kind("BTC", 100, 90, 1), between("X", 100, (80, Some(80)), NO_PRICE)], "met"),
        (vec![kind("BTC", 100, 90, 1), between("X", 100, (79, Some(79)), NO_PRICE)], "open"),
        (vec![kind("BTC", 100, 70, 1), between("X", 100, (79, Some(79)), NO_PRICE)], "broken"),
        (vec![kind("BTC", 100, 70, 1), between("X", 100, (100, Some(100)), NO_PRICE)], "open"),
        (vec![kind("BTC", 100, 90, 1), between("X", 0, (0, Some(0)), NO_PRICE)], "met"),
        (vec![between("X", 100, (80, Some(80)), NO_PRICE), between("Y", 100, (100, Some(100)), NO_PRICE)], "met"),
        (vec![between("X", 100, (79, Some(79)), NO_PRICE)], "broken"),
        (vec![between("X", 100, (79, Some(79)), NO_PRICE), between("Y", 100, (80, Some(80)), NO_PRICE)], "open"),
    ];
    for (coins, expected) in table {
        assert_eq!(said(coins.clone()), expected, "{coins:?}");
    }
    let many = (0..5).map(|number| between(&format!("T{number}"), 100, (10 * number, Some(10 * number)), NO_PRICE));
    let mut all: Vec<_> = many.collect();
    all.push(kind("BTC", 100, 100, 1));
    let message = found(&day(all)).unwrap().message;
    assert!(message.ends_with("T0, T1, T2 and 2 more: there is no price from 2025-01-01 to 2025-12-31"), "{message}");
}

#[test]
fn a_cold_account_that_is_not_known_counts_nothing_and_accuses_nobody() {
    let with = |low, high| said(vec![between("BTC", 100, (low, high), Ok(1))]);
    assert_eq!(with(80, None), "met", "whatever is on the others");
    assert_eq!(with(0, None), "open", "all may be there");
    assert_eq!(with(10, Some(79)), "broken", "at most that can be there");
    assert_eq!(with(10, Some(80)), "open");
    // What is unknown beyond what is owed fills no other kind.
    assert_eq!(said(vec![between("BTC", 100, (100, None), Ok(1)), kind("XRP", 100, 59, 1)]), "broken");
    let message = found(&day(vec![between("BTC", 100, (0, None), Ok(1))])).unwrap().message;
    assert!(message.ends_with("BTC: not all balances on cold accounts are known"), "{message}");
}

#[test]
fn anyone_can_compute_it_again_from_the_evidence() {
    // 1.5 x 3 + 10 x 0.5 = 9.5, of which 0.7 x 3 + 10 x 0.5 = 7.1: 0.74736...
    let finding = found(&day(vec![kind("BTC", 150, 70, 300), kind("XRP", 1_000, 1_500, 50)])).unwrap();
    let evidence = json!({
        "day": "2026-01-31", "at": "2026-01-31T15:00:00Z", "required": "0.8", "currency": "KRW",
        "prices": { "from": "2025-01-01", "to": "2025-12-31" },
        "statement": { "digest": Digest::of(b"statement").to_string(), "as_of": "2026-01-31T14:59:00Z" },
        "ratio": "0.7473", "ratio_at_most": "0.7473", "value": "9.5", "cold_value": "7.1", "unpriced": {},
        "assets": [
            { "asset": "BTC", "customers": "1.5", "cold": "0.7", "counted": "0.7", "mean_price": "3", "days": 365,
              "value": "4.5", "cold_value": "2.1" },
            { "asset": "XRP", "customers": "10", "cold": "15", "counted": "10", "mean_price": "0.5", "days": 365,
              "value": "5", "cold_value": "5" },
        ],
    });
    assert_eq!(finding.evidence.json(), evidence);
    assert_eq!((finding.rule, finding.severity, finding.asset), ("cold-ratio", Severity::Error, None));
    assert!(finding.message.ends_with("on 2026-01-31 at 2026-01-31T15:00:00Z 0.7473 was"), "{}", finding.message);
    // What may be there besides is shown where there is any.
    let finding =
        found(&day(vec![between("BTC", 100, (10, Some(79)), Ok(1)), between("X", 100, (10, None), NO_PRICE)]));
    let evidence = finding.unwrap().evidence.json();
    let [btc, x] = &evidence["assets"].as_array().unwrap()[..] else { panic!("{evidence}") };
    assert_eq!([&btc["cold"], &btc["cold_at_most"]], ["0.1", "0.79"]);
    assert_eq!((&x["cold"], x.get("cold_at_most"), &x["value"]), (&json!("0.1"), Some(&Value::Null), &Value::Null));
    assert_eq!((&evidence["ratio"], &evidence["unpriced"]), (&Value::Null, &json!({ NO_PRICE.unwrap_err(): ["X"] })));
}

#[test]
fn what_was_not_told_is_told_as_such() {
    let open =
        ColdDay { coins: Err(Untold::Unknown("the last statement up to then is of long ago".into())), ..day(vec![]) };
    let finding = found(&open).unwrap();
    assert_eq!((finding.severity, &finding.evidence.json()["level"]), (Severity::Warning, &json!("indeterminate")));
    assert!(finding.message.ends_with("is of long ago"), "{}", finding.message);
    // Just after the start nothing is raised, and nothing cleared.
    let early = found(&ColdDay { coins: Err(Untold::TooEarly), ..day(vec![]) }).unwrap();
    assert_eq!((early.severity, &early.evidence.json()["level"]), (Severity::Notice, &json!("held")));
}

#[test]
fn amounts_beyond_all_reason_have_no_value_and_break_nothing() {
    let huge = |asset: &str, cold: Amount| ColdCoins {
        asset: asset.into(),
        customers: Coins::new(Amount::MAX, 77),
        cold: Interval { low: Coins::new(cold, 77), high: Some(Coins::new(cold, 77)) },
        price: Ok(MeanPrice { price: Coins::new(Amount::MAX, 18), days: 1 }),
    };
    assert_eq!(said(vec![huge("X", Amount::MAX)]), "met");
    assert_eq!(said(vec![huge("X", Amount::ZERO)]), "broken");
    assert_eq!(said(vec![huge("X", Amount::MAX), kind("BTC", 100, 0, 1)]), "open");
}

/// The line's cold holdings, as JSON.
fn cold(world: &World) -> Value {
    serde_json::to_value(world.line().cold_holdings).unwrap()
}

#[test]
fn a_line_says_what_is_on_the_customers_cold_accounts() {
    let on =
        |number, role: &str, units| assay_verifier::AccountEvidence { role: role.into(), ..held(number, known(units)) };
    let world = World::new(100, 7).also(on(2, "cold", 20)).also(on(3, "deposit", 5)).also(on(4, "cold", 3));
    assert_eq!(cold(&world), json!({ "low": "23", "high": "23" }));
    let house = assay_verifier::AccountEvidence { owner: "house", ..on(5, "cold", 50) };
    assert_eq!(cold(&world.clone().also(house)), json!({ "low": "23", "high": "23" }), "the house's are its own");
    let shared = assay_verifier::AccountEvidence { shared_with: vec!["globex".into()], ..on(5, "cold", 50) };
    assert_eq!(cold(&world.clone().also(shared)), json!({ "low": "23", "high": "73" }), "a rival claims them");
    let silent = |role: &str| assay_verifier::AccountEvidence { balance: unknown("x", None), ..on(5, role, 0) };
    assert_eq!(cold(&world.clone().also(silent("cold"))), json!({ "low": "23", "high": null }));
    assert_eq!(cold(&world.clone().also(silent("hot"))), json!({ "low": "23", "high": "23" }));
    let blind = world.blind("the node is away");
    assert_eq!(cold(&blind), json!({ "low": "0", "high": null }));
    let mut nothing = World::new(100, 7);
    nothing.statement.assets.push(report("ETH", 5));
    let lines = nothing.judge().lines;
    assert_eq!(serde_json::to_value(&lines[1].cold_holdings).unwrap(), json!({ "low": "0", "high": "0" }));
}
