//! What a token's contract is, and whom it stops, beside balances: both by its code, run here on proven storage. What is remarked here moves nobody's
//! balance, and its absence holds up no block. Only a proof that contradicts the state root does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};

use alloy::primitives::{Address, B256, Bytes, keccak256};
use assay_types::{AccountNo, Amount, Asset, Fault, NodeError, Reading, Remark};
use futures_util::StreamExt;
use parking_lot::Mutex;

use crate::block::headers;
use crate::node::Node;
use crate::state::Question;
use crate::state::elsewhere::STRANGER;
use crate::state::reader::balance_of;
use crate::state::run::{Keys, Run, Stage};
use crate::verify::is_code;

/// Tokens that are looked at a time.
const AT_ONCE: usize = 4;
/// At most so many accounts are asked about at a block; of more, some by chance.
const MOST_ACCOUNTS: usize = 500;

/// How well-known tokens say that they let an account not pay: USDC, USDT, PYUSD and USDP, and what is modelled on them.
const EXPOSING: [&str; 8] = [
    "isBlacklisted(address)",
    "isBlackListed(address)",
    "getBlackListStatus(address)",
    "isFrozen(address)",
    "isBlocked(address)",
    "frozen(address)",
    "blacklisted(address)",
    "blocklisted(address)",
];

/// By which methods a token says it, of those that are known here.
type How = Vec<[u8; 4]>;

/// What has been found out about each token.
#[derive(Debug, Default)]
pub(crate) struct Exposed(Mutex<HashMap<Address, Known>>);

#[derive(Debug, Clone)]
struct Known {
    /// Of its code.
    fingerprint: B256,
    how: How,
    /// Fingerprint of the code that runs when these methods are called, whether the token has them or not.
    lists: B256,
    /// What it was seen to look at, which it is likely to look at again.
    looked_at: Keys,
}

/// What there is to remark of these tokens after a block of this time, in seconds, where these balances were read.
pub(crate) async fn remarks(
    node: &Node,
    exposed: &Exposed,
    question: &Question<'_>,
    time: u64,
    readings: &[Reading],
) -> Result<Vec<Remark>, NodeError> {
    if !question.at.is_provable() || !node.can.proofs.is_there() || !node.can.contracts.is_there() {
        return Ok(Vec::new());
    }
    let mut each = futures_util::stream::iter(question.tokens)
        .map(async |token| {
            let mut stage = Stage::new(node, question.at, Some(time));
            let remarks = of_token(&mut stage, exposed, question, *token, readings).await;
            stage.tell_withheld().await;
            remarks
        })
        .buffered(AT_ONCE);
    let mut remarks = Vec::new();
    while let Some(some) = each.next().await {
        match some {
            Ok(some) => remarks.extend(some),
            Err(error @ NodeError::Contradiction { .. }) => return Err(error),
            Err(error) if error.fault() == Some(Fault::Omitted) => {
                headers::doubt(node, question.at.block, error).await;
            }
            // What it cannot bear is not worth a block.
            Err(error) => {
                node.can.contracts.lose(node, &error.to_string());
                break;
            }
        }
    }
    Ok(remarks)
}

async fn of_token(
    stage: &mut Stage<'_>,
    exposed: &Exposed,
    question: &Question<'_>,
    token: Address,
    readings: &[Reading],
) -> Result<Vec<Remark>, NodeError> {
    let asset = Asset::Token(token.into());
    let known = exposed.0.lock().get(&token).cloned();
    stage.add(known.as_ref().map_or_else(|| Keys::from([(token, BTreeSet::new())]), |it| it.looked_at.clone())).await?;
    let Some(run) = stage.run(token, &[balance_of(STRANGER)]).await?.pop().flatten() else { return Ok(Vec::new()) };
    // The token's, and of every contract that it asks: a proxy's other code is found wherever it keeps the address.
    let codes: BTreeMap<Address, B256> =
        run.saw.codes.iter().filter(|it| is_code(*it.1)).map(|it| (*it.0, *it.1)).collect();
    if !codes.contains_key(&token) {
        return Ok(vec![Remark::Code { asset, fingerprint: [0; 32] }]);
    }
    let fingerprint = fingerprint(&codes);
    let mut remarks = vec![Remark::Code { asset, fingerprint: fingerprint.0 }];
    let mut looked_at = run.saw.keys();
    let mut look = |runs: &[Option<Run>]| {
        for (contract, keys) in runs.iter().flatten().flat_map(|run| run.saw.keys()) {
            looked_at.entry(contract).or_default().extend(keys);
        }
    };
    // A list may be in another contract than balances, and come, go or be replaced there.
    let lists = stage.run(token, &EXPOSING.map(|name| call(method(name), STRANGER))).await?;
    look(&lists);
    let lists = self::fingerprint(&lists.iter().flatten().flat_map(|run| run.saw.codes.clone()).collect());
    let (how, is_open) = match known {
        Some(known) if (known.fingerprint, known.lists) == (fingerprint, lists) => (known.how, false),
        _ => look_for(stage, token).await?,
    };
    if is_open && how.is_empty() {
        return Ok(remarks);
    }
    let asked = asked(question, asset, readings);
    // By whom it says of nobody that he is stopped, it stops nobody any more.
    let mut said = vec![Some(false); asked.len()];
    for method in &how {
        let runs = says(stage, token, *method, asked.iter().map(|(_, address)| *address)).await?;
        look(&runs);
        for (said, run) in said.iter_mut().zip(&runs).filter(|(said, _)| **said != Some(true)) {
            *said = if *said == Some(false) || is_yes(run) == Some(true) { is_yes(run) } else { None };
        }
    }
    for ((account, _), is_frozen) in asked.into_iter().zip(said) {
        remarks.extend(is_frozen.map(|is_frozen| Remark::Frozen { account, asset, is_frozen }));
    }
    if !is_open {
        exposed.0.lock().insert(token, Known { fingerprint, how, lists, looked_at });
    }
    Ok(remarks)
}

