//! Against a real node: what is extracted equals the node's own set of coins, and a lying node is found out.

#![allow(clippy::unwrap_used)] // all of it is test, helpers included

mod model;
mod proxy;

use std::path::Path;
use std::time::Duration;

use assay_bitcoin::{BitcoinAddresses, BitcoinChain, NodeConfig, NodeLogin};
use assay_http::Pace;
use assay_testnodes::Bitcoind;
use assay_types::{
    Account, Addresses, Amount, BlockHash, BlockRef, Chain, ChainId, Height, NodeError, Reads, TxId, Watch,
};
use bitcoin::opcodes::OP_TRUE;
use bitcoin::opcodes::all::OP_CHECKSIG;
use bitcoin::script::Builder;
use bitcoin::{OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, WitnessProgram, WitnessVersion};
use serde_json::{Value, json};

use crate::model::Model;
use crate::proxy::{Lie, Proxy};

const REGTEST: &str = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328";
const MAIN: &str = "bip122:000000000019d6689c085ae165831e93";
/// What a block earns before the first halving.
const SUBSIDY_SAT: u64 = 5_000_000_000;
const CONFIRMATIONS: u64 = 6;

fn chain_at(id: &str, nodes: &[(&str, NodeLogin)]) -> BitcoinChain {
    let id: ChainId = id.parse().unwrap();
    let configs = nodes.iter().map(|(rpc, login)| NodeConfig {
        rpc: (*rpc).into(),
        login: login.clone(),
        blocks_dir: None,
        pace: hasty(),
    });
    BitcoinChain::connect(id, configs.collect(), CONFIRMATIONS).unwrap()
}

/// Tests have no time to lose with nodes that refuse everything.
fn hasty() -> Pace {
    Pace::default().patience(Duration::from_millis(200))
}

fn cookie(node: &Bitcoind) -> NodeLogin {
    NodeLogin::CookieFile(node.cookie_file.clone())
}

fn chain_of(node: &Bitcoind) -> BitcoinChain {
    chain_at(REGTEST, &[(&node.rpc_url, cookie(node))])
}

fn addresses() -> BitcoinAddresses {
    BitcoinAddresses::new(&REGTEST.parse().unwrap()).unwrap()
}

fn account(address: &str) -> Account {
    addresses().parse(address).unwrap()
}

/// A fresh node with a wallet that has a hundred mature coinbases and more; its first address.
fn funded(dir: &Path, arguments: &[&str]) -> (Bitcoind, String) {
    let node = Bitcoind::start(dir, arguments).unwrap();
    node.call("createwallet", json!(["w"])).unwrap();
    let miner = new_address(&node, "bech32");
    node.call("generatetoaddress", json!([130, miner])).unwrap();
    (node, miner)
}

fn new_address(node: &Bitcoind, kind: &str) -> String {
    node.call("getnewaddress", json!(["", kind])).unwrap().as_str().unwrap().into()
}

fn mine(node: &Bitcoind, miner: &str) {
    node.call("generatetoaddress", json!([1, miner])).unwrap();
}

fn block_at(chain: &BitcoinChain, height: u64) -> BlockRef {
    BlockRef { height: Height(height), hash: chain.hash_at(Height(height)).unwrap().unwrap() }
}

fn fetch(chain: &BitcoinChain, at: BlockRef) -> Result<(), NodeError> {
    chain.block(at, &Watch::default(), &Reads::ALL).map(|_| ())
}

/// A coinbase of the wallet's that can be spent.
fn coin(node: &Bitcoind, nth: usize) -> OutPoint {
    let coins = node.call("listunspent", json!([100])).unwrap();
    let mature = coins.as_array().unwrap().iter().filter(|coin| coin["amount"] == json!(50.0));
    let coin = mature.clone().nth(nth).unwrap();
    let txid = coin["txid"].as_str().unwrap().parse().unwrap();
    OutPoint { txid, vout: u32::try_from(coin["vout"].as_u64().unwrap()).unwrap() }
}

