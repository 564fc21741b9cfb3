//! Where the chain stands by what enough nodes say, and how each of them stands to that.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use assay_types::{BlockHash, BlockRef, Chain, Fault, Height, NodeError, Standing, Tip};

use super::Quorum;
use super::agree::most;
use super::ask::{Answers, LONG_EACH, Seat};

/// A node may have so many blocks less than another while they travel.
const ON_THEIR_WAY: u64 = 1;
/// For how long a node that gave an answer which could not be used is said to have done so, and asked after the others: one that is proven wrong,
/// and one that may have been late.
const LIE_LASTS: Duration = Duration::from_secs(600);
const FAULT_LASTS: Duration = Duration::from_secs(60);

/// How the nodes stood when they were last looked at.
pub(super) struct Stands {
    each: Vec<Standing>,
    /// When each was last heard of where the chain stands.
    heard: Vec<Option<Instant>>,
    /// What was wrong with an answer of each beside that, and when.
    faults: Vec<Option<(NodeError, Instant)>>,
    pub(super) disagreement: Option<NodeError>,
}

impl Stands {
    pub(super) fn of(seats: &[Seat]) -> Stands {
        let standing =
            |seat: &Seat| Standing { node: seat.name.clone(), head: None, state: Standing::AGREES, why: None };
        let (each, heard, faults) =
            (seats.iter().map(standing).collect(), vec![None; seats.len()], vec![None; seats.len()]);
        Stands { each, heard, faults, disagreement: None }
    }

    /// Who is slow, and was heard a moment ago, stands as then.
    fn was_heard(&self, place: usize) -> bool {
        self.heard[place].is_some_and(|at| at.elapsed() < 3 * LONG_EACH)
    }

    fn fault(&self, place: usize) -> Option<&NodeError> {
        let lasts = |error: &NodeError| match error {
            NodeError::Contradiction { .. } => LIE_LASTS,
            _ => FAULT_LASTS,
        };
        self.faults[place].as_ref().filter(|(error, at)| at.elapsed() < lasts(error)).map(|(error, _)| error)
    }

    /// Its last block when it was last looked at.
    pub(super) fn head(&self, place: usize) -> Option<Height> {
        self.each[place].head
    }

    pub(super) fn is_good(&self, place: usize) -> bool {
        self.each[place].state == Standing::AGREES && self.fault(place).is_none()
    }

    /// How each stands; one that agrees and yet gave something that could not be used by that. What one that is behind does not have yet says no more.
    pub(super) fn told(&self) -> Vec<Standing> {
        let tell = |(place, one): (usize, &Standing)| match self.fault(place) {
            Some(error)
                if one.state == Standing::AGREES
                    || one.state == Standing::BEHIND && !matches!(error, NodeError::Missing { .. }) =>
            {
                Standing { state: error.kind(), why: Some(error.to_string()), ..one.clone() }
            }
            _ => one.clone(),
        };
        self.each.iter().enumerate().map(tell).collect()
    }
}

/// The last block that enough nodes have.
struct Agreed {
    head: BlockRef,
    /// Who has what at the height above, where they part there.
    above: Vec<(usize, BlockHash)>,
}

impl Quorum {
    /// Takes note of an answer that could not be used.
    pub(super) fn fault(&self, place: usize, error: &NodeError) {
        if matches!(error, NodeError::Gone(_)) {
            return; // the chain did that
        }
        tracing::warn!(kind = error.fault().map(Fault::as_str), %error, "another node is asked");
        self.remember(place, error);
    }

    /// The same, of what it has said in the log itself.
    fn remember(&self, place: usize, error: &NodeError) {
        let mut stands = self.stands.lock();
        stands.faults[place] = Some((error.clone(), Instant::now()));
    }

    /// What was not believed of it, though the rest counts.
    pub(super) fn remember_doubt(&self, place: usize) {
        self.seats[place].node.doubt().into_iter().for_each(|error| self.remember(place, &error));
    }

    /// Asks all nodes where the chain stands, and finds the last block that enough of them have.
    pub(super) fn look_around(&self) -> Result<Tip, NodeError> {
        let answers = self.ask_all(|node| node.tip());
        (0..self.seats.len()).for_each(|place| self.remember_doubt(place));
        let tips: Vec<(usize, Tip)> =
            answers.iter().filter_map(|(place, tip)| Some((*place, *tip.as_ref().ok()?))).collect();
        let found = match tips.len() < self.need {
            true => Err(None),
            false => self.last_agreed(&tips).map_err(Some),
        };
        let agreed = match found {
            Ok(agreed) => agreed,
            Err(error) => {
                self.note(&answers, None, error.clone().filter(|one| matches!(one, NodeError::Disagreement { .. })));
                return Err(match error {
                    Some(error) => error,
                    None => self.enough(answers).err().unwrap_or_else(|| self.too_few()),
                });
            }
        };
        let behind = tips.iter().filter(|(_, tip)| tip.head.height <= agreed.head.height).count();
        let votes = most(agreed.above.iter().map(|(_, hash)| *hash)).map_or(0, |(_, votes)| votes);
        let is_stuck = !agreed.above.is_empty() && votes + behind < self.need;
        let disagreement = is_stuck.then(|| self.disagree(agreed.head.height.next(), &agreed.above));
        let on_chain = self.note(&answers, Some(&agreed), disagreement);
        let tips = tips.into_iter().filter(|(place, _)| on_chain.contains(place)).map(|(_, tip)| tip);
        let (final_height, final_hash) = final_block(tips, self.need, agreed.head.height);
        Ok(Tip { head: agreed.head, final_height, final_hash })
    }

