//! Several nodes that must agree: anvils that were fed alike, and one of them that is behind, on another fork or chain, away, limited,
//! empty-handed, or altered on the way. Each is told by name, and no balance is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/proxy.rs"]
mod proxy;
#[path = "lab/scene.rs"]
mod scene;
#[path = "lab/serving.rs"]
mod serving;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay_testnodes::Bitcoind;
use contracts::{Address, World};
use lab::Lab;
use proxy::{Fault, Proxy, Rule, alter};
use scene::{Scene, copy_blocks, indexed};
use serde_json::{Value, json};
use serving::Serving;

const GENESIS: u64 = 1_700_000_000;
const TIP: u64 = 14;
/// What [`paid`] holds of the token after each mint, in its smallest units.
const MINTED: u64 = 777_777;

fn paid() -> Address {
    Address::fresh(7)
}

/// An anvil that makes the blocks that it is told to make, and no other.
fn anvil(arguments: &[&str]) -> World {
    World::new(&[&["--timestamp", &GENESIS.to_string()], arguments].concat())
}

fn anvils<const N: usize>() -> ([World; N], Address) {
    let worlds = std::array::from_fn(|_| anvil(&[]));
    let tokens: Vec<Address> = worlds.iter().map(open).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    worlds.iter().for_each(|world| feed(world, TIP, 0));
    let hashes: Vec<String> = worlds.iter().map(|world| world.hash(TIP)).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "fed alike: {hashes:?}");
    (worlds, tokens[0])
}

/// The first blocks: a token whose balances are in no slot, so that nothing proves them.
fn open(world: &World) -> Address {
    at_time(world, 0);
    let token = world.deploy("RebasingToken", abi!["REB", "REB", 6, 1_000_000]);
    world.invoke(world.users[0], token, 0, "mint(address,uint256)", abi![paid(), 2 * MINTED]);
    world.invoke(world.users[0], token, 0, "rebase(uint256,uint256)", abi![1, 2]);
    at_time(world, 0);
    world.mine();
    token
}

fn at_time(world: &World, later_s: u64) {
    let time = GENESIS + 12 * (world.height() + 1) + later_s;
    world.call("evm_setNextBlockTimestamp", json!([time]));
}

/// Blocks up to this height, each so many seconds later than its place says.
fn feed(world: &World, to: u64, later_s: u64) {
    while world.height() < to {
        world.pay(world.users[0], paid(), 1_000 + world.height());
        at_time(world, later_s);
        world.mine();
    }
}

fn lab(urls: &[&str], quorum: usize, token: Address) -> Lab {
    let lab = Lab::new();
    let mut urls = urls.iter();
    let chain = lab::evm_chain(urls.next().unwrap(), 2, 3)
        .replace("[[chain.node]]", &format!("quorum = {quorum}\n[[chain.node]]"));
    let others: String = urls.map(|url| format!("[[chain.node]]\nrpc = \"{url}\"\n\n")).collect();
    let serve = "[serve]\nlisten = \"127.0.0.1:0\"\ntokens_file = \"tokens\"\n\n";
    lab.write("assay.toml", &format!("{chain}{others}{}{serve}", contracts::asset("REB", token, 6)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &[paid()]));
    lab
}

