//! A node, or a line to it, that alters, drops, delays or truncates: it is found out and named, and no balance is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/proxy.rs"]
mod proxy;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alloy::primitives::U256;
use assay_store::{Coverage, Mode, Store};
use assay_testnodes::Bitcoind;
use assay_types::{Account, Amount, Asset, Height, Timestamp};
use contracts::{Address, World};
use lab::{ANVIL, Lab, REGTEST};
use proxy::{Fault, Proxy, Rule, alter};
use serde_json::{Value, json};

/// How long a request may take in these tests, through the binary's own switch.
const DEADLINE_S: &str = "1";
/// No run may take longer, whatever the node does.
const BOUND: Duration = Duration::from_secs(60);

/// What is done to which answers, and what is to come of it.
struct Case {
    /// What goes wrong, for people.
    what: String,
    rule: Rule,
    /// The exit code while it lasts.
    code: i32,
    /// What the error must say, next to the node.
    names: &'static str,
    /// What kind of fault it must be called.
    kind: Option<&'static str>,
    /// Does it heal when it happens once?
    heals: bool,
}

fn case(what: &str, names: &'static [&'static str], fault: Fault, code: i32, says: &'static str) -> Case {
    let what = format!("{}: {what}", names.join(", "));
    Case { what, rule: Rule::always(names, fault), code, names: says, kind: None, heals: true }
}

impl Case {
    fn kind(self, kind: &'static str) -> Case {
        Case { kind: Some(kind), ..self }
    }
}

/// What can happen to any answer: it is missing or cannot be read.
fn disturbances(names: &'static [&'static str], says: &'static str) -> Vec<Case> {
    let faults = [
        ("dropped", Fault::Drop, None),
        ("silence", Fault::Silence, None),
        ("half", Fault::Half, Some("truncated")),
        ("cut", Fault::Cut, Some("truncated")),
        ("endless", Fault::Endless, Some("never-ending")),
        ("a trickle", Fault::Trickle, Some("never-ending")),
        ("huge", Fault::Huge, Some("oversized")),
        ("500", Fault::Status(500), None),
        ("429", Fault::Status(429), None),
        ("nonsense", Fault::Nonsense, Some("garbled")),
    ];
    faults.into_iter().map(|(what, fault, kind)| Case { kind, ..case(what, names, fault, 3, says) }).collect()
}

/// One chain, the honest answers, and a way to look at what a store says.
struct Scene {
    node: String,
    /// `assay.toml` for this node's URL, and the declaration.
    configuration: Box<dyn Fn(&str) -> String + Send + Sync>,
    declaration: String,
    chain: &'static str,
    chain_id: &'static str,
    accounts: Vec<(String, Account)>,
    assets: Vec<(&'static str, Asset)>,
    /// By height from 0, account, asset.
    truth: Vec<Vec<Vec<Amount>>>,
    /// A statement that owes a unit more than there is, at the last block.
    statement: String,
}

impl Scene {
    fn lab(&self, url: &str) -> Lab {
        let lab = Lab::new();
        lab.write("assay.toml", &format!("data_dir = \"data\"\n{}", (self.configuration)(url)));
        lab.write("exchanges/acme/exchange.toml", &self.declaration);
        lab.write("statement.json", &self.statement);
        lab
    }

    /// Every balance that the store claims to know is the true one.
    fn assert_never_wrong(&self, lab: &Lab, what: &str) {
        let Ok(store) = Store::open(&lab.path("data").join(self.chain), &self.chain_id.parse().unwrap(), Mode::Read)
        else {
            return;
        };
        let Some(tip) = store.tip().unwrap() else { return };
        let first = store.first_height().unwrap().unwrap();
        for height in first.0..=tip.height.0 {
            for (place, (address, account)) in self.accounts.iter().enumerate() {
                let Some((number, true)) = store.number(account).unwrap() else { continue };
                for (nth, (symbol, asset)) in self.assets.iter().enumerate() {
                    if matches!(store.coverage(number, *asset, Height(height)).unwrap(), Coverage::Unknown(_)) {
                        continue;
                    }
                    let truth = self.truth[usize::try_from(height).unwrap()][place][nth];
                    let said = store.balance(number, *asset, Height(height)).unwrap();
                    assert_eq!(said, truth, "{what}: {address} in {symbol} at {height}");
                }
            }
        }
    }

    /// Everything that can be asked of every account, and the very words of the binary for one of them.
    fn answers(&self, lab: &Lab) -> Vec<String> {
        let store =
            Store::open(&lab.path("data").join(self.chain), &self.chain_id.parse().unwrap(), Mode::Read).unwrap();
        let tip = store.tip().unwrap().unwrap().height;
        let mut answers = Vec::new();
        for (address, account) in &self.accounts {
            let number = store.number(account).unwrap().unwrap().0;
            for (symbol, asset) in &self.assets {
                let movements = store.movements(number, *asset, Height(0), tip).unwrap();
                answers.extend(movements.map(|movement| format!("{address} {symbol} {:?}", movement.unwrap())));
                let coverage = |height| store.coverage(number, *asset, Height(height)).unwrap();
                answers.extend((0..=tip.0).map(|height| format!("{address} {symbol} {height} {:?}", coverage(height))));
            }
        }
        for command in ["balance", "history"] {
            let ran = lab.assay(&[command, &self.accounts[0].0, "--chain", self.chain, "--json"]);
            answers.push(format!("{} {}", ran.code, ran.stdout));
        }
        answers
    }