    /// Steps down from the highest block that enough nodes could have, wider each time, and then halves the last step.
    fn last_agreed(&self, tips: &[(usize, Tip)]) -> Result<Agreed, NodeError> {
        let mut heights: Vec<Height> = tips.iter().map(|(_, tip)| tip.head.height).collect();
        heights.sort_unstable_by_key(|height| Reverse(*height));
        let mut apart = heights[self.need - 1];
        let mut above = self.have(tips, apart)?;
        if let Some(hash) = self.winner(&above) {
            return Ok(Agreed { head: BlockRef { height: apart, hash }, above: Vec::new() });
        }
        let (floor, mut step) = (self.first_height().min(apart), 1);
        let mut head = loop {
            if apart == floor {
                return Err(self.disagree(floor, &above));
            }
            let height = Height(apart.0.saturating_sub(step).max(floor.0));
            let said = self.have(tips, height)?;
            match self.winner(&said) {
                Some(hash) => break BlockRef { height, hash },
                None => (apart, above, step) = (height, said, step.saturating_mul(2)),
            }
        };
        while head.height.next() < apart {
            let height = Height(head.height.0 + (apart.0 - head.height.0) / 2);
            let said = self.have(tips, height)?;
            match self.winner(&said) {
                Some(hash) => head = BlockRef { height, hash },
                None => (apart, above) = (height, said),
            }
        }
        Ok(Agreed { head, above })
    }

    fn first_height(&self) -> Height {
        self.seats[0].node.first()
    }

    /// Who has which block at this height.
    fn have(&self, tips: &[(usize, Tip)], height: Height) -> Result<Vec<(usize, BlockHash)>, NodeError> {
        let at_head = tips.iter().filter(|(_, tip)| tip.head.height == height);
        let mut said: Vec<(usize, BlockHash)> = at_head.map(|(place, tip)| (*place, tip.head.hash)).collect();
        let above = tips.iter().filter(|(_, tip)| tip.head.height > height).map(|(place, _)| *place);
        let answers = self.ask_these(above, move |node| node.hash_at(height));
        let mut failed = None;
        for (place, answer) in answers {
            match answer {
                Ok(hash) => said.extend(hash.map(|hash| (place, hash))),
                Err(error) => failed = Some(NodeError::or_worse(failed, error)),
            }
        }
        said.sort_unstable_by_key(|(place, _)| *place);
        match failed {
            Some(error) if self.winner(&said).is_none() && said.len() < self.need => Err(error),
            _ => Ok(said),
        }
    }

    /// Takes note of how each stands to what is agreed on, says in the log what is new of it, and gives the places of those that
    /// are on that chain.
    fn note(&self, answers: &Answers<Tip>, agreed: Option<&Agreed>, disagreement: Option<NodeError>) -> Vec<usize> {
        let (mut each, on_chain) = self.standings(answers, agreed, disagreement.as_ref());
        let mut stands = self.stands.lock();
        for (place, answer) in answers {
            match answer {
                Ok(_) => {
                    stands.heard[*place] = Some(Instant::now());
                    // What it did not have yet it has by now.
                    let was_late = |(error, _): &(NodeError, Instant)| error.fault() == Some(Fault::Stale);
                    if each[*place].state == Standing::AGREES && stands.faults[*place].as_ref().is_some_and(was_late) {
                        stands.faults[*place] = None;
                    }
                }
                Err(error) if *error == self.silent(*place) && stands.was_heard(*place) => {
                    each[*place].clone_from(&stands.each[*place]);
                }
                Err(_) => {}
            }
        }
        for (now, before) in each.iter().zip(&stands.each).filter(|(now, before)| now.state != before.state) {
            let (node, was, why) = (&now.node, before.state, now.why.as_deref());
            match now.state {
                Standing::AGREES => tracing::info!(chain = %self.id, node, was, "agrees with the other nodes"),
                state => tracing::warn!(chain = %self.id, node, state, why, "does not stand as the other nodes do"),
            }
        }
        (stands.each, stands.disagreement) = (each, disagreement);
        drop(stands);
        if !on_chain.is_empty() && !on_chain.contains(&self.current.load(Ordering::Relaxed)) {
            self.current.store(on_chain[0], Ordering::Relaxed);
        }
        on_chain
    }

