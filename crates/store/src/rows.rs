//! The rows of each column family: what a key and a value mean. `FORMAT.md` specifies them.

use assay_types::{
    Account, AccountNo, Amount, Asset, BlockHash, Direction, Header, Height, Kind, Outpoint, Pair, Payment, Timestamp,
    Told, TxId,
};

use crate::bytes::{Reader, Writer};

/// One credit or debit of one account in one asset, with the balance after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// The block's height.
    pub height: Height,
    /// Its place in the block; 0 and the largest are kept for what no transaction explains.
    pub place: u32,
    /// Towards the account or away.
    pub direction: Direction,
    /// Base units.
    pub amount: Amount,
    /// Base units after it.
    pub balance: Amount,
    /// Why.
    pub kind: Kind,
    /// The transaction, unless none did it.
    pub txid: Option<TxId>,
    /// Bitcoin input or output, EVM log.
    pub index: u32,
}

/// How well an account's movements are known at a height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// Proven there, or on both sides with everything between accounted for.
    Verified,
    /// As the node says, without proof.
    Unproven,
    /// Not known, and why.
    Unknown(String),
}

impl Coverage {
    /// `verified`, `unproven` or `unknown`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Coverage::Verified => "verified",
            Coverage::Unproven => "unproven",
            Coverage::Unknown(_) => "unknown",
        }
    }
}

/// A transaction that moved a watched account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its block's height.
    pub height: Height,
    /// What it took from watched accounts.
    pub debits: Vec<(AccountNo, Asset, Amount)>,
    /// What it paid: to anyone if it took from a watched account, else to watched accounts.
    pub payments: Vec<Payment>,
    /// How much of what it paid is told.
    pub told: Told,
}

/// A watched unspent output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unspent {
    pub account: AccountNo,
    pub amount: Amount,
    pub height: Height,
    pub coinbase: bool,
}

/// A header as stored, with the latest time of any block up to it: block times may go back, this one does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderRow {
    pub header: Header,
    pub latest: Timestamp,
}

pub(crate) fn height_key(height: Height) -> Vec<u8> {
    height.0.to_be_bytes().to_vec()
}

pub(crate) fn height_of(key: &[u8]) -> Option<Height> {
    key.try_into().ok().map(|bytes| Height(u64::from_be_bytes(bytes)))
}

impl HeaderRow {
    pub fn value_into(&self, row: Writer) -> Writer {
        let Header { hash, parent, time, seal, .. } = &self.header;
        row.raw(&hash.0).raw(&parent.0).i64(time.unix_s()).i64(self.latest.unix_s()).raw(seal)
    }

    pub fn read(height: Height, value: &[u8]) -> Option<HeaderRow> {
        let mut row = Reader(value);
        let (hash, parent) = (BlockHash(row.array()?), BlockHash(row.array()?));
        let (time, latest) = (Timestamp::from_unix_s(row.i64()?), Timestamp::from_unix_s(row.i64()?));
        Some(HeaderRow { header: Header { height, hash, parent, time, seal: row.0.to_vec() }, latest })
    }
}

/// The prefix that an account's rows in one asset share, in `movements` and `coverage`.
pub(crate) fn account_prefix(account: AccountNo, asset: Asset) -> Vec<u8> {
    Writer::default().account(account).asset(asset).0
}

impl Movement {
    /// Base units before it.
    pub(crate) fn balance_before(&self) -> Option<Amount> {
        match self.direction {
            Direction::Credit => self.balance.checked_sub(self.amount),
            Direction::Debit => self.balance.checked_add(self.amount),
        }
    }

    pub(crate) fn key_at(prefix: &[u8], height: Height, place: u32) -> Vec<u8> {
        Writer::default().raw(prefix).u64(height.0).u32(place).0
    }

    pub(crate) fn key_into(&self, row: Writer, (account, asset): Pair) -> Writer {
        row.account(account).asset(asset).u64(self.height.0).u32(self.place)
    }

    pub(crate) fn value_into(&self, row: Writer) -> Writer {
        let credit = u8::from(self.direction == Direction::Credit);
        let row = row.u8(self.kind as u8).u8(credit | u8::from(self.txid.is_some()) << 1);
        let row = row.u32(self.index).amount(self.amount).amount(self.balance);
        self.txid.iter().fold(row, |row, txid| row.raw(&txid.0))
    }

    pub(crate) fn read(key_tail: &[u8], value: &[u8]) -> Option<Movement> {
        let mut key = Reader(key_tail);
        let (height, place) = (Height(key.u64()?), key.u32()?);
        let mut row = Reader(value);
        let (kind, flags) = (Kind::from_byte(row.u8()?)?, row.u8()?);
        let direction = if flags & 1 == 1 { Direction::Credit } else { Direction::Debit };
        let (index, amount, balance) = (row.u32()?, row.amount()?, row.amount()?);
        let txid = if flags & 2 == 2 { Some(TxId(row.array()?)) } else { None };
        let movement = Movement { height, place, direction, amount, balance, kind, txid, index };
        row.end(movement).filter(|_| flags < 4 && key.0.is_empty())
    }
}

impl Coverage {
    pub(crate) fn key(prefix: &[u8], from: Height) -> Vec<u8> {
        Writer::default().raw(prefix).u64(from.0).0
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        match self {
            Coverage::Verified => vec![0],
            Coverage::Unproven => vec![1],
            Coverage::Unknown(reason) => Writer::default().u8(2).raw(reason.as_bytes()).0,
        }
    }

    /// Unproven behind a proof of native coins, of one that had sent so many transactions.
    pub(crate) fn unproven_since(nonce: u64) -> Vec<u8> {
        Writer::default().u8(1).u64(nonce).0
    }

