//! What a token's contract is, and whom it stops, beside balances: both by its code, run here on proven storage. What is remarked here moves nobody's
//! balance, and its absence holds up no block. Only a proof that contradicts the state root does.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use assay_types::{AccountNo, Amount, Asset, NodeError, Reading, Remark};
use futures_util::StreamExt;
use parking_lot::Mutex;

use crate::diagnose::elsewhere::STRANGER;
use crate::node::Node;
use crate::state::Question;
use crate::state::run::{Keys, Run, Stage, balance_of};
use crate::verify::is_code;

/// Tokens that are looked at a time.
const AT_ONCE: usize = 4;
/// At most so many accounts are asked about at a block; of more, each has its turn.
const MOST_ACCOUNTS: usize = 200;

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

/// By which method a token says it; `None`: by none that is known here.
type How = Option<[u8; 4]>;

/// What has been found out about each token.
#[derive(Debug, Default)]
pub(crate) struct Exposed(Mutex<HashMap<Address, Known>>);

#[derive(Debug, Clone)]
struct Known {
    /// Of its code.
    fingerprint: B256,
    how: How,
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
    if question.state_root == EMPTY_ROOT_HASH || !node.proofs.is_there() || !node.contracts.is_there() {
        return Ok(Vec::new());
    }
    let mut each = futures_util::stream::iter(question.tokens)
        .map(async |token| {
            let stage = Stage::new(node, question.at, question.state_root, Some(time));
            of_token(stage, exposed, question, *token, readings).await
        })
        .buffered(AT_ONCE);
    let mut remarks = Vec::new();
    while let Some(some) = each.next().await {
        match some {
            Ok(some) => remarks.extend(some),
            Err(error @ NodeError::Contradiction { .. }) => return Err(error),
            // What it cannot bear is not worth a block.
            Err(error) => {
                node.contracts.lose(node, &error.to_string());
                break;
            }
        }
    }
    Ok(remarks)
}

async fn of_token(
    mut stage: Stage<'_>,
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
    // One that is not there yet has no code that could change.
    if !codes.contains_key(&token) {
        return Ok(Vec::new());
    }
    let fingerprint = fingerprint(&codes);
    let mut remarks = vec![Remark::Code { asset, fingerprint: fingerprint.0 }];
    let mut looked_at = run.saw.keys();
    let how = match known {
        Some(known) if known.fingerprint == fingerprint => known.how,
        _ => look_for(&mut stage, token, &codes).await?,
    };
    if let Some(method) = how {
        let asked = asked(question, asset, readings);
        let (said, keys) = says(&mut stage, token, method, asked.iter().map(|(_, address)| *address)).await?;
        keys.into_iter().for_each(|(contract, keys)| looked_at.entry(contract).or_default().extend(keys));
        for ((account, _), is_frozen) in asked.into_iter().zip(said) {
            remarks.extend(is_frozen.map(|is_frozen| Remark::Frozen { account, asset, is_frozen }));
        }
    }
    exposed.0.lock().insert(token, Known { fingerprint, how, looked_at });
    Ok(remarks)
}

/// Who holds some of it, of very many those whose turn it is.
fn asked(question: &Question<'_>, asset: Asset, readings: &[Reading]) -> Vec<(AccountNo, Address)> {
    let holds =
        |reading: &&Reading| reading.asset == asset && reading.balance.as_ref().is_ok_and(|it| *it != Amount::ZERO);
    let holders: Vec<AccountNo> = readings.iter().filter(holds).map(|reading| reading.account).collect();
    let shares = holders.len().div_ceil(MOST_ACCOUNTS).max(1);
    let turn = usize::try_from(question.at.height.0 % shares as u64).unwrap_or(0);
    let addresses: HashMap<AccountNo, Address> = question.accounts.iter().copied().collect();
    (holders.into_iter().skip(turn).step_by(shares))
        .filter_map(|account| Some((account, *addresses.get(&account)?)))
        .collect()
}

fn fingerprint(codes: &BTreeMap<Address, B256>) -> B256 {
    keccak256(
        codes.iter().flat_map(|(address, code)| [address.as_slice(), code.as_slice()].concat()).collect::<Vec<u8>>(),
    )
}

/// How it says whom it stops: by a method that its code has, and that says of two addresses which nobody has that they are free.
async fn look_for(stage: &mut Stage<'_>, token: Address, codes: &BTreeMap<Address, B256>) -> Result<How, NodeError> {
    /// What a compiled contract compares the method that is called with.
    const PUSH4: u8 = 0x63;
    let codes: Vec<Bytes> = codes.keys().map(|contract| stage.code(*contract)).collect();
    let fives = codes.iter().flat_map(|code| code.windows(5));
    let pushed: HashSet<[u8; 4]> =
        fives.filter(|five| five[0] == PUSH4).map(|five| [five[1], five[2], five[3], five[4]]).collect();
    for name in EXPOSING {
        let [a, b, c, d, ..] = keccak256(name).0;
        let method = [a, b, c, d];
        let nobody = [STRANGER, Address::repeat_byte(0x5a)];
        if pushed.contains(&method) && says(stage, token, method, nobody.into_iter()).await?.0 == [Some(false); 2] {
            return Ok(Some(method));
        }
    }
    Ok(None)
}

/// What the token says of each, `None` where that is neither yes nor no, and what it looked at for that.
async fn says(
    stage: &mut Stage<'_>,
    token: Address,
    method: [u8; 4],
    accounts: impl Iterator<Item = Address>,
) -> Result<(Vec<Option<bool>>, Keys), NodeError> {
    let calls: Vec<Bytes> =
        accounts.map(|account| [&method[..], account.into_word().as_slice()].concat().into()).collect();
    let runs = stage.run(token, &calls).await?;
    let mut looked_at = Keys::new();
    for (contract, keys) in runs.iter().flatten().flat_map(|run| run.saw.keys()) {
        looked_at.entry(contract).or_default().extend(keys);
    }
    let said = |run: Option<Run>| match u64::try_from(run?.word?) {
        Ok(0) => Some(false),
        Ok(1) => Some(true),
        _ => None,
    };
    Ok((runs.into_iter().map(said).collect(), looked_at))
}
