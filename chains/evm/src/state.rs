//! Readings: what accounts hold after a block, proven against its state root where that is wanted and possible.

use std::collections::{HashMap, HashSet};

use alloy::primitives::{Address, B256};
use alloy_trie::EMPTY_ROOT_HASH;
use assay_types::{AccountNo, Amount, Asset, BlockRef, NodeError, Reading};
use serde_json::json;

use crate::fetch::gone_or_missing;
use crate::node::{Node, OrFail, Refusal};
use crate::{reader, verify};

/// Proofs that are held at a time.
const PROOFS_AT_ONCE: usize = 500;

/// What is to be read, at which block.
pub(crate) struct Question<'a> {
    pub(crate) at: BlockRef,
    pub(crate) state_root: B256,
    pub(crate) accounts: &'a [(AccountNo, Address)],
    pub(crate) tokens: &'a [Address],
    /// The accounts whose native balance is to be proven.
    pub(crate) prove: &'a HashSet<AccountNo>,
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

/// Reads every account in every asset. A node that fails is an error; what it cannot know is in the readings.
pub(crate) async fn read(node: &Node, question: &Question<'_>) -> Result<Answer, NodeError> {
    let hash = B256::from(question.at.hash.0);
    let addresses: Vec<Address> = question.accounts.iter().map(|(_, address)| *address).collect();
    let wanted: Vec<(AccountNo, Address)> =
        question.accounts.iter().filter(|(number, _)| question.prove.contains(number)).copied().collect();
    let (balances, proven) = tokio::try_join!(
        reader::balances(node, hash, &addresses, question.tokens),
        proofs(node, question.at, question.state_root, &wanted),
    )?;
    match balances {
        Ok(balances) => Ok(Answer::Read(readings(node, question, balances, &proven))),
        Err(why) => {
            let subject = format!("the state of block {}", question.at.height);
            let reason = format!("{}: {subject} is not there: {why}", node.name);
            match gone_or_missing(node, question.at, &subject, &why).await {
                NodeError::Missing { .. } => {}
                error => return Err(error),
            }
            let columns = 1 + question.tokens.len();
            let unknown = addresses.iter().map(|_| vec![Err(reason.clone()); columns]).collect();
            Ok(Answer::NoState { unknown: readings(node, question, unknown, &proven), why })
        }
    }
}

/// Reads these accounts in one token, by calls of its own for each: what the batch said can be held against it.
pub(crate) async fn token(
    node: &Node,
    at: BlockRef,
    asset: Asset,
    accounts: &[(AccountNo, Address)],
) -> Result<Vec<Reading>, NodeError> {
    let Asset::Token(token) = asset else { return Ok(Vec::new()) };
    let addresses: Vec<Address> = accounts.iter().map(|(_, address)| *address).collect();
    let balances = reader::one_by_one(node, B256::from(at.hash.0), &addresses, &[token.into()]).await?;
    let numbers = accounts.iter().map(|(number, _)| *number);
    Ok(match balances {
        Ok(balances) => {
            let last = balances.into_iter().filter_map(|mut row| row.pop());
            numbers.zip(last).map(|(account, balance)| Reading { account, asset, balance, proven: false }).collect()
        }
        Err(why) => {
            numbers.map(|account| Reading { account, asset, balance: Err(why.clone()), proven: false }).collect()
        }
    })
}

fn readings(
    node: &Node,
    question: &Question<'_>,
    balances: Vec<Vec<reader::Balance>>,
    proven: &HashMap<AccountNo, Amount>,
) -> Vec<Reading> {
    let mut readings = Vec::with_capacity(balances.len() * (1 + question.tokens.len()));
    let assets = || std::iter::once(Asset::Native).chain(question.tokens.iter().map(|t| Asset::Token((*t).into())));
    for ((account, address), balances) in question.accounts.iter().zip(balances) {
        for (asset, balance) in assets().zip(balances) {
            let reading = Reading { account: *account, asset, balance, proven: false };
            readings.push(match (asset, proven.get(account)) {
                (Asset::Native, Some(proof)) => {
                    if reading.balance.as_ref().is_ok_and(|read| read != proof) {
                        tracing::warn!(
                            node = node.name,
                            block = question.at.height.0,
                            account = %address,
                            "the balance that was read is not the one that was proven, which counts"
                        );
                    }
                    Reading { balance: Ok(*proof), proven: true, ..reading }
                }
                _ => reading,
            });
        }
    }
    readings
}

/// The native balances of these accounts, each by a proof that was verified here. Empty where the node gives no proofs, or
/// where the state root proves nothing: a test node's genesis commits to the empty state, whatever it holds.
async fn proofs(
    node: &Node,
    at: BlockRef,
    state_root: B256,
    accounts: &[(AccountNo, Address)],
) -> Result<HashMap<AccountNo, Amount>, NodeError> {
    let mut proven = HashMap::with_capacity(accounts.len());
    if state_root == EMPTY_ROOT_HASH {
        return Ok(proven);
    }
    let block = json!({ "blockHash": B256::from(at.hash.0) });
    for some in accounts.chunks(PROOFS_AT_ONCE) {
        if !node.proofs.is_there() {
            return Ok(HashMap::new());
        }
        let questions = some.iter().map(|(_, address)| json!([address, [], block])).collect();
        let answers = node.ask_many::<verify::AccountProof>("eth_getProof", questions, "a proof").await?;
        for ((number, address), answer) in some.iter().zip(answers) {
            let subject = format!("the proof of {address} at block {}", at.height);
            match answer {
                Ok(proof) => {
                    let balance = verify::account(&proof, *address, state_root)
                        .map_err(|why| node.contradiction(&subject, "the state root", why))?;
                    proven.insert(*number, Amount(balance));
                }
                Err(Refusal::NoMethod(why)) => node.proofs.lose(node, "eth_getProof, so nothing is proven", &why),
                Err(Refusal::Absent(why)) => tracing::debug!(node = node.name, "no proof: {subject}: {why}"),
                Err(refusal) => return Err(refusal).or_fail(node, &subject),
            }
        }
    }
    Ok(proven)
}
