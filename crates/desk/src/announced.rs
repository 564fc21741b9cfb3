//! Accounts that exchanges announced, as they are kept: beside the declarations, which are files that others write.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use assay_registry::{Declarations, Declared, Owner, Role, Terms};
use assay_store::{Records, Row, Table};
use assay_types::{Account, ChainId, Directory, Height, Timestamp};
use serde::{Deserialize, Serialize};

use crate::DeskError;

/// An account that an exchange announced before anybody used it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The exchange.
    pub exchange: String,
    /// The chain.
    pub chain: ChainId,
    /// The account's display form.
    pub address: String,
    /// What it is used for.
    pub role: Role,
    /// Whose coins it holds.
    pub owner: Owner,
    /// What people call it.
    pub label: Option<String>,
    /// From when on it is declared: the latest time of any block up to `from`, so that the block of every later instant lies above.
    pub since: Timestamp,
    /// The block after which it was proven to hold nothing.
    pub from: KnownFrom,
    /// How well that is known: `verified`, `unproven`, or `unknown` where a token's balance could not be read.
    pub coverage: String,
    /// Whose token announced it.
    pub by: String,
    /// When.
    pub announced_at: Timestamp,
}

/// Why none of them is taken on.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// Nobody of that name.
    #[error("no exchange `{0}` is declared")]
    UnknownExchange(String),
    /// One is wrong: which, and how.
    #[error("{0}")]
    Refused(String),
    /// One holds something already: which, and what.
    #[error("{0}; declare it in the exchange's files, then its history is filled in")]
    NotEmpty(String),
    /// One is declared already, or was announced otherwise.
    #[error("{0}")]
    Conflict(String),
    /// Not at the moment, and why.
    #[error("{0}")]
    NotNow(String),
    /// It could not be kept.
    #[error("it could not be kept: {0}")]
    Failed(String),
}

impl From<DeskError> for AnnounceError {
    fn from(error: DeskError) -> AnnounceError {
        AnnounceError::Failed(error.to_string())
    }
}

impl From<assay_store::StoreError> for AnnounceError {
    fn from(error: assay_store::StoreError) -> AnnounceError {
        AnnounceError::Failed(error.to_string())
    }
}

/// The block from which on an account is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFrom {
    /// Its height.
    pub height: Height,
    /// Its hash, as its chain writes it.
    pub hash: String,
    /// Its header's time.
    pub time: Timestamp,
}

const ANNOUNCED: &[u8] = b"announced\0";

impl Announced {
    pub(crate) fn row(&self) -> Result<Row, DeskError> {
        let value = serde_json::to_vec(self).map_err(|error| DeskError::Damaged(error.to_string()))?;
        Ok(Row { table: Table::Meta, key: key(&self.exchange, &self.chain, &self.address), value: Some(value) })
    }

    /// As a declaration; nothing where its chain is not configured any more.
    pub(crate) fn declared(&self, directory: &Directory, file: &Arc<Path>) -> Option<Declared> {
        let account = directory.chain(self.chain.as_str())?.addresses.parse(&self.address).ok()?;
        let terms = Terms {
            chain: self.chain.clone(),
            role: self.role,
            owner: self.owner,
            label: self.label.clone(),
            since: Some(self.since),
            until: None,
            announced: Some(self.from.height),
            proof: None,
            file: file.clone(),
        };
        Some(Declared { account, line: 1, terms: terms.into() })
    }
}

/// Where announced accounts are declared.
pub(crate) fn file() -> Arc<Path> {
    Path::new("announced").into()
}

/// What an exchange announced of this account.
pub(crate) fn find(
    records: &Records,
    exchange: &str,
    chain: &ChainId,
    address: &str,
) -> Result<Option<Announced>, DeskError> {
    let row = records.get(Table::Meta, &key(exchange, chain, address))?;
    row.map(|value| read(records, &value)).transpose()
}

/// The declarations with everything that their exchanges have announced. What the files declare is as they say.
///
/// # Errors
/// When the database fails.
pub fn with_announced(
    records: &Records,
    directory: &Directory,
    declarations: &Declarations,
) -> Result<Declarations, DeskError> {
    let mut announced: BTreeMap<String, Vec<Declared>> = BTreeMap::new();
    let file = file();
    let mut known: HashSet<Arc<Terms>> = HashSet::new();
    for (_, value) in records.oldest_first(Table::Meta, ANNOUNCED, usize::MAX)? {
        let one = read(records, &value)?;
        if let Some(mut declared) = one.declared(directory, &file) {
            match known.get(&declared.terms) {
                Some(same) => declared.terms = same.clone(),
                None => drop(known.insert(declared.terms.clone())),
            }
            announced.entry(one.exchange).or_default().push(declared);
        }
    }
    let mut all = declarations.clone();
    for (exchange, mut more) in announced {
        let Some(declares) = declarations.exchange(&exchange) else { continue };
        let in_files: HashSet<(&ChainId, &Account)> =
            declares.accounts.iter().map(|on| (&on.terms.chain, &on.account)).collect();
        more.retain(|on| !in_files.contains(&(&on.terms.chain, &on.account)));
        all = all.with(&exchange, more);
    }
    Ok(all)
}

fn read(records: &Records, value: &[u8]) -> Result<Announced, DeskError> {
    let damaged = |error| records.damaged(format!("an announced account cannot be read: {error}"));
    Ok(serde_json::from_slice(value).map_err(damaged)?)
}

fn key(exchange: &str, chain: &ChainId, address: &str) -> Vec<u8> {
    [ANNOUNCED, exchange.as_bytes(), &[0], chain.as_str().as_bytes(), &[0], address.as_bytes()].concat()
}

/// One chain's announced accounts, for whoever indexes: in a store that was made anew they are like any others.
pub(crate) fn accounts(declarations: &Declarations, chain: &ChainId) -> Vec<Account> {
    let every = declarations.exchanges.iter().flat_map(|exchange| exchange.accounts.iter());
    let announced = every.filter(|on| on.terms.announced.is_some() && on.terms.chain == *chain);
    announced.map(|on| on.account.clone()).collect()
}
