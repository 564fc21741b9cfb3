//! What is said to be proven can be shown: kept proofs leave the store, and are checked again without it and without a node.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/proxy.rs"]
mod proxy;
#[path = "lab/serving.rs"]
mod serving;

use assay_store::{Mode, Store, Undo};
use assay_types::{Account, Amount, Asset, Block, Proof, Reading, Timestamp};
use contracts::{Address, World};
use lab::{ANVIL, Lab};
use proxy::{Fault, Proxy, Rule};
use serde_json::{Value, json};
use serving::Serving;

/// An exchange with three accounts on a chain with a token; one of them holds nothing.
struct Scene {
    world: World,
    accounts: Vec<Address>,
    /// Before the node.
    node: Proxy,
    lab: Lab,
}

const SERVE: &str = "[serve]\nlisten = \"127.0.0.1:0\"\ntokens_file = \"tokens\"\n\n";

impl Scene {
    fn new() -> Scene {
        let world = World::new(&[]);
        let token = world.deploy("Token", abi!["USDX", "USDX", 6, 1_000_000_000]);
        let accounts = vec![world.users[0], Address::fresh(1), Address::fresh(2)];
        world.mine();
        world.pay(world.users[1], accounts[1], 12_345);
        world.invoke(accounts[0], token, 0, "transfer(address,uint256)", abi![accounts[1], 678]);
        world.mine();
        world.mine();
        let (node, lab) = (Proxy::new(&world.anvil.url), Lab::new());
        let chain = lab::evm_chain(&node.url, 1, 40);
        lab.write("assay.toml", &format!("data_dir = \"data\"\n{SERVE}{chain}{}", contracts::asset("USDX", token, 6)));
        lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &accounts));
        Scene { world, accounts, node, lab }
    }

    fn balance(&self, account: Address, asset: &str, more: &[&str]) -> Value {
        let account = account.to_string();
        let question = ["balance", &account, "--chain", "evm", "--asset", asset, "--proof"];
        self.lab.json(&[&question, more].concat(), 0)
    }

    /// What the node itself answers when it is asked for the proof of what this one is about.
    fn asked(&self, proof: &Value) -> Value {
        let answer = &proof["eth_getProof"];
        let keys: Vec<&Value> = answer["storageProof"].as_array().unwrap().iter().map(|slot| &slot["key"]).collect();
        let at = json!({ "blockHash": proof["at"]["hash"] });
        self.world.call("eth_getProof", json!([answer["address"], keys, at]))
    }

    fn statement(&self) {
        let tip = self.world.height();
        let as_of = Timestamp::from_unix_s(i64::try_from(self.world.time(tip)).unwrap()).to_string();
        let nothing = |asset| json!({ "asset": asset, "customers": "0" });
        let blocks = json!({ "evm": { "height": tip, "hash": self.world.hash(tip) } });
        let statement = json!({
            "format": "assay.statement/1", "exchange": "acme", "as_of": { "time": as_of, "blocks": blocks },
            "assets": [nothing("ETH"), nothing("USDX")],
        });
        self.lab.write("statement.json", &statement.to_string());
    }
}

/// Checks a document where there is neither a configuration nor a store.
fn check(document: &Value) -> lab::Ran {
    let elsewhere = Lab::new();
    elsewhere.write("proof.json", &document.to_string());
    elsewhere.assay(&["proof", "check", "proof.json", "--json"])
}

/// The same document with something else at this place.
fn with(document: &Value, place: &str, other: impl FnOnce(&Value) -> Value) -> Value {
    let mut altered = document.clone();
    let value = altered.pointer_mut(place).unwrap_or_else(|| panic!("{place}"));
    let other = other(value);
    assert_ne!(*value, other, "{place}");
    *value = other;
    altered
}

/// Another digit at the end.
fn otherwise(value: &Value) -> Value {
    let text = value.as_str().unwrap();
    let last = if text.ends_with('1') { "2" } else { "1" };
    json!(format!("{}{last}", &text[..text.len() - 1]))
}

