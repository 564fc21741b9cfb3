//! What a transaction calls is explained however deep it goes; where nobody can read it, it holds up nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/proxy.rs"]
mod proxy;

use alloy::eips::eip7702::Authorization;
use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use assay_types::Timestamp;
use contracts::{Address, World};
use lab::Lab;
use proxy::{Fault, Proxy, Rule, alter};
use serde_json::{Value, json};

/// Calls itself as often as the first word of its input says, and then pays 7 wei to the address in the second.
const NESTED: &str = "0x5f358015601e57600190035f526020356020525f5f60405f5f305af150005b5f5f5f5f60076020355af15000";
const BLOCK: &str = "debug_traceBlockByHash";
const ALONE: &str = "debug_traceTransaction";

/// A world in whose last block someone is paid from a call so deep, and he who is.
fn world(depth: u8) -> (World, Address) {
    let world = World::new(&[]);
    let (nested, paid) = (Address::fresh(1), Address::fresh(2));
    world.call("anvil_setCode", json!([nested.to_string(), NESTED]));
    world.mine();
    let depth = [[0; 31].as_slice(), &[depth]].concat();
    world.send(world.users[0], Some(nested), 7, &[&depth, [0; 12].as_slice(), &paid.0].concat());
    world.mine();
    (world, paid)
}

/// A contract with 100 wei that pays 7 to one and the same, whoever calls it; and he who is paid.
fn vault(world: &World) -> (Address, Address) {
    let (vault, paid) = (Address::fresh(1), Address::fresh(2));
    let code = format!("0x5f5f5f5f600773{}5af100", &paid.to_string()[2..]);
    world.call("anvil_setCode", json!([vault.to_string(), code]));
    world.call("anvil_setBalance", json!([vault.to_string(), "0x64"]));
    (vault, paid)
}

/// Follows these accounts behind this URL.
fn followed(url: &str, accounts: &[Address]) -> Lab {
    let lab = Lab::new();
    let policy = "[policy]\nmax_statement_age = \"9999d\"\n";
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{}{policy}", lab::evm_chain(url, 1, 1)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", accounts));
    lab
}

/// What a withdrawal of 7 wei, paid by a call, makes of a statement that owes all that is left.
fn verdict(world: &World, (payer, paid, txid): (Address, Address, &str), rules: Vec<Rule>) -> String {
    let withdrawal =
        json!({ "chain": "evm", "address": paid.to_string(), "amount": "0.000000000000000007", "txid": txid });
    verdict_at(world, world.height(), (payer, 0), ("pending_withdrawals", withdrawal), rules)
}

/// What one item in flight makes of a statement that owes so much more than its account has at this block.
fn verdict_at(
    world: &World,
    height: u64,
    (account, more): (Address, u64),
    (list, item): (&str, Value),
    rules: Vec<Rule>,
) -> String {
    let proxy = Proxy::with(&world.anvil.url, rules);
    let lab = followed(&proxy.url, &[account]);
    lab.index();
    judged(&lab, world, height, (account, more), (list, item))
}

/// The same, of what is indexed.
fn judged(
    lab: &Lab,
    world: &World,
    height: u64,
    (account, more): (Address, u64),
    (list, item): (&str, Value),
) -> String {
    let time = Timestamp::from_unix_s(i64::try_from(world.time(height)).unwrap());
    let held = world.balances(height, &[account], &[None])[0].unwrap().checked_add(more.into()).unwrap();
    let statement = json!({
        "format": "assay.statement/1", "exchange": "acme",
        "as_of": { "time": time.to_string(), "blocks": { "evm": { "height": height, "hash": world.hash(height) } } },
        "assets": [{ "asset": "ETH", "customers": held.to_coins(18), list: [item] }],
    });
    lab.write("statement.json", &statement.to_string());
    let output = lab.command(&["verify", "acme", "--statement", "statement.json", "--json"]).output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    result["verdict"].as_str().unwrap().to_owned()
}

/// Whoever calls a contract of an exchange's makes it pay, and nothing in the block says so but a trace. Where that is silent, what state says of
/// the contract leaves open what no other than the transaction that is named can have paid, and no more.
#[test]
fn what_moved_and_no_transaction_is_known_to_have_moved_may_be_what_is_looked_for() {
    let world = World::new(&[]);
    let (vault, paid) = vault(&world);
    world.mine();
    let other = world.send(world.users[2], Some(Address::fresh(3)), 9, &[]);
    world.mine();
    let calling = world.send(world.users[1], Some(vault), 0, &[]);
    world.mine();
    let silent = || vec![Rule::always(&["debug_", "trace_"], Fault::Refuse(-32601, "no such method"))];
    let hidden = || {
        let hide = alter(|traces| {
            for trace in traces.as_array_mut().into_iter().flatten().filter(|trace| trace["result"]["calls"].is_array())
            {
                trace["result"]["calls"] = json!([]);
            }
        });
        vec![Rule::always(&[BLOCK], hide)]
    };
    let of = |txid: &str, rules| verdict(&world, (vault, paid, txid), rules);
    assert_eq!(of(&calling, vec![]), "backed");
    assert_eq!([of(&calling, silent()), of(&calling, hidden())], ["indeterminate"; 2]);
    let said = |rules| followed(&Proxy::with(&world.anvil.url, rules).url, &[vault]).assay(&["index", "--once"]).stderr;
    assert!(said(hidden()).contains("(kind: omitted)"), "{}", said(hidden()));
    assert!(!said(vec![]).contains("kind"), "{}", said(vec![]));
    let denying =
        || [silent(), vec![Rule::always(&["eth_getTransactionByHash"], alter(|found| *found = Value::Null))]].concat();
    assert_eq!(of(&calling, denying()), "indeterminate", "which transactions a block has is known");
    // One of another block, and one of none; and a block is no transaction.
    assert_eq!(of(&world.hash(world.height()), silent()), "short");
    let none = format!("0x{}", "77".repeat(32));
    assert_eq!([of(&other, silent()), of(&other, hidden()), of(&none, silent())], ["short"; 3]);
    // What came after the statement's block was on its way.
    let before = world.height() - 1;
    let came = |more: u64, rules| {
        let credit = json!({ "chain": "evm", "amount": "0.000000000000000007", "txid": calling });
        verdict_at(&world, before, (paid, more), ("unconfirmed_credits", credit), rules)
    };
    assert_eq!(came(7, vec![]), "backed");
    assert_eq!([came(7, silent()), came(7, hidden())], ["indeterminate"; 2]);
    assert_eq!([came(8, vec![]), came(8, silent())], ["short"; 2]);
}

