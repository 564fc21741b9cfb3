//! Chains that are not quite Ethereum: deposits of the OP stack are known and checked; what no codec of ours knows is told and not proven.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "lab/contracts.rs"]
mod contracts;
mod lab;
#[path = "lab/proxy.rs"]
mod proxy;

use alloy::consensus::{SignableTransaction, TxEip4844, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::rlp::{Encodable, Header};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use contracts::{Address, World};
use lab::{Lab, Ran};
use proxy::{Fault, Proxy, Rule, alter};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn followed(url: &str, accounts: &[Address]) -> Lab {
    let lab = Lab::new();
    lab.write("assay.toml", &format!("data_dir = \"data\"\n{}", lab::evm_chain(url, 1, 1)));
    lab.write("exchanges/acme/exchange.toml", &contracts::exchange("acme", accounts));
    lab
}

/// What these accounts hold at every height, as the node says, and how well it is known.
fn assert_true(world: &World, lab: &Lab, accounts: &[Address], grade: impl Fn(u64) -> &'static str) {
    for height in 1..=world.height() {
        let held = world.balances(height, accounts, &[None]);
        for (account, held) in accounts.iter().zip(held) {
            let question = ["balance", &account.to_string(), "--chain", "evm", "--at", &height.to_string()];
            let answer = lab.json(&question, 0);
            assert_eq!(answer["units"], held.unwrap().to_string(), "{account} at {height}: {answer:#}");
            assert_eq!(answer["coverage"], grade(height), "{account} at {height}: {answer:#}");
        }
    }
}

/// Kind, direction and amount, oldest first.
fn movements(lab: &Lab, account: Address) -> Vec<String> {
    let history = lab.json(&["history", &account.to_string(), "--chain", "evm"], 0);
    let word = |movement: &Value, name: &str| movement[name].as_str().unwrap().to_owned();
    let each = |movement: &Value| ["kind", "direction", "amount"].map(|name| word(movement, name)).join(" ");
    history["movements"].as_array().unwrap().iter().map(each).collect()
}

#[test]
fn deposits_of_the_op_stack_are_checked_like_all_else() {
    let world = World::new(&["--network", "optimism"]);
    let (user, other, new) = (world.users[1], world.users[2], Address::fresh(1));
    let deposit = |from: Address, to: Option<Address>, mint: u64, value: u64, source: u8| {
        let question = json!([{
            "type": "0x7e", "from": from.to_string(), "to": to.map(|to| to.to_string()), "value": format!("{value:#x}"), "mint": format!("{mint:#x}"),
            "sourceHash": format!("0x{}", contracts::hex(&[source; 32])), "isSystemTx": false, "gas": "0x186a0",
        }]);
        world.call("eth_sendTransaction", question)
    };
    let refuses = world.deploy("RevertingBalance", vec![]); // takes no ether
    deposit(user, Some(new), 1_000, 700, 1);
    world.mine();
    world.pay(other, new, 5);
    deposit(other, Some(new), 0, 40, 2);
    world.mine();
    deposit(user, Some(refuses), 900, 100, 3);
    world.mine();
    let creation = deposit(other, None, 0, 30, 4);
    world.mine();
    let contract = world.receipt(creation.as_str().unwrap())["contractAddress"].clone();
    let contract = Address::parse(contract.as_str().unwrap());
    let accounts = [user, other, new, contract];
    for rules in [vec![], vec![Rule::always(&["debug_", "trace_"], Fault::Refuse(-32601, "the method does not exist"))]]
    {
        let proxy = Proxy::with(&world.anvil.url, rules);
        let lab = followed(&proxy.url, &accounts);
        lab.index();
        assert_true(&world, &lab, &accounts[..3], |_| "verified");
        // What a contract did before its creation nothing proves but by its nonce, which that raised.
        let last = world.height();
        assert_true(
            &world,
            &lab,
            &[contract],
            |height| if [1, last].contains(&height) { "verified" } else { "unproven" },
        );
        assert_eq!(
            movements(&lab, new),
            [
                "transfer credit 0.0000000000000007",
                "transfer credit 0.000000000000000005",
                "transfer credit 0.00000000000000004"
            ]
        );
        assert_eq!(movements(&lab, contract), ["create credit 0.00000000000000003"]);
        let of_user = movements(&lab, user);
        assert_eq!(
            of_user[1..],
            ["mint credit 0.000000000000001", "transfer debit 0.0000000000000007", "mint credit 0.0000000000000009"],
            "of a deposit that failed its mint stays"
        );
    }
    // Its fields are held against the root as all others are.
    for (field, forged) in
        [("mint", "0x3e9"), ("from", "0x70997970c51812dc3a010c7d01b50e0d17dc79c9"), ("isSystemTx", "0x1")]
    {
        let forge = alter(move |block| {
            for transaction in block["transactions"].as_array_mut().into_iter().flatten() {
                if transaction["type"] == "0x7e" {
                    transaction[field] = if field == "isSystemTx" { json!(true) } else { json!(forged) };
                }
            }
        });
        let proxy = Proxy::with(&world.anvil.url, vec![Rule::always(&["eth_getBlockByHash"], forge)]);
        let ran = followed(&proxy.url, &accounts).assay(&["index", "--once"]);
        assert_named(&ran, 4, "forged");
    }
}

/// anvil commits to the blobs themselves (EIP-4844 to their hashes alone): these are asked for, and the fee for them is told.
#[test]
fn blobs_are_paid_for_also_where_the_block_commits_to_them() {
    let world = World::new(&["--hardfork", "cancun"]);
    // The second of anvil's own.
    let key: PrivateKeySigner = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d".parse().unwrap();
    let (user, paid) = (Address(key.address().into()), Address::fresh(1));
    world.mine();
    for (nonce, blobs) in [1, 2, 6].into_iter().enumerate() {
        let sent = with_blobs(&key, nonce as u64, paid, blobs);
        world.call("eth_sendRawTransaction", json!([format!("0x{}", contracts::hex(&sent))]));
        world.pay(world.users[2], paid, 5);
        world.mine();
    }
    let lab = followed(&world.anvil.url, &[user, paid]);
    lab.index();
    assert_true(&world, &lab, &[user, paid], |_| "verified");
    assert_eq!(movements(&lab, paid).len(), 6);
    let fees = movements(&lab, user).iter().filter(|movement| movement.starts_with("fee debit")).count();
    assert_eq!(fees, 3);
    // What is told beside the blobs is held against the root.
    let forge = alter(|block| {
        for transaction in block["transactions"].as_array_mut().into_iter().flatten() {
            transaction["maxFeePerBlobGas"] = json!("0x7");
        }
    });
    let proxy = Proxy::with(&world.anvil.url, vec![Rule::always(&["eth_getBlockByHash"], forge)]);
    assert_named(&followed(&proxy.url, &[user]).assay(&["index", "--once"]), 4, "forged");
    // So are they in another order, which is told.
    proxy.set(vec![Rule::always(
        &["eth_getBlockByHash"],
        alter(|block| {
            if let Some(transactions) = block["transactions"].as_array_mut() {
                transactions.reverse();
            }
        }),
    )]);
    assert_named(&followed(&proxy.url, &[user]).assay(&["index", "--once"]), 4, "reordered");
}

/// A transaction with so many blobs of zeros, whose commitments and proofs are the point at infinity, as nodes take it.
fn with_blobs(key: &PrivateKeySigner, nonce: u64, to: Address, blobs: usize) -> Vec<u8> {
    let infinity: [u8; 48] = std::array::from_fn(|at| if at == 0 { 0xc0 } else { 0 });
    let mut hash: [u8; 32] = Sha256::digest(infinity).into();
    hash[0] = 1;
    let fields = TxEip4844 {
        chain_id: 31_337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: to.0.into(),
        value: alloy::primitives::U256::from(7),
        access_list: Default::default(),
        blob_versioned_hashes: vec![hash.into(); blobs],
        max_fee_per_blob_gas: 1_000_000_000,
        input: Default::default(),
    };
    let signature = key.sign_hash_sync(&fields.signature_hash()).unwrap();
    let signed = TxEnvelope::from(fields.into_signed(signature)).encoded_2718();
    let mut parts = signed[1..].to_vec();
    vec![alloy::primitives::Bytes::from(vec![0; 131_072]); blobs].encode(&mut parts);
    (0..2).for_each(|_| vec![alloy::primitives::Bytes::from(infinity.to_vec()); blobs].encode(&mut parts));
    let mut sent = vec![3];
    Header { list: true, payload_length: parts.len() }.encode(&mut sent);
    [sent, parts].concat()
}

fn assert_named(ran: &Ran, code: i32, says: &str) {
    assert!(ran.code == code && ran.stderr.contains(says), "{}: {}", ran.code, ran.stderr);
}

/// Four blocks: nothing, a payment, nothing, a payment.
fn small(arguments: &[&str]) -> (World, [Address; 2]) {
    let world = World::new(arguments);
    let accounts = [world.users[1], Address::fresh(1)];
    for value in [0, 7, 0, 9] {
        if value > 0 {
            world.pay(accounts[0], accounts[1], value);
        }
        world.mine();
    }
    (world, accounts)
}

/// Gives the transactions of the last block another type, and their receipts.
fn retype() -> Rule {
    fn of(some: &mut Value) {
        for one in some.as_array_mut().into_iter().flatten().filter(|one| one["blockNumber"] == "0x4") {
            one["type"] = json!("0x50");
        }
    }
    Rule::always(
        &["eth_getBlockByHash", "eth_getBlockReceipts"],
        alter(|answer| if answer.is_array() { of(answer) } else { of(&mut answer["transactions"]) }),
    )
}

#[test]
fn a_type_of_transaction_that_is_not_known_is_told_and_not_proven() {
    let (world, accounts) = small(&[]);
    let no_bytes = Rule::always(&["eth_getRawTransactionByHash"], Fault::Refuse(-32601, "the method does not exist"));
    let proxy = Proxy::with(&world.anvil.url, vec![retype(), no_bytes.clone()]);
    let lab = followed(&proxy.url, &accounts);
    lab.index();
    assert_true(&world, &lab, &accounts, |height| if height > 2 { "unproven" } else { "verified" });
    assert_eq!(
        movements(&lab, accounts[1]),
        ["transfer credit 0.000000000000000007", "transfer credit 0.000000000000000009"]
    );
    // A receipt shows it, which the header commits to.
    let alone = alter(|block| {
        for one in block["transactions"].as_array_mut().into_iter().flatten() {
            one["type"] = json!("0x50");
        }
    });
    let proxy = Proxy::with(&world.anvil.url, vec![Rule::always(&["eth_getBlockByHash"], alone), no_bytes.clone()]);
    assert_named(&followed(&proxy.url, &accounts).assay(&["index", "--once"]), 4, "forged");
    // So do bytes of a known type.
    let proxy = Proxy::with(&world.anvil.url, vec![retype()]);
    assert_named(
        &followed(&proxy.url, &accounts).assay(&["index", "--once"]),
        4,
        "is said to be of type 0x50, and is not",
    );
    // Of the main network all types are known: what is not is newer than this program.
    let (world, accounts) = small(&["--chain-id", "1"]);
    let proxy = Proxy::with(&world.anvil.url, vec![retype(), no_bytes]);
    let lab = followed(&proxy.url, &accounts);
    let text = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    lab.write("assay.toml", &text.replace("eip155:31337", "eip155:1"));
    assert_named(&lab.assay(&["index", "--once"]), 2, "type 0x50");
}

#[test]
fn a_header_of_another_family_is_told_and_not_proven() {
    let foreign = || {
        let with = |block: &mut Value| {
            if block.is_object() {
                block["l1BlockNumber"] = json!("0x1");
                block["mixHash"] = json!(format!("0x{}", contracts::hex(&[1; 32])));
            }
        };
        Rule::always(&["eth_getBlockBy"], alter(with))
    };
    let (world, accounts) = small(&[]);
    let proxy = Proxy::with(&world.anvil.url, vec![foreign()]);
    let lab = followed(&proxy.url, &accounts);
    lab.index();
    assert_true(&world, &lab, &accounts, |_| "unproven");
    assert_eq!(
        movements(&lab, accounts[1]),
        ["transfer credit 0.000000000000000007", "transfer credit 0.000000000000000009"]
    );
    let found = lab.assay(&["check"]);
    assert!(found.stdout.contains("no codec of ours knows"), "{}", found.stdout);
    // Where the headers before could be checked it is a lie, or an upgrade that is newer than we are.
    let (world, accounts) = small(&[]);
    let proxy = Proxy::with(&world.anvil.url, vec![]);
    let lab = followed(&proxy.url, &accounts);
    lab.index();
    world.mine();
    proxy.set(vec![foreign()]);
    assert_named(&lab.assay(&["index", "--once"]), 4, "forged");
    // On a chain whose headers are known it is a lie.
    let (world, accounts) = small(&["--chain-id", "1"]);
    let proxy = Proxy::with(&world.anvil.url, vec![foreign()]);
    let lab = followed(&proxy.url, &accounts);
    let text = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    lab.write("assay.toml", &text.replace("eip155:31337", "eip155:1"));
    assert_named(&lab.assay(&["index", "--once"]), 4, "forged");
}

/// What one node tells of a block so that it cannot be held against its header, another one may give whole.
#[test]
fn a_quorum_asks_others_for_a_block_that_cannot_be_checked() {
    let (world, accounts) = small(&[]);
    let no_bytes = Rule::always(&["eth_getRawTransactionByHash"], Fault::Refuse(-32601, "the method does not exist"));
    let foreign = alter(|block| {
        if block.is_object() {
            block["l1BlockNumber"] = json!("0x1");
            block["timestamp"] = json!("0xffffffff");
        }
    });
    let foreign = Rule::always(&["eth_getBlockByHash"], foreign);
    for rules in [vec![retype(), no_bytes], vec![foreign]] {
        let (liar, honest) = (Proxy::with(&world.anvil.url, rules), Proxy::new(&world.anvil.url));
        let lab = followed(&liar.url, &accounts);
        let text = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
        let text = text.replace("[[chain.node]]", "quorum = 2\n[[chain.node]]");
        lab.write("assay.toml", &format!("{text}\n[[chain.node]]\nrpc = \"{}\"\n", honest.url));
        let ran = lab.assay(&["index", "--once"]);
        let named = ran.stderr.contains(&format!("{}: block ", liar.url)) && ran.stderr.contains("(kind: forged)");
        assert!(ran.code == 0 && named, "{}: {}", ran.code, ran.stderr);
        assert_true(&world, &lab, &accounts, |_| "verified");
    }
}
