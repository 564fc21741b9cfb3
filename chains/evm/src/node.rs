//! One node: questions, answers (`transport`, `batch`), and what its refusals mean (`meaning`); what it turned out to be able to do (`ability`,
//! `quicker`), and what it has said lately (`recent`).

pub(crate) mod ability;
pub(crate) mod batch;
pub(crate) mod meaning;
pub(crate) mod quicker;
pub(crate) mod recent;
pub(crate) mod transport;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U64};
use alloy::rpc::json_rpc::ErrorPayload;
use assay_http::{Answer, Endpoint, HttpError};
use assay_types::{BlockHash, Fault, NodeError};
use futures_util::StreamExt;
use parking_lot::Mutex;
use revm::bytecode::Bytecode;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::codec::Family;
use crate::json::FromJson;
use crate::node::ability::Abilities;
use crate::node::batch::BatchSize;
use crate::node::meaning::Meaning;
use crate::node::quicker::Quicker;
use crate::node::recent::{Named, Recent};
use crate::node::transport::{Broken, Failure};

/// What an answer without content is told as.
pub(crate) const NULL: &str = "the answer is null";
/// Requests at a time, of one piece of work; how many there are in all, the endpoint's pace decides.
const AT_ONCE: usize = 8;

/// For how long it is believed of which chain a node is.
const CHAIN_HOLDS: Duration = Duration::from_secs(10);

/// Why a question has no answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The answer did not arrive, or cannot be read, or the node is overloaded: nothing is known, ask again.
    Failed(NodeError, Cause),
    /// The node does not know the method.
    NoMethod(String),
    /// The node does not have the block, or not its state, as it says.
    Absent(String),
    /// `null`, which says that there is no such thing; the error that this is where there must be.
    Null(NodeError),
    /// Less at a time may do.
    TooMuch(String),
    /// The contract that was called failed.
    Execution(String),
    /// Anything else that the node says.
    Other(String),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It took longer than anyone waits.
    Late,
    /// It came to more than anyone reads.
    Huge,
    /// Anything else.
    Other,
}

impl Refusal {
    /// What the node says, where it says something.
    ///
    /// # Errors
    /// Where nothing is known.
    pub(crate) fn in_words(self) -> Result<String, NodeError> {
        match self {
            Refusal::Failed(error, _) | Refusal::Null(error) => Err(error),
            Refusal::NoMethod(why)
            | Refusal::Absent(why)
            | Refusal::TooMuch(why)
            | Refusal::Execution(why)
            | Refusal::Other(why) => Ok(why),
        }
    }
}

impl From<NodeError> for Refusal {
    fn from(error: NodeError) -> Refusal {
        Refusal::Failed(error, Cause::Other)
    }
}

/// Of how many recent blocks it is kept that something of them was proven.
const PROVEN: usize = 64;

/// A node, as one talks to it.
pub(crate) struct Node {
    /// Host and port, without anything secret.
    pub(crate) name: String,
    endpoint: Endpoint,
    /// The same, for traces: they explain, and may hold up a block for half of the time that any other answer may take.
    hurried: Endpoint,
    /// The number of the next question.
    next: AtomicU64,
    pub(crate) family: Family,
    /// See [`crate::EvmConfig`].
    pub(crate) foreign_headers: bool,
    /// When it last said that it is of that chain.
    right_chain: Mutex<Option<Instant>>,
    pub(crate) can: Abilities,
    batch: BatchSize,
    pub(crate) quicker_traces: Quicker,
    /// The highest block at which the node was seen to prove nothing, nor at the one below.
    pub(crate) unproven_up_to: AtomicU64,
    /// The lowest block that is known to have PUSH0, MCOPY and TLOAD.
    pub(crate) new_since: AtomicU64,
    /// Contract codes that were run, by their hashes.
    pub(crate) codes: Mutex<HashMap<B256, Bytecode>>,
    /// What it has said lately, by which its answers are held against each other.
    pub(crate) recent: Recent,
    /// What of that was not believed, though the rest counts.
    doubt: Mutex<Option<NodeError>>,
    /// By its tag of finality.
    pub(crate) named_final: Mutex<Named>,
    /// The tokens of which it made up a balance.
    lied_of: Mutex<BTreeSet<Address>>,
    /// The last blocks of which it has proven anything.
    proven: Mutex<VecDeque<BlockHash>>,
}