fn spending(inputs: Vec<(OutPoint, ScriptBuf, Witness)>, outputs: Vec<(u64, ScriptBuf)>) -> Transaction {
    let input =
        |(previous_output, script_sig, witness)| TxIn { previous_output, script_sig, witness, sequence: Sequence::MAX };
    let output = |(value, script_pubkey)| TxOut { value: bitcoin::Amount::from_sat(value), script_pubkey };
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: inputs.into_iter().map(input).collect(),
        output: outputs.into_iter().map(output).collect(),
    }
}

fn hex(transaction: &Transaction) -> String {
    bitcoin::consensus::encode::serialize_hex(transaction)
}

fn signed(node: &Bitcoind, transaction: &Transaction) -> Transaction {
    let answer = node.call("signrawtransactionwithwallet", json!([hex(transaction)])).unwrap();
    assert_eq!(answer["complete"], json!(true));
    bitcoin::consensus::encode::deserialize_hex(answer["hex"].as_str().unwrap()).unwrap()
}

/// Scripts that anyone may spend, with what an input must show, and scripts that have no address.
fn unusual_scripts() -> Vec<(ScriptBuf, Option<(ScriptBuf, Witness)>)> {
    let anyone = Builder::new().push_opcode(OP_TRUE).into_script();
    let key = [[2; 1].as_slice(), &[0x11; 32]].concat();
    let shown = Builder::new().push_slice([0x51]).into_script();
    let none = || Some((ScriptBuf::new(), Witness::new()));
    let future = |version: WitnessVersion, program: &[u8]| {
        ScriptBuf::new_witness_program(&WitnessProgram::new(version, program).unwrap())
    };
    let multisig = [&[0x51, 0x21], key.as_slice(), &[0x51, 0xae]].concat();
    vec![
        (anyone.clone(), none()),
        (ScriptBuf::new_p2sh(&anyone.script_hash()), Some((shown, Witness::new()))),
        (ScriptBuf::new_p2wsh(&anyone.wscript_hash()), Some((ScriptBuf::new(), Witness::from_slice(&[[0x51]])))),
        (future(WitnessVersion::V1, &[0x4e, 0x73]), none()),
        (future(WitnessVersion::V2, &[7; 32]), none()),
        (future(WitnessVersion::V16, &[9; 40]), none()),
        (
            Builder::new()
                .push_slice(<[u8; 33]>::try_from(key.as_slice()).unwrap())
                .push_opcode(OP_CHECKSIG)
                .into_script(),
            None,
        ),
        (ScriptBuf::from_bytes(multisig), None),
        (ScriptBuf::from_bytes(vec![0x51; 10_000]), None),
    ]
}

/// Pays every unusual script, then spends what anyone may spend within the same block, in part to those scripts again.
fn mine_unusual_scripts(node: &Bitcoind, miner: &str) {
    let scripts = unusual_scripts();
    let mut outputs: Vec<_> = (1..).zip(&scripts).map(|(n, (script, _))| (n * 1_000_001, script.clone())).collect();
    outputs.push((0, scripts[0].0.clone()));
    outputs.push((12_345, ScriptBuf::new_op_return([1; 70])));
    let funds = vec![(coin(node, 0), ScriptBuf::new(), Witness::new())];
    let first = signed(node, &spending(funds, outputs));
    let spendable = (0..).zip(&scripts).filter_map(|(vout, (_, shown))| {
        let (script_sig, witness) = shown.clone()?;
        Some((OutPoint { txid: first.compute_txid(), vout }, script_sig, witness))
    });
    let back = scripts.iter().map(|(script, _)| (500_000, script.clone())).collect();
    let second = spending(spendable.collect(), back);
    let third = spending(
        vec![(OutPoint { txid: second.compute_txid(), vout: 0 }, ScriptBuf::new(), Witness::new())],
        vec![(400_000, ScriptBuf::from_bytes(account(miner).0.to_vec()))],
    );
    node.call("generateblock", json!([miner, [hex(&first), hex(&second), hex(&third)]])).unwrap();
}

