//! The commands themselves: help, usage, the first steps.

use serde_json::json;

use crate::lab as labs;
use crate::lab::Lab;
use crate::{lab, wrong};

const COMMANDS: [&str; 8] = ["init", "check", "index", "balance", "history", "holdings", "verify", "submit"];

#[test]
fn every_command_has_help_with_an_example() {
    let lab = Lab::new();
    for command in COMMANDS {
        let ran = lab.assay(&[command, "--help"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command}");
        assert!(ran.stdout.contains(&format!("Example: assay {command}")), "{}", ran.stdout);
        assert!(!ran.stdout.contains('\u{1b}'), "colours in a pipe: {}", ran.stdout);
    }
    let ran = lab.assay(&["--help"]);
    assert!(COMMANDS.iter().all(|command| ran.stdout.contains(&format!("  {command} "))), "{}", ran.stdout);
    assert!(lab.assay(&["--version"]).stdout.starts_with("assay 0."));
}

#[test]
fn wrong_usage_is_said_on_standard_error() {
    let lab = lab();
    let query = ["submit", "acme", "--to", "http://x", "--query", "q", "--database-file", "d", "--every", "0s"];
    let table: [(&[&str], &str); 12] = [
        (&[], "Usage: assay"),
        (&["blance"], "balance"),
        (&["balance"], "ADDRESS"),
        (&["balance", "bc1q"], "--chain"),
        (&["balance", "bc1q", "--chian", "bitcoin"], "--chain"),
        (&["history", "bc1q", "--chain", "bitcoin", "--format", "xml"], "ndjson"),
        (&["history", "bc1q", "--chain", "bitcoin", "--from", "-5"], "-5"),
        (&["verify", "acme"], "--statement"),
        (&["index", "--once", "now"], "now"),
        (&["submit", "acme", "--to", "http://x"], "--statement <FILE>|--query <FILE>"),
        (&query[..6], "--database-file"),
        (&query, "from a second to a day"),
    ];
    for (arguments, words) in table {
        let ran = lab.assay(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains('\u{1b}'), "colours in a pipe: {}", ran.stderr);
    }
}

#[test]
fn what_is_asked_by_a_wrong_name_is_told_the_nearest_one() {
    let lab = lab();
    let good = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq";
    let table: [(&[&str], &[&str]); 12] = [
        (&["index", "--once", "--chain", "bitcon"], &["no chain `bitcon`", "hint: did you mean `bitcoin`?"]),
        (&["index", "--once", "--chain", "zzz"], &["no chain `zzz`", "hint: known: `bitcoin`, `ethereum`"]),
        (&["index", "--accept-reorg", "00"], &["--accept-reorg is for one chain", "hint: "]),
        (&["index", "--chain", "bitcoin", "--accept-reorg", "00"], &["--accept-reorg: ", "`00`"]),
        (&["balance", good, "--chain", "ethreum"], &["hint: did you mean `ethereum`?"]),
        (&["balance", good, "--chain", "bitcoin", "--asset", "BTX"], &["`BTX`", "hint: did you mean `BTC`?"]),
        (&["balance", good, "--chain", "bitcoin", "--asset", "ETH"], &["ETH does not live on bitcoin"]),
        (&["balance", "bc1q", "--chain", "bitcoin"], &["address bc1q: "]),
        (&["history", good, "--chain", "ethereum"], &["address bc1q", "a Bitcoin address"]),
        (&["holdings", "acmee"], &["no exchange `acmee`", "hint: did you mean `acme`?"]),
        (&["holdings", "acme", "--at", "noon"], &["`noon`", "RFC 3339"]),
        (&["holdings", "acme", "--at", "5"], &["`5`", "RFC 3339"]),
    ];
    for (arguments, words) in table {
        wrong(&lab, arguments, words);
    }
}

#[test]
fn before_anything_is_indexed_all_is_unknown() {
    let lab = lab();
    let good = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq";
    for command in ["balance", "history"] {
        let ran = lab.assay(&[command, good, "--chain", "bitcoin"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("nothing has been indexed here yet"), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: index first: assay index --once"), "{}", ran.stderr);
    }
    let holdings = lab.json(&["holdings", "acme"], 3);
    assert_eq!(holdings["holdings"][0]["units"], json!(null), "{holdings}");
    // A chain that is named twice, in two ways, is followed once; its node is not there.
    let id = "bip122:000000000019d6689c085ae165831e93";
    let twice = ["index", "--once", "--chain", "bitcoin", "--chain", "ethereum", "--chain", id];
    let ran = lab.assay(&twice);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("error: chain bitcoin: ").count(), 1, "{}", ran.stderr);
    assert!(!lab.path("assay-data").exists(), "nothing is written for nodes that were never there");
}

#[test]
fn init_writes_a_sample_that_is_in_order_and_touches_nothing_that_is_there() {
    let lab = Lab::new();
    let folder = lab.path("my-assay");
    let name = folder.to_str().unwrap();
    let ran = lab.assay(&["init", name]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    let config = folder.join("assay.toml");
    let with = |arguments: &[&str]| lab.assay(&[arguments, &["--config", config.to_str().unwrap()]].concat());
    // The sample's nodes may or may not be there; all that was written is in order.
    let checked = with(&["check", "--json"]);
    let checks: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    for subject in ["configuration", "exchange acme"] {
        let found = checks["checks"].as_array().unwrap().iter().find(|check| check["subject"] == subject);
        assert_eq!(found.unwrap()["status"], "ok", "{checks}");
    }
    let statement = folder.join("statement.json");
    let verified = with(&["verify", "acme", "--json", "--statement", statement.to_str().unwrap()]);
    assert_eq!(verified.code, 3, "{}", verified.stderr);
    assert!(verified.stdout.contains("\"stale-statement\""), "{}", verified.stdout);

    std::fs::write(&config, "mine").unwrap();
    let again = lab.assay(&["init", name]);
    assert_eq!((again.code, again.stdout.as_str()), (2, ""), "{}", again.stderr);
    assert!(again.stderr.contains("assay.toml: is there already: nothing was written"), "{}", again.stderr);
    assert!(again.stderr.contains("hint: "), "{}", again.stderr);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "mine");
    // Any one of its files is enough, and then none of the others is written.
    lab.write("half/exchanges/acme/deposits.csv", "mine");
    assert_eq!(lab.assay(&["init", lab.path("half").to_str().unwrap()]).code, 2);
    assert!(!lab.path("half/assay.toml").exists());
    lab.write("a-file", "");
    let ran = lab.assay(&["init", lab.path("a-file").to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("a-file"), "{}", ran.stderr);
}

#[test]
fn a_login_that_cannot_be_read_is_said_only_where_it_is_needed() {
    let lab = lab();
    let cookie = labs::bitcoin_chain("http://127.0.0.1:1", &lab.path("none"), 6);
    lab.write("assay.toml", &cookie.replace(labs::REGTEST, "bip122:000000000019d6689c085ae165831e93"));
    let ran = lab.assay(&["index", "--once"]);
    assert_eq!(ran.code, 3, "whether there is a node at all comes first: {}", ran.stderr);
}
