//! Exchanges and the accounts that they declare, from their files.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_types::{Account, ChainId, Directory, InputError, InputErrors, Timestamp};
use foldhash::quality::RandomState;

use crate::account::{Context, Declared, Origin, Ranged, Terms};
use crate::accounts::Accounts;
use crate::signature::StatementKey;
use crate::source::read_text;
use crate::time::TimeZone;
use crate::toml::Head;
use crate::{csv, toml};

const EXCHANGE_FILE: &str = "exchange.toml";
/// Ten million accounts fit.
const LONGEST_FILE_BYTES: u64 = 1 << 30;

/// One exchange, with everything that it declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its accounts, in the order of its files, then those that it announced; none is there twice.
    pub accounts: Accounts,
    /// The keys that may sign its statements; without any, none is asked for.
    pub statement_keys: Vec<StatementKey>,
    /// The ends of its descriptors' ranges.
    pub ranges: Vec<Ranged>,
}

impl Exchange {
    /// The accounts that it declares at this instant.
    pub fn at(&self, at: Timestamp) -> impl Iterator<Item = &Declared> {
        self.accounts.iter().filter(move |declared| declared.terms.at(at))
    }
}

/// Every exchange's declarations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declarations {
    /// By id.
    pub exchanges: Vec<Exchange>,
    /// What they were read from: copies to which accounts were only added have the same.
    reading: Arc<()>,
}

/// An account that more than one exchange declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared<'a> {
    /// The chain.
    pub chain: &'a ChainId,
    /// The account there.
    pub account: &'a Account,
    /// Each exchange with its declaration, by the exchange's id.
    pub by: Vec<(&'a Exchange, &'a Declared)>,
}

impl Declarations {
    /// These exchanges, by id.
    pub fn new(exchanges: Vec<Exchange>) -> Declarations {
        Declarations { exchanges, reading: Arc::default() }
    }

    /// With more accounts of an exchange behind those that it has.
    #[must_use]
    pub fn with(&self, exchange: &str, more: Vec<Declared>) -> Declarations {
        let mut all = self.clone();
        if let Some(exchange) = all.exchanges.iter_mut().find(|one| one.id == exchange) {
            exchange.accounts = exchange.accounts.with(more);
        }
        all
    }

    /// Has one become of the other by adding accounts, or both of the same?
    pub fn is_kin_of(&self, other: &Declarations) -> bool {
        Arc::ptr_eq(&self.reading, &other.reading)
    }

    /// The exchange with this id.
    pub fn exchange(&self, id: &str) -> Option<&Exchange> {
        self.exchanges.iter().find(|exchange| exchange.id == id)
    }

    /// Every account of this chain, whoever declares it and for whatever time: once each, in order.
    pub fn accounts(&self, chain: &ChainId) -> Vec<&Account> {
        let declared = self.exchanges.iter().flat_map(|exchange| exchange.accounts.iter());
        let mut accounts: Vec<_> = declared.filter(|on| on.terms.chain == *chain).map(|on| &on.account).collect();
        accounts.sort_unstable();
        accounts.dedup();
        accounts
    }

    /// The same accounts as they were declared together: by exchange, owner, role and since when, each in order. Those that several
    /// declare are in each of their groups.
    pub fn groups(&self, chain: &ChainId) -> Vec<Vec<&Account>> {
        let mut groups: BTreeMap<_, Vec<&Account>> = BTreeMap::new();
        for exchange in &self.exchanges {
            for on in exchange.accounts.iter().filter(|on| on.terms.chain == *chain) {
                let Terms { owner, role, since, .. } = *on.terms;
                groups.entry((&exchange.id, owner, role, since)).or_default().push(&on.account);
            }
        }
        groups.values_mut().for_each(|accounts| accounts.sort_unstable());
        groups.into_values().collect()
    }

    /// The accounts that more than one exchange declares, for whatever times, in order.
    pub fn shared(&self) -> Vec<Shared<'_>> {
        let every = self.exchanges.iter().flat_map(|exchange| exchange.accounts.iter().map(move |on| (exchange, on)));
        let mut every: Vec<_> = every.collect();
        every.sort_by_key(|(_, on)| (&on.terms.chain, &on.account));
        every
            .chunk_by(|(_, one), (_, other)| one.account == other.account && one.terms.chain == other.terms.chain)
            .filter(|by| by.len() > 1)
            .map(|by| Shared { chain: &by[0].1.terms.chain, account: &by[0].1.account, by: by.to_vec() })
            .collect()
    }
}

