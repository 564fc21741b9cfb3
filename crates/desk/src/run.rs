//! The desk's one thread: takes statements, looks at the chains, watches the time, and paints the picture anew.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use assay_registry::{Declarations, Declared};
use assay_store::{Row, Store};
use assay_types::{BlockRef, Digest, Height, Statement, Timestamp};
use assay_verifier::Reconciliation;
use serde_json::json;

use crate::alert::{Alert, Observation, State, observe, to_tell};
use crate::announced::{self, AnnounceError, Announced, with_announced};
use crate::case::{Case, Judged};
use crate::clock;
use crate::dropped::{self, Gone};
use crate::gate::{Gate, STALE};
use crate::handling::{self, Acknowledged, Handling, HandlingError, Maintenance, Silence};
use crate::keep::{self, KeptStatement, Rewrite};
use crate::observed::held;
use crate::outbox;
use crate::paint::{Easel, Painted, turned};
use crate::parts::side_by_side;
use crate::queue::Queue;
use crate::work::{Event, Inner, Receipt, Settings, SubmitError, Work, signed_by};
use crate::{
    BlockView, ChainView, DeskError, Dissent, ExchangeView, Priced, Source, StatementView, Trouble, View, World,
};

/// How often the time is looked at when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// How many of what is not urgent are judged before what is urgent is looked for again.
const RIPE_AT_ONCE: usize = 2;
/// How many exchanges are judged, or painted, before somebody who waits is looked for again.
const DUE_AT_ONCE: usize = 20;
/// So few exchanges are quicker judged or painted by one thread.
const FEW_EXCHANGES: usize = 2;

/// Where a chain stood when it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stand {
    tip: BlockRef,
    final_height: Option<Height>,
    /// Is it the nodes' tip, as far as is known?
    is_behind: bool,
    /// The nodes that say otherwise, and where they stand.
    dissent: Vec<(Dissent, Option<BlockRef>)>,
}

/// Everything that the thread owns.
pub(crate) struct Run {
    inner: Arc<Inner>,
    settings: Settings,
    alerts: BTreeMap<String, Alert>,
    cases: BTreeMap<String, Case>,
    /// Exchanges that are declared no longer.
    gone: Vec<Gone>,
    /// Each exchange's, by asset.
    gates: BTreeMap<String, Arc<Vec<Gate>>>,
    rewrites: BTreeMap<String, Vec<Rewrite>>,
    silences: Vec<Silence>,
    maintenance: Vec<Maintenance>,
    troubles: BTreeMap<String, Trouble>,
    stands: BTreeMap<String, Stand>,
    at_tips: BTreeMap<String, Option<Timestamp>>,
    /// What troubles each chain, as it was last kept.
    kept_troubles: BTreeMap<String, Option<Trouble>>,
    /// The exchanges as they were last painted, and when; and those that have changed since.
    painted: BTreeMap<String, Painted>,
    changed: BTreeSet<String>,
    /// Statements for which something may have changed: a few are judged between one thing and the next.
    due: Queue<(String, u64)>,
    /// Exchanges that are to be painted anew, a few at a time: nobody waits for them.
    later: Queue<String>,
    /// Those that wait for everything that is urgent: they are no longer the latest, and their blocks are final by now, or they
    /// claim much.
    ripe: Queue<(String, u64)>,
    /// Has a chain moved since the picture was painted?
    moved: bool,
    chain_troubles: Vec<(Option<Trouble>, Vec<Dissent>)>,
    next_event: u64,
    looked_at: Instant,
    /// The picture has waited since then for everything to be judged.
    due_since: Instant,
}

/// What is painted anew.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// What has changed: somebody waits for it.
    Changed,
    /// Also one of those that are found once a day.
    Daily,
    /// And what has grown old.
    All,
}

