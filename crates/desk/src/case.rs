//! One exchange's case: its statements that wait for a final verdict, and what was concluded so far.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use assay_store::{Records, Row};
use assay_types::{BlockRef, Statement, Timestamp};
use assay_verifier::rules::{Before, Departure, Following, Previous, Rewritten, Unreported, unreported};
use assay_verifier::{
    BlockLine, Finding, Ordinary, Reconciliation, Stage, Surroundings, again, reconcile, watch, watch_chains,
};

use crate::course::{self, Course, ShortSince};
use crate::daily::Daily;
use crate::evidence::gather;
use crate::keep::{self, KeptStatement, KeptVerdict, LastFinal, Rewrite};
use crate::left::departure;
use crate::moment::Moment;
use crate::question::Question;
use crate::{DeskError, Source, StatementView, World, dropped, since};

/// A statement that may still get another verdict.
pub(crate) struct Open {
    pub(crate) statement: Arc<Statement>,
    pub(crate) verdict: Option<Arc<Reconciliation>>,
    kept: Kept,
    received_at: Timestamp,
    /// Of the balances that the verdict rests on.
    mark: Option<u64>,
    /// The chains of which a block that it names, and on which it was judged, has left the chain.
    lost: BTreeSet<String>,
}

/// A statement that is not the latest, and waits for blocks to become final: all else is in the records.
struct Shelved {
    blocks: Vec<BlockLine>,
    verdict: u64,
}

/// The verdict as it was last kept.
enum Kept {
    Nothing,
    /// By an earlier process.
    Row(Arc<KeptVerdict>),
    Given {
        number: u64,
        /// The number of the row that has the whole of it.
        whole: u64,
        verdict: Arc<Reconciliation>,
    },
}

/// One exchange.
pub(crate) struct Case {
    pub(crate) exchange: String,
    /// By number; the latest is always among them.
    pub(crate) open: BTreeMap<u64, Open>,
    shelved: BTreeMap<u64, Shelved>,
    pub(crate) latest: Option<StatementView>,
    pub(crate) last_final: Option<LastFinal>,
    /// The statement before the latest, and its number.
    previous: Option<(u64, Previous)>,
    /// What that one came to, by symbol.
    before: BTreeMap<String, Before>,
    history: History,
    /// Accounts that were declared once.
    dropped: Vec<dropped::Place>,
    watched: Option<Watched>,
    /// What is found once a day.
    pub(crate) daily: Daily,
    /// What its statements came to.
    course: Course,
    /// Since when what is short is.
    pub(crate) short_since: Arc<BTreeMap<String, ShortSince>>,
    next_verdict: u64,
    /// For the marks of evidence.
    keys: RandomState,
}

/// What is remembered of the statements before the latest.
#[derive(Default)]
pub(crate) struct History {
    days: Days,
    /// What they owed of assets that are not reported any more.
    unreported: BTreeMap<String, Unreported>,
    /// What in it the rows do not have yet.
    news: News,
}

/// What is to be kept of a history.
#[derive(Default)]
struct News {
    /// What the latest statement's day traded, with it.
    today: Option<Ordinary>,
    unreported: bool,
}

/// What the statements before the latest traded.
#[derive(Default, Clone)]
struct Days {
    day: u64,
    /// On that day and those before it.
    all: Ordinary,
}

/// What watching found, and of what.
struct Watched {
    verdict: Arc<Reconciliation>,
    rewrites: usize,
    following: Vec<Following>,
    tips: Vec<(String, Option<BlockRef>)>,
    /// Assets of which something is unknown on the last blocks.
    unknown_now: BTreeSet<String>,
    findings: Arc<Vec<Arc<Finding>>>,
}

/// What a new verdict adds to what is kept.
pub(crate) struct Judged {
    pub(crate) verdict: Arc<Reconciliation>,
    /// Is it another than the one before?
    pub(crate) changed: bool,
    pub(crate) rows: Vec<Row>,
}

