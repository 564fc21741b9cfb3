//! Late accounts that are filled in by filters of blocks: the same rows, unproven.

use assay_store::Coverage;
use assay_types::{AccountNo, Asset, Direction, Height};

use super::fake::{ACCOUNTS, Fake, Proof, Question, Stale, missing};
use super::{Dump, Kept, accounts, assert_same, catch_up, catch_up_in_unrest, indexer, straight};
use crate::prove::Unproven;

const TIP: u64 = 120;
/// Who is declared late here: it moves in a block of five or so.
const LATE: u8 = 3;

/// With all but one account followed to the tip, and that one just declared.
fn waiting(chain: &Fake) -> Kept {
    let kept = Kept::new(chain);
    indexer(chain, &kept).declare(&[accounts(0..LATE)]).unwrap();
    catch_up(chain, &kept).unwrap();
    indexer(chain, &kept).declare(&[accounts(0..ACCOUNTS)]).unwrap();
    kept
}

fn grade(kept: &Kept, who: u8) -> Coverage {
    let tip = kept.store.tip().unwrap().unwrap().height;
    kept.store.coverage(AccountNo(who.into()), Asset::Native, tip).unwrap()
}

/// All rows but what undo holds, and how well accounts are known.
fn rows(kept: &Kept) -> Dump {
    let mut rows = kept.rows_but_undo();
    rows.retain(|(family, key), _| *family != "coverage" && key != b"proving");
    rows
}

fn ends_straight(chain: &Fake, kept: &Kept, what: &str) {
    catch_up(chain, kept).unwrap();
    assert_eq!(catch_up(chain, kept).unwrap().tip.at(), chain.head());
    let straight = straight(chain, &accounts(0..ACCOUNTS));
    for _ in 0..8 {
        assert_same(&rows(&straight), &rows(kept), what);
        straight.store.remove_tip().unwrap();
        kept.store.remove_tip().unwrap();
    }
}

#[test]
fn only_blocks_that_seem_to_touch_them_are_read_and_the_accounts_are_unproven() {
    let chain = Fake::new(Proof::Walking, TIP).with_filters(None);
    let kept = waiting(&chain);
    let read = chain.asked(Question::Block);
    catch_up(&chain, &kept).unwrap();
    let (read, looked) = (chain.asked(Question::Block) - read, chain.asked(Question::Filter));
    assert!(u64::from(looked) == TIP + 1 && read < looked / 2, "{read} of {looked} were read");
    assert_eq!((grade(&kept, LATE), grade(&kept, 0)), (Coverage::Unproven, Coverage::Verified));
    assert_eq!(kept.store.coverage(AccountNo(LATE.into()), Asset::Native, Height(0)).unwrap(), Coverage::Unproven);
    ends_straight(&chain, &kept, "by filters");
}

#[test]
fn a_block_whose_filter_cannot_be_had_is_read() {
    let chain = Fake::new(Proof::Walking, TIP).with_filters(None);
    let kept = waiting(&chain);
    chain.fail(Question::Filter, 30, Some(missing("a filter")));
    ends_straight(&chain, &kept, "some filters are not there");
}

#[test]
fn whatever_the_chain_does_meanwhile_they_end_straight() {
    std::thread::scope(|scope| {
        for (seed, stale) in (1..16).flat_map(|seed| [Stale::Served, Stale::Gone].map(|stale| (seed, stale))) {
            scope.spawn(move || {
                let chain = Fake::new(Proof::Walking, TIP).stale(stale).with_filters(None);
                let kept = waiting(&chain);
                let dice = std::cell::Cell::new(seed);
                let more = |_: crate::Progress| {
                    dice.set(dice.get() * 48_271 % 2_147_483_647_u64);
                    match dice.get() % 40 {
                        0 | 1 => chain.mine(1),
                        2 => chain.reorg(1 + (dice.get() / 40 % 6) as usize, 1 + (dice.get() / 400 % 9) as usize),
                        _ => {}
                    }
                };
                catch_up_in_unrest(&chain, &kept, &more);
                ends_straight(&chain, &kept, &format!("{stale:?}, seed {seed}"));
            });
        }
    });
}

/// Reads all blocks for those that are unproven, as an indexer does beside what it follows; so many slices at most.
fn prove(chain: &Fake, kept: &Kept, slices: usize) -> bool {
    let indexer = indexer(chain, kept);
    let mut unproven = Unproven::default();
    for _ in 0..slices {
        indexer.come_to_the_tip(&|_| ()).unwrap();
        if !indexer.prove_a_slice(&mut unproven).unwrap() {
            return true;
        }
    }
    false
}