fn index(lab: &Lab) -> (i32, String) {
    let output = lab.command(&["index", "--once"]).env("ASSAY_NODE_DEADLINE_S", "5").output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Is every balance, at every block that is indexed, the one that this node has? Gives the last such block.
fn agrees(lab: &Lab, world: &World) -> u64 {
    agrees_from(lab, world, 2)
}

fn agrees_from(lab: &Lab, world: &World, first: u64) -> u64 {
    let address = paid().to_string();
    let balance = |arguments: &[&str]| {
        let question = [&["balance", &address, "--chain", "evm"], arguments].concat();
        lab.json(&question, 0)
    };
    let tip = balance(&[])["at"]["height"].as_u64().unwrap();
    for height in first..=tip {
        let said = balance(&["--at", &height.to_string()]);
        let truth = world.balances(height, &[paid()], &[None])[0].unwrap();
        assert_eq!(said["units"], truth.to_string(), "at {height}");
        assert_eq!(said["at"]["hash"], world.hash(height));
    }
    tip
}

/// What `check` says of a node of this name beyond that all is well.
fn checked(lab: &Lab, code: i32, node: &str) -> Vec<(String, String)> {
    let report = lab.json(&["check"], code);
    let looked = report["checks"].as_array().unwrap().iter();
    let about = looked.filter(|one| one["message"].as_str().unwrap().contains(node) && one["status"] != "ok");
    about.map(|one| (one["kind"].as_str().unwrap_or("").into(), one["message"].as_str().unwrap().into())).collect()
}

fn kinds(lab: &Lab, code: i32, node: &str) -> Vec<String> {
    checked(lab, code, node).into_iter().map(|(kind, _)| kind).filter(|kind| !kind.is_empty()).collect()
}

fn serve(lab: &Lab) -> Serving {
    let secret = scene::token(lab, &["watch", "--scope", "regulator"]);
    Serving::start_with(lab, &secret, &[("ASSAY_NODE_DEADLINE_S", "5")])
}

/// What `/v1/chains` says of each node.
fn standings(chains: &Value) -> Vec<(String, String)> {
    let nodes = chains["chains"][0]["nodes"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    nodes.iter().map(|one| (text(&one["node"]), text(&one["state"]))).collect()
}

#[test]
fn two_nodes_fed_alike_go_on_together_at_the_pace_of_the_slower() {
    let ([a, b], token) = anvils::<2>();
    let lab = lab(&[&a.anvil.url, &b.anvil.url], 2, token);
    assert_eq!(index(&lab), (0, format!("evm: block {TIP} {} ({} new), final: {}\n", a.hash(TIP), TIP - 1, TIP - 2)));
    assert_eq!(agrees(&lab, &b), TIP);
    lab.json(&["check"], 0);
    assert_eq!(kinds(&lab, 0, "http"), Vec::<String>::new());

    feed(&a, TIP + 5, 0);
    let (code, said) = index(&lab);
    assert!(code == 0 && said.contains("has 5 blocks less") && said.contains(&b.anvil.url), "{code}: {said}");
    assert_eq!(agrees(&lab, &a), TIP);
    assert_eq!(kinds(&lab, 0, &b.anvil.url), ["behind"]);
    assert_eq!(kinds(&lab, 0, &a.anvil.url), Vec::<String>::new());
    let serving = serve(&lab);
    let both = |state: &str| [(a.anvil.url.clone(), "agrees".to_owned()), (b.anvil.url.clone(), state.to_owned())];
    let chains = serving.wait("/v1/chains", |chains| standings(chains) == both("behind"));
    let nodes = &chains["chains"][0]["nodes"];
    assert_eq!((&nodes[0]["head"], &nodes[1]["head"]), (&json!(TIP + 5), &json!(TIP)), "{nodes:#}");
    assert_eq!(nodes[1]["why"], "has 5 blocks less");
    feed(&b, TIP + 5, 0);
    serving.wait("/v1/chains", |chains| {
        standings(chains) == both("agrees") && chains["chains"][0]["indexed"]["height"] == TIP + 5
    });
    assert_eq!(serving.stop().0, 0);
    assert_eq!(agrees(&lab, &a), TIP + 5);
}

#[test]
fn of_two_on_two_forks_nothing_is_taken_and_it_goes_on_once_they_agree() {
    let ([a, b, healed], token) = anvils::<3>();
    let proxy = Proxy::new(&b.anvil.url);
    feed(&a, TIP + 4, 0);
    feed(&b, TIP + 6, 1);
    let (first, second) = (&a.anvil.url, &proxy.url);
    let lab = lab(&[first, second], 2, token);
    let (code, said) = index(&lab);
    assert_eq!(code, 3, "{said}");
    let hash = |world: &World| world.hash(TIP + 1).trim_start_matches("0x").to_owned();
    let words =
        format!("nodes disagree about block {}: {} has {}, {} has {}", TIP + 1, first, hash(&a), second, hash(&b));
    assert!(said.contains(&words) && said.contains("hint: nothing was taken from either branch"), "{said}");
    assert_eq!(agrees(&lab, &a), TIP);
    let above = lab.assay(&["balance", &paid().to_string(), "--chain", "evm", "--at", &(TIP + 1).to_string()]);
    assert_eq!(above.code, 3, "{}", above.stderr);
    for node in [first, second] {
        assert_eq!(kinds(&lab, 3, node), ["disagreement", "disagrees"]);
    }

    let acme = scene::token(&lab, &["acme-1", "--scope", "exchange", "--exchange", "acme"]);
    let serving = serve(&lab);
    let chains = serving.wait("/v1/chains", |chains| {
        !chains["chains"][0]["trouble"].is_null() && chains["chains"][0]["dissenting_nodes"] == 1
    });
    let chain = &chains["chains"][0];
    assert!(chain["trouble"]["why"].as_str().unwrap().contains(&words), "{chain:#}");
    let dissent = json!([{ "node": 2, "from": TIP + 1, "ours": a.hash(TIP + 1), "theirs": b.hash(TIP + 1) }]);
    assert_eq!(chain["dissent"], dissent);
    assert_eq!(chain["indexed"]["height"], TIP);
    assert!(standings(&chains).iter().all(|(_, state)| state == "disagrees"), "{chain:#}");
    let metrics = serving.metrics();
    assert!(metrics.contains("assay_node_disagreements_total{chain=\"evm\"}"), "{metrics}");
    let statement = json!({
        "format": "assay.statement/1", "exchange": "acme",
        "as_of": { "time": scene::assay_time(a.time(TIP)), "blocks": { "evm": { "height": TIP, "hash": a.hash(TIP) } } },
        "assets": [{ "asset": "ETH", "customers": "0" }],
    });
    scene::submit(&serving, &acme, "acme", &statement.to_string());
    serving.wait("/v1/alerts", |alerts| alerts.to_string().contains("nodes-disagree"));
    // The other one leaves its branch.
    feed(&healed, TIP + 4, 0);
    proxy.before(&healed.anvil.url);
    serving.wait("/v1/chains", |chains| {
        let chain = &chains["chains"][0];
        chain["indexed"]["height"] == TIP + 4 && chain["dissenting_nodes"] == 0 && chain["trouble"].is_null()
    });
    assert_eq!(serving.stop().0, 0);
    assert_eq!(agrees(&lab, &a), TIP + 4);
}

/// A third node, and as what it is to be recognised.
struct Odd {
    what: &'static str,
    url: String,
    kind: &'static str,
    /// The exit code of `check`.
    code: i32,
    _proxy: Option<Proxy>,
}

#[test]
fn two_of_three_go_on_without_the_third_whatever_it_is() {
    let ([a, b, c], token) = anvils::<3>();
    let far = anvil(&["--chain-id", "4242"]);
    let late = anvil(&[]);
    open(&late);
    feed(&late, TIP - 4, 0);
    let fork = anvil(&[]);
    open(&fork);
    feed(&fork, TIP - 5, 0);
    feed(&fork, TIP + 3, 2);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = |what, url: &str, kind, code| Odd { what, url: url.into(), kind, code, _proxy: None };
    let altered = |what, names: &'static [&'static str], fault: Fault, kind, code| {
        let proxy = Proxy::with(&c.anvil.url, vec![Rule::always(names, fault)]);
        Odd { what, url: proxy.url.clone(), kind, code, _proxy: Some(proxy) }
    };
    let nudge = |key: &'static str| {
        alter(move |block| {
            if let Some(text) = block[key].as_str() {
                let last = if text.ends_with('0') { "1" } else { "0" };
                block[key] = json!(format!("{}{last}", &text[..text.len() - 1]));
            }
        })
    };
    let odd = [
        plain("behind", &late.anvil.url, "behind", 0),
        plain("on another fork", &fork.anvil.url, "disagrees", 0),
        plain("on another chain", &far.anvil.url, "wrong-chain", 2),
        plain("away", &format!("http://{nobody}"), "unreachable", 0),
        altered("limited", &["eth_"], Fault::Status(429), "limited", 0),
        altered("altered headers", &["eth_getBlockByNumber"], nudge("stateRoot"), "forged", 4),
        altered("altered blocks", &["eth_getBlockByHash"], nudge("stateRoot"), "forged", 4),
        altered("no receipts", &["eth_getBlockReceipts"], alter(|list| *list = json!([])), "omitted", 4),
        altered(
            "empty-handed",
            &["eth_getBlockByHash", "eth_getBlockReceipts"],
            alter(|all| *all = Value::Null),
            "omitted",
            0,
        ),
        altered("cut", &["eth_getBlockByHash"], Fault::Cut, "truncated", 0),
        balancer(&c, &fork),
    ];
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(odd) = odd.get(next.fetch_add(1, Ordering::Relaxed)) {
                    without(odd, [&a, &b], token);
                }
            });
        }
    });
}