/// So many claims take longer than all else in a statement.
const MANY_CLAIMS: usize = 1000;
/// For how many days what was traded is remembered.
const DAYS: u64 = 30;
const DAY_S: i64 = 86_400;
/// How many kept verdicts are looked through for the last final one, when the desk starts.
const LOOKED_THROUGH: usize = 1000;

impl Case {
    /// Takes up where the rows leave off.
    pub(crate) fn resume(records: &Records, world: &World, exchange: &str) -> Result<Case, DeskError> {
        let kept = keep::verdicts(records, exchange, None, LOOKED_THROUGH)?;
        let kept: Vec<Arc<KeptVerdict>> = kept.into_iter().map(Arc::new).collect();
        let next_verdict = kept.first().map_or(1, |last| last.number + 1);
        let last_final = kept.iter().find_map(|kept| kept.as_final());
        let latest = keep::statements(records, exchange, None, 1)?.into_iter().next();
        let mut waiting = keep::open(records, exchange)?;
        waiting.extend(latest.as_ref().map(|latest| latest.view.sequence));
        let mut open = BTreeMap::new();
        for sequence in waiting {
            let Some(statement) = keep::statement(records, exchange, sequence)? else { continue };
            let before = kept.iter().find(|kept| kept.sequence == sequence).cloned();
            match parse(world, &statement.bytes) {
                Ok(parsed) => {
                    let kept = before.map_or(Kept::Nothing, Kept::Row);
                    open.insert(sequence, Open::new(parsed.into(), kept, statement.view.received_at));
                }
                // It was right when it came: a chain or an asset has left the configuration since.
                Err(errors) => tracing::warn!(exchange, sequence, ?errors, "a statement cannot be judged any more"),
            }
        }
        let latest = latest.map(|latest| latest.view);
        let previous = match &latest {
            Some(latest) => keep::statements(records, exchange, Some(latest.sequence), 1)?.into_iter().next(),
            None => None,
        };
        let previous_number = previous.as_ref().map(|kept| kept.view.sequence);
        let previous = previous.and_then(|kept| parse(world, &kept.bytes).ok());
        let mut history = History { unreported: keep::unreported(records, exchange)?, ..History::default() };
        if let Some(previous) = &previous {
            history.days = Days::up_to(records, exchange, day(previous.as_of))?;
            let number = latest.as_ref().map_or(0, |latest| latest.sequence);
            if let Some(latest) = open.get(&number) {
                history.unreported = unreported(history.unreported, previous, &latest.statement);
            }
        }
        let verdict = previous.as_ref().and_then(|_| kept.iter().find(|kept| Some(kept.sequence) == previous_number));
        let before = match (&previous, verdict) {
            (Some(previous), Some(verdict)) => keep::lines_before(records, verdict, previous)?,
            _ => BTreeMap::new(),
        };
        let dropped = world.exchange(exchange).map(|exchange| dropped::note(records, world, exchange)).transpose()?;
        let course = Course::resume(records, exchange)?;
        let short_since = Arc::new(course::kept_short_since(world, &kept));
        let (dropped, exchange) = (dropped.unwrap_or_default(), exchange.to_owned());
        let (shelved, watched, daily) = Default::default();
        Ok(Case {
            exchange,
            open,
            shelved,
            latest,
            last_final,
            previous: previous_number.zip(previous.as_ref().map(Previous::of)),
            before,
            history,
            dropped,
            watched,
            daily,
            course,
            short_since,
            next_verdict,
            keys: RandomState::new(),
        })
    }

