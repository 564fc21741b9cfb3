//! What a contract returns, found out here: its code is run on storage that was proven. That is what a token's balance is, how many decimals it has,
//! and whom it stops.
//!
//! Nothing is said where the outcome could depend on more than what is proven: on the block, but for its time and number where these are given, on
//! the price or amount of gas, on who calls and what he has, or on rules that not every chain has. A node may fill these in, in a call, in another way.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;

use alloy::primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256, keccak256};
use assay_types::{BlockRef, Fault, NodeError};
use futures_util::{StreamExt, TryStreamExt};
use revm::bytecode::Bytecode;
use revm::context::result::{EVMError, ExecutionResult};
use revm::context::{Context, TxEnv};
use revm::database_interface::DBErrorMarker;
use revm::inspector::{InspectEvm, Inspector};
use revm::interpreter::interpreter_types::{Jumps, StackTr};
use revm::interpreter::{CallInputs, CallOutcome, InstructionResult, Interpreter, InterpreterTypes};
use revm::state::AccountInfo;
use revm::{Database, MainBuilder, MainContext};
use serde_json::json;

use crate::block::{StateAt, by_hash, headers};
use crate::node::{Node, OrFail, Refusal};
use crate::state::reader::{CALL_GAS, READER, READERS_GAS, call_laid};
use crate::state::{horizon, proofs};
use crate::verify::AccountProof;

/// Storage keys in one `eth_getProof`.
pub(crate) const KEYS: usize = 100;
/// Such questions at a time.
const AT_ONCE: usize = 4;
/// So many contracts' codes are remembered of a node.
const CODES: usize = 256;
/// In how many rounds missing state is asked for; a call that needs more is given up.
const ROUNDS: usize = 24;
/// Each call is run as from the zero address with less gas, and as from the balance reader with more; both must return the same.
const CALLS: [(Address, u64); 2] = [(Address::ZERO, READERS_GAS), (READER, 2 * CALL_GAS)];
/// So much gas is spent in all, and so much beside for each call: of what makes us work for longer nothing is said.
const MOST_GAS: u64 = 100_000_000;
const GAS_EACH: u64 = 100_000;

/// The state of a block of one node, as far as it was proven: code is run on it.
pub(crate) struct Stage<'a> {
    node: &'a Node,
    at: StateAt,
    /// The block's, in seconds. Where there is none, who asks for the block's time or number is not believed.
    time: Option<u64>,
    accounts: HashMap<Address, AccountInfo>,
    words: HashMap<(Address, B256), U256>,
    /// Of which contract a proof was refused, and how.
    refused: Option<(Address, String)>,
    /// The gas that may still be spent.
    gas: u64,
}

/// What came of a call.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The word that it returned. `None` where that is none, or where it could depend on more than was proven.
    pub(crate) word: Option<U256>,
    pub(crate) saw: Grounds,
    /// It rests on what accounts hold as well.
    pub(crate) asks_what_is_held: bool,
    /// Its code has what came with Shanghai (EIP-3855) or Cancun (EIP-1153, EIP-5656).
    is_new: bool,
}

/// The code that was run, and the words of storage that it looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grounds {
    /// By the hash of each contract's code.
    pub(crate) codes: BTreeMap<Address, B256>,
    /// Words of their storage.
    pub(crate) words: BTreeMap<(Address, B256), U256>,
}

/// Words of storage by contract, of some of which only the code is meant.
pub(crate) type Keys = BTreeMap<Address, BTreeSet<B256>>;

impl Grounds {
    /// Where it was seen.
    pub(crate) fn keys(&self) -> Keys {
        let mut keys: Keys = self.codes.keys().map(|contract| (*contract, BTreeSet::new())).collect();
        self.words.keys().for_each(|(contract, key)| _ = keys.entry(*contract).or_default().insert(*key));
        keys
    }
}

