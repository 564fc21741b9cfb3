//! Balances of tokens, proven: the slot of a token's storage that holds an account's balance, and what the token's code returns on it.
//!
//! Which slot that is, the code shows: it is run here on proven storage, and among the words that it looks at is one where compilers put a
//! balance, which it returns. From then on these words are asked for at once, and the code is run on them for every balance that is to be
//! proven, at every block anew. What it returns counts, whatever the node says; where it is the account's own word, the slot's proof shows it to
//! others. A token whose balance is no such word (rebasing ones), or whose code asks for more than can be proven (the time), stays as it was read;
//! of a few of its balances the code is run as well.
//!
//! What is remembered of a token saves questions and decides nothing: blocks are read in any order, by several threads. The one exception is a
//! token that takes up a slot while it is left alone ([`PAUSE`]).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};

use alloy::primitives::{Address, B256, U256};
use assay_types::{Amount, Fault, Height, NodeError, Proof};
use futures_util::{StreamExt, TryStreamExt};
use parking_lot::{Mutex, MutexGuard};

use crate::block::{StateAt, headers};
use crate::node::Node;
use crate::state::elsewhere::{self, STRANGER};
use crate::state::kept;
use crate::state::proofs::{self, Shown};
use crate::state::reader::{self, balance_of};
use crate::state::run::{KEYS, Run, Stage};
use crate::state::slots::layout::Layout;
use crate::verify::AccountProof;

pub(crate) mod layout;
mod place;

use place::Place;

/// Questions for storage at a time, for one token.
const AT_ONCE: usize = 4;
/// Of so many who hold the most it is looked at what the token's code looks at, where its slot is not known.
const HOLDERS: usize = 2;
/// Where no slot is known, of the largest balance the code is run and of so many others that nobody can foretell; of a token of which the node lied,
/// and where it gives no balance, of so many.
const SAMPLED: usize = 2;
const SUSPECTED: usize = 64;
/// For how many blocks a token whose slot was not found is left alone: an hour on Ethereum.
const PAUSE: u64 = 300;

/// What has been found out about each token of a chain.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<HashMap<Address, Known>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Found(Place),
    NotFound { at: Height },
}

impl Slots {
    fn known(&self) -> MutexGuard<'_, HashMap<Address, Known>> {
        self.0.lock()
    }

    /// What is known of it at this block. That it was not found higher up says nothing of blocks below.
    fn of(&self, token: Address, at: Height) -> Option<Known> {
        let known = self.known().get(&token).cloned();
        known.filter(|known| match known {
            Known::Found(_) => true,
            Known::NotFound { at: tried } => (tried.0..tried.0.saturating_add(PAUSE)).contains(&at.0),
        })
    }

    /// Is a balance of this token known to be a word of its storage?
    pub(crate) fn is_found(&self, token: Address) -> bool {
        matches!(self.known().get(&token), Some(Known::Found(_)))
    }

    fn note(&self, token: Address, known: Known) {
        self.known().insert(token, known);
    }
}

/// A balance as `balanceOf` gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) account: Address,
    pub(crate) balance: Amount,
    pub(crate) prove: bool,
}

/// One token at one block of one node.
pub(crate) struct Token<'a> {
    pub(crate) node: &'a Node,
    pub(crate) slots: &'a Slots,
    pub(crate) at: StateAt,
    /// Is what proves its balances wanted as well?
    pub(crate) keep: bool,
    pub(crate) address: Address,
    /// Do movements not lead to what was read?
    pub(crate) parted: bool,
    /// Set where the node refuses a proof that it takes.
    pub(crate) is_withheld: &'a AtomicBool,
}

/// What a node proves of a contract's storage.
enum Storage {
    /// Nothing: it gives no proof.
    NoProof,
    /// That there is no contract; with what proves that, where it is wanted.
    NoCode(Option<Proof>),
    /// The words at the keys that were asked for, and the contract that they are of.
    Words(Vec<Word>, Box<AccountProof>),
}

/// A word of storage, with what proves it where that is wanted.
struct Word {
    value: U256,
    proof: Option<Proof>,
}