/// Of blocks whose state the node does not keep it is not known in which of them something moved: it may be any, and each leaves open what is looked for.
#[test]
fn what_moved_in_blocks_whose_state_is_gone_may_have_moved_in_any_of_them() {
    let world = World::new(&[]);
    let (vault, paid) = vault(&world);
    world.mine();
    let before = world.send(world.users[2], Some(Address::fresh(3)), 9, &[]);
    world.mine();
    let silent = Rule::always(&["debug_", "trace_"], Fault::Refuse(-32601, "no such method"));
    let proxy = Proxy::with(&world.anvil.url, vec![silent.clone()]);
    let lab = followed(&proxy.url, &[vault]);
    lab.index();
    let first = world.height() + 1;
    let calling = world.send(world.users[1], Some(vault), 0, &[]);
    world.mine();
    world.pay(world.users[1], vault, 1_000);
    world.mine();
    let last = world.height() + 1;
    let other = world.send(world.users[2], Some(Address::fresh(3)), 9, &[]);
    world.mine();
    let after = world.send(world.users[2], Some(Address::fresh(3)), 9, &[]);
    world.mine();
    let gone: Vec<String> = (first..last).map(|height| world.hash(height)).collect();
    let is_state = |name: &str| ["eth_call", "eth_getBalance", "eth_getProof"].contains(&name);
    let is_gone =
        move |name: &str, params: &Value| is_state(name) && gone.iter().any(|hash| params.to_string().contains(hash));
    let refused = Fault::Refuse(-32000, "missing trie node 12ab (path ) state 0x34 is not available");
    proxy.set(vec![silent, Rule::when(is_gone, refused)]);
    lab.index();
    let of = |txid: &str| {
        let withdrawal =
            json!({ "chain": "evm", "address": paid.to_string(), "amount": "0.000000000000000007", "txid": txid });
        judged(&lab, &world, world.height(), (vault, 0), ("pending_withdrawals", withdrawal))
    };
    assert_eq!([of(&calling), of(&other)], ["indeterminate"; 2]);
    assert_eq!([of(&before), of(&after)], ["short"; 2]);
    // What it held there is said by none of the rows.
    let output = lab.command(&["history", &vault.to_string(), "--chain", "evm", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let history: Value = serde_json::from_slice(&output.stdout).unwrap();
    let unknown = &history["unknown"][0];
    assert_eq!((&unknown["from"], &unknown["to"]), (&json!(first), &json!(last - 1)), "{history:#}");
    let rows: Vec<_> = history["movements"].as_array().unwrap().iter().skip(1).collect();
    assert_eq!((&rows[0]["kind"], &rows[0]["balance"]), (&json!("transfer"), &Value::Null), "{history:#}");
    let found = (&rows[1]["kind"], &rows[1]["height"], &rows[1]["since"]);
    assert_eq!(found, (&json!("unattributed"), &json!(last), &json!(first)), "{history:#}");
}

/// Nodes that keep no old states say so in many words, or by `null`: of an old block it is that, if the block below is refused as well.
#[test]
fn a_state_that_is_gone_is_known_whatever_the_node_says() {
    let world = World::new(&[]);
    let accounts = [world.users[1], Address::fresh(1)];
    let pay = || {
        world.pay(accounts[0], accounts[1], 7);
        world.mine();
    };
    let rule = |heights: std::ops::RangeInclusive<u64>, fault: Fault| {
        let hashes: Vec<String> = heights.map(|height| world.hash(height)).collect();
        let is_state = |name: &str| ["eth_call", "eth_getBalance", "eth_getProof"].contains(&name);
        Rule::when(move |name, asked| is_state(name) && hashes.iter().any(|it| asked.to_string().contains(it)), fault)
    };
    let null = || alter(|answer| *answer = Value::Null);
    let ask = |lab: &Lab, height: u64, code: i32| {
        let question = ["balance", &accounts[1].to_string(), "--chain", "evm", "--at", &height.to_string()];
        lab.json(&question, code)["units"].clone()
    };
    pay();
    let labs = [null(), Fault::Refuse(-32603, "Internal error")].map(|fault| {
        let proxy = Proxy::new(&world.anvil.url);
        let lab = followed(&proxy.url, &accounts);
        lab.index();
        (lab, proxy, fault)
    });
    (0..4).for_each(|_| pay());
    let gone = world.height();
    world.call("anvil_mine", json!(["0x50"]));
    pay();
    for (lab, proxy, fault) in labs {
        proxy.set(vec![rule(0..=gone, fault)]);
        lab.index();
        assert_eq!((ask(&lab, gone, 3), ask(&lab, world.height(), 0)), (Value::Null, json!("42")));
    }
    // Not of young blocks, nor where the block below is known.
    for heights in [world.height() - 1..=world.height(), gone..=gone] {
        let proxy = Proxy::with(&world.anvil.url, vec![rule(heights, null())]);
        let ran = followed(&proxy.url, &accounts).assay(&["index", "--once"]);
        assert!(ran.code == 3 && ran.stderr.contains("(kind: omitted)"), "{}: {}", ran.code, ran.stderr);
    }
}

/// What came may have been passed on by the transaction that brought it: without a trace that is not known, and deducts nothing.
#[test]
fn a_credit_that_may_have_been_passed_on_is_no_deduction() {
    let world = World::new(&[]);
    let (passing, paid) = (Address::fresh(1), Address::fresh(2));
    // Pays on what it gets.
    let code = format!("0x5f5f5f5f3473{}5af100", &paid.to_string()[2..]);
    world.call("anvil_setCode", json!([passing.to_string(), code]));
    world.mine();
    let before = world.height();
    let txid = world.send(world.users[1], Some(passing), 7, &[]);
    world.mine();
    let credit = json!({ "chain": "evm", "amount": "0.000000000000000007", "txid": txid });
    let of = |rules| verdict_at(&world, before, (passing, 7), ("unconfirmed_credits", credit.clone()), rules);
    assert_eq!(of(vec![]), "short");
    assert_eq!(of(vec![Rule::always(&["debug_", "trace_"], Fault::Refuse(-32601, "no such method"))]), "indeterminate");
}

/// From Cancun on the tracer of a widely used node says of who destroys himself to his own benefit that he paid again what he paid before. Who pays
/// twice, the second time by that, is told the same way.
#[test]
fn who_pays_again_by_destroying_itself_paid_twice_and_who_keeps_it_did_not() {
    let world = World::new(&["--hardfork", "prague"]);
    let paid = Address::fresh(9);
    let pay = format!("0x5f5f5f5f600773{}5af150", &paid.to_string()[2..]);
    let [to_him, to_itself] = [Address::fresh(1), Address::fresh(2)];
    for (account, end) in [(to_him, format!("73{}ff", &paid.to_string()[2..])), (to_itself, "30ff".into())] {
        world.call("anvil_setCode", json!([account.to_string(), format!("{pay}{end}")]));
        world.call("anvil_setBalance", json!([account.to_string(), "0xe"]));
    }
    world.mine();
    let txids = [to_him, to_itself].map(|account| world.send(world.users[1], Some(account), 0, &[]));
    world.mine();
    let of = |account: Address, txid: &str, units: &str| {
        let withdrawal =
            json!({ "chain": "evm", "address": paid.to_string(), "amount": format!("0.{units:0>18}"), "txid": txid });
        verdict_at(&world, world.height(), (account, 0), ("pending_withdrawals", withdrawal), vec![])
    };
    let [twice, once] = txids;
    assert_eq!([of(to_him, &twice, "14"), of(to_him, &twice, "15")], ["backed", "short"]);
    assert_eq!([of(to_itself, &once, "7"), of(to_itself, &once, "14")], ["backed", "short"]);
    let lab = followed(&world.anvil.url, &[to_him, to_itself, paid]);
    let ran = lab.assay(&["index", "--once"]);
    assert!(ran.code == 0 && !ran.stderr.contains("kind"), "{}", ran.stderr);
    for account in [to_him, to_itself, paid] {
        let movements = lab.json(&["history", &account.to_string(), "--chain", "evm"], 0);
        assert!(!movements.to_string().contains("unattributed"), "{movements:#}");
    }
    // Where nothing is proven that stays open.
    let unproven = vec![Rule::always(&["eth_getProof"], Fault::Refuse(-32601, "no such method"))];
    let withdrawal =
        json!({ "chain": "evm", "address": paid.to_string(), "amount": "0.000000000000000014", "txid": twice });
    let open = verdict_at(&world, world.height(), (to_him, 0), ("pending_withdrawals", withdrawal), unproven);
    assert_eq!(open, "indeterminate");
}

/// An exchange is not short because a payee, or anyone, makes its trace unreadable; nor is it backed.
#[test]
fn a_withdrawal_of_which_no_trace_tells_leaves_the_verdict_open() {
    let world = World::new(&[]);
    let router = world.deploy("Router", vec![]);
    let [payer, other, paid] = [world.users[1], world.users[2], Address::fresh(1)];
    let txid = world.invoke(payer, router, 7, "pay(address[],uint256[])", abi![vec![paid], vec![7]]);
    world.mine();
    let of = |txid: &str, rules| verdict(&world, (payer, paid, txid), rules);
    let unread = || vec![Rule::always(&["debug_", "trace_"], Fault::Huge)];
    assert_eq!(of(&txid, vec![]), "backed");
    assert_eq!(of(&txid, unread()), "indeterminate");
    assert_eq!(
        of(&txid, vec![Rule::always(&["debug_", "trace_"], Fault::Refuse(-32601, "no such method"))]),
        "indeterminate"
    );
    // What cost the exchange nothing settled nothing, whatever it paid.
    let elsewhere = world.invoke(other, router, 7, "pay(address[],uint256[])", abi![vec![paid], vec![7]]);
    world.mine();
    assert_eq!(of(&elsewhere, unread()), "short");
}

/// What a trace says to have gone round leaves no trace in anyone's state: it settles nothing, and brings nothing.
#[test]
fn what_goes_round_is_no_payment() {
    let world = World::new(&[]);
    let [ours, theirs] = [1, 2].map(Address::fresh);
    for contract in [ours, theirs] {
        world.call("anvil_setCode", json!([contract.to_string(), "0x00"]));
        world.call("anvil_setBalance", json!([contract.to_string(), "0x64"]));
    }
    world.mine();
    let before = world.height();
    let txids = [1, 2].map(|user| world.send(world.users[user], Some(ours), 0, &[]));
    world.mine();
    let call = move |from: Address, to: Address| {
        let (from, to) = (from.to_string(), to.to_string());
        json!({ "type": "CALL", "from": from, "to": to, "value": "0x7", "gas": "0x100", "gasUsed": "0x10", "input": "0x" })
    };
    let telling = |calls: [Value; 2]| {
        let lie = alter(move |traces| {
            for (trace, calls) in traces.as_array_mut().into_iter().flatten().zip(&calls) {
                trace["result"]["calls"] = calls.clone();
            }
        });
        vec![Rule::always(&[BLOCK], lie)]
    };
    // Within one transaction, and from one to the other.
    let mut there = call(ours, theirs);
    there["calls"] = json!([call(theirs, ours)]);
    let within = || telling([json!([there]), json!([])]);
    let across = || telling([json!([call(theirs, ours)]), json!([call(ours, theirs)])]);
    let settled = |txid: &str, rules| verdict(&world, (ours, theirs, txid), rules);
    assert_eq!([settled(&txids[0], vec![]), settled(&txids[0], within())], ["short", "indeterminate"]);
    assert_eq!([settled(&txids[1], vec![]), settled(&txids[1], across())], ["short", "indeterminate"]);
    let credit = json!({ "chain": "evm", "amount": "0.000000000000000007", "txid": txids[0] });
    let of = |rules| verdict_at(&world, before, (ours, 7), ("unconfirmed_credits", credit.clone()), rules);
    assert_eq!([of(vec![]), of(within()), of(across())], ["short", "short", "indeterminate"]);
}

/// Whom calls paid is proven of him, or settles nothing: also where the node refuses that of him alone.
#[test]
fn a_payee_of_whom_nothing_is_proven_leaves_the_verdict_open() {
    let world = World::new(&[]);
    let (vault, paid) = vault(&world);
    world.mine();
    let txid = world.send(world.users[1], Some(vault), 0, &[]);
    world.mine();
    let payee = paid.to_string().to_lowercase();
    let of = |refused: Option<&'static str>| {
        let payee = payee.clone();
        let is_his = move |name: &str, params: &Value| {
            name == "eth_getProof" && params[0].as_str().is_some_and(|of| of.to_lowercase() == payee)
        };
        let rules = refused.map(|why| Rule::when(is_his, Fault::Refuse(-32000, why)));
        verdict(&world, (vault, paid, &txid), rules.into_iter().collect())
    };
    let words = ["missing trie node 12ab (path ) state 0x34 is not available", "something odd"];
    assert_eq!([of(None), of(Some(words[0])), of(Some(words[1]))], ["backed", "indeterminate", "indeterminate"]);
}

/// A node that proves others, and one account not, is not believed of what that holds.
#[test]
fn what_is_said_of_an_account_whose_proof_is_withheld_is_not_known() {
    let world = World::new(&[]);
    let [holder, other] = [Address::fresh(1), Address::fresh(2)];
    world.pay(world.users[1], holder, 7);
    world.pay(world.users[1], other, 7);
    world.mine();
    world.mine();
    let whose = holder.to_string().to_lowercase();
    // Nor of whom it would be asked first, to see whether it proves others.
    let nobody = format!("0x{}", "0".repeat(40));
    let is_his = move |name: &str, params: &Value| {
        let of = params[0].as_str().map(str::to_lowercase).unwrap_or_default();
        name == "eth_getProof" && (of == whose || of == nobody)
    };
    let refused = Fault::Refuse(-32000, "missing trie node 12ab (path ) state 0x34 is not available");
    let proxy = Proxy::with(&world.anvil.url, vec![Rule::when(is_his, refused)]);
    let lab = followed(&proxy.url, &[holder, other]);
    let ran = lab.assay(&["index", "--once"]);
    assert!(ran.code == 0 && ran.stderr.contains("(kind: omitted)"), "{}: {}", ran.code, ran.stderr);
    let said = |account: Address, code| lab.json(&["balance", &account.to_string(), "--chain", "evm"], code);
    assert_eq!((&said(holder, 3)["units"], &said(other, 0)["units"]), (&Value::Null, &json!("7")));
    // Nor where all of one block's are, and the one below it is proven.
    let last = world.hash(world.height());
    let is_of_it = move |name: &str, params: &Value| name == "eth_getProof" && params.to_string().contains(&last);
    let refused = Fault::Refuse(-32000, "missing trie node 12ab (path ) state 0x34 is not available");
    let proxy = Proxy::with(&world.anvil.url, vec![Rule::when(is_of_it, refused)]);
    let lab = followed(&proxy.url, &[holder, other]);
    lab.index();
    assert_eq!(lab.json(&["balance", &holder.to_string(), "--chain", "evm"], 3)["units"], Value::Null);
}

/// Nor is it that somebody has nothing left, which nothing shows: in the block where that begins, and in those of later runs.
#[test]
fn who_has_nothing_left_by_a_node_that_does_not_prove_it_is_unknown_until_it_does() {
    let world = World::new(&[]);
    let [holder, other] = [Address::fresh(1), Address::fresh(2)];
    world.pay(world.users[1], holder, 7);
    world.pay(world.users[1], other, 7);
    world.mine();
    let whose = holder.to_string().to_lowercase();
    let proxy = Proxy::new(&world.anvil.url);
    let lab = followed(&proxy.url, &[holder, other]);
    let said =
        |account: Address, code| lab.json(&["balance", &account.to_string(), "--chain", "evm"], code)["units"].clone();
    lab.index();
    assert_eq!([said(holder, 0), said(other, 0)], ["7", "7"]);
    let is_his = move |method: &'static str| {
        let whose = whose.clone();
        move |name: &str, params: &Value| {
            name == method && params[0].as_str().is_some_and(|of| of.to_lowercase() == whose)
        }
    };
    let nothing = alter(|answer| *answer = json!("0x0"));
    // Balances are read by the balance reader, which is a call, where a node takes code laid by it.
    let no_reader = |name: &str, params: &Value| name == "eth_call" && !params[2].is_null();
    proxy.set(vec![
        Rule::when(no_reader, Fault::Refuse(-32602, "too many arguments, want at most 2")),
        Rule::when(is_his("eth_getBalance"), nothing),
        Rule::when(is_his("eth_getProof"), Fault::Refuse(-32000, "something odd")),
    ]);
    for run in 0..3 {
        world.mine();
        let ran = lab.assay(&["index", "--once"]);
        assert!(ran.code == 0 && ran.stderr.contains("(kind: omitted)"), "{run}: {}: {}", ran.code, ran.stderr);
        assert_eq!([said(holder, 3), said(other, 0)], [Value::Null, json!("7")], "{run}");
    }
    proxy.set(vec![]);
    world.mine();
    lab.index();
    assert_eq!([said(holder, 0), said(other, 0)], ["7", "7"]);
}

