//! Statements against two real chains, through `assay verify --json`: every verdict, and why.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;

use std::io::Write as _;
use std::process::{Command, Stdio};

use assay_testnodes::Bitcoind;
use assay_types::{Amount, Timestamp};
use contracts::{Address, World};
use lab::Lab;
use serde_json::{Value, json};

/// When the day begins, in seconds since the epoch; both chains take their time from the story.
const DAWN: u64 = 1_780_000_000;
/// A policy that says nothing, as RFC 8785 writes it.
const DEFAULT_POLICY: &str = r#"{"accept_elsewhere":[],"difference_tolerance":"0.0001","max_statement_age":"300s","require":"unproven","shortage_tolerance":{}}"#;

/// An exchange with coins on two chains, and the world outside.
struct Market {
    lab: Lab,
    bitcoin: Bitcoind,
    evm: World,
    usdx: Address,
    /// A token whose balances stand in storage as they are.
    plain: Address,
    cold: String,
    hot: String,
    outside: String,
    /// The exchange's account on the EVM chain.
    account: Address,
    /// Seconds since dawn.
    clock: u64,
}

/// `1.5` in base units of this many decimals.
fn units(coins: &str, decimals: u8) -> Amount {
    Amount::from_coins(coins, decimals).unwrap()
}

fn time(seconds_since_dawn: u64) -> String {
    Timestamp::from_unix_s(i64::try_from(DAWN + seconds_since_dawn).unwrap()).to_string()
}

impl Market {
    /// 10 BTC cold and 5 hot, 7 ETH, 500 USDX and 3 PLAIN. The last blocks are of `clock`.
    fn open() -> Market {
        let lab = Lab::new();
        let bitcoin = Bitcoind::start(&lab.path("bitcoin"), &["-rest=1"]).unwrap();
        let evm = World::new(&["--timestamp", &DAWN.to_string()]);
        // Before the wallets are made: they do not look at blocks older than themselves.
        bitcoin.call("setmocktime", json!([DAWN])).unwrap();
        for wallet in ["cold", "hot", "outside"] {
            bitcoin.call("createwallet", json!([wallet])).unwrap();
        }
        let address =
            |wallet| bitcoin.call_wallet(wallet, "getnewaddress", json!([])).unwrap().as_str().unwrap().to_owned();
        let (cold, hot, outside) = (address("cold"), address("hot"), address("outside"));
        let account = Address::fresh(1);
        let usdx = Address::fresh(0);
        let mut market = Market { lab, bitcoin, evm, usdx, plain: usdx, cold, hot, outside, account, clock: 0 };
        market.bitcoin.call("generatetoaddress", json!([110, market.outside])).unwrap();
        // No storage slot holds its balances, so that nothing proves them.
        market.usdx = market.evm.deploy("RebasingToken", abi!["USDX", "USDX", 6, 1_000_000_000_000]);
        market.evm.invoke(market.evm.users[0], market.usdx, 0, "rebase(uint256,uint256)", abi![2, 1]);
        market.plain = market.evm.deploy("Token", abi!["Plain", "PLAIN", 6, 1_000_000_000_000]);
        let to_account = abi![account, 3_000_000];
        market.evm.invoke(market.evm.users[0], market.plain, 0, "transfer(address,uint256)", to_account);
        market.pay_bitcoin("outside", &market.cold, "10");
        market.pay_bitcoin("outside", &market.hot, "5");
        let ether = json!({ "from": market.user(1), "to": account.to_string(), "value": "0x6124fee993bc0000" });
        market.evm.call("eth_sendTransaction", json!([ether]));
        market.pay_usdx(account, 500_000_000);
        market.clock = 100;
        market.mine();
        market.declare("");
        market.configure("");
        market
    }

    fn user(&self, number: usize) -> String {
        self.evm.users[number].to_string()
    }

    fn configure(&self, policy: &str) {
        let bitcoin = lab::bitcoin_chain(&self.bitcoin.rpc_url, &self.bitcoin.cookie_file, 2);
        let evm = lab::evm_chain(&self.evm.anvil.url, 1, 2);
        let usdx = contracts::asset("USDX", self.usdx, 6) + &contracts::asset("PLAIN", self.plain, 6);
        self.lab.write("assay.toml", &format!("{bitcoin}{evm}{usdx}[policy]\n{policy}\n"));
    }

