//! One declaration, whether a `[[wallet]]` or a line of CSV: its words and their meaning.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use assay_types::{Account, ChainEntry, ChainId, Directory, Height, Timestamp, suggestion};
use serde::{Deserialize, Serialize};

use crate::time::{TimeZone, instant};

/// What an account is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Keeps what is seldom moved.
    Cold,
    /// Pays withdrawals.
    Hot,
    /// Takes customers' deposits.
    Deposit,
}

impl Role {
    const ALL: [Role; 3] = [Role::Cold, Role::Hot, Role::Deposit];

    /// `cold`, `hot` or `deposit`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Cold => "cold",
            Role::Hot => "hot",
            Role::Deposit => "deposit",
        }
    }
}

/// Whose coins an account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The customers'.
    Customers,
    /// The exchange's own.
    House,
}

impl Owner {
    const ALL: [Owner; 2] = [Owner::Customers, Owner::House];

    /// `customers` or `house`.
    pub fn as_str(self) -> &'static str {
        match self {
            Owner::Customers => "customers",
            Owner::House => "house",
        }
    }
}

/// How control of an account is shown. Kept as it was written; nothing is checked here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proof {
    /// What was signed.
    pub message: String,
    /// The signature.
    pub signature: String,
}

/// Where something was declared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The file.
    pub file: Arc<Path>,
    /// Its line, from 1.
    pub line: u64,
}

/// `file:line`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One account that an exchange declares its own. There are millions: what is the same for many they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The account, on its terms' chain.
    pub account: Account,
    /// Where in its terms' file that is written, from 1.
    pub line: u32,
    /// All else.
    pub terms: Arc<Terms>,
}

/// What is declared of an account, or of many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The chain.
    pub chain: ChainId,
    /// What it is used for.
    pub role: Role,
    /// Whose coins it holds.
    pub owner: Owner,
    /// What people call it.
    pub label: Option<String>,
    /// From when on; `None` is always.
    pub since: Option<Timestamp>,
    /// Until before when; `None` is ever after.
    pub until: Option<Timestamp>,
    /// It was announced, and not declared in the files: the height of the block after which it was proven to hold nothing.
    pub announced: Option<Height>,
    /// How control is shown.
    pub proof: Option<Proof>,
    /// Where that is written.
    pub file: Arc<Path>,
}

impl Declared {
    /// Where it is written.
    pub fn origin(&self) -> Origin {
        Origin { file: self.terms.file.clone(), line: self.line.into() }
    }
}

impl Terms {
    /// Of customers, always, and nothing else.
    pub fn plain(chain: ChainId, role: Role, file: Arc<Path>) -> Terms {
        let (owner, label, since, until, announced, proof) = (Owner::Customers, None, None, None, None, None);
        Terms { chain, role, owner, label, since, until, announced, proof, file }
    }

    /// Is it declared at this instant: `since <= at < until`?
    pub fn at(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
    }

    /// Does it count in what the exchange holds as of an instant, at its chain's block of this height? One that was announced
    /// counts in the blocks after the one at which it was empty: below nothing is known of it, and by announcing accounts nobody
    /// shall make anything unknown.
    pub fn counts(&self, as_of: Timestamp, block: Option<Height>) -> bool {
        match (self.announced, block) {
            (Some(empty), Some(block)) => empty < block,
            _ => self.at(as_of),
        }
    }

    /// Is what moves there after the block of that instant the exchange's? Nothing is known of an announced account but what moved
    /// since.
    pub fn is_theirs(&self, as_of: Timestamp) -> bool {
        self.announced.is_some() || self.at(as_of)
    }
}

/// The end of a descriptor's range: where it is to be seen that the range is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranged {
    /// The chain.
    pub chain: ChainId,
    /// The last index.
    pub last: u32,
    /// The accounts of the last 20 indexes, by index, each path's.
    pub end: Vec<(u32, Account)>,
    /// Where that is written.
    pub origin: Origin,
}