    /// One coin is missing, whatever anybody says.
    fn verdict(&self, lab: &Lab) -> (i32, String) {
        let question = ["verify", "acme", "--statement", "statement.json", "--json"];
        let output = lab.command(&question).env("ASSAY_NODE_DEADLINE_S", DEADLINE_S).output().unwrap();
        let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code().unwrap(), result["verdict"].as_str().unwrap_or("none").to_owned())
    }
}

fn index(lab: &Lab) -> (i32, String, Duration) {
    let since = Instant::now();
    let output = lab.command(&["index", "--once"]).env("ASSAY_NODE_DEADLINE_S", DEADLINE_S).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap(), since.elapsed())
}

/// Plays every case, several at a time: most of their time is waiting.
fn play(scene: &Scene, cases: &[Case]) {
    const AT_ONCE: usize = 20;
    let honest = scene.lab(&scene.node);
    honest.index();
    scene.assert_never_wrong(&honest, "honest");
    assert_eq!(scene.verdict(&honest), (1, "short".into()));
    let honest = scene.answers(&honest);
    let next = AtomicUsize::new(0);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let wrong = play_one(scene, case, &honest); // first: the others wait for the lock
                    failed.lock().unwrap().extend(wrong);
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

/// What is wrong with how a case went; empty if nothing is.
fn play_one(scene: &Scene, case: &Case, honest: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |is_so: bool, why: String| {
        if !is_so {
            wrong.push(format!("{}: {why}", case.what));
        }
    };
    // It lasts.
    let proxy = Proxy::with(&scene.node, vec![case.rule.clone()]);
    let lab = scene.lab(&proxy.url);
    let (code, said, took) = index(&lab);
    expect(proxy.applied() > 0, "was never asked".into());
    expect(code == case.code, format!("exits with {code}, not {}: {said}", case.code));
    expect(code == 0 || said.contains(case.names), format!("does not name `{}`: {said}", case.names));
    let kind = case.kind.map(|kind| format!("(kind: {kind})"));
    expect(kind.as_ref().is_none_or(|kind| said.contains(kind)), format!("does not say {kind:?}: {said}"));
    let address = proxy.url.trim_start_matches("http://");
    expect(code == 0 || said.contains(address), format!("does not name the node: {said}"));
    expect(took < BOUND, format!("takes {took:?}"));
    scene.assert_never_wrong(&lab, &case.what);
    let (_, verdict) = scene.verdict(&lab);
    expect(verdict != "backed", "is backed".into());
    // It is over.
    proxy.set(vec![]);
    if case.code != 0 {
        let (code, said, _) = index(&lab);
        expect(code == 0, format!("afterwards exits with {code}: {said}"));
        expect(scene.answers(&lab) == honest, "afterwards answers are others".into());
        expect(scene.verdict(&lab) == (1, "short".into()), "afterwards it is not short".into());
    }
    // It happens once, and then once more somewhere else.
    if case.heals {
        proxy.set(vec![case.rule.clone().first(2)]);
        let lab = scene.lab(&proxy.url);
        let (code, said, _) = index(&lab);
        expect(code == 0, format!("happens twice, and exits with {code}: {said}"));
        expect(scene.answers(&lab) == honest, "happens twice, and answers are others".into());
    }
    wrong
}

const EVM_BLOCKS: u64 = 12;

/// Payments of every kind on a few blocks, in ether and in a token.
fn evm_scene(world: &World) -> Scene {
    let router = world.deploy("Router", vec![]);
    let token = world.deploy("Token", abi!["USDX", "USDX", 6, 1_000_000]);
    let accounts = [world.users[0], world.users[1], Address::fresh(1), Address::fresh(2), router];
    while world.height() < EVM_BLOCKS {
        let height = world.height();
        world.pay(world.users[1], Address::fresh(1), 1_000 + height);
        world.invoke(world.users[0], token, 0, "transfer(address,uint256)", abi![Address::fresh(2), height]);
        let to = vec![Address::fresh(2)];
        world.invoke(world.users[2], router, 100, "pay(address[],uint256[])", abi![to, vec![10 + height]]);
        world.mine();
    }
    let assets = [None, Some(token)];
    let truth: Vec<Vec<Vec<Amount>>> = (0..=EVM_BLOCKS)
        .map(|height| {
            let balances = world.balances(height, &accounts, &assets);
            balances.chunks(2).map(|row| row.iter().map(|amount| amount.unwrap()).collect()).collect()
        })
        .collect();
    let total = truth[truth.len() - 1].iter().fold(Amount::from(1), |sum, row| sum.checked_add(row[0]).unwrap());
    let statement = json!({
        "format": "assay.statement/1", "exchange": "acme",
        "as_of": { "time": time(world.time(EVM_BLOCKS)),
            "blocks": { "evm": { "height": EVM_BLOCKS, "hash": world.hash(EVM_BLOCKS) } } },
        "assets": [{ "asset": "ETH", "customers": total.to_coins(18) }],
    });
    let configuration = move |url: &str| {
        let policy = "[policy]\nmax_statement_age = \"9999d\"\n";
        format!("{}{}{policy}", lab::evm_chain(url, 2, 1), contracts::asset("USDX", token, 6))
    };
    Scene {
        node: world.anvil.url.clone(),
        configuration: Box::new(configuration),
        declaration: contracts::exchange("acme", &accounts),
        chain: "evm",
        chain_id: ANVIL,
        accounts: accounts.iter().map(|account| (account.to_string(), Account::new(&account.0))).collect(),
        assets: vec![("ETH", Asset::Native), ("USDX", Asset::Token(token.0))],
        truth,
        statement: statement.to_string(),
    }
}

fn time(unix_s: u64) -> String {
    assay_types::Timestamp::from_unix_s(i64::try_from(unix_s).unwrap()).to_string()
}

/// Changes the last digit of a hexadecimal string.
fn nudge(value: &mut Value) {
    if let Some(text) = value.as_str().map(str::to_owned) {
        let (start, last) = text.split_at(text.len() - 1);
        *value = json!(format!("{start}{}", if last == "0" { "1" } else { "0" }));
    }
}

const BODY: &[&str] = &["eth_getBlockByHash"];
const HEADER: &[&str] = &["eth_getBlockByNumber"];
const RECEIPTS: &[&str] = &["eth_getBlockReceipts"];
const TRACES: &[&str] = &["debug_traceBlockByHash"];
const PROOF: &[&str] = &["eth_getProof"];
const CALL: &[&str] = &["eth_call"];

#[test]
fn an_evm_node_that_lies_is_named_and_believed_in_nothing() {
    let world = World::new(&[]);
    let scene = evm_scene(&world);
    let of_another = |method: &'static str, params: Value| world.call(method, params);
    let other = world.hash(5);
    let body_of_5 = of_another("eth_getBlockByHash", json!([other, true]));
    let receipts_of_5 = of_another("eth_getBlockReceipts", json!([other]));
    let tracer = json!({ "tracer": "callTracer" });
    let traces_of_5 = of_another("debug_traceBlockByHash", json!([other, tracer]));
    let proof_at_5 = of_another("eth_getProof", json!([world.users[0].to_string(), [], { "blockHash": other }]));
    let before = world.hash(1);
    let body_of_1 = of_another("eth_getBlockByHash", json!([before, true]));
    let receipts_of_1 = of_another("eth_getBlockReceipts", json!([before]));
    let traces_of_1 = of_another("debug_traceBlockByHash", json!([before, tracer]));
    let proof_at_1 = of_another("eth_getProof", json!([world.users[0].to_string(), [], { "blockHash": before }]));
    let proof_of_another =
        of_another("eth_getProof", json!([Address::fresh(9).to_string(), [], { "blockHash": world.hash(2) }]));
    let replace = |with: Value| alter(move |result| *result = with.clone());
    let transactions =
        |alter_them: fn(&mut Vec<Value>)| alter(move |block| alter_them(block["transactions"].as_array_mut().unwrap()));
    let logs = |alter_them: fn(&mut Vec<Value>)| {
        alter(move |receipts| {
            let receipts = receipts.as_array_mut().into_iter().flatten();
            receipts.filter_map(|receipt| receipt["logs"].as_array_mut()).for_each(alter_them);
        })
    };
    let transaction = |alter_it: fn(&mut Value)| {
        alter(move |block| {
            if let Some(first) = block["transactions"].get_mut(0) {
                alter_it(first);
            }
        })
    };
    let withdrawal =
        json!({ "index": "0x0", "validatorIndex": "0x0", "address": Address::fresh(1).to_string(), "amount": "0x1" });
    let log = |alter_it: fn(&mut Value)| {
        alter(move |receipts| {
            let receipts = receipts.as_array_mut().into_iter().flatten();
            receipts.filter_map(|receipt| receipt["logs"].get_mut(0)).for_each(alter_it);
        })
    };
    let mut cases = vec![
        case("a state root", BODY, alter(|block| nudge(&mut block["stateRoot"])), 4, "header").kind("forged"),
        case("a receipts root", BODY, alter(|block| nudge(&mut block["receiptsRoot"])), 4, "header").kind("forged"),
        case("a time", BODY, alter(|block| nudge(&mut block["timestamp"])), 4, "header").kind("forged"),
        case("a hash", BODY, alter(|block| nudge(&mut block["hash"])), 4, "header").kind("forged"),
        case("a value", BODY, transaction(|tx| nudge(&mut tx["value"])), 4, "transaction").kind("forged"),
        case("a recipient", BODY, transaction(|tx| nudge(&mut tx["to"])), 4, "transaction").kind("forged"),
        case("a sender", BODY, transaction(|tx| nudge(&mut tx["from"])), 4, "transaction").kind("forged"),
        case(
            "a transaction less",
            BODY,
            alter(|block| drop(block["transactions"].as_array_mut().unwrap().pop())),
            4,
            "transactions",
        )
        .kind("omitted"),
        case(
            "a withdrawal more",
            BODY,
            alter(move |block| block["withdrawals"] = json!([withdrawal])),
            4,
            "withdrawals",
        )
        .kind("forged"),
        case("of another block", BODY, replace(body_of_5.clone()), 4, "block").kind("reordered"),
        case("null", BODY, replace(Value::Null), 3, "block").kind("omitted"),
        case("a parent", HEADER, alter(|block| nudge(&mut block["parentHash"])), 4, "header").kind("forged"),
        case("a number", HEADER, alter(|block| nudge(&mut block["number"])), 4, "header").kind("forged"),
        case("a log's amount", RECEIPTS, log(|log| nudge(&mut log["data"])), 4, "receipts").kind("forged"),
        case("a log's recipient", RECEIPTS, log(|log| nudge(&mut log["topics"][2])), 4, "receipts").kind("forged"),
        case("a status", RECEIPTS, alter(|receipts| nudge(&mut receipts[0]["status"])), 4, "receipts").kind("forged"),
        case("gas", RECEIPTS, alter(|receipts| nudge(&mut receipts[0]["cumulativeGasUsed"])), 4, "receipts")
            .kind("forged"),
        case("a receipt less", RECEIPTS, alter(|receipts| drop(receipts.as_array_mut().unwrap().pop())), 4, "receipts")
            .kind("omitted"),
        case("none", RECEIPTS, replace(json!([])), 4, "receipts").kind("omitted"),
        case("of another block", RECEIPTS, replace(receipts_of_5), 4, "receipts").kind("reordered"),
        case("null", RECEIPTS, replace(Value::Null), 3, "receipts").kind("omitted"),
        case("a trace less", TRACES, alter(|traces| drop(traces.as_array_mut().unwrap().pop())), 4, "traces")
            .kind("omitted"),
        case("of another block", TRACES, replace(traces_of_5), 4, "traces").kind("reordered"),
        case("a balance", PROOF, alter(|proof| nudge(&mut proof["balance"])), 4, "proof").kind("forged"),
        case("a node of the trie", PROOF, alter(|proof| nudge(&mut proof["accountProof"][0])), 4, "proof")
            .kind("forged"),
        case("empty", PROOF, alter(|proof| proof["accountProof"] = json!([])), 4, "proof").kind("omitted"),
        case("of another block", PROOF, replace(proof_at_5), 4, "proof"),
        // What is seen in the state, and proven, needs no trace; a balance that a call invents is proven to be none.
        case("invented payments", TRACES, alter(invent_payments), 0, "").kind("forged"),
        case(
            "another ether",
            CALL,
            alter(|words| *words = json!(words.as_str().unwrap().replacen("0x0", "0x1", 1))),
            0,
            "",
        ),
        // Nothing is made of it, and nothing commits to it but what the rest says.
        case("another gas used", RECEIPTS, alter(|receipts| nudge(&mut receipts[0]["gasUsed"])), 0, "").kind("forged"),
        case("another price", RECEIPTS, alter(|receipts| nudge(&mut receipts[0]["effectiveGasPrice"])), 0, "")
            .kind("forged"),
        case("another id", RECEIPTS, alter(|receipts| nudge(&mut receipts[0]["transactionHash"])), 0, "")
            .kind("forged"),
        case("another block", RECEIPTS, alter(|receipts| nudge(&mut receipts[0]["blockHash"])), 0, "")
            .kind("mixed-forks"),
        case("another place", RECEIPTS, alter(|receipts| nudge(&mut receipts[0]["transactionIndex"])), 0, "")
            .kind("reordered"),
        // Another order.
        case("turned round", BODY, transactions(|list| list.reverse()), 4, "transactions").kind("reordered"),
        case("turned round", RECEIPTS, turn(), 4, "receipts").kind("reordered"),
        case("turned round", TRACES, turn(), 4, "traces").kind("reordered"),
        case("turned round", PROOF, alter(|proof| turn_round(&mut proof["accountProof"])), 4, "proof")
            .kind("reordered"),
        case("of another account", PROOF, replace(proof_of_another), 4, "proof").kind("reordered"),
        case("to another question", BODY, another_id(), 3, "another one").kind("reordered"),
        case("to another question", CALL, another_id(), 3, "another one").kind("reordered"),
        // Less, or more.
        case("the first transaction less", BODY, transactions(|list| drop(list.remove(0))), 4, "transactions")
            .kind("omitted"),
        case("a transaction more", BODY, transactions(|list| list.push(list[0].clone())), 4, "transactions")
            .kind("forged"),
        case("no log", RECEIPTS, logs(|logs| logs.clear()), 4, "receipts").kind("omitted"),
        case("a receipt more", RECEIPTS, twice(), 4, "receipts").kind("forged"),
        case("a trace more", TRACES, twice(), 4, "traces").kind("forged"),
        case(
            "without its end",
            PROOF,
            alter(|proof| drop(proof["accountProof"].as_array_mut().unwrap().pop())),
            4,
            "proof",
        )
        .kind("omitted"),
        case("null", HEADER, replace(Value::Null), 3, "header").kind("omitted"),
        case("null", PROOF, replace(Value::Null), 3, "proof").kind("omitted"),
        case("null", TRACES, replace(Value::Null), 3, "traces").kind("omitted"),
        case("null", CALL, replace(Value::Null), 3, "balances").kind("omitted"),
        case("null", &["eth_chainId"], replace(Value::Null), 3, "chain id").kind("omitted"),
        // Of before.
        case("of the block before", BODY, replace(body_of_1), 4, "block").kind("stale"),
        case("of the block before", RECEIPTS, replace(receipts_of_1), 4, "receipts").kind("stale"),
        case("of the block before", TRACES, replace(traces_of_1), 4, "traces").kind("stale"),
        case("of the block before", PROOF, replace(proof_at_1), 4, "proof").kind("stale"),
        case("no such chain", &["eth_chainId"], replace(json!("0x1")), 2, "eip155:1"),
    ];
    cases.extend(disturbances(BODY, "127.0.0.1"));
    // What is slow to see is the same for every method.
    let is_slow = |case: &Case| ["endless", "a trickle", "huge", "half"].iter().any(|slow| case.what.ends_with(slow));
    for names in [HEADER, RECEIPTS, TRACES, PROOF, CALL, &["eth_chainId"][..]] {
        cases.extend(disturbances(names, "127.0.0.1").into_iter().filter(|case| !is_slow(case)));
    }
    // A block's traces that come too late or are too much are asked for one by one.
    cases.retain(|case| case.what != "debug_traceBlockByHash: silence");
    let much = ["silence", "endless", "a trickle", "huge"];
    let too_much =
        disturbances(TRACES, "").into_iter().filter(|case| much.iter().any(|much| case.what.ends_with(much)));
    cases.extend(too_much.map(|case| Case { code: 0, ..case }));
    for case in &mut cases {
        case.heals = !case.what.contains("no such chain");
    }
    play(&scene, &cases);
}

/// Everything above this height is unknown to it.
fn late(height: u64, last: Value) -> Vec<Rule> {
    let above = move |params: &Value| {
        let number = params[0].as_str().and_then(|text| text.strip_prefix("0x"));
        number.is_some_and(|number| u64::from_str_radix(number, 16).unwrap() > height)
    };
    let replace = |with: Value| alter(move |answer| *answer = with.clone());
    vec![
        Rule::when(|name, params| name == HEADER[0] && params[0] == "latest", replace(last)),
        Rule::when(move |name, params| name == HEADER[0] && above(params), replace(Value::Null)),
    ]
}

#[test]
fn an_evm_node_that_is_late_or_hasty_is_named() {
    let world = World::new(&["--slots-in-an-epoch", "1"]);
    let scene = evm_scene(&world);
    let header = |height: u64| world.call(HEADER[0], json!([format!("{height:#x}"), false]));
    let proxy = Proxy::new(&scene.node);
    let tip = |lab: &Lab| {
        let store = Store::open(&lab.path("data").join("evm"), &ANVIL.parse().unwrap(), Mode::Read).unwrap();
        (store.tip().unwrap().unwrap().height, store.final_height().unwrap())
    };
    let with_finality = |finality: &str| {
        let lab = scene.lab(&proxy.url);
        let text = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
        lab.write("assay.toml", &text.replace("{ confirmations = 1 }", finality));
        lab
    };
    // What was final is not taken back for a node that has it no more; what was not is, if it stays so.
    for (finality, code, reached) in [("{ confirmations = 1 }", 3, 12), ("{ confirmations = 10 }", 0, 8)] {
        proxy.set(vec![]);
        let lab = with_finality(finality);
        lab.index();
        proxy.set(late(8, header(8)));
        let (told, said, took) = index(&lab);
        assert!(
            told == code && said.contains("(kind: stale)") && said.contains(&proxy.url),
            "{finality}: {told}: {said}"
        );
        assert!(took < BOUND && tip(&lab).0 == Height(reached));
        scene.assert_never_wrong(&lab, finality);
    }
    // An old answer to the question for the last block.
    proxy.set(late(8, header(8)).into_iter().take(1).collect());
    let lab = with_finality("{ confirmations = 1 }");
    let (told, said, _) = index(&lab);
    assert!(told == 3 && said.contains("(kind: stale)"), "{told}: {said}");

    let kinds = |lab: &Lab, code: i32| -> Vec<String> {
        let checked = lab.json(&["check"], code);
        let each = checked["checks"].as_array().unwrap().iter();
        each.filter_map(|one| one["kind"].as_str().map(str::to_owned)).collect()
    };

    // Two nodes on two forks, by turns.
    let other = World::new(&["--timestamp", "1700000000"]);
    (0..EVM_BLOCKS).for_each(|_| other.mine());
    let of_another = other.call(HEADER[0], json!([format!("{EVM_BLOCKS:#x}"), false]));
    let turn = AtomicUsize::new(0);
    proxy.set(vec![Rule::always(
        HEADER,
        alter(move |header| {
            if !header.is_null() && turn.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                *header = other.call(HEADER[0], json!([header["number"], false]));
            }
        }),
    )]);
    let lab = with_finality("{ confirmations = 10 }");
    let (told, said, took) = index(&lab);
    assert!(told == 3 && said.contains("(kind: mixed-forks)") && said.contains(&proxy.url), "{told}: {said}");
    assert!(took < BOUND);
    assert_eq!(kinds(&lab, 3), ["mixed-forks"]);

    // By its tag.
    proxy.set(vec![]);
    let lab = with_finality("{ tag = \"finalized\" }");
    lab.index();
    let (_, Some(last)) = tip(&lab) else { panic!("nothing is final") };
    assert!(last < Height(EVM_BLOCKS));
    let tag = |with: Value| {
        let fault = alter(move |answer| *answer = with.clone());
        Rule::when(|name, params| name == HEADER[0] && params[0] == "finalized", fault)
    };
    proxy.set(vec![tag(of_another)]);
    let (told, said, _) = index(&lab);
    assert!(told == 3 && said.contains("(kind: mixed-forks)") && said.contains(&proxy.url), "{told}: {said}");
    assert_eq!(kinds(&lab, 3), ["mixed-forks"]);
    assert_eq!(tip(&lab), (Height(EVM_BLOCKS), Some(last)));
    let mut altered = header(EVM_BLOCKS);
    nudge(&mut altered["number"]);
    proxy.set(vec![tag(altered)]);
    let (told, said, _) = index(&lab);
    assert!(told == 4 && said.contains("(kind: forged)"), "{told}: {said}");
    // What it called final stays so.
    proxy.set(vec![tag(header(3))]);
    assert_eq!(index(&lab).0, 0);
    assert_eq!(tip(&lab), (Height(EVM_BLOCKS), Some(last)));

    // `check` names the kind by itself.
    proxy.set(vec![Rule::always(RECEIPTS, alter(|receipts| *receipts = json!([])))]);
    assert_eq!(kinds(&lab, 4), ["omitted"]);
    proxy.set(vec![]);
    lab.json(&["check"], 0);
}