    /// What is remembered once another statement comes after the latest one: what that traded becomes ordinary.
    pub(crate) fn history_with(
        &self,
        records: &Records,
        sequence: u64,
        next: &Statement,
    ) -> Result<History, DeskError> {
        let latest = self.latest.as_ref().filter(|latest| latest.sequence < sequence);
        let Some(open) = latest.and_then(|latest| self.open.get(&latest.sequence)) else {
            let unreported = self.history.unreported.clone();
            return Ok(History { unreported, ..History::default() });
        };
        let day = day(open.statement.as_of);
        let mut days = match day == self.history.days.day {
            true => self.history.days.clone(),
            false => Days::up_to(records, &self.exchange, day)?,
        };
        let mut today = keep::days(records, &self.exchange, day..day + 1)?;
        today.add(&open.statement);
        days.all.add(&open.statement);
        let unreported = unreported(self.history.unreported.clone(), &open.statement, next);
        let news = News { today: Some(today), unreported: unreported != self.history.unreported };
        Ok(History { days, unreported, news })
    }

    /// Adds a statement, and what is remembered from here on.
    pub(crate) fn add(&mut self, kept: &KeptStatement, statement: Arc<Statement>, history: History) {
        let sequence = kept.view.sequence;
        let is_between = self.latest.as_ref().is_some_and(|latest| sequence < latest.sequence)
            && self.previous.as_ref().is_none_or(|(number, _)| *number < sequence);
        if is_between {
            // It came late, and what it comes to is known once it is judged.
            self.previous = Some((sequence, Previous::of(&statement)));
            (self.before, self.watched) = Default::default();
        }
        self.open.insert(sequence, Open::new(statement, Kept::Nothing, kept.view.received_at));
        if self.latest.as_ref().is_none_or(|latest| latest.sequence < sequence) {
            let before = self.latest.replace(kept.view.clone());
            let previous = before.as_ref().and_then(|before| self.open.get(&before.sequence));
            self.before = previous.and_then(|open| open.verdict.as_deref()).map(lines).unwrap_or_default();
            let number = before.as_ref().map(|before| before.sequence);
            self.previous = number.zip(previous.map(|previous| Previous::of(&previous.statement)));
            self.history = history;
            if let Some(before) = before {
                self.let_go(before.sequence);
            }
        }
    }

    /// Judges a statement as of now. Nothing is kept yet: the caller writes the rows.
    pub(crate) fn judge(
        &mut self,
        records: &Records,
        world: &World,
        sequence: u64,
        now: Timestamp,
    ) -> Result<Option<Judged>, DeskError> {
        let Some(exchange) = world.exchange(&self.exchange) else { return Ok(None) };
        self.unshelve(records, world, sequence)?;
        let Some(open) = self.open.get_mut(&sequence) else { return Ok(None) };
        let statement = open.statement.clone();
        let question = Question {
            exchange,
            as_of: statement.as_of,
            latest: false,
            named: &statement.blocks,
            ignore_named_after_s: i64::try_from(world.policy.max_statement_age.seconds).unwrap_or(i64::MAX),
            now,
        };
        let evidence = gather(world, &question, &statement)?;
        // Once another has followed, it will not grow older: what counts is how old it was when it came.
        let is_latest = self.latest.as_ref().is_none_or(|latest| latest.sequence == sequence);
        let aged = if is_latest { now } else { open.received_at };
        let (mark, policy) = (evidence.mark(&self.keys), &world.policy);
        let before = open.verdict.as_ref().filter(|_| mark.is_some() && open.mark == mark);
        let repeated = before.and_then(|before| again(before, &statement, &evidence, policy, aged));
        let mut verdict = repeated.unwrap_or_else(|| reconcile(&statement, &evidence, policy, aged, world.program));
        open.mark = mark;
        open.lost = open.lost_blocks(world)?;
        if let Some(before) = open.verdict.as_ref().filter(|before| before.is_repeated_by(&verdict)) {
            (verdict.lines, verdict.findings) = (before.lines.clone(), before.findings.clone()); // there once, not twice
        }
        let verdict = Arc::new(verdict);
        if self.before.is_empty() && self.previous.as_ref().is_some_and(|(number, _)| *number == sequence) {
            self.before = lines(&verdict);
        }
        if is_latest {
            self.short_since = course::short_since(world, &self.short_since, sequence, &verdict).into();
        }
        let changed = !open.kept.is(&verdict)?;
        let was_final = open.kept.is_final();
        open.verdict = Some(verdict.clone());
        let mut rows = Vec::new();
        // A final verdict is given once: what age adds to it later is a finding of the day, not another verdict.
        if changed && !was_final {
            let number = self.next_verdict;
            let repeats = match &open.kept {
                Kept::Given { whole, verdict: before, .. } if before.is_repeated_by(&verdict) => Some(*whole),
                _ => None,
            };
            rows.push(keep::verdict_row(number, sequence, now, &verdict, repeats)?);
            let moment = Moment::of(&verdict, sequence, number);
            rows.push(keep::as_of_row(&self.exchange, statement.as_of, sequence, Some(moment)));
            self.course.add(moment);
            open.kept = Kept::Given { number, whole: repeats.unwrap_or(number), verdict: verdict.clone() };
            if verdict.stage == Stage::Final {
                rows.push(keep::closed_row(&self.exchange, sequence));
                if self.last_final.as_ref().is_none_or(|last| last.sequence <= sequence) {
                    let verdict = verdict.verdict;
                    self.last_final = Some(LastFinal { number, sequence, given_at: now, verdict });
                }
            }
            self.next_verdict += 1;
        }
        self.let_go(sequence);
        Ok(Some(Judged { verdict, changed, rows }))
    }

