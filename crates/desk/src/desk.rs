//! The desk's handle: what others ask of it, from any thread. The work is done by one thread, see `run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use assay_registry::Accounts;
use assay_store::Records;
use assay_types::{Digest, Directory, Statement, Timestamp};
use parking_lot::RwLock;
use tokio::sync::broadcast;

use crate::announced::with_announced;
use crate::clock;
use crate::handling::{Handling, HandlingError};
use crate::keep::{self, KeptStatement, KeptVerdict};
use crate::outbox::{self, Message};
use crate::work::{Desk, Event, Inner, Receipt, Settings, SubmitError, Work, signed_by};
use crate::{Branch, DeskError, Point, Priced, Source, StatementView, Sums, View, World, case, course, question, run};

/// No more than so many pieces of work wait for the desk's thread; whoever brings more waits.
const WORK_WAITING: usize = 1024;
/// A listener that falls so far behind misses events, and is told.
const EVENTS_KEPT: usize = 1024;

impl Desk {
    /// Opens what was kept, and starts the desk's thread.
    ///
    /// # Errors
    /// When what was kept cannot be read.
    pub fn start(records: Records, world: World, settings: Settings) -> Result<(Desk, JoinHandle<()>), DeskError> {
        let (work, waiting): (_, Receiver<Work>) = sync_channel(WORK_WAITING);
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let view = View {
            at: clock::now(),
            chains: Vec::new(),
            exchanges: Vec::new(),
            alerts: Vec::new(),
            silences: Vec::new(),
        };
        for source in world.sources.iter() {
            let known = keep::dissent(&records, &source.name)?;
            source.set_branches(known.into_iter().map(|dissent| Branch { dissent, store: None }).collect());
            keep::trouble(&records, &source.name)?.into_iter().for_each(|trouble| source.trouble_before(trouble));
        }
        let declarations = Arc::new(with_announced(&records, &world.directory, &world.declarations)?);
        let world = World { sums: Sums::Kept(Arc::default()), declarations, ..world };
        let (world, view) = (RwLock::new(Arc::new(world)), RwLock::new(Arc::new(view)));
        let desk = Desk(Arc::new(Inner { records, world, view, events, work, told_to_look: AtomicBool::new(false) }));
        let mut run = run::Run::resume(desk.0.clone(), settings)?;
        let thread = std::thread::Builder::new().name("desk".into()).spawn(move || run.work(&waiting));
        let thread = thread.map_err(|error| DeskError::Damaged(format!("no thread could be started: {error}")))?;
        Ok((desk, thread))
    }

    /// The picture now.
    pub fn view(&self) -> Arc<View> {
        self.0.view.read().clone()
    }