/// A node that invents a call, or hides one, is named, and neither settles a withdrawal nor makes one owed.
#[test]
fn a_call_that_a_contracts_balance_denies_settles_nothing() {
    let world = World::new(&[]);
    let router = world.deploy("Router", vec![]);
    let [payer, contract, paid] = [world.users[1], world.deploy("Router", vec![]), Address::fresh(1)];
    let pay = |to: Vec<Address>, amounts: Vec<u64>| {
        world.invoke(payer, router, 7, "pay(address[],uint256[])", abi![to, amounts])
    };
    let (kept, settled) = (pay(vec![], vec![]), pay(vec![paid], vec![7]));
    world.mine();
    let calls = |txid: &str, alter_calls: fn(&mut Value, Address, Address), to: Address| {
        let txid = txid.to_owned();
        let lie = alter(move |traces| {
            for trace in traces.as_array_mut().into_iter().flatten().filter(|trace| trace["txHash"] == txid.as_str()) {
                alter_calls(&mut trace["result"]["calls"], router, to);
            }
        });
        vec![Rule::always(&[BLOCK], lie)]
    };
    let invent = |calls: &mut Value, from: Address, to: Address| {
        let (from, to) = (from.to_string(), to.to_string());
        *calls = json!([{ "type": "CALL", "from": from, "to": to, "value": "0x7", "gas": "0x100", "gasUsed": "0x10", "input": "0x" }]);
    };
    let hide = |calls: &mut Value, _: Address, _: Address| *calls = json!([]);
    assert_eq!(verdict(&world, (payer, contract, &kept), vec![]), "short");
    assert_eq!(verdict(&world, (payer, contract, &kept), calls(&kept, invent, contract)), "indeterminate");
    assert_eq!(verdict(&world, (payer, paid, &settled), vec![]), "backed");
    assert_eq!(verdict(&world, (payer, paid, &settled), calls(&settled, hide, paid)), "indeterminate");
    let proxy = Proxy::with(&world.anvil.url, calls(&settled, hide, paid));
    let said = followed(&proxy.url, &[payer]).assay(&["index", "--once"]).stderr;
    assert!(said.contains("contradicts the proof of") && said.contains("(kind: forged)"), "{said}");
}