impl Ranged {
    /// Of the accounts that a descriptor stands for: one path's after another's, each in the order of the range.
    pub(crate) fn of(accounts: &[Declared], (first, last): (u32, u32)) -> Option<Ranged> {
        const END: u32 = 20;
        let one = accounts.first()?;
        let indexes = (first..=last).cycle().zip(accounts);
        let at_the_end = indexes.filter(|(index, _)| last - index < END);
        let end = at_the_end.map(|(index, declared)| (index, declared.account.clone())).collect();
        Some(Ranged { chain: one.terms.chain.clone(), last, end, origin: one.origin() })
    }
}

/// An error that has been reported already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// A declaration as it is written: a TOML table, or a CSV record.
pub(crate) trait Written {
    /// The text under this name; `None` where there is none.
    fn text(&self, name: &str) -> Result<Option<Cow<'_, str>>, Refused>;
    /// The descriptor's range, inclusive.
    fn range(&self) -> Result<Option<(u32, u32)>, Refused>;
    /// Reports what is wrong under this name.
    fn refuse(&self, name: &str, why: String, hint: Option<String>) -> Refused;
    /// Where it stands.
    fn origin(&self) -> Origin;
}

/// What declarations are read with.
pub(crate) struct Context<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) timezone: &'a TimeZone,
    known: RefCell<Known>,
}

/// The terms that were read so far: each is kept once. The last one is mostly the next one's too.
#[derive(Default)]
struct Known {
    last: Option<Arc<Terms>>,
    all: HashSet<Arc<Terms>>,
}

impl Context<'_> {
    pub(crate) fn new<'a>(directory: &'a Directory, timezone: &'a TimeZone) -> Context<'a> {
        Context { directory, timezone, known: RefCell::default() }
    }

    fn share(&self, terms: Terms) -> Arc<Terms> {
        let Known { last, all } = &mut *self.known.borrow_mut();
        if let Some(last) = last.as_ref().filter(|last| ***last == terms) {
            return last.clone();
        }
        let shared = all.get(&terms).cloned().unwrap_or_else(|| Arc::new(terms));
        all.insert(shared.clone());
        last.insert(shared).clone()
    }
}

/// Reads one declaration, and adds its accounts.
pub(crate) fn declare(
    written: &impl Written,
    context: &Context<'_>,
    declared: &mut Vec<Declared>,
) -> Result<(), Refused> {
    let chain = chain(written, context);
    let accounts = chain.and_then(|chain| accounts(written, chain));
    let role = required(written, "role").and_then(|text| word(written, "role", &text, &Role::ALL, Role::as_str));
    let owner = match written.text("owner") {
        Ok(Some(text)) => word(written, "owner", &text, &Owner::ALL, Owner::as_str),
        Ok(None) => Ok(Owner::Customers),
        Err(refused) => Err(refused),
    };
    let label = written.text("label").map(|label| label.map(Cow::into_owned));
    let (since, until) = (time(written, "since", context), time(written, "until", context));
    let proof = proof(written)?;
    let (chain, role, owner, label, since, until) = (chain?, role?, owner?, label?, since?, until?);
    if let (Some(since), Some(until)) = (since, until)
        && until <= since
    {
        return Err(written.refuse("until", format!("`until` ({until}) is not after `since` ({since})"), None));
    }
    let accounts = accounts?;
    let Origin { file, line } = written.origin();
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    let terms = Terms { chain: chain.id.clone(), role, owner, label, since, until, announced: None, proof, file };
    let terms = context.share(terms);
    declared.extend(accounts.into_iter().map(|account| Declared { account, line, terms: terms.clone() }));
    Ok(())
}

fn required<'a>(written: &'a impl Written, name: &str) -> Result<Cow<'a, str>, Refused> {
    written.text(name)?.ok_or_else(|| written.refuse(name, "is missing".into(), None))
}

fn chain<'a>(written: &impl Written, context: &Context<'a>) -> Result<&'a ChainEntry, Refused> {
    let name = required(written, "chain")?;
    context.directory.chain(&name).ok_or_else(|| {
        let known = context.directory.chains.iter().map(|chain| chain.name.as_str());
        let hint = suggestion(&name, known);
        written.refuse("chain", format!("`{name}` is not a configured chain"), Some(hint))
    })
}

