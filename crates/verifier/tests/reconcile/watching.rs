//! The rules of continuous watching: what each accuses of, and what it does not.

use std::collections::BTreeMap;

use assay_types::{Amount, Flows, Statement, Volume};
use assay_verifier::rules::{Before, Dissent, Dropped, Following, Previous, RangeUse, Rewritten, unreported};
use assay_verifier::{Coins, Finding, Ordinary, Severity, Surroundings, Wide, watch};

use crate::world::{World, held, known, report, time, unknown, withdrawal};

struct Around {
    world: World,
    earlier: Vec<Statement>,
    rewritten: Vec<Rewritten>,
    following: Vec<Following>,
    at_most_now: BTreeMap<String, Wide>,
    before: BTreeMap<String, Before>,
    ranges: Vec<RangeUse>,
    dropped: Vec<Dropped>,
}

fn around(customers: u64, holds: u64) -> Around {
    let (earlier, rewritten, following, at_most_now, before, ranges, dropped) = Default::default();
    Around { world: World::new(customers, holds), earlier, rewritten, following, at_most_now, before, ranges, dropped }
}

impl Around {
    fn watch(&self) -> Vec<Finding> {
        let reconciliation = self.world.judge();
        let earlier: Vec<&Statement> = self.earlier.iter().collect();
        let mut ordinary = Ordinary::default();
        earlier.iter().for_each(|statement| ordinary.add(statement));
        let mut missing = BTreeMap::new();
        for (one, next) in earlier.iter().zip(earlier.iter().skip(1).chain([&&self.world.statement])) {
            missing = unreported(missing, one, next);
        }
        let previous = earlier.last().map(|statement| Previous::of(statement));
        let around = Surroundings {
            unreported: &missing,
            statement: &self.world.statement,
            reconciliation: &reconciliation,
            previous: previous.as_ref(),
            ordinary: &ordinary,
            at_most_now: &self.at_most_now,
            before: &self.before,
            ranges: &self.ranges,
            dropped: &self.dropped,
            rewritten: &self.rewritten,
            following: &self.following,
        };
        watch(&around, &self.world.policy, self.world.now)
    }

    /// Each finding's rule and severity.
    fn said(&self) -> Vec<(&'static str, Severity)> {
        self.watch().iter().map(|finding| (finding.rule, finding.severity)).collect()
    }

    /// The statement before this one, with these customers.
    fn after(mut self, customers: u64) -> Around {
        let mut before = self.world.statement.clone();
        before.assets[0] = report("BTC", customers);
        before.sequence = Some(6);
        self.world.statement.sequence = Some(7);
        self.earlier.push(before);
        self
    }
}

fn some(units: u64) -> Option<Amount> {
    Some(Amount::from(units))
}

fn flows(deposits: u64, withdrawals: u64, rewards: u64, fees: u64, corrections: u64) -> Option<Flows> {
    Some(Flows {
        deposits: some(deposits),
        withdrawals: some(withdrawals),
        rewards: some(rewards),
        fees: some(fees),
        corrections: some(corrections),
    })
}

fn hourly(traded: u64) -> Vec<Volume> {
    vec![Volume { window: "1h".into(), traded: Amount::from(traded) }]
}

#[test]
fn february_2026_trips_the_first_two_indicators_and_not_the_third() {
    let mut case = around(662_619, 42_794);
    let btc = case.world.btc();
    btc.flows = Some(Flows { rewards: some(620_000), ..Flows::default() });
    btc.inventory = some(175);
    btc.volume = hourly(1_788);
    assert_eq!(
        case.said(),
        [("credits-over-inventory", Severity::Critical), ("ledger-over-holdings", Severity::Critical)]
    );
    let evidence = case.watch()[1].evidence.json();
    assert_eq!((evidence["level"].as_str(), evidence["ratio"].as_str()), (Some("halt"), Some("15.4839")));
}

