//! Where state is not what our sums say: what was asked once is asked again, and what state proves counts.

use std::collections::{HashMap, HashSet};

use assay_store::{Applier, Coverage, StoreError, known};
use assay_types::{Account, AccountNo, Amount, Asset, Block, Fault, Header, NodeError, Pair, Reading, Reads, Watch};

use crate::breaks::Break;
use crate::indexer::Done;
use crate::patience::patiently;
use crate::residual::Held;
use crate::{IndexError, Indexer};

impl Indexer<'_> {
    /// Where state read at this block is not what our sums say, it is read again, proven where it can be, here and at the
    /// parent: if it already differed there, an earlier answer was wrong, and the difference does not belong to this block.
    pub(crate) fn ask_state(
        &self,
        block: &mut Block,
        parent: Option<&Header>,
        watch: &Watch,
        applier: &mut Applier<'_>,
    ) -> Result<(), Break> {
        let (false, Some(parent)) = (block.opening, parent) else { return Ok(()) };
        let parted = applier.parted(block)?;
        let surprised: Vec<Pair> = known(&parted).collect();
        if surprised.is_empty() {
            return Ok(self.hold_back_vanished(block, &parted, parent)?);
        }
        let pairs = self.with_bytes(&surprised)?;
        let of: HashMap<Pair, usize> = block.readings.iter().map(Reading::pair).zip(0..).collect();
        for again in self.read_again(&block.header, &pairs)? {
            let Some(first) = of.get(&again.pair()).map(|place| &mut block.readings[*place]) else { continue };
            if again.proven {
                *first = again;
            } else if again.balance != first.balance {
                *first = self.read_a_third_time(&block.header, first, again)?;
            }
        }
        self.hold_back_vanished(block, &parted, parent)?;
        // What was proven at the parent itself as that was applied needs no second proof, and may have none any more.
        let mut doubtful = Vec::with_capacity(pairs.len());
        for pair in pairs {
            if self.store.noted_coverage(pair.0, pair.2, parent.height)? != Coverage::Verified {
                doubtful.push(pair);
            }
        }
        if self.settings.turns.are_few(watch) {
            if let Some(why) = self.first_disagreement(parent, &doubtful)? {
                return Err(Break::Doubt(surprised, Box::new(why)));
            }
        } else if self.explain_parted(parent, &doubtful)? {
            return Err(Break::Corrected);
        }
        self.explain_again(block, watch)?;
        self.drop_denied(block, parent)
    }

    /// That an account has nothing left, which nothing shows, is not known of a node that proves others there, and not that: some prove nothing of who is
    /// not there, but this one was. So it is with a token of which that was proven. What is unknown for that stays so until somebody proves it.
    fn hold_back_vanished(
        &self,
        block: &mut Block,
        parted: &[(Pair, Coverage)],
        parent: &Header,
    ) -> Result<(), IndexError> {
        let mut vanished = HashSet::new();
        for (pair, before) in parted {
            let (account, asset) = *pair;
            let is_verified =
                || Ok::<_, IndexError>(self.store.noted_coverage(account, asset, parent.height)? == Coverage::Verified);
            if asset == Asset::Native || matches!(before, Coverage::Unknown(_)) || is_verified()? {
                vanished.insert(*pair);
            }
        }
        let is_nothing = |one: &&Reading| !one.proven && one.balance == Ok(Amount::ZERO);
        let nothing: HashSet<Pair> = block.readings.iter().filter(is_nothing).map(Reading::pair).collect();
        vanished.retain(|pair| nothing.contains(pair));
        if vanished.is_empty() || !patiently(&self.stop, || self.chain.proves(&block.header))? {
            return Ok(());
        }
        let (node, height, kind) = (self.node(), block.header.height, Fault::Omitted);
        for one in block.readings.iter_mut().filter(|one| vanished.contains(&one.pair())) {
            let account = self.store.account(one.account)?;
            let why = format!(
                "{node}: it does not prove that {account} has nothing left at block {height}, and proves others there {kind}"
            );
            tracing::warn!(kind = kind.as_str(), "{why}");
            one.balance = Err(why);
        }
        Ok(())
    }

    /// Where state is right and the movements of the native coin do not lead to it, they are asked for again: nothing
    /// commits to a trace, and one that was wrong the first time explains nothing.
    fn explain_again(&self, block: &mut Block, watch: &Watch) -> Result<(), Break> {
        let unexplained = |block: &Block| -> Result<usize, StoreError> {
            Ok(self.store.surprises(block)?.iter().filter(|(_, asset)| *asset == Asset::Native).count())
        };
        let before = unexplained(block)?;
        if before == 0 {
            return Ok(());
        }
        let again = patiently(&self.stop, || self.chain.block(block.header.at(), watch, &Reads::MOVED))?;
        if again.effects != block.effects {
            let (readings, sealed, remarks) = (block.readings.clone(), block.sealed.clone(), block.remarks.clone());
            let again = Block { readings, sealed, remarks, ..again };
            if unexplained(&again)? < before {
                tracing::warn!(height = block.header.height.0, "the node explains this block in another way now");
                *block = again;
            }
        }
        Ok(())
    }

    /// What nothing proves counts when two of three answers agree, and is unknown otherwise.
    fn read_a_third_time(&self, at: &Header, first: &Reading, second: Reading) -> Result<Reading, IndexError> {
        let pairs = self.with_bytes(&[first.pair()])?;
        let third = self.read_again(at, &pairs)?.into_iter().next();
        let units = |reading: &Reading| reading.balance.as_ref().map_or_else(String::clone, ToString::to_string);
        let said = [Some(first), Some(&second), third.as_ref()].into_iter().flatten().map(units).collect::<Vec<_>>();
        let (height, node, account) = (at.height.0, self.node(), &pairs[0].1);
        tracing::warn!(height, node, "of {account} the node does not say the same twice: {}", said.join(", then "));
        let agreed = third.filter(|third| third.balance == first.balance || third.balance == second.balance);
        let differs = || Reading { balance: Err("the node says something else each time".into()), ..second };
        Ok(agreed.unwrap_or_else(differs))
    }

    /// The first of these balances of which the store knows something else than state says at this block.
    fn first_disagreement(
        &self,
        at: &Header,
        pairs: &[(AccountNo, Account, Asset)],
    ) -> Result<Option<NodeError>, IndexError> {
        for Reading { account, asset, balance, proven, .. } in self.read_again(at, pairs)? {
            let Ok(amount) = balance else { continue };
            let ours = self.store.balance(account, asset, at.height)?;
            let is_known = !matches!(self.store.noted_coverage(account, asset, at.height)?, Coverage::Unknown(_));
            if is_known && ours != amount && (proven || asset != Asset::Native) {
                let wrong = self.wrong_answer(at, (account, asset), ours, Held { amount, proven })?;
                if wrong.is_some() {
                    return Ok(wrong);
                }
            }
        }
        Ok(None)
    }

    /// An answer up to this block was wrong: what the sums were then is not what state says of it. Unless a token tells two ways to ask apart (who asks,
    /// or with how much gas): then no answer need be.
    pub(crate) fn wrong_answer(
        &self,
        at: &Header,
        (account, asset): Pair,
        ours: Amount,
        state: Held,
    ) -> Result<Option<NodeError>, IndexError> {
        if !state.proven && self.are_told_apart(at, (account, asset), state.amount)? {
            return Ok(None);
        }
        let (node, subject) = (self.giver(at.height), format!("an answer up to block {}", at.height));
        let how = if state.proven { "by proof" } else { "now" };
        let why = format!("{}: {ours} units by its answers then, {} {how}", self.store.account(account)?, state.amount);
        Ok(Some(NodeError::Contradiction { node, subject, against: "state".into(), why, fault: Fault::Forged }))
    }

    /// Does the node say of this balance something else than this to who asks in the way in which it was asked at first, and the same each time?
    fn are_told_apart(&self, at: &Header, pair: Pair, otherwise: Amount) -> Result<bool, IndexError> {
        let Asset::Token(token) = pair.1 else { return Ok(false) };
        let this = self.with_bytes(&[pair])?;
        let mut said = Vec::new();
        for _ in 0..2 {
            match patiently(&self.stop, || self.chain.balances(at, &this)) {
                Err(NodeError::Missing { .. }) => return Ok(false),
                answer => said.extend(answer?.into_iter().next().and_then(|one| one.balance.ok())),
            }
        }
        let are_told = matches!(said[..], [one, again] if one == again && one != otherwise);
        if are_told {
            let (height, account, token) = (at.height.0, &this[0].1, Account::new(&token));
            tracing::warn!(height, %account, %token, "a token answers two ways to ask differently");
        }
        Ok(are_told)
    }

    /// Takes blocks back until state agrees with these balances, or undo ends.
    pub(crate) fn back_to_agreement(&self, pairs: &[Pair], done: &mut Done) -> Result<(), IndexError> {
        let (pairs, removed) = (self.with_bytes(pairs)?, done.removed);
        while let Some(last) = self.store.tip()? {
            if self.first_disagreement(&last, &pairs)?.is_none() {
                break;
            }
            match self.remove(last.height) {
                Err(StoreError::UndoGone(_)) => break,
                removed => removed?,
            }
            done.removed += 1;
        }
        if done.removed > removed {
            self.store.note_amended()?; // the same blocks come again
        }
        Ok(())
    }
}