/// Two nodes behind one address, one of them on another and longer branch, which answer by turns.
fn balancer(one: &World, other: &World) -> Odd {
    let turn = std::sync::Arc::new(AtomicUsize::new(0));
    let by_turns = |name: String, header: Value| {
        let turn = turn.clone();
        let alter = alter(move |answer| {
            if turn.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                answer.clone_from(&header);
            }
        });
        Rule::when(move |method, params| method == "eth_getBlockByNumber" && params[0] == name.as_str(), alter)
    };
    let header = |number: &str| other.call("eth_getBlockByNumber", json!([number, false]));
    let heights = (TIP - 4..=other.height()).map(|height| format!("{height:#x}"));
    let rules = heights.chain(["latest".into()]).map(|name| by_turns(name.clone(), header(&name))).collect();
    let proxy = Proxy::with(&one.anvil.url, rules);
    let (what, url, kind) = ("a balancer", proxy.url.clone(), "mixed-forks");
    Odd { what, url, kind, code: 0, _proxy: Some(proxy) }
}

fn without(odd: &Odd, [a, b]: [&World; 2], token: Address) {
    let Odd { what, url, kind, code, .. } = odd;
    // In front, so that it is the first to be asked for everything.
    let lab = lab(&[url, &a.anvil.url, &b.anvil.url], 2, token);
    let (told, said) = index(&lab);
    assert!(told == 0 && said.contains(url.as_str()), "{what}: {told}: {said}");
    assert!(said.contains(kind), "{what}: {said}");
    assert_eq!(agrees(&lab, a), TIP, "{what}");
    let found = kinds(&lab, *code, url);
    assert!(!found.is_empty() && found.iter().all(|found| found == kind), "{what}: {found:?}");
    for good in [a, b] {
        assert_eq!(kinds(&lab, *code, &good.anvil.url), Vec::<String>::new(), "{what}");
    }
    // Anew, so that it is asked for blocks.
    std::fs::remove_dir_all(lab.path("assay-data")).unwrap();
    let serving = serve(&lab);
    let each = [
        (url.clone(), (*kind).to_owned()),
        (a.anvil.url.clone(), "agrees".into()),
        (b.anvil.url.clone(), "agrees".into()),
    ];
    serving.wait("/v1/chains", |chains| chains["chains"][0]["indexed"]["height"] == TIP && standings(chains) == each);
    assert_eq!(serving.stop().0, 0, "{what}");
}

