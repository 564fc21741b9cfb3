//! A naive model of the arithmetic, written differently, and the laws that no input may break.
//!
//! The model counts in `i128`, tries every value that an unknown balance could have, and calls a line short or backed
//! when it is so for all of them.

use assay_types::{Amount, InFlight, Placement, Timestamp};
use assay_verifier::{AccountEvidence, At, Balance, Found, Line, Paid, SumEvidence, Verdict};
use proptest::prelude::*;
use ruint::aliases::U256;

use crate::world::*;

/// Accounts 1 to 4 are hers, 4 is a rival's too, 200 and above are strangers.
const PAYEES: [u8; 6] = [1, 2, 3, 4, 200, 201];
const ASSETS: [&str; 2] = ["BTC", "ETH"];

#[derive(Debug, Clone)]
enum Fact {
    Known(u64, bool),
    Unknown(Option<u64>),
    Disputed(u64),
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        4 => (0..12u64, any::<bool>()).prop_map(|(units, proven)| Fact::Known(units, proven)),
        1 => proptest::option::of(0..4u64).prop_map(Fact::Unknown),
        1 => (0..12u64).prop_map(Fact::Disputed),
    ]
}

fn mostly_btc() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0), 1 => Just(1)]
}

fn found() -> impl Strategy<Value = Found> {
    let payments = proptest::collection::vec((0..6usize, mostly_btc(), 1..9u64), 0..5).prop_map(|list| {
        let one = |(index, (to, asset, units)): (u32, (usize, usize, u64))| Paid {
            symbol: ASSETS[asset].into(),
            ..paid(index, PAYEES[to], units)
        };
        (0..).zip(list).map(one).collect::<Vec<Paid>>()
    });
    (0..6u8, payments, prop_oneof![Just(0u64), 1..9u64]).prop_map(|(place, payments, spent)| match place {
        0 => NOWHERE,
        1 => in_mempool(payments),
        2 => in_block(B, payments),
        _ => spending(in_block(B + 3, payments), spent),
    })
}

/// Withdrawals are of 2 and go to strangers, so that counting them is counting coins.
fn worlds() -> impl Strategy<Value = World> {
    let facts = proptest::collection::vec(fact(), 8);
    let claims = proptest::collection::vec((0..6usize, 0..2usize, 0..5u64), 0..4);
    let items = proptest::collection::vec((0..6u8, mostly_btc(), 0..3u8, 0..3u32, 1..9u64), 0..12);
    let transactions = proptest::collection::vec(found(), 2);
    let policy = (0..3u64, any::<bool>());
    ((0..40u64, 0..20u64), facts, claims, items, transactions, policy).prop_map(
        |(owed, facts, claims, items, transactions, (tolerance, strict))| {
            let mut world = World::new(owed.0, 0).policy(serde_json::json!({
                "shortage_tolerance": { "BTC": tolerance.to_string() },
                "require": if strict { "verified" } else { "unproven" },
            }));
            world.statement.assets.push(report("ETH", owed.1));
            world.evidence.accounts = facts.iter().enumerate().map(|(place, fact)| account_of(place, fact)).collect();
            for (to, asset, units) in claims {
                let claim = claim(PAYEES[to], units);
                world.statement.wallets.push(assay_types::WalletClaim { symbol: ASSETS[asset].into(), ..claim });
            }
            for (list, asset, tx, index, units) in items {
                let report = &mut world.statement.assets[asset];
                match list {
                    0 => report.pending_withdrawals.push(withdrawal(tx, 200 + u8::from(units > 4), 2)),
                    1 | 2 => report.uncredited_deposits.push(item(tx, index, units)),
                    _ => report.unconfirmed_credits.push(item(tx, index, units)),
                }
            }
            (0..).zip(transactions).fold(world, |world, (tx, found)| world.tx(tx, found))
        },
    )
}