/// So does one that the state of an account without code denies, and where another trace is missing, it is open.
#[test]
fn a_credit_that_state_denies_is_no_deduction() {
    let world = World::new(&[]);
    let router = world.deploy("Router", vec![]);
    let [payer, holder] = [world.users[1], world.users[2]];
    let pay =
        || world.invoke(payer, router, 7, "pay(address[],uint256[])", abi![Vec::<Address>::new(), Vec::<u64>::new()]);
    let (told, other) = (pay(), pay());
    world.mine();
    let lie = |failed: Option<String>| {
        let told = told.clone();
        let invent = alter(move |traces| {
            for trace in traces.as_array_mut().into_iter().flatten() {
                if trace["txHash"] == told.as_str() {
                    let call = json!({ "type": "CALL", "from": router.to_string(), "to": holder.to_string(), "value": "0x7", "gas": "0x1", "gasUsed": "0x1", "input": "0x" });
                    trace["result"]["calls"] = json!([call]);
                }
                if failed.as_ref().is_some_and(|failed| trace["txHash"] == failed.as_str()) {
                    *trace = json!({ "txHash": trace["txHash"], "error": "execution timeout" });
                }
            }
        });
        vec![Rule::always(&[BLOCK], invent)]
    };
    let credit = json!({ "chain": "evm", "amount": "0.000000000000000007", "txid": told });
    let of =
        |rules| verdict_at(&world, world.height() - 1, (holder, 7), ("unconfirmed_credits", credit.clone()), rules);
    assert_eq!(of(vec![]), "short");
    assert_eq!(of(lie(None)), "short");
    assert_eq!(of(lie(Some(other))), "indeterminate");
}

