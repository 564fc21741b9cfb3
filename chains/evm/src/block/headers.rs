//! Headers: one whose fields hash to its hash, and what a node says of its chain by them.

use std::time::{Duration, Instant};

use alloy::consensus::Header;
use alloy::eips::eip4895::Withdrawal;
use alloy::primitives::B256;
use assay_types::{BlockHash, BlockRef, Fault, Height, NodeError};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::diagnose;
use crate::json::{self, FromJson, Json, Wrong};
use crate::node::{NULL, Node, OrFail, Refusal};
use crate::verify;

/// A header whose fields hash to its hash.
#[derive(Debug)]
pub(crate) struct SealedHeader {
    pub(crate) header: Header,
    pub(crate) hash: B256,
    /// It does not, and has fields that are not known here: one of another family, on a chain that is none of ours. Nothing can be held
    /// against it.
    pub(crate) is_foreign: bool,
}

/// A block's JSON, by parts.
pub(crate) struct BlockJson<T> {
    /// Without what is below.
    header: Vec<u8>,
    hash: B256,
    pub(crate) transactions: Vec<T>,
    pub(crate) withdrawals: Option<Vec<Withdrawal>>,
}

impl<T: FromJson> FromJson for BlockJson<T> {
    fn from_json(json: &mut Json<'_>) -> Result<BlockJson<T>, Wrong> {
        let (mut header, mut hash, mut transactions, mut withdrawals) = (vec![b'{'], None, None, None);
        json.fields(|name, json| {
            if name == b"transactions" {
                transactions = Some(Vec::from_json(json)?);
                return Ok(());
            }
            let value = json.skip()?;
            match name {
                b"hash" => hash = json::hash(value),
                b"withdrawals" => {
                    let read = serde_json::from_slice(value);
                    withdrawals = read.map_err(|_| Wrong::Field("withdrawals"))?;
                }
                _ => {
                    let separator = if header.len() > 1 { ",\"" } else { "\"" };
                    for part in [separator.as_bytes(), name, b"\":", value] {
                        header.extend_from_slice(part);
                    }
                }
            }
            Ok(())
        })?;
        header.push(b'}');
        Ok(BlockJson {
            header,
            hash: hash.ok_or(Wrong::Missing("hash"))?,
            transactions: transactions.ok_or(Wrong::Missing("transactions"))?,
            withdrawals,
        })
    }
}

impl<'de, T: FromJson> Deserialize<'de> for BlockJson<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<BlockJson<T>, D::Error> {
        json::deserialize(json)
    }
}

impl SealedHeader {
    /// Of which block it is.
    pub(crate) fn at(&self) -> BlockRef {
        BlockRef { height: Height(self.header.number), hash: BlockHash(self.hash.0) }
    }
}

/// The header at this height of the node's active chain.
pub(crate) async fn header_at(node: &Node, height: Height) -> Result<SealedHeader, NodeError> {
    asked_at(node, height).await.or_fail(node, &subject_at(height))
}

/// The same, or why the node refuses it.
pub(crate) async fn asked_at(node: &Node, height: Height) -> Result<SealedHeader, Refusal> {
    named(node, &format!("{:#x}", height.0), Some(height), &subject_at(height)).await
}

/// The header of this tag of the node's active chain, or why the node refuses it.
pub(crate) async fn tagged(node: &Node, tag: &str, subject: &str) -> Result<SealedHeader, Refusal> {
    named(node, tag, None, subject).await
}

fn subject_at(height: Height) -> String {
    format!("the header at height {height}")
}

async fn named(node: &Node, name: &str, wanted: Option<Height>, subject: &str) -> Result<SealedHeader, Refusal> {
    let asked = Instant::now();
    let block: Option<BlockJson<B256>> = node.ask("eth_getBlockByNumber", json!([name, false]), subject).await?;
    Ok(read_header(node, &block.ok_or_else(|| node.null(subject))?, wanted, asked, subject)?)
}

/// A header of another family, of whose fields some may not be there.
fn foreign(fields: &[u8]) -> Result<Header, serde_json::Error> {
    let mut told: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(fields)?;
    told.retain(|name, value| name != "nonce" && !value.is_null()); // not everyone writes that as Ethereum does
    let absent = serde_json::to_value(Header::default())?;
    for (name, nothing) in absent.as_object().into_iter().flatten() {
        if !["number", "timestamp", "parentHash"].contains(&name.as_str()) {
            told.entry(name).or_insert_with(|| nothing.clone());
        }
    }
    serde_json::from_value(told.into())
}

