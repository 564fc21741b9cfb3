//! What is found out about tokens beside balances: another code than before, and accounts that they stop.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/proxy.rs"]
mod proxy;

use contracts::{Address, World};
use lab::Lab;
use proxy::{Fault, Proxy, Rule, alter};
use serde_json::{Value, json};

struct Story {
    world: World,
    proxy: Proxy,
    lab: Lab,
    token: Address,
}

impl Story {
    fn new() -> Story {
        let world = World::new(&[]);
        let first = world.deploy("Stoppable", vec![]);
        // Coverage begins before the token is there.
        let lab = Lab::new();
        let proxy = Proxy::new(&world.anvil.url);
        let chain = lab::evm_chain(&proxy.url, world.height(), 1);
        let token = Address::parse("0xe7f1725e7734ce288f8367e1bb143e90bb3f0512"); // the second that the first of anvil's accounts creates
        lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{}", contracts::asset("STOP", token, 6)));
        lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &world.users[1..3]));
        lab.index();
        assert_eq!(world.deploy("SilentProxy", abi![first]), token);
        world.invoke(world.users[0], token, 0, "mint(address,uint256)", abi![world.users[1], 5_000_000]);
        Story { world, proxy, lab, token }
    }

    fn call(&self, method: &str, arguments: Vec<contracts::Abi>) {
        self.world.invoke(self.world.users[0], self.token, 0, method, arguments);
    }

    /// Mines and indexes what was sent, and gives the findings about tokens of a verdict at that block.
    fn findings(&self) -> Vec<Value> {
        self.world.mine();
        self.lab.index();
        let (height, hash) = (self.world.height(), self.world.hash(self.world.height()));
        let time = assay_types::Timestamp::from_unix_s(i64::try_from(self.world.time(height)).unwrap()).to_string();
        let blocks = json!({ "evm": { "height": height, "hash": hash } });
        let statement = json!({
            "format": "assay.statement/1", "exchange": "acme", "as_of": { "time": time, "blocks": blocks },
            "assets": [{ "asset": "STOP", "customers": "5" }],
        });
        let file = self.lab.write("statement.json", &statement.to_string());
        let verdict = self.lab.json(&["verify", "acme", "--statement", file.to_str().unwrap(), "--now", &time], 0);
        let all = verdict["findings"].as_array().unwrap().clone();
        let about = ["token-code-changed", "frozen-account"];
        all.into_iter().filter(|finding| about.iter().any(|rule| finding["rule"] == *rule)).collect()
    }
}

#[test]
fn a_proxy_that_gets_other_code_and_an_account_that_is_stopped_are_findings() {
    let story = Story::new();
    assert_eq!(story.findings(), [Value::Null; 0]);
    story.call("mint(address,uint256)", abi![story.world.users[5], 7]);
    assert_eq!(story.findings(), [Value::Null; 0], "nothing changed");

    let second = story.world.deploy("StoppableAgain", vec![]);
    story.lab.index();
    story.call("point(address)", abi![second]);
    let found = story.findings();
    let height = story.world.height();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((&found[0]["rule"], &found[0]["severity"]), (&json!("token-code-changed"), &json!("warning")));
    assert_eq!((&found[0]["evidence"]["by"], &found[0]["asset"]), (&json!(height), &json!("STOP")), "{found:#?}");
    assert_eq!(found[0]["evidence"]["token"], story.token.to_string().to_lowercase(), "{found:#?}");

    // Whoever holds nothing, or is nobody of the exchange's, is no finding.
    for user in [2, 5] {
        story.call("setBlacklisted(address,bool)", abi![story.world.users[user], 1]);
    }
    assert_eq!(story.findings().len(), 1);
    story.call("setBlacklisted(address,bool)", abi![story.world.users[1], 1]);
    let found = story.findings();
    let frozen = found.iter().find(|finding| finding["rule"] == "frozen-account").expect("a finding");
    let evidence = &frozen["evidence"];
    assert_eq!((&evidence["amount"], &evidence["accounts"]), (&json!("5"), &json!(1)), "{frozen:#}");
    assert_eq!(evidence["examples"][0]["since"], story.world.height(), "{frozen:#}");
    story.call("setBlacklisted(address,bool)", abi![story.world.users[1], 0]);
    assert!(story.findings().iter().all(|finding| finding["rule"] != "frozen-account"));
    assert_eq!(story.lab.assay(&["check", "--deep"]).code, 0);
}

