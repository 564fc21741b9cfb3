//! Nodes that cannot be used, and nodes that go away: a clear error, and nothing half-written.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use assay_testnodes::Bitcoind;
use serde_json::json;

use crate::lab::{Lab, REGTEST, Ran, bitcoin_chain};
use crate::oracle::{agrees, all, answers, indexed_height};
use crate::stage::{Random, Stage};

fn refused(lab: &Lab, code: i32, words: &[&str]) -> Ran {
    let ran = lab.assay(&["index", "--once"]);
    assert_eq!(ran.code, code, "{}", ran.stderr);
    for words in [&["error: chain bitcoin: ", "hint: "], words].concat() {
        assert!(ran.stderr.contains(words), "`{words}` is not in {}", ran.stderr);
    }
    assert_eq!(ran.stdout, "");
    ran
}

fn nothing_written(lab: &Lab) {
    assert!(!lab.path("assay-data").exists(), "something was written");
}

/// An exchange whose one account is good on this network.
fn declare(lab: &Lab, address: &str) {
    let wallet = format!("[[wallet]]\nchain = \"bitcoin\"\nrole = \"hot\"\naddress = \"{address}\"\n");
    lab.write("exchanges/acme/exchange.toml", &format!("id = \"acme\"\n{wallet}"));
}

#[test]
fn a_node_on_another_chain_is_refused() {
    let stage = Stage::new();
    let lab = stage.lab(6);
    let configured = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    let networks = [
        ("bip122:000000000019d6689c085ae165831e93", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "main"),
        ("bip122:00000000da84f2bafbbc53dee25a72ae", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "testnet4"),
    ];
    for (id, address, name) in networks {
        lab.write("assay.toml", &configured.replace(REGTEST, id));
        lab.write("exchanges/acme/scripts.csv", "chain,address,role\n");
        declare(&lab, address);
        refused(&lab, 2, &[name, "is on chain", "genesis"]);
        nothing_written(&lab);
        let checked = lab.assay(&["check"]);
        assert_eq!(checked.code, 2, "{}", checked.stdout);
        assert!(checked.stdout.contains("is on chain"), "{}", checked.stdout);
    }
    // With the right id the same folder is good.
    lab.write("assay.toml", &configured);
    stage.declare(&lab, |_| true);
    lab.index();
}

#[test]
fn a_refused_login_is_said_and_nothing_is_written() {
    let stage = Stage::new();
    let lab = stage.lab(6);
    let configured = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    let good = stage.node.cookie_file.display().to_string();
    let secret = "0123456789abcdefsecret";
    let wrong = lab.write("wrong.cookie", &format!("__cookie__:{secret}\n"));
    let odd = lab.write("odd.cookie", secret);
    for (cookie, words) in [
        (wrong.display().to_string(), "HTTP status 401"),
        (odd.display().to_string(), "is no cookie file"),
        ("missing.cookie".into(), "missing.cookie cannot be read"),
    ] {
        lab.write("assay.toml", &configured.replace(&good, &cookie));
        let ran = refused(&lab, 2, &["login refused", words, "cookie_file"]);
        assert!(!ran.stderr.contains(secret), "a secret is shown: {}", ran.stderr);
        nothing_written(&lab);
        let checked = lab.assay(&["check"]);
        assert_eq!(checked.code, 2, "{}", checked.stdout);
        assert!(!checked.stdout.contains(secret), "a secret is shown: {}", checked.stdout);
    }
    let password = "user = \"me\"\npassword_file = \"password\"";
    lab.write("assay.toml", &configured.replace(&format!("cookie_file = \"{good}\""), password));
    refused(&lab, 2, &["login refused", "password cannot be read"]);
    let file = lab.write("password", &format!("{secret}\n"));
    let ran = refused(&lab, 2, &["login refused", "HTTP status 401"]);
    assert!(!ran.stderr.contains(secret), "a secret is shown: {}", ran.stderr);
    // With the right one, the cookie's, it lets us in; the newline is no part of it.
    let cookie = std::fs::read_to_string(&good).unwrap();
    let (user, password) = cookie.trim().split_once(':').unwrap();
    std::fs::write(file, format!("{password}\n")).unwrap();
    let login = format!("user = \"{user}\"\npassword_file = \"password\"");
    lab.write("assay.toml", &configured.replace(&format!("cookie_file = \"{good}\""), &login));
    lab.index();
}

