//! The chain: 100 transfers in each block, tokens and native, made on anvil from a seed, and the same each time.
//!
//! 1,000 accounts that are watched and 1,000 others hold ether and a token. In the first blocks an account pays and mints
//! to each of them, by turns. In every later block a hundredth of the transfers pay a watched account and a hundredth are sent by
//! one, which makes 2 %; all others are between others. Half of the transfers are the token's. Amounts stay far below what each holds.

use std::sync::mpsc::sync_channel;

use alloy::consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718 as _;
use alloy::primitives::{Address, Bytes, TxKind, U256, keccak256};
use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use assay_testnodes::Anvil;
use serde_json::{Value, json};

use crate::wire::Line;

/// Transfers in each block.
pub const TRANSFERS: u64 = 100;
/// Watched accounts that pay and are paid.
pub const PAID: u64 = 1_000;
/// Accounts that nobody watches.
const OTHERS: u64 = 1_000;
/// The number of anvil's chain.
pub const NUMBER: u64 = 31_337;
/// The one that everything comes from: the first of anvil's own.
const SOURCE: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ETHER: u128 = 1_000_000_000_000_000_000;
/// Seconds from block to block, and the time of block 0.
const PACE: u64 = 12;
const BEGIN: u64 = 1_700_000_000;

/// Events of the token in each block: its first supply is one.
pub const EVENTS: u64 = TRANSFERS / 2;

/// Which chain.
#[derive(Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// Above block 0.
    pub blocks: u64,
    /// Does its node trace?
    pub traces: bool,
}

/// Where the token is: what the source deploys first.
pub fn token() -> Address {
    source().address().create(0)
}

impl Plan {
    /// The watched accounts that are paid.
    pub fn paid(self) -> Vec<Address> {
        (0..PAID).map(|number| self.key(number).address()).collect()
    }

    /// Mines the chain on an anvil, and lets `rest` work with it each time that so many blocks more are there, and at the end. The state
    /// after each of them is there then; those below are forgotten, for they take a megabyte each.
    pub fn mine(self, stretch: u64, mut rest: impl FnMut(&Anvil, u64)) {
        let (states, begin) = ((stretch + 2).to_string(), BEGIN.to_string());
        let arguments = ["--no-mining", "--silent", "--order", "fees", "--balance", "1000000"];
        let anvil =
            Anvil::start(&[&arguments[..], &["--prune-history", &states, "--timestamp", &begin]].concat()).unwrap();
        anvil.call("anvil_setBlockTimestampInterval", json!([PACE])).unwrap();
        let mut line = Line::to(&anvil.url);
        let (give, blocks) = sync_channel(8);
        std::thread::scope(|scope| {
            scope.spawn(move || self.each_block(|block| give.send(block).unwrap()));
            for (height, transactions) in (1..).zip(blocks) {
                send(&mut line, &transactions);
                anvil.call("evm_mine", json!([])).unwrap();
                if height % stretch == 0 || height == self.blocks {
                    rest(&anvil, height);
                }
            }
        });
    }

    /// Gives every block's transactions, signed, in their order.
    pub fn each_block(self, mut give: impl FnMut(Vec<Vec<u8>>)) {
        let source = source();
        let keys: Vec<PrivateKeySigner> = (0..PAID + OTHERS).map(|number| self.key(number)).collect();
        let mut nonces = vec![0; keys.len()];
        let first = funding_blocks();
        for block in 0..self.blocks {
            let mut transactions = Vec::new();
            for place in 0..TRANSFERS {
                if block < first {
                    let number = block * TRANSFERS + place;
                    transactions.push(signed(&source, number, place, funding(number, &keys)));
                    continue;
                }
                let (from, payment) = self.transfer(block, place, &keys);
                transactions.push(signed(&keys[from], nonces[from], place, payment));
                nonces[from] += 1;
            }
            give(transactions);
        }
    }

    fn transfer(self, block: u64, place: u64, keys: &[PrivateKeySigner]) -> (usize, Payment) {
        let chance = |what: u64| self.chance(&[1, block, what]);
        let index = |number: u64| usize::try_from(number).unwrap();
        // No two of a block's transfers have one sender: a hundred others in turn, and in one place a watched account.
        let (sends, is_paid) = (chance(TRANSFERS), chance(TRANSFERS + 1));
        let from = match place == sends % TRANSFERS {
            true => index(sends / TRANSFERS % PAID),
            false => index(PAID + (block * TRANSFERS + place) % OTHERS),
        };
        let to = match place == is_paid % TRANSFERS {
            true => index(is_paid / TRANSFERS % PAID),
            false => index(PAID + chance(place) % OTHERS),
        };
        let amount = 1 + u128::from(chance(place) / OTHERS % 1_000_000);
        let payment = match (block + place).is_multiple_of(2) {
            true => Payment::token("transfer(address,uint256)", keys[to].address(), amount * 1_000),
            false => Payment::native(keys[to].address(), amount * 10_000_000_000),
        };
        (from, payment)
    }

