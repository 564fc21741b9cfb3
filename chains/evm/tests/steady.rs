//! A node that is not of one mind: late, frozen, several in one, or not what it was. It is named; an honest one never is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use alloy::primitives::Address;
use assay_evm::{EvmChain, EvmConfig, Finality, FinalityTag};
use assay_types::{Block, BlockHash, BlockRef, Chain, Fault, Height, NodeError, Reads, Tip};
use serde_json::{Value, json};
use support::proxy::{self, Pass};
use support::{World, chain, config, fresh, watch};

const HEADER: &str = "eth_getBlockByNumber";
const PROOF: &str = "eth_getProof";

fn mined(arguments: &[&str], blocks: u64) -> World {
    let world = World::new(arguments);
    (0..blocks).for_each(|_| world.mine());
    world
}

fn by_tag(url: &str, id: &str, tag: FinalityTag) -> EvmChain {
    let finality = Finality::Tag(tag);
    EvmChain::connect(EvmConfig { id: id.parse().unwrap(), finality, ..config(&[url], 0, &[]) }).unwrap()
}

fn hash(world: &World, height: u64) -> BlockHash {
    let block = world.call(HEADER, json!([format!("{height:#x}"), false]));
    let hash: alloy::primitives::B256 = serde_json::from_value(block["hash"].clone()).unwrap();
    BlockHash(hash.0)
}

#[test]
fn a_node_that_is_several_on_two_forks_is_named() {
    let (ours, theirs) = (mined(&[], 3), mined(&["--timestamp", "1700000000"], 3));
    let turn = AtomicU64::new(0);
    let both = proxy::lying(&ours.anvil.url.clone(), move |method, params, answer| {
        if method == HEADER && turn.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            answer["result"] = theirs.call(HEADER, params.clone());
        }
        Pass::On
    });
    let evm = chain(&[&both], 0, &[]);
    let looks: Vec<_> = (0..4).map(|_| evm.hash_at(Height(2))).collect();
    // That it comes back once may be a reorganisation that was taken back.
    assert!(looks[..3].iter().all(Result::is_ok) && looks[0] != looks[1] && looks[0] == looks[2]);
    let error = looks[3].clone().unwrap_err();
    assert_eq!(error.fault(), Some(Fault::MixedForks));
    assert!(error.to_string().contains(&both) && error.may_heal(), "{error}");
    // A reorganisation, and another one, are none.
    let evm = chain(&[&ours.anvil.url], 0, &[]);
    for _ in 0..3 {
        let head = evm.tip().unwrap().head;
        assert_eq!(evm.hash_at(head.height), Ok(Some(head.hash)));
        ours.call("anvil_reorg", json!([2, []]));
    }
    ours.call("anvil_rollback", json!([1]));
    assert_eq!(evm.tip().unwrap().head.height, Height(2));
    assert_eq!(evm.hash_at(Height(3)), Ok(None));
}

#[test]
fn a_last_block_that_is_kept_too_long_is_stale() {
    let world = mined(&[], 4);
    let lies = Arc::new(AtomicBool::new(true));
    let kept = world.call(HEADER, json!(["0x2", false]));
    let lying = lies.clone();
    let node = proxy::lying(&world.anvil.url, move |method, params, answer| {
        if method == HEADER && params[0] == "latest" && lying.load(Ordering::Relaxed) {
            answer["result"] = kept.clone();
        }
        Pass::On
    });
    let stale = |told: Result<Tip, NodeError>| {
        let error = told.unwrap_err();
        assert_eq!(error.fault(), Some(Fault::Stale), "{error}");
        assert!(error.to_string().contains(&node), "{error}");
    };
    // From the beginning, and after it was right.
    let evm = chain(&[&node], 0, &[]);
    stale(evm.tip());
    lies.store(false, Ordering::Relaxed);
    assert_eq!(evm.tip().unwrap().head.height, Height(4));
    lies.store(true, Ordering::Relaxed);
    stale(evm.tip());
    // A node that has no more is right about it.
    let honest = chain(&[&world.anvil.url], 0, &[]);
    for _ in 0..3 {
        assert_eq!(honest.tip().unwrap().head.height, Height(4));
    }
    assert_eq!(honest.hash_at(Height(5)), Ok(None));
}

