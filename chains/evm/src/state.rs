//! Readings: what accounts hold after a block (`reader`), proven against its state root where that is wanted and possible (`proofs`); tokens by slots
//! of their storage (`slots`), and by their code (`run`), which says whom they stop too (`remarks`). How far back a node keeps state, where no words say so, is
//! found out (`horizon`). A proof can be kept, and checked again by whoever has no node (`kept`). Of which
//! block an answer is that proofs deny, `elsewhere` finds out.

pub(crate) mod elsewhere;
pub(crate) mod horizon;
pub(crate) mod kept;
pub(crate) mod proofs;
pub(crate) mod reader;
pub(crate) mod remarks;
pub(crate) mod run;
pub(crate) mod slots;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use alloy::primitives::Address;
use assay_types::{AccountNo, Amount, Asset, Between, BlockRef, Fault, NodeError, Pair, Reading};
use futures_util::{StreamExt, TryStreamExt};

use crate::block::StateAt;
use crate::block::headers::{self, gone_or_missing};
use crate::node::Node;
use crate::state::proofs::{Shown, each_proof};
use crate::state::slots::{Held, Slots, Token};
use crate::verify;

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
            let mut readings = readings(question, balances, &proven, |one| denied.push(one));
            tell_denied(node, question.at.block, &denied).await;
            let lacks_proof = |(number, _): &(AccountNo, Address)| !proven.contains_key(number);
            let lacking = wanted.iter().copied().filter(lacks_proof).map(|(number, _)| number).collect();
            withhold(node, question, Asset::Native, &lacking, &mut readings).await;
            prove_tokens(node, question, false, &mut readings).await?;
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

/// A native balance that was read, and the one that is proven.
struct Denied {
    address: Address,
    said: Amount,
    proven: Amount,
}

/// Tells of them, unless the node only made its next block meanwhile.
async fn tell_denied(node: &Node, at: BlockRef, denied: &[Denied]) {
    let Some(Denied { address, said, .. }) = denied.first() else { return };
    let proven: Vec<(Address, Amount)> = denied.iter().map(|one| (one.address, one.proven)).collect();
    if headers::was_busy(node, at, reader::says(node, at, &proven, None)).await || headers::has_left(node, at).await {
        return;
    }
    let fault = elsewhere::of_balance(node, at, *address, *said).await;
    for Denied { address, .. } in denied {
        let subject = format!("the balance of {address} at block {}", at.height);
        node.doubt(node.contradiction(&subject, "its proof", fault, "what was read is not what counts"));
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
    prove_tokens(node, question, true, &mut readings).await?;
    Ok(readings)
}

/// Proves what is to be proven of the tokens, where that can be done.
async fn prove_tokens(
    node: &Node,
    question: &Question<'_>,
    parted: bool,
    readings: &mut [Reading],
) -> Result<(), NodeError> {
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
            let token = Token { node, slots, at, keep, address: *address, parted, is_withheld: &is_withheld };
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
    mut denied: impl FnMut(Denied),
) -> Vec<Reading> {
    let mut readings = Vec::with_capacity(balances.len() * (1 + question.tokens.len()));
    let assets = || std::iter::once(Asset::Native).chain(question.tokens.iter().map(|t| Asset::Token((*t).into())));
    for ((account, address), balances) in question.accounts.iter().zip(balances) {
        for (asset, balance) in assets().zip(balances) {
            let reading = Reading::unproven((*account, asset), balance);
            readings.push(match (asset, proven.get(account)) {
                (Asset::Native, Some(Native { shown: Shown { amount, proof }, between })) => {
                    if let Ok(said) = reading.balance
                        && said != *amount
                    {
                        denied(Denied { address: *address, said, proven: *amount });
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
