//! Stories of an anvil that leaves blocks which were final, or that no undo is kept for: everybody who asks is told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/proxy.rs"]
mod proxy;
#[path = "lab/serving.rs"]
mod serving;

use assay_types::Timestamp;
use contracts::{Address, World};
use lab::Lab;
use proxy::Proxy;
use serde_json::{Value, json};
use serving::Serving;

fn lab(world: &World, finality: &str) -> Lab {
    let lab = Lab::new();
    let chain = lab::evm_chain(&world.anvil.url, 1, 1).replace("finality = { confirmations = 1 }", finality);
    let serve = "[serve]\nlisten = \"127.0.0.1:0\"\nintake = \"intake\"\n";
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{serve}"));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &world.users[..3]));
    lab
}

/// A statement as of the chain's last block.
fn statement(world: &World) -> String {
    let time = Timestamp::from_unix_s(i64::try_from(world.time(world.height())).unwrap());
    json!({
        "format": "assay.statement/1", "exchange": "acme", "sequence": 1, "as_of": { "time": time.to_string() },
        "assets": [ { "asset": "ETH", "customers": "1" } ],
    })
    .to_string()
}

/// The last block that is indexed is a statement's only where it is the node's, or the node's next one is later.
#[test]
fn an_index_that_is_behind_its_node_has_no_block_for_a_later_statement() {
    let world = World::new(&[]);
    mine(&world, 5, 9);
    let lab = lab(&world, "finality = { confirmations = 1 }");
    lab.index();
    let earlier = statement(&world);
    let verify = |statement: &str, code| {
        lab.write("statement.json", statement);
        lab.json(&["verify", "acme", "--statement", "statement.json"], code).to_string()
    };
    verify(&earlier, 0);
    world.call("evm_increaseTime", json!([10]));
    mine(&world, 3, 9);
    let later = statement(&world);
    let said = verify(&later, 3);
    assert!(said.contains("has later blocks than the index"), "{said}");
    verify(&earlier, 0);
    lab.index();
    verify(&later, 0);
}

/// Blocks that are none of the other branch's.
fn mine(world: &World, blocks: u64, to: u8) {
    for _ in 0..blocks {
        world.pay(world.users[0], Address::fresh(to), 1);
        world.mine();
    }
}

fn has_rule<'v>(findings: &'v Value, rule: &str) -> Option<&'v Value> {
    findings["findings"].as_array().unwrap().iter().find(|finding| finding["rule"] == rule)
}

/// Leaves six blocks that are indexed, and has seven others.
fn leave(world: &World, lab: &Lab) -> u64 {
    mine(world, 3, 1);
    let fork = world.height();
    let snapshot = world.call("evm_snapshot", json!([]));
    mine(world, 6, 1);
    lab.index();
    world.call("evm_revert", json!([snapshot]));
    mine(world, 7, 2);
    fork
}

#[test]
fn what_leaves_final_blocks_is_told_until_it_is_accepted() {
    for (finality, beyond) in [
        ("finality = { confirmations = 3 }", "beyond finality"),
        ("finality = { tag = \"finalized\" }\nundo_depth = 4", "beyond undo"),
    ] {
        let world = World::new(&[]);
        let lab = lab(&world, finality);
        let fork = leave(&world, &lab);
        let user = world.users[1].to_string();
        let first_left = lab.json(&["balance", &user, "--chain", "evm", "--at", &(fork + 1).to_string()], 0);
        let hash = first_left["at"]["hash"].as_str().unwrap();
        let ran = lab.assay(&["index", "--once"]);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("{beyond}: block {} {hash}", fork + 1)), "{}", ran.stderr);

        let check = lab.json(&["check"], 4)["checks"].to_string();
        assert!(check.contains(beyond) && check.contains(hash), "{check}");
        lab.write("statement.json", &statement(&world));
        let verdict = lab.json(&["verify", "acme", "--statement", "statement.json"], 1);
        assert_eq!(verdict["verdict"], "indeterminate", "{verdict:#}");
        let finding = has_rule(&verdict, "beyond-finality").unwrap();
        assert_eq!((&finding["severity"], &finding["evidence"]["height"]), (&json!("critical"), &json!(fork + 1)));
        for at in [fork + 1, fork + 6] {
            let unknown = lab.json(&["balance", &user, "--chain", "evm", "--at", &at.to_string()], 3);
            assert!(unknown["reason"].as_str().unwrap().contains(beyond), "{unknown}");
        }
        lab.json(&["balance", &user, "--chain", "evm", "--at", &fork.to_string()], 0);
        let history = lab.json(&["history", &user, "--chain", "evm"], 3);
        for row in history["movements"].as_array().unwrap() {
            let has_left = row["height"].as_u64().unwrap() > fork;
            assert_eq!(row["balance"].is_null(), has_left, "{row}");
            assert!(!has_left || row["final"] == false, "{row}");
        }
        let unknown = history["unknown"].as_array().unwrap().last().unwrap();
        assert_eq!(unknown["from"], fork + 1, "{unknown}");

        if beyond == "beyond finality" {
            let tip = world.hash(world.height());
            let ran = lab.assay(&["index", "--once", "--chain", "evm", "--accept-reorg", &tip]);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            assert_eq!(lab.assay(&["check"]).code, 0);
            let verdict = lab.json(&["verify", "acme", "--statement", "statement.json"], 0);
            assert_eq!(verdict["verdict"], "backed", "{verdict:#}");
        }
    }
}

