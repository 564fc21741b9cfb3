//! Against a real anvil: what is said to have moved, and what the node holds, agree at every height.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use alloy::primitives::{Address, U256};
use alloy::sol_types::{SolCall, SolValue};
use assay_evm::EvmChain;
use assay_types::{Account, AccountNo, Asset, BlockHash, BlockRef, Chain, Height, Kind, NodeError, Reads, TxId};
use serde_json::{Value, json};
use support::model::{Seen, follow};
use support::proxy::Pass;
use support::{World, chain, fresh, proxy, watch, wei};

/// A chain on which everything happens, with the accounts and tokens to watch.
struct Story {
    world: World,
    accounts: Vec<Address>,
    tokens: Vec<Address>,
    hostile: Address,
    /// The block after whose mining an account was given coins by the node itself.
    conjured: u64,
}

fn story() -> Story {
    let world = World::new(&[]);
    let users = world.users.clone();
    let miner = fresh(0xfe);
    world.call("anvil_setCoinbase", json!([miner]));
    let router = world.deploy("Router", vec![]);
    let token = world.deploy_token("USDX", 6, 1_000_000_000);
    let fee_arguments = ("F".to_owned(), "F".to_owned(), wei(18), wei(1_000_000), wei(250), fresh(0xcc));
    let fee_token = world.deploy("FeeToken", fee_arguments.abi_encode_params());
    let rebasing_arguments = ("R".to_owned(), "R".to_owned(), wei(18), wei(1_000_003));
    let rebasing = world.deploy("RebasingToken", rebasing_arguments.abi_encode_params());
    let weth = world.deploy("WrappedEther", vec![]);
    let odd = ["SilentMint", "LyingToken", "RevertingBalance", "HostileBalance", "Nft721", "NoDecimals"];
    let odd = odd.map(|contract| world.deploy(contract, vec![]));
    let mut story = Story {
        accounts: vec![miner, router, weth, Address::ZERO, fresh(0xcc)],
        tokens: [token, fee_token, rebasing, weth].into_iter().chain(odd).chain([fresh(0x70)]).collect(),
        hostile: odd[3],
        conjured: 0,
        world,
    };
    story.accounts.extend(&users[..6]);
    story.accounts.extend((1..=9).map(fresh));
    native_payments(&mut story, router);
    token_payments(&story, token, fee_token, rebasing, weth);
    odd_tokens(&story, odd);
    peculiarities(&mut story, router);
    story
}

fn native_payments(story: &mut Story, router: Address) {
    let (world, users) = (&story.world, story.world.users.clone());
    world.send(users[1], Some(fresh(1)), wei(1_000), vec![]);
    world.send(users[1], Some(users[2]), wei(2_000), vec![]);
    world.send(users[2], Some(users[2]), wei(3_000), vec![]);
    world.mine();
    world.mine();
    let (to, amounts) = (vec![fresh(2), users[3], fresh(2)], vec![wei(10), wei(20), wei(30)]);
    world.run(users[1], router, wei(100), support::payCall { to, amounts });
    world.run(users[3], router, wei(9), support::payThenRevertInnerCall { to: fresh(3) });
    world.run(users[3], router, wei(9), support::payAndRevertCall { to: fresh(3) });
    world.run(users[4], router, wei(7), support::destroyIntoCall { to: fresh(4) });
    world.run(users[4], router, wei(11), support::createCall {});
    let child = router.create(2);
    assert_eq!(world.call("eth_getBalance", json!([child, "latest"])), json!("0xb"));
    world.run(users[4], child, wei(0), support::destroyCall { to: fresh(5) });
    story.accounts.push(child);
    // a creation with value, whose code is `stop`
    let id = world.send(users[5], None, wei(77), vec![0x60, 0x00, 0x60, 0x00, 0xf3]);
    world.mine();
    story.accounts.push(serde_json::from_value(world.receipt(&id)["contractAddress"].clone()).unwrap());
}

