//! A chain in memory, with branches, and a node that misbehaves as it is told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use assay_types::{
    Account, AccountNo, Amount, Ancestors, Asset, Between, Block, BlockHash, BlockRef, Body, Chain, ChainId, Direction,
    Effect, Fingerprint, Header, Height, Input, Kind, Leg, NodeError, Notice, Outpoint, Payment, Pending, Reading,
    Reads, Spend, Timestamp, Tip, TxId, Watch,
};
use parking_lot::{Mutex, MutexGuard};

/// Accounts of this chain.
pub(super) const ACCOUNTS: u8 = 4;

pub(super) fn account(number: u8) -> Account {
    Account::new(&[0xfa, number])
}

/// What a chain proves its balances by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Outputs: walking the blocks.
    Walking,
    /// State, read at every block.
    State,
}

/// What the node does with a block that left its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stale {
    Served,
    Missing,
    Gone,
}

/// What may be asked of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Tip,
    HashAt,
    Block,
    Prove,
    Held,
    Look,
    Filter,
    Identify,
}

#[derive(Debug, Clone)]
struct FakeBlock {
    header: Header,
    /// The one transaction: from whom and to whom, or newly made coins.
    from: Option<u8>,
    to: u8,
    amount: u64,
    spends: Vec<Outpoint>,
    state: BTreeMap<u8, u64>,
}

#[derive(Clone, Default)]
struct Node {
    blocks: HashMap<BlockHash, FakeBlock>,
    active: Vec<BlockHash>,
    made: u64,
    confirmations: Option<u64>,
    /// For so many looks at its tip it does not know so many of its last blocks.
    late: (u32, usize),
    /// It names this block as its last final one.
    names_final: Option<BlockRef>,
    /// As a block at this height is asked for, so many blocks are replaced by so many.
    reorg_at: Option<(u64, usize, usize)>,
    /// As accounts are asked about, so many blocks are replaced by so many, once the answer is ready.
    reorg_as_held: Option<(usize, usize)>,
    /// How often this was asked.
    asked: HashMap<Question, u32>,
    /// How often a question still fails, and how.
    faults: HashMap<Question, (u32, Option<NodeError>)>,
    /// How often the block at this height is still told as if it had moved nothing.
    lie: Option<(u64, u32)>,
    /// Blocks below are not there: it pruned them.
    lacks_below: u64,
    /// It keeps no states of blocks below.
    states_from: u64,
    /// It has filters of its blocks.
    has_filters: bool,
    /// The filter of the block at this height says nothing of this account.
    hides: Option<(u64, u8)>,
    /// Where nothing is proven it says that this account holds so much.
    tells: Option<(u8, u64)>,
    /// It gives no proofs.
    proves_nothing: bool,
    /// How long it takes to answer.
    takes: Duration,
    /// Of what it is asked again it knows nothing.
    forgets: bool,
}

pub(super) struct Fake {
    id: ChainId,
    /// What the node is called.
    name: &'static str,
    first: u64,
    pub proof: Proof,
    pub stale: Stale,
    node: Mutex<Node>,
}

impl Fake {
    /// With blocks 0 to `tip`.
    pub fn new(proof: Proof, tip: u64) -> Fake {
        let (id, node) = ("bip122:fa".parse().unwrap(), Mutex::default());
        let fake = Fake { id, name: "fake", first: 0, proof, stale: Stale::Served, node };
        fake.mine(usize::try_from(tip).unwrap() + 1);
        fake
    }

    pub fn from(self, first: u64) -> Fake {
        Fake { first, ..self }
    }

    pub fn stale(self, stale: Stale) -> Fake {
        Fake { stale, ..self }
    }

    /// The node has filters of its blocks; that of the block at this height may hide that it moved an account.
    pub fn with_filters(self, hides: Option<(u64, u8)>) -> Fake {
        {
            let mut node = self.node();
            (node.has_filters, node.hides) = (true, hides);
        }
        self
    }

    /// The node has pruned the blocks below.
    pub fn lacks_below(&self, height: u64) {
        self.node().lacks_below = height;
    }

    /// The node keeps no states of blocks below.
    pub fn keeps_states_from(&self, height: u64) {
        self.node().states_from = height;
    }

