//! One chain through several nodes, of which so many must agree.
//!
//! What a header commits to needs one node, once enough of them have that header. What nothing proves must be said by enough
//! of them. Where they do not agree, nothing is taken from any.

mod agree;
mod ask;
mod stand;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use assay_types::{
    Account, AccountNo, Amount, Ancestors, Asset, Block, BlockHash, BlockRef, Chain, ChainId, Contract, Fault, Header,
    Height, NodeError, Notice, Pair, Pending, Reading, Reads, Standing, Tip, TxId, Watch,
};
use parking_lot::Mutex;

use agree::most;
use ask::Seat;
use stand::Stands;

/// What a node says of balances.
type Balances = HashMap<Pair, Result<Amount, String>>;

/// Several nodes of one chain.
pub struct Quorum {
    id: ChainId,
    /// In the order of the configuration.
    seats: Vec<Seat>,
    /// How many of them must agree.
    need: usize,
    /// The place of the one that gives blocks.
    current: AtomicUsize,
    stands: Mutex<Stands>,
    /// When all of them were last waited for.
    heard_all: Mutex<Option<Instant>>,
}

impl Quorum {
    /// A chain of which `need` of these nodes must say the same. Each is a chain of one node. None is contacted yet.
    ///
    /// # Errors
    /// [`NodeError::Unsupported`] when there are fewer nodes, or the same one stands there twice.
    pub fn new(nodes: Vec<Arc<dyn Chain>>, need: usize) -> Result<Quorum, NodeError> {
        let seats: Vec<Seat> = nodes.into_iter().map(Seat::new).collect();
        let Some(first) = seats.first().filter(|_| (1..=seats.len()).contains(&need)) else {
            return Err(NodeError::Unsupported(format!("{need} nodes cannot agree where there are {}", seats.len())));
        };
        let mut names = HashSet::new();
        if let Some(twice) = seats.iter().find(|seat| !names.insert(&seat.name)) {
            let why = format!("{}: {} stands there twice: one node is no quorum", first.node.id(), twice.name);
            return Err(NodeError::Unsupported(why));
        }
        let (id, current, stands) = (first.node.id().clone(), AtomicUsize::new(0), Mutex::new(Stands::of(&seats)));
        Ok(Quorum { id, seats, need, current, stands, heard_all: Mutex::default() })
    }

    fn now(&self) -> &dyn Chain {
        &*self.seats[self.current.load(Ordering::Relaxed)].node
    }

    /// The places of the nodes, the one that is to be asked first in front: those that agree before those that do not.
    fn order(&self) -> Vec<usize> {
        let (current, count) = (self.current.load(Ordering::Relaxed), self.seats.len());
        let stands = self.stands.lock();
        let mut order: Vec<usize> = (0..count).map(|turn| (current + turn) % count).collect();
        order.sort_by_key(|place| !stands.is_good(*place));
        order
    }

    /// Lets one node do a whole piece of work, and the next one all of it anew where that one fails; says which did it.
    fn one<T>(&self, work: impl Fn(&dyn Chain) -> Result<T, NodeError>) -> Result<(usize, T), NodeError> {
        let mut failed: Option<NodeError> = None;
        for place in self.order() {
            match work(&*self.seats[place].node) {
                Ok(done) => {
                    self.current.store(place, Ordering::Relaxed);
                    self.remember_doubt(place);
                    return Ok((place, done));
                }
                Err(error) => {
                    self.fault(place, &error);
                    failed = Some(NodeError::or_worse(failed, error));
                }
            }
        }
        Err(failed.unwrap_or_else(|| NodeError::Unsupported(format!("{} has no node", self.id))))
    }

