//! Every cell of the table of items in flight, and every way in which an item can be wrong.

use assay_types::{Amount, InFlight, Placement};
use assay_verifier::{Doubted, Found, Paid, Standing, Verdict, Wide};

use crate::world::*;

/// What follows from an item of 5: by how much the debt and the deductions rise, and the finding.
fn outcome(world: &World) -> (u64, u64, Vec<String>) {
    let (line, judged) = (world.line(), world.judge());
    let number = |text: String| text.parse::<u64>().unwrap();
    let findings = rules(&judged).into_iter().filter(|rule| rule.starts_with("un")).collect();
    (number(line.owed.to_string()) - 1000, number(line.deductions.to_string()), findings)
}

fn world() -> World {
    World::new(1000, 1000)
}

const UNASKED: fn() -> Found = || Found::Nowhere { unasked: Some("no connection".into()) };
const ERROR: &str = "unsettled-item error";
const WARNING: &str = "unsettled-item warning";
const NOTICE: &str = "unconfirmed-item notice";

/// Places of a transaction that pays 5 to `to`.
fn places(to: u8) -> [Option<Found>; 6] {
    let payments = || vec![paid(0, to, 5)];
    [
        Some(NOWHERE),
        Some(UNASKED()),
        None,
        Some(in_mempool(payments())),
        Some(in_block(B, payments())),
        Some(in_block(B + 1, payments())),
    ]
}

fn check(named: World, to: u8, expected: [(u64, u64, &[&str]); 6]) {
    for (found, (owed, deducted, findings)) in places(to).into_iter().zip(expected) {
        let text = format!("{found:?}");
        let world = match found {
            Some(found) => named.clone().tx(9, found),
            None => named.clone(),
        };
        let findings = findings.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(outcome(&world), (owed, deducted, findings), "{text}");
    }
}

#[test]
fn a_pending_withdrawal_is_owed_unless_it_was_settled() {
    let named = world().pending(withdrawal(9, 200, 5));
    let expected: [(u64, u64, &[&str]); 6] =
        [(5, 0, &[ERROR]), (5, 0, &[WARNING]), (5, 0, &[WARNING]), (5, 0, &[]), (0, 0, &[WARNING]), (5, 0, &[])];
    check(named, 200, expected);
}

#[test]
fn what_no_trace_tells_of_settles_nothing_and_leaves_the_verdict_open() {
    let untold = |found: Found| match found {
        Found::Block { at, paid, spent, doubted, .. } => {
            Found::Block { at, paid, spent, untold: vec!["BTC".into()], unread: vec![], doubted }
        }
        other => other,
    };
    let judge = |spent: u64, paid_out: Vec<Paid>, amounts: &[u64]| {
        let listed = amounts.iter().fold(world(), |world, units| world.pending(withdrawal(9, 200, *units)));
        let world = listed.tx(9, untold(spending(in_block(B, paid_out), spent)));
        let (owed, _, findings) = outcome(&world);
        (owed, world.line().verdict, world.line().missing.to_string(), findings)
    };
    let warned = |count: usize| vec![WARNING.to_owned(); count];
    assert_eq!(judge(5, vec![], &[5]), (5, Verdict::Indeterminate, "0".into(), warned(1)));
    assert_eq!(judge(5, vec![paid(0, 200, 5)], &[5]), (0, Verdict::Backed, "0".into(), warned(1)), "it is seen");
    // No more than what went out, and is not seen to have gone to others.
    assert_eq!(judge(3, vec![], &[5]), (5, Verdict::Short, "2".into(), warned(1)));
    assert_eq!(judge(0, vec![], &[5]), (5, Verdict::Short, "5".into(), vec![ERROR.into()]));
    assert_eq!(judge(7, vec![], &[5, 5]), (10, Verdict::Short, "3".into(), warned(2)));
    assert_eq!(judge(7, vec![paid(0, 200, 5)], &[5, 4]).1, Verdict::Short);
}

