//! Balances of many accounts in many assets at one block: through the balance reader where the node lets code be laid
//! over an address for the time of a call (data/contracts/README.md), else one by one.

use std::collections::HashMap;

use alloy::primitives::{Address, Bytes, U64, U256, address};
use alloy::sol_types::{SolCall, sol};
use assay_types::{Amount, BlockHash, BlockRef, Fault, NodeError};
use futures_util::StreamExt;
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::{Value, json};

use crate::block::by_hash;
use crate::node::{Node, OrFail, Refusal};
use crate::state::horizon::{Of, meant};

sol! {
    #![sol(alloy_sol_types = alloy::sol_types)]
    /// ERC-20's balance.
    function balanceOf(address account) external view returns (uint256);
}

/// "assay balance reader": an address without code.
pub(crate) const READER: Address = address!("61737361792062616c616e636520726561646572");
/// What [`READER`] runs. `data/contracts/BalanceReader.sol`, compiled; a test compares the two.
const RUNTIME: &str = include_str!("reader.hex");
/// Balances asked for in one call.
const CHUNK: usize = 2_500;
/// Calls at a time.
const AT_ONCE: usize = 4;

/// The gas of a single `balanceOf`: 200,000 as the balance reader gives it, and what a call costs before it begins.
pub(crate) const CALL_GAS: u64 = 222_000;
/// What the balance reader gives one.
pub(crate) const READERS_GAS: u64 = 200_000;

/// A call of `balanceOf`.
pub(crate) fn balance_of(account: Address) -> Bytes {
    balanceOfCall { account }.abi_encode().into()
}

/// A balance, or why it is unknown.
pub(crate) type Balance = Result<Amount, String>;

/// Every account's balances, native coin first, then by token; or why the node has no state at this block.
pub(crate) type Balances = Result<Vec<Vec<Balance>>, String>;

/// Reads everything at the block of this hash.
pub(crate) async fn balances(
    node: &Node,
    at: BlockRef,
    accounts: &[Address],
    tokens: &[Address],
) -> Result<Balances, NodeError> {
    if node.can.overrides.is_there() && !accounts.is_empty() {
        match by_reader(node, at, accounts, tokens).await {
            Ok(balances) => return Ok(Ok(balances)),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::NoState(why)) => return Ok(Err(why)),
            Err(Stop::NoOverride(why)) => {
                node.can.overrides.lose(node, &why);
            }
        }
    }
    one_by_one(node, at, accounts, tokens).await
}

/// Does the node say these balances, of the native coin or a token?
pub(crate) async fn says(node: &Node, at: BlockRef, balances: &[(Address, Amount)], token: Option<Address>) -> bool {
    let accounts: Vec<Address> = balances.iter().map(|(account, _)| *account).collect();
    let read = self::balances(node, at, &accounts, token.as_slice()).await;
    let is_so = |(row, one): (&Vec<Balance>, &(Address, Amount))| row.last() == Some(&Ok(one.1));
    read.is_ok_and(|read| read.is_ok_and(|read| read.iter().zip(balances).all(is_so)))
}

/// Why reading stops.
enum Stop {
    Failed(NodeError),
    NoState(String),
    NoOverride(String),
}

/// A rectangle of questions: these accounts in these tokens. The reader always gives the native balances too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chunk {
    accounts: (usize, usize),
    tokens: (usize, usize),
}

impl Chunk {
    fn accounts(self) -> usize {
        self.accounts.1 - self.accounts.0
    }

    fn tokens(self) -> usize {
        self.tokens.1 - self.tokens.0
    }

    /// Two smaller ones; none where there is one account in at most one token.
    fn halves(self) -> Option<[Chunk; 2]> {
        let halved = |(from, to): (usize, usize)| {
            let middle = from + (to - from) / 2;
            ((from, middle), (middle, to))
        };
        if self.accounts() > 1 {
            let (low, high) = halved(self.accounts);
            Some([Chunk { accounts: low, ..self }, Chunk { accounts: high, ..self }])
        } else if self.tokens() > 1 {
            let (low, high) = halved(self.tokens);
            Some([Chunk { tokens: low, ..self }, Chunk { tokens: high, ..self }])
        } else {
            None
        }
    }
}

