//! What the configuration says of assets, held against a real anvil.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/serving.rs"]
mod serving;

use assay_types::Amount;
use contracts::{Address, World};
use lab::Lab;
use serde_json::{Value, json};
use serving::Serving;

/// A token of which nobody but its maker holds anything yet.
fn token(world: &World) -> Address {
    world.deploy("Token", abi!["Mine", "MINE", 6, 1_000_000_000])
}

fn transfer(world: &World, token: Address, to: Address, units: u64) {
    world.invoke(world.users[0], token, 0, "transfer(address,uint256)", abi![to, units]);
    world.mine();
}

/// Follows the first three users, in these `[[asset]]` blocks.
fn lab(world: &World, start: u64, assets: &str) -> Lab {
    let lab = Lab::new();
    configure(&lab, world, start, assets);
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &world.users[..3]));
    lab
}

fn configure(lab: &Lab, world: &World, start: u64, assets: &str) {
    let chain = lab::evm_chain(&world.anvil.url, start, 50);
    let serve = "[serve]\nlisten = \"127.0.0.1:0\"\n";
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{assets}{serve}"));
}

fn balance(lab: &Lab, account: Address, asset: &str, code: i32) -> Value {
    lab.json(&["balance", &account.to_string(), "--chain", "evm", "--asset", asset], code)
}

fn caip19(token: Address) -> String {
    format!("{}/erc20:{token}", lab::ANVIL)
}

/// Of one asset, of which an account holds more than any statement can claim, nothing is known; of the others all is.
#[test]
fn a_balance_beyond_all_amounts_holds_back_its_own_asset_alone() {
    let world = World::new(&[]);
    let user = world.users[1];
    let big = |decimals: u64| world.deploy("Token", abi!["Big", "BIG", decimals, Amount::MAX]);
    let [coarse, fine, ordinary] = [big(6), big(18), token(&world)];
    world.invoke(world.users[0], coarse, 0, "transfer(address,uint256)", abi![user, Amount::MAX]);
    world.invoke(world.users[0], ordinary, 0, "transfer(address,uint256)", abi![user, 5]);
    world.mine();
    let on = [(coarse, 6), (fine, 18)]
        .map(|(token, decimals)| format!("{{ id = \"{}\", decimals = {decimals} }}", caip19(token)));
    let blocks =
        format!("[[asset]]\nsymbol = \"BIG\"\non = [{}]\n\n{}", on.join(", "), contracts::asset("FEW", ordinary, 6));
    let lab = Lab::new();
    configure(&lab, &world, 1, &format!("{blocks}[policy]\nmax_statement_age = \"9999d\"\n"));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &[user]));
    lab.index();
    let verdict = |asset: &str, customers: &str, code: i32| {
        let at = json!({ "evm": { "height": world.height(), "hash": world.hash(world.height()) } });
        let time = assay_types::Timestamp::from_unix_s(i64::try_from(world.time(world.height())).unwrap()).to_string();
        let statement = json!({
            "format": "assay.statement/1", "exchange": "acme", "as_of": { "time": time, "blocks": at },
            "assets": [{ "asset": asset, "customers": customers }],
        });
        lab.write("statement.json", &statement.to_string());
        lab.json(&["verify", "acme", "--statement", "statement.json"], code)["verdict"].clone()
    };
    assert_eq!(verdict("FEW", "0.000005", 0), "backed");
    assert_eq!(verdict("FEW", "0.000006", 1), "short");
    assert_eq!(verdict("BIG", "1", 3), "indeterminate");
}

