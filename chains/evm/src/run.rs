//! What `balanceOf` returns, found out here: the token's code is run on storage that was proven. It tells apart a node that lies about a balance, and
//! a token whose balance is not, or no longer, where it was thought to be.
//!
//! Nothing is said where the outcome could depend on more than code and storage: on the block, on the price or amount of gas. A node may fill
//! these in, in a call, in another way.

use std::collections::HashMap;

use alloy::primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256, keccak256};
use alloy::sol_types::{SolCall, sol};
use assay_types::{Fault, NodeError};
use revm::bytecode::Bytecode;
use revm::context::result::{EVMError, ExecutionResult};
use revm::context::{Context, TxEnv};
use revm::database_interface::DBErrorMarker;
use revm::inspector::{InspectEvm, Inspector};
use revm::interpreter::interpreter_types::Jumps;
use revm::interpreter::{Interpreter, InterpreterTypes};
use revm::state::AccountInfo;
use revm::{Database, MainBuilder, MainContext};
use serde_json::json;

use crate::node::{Node, Refusal};
use crate::verify::{self, AccountProof};

sol! {
    #![sol(alloy_sol_types = alloy::sol_types)]
    /// ERC-20's balance.
    function balanceOf(address account) external view returns (uint256);
}

/// So often what was missing is asked for; a call that touches more is not followed to its end.
const ROUNDS: usize = 24;
/// It must return the same with little gas as with much.
const GAS: [u64; 2] = [200_000, 2_000_000];

/// A token at a block of one node.
pub(crate) struct Call<'a> {
    pub(crate) node: &'a Node,
    pub(crate) block: B256,
    pub(crate) state_root: B256,
    pub(crate) token: Address,
}

impl Call<'_> {
    /// The balance of this account, as the code says. `None` where it does not say it, where it depends on more than was proven, or where the
    /// node does not give what has to be proven.
    ///
    /// # Errors
    /// When the node fails, or gives code that is not what it proves.
    pub(crate) async fn balance_of(&self, account: Address) -> Result<Option<U256>, NodeError> {
        let mut state = State::default();
        for _ in 0..ROUNDS {
            match run(&mut state, self.token, account, self.node.chain_number) {
                Ok(balance) => return Ok(balance),
                Err(missing) if self.add(&mut state, missing).await? => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Adds what is missing, if the node gives it and it is proven.
    async fn add(&self, state: &mut State, Missing { address, key }: Missing) -> Result<bool, NodeError> {
        let keys: Vec<B256> = key.map(B256::from).into_iter().collect();
        let block = json!({ "blockHash": self.block });
        let subject = "a proof for a contract that is run";
        let proof = match self.node.ask::<AccountProof>("eth_getProof", json!([address, keys, block]), subject).await {
            Ok(proof) => proof,
            Err(refusal) => return refusal.in_words().map(|_| false),
        };
        let Ok(words) = verify::storage(&proof, address, self.state_root, &keys) else { return Ok(false) };
        if let Some(key) = key {
            let word = words.and_then(|words| words.first().copied()).unwrap_or_default();
            state.words.insert((address, key), word);
            return Ok(true);
        }
        let code = if proof.code_hash == KECCAK256_EMPTY || proof.code_hash.is_zero() {
            Bytes::new()
        } else {
            match self.node.ask::<Bytes>("eth_getCode", json!([address, block]), "a contract's code").await {
                Ok(code) if keccak256(&code) == proof.code_hash => code,
                Ok(code) => {
                    let fault = if code.is_empty() { Fault::Omitted } else { Fault::Forged };
                    let (subject, why) =
                        (format!("the code of {address}"), format!("its hash is {}", keccak256(&code)));
                    return Err(self.node.contradiction(&subject, "the proven hash", fault, why));
                }
                Err(Refusal::Failed(error) | Refusal::Late(error) | Refusal::Huge(error)) => return Err(error),
                Err(_) => return Ok(false),
            }
        };
        let Ok(code) = Bytecode::new_raw_checked(code) else { return Ok(false) };
        let info = AccountInfo::new(proof.balance, proof.nonce.to(), keccak256(code.original_byte_slice()), code);
        state.accounts.insert(address, info);
        Ok(true)
    }
}

/// What is needed and was not proven yet: an account, or a word of its storage.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{address} {key:?} is missing")]
struct Missing {
    address: Address,
    key: Option<U256>,
}

impl DBErrorMarker for Missing {}

/// What was proven.
#[derive(Debug, Default)]
struct State {
    accounts: HashMap<Address, AccountInfo>,
    words: HashMap<(Address, U256), U256>,
}

impl Database for &mut State {
    type Error = Missing;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Missing> {
        // Who calls, and who is paid for it: nobody.
        if address.is_zero() {
            return Ok(None);
        }
        self.accounts.get(&address).cloned().map(Some).ok_or(Missing { address, key: None })
    }

    fn code_by_hash(&mut self, _: B256) -> Result<Bytecode, Missing> {
        Ok(Bytecode::default()) // an account has its code with it
    }

    fn storage(&mut self, address: Address, key: U256) -> Result<U256, Missing> {
        self.words.get(&(address, key)).copied().ok_or(Missing { address, key: Some(key) })
    }

    fn block_hash(&mut self, _: u64) -> Result<B256, Missing> {
        Ok(B256::ZERO) // whoever asks for it is not believed
    }
}

/// Looks whether anything but code and storage is asked for.
#[derive(Default)]
struct Outside(bool);

impl<CTX, INTR: InterpreterTypes> Inspector<CTX, INTR> for Outside {
    fn step(&mut self, interpreter: &mut Interpreter<INTR>, _: &mut CTX) {
        // ORIGIN, CALLER and CHAINID are as in the call of a node. GASPRICE; BLOCKHASH to GASLIMIT; BASEFEE, BLOBHASH, BLOBBASEFEE, SLOTNUM.
        self.0 |= matches!(interpreter.bytecode.opcode(), 0x3a | 0x40..=0x45 | 0x48..=0x4b);
    }
}

/// `None` where nothing is to be believed.
fn run(state: &mut State, token: Address, account: Address, chain_number: u64) -> Result<Option<U256>, Missing> {
    let mut balances = Vec::with_capacity(GAS.len());
    for gas_limit in GAS {
        let context = Context::mainnet().with_db(&mut *state).modify_cfg_chained(|cfg| cfg.chain_id = chain_number);
        let mut evm = context.build_mainnet_with_inspector(Outside::default());
        let data = balanceOfCall { account }.abi_encode().into();
        let kind = TxKind::Call(token);
        let call = TxEnv { gas_limit, kind, data, chain_id: Some(chain_number), ..TxEnv::default() };
        let output = match evm.inspect_one_tx(call) {
            Ok(ExecutionResult::Success { output, .. }) => output.into_data(),
            Err(EVMError::Database(missing)) => return Err(missing),
            Ok(_) | Err(_) => return Ok(None),
        };
        if evm.inspector.0 || output.len() != 32 {
            return Ok(None);
        }
        balances.push(U256::from_be_slice(&output));
    }
    Ok((balances[0] == balances[1]).then_some(balances[0]))
}
