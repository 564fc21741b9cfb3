//! Blocks of families of which no node can be had here, served as their nodes write them (`tests/blocks`): none of them makes an honest node a liar,
//! or stops its chain, and their movements are those that the family means.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use lab::Lab;
use serde_json::{Value, json};

/// A node that knows some blocks, and no state but balances.
struct Recorded {
    of: Value,
    /// Of the last block, where the node traces.
    traces: Option<Value>,
}

impl Recorded {
    fn load(name: &str) -> Recorded {
        let path = format!("{}/../../tests/blocks/{name}.json", env!("CARGO_MANIFEST_DIR"));
        Recorded { of: serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap(), traces: None }
    }

    fn blocks(&self) -> &Vec<Value> {
        self.of["blocks"].as_array().unwrap()
    }

    /// By its hash, its number, or a tag.
    fn at(&self, wanted: &Value) -> Option<&Value> {
        let wanted = if wanted.is_object() { &wanted["blockHash"] } else { wanted };
        let is_it = |one: &&Value| one["block"]["hash"] == *wanted || one["block"]["number"] == *wanted;
        match wanted.as_str()? {
            "latest" | "finalized" | "safe" => self.blocks().last(),
            _ => self.blocks().iter().find(is_it),
        }
    }

    /// `None`: the method is not there.
    fn answer(&self, method: &str, params: &Value) -> Option<Value> {
        let id = &params[0];
        Some(match method {
            "eth_chainId" => json!(format!("{:#x}", self.of["chainId"].as_u64().unwrap())),
            "web3_clientVersion" => json!("Recorded/1"),
            "eth_syncing" => json!(false),
            "eth_getBlockByNumber" | "eth_getBlockByHash" => {
                let Some(mut block) = self.at(id).map(|one| one["block"].clone()) else { return Some(Value::Null) };
                if params[1] == false {
                    let ids = block["transactions"].as_array().unwrap().iter().map(|one| one["hash"].clone()).collect();
                    block["transactions"] = Value::Array(ids);
                }
                block
            }
            "eth_getBlockReceipts" => self.at(id).map_or(Value::Null, |one| one["receipts"].clone()),
            "eth_getRawTransactionByHash" => {
                self.of["raw"].as_object().filter(|raw| !raw.is_empty())?.get(id.as_str()?)?.clone()
            }
            "debug_traceBlockByHash" => self.traces.clone()?,
            "eth_getCode" => json!("0x"),
            "eth_call" if params[2].is_null() => json!(format!("0x{:064x}", 0)),
            "eth_getBalance" => {
                let height = self.at(&params[1])?["block"]["number"].as_str()?.trim_start_matches("0x").to_owned();
                let height = u64::from_str_radix(&height, 16).unwrap().to_string();
                let of = &self.of["balances"][id.as_str()?];
                let amount = of.get(&height).or_else(|| of.as_object()?.values().next());
                json!(format!("{:#x}", amount.and_then(Value::as_u64).unwrap_or_default()))
            }
            _ => return None,
        })
    }

    /// Its URL; it answers until the process ends.
    fn serve(self) -> String {
        let (listener, shared) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(self));
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                std::thread::spawn(move || drop(shared.talk(stream.unwrap())));
            }
        });
        url
    }

    fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let (mut from, mut to) = (BufReader::new(stream.try_clone()?), stream);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if from.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if let Some(said) = line.to_lowercase().strip_prefix("content-length:") {
                    length = said.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            from.read_exact(&mut body)?;
            let one = |question: &Value| match self.answer(question["method"].as_str().unwrap(), &question["params"]) {
                Some(result) => json!({ "jsonrpc": "2.0", "id": question["id"], "result": result }),
                None => {
                    json!({ "jsonrpc": "2.0", "id": question["id"], "error": { "code": -32601, "message": "the method does not exist" } })
                }
            };
            let answer = match serde_json::from_slice(&body)? {
                Value::Array(questions) => questions.iter().map(one).collect(),
                question => one(&question),
            };
            let answer = answer.to_string();
            write!(
                to,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
                answer.len()
            )?;
        }
    }
}

/// Follows its two blocks for those whose balances are known; gives what `check` says of the last, and each movement after the opening.
fn follow(recorded: Recorded, extra: &str) -> (String, Vec<String>) {
    let (chain, first) = (recorded.of["chainId"].clone(), recorded.blocks()[0]["block"]["number"].clone());
    let start = u64::from_str_radix(first.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let accounts: Vec<String> = recorded.of["balances"].as_object().unwrap().keys().cloned().collect();
    let url = recorded.serve();
    let lab = Lab::new();
    let native = "native = { symbol = \"ETH\", decimals = 18 }";
    let node = format!("[[chain.node]]\nrpc = \"{url}\"\n");
    lab.write("assay.toml", &format!("data_dir = \"data\"\n[[chain]]\nname = \"evm\"\nid = \"eip155:{chain}\"\nstart = {start}\n{native}\n{extra}\n{node}"));
    let wallets: Vec<_> = accounts.iter().map(|account| contracts::Address::parse(account)).collect();
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &wallets));
    let checked = lab.json(&["check"], 0);
    let mut said = checked["checks"].as_array().unwrap().iter().map(|one| one["message"].as_str().unwrap());
    let last = said
        .find(|said| said.contains(CHECKED) || said.contains(TOLD))
        .unwrap_or_else(|| panic!("{checked:#}"))
        .to_owned();
    lab.index();
    let movements = accounts.iter().flat_map(|account| {
        let history = lab.json(&["history", account, "--chain", "evm"], 0);
        let word = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
        let each = |one: &Value| format!("{} {} {}", &account[..6], word(one, "kind"), word(one, "amount"));
        let movements = history["movements"].as_array().unwrap().iter().map(each);
        movements.filter(|movement| !movement.contains("opening")).collect::<Vec<_>>()
    });
    (last, movements.collect())
}

