//! Deposit addresses that are announced before anybody uses them, on a real bitcoind and a real anvil: nothing is filled in, and
//! what customers pay into them counts at once.

#![allow(clippy::unwrap_used)]

mod lab;
#[path = "lab/proxy.rs"]
mod proxy;
#[path = "lab/scene.rs"]
mod scene;
#[path = "lab/serving.rs"]
mod serving;

use assay_testnodes::Anvil;
use proxy::Proxy;
use scene::{SUBSIDY, Scene, indexed, submit, token};
use serde_json::{Value, json};
use serving::{Answer, Serving};

const STRANGER: &str = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";
const OF_ACME: &str = "/v1/exchanges/acme/wallets";

/// A scene whose node is behind a proxy that counts, with a wallet that can pay.
fn counted() -> (Scene, Proxy) {
    let scene = Scene::new(4);
    let proxy = Proxy::new(&scene.node.rpc_url);
    let config = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    scene.lab.write("assay.toml", &config.replace(&scene.node.rpc_url, &proxy.url));
    call(&scene, "createwallet", json!(["w"]));
    let payer = call(&scene, "getnewaddress", json!([]));
    call(&scene, "generatetoaddress", json!([2, payer]));
    call(&scene, "generatetoaddress", json!([100, STRANGER]));
    (scene, proxy)
}

fn call(scene: &Scene, method: &str, params: Value) -> Value {
    scene.node.call(method, params).unwrap()
}

/// An address of the node's wallet that nobody has seen yet.
fn new_address(scene: &Scene) -> String {
    call(scene, "getnewaddress", json!([])).as_str().unwrap().to_owned()
}

fn announce(serving: &Serving, secret: &str, wallets: &Value) -> Answer {
    let body = json!({ "wallets": wallets }).to_string();
    serving.ask_as(secret, "POST", OF_ACME, body.as_bytes())
}

fn bitcoin(address: &str) -> Value {
    json!({ "chain": "bitcoin", "address": address })
}

/// Pays, in any block: what the wallet sends by itself waits for the height that comes next now.
fn pay(scene: &Scene, address: &str, amount: u64) {
    let raw = call(scene, "createrawtransaction", json!([[], { address: amount }, 0]));
    let funded = call(scene, "fundrawtransaction", json!([raw]));
    let signed = call(scene, "signrawtransactionwithwallet", json!([funded["hex"]]));
    call(scene, "sendrawtransaction", json!([signed["hex"]]));
}

/// The refusal's kind and words.
fn refused(answer: &Answer, status: u16) -> (String, String) {
    assert_eq!(answer.status, status, "{}", answer.body);
    let problem = answer.json();
    let text = |field: &str| problem[field].as_str().unwrap().to_owned();
    (text("type").replace("urn:assay:problem:", ""), text("detail"))
}

/// An account's amount and coverage at the last indexed block.
fn balance(serving: &Serving, chain: &str, address: &str) -> (Value, Value, u64) {
    let found = serving.get(&format!("/v1/accounts/{chain}/{address}/balance"));
    (found["amount"].clone(), found["coverage"].clone(), found["at"]["height"].as_u64().unwrap())
}

fn verdict(serving: &Serving, scene: &Scene, sequence: u64, customers: u64) -> Value {
    submit(serving, &scene.acme, "acme", &scene.statement(sequence, customers)).json()["verdict"]["verdict"].clone()
}