/// Once it tells no block's calls in one list, it is asked for the next block's all the same.
#[test]
fn a_list_of_calls_that_does_not_come_costs_its_block_alone() {
    let (world, paid) = world(3);
    let depth = [[0; 31].as_slice(), &[2]].concat();
    let again =
        || world.send(world.users[0], Some(Address::fresh(1)), 7, &[&depth, [0; 12].as_slice(), &paid.0].concat());
    again();
    world.mine();
    let nothing = Rule::always(&["debug_"], Fault::Refuse(-32601, "no such method"));
    let missed = world.height() - 1;
    let of_block = Rule::when(
        move |name, params| name == "trace_block" && params[0] == format!("{missed:#x}"),
        Fault::Refuse(-32000, "something odd"),
    );
    let proxy = Proxy::with(&world.anvil.url, vec![nothing, of_block]);
    let lab = followed(&proxy.url, &[paid]);
    lab.index();
    let history = lab.json(&["history", &paid.to_string(), "--chain", "evm"], 0);
    let kinds: Vec<_> = history["movements"].as_array().unwrap().iter().map(|movement| &movement["kind"]).collect();
    assert_eq!(kinds, ["unattributed", "internal"]);
}

/// What one transaction's trace does not tell of speaks against no other's, and against no node.
#[test]
fn where_one_trace_is_missing_the_others_are_believed() {
    let world = World::new(&[]);
    let (router, vault) = (world.deploy("Router", vec![]), world.deploy("Router", vec![]));
    world.pay(world.users[1], vault, 1_000);
    world.mine();
    let proxy = Proxy::new(&world.anvil.url);
    let lab = followed(&proxy.url, &[vault]);
    lab.index();
    let pay = |payer: Address, through: Address, value: u64, to: Address| {
        world.invoke(payer, through, value, "pay(address[],uint256[])", abi![vec![to], vec![500]])
    };
    pay(world.users[1], router, 500, vault);
    let unread = pay(world.users[2], vault, 0, Address::fresh(1));
    world.mine();
    let failed = alter(move |traces| {
        for trace in traces.as_array_mut().into_iter().flatten().filter(|trace| trace["txHash"] == unread.as_str()) {
            *trace = json!({ "txHash": trace["txHash"], "error": "execution timeout" });
        }
    });
    proxy.set(vec![Rule::always(&[BLOCK], failed)]);
    let ran = lab.assay(&["index", "--once"]);
    assert!(ran.code == 0 && !ran.stderr.contains("forged"), "{}", ran.stderr);
    let history = lab.json(&["history", &vault.to_string(), "--chain", "evm"], 0);
    let kinds: Vec<&str> =
        history["movements"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"internal"), "{kinds:?}");
}