    /// Takes a statement from the records again.
    fn unshelve(&mut self, records: &Records, world: &World, sequence: u64) -> Result<(), DeskError> {
        let Some(shelved) = self.shelved.remove(&sequence) else { return Ok(()) };
        let Some(known) = keep::statement(records, &self.exchange, sequence)? else { return Ok(()) };
        match parse(world, &known.bytes) {
            Ok(statement) => {
                let kept = keep::verdict(records, &self.exchange, shelved.verdict)?;
                let kept = kept.map_or(Kept::Nothing, |kept| Kept::Row(Arc::new(kept)));
                self.open.insert(sequence, Open::new(statement.into(), kept, known.view.received_at));
            }
            Err(errors) => {
                tracing::warn!(self.exchange, sequence, ?errors, "a statement cannot be judged any more");
            }
        }
        Ok(())
    }

    /// What is wrong now: the latest statement's verdict, what watching adds to it, and what is found once a day; before the first one what is
    /// wrong with the chains. `turn`: may what is found once a day be found anew?
    pub(crate) fn findings(
        &mut self,
        records: &Records,
        world: &World,
        rewrites: &[Rewrite],
        now: Timestamp,
        turn: bool,
    ) -> Arc<Vec<Arc<Finding>>> {
        let found = self.watched(world, rewrites, now);
        match self.verdict() {
            Some(_) => self.daily.add_to(found, (records, world, &self.exchange), now, turn),
            None => found,
        }
    }

