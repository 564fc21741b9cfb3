//! `cold-ratio` on real nodes: prices that come, go and return, and coins that go back to where they belong.

#![allow(clippy::unwrap_used)]

mod lab;
#[path = "lab/scene.rs"]
mod scene;
#[path = "lab/serving.rs"]
mod serving;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use assay_testnodes::Anvil;
use scene::{SUBSIDY, Scene, assay_time, indexed, submit};
use serde_json::{Value, json};
use serving::Serving;

/// Somebody who knows prices, or answers 503.
#[derive(Clone)]
struct Exchange {
    url: String,
    prices: Arc<Mutex<Option<String>>>,
}

impl Exchange {
    fn open() -> Exchange {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/daily.csv?currency=KRW", listener.local_addr().unwrap());
        let prices: Arc<Mutex<Option<String>>> = Arc::default();
        let known = prices.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let asked = lines.next().unwrap().unwrap();
                lines.find(|line| line.as_ref().is_ok_and(String::is_empty));
                let known = known.lock().unwrap().clone().filter(|_| asked.starts_with("GET /daily.csv?currency=KRW "));
                let (status, body) = known.map_or(("503 Closed", String::new()), |prices| ("200 OK", prices));
                let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            }
        });
        Exchange { url, prices }
    }

    fn says(&self, prices: Option<String>) {
        *self.prices.lock().unwrap() = prices;
    }
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// The same prices on each of the last 800 days.
fn prices(each: &[(&str, u64)]) -> String {
    let day = |ago: u64| assay_time(now_s() - ago * 86_400)[..10].to_owned();
    let lines =
        (0..800).flat_map(|ago| each.iter().map(move |(asset, price)| format!("{},{asset},{price}\n", day(ago))));
    format!("date,asset,price\n{}", lines.collect::<String>())
}

/// The minute that began so many minutes ago.
fn minute(ago: u64) -> u64 {
    now_s() / 60 * 60 - ago * 60
}

/// The table `[policy]` that asks at this minute.
fn policy(at: u64) -> String {
    format!("[policy]\ncold_ratio = \"0.8\"\ncold_ratio_at = \"{}\"\n\n", &assay_time(at)[11..16])
}

fn found(findings: &Value) -> Value {
    let each = findings["findings"].as_array().unwrap();
    each.iter().find(|one| one["rule"] == "cold-ratio").cloned().unwrap_or_default()
}

/// The alert once it is as wished.
fn alert(serving: &Serving, state: &str, severity: &str) -> Value {
    let mine = |alerts: &Value| {
        let each = alerts["alerts"].as_array().unwrap();
        each.iter().find(|one| one["rule"] == "cold-ratio").cloned().unwrap_or_default()
    };
    let alerts = serving.wait("/v1/alerts", |alerts| {
        let alert = mine(alerts);
        alert["state"] == state && alert["severity"] == severity
    });
    mine(&alerts)
}

/// An exchange that holds 200 BTC, all cold, and 20,000 ETH, half of it cold; it owes 200 and 15,000.
struct House {
    scene: Scene,
    anvil: Anvil,
    accounts: Vec<String>,
    config: String,
}

impl House {
    fn new(exchange: &Exchange) -> House {
        let (scene, anvil) = (Scene::new(4), Anvil::start(&[]).unwrap());
        anvil.call("evm_mine", json!([])).unwrap();
        let accounts = anvil.call("eth_accounts", json!([])).unwrap();
        let accounts: Vec<String> = serde_json::from_value(accounts).unwrap();
        let wallet = |role: &str, address: &str| {
            format!("\n[[wallet]]\nchain = \"evm\"\nrole = \"{role}\"\naddress = \"{address}\"\n")
        };
        let toml = std::fs::read_to_string(scene.lab.path("exchanges/acme/exchange.toml")).unwrap();
        let wallets = [wallet("hot", &accounts[0]), wallet("cold", &accounts[1])].concat();
        scene.lab.write("exchanges/acme/exchange.toml", &format!("{toml}{wallets}"));
        let config = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
        let prices =
            format!("[prices]\nurl = \"{}\"\ncurrency = \"KRW\"\nevery = \"1s\"\nmax_age = \"8s\"\n\n", exchange.url);
        let config = format!("{}{config}\n{prices}", lab::evm_chain(&anvil.url, 1, 1));
        House { scene, anvil, accounts, config }
    }

