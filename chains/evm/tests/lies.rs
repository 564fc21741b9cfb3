//! A node that lies, is silent, or is not what it should be, is found out and named; no balance is ever wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use assay_evm::EvmChain;
use assay_types::{Amount, Asset, Block, BlockRef, Chain, Fault, Kind, NodeError, Reads};
use serde_json::{Value, json};
use support::proxy::{self, Pass};
use support::{World, chain, fresh, watch, wei};

/// One block with a native and a token payment, and an internal one.
struct Stage {
    world: World,
    accounts: Vec<Address>,
    token: Address,
    at: BlockRef,
}

fn stage() -> Stage {
    let world = World::new(&[]);
    let token = world.deploy_token("T", 6, 1_000);
    let router = world.deploy("Router", vec![]);
    let transfer = support::transferCall { to: fresh(2), value: wei(10) };
    let pay = support::payCall { to: vec![fresh(3)], amounts: vec![wei(7)] };
    world.send(world.users[0], Some(fresh(1)), wei(5), vec![]);
    world.send(world.users[0], Some(token), wei(0), transfer.abi_encode());
    world.send(world.users[1], Some(router), wei(7), pay.abi_encode());
    world.mine();
    let accounts = vec![world.users[0], world.users[1], fresh(1), fresh(2), fresh(3), fresh(4)];
    let at = chain(&[&world.anvil.url], 1, &[]).tip().unwrap().head;
    Stage { world, accounts, token, at }
}

impl Stage {
    fn through(&self, lie: impl Fn(&str, &Value, &mut Value) -> Pass + Send + Sync + 'static) -> EvmChain {
        chain(&[&proxy::lying(&self.world.anvil.url, lie)], 1, &[self.token])
    }

    fn block(&self, chain: &EvmChain) -> Result<Block, NodeError> {
        chain.block(self.at, &watch(&self.accounts), &Reads::ALL_PROVEN)
    }

    /// With the answers to one method altered.
    fn altered(
        &self,
        method: &'static str,
        alter: impl Fn(&mut Value) + Send + Sync + 'static,
    ) -> Result<Block, NodeError> {
        self.block(&self.through(move |asked, _, answer| {
            if asked == method {
                alter(&mut answer["result"]);
            }
            Pass::On
        }))
    }

    fn disturbed(&self, method: &'static str, pass: fn() -> Pass) -> Result<Block, NodeError> {
        self.block(&self.through(move |asked, _, _| if asked == method { pass() } else { Pass::On }))
    }

    fn refused(&self, method: &'static str, code: i64, message: &'static str) -> Result<Block, NodeError> {
        self.block(&self.through(move |asked, _, answer| {
            if asked == method {
                proxy::refuse(answer, code, message);
            }
            Pass::On
        }))
    }

    /// Every balance is given, and is the node's.
    fn assert_true(&self, block: &Block) {
        assert!(block.readings.len() >= self.accounts.len(), "{} balances", block.readings.len());
        for reading in &block.readings {
            let account = self.accounts[reading.account.0 as usize - 1];
            let honest = match reading.asset {
                Asset::Native => self.world.call("eth_getBalance", json!([account, "latest"])),
                Asset::Token(_) => {
                    let data = format!("0x70a08231{}", alloy::primitives::hex::encode(account.into_word()));
                    self.world.call("eth_call", json!([{ "to": self.token, "data": data }, "latest"]))
                }
            };
            let honest: U256 = honest.as_str().unwrap().parse().unwrap();
            assert_eq!(reading.balance, Ok(Amount(honest)), "{account}");
        }
    }
}

/// Adds one to a hexadecimal digit of a string.
fn nudge(value: &mut Value) {
    let text = value.as_str().unwrap().to_owned();
    let (start, last) = text.split_at(text.len() - 1);
    *value = json!(format!("{start}{}", if last == "0" { "1" } else { "0" }));
}

/// Alters the first slot of a storage proof; what proves an account only has none.
fn first_slot(proof: &mut Value, alter: fn(&mut Value)) {
    if let Some(slot) = proof["storageProof"].get_mut(0) {
        alter(slot);
    }
}

const BLOCK: &str = "eth_getBlockByHash";
const RECEIPTS: &str = "eth_getBlockReceipts";
const TRACES: &str = "debug_traceBlockByHash";
const LISTED: &str = "trace_block";
const PROOF: &str = "eth_getProof";

