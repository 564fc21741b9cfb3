//! The EVM side of the play: users, hot and cold wallet, deposit addresses, a token and a router, on a real node.

use alloy::hex;
use alloy::primitives::{Address, U256};
use alloy::sol_types::{SolCall as _, SolValue as _};
use assay_testnodes::Anvil;
use assay_types::{Amount, Timestamp};
use serde_json::{Value, json};

use super::figures::{EVM_CUSTOMERS, USDX_COLD_START, USDX_HOT_START, eth_cold_start, eth_hot_start, eth_milli};
use super::{broken, text};
use crate::failure::Failure;

/// The chain's alias.
pub const CHAIN: &str = "ethereum";
/// Coverage begins here: the block that funds the first wallets.
pub const START: u64 = 2;
/// Its CAIP-2 id.
pub const CHAIN_ID: &str = "eip155:31337";

const OUTSIDE: usize = 0;
const HOT: usize = 1;
const COLD: usize = 2;
const STRANGER: usize = 3;
const FIRST_DEPOSIT: usize = 10;
const GAS_PRICE_WEI: u64 = 2_000_000_000;
const TRANSFER_GAS: u64 = 21_000;
const CALL_GAS: u64 = 200_000;
const DEPLOY_GAS: u64 = 3_000_000;
const TOKEN: &str = include_str!("../../../../data/contracts/build/Token.json");
const ROUTER: &str = include_str!("../../../../data/contracts/build/Router.json");

mod abi {
    #![allow(missing_docs, clippy::too_many_arguments)]
    alloy::sol! {
        function transfer(address to, uint256 value);
        function pay(address[] to, uint256[] amounts);
    }
}

/// Everybody's accounts on one node that signs for them.
pub struct EvmSide {
    node: Anvil,
    accounts: Vec<String>,
    /// The token's contract.
    pub token: String,
    /// Pays others inside of a transaction.
    pub router: String,
}

impl EvmSide {
    /// Starts the node, its first block at this instant. Blocks come when they are asked for.
    pub fn start(genesis: Timestamp) -> Result<Anvil, Failure> {
        let accounts = (FIRST_DEPOSIT + usize::try_from(EVM_CUSTOMERS).unwrap_or_default()).to_string();
        let genesis = genesis.unix_s().to_string();
        Ok(Anvil::start(&["--accounts", &accounts, "--balance", "0", "--timestamp", &genesis, "--no-mining"])?)
    }

    /// Block 1 brings the contracts, block 2 the exchange's first coins.
    pub fn open(node: Anvil, times: [Timestamp; 2]) -> Result<EvmSide, Failure> {
        let accounts = node.call("eth_accounts", json!([]))?;
        let accounts = accounts.as_array().into_iter().flatten().map(text).collect::<Result<Vec<_>, _>>()?;
        let mut side = EvmSide { node, accounts, token: String::new(), router: String::new() };
        let plenty = eth_milli(1_000_000_000);
        side.node.call("anvil_setBalance", json!([side.accounts[OUTSIDE], quantity(plenty)]))?;
        let supply = U256::from(1_000_000_000_000_000_u64);
        let arguments = ("US Dollar X".to_owned(), "USDX".to_owned(), U256::from(6), supply).abi_encode_params();
        let token = side.deploy(TOKEN, &arguments)?;
        let router = side.deploy(ROUTER, &[])?;
        side.mine(times[0])?;
        side.token = side.created(&token)?;
        side.router = side.created(&router)?;
        for (to, ether, usdx) in [(COLD, eth_cold_start(), USDX_COLD_START), (HOT, eth_hot_start(), USDX_HOT_START)] {
            side.send(OUTSIDE, &side.accounts[to], ether)?;
            side.send_token(OUTSIDE, &side.accounts[to], usdx)?;
        }
        side.mine(times[1])?;
        Ok(side)
    }

    /// The hot wallet.
    pub fn hot(&self) -> &str {
        &self.accounts[HOT]
    }

    /// The cold wallet.
    pub fn cold(&self) -> &str {
        &self.accounts[COLD]
    }

    /// One for each customer on this chain.
    pub fn deposits(&self) -> &[String] {
        &self.accounts[FIRST_DEPOSIT..]
    }

    /// Somebody in the world.
    pub fn stranger(&self) -> &str {
        &self.accounts[STRANGER]
    }

    /// Somebody in the world pays ether.
    pub fn outside_pays(&self, to: &str, amount: Amount) -> Result<String, Failure> {
        self.send(OUTSIDE, to, amount)
    }

    /// Somebody in the world pays tokens.
    pub fn outside_pays_token(&self, to: &str, amount: Amount) -> Result<String, Failure> {
        self.send_token(OUTSIDE, to, amount)
    }

    /// Somebody in the world pays ether through a contract: nothing but a trace, or the state, shows who got it.
    pub fn outside_pays_inside(&self, to: &str, amount: Amount) -> Result<String, Failure> {
        let call = abi::payCall { to: vec![address(to)?], amounts: vec![amount.0] };
        self.transact(OUTSIDE, Some(&self.router), amount, &call.abi_encode(), CALL_GAS)
    }