fn account_of(place: usize, fact: &Fact) -> AccountEvidence {
    let number = PAYEES[place / 2];
    let balance = match fact {
        Fact::Known(units, proven) => Balance::Known { amount: Amount::from(*units), proven: *proven },
        Fact::Unknown(last) => unknown("somehow", *last),
        Fact::Disputed(at_most) => disputed(*at_most),
    };
    let mut account = held(number, balance);
    account.role = if number.is_multiple_of(2) { "cold" } else { "hot" }.into();
    account.symbol = ASSETS[place % 2].into();
    account.asset =
        if place.is_multiple_of(2) { assay_types::Asset::Native } else { assay_types::Asset::Token([1; 20]) };
    if number == 4 {
        account.shared_with = vec!["globex".into()];
    }
    account
}

fn units(amount: Amount) -> i128 {
    amount.to_string().parse().unwrap()
}

/// What a doubtful amount could be.
fn guesses(most: Option<i128>) -> Vec<i128> {
    most.map_or(vec![0, 1, 1_000_000], |most| (0..=most).collect())
}

/// The verdict on one asset, by trying everything.
fn naive(world: &World, asset: usize) -> (i128, i128, Verdict) {
    let (report, symbol) = (&world.statement.assets[asset], ASSETS[asset]);
    let tx_of = |item: &InFlight| world.evidence.items.iter().find(|tx| Some(tx.txid) == item.txid);
    let mut owed = units(report.customers);

    for payee in [200, 201] {
        for tx in 0..4 {
            let is_this = |item: &&InFlight| {
                item.txid == Some(txid(tx)) && item.to.as_ref().is_some_and(|(to, _)| *to == account(payee))
            };
            let items: Vec<&InFlight> = report.pending_withdrawals.iter().filter(is_this).collect();
            let paid_out: i128 = match items.first().and_then(|item| tx_of(item)).map(|tx| &tx.found) {
                Some(Found::Block { at, paid, .. }) if at.height.0 <= B => paid
                    .iter()
                    .filter(|paid| paid.to == account(payee) && paid.symbol == symbol)
                    .map(|paid| units(paid.amount))
                    .sum(),
                _ => 0,
            };
            let listed = i128::try_from(items.len()).unwrap();
            owed += 2 * (listed - listed.min(paid_out / 2));
        }
    }
    for item in &report.uncredited_deposits {
        let later = match tx_of(item).map(|tx| &tx.found) {
            Some(Found::Mempool { .. }) => true,
            Some(Found::Block { at, .. }) => at.height.0 > B,
            _ => false,
        };
        owed += if later { 0 } else { units(item.amount) };
    }

    let (mut deducted, mut doubtful) = (0, Vec::new());
    for tx in &world.evidence.items {
        let Found::Block { at, paid, spent, .. } = &tx.found else { continue };
        if at.height.0 <= B {
            continue;
        }
        let (mut hers, mut all, mut hers_paid, mut all_paid) = (0, 0, 0, 0);
        for output in paid.iter().filter(|paid| paid.symbol == symbol) {
            let number = output.to.0[0];
            let names = |item: &&InFlight| {
                let place = Placement::Index(output.index.unwrap());
                item.txid == Some(tx.txid) && item.placement == place
            };
            let is_deposit = report.uncredited_deposits.iter().any(|item| names(&item));
            let credit = report.unconfirmed_credits.iter().filter(names).map(|item| units(item.amount)).max();
            let brings = if is_deposit { 0 } else { credit.unwrap_or(0).min(units(output.amount)) };
            if number < 4 {
                (hers, hers_paid) = (hers + brings, hers_paid + units(output.amount));
            }
            if number <= 4 {
                (all, all_paid) = (all + brings, all_paid + units(output.amount));
            }
        }
        let spent: i128 = spent.iter().filter(|spent| spent.symbol == symbol).map(|spent| units(spent.amount)).sum();
        let certain = hers.min((hers_paid - spent).max(0));
        deducted += certain;
        let room = (all_paid - spent).max(0) - (hers_paid - spent).max(0);
        doubtful.push(guesses(Some((all - hers).min(room))));
    }

    let mut certain = 0;
    for one in world.evidence.accounts.iter().filter(|one| one.symbol == symbol) {
        let strict = world.policy.require == assay_verifier::Require::Verified;
        let claims =
            world.statement.wallets.iter().filter(|claim| claim.account == one.account && claim.symbol == symbol);
        let claimed = claims.map(|claim| units(claim.claimed)).max();
        match &one.balance {
            Balance::Known { amount, proven } if *proven || !strict => match one.shared_with.is_empty() {
                true => certain += units(*amount),
                false => doubtful.push(vec![0, units(*amount)]),
            },
            Balance::Known { .. } => doubtful.push(guesses(claimed)),
            Balance::Unknown { last_verified, at_most, .. } => {
                let last = last_verified.map(|(amount, _)| units(amount));
                let bound = claimed.map(|claimed| Some(claimed).max(last).unwrap_or(0));
                doubtful.push(guesses(at_most.map(units).or(bound)));
            }
        }
    }
    let tolerance = if asset == 0 { units(world.policy_tolerance()) } else { 0 };
    let mut totals = vec![certain + deducted + tolerance];
    for guesses in doubtful {
        totals = totals.iter().flat_map(|total| guesses.iter().map(move |guess| total + guess)).collect();
        totals.sort_unstable();
        totals.dedup();
    }
    let verdict = if totals.iter().all(|total| *total < owed) {
        Verdict::Short
    } else if totals.iter().all(|total| *total >= owed) {
        Verdict::Backed
    } else {
        Verdict::Indeterminate
    };
    (owed, deducted, verdict)
}