    /// Cold, hot and the EVM account; `of_hot` is added to the hot wallet's declaration.
    fn declare(&self, of_hot: &str) {
        let wallet = |chain: &str, role: &str, address: &str| {
            format!("[[wallet]]\nchain = \"{chain}\"\nrole = \"{role}\"\naddress = \"{address}\"\n")
        };
        let (cold, hot) = (wallet("bitcoin", "cold", &self.cold), wallet("bitcoin", "hot", &self.hot));
        let evm = wallet("evm", "hot", &self.account.to_string());
        let text = format!("id = \"acme\"\nname = \"Acme\"\n{cold}{hot}{of_hot}\n{evm}");
        self.lab.write("exchanges/acme/exchange.toml", &text);
    }

    /// Sends to the mempool, with change to the hot wallet's own address.
    fn pay_bitcoin(&self, from: &str, to: &str, coins: &str) -> String {
        let change = if from == "hot" { &self.hot } else { &self.outside };
        let options = json!({ "change_address": change, "fee_rate": "10" });
        let sent =
            self.bitcoin.call_wallet(from, "send", json!([{ to: coins }, null, "unset", null, options])).unwrap();
        sent["txid"].as_str().unwrap().to_owned()
    }

    fn vout(&self, txid: &str, to: &str) -> u64 {
        let transaction = self.bitcoin.call_wallet("outside", "gettransaction", json!([txid, true, true])).unwrap();
        let outputs = transaction["decoded"]["vout"].as_array().unwrap();
        outputs.iter().find(|output| output["scriptPubKey"]["address"] == to).unwrap()["n"].as_u64().unwrap()
    }

    fn pay_usdx(&self, to: Address, units: u64) -> String {
        self.evm.invoke(self.evm.users[0], self.usdx, 0, "transfer(address,uint256)", abi![to, units])
    }

    /// A block on each chain, of this instant.
    fn mine(&mut self) {
        self.bitcoin.call("setmocktime", json!([DAWN + self.clock])).unwrap();
        self.bitcoin.call("generatetoaddress", json!([1, self.outside])).unwrap();
        self.evm.call("evm_setNextBlockTimestamp", json!([DAWN + self.clock]));
        self.evm.mine();
    }

    fn mine_at(&mut self, clock: u64) {
        self.clock = clock;
        self.mine();
    }

    /// The last blocks, as a statement names them.
    fn blocks(&self) -> Value {
        let hash = self.bitcoin.call("getbestblockhash", json!([])).unwrap();
        let height = self.bitcoin.call("getblockcount", json!([])).unwrap();
        let evm = self.evm.height();
        json!({ "bitcoin": { "height": height, "hash": hash }, "evm": { "height": evm, "hash": self.evm.hash(evm) } })
    }

    /// What these addresses hold now, as the node's own set of unspent outputs says.
    fn unspent(&self, addresses: &[&str]) -> Amount {
        let wanted: Vec<String> = addresses.iter().map(|address| format!("addr({address})")).collect();
        let found = self.bitcoin.call_raw("scantxoutset", json!(["start", wanted])).unwrap();
        let text = found.get().split("\"total_amount\":").nth(1).unwrap();
        units(text.trim_end_matches('}').trim(), 8)
    }

    fn statement(&self, as_of: u64, blocks: Option<&Value>, assets: Value, wallets: Value) -> String {
        let mut statement = json!({
            "format": "assay.statement/1", "exchange": "acme", "as_of": { "time": time(as_of) },
            "assets": assets, "wallets": wallets,
        });
        if let Some(blocks) = blocks {
            statement["as_of"]["blocks"] = blocks.clone();
        }
        let text = serde_json::to_string_pretty(&statement).unwrap();
        self.lab.write("statement.json", &text);
        text
    }

    fn verify_at(&self, now: u64, code: i32) -> Value {
        self.lab.json(&["verify", "acme", "--statement", "statement.json", "--now", &time(now)], code)
    }

    fn verify(&self, code: i32) -> Value {
        self.verify_at(self.clock + 10, code)
    }
}

fn line<'a>(result: &'a Value, asset: &str) -> &'a Value {
    result["lines"].as_array().unwrap().iter().find(|line| line["asset"] == asset).unwrap()
}

/// Rule and severity of each finding, but for what is only said.
fn findings(result: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = result["findings"].as_array().unwrap().iter();
    let all = all.map(|finding| (text(&finding["rule"]), text(&finding["severity"])));
    all.filter(|(rule, _)| rule != "unproven" && rule != "not-reported").collect()
}

fn found(rule: &str, severity: &str) -> Vec<(String, String)> {
    vec![(rule.to_owned(), severity.to_owned())]
}

