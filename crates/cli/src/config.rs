//! `assay.toml`: read, checked, resolved once.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_desk::{GateSettings, Signal};
use assay_evm::{Finality as EvmFinality, FinalityTag};
use assay_http::Pace;
use assay_indexer::Turns;
use assay_registry::{AssetBlock, ChainNative, Native, Source, TimeZone, read_text, timezone};
use assay_types::{ChainId, Height, InputError, InputErrors, suggestion};
use assay_verifier::{Age, Policy};
use serde::Deserialize;
use toml::Spanned;

mod alerts;
mod prices;

use alerts::AlertsBlock;
pub use alerts::{AlertmanagerConfig, AlertsConfig, WebhookConfig};
use prices::PricesBlock;
pub use prices::{PricesConfig, PricesFrom};

/// The configuration, with its defaults filled in and its paths made relative to the file's folder.
pub struct Config {
    pub file: PathBuf,
    pub text: String,
    pub data_dir: PathBuf,
    pub exchanges: PathBuf,
    pub timezone: TimeZone,
    pub chains: Vec<ChainConfig>,
    pub assets: Vec<AssetBlock>,
    pub policy: Policy,
    pub prices: Option<PricesConfig>,
    pub serve: ServeConfig,
    pub desk: assay_desk::Settings,
    pub alerts: AlertsConfig,
}

/// `[serve]`, its paths resolved.
pub struct ServeConfig {
    pub listen: SocketAddr,
    pub tokens_file: Option<PathBuf>,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub intake: Option<PathBuf>,
    /// Requests a second, for each token or address.
    pub rate: u32,
}

/// One `[[chain]]`.
pub struct ChainConfig {
    pub name: String,
    pub id: ChainId,
    pub native: Option<Native>,
    pub finality: EvmFinality,
    pub undo_depth: u64,
    pub turns: Turns,
    pub start: Height,
    /// How many of the nodes must agree. With one they are asked in order, the next one where one cannot answer.
    pub quorum: usize,
    /// See [`assay_evm::EvmConfig`].
    pub foreign_headers: bool,
    pub nodes: Vec<NodeConfig>,
}

/// One `[[chain.node]]`, its paths resolved.
pub struct NodeConfig {
    pub address: Address,
    pub login: assay_bitcoin::NodeLogin,
    /// The folder of a Bitcoin node's block files.
    pub blocks_dir: Option<PathBuf>,
    /// Kept by all who ask it.
    pub pace: Pace,
}

/// Where a node is: in the configuration, or, where the URL carries a key, in a file.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    Url(String),
    File(PathBuf),
}