/// Reads the exchanges at `path`: a folder that has one sub-folder or `.toml` file for each, or one such folder or file.
/// A sub-folder holds `exchange.toml` and any number of `*.csv`. Dates are midnights in `timezone`.
///
/// # Errors
/// Everything wrong in any of the files, in the order of their names.
pub fn load(path: &Path, directory: &Directory, timezone: &TimeZone) -> Result<Declarations, InputErrors> {
    let context = Context::new(directory, timezone);
    let mut errors = InputErrors::default();
    let mut exchanges: Vec<(Exchange, Origin)> = vec![];
    for files in find(path)? {
        match read(&files, &context) {
            Ok(exchange) => exchanges.push(exchange),
            Err(wrong) => errors.append(wrong),
        }
    }
    exchanges.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
    for pair in exchanges.windows(2).filter(|pair| pair[0].0.id == pair[1].0.id) {
        let [(exchange, first), (_, second)] = pair else { continue };
        let why = format!("the id `{}` is taken already, at {first}", exchange.id);
        errors.push(InputError::new(&*second.file, why).line(second.line).field("id"));
    }
    errors.or(Declarations::new(exchanges.into_iter().map(|(exchange, _)| exchange).collect()))
}

/// The files of one exchange.
struct Files {
    toml: PathBuf,
    csv: Vec<PathBuf>,
}

fn find(path: &Path) -> Result<Vec<Files>, InputErrors> {
    let unreadable = |error: io::Error| {
        let error = InputError::new(path, format!("cannot be read: {error}"));
        error.hint("`exchanges` in assay.toml names the folder with one sub-folder or file for each exchange")
    };
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![Files { toml: path.into(), csv: vec![] }]);
    }
    if path.join(EXCHANGE_FILE).exists() {
        return Ok(vec![in_folder(path)?]);
    }
    let (mut found, mut errors) = (vec![], InputErrors::default());
    for entry in visible(path)? {
        if entry.is_dir() {
            match in_folder(&entry) {
                Ok(files) => found.push(files),
                Err(error) => errors.push(error),
            }
        } else if has_extension(&entry, "toml") {
            found.push(Files { toml: entry, csv: vec![] });
        } else if has_extension(&entry, "csv") {
            let error = InputError::new(entry, "belongs to no exchange");
            errors.push(error.hint(format!("move it into an exchange's folder, beside its {EXCHANGE_FILE}")));
        }
    }
    if found.is_empty() && errors.is_empty() {
        let error = InputError::new(path, "declares no exchange");
        errors.push(error.hint(format!("write ID/{EXCHANGE_FILE} in it, one folder for each exchange")));
    }
    errors.or(found)
}

fn in_folder(folder: &Path) -> Result<Files, InputError> {
    let toml = folder.join(EXCHANGE_FILE);
    if !toml.is_file() {
        return Err(InputError::new(folder, format!("has no {EXCHANGE_FILE}")));
    }
    let mut csv = vec![];
    for entry in visible(folder)? {
        if has_extension(&entry, "csv") {
            csv.push(entry);
        } else if has_extension(&entry, "toml") && entry != toml {
            let error = InputError::new(entry, "is not read");
            return Err(error.hint(format!("an exchange's folder has one {EXCHANGE_FILE}, and lists as *.csv")));
        }
    }
    Ok(Files { toml, csv })
}

/// What is in a folder, by name, but for hidden files.
fn visible(folder: &Path) -> Result<Vec<PathBuf>, InputError> {
    let unreadable = |error: io::Error| InputError::new(folder, format!("cannot be read: {error}"));
    let mut entries = vec![];
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn read(files: &Files, context: &Context<'_>) -> Result<(Exchange, Origin), InputErrors> {
    let errors = RefCell::default();
    let mut accounts = vec![];
    let file: Arc<Path> = files.toml.as_path().into();
    let head = match read_text(&files.toml, LONGEST_FILE_BYTES) {
        Ok(text) => toml::read(&file, &text, context, &mut accounts, &errors).ok(),
        Err(error) => {
            errors.borrow_mut().push(error);
            None
        }
    };
    for path in &files.csv {
        match read_text(path, LONGEST_FILE_BYTES) {
            Ok(text) => csv::read(&path.as_path().into(), &text, context, &mut accounts, &errors),
            Err(error) => errors.borrow_mut().push(error),
        }
    }
    let mut errors = errors.into_inner();
    find_twice(&accounts, context.directory, &mut errors);
    match head {
        Some(head) => {
            let origin = Origin { file, line: head.id_line };
            let Head { id, name, statement_keys, ranges, .. } = head;
            let accounts = accounts.into();
            errors.or((Exchange { id, name, accounts, statement_keys, ranges }, origin))
        }
        None => Err(errors),
    }
}

/// Reports accounts that are declared twice: once for each two places, however many accounts they share.
fn find_twice(accounts: &[Declared], directory: &Directory, errors: &mut InputErrors) {
    let mut first: HashMap<(&ChainId, &Account), &Declared, RandomState> =
        HashMap::with_capacity_and_hasher(accounts.len(), RandomState::default());
    let mut reported: HashSet<(Origin, Origin)> = HashSet::new();
    for declared in accounts {
        let Some(before) = first.insert((&declared.terms.chain, &declared.account), declared) else { continue };
        let (at, again) = (before.origin(), declared.origin());
        if reported.insert((at.clone(), again.clone())) {
            let address = directory.address(&declared.terms.chain, &declared.account);
            let why = format!("the account {address} is declared already, at {at}");
            errors.push(InputError::new(&*again.file, why).line(again.line));
        }
    }
}

#[cfg(test)]
mod tests;