#[test]
fn a_pruned_node_is_recognised_and_nothing_is_taken_as_zero() {
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(dir.path(), &["-fastprune=1", "-prune=1"]).unwrap();
    let address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    node.call("generatetoaddress", json!([700, address])).unwrap();
    let lowest = node.call("pruneblockchain", json!([400])).unwrap().as_u64().unwrap();
    assert!(lowest > 0, "nothing was pruned");
    let lab = Lab::new();
    lab.write("assay.toml", &bitcoin_chain(&node.rpc_url, &node.cookie_file, 6));
    declare(&lab, address);
    refused(&lab, 3, &["pruned"]);
    let ran = lab.assay(&["balance", address, "--chain", "bitcoin"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{}", ran.stderr);
    let checked = lab.assay(&["check"]);
    assert!(checked.stdout.contains("pruned: blocks below"), "{}", checked.stdout);
}

#[test]
fn a_node_that_is_down_is_unknown() {
    let lab = Lab::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    lab.write("assay.toml", &bitcoin_chain(&format!("http://127.0.0.1:{port}"), &lab.path("no.cookie"), 6));
    declare(&lab, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080");
    refused(&lab, 3, &[&format!("http://127.0.0.1:{port}")]);
    nothing_written(&lab);
    assert_eq!(lab.assay(&["check"]).code, 3);
}

/// Passes everything on until so many bytes came from the node; from then on nobody is there.
fn until_it_goes_away(node: &str, bytes: i64) -> String {
    let node = node.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let left = Arc::new(AtomicI64::new(bytes));
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            if left.load(Ordering::Relaxed) <= 0 {
                break;
            }
            let server = TcpStream::connect(&node).unwrap();
            let (to_server, from_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || pass(from_client, to_server, &AtomicI64::new(i64::MAX)));
            let left = left.clone();
            std::thread::spawn(move || pass(server, client, &left));
        }
    });
    url
}

fn pass(mut from: TcpStream, mut to: TcpStream, left: &AtomicI64) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if left.fetch_sub(i64::try_from(count).unwrap(), Ordering::Relaxed) <= 0
            || to.write_all(&buffer[..count]).is_err()
        {
            break;
        }
    }
    // Both ends, so that neither waits for the other.
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_node_that_goes_away_in_the_middle_leaves_a_block_boundary() {
    let stage = Stage::new();
    stage.mine(110);
    let mut random = Random(29);
    (0..60).for_each(|_| stage.busy_block(&mut random));
    let whole = stage.lab(100);
    whole.index();
    let lab = stage.lab(100);
    let configured = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    let mut heights = vec![];
    for bytes in [2_000, 60_000, 90_000] {
        let url = until_it_goes_away(&stage.node.rpc_url, bytes);
        lab.write("assay.toml", &configured.replace(&stage.node.rpc_url, &url));
        refused(&lab, 3, &[&url]);
        heights.extend(indexed_height(&lab, &stage));
        if let Some(height) = heights.last() {
            let at = height.to_string();
            let ask =
                |lab: &Lab| lab.json(&["balance", &stage.accounts[0].address, "--chain", "bitcoin", "--at", &at], 0);
            assert_eq!(ask(&lab)["units"], ask(&whole)["units"]);
        }
    }
    assert!(
        heights.iter().any(|height| *height > 0 && *height < stage.tip()),
        "it broke off in the middle: {heights:?}"
    );
    lab.write("assay.toml", &configured);
    lab.index();
    let heights = [1, 111, 150, stage.tip()];
    assert_eq!(answers(&lab, &stage, &heights), answers(&whole, &stage, &heights));
    agrees(&lab, &stage, &stage.snapshot(), all(&stage));
}