/// Nodes that are unlike by what they can do agree in every order, and none of them is told of for what it cannot.
#[test]
fn nodes_that_are_unlike_agree_and_none_is_accused() {
    let ([a, b, c], token) = anvils::<3>();
    let old: Vec<Value> = (0..TIP - 5).map(|height| json!(b.hash(height))).collect();
    let is_of_old = move |_: &str, params: &Value| {
        let params = params.as_array().into_iter().flatten();
        params.into_iter().any(|one| one.get("blockHash").is_some_and(|hash| old.contains(hash)))
    };
    let pruned =
        Rule::when(is_of_old, Fault::Refuse(-32000, "missing trie node 5f1a3c (path ) state 0x34ab is not available"));
    let without_proofs = Rule::always(&["eth_getProof"], Fault::Refuse(-32601, "no such method"));
    let (pruned, without_proofs) =
        (Proxy::with(&b.anvil.url, vec![pruned]), Proxy::with(&c.anvil.url, vec![without_proofs]));
    let (whole, pruned, without) = (a.anvil.url.as_str(), pruned.url.as_str(), without_proofs.url.as_str());
    for urls in [[whole, pruned, without], [without, whole, pruned], [pruned, without, whole], [without, pruned, whole]]
    {
        let lab = lab(&urls, 2, token);
        let (told, said) = index(&lab);
        assert!(told == 0 && !said.contains("kind"), "{urls:?}: {told}: {said}");
        assert_eq!(agrees(&lab, &a), TIP, "{urls:?}");
    }
}

