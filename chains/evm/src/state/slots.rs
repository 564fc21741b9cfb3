//! Balances of tokens, proven: the slot of a token's storage that holds an account's balance, against the state root.
//!
//! A slot is found by trying where compilers put it, and is believed only while it agrees with `balanceOf`, at every block
//! anew, beside an account that holds something: a proof upgrades a balance that was read, and never replaces one by
//! something that the token does not say. What it proves is the token's storage; that `balanceOf` returns it is what the token's code
//! says, which is run here, and as long as everything is proven to be the same that it looked at beside. A token whose balance is no such slot
//! (rebasing ones), or whose code asks for more than can be proven (the time), stays as it was read; of a few of its balances the code is run as well.
//!
//! What is remembered of a token saves questions and decides nothing that the block itself would not: blocks are read in
//! any order, by several threads. The one exception is a token that takes up a slot while it is left alone ([`PAUSE`]).

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};

use alloy::primitives::{Address, B256, KECCAK256_EMPTY, U256};
use alloy_trie::EMPTY_ROOT_HASH;
use assay_types::{Amount, BlockRef, Fault, Height, NodeError, Proof};
use futures_util::{StreamExt, TryStreamExt};
use parking_lot::{Mutex, MutexGuard};

use crate::diagnose::elsewhere::{self, STRANGER};
use crate::node::{Node, Refusal};
use crate::state::run::{Grounds, KEYS, Run, Stage, balance_of};
use crate::state::slots::layout::Layout;
use crate::state::{self, Shown, kept, reader};
use crate::verify::AccountProof;

pub(crate) mod layout;
mod place;

use place::Place;

/// Questions for storage at a time, for one token.
const AT_ONCE: usize = 4;
/// How many accounts that hold something must agree with a slot.
const HOLDERS: usize = 6;
/// Of so many of them the token's code must say so too.
const RUN: usize = 2;
/// So few accounts may hold something else than their slot says: a stopped one, of tokens that keep that in the same word.
const EXCEPTIONS: usize = 8;
/// Where no slot is known, of the largest balance the code is run and of so many others that nobody can foretell; of a token of which the node lied,
/// and where it gives no balance, of so many.
const SAMPLED: usize = 2;
const SUSPECTED: usize = 64;
/// For how many blocks a token is left alone whose slot was not found: an hour, on Ethereum.
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

    /// Is a balance of this token known to be a word of its storage, which nothing but its own code changes?
    pub(crate) fn is_found(&self, token: Address) -> bool {
        matches!(self.known().get(&token), Some(Known::Found(_)))
    }

    /// Words of so many bits were returned as they are, where this was so.
    fn raise(&self, token: Address, now: &Grounds, bits: usize) {
        if let Some(Known::Found(place)) = self.known().get_mut(&token)
            && let Some(plain_bits) = place.stands(now)
        {
            *plain_bits = bits.max(*plain_bits);
        }
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
    /// Is it to be proven? Others only help to recognise the slot.
    pub(crate) prove: bool,
}

/// One token at one block of one node.
pub(crate) struct Token<'a> {
    pub(crate) node: &'a Node,
    pub(crate) slots: &'a Slots,
    pub(crate) at: BlockRef,
    pub(crate) state_root: B256,
    /// Is what proves its balances wanted as well?
    pub(crate) keep: bool,
    pub(crate) address: Address,
    /// Is it told when the node gives no proof of it?
    pub(crate) is_withheld: &'a AtomicBool,
}