#[test]
fn of_two_tokens_under_one_symbol_each_answers_for_itself() {
    let world = World::new(&[]);
    let [one, other] = [token(&world), token(&world)];
    let user = world.users[1];
    transfer(&world, one, user, 5);
    transfer(&world, other, user, 7);
    let deployments = [one, other].map(|token| format!("{{ id = \"{}\", decimals = 6 }}", caip19(token)));
    let lab = lab(&world, 1, &format!("[[asset]]\nsymbol = \"MINE\"\non = [{}]\n\n", deployments.join(", ")));
    lab.index();

    for (token, units) in [(one, "5"), (other, "7")] {
        let answer = balance(&lab, user, &caip19(token), 0);
        assert_eq!((&answer["units"], &answer["coverage"]), (&json!(units), &json!("verified")), "{answer}");
        let history = lab.json(&["history", &user.to_string(), "--chain", "evm", "--asset", &caip19(token)], 0);
        let amounts: Vec<&Value> = history["movements"].as_array().unwrap().iter().map(|it| &it["amount"]).collect();
        assert_eq!(amounts, [&json!(format!("0.00000{units}"))]);
    }
    for command in ["balance", "history"] {
        let ran = lab.assay(&[command, &user.to_string(), "--chain", "evm", "--asset", "MINE"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        for token in [one, other] {
            assert!(ran.stderr.contains(&caip19(token)), "the ids to choose from: {}", ran.stderr);
        }
    }

    let serving = Serving::start(&lab, "");
    serving.wait("/v1/chains", |chains| chains["chains"][0]["indexed"]["height"] == world.height());
    let path = |name: &str| format!("/v1/accounts/evm/{user}/balance?asset={name}");
    assert_eq!(serving.get(&path(&caip19(other)))["units"], "7");
    let refused = serving.ask("GET", &path("MINE"), &[], &[]);
    assert!(refused.status == 400 && refused.body.contains(&caip19(other)), "{refused:?}");
    let page = serving.ask("GET", &format!("/accounts/evm/{user}?asset={}", caip19(other)), &[], &[]);
    assert!(page.status == 200 && page.body.contains(&format!("selected>{}", caip19(other))), "{page:?}");
}

/// What is known of an account's tokens after a block: units and how well, or why not.
fn told(lab: &Lab, account: Address, token: Address, at: u64) -> (String, String) {
    let (id, at) = (caip19(token), at.to_string());
    let arguments = ["balance", &account.to_string(), "--chain", "evm", "--asset", &id, "--at", &at, "--json"];
    let ran = lab.assay(&arguments);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
    assert_eq!(ran.code, if answer["units"].is_null() { 3 } else { 0 }, "{answer}");
    if answer["units"].is_null() { ("?".into(), text("reason")) } else { (text("units"), text("coverage")) }
}

fn kinds(lab: &Lab, account: Address, token: Address) -> Vec<String> {
    let ran = lab.assay(&["history", &account.to_string(), "--chain", "evm", "--asset", &caip19(token), "--json"]);
    let history: Value = serde_json::from_str(&ran.stdout).unwrap();
    let is_whole = history["unknown"].is_null();
    assert_eq!(ran.code, if is_whole { 0 } else { 3 }, "{history}");
    let each = history["movements"].as_array().unwrap().iter();
    each.map(|it| format!("{} {} {}", it["height"], it["kind"].as_str().unwrap(), it["amount"].as_str().unwrap()))
        .collect()
}

#[test]
fn blocks_that_were_read_without_an_asset_say_nothing_of_it() {
    let world = World::new(&[]);
    let (token, user) = (token(&world), world.users[1]);
    let mine = contracts::asset("MINE", token, 6);
    transfer(&world, token, user, 100);
    let known = world.height();
    let lab = lab(&world, 1, &mine);
    lab.index();
    let snapshot = world.call("evm_snapshot", json!([]));

    configure(&lab, &world, 1, "");
    transfer(&world, token, user, 55);
    world.mine();
    let silent = world.height();
    lab.index();
    configure(&lab, &world, 1, &mine);
    let why = format!("not followed from block {} on: the asset was not configured", known + 1);
    for at in [known + 1, silent] {
        assert_eq!(told(&lab, user, token, at), ("?".into(), why.clone()), "before anything is read");
    }
    // There is no new block, and yet what it holds is read.
    lab.index();
    assert_eq!(told(&lab, user, token, silent), ("155".into(), "verified".into()));
    assert_eq!(told(&lab, user, token, known + 1), ("?".into(), why.clone()));
    assert_eq!(told(&lab, user, token, known), ("100".into(), "verified".into()));
    transfer(&world, token, user, 5);
    lab.index();
    assert_eq!(told(&lab, user, token, silent + 1), ("160".into(), "verified".into()));
    assert_eq!(
        kinds(&lab, user, token),
        [
            format!("{known} transfer 0.0001"),
            format!("{silent} unattributed 0.000055"),
            format!("{} transfer 0.000005", silent + 1)
        ]
    );
    assert_eq!(lab.assay(&["check", "--deep"]).code, 0);

    // Out and in again without a block between: nothing was missed.
    configure(&lab, &world, 1, "");
    lab.index();
    configure(&lab, &world, 1, &mine);
    lab.index();
    transfer(&world, token, user, 1);
    lab.index();
    assert_eq!(told(&lab, user, token, silent + 2), ("161".into(), "verified".into()));
    assert_eq!(told(&lab, user, token, silent + 1), ("160".into(), "verified".into()));

    // On a branch from before it was taken out it was followed all along.
    world.call("evm_revert", json!([snapshot]));
    for _ in 0..5 {
        transfer(&world, token, user, 7);
    }
    lab.index();
    for at in known..=world.height() {
        let units = (100 + 7 * (at - known)).to_string();
        assert_eq!(told(&lab, user, token, at), (units, "verified".into()));
    }
    assert_eq!(lab.assay(&["check", "--deep"]).code, 0);
}

#[test]
fn an_asset_that_is_added_opens_with_what_is_held() {
    let world = World::new(&[]);
    let (token, user) = (token(&world), world.users[1]);
    transfer(&world, token, user, 100);
    let lab = lab(&world, 1, "");
    lab.index();
    configure(&lab, &world, 1, &contracts::asset("MINE", token, 6));
    let tip = world.height();
    let (_, why) = told(&lab, user, token, tip);
    assert!(why.contains("the asset is new, run assay index"), "{why}");
    lab.index();
    assert_eq!(told(&lab, user, token, tip), ("100".into(), "verified".into()));
    let (_, why) = told(&lab, user, token, tip - 1);
    assert!(why.contains(&format!("only from block {tip} on")), "{why}");
    transfer(&world, token, user, 5);
    lab.index();
    assert_eq!(kinds(&lab, user, token), [format!("{tip} opening 0.0001"), format!("{} transfer 0.000005", tip + 1)]);
    assert_eq!(told(&lab, user, token, tip + 1), ("105".into(), "verified".into()));
    assert_eq!(lab.assay(&["check", "--deep"]).code, 0);
}

/// A token's code is run for each of many who begin at one block, and what that takes is bounded by how many they are.
#[test]
fn of_many_accounts_each_ones_balance_is_proven_where_they_begin() {
    const MANY: u16 = 2_500;
    let world = World::new(&[]);
    let (token, user) = (token(&world), world.users[1]);
    transfer(&world, token, user, 100);
    let lab = lab(&world, world.height(), &contracts::asset("MINE", token, 6));
    lab.write("exchanges/acme/crowd.csv", &contracts::crowd(MANY));
    lab.index();
    let crowd = contracts::crowd(MANY);
    let addresses = crowd.lines().skip(1).step_by(100).map(|line| line.split(',').nth(1).unwrap());
    for address in addresses.chain([user.to_string().as_str()]) {
        let told = lab.json(&["balance", address, "--chain", "evm", "--asset", "MINE"], 0);
        assert_eq!(told["coverage"], "verified", "{told}");
    }
}

/// What a transaction paid in a block that was not read for its asset, or not for who paid, is not known: the statement that still lists it is not
/// `short` for that.
#[test]
fn a_withdrawal_of_a_block_that_was_not_read_for_it_is_open() {
    let world = World::new(&["--prune-history", "10"]);
    let (token, user, late, out) = (token(&world), world.users[1], world.users[3], Address::fresh(7));
    [user, late].into_iter().for_each(|user| transfer(&world, token, user, 1_000_000));
    let asset = contracts::asset("MINE", token, 6);
    let (followed, new) = (lab(&world, 1, &asset), lab(&world, 1, ""));
    [&followed, &new].into_iter().for_each(Lab::index);
    let pay = |from: Address, units: u64| {
        let txid = world.invoke(from, token, 0, "transfer(address,uint256)", abi![out, units]);
        world.mine();
        txid
    };
    let (of_user, of_late) = (pay(user, 400_000), pay(late, 300_000));
    [&followed, &new].into_iter().for_each(Lab::index);
    configure(&new, &world, 1, &asset);
    for _ in 0..12 {
        world.mine();
        [&followed, &new].into_iter().for_each(Lab::index);
    }
    let verdict = |lab: &Lab, txid: &str, customers: &str, amount: &str| {
        let height = world.height();
        let time = assay_types::Timestamp::from_unix_s(i64::try_from(world.time(height)).unwrap());
        let item = json!({ "chain": "evm", "address": out.to_string(), "amount": amount, "txid": txid });
        let statement = json!({
            "format": "assay.statement/1", "exchange": "acme",
            "as_of": { "time": time.to_string(), "blocks": { "evm": { "height": height, "hash": world.hash(height) } } },
            "assets": [{ "asset": "MINE", "customers": customers, "pending_withdrawals": [item] }],
        });
        lab.write("statement.json", &statement.to_string());
        let output = lab.command(&["verify", "acme", "--statement", "statement.json", "--json"]).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["verdict"].clone()
    };
    // Of 1,000 the token's maker, the first user, kept 998.
    assert_eq!([&followed, &new].map(|lab| verdict(lab, &of_user, "998.6", "0.4")), ["backed", "indeterminate"]);
    // Declared when the node has forgotten the block in which it paid.
    followed.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &world.users[..4]));
    followed.index();
    world.mine();
    followed.index();
    assert_eq!(verdict(&followed, &of_late, "999.3", "0.3"), "indeterminate");
}