    fn watched(&mut self, world: &World, rewrites: &[Rewrite], now: Timestamp) -> Arc<Vec<Arc<Finding>>> {
        let open = self.latest.as_ref().and_then(|latest| self.open.get(&latest.sequence));
        let Some((statement, Some(verdict))) = open.map(|open| (&*open.statement, &open.verdict)) else {
            let declared = world.exchange(&self.exchange).filter(|_| self.latest.is_none());
            let Some(declared) = declared else { return Arc::default() };
            let following = following(world, |source| declared.accounts.chains().any(|chain| *chain == source.id));
            return Arc::new(watch_chains(&following, &world.policy, now).into_iter().map(Arc::new).collect());
        };
        let following = following(world, |source| verdict.blocks.iter().any(|block| block.chain == source.name));
        let untroubled = following.iter().all(|following| following.trouble.is_none());
        let tips = since::tips(world);
        let same = |watched: &&Watched| {
            Arc::ptr_eq(&watched.verdict, verdict)
                && watched.rewrites == rewrites.len()
                && watched.following == following
                && watched.tips == tips
                && untroubled // else how long it lasts matters
        };
        if let Some(watched) = self.watched.as_ref().filter(same) {
            return watched.findings.clone();
        }
        let rewritten = rewrites.iter().map(|rewrite| Rewritten {
            sequence: rewrite.sequence,
            kept: rewrite.kept.clone(),
            came: rewrite.came.clone(),
            at: rewrite.at,
        });
        let exchange = world.exchange(&self.exchange);
        let now_held = exchange.map(|exchange| since::at_most_now(world, exchange, statement)).transpose();
        let now_held = now_held.unwrap_or_else(|error| {
            tracing::error!(self.exchange, %error, "what is held now cannot be told");
            None
        });
        let now_held = now_held.unwrap_or_default();
        let assets = verdict.lines.iter().map(|line| line.asset.clone());
        let unknown_now = assets.filter(|asset| !now_held.contains_key(asset) && exchange.is_some()).collect();
        let ranges = exchange.map(|exchange| since::ranges(world, exchange)).transpose().unwrap_or_else(|error| {
            tracing::error!(self.exchange, %error, "the use of ranges cannot be told");
            None
        });
        let ranges = ranges.unwrap_or_default();
        let (dropped, _) = dropped::held(world, &self.dropped).unwrap_or_else(|error| {
            tracing::error!(self.exchange, %error, "what dropped accounts hold cannot be told");
            Default::default()
        });
        let around = Surroundings {
            at_most_now: &now_held,
            statement,
            reconciliation: verdict,
            previous: self.previous.as_ref().map(|(_, previous)| previous),
            before: &self.before,
            ranges: &ranges,
            dropped: &dropped,
            unreported: &self.history.unreported,
            ordinary: &self.history.days.all,
            rewritten: &rewritten.collect::<Vec<_>>(),
            following: &following,
        };
        let mut findings = verdict.findings.clone();
        let more = watch(&around, &world.policy, now);
        if !more.is_empty() {
            let all = Arc::make_mut(&mut findings);
            all.extend(more.into_iter().map(Arc::new));
            all.sort_by(|a, b| (a.severity, &a.asset, a.rule).cmp(&(b.severity, &b.asset, b.rule)));
        }
        let (verdict, rewrites) = (verdict.clone(), rewrites.len());
        self.watched = Some(Watched { verdict, rewrites, following, tips, unknown_now, findings: findings.clone() });
        findings
    }