    /// Nothing proves where a transaction is: who denies it says less than who has it.
    fn whoever_knows<T>(
        &self,
        ask: impl Fn(&dyn Chain) -> Result<Option<T>, NodeError>,
    ) -> Result<Option<T>, NodeError> {
        let (mut failed, mut answered) = (None, false);
        for place in self.order() {
            match ask(&*self.seats[place].node) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => answered = true,
                Err(error) => {
                    self.fault(place, &error);
                    failed = Some(NodeError::or_worse(failed, error));
                }
            }
        }
        failed.filter(|_| !answered).map_or(Ok(None), Err)
    }

    /// Holds what nothing proves in a block that one node gave against what others say. What they say otherwise is read by
    /// all anew, with a proof where that can be had.
    fn confirm(&self, giver: usize, block: &mut Block, watch: &Watch) -> Result<(), NodeError> {
        let is_open = |reading: &&Reading| !reading.proven;
        let knows_some = block.readings.iter().any(|reading| reading.balance.is_ok());
        let open: HashMap<Pair, _> =
            block.readings.iter().filter(is_open).map(|one| (one.pair(), one.balance.clone())).collect();
        if open.is_empty() {
            return Ok(());
        }
        let numbers: HashSet<AccountNo> = open.keys().map(|(number, _)| *number).collect();
        let watched = numbers.iter().flat_map(|number| watch.among(number.0..number.0 + 1));
        let accounts: HashMap<AccountNo, Account> =
            watched.map(|(number, account)| (number, Account::new(account))).collect();
        let pairs: Vec<(AccountNo, Account, Asset)> =
            open.keys().filter_map(|(number, asset)| Some((*number, accounts.get(number)?.clone(), *asset))).collect();
        let balances = |readings: Vec<Reading>| readings.into_iter().map(|one| (one.pair(), one.balance));
        let witnesses = self.witnesses(giver, &block.header, &pairs)?.into_iter();
        let said: Vec<(usize, Balances)> =
            witnesses.map(|(place, readings)| (place, balances(readings).collect())).collect();
        let known = |said: &Balances, pair| said.get(pair)?.clone().ok();
        let differ = |pair| said.iter().any(|(_, said)| known(said, pair) != known(&open, pair));
        let doubted: HashSet<Pair> = open.keys().filter(|pair| differ(*pair)).copied().collect();
        if doubted.is_empty() {
            return Ok(());
        }
        let pairs: Vec<_> = pairs.into_iter().filter(|pair| doubted.contains(&(pair.0, pair.2))).collect();
        let again = self.read_again(&block.header, &pairs)?;
        let mut again: HashMap<_, _> = again.into_iter().map(|one| (one.pair(), one)).collect();
        let witness = |(place, said): (usize, Balances)| {
            let knows_some = said.values().any(Result::is_ok);
            (place, said, knows_some)
        };
        let mut witnessed: Vec<(usize, Balances, bool)> = said.into_iter().map(witness).collect();
        witnessed.push((giver, open, knows_some));
        for reading in &mut block.readings {
            if let Some(agreed) = again.remove(&reading.pair()) {
                self.note_who_differs(&block.header, watch, &agreed, &witnessed);
                *reading = agreed;
            }
        }
        Ok(())
    }

    /// Records a fault of each node whose balance is not the one that is proven or agreed on, and of one that gave none though it knew others.
    fn note_who_differs(&self, at: &Header, watch: &Watch, agreed: &Reading, said: &[(usize, Balances, bool)]) {
        let Ok(balance) = agreed.balance else { return };
        for (place, said, knows_some) in said {
            let (node, height) = (self.name(*place), at.height);
            let subject = format!("what account {} holds at block {height}", agreed.account.0);
            match said.get(&agreed.pair()) {
                Some(Ok(other)) if *other != balance => {
                    if self.was_busy(*place, at, watch, agreed) {
                        continue;
                    }
                    let how = if agreed.proven { "by proof" } else { "by others" };
                    let why = format!("{other} units, {balance} {how}");
                    let (against, fault) = ("what counts".into(), Fault::Forged);
                    self.fault(*place, &NodeError::Contradiction { node, subject, against, why, fault });
                }
                // Who knows nothing of that block keeps no state of it.
                Some(Err(why)) if *knows_some => {
                    let fault = Some(Fault::Omitted);
                    self.fault(*place, &NodeError::Missing { node, subject, why: why.clone(), fault });
                }
                _ => {}
            }
        }
    }

    /// Did it say otherwise only because it made its next block meanwhile? Some answer then with what that one leaves.
    fn was_busy(&self, place: usize, at: &Header, watch: &Watch, agreed: &Reading) -> bool {
        let (node, number) = (&self.seats[place].node, agreed.account.0);
        let goes_on = node.tip().is_ok_and(|tip| tip.head.height > at.height)
            && self.stands.lock().head(place) <= Some(at.height);
        let accounts = watch.among(number..number + 1);
        let pairs: Vec<_> = accounts.map(|(number, account)| (number, Account::new(account), agreed.asset)).collect();
        let is_right = |said: Vec<Reading>| said.first().is_some_and(|said| said.balance == agreed.balance);
        goes_on && node.balances(at, &pairs).is_ok_and(is_right)
    }

    /// One that could not be held against its header is asked of others as well: where one gives it whole, the first gave another.
    fn whole(
        &self,
        giver: usize,
        block: Block,
        ask: impl Fn(&dyn Chain) -> Result<Block, NodeError>,
    ) -> (usize, Block) {
        let mut alike = 1;
        for place in self.order().into_iter().filter(|place| *place != giver) {
            if block.checked || alike == self.need {
                break;
            }
            match ask(&*self.seats[place].node) {
                Ok(theirs) if theirs.checked => {
                    let (node, subject) = (self.name(giver), format!("block {}", block.header.height));
                    let (against, fault) = (format!("what {} gives", self.name(place)), Fault::Forged);
                    let why = "it has what is not known here, and there everything is".into();
                    self.fault(giver, &NodeError::Contradiction { node, subject, against, why, fault });
                    self.current.store(place, Ordering::Relaxed);
                    return (place, theirs);
                }
                Ok(_) => alike += 1,
                Err(error) => self.fault(place, &error),
            }
        }
        (giver, block)
    }

    /// That very many accounts hold nothing is said by none of their readings: others must name the same ones that hold something.
    fn confirm_blank(
        &self,
        giver: usize,
        block: &Block,
        open: impl Fn(&dyn Chain) -> Result<Block, NodeError>,
    ) -> Result<(), NodeError> {
        if block.blank.is_empty() {
            return Ok(());
        }
        let (mut failed, mut agree) = (None, 1);
        for place in self.order().into_iter().filter(|place| *place != giver) {
            if agree == self.need {
                return Ok(());
            }
            match open(&*self.seats[place].node) {
                Ok(theirs) if hold_the_same(block, &theirs) => agree += 1,
                Ok(_) => {
                    let (node, subject) =
                        (self.name(place), format!("who holds something at block {}", block.header.height));
                    let why = format!("{} names others", self.name(giver));
                    return Err(NodeError::Unreadable { node, subject, why, fault: Fault::MixedForks });
                }
                Err(error) => {
                    self.fault(place, &error);
                    failed = Some(NodeError::or_worse(failed, error));
                }
            }
        }
        if agree == self.need { Ok(()) } else { Err(failed.unwrap_or_else(|| self.too_few())) }
    }

    /// What as many nodes as are needed answer, others being asked where some fail.
    fn as_many_as_needed<T: Send + 'static>(
        &self,
        work: impl Fn(&dyn Chain) -> Result<T, NodeError> + Clone + Send + Sync + 'static,
    ) -> Result<Vec<(usize, T)>, NodeError> {
        let (mut order, mut answers) = (self.order().into_iter(), ask::Answers::new());
        loop {
            let good = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
            let next: Vec<usize> = order.by_ref().take(self.need - good).collect();
            if next.is_empty() {
                return self.enough(answers);
            }
            answers.extend(self.ask_these(next.into_iter(), work.clone()));
        }
    }

    /// What as many other nodes as are needed say of these balances.
    fn witnesses(
        &self,
        giver: usize,
        at: &Header,
        pairs: &[(AccountNo, Account, Asset)],
    ) -> Result<Vec<(usize, Vec<Reading>)>, NodeError> {
        let (mut said, mut failed) = (Vec::new(), None);
        for place in self.order().into_iter().filter(|place| *place != giver) {
            if said.len() + 1 == self.need {
                break;
            }
            match self.seats[place].node.balances(at, pairs) {
                Ok(readings) => said.push((place, readings)),
                Err(error) => {
                    self.fault(place, &error);
                    failed = Some(NodeError::or_worse(failed, error));
                }
            }
        }
        match failed {
            Some(error) if said.len() + 1 < self.need => Err(error),
            _ => Ok(said),
        }
    }
}

