//! The forms of answers, as the contract has them, on a short real chain.

use assay_testnodes::Bitcoind;
use serde_json::{Value, json};

use crate::lab::{Lab, bitcoin_chain};

const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
const OTHER: &str = "script:51";
const MOVEMENT: [&str; 11] =
    ["height", "hash", "time", "txid", "index", "asset", "direction", "amount", "balance", "kind", "final"];

struct Chain {
    lab: Lab,
    node: Bitcoind,
    _dir: tempfile::TempDir,
}

/// Five blocks, of which two pay our account.
fn chain() -> Chain {
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(dir.path(), &[]).unwrap();
    node.call("setmocktime", json!([1_770_000_000])).unwrap();
    let (ours, other) = (format!("addr({ADDRESS})"), "raw(51)");
    for to in [&ours, other, &ours, other, other] {
        node.call("generatetodescriptor", json!([1, to])).unwrap();
    }
    let lab = Lab::new();
    lab.write("assay.toml", &bitcoin_chain(&node.rpc_url, &node.cookie_file, 3));
    let wallet = format!("[[wallet]]\nchain = \"bitcoin\"\nrole = \"hot\"\naddress = \"{ADDRESS}\"\n");
    lab.write("exchanges/acme/exchange.toml", &format!("id = \"acme\"\n{wallet}"));
    lab.index();
    Chain { lab, node, _dir: dir }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn sorted(names: &[&'static str]) -> Vec<&'static str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

fn block(node: &Bitcoind, height: u64) -> (String, String) {
    let hash = node.call("getblockhash", json!([height])).unwrap();
    let block = node.call("getblock", json!([hash])).unwrap();
    (hash.as_str().unwrap().into(), block["tx"][0].as_str().unwrap().into())
}

#[test]
fn answers_have_the_forms_of_the_contract() {
    let chain = chain();
    a_balance(&chain);
    a_history(&chain);
    an_exchanges_holdings(&chain);
    instants(&chain);
    what_is_not_known(&chain);
    pipes_and_colours(&chain);
}

fn a_balance(chain: &Chain) {
    let (hash, _) = block(&chain.node, 3);
    let answer = chain.lab.json(&["balance", ADDRESS, "--chain", "bitcoin", "--at", "3"], 0);
    let header = chain.node.call("getblockheader", json!([hash])).unwrap();
    let time = assay_types::Timestamp::from_unix_s(header["time"].as_i64().unwrap()).to_string();
    let expected = json!({
        "chain": "bitcoin", "address": ADDRESS, "asset": "BTC", "amount": "100", "units": "10000000000", "decimals": 8,
        "at": { "height": 3, "hash": hash, "time": time }, "final": true, "coverage": "verified", "immature": "100",
    });
    assert_eq!(answer, expected);
    // The same account by another name, the same chain and asset by their ids.
    let id = format!("{}/slip44:0", crate::lab::REGTEST);
    for (account, at_chain, asset) in [
        ("script:0014751e76e8199196d454941c45d1b3a323f1433bd6", "bitcoin", "BTC"),
        (ADDRESS, crate::lab::REGTEST, "BTC"),
        (ADDRESS, "bitcoin", id.as_str()),
    ] {
        let ran = chain.lab.assay(&["balance", account, "--chain", at_chain, "--asset", asset, "--at", "3", "--json"]);
        if ran.code == 0 {
            assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap(), expected);
        } else {
            assert!(asset.contains("slip44") && ran.code == 2, "{}", ran.stderr);
        }
    }
    let people = chain.lab.assay(&["balance", ADDRESS, "--chain", "bitcoin", "--at", "3"]);
    assert!(people.stdout.contains("100 BTC") && people.stdout.contains("verified"), "{}", people.stdout);
}

fn a_history(chain: &Chain) {
    let (lab, ask) = (&chain.lab, ["history", ADDRESS, "--chain", "bitcoin"]);
    let movement = |height: u64, balance: &str, is_final: bool| {
        let (hash, txid) = block(&chain.node, height);
        let header = chain.node.call("getblockheader", json!([hash])).unwrap();
        let time = assay_types::Timestamp::from_unix_s(header["time"].as_i64().unwrap()).to_string();
        json!({
            "height": height, "hash": hash, "time": time, "txid": txid, "index": 0, "asset": "BTC",
            "direction": "credit", "amount": "50", "balance": balance, "kind": "coinbase", "final": is_final,
        })
    };
    let expected = [movement(1, "50", true), movement(3, "100", true)];
    assert_eq!(keys(&expected[0]), sorted(&MOVEMENT));

    let document = lab.json(&ask, 0);
    assert_eq!(document["movements"], json!(expected));
    assert_eq!(
        keys(&document),
        sorted(&["chain", "address", "asset", "decimals", "from", "to", "coverage", "movements"])
    );
    assert_eq!((&document["from"], &document["to"], &document["coverage"]), (&json!(0), &json!(5), &json!("verified")));
    assert_eq!(
        lab.assay(&[&ask[..], &["--format", "json"]].concat()).stdout,
        lab.assay(&[&ask[..], &["--json"]].concat()).stdout
    );

    let lines = lab.assay(&[&ask[..], &["--format", "ndjson"]].concat()).stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, expected);

    let csv = lab.assay(&[&ask[..], &["--format", "csv"]].concat()).stdout;
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some(MOVEMENT.join(",").as_str()));
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for movement in &expected {
        let cells: Vec<String> = MOVEMENT.iter().map(|field| cell(&movement[*field])).collect();
        assert_eq!(lines.next(), Some(cells.join(",").as_str()));
    }
    assert_eq!(lines.next(), None);

    let part = lab.json(&[&ask[..], &["--from", "2", "--to", "3"]].concat(), 0);
    assert_eq!(part["movements"], json!(expected[1..]));
    assert_eq!((&part["from"], &part["to"]), (&json!(2), &json!(3)));
    let none = lab.assay(&[&ask[..], &["--from", "4", "--format", "csv"]].concat());
    assert_eq!((none.code, none.stdout.lines().count()), (0, 1));
    let table = lab.assay(&ask);
    assert!(table.stdout.contains("+50") && table.stderr.contains("2 movements"), "{}{}", table.stdout, table.stderr);
}