    /// How each stands by what it answered, and the places of those that are on the chain that is agreed on.
    fn standings(
        &self,
        answers: &Answers<Tip>,
        agreed: Option<&Agreed>,
        disagreement: Option<&NodeError>,
    ) -> (Vec<Standing>, Vec<usize>) {
        let tip_of =
            |place: usize| answers.iter().find(|(one, _)| *one == place).and_then(|(_, tip)| tip.as_ref().ok());
        let (parted, unsure) = agreed.map(|agreed| self.parted(answers, agreed)).unwrap_or_default();
        let said = match disagreement {
            Some(NodeError::Disagreement { height, said }) => {
                said.iter().map(|(name, hash)| (name, *height, hash)).collect()
            }
            _ => Vec::new(),
        };
        let highest = (0..self.seats.len())
            .filter(|place| !parted.iter().any(|(one, _)| one == place) && !unsure.contains(place))
            .filter_map(|place| tip_of(place).map(|tip| tip.head.height))
            .max();
        let stand = |(place, answer): &(usize, Result<Tip, NodeError>)| {
            let node = self.name(*place);
            let head = answer.as_ref().ok().map(|tip| tip.head.height);
            let has = |at: BlockRef| format!("has {} at block {}", self.id.show_hash(&at.hash.0), at.height);
            let apart = parted.iter().find(|(one, _)| one == place).map(|(_, at)| has(*at));
            let at_odds = said.iter().find(|(name, ..)| **name == node);
            let at_odds = at_odds.map(|(_, height, hash)| has(BlockRef { height: *height, hash: **hash }));
            let (state, why) = match (answer, apart.or(at_odds)) {
                (Err(error), _) => (error.kind(), Some(error.to_string())),
                (_, Some(why)) => (Standing::DISAGREES, Some(why)),
                (Ok(tip), None) => match highest.map_or(0, |highest| highest.0.saturating_sub(tip.head.height.0)) {
                    less if less > ON_THEIR_WAY => (Standing::BEHIND, Some(format!("has {less} blocks less"))),
                    _ => (Standing::AGREES, None),
                },
            };
            Standing { node, head, state, why }
        };
        let each: Vec<Standing> = answers.iter().map(stand).collect();
        let is_on =
            |(place, one): &(usize, &Standing)| one.head.is_some() && !parted.iter().any(|(parted, _)| parted == place);
        let on_chain = each.iter().enumerate().filter(is_on).map(|(place, _)| place).collect();
        (each, on_chain)
    }

    /// Who has another block than the one that is agreed on, and which: at that height, or at its own last one below it. And who has more blocks,
    /// and does not say that they stand on that one. They are asked twice, so that who takes turns gives both.
    fn parted(&self, answers: &Answers<Tip>, agreed: &Agreed) -> (Vec<(usize, BlockRef)>, Vec<usize>) {
        let tips = answers.iter().filter_map(|(place, tip)| Some((*place, tip.as_ref().ok()?.head)));
        let Agreed { head, .. } = agreed;
        let (below, level): (Vec<_>, Vec<_>) = tips.partition(|(_, tip)| tip.height < head.height);
        let above = level.iter().filter(|(_, tip)| tip.height > head.height).map(|(place, _)| *place);
        let height = head.height;
        let ours = head.hash;
        let other = move |node: &dyn Chain| {
            let twice = [node.hash_at(height)?, node.hash_at(height)?];
            Ok(twice.into_iter().find(|hash| *hash != Some(ours)).unwrap_or(Some(ours)))
        };
        let said = self.ask_these(above, other);
        let unsure = said.iter().filter(|(_, hash)| !matches!(hash, Ok(Some(_)))).map(|(place, _)| *place).collect();
        let mut has: Vec<(usize, BlockRef)> = said
            .into_iter()
            .filter_map(|(place, hash)| Some((place, BlockRef { height, hash: hash.ok()?? })))
            .chain(level.iter().filter(|(_, tip)| tip.height == head.height).copied())
            .collect();
        let good = has.iter().find(|(_, block)| block == head).map(|(place, _)| *place);
        has.retain(|(_, block)| block != head);
        for (place, tip) in below {
            let ours = good.and_then(|good| self.seats[good].node.hash_at(tip.height).ok().flatten());
            has.extend(ours.filter(|ours| *ours != tip.hash).map(|_| (place, tip)));
        }
        (has, unsure)
    }
}

/// The highest block that enough of these call final, and its hash where enough name it.
fn final_block(tips: impl Iterator<Item = Tip>, need: usize, head: Height) -> (Option<Height>, Option<BlockHash>) {
    let mut finals: Vec<(Height, Option<BlockHash>)> =
        tips.filter_map(|tip| Some((tip.final_height?, tip.final_hash))).collect();
    finals.sort_unstable_by_key(|one| Reverse(one.0));
    match finals.get(need - 1) {
        Some((height, _)) if *height > head => (Some(head), None),
        Some((height, _)) => {
            let named = finals.iter().filter(|(at, _)| at == height).filter_map(|(_, hash)| *hash);
            (Some(*height), most(named).filter(|(_, votes)| *votes >= need).map(|(hash, _)| hash))
        }
        None => (None, None),
    }
}