/// What a node proves of a contract's storage.
enum Storage {
    /// Nothing: it gives no proof.
    NoProof,
    /// That there is no contract; with what proves that, where it is wanted.
    NoCode(Option<Proof>),
    /// The words at the keys that were asked for, and the hash of the code.
    Words(Vec<Word>, B256),
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
        let nothing = HashMap::new();
        if self.state_root == EMPTY_ROOT_HASH || !held.iter().any(|held| held.prove) {
            return Ok(nothing);
        }
        let holders = largest(held);
        let mut place = match self.search(&holders).await? {
            Search::Nothing => return self.sample(held).await,
            Search::NoCode(proof) => return Ok(self.none_held(held, &proof).await),
            Search::Found(place) => place,
        };
        let layout = place.layout;
        let beside: HashSet<Address> = holders.iter().map(|holder| holder.account).collect();
        let asked: Vec<Held> =
            held.iter().filter(|held| held.prove || beside.contains(&held.account)).copied().collect();
        let (words, grounds) = tokio::try_join!(self.words(layout, &asked), self.grounds(&place))?;
        let (words, code) = match words {
            Storage::NoProof => return Ok(nothing),
            Storage::NoCode(proof) => return Ok(self.none_held(held, &proof).await),
            Storage::Words(words, code) => (words, code),
        };
        let Some(mut grounds) = grounds else { return Ok(nothing) };
        grounds.codes.insert(self.address, code);
        let plain_bits = match place.stands(&grounds) {
            Some(bits) => Some(*bits),
            None => self.stands_anew(place, &holders).await?,
        };
        let Some(plain_bits) = plain_bits else { return self.sample(held).await };
        let Some((others, plain_bits)) = self.compare(layout, plain_bits, &asked, &words).await? else {
            return self.sample(held).await;
        };
        self.slots.raise(self.address, &grounds, plain_bits);
        let proven = asked.iter().zip(words).filter(|(held, _)| held.prove);
        let shown = |account: &Address, Word { value, proof }| match others.get(account) {
            Some(amount) => Shown { amount: *amount, proof: None },
            None => Shown { amount: Amount(value), proof },
        };
        Ok(proven.map(|(held, word)| (held.account, shown(&held.account, word))).collect())
    }

    /// Of a token whose slots are not known, a few balances are held against what its code returns. Those where one call of the node was wrong and
    /// another was not are told.
    async fn sample(&self, held: &[Held]) -> Result<HashMap<Address, Shown>, NodeError> {
        let mut told = HashMap::new();
        if !self.node.proofs.is_there() {
            return Ok(told);
        }
        let mut wanted: Vec<&Held> = held.iter().filter(|held| held.prove).collect();
        let chance = RandomState::new();
        wanted.sort_by_cached_key(|held| chance.hash_one(held.account));
        let mut count = if self.node.has_lied_of(self.address) { SUSPECTED } else { SAMPLED };
        // Who makes up coins makes up many.
        let largest = (0..wanted.len()).max_by_key(|place| wanted[*place].balance);
        if let Some(largest) = largest.filter(|place| wanted[*place].balance != Amount::ZERO) {
            wanted[..=largest].rotate_right(1);
            count += 1;
        }
        for Held { account, balance, .. } in wanted.into_iter().take(count) {
            let Some(returned) = self.run(*account).await?.filter(|returned| returned != balance) else { continue };
            let again = self.read_again(vec![*account]).await?.pop().flatten();
            if again.is_some_and(|again| again != returned) {
                return Err(self.lie(*account, *balance, returned).await);
            }
            self.warn_of(1).await;
            told.insert(*account, Shown { amount: returned, proof: None });
        }
        Ok(told)
    }

    /// The balances of these accounts, of whom the node gives none, as far as the token's code gives one.
    pub(crate) async fn rescue(&self, failed: &[Address]) -> Result<HashMap<Address, Shown>, NodeError> {
        let mut told = HashMap::new();
        if self.state_root == EMPTY_ROOT_HASH || !self.node.proofs.is_there() {
            return Ok(told);
        }
        for account in failed.iter().take(SUSPECTED) {
            let Some(amount) = self.run(*account).await? else { break };
            told.insert(*account, Shown { amount, proof: None });
        }
        if !told.is_empty() {
            self.node.note_lie_of(self.address);
            let subject = format!("balanceOf of token {} at block {}", self.address, self.at.height);
            let why = format!("it gives {} accounts no amount, and run on proven storage its code does", failed.len());
            let fault = match elsewhere::of_call(self.node, self.at).await {
                Fault::Forged => Fault::Omitted,
                fault => fault,
            };
            self.node.doubt(self.node.contradiction(&subject, "the token's code", fault, why));
        }
        Ok(told)
    }

    /// What the token's code returns, if that follows from what is proven.
    async fn run(&self, account: Address) -> Result<Option<Amount>, NodeError> {
        Ok(self.run_through(&[account]).await?.pop().flatten().and_then(|run| run.word).map(Amount))
    }

    async fn run_through(&self, accounts: &[Address]) -> Result<Vec<Option<Run>>, NodeError> {
        let calls: Vec<_> = accounts.iter().map(|account| balance_of(*account)).collect();
        Stage::new(self.node, self.at, self.state_root, None).run(self.address, &calls).await
    }

    /// What the slot rests on at this block, beside the token's own code where nothing else of it is asked for. `None` where it is not proven.
    async fn grounds(&self, place: &Place) -> Result<Option<Grounds>, NodeError> {
        let mut now = Grounds::default();
        for (contract, keys) in place.rests_on() {
            if contract == self.address && keys.is_empty() {
                continue;
            }
            let keys: Vec<B256> = keys.into_iter().collect();
            let (words, code) = match self.ask_of(contract, &keys).await? {
                Storage::NoProof => return Ok(None),
                Storage::NoCode(_) => (Vec::new(), KECCAK256_EMPTY),
                Storage::Words(words, code) => (words, code),
            };
            now.codes.insert(contract, code);
            now.words.extend(keys.into_iter().zip(words).map(|(key, word)| ((contract, key), word.value)));
        }
        Ok(Some(now))
    }

    /// It rests on something else now: is it the slot all the same? Gives the length of the longest word that was returned as it is.
    async fn stands_anew(&self, mut place: Place, holders: &[Held]) -> Result<Option<usize>, NodeError> {
        let Some(fits) = self.fits(place.layout, holders).await? else {
            tracing::warn!(
                token = %self.address,
                block = self.at.height.0,
                "what its code rests on has changed, and it does not return what {} holds: the slot is dropped, balances are read and not proven",
                place.layout
            );
            self.slots.note(self.address, Known::NotFound { at: self.at.height });
            return Ok(None);
        };
        let bits = fits.1;
        place.note(fits);
        self.slots.note(self.address, Known::Found(place));
        Ok(Some(bits))
    }

    async fn lie(&self, account: Address, said: Amount, returned: Amount) -> NodeError {
        let subject = format!("the balance of {account} in token {} at block {}", self.address, self.at.height);
        let why = format!("balanceOf says {said}, and run on proven storage its code returns {returned}");
        self.node.note_lie_of(self.address);
        self.node.contradiction(&subject, "the token's code", elsewhere::of_call(self.node, self.at).await, why)
    }

    /// A contract that is not there holds nothing for anyone.
    async fn none_held(&self, held: &[Held], proof: &Option<Proof>) -> HashMap<Address, Shown> {
        let wanted = || held.iter().filter(|held| held.prove);
        let made_up = wanted().filter(|held| held.balance != Amount::ZERO).count();
        if made_up > 0 {
            self.warn_of(made_up).await;
        }
        let nothing = || Shown { amount: Amount::ZERO, proof: proof.clone() };
        wanted().map(|held| (held.account, nothing())).collect()
    }

    async fn warn_of(&self, balances: usize) {
        let subject = format!("{balances} balances of token {} at block {}", self.address, self.at.height);
        let why = "what was read is not what counts";
        let fault = elsewhere::of_call(self.node, self.at).await;
        self.node.doubt(self.node.contradiction(&subject, "their proofs", fault, why));
    }

    /// Where the token keeps its balances, from memory or by trying. Without a holder any empty slot would do: then only
    /// that there is no contract can be proven.
    async fn search(&self, holders: &[Held]) -> Result<Search, NodeError> {
        if holders.is_empty() {
            return Ok(match self.ask(&[]).await? {
                Storage::NoCode(proof) => Search::NoCode(proof),
                Storage::NoProof | Storage::Words(..) => Search::Nothing,
            });
        }
        match self.slots.of(self.address, self.at.height) {
            Some(Known::Found(place)) => Ok(Search::Found(place)),
            Some(Known::NotFound { .. }) => Ok(Search::Nothing),
            None => self.try_all(holders).await,
        }
    }

    /// Looks for the slot, twice before it counts as not found: that lasts for hundreds of blocks, and wrong answers for a
    /// moment must not bring it about.
    async fn try_all(&self, holders: &[Held]) -> Result<Search, NodeError> {
        for _ in 0..2 {
            if let Some(search) = self.try_once(holders).await? {
                return Ok(search);
            }
        }
        let block = self.at.height.0;
        tracing::info!(token = %self.address, block, "its balances are read and not proven: no slot holds them");
        self.slots.note(self.address, Known::NotFound { at: self.at.height });
        Ok(Search::Nothing)
    }

    /// Tries every layout on the largest holder, and what fits it on the others. They are read again, by calls of their
    /// own, so that one wrong answer hides no slot. `None`: no layout fits.
    async fn try_once(&self, holders: &[Held]) -> Result<Option<Search>, NodeError> {
        let again = self.read_again(holders.iter().map(|holder| holder.account).collect()).await?;
        let again = holders.iter().zip(again).filter_map(|(holder, read)| Some(Held { balance: read?, ..*holder }));
        let (before, holders) = (holders, largest(&again.collect::<Vec<_>>()));
        let Some(first) = holders.first() else { return Ok(Some(Search::Nothing)) };
        let found = self.try_on(&holders).await?;
        if found.is_some() {
            return Ok(found);
        }
        // A balance that is made up, by either call, hides the slot of all others.
        let said = |amount: Amount| before.iter().any(|held| (held.account, held.balance) == (first.account, amount));
        match self.run(first.account).await? {
            Some(returned) if returned == first.balance => Ok(None),
            // What was read first stands.
            Some(returned) if said(returned) => {
                self.warn_of(1).await;
                self.try_on(before).await
            }
            Some(returned) => Err(self.lie(first.account, first.balance, returned).await),
            None => Ok(None),
        }
    }

    /// Tries every layout on the first of these, and what fits it on the others. `None`: no layout fits.
    async fn try_on(&self, holders: &[Held]) -> Result<Option<Search>, NodeError> {
        let Some(first) = holders.first() else { return Ok(Some(Search::Nothing)) };
        let layouts = Layout::all();
        let keys: Vec<B256> = layouts.iter().map(|layout| layout.key(first.account)).collect();
        let words = match self.ask(&keys).await? {
            Storage::NoProof => return Ok(Some(Search::Nothing)),
            Storage::NoCode(proof) => return Ok(Some(Search::NoCode(proof))),
            Storage::Words(words, _) => words,
        };
        for (layout, _) in layouts.into_iter().zip(words).filter(|(_, word)| word.value == first.balance.0) {
            if let Some(fits) = self.fits(layout, holders).await? {
                tracing::info!(token = %self.address, "its balances are proven: they are at {layout}");
                let mut place = Place::new(layout);
                place.note(fits);
                self.slots.note(self.address, Known::Found(place.clone()));
                return Ok(Some(Search::Found(place)));
            }
        }
        Ok(None)
    }

    /// Of the largest holders the token's code must say so, and of one who is nobody: else whoever chooses what `balanceOf` says would choose the slot.
    /// Beside each one's own word it must have looked at the same; that is what it rests on, and is given with the length of the longest word that was
    /// returned as it is. Where another one's balance is not its word, the code
    /// decides whether that is not its slot, or not its balance.
    async fn fits(&self, layout: Layout, holders: &[Held]) -> Result<Option<(Grounds, usize)>, NodeError> {
        let Storage::Words(words, _) = self.words(layout, holders).await? else { return Ok(None) };
        let differs = |(word, holder): &(&Word, &Held)| word.value != holder.balance.0;
        let asked = words.iter().zip(holders).enumerate().filter(|(nth, pair)| *nth < RUN || differs(pair));
        let (asked, mut bits): (Vec<_>, usize) = (asked.map(|(_, pair)| pair).collect(), 0);
        // Of nobody a token's code looks at what it looks at for all.
        let whom: Vec<Address> = std::iter::once(STRANGER).chain(asked.iter().map(|pair| pair.1.account)).collect();
        let mut runs = self.run_through(&whom).await?.into_iter();
        let own = |run: Run, account: Address| {
            let mut grounds = (!run.asks_what_is_held).then_some(run.saw)?;
            let word = grounds.words.remove(&(self.address, layout.key(account)))?;
            (run.word == Some(word)).then_some(grounds)
        };
        let Some(grounds) = runs.next().flatten().and_then(|run| own(run, STRANGER)) else { return Ok(None) };
        for ((word, holder), run) in asked.iter().zip(runs) {
            let Some(run) = run else { return Ok(None) };
            let Some(returned) = run.word.filter(|returned| *returned == word.value) else { return Ok(None) };
            if differs(&(word, holder)) {
                return Err(self.lie(holder.account, holder.balance, Amount(returned)).await);
            }
            match own(run, holder.account) {
                Some(rests_on) if rests_on == grounds => bits = bits.max(word.value.bit_len()),
                _ => return Ok(None),
            }
        }
        Ok(Some((grounds, bits)))
    }

    /// Is every slot what was read? Where one is not, the account is read again, the first of them by itself. If its slot is still something else,
    /// the token's code decides: the node lies; or the slot is not the balance of this account, whose own is given; or, where that is so of most,
    /// of none any more, and it is dropped. Also gives how long words are that are returned as they are.
    async fn compare(
        &self,
        layout: Layout,
        mut plain_bits: usize,
        asked: &[Held],
        words: &[Word],
    ) -> Result<Option<(HashMap<Address, Amount>, usize)>, NodeError> {
        let pairs = asked.iter().zip(words).map(|(held, word)| (held.account, held.balance, Amount(word.value)));
        let differing: Vec<_> = pairs.filter(|(_, read, word)| read != word).collect();
        let mut others = HashMap::new();
        let is_high = |(held, word): &(&Held, &Word)| word.value.bit_len() > plain_bits && held.balance.0 == word.value;
        let mut high: Vec<_> = asked.iter().zip(words).filter(is_high).collect();
        // What is returned as it is of the longest is of all.
        high.sort_by_key(|(_, word)| std::cmp::Reverse(word.value));
        for (held, word) in high {
            if word.value.bit_len() <= plain_bits {
                break;
            }
            match self.run(held.account).await? {
                Some(returned) if returned.0 == word.value => plain_bits = word.value.bit_len(),
                Some(returned) => return Err(self.lie(held.account, held.balance, returned).await),
                None => return Ok(None),
            }
        }
        let Some((first, rest)) = differing.split_first() else { return Ok(Some((others, plain_bits))) };
        let may_be_exceptions = differing.len() <= EXCEPTIONS && 2 * differing.len() < asked.len();
        for some in [std::slice::from_ref(first), rest] {
            let again = self.read_again(some.iter().map(|(account, ..)| *account).collect()).await?;
            for ((account, read, word), again) in some.iter().zip(again) {
                if again == Some(*word) {
                    continue;
                }
                match (self.run(*account).await?, again) {
                    (Some(returned), Some(again)) if returned != again => {
                        return Err(self.lie(*account, again, returned).await);
                    }
                    (Some(returned), _) if returned == *word => {}
                    (Some(returned), Some(_)) if may_be_exceptions => _ = others.insert(*account, returned),
                    _ => {
                        tracing::warn!(
                            node = self.node.name,
                            block = self.at.height.0,
                            token = %self.address,
                            %account,
                            "balanceOf says {read}, {layout} holds {word}: the slot is dropped, balances are read and not proven"
                        );
                        self.slots.note(self.address, Known::NotFound { at: self.at.height });
                        return Ok(None);
                    }
                }
            }
        }
        let odd = differing.len() - others.len();
        if odd > 0 {
            match self.run(first.0).await? {
                Some(_) => self.warn_of(odd).await,
                None => tracing::warn!(
                    node = self.node.name,
                    block = self.at.height.0,
                    token = %self.address,
                    "{odd} balances are others to the balance reader than to a call of its own, as slots have them, which count: its code may ask who calls"
                ),
            }
        }
        Ok(Some((others, plain_bits)))
    }

    /// `balanceOf`, by a call for each account; `None` where it fails.
    async fn read_again(&self, accounts: Vec<Address>) -> Result<Vec<Option<Amount>>, NodeError> {
        let read = reader::one_by_one(self.node, self.at, &accounts, &[self.address]).await?;
        let last = |mut row: Vec<reader::Balance>| row.pop().and_then(Result::ok);
        Ok(read.map_or_else(|_| vec![None; accounts.len()], |rows| rows.into_iter().map(last).collect()))
    }

    /// The words at these accounts' keys.
    async fn words(&self, layout: Layout, held: &[Held]) -> Result<Storage, NodeError> {
        let keys: Vec<B256> = held.iter().map(|held| layout.key(held.account)).collect();
        let parts: Vec<Vec<B256>> = keys.chunks(KEYS).map(<[B256]>::to_vec).collect();
        let mut answers = futures_util::stream::iter(parts).map(async |keys| self.ask(&keys).await).buffered(AT_ONCE);
        let (mut words, mut code) = (Vec::with_capacity(keys.len()), B256::ZERO);
        while let Some(storage) = answers.try_next().await? {
            match storage {
                Storage::Words(some, hash) => {
                    words.extend(some);
                    code = hash;
                }
                none => return Ok(none),
            }
        }
        Ok(Storage::Words(words, code))
    }

    /// What was verified, with a proof of each word by itself where that is wanted.
    fn shown(&self, proof: &AccountProof, keys: &[B256], words: Option<Vec<U256>>) -> Storage {
        let Some(words) = words else { return Storage::NoCode(self.keep.then(|| kept::of_account(proof))) };
        let slots = keys.iter().zip(proof.storage_proof.iter().flatten());
        let mut proofs =
            slots.map(|(key, slot)| kept::of_slot(proof, *key, slot)).take(if self.keep { keys.len() } else { 0 });
        let words = words.into_iter().map(|value| Word { value, proof: proofs.next() }).collect();
        Storage::Words(words, proof.code_hash)
    }

    /// One question, with its answer verified against the state root.
    async fn ask(&self, keys: &[B256]) -> Result<Storage, NodeError> {
        self.ask_of(self.address, keys).await
    }

    async fn ask_of(&self, contract: Address, keys: &[B256]) -> Result<Storage, NodeError> {
        if !self.node.proofs.is_there() {
            return Ok(Storage::NoProof);
        }
        let refusal = match state::prove(self.node, (self.at, self.state_root), contract, keys).await? {
            Ok((proof, words)) => return Ok(self.shown(&proof, keys, words)),
            Err(refusal) => refusal,
        };
        let subject = format!("the proof of token {contract} at block {}", self.at.height);
        if let Refusal::NoMethod(why) = refusal {
            return self.node.proofs.refuse(self.node, &subject, &why).map(|()| Storage::NoProof);
        }
        let why = refusal.in_words()?;
        tracing::debug!(node = self.node.name, "no proof: {subject}: {why}");
        self.is_withheld.store(true, Ordering::Relaxed);
        Ok(Storage::NoProof)
    }
}

/// Those that hold the most: the less likely is it that something else has the same value.
fn largest(held: &[Held]) -> Vec<Held> {
    let mut holders: Vec<Held> = held.iter().filter(|held| held.balance != Amount::ZERO).copied().collect();
    holders.sort_unstable_by_key(|held| (std::cmp::Reverse(held.balance), held.account));
    holders.truncate(HOLDERS);
    holders
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

    #[test]
    fn the_largest_holders_are_asked_first_and_who_holds_nothing_never() {
        let held = |account: u8, balance: u64| Held {
            account: Address::repeat_byte(account),
            balance: balance.into(),
            prove: true,
        };
        let all: Vec<Held> =
            [(1, 0), (2, 5), (3, 9), (4, 5), (5, 1), (6, 2), (7, 3), (8, 4)].map(|(a, b)| held(a, b)).into();
        let expected = [(3, 9), (2, 5), (4, 5), (8, 4), (7, 3), (6, 2)].map(|(a, b)| held(a, b));
        assert_eq!(largest(&all), expected);
        assert!(largest(&all[..1]).is_empty());
    }
}
