//! What waits in the mempool is said beside a balance, and is never a part of it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use assay_types::Amount;
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::proxy::{Fault, Proxy, Rule, alter};
use crate::serving::Serving;
use crate::stage::{Coin, Payment, Random, Stage};

const FEE_SAT: u64 = 2_000;
/// Nobody's that is followed.
const STRANGER: &str = "00147777777777777777777777777777777777777777";
/// No answer may take longer, whatever the node does: its deadline, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(8);

fn coins(sat: u64) -> String {
    Amount::from(sat).to_coins(8)
}

impl Stage {
    /// A hundred blocks and more, so that the first account has coins to spend.
    fn with_coins() -> (Stage, Lab, Vec<Coin>) {
        let stage = Stage::new();
        stage.mine(110);
        let lab = stage.lab(6);
        lab.index();
        let coins = stage.snapshot().coins;
        (stage, lab, coins)
    }

    fn broadcast(&self, payment: &Payment) {
        self.node.call("sendrawtransaction", json!([payment.hex, 0])).unwrap(); // whatever its fee
    }

    fn address(&self, name: &str) -> &str {
        &self.accounts.iter().find(|account| account.name == name).unwrap().address
    }

    /// Mines what waits, for nobody that is followed.
    fn mine_for_a_stranger(&self) {
        self.node.call("generatetodescriptor", json!([1, format!("raw({STRANGER})")])).unwrap();
    }
}

fn balance(lab: &Lab, address: &str) -> Value {
    lab.json(&["balance", address, "--chain", "bitcoin"], 0)
}