#[test]
fn of_which_block_an_answer_is_is_found_out() {
    let world = World::new(&["--timestamp", "1700000000"]);
    let scene = evm_scene(&world);
    let other = World::new(&["--timestamp", "1700000001"]);
    other.pay(other.users[0], Address::fresh(2), 77);
    evm_scene(&other);
    let proxy = Proxy::new(&scene.node);
    let (world, other) = (Arc::new(world), Arc::new(other));
    // As this one has it so many blocks earlier, whatever block is asked for. A test node proves of its genesis what no header has.
    let by = |whose: &Arc<World>, earlier: u64| {
        let (world, whose) = (world.clone(), whose.clone());
        Fault::Instead(Arc::new(move |method, params| {
            let mut params = params.clone();
            for place in params.as_array_mut().unwrap() {
                let hash = place.get("blockHash").cloned();
                if let Some(hash) = hash {
                    let block = world.call("eth_getBlockByHash", json!([hash, false]));
                    let height = u64::from_str_radix(block["number"].as_str().unwrap().trim_start_matches("0x"), 16);
                    *place = json!(format!("{:#x}", height.unwrap().saturating_sub(earlier).max(1)));
                }
            }
            whose.call(method, params)
        }))
    };
    for (what, names, fault, kind) in [
        ("proofs of another branch", PROOF, by(&other, 0), "mixed-forks"),
        ("proofs of three blocks before", PROOF, by(&world, 3), "stale"),
        ("calls on another branch", CALL, by(&other, 0), "mixed-forks"),
        ("calls three blocks before", CALL, by(&world, 3), "stale"),
        // The one by which it is asked for its block too.
        ("calls, all of them altered", CALL, alter(one_more), "forged"),
        ("headers of another branch", HEADER, by(&other, 0), "mixed-forks"),
    ] {
        proxy.set(vec![Rule::always(names, fault)]);
        let lab = scene.lab(&proxy.url);
        let (_, said, _) = index(&lab);
        assert!(said.contains(&format!("(kind: {kind})")) && said.contains(&proxy.url), "{what}: {said}");
        // What a call hid where nothing was known shows later, as an answer that was wrong.
        let others = ["forged", "omitted", "stale", "mixed-forks"].into_iter().filter(|other| *other != kind);
        others
            .filter(|_| names != CALL || kind == "forged")
            .for_each(|other| assert!(!said.contains(&format!("(kind: {other})")), "{what}: {said}"));
        scene.assert_never_wrong(&lab, what);
    }
}

