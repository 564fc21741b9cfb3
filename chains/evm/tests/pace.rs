//! A node is asked as fast as it bears and as the operator allows; one that wants to be asked more slowly stops nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assay_evm::{EvmChain, EvmConfig};
use assay_http::{Endpoint, Login, Pace};
use assay_types::{BlockHash, BlockRef, Chain, Height, NodeError, Reads};
use serde_json::{Value, json};
use support::{World, chain, config, proxy, watch};

/// A chain with so many blocks, and their hashes from the first one on.
fn world(blocks: u64) -> (World, Vec<BlockHash>) {
    let world = World::new(&[]);
    world.call("anvil_mine", json!([blocks]));
    let hash = |height: u64| {
        let block = world.call("eth_getBlockByNumber", json!([format!("{height:#x}"), false]));
        let hash: alloy::primitives::B256 = serde_json::from_value(block["hash"].clone()).unwrap();
        BlockHash(hash.0)
    };
    let hashes = (1..=blocks).map(hash).collect();
    (world, hashes)
}

/// The chain through this node, at this pace.
fn paced(url: &str, pace: Pace) -> EvmChain {
    let endpoint = Endpoint::new(url, Login::None).unwrap().paced(pace);
    EvmChain::connect(EvmConfig { nodes: vec![endpoint], ..config(&[], 0, &[]) }).unwrap()
}

fn questions(packet: &Value) -> usize {
    packet.as_array().map_or(1, Vec::len)
}

#[test]
fn a_node_that_refuses_three_of_four_slows_down_and_stops_nothing() {
    let (world, hashes) = world(12);
    let asked = AtomicU64::new(0);
    let limited = proxy::guarded(&world.anvil.url, move |_| {
        let refused = !asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(4);
        refused.then(|| proxy::answer(429, "", "slow down"))
    });
    let evm = paced(&limited, Pace::default());
    assert_eq!(evm.tip().unwrap().head.height, Height(12));
    assert_eq!(evm.hashes(Height(1), 12).unwrap(), hashes);
    let watch = watch(&world.users);
    std::thread::scope(|scope| {
        for (hash, height) in hashes.iter().zip(1..) {
            let (evm, watch, at) = (&evm, &watch, BlockRef { height: Height(height), hash: *hash });
            scope.spawn(move || assert_eq!(evm.block(at, watch, &Reads::ALL).unwrap().header.hash, at.hash));
        }
    });
}

#[test]
fn of_a_node_that_is_far_more_is_asked_at_a_time() {
    let world = World::new(&[]);
    let far = proxy::guarded(&world.anvil.url, |_| {
        std::thread::sleep(Duration::from_millis(10));
        None
    });
    let prepared = |url: &str, blocks: u64| paced(url, Pace::default()).prepare(blocks, 2);
    assert_eq!([1, 1_000].map(|blocks| prepared(&world.anvil.url, blocks)), [4, 4]);
    assert_eq!([1, 1_000].map(|blocks| prepared(&far, blocks)), [4, 16], "a short stretch is over before that helps");
}

#[test]
fn a_node_that_says_when_to_come_back_is_left_alone_until_then() {
    let (world, hashes) = world(3);
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = times.clone();
    let limited = proxy::guarded(&world.anvil.url, move |_| {
        let mut times = noted.lock().unwrap();
        times.push(Instant::now());
        (times.len() == 3).then(|| proxy::answer(503, "retry-after: 1\r\n", ""))
    });
    let evm = chain(&[&limited], 0, &[]);
    for (hash, height) in hashes.iter().zip(1..) {
        assert_eq!(evm.hash_at(Height(height)).unwrap(), Some(*hash));
    }
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 5, "the chain's id, three hashes, and one of them twice");
    let waited = times[3].duration_since(times[2]);
    assert!((Duration::from_millis(990)..Duration::from_secs(10)).contains(&waited), "{waited:?}");
}

#[test]
fn a_node_that_refuses_everything_is_seldom_asked_and_then_given_up() {
    let (world, hashes) = world(1);
    let (asked, open) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(1)));
    let (counted, closed) = (asked.clone(), open.clone());
    let limited = proxy::guarded(&world.anvil.url, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        (closed.load(Ordering::Relaxed) == 0).then(|| proxy::answer(429, "", ""))
    });
    let evm = paced(&limited, Pace::default().patience(Duration::from_secs(1)));
    assert_eq!(evm.hashes(Height(1), 5).unwrap(), hashes);
    open.store(0, Ordering::Relaxed);
    asked.store(0, Ordering::Relaxed);
    let began = Instant::now();
    let errors = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| evm.hash_at(Height(1)).unwrap_err())).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    let (asked, took) = (asked.load(Ordering::Relaxed), began.elapsed());
    for error in errors {
        assert!(
            matches!(&error, NodeError::Limited { why, .. } if why.contains("429") || why.contains("refused")),
            "{error}"
        );
    }
    assert!(asked < 60, "asked {asked} times in {took:?}");
    assert!(took < Duration::from_secs(9), "{took:?}: one finds out for all that it is of no use");
    // It comes back, and is asked again.
    open.store(1, Ordering::Relaxed);
    assert_eq!(evm.hash_at(Height(1)).unwrap(), Some(hashes[0]));
}

