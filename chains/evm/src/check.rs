//! What a node can and cannot do, for people.

use alloy::primitives::{Address, B256, Bytes, U64, U256};
use assay_types::{BlockRef, Contract, Fault, Height, NodeError, Notice};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::block::body::Senders;
use crate::block::headers::{self, SealedHeader};
use crate::block::{StateAt, by_hash};
use crate::finality::{Finality, final_block, tagged};
use crate::movements::fetch;
use crate::movements::trace::{FlatTraces, Trace};
use crate::movements::traces;
use crate::node::{Cause, Node, OrFail, Refusal};
use crate::state::horizon::{Of, meant};
use crate::state::proofs::checked;
use crate::state::run::Stage;
use crate::verify::{self, AccountProof};

/// Asks the node what `assay check` reports of it.
pub(crate) async fn node(node: &Node, start: Height, finality: Finality) -> Result<Vec<Notice>, NodeError> {
    match examined(node, start, finality).await {
        Err(error) if matches!(error.fault(), Some(Fault::Omitted | Fault::Stale)) => {
            Err(by_turns(node).await.unwrap_or(error))
        }
        Ok(notices) if node.recent.has_come_back() => by_turns(node).await.map_or(Ok(notices), Err),
        examined => examined,
    }
}

/// Behind a load balancer, nodes on two forks seem to omit blocks: does it say now one hash and now another of the same height?
async fn by_turns(node: &Node) -> Option<NodeError> {
    const LOOKS: usize = 4;
    /// One of two branches may be longer by some blocks.
    const DEEP: u64 = 4;
    let mixed = |error: NodeError| (error.fault() == Some(Fault::MixedForks)).then_some(error);
    let last = match headers::tagged(node, "latest", "the latest header").await {
        Ok(last) => last.header.number,
        Err(Refusal::Failed(error, _)) => return mixed(error),
        Err(_) => return None,
    };
    for _ in 0..LOOKS {
        // Twice each, so that who takes turns gives both.
        for height in (last.saturating_sub(DEEP)..=last).flat_map(|height| [height; 2]) {
            if let Some(error) = headers::hash_at(node, Height(height)).await.err().and_then(mixed) {
                return Some(error);
            }
        }
    }
    None
}

/// Is the last block's parent the block that its chain has below?
async fn stands_on_its_chain(node: &Node, last: &SealedHeader) -> Result<(), NodeError> {
    let Some(below) = last.at().height.previous() else { return Ok(()) };
    let (parent, named) = (last.header.parent_hash, headers::hash_at(node, below).await?);
    let Some(named) = named.map(|hash| B256::from(hash.0)).filter(|named| *named != parent) else { return Ok(()) };
    if headers::head(node).await?.hash != last.hash {
        return Ok(()); // it reorganised meanwhile
    }
    let why = format!("it is {named}, and the last block's parent is {parent}");
    Err(node.unreadable(&format!("the header at height {below}"), Fault::MixedForks, why))
}

async fn examined(node: &Node, start: Height, finality: Finality) -> Result<Vec<Notice>, NodeError> {
    let head = headers::head(node).await?;
    let at = head.at();
    stands_on_its_chain(node, &head).await?;
    let mut notices = vec![version(node).await?, syncing(node).await?];
    notices.push(finality_notice(node, finality, &head).await?);
    notices.push(block(node, at).await?);
    notices.push(ability(node, "traces", traces(node, at).await, NO_TRACES)?);
    let proves = proofs(node, &head).await;
    let can_prove = proves.is_ok();
    notices.push(ability(node, "proofs", proves, NO_PROOFS)?);
    notices.push(ability(node, "batch reader", overrides(node, head.at()).await, NO_OVERRIDE)?);
    if start <= at.height {
        notices.push(state_at(node, start).await?);
        let states = async |height| has_state(node, height).await.map(|has| has.is_ok());
        notices.push(horizon(node, "states", "below that balances are unknown", start, at.height, states).await?);
        if can_prove {
            let proofs = async |height| proves_at(node, height).await;
            notices.push(
                horizon(
                    node,
                    "proven back to",
                    "below that balances are read and not proven",
                    start,
                    at.height,
                    proofs,
                )
                .await?,
            );
        }
    }
    if start > at.height {
        let finding =
            format!("block {start} is above the node's last one, {}: no index can begin there yet", at.height);
        notices.push(notice(node, "start", finding, true));
    }
    Ok(notices)
}

/// What the contract at this address says of itself after the last block.
pub(crate) async fn contract(node: &Node, token: Address) -> Result<Contract, NodeError> {
    let head = headers::head(node).await?;
    match headers::of_block(node, head.at(), async || contract_at(node, &head, token).await).await {
        Err(NodeError::Gone(_)) => contract_at(node, &headers::head(node).await?, token).await,
        said => said,
    }
}

