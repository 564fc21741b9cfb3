//! Several nodes of which so many must agree: what they agree on is followed, who does not is named, and nothing is taken
//! where too few do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use assay_store::Coverage;
use assay_types::{AccountNo, Asset, BlockHash, Chain, Fault, Height, NodeError, Reads, Standing, Watch};

use super::fake::{Fake, Proof, Question, account, missing};
use super::{Kept, SETTINGS, accounts, assert_same, straight};
use crate::{IndexError, Indexer, Quorum, Reached, Stop};

const TIP: u64 = 40;

/// So many nodes of one chain, called `a`, `b` and so on.
fn nodes<const N: usize>(proof: Proof) -> [Arc<Fake>; N] {
    let chain = Fake::new(proof, TIP);
    std::array::from_fn(|nth| chain.beside(["a", "b", "c"][nth]))
}

fn quorum(nodes: &[Arc<Fake>], need: usize) -> Quorum {
    Quorum::new(nodes.iter().map(|node| node.clone() as Arc<dyn Chain>).collect(), need).unwrap()
}

fn kept(node: &Fake, quorum: &Quorum) -> Kept {
    let kept = Kept::new(node);
    indexer(quorum, &kept).declare(&[accounts(0..4)]).unwrap();
    kept
}

fn indexer<'a>(quorum: &'a Quorum, kept: &'a Kept) -> Indexer<'a> {
    Indexer::new(quorum, &kept.store, SETTINGS, Stop::default())
}

fn catch_up(quorum: &Quorum, kept: &Kept) -> Result<Reached, IndexError> {
    indexer(quorum, kept).catch_up(&|_| ())
}

fn states(quorum: &Quorum) -> Vec<&'static str> {
    quorum.standings().iter().map(|one| one.state).collect()
}

fn tip_of(kept: &Kept) -> Height {
    kept.store.tip().unwrap().unwrap().height
}

fn unreachable() -> NodeError {
    NodeError::Unreachable { node: "it".into(), why: "for the test".into() }
}

fn forged() -> NodeError {
    let (node, subject, against, why) = ("it".into(), "a block".into(), "its header".into(), "for the test".into());
    NodeError::Contradiction { node, subject, against, why, fault: Fault::Forged }
}

fn assert_straight(node: &Fake, kept: &Kept, what: &str) {
    assert_same(&straight(node, &accounts(0..4)).rows(), &kept.rows(), what);
}

/// The same where it took several rounds: at the end of each, balances are proven that one round would not prove.
fn assert_same_balances(node: &Fake, kept: &Kept, what: &str) {
    let of = |kept: &Kept| {
        let mut rows = kept.rows();
        rows.retain(|(family, _), _| matches!(*family, "headers" | "movements"));
        rows
    };
    let ours = of(kept);
    assert!(ours.len() as u64 > TIP);
    assert_same(&of(&straight(node, &accounts(0..4))), &ours, what);
}

#[test]
fn nodes_that_agree_give_what_one_gives() {
    for proof in [Proof::Walking, Proof::State] {
        let nodes = nodes::<3>(proof);
        let quorum = quorum(&nodes, 3);
        let kept = kept(&nodes[0], &quorum);
        assert_eq!(catch_up(&quorum, &kept).unwrap().tip.height, Height(TIP));
        assert_eq!((states(&quorum), quorum.disagreement()), (vec![Standing::AGREES; 3], None));
        assert_straight(&nodes[0], &kept, "by three");
    }
}