#[test]
fn what_a_block_paid_that_was_not_read_is_open_whatever_is_known_to_have_gone_out() {
    let judge = |of: &str| {
        let unread = match in_block(B, vec![]) {
            Found::Block { at, paid, spent, untold, doubted, .. } => {
                Found::Block { at, paid, spent, untold, unread: vec![of.into()], doubted }
            }
            other => other,
        };
        let world = world().pending(withdrawal(9, 200, 5)).tx(9, unread);
        (outcome(&world), world.line().verdict)
    };
    assert_eq!(judge("BTC"), ((5, 0, vec![WARNING.into()]), Verdict::Indeterminate));
    assert_eq!(judge("ETH"), ((5, 0, vec![ERROR.into()]), Verdict::Short), "of another asset");
}

#[test]
fn what_events_tell_and_state_does_not_bear_out_counts_for_nobody() {
    let doubted = |found: Found, [came, went]: [u64; 2]| match found {
        Found::Block { at, paid, spent, untold, unread, .. } => {
            let doubted = Doubted { symbol: "BTC".into(), came: Wide::from(came), went: Wide::from(went) };
            Found::Block { at, paid, spent, untold, unread, doubted: vec![doubted] }
        }
        other => other,
    };
    // Of ten that are said to have come a part may not have.
    let credit = |units: u64, came: u64| {
        let world = World::new(1_000 + units, 1_000).unconfirmed(item(9, 0, units));
        let world = world.tx(9, doubted(in_block(B + 1, vec![paid(0, 1, 10)]), [came, 0]));
        let (_, deducted, findings) = outcome(&world);
        (deducted, world.line().verdict, findings)
    };
    let warned = || vec![WARNING.to_owned()];
    assert_eq!(credit(10, 0), (10, Verdict::Backed, vec![]));
    assert_eq!(credit(9, 1), (9, Verdict::Backed, vec![]));
    assert_eq!(credit(10, 1), (9, Verdict::Indeterminate, warned()));
    assert_eq!(credit(10, 10), (0, Verdict::Indeterminate, warned()));
    // A withdrawal settles wholly or not.
    let withdrawn = |went: u64| {
        let world = world().pending(withdrawal(9, 200, 5));
        let world = world.tx(9, doubted(spending(in_block(B, vec![paid(0, 200, 5)]), 5), [0, went]));
        let (owed, _, findings) = outcome(&world);
        (owed, world.line().verdict, findings)
    };
    assert_eq!(withdrawn(0), (0, Verdict::Backed, warned()));
    assert_eq!(withdrawn(1), (5, Verdict::Indeterminate, warned()));
}

#[test]
fn what_no_transaction_is_known_to_have_moved_stands_for_items_of_its_block_once() {
    // Two withdrawals by two transactions of one block, which are not known to have moved anything.
    let two = |spent: u64| {
        let world = world().pending(withdrawal(8, 200, 5)).pending(withdrawal(9, 201, 5));
        let world = world.tx(8, in_block(B, vec![])).tx(9, in_block(B, vec![])).beside(B, 0, spent);
        (world.line().verdict, world.line().missing.to_string())
    };
    assert_eq!(two(10), (Verdict::Indeterminate, "0".into()));
    assert_eq!(two(7), (Verdict::Short, "3".into()));
    let of_another_block = world().pending(withdrawal(8, 200, 5)).tx(8, in_block(B, vec![]));
    let of_another_block = of_another_block.beside(B - 1, 0, 10);
    assert_eq!(of_another_block.line().verdict, Verdict::Short);
    // Two credits by two transactions, to an account of theirs that got 5 in all.
    let credits = |owed: u64, came: u64, taken: u64| {
        let credit = |tx: u8| InFlight { placement: Placement::Whole, ..item(tx, 0, 5) };
        let world = World::new(owed, 1000).unconfirmed(credit(8)).unconfirmed(credit(9));
        let world = world.tx(8, in_block(B + 1, vec![])).tx(9, spending(in_block(B + 1, vec![]), taken));
        let world = world.beside(B + 1, came, 3);
        (outcome(&world).1, world.line().verdict, world.line().missing.to_string())
    };
    assert_eq!(credits(1010, 10, 0), (0, Verdict::Indeterminate, "0".into()), "nothing proves that it is what came");
    assert_eq!(credits(1010, 9, 0), (0, Verdict::Short, "1".into()));
    assert_eq!(credits(1010, 10, 5), (0, Verdict::Short, "5".into()), "net of what the transaction took");
}