/// Do both blocks name the same ones that hold something? Who could not be read in one of them says nothing.
fn hold_the_same(one: &Block, other: &Block) -> bool {
    let pairs = |block: &Block, is_known| -> HashSet<Pair> {
        block.readings.iter().filter(|read| read.balance.is_ok() == is_known).map(Reading::pair).collect()
    };
    let unread = &pairs(one, false) | &pairs(other, false);
    (&pairs(one, true) ^ &pairs(other, true)).is_subset(&unread)
}

impl Chain for Quorum {
    fn id(&self) -> &ChainId {
        &self.id
    }

    fn first(&self) -> Height {
        self.now().first()
    }

    fn assets(&self) -> BTreeSet<Asset> {
        self.now().assets()
    }

    fn proves_by_walking(&self) -> bool {
        self.now().proves_by_walking()
    }

    /// The highest block that enough nodes have; final is what enough of those call so.
    fn tip(&self) -> Result<Tip, NodeError> {
        self.look_around()
    }

    fn hash_at(&self, height: Height) -> Result<Option<BlockHash>, NodeError> {
        let said = self.enough(self.ask(move |node| Ok(node.hash_at(height)?.into_iter().collect())))?;
        Ok(self.agreed(height, &said)?.first().copied())
    }

    fn hashes(&self, from: Height, count: u64) -> Result<Vec<BlockHash>, NodeError> {
        let said = self.enough(self.ask(move |node| node.hashes(from, count)))?;
        self.agreed(from, &said)
    }

