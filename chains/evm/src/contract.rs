//! What a token's contract is, and whom it stops, beside balances: what is remarked here moves nobody's balance, and its absence holds up
//! no block. Only a proof that contradicts the state root does.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use alloy::primitives::{Address, B256, Bytes, U64, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use assay_types::{AccountNo, Amount, Asset, NodeError, Reading, Remark};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use crate::elsewhere::STRANGER;
use crate::node::{Node, Refusal};
use crate::reader::{self, balance_of};
use crate::state::{self, Question};
use crate::verify;

/// Tokens that are looked at a time.
const AT_ONCE: usize = 4;
/// No token that asks more contracts for a balance is looked at further.
const MOST_CONTRACTS: usize = 16;
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

/// How each token says it, as long as its code is the same.
#[derive(Debug, Default)]
pub(crate) struct Exposed(Mutex<HashMap<(Address, B256), How>>);

impl Exposed {
    fn of(&self, token: Address, code: B256) -> Option<How> {
        self.0.lock().get(&(token, code)).copied()
    }

    fn note(&self, token: Address, code: B256, how: How) {
        self.0.lock().insert((token, code), how);
    }
}

/// What there is to remark of these tokens after a block, where these balances were read.
pub(crate) async fn remarks(
    node: &Node,
    exposed: &Exposed,
    question: &Question<'_>,
    readings: &[Reading],
) -> Result<Vec<Remark>, NodeError> {
    if question.state_root == EMPTY_ROOT_HASH || !node.proofs.is_there() {
        return Ok(Vec::new());
    }
    let mut each = futures_util::stream::iter(question.tokens)
        .map(async |token| of_token(node, exposed, question, *token, readings).await)
        .buffered(AT_ONCE);
    let mut remarks = Vec::new();
    while let Some(some) = each.next().await {
        match some {
            Ok(some) => remarks.extend(some),
            Err(error @ NodeError::Contradiction { .. }) => return Err(error),
            // What it cannot bear is not worth a block.
            Err(error) => {
                node.accesses.lose(node, &error.to_string());
                break;
            }
        }
    }
    Ok(remarks)
}

async fn of_token(
    node: &Node,
    exposed: &Exposed,
    question: &Question<'_>,
    token: Address,
    readings: &[Reading],
) -> Result<Vec<Remark>, NodeError> {
    let asset = Asset::Token(token.into());
    // One that is not there yet has no code that could change.
    let codes = codes(node, question, token).await?.filter(|codes| codes.contains_key(&token));
    let Some(codes) = codes else { return Ok(Vec::new()) };
    let code = fingerprint(&codes);
    let mut remarks = vec![Remark::Code { asset, fingerprint: code.0 }];
    let how = match exposed.of(token, code) {
        Some(how) => how,
        None => match look_for(node, question, token, &codes).await? {
            Some(how) => {
                exposed.note(token, code, how);
                how
            }
            None => None,
        },
    };
    let Some(how) = how else { return Ok(remarks) };
    let holds =
        |reading: &&Reading| reading.asset == asset && reading.balance.as_ref().is_ok_and(|it| *it != Amount::ZERO);
    let holders: Vec<AccountNo> = readings.iter().filter(holds).map(|reading| reading.account).collect();
    let shares = holders.len().div_ceil(MOST_ACCOUNTS).max(1);
    let turn = usize::try_from(question.at.height.0 % shares as u64).unwrap_or(0);
    let addresses: HashMap<AccountNo, Address> = question.accounts.iter().copied().collect();
    let asked: Vec<(AccountNo, Address)> = (holders.into_iter().skip(turn).step_by(shares))
        .filter_map(|account| Some((account, *addresses.get(&account)?)))
        .collect();
    let said = says(node, question, token, how, &asked.iter().map(|(_, address)| *address).collect::<Vec<_>>()).await?;
    for ((account, _), is_frozen) in asked.into_iter().zip(said) {
        remarks.extend(is_frozen.map(|is_frozen| Remark::Frozen { account, asset, is_frozen }));
    }
    Ok(remarks)
}