    /// Is something unknown of the asset on the last blocks?
    pub(crate) fn is_unknown_now(&self, asset: &str) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.unknown_now.contains(asset))
    }

    /// What its statements of the last day came to, the oldest first.
    pub(crate) fn course(&self) -> Arc<Vec<Moment>> {
        self.course.moments()
    }

    /// Lets go of a statement that is not the latest: for ever if its verdict is final, else until its blocks are.
    fn let_go(&mut self, sequence: u64) {
        let Some(open) = self.open.get(&sequence) else { return };
        if self.latest.as_ref().is_some_and(|latest| latest.sequence == sequence) {
            return;
        }
        if let Some(verdict) = &open.verdict {
            let number = match &open.kept {
                Kept::Nothing => return,
                Kept::Row(kept) => kept.number,
                Kept::Given { number, .. } => *number,
            };
            if !open.kept.is_final() {
                self.shelved.insert(sequence, Shelved { blocks: verdict.blocks.clone(), verdict: number });
            }
            self.open.remove(&sequence);
        }
    }

    /// The latest statement's verdict.
    pub(crate) fn verdict(&self) -> Option<Arc<Reconciliation>> {
        let latest = self.latest.as_ref()?;
        self.open.get(&latest.sequence)?.verdict.clone()
    }

    /// Why the blocks of the latest statement are not known that left the chain after it was judged on them.
    pub(crate) fn lost_blocks(&self) -> Vec<&str> {
        let open = self.latest.as_ref().and_then(|latest| self.open.get(&latest.sequence));
        let Some((open, verdict)) = open.and_then(|open| Some((open, open.verdict.as_ref()?))) else {
            return Vec::new();
        };
        let lost = verdict.blocks.iter().filter(|block| open.lost.contains(&block.chain));
        lost.filter_map(|block| block.unknown.as_deref()).collect()
    }

    /// Takes over what is known beside the records.
    pub(crate) fn remember(&mut self, before: &Case) {
        for (sequence, open) in &mut self.open {
            open.lost = before.open.get(sequence).map(|before| before.lost.clone()).unwrap_or_default();
        }
    }

    /// Is there something that is found once a day to be found anew?
    pub(crate) fn waits_for_a_turn(&self) -> bool {
        self.daily.waits() && self.verdict().is_some()
    }

    /// The statements that wait for a final verdict, and whose blocks are final now.
    pub(crate) fn ripe(&self, is_final: impl Fn(&str, u64) -> bool) -> Vec<u64> {
        let ripe = |blocks: &[BlockLine]| {
            blocks.iter().all(|block| block.height.is_none_or(|height| is_final(&block.chain, height.0)))
        };
        self.shelved.iter().filter(|(_, shelved)| ripe(&shelved.blocks)).map(|(sequence, _)| *sequence).collect()
    }

    /// The statements at hand of which a block is not known.
    pub(crate) fn blind(&self) -> Vec<u64> {
        let unknown = |verdict: &Arc<Reconciliation>| verdict.blocks.iter().any(|block| block.height.is_none());
        let blind = self.open.iter().filter(|(_, open)| open.verdict.as_ref().is_some_and(unknown));
        blind.map(|(sequence, _)| *sequence).collect()
    }

    /// Does it take long to judge a statement at hand again, because of what it claims?
    pub(crate) fn claims_much(&self, sequence: u64) -> bool {
        let long = |open: &Open| open.verdict.is_some() && open.statement.wallets.len() > MANY_CLAIMS;
        self.open.get(&sequence).is_some_and(long)
    }

    /// The statements at hand that a new block may change something for.
    pub(crate) fn touched(&self) -> Vec<u64> {
        let is_final = |open: &Open| open.verdict.as_ref().is_some_and(|verdict| verdict.stage == Stage::Final);
        self.open.iter().filter(|(_, open)| !is_final(open)).map(|(sequence, _)| *sequence).collect()
    }
}

impl Open {
    fn new(statement: Arc<Statement>, kept: Kept, received_at: Timestamp) -> Open {
        Open { statement, verdict: None, kept, received_at, mark: None, lost: BTreeSet::new() }
    }

    /// The chains that have no block any more which it names, and on which it was judged before.
    fn lost_blocks(&self, world: &World) -> Result<BTreeSet<String>, DeskError> {
        let mut lost = BTreeSet::new();
        for (id, named) in &self.statement.blocks {
            let Some(source) = world.sources.iter().find(|source| source.id == *id) else { continue };
            let Ok(store) = source.store() else { continue };
            let is_there = store.header(named.height)?.is_some_and(|header| header.hash == named.hash);
            if !is_there && self.knew(&source.name) {
                lost.insert(source.name.clone());
            }
        }
        Ok(lost)
    }

    /// Was the chain's block known in an earlier verdict?
    fn knew(&self, chain: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct Blocks {
            blocks: Vec<Block>,
        }
        #[derive(serde::Deserialize)]
        struct Block {
            chain: String,
            height: Option<u64>,
        }
        let before = self.verdict.iter().flat_map(|verdict| &verdict.blocks);
        let in_row = || match &self.kept {
            Kept::Row(kept) => {
                let kept: Option<Blocks> = serde_json::from_str(kept.verdict.get()).ok();
                kept.is_some_and(|kept| kept.blocks.iter().any(|block| block.chain == chain && block.height.is_some()))
            }
            _ => false,
        };
        self.lost.contains(chain)
            || before.filter(|block| block.chain == chain).any(|block| block.height.is_some())
            || in_row()
    }
}

