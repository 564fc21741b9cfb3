//! What a block does to the watched accounts.

use std::fmt;
use std::sync::Arc;

use crate::{Account, AccountNo, Amount, Asset, Header, Outpoint, TxId};

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

impl Kind {
    /// Do only traces tell of it? Of the value that a creation itself was sent with its block does, but it has the same kind.
    pub fn is_traced(self) -> bool {
        matches!(self, Kind::Internal | Kind::Create | Kind::SelfDestruct)
    }
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

/// What a chain's extractor finds in a block about the watched accounts, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A credit or debit.
    Leg(Leg),
    /// One that only a node's trace tells of, to which nothing commits (EVM).
    Traced(Leg),
    /// A credit by a transaction's output `leg.index`, which a later input can spend (Bitcoin).
    Output(Leg),
}

impl Effect {
    /// The credit or debit.
    pub fn leg(&self) -> &Leg {
        match self {
            Effect::Leg(leg) | Effect::Traced(leg) | Effect::Output(leg) => leg,
        }
    }
}

/// An input (Bitcoin): debits the account of the output that it spends, if that was a watched one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// The output that it spends.
    pub spends: Outpoint,
    /// The transaction, by its place in [`Block::txids`].
    pub tx: u32,
    /// The input's place in the transaction.
    pub index: u32,
    /// As in [`Leg::place`].
    pub place: u32,
}

/// As much of an [`Input`] as nearly always tells that it spends what a stranger held: a block has thousands, and two or three matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spend {
    /// Of the output that it spends: see [`crate::Fingerprint`].
    pub fingerprint: u64,
    /// The transaction, by its place in [`Block::txids`].
    pub tx: u32,
    /// As in [`Leg::place`].
    pub place: u32,
}

/// One account in one asset.
pub type Pair = (AccountNo, Asset);

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
    /// What showed it, where that is wanted ([`Block::sealed`]) and it is proven.
    pub proof: Option<Proof>,
    /// Do blocks tell of all that moves it between two proofs?
    pub between: Between,
}

/// Whether what lies between two proofs that agree is proven by them. What calls move in an account with code they do not tell, nor do traces for sure:
/// coins may have been somewhere else meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// It is.
    Told,
    /// It has no code: it is, where it had sent as many transactions at the proof before as it had before this block. Who had code meanwhile, by an
    /// authorization (EIP-7702) or as a contract that was created, has a higher nonce (EIP-161).
    Sent {
        /// Its nonce without those that it sent in this block.
        before: u64,
        /// Its nonce.
        after: u64,
    },
    /// It is not.
    Untold,
}

impl Reading {
    /// One that nothing shows.
    pub fn unproven((account, asset): Pair, balance: Result<Amount, String>) -> Reading {
        Reading { account, asset, balance, proven: false, proof: None, between: Between::Told }
    }

    /// Whose, in what.
    pub fn pair(&self) -> Pair {
        (self.account, self.asset)
    }
}

/// What shows a balance to whoever knows the block's hash and asks no node, as its chain encodes it: see [`crate::Addresses::show_proof`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof(pub Arc<[u8]>);

/// What state says of a token beside balances (EVM).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// What runs when it is asked for a balance.
    Code {
        /// The token.
        asset: Asset,
        /// Of its own code and that of the contracts that it asks; another one as soon as one of them is another.
        fingerprint: [u8; 32],
    },
    /// Whether it lets an account pay.
    Frozen {
        /// Whose.
        account: AccountNo,
        /// The token.
        asset: Asset,
        /// It does not.
        is_frozen: bool,
    },
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

/// What takes a payment: as [`Payment`] has it, but the recipient's bytes are lent only.
pub type TakePayment<'t> = dyn FnMut(Option<u32>, &[u8], Asset, Amount) + 't;

/// How much is told of what a transaction paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Everything.
    All,
    /// Not all that it paid in the chain's own coin by calls is: no trace of them was to be had, or nothing proves what that says.
    NotCalls,
    /// What the node says of it could not be held against the header, which commits to it: nothing follows from that.
    Nothing,
}

/// The rest of a block, asked only for the few transactions that moved a watched account.
pub trait Body: Send {
    /// Calls `take` for everything that the transaction at this place in [`Block::txids`] paid, in order.
    fn each_payment(&self, tx: u32, take: &mut TakePayment<'_>);

    /// Everything that the transaction paid.
    fn payments(&self, tx: u32) -> Vec<Payment> {
        let mut payments = vec![];
        self.each_payment(tx, &mut |index, to, asset, amount| {
            payments.push(Payment { index, to: Account::new(to), asset, amount });
        });
        payments
    }

    /// How much of what it paid is told.
    fn told(&self, tx: u32) -> Told {
        let _ = tx;
        Told::All
    }

    /// Is it known what its calls moved, whether or not it is told because it is proven?
    fn is_explained(&self, tx: u32) -> bool {
        self.told(tx) == Told::All
    }

    /// Forgets what only traces tell of this account: state denies it.
    fn deny(&mut self, account: &[u8]) {
        let _ = account;
    }

    /// These inputs, which are among those of [`Block::spends`] and stand in the same order.
    fn inputs(&self, spends: &[Spend]) -> Vec<Input> {
        assert!(spends.is_empty(), "this chain has no inputs");
        vec![]
    }
}

/// One block, checked against its own header, as a chain hands it over.
pub struct Block {
    /// Its header.
    pub header: Header,
    /// Its transactions' ids, in order.
    pub txids: Vec<TxId>,
    /// What it did to watched accounts, by place.
    pub effects: Vec<Effect>,
    /// What its inputs spend, by place, whether a watched account held it or not (Bitcoin).
    pub spends: Vec<Spend>,
    /// The unspent output that its first transaction repeats, and which is lost thereby (BIP 30).
    pub overwritten: Option<Outpoint>,
    /// Balances read at it.
    pub readings: Vec<Reading>,
    /// Assets in which all watched accounts without a reading were read, and hold nothing: where coverage begins, for so many accounts that not
    /// each of them has a reading of its own. Nothing of it is proven.
    pub blank: Vec<Asset>,
    /// What was found out about its tokens.
    pub remarks: Vec<Remark>,
    /// Where the proofs of its readings are to be kept ([`crate::Reads::keep`]): its header, as the bytes whose hash is the block's.
    pub sealed: Option<Vec<u8>>,
    /// Was all of it held against its header? What a family has that is not known here cannot be.
    pub checked: bool,
    /// Is this where coverage begins? Then what the readings show is an opening balance.
    pub opening: bool,
    /// The rest.
    pub body: Box<dyn Body>,
}

impl Block {
    /// Nothing but its header: one that is taken to have moved no watched account, without having been read.
    pub fn unread(header: Header) -> Block {
        let (txids, effects, spends, overwritten, readings, blank, remarks) = Default::default();
        let (sealed, checked, opening, body) = (None, true, false, Box::new(Unread));
        Block { header, txids, effects, spends, overwritten, readings, blank, remarks, sealed, checked, opening, body }
    }

    /// All its inputs, by place.
    pub fn inputs(&self) -> Vec<Input> {
        self.body.inputs(&self.spends)
    }
}

struct Unread;

impl Body for Unread {
    fn each_payment(&self, _: u32, _: &mut TakePayment<'_>) {}
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} {}, {} effects)", self.header.height, self.header.hash, self.effects.len())
    }
}