    /// A block in which an account gets coins, and nothing says so but its state.
    pub fn mine_silently(&self, who: u8, amount: u64) {
        let mut node = self.node();
        let mut block = node.next_block();
        *block.state.entry(who).or_default() += amount;
        node.push(block);
    }

    /// What an account held after the block at this height.
    pub fn held_at(&self, who: u8, height: u64) -> Amount {
        let node = self.node();
        let hash = node.active[usize::try_from(height).unwrap()];
        Amount::from(node.blocks[&hash].state.get(&who).copied().unwrap_or(0))
    }

    /// The same chain with a node that does what it should.
    pub fn calm(&self) -> Fake {
        let mut node = self.node().clone();
        (node.reorg_at, node.lie, node.has_filters, node.tells) = (None, None, false, None);
        (node.late, node.proves_nothing, node.takes) = ((0, 0), false, Duration::ZERO);
        node.faults.clear();
        Fake { id: self.id.clone(), node: Mutex::new(node), ..*self }
    }

    /// Another node of the same chain as it is now.
    pub fn beside(&self, name: &'static str) -> Arc<Fake> {
        Arc::new(Fake { name, ..self.calm() })
    }

    /// Gives this node's chain the same last blocks as that one's.
    pub fn follow(&self, other: &Fake) {
        let (other, mut node) = (other.node().clone(), self.node());
        (node.blocks, node.active, node.made) = (other.blocks, other.active, other.made);
    }

    /// Replaces the last blocks by others, which no other node has.
    pub fn fork(&self, depth: usize, by: usize) {
        let mut node = self.node();
        node.made += 1_000 * u64::from(self.name.as_bytes()[0]);
        node.reorg(depth, by);
    }

    pub fn tells(&self, who: u8, holds: u64) {
        self.node().tells = Some((who, holds));
    }

    pub fn proves_nothing(&self) {
        self.node().proves_nothing = true;
    }

    /// It is pruned: of what it is asked again it knows nothing.
    pub fn forgets(&self) {
        self.node().forgets = true;
    }

    pub fn takes(&self, time: Duration) {
        self.node().takes = time;
    }

    fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock()
    }

    pub fn mine(&self, count: usize) {
        self.node().mine(count);
    }

    /// Replaces the last blocks by others.
    pub fn reorg(&self, depth: usize, by: usize) {
        self.node().reorg(depth, by);
    }

    /// For so many looks at its tip the node does not know its last blocks.
    pub fn is_late(&self, looks: u32, blocks: usize) {
        self.node().late = (looks, blocks);
    }

    /// The node names a block, and not just a height, as final.
    pub fn names_final(&self, block: BlockRef) {
        self.node().names_final = Some(block);
    }

    pub fn reorg_as_asked_for(&self, height: u64, depth: usize, by: usize) {
        self.node().reorg_at = Some((height, depth, by));
    }

    pub fn reorg_as_held(&self, depth: usize, by: usize) {
        self.node().reorg_as_held = Some((depth, by));
    }

    /// How often this was asked so far.
    pub fn asked(&self, question: Question) -> u32 {
        self.node().asked.get(&question).copied().unwrap_or(0)
    }

    /// What an account holds after the last block.
    pub fn holds(&self, who: u8) -> Amount {
        let node = self.node();
        Amount::from(node.blocks[&node.head().hash].state.get(&who).copied().unwrap_or(0))
    }

    pub fn finality(&self, confirmations: u64) {
        self.node().confirmations = Some(confirmations);
    }

    /// The next `times` answers to this question fail; without an error, they panic.
    pub fn fail(&self, question: Question, times: u32, error: Option<NodeError>) {
        self.node().faults.insert(question, (times, error));
    }

    pub fn lie_about(&self, height: u64, times: u32) {
        self.node().lie = Some((height, times));
    }

    pub fn heal(&self) {
        let mut node = self.node();
        (node.reorg_at, node.lie) = (None, None);
        node.faults.clear();
    }

    pub fn head(&self) -> BlockRef {
        self.node().head()
    }

    pub fn is_on(&self, block: BlockRef) -> bool {
        self.node().is_active(block)
    }

    fn answer<T>(
        &self,
        question: Question,
        find: impl FnOnce(&mut Node) -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        let takes = self.node().takes;
        std::thread::sleep(takes);
        let mut node = self.node();
        *node.asked.entry(question).or_default() += 1;
        if let Some((times, error)) = node.faults.get_mut(&question)
            && *times > 0
        {
            *times -= 1;
            return Err(error.clone().unwrap_or_else(|| panic!("a fault of our own, for the test")));
        }
        find(&mut node)
    }
}