impl Stage<'_> {
    pub(crate) fn new(node: &Node, at: StateAt, time: Option<u64>) -> Stage<'_> {
        Stage { node, at, time, accounts: HashMap::new(), words: HashMap::new(), refused: None, gas: MOST_GAS }
    }

    /// Takes a contract and words of its storage as they were proven before.
    ///
    /// # Errors
    /// When the node fails, or gives code that is none.
    pub(crate) async fn know(&mut self, proof: &AccountProof, words: Vec<(B256, U256)>) -> Result<(), NodeError> {
        if let Some(code) = code(self.node, self.at.block, proof).await? {
            self.accounts.insert(proof.address, info(proof, code));
            self.words.extend(words.into_iter().map(|(key, word)| ((proof.address, key), word)));
        }
        Ok(())
    }

    /// Was a proof refused that it needs?
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// The code of a contract that was called.
    pub(crate) fn code(&self, contract: Address) -> Bytes {
        let code = self.accounts.get(&contract).and_then(|account| account.code.as_ref());
        code.map(Bytecode::original_bytes).unwrap_or_default()
    }

    /// What came of each of these calls of a contract; `None` where it cannot be said, as not all is proven that it asks for, or it takes too much gas.
    ///
    /// # Errors
    /// When the node fails, or gives proofs or code that are none.
    pub(crate) async fn run(&mut self, contract: Address, calls: &[Bytes]) -> Result<Vec<Option<Run>>, NodeError> {
        let mut runs: Vec<Option<Run>> = vec![None; calls.len()];
        self.gas += GAS_EACH * calls.len() as u64;
        for _ in 0..ROUNDS {
            let mut missing = Keys::new();
            for (call, run) in calls.iter().zip(&mut runs).filter(|(_, run)| run.is_none()) {
                if self.gas == 0 {
                    break;
                }
                match self.run_one(contract, call) {
                    Ok(done) => *run = Some(done),
                    Err(Missing { address, key }) => missing.entry(address).or_default().extend(key),
                }
            }
            if missing.is_empty() || !self.add(missing).await? {
                break;
            }
        }
        if runs.iter().flatten().any(|run| run.is_new && run.word.is_some())
            && !knows_new(self.node, self.at.block).await?
        {
            runs.iter_mut().flatten().filter(|run| run.is_new).for_each(|run| run.word = None);
        }
        Ok(runs)
    }

    /// Tells of a proof that was refused where the node proves others, and has code there: of what is not there some nodes prove nothing.
    pub(crate) async fn tell_withheld(&self) {
        let Some((contract, why)) = &self.refused else { return };
        let params = json!([contract, by_hash(self.at.block.hash)]);
        // Who refuses both leaves out a contract that another one asks.
        let code = self.node.ask::<Bytes>("eth_getCode", params, "a contract's code").await;
        let has_none = code.is_ok_and(|code| code.is_empty());
        if !has_none && horizon::proves(self.node, self.at.block).await {
            let subject = format!("the proof of contract {contract} at block {}", self.at.block.height);
            let why = format!("it proves others there: {why}");
            headers::doubt(self.node, self.at.block, self.node.missing(&subject, Some(Fault::Omitted), why)).await;
        }
    }

    /// Adds what is missing, where that is proven; `false` where not all of it is.
    pub(crate) async fn add(&mut self, missing: Keys) -> Result<bool, NodeError> {
        let parts = missing.into_iter().flat_map(|(address, keys)| {
            let keys: Vec<B256> = keys.into_iter().collect();
            let none = keys.is_empty().then(Vec::new);
            let parts: Vec<Vec<B256>> = keys.chunks(KEYS).map(<[B256]>::to_vec).chain(none).collect();
            parts.into_iter().map(move |keys| (address, keys))
        });
        let known: HashSet<Address> = self.accounts.keys().copied().collect();
        let (node, at) = (self.node, self.at);
        let mut proven = futures_util::stream::iter(parts.collect::<Vec<_>>())
            .map(|(address, keys)| prove(node, at, address, keys, known.contains(&address)))
            .buffer_unordered(AT_ONCE);
        let mut is_all = true;
        while let Some(one) = proven.try_next().await? {
            let Part { address, account, words } = match one {
                Ok(part) => part,
                Err(refused) => {
                    is_all = false;
                    self.refused = self.refused.take().or(refused);
                    continue;
                }
            };
            self.words.extend(words.into_iter().map(|(key, word)| ((address, key), word)));
            if let Some(account) = account {
                self.accounts.insert(address, account);
            }
        }
        Ok(is_all)
    }

    /// Every call, by every caller. Nothing is to be believed where they are told different things.
    fn run_one(&mut self, contract: Address, call: &Bytes) -> Result<Run, Missing> {
        let mut run = Run { word: None, saw: Grounds::default(), asks_what_is_held: false, is_new: false };
        let (mut words, mut is_believed) = (Vec::with_capacity(CALLS.len()), true);
        for (caller, gas_limit) in CALLS {
            let id = self.node.family.0;
            let view = View { stage: self, saw: &mut run.saw };
            let context = Context::mainnet().with_db(view).modify_cfg_chained(|cfg| cfg.chain_id = id);
            let context = context.modify_block_chained(|block| {
                (block.number, block.timestamp) =
                    (U256::from(self.at.block.height.0), U256::from(self.time.unwrap_or_default()));
            });
            let outside = Outside { has_block: self.time.is_some(), ..Outside::default() };
            let mut evm = context.build_mainnet_with_inspector(outside);
            let (kind, data) = (TxKind::Call(contract), call.clone());
            let call = TxEnv { caller, gas_limit, kind, data, chain_id: Some(id), ..TxEnv::default() };
            let done = evm.inspect_one_tx(call);
            is_believed &= !evm.inspector.is_asked;
            run.asks_what_is_held |= evm.inspector.is_held_asked;
            run.is_new |= evm.inspector.is_new;
            self.gas = self.gas.saturating_sub(gas_limit.saturating_sub(evm.inspector.gas_left));
            let output = match done {
                Ok(ExecutionResult::Success { output, .. }) => Some(output.into_data()),
                Err(EVMError::Database(missing)) => return Err(missing),
                Ok(_) | Err(_) => None,
            };
            match output.filter(|output| output.len() == 32).map(|output| U256::from_be_slice(&output)) {
                Some(word) => words.push(word),
                None => return Ok(run), // some burn all the gas that they get: once is enough
            }
        }
        run.word = Some(words[0]).filter(|word| is_believed && *word == words[1]);
        Ok(run)
    }
}