#[test]
fn traces_that_proofs_deny_stay_nobodys_movement() {
    let world = World::new(&[]);
    let scene = evm_scene(&world);
    let proxy = Proxy::with(&scene.node, vec![Rule::always(TRACES, alter(invent_payments))]);
    let lab = scene.lab(&proxy.url);
    let (code, said, _) = index(&lab);
    assert!(code == 0 && said.contains("(kind: forged)") && said.contains(&proxy.url), "{code}: {said}");
    scene.assert_never_wrong(&lab, "denied");
    for (address, _) in &scene.accounts {
        let history = lab.assay(&["history", address, "--chain", "evm", "--format", "csv"]).stdout;
        assert!(!history.contains(",3,"), "{address}: {history}");
    }
}

/// The largest word of what a call returns becomes one more.
fn one_more(answer: &mut Value) {
    let digits = answer.as_str().unwrap().trim_start_matches("0x");
    let mut words: Vec<U256> = digits
        .as_bytes()
        .chunks(64)
        .map(|word| U256::from_str_radix(str::from_utf8(word).unwrap(), 16).unwrap())
        .collect();
    if let Some(largest) = words.iter_mut().max() {
        *largest = largest.saturating_add(U256::ONE);
    }
    *answer = json!(words.iter().fold("0x".to_owned(), |hex, word| format!("{hex}{word:064x}")));
}