impl Address {
    /// Do both say the same host and port, or the same file?
    fn is_same(&self, other: &Address) -> bool {
        match (self, other) {
            (Address::Url(one), Address::Url(other)) => assay_http::shown(one).ok() == assay_http::shown(other).ok(),
            (one, other) => one == other,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "default_data_dir")]
    data_dir: PathBuf,
    #[serde(default = "default_exchanges")]
    exchanges: PathBuf,
    timezone: Option<Spanned<String>>,
    #[serde(default)]
    chain: Vec<Spanned<ChainBlock>>,
    #[serde(default)]
    asset: Vec<AssetBlock>,
    #[serde(default)]
    policy: Policy,
    prices: Option<Spanned<PricesBlock>>,
    #[serde(default)]
    serve: ServeBlock,
    #[serde(default)]
    halt: HaltBlock,
    #[serde(default)]
    alerts: AlertsBlock,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ServeBlock {
    listen: Option<Spanned<String>>,
    tokens_file: Option<PathBuf>,
    tls_cert_file: Option<Spanned<PathBuf>>,
    tls_key_file: Option<Spanned<PathBuf>>,
    intake: Option<PathBuf>,
    rate: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct HaltBlock {
    when_blind: Option<Signal>,
    blind_after: Option<Age>,
    clear_after: Option<Age>,
    holds_for: Option<Age>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainBlock {
    name: Spanned<String>,
    id: Spanned<String>,
    finality: Option<Spanned<FinalityBlock>>,
    undo_depth: Option<Spanned<u64>>,
    read_within: Option<Spanned<u64>>,
    start: Option<u64>,
    quorum: Option<Spanned<u32>>,
    foreign_headers: Option<Spanned<bool>>,
    native: Option<Spanned<NativeBlock>>,
    #[serde(default)]
    node: Vec<Spanned<NodeBlock>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FinalityBlock {
    confirmations: Option<u64>,
    tag: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NativeBlock {
    symbol: String,
    decimals: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeBlock {
    rpc: Option<String>,
    url_file: Option<PathBuf>,
    cookie_file: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    blocks_dir: Option<PathBuf>,
    max_requests_per_second: Option<Spanned<u32>>,
}

fn default_data_dir() -> PathBuf {
    "assay-data".into()
}

fn default_exchanges() -> PathBuf {
    "exchanges".into()
}

/// Where the desk keeps what it keeps, beside the chains' folders.
pub const DESK: &str = "desk";
/// No configuration is longer.
const LONGEST_CONFIG_BYTES: u64 = 16 << 20;
/// For how long a node that refuses everything is asked before the next one is.
const IMPATIENCE: Duration = Duration::from_secs(2);
const DEFAULT_UNDO_DEPTH: u64 = 1000;
const DEFAULT_CONFIRMATIONS: u64 = 6;

/// Reads and checks the file.
///
/// # Errors
/// Everything that is wrong in it.
pub fn load(file: &Path) -> Result<Config, InputErrors> {
    let mut errors = InputErrors::default();
    let text = match read_text(file, LONGEST_CONFIG_BYTES) {
        Ok(text) => text,
        Err(error) => {
            let hint = error.hint.clone();
            let hint = hint.unwrap_or_else(|| "write one with: assay init; or name it with --config FILE".into());
            errors.push(error.hint(hint));
            return Err(errors);
        }
    };
    let source = Source::new(file, &text);
    let written: Written = match toml::from_str(&text) {
        Ok(written) => written,
        Err(error) => {
            errors.push(with_nearest_key(source.toml_error(&text, &error)));
            return Err(errors);
        }
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    let zone = written.timezone.as_ref().map_or_else(|| timezone("UTC"), |name| timezone(name.get_ref()));
    let zone = zone.map_err(|error| {
        let at = written.timezone.as_ref().map_or(0, |name| name.span().start);
        errors.push(source.error(at, format!("`{}` is not a timezone", error.name)).field("timezone").hint(error.hint));
    });
    let mut chains: Vec<ChainConfig> = Vec::new();
    for (nth, block) in written.chain.iter().enumerate() {
        let reader = ChainReader { source: &source, folder, nth, at: block.span().start };
        match reader.read(block.get_ref(), &chains) {
            Ok(chain) => chains.push(chain),
            Err(error) => errors.push(error),
        }
    }
    if written.chain.is_empty() {
        errors.push(InputError::new(file, "no [[chain]] to follow").hint("assay init writes an example"));
    }
    let Ok(timezone) = zone else { return Err(errors) };
    let alerts = alerts::read(&source, folder, written.alerts, &mut errors);
    let prices = prices::read(&source, folder, written.prices, &mut errors);
    let desk = desk(&written.halt, &alerts);
    let Some(serve) = serve(&source, folder, &written.serve).map_err(|error| errors.push(error)).ok() else {
        return Err(errors);
    };
    let (data_dir, exchanges) = (resolve(folder, &written.data_dir), resolve(folder, &written.exchanges));
    let (file, assets, policy) = (file.to_path_buf(), written.asset, written.policy);
    errors.or(Config { file, text, data_dir, exchanges, timezone, chains, assets, policy, prices, serve, desk, alerts })
}

impl Config {
    /// What each chain says of its native coin.
    pub fn natives(&self) -> Vec<ChainNative> {
        self.chains.iter().map(|chain| ChainNative { id: chain.id.clone(), native: chain.native.clone() }).collect()
    }
}

/// Where the API listens unless told otherwise.
const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8750));

/// Requests a second, for each token or address, unless told otherwise.
const RATE: u32 = 1_000;

fn serve(source: &Source<'_>, folder: &Path, block: &ServeBlock) -> Result<ServeConfig, InputError> {
    let listen = match &block.listen {
        None => LISTEN,
        Some(text) => text.get_ref().parse().map_err(|_| {
            let why = format!("`{}` is not an address with a port", text.get_ref());
            source.error(text.span().start, why).field("serve.listen").hint("listen = \"127.0.0.1:8750\"")
        })?,
    };
    let path = |path: &PathBuf| resolve(folder, path);
    let tls = match (&block.tls_cert_file, &block.tls_key_file) {
        (Some(cert), Some(key)) => Some((path(cert.get_ref()), path(key.get_ref()))),
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => {
            let why = "TLS takes both tls_cert_file and tls_key_file";
            return Err(source.error(one.span().start, why).field("serve"));
        }
    };
    let (tokens_file, intake) = (block.tokens_file.as_ref().map(path), block.intake.as_ref().map(path));
    let rate = block.rate.unwrap_or(RATE).max(1);
    Ok(ServeConfig { listen, tokens_file, tls, intake, rate })
}

fn desk(halt: &HaltBlock, alerts: &AlertsConfig) -> assay_desk::Settings {
    let default = assay_desk::Settings::default();
    let seconds = |age: Option<Age>, other| age.map_or(other, |age| i64::try_from(age.seconds).unwrap_or(i64::MAX));
    assay_desk::Settings {
        gates: GateSettings {
            blind: halt.when_blind.unwrap_or(default.gates.blind),
            blind_after_s: seconds(halt.blind_after, default.gates.blind_after_s),
            clear_after_s: seconds(halt.clear_after, default.gates.clear_after_s),
            holds_s: seconds(halt.holds_for, default.gates.holds_s),
        },
        alerts: alerts.settings.clone(),
        receivers: alerts.webhooks.iter().map(|webhook| webhook.name.clone()).collect(),
    }
}

/// Reads one `[[chain]]`.
struct ChainReader<'a> {
    source: &'a Source<'a>,
    folder: &'a Path,
    nth: usize,
    at: usize,
}

impl ChainReader<'_> {
    fn read(&self, block: &ChainBlock, before: &[ChainConfig]) -> Result<ChainConfig, InputError> {
        let name = block.name.get_ref();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            let why = format!("`{name}` is not a name: 1 to 64 of a-z, 0-9, `-` and `_`");
            return Err(self.error(block.name.span().start, "name", why));
        }
        let id: ChainId = block.id.get_ref().parse().map_err(|error| self.error(block.id.span().start, "id", error))?;
        if name == DESK {
            let why = format!("`{name}` is the name of the folder of `assay serve`'s records: take another one");
            return Err(self.error(block.name.span().start, "name", why));
        }
        if before.iter().any(|chain| chain.name == *name || chain.id == id) {
            let why = format!("chain `{name}` ({id}) is there already");
            return Err(self.error(block.name.span().start, "name", why));
        }
        if !matches!(id.namespace(), "bip122" | "eip155") {
            let why = format!("no module serves the namespace `{}`", id.namespace());
            return Err(self.error(block.id.span().start, "id", why).hint("known: bip122 (Bitcoin), eip155 (EVM)"));
        }
        if id.namespace() == "eip155"
            && id.reference().parse::<u64>().map(|number| number.to_string()).as_deref() != Ok(id.reference())
        {
            let why = format!("`{id}` is not an EVM chain's id: eip155: and its number, without zeros in front");
            return Err(self.error(block.id.span().start, "id", why));
        }
        let finality = self.finality(&id, block.finality.as_ref())?;
        let undo_depth = self.undo_depth(block, finality)?;
        let turns = self.turns(block)?;
        let start = self.start(&id, block)?;
        if block.node.is_empty() {
            let error = self.error(self.at, "node", format!("chain `{name}` has no node"));
            return Err(error.hint("add [[chain.node]] with rpc = \"http://…\""));
        }
        let others = block.node.len() > 1;
        let nodes = block.node.iter().enumerate().map(|(nth, node)| self.node(&id, nth, node, others));
        let nodes: Vec<NodeConfig> = nodes.collect::<Result<_, _>>()?;
        let quorum = self.quorum(block, &nodes)?;
        let foreign_headers = self.foreign_headers(&id, block)?;
        let native = block.native.as_ref().map(|native| {
            let NativeBlock { symbol, decimals } = native.get_ref();
            Native { symbol: symbol.clone(), decimals: *decimals }
        });
        Ok(ChainConfig {
            name: name.clone(),
            id,
            native,
            finality,
            undo_depth,
            turns,
            start,
            quorum,
            foreign_headers,
            nodes,
        })
    }

    fn error(&self, at: usize, field: &str, why: impl std::fmt::Display) -> InputError {
        self.source.error(at, why).field(format!("chain[{}].{field}", self.nth))
    }

    fn finality(&self, id: &ChainId, block: Option<&Spanned<FinalityBlock>>) -> Result<EvmFinality, InputError> {
        let is_evm = id.namespace() == "eip155";
        let Some(block) = block else {
            return Ok(match is_evm {
                true => EvmFinality::Tag(FinalityTag::Finalized),
                false => EvmFinality::Confirmations(DEFAULT_CONFIRMATIONS),
            });
        };
        let refuse = |why: &str| Err(self.error(block.span().start, "finality", why));
        match (block.get_ref().confirmations, block.get_ref().tag.as_deref()) {
            (Some(confirmations), None) => Ok(EvmFinality::Confirmations(confirmations)),
            (None, Some("finalized")) if is_evm => Ok(EvmFinality::Tag(FinalityTag::Finalized)),
            (None, Some("safe")) if is_evm => Ok(EvmFinality::Tag(FinalityTag::Safe)),
            (None, Some(_)) if is_evm => refuse("the tag must be \"finalized\" or \"safe\""),
            (None, Some(_)) => refuse("Bitcoin has no finality tags: say { confirmations = N }"),
            _ => refuse("say either { confirmations = N } or { tag = \"finalized\" }"),
        }
    }

    fn turns(&self, block: &ChainBlock) -> Result<Turns, InputError> {
        match &block.read_within {
            Some(blocks) if *blocks.get_ref() == 0 => {
                let why = "how many blocks it takes until every balance was read, at least 1";
                Err(self.error(blocks.span().start, "read_within", why))
            }
            blocks => Ok(Turns {
                within: blocks.as_ref().map_or(Turns::default().within, |it| *it.get_ref()),
                ..Turns::default()
            }),
        }
    }

    fn undo_depth(&self, block: &ChainBlock, finality: EvmFinality) -> Result<u64, InputError> {
        let Some(depth) = &block.undo_depth else {
            return Ok(match finality {
                EvmFinality::Confirmations(n) => DEFAULT_UNDO_DEPTH.max(n),
                EvmFinality::Tag(_) => DEFAULT_UNDO_DEPTH,
            });
        };
        match finality {
            EvmFinality::Confirmations(n) if *depth.get_ref() < n => {
                let why = format!("{} is less than the {n} confirmations that make a block final", depth.get_ref());
                Err(self.error(depth.span().start, "undo_depth", why))
            }
            _ => Ok(*depth.get_ref()),
        }
    }

    fn start(&self, id: &ChainId, block: &ChainBlock) -> Result<Height, InputError> {
        match (id.namespace(), block.start) {
            ("eip155", Some(start)) => Ok(Height(start)),
            ("eip155", None) => {
                let error = self.error(self.at, "start", "is missing: the block at which coverage begins");
                Err(error.hint("every account gets an opening balance there, so the node must have that block's state"))
            }
            (_, Some(_)) => {
                Err(self.error(self.at, "start", "Bitcoin is followed from its first block: remove `start`"))
            }
            (_, None) => Ok(Height(0)),
        }
    }

    fn foreign_headers(&self, id: &ChainId, block: &ChainBlock) -> Result<bool, InputError> {
        let Some(written) = &block.foreign_headers else { return Ok(false) };
        let refuse = |why: String| Err(self.error(written.span().start, "foreign_headers", why));
        match *written.get_ref() {
            true if id.namespace() != "eip155" => refuse("is for EVM chains: remove it".into()),
            true if assay_evm::knows(id) => refuse(format!("the headers of {id} are known, and checked: remove it")),
            is_foreign => Ok(is_foreign),
        }
    }

    /// What stands in files is compared when it is read: see [`assay_indexer::Quorum::new`].
    fn quorum(&self, block: &ChainBlock, nodes: &[NodeConfig]) -> Result<usize, InputError> {
        let Some(quorum) = &block.quorum else { return Ok(1) };
        let (at, need, count) = (quorum.span().start, *quorum.get_ref() as usize, nodes.len());
        if need == 0 {
            return Err(self.error(at, "quorum", "0 nodes prove nothing: 1 is the least"));
        }
        if need > count {
            let error = self.error(at, "quorum", format!("{need} nodes cannot agree where there are {count}"));
            return Err(error.hint("add [[chain.node]], best of another operator and another client software"));
        }
        let twice = |nth: &usize| nodes[..*nth].iter().any(|before| before.address.is_same(&nodes[*nth].address));
        match (1..count).find(twice).filter(|_| need > 1) {
            Some(nth) => {
                let (at, field) = (block.node[nth].span().start, format!("node[{nth}]"));
                let error = self.error(at, &field, "stands there twice: one node is no quorum");
                Err(error.hint("each node of a quorum needs a host or port of its own"))
            }
            None => Ok(need),
        }
    }

    fn node(
        &self,
        id: &ChainId,
        nth: usize,
        node: &Spanned<NodeBlock>,
        others: bool,
    ) -> Result<NodeConfig, InputError> {
        let (at, block) = (node.span().start, node.get_ref());
        let refuse = |field: &str, why: &str| self.error(at, &format!("node[{nth}].{field}"), why);
        let example = if id.namespace() == "eip155" { "http://127.0.0.1:8545" } else { "http://127.0.0.1:8332" };
        let address = match (&block.rpc, &block.url_file) {
            (Some(url), None) => {
                let unusable = |error: assay_http::HttpError| refuse("rpc", &error.to_string());
                assay_http::check_url(url).map_err(|error| unusable(error).hint(format!("write it as {example}")))?;
                Address::Url(url.clone())
            }
            (None, Some(file)) => Address::File(resolve(self.folder, file)),
            (None, None) => {
                return Err(refuse("rpc", "is missing").hint(format!("rpc = \"{example}\", or url_file")));
            }
            (Some(_), Some(_)) => {
                return Err(refuse("url_file", "stands beside rpc: one of them says where the node is"));
            }
        };
        let login = [
            ("cookie_file", block.cookie_file.is_some()),
            ("user", block.user.is_some()),
            ("password_file", block.password_file.is_some()),
        ];
        if let Some((field, _)) = login.iter().find(|(_, is_there)| *is_there && id.namespace() == "eip155") {
            let error = refuse(field, "EVM nodes have no login of this kind");
            return Err(error.hint("put the URL with its key or user into a file: url_file = \"secrets/node\""));
        }
        if id.namespace() == "eip155" && block.blocks_dir.is_some() {
            return Err(refuse("blocks_dir", "is for Bitcoin nodes"));
        }
        let path = |file: &PathBuf| resolve(self.folder, file);
        let login = match (&block.cookie_file, &block.user, &block.password_file) {
            (None, None, None) => assay_bitcoin::NodeLogin::None,
            (Some(cookie), None, None) => assay_bitcoin::NodeLogin::CookieFile(path(cookie)),
            (None, Some(user), Some(file)) => {
                assay_bitcoin::NodeLogin::Password { user: user.clone(), password_file: path(file) }
            }
            _ => return Err(refuse("user", "say either cookie_file, or user and password_file")),
        };
        let cap = block.max_requests_per_second.as_ref().map(|cap| {
            let field = format!("node[{nth}].max_requests_per_second");
            let nothing = || self.error(cap.span().start, &field, "0 requests a second ask nothing: 1 is the least");
            NonZeroU32::new(*cap.get_ref()).ok_or_else(|| nothing().hint("leave it out for as many as the node bears"))
        });
        let pace = Pace::new(cap.transpose()?);
        let pace = if others { pace.patience(IMPATIENCE) } else { pace };
        Ok(NodeConfig { address, login, blocks_dir: block.blocks_dir.as_ref().map(path), pace })
    }
}

/// Relative paths are relative to the configuration's folder; `~/` is the home folder.
fn resolve(folder: &Path, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => folder.join(path),
    }
}

/// The parser lists the keys that it knows: the nearest is named.
fn with_nearest_key(error: InputError) -> InputError {
    let why = error.why.clone();
    let Some(rest) = why.strip_prefix("unknown field `") else { return error };
    let mut words = rest.split('`');
    let unknown = words.next().unwrap_or_default();
    let known: Vec<&str> = words.skip(1).step_by(2).collect();
    let hint = suggestion(unknown, known.iter().copied());
    InputError { why: format!("unknown key `{unknown}`"), hint: Some(hint), ..error }
}
