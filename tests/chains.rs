//! Many chains from one configuration, each at its own pace: one whose node fails, however it fails, holds up no other.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/proxy.rs"]
mod proxy;
#[path = "lab/serving.rs"]
mod serving;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use assay_store::{Mode, Store};
use contracts::World;
use lab::{ANVIL, Lab};
use proxy::{Fault, Proxy, Rule};
use serde_json::json;
use serving::Serving;

const DEADLINE: (&str, &str) = ("ASSAY_NODE_DEADLINE_S", "2");

/// A chain that goes on, and one before whose node there is a proxy.
struct Two {
    sound: World,
    _other: World,
    proxy: Proxy,
    lab: Lab,
}

impl Two {
    fn new(blocks: u64) -> Two {
        let (sound, other) = (World::new(&[]), World::new(&["--chain-id", "4242"]));
        for world in [&sound, &other] {
            world.call("anvil_mine", json!([blocks]));
        }
        let (proxy, lab) = (Proxy::new(&other.anvil.url), Lab::new());
        let second = lab::evm_chain(&proxy.url, 1, 1).replace("\"evm\"", "\"second\"").replace(ANVIL, "eip155:4242");
        let second = second.replace("start = ", "native = { symbol = \"ETH\", decimals = 18 }\nstart = ");
        let first = lab::evm_chain(&sound.anvil.url, 1, 1);
        let serve = "[serve]\nlisten = \"127.0.0.1:0\"\n";
        // The one that fails comes first.
        lab.write("assay.toml", &format!("data_dir = \"data\"\n{second}{first}{serve}"));
        let wallets = contracts::exchange("acme", &sound.users[..2]);
        lab.write("exchanges/acme/exchange.toml", &wallets);
        Two { sound, _other: other, proxy, lab }
    }

    /// The last block of a chain in the store; 0 if there is none.
    fn tip(&self, chain: &str, id: &str) -> u64 {
        let store = Store::open(&self.lab.path("data").join(chain), &id.parse().unwrap(), Mode::Read);
        store.ok().and_then(|store| store.tip().unwrap()).map_or(0, |tip| tip.height.0)
    }
}

/// Every way in which a node can fail all that it is asked.
fn failures() -> Vec<(&'static str, Option<Fault>)> {
    vec![
        ("closed", None),
        ("dropped", Some(Fault::Drop)),
        ("silence", Some(Fault::Silence)),
        ("a trickle", Some(Fault::Trickle)),
        ("endless", Some(Fault::Endless)),
        ("429", Some(Fault::Status(429))),
        ("503", Some(Fault::Status(503))),
        ("500", Some(Fault::Status(500))),
        ("a refusal", Some(Fault::Refuse(-32005, "rate limit exceeded"))),
        ("nonsense", Some(Fault::Nonsense)),
    ]
}

impl Two {
    fn fail(&self, fault: Option<Fault>) {
        self.proxy.open(fault.is_some());
        self.proxy.set(fault.into_iter().map(|fault| Rule::when(|_, _| true, fault)).collect());
    }
}

#[test]
fn a_chain_whose_node_fails_holds_up_no_other() {
    let two = Two::new(3);
    for (what, fault) in failures() {
        two.fail(fault);
        two.sound.mine();
        let output = two.lab.command(&["index", "--once"]).envs([DEADLINE]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{what}: {said}");
        assert!(said.contains(two.proxy.url.trim_start_matches("http://")), "{what}: the node is named: {said}");
        assert_eq!((two.tip("evm", ANVIL), two.tip("second", "eip155:4242")), (two.sound.height(), 0), "{what}");
    }
    two.fail(Some(Fault::Nonsense));
    two.proxy.set(vec![]);
    two.lab.index();
    assert_eq!(two.tip("second", "eip155:4242"), 3);

    // The same while they are followed, with both caught up at first.
    let serving = Serving::start_with(&two.lab, "", &[DEADLINE]);
    let height = |chains: &serde_json::Value, name: &str| {
        let chain = chains["chains"].as_array().unwrap().iter().find(|chain| chain["name"] == name);
        chain.unwrap()["indexed"]["height"].as_u64().unwrap_or(0)
    };
    serving.wait("/v1/chains", |chains| height(chains, "second") == 3);
    for (what, fault) in failures() {
        two.fail(fault);
        std::thread::sleep(Duration::from_millis(700)); // until it was looked at, and has failed or hangs
        for _ in 0..3 {
            two.sound.mine();
            let (now, began) = (two.sound.height(), Instant::now());
            serving.wait("/v1/chains", |chains| height(chains, "evm") == now);
            assert!(began.elapsed() < Duration::from_secs(3), "{what}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn a_limited_node_slows_the_backfill_down_and_a_resumed_one_repeats_nothing() {
    const RECEIPTS: &str = "eth_getBlockReceipts";
    let (world, lab) = (World::new(&[]), Lab::new());
    world.call("anvil_mine", json!([20]));
    let proxy = Proxy::new(&world.anvil.url);
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{}", lab::evm_chain(&proxy.url, 1, 1)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &world.users[..2]));
    let nth = AtomicU64::new(0);
    let three_of_four = move |_: &str, _: &serde_json::Value| !nth.fetch_add(1, Ordering::Relaxed).is_multiple_of(4);
    proxy.set(vec![Rule::when(three_of_four, Fault::Status(429))]);
    lab.index();
    assert!(proxy.applied() > 20, "{}", proxy.applied());

    proxy.set(vec![]);
    let before = proxy.asked(RECEIPTS);
    world.call("anvil_mine", json!([7]));
    lab.index();
    assert_eq!(proxy.asked(RECEIPTS) - before, 7);
    lab.index();
    assert_eq!(proxy.asked(RECEIPTS) - before, 7);
}
