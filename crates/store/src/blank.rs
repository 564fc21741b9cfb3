//! Where coverage begins for very many accounts, those that hold nothing have no rows of their own: one row says it of all of them.

use std::ops::Range;

use assay_types::{AccountNo, Asset, Height, Pair};

use crate::bytes::{Reader, Writer};
use crate::{Coverage, Family, Store, StoreError};

pub(crate) const BLANK_KEY: &[u8] = b"blank";

/// What is said of accounts without rows of their own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blanks(Vec<Blank>);

/// These accounts were read after this block, and held nothing of this asset: unproven, from there on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Blank {
    accounts: Range<u32>,
    asset: Asset,
    from: Height,
}

impl Store {
    pub(crate) fn blanks(&self) -> Result<Blanks, StoreError> {
        let Some(row) = self.get(Family::Meta, BLANK_KEY)? else { return Ok(Blanks::default()) };
        let (mut rest, mut blanks) = (Reader(&row), Vec::new());
        while !rest.0.is_empty() {
            blanks.push(self.read(Family::Meta, BLANK_KEY, read_one(&mut rest))?);
        }
        Ok(Blanks(blanks))
    }
}

impl Blanks {
    /// Of these accounts too it is said.
    pub fn with(mut self, accounts: &Range<u32>, assets: &[Asset], from: Height) -> Blanks {
        let more = assets.iter().map(|asset| Blank { accounts: accounts.clone(), asset: *asset, from });
        self.0.extend(more);
        self.0.sort_unstable_by_key(|blank| (blank.accounts.start, blank.asset));
        self
    }

    pub fn value(&self) -> Vec<u8> {
        let each = |row: Writer, blank: &Blank| {
            let (from, to) = (AccountNo(blank.accounts.start), AccountNo(blank.accounts.end));
            row.account(from).account(to).asset(blank.asset).u64(blank.from.0)
        };
        self.0.iter().fold(Writer::default(), each).0
    }

    /// What is known of a pair up to this height, as its last row would say it.
    pub fn of(&self, (account, asset): Pair, at: Height) -> Option<(Height, Coverage)> {
        let is_its = |blank: &&Blank| blank.asset == asset && blank.accounts.contains(&account.0) && blank.from <= at;
        self.0.iter().find(is_its).map(|blank| (blank.from, Coverage::Unproven))
    }

    /// The pairs of these accounts of which something is known at this height, in order.
    pub fn pairs(&self, numbers: Range<u32>, at: Height) -> impl Iterator<Item = Pair> {
        let numbers = if self.0.is_empty() { 0..0 } else { numbers };
        numbers.flat_map(move |number| {
            let its = self.0.iter().filter(move |blank| blank.accounts.contains(&number) && blank.from <= at);
            its.map(move |blank| (AccountNo(number), blank.asset))
        })
    }
}

fn read_one(row: &mut Reader<'_>) -> Option<Blank> {
    let accounts = row.account()?.0..row.account()?.0;
    Some(Blank { accounts, asset: row.asset()?, from: Height(row.u64()?) })
}