#[test]
fn a_withdrawal_without_a_transaction_is_owed_and_nothing_is_wrong_with_it() {
    let mut item = withdrawal(9, 200, 5);
    item.txid = None;
    assert_eq!(outcome(&world().pending(item)), (5, 0, vec![]));
}

#[test]
fn a_withdrawal_without_a_transaction_gets_one_of_the_mempools_that_pays_it() {
    let unnamed = |to, units| InFlight { txid: None, ..withdrawal(9, to, units) };
    let found = |world: &World| -> Vec<(Standing, Option<String>)> {
        let line = world.line();
        assert_eq!(line.deductions.to_string(), "0");
        line.in_flight.iter().map(|item| (item.standing, item.txid.clone())).collect()
    };
    let hash = |tx: u8| Some(format!("{tx:02x}").repeat(32));
    let (mempool, none) = (|tx| (Standing::Mempool, hash(tx)), (Standing::NoTransaction, None));
    // At least its amount; of several, the one that pays the least that is enough.
    let three = |world: World| {
        let world = world.tx(1, in_mempool(vec![paid(0, 200, 4), paid(1, 201, 9)]));
        world.tx(2, in_mempool(vec![paid(0, 200, 6)])).tx(3, in_mempool(vec![paid(0, 200, 7)]))
    };
    let one = three(world().pending(unnamed(200, 5)));
    assert_eq!((found(&one), outcome(&one)), (vec![mempool(2)], (5, 0, vec![])));
    assert_eq!(found(&three(world().pending(unnamed(200, 8)))), vec![none.clone()]);
    assert_eq!(found(&three(world().pending(unnamed(202, 1)))), vec![none.clone()]);
    // None stands for more than it pays, and none that an item names for another one.
    let several = three([3, 5, 2, 7, 2].into_iter().fold(world(), |world, units| world.pending(unnamed(200, units))));
    assert_eq!(found(&several), [mempool(1), mempool(2), none.clone(), mempool(3), none.clone()]);
    assert_eq!(outcome(&several), (19, 0, vec![]));
    let named = three(world().pending(withdrawal(2, 200, 6)).pending(unnamed(200, 5)));
    assert_eq!(found(&named), [mempool(2), mempool(3)]);
    // Two payments to one address may be for one withdrawal.
    let twice = in_mempool(vec![paid(0, 200, 3), paid(1, 200, 4)]);
    let both = world().pending(unnamed(200, 3)).pending(unnamed(200, 4)).pending(unnamed(200, 1)).tx(1, twice.clone());
    assert_eq!((found(&both), outcome(&both)), (vec![mempool(1), mempool(1), none.clone()], (8, 0, vec![])));
    assert_eq!(found(&world().pending(unnamed(200, 6)).tx(1, twice)), [mempool(1)]);
    // Blocks are looked through for no withdrawal, and credits and deposits have to name theirs.
    let mined = world().pending(unnamed(200, 5)).tx(1, in_block(B + 1, vec![paid(0, 200, 5)]));
    assert_eq!(found(&mined), [none]);
    let credit = InFlight { txid: None, ..item(9, 0, 5) };
    let others = world().uncredited(credit.clone()).unconfirmed(credit).tx(1, in_mempool(vec![paid(0, 1, 5)]));
    assert!(found(&others).iter().all(|(standing, _)| *standing == Standing::NoTransaction));
}

#[test]
fn an_uncredited_deposit_is_owed_unless_it_comes_later() {
    let named = world().uncredited(item(9, 0, 5));
    let expected: [(u64, u64, &[&str]); 6] =
        [(5, 0, &[ERROR]), (5, 0, &[WARNING]), (5, 0, &[WARNING]), (0, 0, &[NOTICE]), (5, 0, &[]), (0, 0, &[WARNING])];
    check(named, 1, expected);
}

