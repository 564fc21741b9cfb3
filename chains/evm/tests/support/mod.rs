//! A chain on a real anvil, with the test contracts, and a proxy that lies.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod model;
pub mod proxy;

use alloy::primitives::{Address, Bytes, U256, hex};
use alloy::sol_types::{SolCall, SolValue, sol};
use assay_evm::{EvmChain, EvmConfig, Finality};
use assay_http::{Endpoint, Login, Pace};
use assay_testnodes::Anvil;
use assay_types::{Account, AccountNo, Height, Watch};
use serde_json::{Value, json};

sol! {
    #![sol(alloy_sol_types = alloy::sol_types)]
    function transfer(address to, uint256 value);
    function transferFrom(address from, address to, uint256 value);
    function approve(address spender, uint256 value);
    function mint(address to, uint256 value);
    function burn(uint256 value);
    function rebase(uint256 num, uint256 den);
    function setBroken(bool broken);
    function setMode(uint256 mode);
    function lie(address from, address to, uint256 value);
    function deposit();
    function withdraw(uint256 value);
    function pay(address[] to, uint256[] amounts);
    function payThenRevertInner(address to);
    function payAndRevert(address to);
    function destroyInto(address to);
    function create();
    function destroy(address to);
    function payToken(address token, address[] to, uint256[] amounts);
}

/// Anvil's chain id.
pub const CHAIN: &str = "eip155:31337";

/// A number of wei.
pub fn wei(amount: u64) -> U256 {
    U256::from(amount)
}

/// An address that nobody has a key for.
pub fn fresh(number: u8) -> Address {
    Address::repeat_byte(number)
}

/// An anvil that mines when told, with its unlocked accounts.
pub struct World {
    pub anvil: Anvil,
    pub users: Vec<Address>,
}

impl World {
    pub fn new(arguments: &[&str]) -> World {
        let mut all = vec!["--no-mining", "--silent"];
        all.extend(arguments);
        let anvil = Anvil::start(&all).unwrap();
        let users = serde_json::from_value(anvil.call("eth_accounts", json!([])).unwrap()).unwrap();
        World { anvil, users }
    }

    pub fn call(&self, method: &str, params: Value) -> Value {
        self.anvil.call(method, params).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn height(&self) -> u64 {
        let number: alloy::primitives::U64 = serde_json::from_value(self.call("eth_blockNumber", json!([]))).unwrap();
        number.to()
    }

    /// Puts a transaction into the pool; equal fees keep the order.
    pub fn send(&self, from: Address, to: Option<Address>, value: U256, data: impl Into<Bytes>) -> String {
        let transaction = json!({
            "from": from, "to": to, "value": value, "data": data.into(), "gas": "0x200000",
            "maxFeePerGas": "0x77359400", "maxPriorityFeePerGas": "0x3b9aca00",
        });
        self.call("eth_sendTransaction", json!([transaction])).as_str().unwrap().to_owned()
    }

    pub fn mine(&self) {
        self.call("evm_mine", json!([]));
    }

    /// A contract's method called in a transaction of its own block.
    pub fn run(&self, from: Address, to: Address, value: U256, call: impl SolCall) -> String {
        let id = self.send(from, Some(to), value, call.abi_encode());
        self.mine();
        id
    }

    pub fn receipt(&self, id: &str) -> Value {
        self.call("eth_getTransactionReceipt", json!([id]))
    }

    pub fn deploy(&self, contract: &str, arguments: Vec<u8>) -> Address {
        let path = format!("{}/../../data/contracts/build/{contract}.json", env!("CARGO_MANIFEST_DIR"));
        let built: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut code = hex::decode(built["bytecode"].as_str().unwrap()).unwrap();
        code.extend(arguments);
        let id = self.send(self.users[0], None, U256::ZERO, code);
        self.mine();
        let receipt = self.receipt(&id);
        assert_eq!(receipt["status"], "0x1", "{contract}");
        serde_json::from_value(receipt["contractAddress"].clone()).unwrap()
    }

    pub fn deploy_token(&self, symbol: &str, decimals: u8, supply: u64) -> Address {
        let name = symbol.to_owned();
        self.deploy("Token", (name.clone(), name, U256::from(decimals), U256::from(supply)).abi_encode_params())
    }
}

/// Watched accounts, numbered from 1 in this order.
pub fn watch(accounts: &[Address]) -> Watch {
    (1..).zip(accounts).map(|(number, account)| (Account::new(account.as_slice()), AccountNo(number))).collect()
}

/// Tests have no time to lose with nodes that refuse everything.
fn hasty() -> Pace {
    Pace::default().patience(std::time::Duration::from_millis(300))
}

/// The chain through these nodes, from this height, with these tokens.
pub fn chain(urls: &[&str], start: u64, tokens: &[Address]) -> EvmChain {
    EvmChain::connect(config(urls, start, tokens)).unwrap()
}

/// The same, for what is to be followed in another way.
pub fn config(urls: &[&str], start: u64, tokens: &[Address]) -> EvmConfig {
    EvmConfig {
        id: CHAIN.parse().unwrap(),
        nodes: urls.iter().map(|url| Endpoint::new(url, Login::None).unwrap().paced(hasty())).collect(),
        start: Height(start),
        finality: Finality::Confirmations(1),
        tokens: tokens.iter().map(|token| token.into_array()).collect(),
        foreign_headers: false,
    }
}
