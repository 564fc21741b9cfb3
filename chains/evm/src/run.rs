//! What `balanceOf` returns, found out here: the token's code is run on storage that was proven. It tells apart a node that lies about a balance, and
//! a token whose balance is not, or no longer, where it was thought to be.
//!
//! Nothing is said where the outcome could depend on more than code and storage: on the block, on the price or amount of gas, on who calls and what
//! he has, or on rules that not every chain has. A node may fill these in, in a call, in another way.

use std::collections::{BTreeMap, HashMap};

use alloy::primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy::sol_types::{SolCall, sol};
use assay_types::{BlockRef, Fault, NodeError};
use revm::bytecode::Bytecode;
use revm::context::result::{EVMError, ExecutionResult};
use revm::context::{Context, TxEnv};
use revm::database_interface::DBErrorMarker;
use revm::inspector::{InspectEvm, Inspector};
use revm::interpreter::interpreter_types::{Jumps, StackTr};
use revm::interpreter::{Interpreter, InterpreterTypes};
use revm::state::AccountInfo;
use revm::{Database, MainBuilder, MainContext};
use serde_json::json;

use crate::horizon::{Of, meant};
use crate::node::{Node, OrFail, Refusal};
use crate::reader::{CALL_GAS, READER};
use crate::state::checked;
use crate::verify::AccountProof;

sol! {
    #![sol(alloy_sol_types = alloy::sol_types)]
    /// ERC-20's balance.
    function balanceOf(address account) external view returns (uint256);
}

/// So often what was missing is asked for; a call that touches more is not followed to its end.
const ROUNDS: usize = 24;
/// It must return the same to who calls at the node by a call of its own, with its gas, as to the balance reader, and with much.
const CALLS: [(Address, u64); 2] = [(Address::ZERO, CALL_GAS), (READER, 2_000_000)];

/// A token at a block of one node.
pub(crate) struct Call<'a> {
    pub(crate) node: &'a Node,
    pub(crate) at: BlockRef,
    pub(crate) state_root: B256,
    pub(crate) token: Address,
}

/// A balance as a token's code says it, and what that rests on.
pub(crate) struct Run {
    pub(crate) balance: U256,
    /// `None` where it rests on what accounts hold as well.
    pub(crate) grounds: Option<Grounds>,
}

/// Everything that code which was run could see: as long as that is the same, it returns the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grounds {
    /// By the hash of each contract's code.
    pub(crate) codes: BTreeMap<Address, B256>,
    /// Words of their storage.
    pub(crate) words: BTreeMap<(Address, B256), U256>,
}