/// What a node names final is held against its own chain, at whatever place it is asked, and no other one is told of for it.
#[test]
fn a_final_block_of_another_fork_is_told_of_whom_names_it() {
    let [a, b, c, fork] = std::array::from_fn(|_| anvil(&["--slots-in-an-epoch", "4"]));
    let token = [&a, &b, &c, &fork].map(open)[0];
    [&a, &b, &c].iter().for_each(|world| feed(world, TIP, 0));
    feed(&fork, 5, 0);
    feed(&fork, TIP, 1);
    for (tag, height) in [("safe", TIP - 4), ("finalized", TIP - 8)] {
        let other = fork.call("eth_getBlockByNumber", json!([format!("{height:#x}"), false]));
        let rule = Rule::when(
            move |method, params| method == "eth_getBlockByNumber" && params[0] == tag,
            alter(move |answer| answer.clone_from(&other)),
        );
        let proxy = Proxy::with(&c.anvil.url, vec![rule]);
        for place in 0..3 {
            let mut urls = vec![a.anvil.url.as_str(), &b.anvil.url];
            urls.insert(place, &proxy.url);
            let lab = lab(&urls, 2, token);
            let by_tag = std::fs::read_to_string(lab.path("assay.toml"))
                .unwrap()
                .replace("{ confirmations = 3 }", &format!("{{ tag = \"{tag}\" }}"));
            lab.write("assay.toml", &by_tag);
            let (told, said) = index(&lab);
            let mixed: Vec<&str> = said.lines().filter(|line| line.contains("mixed-forks")).collect();
            assert!(told == 0 && !mixed.is_empty(), "{tag} at {place}: {told}: {said}");
            assert!(mixed.iter().all(|line| line.contains(&proxy.url)), "{tag} at {place}: {said}");
            let reached = lab.json(&["index", "--once"], 0);
            assert_eq!(reached["chains"][0]["final_height"], height, "{tag} at {place}: {reached}");
        }
    }
}

#[test]
fn where_one_of_two_is_needed_and_fails_its_proofs_it_is_the_one_that_lies() {
    let ([a, b], token) = anvils::<2>();
    let proxy = Proxy::with(
        &b.anvil.url,
        vec![Rule::always(&["eth_getBlockByNumber"], alter(|block| block["gasUsed"] = json!("0x1")))],
    );
    let lab = lab(&[&a.anvil.url, &proxy.url], 2, token);
    let (code, said) = index(&lab);
    assert!(code == 4 && said.contains(&proxy.url) && said.contains("(kind: forged)"), "{code}: {said}");
    assert!(!lab.path("assay-data").exists());
}

/// A node that says of a token one more than was minted, wherever it says that.
fn one_more() -> Fault {
    let word = |number: u64| format!("{number:064x}");
    let (truth, lie) = (word(MINTED), word(MINTED + 1));
    alter(move |words| {
        if let Some(text) = words.as_str() {
            *words = json!(text.replace(&truth, &lie));
        }
    })
}

#[test]
fn a_balance_that_nothing_proves_must_be_said_by_both() {
    let ([a, b], token) = anvils::<2>();
    // Without its code nobody can tell what the token returns.
    let no_code = || Rule::always(&["eth_getCode"], Fault::Refuse(-32601, "the method does not exist"));
    let honest = Proxy::with(&a.anvil.url, vec![no_code()]);
    let proxy = Proxy::with(&b.anvil.url, vec![no_code(), Rule::always(&["eth_call"], one_more())]);
    let ask = |lab: &Lab, code| lab.json(&["balance", &paid().to_string(), "--chain", "evm", "--asset", "REB"], code);
    for urls in [[&honest.url, &proxy.url], [&proxy.url, &honest.url]] {
        proxy.open(true);
        let lab = lab(&urls.map(String::as_str), 2, token);
        let (code, said) = index(&lab);
        assert_eq!(code, 0, "{said}");
        assert!(proxy.applied() > 0);
        let unknown = ask(&lab, 3);
        let reason = unknown["reason"].as_str().unwrap();
        for says in [(&honest.url, MINTED), (&proxy.url, MINTED + 1)] {
            assert!(reason.contains(&format!("{} says {} units", says.0, says.1)), "{reason}");
        }
        assert_eq!(agrees(&lab, &a), TIP, "what is proven is known");
    }
    // Both say the same: it counts, unproven.
    let lab = lab(&[&a.anvil.url, &b.anvil.url], 2, token);
    index(&lab);
    let known = ask(&lab, 0);
    assert_eq!((&known["units"], &known["coverage"]), (&json!(MINTED.to_string()), &json!("unproven")));
}