#[test]
fn what_contradicts_its_header_or_proof_is_a_contradiction() {
    let stage = stage();
    use Fault::{Forged, Omitted, Reordered};
    type Lie = (&'static str, Fault, &'static str, fn(&mut Value));
    let lies: [Lie; 24] = [
        ("a header's state root", Forged, BLOCK, |block| nudge(&mut block["stateRoot"])),
        ("a header's time", Forged, BLOCK, |block| nudge(&mut block["timestamp"])),
        ("a header's hash", Forged, BLOCK, |block| nudge(&mut block["hash"])),
        ("a value", Forged, BLOCK, |block| nudge(&mut block["transactions"][0]["value"])),
        ("a recipient", Forged, BLOCK, |block| nudge(&mut block["transactions"][0]["to"])),
        ("a sender", Forged, BLOCK, |block| nudge(&mut block["transactions"][0]["from"])),
        ("a transaction's hash", Forged, BLOCK, |block| nudge(&mut block["transactions"][0]["hash"])),
        ("a dropped transaction", Omitted, BLOCK, |block| drop(block["transactions"].as_array_mut().unwrap().pop())),
        ("dropped withdrawals", Omitted, BLOCK, |block| block["withdrawals"] = Value::Null),
        ("an invented withdrawal", Forged, BLOCK, |block| {
            let withdrawal = json!({ "index": "0x0", "validatorIndex": "0x0", "address": fresh(4), "amount": "0x1" });
            block["withdrawals"] = json!([withdrawal]);
        }),
        ("a log's amount", Forged, RECEIPTS, |receipts| nudge(&mut receipts[1]["logs"][0]["data"])),
        ("a log's recipient", Forged, RECEIPTS, |receipts| nudge(&mut receipts[1]["logs"][0]["topics"][2])),
        ("a dropped log", Omitted, RECEIPTS, |receipts| receipts[1]["logs"] = json!([])),
        ("a dropped receipt", Omitted, RECEIPTS, |receipts| drop(receipts.as_array_mut().unwrap().pop())),
        ("no receipts", Omitted, RECEIPTS, |receipts| *receipts = json!([])),
        ("swapped receipts", Reordered, RECEIPTS, |receipts| receipts.as_array_mut().unwrap().swap(0, 1)),
        ("a status", Forged, RECEIPTS, |receipts| receipts[0]["status"] = json!("0x0")),
        ("gas", Forged, RECEIPTS, |receipts| nudge(&mut receipts[0]["cumulativeGasUsed"])),
        ("a dropped trace", Omitted, TRACES, |traces| drop(traces.as_array_mut().unwrap().pop())),
        ("a proven balance", Forged, PROOF, |proof| nudge(&mut proof["balance"])),
        ("a proof", Forged, PROOF, |proof| nudge(&mut proof["accountProof"][0])),
        ("a slot's word", Forged, PROOF, |proof| first_slot(proof, |slot| nudge(&mut slot["value"]))),
        ("a slot's proof", Forged, PROOF, |proof| first_slot(proof, |slot| nudge(&mut slot["proof"][0]))),
        ("a slot without proof", Omitted, PROOF, |proof| first_slot(proof, |slot| slot["proof"] = json!([]))),
    ];
    for (what, fault, method, lie) in lies {
        let error = stage.altered(method, lie).unwrap_err();
        assert!(matches!(error, NodeError::Contradiction { .. }), "{what}: {error}");
        assert_eq!(error.fault(), Some(fault), "{what}: {error}");
        assert!(error.to_string().starts_with("http://127.0.0.1:"), "the node is named: {error}");
    }
    let honest = stage.altered("nothing", |_| ()).unwrap();
    assert_eq!(honest.effects.len(), 9, "{:?}", honest.effects);
    stage.assert_true(&honest);
}