    /// How many that were, if they are noted.
    pub(crate) fn nonce(value: &[u8]) -> Option<u64> {
        let nonce: [u8; 8] = value.strip_prefix(&[1])?.try_into().ok()?;
        Some(u64::from_be_bytes(nonce))
    }

    pub(crate) fn read(value: &[u8]) -> Option<Coverage> {
        match value {
            [0] => Some(Coverage::Verified),
            [1] | [1, _, _, _, _, _, _, _, _] => Some(Coverage::Unproven),
            [2, reason @ ..] => Some(Coverage::Unknown(String::from_utf8_lossy(reason).into_owned())),
            _ => None,
        }
    }
}

impl Unspent {
    pub fn key(outpoint: &Outpoint) -> Vec<u8> {
        Unspent::key_into(Writer::default(), outpoint).0
    }

    pub fn key_into(row: Writer, outpoint: &Outpoint) -> Writer {
        row.raw(&outpoint.txid.0).u32(outpoint.vout)
    }

    pub fn read_key(key: &[u8]) -> Option<Outpoint> {
        let mut row = Reader(key);
        let outpoint = Outpoint { txid: TxId(row.array()?), vout: row.u32()? };
        row.end(outpoint)
    }

    pub fn value_into(&self, row: Writer) -> Writer {
        row.account(self.account).u64(self.height.0).u8(u8::from(self.coinbase)).amount(self.amount)
    }

    pub fn read(value: &[u8]) -> Option<Unspent> {
        let mut row = Reader(value);
        let (account, height, coinbase) = (row.account()?, Height(row.u64()?), row.flag()?);
        let amount = row.amount()?;
        row.end(Unspent { account, amount, height, coinbase })
    }
}

impl Transaction {
    pub(crate) fn nothing_yet(height: Height) -> Transaction {
        Transaction { height, debits: vec![], payments: vec![], told: Told::All }
    }

    /// A row up to its payments.
    pub(crate) fn head_into(row: Writer, height: Height, debits: &[(AccountNo, Asset, Amount)]) -> Writer {
        let row = row.count(height.0).count(debits.len() as u64);
        debits.iter().fold(row, |row, (account, asset, amount)| row.account(*account).asset(*asset).amount(*amount))
    }

    /// That not everything is told, or nothing: a payment to nobody, of 0 or of 1.
    pub(crate) fn told_into(row: Writer, told: Told) -> Writer {
        let amount = match told {
            Told::All => return row,
            Told::NotCalls => Amount::ZERO,
            Told::Nothing => Amount::from(1),
        };
        Transaction::payment_into(row, None, &[], Asset::Native, amount)
    }

    /// One payment more.
    pub(crate) fn payment_into(row: Writer, index: Option<u32>, to: &[u8], asset: Asset, amount: Amount) -> Writer {
        let place = index.map_or(0, |index| u64::from(index) + 1);
        row.count(place).count(to.len() as u64).raw(to).asset(asset).amount(amount)
    }

    pub(crate) fn read(value: &[u8]) -> Option<Transaction> {
        let mut row = Reader(value);
        let (height, count) = (Height(row.count()?), row.count()?);
        let debits = (0..count).map(|_| Some((row.account()?, row.asset()?, row.amount()?))).collect::<Option<_>>()?;
        let (mut payments, mut told) = (Vec::new(), Told::All);
        while !row.0.is_empty() {
            let index = match row.count()? {
                0 => None,
                place => Some(u32::try_from(place - 1).ok()?),
            };
            let length = usize::try_from(row.count()?).ok()?;
            let to = Account::new(row.raw(length)?);
            let payment = Payment { index, to, asset: row.asset()?, amount: row.amount()? };
            match length {
                0 if payment.amount.is_zero() => told = Told::NotCalls,
                0 => told = Told::Nothing,
                _ => payments.push(payment),
            }
        }
        Some(Transaction { height, debits, payments, told })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_as_written_and_damaged_ones_do_not() {
        let movement = Movement {
            height: Height(7),
            place: 3,
            direction: Direction::Credit,
            amount: Amount::MAX,
            balance: Amount::ZERO,
            kind: Kind::Mint,
            txid: Some(TxId([9; 32])),
            index: 2,
        };
        let pair = (AccountNo(1), Asset::Token([2; 20]));
        let prefix = account_prefix(pair.0, pair.1);
        let key = movement.key_into(Writer::default(), pair).0;
        let value = movement.value_into(Writer::default()).0;
        assert_eq!(Movement::read(&key[prefix.len()..], &value), Some(movement));
        for cut in 0..value.len() {
            assert_eq!(Movement::read(&key[prefix.len()..], &value[..cut]), None);
        }
        let payment = Payment { index: None, to: Account::new(&[1, 2]), asset: Asset::Native, amount: Amount::from(5) };
        let debits = vec![(AccountNo(4), Asset::Native, Amount::from(6))];
        let transaction = Transaction { height: Height(1), debits, payments: vec![payment], told: Told::All };
        let row = Transaction::head_into(Writer::default(), Height(1), &transaction.debits);
        let row = Transaction::payment_into(row, None, &[1, 2], Asset::Native, Amount::from(5)).0;
        assert_eq!(Transaction::read(&row), Some(transaction.clone()));
        for told in [Told::NotCalls, Told::Nothing] {
            let row = Transaction::told_into(Writer(row.clone()), told).0;
            assert_eq!(Transaction::read(&row), Some(Transaction { told, ..transaction.clone() }));
        }
        for coverage in [Coverage::Verified, Coverage::Unproven, Coverage::Unknown("why".into())] {
            assert_eq!(Coverage::read(&coverage.value()), Some(coverage));
        }
    }
}