/// An account, where its code was not known yet, and words of its storage.
struct Part {
    address: Address,
    account: Option<AccountInfo>,
    words: Vec<(B256, U256)>,
}

/// `Err` where it is not proven, with how that was refused, or its code cannot be run.
async fn prove(
    node: &Node,
    at: StateAt,
    address: Address,
    keys: Vec<B256>,
    is_known: bool,
) -> Result<Result<Part, Option<(Address, String)>>, NodeError> {
    let (proof, words) = match proofs::prove_contract(node, at, address, &keys).await? {
        Some(Ok(proven)) => proven,
        Some(Err(why)) => return Ok(Err(Some((address, why)))),
        None => return Ok(Err(None)),
    };
    let words = words.unwrap_or_else(|| vec![U256::ZERO; keys.len()]);
    let words = keys.into_iter().zip(words).collect();
    if is_known {
        return Ok(Ok(Part { address, account: None, words }));
    }
    let Some(code) = code(node, at.block, &proof).await? else { return Ok(Err(None)) };
    let account = Some(info(&proof, code));
    Ok(Ok(Part { address, account, words }))
}

fn info(proof: &AccountProof, code: Bytecode) -> AccountInfo {
    let hash = if proof.has_code() { proof.code_hash } else { KECCAK256_EMPTY };
    AccountInfo::new(proof.balance, proof.nonce.to(), hash, code)
}

/// Does the chain have the newest instructions that tokens are compiled to at this block? Its header says so, if it is of Cancun; of a chain that is
/// not known here, and whose headers do not follow Ethereum's, the node.
async fn knows_new(node: &Node, at: BlockRef) -> Result<bool, NodeError> {
    /// PUSH0, MCOPY and TLOAD, and returns a word.
    const CODE: &str = "0x60015f525f5f5f5e5f5c5060205ff3";
    if node.family.knows() || at.height.0 >= node.new_since.load(Ordering::Relaxed) {
        return Ok(true);
    }
    let header = headers::asked_at(node, at.height).await;
    if header.is_ok_and(|it| it.hash.0 == at.hash.0 && it.header.parent_beacon_block_root.is_some()) {
        node.new_since.fetch_min(at.height.0, Ordering::Relaxed);
        return Ok(true);
    }
    let is_known = match call_laid(node, at.hash, CODE, &Bytes::new(), "what its instructions are").await {
        Err(Refusal::Failed(error, _)) => return Err(error),
        answer => answer.is_ok_and(|answer| answer.len() == 32),
    };
    if is_known {
        node.new_since.fetch_min(at.height.0, Ordering::Relaxed);
    }
    Ok(is_known)
}

/// The code that is proven to be there. `None` where it cannot be run.
async fn code(node: &Node, at: BlockRef, proof: &AccountProof) -> Result<Option<Bytecode>, NodeError> {
    if !proof.has_code() {
        return Ok(Some(Bytecode::default()));
    }
    if let Some(known) = node.codes.lock().get(&proof.code_hash) {
        return Ok(Some(known.clone()));
    }
    let subject = format!("the code of {}", proof.address);
    let block = by_hash(at.hash);
    let code = match node.ask::<Bytes>("eth_getCode", json!([proof.address, block]), &subject).await {
        Err(Refusal::NoMethod(why)) => {
            node.can.contracts.lose(node, &why);
            return Ok(None);
        }
        code => code.or_fail(node, &subject)?,
    };
    let hash = keccak256(&code);
    if hash != proof.code_hash {
        let fault = if code.is_empty() { Fault::Omitted } else { Fault::Forged };
        return Err(node.contradiction(&subject, "the proven hash", fault, format!("its hash is {hash}")));
    }
    let Ok(code) = Bytecode::new_raw_checked(code) else { return Ok(None) };
    let mut known = node.codes.lock();
    if known.len() >= CODES {
        known.clear();
    }
    known.insert(hash, code.clone());
    Ok(Some(code))
}