#[test]
fn what_does_not_arrive_is_told_by_its_kind() {
    let stage = stage();
    for method in [BLOCK, RECEIPTS, TRACES, PROOF, "eth_call"] {
        let broken: [(fn() -> Pass, Fault); 3] = [
            (|| Pass::Half, Fault::Truncated),
            (|| Pass::Cut, Fault::Truncated),
            (|| Pass::Endless, Fault::NeverEnding),
        ];
        for (pass, fault) in broken {
            let told = stage.disturbed(method, pass);
            let is_asked_one_by_one = matches!(method, TRACES | RECEIPTS) && fault == Fault::NeverEnding;
            let error = match told {
                Err(error) => error,
                Ok(block) if is_asked_one_by_one => {
                    stage.assert_true(&block);
                    continue;
                }
                Ok(block) => panic!("{method}: {block:?}"),
            };
            assert!(matches!(error, NodeError::Unreadable { .. }), "{method}: {error}");
            assert_eq!(error.fault(), Some(fault), "{method}: {error}");
        }
        let error = stage.disturbed(method, || Pass::Status(503)).unwrap_err();
        assert!(matches!(error, NodeError::Unreachable { .. }), "{method}: {error}");
        let limited = [
            stage.disturbed(method, || Pass::Status(429)).unwrap_err(),
            stage.refused(method, -32005, "rate limit exceeded").unwrap_err(),
        ];
        for error in limited {
            assert!(matches!(error, NodeError::Limited { .. }), "{method}: {error}");
        }
        let error = stage.disturbed(method, || Pass::Status(401)).unwrap_err();
        assert!(matches!(error, NodeError::LoginRefused { .. }), "{method}: {error}");
    }
    // A gateway says so of what it does not pass on.
    let shut = stage.through(|method, _, answer| {
        if method.contains("trace") || method == PROOF {
            proxy::refuse(answer, -32001, "rpc method is not whitelisted");
            return Pass::As(403);
        }
        Pass::On
    });
    let block = stage.block(&shut).unwrap();
    stage.assert_true(&block);
    assert!(block.readings.iter().all(|reading| !reading.proven));
    // Some say by the number alone what they do not have above their last block, and give no receipts by a hash.
    let odd = stage.through(|method, params, answer| {
        if answer["result"].is_null() && method == "eth_getBlockByNumber" {
            proxy::refuse(answer, -32000, "cannot query what is not there yet");
        }
        if method == RECEIPTS && params[0].as_str().is_some_and(|at| at.len() == 66) {
            proxy::refuse(answer, -32602, "Invalid params");
        }
        Pass::On
    });
    assert_eq!(odd.tip().unwrap().head, stage.at);
    stage.assert_true(&stage.block(&odd).unwrap());
    // Another tracer than the one that is asked for.
    let other = stage.through(|method, _, answer| {
        let steps = json!({ "gas": 21_000, "failed": false, "returnValue": "", "structLogs": [{ "pc": 0 }] });
        match method {
            TRACES => answer["result"] = json!([{ "txHash": null, "result": steps }, steps]),
            "debug_traceTransaction" => answer["result"] = steps,
            _ => {}
        }
        Pass::On
    });
    stage.assert_true(&stage.block(&other).unwrap());
    for method in [BLOCK, RECEIPTS] {
        let error = stage.altered(method, |answer| *answer = Value::Null).unwrap_err();
        assert!(matches!(error, NodeError::Missing { .. }), "{method}: {error}");
    }
    for (kind, fault) in [("0x7e", Fault::Omitted), ("0x50", Fault::Forged)] {
        let error = stage.altered(BLOCK, move |block| block["transactions"][0]["type"] = json!(kind)).unwrap_err();
        assert_eq!(error.fault(), Some(fault), "a deposit has other fields, and no bytes are of that type: {error}");
    }
    let wrong = stage.through(|method, _, answer| {
        if method == "eth_chainId" {
            answer["result"] = json!("0x1");
        }
        Pass::On
    });
    assert!(matches!(wrong.tip(), Err(NodeError::WrongChain { found, .. }) if found == "eip155:1"));
}