/// The chains that concern it, as they are followed.
fn following(world: &World, concerned: impl Fn(&Source) -> bool) -> Vec<Following> {
    let following = world.sources.iter().filter(|source| concerned(source)).map(|source| Following {
        chain: source.name.clone(),
        trouble: source.trouble().map(|trouble| (trouble.since, trouble.why)),
        dissent: source.dissent(),
        left: left(source),
    });
    following.collect()
}

/// The blocks that the chain left and that stay. A store that is not there knows of none.
fn left(source: &Source) -> Option<Departure> {
    let store = source.store().ok()?;
    departure(source, &store).unwrap_or_else(|error| {
        tracing::error!(chain = source.name, %error, "whether the chain left its blocks cannot be told");
        None
    })
}

/// Reads a statement under today's configuration.
pub(crate) fn parse(world: &World, bytes: &[u8]) -> Result<Statement, Vec<String>> {
    let label = std::path::Path::new("statement");
    assay_ledger::parse(label, bytes, &world.directory).map_err(|errors| {
        let mut each: Vec<String> = errors.errors().iter().map(ToString::to_string).collect();
        if errors.more() > 0 {
            each.push(format!("and {} more", errors.more()));
        }
        each
    })
}

impl Kept {
    fn is_final(&self) -> bool {
        match self {
            Kept::Nothing => false,
            Kept::Row(kept) => kept.is_final(),
            Kept::Given { verdict, .. } => verdict.stage == Stage::Final,
        }
    }

    /// Does it say the same as this verdict?
    fn is(&self, verdict: &Reconciliation) -> Result<bool, DeskError> {
        let damaged = |error: serde_json::Error| DeskError::Damaged(error.to_string());
        match self {
            Kept::Nothing => Ok(false),
            Kept::Given { verdict: given, .. } => Ok(given.says_the_same_as(verdict)),
            Kept::Row(kept) if kept.is_final() != (verdict.stage == Stage::Final) => Ok(false),
            Kept::Row(kept) => {
                let kept = serde_json::from_str(kept.verdict.get()).map_err(damaged)?;
                Ok(timeless(kept) == timeless(serde_json::to_value(verdict).map_err(damaged)?))
            }
        }
    }
}

impl Days {
    fn up_to(records: &Records, exchange: &str, day: u64) -> Result<Days, DeskError> {
        Ok(Days { day, all: keep::days(records, exchange, day.saturating_sub(DAYS)..day + 1)? })
    }
}

impl History {
    /// The rows by which what is new in it is kept.
    pub(crate) fn rows(&mut self, exchange: &str) -> Result<Vec<Row>, DeskError> {
        let News { today, unreported } = std::mem::take(&mut self.news);
        let day = today.map(|today| keep::day_row(exchange, self.days.day, &today));
        day.into_iter().chain(unreported.then(|| keep::unreported_row(exchange, &self.unreported))).collect()
    }
}

/// What a verdict's lines come to, by symbol.
fn lines(verdict: &Reconciliation) -> BTreeMap<String, Before> {
    verdict.lines.iter().map(|line| (line.asset.clone(), Before::of(line))).collect()
}

fn day(at: Timestamp) -> u64 {
    u64::try_from(at.unix_s().div_euclid(DAY_S)).unwrap_or(0)
}

/// A verdict but for when it was given: what tells whether it is another one.
fn timeless(mut verdict: serde_json::Value) -> serde_json::Value {
    if let Some(fields) = verdict.as_object_mut() {
        fields.remove("evaluated_at");
        if let Some(findings) = fields.get_mut("findings").and_then(|findings| findings.as_array_mut()) {
            // Its words and figures change with every second; that it is there does not.
            for finding in findings.iter_mut().filter(|finding| finding["rule"] == "stale-statement") {
                finding["message"] = serde_json::Value::Null;
                finding["evidence"] = serde_json::Value::Null;
            }
        }
    }
    verdict
}
