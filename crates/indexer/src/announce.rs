//! Accounts that are announced before anybody uses them: the node says that they hold nothing after a block, and from there on
//! they are followed like all others. Nothing is filled in, and the chain is followed on while the node is asked: on the main
//! Bitcoin network it reads through its unspent outputs for a minute or more.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use assay_types::{Account, AccountNo, Amount, Asset, BlockRef, Height, NodeError, Reading};
use parking_lot::MutexGuard;

use crate::breaks::Break;
use crate::patience::MOMENT_MS;
use crate::{IndexError, Indexer};

/// Something that an account holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The account.
    pub account: Account,
    /// In what.
    pub asset: Asset,
    /// Base units.
    pub amount: Amount,
    /// After the block at this height.
    pub at: Height,
}

/// Why accounts are not taken on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be done at the moment, and why.
    #[error("{0}")]
    NotNow(String),
    /// They hold something already.
    #[error("{} balances are not zero", .0.len())]
    NotEmpty(Vec<Holding>),
}

/// The block from which on the accounts of a request are known, or why not.
type Answer = Result<BlockRef, Refusal>;

/// What keeps all requests from being answered.
enum Halt {
    /// The chain is another one now.
    Reorganised,
    /// What the node says of one of them may be too long to be read.
    Unreadable(String),
    For(String),
}

/// What the node said, by account.
struct Said {
    at: BlockRef,
    readings: BTreeMap<Account, Vec<Reading>>,
}

/// For how long whoever follows the chain is waited for: at the tip it is between two blocks most of the time.
const PATIENCE: Duration = Duration::from_millis(200 * MOMENT_MS);
/// How often the node is asked when the chain reorganises meanwhile.
const TRIES: u32 = 3;

impl<E: Into<IndexError>> From<E> for Halt {
    fn from(error: E) -> Halt {
        match error.into() {
            IndexError::Node(NodeError::Gone(_)) => Halt::Reorganised,
            error @ IndexError::Node(NodeError::Unreadable { .. }) => Halt::Unreadable(error.to_string()),
            error => Halt::For(error.to_string()),
        }
    }
}

impl From<Break> for Halt {
    fn from(kept: Break) -> Halt {
        match kept {
            Break::Reorganised => Halt::Reorganised,
            Break::Error(error) => error.into(),
            Break::Doubt(_, error) => Halt::from(IndexError::Node(*error)),
            Break::Enough | Break::Corrected => Halt::For("blocks are being read for accounts: ask again".into()),
        }
    }
}