#[test]
fn a_final_block_is_a_block_and_not_above_the_last_one() {
    let world = mined(&["--slots-in-an-epoch", "1"], 9);
    let tags = [FinalityTag::Finalized, FinalityTag::Safe];
    for tag in tags {
        let tip = by_tag(&world.anvil.url, support::CHAIN, tag).tip().unwrap();
        let height = tip.final_height.unwrap();
        assert!(height < tip.head.height, "{tip:?}");
        assert_eq!(tip.final_hash, Some(hash(&world, height.0)));
    }
    let answering = |with: Value| {
        proxy::lying(&world.anvil.url, move |method, params, answer| {
            if method == HEADER && params[0] == "finalized" {
                answer["result"] = with.clone();
            }
            Pass::On
        })
    };
    let tip = |with: Value| by_tag(&answering(with), support::CHAIN, FinalityTag::Finalized).tip();
    // A chain whose last block is final says so.
    let head = world.call(HEADER, json!(["0x9", false]));
    assert_eq!(tip(head.clone()).unwrap().final_height, Some(Height(9)));
    assert_eq!(tip(Value::Null).unwrap().final_height, None);
    let higher = mined(&[], 12).call(HEADER, json!(["0xc", false]));
    assert_eq!(tip(higher).unwrap().final_height, None);
    let mut altered = head;
    altered["number"] = json!("0x8");
    assert_eq!(tip(altered).unwrap_err().fault(), Some(Fault::Forged));
}

#[test]
fn who_names_another_final_block_than_before_is_told_and_goes_on() {
    let world = mined(&["--slots-in-an-epoch", "1"], 9);
    let header = |height: &str| world.call(HEADER, json!([height, false]));
    let higher = mined(&[], 12).call(HEADER, json!(["0xc", false]));
    for (lie, fault) in [(header("0x3"), Fault::Stale), (Value::Null, Fault::Omitted), (higher, Fault::Forged)] {
        let lies = Arc::new(AtomicBool::new(false));
        let lying = lies.clone();
        let node = proxy::lying(&world.anvil.url, move |method, params, answer| {
            if method == HEADER && params[0] == "finalized" && lying.load(Ordering::Relaxed) {
                answer["result"] = lie.clone();
            }
            Pass::On
        });
        let evm = by_tag(&node, support::CHAIN, FinalityTag::Finalized);
        let honest = evm.tip().unwrap();
        assert!(honest.final_height > Some(Height(3)) && evm.doubt().is_none(), "{honest:?}");
        lies.store(true, Ordering::Relaxed);
        assert_eq!(evm.tip().unwrap().head, honest.head);
        assert_eq!(evm.doubt().unwrap().fault(), Some(fault));
        evm.tip().unwrap();
        assert!(evm.doubt().is_none(), "it is not told at every look");
        lies.store(false, Ordering::Relaxed);
        assert_eq!(evm.tip().unwrap(), honest);
    }
}

#[test]
fn what_consensus_makes_final_later_is_no_final_block() {
    let world = mined(&["--chain-id", "1"], 70);
    for tag in [FinalityTag::Finalized, FinalityTag::Safe] {
        let honest = by_tag(&world.anvil.url, "eip155:1", tag).tip().unwrap();
        assert!(honest.final_height.unwrap() >= Height(6), "{honest:?}");
        let hasty = proxy::lying(&world.anvil.url, {
            let head = world.call(HEADER, json!(["latest", false]));
            move |method, params, answer| {
                if method == HEADER && params[0] == tag.as_str() {
                    answer["result"] = head.clone();
                }
                Pass::On
            }
        });
        let error = by_tag(&hasty, "eip155:1", tag).tip().unwrap_err();
        assert_eq!(error.fault(), Some(Fault::Forged));
        assert!(error.to_string().contains("rules of consensus"), "{error}");
    }
}

/// Two blocks, with an account to prove.
fn stage() -> (World, Vec<Address>, [BlockRef; 2]) {
    let world = mined(&[], 1);
    let at = |height: u64| BlockRef { height: Height(height), hash: hash(&world, height) };
    world.send(world.users[0], Some(fresh(1)), support::wei(5), vec![]);
    world.mine();
    let blocks = [at(1), at(2)];
    (world, vec![fresh(1)], blocks)
}

fn proven(block: &Block) -> bool {
    !block.readings.is_empty() && block.readings.iter().all(|reading| reading.proven)
}

/// A node that refuses this method once it is told to.
fn refusing(world: &World, method: &'static str, code: i64, words: &'static str) -> (String, Arc<AtomicBool>) {
    let refuses = Arc::new(AtomicBool::new(false));
    let now = refuses.clone();
    let node = proxy::lying(&world.anvil.url, move |asked, _, answer| {
        if asked == method && now.load(Ordering::Relaxed) {
            proxy::refuse(answer, code, words);
        }
        Pass::On
    });
    (node, refuses)
}

#[test]
fn what_was_given_and_is_refused_is_left_out_before_it_is_missing() {
    let (world, accounts, [first, second]) = stage();
    for (method, proves) in [(PROOF, false), ("debug_traceBlockByHash", true), ("eth_getBlockReceipts", true)] {
        let (node, refuses) = refusing(&world, method, -32601, "the method is not available");
        let evm = chain(&[&node], 0, &[]);
        let read = |at| evm.block(at, &watch(&accounts), &Reads::ALL_PROVEN);
        assert!(proven(&read(first).unwrap()), "{method}");
        refuses.store(true, Ordering::Relaxed);
        let error = read(second).unwrap_err();
        assert_eq!(error.fault(), Some(Fault::Omitted), "{method}: {error}");
        // Said twice, it is so.
        assert_eq!(proven(&read(second).unwrap()), proves, "{method}");
        assert_eq!(proven(&read(first).unwrap()), proves, "{method}");
    }
}