fn token_payments(story: &Story, token: Address, fee_token: Address, rebasing: Address, weth: Address) {
    let (world, users) = (&story.world, story.world.users.clone());
    for contract in [token, fee_token, rebasing] {
        world.run(users[0], contract, wei(0), support::transferCall { to: users[1], value: wei(10_001) });
        world.run(users[1], contract, wei(0), support::transferCall { to: users[1], value: wei(55) });
        world.run(users[1], contract, wei(0), support::transferCall { to: fresh(6), value: wei(1_000_000_000) });
        world.run(users[1], contract, wei(0), support::mintCall { to: fresh(6), value: wei(501) });
    }
    world.run(users[1], token, wei(0), support::burnCall { value: wei(11) });
    world.run(users[0], rebasing, wei(0), support::rebaseCall { num: wei(1_030), den: wei(1_001) });
    world.mine();
    world.run(users[0], rebasing, wei(0), support::transferCall { to: fresh(7), value: wei(333) });
    world.run(users[0], rebasing, wei(0), support::rebaseCall { num: wei(9), den: wei(10) });
    world.run(users[2], weth, wei(5_000), support::depositCall {});
    world.send(users[2], Some(weth), wei(0), support::transferCall { to: users[3], value: wei(2_000) }.abi_encode());
    world.send(users[3], Some(weth), wei(0), support::withdrawCall { value: wei(500) }.abi_encode());
    world.send(users[3], Some(weth), wei(6), vec![]);
    world.mine();
}

fn odd_tokens(story: &Story, odd: [Address; 6]) {
    let (world, users) = (&story.world, story.world.users.clone());
    let [silent, lying, reverting, hostile, nft, plain] = odd;
    for contract in [silent, lying, reverting, hostile, nft, plain] {
        world.run(users[1], contract, wei(0), support::mintCall { to: users[1], value: wei(40) });
    }
    world.run(users[1], lying, wei(0), support::transferCall { to: fresh(8), value: wei(4) });
    let (from, to, value) = (fresh(8), users[2], U256::MAX);
    world.run(users[5], lying, wei(0), support::lieCall { from, to, value });
    world.run(users[1], nft, wei(0), support::transferFromCall { from: users[1], to: users[2], value: wei(40) });
    world.run(users[1], reverting, wei(0), support::setBrokenCall { broken: true });
    world.run(users[1], reverting, wei(0), support::setBrokenCall { broken: false });
    for mode in 1..=6 {
        world.run(users[1], hostile, wei(0), support::setModeCall { mode: wei(mode) });
    }
}

fn peculiarities(story: &mut Story, router: Address) {
    let (world, users) = (&story.world, story.world.users.clone());
    world.call("anvil_impersonateAccount", json!([router]));
    // the node's state is then not what that block's header commits to: no watched account may have moved in it
    world.call("anvil_setCoinbase", json!([fresh(0xdd)]));
    world.mine();
    world.call("anvil_setBalance", json!([router, "0xde0b6b3a7640000"]));
    story.conjured = world.height();
    world.mine();
    world.send(router, Some(fresh(9)), wei(123), vec![]);
    world.send(users[1], Some(router), wei(5), vec![]);
    world.mine();
    // the miner is also a sender, and drains itself
    world.call("anvil_setCoinbase", json!([users[2]]));
    world.send(users[2], Some(users[3]), wei(99), vec![]);
    world.send(users[3], Some(users[2]), wei(98), vec![]);
    world.mine();
}