impl Indexer<'_> {
    /// Takes on accounts that nobody knows yet, for each request all of them or none; says from which block on they are known.
    /// The node is asked once for all requests, and for announced accounts whose block left the chain. Whoever follows the
    /// chain goes on meanwhile; nobody else may announce at the same time.
    pub fn announce(&self, requests: &[&[Account]]) -> Vec<Answer> {
        for _ in 0..TRIES {
            let why = match self.ask_and_take(requests) {
                Ok(each) => return each,
                Err(Halt::Reorganised) => continue,
                // One account with more outputs than can be read must not spoil what others ask.
                Err(Halt::Unreadable(_)) if requests.len() > 1 => {
                    return requests.iter().flat_map(|request| self.announce(&[request])).collect();
                }
                Err(Halt::Unreadable(why) | Halt::For(why)) => why,
            };
            return requests.iter().map(|_| Err(Refusal::NotNow(why.clone()))).collect();
        }
        let why = "the chain reorganised again and again while its node was asked";
        requests.iter().map(|_| Err(Refusal::NotNow(why.into()))).collect()
    }

    fn ask_and_take(&self, requests: &[&[Account]]) -> Result<Vec<Answer>, Halt> {
        let (tip, again) = {
            let _pen = self.pen(None)?;
            let tip = self.store.tip()?.ok_or_else(|| Halt::For("no block is indexed yet".into()))?;
            (tip, self.store.to_prove_again()?)
        };
        let of_requests = requests.iter().copied().flatten();
        let mut accounts: Vec<&Account> = of_requests.chain(again.iter().map(|(_, account)| account)).collect();
        accounts.sort_unstable();
        accounts.dedup();
        if accounts.is_empty() {
            return Ok(requests.iter().map(|_| Ok(tip.at())).collect());
        }
        let numbered: Vec<_> = (0..).map(AccountNo).zip(accounts.into_iter().cloned()).collect();
        let (at, all) = self.chain.held(&tip, &numbered)?;
        let mut readings: BTreeMap<Account, Vec<Reading>> = BTreeMap::new();
        for reading in all {
            let account = usize::try_from(reading.account.0).ok().and_then(|place| numbered.get(place));
            let (_, account) = account.expect("readings are of the accounts that were asked for");
            readings.entry(account.clone()).or_default().push(reading);
        }
        let said = Said { at, readings };
        let _pen = self.pen(Some(at))?;
        self.prove_again(&said, &again)?;
        self.take(requests, &said)
    }

    /// The store's pen, as soon as the store has come to this block. While accounts are filled in there is nothing to wait for.
    fn pen(&self, at: Option<BlockRef>) -> Result<MutexGuard<'_, ()>, Halt> {
        let until = Instant::now() + PATIENCE;
        loop {
            let pen = self.store.try_pen();
            if self.store.is_filling_in()? {
                return Err(Halt::For("accounts that were declared late are being filled in".into()));
            }
            if let Some(pen) = pen {
                let ours = at.map(|at| self.store.header(at.height)).transpose()?;
                match (at, ours) {
                    (Some(at), Some(Some(ours))) if ours.hash != at.hash => return Err(Halt::Reorganised),
                    (Some(_), Some(None)) => {}
                    _ => return Ok(pen),
                }
            }
            if Instant::now() > until {
                return Err(Halt::For("blocks are being indexed: ask again once the index is at the tip".into()));
            }
            self.stop.pause(Duration::from_millis(MOMENT_MS / 2));
        }
    }

    fn prove_again(&self, said: &Said, again: &[(AccountNo, Account)]) -> Result<(), Halt> {
        let mut readings = Vec::new();
        for (number, account) in again {
            let said = said.readings.get(account).into_iter().flatten();
            readings.extend(said.map(|reading| Reading { account: *number, ..reading.clone() }));
        }
        if readings.is_empty() {
            return Ok(());
        }
        for account in self.store.prove_again(said.at, &readings)? {
            tracing::warn!(
                account = account.0,
                "an announced account held something on the branch that the chain took"
            );
        }
        Ok(())
    }

    /// Follows those accounts that hold nothing. The caller holds the pen.
    fn take(&self, requests: &[&[Account]], said: &Said) -> Result<Vec<Answer>, Halt> {
        let answers: Vec<Answer> = requests.iter().map(|accounts| said.allows(accounts)).collect();
        let (mut fresh, mut readings, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        let allowed = requests.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        for account in allowed.flat_map(|(accounts, _)| *accounts) {
            if !seen.insert(account) || self.store.number(account)?.is_some() {
                continue;
            }
            let number = AccountNo(u32::try_from(fresh.len()).unwrap_or(u32::MAX));
            let said = said.readings.get(account).into_iter().flatten();
            readings.extend(said.map(|reading| Reading { account: number, ..reading.clone() }));
            fresh.push(account.clone());
        }
        if !fresh.is_empty() {
            self.store.announce(&fresh, said.at, &readings, self.chain.proves_by_walking())?;
            self.fill_in()?; // blocks that came while the node was asked
            tracing::info!(accounts = fresh.len(), height = said.at.height.0, "announced accounts are followed");
        }
        Ok(answers)
    }
}

impl Said {
    /// They hold nothing, as far as it could be read; the native coin must be.
    fn allows(&self, accounts: &[Account]) -> Answer {
        let mut holdings = Vec::new();
        for account in accounts {
            for reading in self.readings.get(account).into_iter().flatten() {
                match &reading.balance {
                    Ok(amount) if amount.is_zero() => {}
                    Ok(amount) => {
                        let (account, asset, amount, at) = (account.clone(), reading.asset, *amount, self.at.height);
                        holdings.push(Holding { account, asset, amount, at });
                    }
                    Err(why) if reading.asset == Asset::Native => return Err(Refusal::NotNow(why.clone())),
                    Err(_) => {}
                }
            }
        }
        if holdings.is_empty() { Ok(self.at) } else { Err(Refusal::NotEmpty(holdings)) }
    }
}