#[test]
fn an_unconfirmed_credit_is_deducted_only_when_a_later_block_proves_it() {
    let named = world().unconfirmed(item(9, 0, 5));
    let expected: [(u64, u64, &[&str]); 6] =
        [(0, 0, &[ERROR]), (0, 0, &[WARNING]), (0, 0, &[WARNING]), (0, 0, &[NOTICE]), (0, 0, &[WARNING]), (0, 5, &[])];
    check(named, 1, expected);
}

#[test]
fn a_deposit_or_credit_without_a_transaction_proves_nothing() {
    let mut nameless = item(9, 0, 5);
    nameless.txid = None;
    assert_eq!(outcome(&world().uncredited(nameless.clone())), (5, 0, vec![ERROR.into()]));
    assert_eq!(outcome(&world().unconfirmed(nameless)), (0, 0, vec![ERROR.into()]));
}

#[test]
fn where_b_is_unknown_debts_count_and_nothing_is_deducted() {
    let found = || in_block(B + 1, vec![paid(0, 1, 5), paid(1, 200, 5)]);
    let blind = || world().blind("the node is silent").tx(9, found());
    assert_eq!(outcome(&blind().pending(withdrawal(9, 200, 5))), (5, 0, vec![]));
    assert_eq!(outcome(&blind().uncredited(item(9, 0, 5))), (5, 0, vec![WARNING.into()]));
    assert_eq!(outcome(&blind().unconfirmed(item(9, 0, 5))), (0, 0, vec![WARNING.into()]));
    // It may come after B, though: our own blindness neither backs the exchange nor calls it short.
    let claimed = World::new(1000, 1000).blind("the node is silent").claims(claim(1, 995)).tx(9, found());
    assert_eq!(claimed.judge().verdict, Verdict::Short);
    assert_eq!(claimed.unconfirmed(item(9, 0, 5)).judge().verdict, Verdict::Indeterminate);
    let other_branch = || {
        let mut fork = at(B);
        fork.hash.0 = [77; 32];
        Found::Block {
            at: fork,
            paid: vec![paid(0, 1, 5)],
            spent: vec![],
            untold: vec![],
            unread: vec![],
            doubted: vec![],
        }
    };
    assert_eq!(outcome(&world().unconfirmed(item(9, 0, 5)).tx(9, other_branch())), (0, 0, vec![WARNING.into()]));
    assert_eq!(outcome(&world().uncredited(item(9, 0, 5)).tx(9, other_branch())), (5, 0, vec![WARNING.into()]));
}

#[test]
fn what_pays_less_or_elsewhere_is_an_error_wherever_it_is() {
    let usdt = |units: u64| Paid { symbol: "USDT".into(), ..paid(0, 1, units) };
    // (payments, what of the credit is deducted after B)
    let wrong = [
        (vec![paid(0, 1, 4)], 4),
        (vec![paid(0, 200, 5)], 0),
        (vec![paid(1, 1, 5)], 0),
        (vec![usdt(5)], 0),
        (vec![], 0),
    ];
    for (payments, after_b) in wrong {
        let text = format!("{payments:?}");
        for height in [B, B + 1] {
            let found = in_block(height, payments.clone());
            let deposit = world().uncredited(item(9, 0, 5)).tx(9, found.clone());
            let owed = if height == B { 5 } else { 0 };
            assert_eq!(outcome(&deposit), (owed, 0, vec![ERROR.into()]), "{text}");
            let credit = world().unconfirmed(item(9, 0, 5)).tx(9, found);
            let deducted = if height == B { 0 } else { after_b };
            assert_eq!(outcome(&credit), (0, deducted, vec![ERROR.into()]), "{text}");
        }
        let waiting = world().unconfirmed(item(9, 0, 5)).tx(9, in_mempool(payments));
        assert_eq!(outcome(&waiting), (0, 0, vec![ERROR.into()]), "{text}");
    }
    for payments in [vec![paid(0, 200, 4)], vec![paid(0, 201, 5)], vec![]] {
        for height in [B, B + 1] {
            let wrong = world().pending(withdrawal(9, 200, 5)).tx(9, in_block(height, payments.clone()));
            assert_eq!(outcome(&wrong), (5, 0, vec![ERROR.into()]), "{payments:?}");
        }
    }
}