#[test]
fn answers_of_another_block_are_told_by_which() {
    let stage = stage();
    let (world, at) = (&stage.world, stage.at);
    // The same, but for the time; another block at that height.
    let other = World::new(&["--timestamp", "1700000000"]);
    (0..at.height.0).for_each(|_| {
        other.send(other.users[3], Some(fresh(3)), wei(1), vec![]);
        other.mine();
    });
    let hash = |world: &World, height: u64| {
        world.call("eth_getBlockByNumber", json!([format!("{height:#x}"), false]))["hash"].clone()
    };
    let answers = |world: &World, height: u64| {
        let hash = hash(world, height);
        let tracer = json!({ "tracer": "callTracer" });
        [
            (BLOCK, world.call(BLOCK, json!([hash, true]))),
            (RECEIPTS, world.call(RECEIPTS, json!([hash]))),
            (TRACES, world.call(TRACES, json!([hash, tracer]))),
        ]
    };
    world.send(world.users[2], Some(fresh(5)), wei(1), vec![]);
    world.mine();
    let height = at.height.0;
    for (world, height, fault) in
        [(world, height - 1, Fault::Stale), (world, height + 1, Fault::Reordered), (&other, height, Fault::MixedForks)]
    {
        for (method, with) in answers(world, height) {
            let error = stage.altered(method, move |answer| *answer = with.clone()).unwrap_err();
            assert!(matches!(error, NodeError::Contradiction { .. }), "{method}: {error}");
            assert_eq!(error.fault(), Some(fault), "{method} of {height}: {error}");
        }
    }
    // A proof of the block before.
    let before = hash(world, height - 1);
    let (node, accounts) = (&world.anvil.url, stage.accounts.clone());
    let proofs: Vec<Value> =
        accounts.iter().map(|account| world.call(PROOF, json!([account, [], { "blockHash": before }]))).collect();
    let stale = chain(
        &[&proxy::lying(node, move |method, params, answer| {
            let asked = accounts.iter().position(|account| params[0] == json!(account));
            if let (PROOF, Some(place)) = (method, asked) {
                answer["result"] = proofs[place].clone();
            }
            Pass::On
        })],
        1,
        &[],
    );
    assert_eq!(stage.block(&stale).unwrap_err().fault(), Some(Fault::Stale));
}

#[test]
fn every_answer_is_to_its_question() {
    let stage = stage();
    let altered_id = |with: fn(&Value) -> Value| {
        stage.block(&stage.through(move |method, params, answer| {
            if method == PROOF && params[1] == json!([]) {
                answer["id"] = with(&answer["id"]);
            }
            Pass::On
        }))
    };
    // The proofs of several accounts come in one batch.
    assert_eq!(altered_id(|id| json!(id.as_u64().unwrap() + 1_000)).unwrap_err().fault(), Some(Fault::Reordered));
    assert_eq!(altered_id(|id| json!(id.as_u64().unwrap() | 1)).unwrap_err().fault(), Some(Fault::Forged));
    stage.assert_true(&altered_id(Value::clone).unwrap());
    // Answers given to each other's questions.
    let one = Arc::new(AtomicU64::new(0));
    let error = stage.block(&stage.through(move |method, params, answer| {
        if method == PROOF && params[1] == json!([]) {
            let id = answer["id"].as_u64().unwrap();
            if one.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                answer["id"] = json!(id + 1);
            } else if one.load(Ordering::Relaxed) + 1 == id {
                answer["id"] = json!(id - 1);
            }
        }
        Pass::On
    }));
    assert_eq!(error.unwrap_err().fault(), Some(Fault::Reordered));
}

#[test]
fn receipts_that_come_one_by_one_are_held_against_the_header_too() {
    const RECEIPT: &str = "eth_getTransactionReceipt";
    let stage = stage();
    let read = |lie: fn(&mut Value)| {
        stage.block(&stage.through(move |method, _, answer| {
            match method {
                RECEIPTS => proxy::refuse(answer, -32601, "Method not found"),
                RECEIPT => lie(&mut answer["result"]),
                _ => {}
            }
            Pass::On
        }))
    };
    stage.assert_true(&read(|_| ()).unwrap());
    type Lie = (Fault, fn(&mut Value));
    let lies: [Lie; 5] = [
        (Fault::Omitted, |receipt| *receipt = Value::Null),
        (Fault::Omitted, |receipt| receipt["logs"] = json!([])),
        (Fault::Forged, |receipt| receipt["status"] = json!("0x0")),
        (Fault::Forged, |receipt| nudge(&mut receipt["cumulativeGasUsed"])),
        (Fault::Stale, |receipt| {
            receipt["blockHash"] = json!(format!("0x{}", "22".repeat(32)));
            receipt["blockNumber"] = json!("0x1");
            receipt["status"] = json!("0x0");
        }),
    ];
    for (place, (fault, lie)) in lies.into_iter().enumerate() {
        let error = read(lie).unwrap_err();
        assert_eq!(error.fault(), Some(fault), "{place}: {error}");
    }
}