#[test]
fn movements_and_state_agree_at_every_height() {
    let story = story();
    let traced = chain(&[&story.world.anvil.url], 1, &story.tokens);
    let seen = follow(&story.world, &traced, &story.accounts, &story.tokens, &Reads::ALL);
    // what the node conjured up is the only native coin that no movement explains
    assert_eq!(seen.native_residuals(), [(story.conjured, AccountNo(2))]);
    use Kind::{Burn, Create, Fee, Internal, Mint, Reward, SelfDestruct, Transfer};
    for kind in [Transfer, Fee, Internal, Create, SelfDestruct, Reward, Mint, Burn] {
        assert!(seen.of_kind(kind) > 0, "{kind}");
    }
    // of the tokens, only those are unknown that cannot be read, while they cannot
    let odd = [story.tokens[6], story.hostile].map(|token| Asset::Token(token.into_array()));
    assert!(!seen.unknown.is_empty());
    assert!(seen.unknown.iter().all(|(_, _, asset)| odd.contains(asset)), "{:?}", seen.unknown);
    assert!(seen.proven > 0);
    assert_tokens_are_proven(&story, &seen);

    let untraced = proxy::without(
        &story.world.anvil.url,
        &["debug_traceBlockByHash", "trace_block", "debug_traceTransaction", "eth_getBlockReceipts"],
    );
    let untraced = chain(&[&untraced], 1, &story.tokens);
    let blind = follow(&story.world, &untraced, &story.accounts, &story.tokens, &Reads::ALL);
    assert_eq!(blind.of_kind(Kind::Internal), 0);
    assert_eq!(blind.proven_tokens, seen.proven_tokens);
    assert!(blind.native_residuals().len() > 5);
    let at = |height: u64| BlockRef { height: Height(height), hash: traced.hash_at(Height(height)).unwrap().unwrap() };
    let error = traced.block(at(story.conjured), &watch(&story.accounts), &Reads::ALL_PROVEN).unwrap_err();
    assert!(matches!(error, NodeError::Contradiction { .. }), "state that no header commits to: {error}");

    let simple = proxy::lying(&story.world.anvil.url, |method, params, answer| {
        if method == "eth_getProof" || (method == "eth_call" && params.get(2).is_some()) {
            proxy::refuse(answer, -32602, "too many arguments, want at most 2");
        }
        if method == "eth_getProof" {
            proxy::refuse(answer, -32601, "the method eth_getProof does not exist/is not available");
        }
        proxy::Pass::On
    });
    let simple = chain(&[&simple], 0, &story.tokens);
    let seen_simply = follow(&story.world, &simple, &story.accounts, &story.tokens, &Reads::ALL_PROVEN);
    assert_eq!(seen_simply.proven, 0);
    assert_eq!(seen_simply.native_residuals(), seen.native_residuals());
    assert!(seen_simply.unknown == seen.unknown, "what cannot be read does not depend on how it is read");
}

/// What moved is proven where the balance is a slot, and not where it is none any more.
fn assert_tokens_are_proven(story: &Story, seen: &Seen) {
    let asset = |place: usize| Asset::Token(story.tokens[place].into_array());
    let [token, fee_token, rebasing, weth, lying] = [0, 1, 2, 3, 5].map(asset);
    for token in [token, fee_token, weth, lying] {
        let moved: Vec<_> = seen.legs.iter().filter(|(_, leg)| leg.asset == token).collect();
        assert!(!moved.is_empty());
        for (height, leg) in moved {
            assert!(seen.proven_tokens.contains(&(*height, leg.account, token)), "{token:?} at {height}");
        }
    }
    let rebased = seen.residuals.iter().find(|(_, _, asset)| *asset == rebasing).unwrap().0;
    assert!(seen.legs.iter().any(|(height, leg)| leg.asset == rebasing && *height > rebased));
    assert!(!seen.proven_tokens.iter().any(|(height, _, asset)| *asset == rebasing && *height >= rebased));
}

/// What is remembered of tokens changes nothing: neither the order in which blocks are read, nor a new start.
#[test]
fn what_is_proven_of_a_block_does_not_depend_on_what_was_read_before() {
    let story = story();
    let evm = || chain(&[&story.world.anvil.url], 1, &story.tokens);
    let (upwards, downwards, watch) = (evm(), evm(), watch(&story.accounts));
    let tip = last(&upwards).height.0;
    let at = |height: u64| BlockRef { height: Height(height), hash: upwards.hash_at(Height(height)).unwrap().unwrap() };
    let read = |chain: &EvmChain, height: u64| chain.block(at(height), &watch, &Reads::ALL).unwrap().readings;
    let seen: Vec<_> = (1..=tip).map(|height| read(&upwards, height)).collect();
    for height in (1..=tip).rev() {
        let before = &seen[usize::try_from(height).unwrap() - 1];
        assert_eq!(&read(&downwards, height), before, "block {height}");
        assert_eq!(&read(&evm(), height), before, "block {height} after a new start");
    }
}