/// A header that was asked for then, at this height if it was not by a tag.
fn read_header(
    node: &Node,
    block: &BlockJson<B256>,
    wanted: Option<Height>,
    asked: Instant,
    subject: &str,
) -> Result<SealedHeader, NodeError> {
    let sealed = sealed(node, block, subject)?;
    let (height, hash) = (Height(sealed.header.number), BlockHash(sealed.hash.0));
    if let Some(wanted) = wanted.filter(|wanted| *wanted != height) {
        let (fault, why) = (diagnose::of_another_block(wanted, height), format!("it is of height {height}"));
        return Err(node.contradiction(subject, "what was asked for", fault, why));
    }
    match node.recent.look(height, hash, asked, Instant::now()) {
        None => Ok(sealed),
        Some(other) => {
            let [hash, other] = [hash, other].map(|hash| B256::from(hash.0));
            let why = format!("block {height} is {hash} and {other} by turns");
            Err(node.unreadable(subject, Fault::MixedForks, why))
        }
    }
}

/// The hash at a height of the node's active chain; `None` above its tip.
pub(crate) async fn hash_at(node: &Node, height: Height) -> Result<Option<BlockHash>, NodeError> {
    match asked_at(node, height).await {
        Ok(sealed) => Ok(Some(BlockHash(sealed.hash.0))),
        Err(Refusal::Absent(_) | Refusal::Null(_)) => Ok(None),
        Err(refusal) => Err(refusal).or_fail(node, &subject_at(height)),
    }
}

/// How a block that was asked for stands to the node's chain by now.
enum Stand {
    Active,
    /// Another one stands there, or the chain ends below it, though the node named it before.
    Left,
    /// The chain goes on there, by the node's word, and it says of none what stands there.
    Hidden,
    /// The chain ends below it. Another node may have named it.
    Above,
}

async fn stand(node: &Node, at: BlockRef) -> Result<Stand, NodeError> {
    let was_named = node.recent.head().is_some_and(|head| head >= at.height);
    let found = match hash_at(node, at.height).await? {
        None if !was_named => return Ok(Stand::Above),
        None if head(node).await?.header.number < at.height.0 => return Ok(Stand::Left),
        None => hash_at(node, at.height).await?, // it may have become longer again meanwhile
        found => found,
    };
    Ok(found.map_or(Stand::Hidden, |hash| if hash == at.hash { Stand::Active } else { Stand::Left }))
}

/// Has the chain left this block meanwhile?
pub(crate) async fn has_left(node: &Node, at: BlockRef) -> bool {
    matches!(stand(node, at).await, Ok(Stand::Left))
}

/// Work on this block. Of one that the chain has left meanwhile no answer speaks against the node; and one that made its next block meanwhile is asked
/// once more: some answer then with what that one leaves, half or whole.
pub(crate) async fn of_block<T>(
    node: &Node,
    at: BlockRef,
    work: impl AsyncFn() -> Result<T, NodeError>,
) -> Result<T, NodeError> {
    let before = node.recent.head();
    let mut done = work().await;
    for is_last in [false, true] {
        match &done {
            Err(error) if error.fault().is_some() => {}
            _ => return done,
        }
        if has_left(node, at).await {
            return Err(NodeError::Gone(at));
        }
        if is_last || !goes_on(node, at, before).await {
            return done;
        }
        done = work().await;
    }
    done
}

