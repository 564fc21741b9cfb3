//! One Bitcoin node: logging in, being sure of its chain, control over RPC, blocks over REST or RPC.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use assay_http::{Endpoint, HttpError, Login, Pace};
use assay_types::{BlockHash, BlockRef, Fault, Height, NodeError};
use bitcoin::hashes::Hash as _;
use bitcoincore_rpc::{Client, RpcApi as _};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tracing::{info, warn};

use crate::block::{MAX_BLOCK_BYTES, reversed};
use crate::buffer::Buffer;
use crate::files::BlockFiles;
use crate::filter;
use crate::network::Network;
use crate::pow::{HEADER_BYTES, RawHeader};
use crate::sha256d::double_sha256;
use crate::transport::{LIMIT_BYTES, Transport, TransportFault};

/// Error codes of Bitcoin Core (`rpc/protocol.h`).
mod code {
    /// Starting up, "Loading block index…".
    pub(super) const IN_WARMUP: i32 = -28;
    /// No such block or transaction.
    pub(super) const NOT_FOUND: i32 = -5;
    /// Out of range.
    pub(super) const OUT_OF_RANGE: i32 = -8;
    /// Of several kinds: here "Block not available (pruned data)".
    pub(super) const MISC: i32 = -1;
}

/// Where a node is, and how to log in. Not to be printed: a URL may carry a password.
#[derive(Clone)]
pub struct NodeConfig {
    /// Its RPC URL, such as `http://127.0.0.1:8332`.
    pub rpc: String,
    /// How to log in there.
    pub login: NodeLogin,
    /// The folder of its block files, if they can be read from here.
    pub blocks_dir: Option<PathBuf>,
    /// How fast it is asked.
    pub pace: Pace,
}

/// How to log in to a node. Secrets come from files.
#[derive(Debug, Clone)]
pub enum NodeLogin {
    /// Not at all, or the URL says it.
    None,
    /// With the file that `bitcoind` writes anew at each start.
    CookieFile(PathBuf),
    /// As a user with a password.
    Password {
        /// The user.
        user: String,
        /// The file with the password; a newline at its end is no part of it.
        password_file: PathBuf,
    },
}

/// For fewer blocks the files are not looked through.
const FEW_BLOCKS: u64 = 100;
/// How long a node may read through its unspent outputs: a minute or two on a fast disk, many on a slow one.
const SCAN_DEADLINE: Duration = Duration::from_secs(1_800);
/// It tells of every output that it finds: some 100,000 of them.
const SCAN_LIMIT_BYTES: usize = 64 << 20;

/// No mempool has more: at the size that nodes keep by default some 300,000 of the smallest transactions fit.
pub(crate) const MOST_WAITING: usize = 1_000_000;
/// The longest list of a mempool that is read: a million ids of 64 digits, in quotes, with a comma.
const LIST_LIMIT_BYTES: usize = 67 * MOST_WAITING + 1_000;
/// The longest filter that is read: one of a block with nothing but the smallest outputs has a tenth of it.
const FILTER_LIMIT_BYTES: usize = 4 << 20;

/// The part of `getindexinfo` that is used.
#[derive(Deserialize)]
struct Index {
    synced: bool,
    best_block_height: u64,
}

/// The part of `getblockfilter` that is used.
#[derive(Deserialize)]
struct Filter {
    filter: String,
}

/// One node. Connected when it is first asked something, and again after it was lost.
pub(crate) struct Node {
    config: NodeConfig,
    network: &'static Network,
    /// Host and port, for people.
    shown: String,
    session: Mutex<Option<Arc<Session>>>,
    files: Option<BlockFiles>,
    /// Are blocks read from the files at the moment?
    from_files: AtomicBool,
    /// What was said of that last.
    said: Mutex<Option<bool>>,
    /// Its filters do not come over REST.
    filters_over_rpc: AtomicBool,
}