    /// The hot wallet pays ether.
    pub fn hot_pays(&self, to: &str, amount: Amount) -> Result<String, Failure> {
        self.send(HOT, to, amount)
    }

    /// The hot wallet pays tokens.
    pub fn hot_pays_token(&self, to: &str, amount: Amount) -> Result<String, Failure> {
        self.send_token(HOT, to, amount)
    }

    /// All ether of a deposit address goes to the hot wallet, but for the gas.
    pub fn sweep(&self, number: usize) -> Result<String, Failure> {
        let from = FIRST_DEPOSIT + number;
        let balance = self.balance(&self.accounts[from])?;
        let gas = Amount::from(TRANSFER_GAS * GAS_PRICE_WEI);
        self.send(from, self.hot(), super::book::minus(balance, gas)?)
    }

    /// So many tokens of a deposit address go to the hot wallet.
    pub fn sweep_token(&self, number: usize, amount: Amount) -> Result<String, Failure> {
        self.send_token(FIRST_DEPOSIT + number, self.hot(), amount)
    }

    fn send(&self, from: usize, to: &str, amount: Amount) -> Result<String, Failure> {
        self.transact(from, Some(to), amount, &[], TRANSFER_GAS)
    }

    fn send_token(&self, from: usize, to: &str, amount: Amount) -> Result<String, Failure> {
        let call = abi::transferCall { to: address(to)?, value: amount.0 };
        self.transact(from, Some(&self.token), Amount::ZERO, &call.abi_encode(), CALL_GAS)
    }

    fn deploy(&self, contract: &str, arguments: &[u8]) -> Result<String, Failure> {
        let contract: Value = serde_json::from_str(contract).map_err(broken)?;
        let mut code = hex::decode(text(&contract["bytecode"])?).map_err(broken)?;
        code.extend_from_slice(arguments);
        self.transact(OUTSIDE, None, Amount::ZERO, &code, DEPLOY_GAS)
    }

    fn transact(&self, from: usize, to: Option<&str>, value: Amount, data: &[u8], gas: u64) -> Result<String, Failure> {
        let mut transaction = json!({
            "from": self.accounts[from],
            "value": quantity(value),
            "data": hex::encode_prefixed(data),
            "gas": format!("{gas:#x}"),
            "gasPrice": format!("{GAS_PRICE_WEI:#x}"),
        });
        if let Some(to) = to {
            transaction["to"] = json!(to);
        }
        text(&self.node.call("eth_sendTransaction", json!([transaction]))?)
    }

    /// Mines a block at this instant.
    pub fn mine(&self, at: Timestamp) -> Result<(), Failure> {
        self.node.call("evm_setNextBlockTimestamp", json!([at.unix_s()]))?;
        self.node.call("evm_mine", json!([]))?;
        Ok(())
    }

    /// The last block: height and hash.
    pub fn tip(&self) -> Result<(u64, String), Failure> {
        let block = self.node.call("eth_getBlockByNumber", json!(["latest", false]))?;
        Ok((number(&block["number"])?, text(&block["hash"])?))
    }

    /// What the sender paid for a transaction that is in a block.
    pub fn fee(&self, hash: &str) -> Result<Amount, Failure> {
        let receipt = self.receipt(hash)?;
        let fee = number(&receipt["gasUsed"])?.checked_mul(number(&receipt["effectiveGasPrice"])?);
        fee.map(Amount::from).ok_or_else(|| broken("a fee beyond 2^64"))
    }

    /// The first log of a transaction, by its number in the block.
    pub fn log_index(&self, hash: &str) -> Result<u64, Failure> {
        number(&self.receipt(hash)?["logs"][0]["logIndex"])
    }

    fn created(&self, hash: &str) -> Result<String, Failure> {
        text(&self.receipt(hash)?["contractAddress"])
    }

    fn receipt(&self, hash: &str) -> Result<Value, Failure> {
        let receipt = self.node.call("eth_getTransactionReceipt", json!([hash]))?;
        match receipt["status"] == json!("0x1") {
            true => Ok(receipt),
            false => Err(broken(format!("transaction {hash} did not succeed: {receipt}"))),
        }
    }

    /// What an account holds, as the node says.
    pub fn balance(&self, account: &str) -> Result<Amount, Failure> {
        amount(&self.node.call("eth_getBalance", json!([account, "latest"]))?)
    }

    /// Where the node answers.
    pub fn rpc_url(&self) -> &str {
        &self.node.url
    }
}

/// What a node calls itself, such as `anvil/v1.7.1`.
pub fn version(node: &Anvil) -> Result<String, Failure> {
    text(&node.call("web3_clientVersion", json!([]))?)
}

fn quantity(amount: Amount) -> String {
    format!("{:#x}", amount.0)
}

fn amount(value: &Value) -> Result<Amount, Failure> {
    text(value)?.parse::<U256>().map(Amount).map_err(broken)
}

fn number(value: &Value) -> Result<u64, Failure> {
    u64::try_from(amount(value)?.0).map_err(broken)
}

fn address(written: &str) -> Result<Address, Failure> {
    written.parse().map_err(broken)
}