#[test]
fn whom_a_token_stops_and_what_its_code_is_are_no_nodes_word() {
    let story = Story::new();
    assert_eq!(story.findings(), [Value::Null; 0]);
    let stopped = |said: u8| {
        let is_asked = |name: &str, params: &Value| name == "eth_call" && params.to_string().contains("0xfe575a87");
        Rule::when(is_asked, Fault::Instead(std::sync::Arc::new(move |_, _| json!(format!("0x{said:064x}")))))
    };
    let stranger = story.world.users[7].to_string();
    let another = Fault::Instead(std::sync::Arc::new(
        move |_, _| json!({ "gasUsed": "0x5208", "accessList": [{ "address": stranger, "storageKeys": [] }] }),
    ));
    let accesses = Rule::always(&["eth_createAccessList"], another);
    // It accuses an account, and a token.
    story.proxy.set(vec![stopped(1), accesses]);
    assert_eq!(story.findings(), [Value::Null; 0]);
    // It hides that an account is stopped.
    story.proxy.set(vec![stopped(0)]);
    story.call("setBlacklisted(address,bool)", abi![story.world.users[1], 1]);
    let found = story.findings();
    assert!(found.len() == 1 && found[0]["rule"] == "frozen-account", "{found:#?}");
    story.call("setBlacklisted(address,bool)", abi![story.world.users[1], 0]);
    assert_eq!(story.findings(), [Value::Null; 0]);
}

/// Looks up the argument in the mapping at this slot of Solidity's.
fn looked_up(slot: u8) -> String {
    format!("6004355f5260{slot:02x}60205260405f2054")
}

/// A token of which `isFrozen` is whether the block's time is below the word at Solidity's slot 1, and anything else the word at slot 0, with the holders'
/// words there: they hold 5 each, and are stopped until then. Before the first block.
fn freezing(world: &World, holders: &[Address], until: u64) -> Address {
    let token = Address::fresh(1);
    let method = alloy::primitives::hex::encode(&alloy::primitives::keccak256("isFrozen(address)")[..4]);
    let (balance, stopped) = (looked_up(0), looked_up(1));
    let code = format!("0x5f3560e01c63{method}14602357{balance}5f5260205ff35b{stopped}42105f5260205ff3");
    world.call("anvil_setCode", json!([token.to_string(), code]));
    let words = holders.iter().flat_map(|holder| [(holder, 0, 5), (holder, 1, until)]);
    let questions: Vec<_> = words
        .map(|(holder, slot, word): (&Address, u8, u64)| {
            let key = alloy::primitives::keccak256([&[0; 12], &holder.0[..], &[0; 31], &[slot]].concat());
            ("anvil_setStorageAt", json!([token.to_string(), key, format!("0x{word:064x}")]))
        })
        .collect();
    assert!(world.ask(&questions).iter().all(Option::is_some));
    world.mine();
    token
}

/// How many accounts a verdict at the last block says are stopped.
fn frozen(world: &World, lab: &Lab) -> u64 {
    lab.index();
    let (height, hash) = (world.height(), world.hash(world.height()));
    let time = assay_types::Timestamp::from_unix_s(i64::try_from(world.time(height)).unwrap()).to_string();
    let statement = json!({
        "format": "assay.statement/1", "exchange": "acme",
        "as_of": { "time": time, "blocks": { "evm": { "height": height, "hash": hash } } },
        "assets": [{ "asset": "TIME", "customers": "5" }],
    });
    let file = lab.write("statement.json", &statement.to_string());
    let verdict = lab.json(&["verify", "acme", "--statement", file.to_str().unwrap(), "--now", &time], 0);
    let mut findings = verdict["findings"].as_array().unwrap().iter();
    let frozen = findings.find(|finding| finding["rule"] == "frozen-account");
    frozen.map_or(0, |finding| finding["evidence"]["accounts"].as_u64().unwrap())
}

fn holders(count: u16) -> Vec<Address> {
    let address = |nth: u16| [&[0xee; 18][..], &nth.to_be_bytes()].concat().try_into().unwrap();
    (0..count).map(|nth| Address(address(nth))).collect()
}

fn following(world: &World, token: Address, holders: &[Address]) -> Lab {
    let lab = Lab::new();
    let chain = lab::evm_chain(&world.anvil.url, world.height(), 1);
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{}", contracts::asset("TIME", token, 0)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", holders));
    lab
}

/// A token may say for how long it stops an account: that follows from the block's time.
#[test]
fn an_account_that_is_stopped_for_a_time_is_so_until_then() {
    let world = World::new(&[]);
    let holders = holders(2);
    let token = freezing(&world, &holders[..1], world.time(0) + 1_000_000);
    let lab = following(&world, token, &holders);
    assert_eq!(frozen(&world, &lab), 1, "at once");
    world.call("evm_increaseTime", json!([2_000_000]));
    world.mine();
    assert_eq!(frozen(&world, &lab), 0);
}

