//! `assay serve` when something is not known: what cannot be told backs nobody, accuses nobody, and lets nobody go.

#![allow(clippy::unwrap_used)]

mod lab;
#[path = "lab/proxy.rs"]
mod proxy;
#[path = "lab/scene.rs"]
mod scene;
#[path = "lab/serving.rs"]
mod serving;

use std::time::{Duration, Instant};

use proxy::Proxy;
use scene::{SUBSIDY, Scene, btc_gate, copy_blocks, indexed, submit};
use serde_json::{Value, json};
use serving::Serving;

const STRANGER: &str = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";

/// The state of the alert that this rule raised; nothing where it raised none.
fn alert(serving: &Serving, rule: &str) -> Option<String> {
    let alerts = serving.get("/v1/alerts");
    let found = alerts["alerts"].as_array().unwrap().iter().find(|alert| alert["rule"] == rule)?;
    Some(found["state"].as_str().unwrap().to_owned())
}

/// Asks again and again for longer than anything here waits before it clears.
fn stays_firing(serving: &Serving, rule: &str) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert_eq!(alert(serving, rule).as_deref(), Some("firing"), "{rule}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A statement that names no block.
fn unnamed(scene: &Scene, sequence: u64, customers: u64) -> Value {
    let mut statement: Value = serde_json::from_str(&scene.statement(sequence, customers)).unwrap();
    // Blocks that are mined in quick succession run ahead of the clock.
    let tip = scene.node.call("getbestblockhash", json!([])).unwrap();
    let tip = scene.node.call("getblockheader", json!([tip])).unwrap()["time"].as_u64().unwrap();
    let now: assay_types::Timestamp = statement["as_of"]["time"].as_str().unwrap().parse().unwrap();
    let time = now.max(assay_types::Timestamp::from_unix_s(i64::try_from(tip).unwrap()));
    statement["as_of"] = json!({ "time": time });
    statement
}

fn edit(scene: &Scene, with: impl Fn(String) -> String) {
    let config = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    scene.lab.write("assay.toml", &with(config));
}

#[test]
fn while_the_node_is_away_a_later_instant_is_unknown_with_what_was_last_known() {
    let scene = Scene::new(6);
    let proxy = Proxy::new(&scene.node.rpc_url);
    edit(&scene, |config| {
        let config = config.replace(&scene.node.rpc_url, &proxy.url);
        format!("{config}\n[policy]\nmax_index_silence = \"2s\"\n")
            .replace("[halt]\n", "[halt]\nblind_after = \"2s\"\n")
    });
    let serving = scene.serve();
    indexed(&serving, 6);
    let verdict =
        |statement: &Value| submit(&serving, &scene.acme, "acme", &statement.to_string()).json()["verdict"].clone();
    assert_eq!(verdict(&unnamed(&scene, 1, 6 * SUBSIDY))["verdict"], "backed");
    assert_eq!(btc_gate(&serving)["signal"], "allow");

    proxy.open(false);
    serving.wait("/v1/chains", |chains| !chains["chains"][0]["trouble"].is_null());
    // Nobody says anything new, and yet what was said of the last block no longer holds of now: the gate says so.
    let mut sequence = 1;
    let blind = loop {
        sequence += 1;
        let verdict = verdict(&unnamed(&scene, sequence, 6 * SUBSIDY));
        if verdict["verdict"] != "backed" {
            break verdict;
        }
        assert!(sequence < 300, "{verdict:#}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!((&blind["verdict"], &blind["stage"]), (&json!("indeterminate"), &json!("provisional")));
    let unknown = &blind["lines"][0]["unknown"][0];
    let reason = unknown["reason"].as_str().unwrap();
    assert!(
        reason.contains("has not been followed since") && reason.ends_with("the last known block is 6"),
        "{reason}"
    );
    assert_eq!((&unknown["last_known"], &blind["lines"][0]["holdings"]["high"]), (&json!("300"), &Value::Null));
    let gate = serving.wait("/v1/exchanges/acme/gate", |gates| gates["gates"][0]["signal"] == "halt");
    assert_eq!(gate["gates"][0]["blind"], true, "{gate:#}");
    let now = serving.get("/v1/exchanges/acme/holdings");
    assert_eq!((&now["holdings"][0]["low"], &now["complete"]), (&json!("300"), &json!(false)), "{now:#}");
    assert!(now["trouble"][0]["since"].is_string(), "{now:#}");
    let balance = serving.get(&format!("/v1/accounts/bitcoin/{}/balance", scene.address));
    assert_eq!((&balance["amount"], &balance["complete"]), (&json!("300"), &json!(false)), "{balance:#}");
    // A shortage that no unknown could fill is one all the same.
    let mut claimed = unnamed(&scene, sequence + 1, 1_000_000);
    claimed["wallets"] = json!([{ "chain": "bitcoin", "address": scene.address, "asset": "BTC", "claimed": "310" }]);
    let claimed = verdict(&claimed);
    assert_eq!((&claimed["verdict"], &claimed["lines"][0]["holdings"]["high"]), (&json!("short"), &json!("310")));
    assert_eq!(alert(&serving, "phantom-assets").as_deref(), Some("firing"));
    // Unknown again: it lets nobody go.
    assert_eq!(verdict(&unnamed(&scene, sequence + 2, 6 * SUBSIDY))["verdict"], "indeterminate");
    stays_firing(&serving, "phantom-assets");
    assert_eq!(btc_gate(&serving)["signal"], "halt");

    proxy.open(true);
    serving.wait("/v1/exchanges/acme", |acme| acme["verdict"]["verdict"] == "backed");
    serving.wait("/v1/exchanges/acme/gate", |gates| gates["gates"][0]["signal"] == "allow");
    serving.wait("/v1/alerts", |_| alert(&serving, "phantom-assets").as_deref() == Some("resolved"));
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn neither_a_block_that_is_not_there_nor_silence_about_an_asset_clears_a_shortage() {
    let scene = Scene::new(4);
    // There is another asset of which a statement may speak; nothing of it is held, and its node is away.
    edit(&scene, |config| config + &lab::evm_chain("http://127.0.0.1:9", 0, 1));
    let serving = scene.serve();
    indexed(&serving, 4);
    let send = |statement: &Value| submit(&serving, &scene.acme, "acme", &statement.to_string()).json();
    let named = |sequence, customers| -> Value { serde_json::from_str(&scene.statement(sequence, customers)).unwrap() };
    assert_eq!(send(&named(1, 4 * SUBSIDY + 1))["verdict"]["verdict"], "short");
    let mut elsewhere = named(2, 4 * SUBSIDY);
    elsewhere["as_of"]["blocks"]["bitcoin"] = json!({ "height": 5, "hash": "11".repeat(32) });
    assert_eq!(send(&elsewhere)["verdict"]["verdict"], "indeterminate");
    stays_firing(&serving, "phantom-assets");
    let mut silent = named(3, 4 * SUBSIDY);
    silent["assets"] = json!([{ "asset": "ETH", "customers": "0" }]);
    for sequence in [3, 4] {
        silent["sequence"] = json!(sequence);
        assert_eq!(send(&silent)["sequence"], sequence);
    }
    stays_firing(&serving, "phantom-assets");
    assert_eq!(alert(&serving, "dropped-asset").as_deref(), Some("firing"), "also with the second that keeps silent");
    serving.kill();
    let serving = scene.serve();
    indexed(&serving, 4);
    stays_firing(&serving, "dropped-asset");
    assert_eq!(alert(&serving, "phantom-assets").as_deref(), Some("firing"));
    let good = submit(&serving, &scene.acme, "acme", &scene.statement(5, 4 * SUBSIDY)).json();
    assert_eq!(good["verdict"]["verdict"], "backed");
    for rule in ["phantom-assets", "dropped-asset"] {
        serving.wait("/v1/alerts", |_| alert(&serving, rule).as_deref() == Some("resolved"));
    }
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_block_that_is_still_on_its_way_shuts_no_gate() {
    let scene = Scene::new(4);
    let serving = scene.serve();
    indexed(&serving, 4);
    submit(&serving, &scene.acme, "acme", &scene.statement(1, 4 * SUBSIDY));
    assert_eq!(btc_gate(&serving)["signal"], "allow");
    // The exchange's node has it, and ours will.
    let other = assay_testnodes::Bitcoind::start(tempfile::tempdir().unwrap().path(), &[]).unwrap();
    copy_blocks(&scene.node, &other, 1..=4);
    let made = other.call("generatetoaddress", json!([1, scene.address])).unwrap();
    let mut statement: Value = serde_json::from_str(&scene.statement(2, 5 * SUBSIDY)).unwrap();
    statement["as_of"]["blocks"]["bitcoin"] = json!({ "height": 5, "hash": made[0] });
    let receipt = submit(&serving, &scene.acme, "acme", &statement.to_string()).json();
    assert_eq!(receipt["verdict"]["verdict"], "indeterminate");
    let asked = btc_gate(&serving);
    assert_eq!((&asked["signal"], &asked["blind"]), (&json!("allow"), &json!(true)), "{asked:#}");
    copy_blocks(&other, &scene.node, 5..=5);
    serving.wait("/v1/exchanges/acme", |acme| acme["verdict"]["verdict"] == "backed");
    let asked = serving.wait("/v1/exchanges/acme/gate", |gates| gates["gates"][0]["blind"] == false);
    assert_eq!(asked["gates"][0]["signal"], "allow");
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_reorganisation_that_takes_the_statements_block_shuts_no_gate() {
    let scene = Scene::new(4);
    edit(&scene, |config| config.replace("[halt]\n", "[halt]\nblind_after = \"1s\"\n"));
    let serving = scene.serve();
    indexed(&serving, 4);
    submit(&serving, &scene.acme, "acme", &scene.statement(1, 2 * SUBSIDY));
    assert_eq!(btc_gate(&serving)["signal"], "allow");
    let tip = scene.node.call("getbestblockhash", json!([])).unwrap();
    scene.node.call("invalidateblock", json!([tip])).unwrap();
    scene.node.call("generatetoaddress", json!([2, STRANGER])).unwrap();
    indexed(&serving, 5);
    serving.wait("/v1/exchanges/acme", |acme| acme["verdict"]["verdict"] == "indeterminate");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let asked = btc_gate(&serving);
        assert_eq!((&asked["signal"], &asked["blind"]), (&json!("allow"), &json!(true)), "{asked:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
    submit(&serving, &scene.acme, "acme", &scene.statement(2, 2 * SUBSIDY));
    assert_eq!((&btc_gate(&serving)["signal"], &btc_gate(&serving)["blind"]), (&json!("allow"), &json!(false)));
    // One that was never there is the exchange's own doing.
    let mut elsewhere: Value = serde_json::from_str(&scene.statement(3, 2 * SUBSIDY)).unwrap();
    elsewhere["as_of"]["blocks"]["bitcoin"]["hash"] = json!("11".repeat(32));
    submit(&serving, &scene.acme, "acme", &elsewhere.to_string());
    serving.wait("/v1/exchanges/acme/gate", |gates| gates["gates"][0]["signal"] == "halt");
    assert_eq!(serving.stop().0, 0);
}

/// A statement as of an instant that the other node's blocks do not run ahead of either.
fn after(other: &assay_testnodes::Bitcoind, scene: &Scene, sequence: u64, customers: u64) -> String {
    let tip = other.call("getbestblockhash", json!([])).unwrap();
    let tip = other.call("getblockheader", json!([tip])).unwrap()["time"].as_u64().unwrap();
    let mut statement: Value = serde_json::from_str(&scene.statement(sequence, customers)).unwrap();
    let now: assay_types::Timestamp = statement["as_of"]["time"].as_str().unwrap().parse().unwrap();
    let time = now.max(assay_types::Timestamp::from_unix_s(i64::try_from(tip).unwrap()));
    statement["as_of"]["time"] = json!(time);
    statement.to_string()
}

#[test]
fn a_disagreement_holds_back_only_what_one_of_the_answers_would_clear() {
    let scene = Scene::new(6);
    let dir = tempfile::tempdir().unwrap();
    let other = assay_testnodes::Bitcoind::start(dir.path(), &[]).unwrap();
    // The same three blocks, then others, of which four pay acme as well: 350 there, 300 here.
    copy_blocks(&scene.node, &other, 1..=3);
    other.call("generatetoaddress", json!([1, STRANGER])).unwrap();
    other.call("generatetoaddress", json!([4, scene.address])).unwrap();
    edit(&scene, |config| {
        let cookie = other.cookie_file.display();
        let node = format!("[[chain.node]]\nrpc = \"{}\"\ncookie_file = \"{cookie}\"\n\n[serve]", other.rpc_url);
        config.replace("[serve]", &node)
    });
    let serving = scene.serve();
    indexed(&serving, 6); // final up to 4
    serving.wait("/v1/chains", |_| scene.lab.path("assay-data/bitcoin.node-2/CURRENT").exists());
    let send =
        |sequence, customers| submit(&serving, &scene.acme, "acme", &after(&other, &scene, sequence, customers)).json();
    let verdict = |wished: &str| serving.wait("/v1/exchanges/acme", |acme| acme["verdict"]["verdict"] == wished);
    // What is owed is there by neither.
    send(1, 351);
    verdict("short");
    assert_eq!(alert(&serving, "phantom-assets").as_deref(), Some("firing"));
    assert_eq!(alert(&serving, "nodes-disagree").as_deref(), Some("firing"));
    // By one of them it is. What fires goes on to fire; nobody is cleared, nobody else accused.
    send(2, 320);
    let acme = verdict("indeterminate");
    let line = &acme["verdict"]["lines"][0];
    assert_eq!((&line["holdings"]["low"], &line["holdings"]["high"]), (&json!("0"), &json!("350")), "{line:#}");
    assert!(line["unknown"][0]["reason"].as_str().unwrap().contains("nodes disagree"), "{line:#}");
    stays_firing(&serving, "phantom-assets");
    // What is there by our node's blocks alone backs nobody, and a restart forgets no disagreement.
    send(3, 300);
    verdict("indeterminate");
    serving.kill();
    let serving = scene.serve();
    indexed(&serving, 6);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert_ne!(serving.get("/v1/exchanges/acme")["verdict"]["verdict"], "backed");
        assert_eq!(alert(&serving, "nodes-disagree").as_deref(), Some("firing"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let send =
        |sequence, customers| submit(&serving, &scene.acme, "acme", &after(&other, &scene, sequence, customers)).json();
    let verdict = |wished: &str| serving.wait("/v1/exchanges/acme", |acme| acme["verdict"]["verdict"] == wished);

    // It takes the longer chain, and agrees; then 320 are there by both.
    scene.mine(6);
    copy_blocks(&scene.node, &other, 4..=12);
    serving.wait("/v1/findings", |findings| !findings.to_string().contains("nodes-disagree"));
    send(4, 12 * SUBSIDY);
    verdict("backed");
    serving.wait("/v1/alerts", |_| alert(&serving, "phantom-assets").as_deref() == Some("resolved"));
    // What was in doubt was final for nobody: now it is judged by the chain that they agree on.
    let kept = serving.wait("/v1/exchanges/acme/verdicts", |kept| {
        let each = kept["verdicts"].as_array().unwrap();
        each.iter().filter(|one| one["verdict"]["stage"] == "final").count() >= 2
    });
    for one in kept["verdicts"].as_array().unwrap().iter().filter(|one| one["verdict"]["stage"] == "final") {
        assert_ne!(one["verdict"]["verdict"], "indeterminate", "{one:#}");
    }
    serving.wait("/v1/chains", |_| !scene.lab.path("assay-data/bitcoin.node-2").exists());
    assert_eq!(serving.stop().0, 0);
}