#[test]
fn a_lie_that_nothing_commits_to_changes_no_proven_balance() {
    let stage = stage();
    // the reader's answer: every native balance is proven instead
    let block = stage.block(&stage.through(|method, params, answer| {
        if method == "eth_call" && params.get(2).is_some() {
            let honest = answer["result"].as_str().unwrap().to_owned();
            answer["result"] = json!(format!("0x{}{}", "11".repeat(32), &honest[66..]));
        }
        Pass::On
    }));
    stage.assert_true(&block.unwrap());
    // a trace that failed within a successful answer leaves the internal payment to the state
    let block =
        stage.altered(TRACES, |traces| traces[2] = json!({ "error": "it broke", "txHash": traces[2]["txHash"] }));
    let block = block.unwrap();
    stage.assert_true(&block);
    let internal = |block: &Block| {
        let is = |effect: &&assay_types::Effect| matches!(effect, assay_types::Effect::Traced(leg) if leg.kind == Kind::Internal);
        block.effects.iter().filter(is).count()
    };
    assert_eq!(internal(&block), 0);
    let honest = stage.altered("nothing", |_| ()).unwrap();
    assert_eq!(internal(&honest), 1);
    let payments = honest.body.payments(2);
    assert_eq!(payments.iter().map(|payment| payment.amount).collect::<Vec<_>>(), [7.into(), 7.into()]);
}

/// The calls that this transaction's trace shows at its top.
fn calls(trace: &mut Value) -> &mut Vec<Value> {
    let call = &mut trace["result"];
    if !call["calls"].is_array() {
        call["calls"] = json!([]);
    }
    call["calls"].as_array_mut().unwrap()
}

fn call(from: Address, to: Address, value: &str) -> Value {
    json!({ "type": "CALL", "from": from, "to": to, "value": value })
}

/// What a customer is owed is not paid by a trace that says so.
#[test]
fn a_payment_that_only_a_trace_tells_of_must_show_in_the_state_of_who_got_it() {
    let stage = stage();
    let (stranger, router) = (
        fresh(77),
        stage.world.call("eth_getTransactionByBlockHashAndIndex", json!([stage.at.hash.to_string(), "0x2"])),
    );
    let router: Address = serde_json::from_value(router["to"].clone()).unwrap();
    let told = |block: &Block, to: Address| {
        let all = block.body.payments(2);
        all.iter().filter(|payment| payment.to.0[..] == to[..]).map(|payment| payment.amount).collect::<Vec<_>>()
    };
    // It is watched from here on that users[1] paid, and no longer who was paid.
    let stage = Stage { accounts: vec![stage.world.users[0], stage.world.users[1]], ..stage };
    let honest = stage.altered("nothing", |_| ()).unwrap();
    assert_eq!(told(&honest, fresh(3)), [7.into()], "what it holds more of after the block");
    let forged = stage.altered(TRACES, move |traces| calls(&mut traces[2]).push(call(router, stranger, "0x5")));
    assert!(told(&forged.unwrap(), stranger).is_empty());
    // More than it got.
    let forged = stage.altered(TRACES, move |traces| calls(&mut traces[2]).push(call(router, fresh(3), "0x1")));
    assert!(told(&forged.unwrap(), fresh(3)).is_empty());
}

/// Of an account without code a trace cannot say that it paid, even where it says that it got as much back.
#[test]
fn what_passes_through_an_account_without_code_is_not_believed() {
    let stage = stage();
    let (user, other) = (stage.world.users[0], fresh(9));
    let forged = stage.altered(TRACES, move |traces| {
        calls(&mut traces[0]).push(call(user, other, "0x7"));
        calls(&mut traces[2]).push(call(other, user, "0x7"));
    });
    let forged = forged.unwrap();
    stage.assert_true(&forged);
    let honest = stage.altered("nothing", |_| ()).unwrap();
    assert_eq!(forged.effects, honest.effects);
}

/// No chain is below Ethereum's.
#[test]
fn a_fee_on_the_chain_below_is_one_of_the_op_stack() {
    let stage = stage();
    let forged = stage.altered(RECEIPTS, |receipts| receipts[0]["l1Fee"] = json!("0x6124fee993bc0000")).unwrap();
    assert_eq!(forged.effects, stage.altered("nothing", |_| ()).unwrap().effects);
}