/// Whoever is declared late is asked about at the block at which he becomes known.
#[test]
fn an_account_that_is_declared_late_is_asked_about_at_once() {
    let world = World::new(&[]);
    let holders = holders(2);
    let token = freezing(&world, &holders, world.time(0) + 1_000_000);
    let lab = following(&world, token, &holders[..1]);
    for _ in 0..3 {
        world.mine();
        assert_eq!(frozen(&world, &lab), 1);
    }
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &holders));
    assert_eq!(frozen(&world, &lab), 2, "without a new block");
    world.mine();
    assert_eq!(frozen(&world, &lab), 2);
}

#[test]
fn of_many_holders_all_are_asked_about() {
    let world = World::new(&[]);
    let holders = holders(250);
    let token = freezing(&world, &holders, world.time(0) + 1_000_000);
    let lab = following(&world, token, &holders);
    for _ in 0..2 {
        world.mine();
        assert_eq!(frozen(&world, &lab), 250);
    }
}

/// Of more accounts than are read at every block, after more blocks than turns take.
#[test]
fn after_a_long_stretch_it_is_asked_whom_tokens_stop() {
    let world = World::new(&[]);
    let holders = holders(510);
    let later = world.time(0) + 1_000_000;
    let token = freezing(&world, &holders, later);
    let lab = following(&world, token, &holders);
    world.call("anvil_mine", json!(["0x136"]));
    assert!(frozen(&world, &lab) >= 500);
    world.call("evm_increaseTime", json!([2_000_000]));
    world.call("anvil_mine", json!(["0x136"]));
    assert!(frozen(&world, &lab) <= 10);
}

/// A token that is pointed at code without a list stops nobody any more.
#[test]
fn whom_a_token_stopped_is_free_where_its_new_code_stops_nobody() {
    let story = Story::new();
    story.call("setBlacklisted(address,bool)", abi![story.world.users[1], 1]);
    let rules = |found: Vec<Value>| found.iter().map(|one| one["rule"].clone()).collect::<Vec<_>>();
    assert_eq!(rules(story.findings()), ["frozen-account"]);
    // Everything is the word at slot 0.
    let code = format!("{}5f5260205ff3", looked_up(0));
    let code = alloy::primitives::hex::decode(format!("60{0:02x}600a5f3960{0:02x}5ff3{code}", code.len() / 2)).unwrap();
    let txid = story.world.send(story.world.users[0], None, 0, &code);
    story.world.mine();
    let receipt = story.world.call("eth_getTransactionReceipt", json!([txid]));
    story.call("point(address)", abi![Address::parse(receipt["contractAddress"].as_str().unwrap())]);
    assert_eq!(rules(story.findings()), ["token-code-changed"]);
}

/// A token whose balances depend on the gas, on who asks, or on what nobody has, can be run here and say something else than at an honest node.
#[test]
fn a_token_whose_balances_depend_on_more_than_its_state_makes_no_node_a_liar() {
    let world = World::new(&[]);
    let accounts = &world.users[1..3];
    // The word at Solidity's slot 0, and what the rest adds to it.
    let token = |rest: &str| format!("0x6004355f5260405f2054{rest}5f5260205ff3");
    let tokens = [
        ("PLAIN", Address::fresh(1), token(""), "verified"),
        ("GAS", Address::fresh(2), token("6202d2a85a1162061a805a101601"), "unproven"),
        ("ZERO", Address::fresh(3), token("323101"), "unproven"),
        ("CALLER", Address::fresh(4), token("331501"), "unproven"),
        ("ORIGIN", Address::fresh(5), token("3233141501"), "unproven"),
    ];
    world.call("anvil_setBalance", json!([Address::fresh(0).to_string(), "0x7"]));
    let mut assets = String::new();
    for (symbol, address, code, _) in &tokens {
        world.call("anvil_setCode", json!([address.to_string(), code]));
        for (account, held) in accounts.iter().zip([1_000_u64, 2_000]) {
            let key = alloy::primitives::keccak256([&[0; 12][..], &account.0, &[0; 32]].concat());
            world.call("anvil_setStorageAt", json!([address.to_string(), key, format!("0x{held:064x}")]));
        }
        assets.push_str(&contracts::asset(symbol, *address, 0));
    }
    world.mine();
    let lab = Lab::new();
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{}{assets}", lab::evm_chain(&world.anvil.url, 1, 1)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", accounts));
    for _ in 0..2 {
        let ran = lab.assay(&["index", "--once"]);
        assert!(ran.code == 0 && !ran.stderr.contains("forged"), "{}", ran.stderr);
        for (symbol, _, _, coverage) in &tokens {
            let held = lab.json(&["balance", &accounts[0].to_string(), "--chain", "evm", "--asset", symbol], 0);
            assert_eq!(held["coverage"], *coverage, "{symbol}: {held:#}");
        }
        world.mine();
    }
}