    fn asks_at(&self, at: u64) {
        self.scene.lab.write("assay.toml", &format!("{}{}", self.config, policy(at)));
    }

    fn statement(&self, sequence: u64, as_of: u64) -> String {
        let mut statement: Value = serde_json::from_str(&self.scene.statement(sequence, 4 * SUBSIDY)).unwrap();
        statement["as_of"]["time"] = json!(assay_time(as_of));
        let block = self.anvil.call("eth_getBlockByNumber", json!(["latest", false])).unwrap();
        let height = u64::from_str_radix(&block["number"].as_str().unwrap()[2..], 16).unwrap();
        statement["as_of"]["blocks"]["evm"] = json!({ "height": height, "hash": block["hash"] });
        statement["assets"].as_array_mut().unwrap().push(json!({ "asset": "ETH", "customers": "15000" }));
        statement.to_string()
    }

    fn send(&self, serving: &Serving, sequence: u64, as_of: u64) {
        let evm = self.anvil.call("eth_blockNumber", json!([])).unwrap();
        let evm = u64::from_str_radix(&evm.as_str().unwrap()[2..], 16).unwrap();
        let heights = [("evm", evm), ("bitcoin", self.scene.height())];
        serving.wait("/v1/chains", |chains| {
            let chains = chains["chains"].as_array().unwrap();
            let is_at = |(name, height): &(&str, u64)| {
                chains.iter().any(|chain| chain["name"] == *name && chain["indexed"]["height"] == *height)
            };
            heights.iter().all(is_at)
        });
        let answer = submit(serving, &self.scene.acme, "acme", &self.statement(sequence, as_of));
        assert!(answer.status < 300, "{}", answer.body);
    }
}