/// The hashes of the code of the token and of every contract that it asks for a balance: a proxy's other code is found wherever it keeps the
/// address. The contracts are by the node's word, their code is proven. `None` where it cannot be said.
async fn codes(
    node: &Node,
    question: &Question<'_>,
    token: Address,
) -> Result<Option<BTreeMap<Address, B256>>, NodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Accessed {
        access_list: Vec<Contract>,
    }
    #[derive(Deserialize)]
    struct Contract {
        address: Address,
    }
    if !node.accesses.is_there() {
        return Ok(None);
    }
    let subject = format!("what token {token} asks for a balance at block {}", question.at.height);
    let call = balance_of(token, STRANGER);
    let block = json!({ "blockHash": B256::from(question.at.hash.0) });
    let accessed = match node.ask::<Accessed>("eth_createAccessList", json!([call, block]), &subject).await {
        Ok(accessed) => accessed.access_list,
        Err(Refusal::NoMethod(why)) => return node.accesses.refuse(node, &subject, &why).map(|()| None),
        Err(refusal) => {
            let why = refusal.in_words()?;
            tracing::debug!(node = node.name, "{subject}: {why}");
            return Ok(None);
        }
    };
    node.accesses.show();
    let contracts: BTreeSet<Address> = accessed.into_iter().map(|it| it.address).chain([token]).collect();
    if contracts.len() > MOST_CONTRACTS {
        return Ok(None);
    }
    let contracts: Vec<Address> = contracts.into_iter().collect();
    let mut codes = state::codes(node, question.at, question.state_root, &contracts).await?;
    if codes.len() < contracts.len() {
        return Ok(None);
    }
    // Who has no code runs none: some nodes list the sender too.
    codes.retain(|_, code| verify::is_code(*code));
    Ok(Some(codes))
}

fn fingerprint(codes: &BTreeMap<Address, B256>) -> B256 {
    keccak256(
        codes.iter().flat_map(|(address, code)| [address.as_slice(), code.as_slice()].concat()).collect::<Vec<u8>>(),
    )
}

/// How it says whom it stops: by a method that its code has, and that says of two addresses which nobody has that they are free. `None` where it
/// is not known yet.
async fn look_for(
    node: &Node,
    question: &Question<'_>,
    token: Address,
    codes: &BTreeMap<Address, B256>,
) -> Result<Option<How>, NodeError> {
    /// What a compiled contract compares the method that is called with.
    const PUSH4: u8 = 0x63;
    let block = json!({ "blockHash": B256::from(question.at.hash.0) });
    let questions = codes.keys().map(|contract| json!([contract, block])).collect();
    let mut all = Vec::new();
    for (answer, hash) in
        node.ask_many::<Bytes>("eth_getCode", questions, "a token's code").await?.into_iter().zip(codes.values())
    {
        match answer {
            Ok(code) if keccak256(&code) == *hash => all.extend_from_slice(&code),
            _ => return Ok(None),
        }
    }
    let pushed: HashSet<[u8; 4]> =
        all.windows(5).filter(|five| five[0] == PUSH4).map(|five| [five[1], five[2], five[3], five[4]]).collect();
    let nobody = [STRANGER, Address::repeat_byte(0x5a)];
    for name in EXPOSING {
        let [a, b, c, d, ..] = keccak256(name).0;
        let method = [a, b, c, d];
        if pushed.contains(&method) && says(node, question, token, method, &nobody).await? == [Some(false), Some(false)]
        {
            return Ok(Some(Some(method)));
        }
    }
    Ok(Some(None))
}

/// What the token says of each; `None` where that is neither yes nor no.
async fn says(
    node: &Node,
    question: &Question<'_>,
    token: Address,
    method: [u8; 4],
    accounts: &[Address],
) -> Result<Vec<Option<bool>>, NodeError> {
    let block = json!({ "blockHash": B256::from(question.at.hash.0) });
    let call = |account: &Address| {
        let data = Bytes::from([&method[..], account.into_word().as_slice()].concat());
        json!([{ "to": token, "data": data, "gas": U64::from(reader::CALL_GAS) }, block])
    };
    let answers = node.ask_many::<Bytes>("eth_call", accounts.iter().map(call).collect(), "whom a token stops").await?;
    let word = |answer: Result<Bytes, Refusal>| match answer {
        Ok(word) if word.len() == 32 && word[..31].iter().all(|byte| *byte == 0) && word[31] < 2 => Some(word[31] == 1),
        _ => None,
    };
    Ok(answers.into_iter().map(word).collect())
}