/// Follows these and 600 others behind this URL, from the world's last block on.
fn many(world: &World, url: &str, token: Address, holders: &[Address]) -> Lab {
    let lab = Lab::new();
    let chain = lab::evm_chain(url, world.height(), 1);
    let policy = "[policy]\nmax_statement_age = \"9999d\"\n";
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{}{policy}", contracts::asset("REB", token, 6)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", holders));
    lab.write("exchanges/acme/others.csv", &contracts::crowd(600));
    lab.index();
    lab
}

/// Everyone is read within so many blocks.
fn read_within(lab: &Lab, blocks: u64) {
    let config = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    lab.write("assay.toml", &config.replace("[[chain.node]]", &format!("read_within = {blocks}\n[[chain.node]]")));
}

/// What these hold is said as the node has it, at each of these heights.
fn assert_right(lab: &Lab, world: &World, token: Address, holders: &[Address], heights: &[u64]) {
    for height in heights {
        for (holder, held) in holders.iter().zip(world.balances(*height, holders, &[Some(token)])) {
            let at = height.to_string();
            let asked = ["balance", &holder.to_string(), "--chain", "evm", "--asset", "REB", "--at", &at];
            assert_eq!(lab.json(&asked, 0)["units"], held.unwrap().to_string(), "{holder} at {height}");
        }
    }
}

/// A token that rebases, held by four.
fn rebasing() -> (World, Address, Vec<Address>) {
    let world = World::new(&[]);
    let token = world.deploy("RebasingToken", abi!["Rebasing", "REB", 6, 0]);
    let holders = world.users[1..5].to_vec();
    for (holder, amount) in holders.iter().zip([9_000_000, 5_000_000, 1_000, 3]) {
        world.invoke(world.users[0], token, 0, "mint(address,uint256)", abi![*holder, amount]);
    }
    world.mine();
    (world, token, holders)
}

/// Of more accounts than are read at every block: whoever holds a token that changes by itself is read at that block all the same.
#[test]
fn a_rebase_is_read_of_all_holders_among_many_accounts() {
    let (world, token, holders) = rebasing();
    let lab = many(&world, &world.anvil.url, token, &holders);
    // In the last of the blocks that are indexed together, in the first, and in the one alone.
    for (rebase, before, after) in [((51, 50), 2, 0), ((23, 25), 0, 3), ((2, 1), 0, 0)] {
        (0..before).for_each(|_| world.mine());
        let (numerator, denominator): (u64, u64) = rebase;
        world.invoke(world.users[0], token, 0, "rebase(uint256,uint256)", abi![numerator, denominator]);
        world.mine();
        (0..after).for_each(|_| world.mine());
        lab.index();
        let held = world.balances(world.height(), &holders, &[Some(token)]);
        for (holder, held) in holders.iter().zip(held) {
            let answer = lab.json(&["balance", &holder.to_string(), "--chain", "evm", "--asset", "REB"], 0);
            assert_eq!(answer["units"], held.unwrap().to_string(), "{answer:#}");
        }
    }
}

/// Of a token that is the native coin under another name balances move with that, and no event says so.
#[test]
fn a_balance_that_follows_from_another_is_read_where_that_one_moves() {
    let world = World::new(&[]);
    let token = Address::fresh(0xce);
    // `balanceOf` gives BALANCE.
    world.call("anvil_setCode", json!([token.to_string(), "0x600435315f5260205ff3"]));
    world.mine();
    let (largest, holder) = (world.users[1], Address::fresh(0xcf));
    let lab = many(&world, &world.anvil.url, token, &[largest, holder]);
    let first = world.height();
    for amount in [1, 20, 300] {
        world.pay(world.users[0], holder, amount);
        world.mine();
    }
    lab.index();
    for (at, expected) in (first..).zip(["0", "1", "21", "321"]) {
        let at = at.to_string();
        let asked = ["balance", &holder.to_string(), "--chain", "evm", "--asset", "REB", "--at", &at];
        assert_eq!(lab.json(&asked, 0)["units"], expected, "at {at}");
    }
}

