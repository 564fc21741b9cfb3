//! `assay check`: configuration, declarations, prices, nodes, store: is all in order?

use assay_desk::{Holder, kept_proof};
use assay_indexer::{ChainLeft, IndexError};
use assay_store::{Mode, Store, StoreError};
use assay_types::{Asset, Chain, Contract, Height, InputError, NodeError, Standing, suggestion};
use serde::Serialize;

use crate::config::ChainConfig;
use crate::failure::{Failure, UNKNOWN};
use crate::setup::Setup;
use crate::{output, prices};
use assay_desk::clock;

/// One thing that was looked at.
#[derive(Serialize)]
struct Looked {
    subject: String,
    status: Status,
    message: String,
    /// What is wrong with a node or its answer: [`NodeError::kind`], or how it stands to the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip)]
    code: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    Error,
}

/// Looks at everything; one thing that is wrong hides no other.
struct Report(Vec<Looked>);

impl Report {
    fn ok(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.add(subject, Status::Ok, message, None, 0);
    }

    fn warn(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.add(subject, Status::Warning, message, None, 0);
    }

    fn failed(&mut self, subject: impl Into<String>, failure: Failure) {
        let subject = subject.into();
        for (error, hint) in failure.errors {
            self.add(subject.clone(), Status::Error, error, hint, failure.code);
        }
    }

    fn add(
        &mut self,
        subject: impl Into<String>,
        status: Status,
        message: impl Into<String>,
        hint: Option<String>,
        code: u8,
    ) {
        self.0.push(Looked { subject: subject.into(), status, message: message.into(), kind: None, hint, code });
    }
}

pub fn run(setup: &Setup, deep: bool, json: bool) -> Result<u8, Failure> {
    let mut report = Report(Vec::new());
    declarations(setup, &mut report);
    prices(setup, &mut report);
    for chain in &setup.config.chains {
        nodes(setup, chain, &mut report);
        tokens(setup, chain, &mut report);
        store(setup, chain, deep, &mut report);
    }
    // The contract's order: input, integrity, then what is not known.
    let code = [2, 4, UNKNOWN].into_iter().find(|code| report.0.iter().any(|looked| looked.code == *code)).unwrap_or(0);
    if json {
        output::document(&serde_json::json!({ "checks": report.0, "code": code }));
    } else {
        print(&report);
    }
    Ok(code)
}

fn declarations(setup: &Setup, report: &mut Report) {
    report.ok("configuration", format!("{} is in order", setup.config.file.display()));
    for symbol in setup.config.policy.shortage_tolerance.keys().filter(|it| setup.directory.asset(it).is_none()) {
        let known = setup.directory.assets.iter().map(|asset| asset.symbol.as_str());
        let hint = suggestion(symbol, known);
        let why = format!("`{symbol}` is not an asset of the configured chains: it tolerates nothing; {hint}");
        report.warn("policy.shortage_tolerance", why);
    }
    for exchange in &setup.declarations.exchanges {
        let count = exchange.accounts.len();
        report.ok(format!("exchange {}", exchange.id), format!("{count} accounts declared"));
    }
    for shared in setup.declarations.shared() {
        let by: Vec<String> =
            shared.by.iter().map(|(exchange, at)| format!("{} ({})", exchange.id, at.origin())).collect();
        let address = setup.directory.address(shared.chain, shared.account);
        report.warn("shared-account", format!("{address} on {} is declared by {}", shared.chain, by.join(" and ")));
    }
}

/// Are there prices, and how old are they?
fn prices(setup: &Setup, report: &mut Report) {
    let Some(config) = &setup.config.prices else {
        if setup.config.policy.cold_ratio.is_some() {
            report.warn("prices", "there are none for cold-ratio: add [prices] to assay.toml");
        }
        return;
    };
    let prices = match prices::read(config) {
        Ok(prices) => prices,
        Err(failure) => return report.failed("prices", failure),
    };
    let age_s = clock::now().seconds_since(prices.fetched_at);
    let newest = prices.newest().map_or_else(String::new, |day| day.to_string());
    let (count, currency, fetched_at) = (prices.symbols().count(), &prices.currency, prices.fetched_at);
    let found = format!("of {count} assets in {currency}, up to {newest}, as of {fetched_at}, {age_s} s ago");
    match age_s > config.max_age_s {
        true => report.warn("prices", format!("{found}: too old, max_age is {} s", config.max_age_s)),
        false => report.ok("prices", found),
    }
    let unknown: Vec<&str> = prices.symbols().filter(|symbol| setup.directory.asset(symbol).is_none()).collect();
    if !unknown.is_empty() {
        let few = unknown.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        report.warn("prices", format!("{} of the assets are not configured: {few}", unknown.len()));
    }
}