/// Whoever makes a watched contract pay can pay any number of strangers in the same transaction: that costs us little, and hides nothing.
#[test]
fn of_strangers_paid_along_with_what_a_contract_pays_few_are_looked_at() {
    const STRANGERS: u64 = 200;
    let world = World::new(&[]);
    let (vault, paid) = vault(&world);
    let router = world.deploy("Router", vec![]); // in block 1
    let stranger = |nth: u64| Address::parse(&format!("0xee{nth:038x}"));
    let strangers: Vec<Address> = (0..STRANGERS).map(stranger).collect();
    let payees: Vec<Address> = [vault].into_iter().chain(strangers).collect();
    let amounts: Vec<u64> = payees.iter().map(|_| 7).collect();
    let data = world.data("pay(address[],uint256[])", abi![payees, amounts]);
    let mut transaction = contracts::transaction(world.users[1], Some(router), 7 * (STRANGERS + 1), &data);
    transaction["gas"] = json!("0xf00000");
    let txid: String = serde_json::from_value(world.call("eth_sendTransaction", json!([transaction]))).unwrap();
    world.mine();
    assert_eq!(world.receipt(&txid)["status"], "0x1");
    let proxy = Proxy::new(&world.anvil.url);
    followed(&proxy.url, &[vault]).index();
    let proofs = proxy.asked("eth_getProof");
    assert!((100..200).contains(&proofs), "{proofs}");
    let of = |payee: Address| verdict(&world, (vault, payee, &txid), vec![]);
    assert_eq!(of(paid), "backed");
    assert_eq!(of(stranger(STRANGERS - 1)), "indeterminate", "nobody asked what he got");
}

