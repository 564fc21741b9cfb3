//! `assay.toml`: what is wrong in it is named with its line and key.

use std::fs::File;

use crate::{CONFIG, EXCHANGE, lab, wrong};

const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

#[test]
fn what_is_wrong_in_the_configuration_is_named() {
    let bitcoin_id = "bip122:000000000019d6689c085ae165831e93";
    let first_node = "[[chain.node]]\nrpc = \"http://127.0.0.1:1\"\n\n[[chain]]\nname = \"ethereum\"";
    let with_node = |node: &str| first_node.replace("rpc = \"http://127.0.0.1:1\"", node);
    let table: Vec<(&str, String, &[&str])> = vec![
        // Keys, at every level.
        ("data_dir =", "data_dri =".into(), &["assay.toml:1: ", "`data_dri`", "did you mean `data_dir`?"]),
        ("undo_depth =", "undodepth =".into(), &["assay.toml:9: ", "`undodepth`", "did you mean `undo_depth`?"]),
        (first_node, with_node("rcp = \"x\""), &["assay.toml:12: ", "`rcp`", "did you mean `rpc`?"]),
        ("max_statement_age =", "max_statment_age =".into(), &["assay.toml:23: ", "did you mean `max_statement_age`?"]),
        ("confirmations =", "confirmation =".into(), &["assay.toml:8: ", "did you mean `confirmations`?"]),
        ("[policy]", "[polcy]".into(), &["assay.toml:22: ", "did you mean `policy`?"]),
        ("[policy]", "[zzzzzzzz]".into(), &["assay.toml:22: ", "known: `data_dir`"]),
        ("timezone = \"UTC\"", "timezone = \"UTC\"\ntimezone = \"UTC\"".into(), &["assay.toml:4: ", "duplicate key"]),
        // What must be there.
        ("name = \"bitcoin\"\n", String::new(), &["assay.toml:5: chain[0].name: is missing"]),
        ("id = \"eip155:1\"\n", String::new(), &["assay.toml:14: chain[1].id: is missing"]),
        (first_node, "[[chain]]\nname = \"ethereum\"".into(), &["assay.toml:5: ", "chain[0].node", "has no node", "hint: "]),
        (first_node, with_node("cookie_file = \"x\""), &["assay.toml:11: ", "chain[0].node[0].rpc", "is missing"]),
        ("start = 1\n", String::new(), &["assay.toml:14: ", "chain[1].start", "is missing"]),
        // Values.
        (bitcoin_id, "bitcoin".into(), &["assay.toml:7: ", "chain[0].id", "`bitcoin`"]),
        (bitcoin_id, "cosmos:hub-4".into(), &["assay.toml:7: ", "`cosmos`", "known: bip122"]),
        (bitcoin_id, "bip122:12a765e31ffd4059bada1e25190f6e98".into(), &["is no Bitcoin network", "regtest"]),
        ("name = \"ethereum\"", "name = \"bitcoin\"".into(), &["assay.toml:15: ", "chain[1].name", "is there already"]),
        ("eip155:1\"", format!("{bitcoin_id}\""), &["assay.toml:15: ", "is there already"]),
        ("name = \"bitcoin\"", "name = \"../bitcoin\"".into(), &["assay.toml:6: ", "chain[0].name", "is not a name"]),
        ("undo_depth = 1000", "undo_depth = 5".into(), &["assay.toml:9: ", "chain[0].undo_depth", "6 confirmations"]),
        ("undo_depth = 1000", "undo_depth = -1".into(), &["assay.toml:9: chain[0].undo_depth: "]),
        ("undo_depth = 1000", "undo_depth = \"1000\"".into(), &["assay.toml:9: chain[0].undo_depth: ", "string"]),
        ("start = 1\n", "start = \"1\"\n".into(), &["assay.toml:17: chain[1].start: ", "a whole number that is not negative"]),
        ("start = 1\n", "start = -1\n".into(), &["assay.toml:17: chain[1].start: "]),
        ("start = 1\n", "start = 1.5\n".into(), &["assay.toml:17: chain[1].start: "]),
        ("confirmations = 6", "confirmations = -1".into(), &["assay.toml:8: chain[0].finality.confirmations: "]),
        ("eip155:1\"", "eip155:abc\"".into(), &["assay.toml:16: chain[1].id: `eip155:abc`"]),
        ("eip155:1\"", "eip155:031337\"".into(), &["assay.toml:16: chain[1].id: `eip155:031337`", "zeros"]),
        ("undo_depth = 1000", "undo_depth = 1000\nstart = 5".into(), &["assay.toml:5: ", "chain[0].start", "remove `start`"]),
        ("{ confirmations = 6 }", "{ tag = \"finalized\" }".into(), &["assay.toml:8: ", "chain[0].finality", "no finality tags"]),
        ("{ confirmations = 6 }", "{}".into(), &["assay.toml:8: ", "chain[0].finality", "say either"]),
        ("start = 1\n", "start = 1\nfinality = { tag = \"latest\" }\n".into(), &["assay.toml:18: ", "chain[1].finality"]),
        ("start = 1\n", "start = 1\nquorum = 2\n".into(), &["assay.toml:18: ", "chain[1].quorum", "2 nodes cannot agree where there are 1"]),
        ("rpc = ", "max_requests_per_second = \"a\"\nrpc = ".into(), &["assay.toml:12: chain[0].node[0].max_requests_per_second: "]),
        ("rpc = ", "max_requests_per_second = 0\nrpc = ".into(), &["max_requests_per_second", "1 is the least"]),
        ("start = 1\n", "start = 1\nquorum = 0\n".into(), &["assay.toml:18: ", "chain[1].quorum"]),
        ("\"UTC\"", "\"Asia/Soul\"".into(), &["assay.toml:3: ", "timezone", "did you mean `Asia/Seoul`?"]),
        ("\"5m\"", "\"5 minutes\"".into(), &["assay.toml:23: policy.max_statement_age: ", "is not a duration"]),
        ("\"5m\"", "\"-5m\"".into(), &["assay.toml:23: ", "is not a duration"]),
        ("[policy]", "[policy]\nshortage_tolerance = { BTC = \"-1\" }".into(), &["assay.toml:23: policy.shortage_tolerance.BTC: ", "is not a plain decimal"]),
        ("[policy]", "[policy]\nshortage_tolerance = { BTC = \"1e3\" }".into(), &["assay.toml:23: ", "is not a plain decimal"]),
        ("[policy]", "[policy]\ndifference_tolerance = \"1.5\"".into(), &["assay.toml:23: policy.difference_tolerance: ", "is above 1"]),
        ("[policy]", "[policy]\naccept_elsewhere = [\"custodians\"]".into(), &["assay.toml:23: policy.accept_elsewhere[0]: ", "custodian"]),
        ("[policy]", "[policy]\nrequire = \"proven\"".into(), &["assay.toml:23: policy.require: ", "verified"]),
        // Nodes.
        (first_node, with_node("rpc = \"http://127.0.0.1:1\"\nuser = \"me\""), &["chain[0].node[0].user", "password_file"]),
        (first_node, with_node("rpc = \"http://127.0.0.1:1\"\nurl_file = \"x\""), &["chain[0].node[0].url_file", "beside rpc"]),
        (first_node, with_node("rpc = \"ftp://127.0.0.1\""), &["assay.toml:11: ", "chain[0].node[0].rpc", "https://"]),
        (first_node, with_node("rpc = \"127.0.0.1:8332\""), &["assay.toml:11: ", "chain[0].node[0].rpc", "hint: write it as http://"]),
        ("start = 1\n\n[[chain.node]]\n", "start = 1\n\n[[chain.node]]\ncookie_file = \"x\"\n".into(), &["chain[1].node[0].cookie_file", "no login"]),
        // Assets.
        (
            "[policy]",
            "[[asset]]\nsymbol = \"X\"\non = [{ id = \"eip155:1/erc20:0x5fb\", decimals = 6 }]\n[policy]".into(),
            &["assay.toml:24: ", "asset[0]", "0x5fb"],
        ),
        (
            "[policy]",
            "[[asset]]\nsymbol = \"X\"\non = [{ id = \"eip155:1/erc20:0x5fbdb2315678afecb367f032d93f642f64180aa3\", decimals = 78 }]\n[policy]".into(),
            &["assay.toml:24: ", "asset[0]", "77"],
        ),
        // What is no TOML.
        ("data_dir =", "data_dir".into(), &["assay.toml:1: "]),
        (CONFIG, String::new(), &["assay.toml: ", "no [[chain]]"]),
    ];
    let lab = lab();
    for (from, to, words) in table {
        assert!(CONFIG.contains(from), "{from}");
        lab.write("assay.toml", &CONFIG.replacen(from, &to, 1));
        wrong(&lab, &["index", "--once"], words);
    }
}

