//! A chain on a real anvil, with the contracts of `data/contracts`: deployed, called, and asked for balances.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

use std::collections::HashMap;
use std::sync::Mutex;

use assay_http::{Endpoint, Login};
use assay_testnodes::Anvil;
use assay_types::Amount;
use serde_json::{Value, json};

/// An account, or a contract.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub [u8; 20]);

impl Address {
    /// One that nobody has a key for.
    pub fn fresh(number: u8) -> Address {
        Address([number; 20])
    }

    pub fn parse(text: &str) -> Address {
        Address(unhex(text).try_into().unwrap())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{}", hex(&self.0))
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// An argument of a contract's method.
pub enum Abi {
    Word([u8; 32]),
    Words(Vec<[u8; 32]>),
    Text(String),
}

impl From<Address> for Abi {
    fn from(address: Address) -> Abi {
        Abi::Word(word(address))
    }
}

impl From<u64> for Abi {
    fn from(number: u64) -> Abi {
        Abi::Word(Amount::from(number).to_be_bytes())
    }
}

impl From<Amount> for Abi {
    fn from(amount: Amount) -> Abi {
        Abi::Word(amount.to_be_bytes())
    }
}

impl From<&str> for Abi {
    fn from(text: &str) -> Abi {
        Abi::Text(text.into())
    }
}

impl From<Vec<Address>> for Abi {
    fn from(addresses: Vec<Address>) -> Abi {
        Abi::Words(addresses.into_iter().map(word).collect())
    }
}

impl From<Vec<u64>> for Abi {
    fn from(numbers: Vec<u64>) -> Abi {
        Abi::Words(numbers.into_iter().map(|number| Amount::from(number).to_be_bytes()).collect())
    }
}

fn word(address: Address) -> [u8; 32] {
    let mut word = [0; 32];
    word[12..].copy_from_slice(&address.0);
    word
}

/// Arguments as Solidity packs them: a head of words, in which what has no fixed length is an offset, and the tail.
pub fn encode(arguments: Vec<Abi>) -> Vec<u8> {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    let number = |number: usize| Amount::from(number as u64).to_be_bytes();
    let head_length = 32 * arguments.len();
    for argument in arguments {
        match argument {
            Abi::Word(word) => head.extend(word),
            Abi::Words(words) => {
                head.extend(number(head_length + tail.len()));
                tail.extend(number(words.len()));
                tail.extend(words.concat());
            }
            Abi::Text(text) => {
                head.extend(number(head_length + tail.len()));
                tail.extend(number(text.len()));
                tail.extend(text.bytes().chain(std::iter::repeat(0)).take(text.len().next_multiple_of(32)));
            }
        }
    }
    head.extend(tail);
    head
}

/// `abi!(a, b, c)`: arguments of different kinds.
#[macro_export]
macro_rules! abi {
    ($($argument:expr),*) => { vec![$($crate::contracts::Abi::from($argument)),*] };
}

/// An anvil that mines when told, with its unlocked accounts.
pub struct World {
    pub anvil: Anvil,
    pub users: Vec<Address>,
    endpoint: Endpoint,
    selectors: Mutex<HashMap<String, [u8; 4]>>,
}

impl World {
    pub fn new(arguments: &[&str]) -> World {
        let anvil = Anvil::start(&[&["--no-mining", "--silent"], arguments].concat()).unwrap();
        let users = anvil.call("eth_accounts", json!([])).unwrap();
        let users = users.as_array().unwrap().iter().map(|user| Address::parse(user.as_str().unwrap())).collect();
        let endpoint = Endpoint::new(&anvil.url, Login::None).unwrap();
        World { anvil, users, endpoint, selectors: Mutex::default() }
    }

    pub fn call(&self, method: &str, params: Value) -> Value {
        self.anvil.call(method, params).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Many questions in one request; `None` where the node refuses one.
    pub fn ask(&self, questions: &[(&str, Value)]) -> Vec<Option<Value>> {
        if questions.is_empty() {
            return Vec::new();
        }
        let batch: Vec<Value> = (0..)
            .zip(questions)
            .map(|(id, (method, params))| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .collect();
        let body = serde_json::to_vec(&batch).unwrap();
        let answer = assay_http::wait(self.endpoint.post(body, 256 << 20)).unwrap();
        let mut answers: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
        answers.sort_by_key(|answer| answer["id"].as_u64());
        assert_eq!(answers.len(), questions.len());
        answers.into_iter().map(|answer| answer.get("result").cloned()).collect()
    }

    pub fn height(&self) -> u64 {
        u64::from_str_radix(&self.call("eth_blockNumber", json!([])).as_str().unwrap()[2..], 16).unwrap()
    }

    pub fn hash(&self, height: u64) -> String {
        self.block(height)["hash"].as_str().unwrap().to_owned()
    }

    pub fn time(&self, height: u64) -> u64 {
        u64::from_str_radix(&self.block(height)["timestamp"].as_str().unwrap()[2..], 16).unwrap()
    }

    fn block(&self, height: u64) -> Value {
        self.call("eth_getBlockByNumber", json!([format!("{height:#x}"), false]))
    }

    pub fn mine(&self) {
        self.call("evm_mine", json!([]));
    }

    /// Puts a transaction into the pool; equal fees keep the order.
    pub fn send(&self, from: Address, to: Option<Address>, value: u64, data: &[u8]) -> String {
        let transaction = transaction(from, to, value, data);
        self.call("eth_sendTransaction", json!([transaction])).as_str().unwrap().to_owned()
    }

    pub fn pay(&self, from: Address, to: Address, value: u64) -> String {
        self.send(from, Some(to), value, &[])
    }

    /// Puts a call of a contract's method into the pool.
    pub fn invoke(&self, from: Address, to: Address, value: u64, method: &str, arguments: Vec<Abi>) -> String {
        let data = self.data(method, arguments);
        self.send(from, Some(to), value, &data)
    }

    pub fn data(&self, method: &str, arguments: Vec<Abi>) -> Vec<u8> {
        let selector = *self.selectors.lock().unwrap().entry(method.to_owned()).or_insert_with(|| {
            let hash = self.call("web3_sha3", json!([format!("0x{}", hex(method.as_bytes()))]));
            unhex(hash.as_str().unwrap())[..4].try_into().unwrap()
        });
        [&selector[..], &encode(arguments)].concat()
    }

    pub fn receipt(&self, id: &str) -> Value {
        self.call("eth_getTransactionReceipt", json!([id]))
    }

    /// Deploys a contract in a block of its own.
    pub fn deploy(&self, contract: &str, arguments: Vec<Abi>) -> Address {
        let path = format!("{}/../../data/contracts/build/{contract}.json", env!("CARGO_MANIFEST_DIR"));
        let built: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut code = unhex(built["bytecode"].as_str().unwrap());
        code.extend(encode(arguments));
        let id = self.send(self.users[0], None, 0, &code);
        self.mine();
        let receipt = self.receipt(&id);
        assert_eq!(receipt["status"], "0x1", "{contract}");
        Address::parse(receipt["contractAddress"].as_str().unwrap())
    }

    /// What these accounts hold after this block, in ether (`None`) and in tokens, as `eth_getBalance` and `balanceOf`
    /// say; `None` where the token does not say.
    pub fn balances(&self, height: u64, accounts: &[Address], assets: &[Option<Address>]) -> Vec<Option<Amount>> {
        let at = json!({ "blockHash": self.hash(height) });
        let codes: Vec<_> =
            assets.iter().flatten().map(|token| ("eth_getCode", json!([token.to_string(), at]))).collect();
        let codes = self.ask(&codes);
        let has_code: HashMap<Address, bool> =
            assets.iter().flatten().zip(codes).map(|(token, code)| (*token, code.unwrap() != "0x")).collect();
        let pairs = accounts.iter().flat_map(|account| assets.iter().map(move |asset| (account, asset)));
        let questions: Vec<(&str, Value)> = pairs
            .clone()
            .map(|(account, asset)| match asset {
                None => ("eth_getBalance", json!([account.to_string(), at])),
                Some(token) => {
                    let data = [&[0x70, 0xa0, 0x82, 0x31], &word(*account)[..]].concat();
                    ("eth_call", json!([{ "to": token.to_string(), "data": format!("0x{}", hex(&data)) }, at]))
                }
            })
            .collect();
        let read = |((_, asset), answer): ((&Address, &Option<Address>), Option<Value>)| match asset {
            None => Some(quantity(&answer.unwrap())),
            Some(token) if !has_code[token] => Some(Amount::ZERO),
            Some(_) => {
                let bytes = unhex(answer?.as_str().unwrap());
                Some(Amount::from_be_bytes(bytes.get(..32)?.try_into().unwrap()))
            }
        };
        pairs.zip(self.ask(&questions)).map(read).collect()
    }
}

pub fn transaction(from: Address, to: Option<Address>, value: u64, data: &[u8]) -> Value {
    json!({
        "from": from.to_string(), "to": to.map(|to| to.to_string()), "value": format!("{value:#x}"),
        "data": format!("0x{}", hex(data)), "gas": "0x200000",
        "maxFeePerGas": "0x77359400", "maxPriorityFeePerGas": "0x3b9aca00",
    })
}

/// A JSON-RPC quantity.
pub fn quantity(value: &Value) -> Amount {
    let digits = format!("{:0>64}", &value.as_str().unwrap()[2..]);
    Amount::from_be_bytes(unhex(&digits).try_into().unwrap())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// An `[[asset]]` of the anvil chain.
pub fn asset(symbol: &str, token: Address, decimals: u8) -> String {
    format!(
        "[[asset]]\nsymbol = \"{symbol}\"\non = [ {{ id = \"eip155:31337/erc20:{token}\", decimals = {decimals} }} ]\n\n"
    )
}

/// An exchange's declaration of these accounts on the chain `evm`.
pub fn exchange(id: &str, accounts: &[Address]) -> String {
    let wallet =
        |account: &Address| format!("[[wallet]]\nchain = \"evm\"\nrole = \"hot\"\naddress = \"{account}\"\n\n");
    format!("id = \"{id}\"\nname = \"{id}\"\n\n{}", accounts.iter().map(wallet).collect::<String>())
}

/// A file of so many accounts more, which hold nothing: more than 500 in all are read in turn.
pub fn crowd(count: u16) -> String {
    let account = |nth: u16| {
        let [high, low] = nth.to_be_bytes();
        format!("evm,{},deposit\n", Address([[0xee; 18].as_slice(), &[high, low]].concat().try_into().unwrap()))
    };
    format!("chain,address,role\n{}", (0..count).map(account).collect::<String>())
}