/// The other way round.
fn turn_round(list: &mut Value) {
    if let Some(list) = list.as_array_mut() {
        list.reverse();
    }
}

fn turn() -> Fault {
    alter(turn_round)
}

/// The first one a second time.
fn twice() -> Fault {
    alter(|list| {
        let first = list[0].clone();
        list.as_array_mut().unwrap().push(first);
    })
}

/// An answer to a question that nobody asked.
fn another_id() -> Fault {
    Fault::Bytes(Arc::new(|bytes| {
        let mut answer: Value = serde_json::from_slice(bytes).unwrap();
        answer["id"] = json!(u32::MAX);
        *bytes = answer.to_string().into_bytes();
    }))
}

/// Says of everyone who sent something that whom it was sent to gave a little of it back.
fn invent_payments(traces: &mut Value) {
    for trace in traces.as_array_mut().into_iter().flatten() {
        let call = &mut trace["result"];
        let back = json!({ "type": "CALL", "from": call["to"], "to": call["from"], "value": "0x3" });
        if call["to"].is_string() {
            match call["calls"].as_array_mut() {
                Some(calls) => calls.push(back),
                None => call["calls"] = json!([back]),
            }
        }
    }
}

const BITCOIN_BLOCKS: u64 = 8;

fn bitcoin_scene(node: &Bitcoind) -> Scene {
    node.call("createwallet", json!(["w"])).unwrap();
    let address = node.call("getnewaddress", json!([])).unwrap().as_str().unwrap().to_owned();
    node.call("generatetoaddress", json!([BITCOIN_BLOCKS, address])).unwrap();
    let script = node.call("getaddressinfo", json!([address])).unwrap()["scriptPubKey"].as_str().unwrap().to_owned();
    let truth = (0..=BITCOIN_BLOCKS).map(|height| vec![vec![Amount::from(height * 50 * 100_000_000)]]).collect();
    let tip = node.call("getblockhash", json!([BITCOIN_BLOCKS])).unwrap();
    let header = node.call("getblockheader", json!([tip])).unwrap();
    let statement = json!({
        "format": "assay.statement/1", "exchange": "acme",
        "as_of": { "time": time(header["time"].as_u64().unwrap()),
            "blocks": { "bitcoin": { "height": BITCOIN_BLOCKS, "hash": tip } } },
        "assets": [{ "asset": "BTC", "customers": format!("{}.00000001", 50 * BITCOIN_BLOCKS) }],
    });
    let cookie = node.cookie_file.clone();
    let configuration =
        move |url: &str| format!("{}[policy]\nmax_statement_age = \"9999d\"\n", lab::bitcoin_chain(url, &cookie, 1));
    Scene {
        node: node.rpc_url.clone(),
        configuration: Box::new(configuration),
        declaration: format!(
            "id = \"acme\"\nname = \"Acme\"\n[[wallet]]\nchain = \"bitcoin\"\nrole = \"cold\"\naddress = \"{address}\"\n"
        ),
        chain: "bitcoin",
        chain_id: REGTEST,
        accounts: vec![(address, Account::new(&contracts::unhex(&script)))],
        assets: vec![("BTC", Asset::Native)],
        truth,
        statement: statement.to_string(),
    }
}