/// More than 500 accounts, read in turn, behind a node that does not trace: what comes to a contract by calls and goes again between two turns is not
/// found, and nobody says that it is known. What has no code is.
#[test]
fn between_two_turns_nothing_is_verified_of_a_contract_whose_calls_nobody_tells() {
    const TURN: u64 = 8;
    let world = World::new(&[]);
    let ([plain, stranger], [holder, trigger, paid]) =
        ([world.users[1], world.users[2]], [1, 2, 3].map(Address::fresh));
    // Keeps what comes without words, and pays 7 wei whoever has some.
    let hex = |address: Address| address.to_string()[2..].to_owned();
    world.call(
        "anvil_setCode",
        json!([holder.to_string(), format!("0x3615602357{}600773{}5af1005b00", "5f".repeat(4), hex(paid))]),
    );
    world.call("anvil_setCode", json!([trigger.to_string(), format!("0x5f5f60015f5f73{}5af100", hex(holder))]));
    let router = world.deploy("Router", vec![]);
    world.pay(plain, holder, 100);
    world.mine();
    let silent = Rule::always(&["debug_", "trace_"], Fault::Refuse(-32601, "no such method"));
    let proxy = Proxy::with(&world.anvil.url, vec![silent]);
    let lab = followed(&proxy.url, &[holder, plain]);
    let text = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    lab.write("assay.toml", &text.replacen("finality = ", &format!("read_within = {TURN}\nfinality = "), 1));
    lab.write("exchanges/acme/others.csv", &contracts::crowd(500));
    let next = || {
        world.mine();
        lab.index();
    };
    (0..2 * TURN).for_each(|_| next());
    let from = world.height();
    world.invoke(stranger, router, 7, "pay(address[],uint256[])", abi![vec![holder], vec![7]]);
    next();
    world.send(stranger, Some(trigger), 0, &[]);
    next();
    (0..2 * TURN).for_each(|_| next());
    let said = |account: Address, height: u64| {
        let answer = lab.json(&["balance", &account.to_string(), "--chain", "evm", "--at", &height.to_string()], 0);
        (answer["units"].as_str().unwrap().to_owned(), answer["coverage"].as_str().unwrap().to_owned())
    };
    assert_eq!(world.balances(from + 1, &[holder], &[None])[0].unwrap().to_string(), "107");
    let mut proven = 0;
    for height in from..=from + TURN {
        let held = world
            .balances(height, &[holder, plain], &[None])
            .into_iter()
            .map(|held| held.unwrap().to_string())
            .collect::<Vec<_>>();
        let (units, coverage) = said(holder, height);
        assert!(units == held[0] || coverage == "unproven", "{units} {coverage} of {} at {height}", held[0]);
        proven += usize::from(coverage == "verified");
        assert_eq!(said(plain, height), (held[1].clone(), "verified".to_owned()), "at {height}");
    }
    assert!(proven > 0, "at its turn");
}