#[test]
fn an_account_that_is_declared_when_the_node_has_forgotten_the_start_is_known_from_now_on() {
    let world = World::new(&["--prune-history", "5"]);
    world.mine();
    let lab = lab(&world, 1, "");
    lab.index();
    for _ in 0..8 {
        world.mine();
        lab.index();
    }
    let late = world.users[3];
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &world.users[..4]));
    let ran = lab.assay(&["index", "--once"]);
    assert!(ran.code == 0 && ran.stderr.contains("known from block 9 on alone"), "{}: {}", ran.code, ran.stderr);
    let held = world.balances(9, &[late], &[None])[0].unwrap().to_string();
    assert_eq!(balance(&lab, late, "ETH", 0)["units"], json!(held));
    let balance_at = |at: &str| lab.assay(&["balance", &late.to_string(), "--chain", "evm", "--at", at]);
    let (below, from) = (balance_at("8"), balance_at("9"));
    assert_eq!((below.code, from.code), (3, 0), "{} {}", below.stderr, from.stderr);
    world.pay(world.users[0], late, 7);
    world.mine();
    let again = lab.assay(&["index", "--once"]);
    assert!(again.code == 0 && !again.stderr.contains("alone"), "{}", again.stderr);
    let history = lab.json(&["history", &late.to_string(), "--chain", "evm"], 0);
    let kinds: Vec<&Value> = history["movements"].as_array().unwrap().iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["opening", "transfer"], "{history}");
}