#[test]
fn they_are_verified_once_every_block_was_read_for_them() {
    let chain = Fake::new(Proof::Walking, TIP).with_filters(None);
    let kept = waiting(&chain);
    catch_up(&chain, &kept).unwrap();
    assert!(!prove(&chain, &kept, 1), "one slice is not all");
    assert_eq!(grade(&kept, LATE), Coverage::Unproven, "until the tip is reached nothing changes");
    let next = kept.store.proving().unwrap().unwrap().next;
    assert!(next > Height(0));
    // Killed; the chain reorganises, also below where it was, and goes on meanwhile.
    chain.reorg(usize::try_from(TIP - next.0 + 5).unwrap(), usize::try_from(TIP - next.0 + 9).unwrap());
    chain.mine(3);
    let read = chain.asked(Question::Block);
    assert!(prove(&chain, &kept, 100));
    assert!(u64::from(chain.asked(Question::Block) - read) < 2 * TIP, "it went on from where it was");
    assert_eq!((grade(&kept, LATE), kept.store.proving().unwrap()), (Coverage::Verified, None));
    ends_straight(&chain, &kept, "proven");
    catch_up(&chain, &kept).unwrap();
    assert_same(&straight(&chain, &accounts(0..ACCOUNTS)).rows_but_undo(), &kept.rows_but_undo(), "and verified");
}

#[test]
fn those_that_were_declared_after_others_are_proven_as_well() {
    let chain = Fake::new(Proof::Walking, TIP).with_filters(None);
    let kept = Kept::new(&chain);
    for who in 0..ACCOUNTS {
        indexer(&chain, &kept).declare(&[accounts(0..who + 1)]).unwrap();
        catch_up(&chain, &kept).unwrap();
        if who == 2 {
            prove(&chain, &kept, 2);
        }
    }
    assert!(prove(&chain, &kept, 100));
    assert_eq!([0, 1, 2, 3].map(|who| grade(&kept, who)), [const { Coverage::Verified }; 4]);
    assert_same(&straight(&chain, &accounts(0..ACCOUNTS)).rows_but_undo(), &kept.rows_but_undo(), "all of them");
}

#[test]
fn after_a_filter_that_was_wrong_blocks_are_read() {
    let chain = Fake::new(Proof::Walking, TIP).with_filters(None);
    let kept = waiting(&chain);
    catch_up(&chain, &kept).unwrap();
    kept.store.disprove(AccountNo(LATE.into()), Height(0), "for the test").unwrap();
    let looked = chain.asked(Question::Filter);
    indexer(&chain, &kept).declare(&[[super::fake::account(7)]]).unwrap();
    catch_up(&chain, &kept).unwrap();
    assert_eq!((chain.asked(Question::Filter), grade(&kept, LATE + 1)), (looked, Coverage::Verified));
}

#[test]
fn what_a_filter_hid_makes_the_account_unknown_and_no_other() {
    let (mut credits, mut debits) = (0, 0);
    for at in 0..=TIP {
        for who in [1, 2] {
            let chain = Fake::new(Proof::Walking, TIP).with_filters(Some((at, who)));
            let kept = Kept::new(&chain);
            indexer(&chain, &kept).declare(&[accounts(0..1)]).unwrap();
            catch_up(&chain, &kept).unwrap();
            indexer(&chain, &kept).declare(&[accounts(0..3)]).unwrap();
            catch_up(&chain, &kept).unwrap();
            let truth = straight(&chain, &accounts(0..3));
            let differs = rows(&truth) != rows(&kept);
            assert!(prove(&chain, &kept, 100));
            let said = [1, 2].map(|who| grade(&kept, who));
            let other = 3 - who;
            assert_eq!(said[usize::from(other) - 1], Coverage::Verified, "{other} while {who} was hidden in {at}");
            match &said[usize::from(who) - 1] {
                Coverage::Unknown(why) => {
                    assert!(differs && why.contains(&format!("block {at} hid")), "{why}");
                    assert!(kept.store.distrusts_filters().unwrap());
                    let moved =
                        truth.store.movements(AccountNo(who.into()), Asset::Native, Height(at), Height(at)).unwrap();
                    for movement in moved {
                        match movement.unwrap().direction {
                            Direction::Credit => credits += 1,
                            Direction::Debit => debits += 1,
                        }
                    }
                }
                grade => assert!(!differs && *grade == Coverage::Verified, "{who} hidden in {at}: {grade:?}"),
            }
        }
    }
    assert!(credits > 5 && debits > 2, "{credits} credits and {debits} debits were hidden");
}