#[test]
fn a_balance_that_is_not_what_the_tokens_code_returns_is_a_lie_of_whom_says_it() {
    let ([a, b], token) = anvils::<2>();
    let proxy = Proxy::with(&b.anvil.url, vec![Rule::always(&["eth_call"], one_more())]);
    for urls in [[&a.anvil.url, &proxy.url], [&proxy.url, &a.anvil.url]] {
        let lab = lab(&urls.map(String::as_str), 2, token);
        let (code, said) = index(&lab);
        let named = said.contains(&proxy.url) && said.contains("(kind: forged)") && said.contains("its code returns");
        assert!(code == 4 && named, "{code}: {said}");
    }
}

/// Whoever says other decimals than enough others does not make the configuration wrong.
/// A node without state, or whose contracts say nothing, hides no balance that the others know: with a quorum, and where the next one is asked.
#[test]
fn what_one_node_does_not_know_is_asked_of_the_others() {
    let ([a, b, c], token) = anvils::<3>();
    const STATE: &[&str] = &["eth_call", "eth_getBalance", "eth_getProof"];
    let pruned =
        || Rule::always(STATE, Fault::Refuse(-32000, "missing trie node 12ab (path ) state 0x34 is not available"));
    let mute = || Rule::always(&["eth_call"], alter(|answer| *answer = json!("0x")));
    for (rule, kind) in [(pruned as fn() -> Rule, "missing"), (mute, "omitted")] {
        for quorum in [2, 1] {
            let proxy = Proxy::new(&a.anvil.url);
            let lab = lab(&[&proxy.url, &b.anvil.url, &c.anvil.url], quorum, token);
            assert_eq!(index(&lab).0, 0);
            let tip = a.height();
            proxy.set(vec![rule()]);
            for world in [&a, &b, &c] {
                feed(world, tip + 2, 0);
            }
            let (code, said) = index(&lab);
            assert_eq!(code, 0, "{said}");
            assert_eq!(agrees(&lab, &b), tip + 2);
            let held = lab.json(&["balance", &paid().to_string(), "--chain", "evm", "--asset", "REB"], 0);
            assert_eq!(held["units"], MINTED.to_string(), "{held:#}");
            let named = |line: &str| line.contains("another node is asked") || line.contains("balance");
            let told = said.lines().any(|line| named(line) && line.contains(&proxy.url));
            assert!(told, "{kind} with {quorum}: {said}");
        }
    }
}

/// Where the nodes are asked in order, one that leaves out the header of a height, or gives one that hashes to nothing, is not the last.
#[test]
fn a_header_that_one_node_leaves_out_or_makes_up_is_asked_of_the_next() {
    let ([a, b], token) = anvils::<2>();
    let is_fourth = |name: &str, asked: &Value| name == "eth_getBlockByNumber" && asked[0] == "0x4";
    let null = Rule::when(is_fourth, alter(|answer| *answer = Value::Null));
    let foreign = alter(|block| {
        if block.is_object() && block["number"] != "0x2" && block["number"] != "0x3" {
            block["l1BlockNumber"] = json!("0x1");
            block["timestamp"] = json!("0xffffffff");
        }
    });
    for (rule, kind) in [(null, "(kind: omitted)"), (Rule::always(&["eth_getBlockBy"], foreign), "(kind: forged)")] {
        let proxy = Proxy::with(&a.anvil.url, vec![rule]);
        let lab = lab(&[&proxy.url, &b.anvil.url], 1, token);
        let (code, said) = index(&lab);
        let named = said.lines().any(|line| line.contains(&proxy.url) && line.contains(kind));
        assert!(code == 0 && named, "{code}: {said}");
        assert_eq!(agrees(&lab, &b), TIP);
    }
}