#[test]
fn a_fresh_address_is_announced_paid_and_counted_and_no_block_is_read_again() {
    let (scene, node) = counted();
    let serving = scene.serve();
    indexed(&serving, 106);
    let (fresh, cold) = (new_address(&scene), 4 * SUBSIDY);
    let blocks = node.asked("getblock");

    let wallets = json!([{ "chain": "bitcoin", "address": fresh, "label": "customer 7" }]);
    let first = announce(&serving, &scene.acme, &wallets);
    assert_eq!(first.status, 201, "{}", first.body);
    let answer = first.json()["wallets"][0].clone();
    for (field, expected) in [
        ("chain", "bitcoin"),
        ("address", &fresh),
        ("role", "deposit"),
        ("owner", "customers"),
        ("label", "customer 7"),
        ("coverage", "unproven"),
    ] {
        assert_eq!(answer[field], expected, "{answer:#}");
    }
    let tip = call(&scene, "getblockhash", json!([106]));
    assert_eq!((&answer["from"]["height"], &answer["from"]["hash"]), (&json!(106), &tip));
    assert!(answer["since"].is_string(), "{answer:#}");
    // The same once more is answered the same, and the node is not asked.
    let again = announce(&serving, &scene.acme, &wallets);
    assert_eq!((again.status, again.json()), (200, first.json()));
    let other = json!([{ "chain": "bitcoin", "address": fresh, "role": "hot" }]);
    assert_eq!(refused(&announce(&serving, &scene.acme, &other), 409).0, "conflict");
    assert_eq!((node.asked("getblock"), node.asked("scantxoutset")), (blocks, 1));
    let listed = serving.get(OF_ACME)["wallets"].clone();
    let marks: Vec<(&Value, &Value)> =
        listed.as_array().unwrap().iter().map(|one| (&one["address"], &one["announced"])).collect();
    assert_eq!(marks, [(&json!(scene.address), &json!(false)), (&json!(fresh), &json!(true))]);

    // A customer pays in; the ledger owes as much more, and it is there.
    assert_eq!(verdict(&serving, &scene, 1, cold), "backed");
    let paid = call(&scene, "sendtoaddress", json!([fresh, 20]));
    let mut early: Value = serde_json::from_str(&scene.statement(6, cold + 20)).unwrap();
    let output = call(&scene, "gettransaction", json!([paid]))["details"][0]["vout"].clone();
    early["assets"][0]["unconfirmed_credits"] =
        json!([{ "chain": "bitcoin", "txid": paid, "vout": output, "amount": "20" }]);
    call(&scene, "generatetoaddress", json!([1, STRANGER]));
    indexed(&serving, 107);
    scene.lab.write("early.json", &early.to_string());
    let early = scene.lab.json(&["verify", "acme", "--statement", "early.json"], 0);
    assert_eq!(early["lines"][0]["deductions"], "20", "credited before its block, and it came to an account of theirs");
    assert_eq!(verdict(&serving, &scene, 2, cold + 20), "backed");
    assert_eq!(verdict(&serving, &scene, 3, cold + 21), "short");
    assert_eq!(balance(&serving, "bitcoin", &fresh), (json!("20"), json!("unproven"), 107));
    let below = serving.get(&format!("/v1/accounts/bitcoin/{fresh}/balance?at=105"));
    assert_eq!((&below["coverage"], &below["reason"]), (&json!("unknown"), &json!("announced at block 106")));

    // A kill forgets nothing.
    serving.kill();
    let serving = scene.serve();
    indexed(&serving, 107);
    assert_eq!(announce(&serving, &scene.acme, &wallets).json(), first.json());
    assert_eq!(serving.get(OF_ACME)["wallets"], listed);
    assert_eq!(verdict(&serving, &scene, 4, cold + 20), "backed");
    // Anyone who verifies here comes to the same.
    scene.lab.write("4.json", &scene.statement(4, cold + 20));
    assert_eq!(scene.lab.json(&["verify", "acme", "--statement", "4.json"], 0)["verdict"], "backed");
    let deep = scene.lab.assay(&["check", "--deep"]);
    assert_eq!(deep.code, 0, "{}{}", deep.stdout, deep.stderr);

    // Later it stands in the files, which prevail: nothing is declared twice, and nothing is filled in.
    let exchange = scene.lab.path("exchanges/acme/exchange.toml");
    let written = std::fs::read_to_string(&exchange).unwrap();
    let wallet = format!("[[wallet]]\nchain = \"bitcoin\"\nrole = \"hot\"\naddress = \"{fresh}\"\n");
    scene.lab.write("exchanges/acme/exchange.toml", &format!("{written}\n{wallet}"));
    let both = serving.wait(OF_ACME, |all| all["wallets"][1]["role"] == "hot");
    assert_eq!((both["wallets"].as_array().unwrap().len(), &both["wallets"][1]["announced"]), (2, &json!(false)));
    assert_eq!(announce(&serving, &scene.acme, &wallets).json(), first.json());
    call(&scene, "generatetoaddress", json!([1, STRANGER]));
    indexed(&serving, 108);
    assert_eq!(verdict(&serving, &scene, 5, cold + 20), "backed");
    assert_eq!(node.asked("getblock"), blocks + 2, "each block once");
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn what_is_not_empty_not_theirs_or_not_now_is_refused_whole_and_says_why() {
    let (scene, node) = counted();
    let wallet = format!("[[wallet]]\nchain = \"bitcoin\"\nrole = \"hot\"\naddress = \"{STRANGER}\"\n");
    scene.lab.write("exchanges/beta/exchange.toml", &format!("id = \"beta\"\nname = \"Beta\"\n\n{wallet}"));
    let beta = token(&scene.lab, &["beta-1", "--scope", "exchange", "--exchange", "beta"]);
    let analyst = token(&scene.lab, &["desk", "--scope", "analyst"]);
    let serving = scene.serve();
    indexed(&serving, 106);
    let (fresh, rich) = (new_address(&scene), new_address(&scene));
    call(&scene, "sendtoaddress", json!([rich, 3]));
    call(&scene, "generatetoaddress", json!([1, STRANGER]));
    indexed(&serving, 107);
    let acme = |wallets: Value| announce(&serving, &scene.acme, &wallets);

    let (kind, why) = refused(&acme(json!([bitcoin(&fresh), bitcoin(&rich)])), 409);
    assert_eq!(kind, "not-empty");
    assert!(why.starts_with(&format!("wallets[1].address: {rich} holds 3 BTC at block 107")), "{why}");
    assert!(why.contains("files"), "{why}");
    assert_eq!(serving.get(OF_ACME)["wallets"].as_array().unwrap().len(), 1, "none of them was taken");
    // Whose it is, and what it holds, is nobody else's business.
    let (kind, why) = refused(&acme(json!([bitcoin(STRANGER)])), 409);
    assert!(kind == "conflict" && why.contains("another exchange's") && !why.contains("BTC"), "{kind}: {why}");
    assert_eq!(refused(&acme(json!([bitcoin(&scene.address)])), 409).0, "conflict");

    let (kind, why) = refused(&acme(json!([bitcoin("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")])), 422);
    assert!(kind == "refused" && why.starts_with("wallets[0].address: "), "{why}");
    let (_, why) = refused(&acme(json!([bitcoin(&fresh), bitcoin(&fresh)])), 422);
    assert!(why.contains("wallets[1].address: is the account of wallets[0]"), "{why}");
    let (_, why) = refused(&acme(json!([{ "chain": "bitcoim", "address": fresh }])), 422);
    assert!(why.contains("wallets[0].chain") && why.contains("`bitcoin`"), "{why}");
    let (_, why) = refused(&acme(json!([{ "chain": "bitcoin", "address": fresh, "rol": "hot" }])), 400);
    assert!(why.contains("wallets[0].rol"), "{why}");
    assert_eq!(refused(&acme(json!([])), 422).0, "refused");

    let one = json!([bitcoin(&fresh)]);
    for (who, secret, status) in
        [("another exchange", &beta, 404), ("a regulator", &scene.regulator, 403), ("an analyst", &analyst, 404)]
    {
        assert_eq!(announce(&serving, secret, &one).status, status, "{who}");
    }
    // With the node away nobody can say that it is empty.
    node.open(false);
    serving.wait("/v1/chains", |chains| !chains["chains"][0]["trouble"].is_null());
    let (kind, why) = refused(&acme(one.clone()), 503);
    assert!(kind == "unavailable" && why.contains("bitcoin is not followed since"), "{why}");
    node.open(true);
    serving.wait("/v1/chains", |chains| chains["chains"][0]["trouble"].is_null());
    assert_eq!(acme(one.clone()).status, 201);
    // By announcing what is another's nobody makes it unknown; where the files say so, both are told.
    let both =
        serving.ask_as(&beta, "POST", "/v1/exchanges/beta/wallets", json!({ "wallets": one }).to_string().as_bytes());
    assert_eq!(refused(&both, 409).0, "conflict");
    let theirs = wallet.replace(STRANGER, &fresh);
    scene.lab.write("exchanges/beta/exchange.toml", &format!("id = \"beta\"\nname = \"Beta\"\n\n{wallet}\n{theirs}"));
    scene.mine(1);
    indexed(&serving, 108);
    submit(&serving, &scene.acme, "acme", &scene.statement(1, 0));
    serving.wait("/v1/findings", |found| found.to_string().contains("shared-account"));
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_reorganisation_across_the_announcement_never_makes_anything_up() {
    let (scene, node) = counted();
    let serving = scene.serve();
    indexed(&serving, 106);
    let fresh = new_address(&scene);
    assert_eq!(announce(&serving, &scene.acme, &json!([bitcoin(&fresh)])).status, 201);
    pay(&scene, &fresh, 20);
    call(&scene, "generatetoaddress", json!([1, STRANGER]));
    indexed(&serving, 107);
    assert_eq!(balance(&serving, "bitcoin", &fresh), (json!("20"), json!("unproven"), 107));

    // The block at which it was empty leaves the chain, and the payment comes a block earlier.
    let announced_at = call(&scene, "getblockhash", json!([106]));
    call(&scene, "invalidateblock", json!([announced_at]));
    call(&scene, "generatetoaddress", json!([3, STRANGER]));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let (amount, coverage, height) = balance(&serving, "bitcoin", &fresh);
        let on_its_way_back = height == 106 && node.asked("scantxoutset") == 1;
        assert!(coverage == "unknown" || amount == "20" || on_its_way_back, "{amount} {coverage} at {height}");
        if height == 108 && coverage == "unproven" {
            break;
        }
        assert!(std::time::Instant::now() < until, "{coverage} at {height}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(node.asked("scantxoutset"), 2, "it was proven again, once");
    assert_eq!(verdict(&serving, &scene, 1, 4 * SUBSIDY + 20), "backed");
    assert_eq!(serving.stop().0, 0);
}

/// With an anvil beside bitcoind, on which a fresh and a rich account are.
fn with_anvil() -> (Scene, Anvil, Proxy) {
    let scene = Scene::new(4);
    let anvil = Anvil::start(&[]).unwrap();
    anvil.call("anvil_mine", json!(["0x5"])).unwrap();
    let proxy = Proxy::new(&anvil.url);
    let config = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    scene.lab.write("assay.toml", &format!("{}{config}", lab::evm_chain(&proxy.url, 2, 30)));
    (scene, anvil, proxy)
}

fn evm_height(anvil: &Anvil) -> u64 {
    let height = anvil.call("eth_blockNumber", json!([])).unwrap();
    u64::from_str_radix(height.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// A block that anvil makes by itself for a transaction may come a moment later.
fn reached(serving: &Serving, anvil: &Anvil) {
    serving.wait("/v1/chains", |chains| {
        let (height, all) = (evm_height(anvil), chains["chains"].as_array().unwrap());
        all.iter().all(|chain| chain["name"] != "evm" || chain["indexed"]["height"] == height)
    });
}

#[test]
fn on_an_evm_chain_emptiness_is_proven_and_both_chains_are_taken_together_or_not_at_all() {
    let (scene, anvil, node) = with_anvil();
    let serving = scene.serve();
    serving.wait("/v1/chains", |chains| {
        chains["chains"].as_array().unwrap().iter().all(|chain| !chain["indexed"].is_null())
    });
    reached(&serving, &anvil);
    let fresh = "0x52908400098527886E0F7030069857D2E4169EE7";
    let dev = anvil.call("eth_accounts", json!([])).unwrap()[0].clone();
    let receipts = node.asked("eth_getBlockReceipts");

    let on = |address: &Value| json!({ "chain": "evm", "address": address });
    let script = json!({ "chain": "bitcoin", "address": "script:51", "role": "cold", "owner": "house" });
    let (kind, why) = refused(&announce(&serving, &scene.acme, &json!([script, on(&dev)])), 409);
    assert!(kind == "not-empty" && why.contains("wallets[1].address: ") && why.contains(" ETH at block"), "{why}");
    let both = json!([script, on(&json!(fresh))]);
    let answer = announce(&serving, &scene.acme, &both);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let taken = answer.json()["wallets"].clone();
    assert_eq!((&taken[0]["address"], &taken[0]["owner"]), (&json!("script:51"), &json!("house")));
    assert_eq!((&taken[1]["address"], &taken[1]["coverage"]), (&json!(fresh), &json!("verified")));
    assert_eq!(taken[1]["from"]["height"], evm_height(&anvil));
    assert_eq!(node.asked("eth_getBlockReceipts"), receipts, "no block is read again");

    let pay = |wei: &str| {
        let transaction = json!([{ "from": dev, "to": fresh, "value": wei }]);
        anvil.call("eth_sendTransaction", transaction).unwrap();
    };
    pay("0xde0b6b3a7640000");
    anvil.call("anvil_mine", json!(["0x1"])).unwrap();
    reached(&serving, &anvil);
    let (amount, coverage, _) = balance(&serving, "evm", fresh);
    assert_eq!((amount, coverage), (json!("1"), json!("verified")));

    // The chain loses the announcement's block and the payment with it, and is paid otherwise.
    anvil.call("anvil_reorg", json!([4, []])).unwrap();
    pay("0x1bc16d674ec80000");
    anvil.call("anvil_mine", json!(["0x2"])).unwrap();
    reached(&serving, &anvil);
    let (amount, coverage, _) = balance(&serving, "evm", fresh);
    assert_eq!((amount, coverage), (json!("2"), json!("verified")), "state tells, nobody has to be asked again");
    serving.kill();
    let serving = scene.serve();
    reached(&serving, &anvil);
    assert_eq!(announce(&serving, &scene.acme, &both).json()["wallets"], taken);
    assert_eq!(serving.stop().0, 0);
}