#[test]
fn a_token_that_is_not_what_the_configuration_says_is_told() {
    let world = World::new(&[]);
    let token = token(&world);
    let silent = world.deploy("NoDecimals", vec![]);
    let right = format!("{}{}", contracts::asset("MINE", token, 6), contracts::asset("PLAIN", silent, 2));
    let lab = lab(&world, 1, &right);
    let ran = lab.assay(&["check"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    for (wrong, words) in [
        (
            contracts::asset("MINE", token, 8),
            ["asset[0].on[0].decimals", "`MINE` has 8 decimals here, and 6 by its contract"],
        ),
        (contracts::asset("GONE", Address::fresh(9), 6), ["asset[0].on[0].id", "`GONE`: there is no contract at"]),
    ] {
        configure(&lab, &world, 1, &wrong);
        let found = lab.json(&["check"], 2)["checks"].to_string();
        for word in words {
            assert!(found.contains(word), "{word}: {found}");
        }
    }
}

#[test]
fn another_start_than_the_index_has_is_refused() {
    let world = World::new(&[]);
    world.call("anvil_mine", json!([5]));
    let lab = lab(&world, 3, "");
    lab.index();
    for start in [1, 4, 50] {
        configure(&lab, &world, start, "");
        for command in [&["index", "--once"][..], &["check"]] {
            let ran = lab.assay(command);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.code, 2, "{said}");
            assert!(said.contains(&format!("begins at block 3, and `start` is {start} now")), "{said}");
            assert!(said.contains("say start = 3 again"), "{said}");
        }
    }
    configure(&lab, &world, 3, "");
    lab.index();
}