    fn prepare(&self, blocks: u64, processors: usize) -> usize {
        self.now().prepare(blocks, processors)
    }

    fn prefers_filters(&self, blocks: u64, watch: &Watch) -> bool {
        self.now().prefers_filters(blocks, watch)
    }

    fn may_move(&self, at: BlockRef, watch: &Watch) -> Result<bool, NodeError> {
        self.one(|node| node.may_move(at, watch)).map(|(_, may)| may)
    }

    /// All of it from one node, by a hash on which enough agree.
    fn block(&self, at: BlockRef, watch: &Watch, reads: &Reads) -> Result<Block, NodeError> {
        let (giver, block) = self.one(|node| node.block(at, watch, reads))?;
        let (giver, mut block) = self.whole(giver, block, |node| node.block(at, watch, reads));
        self.confirm(giver, &mut block, watch)?;
        self.confirm_blank(giver, &block, |node| node.block(at, watch, reads))?;
        Ok(block)
    }

    /// As many as are needed say what accounts hold; where one of them does not know it, or they do not say the same, what enough say counts.
    fn look(&self, at: &Header, accounts: &[(AccountNo, Account)]) -> Result<Vec<Reading>, NodeError> {
        let (header, asked) = (at.clone(), accounts.to_vec());
        let mut said = self.as_many_as_needed(move |node| node.look(&header, &asked))?;
        let Some((_, mut readings)) = said.pop() else { return Err(self.too_few()) };
        let others: Vec<Balances> =
            said.into_iter().map(|(_, said)| said.into_iter().map(|one| (one.pair(), one.balance)).collect()).collect();
        let is_open = |one: &Reading| {
            one.balance.is_err()
                || others
                    .iter()
                    .any(|said| said.get(&one.pair()).and_then(|it| it.as_ref().ok()) != one.balance.as_ref().ok())
        };
        let accounts: HashMap<AccountNo, &Account> =
            accounts.iter().map(|(number, account)| (*number, account)).collect();
        let open = readings.iter().filter(|one| is_open(one));
        let pairs: Vec<_> =
            open.filter_map(|one| Some((one.account, (*accounts.get(&one.account)?).clone(), one.asset))).collect();
        if !pairs.is_empty() {
            let known = self.balances(at, &pairs)?.into_iter().map(|one| (one.pair(), one));
            let mut known: HashMap<_, _> = known.collect();
            readings.iter_mut().for_each(|one| known.remove(&one.pair()).into_iter().for_each(|known| *one = known));
        }
        Ok(readings)
    }

    fn check_header(&self, header: &Header, ancestors: &dyn Ancestors) -> Result<(), NodeError> {
        self.now().check_header(header, ancestors)
    }

    /// What one node proves, or enough say; else it is unknown, with what each says.
    fn read_again(&self, at: &Header, pairs: &[(AccountNo, Account, Asset)]) -> Result<Vec<Reading>, NodeError> {
        let (header, asked) = (at.clone(), pairs.to_vec());
        let said = self.enough(self.ask_balances(move |node| node.read_again(&header, &asked)))?;
        Ok(self.agreed_readings(pairs.iter().map(|pair| (pair.0, pair.2)), &said))
    }

    /// So many that what enough say without a proof is not for want of one.
    fn proves(&self, at: &Header) -> Result<bool, NodeError> {
        let header = at.clone();
        let said = self.enough(self.ask(move |node| node.proves(&header)))?;
        Ok(said.into_iter().filter(|(_, proves)| *proves).count() >= self.need)
    }

    /// What enough say.
    fn balances(&self, at: &Header, pairs: &[(AccountNo, Account, Asset)]) -> Result<Vec<Reading>, NodeError> {
        let (header, asked) = (at.clone(), pairs.to_vec());
        let said = self.enough(self.ask_balances(move |node| node.balances(&header, &asked)))?;
        Ok(self.agreed_readings(pairs.iter().map(|pair| (pair.0, pair.2)), &said))
    }