impl Node {
    fn mine(&mut self, count: usize) {
        for _ in 0..count {
            let block = self.next_block();
            self.push(block);
        }
    }

    fn push(&mut self, block: FakeBlock) {
        self.active.push(block.header.hash);
        self.blocks.insert(block.header.hash, block);
    }

    fn reorg(&mut self, depth: usize, by: usize) {
        self.active.truncate(self.active.len() - depth);
        self.mine(by);
    }

    /// Coins are made, or all of someone's are moved to someone else, as the count of blocks ever made has it.
    fn next_block(&mut self) -> FakeBlock {
        self.made += 1;
        let made = self.made;
        let last = self.active.last().map(|hash| &self.blocks[hash]);
        let mut state = last.map_or_else(BTreeMap::new, |last| last.state.clone());
        let height = Height(self.active.len() as u64);
        let mut hash = [0x44; 32];
        hash[24..].copy_from_slice(&made.to_be_bytes());
        let parent = last.map_or(BlockHash([0; 32]), |last| last.header.hash);
        let time = Timestamp::from_unix_s(1_700_000_000 + i64::try_from(height.0 * 600 + made % 7).unwrap());
        let header = Header { height, hash: BlockHash(hash), parent, time, seal: made.to_be_bytes().to_vec() };
        let (from, to) = ((made % 5) as u8, (made % 3) as u8);
        let held = state.get(&from).copied().unwrap_or(0);
        let from = Some(from).filter(|from| made % 4 == 3 && held > 0 && *from != to && *from < ACCOUNTS);
        let amount = if from.is_some() { held } else { 50 + made };
        let spends = from.map_or_else(Vec::new, |from| self.outputs_of(from));
        if let Some(from) = from {
            state.insert(from, 0);
        }
        *state.entry(to).or_default() += amount;
        FakeBlock { header, from, to, amount, spends, state }
    }

    fn outputs_of(&self, who: u8) -> Vec<Outpoint> {
        let mut open = Vec::new();
        for block in self.active.iter().map(|hash| &self.blocks[hash]) {
            if block.from == Some(who) {
                open.clear();
            }
            if block.to == who {
                open.push(Outpoint { txid: block.txid(), vout: 0 });
            }
        }
        open
    }

    /// The blocks that it says it has.
    fn shown(&self) -> &[BlockHash] {
        let (looks, blocks) = self.late;
        &self.active[..self.active.len() - if looks > 0 { blocks } else { 0 }]
    }

    fn head(&self) -> BlockRef {
        BlockRef { height: Height(self.active.len() as u64 - 1), hash: *self.active.last().unwrap() }
    }

    fn is_active(&self, at: BlockRef) -> bool {
        self.active.get(usize::try_from(at.height.0).unwrap()) == Some(&at.hash)
    }
}

struct Paid(Payment, Vec<Input>);

impl Body for Paid {
    fn each_payment(&self, _: u32, take: &mut assay_types::TakePayment<'_>) {
        take(self.0.index, &self.0.to.0, self.0.asset, self.0.amount);
    }

    fn inputs(&self, spends: &[Spend]) -> Vec<Input> {
        self.1.iter().filter(|input| spends.iter().any(|spend| spend.place == input.place)).copied().collect()
    }
}

impl FakeBlock {
    fn txid(&self) -> TxId {
        TxId(self.header.hash.0)
    }

    fn payment(&self) -> Payment {
        let amount = Amount::from(self.amount);
        Payment { index: Some(0), to: account(self.to), asset: Asset::Native, amount }
    }

    fn inputs(&self) -> Vec<Input> {
        let input = |(spends, place): (&Outpoint, u32)| Input { spends: *spends, tx: 0, index: place, place };
        self.spends.iter().zip(0..).map(input).collect()
    }