impl World {
    fn policy_tolerance(&self) -> Amount {
        let text = self.policy.shortage_tolerance.get("BTC").map_or("0".into(), ToString::to_string);
        Amount::from_units(&text).unwrap()
    }

    /// Every amount times 2^249.
    fn enormous(mut self) -> World {
        let grow = |amount: &mut Amount| *amount = Amount(amount.0 * (U256::ONE << 249usize));
        for report in &mut self.statement.assets {
            grow(&mut report.customers);
            let lists =
                [&mut report.pending_withdrawals, &mut report.uncredited_deposits, &mut report.unconfirmed_credits];
            lists.into_iter().flatten().for_each(|item| grow(&mut item.amount));
        }
        self.statement.wallets.iter_mut().for_each(|claim| grow(&mut claim.claimed));
        for account in &mut self.evidence.accounts {
            match &mut account.balance {
                Balance::Known { amount, .. } => grow(amount),
                Balance::Unknown { last_verified, at_most, .. } => {
                    last_verified.iter_mut().for_each(|(amount, _)| grow(amount));
                    at_most.iter_mut().for_each(grow);
                }
            }
        }
        for item in &mut self.evidence.items {
            if let Found::Block { paid, spent, .. } = &mut item.found {
                paid.iter_mut().for_each(|paid| grow(&mut paid.amount));
                spent.iter_mut().for_each(|spent| grow(&mut spent.amount));
            }
            if let Found::Mempool { payments, .. } = &mut item.found {
                payments.iter_mut().for_each(|paid| grow(&mut paid.amount));
            }
        }
        self
    }
}

fn summary(world: &World) -> Vec<(String, String, Verdict)> {
    let of = |line: &Line| (line.owed.to_string(), line.deductions.to_string(), line.verdict);
    world.judge().lines.iter().map(of).collect()
}

