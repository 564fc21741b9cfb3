//! Readings: what accounts hold after a block (`at`, `reader`), proven against its state root where that is wanted and possible; tokens by slots of their
//! storage (`slots`), and by their code (`run`), which says whom they stop too (`remarks`). How far back a node keeps state, where no words say so, is
//! found out (`horizon`). A proof can be kept, and checked again by whoever has no node (`kept`).

mod at;
pub(crate) mod horizon;
pub(crate) mod kept;
pub(crate) mod reader;
pub(crate) mod remarks;
pub(crate) mod run;
pub(crate) mod slots;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use alloy::primitives::{Address, B256, U256};
use assay_types::{AccountNo, Amount, Asset, Between, Fault, NodeError, Pair, Proof, Reading};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::block::by_hash;
use crate::block::fetch::gone_or_missing;
use crate::diagnose::elsewhere;
use crate::node::{Node, OrFail, Refusal};
use crate::state::horizon::{Of, meant};
use crate::state::reader::Quantity;
use crate::state::slots::{Held, Slots, Token};
use crate::verify;

pub(crate) use at::StateAt;

/// Proofs that are held at a time.
const PROOFS_AT_ONCE: usize = 500;
/// Tokens whose balances are proven at a time.
const TOKENS_AT_ONCE: usize = 4;

/// What is to be read, at which block.
pub(crate) struct Question<'a> {
    pub(crate) at: StateAt,
    pub(crate) accounts: &'a [(AccountNo, Address)],
    pub(crate) tokens: &'a [Address],
    pub(crate) prove: Prove<'a>,
    /// Is what proves them wanted as well?
    pub(crate) keep: bool,
    /// Where tokens keep their balances, as far as that is known.
    pub(crate) slots: &'a Slots,
}

/// A balance that was proven, with what proves it where that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) amount: Amount,
    pub(crate) proof: Option<Proof>,
}

/// Which balances are to be proven: all of some accounts, and these.
#[derive(Clone)]
pub(crate) struct Prove<'a> {
    pub(crate) whose: Range<u32>,
    pub(crate) these: &'a HashSet<Pair>,
}

impl Prove<'_> {
    pub(crate) fn all() -> Prove<'static> {
        static NONE: LazyLock<HashSet<Pair>> = LazyLock::new(HashSet::new);
        Prove { whose: 0..u32::MAX, these: &NONE }
    }

    pub(crate) fn nothing() -> Prove<'static> {
        Prove { whose: 0..0, ..Prove::all() }
    }

    fn is_nothing(&self) -> bool {
        self.whose.is_empty() && self.these.is_empty()
    }

    fn wants(&self, pair: Pair) -> bool {
        self.whose.contains(&pair.0.0) || self.these.contains(&pair)
    }
}

/// What became of it.
pub(crate) enum Answer {
    /// By account in the order asked, native coin first, then by token. A balance may be unknown.
    Read(Vec<Reading>),
    /// The node has the block, and not its state: every balance is unknown.
    NoState {
        /// Every balance, unknown.
        unknown: Vec<Reading>,
        /// What the node says.
        why: String,
    },
}

impl Answer {
    /// All of them, known or not.
    pub(crate) fn readings(self) -> Vec<Reading> {
        match self {
            Answer::Read(readings) | Answer::NoState { unknown: readings, .. } => readings,
        }
    }
}

/// Reads every account in every asset. A node that fails is an error; what it cannot know is in the readings.
pub(crate) async fn read(node: &Node, question: &Question<'_>) -> Result<Answer, NodeError> {
    let addresses: Vec<Address> = question.accounts.iter().map(|(_, address)| *address).collect();
    let is_wanted = |(number, _): &&(AccountNo, Address)| question.prove.wants((*number, Asset::Native));
    let wanted: Vec<(AccountNo, Address)> = question.accounts.iter().filter(is_wanted).copied().collect();
    let (balances, proven) = tokio::try_join!(
        reader::balances(node, question.at.block, &addresses, question.tokens),
        proofs(node, question, &wanted)
    )?;
    match balances {
        Ok(balances) => {
            let mut denied = Vec::new();
            let mut readings = readings(question, balances, &proven, |address| denied.push(address));
            if !denied.is_empty() {
                let fault = elsewhere::of_call(node, question.at.block).await;
                for address in denied {
                    let subject = format!("the balance of {address} at block {}", question.at.block.height);
                    node.doubt(node.contradiction(&subject, "its proof", fault, "what was read is not what counts"));
                }
            }
            let lacks_proof = |(number, _): &(AccountNo, Address)| !proven.contains_key(number);
            let lacking = wanted.iter().copied().filter(lacks_proof).map(|(number, _)| number).collect();
            withhold(node, question, Asset::Native, &lacking, &mut readings).await;
            prove_tokens(node, question, &mut readings).await?;
            Ok(Answer::Read(readings))
        }
        Err(why) => {
            let subject = format!("the state of block {}", question.at.block.height);
            let reason = format!("{}: {subject} is not there: {why}", node.name);
            match gone_or_missing(node, question.at.block, &subject, Some(&why)).await {
                NodeError::Missing { .. } => {}
                error => return Err(error),
            }
            let columns = 1 + question.tokens.len();
            let unknown = addresses.iter().map(|_| vec![Err(reason.clone()); columns]).collect();
            Ok(Answer::NoState { unknown: readings(question, unknown, &proven, |_| ()), why })
        }
    }
}