/// What is known of a token at a block.
enum Search {
    Nothing,
    NoCode(Option<Proof>),
    Found(Place),
}

impl Token<'_> {
    /// The balances that could be proven, of those that are to be.
    ///
    /// # Errors
    /// [`NodeError::Contradiction`] when a proof does not follow from the state root.
    pub(crate) async fn prove(&self, held: &[Held]) -> Result<HashMap<Address, Shown>, NodeError> {
        let wanted: Vec<Held> = held.iter().filter(|held| held.prove).copied().collect();
        if !self.at.is_provable() || wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let place = match self.search(&wanted).await? {
            Search::Nothing => return self.sample(&wanted).await,
            Search::NoCode(proof) => return Ok(self.none_held(&wanted, &proof).await),
            Search::Found(place) => place,
        };
        let (words, beside) = tokio::try_join!(self.words(place.layout, &wanted), self.beside(&place))?;
        let (words, contract) = match words {
            Storage::NoProof => return Ok(HashMap::new()),
            Storage::NoCode(proof) => return Ok(self.none_held(&wanted, &proof).await),
            Storage::Words(words, contract) => (words, contract),
        };
        let mut stage = self.stage();
        for (contract, words) in beside {
            stage.know(&contract, words).await?;
        }
        let keys = wanted.iter().map(|held| place.layout.key(held.account));
        stage.know(&contract, keys.zip(words.iter().map(|word| word.value)).collect()).await?;
        let runs = self.run_on(&mut stage, wanted.iter().map(|held| held.account)).await?;
        self.hold_against(place, &wanted, words, runs).await
    }

    /// What the code returned counts: for whom it is not what was read, that is told.
    async fn hold_against(
        &self,
        mut place: Place,
        wanted: &[Held],
        words: Vec<Word>,
        runs: Vec<Option<Run>>,
    ) -> Result<HashMap<Address, Shown>, NodeError> {
        let (mut shown, mut differing) = (HashMap::with_capacity(wanted.len()), Vec::new());
        let (mut ran, mut own, mut is_looked_at, mut is_news) = (0, 0, false, false);
        for ((held, word), run) in wanted.iter().zip(words).zip(runs) {
            let Some(run) = run else { continue };
            let key = (self.address, place.layout.key(held.account));
            let is_own = run.word == Some(word.value) && run.saw.words.contains_key(&key) && !run.asks_what_is_held;
            ran += 1;
            own += usize::from(is_own);
            is_looked_at |= run.saw.words.contains_key(&key);
            is_news |= place.note(self.address, held.account, &run.saw);
            let Some(amount) = run.word.map(Amount) else { continue };
            shown.insert(held.account, Shown { amount, proof: word.proof.filter(|_| is_own) });
            if amount != held.balance {
                differing.push((held.account, amount));
            }
        }
        if ran > 0 && own == 0 {
            // One alone may be an exception.
            if ran > 1 || !is_looked_at {
                let (block, token, layout) = (self.at.block.height.0, &self.address, place.layout);
                tracing::warn!(%token, block, "its code does not return what {layout} holds any more: the slot is dropped");
                self.slots.note(self.address, Known::NotFound { at: self.at.block.height });
            }
            return self.sample(wanted).await;
        }
        if is_news {
            self.slots.note(self.address, Known::Found(place));
        }
        self.tell_differing(&differing).await?;
        Ok(shown)
    }

    /// Those of whom another balance was read than counts are read again, the first of them by itself: where that is right, one of two ways to ask was
    /// answered wrongly, and what counts is taken; where it is not, the node lies.
    async fn tell_differing(&self, differing: &[(Address, Amount)]) -> Result<(), NodeError> {
        let Some((first, others)) = differing.split_first() else { return Ok(()) };
        for some in [std::slice::from_ref(first), others] {
            let again = self.read_again(some.iter().map(|(account, _)| *account).collect()).await?;
            for ((account, returned), again) in some.iter().zip(again) {
                if let Some(again) = again.filter(|again| again != returned) {
                    return Err(self.lie(*account, again, *returned).await);
                }
            }
        }
        self.warn_of(differing).await;
        Ok(())
    }

    /// Of a token whose slots are not known, a few balances are held against what its code returns. Those where one call of the node was wrong and
    /// another was not are told, and whose coins are gone though no movement took them: who says so leaves out no proof.
    async fn sample(&self, wanted: &[Held]) -> Result<HashMap<Address, Shown>, NodeError> {
        let mut told = HashMap::new();
        if !self.node.can.proofs.is_there() {
            return Ok(told);
        }
        let mut wanted: Vec<&Held> = wanted.iter().collect();
        let chance = RandomState::new();
        wanted.sort_by_cached_key(|held| chance.hash_one(held.account));
        let mut count = if self.node.has_lied_of(self.address) { SUSPECTED } else { SAMPLED };
        // Who makes up coins makes up many.
        let largest = (0..wanted.len()).max_by_key(|place| wanted[*place].balance);
        if let Some(largest) = largest.filter(|place| wanted[*place].balance != Amount::ZERO) {
            wanted[..=largest].rotate_right(1);
            count += 1;
        }
        let has_vanished = |held: &&Held| self.parted && held.balance == Amount::ZERO;
        let (vanished, others): (Vec<&Held>, Vec<&Held>) = wanted.into_iter().partition(has_vanished);
        let mut differing = Vec::new();
        for held in vanished.into_iter().take(SUSPECTED).chain(others.into_iter().take(count)) {
            let Some(amount) = self.run(held.account).await? else { continue };
            if amount != held.balance {
                differing.push((held.account, amount));
            }
            if amount != held.balance || has_vanished(&held) {
                told.insert(held.account, Shown { amount, proof: None });
            }
        }
        self.tell_differing(&differing).await?;
        Ok(told)
    }

    /// The balances of these accounts, of whom the node gives none, as far as the token's code gives one.
    pub(crate) async fn rescue(&self, failed: &[Address]) -> Result<HashMap<Address, Shown>, NodeError> {
        let mut told = HashMap::new();
        if !self.at.is_provable() || !self.node.can.proofs.is_there() {
            return Ok(told);
        }
        for account in failed.iter().take(SUSPECTED) {
            let Some(amount) = self.run(*account).await? else { break };
            told.insert(*account, Shown { amount, proof: None });
        }
        if !told.is_empty() {
            self.node.note_lie_of(self.address);
            let subject = format!("balanceOf of token {} at block {}", self.address, self.at.block.height);
            let why = format!("it gives {} accounts no amount, and run on proven storage its code does", failed.len());
            let fault = match elsewhere::of_call(self.node, self.at.block).await {
                Fault::Forged => Fault::Omitted,
                fault => fault,
            };
            self.doubt(self.node.contradiction(&subject, "the token's code", fault, why)).await;
        }
        Ok(told)
    }

    /// What the token's code returns, if that follows from what is proven.
    async fn run(&self, account: Address) -> Result<Option<Amount>, NodeError> {
        let mut runs = self.run_on(&mut self.stage(), std::iter::once(account)).await?;
        Ok(runs.pop().flatten().and_then(|run| run.word).map(Amount))
    }

    fn stage(&self) -> Stage<'_> {
        Stage::new(self.node, self.at, None)
    }

    async fn run_on(
        &self,
        stage: &mut Stage<'_>,
        accounts: impl Iterator<Item = Address>,
    ) -> Result<Vec<Option<Run>>, NodeError> {
        let runs = stage.run(self.address, &accounts.map(balance_of).collect::<Vec<_>>()).await;
        if stage.is_refused() {
            self.is_withheld.store(true, Ordering::Relaxed);
        }
        runs
    }

    /// What the code looks at beside each one's own word, as far as it is proven: what is missing, it asks for.
    async fn beside(&self, place: &Place) -> Result<Vec<(AccountProof, Vec<(B256, U256)>)>, NodeError> {
        let mut beside = Vec::new();
        for (contract, keys) in &place.beside {
            if *contract == self.address && keys.is_empty() {
                continue;
            }
            let keys: Vec<B256> = keys.iter().copied().collect();
            if let Storage::Words(words, proof) = self.ask_of(*contract, &keys).await? {
                beside.push((*proof, keys.into_iter().zip(words.into_iter().map(|word| word.value)).collect()));
            }
        }
        Ok(beside)
    }

    async fn lie(&self, account: Address, said: Amount, returned: Amount) -> NodeError {
        let subject = format!("the balance of {account} in token {} at block {}", self.address, self.at.block.height);
        let why = format!("balanceOf says {said}, and run on proven storage its code returns {returned}");
        self.node.note_lie_of(self.address);
        self.node.contradiction(&subject, "the token's code", elsewhere::of_call(self.node, self.at.block).await, why)
    }

    /// A contract that is not there holds nothing for anyone.
    async fn none_held(&self, wanted: &[Held], proof: &Option<Proof>) -> HashMap<Address, Shown> {
        let made_up = wanted.iter().filter(|held| held.balance != Amount::ZERO);
        let made_up: Vec<_> = made_up.map(|held| (held.account, Amount::ZERO)).collect();
        if !made_up.is_empty() {
            self.warn_of(&made_up).await;
        }
        let nothing = || Shown { amount: Amount::ZERO, proof: proof.clone() };
        wanted.iter().map(|held| (held.account, nothing())).collect()
    }

    /// Tells that others were read than these, which count, unless the node only made its next block meanwhile.
    async fn warn_of(&self, balances: &[(Address, Amount)]) {
        let is_right_now = reader::says(self.node, self.at.block, balances, Some(self.address));
        if headers::was_busy(self.node, self.at.block, is_right_now).await {
            return;
        }
        let subject = format!("what was read of token {} at block {}", self.address, self.at.block.height);
        let why = format!("of {} accounts it is not what counts", balances.len());
        let fault = elsewhere::of_call(self.node, self.at.block).await;
        self.doubt(self.node.contradiction(&subject, "its proofs", fault, why)).await;
    }

    async fn doubt(&self, error: NodeError) {
        headers::doubt(self.node, self.at.block, error).await;
    }

    /// Where the token keeps its balances, from memory, or by what its code looks at for those who hold the most, and for nobody.
    async fn search(&self, wanted: &[Held]) -> Result<Search, NodeError> {
        match self.slots.of(self.address, self.at.block.height) {
            Some(Known::Found(place)) => return Ok(Search::Found(place)),
            Some(Known::NotFound { .. }) => return Ok(Search::Nothing),
            None => {}
        }
        let contract = match self.ask(&[]).await? {
            Storage::NoCode(proof) => return Ok(Search::NoCode(proof)),
            Storage::NoProof => return Ok(Search::Nothing),
            Storage::Words(_, contract) => contract,
        };
        let mut stage = self.stage();
        stage.know(&contract, Vec::new()).await?;
        let mut holders: Vec<&Held> = wanted.iter().collect();
        holders.sort_by_key(|held| std::cmp::Reverse(held.balance));
        let whom: Vec<Address> = holders.iter().take(HOLDERS).map(|held| held.account).chain([STRANGER]).collect();
        let runs = self.run_on(&mut stage, whom.iter().copied()).await?;
        let (layouts, mut is_open, mut is_denied) = (Layout::all(), false, false);
        for (account, run) in whom.into_iter().zip(runs) {
            // What could not be run says nothing of the slot; of whom several words could be it, another one tells.
            let Some(run) = run.filter(|run| !run.asks_what_is_held) else {
                is_open = true;
                continue;
            };
            let is_returned = |layout: &&Layout| {
                let word = run.saw.words.get(&(self.address, layout.key(account)));
                word.is_some() && word == run.word.as_ref()
            };
            let is_nothing = run.word.is_some_and(|word| word.is_zero());
            // That nothing is returned of nothing says little where another one's word is not.
            let mut found = layouts.iter().filter(|_| !(is_nothing && is_denied)).filter(is_returned);
            match (found.next(), found.next()) {
                (Some(layout), None) => {
                    tracing::info!(token = %self.address, "its balances are proven: they are at {layout}");
                    let mut place = Place::new(*layout);
                    place.note(self.address, account, &run.saw);
                    self.slots.note(self.address, Known::Found(place.clone()));
                    return Ok(Search::Found(place));
                }
                (Some(_), Some(_)) => is_open = true,
                (None, _) => is_denied = true,
            }
        }
        if !is_open {
            let block = self.at.block.height.0;
            tracing::info!(token = %self.address, block, "its balances are read and not proven: no slot holds them");
            self.slots.note(self.address, Known::NotFound { at: self.at.block.height });
        }
        Ok(Search::Nothing)
    }

    /// `balanceOf`, by a call for each account; `None` where it fails.
    async fn read_again(&self, accounts: Vec<Address>) -> Result<Vec<Option<Amount>>, NodeError> {
        let read = reader::one_by_one(self.node, self.at.block, &accounts, &[self.address]).await?;
        let last = |mut row: Vec<reader::Balance>| row.pop().and_then(Result::ok);
        Ok(read.map_or_else(|_| vec![None; accounts.len()], |rows| rows.into_iter().map(last).collect()))
    }

    /// The words at these accounts' keys.
    async fn words(&self, layout: Layout, held: &[Held]) -> Result<Storage, NodeError> {
        let keys: Vec<B256> = held.iter().map(|held| layout.key(held.account)).collect();
        let parts: Vec<Vec<B256>> = keys.chunks(KEYS).map(<[B256]>::to_vec).collect();
        let mut answers = futures_util::stream::iter(parts).map(async |keys| self.ask(&keys).await).buffered(AT_ONCE);
        let (mut words, mut of) = (Vec::with_capacity(keys.len()), None);
        while let Some(storage) = answers.try_next().await? {
            match storage {
                Storage::Words(some, contract) => {
                    words.extend(some);
                    of = Some(contract);
                }
                none => return Ok(none),
            }
        }
        Ok(of.map_or(Storage::NoProof, |contract| Storage::Words(words, contract)))
    }

    /// What was verified, with a proof of each word by itself where that is wanted.
    fn shown(&self, proof: AccountProof, keys: &[B256], words: Option<Vec<U256>>) -> Storage {
        let Some(words) = words else { return Storage::NoCode(self.keep.then(|| kept::of_account(&proof))) };
        let slots = keys.iter().zip(proof.storage_proof.iter().flatten());
        let mut proofs =
            slots.map(|(key, slot)| kept::of_slot(&proof, *key, slot)).take(if self.keep { keys.len() } else { 0 });
        let words = words.into_iter().map(|value| Word { value, proof: proofs.next() }).collect();
        Storage::Words(words, Box::new(AccountProof { account_proof: Vec::new(), storage_proof: None, ..proof }))
    }

    /// One question, with its answer verified against the state root.
    async fn ask(&self, keys: &[B256]) -> Result<Storage, NodeError> {
        self.ask_of(self.address, keys).await
    }

    async fn ask_of(&self, contract: Address, keys: &[B256]) -> Result<Storage, NodeError> {
        Ok(match proofs::prove_contract(self.node, self.at, contract, keys).await? {
            Some(Ok((proof, words))) => self.shown(proof, keys, words),
            Some(Err(_)) => {
                self.is_withheld.store(true, Ordering::Relaxed);
                Storage::NoProof
            }
            None => Storage::NoProof,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_slot_was_not_found_is_forgotten_and_says_nothing_of_blocks_below() {
        let (slots, token) = (Slots::default(), Address::repeat_byte(1));
        assert_eq!(slots.of(token, Height(5)), None);
        let missed = Known::NotFound { at: Height(100) };
        slots.note(token, missed.clone());
        let known = [99, 100, 100 + PAUSE - 1, 100 + PAUSE].map(|height| slots.of(token, Height(height)));
        assert_eq!(known, [None, Some(missed.clone()), Some(missed.clone()), None]);
        let found = Known::Found(Place::new(Layout::Solidity(U256::from(4))));
        slots.note(token, found.clone());
        assert!([1, 100, 1_000].iter().all(|height| slots.of(token, Height(*height)) == Some(found.clone())));
        assert_eq!(slots.of(Address::repeat_byte(2), Height(100)), None);
    }
}