/// Alters a block's bytes, whether they come as they are or as hexadecimal digits.
fn in_block(names: &'static [&'static str], what: &str, code: i32, with: fn(&mut Vec<u8>)) -> Case {
    let fault = match names[0].starts_with('/') {
        true => Fault::Bytes(Arc::new(with)),
        false => alter(move |result| {
            let mut block = contracts::unhex(result.as_str().unwrap());
            with(&mut block);
            *result = json!(contracts::hex(&block));
        }),
    };
    case(what, names, fault, code, "block")
}

/// A block as bytes, over REST or over RPC.
fn block_cases(names: &'static [&'static str]) -> Vec<Case> {
    vec![
        in_block(names, "its nonce", 4, |block| block[78] ^= 1),
        in_block(names, "its merkle root", 4, |block| block[40] ^= 1),
        in_block(names, "its parent", 4, |block| block[10] ^= 1),
        in_block(names, "a coinbase's script", 4, |block| block[80 + 1 + 4 + 2 + 1 + 36 + 2] ^= 1),
        in_block(names, "something at its end", 4, |block| block.push(0)),
        in_block(names, "nothing at its end", 3, |block| block.truncate(block.len() - 1)),
        in_block(names, "without transactions", 3, |block| block.truncate(80)),
    ]
}