/// Balances become unknown where the node proves other accounts at this block and withholds these. Zeros do not: some nodes prove nothing of accounts
/// that are not there.
async fn withhold(
    node: &Node,
    question: &Question<'_>,
    asset: Asset,
    lacking: &HashSet<AccountNo>,
    readings: &mut [Reading],
) {
    if lacking.is_empty() {
        return;
    }
    let holds = |one: &Reading| one.balance.as_ref().is_ok_and(|it| *it != Amount::ZERO);
    let is_lacking = |one: &Reading| one.asset == asset && !one.proven && lacking.contains(&one.account) && holds(one);
    if !question.at.is_provable() || !node.can.proofs.is_there() || !readings.iter().any(is_lacking) {
        return;
    }
    if !horizon::proves(node, question.at.block).await {
        return;
    }
    let (kind, name, block) = (Fault::Omitted, &node.name, question.at.block.height);
    let why = format!(
        "{name}: it does not prove what it says that accounts hold at block {block}, and proves others there {kind}"
    );
    tracing::warn!(kind = kind.as_str(), "{why}");
    for one in readings.iter_mut().filter(|one| is_lacking(one)) {
        one.balance = Err(why.clone());
    }
}

/// Up to so many accounts are read each by a call of its own.
const BY_THEMSELVES: usize = 64;

/// Reads these accounts in the question's tokens again. Few by calls of their own, so that what the batch said can be held against it.
pub(crate) async fn read_tokens(node: &Node, question: &Question<'_>) -> Result<Vec<Reading>, NodeError> {
    let addresses: Vec<Address> = question.accounts.iter().map(|(_, address)| *address).collect();
    let balances = match addresses.len() {
        ..=BY_THEMSELVES => reader::one_by_one(node, question.at.block, &addresses, question.tokens).await?,
        _ => reader::balances(node, question.at.block, &addresses, question.tokens).await?,
    };
    let columns = 1 + question.tokens.len();
    let balances = balances.unwrap_or_else(|why| addresses.iter().map(|_| vec![Err(why.clone()); columns]).collect());
    let mut readings = readings(question, balances, &HashMap::new(), |_| ());
    readings.retain(|reading| reading.asset != Asset::Native);
    prove_tokens(node, question, &mut readings).await?;
    Ok(readings)
}

/// Proves what is to be proven of the tokens, where that can be done.
async fn prove_tokens(node: &Node, question: &Question<'_>, readings: &mut [Reading]) -> Result<(), NodeError> {
    /// Of very many accounts even to go through them takes its time.
    const MANY: usize = 10_000;
    let is_all_read = || readings.len() > MANY || readings.iter().all(|reading| reading.balance.is_ok());
    if question.prove.is_nothing() && is_all_read() {
        return Ok(());
    }
    let addresses: HashMap<AccountNo, Address> = question.accounts.iter().copied().collect();
    let mut by_token: HashMap<Asset, (Vec<Held>, Vec<Address>)> = HashMap::new();
    for reading in readings.iter() {
        let Asset::Token(token) = reading.asset else { continue };
        let Some(account) = addresses.get(&reading.account) else { continue };
        let prove = question.prove.wants(reading.pair());
        let (held, failed) = by_token.entry(reading.asset).or_default();
        match &reading.balance {
            Ok(balance) => held.push(Held { account: *account, balance: *balance, prove }),
            Err(_) if prove || node.has_lied_of(token.into()) => failed.push(*account),
            Err(_) => {}
        }
    }
    let nobody = Default::default();
    let mut answers = futures_util::stream::iter(question.tokens)
        .map(async |address| {
            let asset = Asset::Token((*address).into());
            let Question { at, slots, keep, .. } = *question;
            let is_withheld = AtomicBool::new(false);
            let token = Token { node, slots, at, keep, address: *address, is_withheld: &is_withheld };
            let (held, failed) = by_token.get(&asset).unwrap_or(&nobody);
            let mut proven = token.prove(held).await?;
            proven.extend(token.rescue(failed).await?);
            Ok((asset, proven, is_withheld.into_inner()))
        })
        .buffer_unordered(TOKENS_AT_ONCE);
    let (mut proven, mut withheld) = (HashMap::<Asset, HashMap<Address, Shown>>::new(), Vec::new());
    while let Some((asset, shown, is_withheld)) = answers.try_next().await? {
        proven.insert(asset, shown);
        withheld.extend(is_withheld.then_some(asset));
    }
    for reading in &mut *readings {
        let account = addresses.get(&reading.account);
        if let Some(shown) = account.and_then(|account| proven.get_mut(&reading.asset)?.remove(account)) {
            (reading.balance, reading.proven, reading.proof) = (Ok(shown.amount), true, shown.proof);
        }
    }
    for asset in withheld {
        let lacking = addresses.keys().filter(|account| question.prove.wants((**account, asset))).copied().collect();
        withhold(node, question, asset, &lacking, readings).await;
    }
    Ok(())
}