/// Who holds some of it, of very many some that nobody can foretell.
fn asked(question: &Question<'_>, asset: Asset, readings: &[Reading]) -> Vec<(AccountNo, Address)> {
    let addresses: HashMap<AccountNo, Address> = question.accounts.iter().copied().collect();
    let holds =
        |reading: &&Reading| reading.asset == asset && reading.balance.as_ref().is_ok_and(|it| *it != Amount::ZERO);
    let holders = readings.iter().filter(holds);
    let mut asked: Vec<(AccountNo, Address)> =
        holders.filter_map(|reading| Some((reading.account, *addresses.get(&reading.account)?))).collect();
    if asked.len() > MOST_ACCOUNTS {
        let chance = RandomState::new();
        asked.sort_by_cached_key(|(account, _)| chance.hash_one(account.0));
        asked.truncate(MOST_ACCOUNTS);
    }
    asked
}

fn fingerprint(codes: &BTreeMap<Address, B256>) -> B256 {
    keccak256(
        codes.iter().flat_map(|(address, code)| [address.as_slice(), code.as_slice()].concat()).collect::<Vec<u8>>(),
    )
}

/// How it says whom it stops: by the methods that its code has, and that say of two addresses which nobody has, or can foretell, that they are free; and
/// whether there is one of which that cannot be told now, as it says otherwise of these.
async fn look_for(stage: &mut Stage<'_>, token: Address) -> Result<(How, bool), NodeError> {
    /// What a compiled contract compares the method that is called with.
    const PUSH4: u8 = 0x63;
    let (mut how, mut is_open, chance) = (How::new(), false, RandomState::new());
    let nobody = [0, 1].map(|nth| Address::from_word(keccak256(chance.hash_one(nth).to_be_bytes())));
    for name in EXPOSING {
        let method @ [a, b, c, d] = method(name);
        let runs = says(stage, token, method, nobody.into_iter()).await?;
        let said: Vec<Option<bool>> = runs.iter().map(is_yes).collect();
        let codes = runs.iter().flatten().flat_map(|run| run.saw.codes.keys()).map(|contract| stage.code(*contract));
        let compared = [PUSH4, a, b, c, d];
        if said[..].contains(&None) || !codes.into_iter().any(|code| code.windows(5).any(|five| five == compared)) {
            continue;
        }
        match said == [Some(false); 2] {
            true => how.push(method),
            false => is_open = true,
        }
    }
    Ok((how, is_open))
}

fn method(name: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = keccak256(name).0;
    [a, b, c, d]
}

fn call(method: [u8; 4], account: Address) -> Bytes {
    [&method[..], account.into_word().as_slice()].concat().into()
}

/// What came of asking the token about each.
async fn says(
    stage: &mut Stage<'_>,
    token: Address,
    method: [u8; 4],
    accounts: impl Iterator<Item = Address>,
) -> Result<Vec<Option<Run>>, NodeError> {
    stage.run(token, &accounts.map(|account| call(method, account)).collect::<Vec<Bytes>>()).await
}

/// `None` where it is neither yes nor no.
fn is_yes(run: &Option<Run>) -> Option<bool> {
    match u64::try_from(run.as_ref()?.word?) {
        Ok(0) => Some(false),
        Ok(1) => Some(true),
        _ => None,
    }
}