fn pending(lab: &Lab, address: &str) -> String {
    let answer = balance(lab, address);
    assert_eq!(answer.get("pending_reason"), None, "{answer}");
    answer["pending"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Why it is not known what waits; all else is as ever.
fn why_unknown(answer: &Value) -> &str {
    assert_eq!((&answer["pending"], &answer["coverage"]), (&Value::Null, &json!("verified")), "{answer}");
    assert!(answer["amount"].is_string(), "{answer}");
    answer["pending_reason"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn what_waits_is_told_until_it_is_mined() {
    let (stage, lab, coin) = Stage::with_coins();
    let (payer, payee, third) = (stage.address("p2wpkh"), stage.address("p2tr"), stage.address("p2pkh"));
    let before = balance(&lab, payer);
    assert_eq!(pending(&lab, payer), "0");
    let row = "waiting in the mempool";
    let said = |address: &str| lab.assay(&["balance", address, "--chain", "bitcoin"]).stdout;
    assert!(!said(payer).contains(row));

    // Paid, with change.
    let change = coin[0].sat - 30_000_000 - FEE_SAT;
    let first = stage.pay(&coin[..1], vec![(30_000_000, stage.script("p2tr")), (change, stage.script("p2wpkh"))]);
    stage.broadcast(&first);
    assert_eq!(pending(&lab, payee), "0.3");
    assert_eq!(pending(&lab, payer), "-0.30002");
    assert!(said(payee).contains(row) && said(payee).contains("0.3 BTC"), "{}", said(payee));
    let now = balance(&lab, payer);
    for field in ["amount", "units", "immature", "coverage", "final", "at"] {
        assert_eq!(now[field], before[field], "{field}");
    }

    // What was made in the mempool is spent there.
    let second = stage.pay(&[first.coin(0)], vec![(30_000_000 - FEE_SAT, STRANGER.into())]);
    stage.broadcast(&second);
    assert_eq!(pending(&lab, payee), "0");
    assert_eq!(pending(&lab, payer), "-0.30002");

    // Replaced by one that pays a higher fee.
    let instead = stage.pay(&[first.coin(0)], vec![(20_000_000, stage.script("p2pkh"))]);
    stage.broadcast(&instead);
    assert_eq!(pending(&lab, third), "0.2");
    assert_eq!(pending(&lab, payee), "0");

    // A past block has no mempool.
    let at = lab.json(&["balance", payer, "--chain", "bitcoin", "--at", &stage.tip().to_string()], 0);
    assert!(at.get("pending").is_none() && at.get("pending_reason").is_none(), "{at}");

    // Mined and not indexed: what waits may spend what is not known here.
    stage.mine_for_a_stranger();
    let missing = balance(&lab, third);
    assert!(why_unknown(&missing).contains("not at the node's last block, 111"), "{missing}");
    assert!(said(third).contains("unknown: the index is not"), "{}", said(third));
    lab.index();
    for (address, amount) in [(third, "0.2".to_owned()), (payee, "0".to_owned())] {
        assert_eq!((balance(&lab, address)["amount"].clone(), pending(&lab, address)), (json!(amount), "0".into()));
    }
    // And back in the mempool when its block leaves the chain.
    stage.invalidate(1);
    lab.index();
    assert_eq!((balance(&lab, third)["amount"].clone(), pending(&lab, third)), (json!("0"), "0.2".into()));

    // An account that nobody declares.
    let stranger = lab.json(&["balance", &format!("script:{STRANGER}"), "--chain", "bitcoin"], 3);
    assert_eq!((&stranger["pending"], &stranger["coverage"]), (&Value::Null, &json!("unknown")), "{stranger}");
    assert_eq!(stranger["pending_reason"], stranger["reason"]);
}

#[test]
fn what_waits_is_what_a_block_with_it_changes() {
    let (stage, lab, mut purse) = Stage::with_coins();
    let mut random = Random(41);
    // Paid one after the other out of all that there is, confirmed or not; some of it goes to strangers.
    for _ in 0..24 {
        let taken = (0..1 + random.below(2)).map(|_| purse.swap_remove(random.below(purse.len()))).collect::<Vec<_>>();
        let sum: u64 = taken.iter().map(|coin| coin.sat).sum();
        let names = ["p2wpkh", "p2pkh", "p2tr", "OP_TRUE", "p2sh", "2 of 3", "p2sh-p2wsh"];
        let mut outputs: Vec<(u64, String)> =
            (0..4).map(|_| ((sum - FEE_SAT) / 5, stage.script(names[random.below(names.len())]))).collect();
        outputs.push(((sum - FEE_SAT) / 5, STRANGER.into()));
        let payment = stage.pay(&taken, outputs);
        stage.broadcast(&payment);
        let open = stage.script("OP_TRUE");
        purse.extend((0..4).map(|vout| payment.coin(vout)).filter(|coin| coin.script != open));
    }
    let said: Vec<(Value, String)> = stage
        .accounts
        .iter()
        .map(|account| (balance(&lab, &account.address), pending(&lab, &account.address)))
        .collect();
    assert!(said.iter().any(|(_, pending)| pending.starts_with('-')));
    stage.mine_for_a_stranger();
    lab.index();
    assert_eq!(stage.node.call("getrawmempool", json!([])).unwrap(), json!([]), "all of it was mined");
    for (account, (before, pending)) in stage.accounts.iter().zip(said) {
        let sat = |answer: &Value| answer["units"].as_str().unwrap().parse::<i64>().unwrap();
        let change = sat(&balance(&lab, &account.address)) - sat(&before);
        let sign = if change < 0 { "-" } else { "" };
        assert_eq!(pending, format!("{sign}{}", coins(change.unsigned_abs())), "{}", account.name);
    }
}

#[test]
fn a_node_that_cannot_be_asked_changes_nothing_else() {
    let (stage, lab, _) = Stage::with_coins();
    let address = stage.address("p2wpkh").to_owned();
    let good = balance(&lab, &address);
    let known = |lab: &Lab, why: &str| {
        let began = Instant::now();
        let answer = balance(lab, &address);
        assert!(began.elapsed() < BOUND, "it takes {:?}", began.elapsed());
        assert!(why_unknown(&answer).contains(why), "{answer}");
        for field in ["amount", "units", "immature", "at", "final"] {
            assert_eq!(answer[field], good[field], "{field}");
        }
    };
    // One that takes the question, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    lab.write("assay.toml", &config.replace(&stage.node.rpc_url, &url));
    known(&lab, "no whole answer within 2 s");
    // One that is gone.
    lab.write("assay.toml", &config);
    stage.node.stop().unwrap();
    known(&lab, "refused");
}

#[test]
fn whatever_a_node_says_of_its_mempool_no_answer_fails() {
    const LIST: &[&str] = &["getrawmempool"];
    const TRANSACTION: &[&str] = &["getrawtransaction"];
    let (stage, lab, coin) = Stage::with_coins();
    let change = coin[0].sat - 30_000_000 - FEE_SAT;
    let first = stage.pay(&coin[..1], vec![(30_000_000, stage.script("p2tr")), (change, stage.script("p2wpkh"))]);
    let second = stage.pay(&[first.coin(0)], vec![(10_000_000, stage.script("p2pkh"))]);
    stage.broadcast(&first);
    stage.broadcast(&second);
    let address = stage.address("p2wpkh").to_owned();
    let proxy = Proxy::new(&stage.node.rpc_url);
    let config = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    lab.write("assay.toml", &config.replace(&stage.node.rpc_url, &proxy.url));
    let others = second.hex.clone();
    let set = |with: Value| alter(move |result| *result = with.clone());
    let on_list = |with: fn(&mut Vec<Value>)| alter(move |result| with(result.as_array_mut().unwrap()));
    let on_hex = |with: fn(&mut String)| {
        alter(move |result| {
            let mut hex = result.as_str().unwrap_or_default().to_owned();
            with(&mut hex);
            *result = json!(hex);
        })
    };
    let wrong = [
        ("no list", LIST, set(json!({ "a": 1 })), "cannot be read"),
        ("nothing", LIST, set(Value::Null), "cannot be read"),
        ("numbers", LIST, set(json!([1, 2])), "cannot be read"),
        ("short ids", LIST, set(json!(["00"])), "no id"),
        ("ids with a prefix", LIST, set(json!([format!("0x{}", "0".repeat(64))])), "no id"),
        ("a refusal", LIST, Fault::Refuse(-32601, "Method not found"), "Method not found"),
        ("busy", LIST, Fault::Status(503), "503"),
        ("nonsense", LIST, Fault::Nonsense, "not JSON-RPC"),
        ("huge", LIST, Fault::Huge, "longer than"),
        ("endless", LIST, Fault::Endless, ""),
        ("a trickle", LIST, Fault::Trickle, "no whole answer"),
        ("half", LIST, Fault::Half, ""),
        ("silence", TRANSACTION, Fault::Silence, "no whole answer"),
        ("dropped", TRANSACTION, Fault::Drop, ""),
        ("busy", TRANSACTION, Fault::Status(503), "503"),
        ("nonsense", TRANSACTION, Fault::Nonsense, "not JSON-RPC"),
        ("cut", TRANSACTION, Fault::Cut, "not JSON-RPC"),
        ("huge", TRANSACTION, Fault::Huge, "longer than"),
        ("a refusal", TRANSACTION, Fault::Refuse(-32603, "no"), "no"),
        ("no text", TRANSACTION, set(json!(7)), "cannot be read"),
        ("empty", TRANSACTION, set(json!("")), "cannot be read"),
        ("no digits", TRANSACTION, set(json!("zz")), "not hexadecimal"),
        ("another", TRANSACTION, set(json!(others)), "contradicts the id"),
        ("a bit", TRANSACTION, on_hex(|hex| hex.replace_range(..2, "03")), "contradicts the id"),
        ("something at its end", TRANSACTION, on_hex(|hex| hex.push_str("00")), "bytes follow it"),
        ("nothing at its end", TRANSACTION, on_hex(|hex| hex.truncate(hex.len() - 2)), "cannot be read"),
        ("no inputs", TRANSACTION, set(json!("02000000000100000000")), "cannot be read"),
    ];
    for (what, names, fault, says) in wrong {
        proxy.set(vec![Rule::always(names, fault)]);
        let began = Instant::now();
        let answer = balance(&lab, &address);
        assert!(proxy.applied() > 0, "{what}: was never asked");
        assert!(began.elapsed() < BOUND, "{what}: it takes {:?}", began.elapsed());
        assert!(why_unknown(&answer).contains(says), "{what}: {answer}");
    }
    // The same twice, what is spent behind what spends it, or something that has left: no harm.
    let harmless = [
        on_list(|ids| ids.extend_from_within(..)),
        on_list(|ids| ids.reverse()),
        on_list(|ids| ids.push(json!("77".repeat(32)))),
        on_list(|ids| ids.sort_by_key(ToString::to_string)),
    ];
    for fault in harmless {
        proxy.set(vec![Rule::always(LIST, fault)]);
        assert_eq!(pending(&lab, &address), "-0.30002");
        assert_eq!(pending(&lab, stage.address("p2tr")), "0");
    }
    // A batch of which one answer is missing, or that cannot be read once: asked for in smaller ones.
    proxy.set(vec![Rule::always(TRANSACTION, Fault::Nonsense).first(2)]);
    assert_eq!(pending(&lab, stage.address("p2pkh")), "0.1");
}

/// A statement as of now that names the node's last block, with a withdrawal to a stranger that names no transaction.
fn statement(stage: &Stage, amount: &str) -> String {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = assay_types::Timestamp::from_unix_s(i64::try_from(since_epoch.as_secs()).unwrap());
    let (height, withdrawal) =
        (stage.tip(), json!({ "chain": "bitcoin", "address": format!("script:{STRANGER}"), "amount": amount }));
    json!({
        "format": "assay.statement/1", "exchange": "acme", "sequence": 1,
        "as_of": { "time": now.to_string(), "blocks": { "bitcoin": { "height": height, "hash": stage.hash_at(height) } } },
        "assets": [{ "asset": "BTC", "customers": "100", "pending_withdrawals": [withdrawal] }],
    })
    .to_string()
}

/// Where the withdrawal is, by which transaction; it is owed wherever that is.
fn withdrawal(verdict: &Value, amount: &str) -> (String, Value) {
    let (line, item) = (&verdict["lines"][0], &verdict["lines"][0]["in_flight"][0]);
    assert_eq!(
        (&line["verdict"], &item["effect"], &item["counted"]),
        (&json!("backed"), &json!("counts"), &json!(amount))
    );
    assert_eq!(line["owed"], format!("100.{}", amount.trim_start_matches("0.")), "{line}");
    (item["standing"].as_str().unwrap().to_owned(), item["txid"].clone())
}

#[test]
fn a_withdrawal_without_a_transaction_is_found_in_the_mempool() {
    let (stage, lab, coin) = Stage::with_coins();
    let standing = |amount: &str| {
        lab.write("statement.json", &statement(&stage, amount));
        withdrawal(&lab.json(&["verify", "acme", "--statement", "statement.json"], 0), amount)
    };
    assert_eq!(standing("0.1"), ("no-transaction".into(), Value::Null));
    let change = coin[0].sat - 10_000_000 - FEE_SAT;
    let paid = stage.pay(&coin[..1], vec![(change, stage.script("p2tr")), (10_000_000, STRANGER.into())]);
    stage.broadcast(&paid);
    let txid = json!(stage.node.call("getrawmempool", json!([])).unwrap()[0]);
    assert_eq!(standing("0.1"), ("mempool".into(), txid.clone()));
    assert_eq!(standing("0.05"), ("mempool".into(), txid));
    assert_eq!(standing("0.2"), ("no-transaction".into(), Value::Null), "less than its amount");
    // In a block it is looked for by its id alone.
    stage.mine_for_a_stranger();
    lab.index();
    assert_eq!(standing("0.1"), ("no-transaction".into(), Value::Null));
    // Nobody to ask: owed as ever.
    stage.node.call("stop", json!([])).unwrap();
    let ran = lab.json(&["verify", "acme", "--statement", "statement.json"], 0);
    assert_eq!(withdrawal(&ran, "0.1"), ("no-transaction".into(), Value::Null));
}

#[test]
fn over_http_it_comes_from_a_view_that_is_kept() {
    let (stage, lab, coin) = Stage::with_coins();
    let proxy = Proxy::new(&stage.node.rpc_url);
    let config = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    let config = config.replace(&stage.node.rpc_url, &proxy.url);
    lab.write("assay.toml", &format!("{config}[serve]\nlisten = \"127.0.0.1:0\"\ntokens_file = \"tokens\"\n"));
    let token = lab.assay(&["token", "new", "watch", "--scope", "regulator"]).stdout.trim().to_owned();
    let acme =
        lab.assay(&["token", "new", "acme-1", "--scope", "exchange", "--exchange", "acme"]).stdout.trim().to_owned();
    let path = |name: &str| format!("/v1/accounts/bitcoin/{}/balance", stage.address(name));
    // Before there is a view it is not known.
    proxy.set(vec![Rule::always(&["getrawmempool"], Fault::Status(503))]);
    let serving = Serving::start(&lab, &token);
    serving.wait("/v1/chains", |chains| chains["chains"][0]["indexed"]["height"] == stage.tip());
    let answer =
        serving.wait(&path("p2tr"), |answer| answer["pending_reason"].as_str().is_some_and(|why| why.contains("503")));
    assert!(why_unknown(&answer).contains("503"), "{answer}");
    proxy.set(vec![]);
    let is = |name: &str, wished: &str| serving.wait(&path(name), |answer| answer["pending"] == wished);
    let none = is("p2tr", "0");
    assert_eq!(none.get("pending_reason"), None, "{none}");

    let change = coin[0].sat - 30_000_000 - FEE_SAT;
    let first = stage.pay(&coin[..1], vec![(30_000_000, stage.script("p2tr")), (change, stage.script("p2wpkh"))]);
    stage.broadcast(&first);
    assert_eq!(is("p2tr", "0.3")["amount"], "0");
    is("p2wpkh", "-0.30002");
    let fetched = proxy.asked("getrawtransaction");
    let second = stage.pay(&[first.coin(0)], vec![(30_000_000 - FEE_SAT, STRANGER.into())]);
    stage.broadcast(&second);
    is("p2tr", "0");
    assert_eq!(proxy.asked("getrawtransaction"), fetched + 1, "only what is new is fetched");
    // A withdrawal that names no transaction is found there.
    let amount = coins(30_000_000 - FEE_SAT);
    let stated = serving.ask_as(&acme, "POST", "/v1/exchanges/acme/statements", statement(&stage, &amount).as_bytes());
    assert_eq!(withdrawal(&stated.json()["verdict"], &amount).0, "mempool", "{}", stated.body);
    let instead = stage.pay(&[first.coin(0)], vec![(20_000_000, stage.script("p2pkh"))]);
    stage.broadcast(&instead);
    is("p2pkh", "0.2");
    let at = serving.get(&format!("{}?at={}", path("p2pkh"), stage.tip()));
    assert!(at.get("pending").is_none() && at.get("pending_reason").is_none(), "{at}");
    stage.mine_for_a_stranger();
    // Never both: what is in the amount does not wait any more.
    let mined = serving.wait(&path("p2pkh"), |answer| {
        assert!(answer["amount"] == "0" || answer["pending"] != "0.2", "{answer}");
        answer["amount"] == "0.2" && answer["pending"] == "0"
    });
    assert_eq!(mined["coverage"], "verified");
    // What waits is found through a block that comes meanwhile.
    let third = stage.pay(&[instead.coin(0)], vec![(5_000_000, stage.script("p2sh"))]);
    stage.broadcast(&third);
    is("p2pkh", "-0.2");
    proxy.open(false);
    let away = serving.wait(&path("p2pkh"), |answer| answer["pending"].is_null());
    assert!(!why_unknown(&away).is_empty() && away["amount"] == "0.2", "{away}");
    proxy.open(true);
    is("p2sh", "0.05");
    assert_eq!(serving.stop().0, 0);
}