/// What one call told: balances by (account, asset), asset 0 being the native coin, and what is still to be asked.
struct Told {
    balances: Vec<((usize, usize), Balance)>,
    rest: Vec<Chunk>,
}

async fn by_reader(
    node: &Node,
    at: BlockRef,
    accounts: &[Address],
    tokens: &[Address],
) -> Result<Vec<Vec<Balance>>, Stop> {
    let step = (CHUNK / (1 + tokens.len())).max(1);
    let chunks = (0..accounts.len())
        .step_by(step)
        .map(|from| Chunk { accounts: (from, accounts.len().min(from + step)), tokens: (0, tokens.len()) });
    let mut answers = futures_util::stream::iter(chunks)
        .map(|chunk| chunk_to_the_end(node, at, accounts, tokens, chunk))
        .buffer_unordered(AT_ONCE);
    let unread = || vec![Err("was not read".to_owned()); 1 + tokens.len()];
    let mut balances: Vec<Vec<Balance>> = accounts.iter().map(|_| unread()).collect();
    while let Some(answer) = answers.next().await {
        for ((account, asset), balance) in answer? {
            balances[account][asset] = balance;
        }
    }
    Ok(balances)
}

async fn chunk_to_the_end(
    node: &Node,
    at: BlockRef,
    accounts: &[Address],
    tokens: &[Address],
    chunk: Chunk,
) -> Result<Vec<((usize, usize), Balance)>, Stop> {
    let mut open = vec![chunk];
    let mut balances = Vec::new();
    while let Some(chunk) = open.pop() {
        let told = call(node, at, accounts, tokens, chunk).await?;
        balances.extend(told.balances);
        open.extend(told.rest);
    }
    Ok(balances)
}

async fn call(node: &Node, at: BlockRef, accounts: &[Address], tokens: &[Address], chunk: Chunk) -> Result<Told, Stop> {
    let subject = "balances";
    let question = question(&accounts[chunk.accounts.0..chunk.accounts.1], &tokens[chunk.tokens.0..chunk.tokens.1]);
    let smaller = |why: String| match chunk.halves() {
        Some(halves) => Ok(Told { balances: Vec::new(), rest: halves.into() }),
        None => Err(Stop::NoOverride(why)),
    };
    let asked = call_laid(node, at.hash, RUNTIME.trim(), &question, subject).await;
    match told_of_state(node, at, asked).await {
        Ok(answer) => told(chunk, &answer).map_err(|why| match why {
            Untold::Nothing => Stop::NoOverride("it is ignored".into()),
            Untold::Nonsense(why) => Stop::Failed(node.unreadable(subject, Fault::Garbled, why)),
        }),
        Err(Refusal::Absent(why)) => Err(Stop::NoState(why)),
        Err(Refusal::NoMethod(why)) => Err(Stop::NoOverride(why)),
        // Of one account in one token, single calls will say what is wrong
        Err(refusal) => smaller(refusal.in_words().map_err(Stop::Failed)?),
    }
}

fn question(accounts: &[Address], tokens: &[Address]) -> Bytes {
    let count = u32::try_from(accounts.len()).unwrap_or(u32::MAX); // at most CHUNK
    let mut question = count.to_be_bytes().to_vec();
    for address in accounts.iter().chain(tokens) {
        question.extend_from_slice(address.as_slice());
    }
    question.into()
}