/// What is found once the chain has left blocks that were final.
fn leave_final_blocks(world: &World, serving: &Serving) -> Value {
    let snapshot = world.call("evm_snapshot", json!([]));
    mine(world, 6, 1);
    serving.wait("/v1/chains", |chains| chains["chains"][0]["indexed"]["height"] == world.height());
    assert!(has_rule(&serving.get("/v1/findings"), "beyond-finality").is_none());
    world.call("evm_revert", json!([snapshot]));
    mine(world, 7, 2);
    serving.wait("/v1/findings", |findings| has_rule(findings, "beyond-finality").is_some())
}

#[test]
fn who_watches_is_told_at_once() {
    let world = World::new(&[]);
    let lab = lab(&world, "finality = { confirmations = 3 }");
    mine(&world, 3, 1);
    let serving = Serving::start(&lab, "");
    lab.write("intake/acme/.coming", &statement(&world));
    std::fs::rename(lab.path("intake/acme/.coming"), lab.path("intake/acme/1.json")).unwrap();
    serving.wait("/v1/exchanges/acme/verdicts", |kept| !kept["verdicts"].as_array().unwrap().is_empty());
    serving.wait("/v1/exchanges/acme/gate", |gates| gates["gates"][0]["blind"] == false);
    let found = leave_final_blocks(&world, &serving);
    let finding = has_rule(&found, "beyond-finality").unwrap();
    assert_eq!(finding["severity"], "critical", "{finding:#}");
    assert!(
        finding["message"].as_str().unwrap().contains("the chain reorganised beyond finality: block 4 0x"),
        "{finding:#}"
    );
    serving.wait("/v1/alerts", |alerts| {
        let mut each = alerts["alerts"].as_array().unwrap().iter();
        each.any(|one| one["rule"] == "beyond-finality" && one["state"] == "firing")
    });
    // Nothing is known of now, and that is not waited for.
    let gate = serving.wait("/v1/exchanges/acme/gate", |gates| gates["gates"][0]["blind"] == true);
    assert!(gate["gates"][0]["reason"].as_str().unwrap().contains("has not been followed since"), "{gate:#}");
}

/// His accounts are on that chain, whatever he says of them.
#[test]
fn who_has_sent_no_statement_is_told_of_his_chains() {
    let world = World::new(&[]);
    let lab = lab(&world, "finality = { confirmations = 3 }");
    mine(&world, 3, 1);
    let serving = Serving::start(&lab, "");
    leave_final_blocks(&world, &serving);
    serving.wait("/v1/alerts", |alerts| {
        let mut each = alerts["alerts"].as_array().unwrap().iter();
        each.any(|one| one["rule"] == "beyond-finality" && one["state"] == "firing")
    });
}

/// What stands behind an address may change while a chain is followed: that is said of the node, and not of the chain.
#[test]
fn a_node_of_another_chain_is_none_that_left_final_blocks() {
    let [world, other] = [World::new(&[]), World::new(&["--chain-id", "777", "--timestamp", "1700000000"])];
    mine(&world, 6, 1);
    mine(&other, 9, 2);
    let proxy = Proxy::new(&world.anvil.url);
    let lab = lab(&world, "finality = { confirmations = 3 }");
    let configured = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    lab.write("assay.toml", &configured.replace(&world.anvil.url, &proxy.url));
    let serving = Serving::start(&lab, "");
    serving.wait("/v1/chains", |chains| chains["chains"][0]["indexed"]["height"] == world.height());
    proxy.before(&other.anvil.url);
    let chains = serving.wait("/v1/chains", |chains| chains["chains"][0]["trouble"]["lasting"] == true);
    let why = chains["chains"][0]["trouble"]["why"].as_str().unwrap();
    assert!(why.contains("eip155:777") && !why.contains("finality"), "{why}");
    proxy.before(&world.anvil.url);
    mine(&world, 1, 1);
    serving.wait("/v1/chains", |chains| chains["chains"][0]["indexed"]["height"] == world.height());
}

/// A header commits to its time, whatever that is: clocks of private chains are set back.
#[test]
fn a_clock_that_was_set_back_is_no_lie() {
    let world = World::new(&[]);
    mine(&world, 2, 1);
    let time = world.time(world.height());
    world.call("evm_setTime", json!([(time - 50) * 1_000]));
    mine(&world, 2, 1);
    assert!(world.time(world.height()) < time);
    let lab = lab(&world, "finality = { confirmations = 1 }");
    lab.index();
    let held = lab.json(&["balance", &world.users[0].to_string(), "--chain", "evm"], 0);
    assert_eq!(held["at"]["height"], world.height(), "{held:#}");
}