#[test]
fn a_token_is_proven_by_its_slot_or_by_its_absence() {
    let world = World::new(&[]);
    let users = world.users.clone();
    let weth = world.deploy("WrappedEther", vec![]);
    let absent = fresh(0x70);
    world.run(users[1], weth, wei(100), support::depositCall {});
    world.run(users[2], weth, wei(7), support::depositCall {});
    world.run(users[1], weth, wei(0), support::withdrawCall { value: wei(100) });
    let evm = chain(&[&world.anvil.url], 1, &[weth, absent]);
    // the first never held any, the second holds no more
    let accounts = [users[0], users[1], users[2]];
    let block = evm.block(last(&evm), &watch(&accounts), &Reads::ALL_PROVEN).unwrap();
    assert_eq!(block.readings.iter().filter(|reading| reading.proven).count(), 9, "{:?}", block.readings);
    let [held, nothing] = [weth, absent].map(|token| Asset::Token(token.into_array()));
    let of = |asset: Asset| block.readings.iter().filter(move |reading| reading.asset == asset);
    assert!(of(held).map(|reading| reading.balance.clone()).eq([0, 0, 7].map(|amount: u64| Ok(amount.into()))));
    assert!(of(nothing).all(|reading| reading.balance == Ok(0.into())));
    // by themselves too: which slot it is, the code shows
    let watched = watch(&accounts);
    let numbered: Vec<_> = watched.by_number().map(|(number, account)| (number, Account::new(account), held)).collect();
    let pairs = |some: &[usize]| some.iter().map(|place| numbered[*place].clone()).collect::<Vec<_>>();
    let proven = |some: &[usize]| {
        let read = evm.read_again(&block.header, &pairs(some)).unwrap();
        read.len() == some.len() && read.iter().all(|read| read.proven)
    };
    assert!(proven(&[0, 1, 2]) && proven(&[2]) && proven(&[0, 1]));
}

fn last(chain: &impl Chain) -> BlockRef {
    chain.tip().unwrap().head
}

#[test]
fn a_reorganised_block_is_gone_and_an_unknown_one_is_missing() {
    let world = World::new(&[]);
    for _ in 0..5 {
        world.mine();
    }
    let evm = chain(&[&world.anvil.url], 1, &[]);
    let old = last(&evm);
    assert!(evm.block(old, &watch(&[]), &Reads::ALL).is_ok());
    world.call("anvil_reorg", json!([2, []]));
    assert_eq!(evm.block(old, &watch(&[]), &Reads::ALL).unwrap_err(), NodeError::Gone(old));
    let above = BlockRef { height: Height(99), hash: BlockHash([7; 32]) };
    assert!(matches!(evm.block(above, &watch(&[]), &Reads::ALL), Err(NodeError::Missing { .. })));
    assert_eq!(evm.hash_at(Height(99)).unwrap(), None);
}

#[test]
fn a_node_without_old_state_leaves_balances_unknown_and_cannot_open() {
    let world = World::new(&["--prune-history", "3"]);
    let user = world.users[0];
    for _ in 0..10 {
        world.send(user, Some(fresh(1)), wei(5), vec![]);
        world.mine();
    }
    let opening = chain(&[&world.anvil.url], 2, &[]);
    let at = |height: u64| BlockRef { height: Height(height), hash: opening.hash_at(Height(height)).unwrap().unwrap() };
    let error = opening.block(at(2), &watch(&[user]), &Reads::ALL).unwrap_err();
    assert!(matches!(&error, NodeError::Missing { why, .. } if why.contains("archive")), "{error}");
    let block = opening.block(at(3), &watch(&[user]), &Reads::ALL).unwrap();
    assert_eq!(block.effects.len(), 2, "fee and value are known without state");
    assert!(block.readings.iter().all(|reading| reading.balance.is_err() && !reading.proven));
    let notices = opening.check().unwrap();
    assert!(notices.iter().any(|notice| notice.limits && notice.subject == "state at block 2"), "{notices:?}");
}