/// The same world, with what can be summed in sums, and some of that listed all the same.
fn in_sums(mut world: World, listed: u8) -> World {
    let strict = world.policy.require == assay_verifier::Require::Verified;
    let (mut kept, mut sums): (Vec<AccountEvidence>, Vec<SumEvidence>) = Default::default();
    for mut one in std::mem::take(&mut world.evidence.accounts) {
        // Those to which transactions pay, or that are claimed, are spoken of: they are always listed.
        let (amount, proven) = match one.balance {
            Balance::Known { amount, proven } if one.shared_with.is_empty() && (proven || !strict) => (amount, proven),
            _ => {
                kept.push(one);
                continue;
            }
        };
        let place = sums
            .iter()
            .position(|sum| (&sum.symbol, sum.proven, sum.cold) == (&one.symbol, proven, one.role == "cold"));
        let place = place.unwrap_or_else(|| {
            let (chain, symbol) = (one.chain.clone(), one.symbol.clone());
            let (owner, cold, amount) = ("customers", one.role == "cold", assay_verifier::Wide::ZERO);
            sums.push(SumEvidence { chain, symbol, owner, cold, proven, accounts: 0, amount });
            sums.len() - 1
        });
        sums[place].accounts += 1;
        sums[place].amount += assay_verifier::Wide::from(amount.0);
        let spoken_of = world.statement.wallets.iter().any(|claim| claim.account == one.account)
            || world.evidence.items.iter().any(|item| match &item.found {
                Found::Mempool { payments: paid, .. } | Found::Block { paid, .. } => {
                    paid.iter().any(|paid| paid.to == one.account)
                }
                Found::Nowhere { .. } => false,
            });
        one.summed = true;
        if spoken_of || listed.is_multiple_of(2) {
            kept.push(one);
        }
    }
    (world.evidence.accounts, world.evidence.sums) = (kept, sums);
    world
}