/// What changed without a trace is found at the end of a stretch: until it is there, nothing is said of its blocks.
#[test]
fn a_stretch_that_is_not_at_its_end_accuses_nobody_and_excuses_nobody() {
    let (world, token, holders) = rebasing();
    let proxy = Proxy::new(&world.anvil.url);
    let lab = many(&world, &proxy.url, token, &holders);
    let first = world.height();
    world.invoke(world.users[0], token, 0, "rebase(uint256,uint256)", abi![2, 1]);
    (0..9).for_each(|_| world.mine());
    let last = world.hash(world.height());
    let is_last = move |name: &str, params: &Value| name == "eth_getBlockByHash" && params.to_string().contains(&last);
    proxy.set(vec![Rule::when(is_last, Fault::Refuse(-32000, "for the test"))]);
    assert_eq!(lab.assay(&["index", "--once"]).code, 3);
    let at = first + 5;
    let held: u64 =
        world.balances(at, &holders, &[Some(token)]).into_iter().map(|held| held.unwrap().0.to::<u64>()).sum();
    let time = assay_types::Timestamp::from_unix_s(i64::try_from(world.time(at)).unwrap()).to_string();
    let verdict = |owed: u64, code: i32| {
        let blocks = json!({ "evm": { "height": at, "hash": world.hash(at) } });
        let coins = format!("{}.{:06}", owed / 1_000_000, owed % 1_000_000);
        let statement = json!({
            "format": "assay.statement/1", "exchange": "acme", "as_of": { "time": time, "blocks": blocks },
            "assets": [{ "asset": "REB", "customers": coins }],
        });
        let file = lab.write("statement.json", &statement.to_string());
        let verdict = lab.json(&["verify", "acme", "--statement", file.to_str().unwrap(), "--now", &time], code);
        verdict["verdict"].as_str().unwrap().to_owned()
    };
    let balance = |at: u64, code: i32| {
        let question =
            ["balance", &holders[0].to_string(), "--chain", "evm", "--asset", "REB", "--at", &at.to_string()];
        lab.json(&question, code)["units"].clone()
    };
    assert_eq!((balance(first, 0), balance(at, 3)), (json!("9000000"), Value::Null));
    assert_eq!([verdict(held, 3), verdict(held + 1, 3)], ["indeterminate"; 2]);
    proxy.set(vec![]);
    lab.index();
    assert_eq!(balance(at, 0), "18000000");
    assert_eq!([verdict(held, 0), verdict(held + 1, 1)], ["backed", "short"]);
}

/// Whoever chooses what `balanceOf` says does not choose which of a token's slots proves it.
#[test]
fn a_slot_that_the_tokens_code_does_not_return_proves_nothing() {
    let world = World::new(&[]);
    let token = world.deploy("Stoppable", vec![]);
    let holders = &world.users[1..3];
    for holder in holders {
        world.invoke(world.users[0], token, 0, "mint(address,uint256)", abi![*holder, 5_000_000]);
        world.invoke(world.users[0], token, 0, "setBlacklisted(address,bool)", abi![*holder, 1]);
    }
    world.mine();
    // It says of each balance what stands in the mapping of those that are stopped.
    let one = |number: u64| format!("{number:064x}");
    let lie = alter(move |words| {
        if let Some(text) = words.as_str() {
            *words = json!(text.replace(&one(5_000_000), &one(1)));
        }
    });
    let proxy = Proxy::with(&world.anvil.url, vec![Rule::always(&["eth_call"], lie)]);
    let lab = Lab::new();
    let chain = lab::evm_chain(&proxy.url, world.height(), 1);
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{}", contracts::asset("STOP", token, 6)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", holders));
    let ran = lab.assay(&["index", "--once"]);
    assert!(ran.code == 4 && ran.stderr.contains("(kind: forged)"), "{}: {}", ran.code, ran.stderr);
}