/// While a block is read the chain goes back below it, or to another one: what is answered of it then no node has made up, nor left out.
#[test]
fn that_a_chain_goes_back_while_a_block_is_read_is_nobodys_lie() {
    let ([world], token) = anvils::<1>();
    let router = world.deploy("Router", vec![]);
    let world = Arc::new(world);
    // What a contract paid is held against the state before as well.
    let through = || world.invoke(world.users[0], router, 50, "pay(address[],uint256[])", abi![vec![paid()], vec![10]]);
    let mut later_s = 0;
    for (nodes, quorum) in [(1, 1), (2, 1), (3, 2)] {
        for asked in ["eth_getBlockByHash", "eth_getBlockReceipts", "eth_getBlockByNumber", "eth_getProof", "eth_call"]
        {
            for is_longer_at_once in [false, true] {
                let case = format!("{nodes} nodes, {asked}, longer at once: {is_longer_at_once}");
                let proxies: Vec<Proxy> = (0..nodes).map(|_| Proxy::new(&world.anvil.url)).collect();
                let lab = lab(&proxies.iter().map(|proxy| &*proxy.url).collect::<Vec<_>>(), quorum, token);
                let declared = contracts::exchange("acme", &[paid(), world.users[0]]);
                lab.write("exchanges/acme/exchange.toml", &declared);
                assert_eq!(index(&lab).0, 0, "{case}");
                let (base, snapshot) = (world.height(), world.call("evm_snapshot", json!([])));
                feed(&world, base + 1, later_s);
                through();
                feed(&world, base + 2, later_s);
                later_s += 1;
                let left = world.hash(base + 2);
                let of = if asked == "eth_getBlockByNumber" { format!("{:#x}", base + 1) } else { left.clone() };
                let (chain, then_s, snapshot) = (world.clone(), later_s, Arc::new(Mutex::new(Some(snapshot))));
                let (is_read, soon) = (AtomicUsize::new(0), Arc::new(Mutex::new(None)));
                let grown = soon.clone();
                let goes_back = Arc::new(move |name: &str, params: &Value| {
                    is_read.fetch_or(usize::from(name == "eth_getBlockReceipts"), Ordering::Relaxed);
                    let is_meant = name == asked && params.to_string().contains(&of);
                    // The parent's header is asked for before as well, to follow the chain.
                    if is_meant && (asked != "eth_getBlockByNumber" || is_read.load(Ordering::Relaxed) == 1) {
                        let mut snapshot = snapshot.lock().unwrap();
                        if let Some(snapshot) = snapshot.take() {
                            chain.call("evm_revert", json!([snapshot]));
                            let chain = chain.clone();
                            let grow = std::thread::spawn(move || {
                                std::thread::sleep(Duration::from_millis(if is_longer_at_once { 0 } else { 20 }));
                                feed(&chain, base + 3, then_s);
                            });
                            match is_longer_at_once {
                                true => grow.join().unwrap(),
                                false => *soon.lock().unwrap() = Some(grow),
                            }
                        }
                    }
                    false
                });
                let chain = world.clone();
                // As anvil does for a moment: what it proves of a block that it left is the state that stands there now.
                let now = Fault::Instead(Arc::new(move |_: &str, params: &Value| {
                    chain.call("eth_getProof", json!([params[0], params[1], "latest"]))
                }));
                let is_of_left = move |name: &str, params: &Value| {
                    name == "eth_getProof" && params[2]["blockHash"] == left.as_str() && is_longer_at_once
                };
                for proxy in &proxies {
                    let goes_back = goes_back.clone();
                    let back = Rule::when(move |name, params| goes_back(name, params), Fault::Drop);
                    proxy.set(vec![back, Rule::when(is_of_left.clone(), now.clone())]);
                }
                let (code, said) = index(&lab);
                assert!(code == 0 && !said.contains("kind"), "{case}: {code}: {said}");
                grown.lock().unwrap().take().into_iter().for_each(|grow| grow.join().unwrap());
                assert_eq!(world.height(), base + 3, "{case}: it did not go back");
                proxies.iter().for_each(|proxy| proxy.set(vec![]));
                let (code, said) = index(&lab);
                assert!(code == 0 && !said.contains("kind"), "{case}, afterwards: {code}: {said}");
                assert_eq!(agrees_from(&lab, &world, base), base + 3, "{case}");
            }
        }
    }
}

