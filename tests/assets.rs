//! What the configuration says of assets, held against a real anvil.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/serving.rs"]
mod serving;

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
