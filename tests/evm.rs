//! Stories on a real anvil: whatever happens on the chain, every balance is the node's own at every height.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/proxy.rs"]
mod proxy;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::{Child, Stdio};

use assay_store::{Coverage, Mode, Movement, Store};
use assay_types::{Account, Amount, Asset, Height, Kind};
use contracts::{Address, World, hex};
use lab::{ANVIL, Lab};
use proxy::{Fault, Proxy, Rule};
use serde_json::{Value, json};

/// An asset of a story: where it is (`None`: ether), its symbol, its decimals.
#[derive(Clone)]
struct Coin {
    token: Option<Address>,
    symbol: &'static str,
    decimals: u8,
}

/// A chain that is being written, and what it said of every account after every block.
struct Story {
    world: World,
    accounts: Vec<Address>,
    coins: Vec<Coin>,
    truth: HashMap<(u64, Address, Option<Address>), Option<Amount>>,
    /// Height and symbol where an account's balance changes without an event or transaction that says so.
    silent: BTreeSet<(u64, &'static str)>,
    /// The same, where it depends on rounding.
    perhaps_silent: BTreeSet<(u64, &'static str)>,
    /// Followed block by block, from when all contracts are there.
    stepwise: Option<Lab>,
    /// The same among so many accounts that they are read in turn.
    crowd: Option<Lab>,
}

impl Story {
    fn new(arguments: &[&str]) -> Story {
        let world = World::new(arguments);
        let coins = vec![Coin { token: None, symbol: "ETH", decimals: 18 }];
        let accounts = world.users[..6].to_vec();
        let (truth, silent, perhaps_silent) = Default::default();
        Story { world, accounts, coins, truth, silent, perhaps_silent, stepwise: None, crowd: None }
    }

    fn deploy(
        &mut self,
        symbol: &'static str,
        decimals: u8,
        contract: &str,
        arguments: Vec<contracts::Abi>,
    ) -> Address {
        let token = self.world.deploy(contract, arguments);
        self.coins.push(Coin { token: Some(token), symbol, decimals });
        self.record();
        token
    }

    /// A contract that is an account, and no asset.
    fn build(&mut self, contract: &str) -> Address {
        let address = self.world.deploy(contract, vec![]);
        self.accounts.push(address);
        self.record();
        address
    }

    /// Mines what was sent, and gives the height.
    fn mine(&mut self) -> u64 {
        self.world.mine();
        for lab in self.stepwise.iter().chain(&self.crowd) {
            lab.index();
        }
        self.record()
    }

    /// Mines what was sent; these assets change beside events.
    fn mine_silently(&mut self, symbols: &[&'static str]) {
        let height = self.mine();
        self.silent.extend(symbols.iter().map(|symbol| (height, *symbol)));
    }

    fn record(&mut self) -> u64 {
        let height = self.world.height();
        let assets: Vec<Option<Address>> = self.coins.iter().map(|coin| coin.token).collect();
        let balances = self.world.balances(height, &self.accounts, &assets);
        let pairs = self.accounts.iter().flat_map(|account| assets.iter().map(move |asset| (height, *account, *asset)));
        self.truth.extend(pairs.zip(balances));
        height
    }

    /// What the node said at that height; nothing was held of what was not there yet.
    fn held(&self, height: u64, account: Address, coin: &Coin) -> Option<Amount> {
        self.truth.get(&(height, account, coin.token)).copied().unwrap_or(Some(Amount::ZERO))
    }

    fn lab(&self, url: &str, start: u64, confirmations: u32) -> Lab {
        let lab = Lab::new();
        let tokens =
            self.coins.iter().filter_map(|coin| Some(contracts::asset(coin.symbol, coin.token?, coin.decimals)));
        let chain = lab::evm_chain(url, start, confirmations);
        lab.write("assay.toml", &format!("data_dir = \"data\"\n{chain}{}", tokens.collect::<String>()));
        lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", &self.accounts));
        lab
    }

    /// The accounts of the story among 600 others, each read within so many blocks.
    fn crowd(&self, url: &str, start: u64, read_within: u64) -> Lab {
        let lab = self.lab(url, start, 1);
        let text = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
        let finality = "finality = ";
        lab.write("assay.toml", &text.replacen(finality, &format!("read_within = {read_within}\n{finality}"), 1));
        lab.write("exchanges/acme/others.csv", &contracts::crowd(600));
        lab
    }

    fn user(&self, number: usize) -> Address {
        self.world.users[number]
    }

    fn invoke(&self, user: usize, to: Address, value: u64, method: &str, arguments: Vec<contracts::Abi>) -> String {
        self.world.invoke(self.user(user), to, value, method, arguments)
    }
}

/// What a store says, as `balance` and `history` would: one process for each question would take minutes.
struct Book(Store);

impl Book {
    fn open(lab: &Lab) -> Book {
        Book(Store::open(&lab.path("data/evm"), &ANVIL.parse().unwrap(), Mode::Read).unwrap())
    }

    fn tip(&self) -> u64 {
        self.0.tip().unwrap().unwrap().height.0
    }

    fn balance(&self, account: Address, coin: &Coin, height: u64) -> (Coverage, Amount) {
        let (number, followed) = self.0.number(&Account::new(&account.0)).unwrap().unwrap();
        assert!(followed);
        let asset = asset(coin);
        let coverage = self.0.coverage(number, asset, Height(height)).unwrap();
        (coverage, self.0.balance(number, asset, Height(height)).unwrap())
    }

    fn movements(&self, account: Address, coin: &Coin) -> Vec<Movement> {
        let (number, _) = self.0.number(&Account::new(&account.0)).unwrap().unwrap();
        let all = self.0.movements(number, asset(coin), Height(0), Height(u64::MAX)).unwrap();
        all.map(Result::unwrap).collect()
    }
}

fn asset(coin: &Coin) -> Asset {
    coin.token.map_or(Asset::Native, |token| Asset::Token(token.0))
}

/// Every account in every asset at every height: known where the node knows it, and then the same.
fn assert_true(story: &Story, lab: &Lab, start: u64) {
    assert_known(story, lab, start, true);
}

/// `traced`: what internal calls moved is accounted for, so that every height between proofs is proven too, of accounts without code.
fn assert_known(story: &Story, lab: &Lab, start: u64, traced: bool) {
    let book = Book::open(lab);
    let plain = &story.world.users;
    assert_eq!(book.tip(), story.world.height());
    for height in start..=book.tip() {
        for (account, coin) in pairs(story) {
            let (coverage, amount) = book.balance(account, &coin, height);
            let what = format!("{account} in {} at {height}: {coverage:?}", coin.symbol);
            match story.held(height, account, &coin) {
                None => assert!(matches!(coverage, Coverage::Unknown(_)), "{what}"),
                Some(held) => {
                    assert!(!matches!(coverage, Coverage::Unknown(_)), "{what}");
                    assert_eq!(amount, held, "{what}");
                }
            }
            if coin.token.is_none() && (traced && plain.contains(&account) || height == book.tip()) {
                assert_eq!(coverage, Coverage::Verified, "{what}");
            }
        }
    }
}

/// Every balance at every height that is not said to be unknown is the node's own; at the last one ether is known. A balance that
/// could not be read for a while, and that nobody moved, was perhaps not looked at then.
fn assert_never_wrong(story: &Story, lab: &Lab, start: u64, traced: bool) {
    let (book, mut unknown, mut passed, mut all) = (Book::open(lab), 0, 0, 0);
    assert_eq!(book.tip(), story.world.height());
    for height in start..=book.tip() {
        for (account, coin) in pairs(story) {
            let (coverage, amount) = book.balance(account, &coin, height);
            let what = format!("{account} in {} at {height}: {coverage:?}", coin.symbol);
            all += 1;
            match (story.held(height, account, &coin), &coverage) {
                (Some(_), Coverage::Unknown(_)) => unknown += 1,
                // What came by an internal call and went again leaves no trace where nothing traces; nobody says that it is proven.
                (Some(held), Coverage::Unproven) if !traced && coin.token.is_none() && amount != held => passed += 1,
                (Some(held), _) => assert_eq!(amount, held, "{what}"),
                (None, _) => {}
            }
            if coin.token.is_none() && height == book.tip() {
                assert!(!matches!(coverage, Coverage::Unknown(_)), "{what}");
            }
        }
    }
    assert!(unknown * 20 < all && passed * 1_000 < all, "{unknown} unknown and {passed} wrong of {all}");
}

/// The sums are whole, and what nothing explains stands at its own block, and nowhere else.
fn assert_explained(story: &Story, lab: &Lab, start: u64, silent: &BTreeSet<(u64, &'static str)>) {
    let book = Book::open(lab);
    let mut unattributed = BTreeSet::new();
    for (account, coin) in pairs(story) {
        let mut balance = Amount::ZERO;
        for movement in book.movements(account, &coin) {
            balance = match movement.direction {
                assay_types::Direction::Credit => balance.checked_add(movement.amount).unwrap(),
                assay_types::Direction::Debit => balance.checked_sub(movement.amount).unwrap(),
            };
            assert_eq!(movement.balance, balance);
            assert_eq!(movement.kind == Kind::Opening, movement.height.0 == start);
            if movement.kind == Kind::Unattributed {
                unattributed.insert((movement.height.0, coin.symbol));
            }
        }
    }
    let missing: Vec<_> =
        silent.iter().filter(|(height, _)| *height > start).filter(|at| !unattributed.contains(at)).collect();
    assert!(missing.is_empty(), "changed without an event, and not shown there: {missing:?}");
    let stray: Vec<_> =
        unattributed.iter().filter(|at| !silent.contains(at) && !story.perhaps_silent.contains(at)).collect();
    assert!(stray.is_empty(), "unattributed, though an event says why: {stray:?}");
}

fn assert_same_movements(story: &Story, one: &Lab, other: &Lab) {
    let (one, other) = (Book::open(one), Book::open(other));
    for (account, coin) in pairs(story) {
        assert_eq!(one.movements(account, &coin), other.movements(account, &coin), "{account} in {}", coin.symbol);
    }
}

fn pairs(story: &Story) -> impl Iterator<Item = (Address, Coin)> {
    story.accounts.iter().flat_map(|account| story.coins.iter().map(|coin| (*account, coin.clone())))
}

/// The same through the binary: each pair at one height, and one pair at all of them.
fn assert_answers(story: &Story, lab: &Lab, start: u64) {
    let tip = story.world.height();
    let span = tip - start + 1;
    let mut questions: Vec<_> = pairs(story).zip((0..).map(|nth: u64| start + nth * 7 % span)).collect();
    let first = pairs(story).next().unwrap();
    questions.extend((start..=tip).map(|height| (first.clone(), height)));
    std::thread::scope(|scope| {
        for part in questions.chunks(questions.len().div_ceil(4)) {
            scope.spawn(move || {
                part.iter().for_each(|((account, coin), height)| assert_answer(story, lab, *account, coin, *height))
            });
        }
    });
}

fn assert_answer(story: &Story, lab: &Lab, account: Address, coin: &Coin, height: u64) {
    let (address, at) = (account.to_string(), height.to_string());
    let held = story.held(height, account, coin);
    let question = ["balance", &address, "--chain", "evm", "--asset", coin.symbol, "--at", &at];
    let answer = lab.json(&question, if held.is_some() { 0 } else { 3 });
    let what = format!("{answer:#}");
    assert_eq!(answer["units"], json!(held.map(|held| held.to_string())), "{what}");
    assert_eq!(answer["amount"], json!(held.map(|held| held.to_coins(coin.decimals))), "{what}");
    assert_eq!((&answer["decimals"], &answer["asset"]), (&json!(coin.decimals), &json!(coin.symbol)), "{what}");
    assert_eq!(answer["at"]["hash"], story.world.hash(height), "{what}");
    assert_eq!(answer["reason"].is_string(), held.is_none(), "{what}");
    // A token's balance is proven where the slot that holds it was found; that of coins at every height, of who never had code.
    let grades: &[&str] = match (held, coin.token) {
        (None, _) => &["unknown"],
        (_, None) if story.world.users.contains(&account) => &["verified"],
        _ => &["verified", "unproven"],
    };
    assert!(grades.iter().any(|grade| answer["coverage"] == *grade), "{what}");
}

/// Where coverage begins in the great story: some contracts are there already, some are not.
const START: u64 = 6;

#[test]
fn every_balance_is_the_nodes_own_at_every_height() {
    let mut story = Story::new(&[]);
    let miner = Address::fresh(0xfe);
    story.world.call("anvil_setCoinbase", json!([miner.to_string()]));
    story.accounts.extend([miner, Address::fresh(0xcc)]);
    story.accounts.extend((1..=9).map(Address::fresh));
    let router = story.build("Router");
    let weth = story.deploy("WETH", 18, "WrappedEther", vec![]);
    story.accounts.push(weth);
    // What the router will create, and what user 5 will.
    let children = [1, 2].map(|nonce| created_by(&story.world, router, nonce));
    story.accounts.extend(children);
    story.accounts.push(created_by(&story.world, story.user(5), 0));
    let usdx = story.deploy("USDX", 6, "Token", abi!["USDX", "USDX", 6, 1_000_000_000]);
    let points = story.deploy("POINTS", 0, "Token", abi!["Points", "POINTS", 0, 1_000]);
    let big = Amount::MAX.checked_sub(Amount::from(10)).unwrap();
    let big_token = story.deploy("BIG", 18, "Token", abi!["Big", "BIG", 18, big]);
    let fee = story.deploy("FEE", 18, "FeeToken", abi!["Fee", "FEE", 18, 1_000_000, 250, Address::fresh(0xcc)]);
    let rebasing = story.deploy("REB", 18, "RebasingToken", abi!["Rebasing", "REB", 18, 1_000_003]);
    let silent = story.deploy("SILENT", 18, "SilentMint", vec![]);
    let lying = story.deploy("LIES", 18, "LyingToken", vec![]);
    let nft = story.deploy("NFT", 0, "Nft721", vec![]);
    let reverting = story.deploy("REV", 18, "RevertingBalance", vec![]);
    let hostile = story.deploy("HOST", 18, "HostileBalance", vec![]);
    let plain = story.deploy("PLAIN", 2, "NoDecimals", vec![]);
    // Has the symbol of an asset that everybody knows, and is none.
    let impostor = story.world.deploy("Token", abi!["Tether USD", "USDT", 6, 1_000_000_000]);
    story.record();
    let stepwise = story.lab(&story.world.anvil.url, START, 1);
    stepwise.index();
    story.stepwise = Some(stepwise);
    let crowd = story.crowd(&story.world.anvil.url, START, 7);
    crowd.index();
    story.crowd = Some(crowd);

    ether(&mut story, router, children[1]);
    tokens(&mut story, [usdx, points, plain], router, impostor);
    large_amounts(&mut story, big_token);
    silent_changes(&mut story, fee, rebasing, weth);
    odd_tokens(&mut story, silent, lying, nft);
    unreadable_balances(&mut story, reverting, hostile);

    let node = story.world.anvil.url.clone();
    let once = story.lab(&node, START, 1);
    once.index();
    for lab in [&once, story.stepwise.as_ref().unwrap()] {
        assert_true(&story, lab, START);
        assert_explained(&story, lab, START, &all_but_internal(&story));
    }
    assert_same_movements(&story, &once, story.stepwise.as_ref().unwrap());
    assert_answers(&story, &once, START);
    let impostors = once.assay(&["balance", &story.user(1).to_string(), "--chain", "evm", "--asset", "USDT"]);
    assert_eq!(impostors.code, 2, "{}{}", impostors.stdout, impostors.stderr);

    // Each call by itself, and what it was.
    let kinds = |account: Address| {
        let history = once.json(&["history", &account.to_string(), "--chain", "evm"], 0);
        let movements = history["movements"].as_array().unwrap().clone();
        movements
            .iter()
            .map(|it| [&it["kind"], &it["direction"]].map(|it| it.as_str().unwrap().to_owned()).join(" "))
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(Address::fresh(2)), ["internal credit", "internal credit"], "two calls of one transaction");
    assert_eq!(kinds(Address::fresh(4)), ["self-destruct credit"]);
    assert_eq!(kinds(children[1]), ["create credit", "self-destruct debit"]);

    // Among a crowd those that move are read at once and all others in turn, and what is found out late stands where it happened.
    for _ in 0..7 {
        story.mine();
    }
    let crowd = story.crowd.take().unwrap();
    let once = story.crowd(&node, START, 7);
    once.index();
    for lab in [&crowd, &once] {
        assert_never_wrong(&story, lab, START, true);
        let checked = lab.assay(&["check", "--deep"]);
        assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    }

    // One that tells all calls of a block in one list says the same.
    let nested = Rule::always(&["debug_"], Fault::Refuse(-32601, "the method does not exist"));
    let listing = Proxy::with(&node, vec![nested]);
    let listed = story.lab(&listing.url, START, 1);
    listed.index();
    assert!(listing.asked("trace_block") > 0);
    assert_known(&story, &listed, START, true);
    assert_same_movements(&story, &once, &listed);

    // A node that does not trace: internal payments are seen in the state, at the same blocks.
    let untraced = Proxy::with(
        &node,
        vec![Rule::always(&["debug_", "trace_"], Fault::Refuse(-32601, "the method does not exist"))],
    );
    let blind = story.lab(&untraced.url, START, 1);
    blind.index();
    assert_known(&story, &blind, START, false);
    let blind_crowd = story.crowd(&untraced.url, START, 7);
    blind_crowd.index();
    assert_never_wrong(&story, &blind_crowd, START, false);
    let internal: BTreeSet<_> = story
        .silent
        .iter()
        .map(|(height, symbol)| (*height, if *symbol == INTERNAL { "ETH" } else { symbol }))
        .collect();
    assert_explained(&story, &blind, START, &internal);

    // The node itself changes an account, as no chain does. The header below commits to what was before.
    story.world.call("anvil_setBalance", json!([Address::fresh(1).to_string(), "0xde0b6b3a7640000"]));
    story.world.pay(story.user(1), Address::fresh(2), 5);
    story.mine_silently(&["ETH"]);
    story.world.pay(story.user(1), Address::fresh(1), 5);
    story.mine();
    let stepwise = story.stepwise.take().unwrap();
    assert_true(&story, &stepwise, START);
    assert_explained(&story, &stepwise, START, &all_but_internal(&story));
    let history = stepwise.json(&["history", &Address::fresh(1).to_string(), "--chain", "evm"], 0);
    let last: Vec<&Value> = history["movements"].as_array().unwrap().iter().rev().take(2).collect();
    assert_eq!(
        (&last[1]["kind"], &last[1]["height"]),
        (&json!("unattributed"), &json!(story.world.height() - 1)),
        "{history:#}"
    );
    assert_eq!((&last[0]["kind"], &last[0]["amount"]), (&json!("transfer"), &json!("0.000000000000000005")));
}

/// Stands for ether that an internal call moved: silent only where nothing traces.
const INTERNAL: &str = "internal";

fn all_but_internal(story: &Story) -> BTreeSet<(u64, &'static str)> {
    story.silent.iter().filter(|(_, symbol)| *symbol != INTERNAL).copied().collect()
}

/// The address of the contract that an account creates with this nonce.
fn created_by(world: &World, creator: Address, nonce: u8) -> Address {
    let nonce = if nonce == 0 { 0x80 } else { nonce };
    let rlp = [&[0xd6, 0x94], &creator.0[..], &[nonce]].concat();
    let hash = world.call("web3_sha3", json!([format!("0x{}", hex(&rlp))]));
    Address::parse(&hash.as_str().unwrap()[26..])
}

fn ether(story: &mut Story, router: Address, child: Address) {
    let (one, two) = (story.user(1), story.user(2));
    // Several of one account in a block, one to itself, one to a contract.
    story.world.pay(one, Address::fresh(1), 1_000);
    story.world.pay(one, two, 2_000);
    story.world.pay(one, one, 1);
    story.world.pay(two, two, 3_000);
    story.world.pay(two, router, 50);
    story.mine();
    story.mine();
    let (to, amounts) = (vec![Address::fresh(2), story.user(3), Address::fresh(2)], vec![10u64, 20, 30]);
    story.invoke(1, router, 100, "pay(address[],uint256[])", abi![to, amounts]);
    story.mine_silently(&[INTERNAL]);
    // What an inner frame reverts moves nothing; what the transaction itself reverts costs its fee.
    story.invoke(3, router, 9, "payThenRevertInner(address)", abi![Address::fresh(3)]);
    story.invoke(3, router, 9, "payAndRevert(address)", abi![Address::fresh(3)]);
    story.mine();
    story.invoke(4, router, 7, "destroyInto(address)", abi![Address::fresh(4)]);
    story.mine_silently(&[INTERNAL]);
    story.invoke(4, router, 11, "create()", vec![]);
    story.mine_silently(&[INTERNAL]);
    story.invoke(4, child, 0, "destroy(address)", abi![Address::fresh(5)]);
    story.mine_silently(&[INTERNAL]);
    // A creation with value, whose code is `stop`.
    story.world.send(story.user(5), None, 77, &[0x60, 0x00, 0x60, 0x00, 0xf3]);
    story.mine();
}

fn tokens(story: &mut Story, tokens: [Address; 3], router: Address, impostor: Address) {
    let all = Amount::MAX;
    let to_user = story.user(1);
    for token in tokens {
        story.invoke(0, token, 0, "mint(address,uint256)", abi![to_user, 500]);
    }
    story.mine();
    // All tokens, and one that is none, in one block; to oneself, to a contract, to the zero address, by an allowance.
    for token in tokens.into_iter().chain([impostor]) {
        story.invoke(1, token, 0, "transfer(address,uint256)", abi![Address::fresh(6), 100]);
        story.invoke(1, token, 0, "transfer(address,uint256)", abi![to_user, 7]);
        story.invoke(1, token, 0, "transfer(address,uint256)", abi![router, 3]);
        story.invoke(1, token, 0, "transfer(address,uint256)", abi![Address::fresh(7), 1_000_000_000]);
        story.invoke(1, token, 0, "burn(uint256)", abi![5]);
        story.invoke(1, token, 0, "approve(address,uint256)", abi![router, all]);
    }
    story.mine();
    let (to, amounts) = (vec![Address::fresh(7), Address::fresh(8)], vec![20u64, 30]);
    story.invoke(1, router, 0, "payToken(address,address[],uint256[])", abi![tokens[0], to, amounts]);
    story.invoke(0, impostor, 0, "mint(address,uint256)", abi![to_user, 1_000_000]);
    story.mine();
}

fn large_amounts(story: &mut Story, token: Address) {
    let (to, all) = (story.user(1), Amount::MAX);
    story.invoke(0, token, 0, "mint(address,uint256)", abi![to, 10]);
    let most = all.checked_sub(Amount::from(10)).unwrap();
    story.invoke(0, token, 0, "transfer(address,uint256)", abi![to, most]);
    story.mine();
    assert_eq!(story.held(story.world.height(), to, &story.coins[4]), Some(all));
    story.invoke(1, token, 0, "transfer(address,uint256)", abi![Address::fresh(1), all]);
    story.mine();
}

fn silent_changes(story: &mut Story, fee: Address, rebasing: Address, weth: Address) {
    let (one, three) = (story.user(1), story.user(3));
    for (token, symbol) in [(fee, "FEE"), (rebasing, "REB")] {
        story.invoke(0, token, 0, "transfer(address,uint256)", abi![one, 10_001]);
        let height = story.mine();
        if symbol == "FEE" {
            story.silent.insert((height, symbol));
        }
    }
    for (num, den) in [(1_030, 1_001), (9, 10)] {
        story.invoke(0, rebasing, 0, "rebase(uint256,uint256)", abi![num, den]);
        story.mine_silently(&["REB"]);
        story.invoke(1, rebasing, 0, "transfer(address,uint256)", abi![Address::fresh(7), 333]);
        let height = story.mine();
        story.perhaps_silent.insert((height, "REB"));
    }
    // A rebase and a payment that only the rebase makes possible, in one block.
    let all = story.held(story.world.height(), one, &story.coins[6]).unwrap();
    let twice = all.checked_add(all).unwrap().checked_sub(Amount::from(5)).unwrap();
    story.invoke(0, rebasing, 0, "rebase(uint256,uint256)", abi![2, 1]);
    story.invoke(1, rebasing, 0, "transfer(address,uint256)", abi![Address::fresh(7), twice]);
    story.mine_silently(&["REB"]);
    story.invoke(2, weth, 5_000, "deposit()", vec![]);
    story.mine_silently(&["WETH"]);
    story.invoke(2, weth, 0, "transfer(address,uint256)", abi![three, 2_000]);
    story.mine();
    story.invoke(3, weth, 0, "withdraw(uint256)", abi![500]);
    story.world.pay(three, weth, 6);
    story.mine_silently(&["WETH", INTERNAL]);
}

fn odd_tokens(story: &mut Story, silent: Address, lying: Address, nft: Address) {
    let (one, two) = (story.user(1), story.user(2));
    story.invoke(1, silent, 0, "mint(address,uint256)", abi![one, 40]);
    story.mine_silently(&["SILENT"]);
    story.invoke(1, lying, 0, "mint(address,uint256)", abi![one, 40]);
    story.mine();
    story.invoke(1, lying, 0, "transfer(address,uint256)", abi![Address::fresh(8), 4]);
    story.mine_silently(&["LIES"]);
    story.invoke(5, lying, 0, "lie(address,address,uint256)", abi![Address::fresh(8), two, Amount::MAX]);
    story.invoke(5, lying, 0, "lie(address,address,uint256)", abi![one, two, Amount::MAX]);
    let height = story.mine();
    story.perhaps_silent.insert((height, "LIES"));
    // Counted by state, and by no event: its topics are four.
    story.invoke(1, nft, 0, "mint(address,uint256)", abi![one, 40]);
    story.mine_silently(&["NFT"]);
    story.invoke(1, nft, 0, "transferFrom(address,address,uint256)", abi![one, two, 40]);
    story.mine_silently(&["NFT"]);
}

fn unreadable_balances(story: &mut Story, reverting: Address, hostile: Address) {
    let one = story.user(1);
    for token in [reverting, hostile] {
        story.invoke(1, token, 0, "mint(address,uint256)", abi![one, 40]);
    }
    story.mine();
    story.invoke(1, reverting, 0, "setBroken(bool)", abi![1]);
    story.mine();
    story.invoke(1, reverting, 0, "transfer(address,uint256)", abi![Address::fresh(8), 4]);
    let height = story.mine();
    assert_eq!(story.held(height, one, &story.coins[10]), None);
    story.invoke(1, reverting, 0, "setBroken(bool)", abi![0]);
    let height = story.mine();
    assert_eq!(story.held(height, one, &story.coins[10]), Some(Amount::from(36)));
    for mode in [1, 3, 4, 5, 6] {
        story.invoke(1, hostile, 0, "setMode(uint256)", abi![mode]);
        story.mine();
    }
}

#[test]
fn after_a_reorganisation_of_any_depth_the_books_are_those_of_the_new_branch() {
    const DEEPEST: u64 = 20;
    let mut story = Story::new(&[]);
    story.accounts.extend((1..=3).map(Address::fresh));
    let token = story.deploy("USDX", 6, "Token", abi!["USDX", "USDX", 6, 1_000_000]);
    let rebasing = story.deploy("REB", 18, "RebasingToken", abi!["Rebasing", "REB", 18, 1_000_003]);
    for _ in 0..DEEPEST {
        story.world.mine();
    }
    let lab = story.lab(&story.world.anvil.url, 1, 40);
    lab.index();
    for depth in 1..=DEEPEST {
        // Something happens in every block of the old branch, and something else in the new one.
        for nth in 0..depth.min(4) {
            story.world.pay(story.user(1), Address::fresh(1), 1_000 * depth + nth);
            story.invoke(0, token, 0, "transfer(address,uint256)", abi![Address::fresh(2), depth]);
            story.invoke(0, rebasing, 0, "rebase(uint256,uint256)", abi![101, 100]);
            story.world.mine();
        }
        lab.index();
        let payment = |to: u8, value: u64| contracts::transaction(story.user(2), Some(Address::fresh(to)), value, &[]);
        let data = story.world.data("transfer(address,uint256)", abi![Address::fresh(3), 7 * depth]);
        let moved = contracts::transaction(story.user(0), Some(token), 0, &data);
        let new = json!([[payment(3, depth), 0], [payment(1, 5), depth - 1], [moved, depth / 2]]);
        let before = story.world.hash(story.world.height());
        story.world.call("anvil_reorg", json!([depth, new]));
        assert_ne!(story.world.hash(story.world.height()), before);
        lab.index();
        tell(&mut story, depth + 6);
        let book = Book::open(&lab);
        assert_eq!(book.tip(), story.world.height());
        for height in story.world.height().saturating_sub(depth + 5)..=story.world.height() {
            for (account, coin) in pairs(&story) {
                let (coverage, amount) = book.balance(account, &coin, height);
                assert_eq!(
                    Some(amount),
                    story.held(height, account, &coin),
                    "depth {depth}: {account} in {} at {height}",
                    coin.symbol
                );
                assert!(coin.token.is_some() || coverage == Coverage::Verified, "depth {depth}: {account} at {height}");
            }
        }
    }
    // The same as who never saw another branch, to the last movement.
    tell(&mut story, 1_000);
    assert_true(&story, &lab, 1);
    let late = story.lab(&story.world.anvil.url, 1, 40);
    late.index();
    assert_same_movements(&story, &lab, &late);
}

/// Records the last blocks anew, as the node tells them now.
fn tell(story: &mut Story, blocks: u64) {
    let assets: Vec<Option<Address>> = story.coins.iter().map(|coin| coin.token).collect();
    let tip = story.world.height();
    for height in tip.saturating_sub(blocks).max(1)..=tip {
        let balances = story.world.balances(height, &story.accounts, &assets);
        let pairs =
            story.accounts.iter().flat_map(|account| assets.iter().map(move |asset| (height, *account, *asset)));
        story.truth.extend(pairs.zip(balances));
    }
}

/// A chain of some length on which a little happens in every block.
fn long_story(blocks: u64) -> Story {
    let mut story = Story::new(&[]);
    story.accounts.extend((1..=3).map(Address::fresh));
    let token = story.deploy("USDX", 6, "Token", abi!["USDX", "USDX", 6, 1_000_000]);
    for nth in 0..blocks {
        story.world.pay(story.user(1), Address::fresh(1), 1_000 + nth);
        story.invoke(0, token, 0, "transfer(address,uint256)", abi![Address::fresh(2), nth]);
        story.world.mine();
    }
    tell(&mut story, 1_000);
    story
}

#[test]
fn killed_at_any_moment_it_goes_on_to_the_same_answers() {
    const BLOCKS: u64 = 120;
    let story = long_story(BLOCKS);
    let proxy = Proxy::new(&story.world.anvil.url);
    let lab = story.lab(&proxy.url, 1, 5);
    let mut blocks = 0;
    let mut killed = 0;
    // Each run is killed when it asks for the first block, the second, the fourth and so on, and a last one in the middle.
    for more in [1, 2, 4, 8, 16, 32, 40] {
        let mut child = lab.command(&["index", "--once"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        blocks = proxy.asked("eth_getBlockByHash").max(blocks) + more;
        proxy.wait_for("eth_getBlockByHash", blocks);
        killed += u32::from(kill(&mut child));
        if let Ok(store) = Store::open(&lab.path("data/evm"), &ANVIL.parse().unwrap(), Mode::Read) {
            let Some(tip) = store.tip().unwrap() else { continue };
            let book = Book(store);
            for height in 1..=tip.height.0 {
                for (account, coin) in pairs(&story) {
                    assert_eq!(Some(book.balance(account, &coin, height).1), story.held(height, account, &coin));
                }
            }
        }
    }
    assert!(killed >= 5, "only {killed} runs were killed before their end");
    lab.index();
    assert_true(&story, &lab, 1);
    let whole = story.lab(&story.world.anvil.url, 1, 5);
    whole.index();
    assert_eq!(answers(&story, &lab), answers(&story, &whole));
    assert_eq!(lab.assay(&["check", "--deep"]).code, 0);
}

/// `true` if it was still running.
fn kill(child: &mut Child) -> bool {
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

/// What the binary prints of everything.
fn answers(story: &Story, lab: &Lab) -> BTreeMap<String, String> {
    let mut answers = BTreeMap::new();
    for (account, coin) in pairs(story) {
        let address = account.to_string();
        for command in ["balance", "history"] {
            let question = [command, &address, "--chain", "evm", "--asset", coin.symbol, "--json"];
            let ran = lab.assay(&question);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            answers.insert(question.join(" "), ran.stdout);
        }
    }
    answers
}

#[test]
fn a_node_that_is_the_wrong_one_or_away_or_without_old_state_is_told_by_its_exit_code() {
    let story = long_story(40);
    let node = story.world.anvil.url.clone();

    let other = World::new(&["--chain-id", "4242"]);
    let lab = story.lab(&other.anvil.url, 1, 1);
    let ran = lab.assay(&["index", "--once"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("eip155:4242") && ran.stderr.contains(ANVIL), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);

    let proxy = Proxy::new(&node);
    proxy.open(false);
    let lab = story.lab(&proxy.url, 1, 1);
    let ran = lab.assay(&["index", "--once"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let port = proxy.url.rsplit(':').next().unwrap();
    assert!(ran.stderr.contains(port) && ran.stderr.contains("hint: "), "{}", ran.stderr);

    // In the middle: what was indexed is right, and the next run goes on.
    proxy.open(true);
    let child = lab.command(&["index", "--once"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(proxy.wait_for("eth_getBlockByHash", 12));
    proxy.open(false);
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(3), "{stderr}");
    let book = Book::open(&lab);
    let tip = book.tip();
    assert!((1..story.world.height()).contains(&tip), "{tip}");
    for (account, coin) in pairs(&story) {
        assert_eq!(Some(book.balance(account, &coin, tip).1), story.held(tip, account, &coin));
    }
    drop(book);
    proxy.open(true);
    lab.index();
    assert_true(&story, &lab, 1);

    let forgetful = Story::new(&["--prune-history", "3"]);
    for _ in 0..12 {
        forgetful.world.pay(forgetful.user(1), forgetful.user(2), 5);
        forgetful.world.mine();
    }
    let lab = forgetful.lab(&forgetful.world.anvil.url, 2, 1);
    let ran = lab.assay(&["index", "--once"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("block 2") && ran.stderr.contains("archive") && ran.stderr.contains("hint: "),
        "{}",
        ran.stderr
    );
    let checked = lab.json(&["check"], 0);
    assert!(checked.to_string().contains("state at block 2"), "{checked:#}");
}