#[test]
fn who_gave_proofs_and_gives_none_of_the_last_block_is_told() {
    let (world, accounts, [first, second]) = stage();
    let (node, refuses) = refusing(&world, PROOF, -32000, "internal error");
    let evm = chain(&[&node], 0, &[]);
    let read = |at| evm.block(at, &watch(&accounts), &Reads::ALL_PROVEN).unwrap();
    assert!(proven(&read(first)) && evm.tip().unwrap().head == second);
    refuses.store(true, Ordering::Relaxed);
    assert!(!proven(&read(second)));
    assert_eq!(evm.doubt().unwrap().fault(), Some(Fault::Omitted));
    read(second);
    assert!(evm.doubt().is_none(), "it is told once");
}

#[test]
fn whatever_one_node_does_another_one_answers() {
    let (world, accounts, [_, second]) = stage();
    let node = &world.anvil.url;
    let forger = proxy::lying(node, |method, _, answer| {
        if method == "eth_getBlockByHash" {
            answer["result"]["stateRoot"] = json!(format!("0x{}", "11".repeat(32)));
        }
        Pass::On
    });
    let stranger = proxy::lying(node, |method, _, answer| {
        if method == "eth_chainId" {
            answer["result"] = json!("0x1");
        }
        Pass::On
    });
    let closed = proxy::lying(node, |_, _, _| Pass::Status(401));
    let cut = proxy::lying(node, |_, _, _| Pass::Half);
    for bad in [&forger, &stranger, &closed, &cut] {
        let evm = chain(&[bad, node], 0, &[]);
        assert!(proven(&evm.block(second, &watch(&accounts), &Reads::ALL_PROVEN).unwrap()), "{bad}");
        assert_eq!(evm.source().as_ref(), Some(node));
    }
    // Of several that fail, the one that is proven to lie is told of.
    let error = chain(&[&cut, &forger], 0, &[]).block(second, &watch(&accounts), &Reads::ALL_PROVEN).unwrap_err();
    assert!(matches!(&error, NodeError::Contradiction { node, .. } if *node == forger), "{error}");
    let error = chain(&[&closed, &cut], 0, &[]).tip().unwrap_err();
    assert!(matches!(&error, NodeError::LoginRefused { node, .. } if *node == closed), "{error}");
}

#[test]
fn check_holds_the_last_block_against_its_header() {
    let (world, ..) = stage();
    let notices = chain(&[&world.anvil.url], 0, &[]).check().unwrap();
    let last = notices.iter().find(|one| one.subject == "last block").unwrap();
    assert!(!last.limits && last.finding.contains("agrees"), "{last:?}");
    for (method, alter, fault) in [
        ("eth_getBlockReceipts", (|answer| *answer = json!([])) as fn(&mut Value), Fault::Omitted),
        (PROOF, |answer| answer["balance"] = json!("0x1"), Fault::Forged),
        (HEADER, |answer| answer["number"] = json!("0x1"), Fault::Forged),
    ] {
        let liar = proxy::lying(&world.anvil.url, move |asked, _, answer| {
            if asked == method {
                alter(&mut answer["result"]);
            }
            Pass::On
        });
        let error = chain(&[&liar], 0, &[]).check().unwrap_err();
        assert_eq!(error.fault(), Some(fault), "{method}: {error}");
    }
}

/// The first of two nodes ends at a block, and says so whatever is asked: the other one, which goes on behind it, is followed.
#[test]
fn one_that_stands_still_is_left_for_one_that_goes_on() {
    let world = mined(&[], 12);
    let last = world.call("eth_getBlockByNumber", json!(["0x8", false]));
    let late = proxy::lying(&world.anvil.url, move |method, params, answer| {
        if method == "eth_getBlockByNumber" {
            let height = params[0].as_str().and_then(|at| u64::from_str_radix(at.trim_start_matches("0x"), 16).ok());
            match height {
                Some(height) if height > 8 => answer["result"] = Value::Null,
                Some(_) => {}
                None => answer["result"] = last.clone(),
            }
        }
        Pass::On
    });
    assert_eq!(chain(&[&late], 1, &[]).tip().unwrap().head.height, Height(8));
    let both = chain(&[&late, &world.anvil.url], 1, &[]);
    assert_eq!(both.tip().unwrap().head.height, Height(12));
    assert_eq!(both.source(), Some(world.anvil.url.clone()));
}