#[derive(Debug, PartialEq, Eq)]
enum Untold {
    Nothing,
    Nonsense(&'static str),
}

/// Reads the reader's answer, which may be a prefix: what is there is right, the rest is asked for again.
fn told(chunk: Chunk, answer: &[u8]) -> Result<Told, Untold> {
    let (count, tokens) = (chunk.accounts(), chunk.tokens());
    if !answer.len().is_multiple_of(32) || answer.len() > 32 * count * (1 + 2 * tokens) {
        return Err(Untold::Nonsense("it is not of the length that it should have"));
    }
    if answer.is_empty() {
        return Err(Untold::Nothing);
    }
    let words: Vec<U256> = answer.chunks_exact(32).map(U256::from_be_slice).collect();
    let native = words.iter().take(count).enumerate();
    let mut balances: Vec<_> = native.map(|(i, word)| ((chunk.accounts.0 + i, 0), Ok(Amount(*word)))).collect();
    let pairs = words.get(count..).unwrap_or_default().chunks_exact(2);
    let read = pairs.len();
    for (place, pair) in pairs.enumerate() {
        let balance = match (u64::try_from(pair[0]), pair[1]) {
            (Ok(0), _) => Ok(Amount::ZERO),
            (Ok(1), value) => Ok(Amount(value)),
            (Ok(2), _) => Err("balanceOf failed".to_owned()),
            _ => return Err(Untold::Nonsense("it has a status that is none")),
        };
        balances.push(((chunk.accounts.0 + place % count, 1 + chunk.tokens.0 + place / count), balance));
    }
    let rest = rest(chunk, words.len(), read, &mut balances);
    Ok(Told { balances, rest })
}

/// What a prefix of `words` words, with `read` token balances in it, left unread.
fn rest(chunk: Chunk, words: usize, read: usize, balances: &mut Vec<((usize, usize), Balance)>) -> Vec<Chunk> {
    let (count, tokens) = (chunk.accounts(), chunk.tokens());
    if words >= count && read == count * tokens {
        return Vec::new();
    }
    if words < count || read == 0 {
        return match chunk.halves() {
            Some(halves) => halves.into(),
            None => {
                let unread = (chunk.accounts.0, 1 + chunk.tokens.0);
                balances.push((unread, Err("balanceOf wants more gas than the node gives a call".into())));
                Vec::new()
            }
        };
    }
    let (whole, part) = (read / count, read % count);
    let token = chunk.tokens.0 + whole;
    let begun = Chunk { accounts: (chunk.accounts.0 + part, chunk.accounts.1), tokens: (token, token + 1) };
    let later = Chunk { accounts: chunk.accounts, tokens: (token + 1, chunk.tokens.1) };
    [begun, later].into_iter().filter(|chunk| chunk.tokens() > 0).collect()
}

/// A number as the execution APIs write it: nothing, `0x`, is none.
pub(crate) struct Quantity(pub(crate) U256);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Quantity, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.strip_prefix("0x").filter(|digits| !digits.is_empty());
        let number = digits.and_then(|digits| U256::from_str_radix(digits, 16).ok());
        number.map(Quantity).ok_or_else(|| Error::custom(format_args!("{text:?} is no number")))
    }
}

/// The slow way: `eth_getBalance`, and `eth_call` of `balanceOf`.
pub(crate) async fn one_by_one(
    node: &Node,
    at: BlockRef,
    accounts: &[Address],
    tokens: &[Address],
) -> Result<Balances, NodeError> {
    let block = by_hash(at.hash);
    let native = accounts.iter().map(|account| json!([account, block])).collect();
    let mut balances = Vec::with_capacity(accounts.len());
    for answer in node.ask_many::<Quantity>("eth_getBalance", native, "a balance").await? {
        match told_of_state(node, at, answer).await {
            Ok(Quantity(balance)) => balances.push(vec![Ok(Amount(balance))]),
            Err(Refusal::Absent(why)) => return Ok(Err(why)),
            Err(refusal) => return Err(refusal).or_fail(node, "a balance"),
        }
    }
    let mut has_code = HashMap::new();
    for token in tokens {
        let gas = U64::from(CALL_GAS);
        let call = |account| json!([{ "to": token, "data": balance_of(account), "gas": gas }, block]);
        let calls = accounts.iter().map(|account| call(*account)).collect();
        let answers = node.ask_many::<Bytes>("eth_call", calls, "a token's balance").await?;
        for (row, answer) in balances.iter_mut().zip(answers) {
            row.push(match told_of_state(node, at, answer).await {
                Ok(answer) if answer.len() >= 32 => Ok(Amount(U256::from_be_slice(&answer[..32]))),
                Ok(answer) if answer.is_empty() && !code_is_there(node, &block, *token, &mut has_code).await? => {
                    Ok(Amount::ZERO)
                }
                Ok(_) => Err("balanceOf answers with less than an amount".into()),
                Err(Refusal::Absent(why)) => return Ok(Err(why)),
                Err(Refusal::Execution(why)) => Err(format!("balanceOf failed: {why}")),
                Err(refusal) => return Err(refusal).or_fail(node, "a token's balance"),
            });
        }
    }
    Ok(Ok(balances))
}