#[test]
fn more_than_said_is_paid_and_no_more_than_said_is_deducted() {
    let credit = world().unconfirmed(item(9, 0, 5)).tx(9, in_block(B + 1, vec![paid(0, 1, 7)]));
    assert_eq!(outcome(&credit), (0, 5, vec![]));
    let settled = world().pending(withdrawal(9, 200, 5)).tx(9, in_block(B, vec![paid(0, 200, 7)]));
    assert_eq!(outcome(&settled), (0, 0, vec![WARNING.into()]));
}

#[test]
fn an_output_is_deducted_once_in_a_statement() {
    let found = || in_block(B + 1, vec![paid(0, 1, 5), paid(1, 1, 5)]);
    let twice = world().unconfirmed(item(9, 0, 5)).unconfirmed(item(9, 0, 5)).tx(9, found());
    assert_eq!(outcome(&twice), (0, 5, vec![ERROR.into()]));
    let smaller = world().unconfirmed(item(9, 0, 2)).unconfirmed(item(9, 0, 2)).tx(9, found());
    assert_eq!(outcome(&smaller), (0, 2, vec![ERROR.into()]));
    let both = world().unconfirmed(item(9, 0, 5)).unconfirmed(item(9, 1, 5)).tx(9, found());
    assert_eq!(outcome(&both), (0, 10, vec![]));
    let two_lists = world().uncredited(item(9, 0, 5)).unconfirmed(item(9, 0, 5)).tx(9, found());
    assert_eq!(outcome(&two_lists), (0, 0, vec![ERROR.into(), WARNING.into()]));
    let withdrawn = world().pending(withdrawal(9, 1, 5)).unconfirmed(item(9, 0, 5));
    assert_eq!(outcome(&withdrawn.tx(9, in_block(B + 1, vec![paid(0, 1, 5)]))), (5, 0, vec![ERROR.into()]));
}

#[test]
fn an_output_is_deducted_in_one_asset_only() {
    let mut two_assets = world().unconfirmed(item(9, 0, 5)).tx(9, in_block(B + 1, vec![paid(0, 1, 5)]));
    let mut other = report("WBTC", 0);
    other.unconfirmed_credits.push(item(9, 0, 5));
    two_assets.statement.assets.push(other);
    let judged = two_assets.judge();
    let deductions: Vec<String> = judged.lines.iter().map(|line| line.deductions.to_string()).collect();
    assert_eq!(deductions, ["5", "0"]);
    assert_eq!(rules(&judged), [ERROR]);
}

#[test]
fn native_coins_have_no_index_and_each_payment_is_used_once() {
    let native = |to: u8, units: u64| Paid { index: None, ..paid(0, to, units) };
    let whole = |units: u64| {
        let mut item = item(9, 0, units);
        item.placement = Placement::Whole;
        item
    };
    let judge = |payments: Vec<Paid>, amounts: &[u64]| {
        let credits = amounts.iter().fold(world(), |world, units| world.unconfirmed(whole(*units)));
        let (_, deducted, findings) = outcome(&credits.tx(9, in_block(B + 1, payments)));
        (deducted, findings.len())
    };
    assert_eq!(judge(vec![native(1, 5)], &[5]), (5, 0));
    assert_eq!(judge(vec![native(1, 5)], &[5, 5]), (5, 1), "the same item twice");
    assert_eq!(judge(vec![native(1, 5), native(1, 5)], &[5, 5]), (10, 0), "two payments in one transaction");
    assert_eq!(judge(vec![native(1, 3), native(1, 4)], &[7]), (7, 0), "one deposit in two payments");
    assert_eq!(judge(vec![native(1, 9)], &[5, 5]), (5, 1), "the same item twice, both less than was paid");
    assert_eq!(judge(vec![native(1, 5), native(1, 9)], &[5, 5]), (5, 1));
    assert_eq!(judge(vec![native(1, 5), native(200, 9)], &[9]), (5, 1), "what strangers got is not counted");
    let mut log = item(9, 3, 5);
    log.placement = Placement::Index(3);
    let none = world().unconfirmed(log).tx(9, in_block(B + 1, vec![native(1, 5)]));
    assert_eq!(outcome(&none), (0, 0, vec![ERROR.into()]), "no log is no payment");
}