#[test]
fn what_is_no_configuration_at_all_is_named() {
    let lab = lab();
    let file = lab.path("assay.toml");
    std::fs::remove_file(&file).unwrap();
    wrong(&lab, &["index", "--once"], &["assay.toml: cannot be read: ", "hint: ", "assay init"]);
    std::fs::create_dir(&file).unwrap();
    wrong(&lab, &["index", "--once"], &["assay.toml: cannot be read: ", "directory"]);
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, [CONFIG.as_bytes(), b"\n# \xff\n"].concat()).unwrap();
    wrong(&lab, &["index", "--once"], &["assay.toml:25: is not UTF-8"]);
    File::create(&file).unwrap().set_len(1 << 40).unwrap();
    wrong(&lab, &["index", "--once"], &["assay.toml: is longer than"]);
    // A device never ends.
    let ran = lab.assay(&["check", "--config", "/dev/zero"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("/dev/zero: is longer than"), "{}", ran.stderr);
}

#[test]
fn a_node_whose_address_stands_in_a_file_needs_that_file() {
    let lab = lab();
    lab.write("assay.toml", &CONFIG.replacen("rpc = \"http://127.0.0.1:1\"", "url_file = \"node\"", 1));
    let index = ["index", "--once", "--chain", "bitcoin"];
    wrong(&lab, &index, &["error: chain bitcoin: ", "node: cannot be read"]);
    lab.write("node", "ftp://key@127.0.0.1");
    let ran = wrong(&lab, &index, &["error: chain bitcoin: ", "node: the URL cannot be used", "https://"]);
    assert!(!ran.stderr.contains("key"), "what may be a secret is shown: {}", ran.stderr);
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let lab = lab();
    lab.write("elsewhere/assay.toml", CONFIG);
    lab.write("elsewhere/exchanges/other/exchange.toml", &EXCHANGE.replace("acme", "other").replace("Acme", "Other"));
    let file = lab.path("elsewhere/assay.toml");
    let ran = lab.assay(&["holdings", "other", "--json", "--config", file.to_str().unwrap()]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stdout.contains("\"other\""), "{}", ran.stdout);
    let by_variable = lab.command(&[]).env_clear().arg("--version").output().unwrap();
    assert!(by_variable.status.success());
}

#[test]
fn several_errors_are_all_told() {
    let lab = lab();
    lab.write("assay.toml", &CONFIG.replace("undo_depth = 1000", "undo_depth = 1").replace("start = 1\n", ""));
    let ran = wrong(&lab, &["index", "--once"], &["chain[0].undo_depth", "chain[1].start"]);
    assert_eq!(ran.stderr.matches("error: ").count(), 2, "{}", ran.stderr);
    lab.write("assay.toml", CONFIG);
    let wallets = format!("[[wallet]]\nchain = \"bitcon\"\nrole = \"hot\"\ndescriptor = \"wpkh({KEY})\"\n").repeat(30);
    lab.write("exchanges/acme/exchange.toml", &format!("{EXCHANGE}{wallets}"));
    wrong(&lab, &["index", "--once"], &["error: and 10 more"]);
}