impl Run {
    /// Takes up where the rows leave off.
    pub(crate) fn resume(inner: Arc<Inner>, settings: Settings) -> Result<Run, DeskError> {
        let world = inner.world.read().clone();
        let (mut cases, mut rewrites) = (BTreeMap::new(), BTreeMap::new());
        for exchange in &world.declarations.exchanges {
            rewrites.insert(exchange.id.clone(), keep::rewrites(&inner.records, &exchange.id)?);
            cases.insert(exchange.id.clone(), Case::resume(&inner.records, &world, &exchange.id)?);
        }
        let gone = dropped::exchanges(&inner.records, &world)?;
        let gates = keep::gates(&inner.records)?;
        let (troubles, stands, at_tips, kept_troubles) = Default::default();
        let alerts = keep::alerts(&inner.records)?;
        let (silences, maintenance) = (handling::silences(&inner.records)?, handling::maintenance(&inner.records)?);
        let (painted, changed, due, later, ripe, chain_troubles) = Default::default();
        let mut run = Run {
            inner,
            settings,
            alerts,
            cases,
            gone,
            gates,
            rewrites,
            silences,
            maintenance,
            troubles,
            stands,
            at_tips,
            kept_troubles,
            painted,
            changed,
            due,
            later,
            ripe,
            moved: false,
            chain_troubles,
            next_event: 1,
            looked_at: Instant::now(),
            due_since: Instant::now(),
        };
        run.look_at_all();
        Ok(run)
    }