fn an_exchanges_holdings(chain: &Chain) {
    let answer = chain.lab.json(&["holdings", "acme"], 0);
    assert_eq!(answer["exchange"], "acme");
    let line = &answer["holdings"][0];
    assert_eq!(keys(line), sorted(&["asset", "low", "high", "units", "chains"]));
    assert_eq!((&line["low"], &line["high"], &line["units"]), (&json!("100"), &json!("100"), &json!("10000000000")));
    assert_eq!(keys(&line["chains"][0]), sorted(&["chain", "amount", "at"]));
    assert_eq!(line["chains"][0]["at"]["height"], 5);
}

fn instants(chain: &Chain) {
    let at = |at: &str| chain.lab.json(&["balance", ADDRESS, "--chain", "bitcoin", "--at", at], 0)["at"].clone();
    let tip = at("5");
    assert_eq!(chain.lab.json(&["balance", ADDRESS, "--chain", "bitcoin"], 0)["at"], tip, "by default, the last block");
    assert_eq!(at(tip["time"].as_str().unwrap()), tip, "the last block that is not later");
    assert_eq!(at("2099-01-01T00:00:00+09:00"), tip, "until a block is later");
    let before = assay_types::Timestamp::from_unix_s(1_769_999_999).to_string();
    assert_eq!(at(&before)["height"], 0);
    assert_eq!(at("0")["height"], 0);
    assert_eq!(at("0003")["height"], 3);
    for garbage in
        ["", "-1", "5.0", "0x5", " 5", "5 ", "latest", "2026-02-06", "2026-02-30T00:00:00Z", "2026-02-06T19:00:00", "٣"]
    {
        let ran = chain.lab.assay(&["balance", ADDRESS, "--chain", "bitcoin", &format!("--at={garbage}")]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "`{garbage}`: {}", ran.stderr);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("--at"), "`{garbage}`: {}", ran.stderr);
    }
}

fn what_is_not_known(chain: &Chain) {
    let lab = &chain.lab;
    let ask = ["balance", ADDRESS, "--chain", "bitcoin"];
    for at in ["6", "1000000000000", "99999999999999999999999999"] {
        let ran = lab.assay(&[&ask[..], &["--at", at]].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("is above the last indexed block, 5"), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: index further"), "{}", ran.stderr);
    }
    let early = lab.assay(&[&ask[..], &["--at", "2009-01-03T00:00:00Z"]].concat());
    assert_eq!((early.code, early.stdout.as_str()), (3, ""), "{}", early.stderr);
    assert!(early.stderr.contains("is before the first indexed block"), "{}", early.stderr);
    // Nobody's account is unknown, which is never zero.
    let stranger = lab.json(&["balance", OTHER, "--chain", "bitcoin"], 3);
    for field in ["amount", "units", "immature"] {
        assert_eq!(stranger[field], json!(null), "{stranger}");
    }
    assert_eq!(stranger["coverage"], "unknown");
    assert!(stranger["reason"].as_str().unwrap().contains("not declared"), "{stranger}");
    let history = lab.json(&["history", OTHER, "--chain", "bitcoin"], 3);
    assert_eq!((&history["coverage"], &history["movements"]), (&json!("unknown"), &json!([])));
    // Movements above the last indexed block are not known either.
    for range in [["--to", "6"], ["--from", "6"]] {
        let ran = lab.assay(&[&["history", ADDRESS, "--chain", "bitcoin", "--json"], &range[..]].concat());
        assert_eq!(ran.code, 3, "{range:?} {}", ran.stdout);
        assert!(ran.stderr.contains("blocks above 5"), "{}", ran.stderr);
    }
    let turned = lab.assay(&["history", ADDRESS, "--chain", "bitcoin", "--from", "4", "--to", "3"]);
    assert_eq!((turned.code, turned.stdout.as_str()), (2, ""), "{}", turned.stderr);
    assert!(turned.stderr.contains("--from is above --to"), "{}", turned.stderr);
}

fn pipes_and_colours(chain: &Chain) {
    let lab = &chain.lab;
    for arguments in
        [&["check"][..], &["holdings", "acme"], &["index", "--once"], &["history", ADDRESS, "--chain", "bitcoin"]]
    {
        for no_colour in [None, Some("1")] {
            let mut command = lab.command(arguments);
            command.env_remove("NO_COLOR").env("TERM", "xterm-256color").env("CLICOLOR_FORCE", "0");
            if let Some(value) = no_colour {
                command.env("NO_COLOR", value);
            }
            let output = command.output().unwrap();
            assert!(output.status.success(), "{arguments:?}");
            let escape = [&output.stdout[..], &output.stderr].concat().contains(&0x1b);
            assert!(!escape, "{arguments:?}: colours or bars in a pipe");
        }
    }
    // A reader that has gone, such as `head`, is no failure.
    for format in ["table", "csv", "ndjson", "json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = lab.command(&["history", ADDRESS, "--chain", "bitcoin", "--format", format]);
        let output = command.stdout(writer).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.contains("error")), (Some(0), false), "{format}: {said}");
    }
    // One document on standard output, the rest beside it.
    let ran = lab.assay(&["index", "--once", "--json"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&document["chains"][0]["chain"], &document["chains"][0]["height"]), (&json!("bitcoin"), &json!(5)));
}