/// A connection to a node that let us in and is on our chain.
struct Session {
    client: Client,
    /// For what takes minutes.
    patient: Client,
    /// For the list of what waits, which may be longer than a block.
    lists: Client,
    /// Where blocks come from as plain bytes, if the node serves them.
    rest: Option<Endpoint>,
}

impl Node {
    pub(crate) fn new(network: &'static Network, config: NodeConfig) -> Result<Node, NodeError> {
        let endpoint = Endpoint::new(&config.rpc, Login::None)
            .map_err(|error| NodeError::Unsupported(format!("a Bitcoin node's rpc: {error}")))?;
        let files = config.blocks_dir.clone().map(|folder| BlockFiles::new(folder, network));
        let (shown, session) = (endpoint.shown(), Mutex::default());
        let (from_files, filters_over_rpc) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Node { network, shown, config, session, files, from_files, said: Mutex::default(), filters_over_rpc })
    }

    /// Host and port, for people.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Calls an RPC method; `subject` names in errors what is asked for.
    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        subject: &str,
        method: &str,
        params: &[Value],
    ) -> Result<T, NodeError> {
        self.with_session(|session| session.client.call(method, params).map_err(|error| self.rpc_fault(subject, error)))
    }

    /// The same, for what takes minutes.
    pub(crate) fn call_patiently<T: DeserializeOwned>(
        &self,
        subject: &str,
        method: &str,
        params: &[Value],
    ) -> Result<T, NodeError> {
        self.with_session(|session| {
            session.patient.call(method, params).map_err(|error| self.rpc_fault(subject, error))
        })
    }

    /// The same, with `None` when the node says that there is no such thing.
    pub(crate) fn call_if_known<T: DeserializeOwned>(
        &self,
        subject: &str,
        method: &str,
        params: &[Value],
    ) -> Result<Option<T>, NodeError> {
        match self.call(subject, method, params) {
            Ok(it) => Ok(Some(it)),
            Err(NodeError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same, for a list of what waits in the mempool.
    pub(crate) fn call_for_list<T: DeserializeOwned>(&self, subject: &str, method: &str) -> Result<T, NodeError> {
        self.with_session(|session| session.lists.call(method, &[]).map_err(|error| self.rpc_fault(subject, error)))
    }

    /// Calls a method with each of these parameters, in one request, or in as many as its pace wants: an answer to each, in their order, with `None` where the node
    /// says that there is no such thing.
    pub(crate) fn call_each<T: DeserializeOwned>(
        &self,
        subject: &str,
        method: &str,
        params: &[Box<RawValue>],
    ) -> Result<Vec<Option<T>>, NodeError> {
        self.with_session(|session| {
            let client = session.client.get_jsonrpc_client();
            let mut answers = Vec::with_capacity(params.len());
            for params in params.chunks(self.config.pace.largest_batch()) {
                let requests: Vec<_> = params.iter().map(|params| client.build_request(method, Some(params))).collect();
                answers.extend(client.send_batch(&requests).map_err(|error| self.rpc_fault(subject, error.into()))?);
            }
            let read = |answer: Option<jsonrpc::Response>| {
                let answer =
                    answer.ok_or_else(|| self.broken(subject, Fault::Omitted, "an answer is missing".into()))?;
                match answer.result().map_err(|error| self.rpc_fault(subject, error.into())) {
                    Err(NodeError::Missing { .. }) => Ok(None),
                    answer => answer.map(Some),
                }
            };
            answers.into_iter().map(read).collect()
        })
    }

    /// Chooses where so many blocks come from, and says so: files are looked through first, which a few blocks are not worth.
    pub(crate) fn choose_source(&self, tip: Option<BlockRef>, blocks: u64) -> bool {
        let Some(files) = &self.files else { return false };
        let use_files = if blocks < FEW_BLOCKS {
            Err(format!("only {blocks} are missing"))
        } else {
            let tip = tip.ok_or_else(|| "the node was not asked for its tip yet".to_owned());
            tip.and_then(|tip| files.find(tip))
        };
        let now = use_files.is_ok();
        self.from_files.store(now, Ordering::Relaxed);
        if self.said.lock().replace(now) == Some(now) {
            return now;
        }
        match use_files {
            Ok(found) => info!("{}: {blocks} blocks come from its files: {found}", self.shown),
            Err(why) if blocks >= FEW_BLOCKS => {
                warn!("{}: blocks come from the node and not from its files: {why}", self.shown);
            }
            Err(why) => info!("{}: blocks come from the node and not from its files: {why}", self.shown),
        }
        now
    }

    /// The hashes from this height on, at most so many, of the chain that ends with this block.
    pub(crate) fn hashes(&self, tip: BlockRef, from: Height, count: u64) -> Result<Vec<BlockHash>, NodeError> {
        let in_files = self.files.as_ref().filter(|_| self.from_files.load(Ordering::Relaxed));
        if let Some(hashes) = in_files.and_then(|files| files.hashes(tip, from, count)) {
            return Ok(hashes);
        }
        self.with_session(|session| {
            let at = |height: u64| {
                let subject = format!("the hash of block {height}");
                let hash: String = session
                    .client
                    .call("getblockhash", &[height.into()])
                    .map_err(|error| self.rpc_fault(&subject, error))?;
                hash.parse::<bitcoin::BlockHash>()
                    .map(|hash| BlockHash(reversed(hash.to_byte_array())))
                    .map_err(|error| self.unreadable(&subject, error.to_string()))
            };
            let count = count.min(tip.height.0 + 1 - from.0.min(tip.height.0));
            if let Some(rest) = &session.rest {
                match rest_hashes(rest, at(from.0)?, count) {
                    Ok(hashes) => return Ok(hashes),
                    Err(why) => warn!("{}: headers over REST: {why}; asking for hashes over RPC", self.shown),
                }
            }
            (from.0..from.0 + count).map(at).collect()
        })
    }

    /// A block's bytes, as they stand in the files; nothing about them is checked. `None` where they are to be asked for.
    pub(crate) fn block_in_files(&self, hash: BlockHash) -> Option<Buffer> {
        let files = self.files.as_ref().filter(|_| self.from_files.load(Ordering::Relaxed))?;
        files.block(hash).unwrap_or_else(|why| {
            warn!("{}: block {hash}: {why}; asking the node for it", self.shown);
            None
        })
    }

    /// A block's bytes, as they came: nothing about them is checked.
    pub(crate) fn block_bytes(&self, hash: BlockHash) -> Result<Buffer, NodeError> {
        self.with_session(|session| {
            if let Some(rest) = &session.rest {
                match rest_block(rest, hash) {
                    Ok(bytes) => return Ok(bytes),
                    Err(why) => warn!("{}: block {hash} over REST: {why}; asking for it over RPC", self.shown),
                }
            }
            self.rpc_block(session, hash).map(Buffer::from)
        })
    }

    /// Are its block files read at the moment, or could they be?
    pub(crate) fn has_files(&self) -> bool {
        self.files.is_some()
    }

    /// Has it a basic filter of each block of its chain (BIP158)? If not, why.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(crate) fn has_filters(&self) -> Result<Result<(), String>, NodeError> {
        const INDEX: &str = "basic block filter index";
        let indexes: HashMap<String, Index> = self.call("its indexes", "getindexinfo", &[INDEX.into()])?;
        Ok(match indexes.get(INDEX) {
            None => Err("it has no filters (start bitcoind with `blockfilterindex=1`)".into()),
            Some(Index { synced: false, best_block_height }) => {
                Err(format!("it is still making its filters, and is at block {best_block_height}"))
            }
            Some(_) => Ok(()),
        })
    }

    /// The basic filter of a block, as it came: nothing can be checked about it.
    pub(crate) fn filter(&self, hash: BlockHash) -> Result<Vec<u8>, NodeError> {
        self.with_session(|session| {
            if let Some(rest) = session.rest.as_ref().filter(|_| !self.filters_over_rpc.load(Ordering::Relaxed)) {
                match rest_filter(rest, hash) {
                    Ok(filter) => return Ok(filter),
                    Err(why) => {
                        warn!("{}: filter of block {hash} over REST: {why}; asking over RPC from now on", self.shown);
                        self.filters_over_rpc.store(true, Ordering::Relaxed);
                    }
                }
            }
            let subject = format!("the filter of block {hash}");
            let filter: Filter = session
                .client
                .call("getblockfilter", &[hash.to_string().into(), "basic".into()])
                .map_err(|error| self.rpc_fault(&subject, error))?;
            const_hex::decode(&filter.filter)
                .map_err(|error| self.unreadable(&subject, format!("not hexadecimal: {error}")))
        })
    }

    /// Does it serve blocks over REST?
    pub(crate) fn has_rest(&self) -> Result<bool, NodeError> {
        self.with_session(|session| Ok(session.rest.is_some()))
    }

    /// Runs this with a connection that is known to be good. A refused login is tried once more, since `bitcoind` writes
    /// a new cookie when it starts; a connection that broke is made, and its chain checked, anew the next time.
    fn with_session<T>(&self, ask: impl Fn(&Session) -> Result<T, NodeError>) -> Result<T, NodeError> {
        let once = || {
            let session = self.session()?;
            ask(&session).inspect_err(|error| {
                if matches!(error, NodeError::Unreachable { .. } | NodeError::LoginRefused { .. }) {
                    self.forget(&session);
                }
            })
        };
        match once() {
            Err(NodeError::LoginRefused { .. }) => once(),
            other => other,
        }
    }

    fn session(&self) -> Result<Arc<Session>, NodeError> {
        let mut held = self.session.lock();
        if let Some(session) = held.as_ref() {
            return Ok(session.clone());
        }
        let session = Arc::new(self.connect()?);
        *held = Some(session.clone());
        Ok(session)
    }

    fn forget(&self, lost: &Arc<Session>) {
        let mut held = self.session.lock();
        if held.as_ref().is_some_and(|current| Arc::ptr_eq(current, lost)) {
            *held = None;
        }
    }

    fn connect(&self) -> Result<Session, NodeError> {
        let (login, note) = self.login()?;
        let endpoint = self.endpoint(login)?;
        let client = |endpoint, limit_bytes| {
            Client::from_jsonrpc(jsonrpc::Client::with_transport(Transport { endpoint, limit_bytes }))
        };
        let patient = client(endpoint.within(SCAN_DEADLINE), SCAN_LIMIT_BYTES);
        let lists = client(endpoint.clone(), LIST_LIMIT_BYTES);
        let client = client(endpoint, LIMIT_BYTES);
        let genesis: String = client.call("getblockhash", &[0.into()]).map_err(|error| {
            match (self.rpc_fault("block 0", error), note) {
                (NodeError::LoginRefused { node, why }, Some(note)) => {
                    NodeError::LoginRefused { node, why: format!("{why}; {note}") }
                }
                (error, _) => error,
            }
        })?;
        if genesis != self.network.genesis.to_string() {
            let expected = format!("{} (genesis block {})", self.network.name, self.network.genesis);
            let found = format!("one with genesis block {genesis}");
            return Err(NodeError::WrongChain { node: self.shown.clone(), expected, found });
        }
        let rest = self.probe_rest()?;
        Ok(Session { client, patient, lists, rest })
    }

    /// The login, and what to add should it be refused. A missing cookie may only mean that the node is not running, and
    /// whether it is shows when we knock.
    fn login(&self) -> Result<(Login, Option<String>), NodeError> {
        let refused = |why: String| NodeError::LoginRefused { node: self.shown.clone(), why };
        match &self.config.login {
            NodeLogin::None => Ok((Login::None, None)),
            NodeLogin::CookieFile(file) => match std::fs::read_to_string(file) {
                Ok(cookie) => match cookie.trim_end().split_once(':') {
                    Some((user, password)) => Ok((Login::Basic { user: user.into(), password: password.into() }, None)),
                    None => Err(refused(format!("{} is no cookie file: `user:password` is expected", file.display()))),
                },
                Err(error) => {
                    Ok((Login::None, Some(format!("the cookie file {} cannot be read: {error}", file.display()))))
                }
            },
            NodeLogin::Password { user, password_file } => {
                let password = std::fs::read_to_string(password_file).map_err(|error| {
                    refused(format!("the password file {} cannot be read: {error}", password_file.display()))
                })?;
                let password = password.strip_suffix('\n').unwrap_or(&password);
                let password = password.strip_suffix('\r').unwrap_or(password).to_owned();
                Ok((Login::Basic { user: user.clone(), password }, None))
            }
        }
    }

    fn endpoint(&self, login: Login) -> Result<Endpoint, NodeError> {
        let endpoint = Endpoint::new(&self.config.rpc, login).map_err(|error| self.http_fault("its address", error))?;
        Ok(endpoint.paced(self.config.pace.clone()))
    }

    /// Looks whether the node serves REST, which it does on the same port and without a login.
    fn probe_rest(&self) -> Result<Option<Endpoint>, NodeError> {
        let endpoint = self.endpoint(Login::None)?;
        let answer = assay_http::wait(endpoint.get("/rest/blockhashbyheight/0.hex", 1_000));
        let serves = answer.as_ref().is_ok_and(|answer| {
            answer.status == 200 && answer.body.trim_ascii() == self.network.genesis.to_string().as_bytes()
        });
        if serves {
            info!("{}: blocks come over REST, as bytes", self.shown);
        } else {
            let why = answer.map_or_else(|error| error.to_string(), |answer| format!("HTTP status {}", answer.status));
            info!("{}: blocks come over RPC, which is slower, as REST is not served ({why})", self.shown);
        }
        Ok(serves.then_some(endpoint))
    }

    fn rpc_block(&self, session: &Session, hash: BlockHash) -> Result<Vec<u8>, NodeError> {
        let subject = format!("block {hash}");
        let hex: String = session
            .client
            .call("getblock", &[hash.to_string().into(), 0.into()])
            .map_err(|error| self.rpc_fault(&subject, error))?;
        const_hex::decode(&hex).map_err(|error| self.unreadable(&subject, format!("not hexadecimal: {error}")))
    }

    fn rpc_fault(&self, subject: &str, error: bitcoincore_rpc::Error) -> NodeError {
        use bitcoincore_rpc::Error::JsonRpc;
        use jsonrpc::Error::{Rpc, Transport};
        match error {
            JsonRpc(Rpc(error)) => self.refusal(subject, &error),
            JsonRpc(Transport(fault)) => match fault.downcast::<TransportFault>().map(|fault| *fault) {
                Ok(TransportFault::Http(error)) => self.http_fault(subject, error),
                Ok(fault @ TransportFault::Status(..)) => self.unreachable(format!("{subject}: {fault}")),
                Ok(TransportFault::NotAnAnswer(fault, why)) => self.broken(subject, fault, why),
                Err(other) => self.unreachable(format!("{subject}: {other}")),
            },
            other => self.unreadable(subject, other.to_string()),
        }
    }

    /// What the node says itself.
    fn refusal(&self, subject: &str, error: &jsonrpc::error::RpcError) -> NodeError {
        let why = error.message.clone();
        match error.code {
            code::IN_WARMUP => self.unreachable(format!("is starting up: {why}")),
            code::NOT_FOUND | code::OUT_OF_RANGE => self.missing(subject, why),
            code::MISC if why.starts_with("Block not") => self.missing(subject, why),
            other => self.unreachable(format!("{subject}: {why} (code {other})")),
        }
    }

    fn http_fault(&self, subject: &str, error: HttpError) -> NodeError {
        match (&error, error.fault()) {
            (HttpError::LoginRefused(status, _), _) => {
                NodeError::LoginRefused { node: self.shown.clone(), why: format!("HTTP status {status}") }
            }
            (_, Some(fault)) => self.broken(subject, fault, error.to_string()),
            (_, None) => self.unreachable(format!("{subject}: {error}")),
        }
    }

    pub(crate) fn unreachable(&self, why: String) -> NodeError {
        NodeError::Unreachable { node: self.shown.clone(), why }
    }

    pub(crate) fn unreadable(&self, subject: &str, why: String) -> NodeError {
        self.broken(subject, Fault::Garbled, why)
    }

    pub(crate) fn broken(&self, subject: &str, fault: Fault, why: String) -> NodeError {
        NodeError::Unreadable { node: self.shown.clone(), subject: subject.into(), why, fault }
    }

    pub(crate) fn missing(&self, subject: &str, why: String) -> NodeError {
        NodeError::Missing { node: self.shown.clone(), subject: subject.into(), why, fault: None }
    }

    pub(crate) fn contradiction(&self, subject: &str, against: &str, why: String) -> NodeError {
        let (node, subject, against) = (self.shown.clone(), subject.into(), against.into());
        NodeError::Contradiction { node, subject, against, why, fault: Fault::Forged }
    }
}

/// The hashes of blocks that follow each other, from the bytes of their headers.
fn rest_hashes(rest: &Endpoint, first: BlockHash, count: u64) -> Result<Vec<BlockHash>, String> {
    let limit = HEADER_BYTES * usize::try_from(count).map_err(|error| error.to_string())?;
    let answer = assay_http::wait(rest.get(&format!("/rest/headers/{count}/{first}.bin"), limit));
    let answer = answer.map_err(|error| error.to_string())?;
    let (headers, rest) = answer.body.as_chunks::<HEADER_BYTES>();
    if answer.status != 200 || !rest.is_empty() {
        return Err(format!("HTTP status {}, {} bytes", answer.status, answer.body.len()));
    }
    let hashes: Vec<BlockHash> = headers.iter().map(|header| BlockHash(reversed(double_sha256(header)))).collect();
    let parents = headers.iter().skip(1).map(|header| BlockHash(reversed(RawHeader(header).parent())));
    if hashes.first() != Some(&first) || !parents.eq(hashes.iter().copied().take(headers.len().saturating_sub(1))) {
        return Err(format!("they are not {count} headers that follow each other from {first} on"));
    }
    Ok(hashes)
}

fn rest_block(rest: &Endpoint, hash: BlockHash) -> Result<Buffer, String> {
    // A block longer than allowed is read a little further, so that the error can say what is wrong with it.
    let (path, limit) = (format!("/rest/block/{hash}.bin"), MAX_BLOCK_BYTES + 100_000);
    let here = rest.get_here(&path, limit, Buffer::of).map_err(|error| error.to_string())?;
    let (status, bytes) = match here {
        Some(answer) => answer,
        None => {
            let answer = assay_http::wait(rest.get(&path, limit)).map_err(|error| error.to_string())?;
            (answer.status, answer.body.into())
        }
    };
    match status {
        200 => Ok(bytes),
        status => Err(format!("HTTP status {status}")),
    }
}

/// A filter comes behind its kind (a byte, 0 for basic), the block's hash, and its length.
fn rest_filter(rest: &Endpoint, hash: BlockHash) -> Result<Vec<u8>, String> {
    let path = format!("/rest/blockfilter/basic/{hash}.bin");
    let answer = assay_http::wait(rest.get(&path, FILTER_LIMIT_BYTES)).map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("HTTP status {}", answer.status));
    }
    let head = [&[0][..], &reversed(hash.0)].concat();
    let rest = answer.body.strip_prefix(&head[..]).ok_or("it is not the one that was asked for")?;
    match filter::compact_size(rest) {
        Some((length, filter)) if length == filter.len() as u64 => Ok(filter.to_vec()),
        _ => Err("it has not the length that it says".into()),
    }
}