/// `denied` is called with each account of which another native balance is proven than was read.
fn readings(
    question: &Question<'_>,
    balances: Vec<Vec<reader::Balance>>,
    proven: &HashMap<AccountNo, Native>,
    mut denied: impl FnMut(Address),
) -> Vec<Reading> {
    let mut readings = Vec::with_capacity(balances.len() * (1 + question.tokens.len()));
    let assets = || std::iter::once(Asset::Native).chain(question.tokens.iter().map(|t| Asset::Token((*t).into())));
    for ((account, address), balances) in question.accounts.iter().zip(balances) {
        for (asset, balance) in assets().zip(balances) {
            let reading = Reading::unproven((*account, asset), balance);
            readings.push(match (asset, proven.get(account)) {
                (Asset::Native, Some(Native { shown: Shown { amount, proof }, between })) => {
                    if reading.balance.as_ref().is_ok_and(|read| read != amount) {
                        denied(*address);
                    }
                    Reading { balance: Ok(*amount), proven: true, proof: proof.clone(), between: *between, ..reading }
                }
                _ => reading,
            });
        }
    }
    readings
}

/// A native balance that was proven.
struct Native {
    shown: Shown,
    /// See [`Reading::between`].
    between: Between,
}

/// The native balances of these accounts, each by a proof that was verified here. Empty where the node gives no proofs, or
/// where the state root proves nothing: a test node's genesis commits to the empty state, whatever it holds.
async fn proofs(
    node: &Node,
    question: &Question<'_>,
    accounts: &[(AccountNo, Address)],
) -> Result<HashMap<AccountNo, Native>, NodeError> {
    let Question { at, keep, .. } = *question;
    let native = |number, proof: verify::AccountProof| {
        let shown = Shown { amount: Amount(proof.balance), proof: keep.then(|| kept::of_account(&proof)) };
        let nonce = proof.nonce.to();
        let between = match proof.has_code() {
            true => Between::Untold,
            false => Between::Sent { before: nonce, after: nonce },
        };
        (number, Native { shown, between })
    };
    let proven = each_proof(node, at, accounts, native).await?;
    Ok(proven.into_iter().collect())
}

/// How many transactions this account has sent, proven where the node proves anything.
pub(crate) async fn nonce(node: &Node, at: StateAt, address: Address) -> Result<u64, NodeError> {
    let subject = format!("the nonce of {address} at block {}", at.block.height);
    let proven = each_proof(node, at, &[((), address)], |(), proof| proof.nonce.to()).await?;
    match proven[..] {
        [nonce] => Ok(nonce),
        _ if node.can.proofs.is_there() && at.is_provable() => {
            Err(node.missing(&subject, None, "its account is not proven"))
        }
        _ => {
            let params = json!([address, by_hash(at.block.hash)]);
            let said: Quantity = node.ask("eth_getTransactionCount", params, &subject).await.or_fail(node, &subject)?;
            Ok(said.0.saturating_to())
        }
    }
}