    fn key(self, number: u64) -> PrivateKeySigner {
        let words = [0, number].iter().chain(&[self.seed]).flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
        PrivateKeySigner::from_bytes(&keccak256(words)).unwrap()
    }

    /// A number that depends on these alone.
    fn chance(self, on: &[u64]) -> u64 {
        let words: Vec<u8> = on.iter().chain(&[self.seed]).flat_map(|word| word.to_be_bytes()).collect();
        u64::from_be_bytes(keccak256(words)[..8].try_into().unwrap())
    }
}

/// Puts signed transactions into a node's pool.
pub fn send(line: &mut Line, transactions: &[Vec<u8>]) {
    let question = |(id, raw): (u64, &Vec<u8>)| {
        let params = [Bytes::from(raw.clone())];
        json!({ "jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction", "params": params })
    };
    let batch: Vec<Value> = (0..).zip(transactions).map(question).collect();
    let answers: Vec<Value> = serde_json::from_slice(line.post(&serde_json::to_vec(&batch).unwrap())).unwrap();
    answers.iter().for_each(|answer| assert!(answer.get("error").is_none(), "{answer}"));
}

struct Payment {
    to: TxKind,
    value: u128,
    input: Bytes,
}

impl Payment {
    fn native(to: Address, value: u128) -> Payment {
        Payment { to: to.into(), value, input: Bytes::new() }
    }

    fn token(method: &str, to: Address, amount: u128) -> Payment {
        let selector = &keccak256(method)[..4];
        let input = [selector, to.into_word().as_slice(), &U256::from(amount).to_be_bytes::<32>()].concat();
        Payment { to: token().into(), value: 0, input: input.into() }
    }
}

/// How many blocks it takes until everybody has ether and tokens.
fn funding_blocks() -> u64 {
    (2 * (PAID + OTHERS) + 1).div_ceil(TRANSFERS)
}

/// The source's transactions: the token, then ether and tokens for each in turn.
fn funding(number: u64, keys: &[PrivateKeySigner]) -> Payment {
    let Some(number) = number.checked_sub(1) else { return deployment() };
    let to = keys[usize::try_from(number / 2).unwrap() % keys.len()].address();
    match number % 2 {
        0 => Payment::native(to, 20 * ETHER),
        _ => Payment::token("mint(address,uint256)", to, 1_000_000_000_000_000),
    }
}

fn deployment() -> Payment {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/contracts/build/Token.json");
    let built: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let code: Bytes = built["bytecode"].as_str().unwrap().parse().unwrap();
    // name, symbol, decimals, supply: two offsets, two numbers, two short texts
    let short = |text: &str| {
        let mut words = [0; 64];
        words[31] = u8::try_from(text.len()).unwrap();
        words[32..32 + text.len()].copy_from_slice(text.as_bytes());
        words
    };
    let head = [4 * 32, 6 * 32, 6, 0].map(|number| U256::from(number).to_be_bytes::<32>()).concat();
    let input = [&code[..], &head, &short("Bench"), &short("BENCH")].concat();
    Payment { to: TxKind::Create, value: 0, input: input.into() }
}

fn source() -> PrivateKeySigner {
    SOURCE.parse().unwrap()
}

/// The place decides what it offers, so that anvil mines in this order whatever comes first.
fn signed(key: &PrivateKeySigner, nonce: u64, place: u64, payment: Payment) -> Vec<u8> {
    let ahead = u128::from(TRANSFERS - place);
    let transaction = TxEip1559 {
        chain_id: NUMBER,
        nonce,
        gas_limit: if payment.to.is_create() { 3_000_000 } else { 100_000 },
        max_fee_per_gas: 10_000_000_000 + ahead * 1_000_000,
        max_priority_fee_per_gas: 1_000_000_000 + ahead * 1_000_000,
        to: payment.to,
        value: U256::from(payment.value),
        access_list: Default::default(),
        input: payment.input,
    };
    let signature = key.sign_hash_sync(&transaction.signature_hash()).unwrap();
    TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()
}