#[test]
fn traces_that_come_too_late_together_are_asked_for_one_by_one() {
    let stage = stage();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let slow = chain(
        &[&proxy::lying(&stage.world.anvil.url, move |method, _, _| {
            count.fetch_add(usize::from(method == "debug_traceTransaction"), Ordering::Relaxed);
            if matches!(method, TRACES | LISTED) { Pass::Status(504) } else { Pass::On }
        })],
        1,
        &[stage.token],
    );
    let block = stage.block(&slow).unwrap();
    assert_eq!(block.effects, stage.altered("nothing", |_| ()).unwrap().effects);
    assert_eq!(asked.load(Ordering::Relaxed), 2, "the plain payment has no calls");
    // One that is of another transaction.
    let stranger = json!({ "type": "CALL", "from": fresh(1), "to": fresh(2), "value": "0x1" });
    let lying = proxy::lying(&stage.world.anvil.url, move |method, _, answer| {
        if method == "debug_traceTransaction" {
            answer["result"] = stranger.clone();
        }
        if matches!(method, TRACES | LISTED) { Pass::Status(504) } else { Pass::On }
    });
    let error = stage.block(&chain(&[&lying], 1, &[stage.token])).unwrap_err();
    assert_eq!(error.fault(), Some(Fault::Forged), "{error}");
}

/// By a node that knows no `debug_traceBlockByHash`.
#[test]
fn calls_in_one_list_are_held_against_the_block_and_its_state() {
    let stage = stage();
    let seen = |lie: Arc<dyn Fn(&mut Value) + Send + Sync>| {
        stage.block(&stage.through(move |asked, _, answer| {
            match asked {
                TRACES => proxy::refuse(answer, -32601, "the method does not exist"),
                LISTED => lie(&mut answer["result"]),
                _ => {}
            }
            Pass::On
        }))
    };
    let honest = seen(Arc::new(|_| ())).unwrap();
    assert_eq!(honest.effects, stage.altered("nothing", |_| ()).unwrap().effects);
    let (world, height) = (&stage.world, stage.at.height.0);
    let other = World::new(&[]);
    (0..height).for_each(|_| {
        other.send(other.users[0], Some(fresh(1)), wei(5), vec![]);
        other.mine();
    });
    let listed = |world: &World, height: u64| world.call(LISTED, json!([format!("{height:#x}")]));
    let (before, fork) = (listed(world, height - 1), listed(&other, height));
    let list = |lie: fn(&mut Vec<Value>)| -> Arc<dyn Fn(&mut Value) + Send + Sync> {
        Arc::new(move |items| lie(items.as_array_mut().unwrap()))
    };
    let instead =
        |with: Value| -> Arc<dyn Fn(&mut Value) + Send + Sync> { Arc::new(move |items| *items = with.clone()) };
    for (what, fault, lie) in [
        ("none", Fault::Omitted, list(|items| items.clear())),
        ("the first one's less", Fault::Omitted, list(|items| drop(items.remove(0)))),
        ("turned round", Fault::Reordered, list(|items| items.swap(0, 1))),
        ("another caller", Fault::Forged, list(|items| nudge(&mut items[2]["action"]["from"]))),
        ("null", Fault::Omitted, instead(Value::Null)),
        ("of the block before", Fault::Stale, instead(before)),
        ("of another branch", Fault::MixedForks, instead(fork)),
    ] {
        let error = seen(lie).unwrap_err();
        assert_eq!(error.fault(), Some(fault), "{what}: {error}");
    }
    // What a call moved is for the state to say.
    for lie in [list(|items| drop(items.remove(3))), list(|items| nudge(&mut items[3]["action"]["value"]))] {
        let block = seen(lie).unwrap();
        stage.assert_true(&block);
        assert_ne!(block.effects, honest.effects);
    }
}

/// A node that says 11 of a token of which the account's slot holds 10: in the batch, and, as `singly` says, when the
/// account is asked for by itself too.
fn token_liar(stage: &Stage, lies: &Arc<AtomicBool>, singly: bool) -> EvmChain {
    // six native balances, then three accounts of two words, then a status
    let (lies, word) = (lies.clone(), 2 + 64 * (6 + 2 * 3 + 1));
    stage.through(move |method, params, answer| {
        if method == "eth_call" && lies.load(Ordering::Relaxed) {
            let said = answer["result"].as_str().unwrap().to_owned();
            let about = params[0]["data"].as_str().unwrap_or_default();
            if params.get(2).is_some() {
                let (before, after) = (&said[..word], &said[word + 64..]);
                answer["result"] = json!(format!("{before}{:064x}{after}", 11));
            } else if singly && about.ends_with(&"02".repeat(20)) {
                answer["result"] = json!(format!("0x{:064x}", 11));
            }
        }
        Pass::On
    })
}