#[test]
fn a_bitcoin_node_that_lies_is_named_and_believed_in_nothing() {
    const REST: &[&str] = &["/rest/block/"];
    const HEADERS: &[&str] = &["/rest/headers/"];
    const RPC: &[&str] = &["getblock"];
    let folder = Lab::new();
    let node = Bitcoind::start(&folder.path("node"), &["-rest=1"]).unwrap();
    let scene = bitcoin_scene(&node);
    let replace = |with: Value| alter(move |result| *result = with.clone());
    let of_3 = node.call("getblockhash", json!([3])).unwrap();
    let mut cases = block_cases(REST);
    let bytes_of_3 = node.call("getblock", json!([of_3, 0])).unwrap();
    let bytes_of_3 = contracts::unhex(bytes_of_3.as_str().unwrap());
    cases.push(case(
        "of another height",
        REST,
        Fault::Bytes(Arc::new(move |block| block.clone_from(&bytes_of_3))),
        4,
        "block",
    ));
    cases.push(case("no such height", &["getblockhash"], Fault::Refuse(-8, "Block height out of range"), 3, "block"));
    cases.push(case("no such network", &["getblockhash"], replace(json!("00".repeat(32))), 2, "genesis"));
    cases.extend(disturbances(&["getblockhash"], "127.0.0.1"));
    cases.extend(disturbances(&["getblockchaininfo"], "the tip"));
    // REST that does not work is no harm: the same bytes come over RPC. A whole answer that is no block is one.
    let whole = |case: &Case| case.what.ends_with("cut") || case.what.ends_with("nonsense");
    let over_rpc = |case: Case| {
        if whole(&case) { Case { names: "block", kind: None, ..case } } else { Case { code: 0, kind: None, ..case } }
    };
    cases.extend(disturbances(REST, "").into_iter().map(over_rpc));
    // So are headers, whose hashes come over RPC then.
    cases.extend(disturbances(HEADERS, "").into_iter().map(|case| Case { code: 0, kind: None, ..case }));
    let in_headers = |what, with: fn(&mut Vec<u8>)| case(what, HEADERS, Fault::Bytes(Arc::new(with)), 0, "");
    cases.push(in_headers("the header of another block", |headers| headers.copy_within(240..320, 480)));
    cases.push(in_headers("a header less", |headers| drop(headers.drain(160..240))));
    for case in &mut cases {
        case.heals = !case.what.contains("no such network");
    }
    play(&scene, &cases);
    drop(node);

    let node = Bitcoind::start(&folder.path("rpc-only"), &[]).unwrap();
    let scene = bitcoin_scene(&node);
    // `getblockhash` and `getblockchaininfo` begin like that too.
    let exact = |case: Case| {
        let of = Arc::new(|name: &str, _: &Value| name == "getblock");
        Case { rule: Rule { of, ..case.rule }, ..case }
    };
    let mut cases: Vec<Case> = block_cases(RPC).into_iter().chain(disturbances(RPC, "block")).map(exact).collect();
    let of_3 = node.call("getblockhash", json!([3])).unwrap();
    let rule = Rule {
        of: Arc::new(move |name, params| name == "getblockhash" && params[0] == 6),
        fault: alter(move |answer| *answer = of_3.clone()),
        times: u64::MAX,
    };
    let what = "the hash of another block".into();
    cases.push(Case { what, rule, code: 4, names: "block", kind: Some("mixed-forks"), heals: true });
    play(&scene, &cases);
}