#[test]
fn prices_that_vanish_clear_nothing_and_coins_that_return_to_the_cold_do() {
    let exchange = Exchange::open();
    let dear = prices(&[("BTC", 1_000_000), ("ETH", 50_000), ("KIMCHI", 1)]);
    exchange.says(Some(dear.clone()));
    let house = House::new(&exchange);
    let (first, second) = (minute(2), minute(1));
    house.asks_at(first);
    let serving = house.scene.serve();
    // 200 x 1,000,000 + 15,000 x 50,000 are owed, and 10,000 ETH are cold: 700 of 950 million.
    house.send(&serving, 1, first);
    let fired = alert(&serving, "firing", "error");
    assert!(fired["message"].as_str().unwrap().ends_with("Z 0.7368 was"), "{fired:#}");
    assert!(fired["duty"]["first_steps"].as_str().unwrap().contains("hot"), "{fired:#}");
    let evidence = found(&serving.get("/v1/findings"))["evidence"].clone();
    let eth = evidence["assets"].as_array().unwrap().iter().find(|one| one["asset"] == "ETH").cloned().unwrap();
    assert_eq!(
        [&evidence["value"], &evidence["cold_value"], &evidence["at"]],
        [&json!("950000000"), &json!("700000000"), &json!(assay_time(first))]
    );
    assert_eq!([&eth["counted"], &eth["mean_price"]], ["10000", "50000"]);
    assert!((365..=366).contains(&eth["days"].as_u64().unwrap()), "{eth}");

    // Nobody tells prices any more: after a while nothing is known, and nothing is over. Nor is it for another process.
    exchange.says(None);
    let told = alert(&serving, "firing", "warning");
    assert!(told["message"].as_str().unwrap().contains("BTC, ETH: the prices are of "), "{told:#}");
    serving.kill();
    let serving = house.scene.serve();
    let told = serving.wait("/v1/findings", |findings| found(findings)["evidence"]["level"] == "indeterminate");
    assert!(found(&told)["message"].as_str().unwrap().contains("HTTP status 503"), "{told:#}");
    let still = alert(&serving, "firing", "warning");
    assert_eq!([&still["id"], &still["fired_at"], &still["episodes"]], [&fired["id"], &fired["fired_at"], &json!(1)]);

    // What was found is found again from what was kept; and of the next day's coins enough are cold, though not of each kind.
    exchange.says(Some(dear));
    alert(&serving, "firing", "error");
    assert_eq!(found(&serving.get("/v1/findings"))["evidence"], evidence);
    let value = format!("{:#x}", 1_900 * 10u128.pow(18));
    let (from, to) = (&house.accounts[0], &house.accounts[1]);
    house.anvil.call("eth_sendTransaction", json!([{ "from": from, "to": to, "value": value }])).unwrap();
    house.send(&serving, 2, second);
    assert_eq!(found(&serving.get("/v1/findings"))["evidence"], evidence, "it is asked at one time of the day");
    assert_eq!(serving.stop().0, 0);
    let serving = house.scene.serve();
    let again = serving.wait("/v1/findings", |findings| found(findings)["severity"] == "error");
    assert_eq!(found(&again)["evidence"], evidence, "and of the statement that was in force then");
    house.asks_at(second);
    let resolved = alert(&serving, "resolved", "error");
    assert_eq!([&resolved["id"], &resolved["episodes"]], [&fired["id"], &json!(1)]);
    assert_eq!(found(&serving.get("/v1/findings")), Value::Null);
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_file_of_prices_is_read_when_it_changes_and_a_bad_one_changes_nothing() {
    let scene = Scene::new(4);
    let toml = std::fs::read_to_string(scene.lab.path("exchanges/acme/exchange.toml")).unwrap();
    scene.lab.write("exchanges/acme/exchange.toml", &toml.replace("cold", "hot"));
    let config = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    let at = minute(1);
    let table = "[prices]\nfile = \"prices.csv\"\ncurrency = \"KRW\"\n\n";
    scene.lab.write("assay.toml", &format!("{config}\n{table}{}", policy(at)));
    let serving = scene.serve();
    indexed(&serving, 4);
    let mut statement: Value = serde_json::from_str(&scene.statement(1, 4 * SUBSIDY)).unwrap();
    statement["as_of"]["time"] = json!(assay_time(at));
    submit(&serving, &scene.acme, "acme", &statement.to_string());
    let price = |findings: &Value| found(findings)["evidence"]["assets"][0]["mean_price"].clone();
    // One kind alone that is hot is hot whatever it costs.
    let hot = serving.wait("/v1/findings", |findings| !found(findings).is_null());
    assert_eq!([&found(&hot)["severity"], &price(&hot)], [&json!("error"), &Value::Null], "{hot:#}");

    let write = |text: &str| {
        // In one step, as whoever writes such files should.
        scene.lab.write("prices.new", text);
        std::fs::rename(scene.lab.path("prices.new"), scene.lab.path("prices.csv")).unwrap();
    };
    write(&prices(&[("BTC", 7)]));
    serving.wait("/v1/findings", |findings| price(findings) == "7");
    write("date,asset,price\n2026-01-31,BTC,seven\n");
    let began = std::time::Instant::now();
    while !serving.has_said("prices.csv:2: price: `seven` is not a price") {
        assert!(began.elapsed().as_secs() < 60, "nothing is said of the bad file");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(price(&serving.get("/v1/findings")), "7");
    write(&prices(&[("BTC", 8)]));
    serving.wait("/v1/findings", |findings| price(findings) == "8");
    assert_eq!(serving.stop().0, 0);
}