#[test]
fn a_kept_proof_shows_a_balance_to_whoever_has_no_node_and_nothing_else() {
    let scene = Scene::new();
    // Everything up to here is one stretch: its last block's proofs are kept.
    scene.lab.index();
    let tip = scene.world.height();
    let mut all = Vec::new();
    for (account, asset) in scene.accounts.iter().flat_map(|account| ["ETH", "USDX"].map(|asset| (*account, asset))) {
        let answer = scene.balance(account, asset, &[]);
        let (proof, what) = (&answer["proof"], format!("{account} {asset}"));
        assert_eq!((&answer["coverage"], &proof["units"]), (&json!("verified"), &answer["units"]), "{what}");
        assert_eq!((&proof["at"], &proof["unmoved"]), (&answer["at"], &json!(true)), "{what}");
        assert_eq!((&proof["at"]["height"], &proof["at"]["hash"]), (&json!(tip), &json!(scene.world.hash(tip))));
        let asked = scene.asked(proof);
        for part in ["accountProof", "balance", "nonce", "codeHash", "storageHash"] {
            assert_eq!(proof["eth_getProof"][part], asked[part], "{what}: {part}");
        }
        let slots = |answer: &Value| {
            answer["storageProof"].as_array().unwrap().iter().map(|one| one["proof"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(slots(&proof["eth_getProof"]), slots(&asked), "{what}");
        let ran = check(&answer);
        assert_eq!(ran.code, 0, "{what}: {}", ran.stderr);
        let proven: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(proven["proven"][0]["units"], answer["units"], "{what}");
        all.push(answer);
    }
    assert_eq!(all.iter().map(|one| one["units"] == "0").collect::<Vec<_>>(), [false, false, false, false, true, true]);

    let nodes = |place: &str, node: usize| format!("/proof/eth_getProof/{place}/{node}");
    for answer in &all[..4] {
        let mut places: Vec<String> =
            ["units", "header", "at/hash", "eth_getProof/balance", "eth_getProof/storageHash"]
                .map(|place| format!("/proof/{place}"))
                .into();
        places.extend(
            (0..answer["proof"]["eth_getProof"]["accountProof"].as_array().unwrap().len())
                .map(|node| nodes("accountProof", node)),
        );
        if answer["asset"] == "USDX" {
            places.extend(
                ["storageProof/0/value", "storageProof/0/key", "storageProof/0/proof/0"]
                    .map(|place| format!("/proof/eth_getProof/{place}")),
            );
        }
        for place in places {
            let ran = check(&with(answer, &place, otherwise));
            assert_eq!(ran.code, 4, "{place}: {}{}", ran.stdout, ran.stderr);
            assert!(ran.stderr.starts_with("error: the proof of 0x"), "{}", ran.stderr);
        }
        let height = check(&with(answer, "/proof/at/height", |_| json!(tip - 1)));
        let time = check(&with(answer, "/proof/at/time", |_| json!("2020-01-01T00:00:00Z")));
        let whose = check(&with(answer, "/proof/address", |_| json!(Address::fresh(9).to_string())));
        assert_eq!([height.code, time.code, whose.code], [4, 4, 4], "{}", whose.stderr);
    }
    // One account's proof under another's name, and a token's as ether.
    let swapped = check(&with(&all[3], "/proof/address", |_| all[1]["proof"]["address"].clone()));
    let ether = check(&with(&all[3], "/proof/asset", |_| all[0]["proof"]["asset"].clone()));
    assert_eq!((swapped.code, ether.code), (4, 4), "{}", swapped.stderr);
    assert_eq!(check(&json!({ "proofs": [] })).code, 2);
}

#[test]
fn the_proofs_of_a_verdict_come_out_with_it() {
    let scene = Scene::new();
    scene.lab.index();
    scene.statement();
    let ran = scene.lab.assay(&["verify", "acme", "--statement", "statement.json", "--proofs", "proofs.json"]);
    assert!(ran.stderr.contains("evm: 4 of 4 balances above zero have a proof in proofs.json"), "{}", ran.stderr);
    let text = std::fs::read_to_string(scene.lab.path("proofs.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["backed"], json!([{ "chain": "evm", "balances": 4, "proofs": 4 }]));
    assert_eq!(document["blocks"][0]["hash"], document["proofs"][0]["at"]["hash"]);
    assert_eq!(document["proofs"].as_array().unwrap().len(), 6);
    assert_eq!(check(&document).code, 0);
    assert_eq!(check(&with(&document, "/proofs/3/units", otherwise)).code, 4, "one that is wrong is told among many");

    // Later the proofs are of a later block: they back the earlier one where nothing moved since.
    scene.world.pay(scene.world.users[1], scene.accounts[1], 5);
    scene.world.mine();
    scene.lab.index();
    let ran = scene.lab.assay(&["verify", "acme", "--statement", "statement.json", "--proofs", "proofs.json"]);
    assert!(ran.stderr.contains("evm: 3 of 4 balances"), "{}", ran.stderr);
    let earlier = (scene.world.height() - 1).to_string();
    let answer = scene.balance(scene.accounts[1], "ETH", &["--at", &earlier]);
    assert_eq!((&answer["proof"]["unmoved"], &answer["units"]), (&json!(false), &json!("12345")));
    assert_eq!((&answer["proof"]["units"], check(&answer).code), (&json!("12350"), 0));

    // Over HTTP it is the same document.
    let secret = scene.lab.assay(&["token", "new", "watch", "--scope", "regulator"]).stdout.trim().to_owned();
    let serving = Serving::start(&scene.lab, &secret);
    let path = format!("/v1/accounts/evm/{}/balance?asset=USDX", scene.accounts[1]);
    let asked = format!("{path}&proof=true");
    serving.wait("/v1/chains", |chains| !chains["chains"][0]["indexed"].is_null());
    serving.wait(&asked, |answer| answer["proof"]["at"] == answer["at"]);
    let answer = serving.get(&asked);
    assert_eq!((check(&answer).code, &answer["proof"]["units"]), (0, &json!("678")));
    assert!(serving.get(&path).get("proof").is_none());
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_proof_goes_with_its_block_and_is_shown_for_no_other() {
    let scene = Scene::new();
    scene.lab.index();
    let account = scene.accounts[1];
    let before = scene.balance(account, "ETH", &[]);
    assert_eq!(before["proof"]["units"], "12345");

    // The node proves nothing of the blocks that take the place of the last two.
    let refused = Fault::Refuse(-32601, "the method eth_getProof does not exist/is not available");
    scene.node.set(vec![Rule::always(&["eth_getProof"], refused)]);
    scene.world.call("anvil_reorg", json!([2, []]));
    scene.lab.index();
    let tip = scene.world.height();
    assert_eq!(tip, before["at"]["height"]);
    assert_ne!(before["at"]["hash"], scene.world.hash(tip));
    for (account, asset) in scene.accounts.iter().flat_map(|account| ["ETH", "USDX"].map(|asset| (*account, asset))) {
        let answer = scene.balance(account, asset, &[]);
        assert_eq!((&answer["proof"], &answer["coverage"]), (&Value::Null, &json!("unproven")), "{account} {asset}");
    }
    assert_eq!(check(&before).code, 0, "it still proves what was, of a block with that hash");

    // It proves again: the new branch's proofs are kept.
    scene.node.set(vec![]);
    scene.world.mine();
    scene.lab.index();
    let after = scene.balance(account, "ETH", &[]);
    assert_eq!(
        (&after["proof"]["units"], &after["proof"]["at"]["hash"]),
        (&after["units"], &json!(scene.world.hash(tip + 1)))
    );
    assert_ne!(after["units"], before["units"], "the payment was in the block that is gone");
    let deep = scene.lab.json(&["check", "--deep"], 0);
    let told =
        deep["checks"].as_array().unwrap().iter().any(|one| one["message"] == "6 kept proofs prove what is stored");
    assert!(told, "{deep:#}");
}

/// Whoever alters what is stored can alter a proof beside it, and not so that it proves the same.
#[test]
fn a_kept_proof_that_was_altered_in_the_store_is_refused() {
    let scene = Scene::new();
    scene.lab.index();
    {
        let store = Store::open(&scene.lab.path("data/evm"), &ANVIL.parse().unwrap(), Mode::Write).unwrap();
        let (number, _) = store.number(&Account::new(&scene.accounts[1].0)).unwrap().unwrap();
        let (tip, watch) = (store.tip().unwrap().unwrap(), store.watch().unwrap());
        let mut kept = store.kept_proof(number, Asset::Native).unwrap().unwrap();
        *kept.proof.last_mut().unwrap() ^= 1;
        // As if its block had come again, with what was altered.
        let (undo, mut block) = (Undo { depth: 1_000, tip: tip.height }, Block::unread(tip.clone()));
        store.remove_tip().unwrap();
        let (balance, proof) = (Ok(Amount::from(12_345)), Some(Proof(kept.proof.into())));
        block.readings = vec![Reading {
            account: number,
            asset: Asset::Native,
            balance,
            proven: true,
            proof,
            between: assay_types::Between::Told,
        }];
        block.sealed = Some(kept.sealed);
        store.apply(&block, &watch, undo, true).unwrap();
    }
    let ran = scene.lab.assay(&["balance", &scene.accounts[1].to_string(), "--chain", "evm", "--proof"]);
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("the kept proof of 0x"), "{}", ran.stderr);
    assert_eq!(scene.lab.assay(&["balance", &scene.accounts[1].to_string(), "--chain", "evm"]).code, 0);
    let deep = scene.lab.assay(&["check", "--deep"]);
    assert_eq!(deep.code, 4, "{}", deep.stdout);
}

/// Many accounts have their proofs kept as their turns come, very many have none, and a long stretch none but at its end.
#[test]
fn what_is_kept_has_a_bound() {
    let scene = Scene::new();
    let crowd = |count: u16, within: u64| {
        let lab = Lab::new();
        let text = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
        lab.write("assay.toml", &text.replacen("finality = ", &format!("read_within = {within}\nfinality = "), 1));
        lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &scene.accounts));
        lab.write("exchanges/acme/others.csv", &contracts::crowd(count));
        lab.index();
        lab
    };
    let kept = |lab: &Lab| {
        let store = Store::open(&lab.path("data/evm"), &ANVIL.parse().unwrap(), Mode::Read).unwrap();
        let mut heights = Vec::new();
        let see = |_, kept: assay_store::KeptProof| {
            heights.push(kept.at.0);
            Ok::<_, assay_store::StoreError>(())
        };
        store.each_kept_proof(see).unwrap();
        heights
    };
    let begun = scene.world.height();
    let (many, very_many) = (crowd(600, 3), crowd(5_000, 300));
    assert!(kept(&many).is_empty(), "the first stretch was a long one, of {begun} blocks with turns of 3");
    for nth in 0..3 {
        scene.world.pay(scene.world.users[1], scene.accounts[1], 100 + nth);
        scene.world.mine();
        many.index();
        very_many.index();
    }
    let heights = kept(&many);
    assert_eq!(heights.len(), 2 * 603, "everyone had a turn, in both assets");
    assert!(heights.iter().all(|height| *height > begun) && heights.contains(&(begun + 1)));
    let address = scene.accounts[1].to_string();
    let moved = many.json(&["balance", &address, "--chain", "evm", "--proof"], 0);
    assert_eq!(moved["proof"]["at"]["height"], begun + 3, "who moved is proven at once");
    assert_eq!(check(&moved).code, 0);
    assert!(kept(&very_many).is_empty());
    let moved = very_many.json(&["balance", &address, "--chain", "evm", "--proof"], 0);
    assert_eq!((&moved["proof"], &moved["coverage"]), (&Value::Null, &json!("verified")));

    // A stretch of few accounts: of its blocks the last one.
    scene.lab.index();
    assert!(kept(&scene.lab).iter().all(|height| *height == begun + 3));
}

/// A verdict says on which proofs it rests: those of its block, those around it, and earlier ones.
#[test]
fn a_verdict_says_how_much_was_proven_at_its_block_and_how_much_earlier() {
    let scene = Scene::new();
    scene.lab.index();
    scene.statement();
    let accounts = |lab: &Lab, asset: usize| {
        let ran = lab.assay(&["verify", "acme", "--statement", "statement.json", "--json"]);
        let verdict: Value = serde_json::from_str(&ran.stdout).unwrap();
        verdict["lines"][asset]["accounts"].clone()
    };
    let part = |accounts: u64, amount: &str| json!({ "accounts": accounts, "amount": amount });
    let usdx = "1000";
    let at_tip = accounts(&scene.lab, 1);
    assert_eq!((&at_tip["verified"], &at_tip["proven"]["at_block"]), (&part(3, usdx), &part(3, usdx)));
    assert_eq!((&at_tip["proven"]["around"], &at_tip["proven"]["earlier"]["accounts"]), (&part(0, "0"), &json!(0)));
    let text = scene.lab.assay(&["verify", "acme", "--statement", "statement.json"]).stdout;
    assert!(text.contains("USDX proven: 1000 on 3 at the block\n"), "{text}");

    // Of three blocks at once the statement is of the middle one, which moved one account.
    scene.world.mine();
    scene.world.pay(scene.world.users[1], scene.accounts[1], 5);
    scene.world.mine();
    scene.statement();
    let named = scene.world.height();
    scene.world.mine();
    scene.lab.index();
    let [ether, token] = [0, 1].map(|asset| accounts(&scene.lab, asset));
    assert_eq!(
        (&token["verified"], &token["proven"]["around"]),
        (&part(3, usdx), &part(3, usdx)),
        "proven on both sides"
    );
    assert_eq!(
        (&ether["proven"]["at_block"]["accounts"], &ether["proven"]["around"]["accounts"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(ether["proven"]["at_block"]["amount"], "0.00000000000001235");

    // Among so many that they have turns, most were proven at one of the blocks before.
    let lab = Lab::new();
    let text = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    lab.write("assay.toml", &text.replacen("finality = ", "read_within = 4\nfinality = ", 1));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &scene.accounts));
    lab.write("exchanges/acme/others.csv", &contracts::crowd(600));
    lab.index();
    for _ in 0..4 {
        scene.world.mine();
        lab.index();
    }
    scene.statement();
    lab.write("statement.json", &std::fs::read_to_string(scene.lab.path("statement.json")).unwrap());
    let tip = scene.world.height();
    assert_eq!(tip, named + 5);
    // Ether: of a token, empty slots prove nothing beside no holder.
    let told = accounts(&lab, 0);
    let [at_block, around, earlier] =
        ["at_block", "around", "earlier"].map(|when| told["proven"][when]["accounts"].as_u64().unwrap());
    assert_eq!(
        (at_block + around, earlier),
        (told["verified"]["accounts"].as_u64().unwrap(), told["unproven"]["accounts"].as_u64().unwrap())
    );
    assert_eq!((at_block + around + earlier, around), (603, 0));
    assert!((140..=160).contains(&at_block), "a quarter has its turn: {told:#}");
    assert_eq!(told["proven"]["earlier"]["lowest"], json!([{ "chain": "evm", "height": tip - 3 }]));
}