impl Call<'_> {
    /// The balance of this account, as the code says. `None` where it does not say it, or where it depends on more than can be proven.
    ///
    /// # Errors
    /// When the node fails, or gives proofs or code that are none.
    pub(crate) async fn balance_of(&self, account: Address) -> Result<Option<Run>, NodeError> {
        let mut state = State::default();
        for _ in 0..ROUNDS {
            match run(&mut state, self.token, account, self.node.chain_number) {
                Ok(None) => return Ok(None),
                Ok(Some((balance, asks_what_is_held))) => {
                    let grounds = (!asks_what_is_held).then(|| state.grounds());
                    return Ok(Some(Run { balance, grounds }));
                }
                Err(missing) if self.add(&mut state, missing).await? => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Adds what is missing; `false` where it is code that cannot be run. The node proved a word of this token before: that it refuses another now
    /// must not make its own word count, unless it proves nothing at this block.
    async fn add(&self, state: &mut State, Missing { address, key }: Missing) -> Result<bool, NodeError> {
        let keys: Vec<B256> = key.map(B256::from).into_iter().collect();
        let block = json!({ "blockHash": B256::from(self.at.hash.0) });
        let subject = format!("the proof of contract {address} at block {}", self.at.height);
        let prove = async |keys: &[B256]| {
            let told = self.node.ask::<AccountProof>("eth_getProof", json!([address, keys, block]), &subject).await;
            match told {
                Err(refusal) => Err(meant(self.node, self.at, Of::Proofs, refusal).await),
                proof => proof,
            }
        };
        let proof = match prove(&keys).await {
            Err(Refusal::NoMethod(why)) => {
                return self.node.proofs.refuse(self.node, &subject, &why).map(|()| false);
            }
            Err(Refusal::Absent(_) | Refusal::Other(_))
                if matches!(prove(&[]).await, Err(Refusal::Absent(_) | Refusal::Other(_))) =>
            {
                return Ok(false);
            }
            proof => proof.or_fail(self.node, &subject)?,
        };
        let at = (self.at, self.state_root);
        let words = checked(self.node, at, (address, &keys), &proof, &subject).await?;
        if let Some(key) = key {
            let word = words.and_then(|words| words.first().copied()).unwrap_or_default();
            state.words.insert((address, key), word);
            return Ok(true);
        }
        let code = if !proof.has_code() {
            Bytes::new()
        } else {
            let subject = format!("the code of {address}");
            let code = match self.node.ask::<Bytes>("eth_getCode", json!([address, block]), &subject).await {
                Err(Refusal::NoMethod(_)) => return Ok(false),
                code => code.or_fail(self.node, &subject)?,
            };
            let hash = keccak256(&code);
            if hash != proof.code_hash {
                let fault = if code.is_empty() { Fault::Omitted } else { Fault::Forged };
                return Err(self.node.contradiction(&subject, "the proven hash", fault, format!("its hash is {hash}")));
            }
            code
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

impl State {
    fn grounds(self) -> Grounds {
        Grounds {
            codes: self.accounts.into_iter().map(|(address, account)| (address, account.code_hash)).collect(),
            words: self.words.into_iter().map(|((address, key), word)| ((address, key.into()), word)).collect(),
        }
    }
}

impl Database for &mut State {
    type Error = Missing;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Missing> {
        // Who calls, and who is paid for it: nobody.
        if is_caller(address) {
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
struct Outside {
    is_asked: bool,
    /// What an account holds is.
    is_held_asked: bool,
    /// The amount of gas is on the stack: for the call that comes next, or to be looked at.
    has_gas: bool,
}

impl<CTX, INTR: InterpreterTypes> Inspector<CTX, INTR> for Outside {
    fn step(&mut self, interpreter: &mut Interpreter<INTR>, _: &mut CTX) {
        let opcode = interpreter.bytecode.opcode();
        let stack = interpreter.stack.data();
        let argument = |nth: usize| stack.len().checked_sub(nth + 1).map(|place| address(stack[place]));
        let is_call = matches!(opcode, 0xf1 | 0xf2 | 0xf4 | 0xfa);
        self.is_asked |= self.has_gas && !is_call;
        self.has_gas = opcode == 0x5a;
        self.is_held_asked |= matches!(opcode, 0x31 | 0x47); // BALANCE, SELFBALANCE
        self.is_asked |= match opcode {
            // CHAINID is as in the call of a node. CLZ; GASPRICE; BLOCKHASH to GASLIMIT; BASEFEE, BLOBHASH, BLOBBASEFEE, SLOTNUM.
            0x1e | 0x3a | 0x40..=0x45 | 0x48..=0x4b => true,
            // What changes something fails in the balance reader's calls: SSTORE, TSTORE, LOG0 to LOG4, CREATE, CREATE2, SELFDESTRUCT.
            0x55 | 0x5d | 0xa0..=0xa4 | 0xf0 | 0xf5 | 0xff => true,
            // BALANCE, EXTCODESIZE, EXTCODECOPY and EXTCODEHASH of the caller.
            0x31 | 0x3b | 0x3c | 0x3f => argument(0).is_some_and(is_caller),
            // Beyond the first four (Yellow Paper, appendix E) chains differ in what is precompiled, and in what that costs.
            _ if is_call => argument(1).is_some_and(|to| to[..18] == [0; 18] && !matches!(to[18..], [0, 0..=4])),
            _ => false,
        };
    }
}

fn is_caller(address: Address) -> bool {
    CALLS.iter().any(|(caller, _)| *caller == address)
}

fn address(word: U256) -> Address {
    Address::from_word(word.into())
}

/// And whether it depends on what accounts hold. `None` where nothing is to be believed.
fn run(
    state: &mut State,
    token: Address,
    account: Address,
    chain_number: u64,
) -> Result<Option<(U256, bool)>, Missing> {
    let (mut balances, mut asks_what_is_held) = (Vec::with_capacity(CALLS.len()), false);
    for (caller, gas_limit) in CALLS {
        let context = Context::mainnet().with_db(&mut *state).modify_cfg_chained(|cfg| cfg.chain_id = chain_number);
        let mut evm = context.build_mainnet_with_inspector(Outside::default());
        let data = balanceOfCall { account }.abi_encode().into();
        let kind = TxKind::Call(token);
        let call = TxEnv { caller, gas_limit, kind, data, chain_id: Some(chain_number), ..TxEnv::default() };
        let output = match evm.inspect_one_tx(call) {
            Ok(ExecutionResult::Success { output, .. }) => output.into_data(),
            Err(EVMError::Database(missing)) => return Err(missing),
            Ok(_) | Err(_) => return Ok(None),
        };
        if evm.inspector.is_asked || output.len() != 32 {
            return Ok(None);
        }
        asks_what_is_held |= evm.inspector.is_held_asked;
        balances.push(U256::from_be_slice(&output));
    }
    Ok((balances[0] == balances[1]).then_some((balances[0], asks_what_is_held)))
}