fn extracted_coins_are_the_nodes_coins(rest: &str, source: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (node, miner) = funded(dir.path(), &[rest, "-txindex=1"]);
    let chain = chain_of(&node);
    let finding = chain.check().unwrap().into_iter().find(|notice| notice.subject.ends_with("source")).unwrap().finding;
    assert!(finding.contains(source), "{finding}");

    let usual = ["legacy", "p2sh-segwit", "bech32", "bech32m"].map(|kind| new_address(&node, kind));
    let mut accounts: Vec<_> = usual.iter().chain([&miner]).map(|address| account(address)).collect();
    accounts.extend(unusual_scripts().iter().map(|(script, _)| Account::new(script.as_bytes())));
    let mut model = Model::of(&accounts);
    model.follow(&chain);
    model.agrees_with(&node, &addresses());
    assert!(model.balance(&account(&miner)) > Amount::from(100 * SUBSIDY_SAT));

    // Payments to and among the usual types, with change, several times over.
    for round in 1..=4_u32 {
        let amounts: serde_json::Map<String, Value> =
            usual.iter().map(|address| (address.clone(), json!(format!("{round}.0000000{round}")))).collect();
        node.call("sendmany", json!(["", amounts])).unwrap();
        node.call("sendtoaddress", json!([usual[0], "2.5"])).unwrap();
        mine(&node, &miner);
    }
    mine_unusual_scripts(&node, &miner);
    mine_unusual_scripts(&node, &miner);
    model.follow(&chain);
    model.agrees_with(&node, &addresses());
    // The coins of the first script all went on to the miner.
    for (script, _) in unusual_scripts().into_iter().skip(1) {
        assert!(!model.balance(&Account::new(script.as_bytes())).is_zero());
    }

    node.call("sendall", json!([[miner]])).unwrap();
    mine(&node, &miner);
    model.follow(&chain);
    model.agrees_with(&node, &addresses());
    assert!(usual.iter().all(|address| model.balance(&account(address)).is_zero()), "all was swept");
}

#[test]
fn extracted_coins_are_the_nodes_coins_over_rest() {
    extracted_coins_are_the_nodes_coins("-rest=1", "over REST");
}

#[test]
fn extracted_coins_are_the_nodes_coins_over_rpc() {
    extracted_coins_are_the_nodes_coins("-rest=0", "over RPC");
}

#[test]
fn the_tip_becomes_final_below_itself() {
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(dir.path(), &[]).unwrap();
    let chain = chain_of(&node);
    let genesis = BlockRef { height: Height(0), hash: block_at(&chain, 0).hash };
    assert_eq!((chain.tip().unwrap().head, chain.tip().unwrap().final_height), (genesis, None));
    for (blocks, final_height) in [(4, None), (5, Some(Height(0))), (6, Some(Height(1)))] {
        let missing = blocks - chain.tip().unwrap().head.height.0;
        node.call("generatetodescriptor", json!([missing, "raw(51)"])).unwrap();
        assert_eq!(chain.tip().unwrap().final_height, final_height);
    }
    let at_once = BitcoinChain::connect(
        REGTEST.parse().unwrap(),
        vec![NodeConfig { rpc: node.rpc_url.clone(), login: cookie(&node), blocks_dir: None, pace: hasty() }],
        0,
    );
    assert_eq!(at_once.unwrap().tip().unwrap().final_height, Some(Height(6)));
}