    /// What happens from here on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.events.subscribe()
    }

    /// Says that something may have changed. Told often, it is looked at once; and at every tick anyhow.
    pub fn look(&self) {
        if !self.0.told_to_look.swap(true, Ordering::AcqRel) {
            let _ = self.0.work.try_send(Work::Look);
        }
    }

    /// Goes on with other prices.
    pub fn reprice(&self, prices: Priced) {
        let _ = self.0.work.send(Work::Prices(prices));
    }

    /// Notes which of a chain's nodes have other final blocks, and what they say by them. It is remembered over a restart: until the
    /// node is asked again it has not changed its mind.
    ///
    /// # Errors
    /// When the database fails; then it holds all the same, for as long as the process lasts.
    pub fn set_branches(&self, source: &Source, branches: Vec<Branch>) -> Result<(), DeskError> {
        let dissent: Vec<_> = branches.iter().map(|branch| branch.dissent.clone()).collect();
        let changed = source.dissent() != dissent;
        source.set_branches(branches);
        if changed {
            self.0.records.write(&[keep::dissent_row(&source.name, &dissent)?])?;
        }
        self.look();
        Ok(())
    }

    /// Goes on with other files. The chains stay those that there are, and the prices.
    pub fn reload(&self, world: World, settings: Settings) {
        let world = World { sums: Sums::Kept(Arc::default()), ..world };
        let _ = self.0.work.send(Work::World(Box::new(world), settings));
    }

    /// Does what a person wishes about alerts, and gives what is on record then. Blocks until it is kept.
    ///
    /// # Errors
    /// See [`HandlingError`].
    pub fn handle(&self, wish: Handling) -> Result<serde_json::Value, HandlingError> {
        let stopped = || HandlingError::Failed(DeskError::Stopped.to_string());
        let (reply, answer) = sync_channel(1);
        self.0.work.send(Work::Handle(wish, reply)).map_err(|_| stopped())?;
        answer.recv().map_err(|_| stopped())?
    }

    /// Ends the desk's thread after what waits before this.
    pub fn stop(&self) {
        let _ = self.0.work.send(Work::Stop);
    }

    /// Takes a statement: checked, kept, judged, in that order. Blocks until it is judged.
    ///
    /// # Errors
    /// See [`SubmitError`]. Whatever is answered, a statement that was kept stays.
    pub fn submit(&self, exchange: &str, bytes: &[u8], signature: Option<&str>) -> Result<Receipt, SubmitError> {
        let world = self.world();
        if world.exchange(exchange).is_none() {
            return Err(SubmitError::UnknownExchange(exchange.into()));
        }
        signed_by(&world, exchange, Digest::of(bytes), signature)?; // before anything is parsed
        let statement = case::parse(&world, bytes).map_err(SubmitError::Refused)?;
        if statement.exchange != exchange {
            let why = format!("exchange: is `{}`, but it was sent for `{exchange}`", statement.exchange);
            return Err(SubmitError::Refused(vec![why]));
        }
        await_blocks(&world, &statement);
        let (reply, answer) = sync_channel(1);
        let work = Work::Statement {
            exchange: exchange.into(),
            statement: Arc::new(statement),
            bytes: bytes.to_vec(),
            signature: signature.map(str::to_owned),
            reply,
        };
        let stopped = || SubmitError::Failed(DeskError::Stopped.to_string());
        self.0.work.send(work).map_err(|_| stopped())?;
        answer.recv().map_err(|_| stopped())?
    }

    /// An exchange's statements with numbers below `before`, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn statements(
        &self,
        exchange: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<StatementView>, DeskError> {
        let kept = keep::statements(&self.0.records, exchange, before, limit)?;
        Ok(kept.into_iter().map(|kept| kept.view).collect())
    }

    /// One asset of an exchange over time, since an instant, the oldest first: of more than `most` statements the worst of each few.
    ///
    /// # Errors
    /// When the database fails.
    pub fn points(&self, exchange: &str, asset: &str, from: Timestamp, most: usize) -> Result<Vec<Point>, DeskError> {
        course::points(&self.0.records, exchange, asset, from, most)
    }

    /// A statement's bytes as received.
    ///
    /// # Errors
    /// When the database fails.
    pub fn statement(&self, exchange: &str, sequence: u64) -> Result<Option<Vec<u8>>, DeskError> {
        let kept: Option<KeptStatement> = keep::statement(&self.0.records, exchange, sequence)?;
        Ok(kept.map(|kept| kept.bytes))
    }

    /// An exchange's verdicts with numbers below `before`, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn verdicts(&self, exchange: &str, before: Option<u64>, limit: usize) -> Result<Vec<KeptVerdict>, DeskError> {
        keep::verdicts(&self.0.records, exchange, before, limit)
    }

    /// The oldest message that waits for a receiver.
    ///
    /// # Errors
    /// When the database fails.
    pub fn next_message(&self, receiver: &str) -> Result<Option<Message>, DeskError> {
        outbox::next(&self.0.records, receiver)
    }

    /// Lets go of a message that the receiver has taken.
    ///
    /// # Errors
    /// When the database fails.
    pub fn message_taken(&self, receiver: &str, number: u64) -> Result<(), DeskError> {
        Ok(self.0.records.write(&[outbox::done(receiver, number)])?)
    }

    /// The chains.
    pub fn sources(&self) -> Arc<Vec<Source>> {
        self.world().sources.clone()
    }

    /// Chains and assets by name.
    pub fn directory(&self) -> Arc<Directory> {
        self.world().directory.clone()
    }

    /// What an exchange declares and has announced.
    pub fn wallets(&self, exchange: &str) -> Option<Accounts> {
        self.world().exchange(exchange).map(|exchange| exchange.accounts.clone())
    }

    /// What an exchange holds now, as `assay holdings --json` gives it; nothing for an exchange that is not declared.
    ///
    /// # Errors
    /// When a database fails.
    pub fn holdings(&self, exchange: &str) -> Result<Option<serde_json::Value>, DeskError> {
        let world = self.world();
        let Some(exchange) = world.exchange(exchange) else { return Ok(None) };
        Ok(Some(crate::holdings(&world, exchange, None, clock::now())?.0))
    }

    /// What everything is judged with.
    pub fn world(&self) -> Arc<World> {
        self.0.world.read().clone()
    }
}

/// Waits a moment for blocks that the statement speaks of and that are still on their way: the exchange's node may have had them
/// first, and what is judged without them would be judged wrongly.
fn await_blocks(world: &World, statement: &Statement) {
    const LONGEST: Duration = Duration::from_secs(3);
    const LOOK: Duration = Duration::from_millis(20);
    let Some(exchange) = world.exchange(&statement.exchange) else { return };
    let until = Instant::now() + LONGEST;
    let named = |source: &Source| statement.blocks.iter().find(|(id, _)| *id == source.id).map(|(_, at)| *at);
    let there = |source: &Source| source.has(statement.as_of, named(source), clock::now());
    while Instant::now() < until && !question::concerned(world, exchange, Some(statement)).all(there) {
        std::thread::sleep(LOOK);
    }
}