#[test]
fn moving_ones_own_coins_brings_nothing() {
    // The change of a withdrawal: 9 go in, 4 come back.
    let change = |spent| spending(in_block(B + 1, vec![paid(0, 1, 4), paid(1, 200, 5)]), spent);
    let credit = |spent| outcome(&world().unconfirmed(item(9, 0, 4)).tx(9, change(spent)));
    assert_eq!(credit(9), (0, 0, vec![ERROR.into()]));
    assert_eq!(credit(4), (0, 0, vec![ERROR.into()]));
    assert_eq!(credit(3), (0, 1, vec![ERROR.into()]), "one of the four is new");
    assert_eq!(credit(0), (0, 4, vec![]));
    // Two credits of one transaction share what it brings.
    let both = world().unconfirmed(item(9, 0, 4)).unconfirmed(item(9, 1, 3));
    let found = spending(in_block(B + 1, vec![paid(0, 1, 4), paid(1, 1, 3)]), 2);
    assert_eq!(outcome(&both.tx(9, found)), (0, 5, vec![ERROR.into()]));
    // Another asset that it spent changes nothing: a token deposit whose gas the exchange paid.
    let mut gas = world().unconfirmed(item(9, 0, 4)).tx(9, spending(in_block(B + 1, vec![paid(0, 1, 4)]), 9));
    if let Found::Block { spent, .. } = &mut gas.evidence.items[0].found {
        spent[0].symbol = "ETH".into();
    }
    assert_eq!(outcome(&gas), (0, 4, vec![]));
}

#[test]
fn every_coin_paid_settles_one_withdrawal() {
    let judge = |payments: &[u64], amounts: &[u64]| {
        let paid_out = (0..).zip(payments).map(|(index, units)| paid(index, 200, *units)).collect();
        let listed = amounts.iter().fold(world(), |world, units| world.pending(withdrawal(9, 200, *units)));
        let (owed, _, findings) = outcome(&listed.tx(9, in_block(B, paid_out)));
        (owed, findings.iter().filter(|finding| *finding == ERROR).count())
    };
    assert_eq!(judge(&[5], &[5, 5]), (5, 1), "listed twice");
    assert_eq!(judge(&[5, 5], &[5, 5]), (0, 0), "paid twice");
    assert_eq!(judge(&[8], &[5, 3]), (0, 0), "a batch merged what goes to one address");
    assert_eq!(judge(&[8], &[5, 5]), (5, 1));
    assert_eq!(judge(&[2, 2], &[3, 2, 2]), (3, 1), "those that a payment of their own matches come first");
    assert_eq!(judge(&[3, 4], &[7]), (0, 0), "in two parts");
}

#[test]
fn a_withdrawal_that_names_its_output_is_settled_by_that_one() {
    let indexed = |index| {
        let mut item = withdrawal(9, 200, 5);
        item.placement = Placement::Index(index);
        outcome(&world().pending(item).tx(9, in_block(B, vec![paid(0, 200, 1), paid(1, 200, 5)])))
    };
    assert_eq!(indexed(1), (0, 0, vec![WARNING.into()]));
    assert_eq!(indexed(0), (5, 0, vec![ERROR.into()]));
    assert_eq!(indexed(2), (5, 0, vec![ERROR.into()]));
}

#[test]
fn a_customer_may_withdraw_to_another_customer() {
    // One transaction settles the withdrawal and is the deposit: both items are right.
    let listed = world().pending(withdrawal(9, 1, 5)).uncredited(item(9, 0, 5));
    let settled = listed.tx(9, in_block(B, vec![paid(0, 1, 5)]));
    assert_eq!(outcome(&settled), (5, 0, vec![WARNING.into()]));
}