/// As somebody else would compute it.
fn sha256(text: &str) -> String {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    format!("sha256:{}", output.split_whitespace().next().unwrap())
}

#[test]
fn a_verdict_is_exact_to_the_unit_and_can_be_recomputed() {
    let mut market = Market::open();
    let blocks = market.blocks();
    market.mine_at(200);
    market.lab.index();
    let assets = |bitcoin: &str, house: &str| {
        json!([
            { "asset": "BTC", "customers": bitcoin, "house": house },
            { "asset": "ETH", "customers": "7", "house": "0" },
            { "asset": "USDX", "customers": "500", "house": "0" },
        ])
    };

    let text = market.statement(100, Some(&blocks), assets("14.5", "0.5"), json!([]));
    let result = market.verify(0);
    // Bitcoin is proven by walking: all of it at the block.
    let bitcoin = &line(&result, "BTC")["accounts"];
    assert_eq!(bitcoin["proven"]["at_block"], bitcoin["verified"]);
    assert_eq!(bitcoin["proven"]["around"]["accounts"], 0);
    assert_eq!(
        (&result["exchange"], &result["verdict"], &result["stage"]),
        (&json!("acme"), &json!("backed"), &json!("final"))
    );
    assert_eq!(result["evaluated_at"], time(210));
    assert_eq!(result["statement"], json!({ "digest": sha256(&text), "as_of": time(100) }));
    assert_eq!(result["policy"], json!({ "digest": sha256(DEFAULT_POLICY) }));
    assert_eq!(result["program"], concat!("assay ", env!("CARGO_PKG_VERSION")));
    for (used, name) in result["blocks"].as_array().unwrap().iter().zip(["bitcoin", "evm"]) {
        let named = &blocks[name];
        assert_eq!(used, &json!({ "chain": name, "height": named["height"], "hash": named["hash"], "final": true }));
    }
    let expected = [
        (
            "BTC",
            json!({ "holdings": { "low": "15", "high": "15" }, "customers": "14.5", "owed": "14.5", "deductions": "0",
            "house": "0.5", "difference": "0", "coverage_ratio": "1.0344", "verdict": "backed" }),
        ),
        (
            "ETH",
            json!({ "holdings": { "low": "7", "high": "7" }, "customers": "7", "owed": "7", "deductions": "0",
            "house": "0", "difference": "0", "coverage_ratio": "1.0000", "verdict": "backed" }),
        ),
        (
            "USDX",
            json!({ "holdings": { "low": "500", "high": "500" }, "customers": "500", "owed": "500", "deductions": "0",
            "house": "0", "difference": "0", "coverage_ratio": "1.0000", "verdict": "backed" }),
        ),
    ];
    for (asset, fields) in &expected {
        for (field, value) in fields.as_object().unwrap() {
            assert_eq!(&line(&result, asset)[field], value, "{asset} {field}");
        }
    }
    assert_eq!(findings(&result), []);

    // One satoshi less than is owed.
    market.statement(100, Some(&blocks), assets("15.00000001", "0"), json!([]));
    let result = market.verify(1);
    assert_eq!((&result["verdict"], &line(&result, "ETH")["verdict"]), (&json!("short"), &json!("backed")));
    let bitcoin = line(&result, "BTC");
    assert_eq!((&bitcoin["difference"], &bitcoin["missing"]), (&json!("-0.00000001"), &json!("0.00000001")));
    assert_eq!(bitcoin["coverage_ratio"], "0.9999");
    assert_eq!(findings(&result), found("phantom-assets", "critical"));
    market.configure("shortage_tolerance = { BTC = \"0.00000001\" }");
    let result = market.verify(0);
    assert_eq!(result["verdict"], "backed");
    let policy = DEFAULT_POLICY.replace("\"shortage_tolerance\":{}", "\"shortage_tolerance\":{\"BTC\":\"0.00000001\"}");
    assert_eq!(result["policy"]["digest"], sha256(&policy));
    market.statement(100, Some(&blocks), assets("15.00000002", "0"), json!([]));
    assert_eq!(market.verify(1)["verdict"], "short");

    // A difference beside the verdict: customers are covered, and the house's own is not there.
    market.configure("");
    market.statement(100, Some(&blocks), assets("14.5", "0.6"), json!([]));
    let result = market.verify(1);
    assert_eq!((&result["verdict"], &line(&result, "BTC")["difference"]), (&json!("backed"), &json!("-0.1")));
    assert_eq!(findings(&result), found("unexplained-difference", "error"));
    market.configure("difference_tolerance = \"0.01\"");
    assert_eq!(findings(&market.verify(0)), []);

    // What nothing proves does not count where that is required; a claim bounds it. What a slot proves counts.
    market.configure("require = \"verified\"");
    market.statement(100, Some(&blocks), assets("14.5", "0.5"), json!([]));
    let result = market.verify(3);
    assert_eq!((&result["verdict"], &line(&result, "BTC")["verdict"]), (&json!("indeterminate"), &json!("backed")));
    assert_eq!(line(&result, "ETH")["verdict"], "backed");
    assert_eq!(line(&result, "USDX")["holdings"], json!({ "low": "0", "high": null }));
    assert_eq!(findings(&result), found("not-covered", "warning"));
    let claim = json!([{ "chain": "evm", "address": market.account.to_string(), "asset": "USDX", "claimed": "499" }]);
    market.statement(100, Some(&blocks), assets("14.5", "0.5"), claim);
    assert_eq!(line(&market.verify(1), "USDX")["verdict"], "short");
    market.statement(100, Some(&blocks), json!([{ "asset": "PLAIN", "customers": "3", "house": "0" }]), json!([]));
    let result = market.verify(0);
    assert_eq!(line(&result, "PLAIN")["accounts"]["verified"], json!({ "accounts": 1, "amount": "3" }));

    // Coins elsewhere count where the policy takes their kind.
    let elsewhere = json!([{ "asset": "BTC", "customers": "20", "house": "0",
        "elsewhere": [{ "kind": "custodian", "name": "Trust", "amount": "5" }] }]);
    market.configure("");
    market.statement(100, Some(&blocks), elsewhere, json!([]));
    let result = market.verify(1);
    assert_eq!((&result["verdict"], &line(&result, "BTC")["deductions"]), (&json!("short"), &json!("0")));
    assert!(findings(&result).contains(&("elsewhere-not-accepted".into(), "notice".into())));
    market.configure("accept_elsewhere = [\"custodian\"]");
    let result = market.verify(0);
    assert_eq!((&result["verdict"], &line(&result, "BTC")["deductions"]), (&json!("backed"), &json!("5")));
}