#[test]
fn the_levels_turn_at_the_first_unit_above_them() {
    let table = [
        (10_000, None),
        (10_001, Some(Severity::Warning)),
        (10_100, Some(Severity::Warning)),
        (10_101, Some(Severity::Error)),
        (10_501, Some(Severity::Critical)),
    ];
    for (owed, expected) in table {
        let found: Vec<_> = around(owed, 10_000).said().iter().map(|(_, severity)| *severity).collect();
        assert_eq!(found.first().copied(), expected, "{owed} of 10000");
    }
    let mut off = around(20_000, 10_000);
    off.world = off.world.policy(serde_json::json!({ "ledger_over_holdings": { "watch": "3" } }));
    assert_eq!(off.said(), []);
}

#[test]
fn what_is_unknown_accuses_nobody() {
    let mut case = around(20_000, 10_000);
    case.world = case.world.blind("the node is away");
    assert_eq!(case.said(), [], "holdings that nothing bounds");
    let mut case = around(10, 10);
    case.world.btc().flows = Some(Flows { rewards: some(5), ..Flows::default() });
    assert_eq!(case.said(), [("credits-over-inventory", Severity::Notice)], "an inventory that is not reported");
    let mut case = around(10, 10).after(3);
    case.world.btc().flows = Some(Flows { deposits: some(5), ..Flows::default() });
    assert_eq!(case.said(), [], "flows that are not all reported");
}

#[test]
fn turnover_is_held_against_holdings_and_against_what_is_ordinary() {
    let mut case = around(10, 1_000);
    case.world.btc().volume = hourly(1_001);
    assert_eq!(case.said(), [("turnover-over-holdings", Severity::Error)]);
    let ordinary = |reports: usize| {
        let mut case = around(10, 100_000);
        case.world.btc().volume = hourly(51);
        let mut before = case.world.statement.clone();
        before.assets[0].volume = hourly(10);
        before.sequence = None;
        case.earlier = vec![before; reports];
        case.said()
    };
    assert_eq!(ordinary(24), [("turnover-over-holdings", Severity::Warning)]);
    assert_eq!(ordinary(23), [], "too few reports for a mean");
}

#[test]
fn the_statement_before_and_the_flows_since_must_give_this_one() {
    let table = [
        (flows(20, 5, 1, 2, 0), 114, false),
        (flows(20, 5, 1, 2, 0), 115, true),
        (flows(20, 5, 1, 2, 0), 113, true),
        (flows(20, 5, 1, 2, 1), 115, false),
        (flows(20, 5, 1, 2, 1), 113, false),
        (flows(20, 5, 1, 2, 1), 112, true),
    ];
    for (flows, customers, broken) in table {
        let mut case = around(customers, 1_000).after(100);
        case.world.btc().flows = flows.clone();
        case.world.btc().inventory = some(10);
        let found = case.said().contains(&("roll-forward-broken", Severity::Error));
        assert_eq!(found, broken, "{customers} after 100 and {flows:?}");
        case.world.statement.sequence = Some(9);
        assert_eq!(case.said(), [("roll-forward-broken", Severity::Warning)], "statements between the two are missing");
        let evidence = case.watch()[0].evidence.json();
        assert_eq!((evidence["missing"]["from"].as_u64(), evidence["missing"]["to"].as_u64()), (Some(7), Some(8)));
        case.world.statement.sequence = None;
        assert_eq!(case.said(), [], "nobody can tell whether one is missing");
    }
}

#[test]
fn corrections_are_credits_unless_the_flows_show_that_they_were_taken_back() {
    // After 700, and 600 that are corrected: given, taken, and taken with one more credited.
    let table = [(1_300, true), (100, false), (101, true)];
    for (customers, credited) in table {
        let mut case = around(customers, 10_000).after(700);
        case.world.btc().flows = flows(0, 0, 0, 0, 600);
        case.world.btc().inventory = some(0);
        let found = case.said().iter().any(|(rule, _)| *rule == "credits-over-inventory");
        assert_eq!(found, credited, "{customers} after 700");
        case.world.statement.sequence = Some(9);
        let found = case.said().iter().any(|(rule, _)| *rule == "credits-over-inventory");
        assert!(found, "nothing shows it where a statement is missing");
    }
}