impl Node {
    pub(crate) fn new(endpoint: Endpoint, chain_number: u64, foreign_headers: bool) -> Node {
        Node {
            name: endpoint.shown(),
            batch: BatchSize::new(endpoint.pace().largest_batch()),
            next: AtomicU64::new(1),
            hurried: endpoint.within(endpoint.deadline() / 2),
            endpoint,
            family: Family(chain_number),
            foreign_headers,
            right_chain: Mutex::new(None),
            can: Abilities::assumed(),
            quicker_traces: Quicker::default(),
            unproven_up_to: AtomicU64::new(0),
            new_since: AtomicU64::new(u64::MAX),
            named_final: Mutex::default(),
            codes: Mutex::default(),
            recent: Recent::default(),
            doubt: Mutex::default(),
            lied_of: Mutex::default(),
            proven: Mutex::default(),
        }
    }

    /// Has it made up a balance of this token?
    pub(crate) fn has_lied_of(&self, token: Address) -> bool {
        self.lied_of.lock().contains(&token)
    }

    pub(crate) fn note_lie_of(&self, token: Address) {
        self.lied_of.lock().insert(token);
    }

    /// Has it proven anything of this block?
    pub(crate) fn has_proven(&self, block: BlockHash) -> bool {
        self.proven.lock().contains(&block)
    }

    /// It has proven an account, or words of a contract, at this block.
    pub(crate) fn note_proven(&self, block: BlockHash) {
        self.can.proofs.show();
        let mut proven = self.proven.lock();
        if !proven.contains(&block) {
            proven.truncate(PROVEN - 1);
            proven.push_front(block);
        }
    }

    /// Says that something is not believed, and keeps it for whoever compares nodes.
    pub(crate) fn doubt(&self, error: NodeError) {
        tracing::warn!(kind = error.fault().map(Fault::as_str), "{error}");
        *self.doubt.lock() = Some(error);
    }

    pub(crate) fn take_doubt(&self) -> Option<NodeError> {
        self.doubt.lock().take()
    }

    /// Makes sure that the node is of the chain that it is configured for: from time to time, for what stands behind a URL may change.
    pub(crate) async fn make_sure_of_chain(&self) -> Result<(), NodeError> {
        let asked = Instant::now();
        let last_said = || self.right_chain.lock();
        if last_said().is_some_and(|last| asked.duration_since(last) < CHAIN_HOLDS) {
            return Ok(());
        }
        let found = self.chain_id().await?;
        if found.to::<u64>() != self.family.0 {
            let (expected, found) = (format!("eip155:{}", self.family.0), format!("eip155:{found}"));
            return Err(NodeError::WrongChain { node: self.name.clone(), expected, found });
        }
        *last_said() = Some(asked);
        Ok(())
    }

    /// It is asked again of which chain it is.
    pub(crate) fn forget_chain(&self) {
        *self.right_chain.lock() = None;
    }

    async fn chain_id(&self) -> Result<U64, NodeError> {
        let subject = "its chain id";
        self.ask("eth_chainId", Value::Array(vec![]), subject).await.or_fail(self, subject)
    }