#[test]
fn a_payment_is_pending_until_it_is_mined() {
    let dir = tempfile::tempdir().unwrap();
    let (node, miner) = funded(dir.path(), &["-txindex=1"]);
    let chain = chain_of(&node);
    let to = new_address(&node, "bech32m");
    let txid = node.call("sendtoaddress", json!([to, "0.12345678"])).unwrap();
    let txid = TxId(chain.id().parse_hash(txid.as_str().unwrap()).unwrap());
    let last = || chain.block(chain.tip().unwrap().head, &Watch::default(), &Reads::ALL).unwrap().header;
    let pending = chain.pending(txid, &last()).unwrap().unwrap();
    assert_eq!(pending.payments.len(), 2, "the payment and its change");
    let paid = pending.payments.iter().find(|payment| payment.to == account(&to)).unwrap();
    assert_eq!(paid.amount, Amount::from(12_345_678));
    mine(&node, &miner);
    assert_eq!(chain.pending(txid, &last()).unwrap(), None);
    assert_eq!(chain.pending(TxId([7; 32]), &last()).unwrap(), None);
}

/// The kind of an error, and what it names.
fn kind(result: Result<(), NodeError>) -> &'static str {
    match result {
        Ok(()) => "fine",
        Err(NodeError::Unreachable { .. }) => "unreachable",
        Err(NodeError::Unreadable { .. }) => "unreadable",
        Err(NodeError::Missing { .. }) => "missing",
        Err(NodeError::Contradiction { .. }) => "contradiction",
        Err(NodeError::LoginRefused { .. }) => "login refused",
        Err(NodeError::WrongChain { .. }) => "wrong chain",
        Err(other) => panic!("{other}"),
    }
}

fn a_lie_is_found_out(rest: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (node, miner) = funded(dir.path(), &[rest]);
    node.call("sendtoaddress", json!([miner, "1"])).unwrap();
    mine(&node, &miner);
    let proxy = Proxy::before(&node.rpc_url);
    let chain = chain_at(REGTEST, &[(&proxy.url, cookie(&node))]);
    let at = chain.tip().unwrap().head;
    let other = block_at(&chain, 7).hash.to_string();
    let pruned = r#"{"result":null,"error":{"code":-1,"message":"Block not available (pruned data)"},"id":ID}"#;
    let starting = r#"{"result":null,"error":{"code":-28,"message":"Loading block index…"},"id":ID}"#;
    let mut lies = vec![
        (Lie::Append(1), "contradiction"),
        (Lie::Append(3_000_000), "contradiction"),
        (Lie::Append(4_050_000), "unreadable"),
        (Lie::Append(9_000_000), "unreadable"),
        (Lie::Shorten(1), "unreadable"),
        (Lie::Shorten(100), "unreadable"),
        (Lie::Instead(other), "contradiction"),
        (Lie::CutOff, "unreadable"),
        (Lie::Drop, "unreachable"),
        (Lie::Say(503, "Work queue depth exceeded"), "unreachable"),
        (Lie::Say(429, "slow down"), "unreachable"),
        (Lie::Say(401, ""), "login refused"),
        (Lie::Say(403, ""), "login refused"),
        (Lie::Say(500, "{"), "unreachable"),
        (Lie::Say(500, pruned), "missing"),
        (Lie::Say(500, starting), "unreachable"),
        (Lie::Say(500, r#"{"result":null,"error":null,"id":"another"}"#), "unreadable"),
    ];
    // Every field of the header, and of the coinbase: version, script, amount.
    lies.extend([0, 10, 40, 70, 73, 77, 82, 130].map(|place| (Lie::Flip(place), "contradiction")));
    for (lie, expected) in lies {
        proxy.tell(lie.clone());
        for _ in 0..2 {
            assert_eq!(kind(fetch(&chain, at)), expected, "{lie:?}");
        }
        proxy.tell(Lie::None);
        assert_eq!(kind(fetch(&chain, at)), "fine", "after {lie:?}");
    }
}

#[test]
fn a_lie_is_found_out_over_rest() {
    a_lie_is_found_out("-rest=1");
}

#[test]
fn a_lie_is_found_out_over_rpc() {
    a_lie_is_found_out("-rest=0");
}

#[test]
fn a_pruned_node_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(dir.path(), &["-rest=1", "-prune=1", "-fastprune"]).unwrap();
    let chain = chain_of(&node);
    let limits = |chain: &BitcoinChain| chain.check().unwrap().iter().any(|notice| notice.limits);
    node.call("generatetodescriptor", json!([600, "raw(51)"])).unwrap();
    let old = block_at(&chain, 1);
    assert_eq!((kind(fetch(&chain, old)), limits(&chain)), ("fine", false));
    node.call("pruneblockchain", json!([300])).unwrap();
    let error = fetch(&chain, old).unwrap_err();
    assert!(matches!(error, NodeError::Missing { .. }) && error.to_string().contains("pruned"), "{error}");
    assert!(limits(&chain));
    assert_eq!(kind(fetch(&chain, chain.tip().unwrap().head)), "fine");
    let unknown = BlockRef { height: Height(5), hash: BlockHash([1; 32]) };
    assert_eq!(kind(fetch(&chain, unknown)), "missing");
}

#[test]
fn a_new_cookie_is_read_and_another_chain_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(dir.path(), &[]).unwrap();
    let proxy = Proxy::before(&node.rpc_url);
    let chain = chain_at(REGTEST, &[(&proxy.url, cookie(&node))]);
    assert!(chain.tip().is_ok());
    node.stop().unwrap();
    assert_eq!(kind(chain.tip().map(|_| ())), "unreachable");
    let node = Bitcoind::start(dir.path(), &[]).unwrap();
    proxy.turn_to(&node.rpc_url);
    assert_eq!(kind(chain.tip().map(|_| ())), "fine");

    let error = chain_at(MAIN, &[(&node.rpc_url, cookie(&node))]).tip().unwrap_err();
    assert!(matches!(error, NodeError::WrongChain { .. }), "{error}");
    assert!(error.to_string().contains("the main network"), "{error}");
}