#[test]
fn a_transaction_that_waits_says_what_it_would_pay() {
    let world = World::new(&[]);
    let token = world.deploy_token("T", 6, 1_000);
    let evm = chain(&[&world.anvil.url], 1, &[token]);
    let txid = |id: &str| TxId(evm.id().parse_hash(id).unwrap());
    let payment = support::transferCall { to: fresh(1), value: wei(10) }.abi_encode();
    let waits = [
        world.send(world.users[0], Some(fresh(2)), wei(3), vec![]),
        world.send(world.users[0], Some(token), wei(0), payment),
    ];
    let header = || evm.block(last(&evm), &watch(&[]), &Reads::ALL).unwrap().header;
    let before = header();
    let pending = waits.each_ref().map(|id| evm.pending(txid(id), &before).unwrap().unwrap().payments);
    assert_eq!((pending[0][0].asset, pending[0][0].amount), (Asset::Native, 3.into()));
    assert_eq!((pending[1][0].asset, pending[1][0].amount), (Asset::Token(token.into_array()), 10.into()));
    world.mine();
    assert_eq!(evm.pending(txid(&waits[0]), &header()).unwrap(), None);
    assert_eq!(evm.pending(TxId([9; 32]), &header()).unwrap(), None);
    // One node says that it waits still, and its sender has sent it.
    let first = waits[0].clone();
    let url = proxy::lying(&world.anvil.url, move |method, params, answer| {
        if method == "eth_getTransactionByHash" && params[0] == json!(first) {
            for place in ["blockHash", "blockNumber", "transactionIndex"] {
                answer["result"][place] = Value::Null;
            }
        }
        Pass::On
    });
    let lying = chain(&[&url], 1, &[token]);
    assert_eq!(lying.pending(txid(&waits[0]), &header()).unwrap(), None);
    assert!(lying.pending(txid(&waits[0]), &before).unwrap().is_some(), "of the block below it may be so");
    let block = evm.block(last(&evm), &watch(&[]), &Reads::ALL).unwrap();
    assert_eq!(block.txids, waits.each_ref().map(|id| txid(id)));
    assert_eq!(block.body.payments(1)[0].index, Some(0));
    assert_eq!(block.body.payments(1)[0].amount, 10.into());
}

#[test]
fn a_proof_gives_what_the_state_root_commits_to() {
    let world = World::new(&[]);
    world.send(world.users[0], Some(fresh(1)), wei(5), vec![]);
    world.mine();
    let evm = chain(&[&world.anvil.url], 0, &[]);
    let accounts = [world.users[0], fresh(1), fresh(2)];
    let header = evm.block(last(&evm), &watch(&[]), &Reads::ALL).unwrap().header;
    let numbered: Vec<_> =
        watch(&accounts).by_number().map(|(no, account)| (no, Account::new(account), Asset::Native)).collect();
    let readings = evm.read_again(&header, &numbered).unwrap();
    assert!(readings.iter().all(|reading| reading.proven && reading.asset == Asset::Native));
    assert_eq!(readings[1].balance, Ok(5.into()));
    assert_eq!(readings[2].balance, Ok(0.into()));
    // anvil's block 0 commits to the empty state, whatever it holds
    let genesis = BlockRef { height: Height(0), hash: evm.hash_at(Height(0)).unwrap().unwrap() };
    let block = evm.block(genesis, &watch(&accounts), &Reads::ALL_PROVEN).unwrap();
    assert!(block.opening && block.readings.iter().all(|reading| !reading.proven));
    assert_eq!(block.readings[0].balance, Ok(alloy::primitives::utils::parse_ether("10000").unwrap().into()));
}