#[test]
fn too_few_nodes_or_the_same_one_twice_are_no_quorum() {
    let [a, b] = nodes::<2>(Proof::Walking);
    let made = |nodes: &[&Arc<Fake>], need| {
        Quorum::new(nodes.iter().map(|node| (*node).clone() as Arc<dyn Chain>).collect(), need).err()
    };
    assert_eq!(made(&[&a, &b], 2), None);
    for (nodes, need, says) in
        [(&[&a, &b][..], 3, "cannot agree"), (&[&a, &b], 0, "cannot"), (&[&a, &a], 2, "a stands there twice")]
    {
        let why = made(nodes, need).unwrap().to_string();
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn the_chain_goes_on_at_the_pace_of_the_slower_node_which_is_named() {
    let nodes = nodes::<2>(Proof::State);
    let quorum = quorum(&nodes, 2);
    let kept = kept(&nodes[0], &quorum);
    nodes[0].mine(7);
    assert_eq!(catch_up(&quorum, &kept).unwrap().tip.height, Height(TIP));
    assert_eq!(states(&quorum), [Standing::AGREES, Standing::BEHIND]);
    let behind = &quorum.standings()[1];
    assert_eq!(
        (behind.node.as_str(), behind.head, behind.why.as_deref()),
        ("b", Some(Height(TIP)), Some("has 7 blocks less"))
    );
    nodes[1].mine(6);
    assert_eq!(catch_up(&quorum, &kept).unwrap().tip.height, Height(TIP + 6));
    assert_eq!(states(&quorum), [Standing::AGREES; 2], "one block is on its way");
    nodes[1].mine(1);
    catch_up(&quorum, &kept).unwrap();
    assert_same_balances(&nodes[0], &kept, "caught up");
}

#[test]
fn two_branches_of_any_depth_stop_the_chain_at_the_last_block_of_both() {
    for (depth, by) in [(1, 1), (1, 5), (2, 2), (3, 9), (7, 4), (16, 30), (39, 39)] {
        let nodes = nodes::<2>(Proof::State);
        let quorum = quorum(&nodes, 2);
        nodes[1].fork(depth, by);
        let kept = kept(&nodes[0], &quorum);
        let told = catch_up(&quorum, &kept).unwrap_err();
        let last = Height(TIP - depth as u64);
        let IndexError::Node(NodeError::Disagreement { height, said }) = &told else { panic!("{depth}: {told}") };
        assert_eq!(*height, last.next());
        let hash = |node: &Fake| node.hash_at(last.next()).unwrap().unwrap();
        assert_eq!(*said, [("a".into(), hash(&nodes[0])), ("b".into(), hash(&nodes[1]))]);
        assert!(told.to_string().contains(&format!("a has {}, b has {}", hash(&nodes[0]), hash(&nodes[1]))), "{told}");
        assert_eq!(states(&quorum), [Standing::DISAGREES; 2]);
        assert_eq!(tip_of(&kept), last);
        // One takes the other's chain: then it goes on.
        nodes[1].follow(&nodes[0]);
        catch_up(&quorum, &kept).unwrap();
        assert_same_balances(&nodes[0], &kept, "agreed again");
    }
}

#[test]
fn nodes_without_a_block_in_common_give_none() {
    let nodes = nodes::<2>(Proof::Walking);
    let all = usize::try_from(TIP + 1).unwrap();
    nodes[1].fork(all, all);
    let told = quorum(&nodes, 2).tip();
    assert!(matches!(told, Err(NodeError::Disagreement { height: Height(0), .. })), "{told:?}");
}

#[test]
fn two_of_three_go_on_without_one_on_another_fork_wherever_it_stands() {
    for odd in 0..3 {
        for (depth, by) in [(5, 5), (5, 20), (5, 1)] {
            let nodes = nodes::<3>(Proof::State);
            nodes[odd].fork(depth, by);
            let quorum = quorum(&nodes, 2);
            let kept = kept(&nodes[0], &quorum);
            catch_up(&quorum, &kept).unwrap();
            let states = states(&quorum);
            assert_eq!(states[odd], Standing::DISAGREES, "{odd} {depth} {by}");
            assert_eq!(states.iter().filter(|state| **state == Standing::AGREES).count(), 2);
            assert_eq!(quorum.disagreement(), None);
            assert_straight(&nodes[(odd + 1) % 3], &kept, "by two of three");
        }
    }
}

#[test]
fn a_fork_that_is_ahead_does_not_hold_up_a_node_that_is_behind() {
    let nodes = nodes::<3>(Proof::State);
    nodes[2].fork(10, 50);
    nodes[0].mine(10);
    let quorum = quorum(&nodes, 2);
    let kept = kept(&nodes[0], &quorum);
    assert_eq!(catch_up(&quorum, &kept).unwrap().tip.height, Height(TIP));
    assert_eq!(states(&quorum), [Standing::AGREES, Standing::BEHIND, Standing::DISAGREES]);
    // Of three branches none has enough.
    nodes[1].fork(20, 20);
    let told = catch_up(&quorum, &kept).unwrap_err();
    assert!(matches!(told, IndexError::Node(NodeError::Disagreement { height: Height(31), .. })), "{told}");
    assert_eq!(tip_of(&kept), Height(30));
}

#[test]
fn blocks_that_one_of_them_left_are_taken_back_unless_they_were_final() {
    for (confirmations, stays) in [(6, TIP - 4), (2, TIP - 1)] {
        let nodes = nodes::<2>(Proof::State);
        nodes.iter().for_each(|node| node.finality(confirmations));
        let quorum = quorum(&nodes, 2);
        let kept = kept(&nodes[0], &quorum);
        catch_up(&quorum, &kept).unwrap();
        nodes[1].fork(4, 5);
        let told = catch_up(&quorum, &kept).unwrap_err();
        let disagreed = matches!(told, IndexError::Node(NodeError::Disagreement { height, .. }) if height.0 == TIP - 3);
        assert!(disagreed, "{told}");
        assert_eq!(tip_of(&kept), Height(stays));
    }
}

#[test]
fn final_is_what_enough_of_them_call_so() {
    let nodes = nodes::<3>(Proof::State);
    for (node, confirmations) in nodes.iter().zip([1, 11, 21]) {
        node.finality(confirmations);
    }
    let final_height = |need| quorum(&nodes, need).tip().unwrap().final_height;
    assert_eq!(
        [final_height(1), final_height(2), final_height(3)],
        [TIP, TIP - 10, TIP - 20].map(|at| Some(Height(at)))
    );
    // What a node on another fork calls final does not count.
    nodes[0].fork(5, 5);
    assert_eq!(final_height(2), Some(Height(TIP - 20)));
}

#[test]
fn a_node_that_fails_is_named_and_missed_only_where_it_is_needed() {
    for (error, kind) in [(unreachable(), "unreachable"), (forged(), "forged"), (missing("it"), "missing")] {
        for question in [Question::Tip, Question::Block] {
            let nodes = nodes::<3>(Proof::State);
            nodes[0].fail(question, u32::MAX, Some(error.clone()));
            let enough = quorum(&nodes, 2);
            let kept = kept(&nodes[0], &enough);
            catch_up(&enough, &kept).unwrap();
            assert_eq!(states(&enough), [kind, Standing::AGREES, Standing::AGREES], "{question:?}");
            assert_straight(&nodes[1], &kept, kind);
        }
        let nodes = nodes::<2>(Proof::State);
        nodes[0].fail(Question::Tip, u32::MAX, Some(error.clone()));
        assert_eq!(quorum(&nodes, 2).tip(), Err(error));
    }
}

#[test]
fn a_silent_node_holds_nobody_up_who_is_enough() {
    let nodes = nodes::<3>(Proof::State);
    nodes[2].takes(Duration::from_secs(20));
    let quorum = quorum(&nodes, 2);
    let kept = kept(&nodes[0], &quorum);
    let began = Instant::now();
    catch_up(&quorum, &kept).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(states(&quorum), [Standing::AGREES, Standing::AGREES, "unreachable"]);
    assert_straight(&nodes[0], &kept, "beside a silent one");
}

#[test]
fn a_balance_that_one_tells_otherwise_is_what_another_proves() {
    for liar in 0..2 {
        let nodes = nodes::<2>(Proof::State);
        nodes[liar].tells(1, 77_777_777);
        let quorum = quorum(&nodes, 2);
        let kept = kept(&nodes[0], &quorum);
        catch_up(&quorum, &kept).unwrap();
        for number in 0..4 {
            let said = kept.store.balance(AccountNo(u32::from(number)), Asset::Native, Height(TIP)).unwrap();
            assert_eq!(said, nodes[0].holds(number));
        }
        kept.store.audit().unwrap();
    }
}

#[test]
fn what_nothing_proves_and_nodes_tell_otherwise_is_unknown_with_both_answers() {
    for need in [2, 3] {
        let nodes = nodes::<3>(Proof::State);
        nodes.iter().for_each(|node| node.proves_nothing());
        nodes[0].tells(1, 77_777_777);
        let quorum = quorum(&nodes, need);
        let kept = kept(&nodes[0], &quorum);
        catch_up(&quorum, &kept).unwrap();
        for number in 0..4_u8 {
            let (no, at) = (AccountNo(u32::from(number)), Height(TIP));
            let known = kept.store.coverage(no, Asset::Native, at).unwrap();
            if (number, need) != (1, 3) {
                // Two of three agree, whoever of them gave the block.
                assert_eq!(known, Coverage::Unproven, "{number} of {need}");
                assert_eq!(kept.store.balance(no, Asset::Native, at).unwrap(), nodes[1].holds(number));
                continue;
            }
            let Coverage::Unknown(why) = known else { panic!("{known:?}") };
            let has_each = ["a says 77777777 units", "b says ", "c says "].iter().all(|says| why.contains(says));
            assert!(has_each, "{why}");
        }
        // Who of two is wrong, nobody knows; of three, whom the others outvote.
        let liar = if need == 2 { "forged" } else { "agrees" };
        assert_eq!(states(&quorum), [liar, "agrees", "agrees"]);
    }
}

#[test]
fn what_nobody_follows_yet_is_held_as_enough_say_of_one_block() {
    let nodes = nodes::<2>(Proof::Walking);
    let quorum = quorum(&nodes, 2);
    let head =
        nodes[0].block(nodes[0].head(), &assay_types::Watch::default(), &assay_types::Reads::MOVED).unwrap().header;
    let asked = [(AccountNo(0), account(0)), (AccountNo(1), account(1))];
    let held = || quorum.held(&head, &asked);
    let (at, readings) = held().unwrap();
    let balances =
        |readings: &[assay_types::Reading]| readings.iter().map(|one| one.balance.clone()).collect::<Vec<_>>();
    assert_eq!((at, balances(&readings)), (head.at(), vec![Ok(nodes[0].holds(0)), Ok(nodes[0].holds(1))]));
    nodes[1].tells(1, 5);
    let balances = balances(&held().unwrap().1);
    assert_eq!(balances[0], Ok(nodes[0].holds(0)));
    let why = balances[1].clone().unwrap_err();
    assert!(why.contains("b says 5 units") && why.contains("a says"), "{why}");
    nodes[1].mine(1);
    assert!(matches!(held(), Err(NodeError::Unreadable { node, .. }) if node == "b"));
    // Whoever is away is asked in vain, and then another.
    let third = nodes[0].beside("c");
    nodes[1].fail(Question::Held, u32::MAX, Some(unreachable()));
    assert_eq!(held().unwrap_err(), unreachable());
    let three = self::quorum(&[nodes[0].clone(), nodes[1].clone(), third], 2);
    assert_eq!(three.held(&head, &asked).unwrap().0, head.at());
}

#[test]
fn a_height_is_agreed_on_undecided_or_disputed() {
    let nodes = nodes::<3>(Proof::Walking);
    nodes[2].fork(2, 4);
    let (two, three) = (quorum(&nodes, 2), quorum(&nodes, 3));
    let ours = |height| nodes[0].hash_at(Height(height)).unwrap();
    assert_eq!(two.hash_at(Height(TIP)).unwrap(), ours(TIP));
    assert_eq!(two.hash_at(Height(TIP + 1)).unwrap(), None, "one alone has it");
    assert_eq!(three.hash_at(Height(TIP - 2)).unwrap(), ours(TIP - 2));
    assert!(matches!(three.hash_at(Height(TIP)), Err(NodeError::Disagreement { .. })));
    let many: Vec<BlockHash> = three.hashes(Height(0), 100).unwrap();
    assert_eq!(many.len() as u64, TIP - 1, "as far as all have the same");
    assert_eq!(two.hashes(Height(TIP - 3), 100).unwrap().len(), 4);
}

#[test]
fn enough_nodes_are_asked_once_more_of_which_chain_they_are() {
    let nodes = nodes::<3>(Proof::Walking);
    nodes[1].fail(Question::Identify, u32::MAX, Some(forged()));
    assert_eq!(quorum(&nodes, 2).identify(), Ok(()));
    assert_eq!(quorum(&nodes, 3).identify(), Err(forged()));
    assert!(nodes.iter().all(|node| node.asked(Question::Identify) > 1));
}

#[test]
fn who_is_slow_is_waited_for_where_another_one_does_not_know() {
    let nodes = nodes::<3>(Proof::State);
    let quorum = quorum(&nodes, 2);
    let header = quorum.block(nodes[0].head(), &Watch::default(), &Reads::ALL).unwrap().header;
    assert_eq!(quorum.proves(&header), Ok(true));
    nodes[1].proves_nothing();
    nodes[2].forgets();
    assert_eq!(quorum.proves(&header), Ok(false), "one alone does");
    nodes[0].takes(Duration::from_millis(400));
    let began = Instant::now();
    let read = quorum.read_again(&header, &[(AccountNo(1), account(1), Asset::Native)]).unwrap();
    assert_eq!((read[0].balance.clone(), read[0].proven), (Ok(nodes[0].holds(1)), true));
    // Where none of them can know any more, nobody is waited for in vain.
    nodes[0].takes(Duration::from_secs(20));
    nodes[1].forgets();
    assert!(quorum.read_again(&header, &[(AccountNo(1), account(1), Asset::Native)]).unwrap()[0].balance.is_err());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