#[test]
fn a_refused_login_says_so() {
    // Made by Bitcoin Core's share/rpcauth for the password `open sesame`.
    const AUTH: &str = "-rpcauth=auditor:73616c74$a1bbe476e42bfdbc1ef52afcb1d04fa3ea1102c72ab1df9b9d526c27492edca2";
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(&dir.path().join("node"), &[AUTH]).unwrap();
    let written = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let password = |file| NodeLogin::Password { user: "auditor".into(), password_file: file };
    let ask = |login| chain_at(REGTEST, &[(&node.rpc_url, login)]).tip().map(|_| ());
    assert_eq!(kind(ask(password(written("right", "open sesame\n")))), "fine");
    for (login, word) in [
        (password(written("wrong", "open barley\n")), "401"),
        (password(dir.path().join("nowhere")), "nowhere"),
        (NodeLogin::CookieFile(written("cookie", "__cookie__:00")), "401"),
        (NodeLogin::CookieFile(written("no-cookie", "hello")), "no-cookie"),
        (NodeLogin::CookieFile(dir.path().join("lost")), "lost"),
        (NodeLogin::None, "401"),
    ] {
        let error = ask(login).unwrap_err();
        assert!(matches!(error, NodeError::LoginRefused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(word) && !text.contains("barley"), "{text}");
    }
}

#[test]
fn the_next_node_is_asked_when_one_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(dir.path(), &[]).unwrap();
    let closed = "http://user:secret@127.0.0.1:1/secret";
    let chain = chain_at(REGTEST, &[(closed, NodeLogin::None), (&node.rpc_url, cookie(&node))]);
    assert_eq!(chain.tip().unwrap().head.height, Height(0));
    let notices = chain.check().unwrap();
    assert!(notices.iter().any(|notice| notice.limits && notice.finding.contains("refused")), "{notices:?}");
    node.kill();
    let error = chain.tip().unwrap_err();
    assert!(matches!(error, NodeError::Unreachable { .. }) && !error.to_string().contains("secret"), "{error}");
    assert!(chain.check().is_err());
}
