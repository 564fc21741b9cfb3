//! Accounts that are announced before they are used: followed from there on, at no cost, and true whatever the chain does.

use assay_store::{Coverage, Standing};
use assay_types::{Account, Asset, Height};

use super::fake::{ACCOUNTS, Fake, Proof, Question, account, missing};
use super::{Kept, accounts, catch_up, indexer};
use crate::Refusal;

const TIP: u64 = 12;
/// Of the chain's accounts this one is empty now and then.
const NOBODY: u8 = 3;

/// With one account followed to the tip.
fn followed(proof: Proof) -> (Fake, Kept) {
    let chain = Fake::new(proof, TIP);
    let kept = Kept::new(&chain);
    indexer(&chain, &kept).declare(&[accounts(0..1)]).unwrap();
    catch_up(&chain, &kept).unwrap();
    (chain, kept)
}

fn announce(chain: &Fake, kept: &Kept, who: &[u8]) -> Result<Height, Refusal> {
    let some: Vec<Account> = who.iter().map(|who| account(*who)).collect();
    indexer(chain, kept).announce(&[&some]).remove(0).map(|at| at.height)
}

fn stands(kept: &Kept, who: u8, at: u64) -> Standing {
    let (number, followed) = kept.store.number(&account(who)).unwrap().unwrap();
    assert!(followed);
    kept.store.standing((number, Asset::Native), Height(at)).unwrap()
}

/// Whatever is said of the accounts at the tip is what the chain says.
fn is_true(chain: &Fake, kept: &Kept) {
    let tip = kept.store.tip().unwrap().unwrap();
    assert_eq!(tip.at(), chain.head());
    for who in 0..=NOBODY {
        if kept.store.number(&account(who)).unwrap().is_some() {
            let now = stands(kept, who, tip.height.0);
            let unknown = matches!(now.coverage, Coverage::Unknown(_));
            assert!(unknown || now.balance == chain.holds(who), "{who}: {now:?}");
        }
    }
    kept.store.audit().unwrap();
}

#[test]
fn an_announced_account_is_followed_at_once_and_no_block_is_fetched_for_it() {
    for (proof, grade) in [(Proof::Walking, Coverage::Unproven), (Proof::State, Coverage::Verified)] {
        let (chain, kept) = followed(proof);
        let fetched = chain.asked(Question::Block);
        assert_eq!(announce(&chain, &kept, &[NOBODY]), Ok(Height(TIP)));
        assert_eq!((chain.asked(Question::Block), chain.asked(Question::Held)), (fetched, 1));
        assert_eq!(stands(&kept, NOBODY, TIP).coverage, grade);
        let before = Coverage::Unknown(format!("announced at block {TIP}"));
        assert_eq!(stands(&kept, NOBODY, TIP - 1).coverage, before);
        for _ in 0..30 {
            chain.mine(1);
            catch_up(&chain, &kept).unwrap();
            is_true(&chain, &kept);
        }
        assert_eq!(u64::from(chain.asked(Question::Block) - fetched), 30);
    }
}

#[test]
fn one_that_holds_something_is_refused_with_all_of_its_request_and_no_other() {
    let (chain, kept) = followed(Proof::Walking);
    let (rich, poor) = ([account(1), account(NOBODY)], [account(7)]);
    let answers = indexer(&chain, &kept).announce(&[&rich, &poor]);
    let Err(Refusal::NotEmpty(holdings)) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!((&holdings[0].account, holdings[0].amount), (&account(1), chain.holds(1)));
    assert_eq!(answers[1], Ok(chain.head()));
    assert_eq!(chain.asked(Question::Held), 1, "one question for all");
    for unknown in rich {
        assert_eq!(kept.store.number(&unknown).unwrap(), None, "nothing came of it");
    }
}