/// What is needed and was not proven yet: an account, or a word of its storage.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{address} {key:?} is missing")]
struct Missing {
    address: Address,
    key: Option<B256>,
}

impl DBErrorMarker for Missing {}

/// What was proven, to one call, that notes what it looks at.
struct View<'a> {
    stage: &'a Stage<'a>,
    saw: &'a mut Grounds,
}

impl Database for View<'_> {
    type Error = Missing;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Missing> {
        // Who calls, and who is paid for it: nobody.
        if is_caller(address) {
            return Ok(None);
        }
        let account = self.stage.accounts.get(&address).ok_or(Missing { address, key: None })?;
        self.saw.codes.insert(address, account.code_hash);
        Ok(Some(account.clone()))
    }

    fn code_by_hash(&mut self, _: B256) -> Result<Bytecode, Missing> {
        Ok(Bytecode::default()) // an account has its code with it
    }

    fn storage(&mut self, address: Address, key: U256) -> Result<U256, Missing> {
        let key = B256::from(key);
        let word = *self.stage.words.get(&(address, key)).ok_or(Missing { address, key: Some(key) })?;
        self.saw.words.insert((address, key), word);
        Ok(word)
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
    /// The block's time and number may be asked for.
    has_block: bool,
    /// What not every chain, or block, has.
    is_new: bool,
    /// The gas of who was at work last, at his last step.
    gas_left: u64,
}

impl<CTX, INTR: InterpreterTypes> Inspector<CTX, INTR> for Outside {
    fn step(&mut self, interpreter: &mut Interpreter<INTR>, _: &mut CTX) {
        self.gas_left = interpreter.gas.remaining();
        let opcode = interpreter.bytecode.opcode();
        let stack = interpreter.stack.data();
        let argument = |nth: usize| stack.len().checked_sub(nth + 1).map(|place| address(stack[place]));
        let is_call = matches!(opcode, 0xf1 | 0xf2 | 0xf4 | 0xfa);
        self.is_asked |= self.has_gas && !is_call;
        self.has_gas = opcode == 0x5a;
        self.is_held_asked |= matches!(opcode, 0x31 | 0x47); // BALANCE, SELFBALANCE
        self.is_new |= matches!(opcode, 0x5c | 0x5e | 0x5f); // TLOAD, MCOPY, PUSH0
        // Who gives coins along changes something; so he does to himself, but for nobody to see.
        self.is_asked |= matches!(opcode, 0xf1 | 0xf2) && stack.len() > 2 && !stack[stack.len() - 3].is_zero();
        self.is_asked |= match opcode {
            0x42 | 0x43 => !self.has_block, // TIMESTAMP, NUMBER
            // CHAINID is as in the call of a node. CLZ; GASPRICE; BLOCKHASH to GASLIMIT; BASEFEE, BLOBHASH, BLOBBASEFEE, SLOTNUM.
            0x1e | 0x3a | 0x40..=0x45 | 0x48..=0x4b => true,
            // What changes something fails in the balance reader's calls: SSTORE, TSTORE, LOG0 to LOG4, CREATE, CREATE2, SELFDESTRUCT.
            0x55 | 0x5d | 0xa0..=0xa4 | 0xf0 | 0xf5 | 0xff => true,
            // BALANCE, EXTCODESIZE, EXTCODECOPY and EXTCODEHASH of the caller; ORIGIN, who is another one to the balance reader.
            0x31 | 0x3b | 0x3c | 0x3f => argument(0).is_some_and(is_caller),
            0x32 => true,
            // Beyond the first four (Yellow Paper, appendix E) chains differ in what is precompiled, and in what that costs.
            _ if is_call => {
                argument(1).is_some_and(|to| is_caller(to) || to[..18] == [0; 18] && !matches!(to[18..], [0, 0..=4]))
            }
            _ => false,
        };
    }

    /// What a call could not do for want of gas it can do where it has more, or where a word was looked at before.
    fn call_end(&mut self, _: &mut CTX, _: &CallInputs, outcome: &mut CallOutcome) {
        self.is_asked |= outcome.result.result == InstructionResult::OutOfGas
            || matches!(outcome.result.result, InstructionResult::MemoryOOG | InstructionResult::PrecompileOOG);
    }
}

fn is_caller(address: Address) -> bool {
    CALLS.iter().any(|(caller, _)| *caller == address)
}

fn address(word: U256) -> Address {
    Address::from_word(word.into())
}