/// It follows from the token's code; where a node proves nothing, so many must say it.
#[test]
fn what_a_token_says_of_itself_must_be_proven_or_said_by_enough() {
    let ([a, b, c], token) = anvils();
    let eight = alter(|answer| *answer = json!(format!("0x{:064x}", 8)));
    let decimals = Rule::when(|name, params| name == "eth_call" && params[0]["data"] == "0x313ce567", eight);
    let check = |nodes: &[&str], need: usize| lab(nodes, need, token).json(&["check"], 0).to_string();
    let is_right = |said: &str| said.contains("6 decimals, as its contract says");
    let proxy = Proxy::with(&a.anvil.url, vec![decimals.clone()]);
    let said = check(&[&proxy.url, &b.anvil.url], 2);
    assert!(is_right(&said), "{said}");
    let no_proofs =
        Rule::always(&["eth_getProof"], Fault::Refuse(-32601, "the method does not exist/is not available"));
    proxy.set(vec![decimals, no_proofs]);
    let said = check(&[&proxy.url, &b.anvil.url, &c.anvil.url], 2);
    assert!(is_right(&said), "{said}");
    let said = check(&[&proxy.url, &b.anvil.url], 2);
    assert!(said.contains("says 8 decimals") && said.contains("cannot be compared"), "{said}");
}

#[test]
fn what_is_no_quorum_is_refused() {
    let lab = lab(&["http://127.0.0.1:1", "http://127.0.0.1:2"], 2, Address::fresh(1));
    let configured = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    lab.write("node", "http://127.0.0.1:1/with/a/key\n");
    for (second, says) in [
        ("rpc = \"http://127.0.0.1:1\"", "chain[0].node[1]: stands there twice"),
        ("rpc = \"http://127.0.0.1:1/another/path\"", "stands there twice"),
        ("url_file = \"node\"", "http://127.0.0.1:1 stands there twice"),
    ] {
        lab.write("assay.toml", &configured.replace("rpc = \"http://127.0.0.1:2\"", second));
        let ran = lab.assay(&["index", "--once"]);
        assert!(ran.code == 2 && ran.stderr.contains(says) && ran.stderr.contains("hint: "), "{}", ran.stderr);
    }
}

/// Bitcoin's headers prove what they hold, and not that no other branch is there.
#[test]
fn two_bitcoin_nodes_agree_and_part() {
    let scene = Scene::new(8);
    let dir = tempfile::tempdir().unwrap();
    let other = Bitcoind::start(dir.path(), &[]).unwrap();
    copy_blocks(&scene.node, &other, 1..=8);
    let config = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    let cookie = other.cookie_file.display();
    let node = format!("[[chain.node]]\nrpc = \"{}\"\ncookie_file = \"{cookie}\"\n\n[serve]", other.rpc_url);
    let config = config.replace("[serve]", &node).replacen("[[chain.node]]", "quorum = 2\n[[chain.node]]", 1);
    scene.lab.write("assay.toml", &config);
    let serving = scene.serve();
    indexed(&serving, 8);
    // One is ahead, and the chain waits for the other.
    scene.mine(3);
    let (first, second) = (scene.node.rpc_url.trim_end_matches('/'), other.rpc_url.trim_end_matches('/'));
    let states = |chains: &Value, states: [&str; 2]| {
        standings(chains) == [(first.to_owned(), states[0].to_owned()), (second.to_owned(), states[1].to_owned())]
    };
    serving.wait("/v1/chains", |chains| states(chains, ["agrees", "behind"]));
    indexed(&serving, 8);
    // The other one mines its own.
    let stranger = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";
    other.call("generatetoaddress", json!([1, stranger])).unwrap();
    serving.wait("/v1/chains", |chains| states(chains, ["disagrees", "disagrees"]));
    indexed(&serving, 8);
    // The longer branch is both's in the end.
    copy_blocks(&scene.node, &other, 9..=11);
    serving.wait("/v1/chains", |chains| states(chains, ["agrees", "agrees"]));
    indexed(&serving, 11);
    assert_eq!(serving.stop().0, 0);
}