/// How 7 wei came to him, by what is indexed behind these disturbances; and what was said.
fn seen(world: &World, paid: Address, rules: Vec<Rule>) -> (String, String) {
    let proxy = Proxy::with(&world.anvil.url, rules);
    let lab = followed(&proxy.url, &[paid]);
    let ran = lab.assay(&["index", "--once"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let held = lab.json(&["balance", &paid.to_string(), "--chain", "evm"], 0);
    assert_eq!((&held["units"], &held["coverage"]), (&json!("7"), &json!("verified")), "{held:#}");
    let history = lab.json(&["history", &paid.to_string(), "--chain", "evm"], 0);
    let [movement] = &history["movements"].as_array().unwrap()[..] else { panic!("{history:#}") };
    (movement["kind"].as_str().unwrap().to_owned(), ran.stderr)
}

#[test]
fn a_payment_from_a_deep_call_is_explained() {
    // JSON in JSON, two levels for each call: parsers usually stop at 128.
    let (world, paid) = world(120);
    assert_eq!(seen(&world, paid, vec![]).0, "internal");
}

/// EIP-7702: an account gets code, pays by it when another calls it, and has none any more; over three blocks, and within one.
#[test]
fn what_an_account_pays_by_code_that_it_has_for_a_while_is_explained() {
    let (world, paid) = world(0);
    let (nested, caller) = (Address::fresh(1), world.users[0]);
    // The second of anvil's own.
    let key: PrivateKeySigner = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d".parse().unwrap();
    let account = Address(key.address().into());
    assert_eq!(account, world.users[1]);
    let authorize = |code: [u8; 20], nonce: u64| {
        let chain_id = alloy::primitives::U256::from(31_337);
        let authorization = Authorization { chain_id, address: code.into(), nonce };
        let signature = key.sign_hash_sync(&authorization.signature_hash()).unwrap();
        let mut transaction = contracts::transaction(caller, Some(caller), 0, &[]);
        transaction["authorizationList"] = json!([authorization.into_signed(signature)]);
        world.call("eth_sendTransaction", json!([transaction]));
    };
    let pay = || _ = world.send(caller, Some(account), 0, &[[0; 44].as_slice(), &paid.0].concat());
    for (nonce, is_in_one_block) in [(0, false), (2, true)] {
        let end = || {
            if !is_in_one_block {
                world.mine();
            }
        };
        authorize(nested.0, nonce);
        end();
        pay();
        end();
        authorize([0; 20], nonce + 1);
        world.mine();
    }
    let movements = explained(&world, &[account, paid]);
    assert_eq!(movements[0], ["opening", "internal", "internal"]);
}

/// A contract that is there within one block alone: what it is paid and pays is explained, whoever sends its address a unit more afterwards.
#[test]
fn what_a_contract_pays_that_is_created_and_gone_is_explained() {
    let world = World::new(&[]);
    let router = world.deploy("Router", vec![]);
    let [user, other, to] = [world.users[1], world.users[2], Address::fresh(3)];
    let child = |nonce: u64| Address(alloy::primitives::Address::from(router.0).create(nonce).into());
    let (watched, paid) = (child(1), child(2));
    world.pay(user, watched, 1_000);
    world.mine();
    let destroy = || _ = world.invoke(other, router, 50, "destroyInto(address)", abi![to]);
    destroy();
    world.pay(other, watched, 1);
    world.mine();
    // What it owes, perhaps, to an address at which another makes one.
    world.invoke(user, router, 70, "pay(address[],uint256[])", abi![vec![paid], vec![70]]);
    destroy();
    world.pay(other, paid, 1);
    world.mine();
    let movements = explained(&world, &[user, watched, to]);
    assert_eq!(movements[1], ["transfer", "create", "self-destruct", "transfer"]);
    assert_eq!(movements[2], ["self-destruct", "self-destruct"]);
}

/// The kinds of what moved these, where every balance is the node's, at last proven, and no node is blamed.
fn explained(world: &World, accounts: &[Address]) -> Vec<Vec<String>> {
    let in_one_list =
        Proxy::with(&world.anvil.url, vec![Rule::always(&["debug_"], Fault::Refuse(-32601, "no such method"))]);
    let [one, other] = [&world.anvil.url, &in_one_list.url].map(|url| explained_by(url, world, accounts));
    assert_eq!(one, other);
    one
}

fn explained_by(url: &str, world: &World, accounts: &[Address]) -> Vec<Vec<String>> {
    let lab = followed(url, accounts);
    let ran = lab.assay(&["index", "--once"]);
    assert!(ran.code == 0 && !ran.stderr.contains("forged"), "{}", ran.stderr);
    for height in 1..=world.height() {
        let held = world.balances(height, accounts, &[None]);
        for (account, held) in accounts.iter().zip(held) {
            let question = ["balance", &account.to_string(), "--chain", "evm", "--at", &height.to_string()];
            let said = lab.json(&question, 0);
            assert_eq!(said["units"], held.unwrap().to_string(), "at {height}: {said:#}");
            // Who had code for a while is known where he is proven.
            let is_known = said["coverage"] == "verified" || said["coverage"] == "unproven" && height < world.height();
            assert!(is_known, "at {height}: {said:#}");
        }
    }
    let kinds = |account: &Address| {
        let history = lab.json(&["history", &account.to_string(), "--chain", "evm"], 0);
        let movements = history["movements"].as_array().unwrap();
        movements.iter().map(|movement| movement["kind"].as_str().unwrap().to_owned()).collect()
    };
    accounts.iter().map(kinds).collect()
}

#[test]
fn a_trace_that_nobody_can_read_holds_up_nothing_and_is_named() {
    let (world, paid) = world(3);
    let too_slow = |why| Fault::Refuse(-32000, why);
    let failed = alter(|traces| {
        for trace in traces.as_array_mut().into_iter().flatten() {
            *trace = json!({ "txHash": trace["txHash"], "error": "execution timeout" });
        }
    });
    let no_list = Rule::always(&["trace_"], Fault::Refuse(-32601, "no such method"));
    for (whole, alone, kind, named) in [
        (Fault::Huge, None, "internal", "(kind: oversized)"),
        (Fault::Refuse(-32003, "response size exceeded"), None, "internal", ""),
        (failed, None, "unattributed", ""),
        (Fault::Refuse(-32002, "request timed out"), None, "internal", "another way"),
        (Fault::Refuse(-32002, "request timed out"), Some(too_slow("execution timeout")), "unattributed", ""),
        (
            Fault::Refuse(-32002, "request timed out"),
            Some(too_slow("request timed out")),
            "unattributed",
            "no debug_traceTransaction",
        ),
        (Fault::Huge, Some(Fault::Huge), "unattributed", "(kind: oversized)"),
    ] {
        let alone = alone.map(|fault| Rule::always(&[ALONE], fault));
        let rules: Vec<Rule> = [Rule::always(&[BLOCK], whole)].into_iter().chain(alone).collect();
        let without_list = [vec![no_list.clone()], rules.clone()].concat();
        let (explained, said) = seen(&world, paid, without_list);
        assert_eq!(explained, kind, "{said}");
        assert!(said.contains(named), "{named}: {said}");
        // All in one list they are there all the same, where those of the whole block did not come otherwise.
        let expected = if said.contains("another way") { "internal" } else { kind };
        assert_eq!(seen(&world, paid, rules).0, expected);
    }
}

/// Also beside more accounts than are all read at every block a call that no trace tells of is found at the last one.
#[test]
fn among_hundreds_of_accounts_what_no_trace_tells_of_is_found_at_once() {
    let world = World::new(&[]);
    let (vault, paid) = vault(&world);
    world.mine();
    let silent = Rule::always(&["debug_", "trace_"], Fault::Refuse(-32601, "no such method"));
    let proxy = Proxy::with(&world.anvil.url, vec![silent]);
    let lab = followed(&proxy.url, &[vault]);
    lab.write("exchanges/acme/others.csv", &contracts::crowd(600));
    lab.index();
    for _ in 0..2 {
        world.send(world.users[1], Some(vault), 0, &[]);
        world.mine();
        lab.index();
        let said = lab.json(&["balance", &vault.to_string(), "--chain", "evm"], 0);
        let held = world.balances(world.height(), &[vault], &[None])[0].unwrap();
        assert_eq!(said["units"], held.to_string(), "{said:#}");
    }
    assert_eq!(world.balances(world.height(), &[paid], &[None])[0], Some(14_u64.into()), "it was paid");
}