/// Has the node made its next block since it was asked of this one, one of its last?
async fn goes_on(node: &Node, at: BlockRef, before: Option<Height>) -> bool {
    /// It may be about to.
    const PAUSES_MS: [u64; 4] = [0, 10, 40, 150];
    const LAST: u64 = 3;
    let Some(before) = before.filter(|before| before.0.saturating_sub(at.height.0) < LAST) else { return false };
    for pause in PAUSES_MS {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        match head(node).await {
            Ok(head) if head.header.number > before.0 => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// Says that something that was answered of this block is not believed, where the chain has not left it meanwhile.
pub(crate) async fn doubt(node: &Node, at: BlockRef, error: NodeError) {
    if !has_left(node, at).await {
        node.doubt(error);
    }
}

/// Did it answer otherwise only because it made its next block meanwhile?
pub(crate) async fn was_busy(node: &Node, at: BlockRef, is_right_now: impl Future<Output = bool>) -> bool {
    goes_on(node, at, node.recent.head()).await && is_right_now.await
}

/// What an answer that is not there means: the block was reorganised away, or this node does not have it. `why` is what the
/// node says, if it says something; `null` of a block that is on its chain leaves out what it has.
pub(crate) async fn gone_or_missing(node: &Node, at: BlockRef, subject: &str, why: Option<&str>) -> NodeError {
    let fault = match stand(node, at).await {
        Ok(Stand::Left) => return NodeError::Gone(at),
        Ok(Stand::Active) => why.is_none().then_some(Fault::Omitted),
        Ok(Stand::Hidden) => Some(Fault::Stale),
        Ok(Stand::Above) => None,
        Err(error) => return error,
    };
    node.missing(subject, fault, why.unwrap_or(NULL))
}

/// The hashes from this height on, at most so many; fewer where the node's active chain ends.
///
/// # Errors
/// Where it says that it goes on, and leaves one out.
pub(crate) async fn hashes(node: &Node, from: Height, count: u64) -> Result<Vec<BlockHash>, NodeError> {
    let (asked, known) = (Instant::now(), node.recent.head());
    let heights = from.0..from.0.saturating_add(count);
    let questions = heights.clone().map(|height| json!([format!("{height:#x}"), false])).collect();
    let answers = node.ask_many::<Option<BlockJson<B256>>>("eth_getBlockByNumber", questions, "headers").await?;
    let mut hashes = Vec::with_capacity(answers.len());
    for (height, answer) in heights.zip(answers) {
        let subject = format!("the header at height {height}");
        match answer {
            Ok(Some(block)) => {
                let sealed = read_header(node, &block, Some(Height(height)), asked, &subject)?;
                hashes.push(BlockHash(sealed.hash.0));
            }
            Ok(None) | Err(Refusal::Absent(_) | Refusal::Null(_)) => break,
            Err(refusal) => return Err(refusal).or_fail(node, &subject),
        }
    }
    let next = Height(from.0 + hashes.len() as u64);
    if next.0 < from.0 + count && node.recent.head().is_some_and(|head| next <= head) {
        let head = head(node).await?.header.number; // it may have become shorter
        let left_out = |why: String| node.missing(&format!("block {next}"), Some(Fault::Omitted), why);
        match hash_at(node, next).await? {
            None if next.0 <= head => return Err(left_out(format!("its chain goes to {head}"))),
            None => {}
            // By itself it is given. A chain that became shorter, and longer again, leaves out nothing the next time.
            Some(hash) => {
                if known.is_some_and(|known| next <= known && known.0 <= head) && !is_among(node, next, count).await? {
                    node.doubt(left_out("it is given by itself, and not among others".into()));
                }
                hashes.push(hash);
            }
        }
    }
    Ok(hashes)
}

/// Is this block given among others?
async fn is_among(node: &Node, first: Height, count: u64) -> Result<bool, NodeError> {
    let heights = first.0..first.0.saturating_add(count.max(2));
    let questions = heights.map(|height| json!([format!("{height:#x}"), false])).collect();
    let answers = node.ask_many::<Option<IgnoredAny>>("eth_getBlockByNumber", questions, "headers").await?;
    Ok(matches!(answers.first(), Some(Ok(Some(_)))))
}

/// The last block of the node's active chain, by its own words. While it does not rise, it is looked whether the node has a
/// block above, which an answer that was kept too long would hide.
pub(crate) async fn head(node: &Node) -> Result<SealedHeader, NodeError> {
    let subject = "the latest header";
    let latest = async || tagged(node, "latest", subject).await.or_fail(node, subject);
    let mut head = latest().await?;
    let height = Height(head.header.number);
    let probe = node.recent.must_probe(height, Instant::now());
    if probe && is_above(node, height.next()).await? {
        head = latest().await?; // it may have come meanwhile
        if head.header.number <= height.0 {
            // One of several behind a balancer may be late, or be on another branch, which takes it more than a turn to show.
            for _ in 0..3 {
                hash_at(node, height).await?;
            }
            let why = format!("it is of block {height}, and the node has block {}", height.next());
            return Err(node.unreadable(subject, Fault::Stale, why));
        }
    }
    node.recent.settle(Height(head.header.number), probe, Instant::now());
    Ok(head)
}

/// Does the node have this block, above its last one? Many say in words of their own that they do not.
async fn is_above(node: &Node, height: Height) -> Result<bool, NodeError> {
    match asked_at(node, height).await {
        Ok(_) => Ok(true),
        Err(Refusal::Null(_)) => Ok(false),
        Err(refusal) => refusal.in_words().map(|_| false),
    }
}

/// A block's header, its fields hashed.
pub(crate) fn sealed<T>(node: &Node, block: &BlockJson<T>, subject: &str) -> Result<SealedHeader, NodeError> {
    let BlockJson { header: fields, hash, .. } = block;
    let header = if node.foreign_headers { foreign(fields) } else { serde_json::from_slice(fields) };
    let header: Header = header.map_err(|error| node.not_read(subject, &error))?;
    if header.number > Height::HIGHEST.0 {
        let why = format!("it is of height {}", header.number);
        return Err(node.unreadable(subject, Fault::Forged, why));
    }
    let checked = verify::header(&header, *hash);
    let is_known = node.family.knows();
    let is_foreign = node.foreign_headers || checked.is_err() && !is_known && verify::has_foreign_fields(fields);
    if !is_foreign {
        checked.map_err(|why| {
            let is_first = !is_known && node.recent.roots().is_empty();
            let hint = if is_first { "; a chain that hashes otherwise needs `foreign_headers = true`" } else { "" };
            node.contradiction(&format!("the header of {subject}"), "its hash", Fault::Forged, why + hint)
        })?;
        node.recent.note(Height(header.number), header.state_root);
    } else {
        node.can.known.lose(node, "the header has fields that are not known here");
    }
    Ok(SealedHeader { header, hash: *hash, is_foreign })
}