/// One item of a list, and what it comes to.
struct Item<'a> {
    what: &'a str,
    asset: &'a str,
    list: &'a str,
    items: Value,
    standing: &'a str,
    /// Owed beside the customers' coin, and deducted.
    owed: &'a str,
    deducted: &'a str,
    finding: Option<(&'a str, &'a str)>,
}

fn judge(market: &Market, blocks: &Value, cells: &[Item<'_>]) {
    for cell in cells {
        let mut report = json!({ "asset": cell.asset, "customers": "1" });
        report[cell.list] = cell.items.clone();
        market.statement(300, Some(blocks), json!([report]), json!([]));
        let is_error = cell.finding.is_some_and(|(_, severity)| severity == "error");
        let result = market.verify(i32::from(is_error));
        let line = line(&result, cell.asset);
        let what = format!("{}: {line:#}\n{:#}", cell.what, result["findings"]);
        assert_eq!(line["in_flight"][0]["standing"], cell.standing, "{what}");
        assert_eq!((&line["owed"], &line["deductions"]), (&json!(cell.owed), &json!(cell.deducted)), "{what}");
        let expected: Vec<_> = cell.finding.into_iter().flat_map(|(rule, severity)| found(rule, severity)).collect();
        assert_eq!(findings(&result), expected, "{what}");
    }
}

#[test]
fn every_item_in_flight_is_looked_up() {
    let mut market = Market::open();
    let (hot, outside) = (market.hot.clone(), market.outside.clone());
    market.mine_at(200);
    let (settled, arrived) = (market.pay_bitcoin("hot", &outside, "1"), market.pay_bitcoin("outside", &hot, "2"));
    let before = market.pay_usdx(market.account, 20_000_000);
    market.mine_at(300);
    let (blocks, held) = (market.blocks(), market.unspent(&[&market.cold, &hot]));
    let (left, later) = (market.pay_bitcoin("hot", &outside, "0.25"), market.pay_bitcoin("outside", &hot, "0.5"));
    let own = market.pay_bitcoin("hot", &market.cold, "0.125");
    let after = market.pay_usdx(market.account, 30_000_000);
    let ether = market.evm.pay(market.evm.users[2], market.account, 9);
    market.mine_at(310);
    let (waits_out, waits_in) =
        (market.pay_bitcoin("hot", &outside, "0.75"), market.pay_bitcoin("outside", &hot, "1.5"));
    let waits_usdx = market.pay_usdx(market.account, 40_000_000);
    market.lab.index();

    let nowhere = "ab".repeat(32);
    let out =
        |txid: &str, amount: &str| json!([{ "chain": "bitcoin", "address": outside, "amount": amount, "txid": txid }]);
    let into = |txid: &str, vout: u64, amount: &str| json!({ "chain": "bitcoin", "txid": txid, "vout": vout, "amount": amount });
    let to_hot = |txid: &str, amount: &str| json!([into(txid, market.vout(txid, &hot), amount)]);
    let elsewhere = into(&later, market.vout(&later, &outside), "0.5");
    let (unsettled, warning, error) = ("unsettled-item", "warning", "error");
    let cell = |what, list, items, standing, owed, deducted, finding| Item {
        what,
        asset: "BTC",
        list,
        items,
        standing,
        owed,
        deducted,
        finding,
    };
    let (pending, deposits, credits) = ("pending_withdrawals", "uncredited_deposits", "unconfirmed_credits");
    let waiting = Some(("unconfirmed-item", "notice"));
    let no_transaction = json!([{ "chain": "bitcoin", "address": outside, "amount": "1" }]);
    judge(
        &market,
        &blocks,
        &[
            cell("withdrawal without transaction", pending, no_transaction, "no-transaction", "2", "0", None),
            cell("withdrawal nowhere", pending, out(&nowhere, "1"), "not-found", "2", "0", Some((unsettled, error))),
            cell("withdrawal in the mempool", pending, out(&waits_out, "0.75"), "mempool", "1.75", "0", None),
            cell(
                "withdrawal settled",
                pending,
                out(&settled, "1"),
                "up-to-block",
                "1",
                "0",
                Some((unsettled, warning)),
            ),
            cell("withdrawal after", pending, out(&left, "0.25"), "after-block", "1.25", "0", None),
            cell(
                "withdrawal of more than was paid",
                pending,
                out(&settled, "1.5"),
                "up-to-block",
                "2.5",
                "0",
                Some((unsettled, error)),
            ),
            cell(
                "withdrawal to somebody else",
                pending,
                json!([{ "chain": "bitcoin", "address": market.cold, "amount": "1", "txid": settled }]),
                "up-to-block",
                "2",
                "0",
                Some((unsettled, error)),
            ),
            cell(
                "deposit nowhere",
                deposits,
                json!([into(&nowhere, 0, "1")]),
                "not-found",
                "2",
                "0",
                Some((unsettled, error)),
            ),
            cell("deposit in the mempool", deposits, to_hot(&waits_in, "1.5"), "mempool", "1", "0", waiting),
            cell("deposit arrived", deposits, to_hot(&arrived, "2"), "up-to-block", "3", "0", None),
            cell("deposit after", deposits, to_hot(&later, "0.5"), "after-block", "1", "0", Some((unsettled, warning))),
            cell(
                "credit nowhere",
                credits,
                json!([into(&nowhere, 0, "1")]),
                "not-found",
                "1",
                "0",
                Some((unsettled, error)),
            ),
            cell("credit in the mempool", credits, to_hot(&waits_in, "1.5"), "mempool", "1", "0", waiting),
            cell("credit arrived", credits, to_hot(&arrived, "2"), "up-to-block", "1", "0", Some((unsettled, warning))),
            cell("credit after", credits, to_hot(&later, "0.5"), "after-block", "1", "0.5", None),
            cell(
                "credit of more than was paid",
                credits,
                to_hot(&later, "0.7"),
                "after-block",
                "1",
                "0.5",
                Some((unsettled, error)),
            ),
            cell(
                "credit of another's output",
                credits,
                json!([elsewhere]),
                "after-block",
                "1",
                "0",
                Some((unsettled, error)),
            ),
        ],
    );
    // A credit that only moves the exchange's own coins brings nothing, though it is in a block after B.
    let moved = market.bitcoin.call_wallet("hot", "gettransaction", json!([own, true, true])).unwrap();
    let outputs = moved["decoded"]["vout"].as_array().unwrap();
    let place =
        outputs.iter().find(|output| output["scriptPubKey"]["address"] == market.cold).unwrap()["n"].as_u64().unwrap();
    judge(
        &market,
        &blocks,
        &[cell(
            "credit of own coins",
            credits,
            json!([into(&own, place, "0.125")]),
            "after-block",
            "1",
            "0",
            Some((unsettled, error)),
        )],
    );

    // The same output twice, in one list or in two: once it counts, and the second is an error.
    let place = market.vout(&later, &hot);
    market.statement(
        300,
        Some(&blocks),
        json!([{ "asset": "BTC", "customers": "1",
        "unconfirmed_credits": [into(&later, place, "0.5"), into(&later, place, "0.5")] }]),
        json!([]),
    );
    let ran = market.lab.assay(&["verify", "acme", "--statement", "statement.json", "--json", "--now", &time(310)]);
    assert!(matches!(ran.code, 1 | 2), "{}{}", ran.stdout, ran.stderr);
    if let Ok(result) = serde_json::from_str::<Value>(&ran.stdout) {
        assert_eq!(line(&result, "BTC")["deductions"], "0.5");
        assert_eq!(findings(&result), found(unsettled, error));
    }

    let log = |txid: &str, amount: &str, index: u64| json!([{ "chain": "evm", "txid": txid, "amount": amount, "log_index": index }]);
    let index_of = |txid: &str| {
        let receipt = market.evm.receipt(txid);
        u64::from_str_radix(&receipt["logs"][0]["logIndex"].as_str().unwrap()[2..], 16).unwrap()
    };
    let usdx = |what, list, items, standing, owed, deducted, finding| Item {
        what,
        asset: "USDX",
        list,
        items,
        standing,
        owed,
        deducted,
        finding,
    };
    let (before_at, after_at) = (index_of(&before), index_of(&after));
    judge(
        &market,
        &blocks,
        &[
            usdx("token credit after", credits, log(&after, "30", after_at), "after-block", "1", "30", None),
            usdx(
                "token credit by another log",
                credits,
                log(&after, "30", after_at + 1),
                "after-block",
                "1",
                "0",
                Some((unsettled, error)),
            ),
            usdx(
                "token credit arrived",
                credits,
                log(&before, "20", before_at),
                "up-to-block",
                "1",
                "0",
                Some((unsettled, warning)),
            ),
            usdx("token deposit arrived", deposits, log(&before, "20", before_at), "up-to-block", "21", "0", None),
            usdx(
                "token deposit waits",
                deposits,
                json!([{ "chain": "evm", "txid": waits_usdx, "amount": "40" }]),
                "mempool",
                "1",
                "0",
                waiting,
            ),
            usdx(
                "token deposit nowhere",
                deposits,
                log(&format!("0x{nowhere}"), "40", 0),
                "not-found",
                "41",
                "0",
                Some((unsettled, error)),
            ),
            Item {
                asset: "ETH",
                ..usdx(
                    "ether credit after",
                    credits,
                    json!([{ "chain": "evm", "txid": ether, "amount": "0.000000000000000009" }]),
                    "after-block",
                    "1",
                    "0.000000000000000009",
                    None,
                )
            },
        ],
    );

    // An invented credit hides nothing; a proven one covers to the unit.
    let owed = |more: &str| held.checked_add(units(more, 8)).unwrap().to_coins(8);
    let report = |customers: String, items: Value| json!([{ "asset": "BTC", "customers": customers, "house": "0", "unconfirmed_credits": items }]);
    market.statement(300, Some(&blocks), report(owed("0.5"), to_hot(&later, "0.5")), json!([]));
    assert_eq!(market.verify(0)["verdict"], "backed");
    market.statement(300, Some(&blocks), report(owed("0.50000001"), to_hot(&later, "0.5")), json!([]));
    assert_eq!(market.verify(1)["verdict"], "short");
    market.statement(300, Some(&blocks), report(owed("1"), json!([into(&nowhere, 0, "1")])), json!([]));
    let result = market.verify(1);
    assert_eq!(result["verdict"], "short");
    assert_eq!(
        findings(&result),
        [("phantom-assets", "critical"), ("unexplained-difference", "error"), (unsettled, error)]
            .map(|(rule, severity)| (rule.to_owned(), severity.to_owned()))
    );

    // The node is down: what it alone could tell is not known, and nothing that hangs on it is backed.
    market.statement(300, Some(&blocks), report(owed("1"), json!([into(&nowhere, 0, "1")])), json!([]));
    let Market { lab, bitcoin, clock, .. } = market;
    bitcoin.kill();
    let now = time(clock + 10);
    let question = ["verify", "acme", "--statement", "statement.json", "--now", &now, "--json"];
    let ran = lab.assay(&question);
    let result: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_ne!(result["verdict"], "backed");
    assert!(findings(&result).contains(&(unsettled.into(), warning.into())), "{:#}", result["findings"]);
}

#[test]
fn the_block_is_the_named_one_or_the_last_in_time_and_the_verdict_becomes_final() {
    let mut market = Market::open();
    market.mine_at(200);
    market.lab.index();
    let assets = json!([{ "asset": "BTC", "customers": "15", "house": "0" }, { "asset": "ETH", "customers": "7", "house": "0" }]);
    let heights = |result: &Value| -> Vec<u64> {
        result["blocks"].as_array().unwrap().iter().map(|block| block["height"].as_u64().unwrap()).collect()
    };
    let tips = |market: &Market| vec![market.blocks()["bitcoin"]["height"].as_u64().unwrap(), market.evm.height()];

    // By time: the tip until a later block is there, then the same block for ever, and at last final.
    market.statement(250, None, assets.clone(), json!([]));
    let result = market.verify_at(260, 0);
    let at_200 = tips(&market);
    assert_eq!((heights(&result), &result["stage"]), (at_200.clone(), &json!("provisional")));
    for (clock, stage) in [(300, "provisional"), (400, "final"), (500, "final")] {
        market.mine_at(clock);
        market.lab.index();
        let result = market.verify_at(260, 0);
        assert_eq!((heights(&result), &result["stage"]), (at_200.clone(), &json!(stage)), "at {clock}");
        assert_eq!(result["verdict"], "backed");
    }
    // Coins that come later are never compared with an earlier statement.
    market.pay_bitcoin("outside", &market.hot, "3");
    market.mine_at(600);
    market.mine_at(700);
    market.lab.index();
    market.statement(500, None, json!([{ "asset": "BTC", "customers": "17", "house": "0" }]), json!([]));
    assert_eq!(market.verify_at(510, 1)["verdict"], "short");
    market.statement(600, None, json!([{ "asset": "BTC", "customers": "17", "house": "1" }]), json!([]));
    assert_eq!(market.verify_at(610, 0)["verdict"], "backed");
    let assets = json!([{ "asset": "BTC", "customers": "18", "house": "0" },
        { "asset": "ETH", "customers": "7", "house": "0" }]);
    // Named: that one, whatever the time says, as long as it is on the chain.
    let named = market.blocks();
    market.mine_at(800);
    market.lab.index();
    market.statement(750, Some(&named), assets.clone(), json!([]));
    let result = market.verify_at(760, 0);
    assert_eq!(result["blocks"][0]["hash"], named["bitcoin"]["hash"]);
    assert_eq!(result["stage"], "final");

    let mut unknown = named.clone();
    unknown["bitcoin"]["hash"] = json!("00".repeat(32));
    market.statement(750, Some(&unknown), assets.clone(), json!([]));
    let result = market.verify_at(760, 3);
    assert_eq!((&result["verdict"], &line(&result, "ETH")["verdict"]), (&json!("indeterminate"), &json!("backed")));
    assert_eq!((&result["blocks"][0]["height"], &result["stage"]), (&Value::Null, &json!("provisional")));
    assert_eq!(findings(&result), found("not-covered", "warning"));
    let result = market.verify_at(750 + 301, 3);
    assert_eq!(
        (&result["verdict"], &result["blocks"][0]["hash"]),
        (&json!("backed"), &named["bitcoin"]["hash"]),
        "found by time"
    );
    let stale = found("stale-statement", "warning");
    assert_eq!(findings(&result), [stale.clone(), stale].concat());

    // Too old, or of a future: the verdict stands, and the exit code says that it is stale.
    market.statement(750, Some(&named), assets, json!([]));
    assert_eq!(findings(&market.verify_at(750 + 300, 0)), []);
    for now in [750 + 301, 750 - 301] {
        let result = market.verify_at(now, 3);
        assert_eq!(
            (result["verdict"].as_str(), findings(&result)),
            (Some("backed"), found("stale-statement", "warning"))
        );
    }
    // Who names an old block cannot make it young.
    let old = json!({ "evm": { "height": 2, "hash": market.evm.hash(2) } });
    market.statement(750, Some(&old), json!([{ "asset": "BTC", "customers": "15" }]), json!([]));
    assert_eq!(findings(&market.verify_at(760, 3)), found("stale-statement", "warning"));
    // A discrepancy comes before what is stale or unknown.
    market.statement(
        750,
        Some(&unknown),
        json!([{ "asset": "BTC", "customers": "1" }, { "asset": "ETH", "customers": "8" }]),
        json!([]),
    );
    let result = market.verify_at(760, 1);
    assert_eq!((&result["verdict"], &line(&result, "BTC")["verdict"]), (&json!("short"), &json!("indeterminate")));
}

#[test]
fn accounts_count_for_whom_and_when_they_are_declared() {
    let mut market = Market::open();
    market.mine_at(200);
    market.lab.index();
    let owes = |coins: &str| json!([{ "asset": "BTC", "customers": coins, "house": "0" }]);
    let claim = |address: &str, coins: &str| json!([{ "chain": "bitcoin", "address": address, "asset": "BTC", "claimed": coins }]);

    market.statement(150, None, owes("15"), claim(&market.cold, "10"));
    assert_eq!(findings(&market.verify(0)), []);
    market.statement(150, None, owes("15"), claim(&market.cold, "10.00000001"));
    let result = market.verify(1);
    assert_eq!((result["verdict"].as_str(), findings(&result)), (Some("backed"), found("wallet-shortfall", "error")));
    market.statement(150, None, owes("15"), claim(&market.outside, "1"));
    assert_eq!(findings(&market.verify(1)), found("wallet-shortfall", "error"));

    // Declared by two: neither can be proven short by the other's claim, and neither backed.
    let rival = format!(
        "id = \"rival\"\nname = \"Rival\"\n[[wallet]]\nchain = \"bitcoin\"\nrole = \"cold\"\naddress = \"{}\"\n",
        market.cold
    );
    market.lab.write("exchanges/rival/exchange.toml", &rival);
    market.statement(150, None, owes("14"), json!([]));
    let result = market.verify(3);
    assert_eq!(
        (&result["verdict"], &line(&result, "BTC")["holdings"]),
        (&json!("indeterminate"), &json!({ "low": "5", "high": "15" }))
    );
    assert_eq!(findings(&result), found("shared-account", "warning"));
    market.statement(150, None, owes("5"), json!([]));
    assert_eq!(market.verify(0)["verdict"], "backed", "the rest is enough");
    market.statement(150, None, owes("15.00000001"), json!([]));
    assert_eq!(market.verify(1)["verdict"], "short", "not even with it");
    std::fs::remove_dir_all(market.lab.path("exchanges/rival")).unwrap();

    // For a time: the hot wallet's 5 coins count from `since` until `until`.
    for (of_hot, held) in [
        (format!("since = {}", time(151)), "10"),
        (format!("since = {}", time(150)), "15"),
        (format!("until = {}", time(149)), "10"),
        (format!("until = {}", time(151)), "15"),
    ] {
        market.declare(&of_hot);
        market.statement(150, None, owes("10"), json!([]));
        let result =
            market.lab.assay(&["verify", "acme", "--statement", "statement.json", "--now", &time(200), "--json"]);
        let result: Value = serde_json::from_str(&result.stdout).unwrap();
        assert_eq!(line(&result, "BTC")["holdings"], json!({ "low": held, "high": held }), "{of_hot}");
    }

    // Declared and never indexed, with nothing that bounds it: no verdict. A claim bounds it.
    market.declare("");
    let late = market.bitcoin.call_wallet("cold", "getnewaddress", json!([])).unwrap();
    let late = late.as_str().unwrap();
    let text = std::fs::read_to_string(market.lab.path("exchanges/acme/exchange.toml")).unwrap();
    let more = format!("{text}[[wallet]]\nchain = \"bitcoin\"\nrole = \"cold\"\naddress = \"{late}\"\n");
    market.lab.write("exchanges/acme/exchange.toml", &more);
    market.statement(150, None, owes("16"), json!([]));
    let result = market.verify(3);
    assert_eq!(
        (&result["verdict"], &line(&result, "BTC")["holdings"]),
        (&json!("indeterminate"), &json!({ "low": "15", "high": null }))
    );
    market.statement(150, None, owes("16"), claim(late, "0.5"));
    assert_eq!(market.verify(1)["verdict"], "short");
    market.lab.index();
    market.statement(150, None, owes("16"), json!([]));
    assert_eq!(market.verify(1)["verdict"], "short");

    // Wrong input, before anything else.
    for question in
        [["verify", "nobody", "--statement", "statement.json"], ["verify", "acme", "--statement", "missing.json"]]
    {
        assert_eq!(market.lab.assay(&question).code, 2);
    }
    // A chain that was never indexed is unknown.
    std::fs::remove_dir_all(market.lab.path("assay-data/evm")).unwrap();
    market.statement(150, None, json!([{ "asset": "ETH", "customers": "1" }]), json!([]));
    let result = market.verify(3);
    assert_eq!(result["verdict"], "indeterminate");
}