#[test]
fn blocks_that_come_while_the_node_is_asked_are_read_for_them() {
    for proof in [Proof::Walking, Proof::State] {
        let (chain, kept) = followed(proof);
        chain.reorg_as_held(0, 3); // mined, and indexed before the answer is written
        let store = &kept.store;
        let at = std::thread::scope(|scope| {
            // Until it is asked nobody holds the pen.
            let asked = chain.asked(Question::Held);
            let announcing = scope.spawn(|| announce(&chain, &kept, &[NOBODY]));
            let pen = loop {
                let pen = store.pen();
                if chain.asked(Question::Held) > asked {
                    break pen;
                }
                drop(pen);
                std::thread::yield_now();
            };
            drop(pen);
            announcing.join().unwrap()
        });
        assert_eq!(at, Ok(Height(TIP)));
        catch_up(&chain, &kept).unwrap();
        is_true(&chain, &kept);
    }
}

#[test]
fn a_round_of_late_accounts_comes_first_and_the_announced_wait() {
    let (chain, kept) = followed(Proof::Walking);
    indexer(&chain, &kept).declare(&[accounts(1..2)]).unwrap();
    let refused = announce(&chain, &kept, &[NOBODY]);
    assert!(matches!(&refused, Err(Refusal::NotNow(why)) if why.contains("filled in")), "{refused:?}");
    assert_eq!(chain.asked(Question::Held), 0, "nobody is asked in vain");
    catch_up(&chain, &kept).unwrap();
    assert_eq!(announce(&chain, &kept, &[NOBODY]), Ok(Height(TIP)));
    // And the other way: late ones are walked for, announced ones are not.
    indexer(&chain, &kept).declare(&[accounts(0..ACCOUNTS)]).unwrap();
    catch_up(&chain, &kept).unwrap();
    assert_eq!(stands(&kept, 2, 0).coverage, Coverage::Verified);
    assert_eq!(stands(&kept, NOBODY, TIP).coverage, Coverage::Unproven);
    is_true(&chain, &kept);
}

#[test]
fn a_node_that_is_away_takes_nobody_on() {
    let (chain, kept) = followed(Proof::Walking);
    chain.fail(Question::Held, 1, Some(missing("the unspent outputs")));
    assert!(matches!(announce(&chain, &kept, &[NOBODY]), Err(Refusal::NotNow(_))));
    assert_eq!(announce(&chain, &kept, &[NOBODY]), Ok(Height(TIP)));
}

#[test]
fn reorganisations_of_every_depth_across_an_announcement() {
    for proof in [Proof::Walking, Proof::State] {
        for depth in 1..=8 {
            for after in 0..4 {
                let (chain, kept) = followed(proof);
                announce(&chain, &kept, &[NOBODY]).unwrap();
                chain.mine(after);
                catch_up(&chain, &kept).unwrap();
                is_true(&chain, &kept);
                chain.reorg(depth, depth + 2);
                catch_up(&chain, &kept).unwrap();
                is_true(&chain, &kept);
                let taken_back = depth > after;
                let again = kept.store.to_prove_again().unwrap();
                assert_eq!(again.is_empty(), !taken_back || proof == Proof::State, "{depth} blocks, {after} after it");
                // Asked for nobody, those that wait are proven again.
                indexer(&chain, &kept).announce(&[]);
                assert!(kept.store.to_prove_again().unwrap().is_empty());
                is_true(&chain, &kept);
                let tip = chain.head().height.0;
                assert_ne!(stands(&kept, NOBODY, tip).coverage.as_str(), "unknown", "{depth} blocks, {after} after it");
                chain.mine(5);
                catch_up(&chain, &kept).unwrap();
                is_true(&chain, &kept);
            }
        }
    }
}

#[test]
fn a_reorganisation_while_the_node_is_asked_is_asked_about_again() {
    let (chain, kept) = followed(Proof::Walking);
    chain.reorg_as_held(2, 3);
    std::thread::scope(|scope| {
        let announcing = scope.spawn(|| announce(&chain, &kept, &[NOBODY]));
        while chain.asked(Question::Held) == 0 {
            std::thread::yield_now();
        }
        while !announcing.is_finished() {
            catch_up(&chain, &kept).unwrap();
        }
        let at = announcing.join().unwrap();
        assert!(matches!(at, Ok(_) | Err(Refusal::NotNow(_))), "{at:?}");
        assert_eq!(at.is_ok(), kept.store.number(&account(NOBODY)).unwrap().is_some());
    });
    catch_up(&chain, &kept).unwrap();
    is_true(&chain, &kept);
}