    /// How long a small answer takes to come, at best.
    pub(crate) async fn round_trip(&self) -> Result<Duration, NodeError> {
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let since = Instant::now();
            self.chain_id().await?;
            best = best.min(since.elapsed());
        }
        Ok(best)
    }

    /// Asks one question. `null` is an answer where `T` is an `Option`.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        subject: &str,
    ) -> Result<T, Refusal> {
        self.ask_and_read(method, params, subject, transport::read_one).await
    }

    /// The same, of what has large answers.
    pub(crate) async fn ask_large<T: FromJson + DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        subject: &str,
    ) -> Result<T, Refusal> {
        self.ask_and_read(method, params, subject, transport::read_large).await
    }

    async fn ask_and_read<T>(
        &self,
        method: &'static str,
        params: Value,
        subject: &str,
        read: impl Fn(&Answer, u64) -> Result<T, Failure>,
    ) -> Result<T, Refusal> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let endpoint = if transport::is_trace(method) { &self.hurried } else { &self.endpoint };
        let told = transport::ask(endpoint, id, method, &params, read).await;
        told.map_err(|failure| self.refusal(failure, subject))
    }

    /// Asks many questions by one method, in as few requests as the node bears; answers in order. Fails as a whole only
    /// where single answers say nothing.
    pub(crate) async fn ask_many<T: DeserializeOwned>(
        &self,
        method: &'static str,
        questions: Vec<Value>,
        subject: &str,
    ) -> Result<Vec<Result<T, Refusal>>, NodeError> {
        let mut chunks = futures_util::stream::iter(questions.chunks(self.batch.size()))
            .map(|chunk| self.ask_chunk(method, chunk, subject))
            .buffered(AT_ONCE / 2);
        let mut answers = Vec::with_capacity(questions.len());
        while let Some(chunk) = chunks.next().await {
            for answer in chunk? {
                answers.push(match answer {
                    Err(Refusal::Failed(error, _)) => return Err(error),
                    answer => answer,
                });
            }
        }
        Ok(answers)
    }

    /// In one batch, or where that is more than the node takes, in several; what was refused for that alone is asked again.
    async fn ask_chunk<T: DeserializeOwned>(
        &self,
        method: &'static str,
        questions: &[Value],
        subject: &str,
    ) -> Result<Vec<Result<T, Refusal>>, NodeError> {
        let mut answers: Vec<Option<Result<T, Refusal>>> = questions.iter().map(|_| None).collect();
        let mut open: VecDeque<usize> = (0..questions.len()).collect();
        while !open.is_empty() {
            let size = open.len().min(self.batch.size());
            if size < 2 || !self.can.batches.is_there() {
                let ask = async |nth: usize| (nth, self.ask(method, questions[nth].clone(), subject).await);
                let mut singles = futures_util::stream::iter(open).map(ask).buffer_unordered(AT_ONCE);
                while let Some((nth, answer)) = singles.next().await {
                    if let Err(Refusal::Failed(error, _)) = answer {
                        return Err(error); // nor are the others worth waiting for
                    }
                    answers[nth] = Some(answer);
                    self.batch.answered(1);
                }
                break;
            }
            let mut asked: VecDeque<usize> = open.drain(..size).collect();
            match self.send_batch(method, asked.iter().map(|nth| &questions[*nth])).await {
                Ok(told) => {
                    self.can.batches.show();
                    let mut refused = 0;
                    for (nth, answer) in asked.into_iter().zip(told) {
                        match &answer {
                            Err(error) if Meaning::of(error).is_too_much() => {
                                if self.endpoint.is_given_up() {
                                    return Err(self.unreachable(&error.message));
                                }
                                refused += 1;
                                open.push_back(nth);
                            }
                            _ => answers[nth] = Some(self.read(answer, subject)),
                        }
                    }
                    if refused > 0 { self.batch.refused(size) } else { self.batch.answered(size) }
                }
                Err(error) => {
                    let first = asked[0];
                    if let Some(answer) = self.without_batch(error, size, (method, &questions[first]), subject).await? {
                        answers[first] = Some(answer);
                        asked.pop_front();
                    }
                    asked.into_iter().rev().for_each(|nth| open.push_front(nth));
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// A batch of so many was refused: the next ones are smaller, or there are none any more. To find that out its first question may be asked by
    /// itself, and this is the answer then.
    async fn without_batch<T: DeserializeOwned>(
        &self,
        error: Failure,
        size: usize,
        (method, first): (&'static str, &Value),
        subject: &str,
    ) -> Result<Option<Result<T, Refusal>>, NodeError> {
        let overloaded = transport::is_overload(&error);
        if overloaded || transport::is_too_much(&error) {
            self.batch.refused(size);
        }
        if overloaded && !self.endpoint.is_given_up() {
            return Ok(None);
        }
        let why = match self.refusal(error, subject) {
            // Some refuse batches without a word of it: is one question answered by itself?
            Refusal::Failed(error @ NodeError::Unreachable { .. }, Cause::Other) if !overloaded => {
                if self.can.batches.doubt() {
                    return Err(error); // it took one before
                }
                let answer = match self.ask(method, first.clone(), subject).await {
                    Err(Refusal::Failed(..)) => return Err(error),
                    answer => answer,
                };
                self.can.batches.lose(self, &error.to_string());
                return Ok(Some(answer));
            }
            refusal => refusal.in_words()?,
        };
        match size {
            2 => self.can.batches.lose(self, &why),
            _ => tracing::debug!(node = self.name, "a batch of {size} is refused: {why}"),
        }
        self.batch.refused(size.max(4)); // those of two are tried again when that ability is
        Ok(None)
    }

    async fn send_batch<'q>(
        &self,
        method: &'static str,
        questions: impl ExactSizeIterator<Item = &'q Value>,
    ) -> Result<transport::Told, Failure> {
        let first = self.next.fetch_add(questions.len() as u64, Ordering::Relaxed);
        transport::ask_batch(&self.endpoint, first, method, questions).await
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<Box<RawValue>, ErrorPayload>,
        subject: &str,
    ) -> Result<T, Refusal> {
        let answer = answer.map_err(|error| self.refusal_in_words(&error))?;
        serde_json::from_str(answer.get())
            .map_err(|error| self.refusal(Failure::Unread(error, answer.get() == "null"), subject))
    }

    fn refusal(&self, failure: Failure, subject: &str) -> Refusal {
        match failure {
            Failure::Said(error) | Failure::Broken(Broken::BatchRefused(error)) => self.refusal_in_words(&error),
            Failure::Unread(_, true) => self.null(subject),
            Failure::Unread(error, false) => self.not_read(subject, &error).into(),
            Failure::Broken(Broken::Http(HttpError::LoginRefused(status, _))) => {
                NodeError::LoginRefused { node: self.name.clone(), why: format!("HTTP status {status}") }.into()
            }
            Failure::Broken(why @ Broken::Status(504 | 524)) => Refusal::Failed(self.unreachable(why), Cause::Late),
            Failure::Broken(why @ (Broken::Status(429) | Broken::Http(HttpError::Refusing(_)))) => {
                self.limited(why).into()
            }
            Failure::Broken(why @ Broken::Status(413)) => Refusal::TooMuch(why.to_string()),
            Failure::Broken(why) => {
                let cause = match &why {
                    Broken::Http(HttpError::TimedOut(_)) => Cause::Late,
                    Broken::Http(HttpError::TooLarge(..)) => Cause::Huge,
                    Broken::Http(HttpError::NeverEnding { within, .. }) => match *within < self.hurried.deadline() {
                        true => Cause::Huge,
                        false => Cause::Late,
                    },
                    _ => Cause::Other,
                };
                let error = match why.fault() {
                    Some(fault) => self.unreadable(subject, fault, why),
                    None => self.unreachable(why),
                };
                Refusal::Failed(error, cause)
            }
        }
    }

    /// Where there must be an answer.
    pub(crate) fn null(&self, subject: &str) -> Refusal {
        Refusal::Null(self.missing(subject, Some(Fault::Omitted), NULL))
    }

    /// What a JSON-RPC error means, with its words.
    pub(crate) fn refusal_in_words(&self, error: &ErrorPayload) -> Refusal {
        let why = shortened(&error.message);
        match Meaning::of(error) {
            Meaning::Execution => Refusal::Execution(why),
            Meaning::TooMuch => Refusal::TooMuch(why),
            Meaning::Absent => Refusal::Absent(why),
            Meaning::Limited => self.limited(why).into(),
            Meaning::Overloaded => self.unreachable(why).into(),
            Meaning::Late => Refusal::Failed(self.unreachable(why), Cause::Late),
            Meaning::NoMethod => Refusal::NoMethod(why),
            Meaning::Other => Refusal::Other(why),
        }
    }

    pub(crate) fn unreachable(&self, why: impl ToString) -> NodeError {
        NodeError::Unreachable { node: self.name.clone(), why: shortened(&why.to_string()) }
    }

    pub(crate) fn is_refusing(&self) -> bool {
        self.endpoint.is_refusing()
    }

    fn limited(&self, why: impl ToString) -> NodeError {
        NodeError::Limited { node: self.name.clone(), why: shortened(&why.to_string()) }
    }

    pub(crate) fn unreadable(&self, subject: &str, fault: Fault, why: impl ToString) -> NodeError {
        let why = shortened(&why.to_string());
        NodeError::Unreadable { node: self.name.clone(), subject: subject.into(), why, fault }
    }

    /// What JSON that cannot be read means.
    pub(crate) fn not_read(&self, subject: &str, error: &serde_json::Error) -> NodeError {
        self.unreadable(subject, transport::unreadable(error), error)
    }

    /// The node does not have it; with a fault where it should, by its own words.
    pub(crate) fn missing(&self, subject: &str, fault: Option<Fault>, why: impl ToString) -> NodeError {
        NodeError::Missing { node: self.name.clone(), subject: subject.into(), why: why.to_string(), fault }
    }

    pub(crate) fn contradiction(&self, subject: &str, against: &str, fault: Fault, why: impl ToString) -> NodeError {
        let (node, subject, against) = (self.name.clone(), subject.into(), against.into());
        NodeError::Contradiction { node, subject, against, why: why.to_string(), fault }
    }
}

/// What a stranger says, cut to a length that one wants to read.
fn shortened(text: &str) -> String {
    const MOST: usize = 200;
    let clean = text.chars().map(|c| if c.is_control() || turns_text(c) { ' ' } else { c });
    if text.chars().count() > MOST { clean.take(MOST).chain("...".chars()).collect() } else { clean.collect() }
}

/// Would what follows be shown in another direction, or this not at all (Unicode Standard Annex 9)?
fn turns_text(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Turns a refusal into an error, where nothing else can be made of it.
pub(crate) trait OrFail<T> {
    /// The answer, or an error that names what was asked for.
    fn or_fail(self, node: &Node, subject: &str) -> Result<T, NodeError>;
}

impl<T> OrFail<T> for Result<T, Refusal> {
    fn or_fail(self, node: &Node, subject: &str) -> Result<T, NodeError> {
        self.map_err(|refusal| match refusal {
            Refusal::Failed(error, _) | Refusal::Null(error) => error,
            Refusal::NoMethod(why) => NodeError::Unsupported(format!("{}: cannot give {subject}: {why}", node.name)),
            Refusal::Absent(why) => node.missing(subject, None, why),
            Refusal::TooMuch(why) | Refusal::Execution(why) | Refusal::Other(why) => {
                node.unreachable(format!("{subject}: {why}"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_http::Login;

    fn node() -> Node {
        Node::new(Endpoint::new("http://user:secret@127.0.0.1:1/key", Login::None).unwrap(), 1, false)
    }

    #[test]
    fn refusals_are_told_by_code_and_words() {
        let means = |code: i64, message: &'static str| {
            let error = ErrorPayload { code, message: message.into(), data: None };
            match node().refusal_in_words(&error) {
                Refusal::Failed(NodeError::Unreachable { .. }, Cause::Other) => "again",
                Refusal::Failed(NodeError::Unreachable { .. }, Cause::Late) => "late",
                Refusal::Failed(NodeError::Limited { .. }, _) => "limited",
                Refusal::NoMethod(_) => "no method",
                Refusal::Absent(_) => "absent",
                Refusal::TooMuch(_) => "too much",
                Refusal::Execution(_) => "execution",
                _ => "other",
            }
        };
        for (code, message, meaning) in [
            (-32601, "the method debug_traceBlockByHash does not exist/is not available", "no method"),
            (-32601, "Method not found", "no method"),
            (-32005, "daily request count exceeded, request rate limited", "limited"),
            (429, "slow down", "limited"),
            (-32000, "upstream timeout", "late"),
            (-32002, "request timed out", "late"),
            (-32000, "server is busy", "again"),
            (-32000, "execution aborted (timeout = 5s)", "too much"),
            (-32000, "execution timeout", "too much"),
            (-32600, "batch too large", "too much"),
            (-32000, "Too many requests in one batch: the limit is exceeded", "too much"),
            (-32003, "response too large", "too much"),
            (-32000, "missing trie node 0123 (path ) state 0x45 is not available", "absent"),
            (-32001, "Resource not found", "absent"),
            (-32602, "BlockOutOfRangeError: block height is 6001 but requested was 1", "absent"),
            (-32000, "distance to target block exceeds maximum proof window", "absent"),
            (-32000, "header not found", "absent"),
            (-32000, "project ID does not have access to archive state", "absent"),
            (-32000, "requested block is too old, block must be within 1000 blocks of the head block number", "absent"),
            (-32000, "proofs are available only for the 'latest' block", "absent"),
            (3, "execution reverted: broken", "execution"),
            (-32000, "execution reverted: rate limit, missing trie node", "execution"),
            (-32603, "EVM error OutOfGas", "execution"),
            (-32602, "too many arguments, want at most 2", "other"),
        ] {
            assert_eq!(means(code, message), meaning, "{message}");
        }
    }

    #[test]
    fn what_a_stranger_says_is_short_and_runs_in_one_direction() {
        assert_eq!(shortened("a\n\u{202e}b\u{feff}\x1b"), "a  b  ");
        assert_eq!(shortened(&"é".repeat(201)), format!("{}...", "é".repeat(200)));
    }

    #[test]
    fn errors_name_the_node_without_its_secrets() {
        let error = assay_http::wait(node().make_sure_of_chain()).unwrap_err();
        assert!(matches!(error, NodeError::Unreachable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("127.0.0.1:1") && !text.contains("secret") && !text.contains("key"), "{text}");
    }
}