#[test]
fn what_is_refused_within_a_batch_is_asked_again_by_itself() {
    let (world, hashes) = world(120);
    let nth = AtomicU64::new(0);
    let limited = proxy::lying(&world.anvil.url, move |method, _, answer| {
        if method == "eth_getBlockByNumber" && nth.fetch_add(1, Ordering::Relaxed) % 3 == 1 {
            proxy::refuse(answer, -32005, "project ID request rate exceeded");
        }
        proxy::Pass::On
    });
    let evm = chain(&[&limited], 0, &[]);
    assert_eq!(evm.hashes(Height(1), 120).unwrap(), hashes);
}

#[test]
fn a_batch_that_is_more_than_the_node_allows_in_a_second_becomes_smaller() {
    let (world, hashes) = world(60);
    let limited = proxy::guarded(&world.anvil.url, move |packet| {
        (questions(packet) > 4).then(|| proxy::answer(429, "", "too many requests"))
    });
    let evm = paced(&limited, Pace::default());
    assert_eq!(evm.hashes(Height(1), 60).unwrap(), hashes);
}

/// How the node says that a batch is too large.
fn too_large() -> [String; 3] {
    let error = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": "batch too large" } });
    let words =
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32005, "message": "Batch size limit exceeded" } });
    [(200, error.to_string()), (400, words.to_string()), (413, "too much".into())]
        .map(|(status, body)| proxy::answer(status, "", &body))
}

#[test]
fn batches_are_as_large_as_the_node_takes() {
    let (world, hashes) = world(150);
    for refusal in too_large() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let (noted, says) = (sizes.clone(), refusal.clone());
        let limited = proxy::guarded(&world.anvil.url, move |packet| {
            noted.lock().unwrap().push(questions(packet));
            (questions(packet) > 7).then(|| says.clone())
        });
        let evm = chain(&[&limited], 0, &[]);
        assert_eq!(evm.hashes(Height(1), 150).unwrap(), hashes, "{refusal}");
        assert_eq!(evm.hashes(Height(1), 150).unwrap(), hashes, "{refusal}");
        let sizes = sizes.lock().unwrap();
        let too_large = sizes.iter().filter(|size| **size > 7).count();
        assert!((3..=12).contains(&too_large), "{sizes:?}");
        assert!(sizes.iter().filter(|size| **size == 1).count() < 5, "{sizes:?}");
    }
}

#[test]
fn the_cap_is_kept_however_many_ask() {
    const CAP: u32 = 20;
    let (world, hashes) = world(30);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    let counting = proxy::guarded(&world.anvil.url, move |packet| {
        noted.lock().unwrap().push((Instant::now(), questions(packet)));
        None
    });
    let pace = Pace::new(NonZeroU32::new(CAP));
    // Two chains through one node, as the follower and the desk have them, and several threads on each.
    let chains = [paced(&counting, pace.clone()), paced(&counting, pace)];
    std::thread::scope(|scope| {
        for evm in &chains {
            scope.spawn(|| assert_eq!(evm.hashes(Height(1), 30).unwrap(), hashes));
            scope.spawn(|| (0..4).for_each(|_| assert_eq!(evm.tip().unwrap().head.hash, hashes[29])));
        }
    });
    let asked = asked.lock().unwrap();
    let within = |from: usize| {
        let until = asked[from].0 + Duration::from_secs(1);
        asked[from..].iter().take_while(|(at, _)| *at < until).map(|(_, questions)| questions).sum::<usize>()
    };
    let (most, all) =
        ((0..asked.len()).map(within).max().unwrap(), asked.iter().map(|(_, questions)| questions).sum::<usize>());
    let took = asked.last().unwrap().0.duration_since(asked[0].0);
    assert!(all > 68, "{all}");
    assert!(most <= CAP as usize, "{most} within one second");
    assert!(took < Duration::from_secs(9), "{all} in {took:?}: it can be used");
}