/// A token's code may make an exception of anybody: it is run for every balance that is proven.
#[test]
fn what_a_tokens_code_makes_an_exception_of_is_no_nodes_word() {
    let world = World::new(&[]);
    let (token, holders) = (Address::fresh(1), &world.users[1..6]);
    // It looks up slot 0 for the first argument, and gives the smallest holder half of that.
    let less = holders[4].to_string().to_lowercase();
    let code = format!("0x6004355f525f60205260405f2054600435 73{} 141c5f5260205ff3", &less[2..]).replace(' ', "");
    world.call("anvil_setCode", json!([token.to_string(), code]));
    for (holder, units) in holders.iter().zip([5_000, 4_000, 3_000, 2_000, 1_002]) {
        let key = alloy::primitives::keccak256([&[0; 12], &holder.0[..], &[0; 32]].concat());
        world.call("anvil_setStorageAt", json!([token.to_string(), key, format!("0x{units:064x}")]));
    }
    world.mine();
    let follow = |url: &str| {
        let lab = Lab::new();
        let chain = lab::evm_chain(url, world.height(), 1);
        lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{}", contracts::asset("ODD", token, 0)));
        lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", holders));
        let ran = lab.assay(&["index", "--once"]);
        (lab, ran)
    };
    let (lab, ran) = follow(&world.anvil.url);
    assert!(ran.code == 0 && !ran.stderr.contains("kind"), "{}: {}", ran.code, ran.stderr);
    for (holder, units) in holders.iter().zip(["5000", "4000", "3000", "2000", "501"]) {
        let answer = lab.json(&["balance", &holder.to_string(), "--chain", "evm", "--asset", "ODD"], 0);
        assert_eq!((&answer["units"], &answer["coverage"]), (&json!(units), &json!("verified")), "{answer:#}");
    }
    // Whoever says the whole word of him lies.
    let word = |units: u64| format!("{units:064x}");
    let lie = alter(move |words| {
        if let Some(text) = words.as_str() {
            *words = json!(text.replace(&word(501), &word(1_002)));
        }
    });
    let proxy = Proxy::with(&world.anvil.url, vec![Rule::always(&["eth_call"], lie)]);
    let (_lab, ran) = follow(&proxy.url);
    assert!(ran.code == 4 && ran.stderr.contains("(kind: forged)"), "{}: {}", ran.code, ran.stderr);
}

/// A token by whose code one that is stopped holds nothing, with no event: the word at slot 0, or nothing where there is one at slot 1, which a call with an
/// account alone sets and takes away. Each of these holds 1,000.
fn stopping(world: &World, holders: &[Address]) -> Address {
    let (token, balance, stopped) = (Address::fresh(1), looked_up(0), looked_up(1));
    let code = format!("0x36602014602d57{balance}{stopped}15025f5260205ff35b5f355f52600160205260405f20805415905500");
    world.call("anvil_setCode", json!([token.to_string(), code]));
    for holder in holders {
        let key = alloy::primitives::keccak256([&[0; 12], &holder.0[..], &[0; 32]].concat());
        world.call("anvil_setStorageAt", json!([token.to_string(), key, format!("0x{:064x}", 1_000)]));
    }
    world.mine();
    token
}

/// Stops these, or lets them go, in a block.
fn stop(world: &World, token: Address, some: &[Address]) {
    for account in some {
        world.send(world.users[0], Some(token), 0, &[&[0; 12], &account.0[..]].concat());
    }
    world.mine();
}

#[test]
fn that_who_is_stopped_holds_nothing_is_no_proof_left_out() {
    let world = World::new(&[]);
    let holders = &world.users[1..4];
    let token = stopping(&world, holders);
    for how in ["in one run each", "in one run", "in one block"] {
        let lab = Lab::new();
        let chain = lab::evm_chain(&world.anvil.url, world.height(), 1);
        lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{}", contracts::asset("STOP", token, 0)));
        lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", holders));
        let index = || {
            let ran = lab.assay(&["index", "--once"]);
            assert!(ran.code == 0 && !ran.stderr.contains("kind"), "{how}: {}: {}", ran.code, ran.stderr);
        };
        world.mine();
        index();
        for expected in ["0", "1000"] {
            if how == "in one block" {
                stop(&world, token, &holders[..2]);
            } else {
                stop(&world, token, &holders[..1]);
                if how == "in one run each" {
                    index();
                }
                stop(&world, token, &holders[1..2]);
            }
            index();
            for (holder, units) in holders.iter().zip([expected, expected, "1000"]) {
                let said = lab.json(&["balance", &holder.to_string(), "--chain", "evm", "--asset", "STOP"], 0);
                assert_eq!(said["units"], units, "{how}: {said:#}");
            }
        }
    }
}

/// Of many accounts not everyone is read after each block of a stretch that is long for so many: what a token took and gave back meanwhile, with no event,
/// two proofs do not tell. In a shorter one nothing escapes, and in one between those its largest holder shows it.
#[test]
fn what_was_not_read_between_two_proofs_is_not_verified() {
    for (within, more) in [(4, 0), (12, 8), (40, 0)] {
        let world = World::new(&[]);
        let holder = world.users[1];
        let token = stopping(&world, &[holder]);
        let (lab, first) = (many(&world, &world.anvil.url, token, &[holder]), world.height());
        read_within(&lab, within);
        stop(&world, token, &[holder]);
        world.mine();
        stop(&world, token, &[holder]);
        (0..more).for_each(|_| world.mine());
        lab.index();
        for _ in 0..within {
            world.mine();
            lab.index();
        }
        let said = |height: u64| {
            let at = height.to_string();
            let asked = ["balance", &holder.to_string(), "--chain", "evm", "--asset", "REB", "--at", &at];
            let said = lab.json(&asked, 0);
            let truth = world.balances(height, &[holder], &[Some(token)])[0].unwrap();
            (said["units"] == truth.to_string(), said["coverage"].as_str().unwrap().to_owned())
        };
        for height in first..=world.height() {
            let (is_right, coverage) = said(height);
            assert!(is_right || within == 4 && coverage == "unproven", "{within}: at {height}: {coverage}");
        }
        let proven = (first + 4..=world.height()).filter(|height| said(*height) == (true, "verified".into())).count();
        assert!(proven > 0, "nothing was proven after it");
    }
}