async fn contract_at(node: &Node, last: &SealedHeader, token: Address) -> Result<Contract, NodeError> {
    /// The first bytes of the hash of `decimals()`.
    const DECIMALS: [u8; 4] = [0x31, 0x3c, 0xe5, 0x67];
    let as_decimals = |word: U256| u64::try_from(word).ok();
    let mut is_proven = false;
    let after = StateAt::after(last);
    if after.is_provable() {
        let mut stage = Stage::new(node, after, Some(last.header.timestamp));
        let run = stage.run(token, &[DECIMALS.into()]).await?.pop().flatten();
        stage.tell_withheld().await;
        if let Some(run) = run {
            is_proven = run.saw.codes.get(&token).is_some_and(|code| verify::is_code(*code));
            if run.word.is_some() || !is_proven {
                return Ok(Contract { has_code: is_proven, decimals: run.word.and_then(as_decimals) });
            }
        }
    }
    let at = by_hash(after.block.hash);
    let subject = format!("the code of {token}");
    let has_code = is_proven || {
        let code: Bytes = node.ask("eth_getCode", json!([token, at]), &subject).await.or_fail(node, &subject)?;
        !code.is_empty()
    };
    let call = json!([{ "to": token, "data": Bytes::from(DECIMALS) }, at]);
    let decimals = match node.ask::<Bytes>("eth_call", call, "a token's decimals").await {
        Err(Refusal::Failed(error, _) | Refusal::Null(error)) => return Err(error),
        said => said.ok().filter(|word| word.len() == 32).and_then(|word| as_decimals(U256::from_be_slice(&word))),
    };
    Ok(Contract { has_code, decimals })
}

/// The lowest block from `start` on of which the node can say something, as it can of its last one: found by halving.
async fn horizon(
    node: &Node,
    subject: &str,
    below: &str,
    start: Height,
    head: Height,
    can: impl AsyncFn(Height) -> Result<bool, NodeError>,
) -> Result<Notice, NodeError> {
    if can(start).await? {
        return Ok(notice(node, subject, format!("back to block {start}, where coverage begins"), false));
    }
    let (mut cannot, mut lowest) = (start.0, head.0);
    while lowest - cannot > 1 {
        let middle = cannot + (lowest - cannot) / 2;
        match can(Height(middle)).await? {
            true => lowest = middle,
            false => cannot = middle,
        }
    }
    let finding = format!("back to block {lowest}, {} below the last one: {below}", head.0 - lowest);
    Ok(notice(node, subject, finding, true))
}

/// Does it prove the state of this block?
async fn proves_at(node: &Node, height: Height) -> Result<bool, NodeError> {
    let header = headers::header_at(node, height).await?;
    match proofs(node, &header).await {
        Ok(()) => Ok(StateAt::after(&header).is_provable()),
        Err(refusal) => meant(node, header.at(), Of::Proofs, refusal).await.in_words().map(|_| false),
    }
}

fn notice(node: &Node, subject: &str, finding: impl Into<String>, limits: bool) -> Notice {
    Notice { subject: subject.into(), finding: format!("{}: {}", node.name, finding.into()), limits }
}

async fn version(node: &Node) -> Result<Notice, NodeError> {
    let version: Result<String, Refusal> = node.ask("web3_clientVersion", json!([]), "its version").await;
    match version {
        Err(Refusal::Failed(error, _)) => Err(error),
        version => Ok(notice(node, "version", version.unwrap_or_else(|_| "does not say".into()), false)),
    }
}

async fn syncing(node: &Node) -> Result<Notice, NodeError> {
    match node.ask::<Value>("eth_syncing", json!([]), "whether it is synchronised").await {
        Ok(Value::Bool(false)) => Ok(notice(node, "synchronised", "yes", false)),
        Ok(_) => Ok(notice(node, "synchronised", "not yet: what it has not got is unknown until then", true)),
        Err(Refusal::Failed(error, _)) => Err(error),
        Err(_) => Ok(notice(node, "synchronised", "does not say", false)),
    }
}

async fn finality_notice(node: &Node, finality: Finality, head: &SealedHeader) -> Result<Notice, NodeError> {
    let Finality::Tag(tag) = finality else {
        return Ok(notice(node, "finality", "by confirmations", false));
    };
    Ok(match final_block(node, tag, head, tagged(node, tag).await).await? {
        Some(last) => notice(node, "finality", format!("{} is block {}", tag.as_str(), last.height), false),
        None => notice(
            node,
            "finality",
            format!("has no {} block: nothing becomes final; set finality = {{ confirmations = N }}", tag.as_str()),
            true,
        ),
    })
}

