//! `assay serve` from the exchange's side, on a real bitcoind: the gate as it changes, and a difference explained.

#![allow(clippy::unwrap_used)]

mod lab;
#[path = "lab/scene.rs"]
mod scene;
#[path = "lab/serving.rs"]
mod serving;

use scene::{SUBSIDY, Scene, copy_blocks, indexed, submit};
use serde_json::{Value, json};

/// Nobody's.
const STRANGER: &str = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";

/// A statement with the house at nothing, and these flows.
fn statement(scene: &Scene, sequence: u64, customers: u64, deposits: u64, rewards: u64) -> String {
    let mut statement: Value = serde_json::from_str(&scene.statement(sequence, customers)).unwrap();
    let flow = |amount: u64| amount.to_string();
    statement["assets"][0]["house"] = json!("0");
    statement["assets"][0]["flows"] = json!({ "deposits": flow(deposits), "withdrawals": "0", "rewards": flow(rewards),
        "fees": "0", "corrections": "0" });
    statement["wallets"] =
        json!([{ "chain": "bitcoin", "address": scene.address, "asset": "BTC", "claimed": customers.to_string() }]);
    statement.to_string()
}

#[test]
fn an_invented_credit_is_explained_by_itself_and_since_when() {
    let scene = Scene::new(4);
    let nothing = scene.lab.assay(&["explain", "acme", "BTC"]);
    assert_eq!(nothing.code, 3);
    assert!(nothing.stderr.contains("no statement of acme is kept here"), "{}", nothing.stderr);
    let serving = scene.serve();
    indexed(&serving, 4);
    submit(&serving, &scene.acme, "acme", &statement(&scene, 1, 4 * SUBSIDY, 0, 0));
    scene.mine(1);
    indexed(&serving, 5);
    submit(&serving, &scene.acme, "acme", &statement(&scene, 2, 5 * SUBSIDY, SUBSIDY, 0));
    scene.mine(2);
    indexed(&serving, 7);
    // Of the two that were mined since, one is credited as a deposit, and 1,000 come from nowhere.
    submit(&serving, &scene.acme, "acme", &statement(&scene, 3, 6 * SUBSIDY + 1000, SUBSIDY, 1000));

    // What is found against the statement before is found again by a process that reads it from its records.
    let rules = |found: &Value| {
        let each = found["findings"].as_array().unwrap().iter();
        each.map(|one| one["rule"].as_str().unwrap().to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    let found = rules(&serving.get("/v1/findings"));
    for rule in
        ["phantom-assets", "ledger-jump", "wallet-shortfall", "credits-over-inventory", "unexplained-difference"]
    {
        assert!(found.contains(rule), "{rule}: {found:?}");
    }
    assert!(!found.contains("deposits-not-on-chain") && !found.contains("roll-forward-broken"), "{found:?}");
    serving.kill();
    let serving = scene.serve();
    indexed(&serving, 7);
    serving.wait("/v1/findings", |again| rules(again) == found);

    // A final verdict that repeats a provisional one is kept in short, and given whole.
    let both = |kept: &Value| -> Vec<Value> {
        kept["verdicts"].as_array().unwrap().iter().filter(|one| one["sequence"] == 1).cloned().collect()
    };
    let kept = serving.wait("/v1/exchanges/acme/verdicts", |kept| both(kept).len() == 2);
    let [last, first] = &both(&kept)[..] else { panic!("{kept:#}") };
    assert_eq!([&last["verdict"]["stage"], &first["verdict"]["stage"]], ["final", "provisional"]);
    assert_eq!([&last["verdict"]["blocks"][0]["final"], &first["verdict"]["blocks"][0]["final"]], [true, false]);
    for field in ["exchange", "verdict", "statement", "policy", "program", "lines", "findings"] {
        assert_eq!(last["verdict"][field], first["verdict"][field], "{field}");
        assert!(!last["verdict"][field].is_null(), "{field}");
    }

    let ran = scene.lab.assay(&["explain", "acme", "BTC", "--json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["difference"], "-950", "{told:#}");
    assert_eq!((&told["exact"], &told["line"]["verdict"]), (&json!(true), &json!("short")));
    assert_eq!((&told["since"]["sequence"], &told["last_good"]["sequence"]), (&json!(3), &json!(2)));
    let changes = &told["changes"];
    assert_eq!(
        (&changes["since"]["sequence"], &changes["before"], &changes["left"]),
        (&json!(2), &json!("0"), &json!("0"))
    );
    let amounts: Vec<&str> =
        changes["parts"].as_array().unwrap().iter().map(|part| part["amount"].as_str().unwrap()).collect();
    assert_eq!(amounts, ["-1000", "50"], "what was invented comes first: {changes:#}");
    assert!(changes["parts"][0]["what"].as_str().unwrap().starts_with("rewards"));
    let wallet = &told["wallets"][0];
    assert_eq!(
        [&wallet["held"], &wallet["claimed"], &wallet["difference"], &wallet["changed"]],
        ["350", "1300", "-950", "100"]
    );
    let heights: Vec<u64> =
        told["blocks"].as_array().unwrap().iter().map(|block| block["at"]["height"].as_u64().unwrap()).collect();
    assert_eq!((heights.len(), heights.iter().min(), heights.iter().max()), (2, Some(&6), Some(&7)));

    let shown = scene.lab.assay(&["explain", "acme", "BTC"]).stdout;
    for words in
        ["difference  -950", "wrong since statement 3", "right with statement 2", "rewards: credited without a coin"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let wrong = scene.lab.assay(&["explain", "acme", "BTX"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("did you mean `BTC`?"), "{}", wrong.stderr);
    // A statement that nobody took is explained as well, against the one that was.
    scene.lab.write("four.json", &statement(&scene, 4, 7 * SUBSIDY, 0, 0));
    let four = scene.lab.assay(&["explain", "acme", "BTC", "--statement", "four.json", "--json"]);
    assert_eq!(four.code, 0, "{}", four.stderr);
    let told: Value = serde_json::from_str(&four.stdout).unwrap();
    assert_eq!(
        (&told["difference"], &told["changes"]["before"], &told["changes"]["left"]),
        (&json!("0"), &json!("-950"), &json!("950"))
    );
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn the_gate_is_told_as_it_changes_for_what_is_asked_and_no_longer_than_the_token_counts() {
    let scene = Scene::new(4);
    let serving = scene.serve();
    indexed(&serving, 4);
    submit(&serving, &scene.acme, "acme", &scene.statement(1, 4 * SUBSIDY));
    let mut trading = serving.listen(&scene.acme, "/v1/exchanges/acme/gate/stream?for=trading&asset=BTC");
    let first = trading.next("gate");
    let gate = &first["gates"][0];
    assert_eq!((&gate["signal"], &gate["verdict"], &gate["blind"]), (&json!("allow"), &json!("backed"), &json!(false)));
    assert!(gate["expires_at"].as_str().unwrap() > gate["since"].as_str().unwrap());

    let signal = |purpose: &str| {
        let asked = serving.get(&format!("/v1/exchanges/acme/gate?asset=BTC&for={purpose}"));
        asked["gates"][0]["signal"].as_str().unwrap().to_owned()
    };
    submit(&serving, &scene.acme, "acme", &scene.statement(2, 4 * SUBSIDY + 1));
    let halted = trading.wait("gate", |told| told["gates"][0]["signal"] == "halt");
    assert_eq!(halted["gates"][0]["verdict"], "short");
    assert_eq!(["credits", "withdrawals", "trading"].map(signal), ["halt", "halt", "halt"]);
    let asked = |path: &str| serving.ask_as(&scene.acme, "GET", path, &[]).status;
    assert_eq!(asked("/v1/exchanges/acme/gate?for=lending"), 400);
    assert_eq!(asked("/v1/exchanges/acme/gate?asset=DOGE"), 400, "silence is no yes");
    submit(&serving, &scene.acme, "acme", &scene.statement(3, 4 * SUBSIDY));
    trading.wait("gate", |told| told["gates"][0]["signal"] == "allow");

    // The regulator's token stays; acme's goes, and its stream with it.
    let file = std::fs::read_to_string(scene.lab.path("tokens")).unwrap();
    let regulator = file.split("[[token]]").nth(1).unwrap();
    let mut events = serving.listen(&scene.regulator, "/v1/events");
    scene.lab.write("tokens", &format!("[[token]]{regulator}"));
    assert!(trading.ends_within(std::time::Duration::from_secs(10)), "a revoked token still listens");
    scene.mine(1);
    let block = events.wait("block", |told| told["event"]["height"] == 5);
    assert_eq!(block["exchange"], Value::Null);
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_machine_reads_the_log_and_finds_the_request() {
    let scene = Scene::new(1);
    let serving = serving::Serving::start_with(
        &scene.lab,
        &scene.regulator,
        &[("ASSAY_LOG", "info"), ("ASSAY_LOG_FORMAT", "json")],
    );
    let bearer = format!("Bearer {}", scene.regulator);
    let headers = [("authorization", bearer.as_str()), ("x-request-id", "morning-7")];
    let answer = serving.ask("GET", "/v1/exchanges/nobody", &headers, &[]);
    assert_eq!((answer.status, answer.header("x-request-id")), (404, Some("morning-7")));
    let (code, said) = serving.stop();
    assert_eq!(code, 0);
    let lines: Vec<Value> = said.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mine = lines.iter().find(|line| line["span"]["id"] == "morning-7").unwrap_or_else(|| panic!("{said:#?}"));
    assert_eq!(
        (&mine["status"], &mine["level"], &mine["span"]["path"]),
        (&json!(404), &json!("INFO"), &json!("/v1/exchanges/nobody"))
    );
    assert!(!said.iter().any(|line| line.contains(&scene.regulator)), "no secret is logged");
}

#[test]
fn two_nodes_that_disagree_about_final_blocks_are_told_and_a_shortage_all_the_same() {
    let scene = Scene::new(6);
    let dir = tempfile::tempdir().unwrap();
    let other = assay_testnodes::Bitcoind::start(dir.path(), &[]).unwrap();
    // The same three blocks, then others.
    copy_blocks(&scene.node, &other, 1..=3);
    other.call("generatetoaddress", json!([4, STRANGER])).unwrap();
    let config = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    let cookie = other.cookie_file.display();
    let node = format!("[[chain.node]]\nrpc = \"{}\"\ncookie_file = \"{cookie}\"\n\n[serve]", other.rpc_url);
    scene.lab.write("assay.toml", &config.replace("[serve]", &node));
    let serving = scene.serve();
    indexed(&serving, 6); // final up to 4
    submit(&serving, &scene.acme, "acme", &scene.statement(1, 6 * SUBSIDY + 1));
    let found = serving.wait("/v1/alerts", |alerts| alerts.to_string().contains("nodes-disagree"));
    assert!(found.to_string().contains("phantom-assets"), "{found:#}");
    let findings = serving.get("/v1/findings");
    let each = findings["findings"].as_array().unwrap();
    let evidence = &each.iter().find(|one| one["rule"] == "nodes-disagree").unwrap()["evidence"];
    assert_eq!((&evidence["node"], &evidence["from"]), (&json!(2), &json!(4)), "{evidence}");
    assert!(
        serving
            .ask_as(&scene.regulator, "GET", "/metrics", &[])
            .body
            .contains("assay_node_disagreements_total{chain=\"bitcoin\"} 1")
    );

    let chain = &serving.get("/v1/chains")["chains"][0];
    assert_eq!((&chain["dissent"][0]["node"], &chain["dissent"][0]["from"]), (&json!(2), &json!(4)), "{chain:#}");
    assert_eq!(chain["source"], scene.node.rpc_url.trim_end_matches('/'), "the node in use");
    let page = serving.ask_as(&scene.regulator, "GET", "/chains", &[]).body;
    assert!(page.contains("nodes have different blocks from 4 on"), "{page}");

    // It takes the longer chain, and agrees.
    scene.mine(6);
    copy_blocks(&scene.node, &other, 4..=12);
    serving.wait("/v1/findings", |findings| !findings.to_string().contains("nodes-disagree"));
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_line_that_is_deleted_hides_no_coins_also_over_a_restart() {
    let scene = Scene::new(4);
    let other = STRANGER;
    let toml = std::fs::read_to_string(scene.lab.path("exchanges/acme/exchange.toml")).unwrap();
    let wallet = format!("\n[[wallet]]\nchain = \"bitcoin\"\nrole = \"hot\"\naddress = \"{other}\"\n");
    scene.lab.write("exchanges/acme/exchange.toml", &format!("{toml}{wallet}"));
    scene.node.call("generatetoaddress", json!([2, other])).unwrap();
    let serving = scene.serve();
    indexed(&serving, 6);
    submit(&serving, &scene.acme, "acme", &scene.statement(1, SUBSIDY));
    let dropped = |findings: &Value| {
        let each = findings["findings"].as_array().unwrap().iter();
        each.filter(|one| one["rule"] == "dropped-account").cloned().collect::<Vec<_>>()
    };
    assert_eq!(dropped(&serving.get("/v1/findings")), [] as [Value; 0]);
    assert_eq!(serving.stop().0, 0);
    // While nobody looks.
    scene.lab.write("exchanges/acme/exchange.toml", &toml);
    let serving = scene.serve();
    let found = serving.wait("/v1/findings", |findings| !dropped(findings).is_empty());
    let evidence = &dropped(&found)[0]["evidence"];
    assert_eq!((&evidence["holds"], &evidence["largest"][0]["address"]), (&json!("100"), &json!(other)), "{evidence}");
    // Declared again, while it runs.
    scene.lab.write("exchanges/acme/exchange.toml", &format!("{toml}{wallet}"));
    serving.wait("/v1/findings", |findings| dropped(findings).is_empty());
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn an_exchange_that_leaves_the_declarations_is_told_and_clears_nothing() {
    let scene = Scene::new(4);
    let serving = scene.serve();
    indexed(&serving, 4);
    submit(&serving, &scene.acme, "acme", &scene.statement(1, 4 * SUBSIDY + 1));
    let state = |all: &Value, rule: &str| -> Option<String> {
        let one = all["alerts"].as_array().unwrap().iter().find(|one| one["rule"] == rule)?;
        Some(format!("{} {}", one["exchange"].as_str().unwrap(), one["state"].as_str().unwrap()))
    };
    serving.wait("/v1/alerts", |all| state(all, "phantom-assets").as_deref() == Some("acme firing"));
    let toml = std::fs::read_to_string(scene.lab.path("exchanges/acme/exchange.toml")).unwrap();
    let other = toml.replace("acme", "beta").replace("Acme", "Beta").replace(&scene.address, STRANGER);
    scene.lab.write("exchanges/beta/exchange.toml", &other);
    std::fs::remove_dir_all(scene.lab.path("exchanges/acme")).unwrap();
    let told = |all: &Value| state(all, "dropped-account").as_deref() == Some("acme firing");
    let found = serving.wait("/v1/alerts", told);
    assert!(found.to_string().contains("the exchange is declared no longer: 1 account"), "{found:#}");
    assert_eq!(serving.stop().0, 0);
    // Also to a process that never saw it declared, for longer than it takes to clear.
    let serving = scene.serve();
    indexed(&serving, 4);
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(4) {
        let all = serving.get("/v1/alerts");
        for rule in ["phantom-assets", "dropped-account"] {
            assert_eq!(state(&all, rule).as_deref(), Some("acme firing"), "{rule}");
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    scene.lab.write("exchanges/acme/exchange.toml", &toml);
    serving.wait("/v1/alerts", |all| state(all, "dropped-account").as_deref() == Some("acme resolved"));
    assert_eq!(state(&serving.get("/v1/alerts"), "phantom-assets").as_deref(), Some("acme firing"));
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_number_that_is_missing_is_told_until_it_comes_and_the_same_without_one_comes_once() {
    let scene = Scene::new(4);
    let serving = scene.serve();
    indexed(&serving, 4);
    let send = |statement: &str| submit(&serving, &scene.acme, "acme", statement);
    let found = || -> Option<Value> {
        let findings = serving.get("/v1/findings");
        findings["findings"].as_array().unwrap().iter().find(|one| one["rule"] == "roll-forward-broken").cloned()
    };
    send(&statement(&scene, 1, 100, 0, 0));
    send(&statement(&scene, 3, 160, 10, 0));
    let missing = found().unwrap();
    assert_eq!(
        (&missing["severity"], &missing["evidence"]["missing"]),
        (&json!("warning"), &json!({"from": 2, "to": 2}))
    );
    // It comes late, and now the last one is held against it.
    send(&statement(&scene, 2, 150, 50, 0));
    assert_eq!(found(), None);
    send(&statement(&scene, 5, 160, 0, 0));
    send(&statement(&scene, 4, 159, 0, 0));
    let broken = found().unwrap();
    assert_eq!((&broken["severity"], &broken["evidence"]["gap"]), (&json!("error"), &json!("1")));

    let mut unnumbered: Value = serde_json::from_str(&statement(&scene, 0, 160, 0, 0)).unwrap();
    unnumbered.as_object_mut().unwrap().remove("sequence");
    let unnumbered = unnumbered.to_string();
    let (first, again) = (send(&unnumbered), send(&unnumbered));
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!((&first.json()["sequence"], &again.json()["sequence"]), (&json!(6), &json!(6)));
    assert_eq!(serving.stop().0, 0);
}