/// Among many accounts, in a long stretch, not every signature is looked at: who sent what he did not sign is found out by what he holds.
#[test]
fn a_sender_that_is_hidden_in_a_long_stretch_is_found_by_state() {
    hide_a_sender(|_| ());
}

/// Also where the block is read for what else it did to that account.
#[test]
fn a_sender_that_is_hidden_where_he_is_paid_is_found_by_state() {
    hide_a_sender(|world| drop(world.pay(world.users[2], world.users[1], 3)));
}

fn hide_a_sender(beside: fn(&World)) {
    let world = World::new(&[]);
    let (payer, paid) = (world.users[1], Address::fresh(1));
    world.call("anvil_mine", json!(["0x63"]));
    world.pay(payer, paid, 5);
    beside(&world);
    world.mine();
    world.call("anvil_mine", json!(["0x140"]));
    let hidden = json!(payer.to_string());
    let hide = alter(move |block| {
        for transaction in block["transactions"].as_array_mut().into_iter().flatten() {
            if transaction["from"] == hidden {
                transaction["from"] = json!(Address::fresh(9).to_string());
            }
        }
    });
    let no_traces = Rule::always(&["debug_", "trace_"], Fault::Refuse(-32601, "the method does not exist"));
    let proxy = Proxy::with(&world.anvil.url, vec![no_traces, Rule::always(&["eth_getBlockByHash"], hide)]);
    let lab = Lab::new();
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{}", lab::evm_chain(&proxy.url, 1, 1)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &[payer, paid]));
    lab.write("exchanges/acme/others.csv", &contracts::crowd(600));
    let ran = lab.assay(&["index", "--once"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("was signed by") && ran.stderr.contains("forged"), "{}", ran.stderr);
    // Another node at its place, and all is right.
    proxy.set(vec![]);
    lab.index();
    let answer = lab.json(&["balance", &payer.to_string(), "--chain", "evm"], 0);
    let held = world.balances(world.height(), &[payer], &[None]);
    assert_eq!(answer["units"], held[0].unwrap().to_string(), "{answer:#}");
}

/// A deposit that waits takes nothing off a debt where the node says that it is in a block of ours: that is looked into, and told.
#[test]
fn that_a_waiting_transaction_is_in_a_block_is_looked_into() {
    let world = World::new(&[]);
    let account = Address::fresh(7);
    for _ in 0..4 {
        world.pay(world.users[0], account, 5);
        world.mine();
    }
    let proxy = Proxy::with(&world.anvil.url, vec![]);
    let lab = Lab::new();
    let policy = "[policy]\nmax_statement_age = \"9999d\"\n";
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{}{policy}", lab::evm_chain(&proxy.url, 1, 1)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &[account]));
    lab.index();
    let waits = world.pay(world.users[1], account, 7);
    let (height, seven) = (world.height(), "0.000000000000000007");
    let time = Timestamp::from_unix_s(i64::try_from(world.time(height)).unwrap());
    let statement = json!({
        "format": "assay.statement/1", "exchange": "acme",
        "as_of": { "time": time.to_string(), "blocks": { "evm": { "height": height, "hash": world.hash(height) } } },
        "assets": [{
            "asset": "ETH", "customers": "0.000000000000000020",
            "uncredited_deposits": [{ "chain": "evm", "txid": waits, "amount": seven }],
        }],
    });
    lab.write("statement.json", &statement.to_string());
    let verify = || {
        let output = lab.command(&["verify", "acme", "--statement", "statement.json", "--json"]).output().unwrap();
        let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
        let standing = verdict["lines"][0]["in_flight"][0]["standing"].as_str().unwrap().to_owned();
        (standing, verdict["findings"].to_string())
    };
    assert_eq!(verify().0, "mempool");
    let block = world.hash(3);
    proxy.set(vec![Rule::always(
        &["eth_getTransactionByHash"],
        alter(move |found| {
            found["blockHash"] = json!(block);
            found["blockNumber"] = json!("0x3");
            found["transactionIndex"] = json!("0x0");
        }),
    )]);
    let (standing, findings) = verify();
    assert_eq!(standing, "not-found");
    assert!(findings.contains("(kind: forged)") && findings.contains(&proxy.url), "{findings}");
}