/// Looks at a chain's nodes; where several must agree, at each by itself, and at whether they do.
fn nodes(setup: &Setup, chain: &ChainConfig, report: &mut Report) {
    let all = match setup.connect(chain) {
        Ok(all) => all,
        Err(failure) => return report.failed(format!("{} node", chain.name), failure),
    };
    if chain.quorum == 1 {
        node(&chain.name, &*all, false, report);
        return;
    }
    let is_quorum = quorum(&chain.name, &*all, report);
    for one in chain.nodes.chunks(1) {
        match setup.connect_to(chain, one) {
            Ok(one) => node(&chain.name, &*one, is_quorum, report),
            Err(failure) => report.failed(format!("{} node", chain.name), failure),
        }
    }
}

/// Do enough nodes agree? Says who does not.
fn quorum(chain: &str, all: &dyn Chain, report: &mut Report) -> bool {
    let subject = format!("{chain} quorum");
    match (all.check(), all.disagreement()) {
        (_, Some(error)) | (Err(error), _) => node_error(&subject, error, false, report),
        (Ok(notices), None) => notices.into_iter().for_each(|notice| report.ok(&subject, notice.finding)),
    }
    let is_quorum = report.0.last().is_some_and(|looked| looked.status == Status::Ok);
    for one in all.standings() {
        let message = format!("{}: {}", one.node, one.why.as_deref().unwrap_or(one.state));
        let status = if one.state == Standing::AGREES { Status::Ok } else { Status::Warning };
        report.add(&subject, status, message, None, 0);
        if let Some(looked) = report.0.last_mut().filter(|_| status != Status::Ok) {
            looked.kind = Some(one.state);
        }
    }
    is_quorum
}

/// What one node can and cannot do, or that nothing is known of it; then others may be enough.
fn node(chain: &str, node: &dyn Chain, others_do: bool, report: &mut Report) {
    let subject = format!("{chain} node");
    // What it says of itself first: of a balancer before two branches that is more than that its last block is not the last.
    match node.check().and_then(|found| node.tip().map(|_| found)) {
        Err(error) => node_error(&subject, error, others_do, report),
        Ok(notices) => {
            for notice in notices {
                let subject = format!("{subject}: {}", notice.subject);
                let status = if notice.limits { Status::Warning } else { Status::Ok };
                report.add(subject, status, notice.finding, None, 0);
            }
        }
    }
}

fn node_error(subject: &str, error: NodeError, others_do: bool, report: &mut Report) {
    let (kind, failure) = (error.kind(), Failure::from(error));
    match others_do && failure.code == UNKNOWN {
        true => report.warn(subject, failure.first()),
        false => report.failed(subject, failure),
    }
    if let Some(looked) = report.0.last_mut() {
        looked.kind = Some(kind);
    }
}

/// What there is to say of a token in the configuration.
enum Compared {
    Same(String),
    /// Its contract says otherwise.
    Other(InputError),
    Unknown(String),
}

/// Are the chain's tokens in the configuration what their contracts say that they are? Each by its symbol.
fn compared(setup: &Setup, chain: &ChainConfig, node: &dyn Chain) -> Vec<(String, Compared)> {
    let source = assay_registry::Source::new(&setup.config.file, &setup.config.text);
    let mut each = Vec::new();
    for (nth, block) in setup.config.assets.iter().enumerate() {
        for (place, on) in block.on.iter().enumerate() {
            let (symbol, id, configured) = (block.symbol.get_ref(), on.id.get_ref(), *on.decimals.get_ref());
            let token = match Asset::parse_caip19(id) {
                Ok((of, Asset::Token(token))) if of == chain.id => token,
                _ => continue,
            };
            let wrong = |field: &str, at: usize, why: String| {
                let error = source.error(at, why).field(format!("asset[{nth}].on[{place}].{field}"));
                Compared::Other(error.hint("compare both with what the token's issuer publishes"))
            };
            let told = match node.contract(token) {
                Err(error) => Compared::Unknown(format!("{id} cannot be compared with the chain: {error}")),
                Ok(Contract { has_code: false, .. }) => {
                    wrong("id", on.id.span().start, format!("`{symbol}`: there is no contract at {id}"))
                }
                Ok(Contract { decimals: Some(said), .. }) if i64::try_from(said) != Ok(configured) => {
                    let why = format!("`{symbol}` has {configured} decimals here, and {said} by its contract");
                    wrong("decimals", on.decimals.span().start, why)
                }
                Ok(Contract { decimals: Some(_), .. }) => {
                    Compared::Same(format!("{id}: {configured} decimals, as its contract says"))
                }
                Ok(Contract { decimals: None, .. }) => {
                    Compared::Same(format!("{id}: {configured} decimals, of which its contract says nothing"))
                }
            };
            each.push((symbol.clone(), told));
        }
    }
    each
}