fn accounts(written: &impl Written, chain: &ChainEntry) -> Result<Vec<Account>, Refused> {
    let (address, descriptor, range) = (written.text("address"), written.text("descriptor"), written.range());
    match (address?, descriptor?, range?) {
        (Some(address), None, None) => match chain.addresses.parse(&address) {
            Ok(account) => Ok(vec![account]),
            Err(why) => Err(written.refuse("address", why, None)),
        },
        (None, Some(descriptor), range) => {
            chain.addresses.expand(&descriptor, range).map_err(|why| written.refuse("descriptor", why, None))
        }
        (Some(_), Some(_), _) => {
            let hint = "declare each as a wallet of its own".to_owned();
            Err(written.refuse("descriptor", "stands beside an `address`".into(), Some(hint)))
        }
        (Some(_), None, Some(_)) => Err(written.refuse("range", "is for descriptors only".into(), None)),
        (None, None, _) => Err(written.refuse("address", "is missing".into(), None)),
    }
}

fn word<T: Copy>(
    written: &impl Written,
    name: &str,
    text: &str,
    all: &[T],
    show: fn(T) -> &'static str,
) -> Result<T, Refused> {
    all.iter().copied().find(|value| show(*value) == text).ok_or_else(|| {
        let hint = suggestion(text, all.iter().map(|value| show(*value)));
        written.refuse(name, format!("`{text}` is not a known {name}"), Some(hint))
    })
}

fn time(written: &impl Written, name: &str, context: &Context<'_>) -> Result<Option<Timestamp>, Refused> {
    let Some(text) = written.text(name)? else { return Ok(None) };
    instant(&text, context.timezone).map(Some).map_err(|why| written.refuse(name, why, None))
}

fn proof(written: &impl Written) -> Result<Option<Proof>, Refused> {
    let (message, signature) = (written.text("message"), written.text("signature"));
    match (message?, signature?) {
        (Some(message), Some(signature)) => {
            Ok(Some(Proof { message: message.into_owned(), signature: signature.into_owned() }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(written.refuse("signature", "is missing: there is a `message`".into(), None)),
        (None, Some(_)) => Err(written.refuse("message", "is missing: there is a `signature`".into(), None)),
    }
}

#[cfg(test)]
pub(crate) mod fake {
    //! Chains whose addresses are as simple as can be.

    use super::*;
    use assay_types::Addresses;

    /// Addresses are `0x` and hexadecimal digits in any case; those that end in `F` have a wrong checksum.
    struct Simple;

    impl Addresses for Simple {
        fn parse(&self, address: &str) -> Result<Account, String> {
            if address.ends_with('F') {
                return Err(format!("`{address}` has a wrong checksum"));
            }
            let digits = address.strip_prefix("0x").or(address.strip_prefix("0X"));
            let digits = digits.ok_or_else(|| format!("`{address}` is not an address"))?;
            Ok(Account::new(digits.to_lowercase().as_bytes()))
        }

        fn show(&self, account: &Account) -> String {
            format!("0x{}", String::from_utf8_lossy(&account.0))
        }

        fn expand(&self, descriptor: &str, range: Option<(u32, u32)>) -> Result<Vec<Account>, String> {
            match (descriptor.strip_suffix('*'), range) {
                (Some(stem), Some((first, last))) => {
                    (first..=last).map(|nth| self.parse(&format!("{stem}{nth}"))).collect()
                }
                (Some(_), None) => Err("a descriptor with `*` needs a `range`".into()),
                (None, None) => self.parse(descriptor).map(|account| vec![account]),
                (None, Some(_)) => Err("a descriptor without `*` has no `range`".into()),
            }
        }
    }

    pub(crate) fn chain(name: &str, id: &str) -> ChainEntry {
        ChainEntry { name: name.into(), id: id.parse().unwrap(), addresses: Arc::new(Simple) }
    }

    pub(crate) fn directory() -> Directory {
        let chains = vec![
            chain("bitcoin", "bip122:0f9188f13cb7b2c71f2a335e3a4fc328"),
            chain("ethereum", "eip155:1"),
            chain("polygon", "eip155:137"),
        ];
        Directory { chains, assets: vec![] }
    }
}
