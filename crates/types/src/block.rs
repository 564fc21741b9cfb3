//! What a block does to the watched accounts.

use std::collections::HashMap;
use std::fmt;

use crate::{Account, AccountNo, Amount, Asset, Header, TxId};

/// The accounts that a chain is followed for, with their numbers in its store.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    numbers: HashMap<Account, AccountNo>,
}

impl Watch {
    /// The number of the account with these bytes, if it is watched.
    pub fn number(&self, account: &[u8]) -> Option<AccountNo> {
        self.numbers.get(account).copied()
    }

    /// Every account, by number.
    pub fn by_number(&self) -> Vec<(AccountNo, &Account)> {
        let mut accounts: Vec<_> = self.numbers.iter().map(|(account, number)| (*number, account)).collect();
        accounts.sort_unstable_by_key(|(number, _)| *number);
        accounts
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

impl Extend<(Account, AccountNo)> for Watch {
    fn extend<I: IntoIterator<Item = (Account, AccountNo)>>(&mut self, accounts: I) {
        self.numbers.extend(accounts);
    }
}

impl IntoIterator for Watch {
    type Item = (Account, AccountNo);
    type IntoIter = std::collections::hash_map::IntoIter<Account, AccountNo>;
    fn into_iter(self) -> Self::IntoIter {
        self.numbers.into_iter()
    }
}

impl FromIterator<(Account, AccountNo)> for Watch {
    fn from_iter<I: IntoIterator<Item = (Account, AccountNo)>>(accounts: I) -> Watch {
        Watch { numbers: accounts.into_iter().collect() }
    }
}

/// Towards an account, or away from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Adds to the balance.
    Credit,
    /// Takes from the balance.
    Debit,
}

impl Direction {
    /// `credit` or `debit`.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Credit => "credit",
            Direction::Debit => "debit",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $byte:literal $text:literal;)*) => {
        /// Why coins moved. The bytes are part of the store's format.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $byte),* }

        impl Kind {
            /// As contracts and histories write it.
            pub fn as_str(self) -> &'static str {
                match self { $(Kind::$name => $text),* }
            }

            /// The inverse of `self as u8`.
            pub fn from_byte(byte: u8) -> Option<Kind> {
                match byte { $($byte => Some(Kind::$name),)* _ => None }
            }
        }
    };
}
kinds! {
    /// An ordinary payment: a Bitcoin output or input, a transaction's value, an ERC-20 `Transfer`.
    Transfer = 0 "transfer";
    /// What a transaction's sender paid for its inclusion (EVM).
    Fee = 1 "fee";
    /// A block's first transaction paid its miner (Bitcoin).
    Coinbase = 2 "coinbase";
    /// Moved by a contract's code, inside a transaction (EVM).
    Internal = 3 "internal";
    /// Value given to a contract as it was created (EVM).
    Create = 4 "create";
    /// What was left of a contract that destroyed itself (EVM).
    SelfDestruct = 5 "self-destruct";
    /// A withdrawal from the beacon chain (EIP-4895).
    Withdrawal = 6 "withdrawal";
    /// A block's reward or priority fees (EVM).
    Reward = 7 "reward";
    /// Tokens that did not exist before.
    Mint = 8 "mint";
    /// Tokens that exist no more.
    Burn = 9 "burn";
    /// The balance as coverage began.
    Opening = 10 "opening";
    /// State and the sum of movements parted here, and nothing that we read says why.
    Unattributed = 11 "unattributed";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One side of a payment: a credit or debit of one watched account, before its balance is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// Whose balance.
    pub account: AccountNo,
    /// In what.
    pub asset: Asset,
    /// Which way.
    pub direction: Direction,
    /// How many base units.
    pub amount: Amount,
    /// Why.
    pub kind: Kind,
    /// The transaction, by its place in [`Block::txids`]; `None` for what no transaction did.
    pub tx: Option<u32>,
    /// Its index within the transaction or block as the chain counts: Bitcoin input or output, EVM log.
    pub index: u32,
    /// Its place in the block: strictly increasing in the order in which balances change, and independent of what is
    /// watched.
    pub place: u32,
}

/// What a chain's extractor finds in a block, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A credit or debit.
    Leg(Leg),
    /// A credit by a transaction's output `leg.index`, which a later input can spend (Bitcoin).
    Output(Leg),
    /// An input: debits the account of that output, if it was a watched one (Bitcoin).
    Input {
        /// The output that it spends.
        spends: crate::Outpoint,
        /// The transaction, by its place in [`Block::txids`].
        tx: u32,
        /// The input's place in the transaction.
        index: u32,
        /// As in [`Leg::place`].
        place: u32,
    },
}

/// A balance as the chain's state gives it after a block (EVM).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Whose.
    pub account: AccountNo,
    /// In what.
    pub asset: Asset,
    /// The balance, or why it could not be read.
    pub balance: Result<Amount, String>,
    /// Verified here against the block's own state root?
    pub proven: bool,
}

/// What a transaction paid to anyone, watched or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Bitcoin output, EVM log. `None` for native coins on EVM chains, which have no index.
    pub index: Option<u32>,
    /// To whom.
    pub to: Account,
    /// In what.
    pub asset: Asset,
    /// How many base units.
    pub amount: Amount,
}

/// The rest of a block, asked only for the few transactions that moved a watched account.
pub trait Body: Send {
    /// Everything that the transaction at this place in [`Block::txids`] paid, in order.
    fn payments(&self, tx: u32) -> Vec<Payment>;
}

/// One block, checked against its own header, as a chain hands it over.
pub struct Block {
    /// Its header.
    pub header: Header,
    /// Its transactions' ids, in order.
    pub txids: Vec<TxId>,
    /// What it did, by place. Bitcoin's inputs stand here whether watched or not.
    pub effects: Vec<Effect>,
    /// Balances read at it.
    pub readings: Vec<Reading>,
    /// Is this where coverage begins? Then what the readings show is an opening balance.
    pub opening: bool,
    /// The rest.
    pub body: Box<dyn Body>,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} {}, {} effects)", self.header.height, self.header.hash, self.effects.len())
    }
}