/// What was right where everyone was read stays, whatever is found out later of blocks around it. Nothing of this token is proven: it rebased before.
#[test]
fn what_was_read_of_everyone_is_not_searched_through_again() {
    let (world, token, holders) = rebasing();
    let rebase = |by: [u64; 2]| {
        world.invoke(world.users[0], token, 0, "rebase(uint256,uint256)", abi![by[0], by[1]]);
        world.mine();
    };
    rebase([3, 2]);
    let lab = many(&world, &world.anvil.url, token, &holders);
    read_within(&lab, 4);
    // A long stretch in which it came and went, a block alone, and a long one in which it stays.
    (0..6).for_each(|_| world.mine());
    rebase([1, 2]);
    rebase([2, 1]);
    lab.index();
    world.mine();
    lab.index();
    let read = world.height();
    rebase([1, 2]);
    (0..6).for_each(|_| world.mine());
    lab.index();
    assert_right(&lab, &world, token, &holders, &[read - 1, read, world.height()]);
}

/// What is found of one holder of a token is looked for of all: of those too who hold the same again when they are read next.
#[test]
fn who_holds_a_token_that_changed_is_read_where_that_is_found() {
    let (world, token, holders) = rebasing();
    let lab = many(&world, &world.anvil.url, token, &holders);
    read_within(&lab, 4);
    let first = world.height();
    (0..2).for_each(|_| world.mine());
    for by in [[1, 2], [2, 1]] {
        world.invoke(world.users[0], token, 0, "rebase(uint256,uint256)", abi![by[0], by[1]]);
        world.mine();
        world.mine();
        // One of them moves, and is read for that.
        world.invoke(world.users[0], token, 0, "mint(address,uint256)", abi![holders[0], 4]);
        world.mine();
    }
    lab.index();
    assert_right(&lab, &world, token, &holders, &(first..=world.height()).collect::<Vec<_>>());
}

/// A token that keeps a fee tells of the whole amount. What came less is no deduction of the exchange's, and what it got is.
#[test]
fn of_a_credit_in_flight_counts_what_came_and_not_what_the_event_says() {
    let world = World::new(&[]);
    let (held, other) = (Address::fresh(1), world.users[0]);
    let token = world.deploy("FeeToken", abi!["Fee", "FEE", 0, 1_000_000, 100, Address::fresh(2)]);
    world.invoke(other, token, 0, "mint(address,uint256)", abi![held, 500]);
    world.mine();
    let before = world.height();
    let txid = world.invoke(other, token, 0, "transfer(address,uint256)", abi![held, 1_000]);
    world.mine();
    let lab = Lab::new();
    let policy = "[policy]\nmax_statement_age = \"9999d\"\n";
    let chain = lab::evm_chain(&world.anvil.url, 1, 1);
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{}{policy}", contracts::asset("FEE", token, 0)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &[held]));
    lab.index();
    let time = assay_types::Timestamp::from_unix_s(i64::try_from(world.time(before)).unwrap()).to_string();
    let of = |came: u64, code: i32| {
        let credit = json!({ "chain": "evm", "amount": came.to_string(), "txid": txid });
        let statement = json!({
            "format": "assay.statement/1", "exchange": "acme",
            "as_of": { "time": time, "blocks": { "evm": { "height": before, "hash": world.hash(before) } } },
            "assets": [{ "asset": "FEE", "customers": (500 + came).to_string(), "unconfirmed_credits": [credit] }],
        });
        let file = lab.write("statement.json", &statement.to_string());
        let found = lab.json(&["verify", "acme", "--statement", file.to_str().unwrap()], code);
        (found["verdict"].clone(), found["lines"][0]["deductions"].clone())
    };
    assert_eq!(of(990, 0), (json!("backed"), json!("990")));
    assert_eq!(of(1_000, 3), (json!("indeterminate"), json!("990")));
}