#[test]
fn a_tokens_reading_that_its_slot_denies_is_never_proven() {
    let stage = stage();
    let asset = Asset::Token(stage.token.into_array());
    let proven = |block: &Block| block.readings.iter().filter(|read| read.asset == asset && read.proven).count();
    for known in [true, false] {
        // said once, it is asked again, and the slot decides
        let lies = Arc::new(AtomicBool::new(!known));
        let liar = token_liar(&stage, &lies, false);
        if known {
            assert_eq!(proven(&stage.block(&liar).unwrap()), stage.accounts.len());
            lies.store(true, Ordering::Relaxed);
        }
        let block = stage.block(&liar).unwrap();
        stage.assert_true(&block);
        assert_eq!(proven(&block), stage.accounts.len());

        // said always, the token's code decides
        let lies = Arc::new(AtomicBool::new(!known));
        let liar = token_liar(&stage, &lies, true);
        if known {
            assert_eq!(proven(&stage.block(&liar).unwrap()), stage.accounts.len());
            lies.store(true, Ordering::Relaxed);
        }
        let error = stage.block(&liar).unwrap_err();
        assert_eq!(error.fault(), Some(Fault::Forged), "{error}");
        assert!(error.to_string().contains("its code returns 10"), "{error}");
    }
}

/// Whatever it says: more, nothing, that there is no such contract; of everyone, from the beginning on.
#[test]
fn what_is_said_of_a_token_is_held_against_its_code() {
    let stage = stage();
    let more = |answer: &mut Value, singly: bool| {
        let said = answer["result"].as_str().unwrap().to_owned();
        // The batch: native balances, then a status and a word for each, then a status. By itself: a word.
        let words: Vec<&str> = (0..(said.len() - 2) / 64).map(|at| &said[2 + 64 * at..][..64]).collect();
        let is_balance = |at: usize| singly || at >= 6 && (at - 6) % 2 == 1 && at < 18;
        let altered = |(at, word): (usize, &&str)| match is_balance(at) {
            true => format!("{:064x}", U256::from_str_radix(word, 16).unwrap() + U256::from(1_000)),
            false => (*word).to_owned(),
        };
        answer["result"] = json!(format!("0x{}", words.iter().enumerate().map(altered).collect::<String>()));
    };
    let forged = stage.through(move |method, params, answer| {
        if method == "eth_call" {
            more(answer, params.get(2).is_none());
        }
        Pass::On
    });
    let error = stage.block(&forged).unwrap_err();
    assert_eq!(error.fault(), Some(Fault::Forged), "{error}");
    // No batch, and each by itself is nothing, for there is no contract.
    let denied = stage.through(|method, params, answer| {
        match method {
            "eth_call" if params.get(2).is_some() => {
                proxy::refuse(answer, -32602, "too many arguments, want at most 2")
            }
            "eth_call" | "eth_getCode" => answer["result"] = json!("0x"),
            _ => {}
        }
        Pass::On
    });
    let block = stage.block(&denied);
    assert!(block.as_ref().is_err_and(|error| error.fault().is_some()), "{:?}", block.map(|block| block.readings));
}

/// The largest balance is where the slot is looked for: one that is made up hides it, so that what is said of others is not proven either.
#[test]
fn a_balance_that_is_made_up_hides_no_slot_and_none_at_all_is_found_out() {
    let stage = stage();
    let victim = format!("{:x}", stage.accounts[1]).trim_start_matches("0x").to_owned();
    let singly = |method: &str, params: &Value| method == "eth_call" && params.get(2).is_none();
    let made_up = stage.through(move |method, params, answer| {
        if method == "eth_call" && params.get(2).is_some() {
            proxy::refuse(answer, -32602, "too many arguments, want at most 2");
        } else if singly(method, params) && params[0].to_string().to_lowercase().contains(&victim) {
            answer["result"] = json!(format!("0x{:064x}", U256::from(1_u128 << 100)));
        }
        Pass::On
    });
    for _ in 0..6 {
        let block = stage.block(&made_up);
        let fault = block.as_ref().err().and_then(NodeError::fault);
        assert_eq!(fault, Some(Fault::Forged), "{:?}", block.map(|block| block.readings));
    }
    let nothing = stage.through(move |method, params, answer| {
        if method == "eth_call" && params.get(2).is_some() {
            proxy::refuse(answer, -32602, "too many arguments, want at most 2");
        } else if singly(method, params) {
            answer["result"] = json!("0x");
        }
        Pass::On
    });
    stage.assert_true(&stage.block(&nothing).unwrap());
}

