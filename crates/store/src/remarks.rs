//! What was found out about tokens beside balances: a row where it is another than before.

use std::collections::HashMap;

use assay_types::{AccountNo, Asset, Height, Remark};

use crate::bytes::{Reader, Writer};
use crate::{Family, KeyValue, Store, StoreError};

/// Whose row it is: a token's code, or an account's being frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Code(Asset),
    Frozen(Asset, AccountNo),
}

/// What the last rows say, as far as it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Remarks(HashMap<Subject, Option<Vec<u8>>>);

impl Remarks {
    /// The row to write, where this is another remark than the last one. That an account is not frozen, or that a token has no code, is not worth a
    /// first row.
    pub fn note(&mut self, store: &Store, remark: &Remark) -> Result<Option<(Subject, Vec<u8>)>, StoreError> {
        let (subject, value) = match *remark {
            Remark::Code { asset, fingerprint } => (Subject::Code(asset), fingerprint.to_vec()),
            Remark::Frozen { account, asset, is_frozen } => {
                (Subject::Frozen(asset, account), vec![u8::from(is_frozen)])
            }
        };
        let last = match self.0.get(&subject) {
            Some(last) => last.clone(),
            None => store.last_remark(subject)?,
        };
        let is_new = match (&last, subject) {
            (None, Subject::Frozen(..)) => value != [0],
            (None, Subject::Code(_)) => value != [0; 32],
            (last, _) => last.as_ref() != Some(&value),
        };
        self.0.insert(subject, if is_new { Some(value.clone()) } else { last });
        Ok(is_new.then_some((subject, value)))
    }
}

impl Subject {
    fn prefix(self) -> Writer {
        match self {
            Subject::Code(asset) => Writer::default().raw(b"code").asset(asset),
            Subject::Frozen(asset, account) => Writer::default().raw(b"frozen").asset(asset).account(account),
        }
    }

    pub fn key(self, at: Height) -> Vec<u8> {
        self.prefix().u64(at.0).0
    }
}

impl Store {
    fn last_remark(&self, subject: Subject) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.remarks(&subject.prefix().0)?.pop().map(|(_, value)| value))
    }

    /// The rows with this prefix, what follows it in their keys, and their values.
    fn remarks(&self, prefix: &[u8]) -> Result<Vec<KeyValue>, StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Meta)?);
        let mut found = Vec::new();
        rows.seek(prefix);
        while let Some((key, value)) = rows.item() {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            found.push((rest.to_vec(), value.to_vec()));
            rows.next();
        }
        rows.status().map_err(|error| self.database(error))?;
        Ok(found)
    }

    /// From which height on which code gave a token's balances, by its fingerprint: the lowest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn codes(&self, token: Asset) -> Result<Vec<(Height, [u8; 32])>, StoreError> {
        let prefix = Subject::Code(token).prefix().0;
        let rows = self.remarks(&prefix)?.into_iter();
        rows.map(|(rest, value)| {
            let row = Reader(&rest).u64().map(Height).zip(value.try_into().ok());
            self.read(Family::Meta, &prefix, row)
        })
        .collect()
    }

    /// The accounts that a token lets not pay after the block at this height, and since when.
    ///
    /// # Errors
    /// When the database fails.
    pub fn frozen(&self, token: Asset, at: Height) -> Result<Vec<(AccountNo, Height)>, StoreError> {
        let prefix = Writer::default().raw(b"frozen").asset(token).0;
        let mut frozen: Vec<(AccountNo, Height)> = Vec::new();
        for (rest, value) in self.remarks(&prefix)? {
            let mut row = Reader(&rest);
            let account_and_height = row.account().zip(row.u64().map(Height));
            let (account, since) = self.read(Family::Meta, &prefix, account_and_height)?;
            if since > at {
                continue;
            }
            frozen.retain(|(other, _)| *other != account);
            if value == [1] {
                frozen.push((account, since));
            }
        }
        Ok(frozen)
    }
}