/// A token is proven as long as its code returns what its slot holds: not where that depends on the time, nor once something else that the code looks at
/// has changed.
#[test]
fn a_slot_counts_as_long_as_the_code_returns_what_it_holds() {
    let world = World::new(&[]);
    let ([grows, by_time], holders) = ([1, 2].map(Address::fresh), &world.users[1..3]);
    // Both look up slot 0 for the first argument. One multiplies by slot 1, which becomes 2 when it is called without words; the other asks for the time.
    let word = "6004355f525f60205260405f2054";
    let codes = [
        format!("0x36600a57600260015500 5b{word}600154025f5260205ff3").replace(' ', ""),
        format!("0x{word}425060011c5f5260205ff3"),
    ];
    for (token, code) in [grows, by_time].into_iter().zip(codes) {
        world.call("anvil_setCode", json!([token.to_string(), code]));
        let one = format!("0x{:064x}", 1);
        world.call("anvil_setStorageAt", json!([token.to_string(), "0x1", one]));
        for (holder, units) in holders.iter().zip([1_000, 2_000]) {
            let key = alloy::primitives::keccak256([&[0; 12], &holder.0[..], &[0; 32]].concat());
            world.call("anvil_setStorageAt", json!([token.to_string(), key, format!("0x{units:064x}")]));
        }
    }
    world.mine();
    let lab = Lab::new();
    let chain = lab::evm_chain(&world.anvil.url, world.height(), 1);
    let assets = [("GROW", grows), ("TIME", by_time)].map(|(symbol, token)| contracts::asset(symbol, token, 0));
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{}", assets.concat()));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", holders));
    let said = |asset: &str| {
        let answer = lab.json(&["balance", &holders[0].to_string(), "--chain", "evm", "--asset", asset], 0);
        [answer["units"].as_str().unwrap().to_owned(), answer["coverage"].as_str().unwrap().to_owned()]
    };
    let index = || {
        world.mine();
        let ran = lab.assay(&["index", "--once"]);
        assert!(ran.code == 0 && !ran.stderr.contains("kind"), "{}: {}", ran.code, ran.stderr);
    };
    index();
    assert_eq!([said("GROW"), said("TIME")], [["1000", "verified"], ["500", "unproven"]]);
    world.send(world.users[0], Some(grows), 0, &[]);
    index();
    assert_eq!([said("GROW"), said("TIME")], [["2000", "unproven"], ["500", "unproven"]]);
}

/// A token tells apart with how much gas it is asked, or by whom, and changes for everyone with no event: that two answers of its node differ speaks against
/// neither.
#[test]
fn a_token_that_tells_two_ways_to_ask_apart_makes_no_node_a_liar() {
    // Slot 0 by account, times slot 1, which becomes 2 once it is called without words; and beside that some of the gas, or of who asks.
    let code =
        |rest: &str| format!("0x36600a576002600155005b6004355f525f60205260405f20546001540260615a{rest}5f5260205ff3");
    for others in [0, 600] {
        let world = World::new(&[]);
        let (tokens, holders) = ([1, 2].map(Address::fresh), &world.users[1..3]);
        for (token, rest) in tokens.iter().zip(["0601", "50330601"]) {
            world.call("anvil_setCode", json!([token.to_string(), code(rest)]));
            world.call("anvil_setStorageAt", json!([token.to_string(), "0x1", format!("0x{:064x}", 1)]));
            for holder in holders {
                let key = alloy::primitives::keccak256([&[0; 12], &holder.0[..], &[0; 32]].concat());
                world.call("anvil_setStorageAt", json!([token.to_string(), key, format!("0x{:064x}", 1_000)]));
            }
        }
        world.mine();
        let lab = Lab::new();
        let chain = lab::evm_chain(&world.anvil.url, world.height(), 1);
        let assets =
            [("GAS", tokens[0]), ("ASKS", tokens[1])].map(|(symbol, token)| contracts::asset(symbol, token, 0));
        lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{}", assets.concat()));
        lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", holders));
        lab.write("exchanges/acme/others.csv", &contracts::crowd(others));
        for poked in [None, Some(tokens[0]), Some(tokens[1]), None] {
            if let Some(token) = poked {
                world.send(world.users[0], Some(token), 0, &[]);
            }
            world.mine();
            let ran = lab.assay(&["index", "--once"]);
            assert!(ran.code == 0 && !ran.stderr.contains("kind"), "{others} others: {}: {}", ran.code, ran.stderr);
        }
        for symbol in ["GAS", "ASKS"] {
            let held = lab.json(&["balance", &holders[0].to_string(), "--chain", "evm", "--asset", symbol], 0);
            let units: u64 = held["units"].as_str().unwrap().parse().unwrap();
            assert!((2_000..2_100).contains(&units) && held["coverage"] == "unproven", "{others} others: {held:#}");
        }
    }
}