/// By which method an ability is had, and what is lost without.
type Lack = (&'static str, &'static str);

const NO_TRACES: Lack =
    ("debug_traceTransaction and no trace_block", "internal payments are found by reading state, and are unattributed");
const NO_PROOFS: Lack = ("eth_getProof", "balances are read and not proven");
const NO_OVERRIDE: Lack = ("state override", "balances are read one by one, which is slow");

/// Tried on the latest block: what it says of the node.
fn ability(node: &Node, subject: &str, tried: Result<(), Refusal>, (method, lost): Lack) -> Result<Notice, NodeError> {
    match tried {
        Ok(()) => Ok(notice(node, subject, "yes", false)),
        Err(refusal) => Ok(notice(node, subject, format!("no {method}: {}: {lost}", refusal.in_words()?), true)),
    }
}

async fn traces(node: &Node, at: BlockRef) -> Result<(), Refusal> {
    let whole = json!([B256::from(at.hash.0), traces::tracer()]);
    match node.ask_large::<Vec<Trace>>("debug_traceBlockByHash", whole, "traces").await {
        Ok(_) => return Ok(()),
        Err(Refusal::NoMethod(_) | Refusal::Failed(_, Cause::Huge | Cause::Late) | Refusal::TooMuch(_)) => {}
        Err(refusal) => return Err(refusal),
    }
    if node.ask_large::<FlatTraces>("trace_block", json!([U64::from(at.height.0)]), "traces").await.is_ok() {
        return Ok(());
    }
    // Then they are asked for one by one: of one that there is not it says something else than that it knows no such method.
    let one = json!([B256::ZERO, traces::tracer()]);
    match node.ask::<Option<IgnoredAny>>("debug_traceTransaction", one, "a trace").await {
        Err(refusal @ (Refusal::NoMethod(_) | Refusal::Failed(_, Cause::Late | Cause::Other))) => Err(refusal),
        _ => Ok(()),
    }
}

/// The last block with all that it did, as it is read when it is followed.
async fn block(node: &Node, at: BlockRef) -> Result<Notice, NodeError> {
    match fetch::block(node, at, Senders::All).await {
        Ok(block) if block.is_checked => Ok(notice(node, "last block", "agrees with its header", false)),
        Ok(_) => {
            let finding = "holds what no codec of ours knows: balances are read and not proven, movements are what the node tells";
            Ok(notice(node, "last block", finding, true))
        }
        Err(NodeError::Unsupported(why)) => {
            Ok(Notice { subject: "last block".into(), finding: format!("cannot be followed: {why}"), limits: true })
        }
        Err(NodeError::Gone(_)) => Ok(notice(node, "last block", "was reorganised away meanwhile", false)),
        Err(error) => Err(error),
    }
}

async fn proofs(node: &Node, sealed: &SealedHeader) -> Result<(), Refusal> {
    let (at, account, subject) = (StateAt::after(sealed), Address::ZERO, "a proof");
    let params = json!([account, [], by_hash(at.block.hash)]);
    let proof: AccountProof = node.ask("eth_getProof", params, subject).await?;
    if sealed.is_foreign {
        return Err(Refusal::Other("of a header that no codec of ours knows".into()));
    }
    if at.is_provable() {
        let subject = format!("the proof of {account} at block {}", at.block.height);
        checked(node, at, (account, &[]), &proof, &subject).await?;
    }
    Ok(())
}

async fn overrides(node: &Node, at: BlockRef) -> Result<(), Refusal> {
    if crate::state::reader::is_laid(node, at).await? {
        return Ok(());
    }
    Err(Refusal::Other("it is ignored".into()))
}

async fn state_at(node: &Node, height: Height) -> Result<Notice, NodeError> {
    let finding = match has_state(node, height).await? {
        Ok(()) => return Ok(notice(node, &format!("state at block {height}"), "yes", false)),
        Err(why) => format!("no: {why}: no index can begin there"),
    };
    Ok(notice(node, &format!("state at block {height}"), finding, true))
}

/// Or why not, as it says.
async fn has_state(node: &Node, height: Height) -> Result<Result<(), String>, NodeError> {
    let subject = format!("state at block {height}");
    let Some(hash) = headers::hash_at(node, height).await? else { return Ok(Err("the block is not there".into())) };
    let params = json!([Address::ZERO, by_hash(hash)]);
    match node.ask::<U256>("eth_getBalance", params, &subject).await {
        Ok(_) => Ok(Ok(())),
        Err(refusal) => match meant(node, BlockRef { height, hash }, Of::Balances, refusal).await {
            Refusal::Absent(why) => Ok(Err(why)),
            refusal => Err(refusal).or_fail(node, &subject),
        },
    }
}