#[test]
fn the_mempool_explains_a_difference_and_backs_nothing() {
    let credit = || World::new(105, 100).house(0).unconfirmed(item(9, 0, 5));
    let waiting = credit().tx(9, in_mempool(vec![paid(0, 1, 5)]));
    let line = waiting.line();
    assert_eq!(line.verdict, Verdict::Short);
    assert_eq!(line.difference.unwrap().to_string(), "0");
    assert_eq!(line.unconfirmed_in_mempool.to_string(), "5");
    let invented = credit().tx(9, NOWHERE).line();
    assert_eq!(invented.difference.unwrap().to_string(), "-5");
    let elsewhere = credit().tx(9, in_mempool(vec![paid(0, 200, 5)])).line();
    assert_eq!(elsewhere.difference.unwrap().to_string(), "-5");
}

#[test]
fn what_cannot_be_told_before_it_runs_accuses_nobody() {
    let call = || Found::Mempool { payments: vec![], complete: false };
    let once = world().unconfirmed(item(9, 0, 5)).tx(9, call());
    assert_eq!(outcome(&once), (0, 0, vec![NOTICE.into()]));
    assert_eq!(once.line().unconfirmed_in_mempool.to_string(), "5");
    let twice = world().unconfirmed(item(9, 0, 5)).unconfirmed(item(9, 0, 5)).tx(9, call());
    assert_eq!(outcome(&twice), (0, 0, vec![ERROR.into(), NOTICE.into()]));
    assert_eq!(twice.line().unconfirmed_in_mempool.to_string(), "5");
}

#[test]
fn a_credit_to_an_account_that_a_rival_declares_too_may_be_there() {
    let rival = |customers| {
        let mut shared = held(7, known(0));
        shared.shared_with = vec!["globex".into()];
        World::new(customers, 100).also(shared).unconfirmed(item(9, 0, 5)).tx(9, in_block(B + 1, vec![paid(0, 7, 5)]))
    };
    let line = rival(105).line();
    assert_eq!((line.deductions.to_string(), line.verdict), ("0".into(), Verdict::Indeterminate));
    assert_eq!(rival(106).line().verdict, Verdict::Short);
    assert_eq!(rival(100).line().verdict, Verdict::Backed);
    let mut moved = rival(105);
    moved.evidence.items[0].found = spending(moved.evidence.items[0].found.clone(), 1);
    assert_eq!(moved.line().verdict, Verdict::Short, "one of the five is no new coin");
}

#[test]
fn no_cell_moves_by_a_block() {
    for (height, deducted) in [(1, 0), (B - 1, 0), (B, 0), (B + 1, 5), (B + 500, 5)] {
        let credit = world().unconfirmed(item(9, 0, 5)).tx(9, in_block(height, vec![paid(0, 1, 5)]));
        assert_eq!(outcome(&credit).1, deducted, "block {height}");
    }
    // An account that was theirs is a stranger; one that counts from the next block on is not.
    let mut other = held(3, known(0));
    other.counted = false;
    let credit = |other| world().also(other).unconfirmed(item(9, 0, 5)).tx(9, in_block(B + 1, vec![paid(0, 3, 5)]));
    assert_eq!(outcome(&credit(other.clone())), (0, 5, vec![]));
    other.theirs = false;
    assert_eq!(outcome(&credit(other)), (0, 0, vec![ERROR.into()]));
}

#[test]
fn each_item_is_shown_with_what_followed() {
    let world =
        world().unconfirmed(item(9, 0, 5)).pending(withdrawal(8, 200, 3)).tx(8, in_mempool(vec![paid(0, 200, 3)]));
    let world = world.tx(9, in_block(B + 1, vec![paid(0, 1, 5)]));
    let shown = serde_json::to_value(world.line().in_flight).unwrap();
    assert_eq!(
        shown[0],
        serde_json::json!({ "field": "item-8-0-3", "list": "pending-withdrawals", "chain": "bitcoin",
            "txid": "08".repeat(32), "amount": "3", "standing": "mempool", "height": null, "hash": null,
            "effect": "counts", "counted": "3" })
    );
    assert_eq!(shown[1]["standing"], "after-block");
    assert_eq!(shown[1]["effect"], "deducts");
    assert_eq!(shown[1]["height"], 101);
    assert_eq!(Amount::from(5).to_string(), shown[1]["counted"].as_str().unwrap());
}