    fn legs(&self, watch: &Watch, outputs: bool) -> Vec<Effect> {
        let place = |index: usize| u32::try_from(index).unwrap();
        let leg = |who: u8, direction, place| {
            let (amount, asset, kind) = (Amount::from(self.amount), Asset::Native, Kind::Transfer);
            watch.number(&account(who).0).map(|account| {
                let leg = Leg { account, asset, direction, amount, kind, tx: Some(0), index: 0, place };
                if outputs { Effect::Output(leg) } else { Effect::Leg(leg) }
            })
        };
        let mut effects: Vec<Effect> = Vec::new();
        if !outputs {
            effects.extend(self.from.and_then(|from| leg(from, Direction::Debit, 0)));
        }
        effects.extend(leg(self.to, Direction::Credit, place(self.spends.len()).max(1)));
        effects
    }

    fn read(&self, node: &Node, number: AccountNo, who: &[u8], proven: bool) -> Reading {
        let proven = proven && !node.proves_nothing;
        let told = node.tells.filter(|(teller, _)| !proven && *teller == who[1]).map(|(_, held)| held);
        let held = told.or(self.state.get(&who[1]).copied()).unwrap_or(0);
        Reading {
            account: number,
            asset: Asset::Native,
            balance: Ok(Amount::from(held)),
            proven,
            proof: None,
            between: Between::Told,
        }
    }
}

impl Chain for Fake {
    fn id(&self) -> &ChainId {
        &self.id
    }

    fn first(&self) -> Height {
        Height(self.first)
    }

    fn source(&self) -> Option<String> {
        Some(self.name.into())
    }

    fn proves_by_walking(&self) -> bool {
        self.proof == Proof::Walking
    }

    fn tip(&self) -> Result<Tip, NodeError> {
        self.answer(Question::Tip, |node| {
            let last = node.shown().len() - 1;
            let (height, hash) = (last as u64, node.active[last]);
            node.late.0 = node.late.0.saturating_sub(1);
            let by_depth = node.confirmations.and_then(|n| (height + 1).checked_sub(n)).map(Height);
            let final_height = node.names_final.map(|block| block.height).or(by_depth);
            let final_hash = node.names_final.map(|block| block.hash);
            Ok(Tip { head: BlockRef { height: Height(height), hash }, final_height, final_hash })
        })
    }

    fn hash_at(&self, height: Height) -> Result<Option<BlockHash>, NodeError> {
        self.answer(Question::HashAt, |node| Ok(node.shown().get(usize::try_from(height.0).unwrap()).copied()))
    }

    fn block(&self, at: BlockRef, watch: &Watch, reads: &Reads) -> Result<Block, NodeError> {
        self.answer(Question::Block, |node| {
            if let Some((height, depth, by)) = node.reorg_at
                && at.height.0 == height
            {
                node.reorg_at = None;
                node.reorg(depth, by);
            }
            match self.stale {
                Stale::Gone if !node.is_active(at) => return Err(NodeError::Gone(at)),
                Stale::Missing if !node.is_active(at) => return Err(missing("a stale block")),
                _ if at.height.0 < node.lacks_below => return Err(missing("a pruned block")),
                _ => {}
            }
            let mut block = node.blocks.get(&at.hash).ok_or_else(|| missing("a block"))?.clone();
            let lies = node.lie.as_mut().filter(|(height, times)| at.height.0 == *height && *times > 0);
            let mut moved = vec![block.to];
            moved.extend(block.from);
            if let Some((_, times)) = lies {
                *times -= 1;
                block.state = node.blocks[&block.header.parent].state.clone();
                (block.from, block.amount) = (None, 0);
                moved.clear();
            }
            let opening = at.height.0 == self.first;
            let state = self.proof == Proof::State;
            let is_few = watch.len() <= 100;
            let read = |(number, who): (AccountNo, &[u8])| {
                let (moved, holds) = (moved.contains(&who[1]), block.state.get(&who[1]).is_some_and(|held| *held > 0));
                let is_read = moved || reads.read.contains(&number.0) || opening && (is_few || holds);
                let proven = opening && is_few || moved || reads.prove.contains(&number.0);
                is_read.then(|| block.read(node, number, who, proven))
            };
            let readings = if state { watch.by_number().filter_map(read).collect() } else { Vec::new() };
            let blank = if state && opening && !is_few { vec![Asset::Native] } else { Vec::new() };
            let silent = moved.is_empty() || (state && opening);
            let effects = if silent { Vec::new() } else { block.legs(watch, !state) };
            let inputs = if silent || state { Vec::new() } else { block.inputs() };
            let spend = |input: &Input| {
                let Input { spends, tx, place, .. } = input;
                Spend { fingerprint: Fingerprint::get().of(spends), tx: *tx, place: *place }
            };
            let (header, txids) = (block.header.clone(), vec![block.txid()]);
            Ok(Block {
                header,
                txids,
                effects,
                spends: inputs.iter().map(spend).collect(),
                overwritten: None,
                readings,
                blank,
                remarks: Vec::new(),
                sealed: None,
                checked: true,
                opening,
                body: Box::new(Paid(block.payment(), inputs)),
            })
        })
    }