#[test]
fn what_is_no_longer_spoken_of_is_noticed() {
    let mut case = around(10, 10).after(10);
    case.earlier[0].assets.push(report("ETH", 5));
    case.earlier[0].assets.push(report("USDT", 0));
    let found = case.watch();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].rule, found[0].asset.as_deref()), ("dropped-asset", Some("ETH")));
    // However many statements keep silent about it, until one speaks of it again.
    let mut silent = case.world.statement.clone();
    case.earlier.extend([silent.clone(), silent.clone()]);
    assert_eq!(case.said(), [("dropped-asset", Severity::Error)]);
    silent.assets.push(report("ETH", 0));
    case.earlier.push(silent);
    assert_eq!(case.said(), []);
}

#[test]
fn a_past_that_is_changed_is_noticed() {
    let mut case = around(10, 10).after(10);
    case.world.statement.previous = Some(case.earlier[0].digest.to_string());
    assert_eq!(case.said(), []);
    case.world.statement.previous = Some(format!("sha256:{}", "0".repeat(64)));
    assert_eq!(case.said(), [("rewritten-history", Severity::Error)]);
    case.world.statement.previous = None;
    let at = time("2026-02-06T10:00:00Z");
    case.rewritten.push(Rewritten { sequence: 3, kept: "a".into(), came: "b".into(), at });
    assert_eq!(case.said(), [("rewritten-history", Severity::Error)]);
}

#[test]
fn a_chain_that_is_not_followed_is_noticed_after_a_while() {
    let mut case = around(10, 10);
    let now = case.world.now.unix_s();
    for (silent_s, expected) in [(120, 0), (121, 1)] {
        let since = assay_types::Timestamp::from_unix_s(now - silent_s);
        case.following = vec![Following {
            chain: "bitcoin".into(),
            trouble: Some((since, "away".into())),
            dissent: vec![],
            left: None,
        }];
        assert_eq!(case.said().len(), expected, "silent for {silent_s} s");
    }
}