fn verdicts(world: &World) -> Vec<Verdict> {
    world.judge().lines.iter().map(|line| line.verdict).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accounts_come_to_the_same_one_by_one_and_in_sums(world in worlds(), listed in any::<u8>()) {
        let one_by_one = world.judge();
        prop_assert_eq!(in_sums(world, listed).judge(), one_by_one);
    }

    #[test]
    fn on_the_same_balances_it_is_given_again_and_on_no_others(mut world in worlds(), asked in any::<bool>(), late in -400i64..400, other in worlds()) {
        if !asked {
            world.evidence.items.clear();
        }
        let keys = std::collections::hash_map::RandomState::new();
        let (before, mark) = (world.judge(), world.evidence.mark(&keys));
        let mut later = world.clone();
        for block in &mut later.evidence.blocks {
            if let At::Block { is_final, after, time, .. } = &mut block.at {
                *is_final = !*is_final;
                *after = Some(*time);
            }
        }
        later.now = Timestamp::from_unix_s(world.now.unix_s() + late);
        prop_assert_eq!(later.evidence.mark(&keys), mark);
        prop_assert_eq!(mark.is_some(), world.evidence.items.is_empty());
        let again = assay_verifier::again(&before, &later.statement, &later.evidence, &later.policy, later.now);
        if mark.is_some() && let Some(again) = again {
            prop_assert_eq!(again, later.judge());
        }
        let same = format!("{:?}", other.evidence.accounts) == format!("{:?}", world.evidence.accounts);
        prop_assert!(same || mark.is_none() || other.evidence.mark(&keys) != mark);
    }

    #[test]
    fn the_verdict_is_that_of_the_naive_model(world in worlds()) {
        let expected: Vec<_> = (0..2).map(|asset| naive(&world, asset)).map(|(owed, deducted, verdict)| {
            (owed.to_string(), deducted.to_string(), verdict)
        }).collect();
        prop_assert_eq!(summary(&world), expected);
    }

    #[test]
    fn order_changes_nothing(world in worlds(), by in 1usize..5) {
        let mut turned = world.clone();
        for report in &mut turned.statement.assets {
            for list in [&mut report.pending_withdrawals, &mut report.uncredited_deposits, &mut report.unconfirmed_credits] {
                list.reverse();
                let length = list.len().max(1);
                list.rotate_left(by % length);
            }
        }
        turned.evidence.accounts.reverse();
        turned.evidence.items.rotate_left(by % 2);
        turned.statement.wallets.reverse();
        prop_assert_eq!(summary(&turned), summary(&world));
    }

    #[test]
    fn an_item_listed_again_deducts_nothing_and_lowers_no_debt(world in worlds()) {
        let mut twice = world.clone();
        for report in &mut twice.statement.assets {
            report.unconfirmed_credits.extend(report.unconfirmed_credits.clone());
        }
        prop_assert_eq!(summary(&twice), summary(&world));
        for report in &mut twice.statement.assets {
            report.uncredited_deposits.extend(report.uncredited_deposits.clone());
            report.pending_withdrawals.extend(report.pending_withdrawals.clone());
        }
        for (after, before) in twice.judge().lines.iter().zip(world.judge().lines.iter()) {
            prop_assert!(after.owed.units() >= before.owed.units());
            prop_assert!(after.verdict >= before.verdict);
        }
    }

    #[test]
    fn an_unproven_credit_changes_no_verdict(world in worlds(), units in 1..90u64, mempool: bool) {
        let found = if mempool { in_mempool(vec![paid(0, 1, units)]) } else { NOWHERE };
        let more = world.clone().unconfirmed(item(99, 0, units)).tx(99, found);
        prop_assert_eq!(summary(&more), summary(&world));
    }

    #[test]
    fn what_becomes_unknown_never_backs_and_never_accuses(world in worlds(), place in 0usize..8) {
        let mut blinder = world.clone();
        blinder.statement.wallets.clear();
        blinder.evidence.accounts[place].balance = unknown("gone", None);
        let asset = place % 2;
        let (before, after) = (verdicts(&world)[asset], verdicts(&blinder)[asset]);
        prop_assert_ne!(after, Verdict::Short);
        prop_assert!(after == Verdict::Indeterminate || before == Verdict::Backed);
    }

    #[test]
    fn a_larger_bound_never_backs_and_never_accuses(world in worlds(), number in 0usize..6, units in 0..30u64) {
        let bolder = world.clone().claims(claim(PAYEES[number], units));
        for (before, after) in verdicts(&world).into_iter().zip(verdicts(&bolder)) {
            if PAYEES[number] <= 4 {
                prop_assert!(after == before || before == Verdict::Short || (before, after) == (Verdict::Indeterminate, Verdict::Short));
            }
            prop_assert!(after != Verdict::Backed || before == Verdict::Backed);
        }
    }

    #[test]
    fn size_changes_no_verdict(world in worlds()) {
        let mut large = world.clone().enormous();
        large.policy.shortage_tolerance.clear();
        let mut small = world;
        small.policy.shortage_tolerance.clear();
        prop_assert_eq!(verdicts(&large), verdicts(&small));
        let ratios = |world: &World| world.judge().lines.iter().map(|line| line.coverage_ratio.clone()).collect::<Vec<_>>();
        prop_assert_eq!(ratios(&large), ratios(&small));
    }

    #[test]
    fn a_line_says_enough_to_recompute_its_verdict(world in worlds()) {
        let shown = serde_json::to_value(world.judge()).unwrap();
        for line in shown["lines"].as_array().unwrap() {
            let number = |value: &serde_json::Value| value.as_str().map(|text| text.parse::<i128>().unwrap());
            let field = |name: &str| number(&line[name]).unwrap();
            let allowed = field("deductions") + field("tolerance");
            prop_assert_eq!(field("owed"), field("customers") + field("pending_withdrawals") + field("uncredited_deposits"));
            let counted = |effect: &str| -> i128 {
                let items = line["in_flight"].as_array().unwrap().iter().filter(|item| item["effect"] == effect);
                items.map(|item| number(&item["counted"]).unwrap()).sum()
            };
            prop_assert_eq!(field("owed"), field("customers") + counted("counts"));
            prop_assert_eq!(field("deductions"), counted("deducts"));
            let low = number(&line["holdings"]["low"]).unwrap() + allowed;
            let high = number(&line["holdings"]["high"]).map(|high| high + allowed);
            let expected = match high {
                Some(high) if high < field("owed") => "short",
                _ if low >= field("owed") => "backed",
                _ => "indeterminate",
            };
            prop_assert_eq!(line["verdict"].as_str().unwrap(), expected);
        }
    }
}