    /// Of as many nodes as are needed, which must speak of the same block: a Bitcoin node can tell of its last one alone.
    fn held(&self, at: &Header, accounts: &[(AccountNo, Account)]) -> Result<(BlockRef, Vec<Reading>), NodeError> {
        let (header, asked) = (at.clone(), accounts.to_vec());
        let said = self.as_many_as_needed(move |node| node.held(&header, &asked))?;
        let Some((place, (block, first))) = said.first() else { return Err(self.too_few()) };
        if let Some((other, (theirs, _))) = said.iter().find(|(_, (theirs, _))| theirs != block) {
            let (node, subject) = (self.name(*other), "what accounts hold".into());
            let why = format!("it tells of block {}, and {} of {}", theirs.height, self.name(*place), block.height);
            return Err(NodeError::Unreadable { node, subject, why, fault: Fault::MixedForks });
        }
        let (block, pairs) = (*block, first.iter().map(|one| one.pair()).collect::<Vec<_>>());
        let said: Vec<_> = said.into_iter().map(|(place, (_, readings))| (place, readings)).collect();
        Ok((block, self.agreed_readings(pairs.into_iter(), &said)))
    }

    fn contract(&self, token: [u8; 20]) -> Result<Contract, NodeError> {
        let said = self.enough(self.ask(move |node| node.contract(token)))?;
        let agreed = most(said.iter().map(|(_, contract)| *contract)).filter(|(_, votes)| *votes >= self.need);
        let words = |contract: &Contract| match (contract.has_code, contract.decimals) {
            (false, _) => "that there is none".to_owned(),
            (true, Some(decimals)) => format!("{decimals} decimals"),
            (true, None) => "no decimals".to_owned(),
        };
        let subject = format!("the contract 0x{}", token.map(|byte| format!("{byte:02x}")).concat());
        let Some((agreed, _)) = agreed else {
            let each: Vec<String> =
                said.iter().map(|(place, said)| format!("{} says {}", self.name(*place), words(said))).collect();
            let (node, why) = (self.id.to_string(), format!("nodes do not agree: {}", each.join(", ")));
            return Err(NodeError::Unreadable { node, subject, why, fault: Fault::Forged });
        };
        for (place, other) in said.iter().filter(|(_, said)| *said != agreed) {
            let (node, against) = (self.name(*place), "what enough others say".into());
            let why = format!("it says {}, and they {}", words(other), words(&agreed));
            let subject = subject.clone();
            self.fault(*place, &NodeError::Contradiction { node, subject, against, why, fault: Fault::Forged });
        }
        Ok(agreed)
    }

    fn pending(&self, txid: TxId, after: &Header) -> Result<Option<Pending>, NodeError> {
        self.whoever_knows(|node| node.pending(txid, after))
    }

    fn mined(&self, txid: TxId, among: &dyn Fn(BlockRef) -> bool) -> Result<Option<BlockRef>, NodeError> {
        self.whoever_knows(|node| node.mined(txid, among))
    }

    fn mempool(&self) -> Result<Option<Vec<TxId>>, NodeError> {
        self.one(|node| node.mempool()).map(|(_, txids)| txids)
    }

    fn waiting(&self, txids: &[TxId]) -> Result<Vec<(TxId, Pending)>, NodeError> {
        self.one(|node| node.waiting(txids)).map(|(_, waiting)| waiting)
    }

    fn source(&self) -> Option<String> {
        Some(self.name(self.current.load(Ordering::Relaxed)))
    }

    fn standings(&self) -> Vec<Standing> {
        self.stands.lock().told()
    }

    fn identify(&self) -> Result<(), NodeError> {
        self.enough(self.ask(|node| node.identify())).map(drop)
    }

    fn disagreement(&self) -> Option<NodeError> {
        self.stands.lock().disagreement.clone()
    }

    /// What they agree on. What each can do is asked of each.
    fn check(&self) -> Result<Vec<Notice>, NodeError> {
        let head = self.look_around()?.head;
        let agree = self.standings().iter().filter(|one| one.state == Standing::AGREES).count();
        let (all, need, hash) = (self.seats.len(), self.need, self.id.show_hash(&head.hash.0));
        let finding = match self.disagreement() {
            Some(error) => format!("{error}; the last block on which {need} of {all} agree is {} {hash}", head.height),
            None => format!("{need} of {all} nodes are needed and {agree} agree, on block {} {hash}", head.height),
        };
        Ok(vec![Notice { subject: "quorum".into(), finding, limits: agree < all }])
    }
}