/// Whose an account is, and what is known to be on it.
type Owned = (&'static str, Option<u64>);

/// 100 are owed; each account is the customers' or the house's, and known or not.
fn owned(accounts: &[Owned]) -> Vec<(&'static str, Severity)> {
    let mut case = around(100, 0);
    let account = |(number, (owner, units)): (u8, &Owned)| {
        let balance = units.map_or(unknown("somehow", None), known);
        assay_verifier::AccountEvidence { owner, ..held(number, balance) }
    };
    case.world.evidence.accounts = (1..).zip(accounts).map(account).collect();
    case.said().into_iter().filter(|(rule, _)| *rule == "not-segregated").collect()
}

#[test]
fn the_house_stands_in_for_no_customer_unseen() {
    let found = [("not-segregated", Severity::Error)];
    let table: &[(&[Owned], bool)] = &[
        (&[("customers", Some(90)), ("house", Some(20))], true),
        (&[("customers", Some(99)), ("house", Some(1))], true),
        (&[("customers", Some(100)), ("house", Some(20))], false),
        // Short all together: another rule says so.
        (&[("customers", Some(90)), ("house", Some(9))], false),
        // It may be there: unknown accuses nobody.
        (&[("customers", Some(90)), ("customers", None), ("house", Some(20))], false),
        (&[("customers", Some(90)), ("house", None)], false),
        (&[("customers", Some(200))], false),
    ];
    for (accounts, accused) in table {
        assert_eq!(owned(accounts), if *accused { &found[..] } else { &[] }, "{accounts:?}");
    }
}

#[test]
fn what_left_since_the_statement_is_told_by_its_part_of_what_was_there() {
    let rule = "outflow-since-statement";
    // 1,000 were there; so many are there now, or it is not known.
    let table = [
        (Some(1_000_u64), None),
        (Some(2_000), None),
        (Some(950), None),
        (Some(949), Some(Severity::Warning)),
        (Some(800), Some(Severity::Warning)),
        (Some(799), Some(Severity::Error)),
        (Some(499), Some(Severity::Critical)),
        (Some(0), Some(Severity::Critical)),
        (None, None),
    ];
    for (now, severity) in table {
        let mut case = around(10, 1_000);
        case.at_most_now = now.map(|now| ("BTC".to_owned(), Wide::from(now))).into_iter().collect();
        let found = case.said().into_iter().find(|(found, _)| *found == rule).map(|(_, severity)| severity);
        assert_eq!(found, severity, "{now:?}");
        // Had the statement said that 100 would leave, 100 more could go before anybody is told.
        let Some(more) = now.and_then(|now| now.checked_sub(100)) else { continue };
        case.at_most_now = BTreeMap::from([("BTC".to_owned(), Wide::from(more))]);
        case.world = case.world.pending(withdrawal(50, 9, 100));
        let found = case.said().into_iter().find(|(found, _)| *found == rule).map(|(_, severity)| severity);
        assert_eq!(found, severity, "{more} and 100 announced");
    }
}

/// What BTC came to before: owed, house, held.
fn before(owed: u64, house: Option<u64>, there: u64) -> BTreeMap<String, Before> {
    let coins = |units: u64| Coins::of(Wide::from(units), 0);
    let (owed, house, there, none) = (coins(owed), house.map(coins), coins(there), coins(0));
    let (negative, in_mempool, in_flight) = (none.clone(), none.clone(), none);
    BTreeMap::from([("BTC".into(), Before { owed, house, there, negative, in_mempool, in_flight })])
}

#[test]
fn a_ledger_that_outgrows_the_chain_jumps_while_a_surplus_still_covers_it() {
    // Customers, house and holdings now; and before.
    type Figures = (u64, Option<u64>, u64);
    let table: [(&str, Figures, Figures, bool); 9] = [
        ("nothing happens", (1000, Some(100), 2000), (1000, Some(100), 2000), false),
        ("a deposit", (1500, Some(100), 2500), (1000, Some(100), 2000), false),
        ("a withdrawal", (500, Some(100), 1500), (1000, Some(100), 2000), false),
        ("an invented credit within the surplus", (1500, Some(100), 2000), (1000, Some(100), 2000), true),
        ("the house sells to customers", (1050, Some(50), 2000), (1000, Some(100), 2000), false),
        ("the house says that it has more", (1000, Some(500), 2000), (1000, Some(100), 2000), true),
        ("coins leave the surplus", (1000, Some(100), 1500), (1000, Some(100), 2000), true),
        ("a house that is not reported", (1500, None, 2000), (1000, Some(100), 2000), false),
        ("a house that was not reported", (1500, Some(100), 2000), (1000, None, 2000), false),
    ];
    for (what, now, then, jumps) in table {
        let mut case = around(now.0, now.2);
        case.world.btc().house = now.1.map(Amount::from);
        case.before = before(then.0, then.1, then.2);
        assert_eq!(case.said().contains(&("ledger-jump", Severity::Error)), jumps, "{what}");
    }
    // Up to the tolerance it may: 0.0001 of 10,000.
    for (customers, jumps) in [(10_001, false), (10_002, true)] {
        let mut case = around(customers, 30_000);
        case.world.btc().house = some(0);
        case.before = before(10_000, Some(0), 30_000);
        assert_eq!(!case.said().is_empty(), jumps, "{customers}");
    }
    let mut case = around(1500, 2000);
    case.world.btc().house = some(100);
    case.before = before(1000, Some(100), 2000);
    case.world = case.world.blind("the node is away");
    assert_eq!(case.said(), [], "holdings that nothing bounds");
}

#[test]
fn no_surplus_of_another_kind_hides_a_shortfall() {
    let said = |case: &Around| case.said().into_iter().find(|(rule, _)| *rule == "same-kind").map(|(_, how)| how);
    // So much ETH is owed and held beside it.
    let with_eth = |case: Around, owed: u64, holds: u64| {
        let mut case = case;
        case.world.statement.assets.push(report("ETH", owed));
        let account = assay_verifier::AccountEvidence { symbol: "ETH".into(), ..held(9, known(holds)) };
        case.world = case.world.also(account);
        case
    };
    assert_eq!(said(&around(1000, 1000)), None);
    assert_eq!(said(&around(1001, 1000)), None, "it is phantom-assets, and nothing hides it");
    assert_eq!(said(&with_eth(around(1001, 1000), 5, 5)), None);
    assert_eq!(said(&with_eth(around(1000, 1000), 5, 50)), None);
    let hidden = with_eth(around(1001, 1000), 5, 50);
    assert_eq!(said(&hidden), Some(Severity::Error));
    let found = hidden.watch();
    let evidence = found.iter().find(|one| one.rule == "same-kind").unwrap().evidence.json();
    assert_eq!((&evidence["missing"], &evidence["surpluses"][0]["surplus"]), (&"1".into(), &"45".into()));
    let mut tolerated = around(1001, 1000);
    tolerated.world = tolerated.world.policy(serde_json::json!({ "shortage_tolerance": { "BTC": "1" } }));
    assert_eq!(tolerated.said(), [("same-kind", Severity::Notice)], "what the policy allows raises no alert");
    let mut blind = with_eth(around(1001, 1000), 5, 50);
    blind.world = blind.world.blind("the node is away");
    assert_eq!(blind.said(), [], "holdings that nothing bounds");
}

#[test]
fn what_is_booked_as_deposited_must_have_come() {
    // Deposits and withdrawals that are reported; house and holdings now. Before: 1,000 owed, 100 the house's, 2,000 held.
    let table = [
        ("a deposit", (500, 0), Some(100), 2500, false),
        ("a deposit that never came", (500, 0), Some(100), 2000, true),
        ("a withdrawal", (0, 500), Some(100), 1500, false),
        ("a withdrawal that is not booked", (0, 0), Some(100), 1500, true),
        ("more comes than is booked", (0, 0), Some(100), 2500, false),
        ("the house takes its own", (0, 0), Some(0), 1900, false),
        ("the house buys from customers", (0, 0), Some(150), 2000, false),
        ("the house is not reported", (500, 0), None, 2000, false),
    ];
    for (what, (deposits, withdrawals), house, holds, found) in table {
        let mut case = around(1000 + deposits - withdrawals, holds).after(1000);
        let btc = case.world.btc();
        btc.house = house.map(Amount::from);
        btc.flows = flows(deposits, withdrawals, 0, 0, 0);
        case.before = before(1000, Some(100), 2000);
        let said = |case: &Around| case.said().iter().any(|(rule, _)| *rule == "deposits-not-on-chain");
        assert_eq!(said(&case), found, "{what}");
        case.world.statement.sequence = Some(9);
        assert!(!said(&case), "{what}: a statement between is missing");
    }
}

#[test]
fn a_range_is_told_before_it_is_used_up() {
    let table = [(None, false), (Some(0), false), (Some(979), false), (Some(980), true), (Some(999), true)];
    for (highest_used, found) in table {
        let mut case = around(10, 10);
        case.ranges =
            vec![RangeUse { declared_at: "exchange.toml:4".into(), chain: "bitcoin".into(), last: 999, highest_used }];
        let expected: &[_] = if found { &[("range-exhausting", Severity::Warning)] } else { &[] };
        assert_eq!(case.said(), expected, "{highest_used:?}");
    }
}

#[test]
fn nodes_that_disagree_are_told_and_clear_nobody() {
    let mut case = around(1000, 10);
    let dissent = vec![Dissent { node: 2, from: 90, ours: "aa".into(), theirs: "bb".into() }];
    case.following = vec![Following { chain: "bitcoin".into(), trouble: None, dissent, left: None }];
    let rules: Vec<_> = case.said();
    assert!(rules.contains(&("nodes-disagree", Severity::Error)), "{rules:?}");
    assert!(rules.contains(&("ledger-over-holdings", Severity::Critical)), "{rules:?}");
}

#[test]
fn what_is_declared_no_longer_is_told_while_it_holds_something() {
    let dropped = |address: &str, symbol: &str, units: u64| Dropped {
        chain: "bitcoin".into(),
        address: address.into(),
        symbol: symbol.into(),
        holds: Coins::new(Amount::from(units), 0),
    };
    let mut case = around(10, 10);
    case.dropped = vec![dropped("empty", "BTC", 0)];
    assert_eq!(case.said(), []);
    case.dropped.extend([dropped("small", "BTC", 1), dropped("large", "BTC", 5), dropped("other", "ETH", 2)]);
    let found = case.watch();
    assert_eq!(found.iter().map(|one| one.asset.as_deref()).collect::<Vec<_>>(), [Some("BTC"), Some("ETH")]);
    assert_eq!(
        (&found[0].evidence.json()["holds"], &found[0].evidence.json()["largest"][0]["address"]),
        (&"6".into(), &"large".into())
    );
}
