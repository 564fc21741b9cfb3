//! What is asked about: an account in an asset, and a block.

use std::sync::Arc;

use assay_desk::{Movements, Source, left_at};
use assay_store::{Coverage, Store, StoreError};
use assay_types::{Account, AccountNo, ChainEntry, Deployment, Header, Height};
use assay_verifier::Balanced;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::Problem;

/// One account in one asset, and the store that knows it.
pub(crate) struct Subject {
    source: Source,
    pub(crate) store: Arc<Store>,
    pub(crate) chain: ChainEntry,
    pub(crate) account: Account,
    pub(crate) symbol: String,
    /// What names the deployment, and no other on the chain.
    pub(crate) name: String,
    pub(crate) deployment: Deployment,
}

impl Subject {
    pub(crate) fn find(app: &App, chain: &str, address: &str, asset: Option<&str>) -> Result<Subject, Problem> {
        let directory = app.desk.directory();
        let chain = directory.chain(chain).cloned().ok_or_else(Problem::not_found)?;
        let account = chain.addresses.parse(address);
        let account = account.map_err(|why| Problem::bad(format!("address {address}: {why}")))?;
        let named = directory.named(&chain, asset).map_err(|why| Problem::bad(why.to_string()))?;
        let (symbol, name, deployment) = (named.0.symbol.clone(), named.0.name_of(named.1), named.1.clone());
        let sources = app.desk.sources();
        let source = sources.iter().find(|source| source.id == chain.id).ok_or_else(Problem::not_found)?;
        let store = source.store().map_err(|why| Problem::unavailable(format!("{}: {why}", chain.name)))?;
        Ok(Subject { source: source.clone(), store, chain, account, symbol, name, deployment })
    }

    pub(crate) fn address(&self) -> String {
        self.chain.addresses.show(&self.account)
    }

    /// How well the account is known at a block; nobody's account is unknown.
    pub(crate) fn coverage(&self, header: &Header) -> Result<(Option<AccountNo>, Coverage), StoreError> {
        Ok(match self.store.number(&self.account)? {
            None => (None, Coverage::Unknown("not declared by any exchange".into())),
            Some((_, false)) => (None, Coverage::Unknown("declared late: its history is still being filled in".into())),
            Some((number, true)) => match left_at(&self.store, &self.chain.id, header.height)? {
                Some(why) => (Some(number), Coverage::Unknown(why)),
                None => (Some(number), self.store.coverage(number, self.deployment.asset, header.height)?),
            },
        })
    }

    /// How its movements are said, as of now.
    pub(crate) fn movements(&self, number: AccountNo) -> Result<Movements<'_>, StoreError> {
        let pair = (number, self.deployment.asset);
        Movements::new(&self.store, &self.chain.id, pair, (&self.symbol, self.decimals()))
    }

    pub(crate) fn as_of(&self, header: &Header) -> Result<Value, StoreError> {
        let is_final = self.store.final_height()?.is_some_and(|height| header.height <= height);
        let hash = self.chain.id.show_hash(&header.hash.0);
        Ok(json!({ "chain": self.chain.name, "height": header.height, "hash": hash, "final": is_final }))
    }

    /// What waits in the mempool for the account beside its balance after the last block, or why that is not known.
    pub(crate) fn waiting(&self, last: &Header) -> Result<Result<Balanced, String>, StoreError> {
        Ok(match self.coverage(last)? {
            (_, Coverage::Unknown(reason)) => Err(reason),
            (None, _) => Err("the account is not known".into()),
            (Some(number), _) => self.source.waiting().and_then(|all| all.net(number, last.at())),
        })
    }

    pub(crate) fn decimals(&self) -> u8 {
        self.deployment.decimals
    }
}

/// Which block a question means: all digits is a height, anything else a time, nothing the last block.
pub(crate) fn block(store: &Store, at: Option<&str>) -> Result<Header, Problem> {
    let tip = store.tip().map_err(Problem::internal)?;
    let tip = tip.ok_or_else(|| Problem::unavailable("no block is indexed yet"))?;
    let Some(text) = at else { return Ok(tip) };
    let absent = |why: String| Problem::new(StatusCode::NOT_FOUND, "not-indexed", why);
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let header = store.header(text.parse().map_or(Height(u64::MAX), Height)).map_err(Problem::internal)?;
        return header.ok_or_else(|| absent(format!("block {text} is not indexed; the last one is {}", tip.height)));
    }
    let time = text.parse().map_err(|error| Problem::bad(format!("`at`: {error}")))?;
    let Some(later) = store.first_later_than(time).map_err(Problem::internal)? else { return Ok(tip) };
    let before = later.height.previous().map(|height| store.header(height)).transpose();
    let before = before.map_err(Problem::internal)?.flatten();
    before.ok_or_else(|| absent(format!("{time} is before the first indexed block, {}", later.height)))
}