pub(crate) async fn each_proof<K: Copy, T>(
    node: &Node,
    at: StateAt,
    accounts: &[(K, Address)],
    take: impl Fn(K, verify::AccountProof) -> T,
) -> Result<Vec<T>, NodeError> {
    let mut proven = Vec::with_capacity(accounts.len());
    if !at.is_provable() {
        return Ok(proven);
    }
    let block = by_hash(at.block.hash);
    for some in accounts.chunks(PROOFS_AT_ONCE) {
        if !node.can.proofs.is_there() {
            return Ok(Vec::new());
        }
        let questions = some.iter().map(|(_, address)| json!([address, [], block])).collect();
        let answers = node.ask_many::<verify::AccountProof>("eth_getProof", questions, "a proof").await?;
        for ((whose, address), answer) in some.iter().zip(answers) {
            // An address in words takes a hash.
            let subject = || format!("the proof of {address} at block {}", at.block.height);
            match answer {
                Ok(proof) => {
                    checked(node, at, (*address, &[]), &proof, &subject()).await?;
                    proven.push(take(*whose, proof));
                }
                Err(Refusal::NoMethod(why)) => node.can.proofs.refuse(node, &subject(), &why)?,
                // Some say of an account that is not there that they do not find it, in words of their own.
                Err(Refusal::Absent(why) | Refusal::Other(why)) => {
                    tracing::debug!(node = node.name, "no proof: {}: {why}", subject());
                }
                Err(refusal) => match meant(node, at.block, Of::Proofs, refusal).await {
                    Refusal::Absent(why) => {
                        tracing::debug!(node = node.name, "no proofs of block {}: {why}", at.block.height);
                        return Ok(proven);
                    }
                    refusal => return Err(refusal).or_fail(node, &subject()),
                },
            }
        }
    }
    Ok(proven)
}

/// The proof of an account, with these words of its storage, verified against the state root, as [`verify::storage`] has them. A refusal means
/// what [`meant`] says.
///
/// # Errors
/// A contradiction where it does not verify.
pub(crate) async fn prove(
    node: &Node,
    at: StateAt,
    address: Address,
    keys: &[B256],
) -> Result<Result<(verify::AccountProof, Option<Vec<U256>>), Refusal>, NodeError> {
    let subject = format!("the proof of {address} at block {}", at.block.height);
    let block = by_hash(at.block.hash);
    let refusal = match node.ask::<verify::AccountProof>("eth_getProof", json!([address, keys, block]), &subject).await
    {
        Ok(proof) => {
            let words = checked(node, at, (address, keys), &proof, &subject).await?;
            return Ok(Ok((proof, words)));
        }
        Err(refusal) => meant(node, at.block, Of::Proofs, refusal).await,
    };
    // It may be more keys than it takes.
    if keys.len() < 2 || !matches!(refusal, Refusal::Other(_) | Refusal::TooMuch(_)) {
        return Ok(Err(refusal));
    }
    let (some, others) = keys.split_at(keys.len() / 2);
    // Where one half is refused to its last key, the other one is of no use.
    let (mut proof, words) = match Box::pin(prove(node, at, address, some)).await? {
        Ok(some) => some,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let (other, others) = match Box::pin(prove(node, at, address, others)).await? {
        Ok(others) => others,
        Err(refusal) => return Ok(Err(refusal)),
    };
    proof.storage_proof.get_or_insert_default().extend(other.storage_proof.unwrap_or_default());
    Ok(Ok((proof, words.zip(others).map(|(words, others)| [words, others].concat()))))
}

/// The same of a contract of which a node need not prove anything: `None` where it gives no proofs at all, `Err` where it refuses this one, in words. What
/// rests on it is unknown then, if the node proves others ([`withhold`]).
pub(crate) async fn prove_contract(
    node: &Node,
    at: StateAt,
    address: Address,
    keys: &[B256],
) -> Result<Option<Result<(verify::AccountProof, Option<Vec<U256>>), String>>, NodeError> {
    if !node.can.proofs.is_there() {
        return Ok(None);
    }
    let subject = format!("the proof of contract {address} at block {}", at.block.height);
    match prove(node, at, address, keys).await? {
        Ok(proven) => Ok(Some(Ok(proven))),
        Err(Refusal::NoMethod(why)) => node.can.proofs.refuse(node, &subject, &why).map(|()| None),
        Err(refusal) => {
            let why = refusal.in_words()?;
            tracing::debug!(node = node.name, "no proof: {subject}: {why}");
            Ok(Some(Err(why)))
        }
    }
}

/// The words that a proof shows of these slots of an account, as [`verify::storage`] has them.
///
/// # Errors
/// A contradiction where it does not verify.
pub(crate) async fn checked(
    node: &Node,
    at: StateAt,
    (address, keys): (Address, &[B256]),
    proof: &verify::AccountProof,
    subject: &str,
) -> Result<Option<Vec<U256>>, NodeError> {
    match verify::storage(proof, address, at.root, keys) {
        Ok(words) => {
            node.note_proven(at.block.hash);
            Ok(words)
        }
        Err(why) => {
            let fault = elsewhere::of_proof(node, at, (address, keys), proof).await;
            Err(node.contradiction(subject, "the state root", fault, why))
        }
    }
}