const CHECKED: &str = "agrees with its header";
const TOLD: &str = "holds what no codec of ours knows";

#[test]
fn every_family_is_followed_and_what_it_means_is_told() {
    let paid = ["0x9d8a fee", "0x9d8a transfer 0.001", "0xabab transfer 0.001"];
    let foreign = "foreign_headers = true";
    for (name, extra, says) in [
        ("base-regolith", "", CHECKED),
        ("polygon-state-sync", "", CHECKED),
        ("polygon-madhugiri", "", CHECKED),
        ("polygon-madhugiri-no-bytes", "", TOLD),
        ("arbitrum", "", CHECKED),
        ("scroll", "", CHECKED),
        ("mantle", "", CHECKED),
        ("operator-isthmus", "", CHECKED),
        ("operator-jovian", "", CHECKED),
        ("zksync", "", TOLD),
        ("evmos", foreign, TOLD),
        ("moonbeam", foreign, TOLD),
    ] {
        let (last, movements) = follow(Recorded::load(name), extra);
        assert!(last.contains(says), "{name}: {last}");
        let is_plain =
            movements.len() == paid.len() && movements.iter().zip(paid).all(|(is, paid)| is.starts_with(paid));
        assert!(is_plain, "{name}: {movements:#?}");
    }
    // A type of which nothing is known, whose sender pays nobody by its value.
    let (last, movements) = follow(Recorded::load("base-8130"), "");
    assert!(
        last.contains(CHECKED) && movements.iter().all(|one| !one.contains("unattributed")),
        "{last} {movements:?}"
    );
    // Withdrawals in another coin than the chain's own.
    let (last, movements) = follow(Recorded::load("gnosis"), "");
    assert!(
        last.contains(CHECKED) && movements.iter().all(|one| one.starts_with("0x9d8a") || one.starts_with("0xabab")),
        "{last} {movements:?}"
    );
}

#[test]
fn a_state_sync_may_have_no_trace_or_one_of_another_call() {
    let call = |transaction: &Value, from: &Value, to: &Value| {
        let result = json!({ "type": "CALL", "from": from, "to": to, "value": transaction["value"], "gas": "0x0", "gasUsed": "0x0", "input": transaction["input"] });
        json!({ "txHash": transaction["hash"], "result": result })
    };
    for name in ["polygon-state-sync", "polygon-madhugiri"] {
        let recorded = Recorded::load(name);
        let block = recorded.blocks().last().unwrap()["block"].clone();
        let [sent, sync] = &block["transactions"].as_array().unwrap()[..] else { panic!("two transactions") };
        let first = call(sent, &sent["from"], &sent["to"]);
        let synthetic = call(
            sync,
            &json!("0xfffffffffffffffffffffffffffffffffffffffe"),
            &json!("0x0000000000000000000000000000000000001001"),
        );
        for traces in [json!([first]), json!([first, synthetic])] {
            let (last, movements) = follow(Recorded { of: recorded.of.clone(), traces: Some(traces) }, "");
            assert!(last.contains(CHECKED) && movements.len() == 3, "{name}: {last} {movements:?}");
        }
    }
}

/// Who does not say so is told how to.
#[test]
fn headers_that_hash_otherwise_have_to_be_declared() {
    let (url, lab) = (Recorded::load("evmos").serve(), Lab::new());
    let config = |id: u64, extra: &str| {
        format!(
            "data_dir = \"data\"\n[[chain]]\nname = \"evm\"\nid = \"eip155:{id}\"\nstart = 100\n{extra}\nnative = {{ symbol = \"ETH\", decimals = 18 }}\n[[chain.node]]\nrpc = \"{url}\"\n"
        )
    };
    let account = contracts::Address::fresh(1);
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &[account]));
    let id = Recorded::load("evmos").of["chainId"].as_u64().unwrap();
    lab.write("assay.toml", &config(id, ""));
    let ran = lab.assay(&["index", "--once"]);
    assert!(ran.code == 4 && ran.stderr.contains("`foreign_headers = true`"), "{} {}", ran.code, ran.stderr);
    lab.write("assay.toml", &config(1, "foreign_headers = true"));
    let ran = lab.assay(&["index", "--once"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("assay.toml:6") && ran.stderr.contains("chain[0].foreign_headers"),
        "{}",
        ran.stderr
    );
}