#[test]
fn the_balance_reader_takes_prefixes_and_refusals() {
    let stage = stage();
    // 30,000 gas a word of answer: what a node with little gas would give of it
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let block = stage.block(&stage.through(move |method, params, answer| {
        if method == "eth_call" && params.get(2).is_some() {
            count.fetch_add(1, Ordering::Relaxed);
            let words = answer["result"].as_str().unwrap();
            answer["result"] = json!(&words[..words.len().min(2 + 64 * 7)]);
        }
        Pass::On
    }));
    stage.assert_true(&block.unwrap());
    assert!(asked.load(Ordering::Relaxed) > 2);
    for (code, message) in [(-32000, "response size exceeded"), (-32601, "no"), (-32602, "invalid argument 2")] {
        let block = stage.block(&stage.through(move |method, params, answer| {
            if method == "eth_call" && params.get(2).is_some() {
                proxy::refuse(answer, code, message);
            }
            Pass::On
        }));
        stage.assert_true(&block.unwrap());
    }
    let ignored = stage.altered("eth_call", |answer| {
        if answer.as_str().unwrap().len() > 66 {
            *answer = json!("0x");
        }
    });
    stage.assert_true(&ignored.unwrap());
}

#[test]
fn the_next_node_answers_when_one_is_silent_and_nothing_is_mixed() {
    let stage = stage();
    let silent = "http://127.0.0.1:1";
    let broken = proxy::lying(
        &stage.world.anvil.url,
        |method, _, _| {
            if method == RECEIPTS { Pass::Status(503) } else { Pass::On }
        },
    );
    let used_blocks = Arc::new(AtomicUsize::new(0));
    let count = used_blocks.clone();
    let good = proxy::lying(&stage.world.anvil.url, move |method, _, _| {
        count.fetch_add(usize::from(method == BLOCK), Ordering::Relaxed);
        Pass::On
    });
    let evm = chain(&[silent, &broken, &good], 1, &[stage.token]);
    let block = stage.block(&evm).unwrap();
    stage.assert_true(&block);
    assert_eq!(used_blocks.load(Ordering::Relaxed), 1, "the block came from the node that gave the receipts");
    let none = chain(&[silent], 1, &[]);
    assert!(matches!(none.tip(), Err(NodeError::Unreachable { .. })));
}

/// A word of storage may have more in it than a balance: what a node says so is not proven by the word.
#[test]
fn a_balance_with_a_flag_of_its_word_is_no_balance() {
    let world = World::new(&[]);
    let (token, holder, word) = (fresh(1), fresh(2), |units: U256| format!("{:#066x}", units));
    // Two words are stored; else the lower 96 bits of the word at Solidity's slot 0.
    let balance = "6004355f525f60205260405f20546bffffffffffffffffffffffff165f5260205ff3";
    world.call("anvil_setCode", json!([token, format!("0x366040146029576{}{}", &balance[1..], "5b6020355f355500")]));
    let key = |account: Address| alloy::primitives::keccak256([account.into_word().0, [0; 32]].concat());
    let holders = [holder, fresh(3), fresh(4), fresh(5)];
    for (account, units) in holders.into_iter().zip([1_000, 5_000, 6_000, 70]) {
        world.call("anvil_setStorageAt", json!([token, key(account), word(wei(units))]));
    }
    world.mine();
    let lies = Arc::new(AtomicBool::new(false));
    let flagged = wei(1_000) + (U256::ONE << 96);
    let (is_lying, told) = (lies.clone(), [wei(1_000), flagged].map(|it| word(it)[2..].to_owned()));
    let url = proxy::lying(&world.anvil.url, move |asked, _, answer| {
        if asked == "eth_call" && is_lying.load(Ordering::Relaxed) {
            let said = answer.to_string().replace(&told[0], &told[1]);
            *answer = serde_json::from_str(&said).unwrap();
        }
        Pass::On
    });
    let chain = chain(&[&url], 1, &[token]);
    let block = || chain.block(chain.tip().unwrap().head, &watch(&holders), &Reads::ALL_PROVEN);
    world.mine();
    let proven = |block: &Block| block.readings.iter().filter(|one| one.asset != Asset::Native).all(|one| one.proven);
    assert!(proven(&block().unwrap()), "its slot is found");
    world.send(world.users[0], Some(token), wei(0), [key(holder).0, flagged.to_be_bytes::<32>()].concat());
    world.mine();
    assert!(proven(&block().unwrap()), "who is flagged has what he had");
    lies.store(true, Ordering::Relaxed);
    let error = block().unwrap_err();
    assert_eq!(error.fault(), Some(Fault::Forged), "{error}");
}