    /// Works until it is told to stop.
    pub(crate) fn work(&mut self, waiting: &Receiver<Work>) {
        loop {
            // However much there is to do, the time is looked at.
            if self.looked_at.elapsed() >= TICK {
                self.look();
            }
            let goes_on = self.go_on();
            let work = match waiting.try_recv() {
                Err(TryRecvError::Empty) if goes_on => continue,
                Err(TryRecvError::Empty) if !self.ripe.is_empty() => {
                    self.ripen();
                    continue;
                }
                Err(TryRecvError::Empty) if self.cases.values().any(Case::waits_for_a_turn) => {
                    self.paint(Scope::Daily);
                    continue;
                }
                Err(TryRecvError::Empty) => waiting.recv_timeout(TICK),
                Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
                Ok(work) => Ok(work),
            };
            match work {
                Ok(Work::Statement { exchange, statement, bytes, signature, reply }) => {
                    let receipt = self.take(&exchange, statement, bytes, signature);
                    self.paint(Scope::Changed);
                    let _ = reply.send(receipt); // whoever asked may have gone
                }
                Ok(Work::World(world, settings)) => {
                    self.settings = settings;
                    self.change_world(*world);
                }
                Ok(Work::Prices(prices)) => {
                    self.change_prices(prices);
                    self.paint(Scope::Changed);
                }
                Ok(Work::Handle(wish, reply)) => {
                    let done = self.handle(wish);
                    self.paint(Scope::Changed);
                    let _ = reply.send(done); // whoever asked may have gone
                }
                Ok(Work::Announce(announced, seen, reply)) => {
                    let _ = reply.send(self.announce(announced, &seen)); // whoever asked may have gone
                }
                Ok(Work::Look) | Err(RecvTimeoutError::Timeout) => {
                    self.inner.told_to_look.store(false, Ordering::Release);
                    self.look();
                }
                Ok(Work::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn world(&self) -> Arc<World> {
        self.inner.world.read().clone()
    }

    fn change_prices(&mut self, prices: Priced) {
        let world = World { prices, ..World::clone(&self.world()) };
        *self.inner.world.write() = Arc::new(world);
        self.changed.extend(self.cases.keys().cloned());
    }

    fn change_world(&mut self, world: World) {
        let declarations = match with_announced(&self.inner.records, &world.directory, &world.declarations) {
            Ok(declarations) => Arc::new(declarations),
            // Without them the exchanges would hold less than they do.
            Err(error) => {
                return tracing::error!(%error, "what was announced cannot be read: the files are not, either");
            }
        };
        let world = World { declarations, prices: self.world().prices.clone(), ..world };
        *self.inner.world.write() = Arc::new(world);
        let world = self.world();
        for exchange in &world.declarations.exchanges {
            match Case::resume(&self.inner.records, &world, &exchange.id) {
                Ok(mut case) => {
                    if let Some(before) = self.cases.get(&exchange.id) {
                        case.remember(before);
                    }
                    self.cases.insert(exchange.id.clone(), case);
                }
                Err(error) => tracing::error!(exchange = exchange.id, %error, "what was kept cannot be read"),
            }
        }
        self.cases.retain(|id, _| world.exchange(id).is_some());
        match dropped::exchanges(&self.inner.records, &world) {
            Ok(gone) => self.gone = gone,
            Err(error) => tracing::error!(%error, "which exchanges are declared no longer cannot be read"),
        }
        self.look_at_the_gone(&world);
        for exchange in &world.declarations.exchanges {
            match keep::rewrites(&self.inner.records, &exchange.id) {
                Ok(rewrites) => drop(self.rewrites.insert(exchange.id.clone(), rewrites)),
                Err(error) => tracing::error!(exchange = exchange.id, %error, "what was kept cannot be read"),
            }
        }
        self.painted.clear();
        self.look_at_all();
    }

    /// Keeps accounts that one exchange announced, and declares them from here on. What was judged stays: so far they hold nothing.
    fn announce(&mut self, announced: Vec<Announced>, seen: &Declarations) -> Result<Vec<Announced>, AnnounceError> {
        let world = self.world();
        let Some(exchange) = announced.first().map(|one| one.exchange.clone()) else { return Ok(announced) };
        if !world.declarations.is_kin_of(seen) {
            return Err(AnnounceError::NotNow("the exchanges' files were read again meanwhile: ask again".into()));
        }
        let (mut all, mut rows, mut more) = (Vec::with_capacity(announced.len()), Vec::new(), Vec::new());
        for one in announced {
            if let Some(before) = announced::find(&self.inner.records, &exchange, &one.chain, &one.address)? {
                all.push(before);
                continue;
            }
            rows.push(one.row()?);
            more.extend(one.declared(&world.directory, &announced::file()));
            all.push(one);
        }
        // Two may have announced the same at once: whoever was first has it.
        let wanted: HashSet<_> = more.iter().map(|on: &Declared| (&on.terms.chain, &on.account)).collect();
        for other in world.declarations.exchanges.iter().filter(|other| other.id != exchange) {
            let known = seen.exchange(&other.id).map_or(0, |seen| seen.accounts.len());
            if other.accounts.iter_from(known).any(|on| wanted.contains(&(&on.terms.chain, &on.account))) {
                return Err(AnnounceError::Conflict("one of them is another exchange's since a moment ago".into()));
            }
        }
        self.inner.records.write(&rows)?;
        let declarations = Arc::new(world.declarations.with(&exchange, more));
        let world = World { declarations, ..World::clone(&world) };
        *self.inner.world.write() = Arc::new(world);
        self.changed.insert(exchange);
        Ok(all)
    }

    /// Keeps a statement, and judges it.
    fn take(
        &mut self,
        exchange: &str,
        statement: Arc<Statement>,
        bytes: Vec<u8>,
        signature: Option<String>,
    ) -> Result<Receipt, SubmitError> {
        let failed = |error: DeskError| SubmitError::Failed(error.to_string());
        let latest = match self.cases.get(exchange) {
            Some(case) => case.latest.as_ref().map_or(0, |latest| latest.sequence),
            None => return Err(SubmitError::UnknownExchange(exchange.into())),
        };
        // Without a number, the same once more is known by its instant and its digest.
        let kept = match statement.sequence {
            Some(_) => None,
            None => keep::in_force(&self.inner.records, exchange, statement.as_of).map_err(failed)?,
        };
        let kept = kept.filter(|kept| kept.as_of == statement.as_of).map(|kept| kept.sequence);
        let kept = kept.map(|number| keep::statement(&self.inner.records, exchange, number)).transpose();
        let repeated = kept.map_err(failed)?.flatten().filter(|kept| kept.view.digest == statement.digest);
        let sequence = statement.sequence.or(repeated.map(|kept| kept.view.sequence)).unwrap_or(latest + 1);
        if let Some(kept) = keep::statement(&self.inner.records, exchange, sequence).map_err(failed)? {
            return self.again(exchange, &kept.view, statement.digest);
        }
        let (digest, as_of, received_at) = (statement.digest, statement.as_of, clock::now());
        // By the keys of now: they may have changed while it waited.
        let signed_by = signed_by(&self.world(), exchange, digest, signature.as_deref())?;
        let view = StatementView { sequence, digest, as_of, received_at, signature, signed_by };
        let kept = KeptStatement { view, bytes };
        let Some(case) = self.cases.get_mut(exchange) else {
            return Err(SubmitError::UnknownExchange(exchange.into()));
        };
        let mut rows = keep::statement_rows(exchange, &kept).map_err(failed)?;
        let mut history = case.history_with(&self.inner.records, sequence, &statement).map_err(failed)?;
        rows.extend(history.rows(exchange).map_err(failed)?);
        self.inner.records.write(&rows).map_err(|error| failed(error.into()))?;
        case.add(&kept, statement, history);
        let said = json!({ "sequence": sequence, "digest": digest, "as_of": as_of });
        self.tell("statement", Some(exchange), said);
        let verdict = self.judge(exchange, sequence);
        Ok(Receipt { sequence, digest, as_of, received_at, repeated: false, verdict })
    }

    /// The same once more is answered as before; another one under the same number is remembered and refused.
    fn again(&mut self, exchange: &str, kept: &StatementView, digest: Digest) -> Result<Receipt, SubmitError> {
        if kept.digest == digest {
            let open = self.cases.get(exchange).and_then(|case| case.open.get(&kept.sequence));
            let verdict = open.and_then(|open| open.verdict.clone());
            let StatementView { sequence, digest, as_of, received_at, .. } = *kept;
            return Ok(Receipt { sequence, digest, as_of, received_at, repeated: true, verdict });
        }
        let sequence = kept.sequence;
        let (was, came) = (kept.digest.to_string(), digest.to_string());
        let rewrite = Rewrite { sequence, kept: was, came, at: clock::now() };
        let row = keep::rewrite_row(exchange, &rewrite).and_then(|row| Ok(self.inner.records.write(&[row])?));
        row.map_err(|error| SubmitError::Failed(error.to_string()))?;
        self.changed.insert(exchange.to_owned());
        let rewrites = self.rewrites.entry(exchange.into()).or_default();
        if !rewrites.iter().any(|before| (before.sequence, &before.came) == (sequence, &rewrite.came)) {
            rewrites.push(rewrite);
        }
        Err(SubmitError::Conflict { sequence, kept: kept.digest })
    }

    /// Does what a person wishes: kept first, then done.
    fn handle(&mut self, wish: Handling) -> Result<serde_json::Value, HandlingError> {
        let (now, failed) = (clock::now(), |error: DeskError| HandlingError::Failed(error.to_string()));
        let keep =
            |row: Result<Row, DeskError>| row.and_then(|row| Ok(self.inner.records.write(&[row])?)).map_err(failed);
        match wish {
            Handling::Acknowledge { alert, by, note } => {
                let known = self.alerts.get(&alert).filter(|alert| alert.state != State::Resolved);
                let mut alert = known.cloned().ok_or(HandlingError::NotFound)?;
                alert.acknowledged = Some(Acknowledged { by, at: now, note });
                keep(keep::alert_row(&alert))?;
                self.alerts.insert(alert.id.clone(), alert.clone());
                self.tell("alert", Some(&alert.exchange), json!(alert));
                Ok(json!(alert))
            }
            Handling::Silence(silence) => {
                let silence = silence.begun(now)?;
                keep(silence.row())?;
                self.silences.push(silence.clone());
                Ok(json!(silence))
            }
            Handling::Unsilence { id } => {
                let place = self.silences.iter().position(|one| one.id == id && one.until > now);
                let place = place.ok_or(HandlingError::NotFound)?;
                let silence = Silence { until: now, ..self.silences[place].clone() };
                keep(silence.row())?;
                self.silences[place] = silence.clone();
                Ok(json!(silence))
            }
            Handling::Announce(announced) => {
                let known: Vec<_> =
                    self.maintenance.iter().filter(|one| one.exchange == announced.exchange).cloned().collect();
                announced.check(&known, self.settings.alerts.longest_maintenance_s)?;
                keep(announced.row())?;
                self.changed.insert(announced.exchange.clone());
                self.maintenance.push(announced.clone());
                Ok(json!(announced))
            }
        }
    }

    /// Judges one statement, and keeps the verdict if it is another one.
    fn judge(&mut self, exchange: &str, sequence: u64) -> Option<Arc<Reconciliation>> {
        self.judge_all(&[(exchange.to_owned(), sequence)]).pop()
    }

    /// Judges statements, the exchanges side by side, and keeps what is another verdict: in one write, then it is told.
    fn judge_all(&mut self, due: &[(String, u64)]) -> Vec<Arc<Reconciliation>> {
        let (world, now, inner) = (self.world(), clock::now(), self.inner.clone());
        let mut wanted: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        due.iter().for_each(|(exchange, sequence)| wanted.entry(exchange).or_default().push(*sequence));
        let cases = self.cases.iter_mut().filter_map(|(id, case)| Some((case, wanted.get(id.as_str())?)));
        let mut cases: Vec<(&mut Case, &Vec<u64>)> = cases.collect();
        let judge = |cases: &mut [(&mut Case, &Vec<u64>)]| -> Vec<(String, u64, Result<Option<Judged>, DeskError>)> {
            let mut judged = Vec::new();
            for (case, sequences) in cases {
                for sequence in *sequences {
                    let result = case.judge(&inner.records, &world, *sequence, now);
                    judged.push((case.exchange.clone(), *sequence, result));
                }
            }
            judged
        };
        let judged = side_by_side(&mut cases, FEW_EXCHANGES, judge);
        let mut judged: Vec<_> = judged.into_iter().flatten().collect();
        let rows: Vec<_> = judged
            .iter_mut()
            .filter_map(|(.., one)| one.as_mut().ok()?.as_mut())
            .flat_map(|one| std::mem::take(&mut one.rows))
            .collect();
        let kept = if rows.is_empty() { Ok(()) } else { self.inner.records.write(&rows) };
        let mut verdicts = Vec::new();
        for (exchange, sequence, result) in judged {
            self.changed.insert(exchange.clone());
            let failed = match (&kept, result) {
                (Ok(()), Ok(Some(judged))) => {
                    self.troubles.remove(&exchange);
                    if judged.changed {
                        let verdict = &judged.verdict;
                        let said = json!({ "sequence": sequence, "verdict": verdict.verdict, "stage": verdict.stage });
                        self.tell("verdict", Some(&exchange), said);
                    }
                    verdicts.push(judged.verdict);
                    continue;
                }
                (Ok(()), Ok(None)) => continue,
                (Ok(()), Err(error)) => error.to_string(),
                (Err(error), _) => error.to_string(),
            };
            tracing::error!(exchange, sequence, failed, "a statement could not be judged");
            self.troubles.entry(exchange).or_insert(Trouble { since: now, why: failed, lasting: true });
        }
        verdicts
    }

    /// Keeps since when chains are not followed, so that a restart does not begin to count anew.
    fn keep_troubles(&mut self, world: &World) {
        for source in world.sources.iter() {
            let Some(trouble) = source.trouble_now() else { continue };
            let since = |trouble: &Option<Trouble>| trouble.as_ref().map(|trouble| trouble.since);
            if self.kept_troubles.get(&source.name).map(since) == Some(since(&trouble)) {
                continue;
            }
            let row = keep::trouble_row(&source.name, trouble.as_ref());
            match row.and_then(|row| Ok(self.inner.records.write(&[row])?)) {
                Ok(()) => drop(self.kept_troubles.insert(source.name.clone(), trouble)),
                Err(error) => tracing::error!(chain = source.name, %error, "since when it is not followed is not kept"),
            }
        }
    }

    /// Looks at every chain and at the time, and judges what they may have changed.
    fn look(&mut self) {
        self.looked_at = Instant::now();
        let world = self.world();
        let now = clock::now();
        if !world.sources.iter().all(|source| source.is_told(now)) {
            return self.paint(Scope::All);
        }
        let allowed_s = i64::try_from(world.policy.max_index_silence.seconds).unwrap_or(i64::MAX);
        self.keep_troubles(&world);
        let mut moved = false;
        for source in world.sources.iter() {
            let Some(stand) = stand(source, now, allowed_s) else { continue };
            let before = self.stands.insert(source.name.clone(), stand.clone());
            moved |= before.as_ref() != Some(&stand);
            if before.map(|before| before.tip) != Some(stand.tip) {
                let hash = source.id.show_hash(&stand.tip.hash.0);
                let said = json!({ "chain": source.name, "height": stand.tip.height, "hash": hash,
                    "final_height": stand.final_height });
                self.tell("block", None, said);
            }
        }
        let final_heights: BTreeMap<&str, Option<Height>> =
            self.stands.iter().map(|(name, stand)| (name.as_str(), stand.final_height)).collect();
        let is_final =
            |chain: &str, height: u64| final_heights.get(chain).copied().flatten().is_some_and(|last| height <= last.0);
        // A chain that has caught up may tell of blocks that statements waited for.
        let mut caught_up = false;
        for source in world.sources.iter().filter(|source| source.at_tip().is_some()) {
            let at_tip = source.at_tip();
            caught_up |= self.at_tips.insert(source.name.clone(), at_tip) != Some(at_tip);
        }
        if self.due.is_empty() {
            self.due_since = self.looked_at;
        }
        for (id, case) in &self.cases {
            let touched = if moved { case.touched() } else { Vec::new() };
            let aged = case.latest.as_ref().filter(|_| grows_stale(case, &world, now)).map(|latest| latest.sequence);
            let unjudged = case.open.iter().filter(|(_, open)| open.verdict.is_none()).map(|(number, _)| *number);
            let blind = if caught_up && !moved { case.blind() } else { Vec::new() };
            for sequence in touched.into_iter().chain(aged).chain(unjudged).chain(blind) {
                let queue = if case.claims_much(sequence) { &mut self.ripe } else { &mut self.due };
                queue.add([(id.clone(), sequence)]);
            }
            let ripe = if moved { case.ripe(is_final) } else { Vec::new() };
            self.ripe.add(ripe.into_iter().map(|sequence| (id.clone(), sequence)));
        }
        self.moved |= moved;
        if self.due.is_empty() {
            self.show();
        }
    }

    /// Looks, and judges and shows everything at once.
    fn look_at_all(&mut self) {
        self.look();
        while self.go_on() {}
    }

    /// Judges or shows some of what is due: is there more? The picture follows once everything is judged, but however often that
    /// comes again, not much later.
    fn go_on(&mut self) -> bool {
        let few = self.due.take(DUE_AT_ONCE);
        self.judge_all(&few);
        self.later.add(std::mem::take(&mut self.changed));
        if !self.later.is_empty() && (self.due.is_empty() || self.due_since.elapsed() >= TICK) {
            self.show();
        }
        !self.due.is_empty() || !self.later.is_empty()
    }

    /// Paints some of what may have changed.
    fn show(&mut self) {
        if std::mem::take(&mut self.moved) {
            self.look_at_the_gone(&self.world());
            self.later.add(self.cases.keys().cloned()); // what left since is another question at each block
        }
        self.changed.extend(self.later.take(DUE_AT_ONCE));
        self.paint(Scope::All);
        self.due_since = Instant::now();
    }

    fn look_at_the_gone(&mut self, world: &World) {
        for gone in &mut self.gone {
            if let Err(error) = gone.look(world) {
                tracing::error!(exchange = gone.exchange, %error, "what its accounts hold cannot be told");
            }
        }
    }

    /// Judges a few of the statements that wait for everything that is urgent.
    fn ripen(&mut self) {
        let few = self.ripe.take(RIPE_AT_ONCE);
        self.judge_all(&few);
        self.paint(Scope::Changed);
    }

    /// Paints the picture anew.
    fn paint(&mut self, scope: Scope) {
        let (world, now) = (self.world(), clock::now());
        let chains = world.sources.iter().map(chain_view).collect();
        let chain_troubles: Vec<_> = world.sources.iter().map(|source| (source.trouble(), source.dissent())).collect();
        // How long a trouble lasts is shown, and matters to a rule.
        let all = chain_troubles.iter().any(|(trouble, _)| trouble.is_some()) || chain_troubles != self.chain_troubles;
        self.chain_troubles = chain_troubles;
        let mut waiting = self.cases.iter().filter(|(_, case)| scope != Scope::Changed && case.waits_for_a_turn());
        let turn = waiting.next().map(|(id, _)| id.clone());
        let aged = if scope == Scope::All { self.aged(now) } else { BTreeSet::new() };
        let is_due = |id: &String| {
            let changed = all || self.changed.contains(id) || aged.contains(id) || turn.as_ref() == Some(id);
            changed || !self.painted.contains_key(id)
        };
        let easel = |(id, case)| Easel {
            case,
            rewrites: self.rewrites.get(id).map_or(&[][..], Vec::as_slice),
            gates: self.gates.get(id).cloned().unwrap_or_default(),
            trouble: self.troubles.get(id).cloned(),
            maintenance: &self.maintenance,
            turn: turn.as_ref() == Some(id),
        };
        let mut easels: Vec<Easel<'_>> = self.cases.iter_mut().filter(|(id, _)| is_due(id)).map(easel).collect();
        let (records, settings) = (&self.inner.records, self.settings.gates);
        let painted = side_by_side(&mut easels, FEW_EXCHANGES, |easels| {
            easels.iter_mut().map(|easel| easel.paint(records, &world, settings, now)).collect::<Vec<Painted>>()
        });
        self.hang(painted.into_iter().flatten().collect());
        let exchanges: Vec<_> = self.cases.keys().filter_map(|id| Some(self.painted.get(id)?.view.clone())).collect();
        self.changed.clear();
        let alerts = self.alert(&exchanges, now);
        let silences = self.silences.iter().filter(|silence| silence.until > now).cloned().collect();
        let view = View { at: now, chains, exchanges, alerts, silences };
        *self.inner.view.write() = Arc::new(view);
    }

    /// Takes exchanges as they were painted into the picture: what their gates say otherwise is kept first, then told.
    fn hang(&mut self, painted: Vec<Painted>) {
        let (mut gates, mut rows) = (Vec::new(), Vec::new());
        for one in painted {
            let before = self.gates.insert(one.view.id.clone(), one.view.gates.clone()).unwrap_or_default();
            match turned(&one.view, &before) {
                Ok((turned, more)) => {
                    gates.extend(turned.into_iter().map(|gate| (one.view.id.clone(), gate)));
                    rows.extend(more);
                }
                Err(error) => tracing::error!(exchange = one.view.id, %error, "gates could not be kept"),
            }
            self.painted.insert(one.view.id.clone(), one);
        }
        let kept = if rows.is_empty() { Ok(()) } else { self.inner.records.write(&rows) };
        if let Err(error) = kept {
            tracing::error!(%error, "gates could not be kept: a restart would not know that they were halted");
        }
        for (exchange, gate) in gates {
            self.tell("gate", Some(&exchange), json!(gate));
        }
    }

    /// The exchanges that the time alone makes worth painting anew: those whose gates count seconds, and of those whose answers will
    /// expire a few at a time, the oldest first.
    fn aged(&self, now: Timestamp) -> BTreeSet<String> {
        let refreshed_s = (self.settings.gates.holds_s / 3).max(1);
        let counts = |gate: &Gate| gate.clear_since.is_some() || gate.blind_since.is_some();
        let (counting, others): (Vec<_>, Vec<_>) =
            self.painted.iter().partition(|(_, one)| now != one.at && one.view.gates.iter().any(counts));
        let mut old: Vec<_> = others.into_iter().filter(|(_, one)| now.seconds_since(one.at) >= refreshed_s).collect();
        old.sort_by_key(|(_, one)| one.at);
        let few = self.painted.len().div_ceil(usize::try_from(refreshed_s).unwrap_or(1));
        counting.into_iter().chain(old.into_iter().take(few)).map(|(id, _)| id.clone()).collect()
    }

    /// Brings the alerts up to what is found now: kept first, then told.
    fn alert(&mut self, exchanges: &[Arc<ExchangeView>], now: Timestamp) -> Vec<Alert> {
        let mut observed: Vec<Observation> = Vec::new();
        for exchange in exchanges {
            let expected = |rule: &str| exchange.maintenance.iter().any(|one| one.expects(rule, now));
            let painted = self.painted.get(&exchange.id).map_or(&[][..], |painted| &painted.observed);
            observed.extend(
                painted.iter().map(|one| Observation { holds: one.holds || expected(one.rule), ..one.clone() }),
            );
        }
        observed.extend(self.gone.iter().flat_map(|gone| gone.told.iter().flatten().cloned()));
        observed.extend(held(&self.alerts, &self.cases, exchanges));
        let is_judged = |exchange: &ExchangeView| exchange.verdict.is_some() || exchange.statement.is_none();
        let known = exchanges.iter().filter(|exchange| exchange.trouble.is_none() && is_judged(exchange));
        let known: BTreeSet<&str> = known.map(|exchange| exchange.id.as_str()).collect();
        let gone = |id: &str| self.gone.iter().find(|gone| gone.exchange == id);
        let judged = |id: &str, rule: &str| known.contains(id) || gone(id).is_some_and(|gone| gone.judges(rule));
        let mut next = self.alerts.clone();
        let changed = observe(&mut next, &observed, judged, &self.settings.alerts, now);
        let told = to_tell(&mut next, &self.silences, &self.settings.alerts, now);
        let differs = |(id, alert): &(&String, &Alert)| self.alerts.get(*id) != Some(*alert);
        let written = next.iter().filter(differs).map(|(_, alert)| keep::alert_row(alert));
        let gone = self.alerts.keys().filter(|id| !next.contains_key(*id)).map(|id| Ok(keep::no_alert_row(id)));
        let rows: Result<Vec<_>, DeskError> = written.chain(gone).collect();
        let rows = rows.and_then(|mut rows| {
            rows.extend(outbox::rows(&self.inner.records, &self.settings.receivers, &told)?);
            Ok(rows)
        });
        let kept = rows.and_then(|rows| if rows.is_empty() { Ok(()) } else { Ok(self.inner.records.write(&rows)?) });
        match kept {
            Ok(()) => self.alerts = next,
            // As they were: the next look tries again.
            Err(error) => {
                tracing::error!(%error, "alerts could not be kept");
                return self.alerts.values().cloned().collect();
            }
        }
        for alert in changed {
            self.tell("alert", Some(&alert.exchange), json!(alert));
        }
        let mut alerts: Vec<Alert> = self.alerts.values().cloned().collect();
        alerts.sort_by(|a, b| {
            (a.severity, &a.exchange, &a.asset, &a.rule).cmp(&(b.severity, &b.exchange, &b.asset, &b.rule))
        });
        alerts
    }

    fn tell(&mut self, kind: &'static str, exchange: Option<&str>, json: serde_json::Value) {
        let event = Event { id: self.next_event, kind, exchange: exchange.map(str::to_owned), json };
        self.next_event += 1;
        let _ = self.inner.events.send(Arc::new(event)); // nobody may be listening
    }
}

/// Where a chain stands; nothing while its store is not there or cannot be read.
fn stand(source: &Source, now: Timestamp, allowed_s: i64) -> Option<Stand> {
    let store = source.store().ok()?;
    let theirs = |store: Arc<Store>| store.tip().ok().flatten().map(|tip| tip.at());
    let dissent = source.branches().into_iter().map(|branch| (branch.dissent, branch.store.and_then(theirs)));
    Some(Stand {
        tip: store.tip().ok()??.at(),
        final_height: source.final_height(&store).ok()?,
        is_behind: source.behind_now(now, allowed_s).is_some(),
        dissent: dissent.collect(),
    })
}

/// Has the latest statement become too old since it was last judged?
fn grows_stale(case: &Case, world: &World, now: Timestamp) -> bool {
    let Some(verdict) = case.verdict() else { return false };
    let allowed_s = i64::try_from(world.policy.max_statement_age.seconds).unwrap_or(i64::MAX);
    let is_stale = verdict.findings.iter().any(|finding| finding.rule == STALE);
    let since = now.seconds_since(verdict.statement.as_of);
    !is_stale && since > allowed_s
}

fn chain_view(source: &Source) -> ChainView {
    let (heard, dissent) = (source.heard(), source.dissent());
    let store = source.store();
    let tip = store.as_ref().ok().and_then(|store| store.tip().ok().flatten());
    let final_height = store.as_ref().ok().and_then(|store| store.final_height().ok().flatten());
    let indexed = tip.map(|tip| BlockView {
        height: tip.height,
        hash: source.id.show_hash(&tip.hash.0),
        time: tip.time,
        is_final: final_height.is_some_and(|last| tip.height <= last),
    });
    ChainView {
        name: source.name.clone(),
        id: source.id.clone(),
        head: heard.head,
        source: heard.source,
        indexed,
        final_height,
        catching_up: heard.catching_up,
        reorgs: heard.reorgs,
        source_errors: heard.errors,
        trouble: source.trouble(),
        dissenting_nodes: dissent.len(),
        dissent,
        nodes: heard.nodes,
    }
}