fn tokens(setup: &Setup, chain: &ChainConfig, report: &mut Report) {
    let Ok(node) = setup.connect(chain) else { return }; // told already
    for (symbol, told) in compared(setup, chain, &*node) {
        let subject = format!("{} asset {symbol}", chain.name);
        match told {
            Compared::Same(words) => report.ok(subject, words),
            Compared::Unknown(words) => report.warn(subject, words),
            Compared::Other(error) => report.failed(subject, error.into()),
        }
    }
}

/// Before a chain is followed: who does not run `assay check` hears of it too. Amounts are as the configuration has them all the same.
pub fn warn_of_tokens(setup: &Setup, chain: &ChainConfig, node: &dyn Chain) {
    for (_, told) in compared(setup, chain, node) {
        if let Compared::Other(error) = told {
            tracing::warn!(chain = chain.name, "{error}");
        }
    }
}

fn store(setup: &Setup, chain: &ChainConfig, deep: bool, report: &mut Report) {
    let subject = format!("{} store", chain.name);
    let store = match Store::open(&setup.config.data_dir.join(&chain.name), &chain.id, Mode::Read) {
        Ok(store) => store,
        Err(error @ StoreError::Absent(_)) => return report.warn(subject, format!("{error}: run assay index")),
        Err(error) => return report.failed(subject, error.into()),
    };
    match stands(&store) {
        Ok(text) => report.ok(&subject, text),
        Err(failure) => report.failed(&subject, failure),
    }
    match store.first_height() {
        Ok(Some(first)) if first != chain.start => {
            report.failed(&subject, IndexError::OtherStart { indexed: first, start: chain.start }.into());
        }
        Ok(_) => {}
        Err(error) => report.failed(&subject, error.into()),
    }
    match store.left() {
        Ok(None) => {}
        Ok(Some(left)) => report.failed(&subject, ChainLeft::new(&chain.id, left).into()),
        Err(error) => report.failed(&subject, error.into()),
    }
    let late = setup
        .declarations
        .accounts(&chain.id)
        .into_iter()
        .filter(|account| !matches!(store.number(account), Ok(Some((_, true)))));
    match late.count() {
        0 => {}
        count => report.warn(&subject, format!("{count} declared accounts are not indexed yet: run assay index")),
    }
    if let Ok(Some(why)) = store.unsettled(Height(u64::MAX)) {
        report.warn(&subject, format!("{why}: balances above are unknown until then"));
    }
    if deep {
        match store.audit().map_err(IndexError::from) {
            Ok(audit) => report.ok(
                format!("{subject}, deep"),
                format!(
                    "{} headers, {} movements, {} unspent outputs and {} totals agree with each other",
                    audit.headers, audit.movements, audit.outpoints, audit.totals
                ),
            ),
            Err(error) => report.failed(format!("{subject}, deep"), error.into()),
        }
        match proofs(setup, chain, &store) {
            Ok(0) => {}
            Ok(count) => report.ok(format!("{subject}, deep"), format!("{count} kept proofs prove what is stored")),
            Err(failure) => report.failed(format!("{subject}, deep"), failure),
        }
    }
}

/// Checks every kept proof, and says how many there are.
fn proofs(setup: &Setup, chain: &ChainConfig, store: &Store) -> Result<u64, Failure> {
    let (mut count, Some(entry)) = (0, setup.directory.chain(chain.id.as_str())) else { return Ok(0) };
    store.each_kept_proof(|(number, asset), kept| -> Result<(), Failure> {
        // One of an asset that is not configured any more is nobody's.
        if let Some((_, deployment)) = setup.directory.deployed(&chain.id, asset) {
            let account = store.account(number)?;
            kept_proof(store, Holder { chain: entry, account: &account, number, deployment }, kept.at)?;
            count += 1;
        }
        Ok(())
    })?;
    Ok(count)
}

fn stands(store: &Store) -> Result<String, Failure> {
    let Some(tip) = store.tip()? else { return Ok("no block is indexed yet".into()) };
    let final_height = store.final_height()?.map_or("none".into(), |height| height.to_string());
    Ok(format!("indexed to block {}, final to {final_height}, {} accounts", tip.height, store.watch()?.len()))
}

fn print(report: &Report) {
    let mark = |status| match status {
        Status::Ok => "ok",
        Status::Warning => "warning",
        Status::Error => "ERROR",
    };
    let mut rows = Vec::new();
    for looked in &report.0 {
        rows.push(vec![mark(looked.status).into(), looked.subject.clone(), looked.message.clone()]);
        if let Some(hint) = &looked.hint {
            rows.push(vec![String::new(), String::new(), format!("hint: {hint}")]);
        }
    }
    output::data(output::table(&["", "what", "found"], &[], rows).to_string());
}