/// The same, where it is an answer; what a refusal means.
async fn told_of_state<T>(node: &Node, at: BlockRef, answer: Result<T, Refusal>) -> Result<T, Refusal> {
    match answer {
        Err(refusal) => Err(meant(node, at, Of::Balances, refusal).await),
        answer => answer,
    }
}

/// A contract that was not there yet held nothing.
async fn code_is_there(
    node: &Node,
    at: &Value,
    token: Address,
    known: &mut HashMap<Address, bool>,
) -> Result<bool, NodeError> {
    if let Some(there) = known.get(&token) {
        return Ok(*there);
    }
    let code: Bytes = node.ask("eth_getCode", json!([token, at]), "a token's code").await.or_fail(node, "its code")?;
    known.insert(token, !code.is_empty());
    Ok(!code.is_empty())
}

/// Does the node lay code over an address for the time of a call?
pub(crate) async fn is_laid(node: &Node, at: BlockRef) -> Result<bool, Refusal> {
    let question = question(&[Address::ZERO], &[]);
    Ok(call_laid(node, at.hash, RUNTIME.trim(), &question, "balances").await?.len() == 32)
}

/// Calls this code, laid over an address for the time of the call, with this input.
pub(crate) async fn call_laid(
    node: &Node,
    block: BlockHash,
    code: &str,
    input: &Bytes,
    subject: &str,
) -> Result<Bytes, Refusal> {
    let over = json!({ (format!("{READER:?}")): { "code": code } });
    node.ask("eth_call", json!([{ "to": READER, "data": input }, by_hash(block), over]), subject).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_what_the_source_compiles_to() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/contracts/build/BalanceReader.json");
        let built: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(built["runtime"], RUNTIME.trim());
    }

    /// What the reader answers when its gas lasts for so many words: account i holds i in ether and 100 t + i in token t.
    fn answer(chunk: Chunk, words: usize) -> Vec<u8> {
        let native = (chunk.accounts.0..chunk.accounts.1).map(|account| vec![account]);
        let tokens = (chunk.tokens.0..chunk.tokens.1).flat_map(|token| {
            (chunk.accounts.0..chunk.accounts.1).map(move |account| vec![1, 100 * (token + 1) + account])
        });
        // a pair is written whole or not at all
        let mut answer = Vec::new();
        for part in native.chain(tokens).scan(0, |used, part| {
            *used += part.len();
            (*used <= words).then_some(part)
        }) {
            for word in part {
                answer.extend_from_slice(&U256::from(word).to_be_bytes::<32>());
            }
        }
        answer
    }

    #[test]
    fn prefixes_of_any_length_are_asked_on_to_the_end() {
        for (accounts, tokens) in [(1, 0), (1, 1), (5, 0), (7, 3), (1, 4), (6, 1)] {
            for words in 3..accounts * (1 + 2 * tokens) + 2 {
                let mut open = vec![Chunk { accounts: (0, accounts), tokens: (0, tokens) }];
                let mut read = HashMap::new();
                for _ in 0..1_000 {
                    let Some(chunk) = open.pop() else { break };
                    let told = told(chunk, &answer(chunk, words)).unwrap_or_else(|why| panic!("{why:?}"));
                    read.extend(told.balances);
                    open.extend(told.rest);
                }
                assert!(open.is_empty(), "{accounts} accounts, {tokens} tokens, {words} words");
                assert_eq!(read.len(), accounts * (1 + tokens));
                for ((account, asset), balance) in read {
                    assert_eq!(balance, Ok(Amount::from((100 * asset + account) as u64)));
                }
            }
        }
    }

    #[test]
    fn nonsense_is_no_balance() {
        let chunk = Chunk { accounts: (0, 1), tokens: (0, 1) };
        let nonsense = |words: &[u64]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>()).collect();
            told(chunk, &bytes).err()
        };
        assert_eq!(nonsense(&[]), Some(Untold::Nothing));
        assert!(matches!(nonsense(&[1, 3, 0]), Some(Untold::Nonsense(_))));
        assert!(matches!(nonsense(&[1, 1, 0, 0]), Some(Untold::Nonsense(_))));
        assert!(matches!(told(chunk, &[0; 31]).err(), Some(Untold::Nonsense(_))));
        let unread = told(chunk, &answer(chunk, 1)).ok().unwrap();
        assert!(unread.balances[1].1.as_ref().unwrap_err().contains("gas"));
    }
}