    fn prefers_filters(&self, _: u64, _: &Watch) -> bool {
        self.node().has_filters
    }

    fn may_move(&self, at: BlockRef, watch: &Watch) -> Result<bool, NodeError> {
        self.answer(Question::Filter, |node| {
            let block = node.blocks.get(&at.hash).ok_or_else(|| missing("a filter"))?;
            let moved = [Some(block.to), block.from].into_iter().flatten();
            let mut seen = moved.filter(|who| node.hides != Some((at.height.0, *who)));
            // One that seems to be touched now and then.
            Ok(block.header.seal[7] % 16 == 3 || seen.any(|who| watch.number(&account(who).0).is_some()))
        })
    }

    fn identify(&self) -> Result<(), NodeError> {
        self.answer(Question::Identify, |_| Ok(()))
    }

    fn check_header(&self, header: &Header, ancestors: &dyn Ancestors) -> Result<(), NodeError> {
        let below = header.height.previous().filter(|below| below.0 >= self.first);
        assert!(below.is_none_or(|below| ancestors.header(below).unwrap().hash == header.parent));
        Ok(())
    }

    fn read_again(&self, at: &Header, pairs: &[(AccountNo, Account, Asset)]) -> Result<Vec<Reading>, NodeError> {
        self.answer(Question::Prove, |node| {
            let block = &node.blocks[&at.hash];
            if at.height.0 < node.states_from {
                return Err(missing("an old state"));
            }
            let mut readings: Vec<_> =
                pairs.iter().map(|(number, who, _)| block.read(node, *number, &who.0, true)).collect();
            for one in readings.iter_mut().filter(|_| node.forgets) {
                (one.balance, one.proven) = (Err("an old state".into()), false);
            }
            Ok(readings)
        })
    }

    fn proves(&self, _: &Header) -> Result<bool, NodeError> {
        self.answer(Question::Prove, |node| Ok(self.proof == Proof::State && !node.proves_nothing && !node.forgets))
    }

    fn look(&self, at: &Header, accounts: &[(AccountNo, Account)]) -> Result<Vec<Reading>, NodeError> {
        self.answer(Question::Look, |node| {
            let block = &node.blocks[&at.hash];
            Ok(accounts.iter().map(|(number, who)| block.read(node, *number, &who.0, false)).collect())
        })
    }

    fn held(&self, at: &Header, accounts: &[(AccountNo, Account)]) -> Result<(BlockRef, Vec<Reading>), NodeError> {
        self.answer(Question::Held, |node| {
            let state = self.proof == Proof::State;
            let at = if state { at.at() } else { node.head() };
            let block = node.blocks.get(&at.hash).ok_or_else(|| missing("a block"))?.clone();
            let readings = accounts.iter().map(|(number, who)| block.read(node, *number, &who.0, state)).collect();
            if let Some((depth, by)) = node.reorg_as_held.take() {
                node.reorg(depth, by);
            }
            Ok((at, readings))
        })
    }

    fn pending(&self, _: TxId, _: &Header) -> Result<Option<Pending>, NodeError> {
        Ok(None)
    }

    fn check(&self) -> Result<Vec<Notice>, NodeError> {
        Ok(Vec::new())
    }
}

pub(super) fn missing(subject: &str) -> NodeError {
    NodeError::Missing { node: "fake".into(), subject: subject.into(), why: "for the test".into(), fault: None }
}
