//! What a transaction calls is explained however deep it goes; where nobody can read it, it holds up nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/proxy.rs"]
mod proxy;

use contracts::{Address, World};
use lab::Lab;
use proxy::{Fault, Proxy, Rule, alter};
use serde_json::json;

/// Calls itself as often as the first word of its input says, and then pays 7 wei to the address in the second.
const NESTED: &str = "0x5f358015601e57600190035f526020356020525f5f60405f5f305af150005b5f5f5f5f60076020355af15000";
const BLOCK: &str = "debug_traceBlockByHash";
const ALONE: &str = "debug_traceTransaction";

/// A world in whose last block someone is paid from a call so deep, and he who is.
fn world(depth: u8) -> (World, Address) {
    let world = World::new(&[]);
    let (nested, paid) = (Address::fresh(1), Address::fresh(2));
    world.call("anvil_setCode", json!([nested.to_string(), NESTED]));
    world.mine();
    let depth = [[0; 31].as_slice(), &[depth]].concat();
    world.send(world.users[0], Some(nested), 7, &[&depth, [0; 12].as_slice(), &paid.0].concat());
    world.mine();
    (world, paid)
}

/// How 7 wei came to him, by what is indexed behind these disturbances; and what was said.
fn seen(world: &World, paid: Address, rules: Vec<Rule>) -> (String, String) {
    let proxy = Proxy::with(&world.anvil.url, rules);
    let lab = Lab::new();
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{}", lab::evm_chain(&proxy.url, 1, 1)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &[paid]));
    let ran = lab.assay(&["index", "--once"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let held = lab.json(&["balance", &paid.to_string(), "--chain", "evm"], 0);
    assert_eq!((&held["units"], &held["coverage"]), (&json!("7"), &json!("verified")), "{held:#}");
    let history = lab.json(&["history", &paid.to_string(), "--chain", "evm"], 0);
    let [movement] = &history["movements"].as_array().unwrap()[..] else { panic!("{history:#}") };
    (movement["kind"].as_str().unwrap().to_owned(), ran.stderr)
}

#[test]
fn a_payment_from_a_deep_call_is_explained() {
    // JSON in JSON, two levels for each call: parsers usually stop at 128.
    let (world, paid) = world(120);
    assert_eq!(seen(&world, paid, vec![]).0, "internal");
}

#[test]
fn a_trace_that_nobody_can_read_holds_up_nothing_and_is_named() {
    let (world, paid) = world(3);
    let too_slow = || Fault::Refuse(-32000, "execution timeout");
    let failed = alter(|traces| {
        for trace in traces.as_array_mut().into_iter().flatten() {
            *trace = json!({ "txHash": trace["txHash"], "error": "execution timeout" });
        }
    });
    for (whole, alone, kind, named) in [
        (Fault::Huge, None, "internal", "(kind: oversized)"),
        (Fault::Refuse(-32003, "response size exceeded"), None, "internal", ""),
        (failed.clone(), None, "internal", ""),
        (failed, Some(too_slow()), "unattributed", ""),
        (Fault::Huge, Some(Fault::Huge), "unattributed", "(kind: oversized): what it says stays unexplained"),
    ] {
        let alone = alone.map(|fault| Rule::always(&[ALONE], fault));
        let rules = [Rule::always(&[BLOCK], whole)].into_iter().chain(alone).collect();
        let (explained, said) = seen(&world, paid, rules);
        assert_eq!(explained, kind, "{said}");
        assert!(said.contains(named), "{named}: {said}");
    }
}
