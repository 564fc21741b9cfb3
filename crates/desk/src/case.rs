//! One exchange's case: its statements that wait for a final verdict, and what was concluded so far.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use assay_store::{Records, Row};
use assay_types::{Statement, Timestamp};
use assay_verifier::rules::{Following, Rewritten};
use assay_verifier::{Finding, Reconciliation, Stage, Surroundings, reconcile, watch};

use crate::evidence::{Question, gather};
use crate::keep::{self, KeptStatement, KeptVerdict, Rewrite};
use crate::{DeskError, StatementView, World};

/// A statement that may still get another verdict.
pub(crate) struct Open {
    pub(crate) statement: Arc<Statement>,
    pub(crate) verdict: Option<Arc<Reconciliation>>,
    /// The verdict as it was last kept, but for its time.
    kept: Option<serde_json::Value>,
}

/// One exchange.
pub(crate) struct Case {
    pub(crate) exchange: String,
    /// By number; the latest is always among them.
    pub(crate) open: BTreeMap<u64, Open>,
    pub(crate) latest: Option<StatementView>,
    pub(crate) last_final: Option<Arc<KeptVerdict>>,
    /// The statements before the latest, the oldest first.
    earlier: VecDeque<Arc<Statement>>,
    next_verdict: u64,
}

/// What a new verdict adds to what is kept.
pub(crate) struct Judged {
    pub(crate) verdict: Arc<Reconciliation>,
    /// Is it another than the one before?
    pub(crate) changed: bool,
    pub(crate) rows: Vec<Row>,
}

/// How many statements are kept at hand for what is ordinary, and how old they may be.
const EARLIER: usize = 100;
const EARLIER_S: i64 = 30 * 86_400;
/// How many kept verdicts are looked through for the last final one, when the desk starts.
const LOOKED_THROUGH: usize = 1000;

impl Case {
    /// Takes up where the rows leave off.
    pub(crate) fn resume(records: &Records, world: &World, exchange: &str) -> Result<Case, DeskError> {
        let kept = keep::verdicts(records, exchange, None, LOOKED_THROUGH)?;
        let next_verdict = kept.first().map_or(1, |last| last.number + 1);
        let last_final = kept.iter().find(|kept| kept.verdict["stage"] == "final").cloned().map(Arc::new);
        let latest = keep::statements(records, exchange, None, 1)?.into_iter().next();
        let mut waiting = keep::open(records, exchange)?;
        waiting.extend(latest.as_ref().map(|latest| latest.view.sequence));
        let mut open = BTreeMap::new();
        for sequence in waiting {
            let Some(statement) = keep::statement(records, exchange, sequence)? else { continue };
            let before = kept.iter().find(|kept| kept.sequence == sequence).map(|kept| timeless(&kept.verdict));
            match parse(world, &statement.bytes) {
                Ok(parsed) => {
                    open.insert(sequence, Open { statement: Arc::new(parsed), verdict: None, kept: before });
                }
                // It was right when it came: a chain or an asset has left the configuration since.
                Err(errors) => tracing::warn!(exchange, sequence, ?errors, "a statement cannot be judged any more"),
            }
        }
        let latest = latest.map(|latest| latest.view);
        let before = latest.as_ref().map(|latest| latest.sequence);
        let kept = match before {
            Some(_) => keep::statements(records, exchange, before, EARLIER)?,
            None => Vec::new(),
        };
        let earlier = kept.iter().rev().filter_map(|kept| parse(world, &kept.bytes).ok().map(Arc::new)).collect();
        Ok(Case { earlier, exchange: exchange.to_owned(), open, latest, last_final, next_verdict })
    }

    /// Adds a statement, and says which number it has.
    pub(crate) fn add(&mut self, kept: &KeptStatement, statement: Arc<Statement>) {
        let sequence = kept.view.sequence;
        self.open.insert(sequence, Open { statement, verdict: None, kept: None });
        if self.latest.as_ref().is_none_or(|latest| latest.sequence < sequence) {
            let before = self.latest.replace(kept.view.clone());
            let previous = before.as_ref().and_then(|before| self.open.get(&before.sequence));
            if let Some(previous) = previous {
                self.earlier.push_back(previous.statement.clone());
            }
            while self.earlier.len() > EARLIER {
                self.earlier.pop_front();
            }
            self.forget_if_final(before.map(|before| before.sequence));
        }
    }

    /// Judges a statement as of now. Nothing is kept yet: the caller writes the rows, then calls [`Case::settle`].
    pub(crate) fn judge(&mut self, world: &World, sequence: u64, now: Timestamp) -> Result<Option<Judged>, DeskError> {
        let Some(exchange) = world.exchange(&self.exchange) else { return Ok(None) };
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
        let verdict = reconcile(&statement, &evidence, &world.policy, now, world.program);
        let value = serde_json::to_value(&verdict).map_err(|error| DeskError::Damaged(error.to_string()))?;
        let value = timeless(&value);
        let changed = open.kept.as_ref() != Some(&value);
        let was_final = open.kept.as_ref().is_some_and(|kept| kept["stage"] == "final");
        let verdict = Arc::new(verdict);
        open.verdict = Some(verdict.clone());
        let mut rows = Vec::new();
        // A final verdict is given once: what age adds to it later is a finding of the day, not another verdict.
        if changed && !was_final {
            open.kept = Some(value);
            rows.push(keep::verdict_row(&self.exchange, self.next_verdict, sequence, now, &verdict)?);
            if verdict.stage == Stage::Final {
                rows.push(keep::closed_row(&self.exchange, sequence));
                let kept = serde_json::to_value(&*verdict).map_err(|error| DeskError::Damaged(error.to_string()))?;
                let (number, given_at) = (self.next_verdict, now);
                if self.last_final.as_ref().is_none_or(|last| last.sequence <= sequence) {
                    self.last_final = Some(Arc::new(KeptVerdict { number, sequence, given_at, verdict: kept }));
                }
            }
            self.next_verdict += 1;
        }
        Ok(Some(Judged { verdict, changed, rows }))
    }

    /// What watching adds to the latest statement's verdict: nothing before the first one.
    pub(crate) fn watch(&self, world: &World, rewrites: &[Rewrite], now: Timestamp) -> Vec<Finding> {
        let open = self.latest.as_ref().and_then(|latest| self.open.get(&latest.sequence));
        let Some((statement, Some(verdict))) = open.map(|open| (&*open.statement, &open.verdict)) else {
            return Vec::new();
        };
        let concerned = |name: &str| verdict.blocks.iter().any(|block| block.chain == name);
        let following = world.sources.iter().filter(|source| concerned(&source.name)).map(|source| Following {
            chain: source.name.clone(),
            trouble: source.trouble().map(|trouble| (trouble.since, trouble.why)),
        });
        let rewritten = rewrites.iter().map(|rewrite| Rewritten {
            sequence: rewrite.sequence,
            kept: rewrite.kept.clone(),
            came: rewrite.came.clone(),
            at: rewrite.at,
        });
        let young = |earlier: &&&Statement| statement.as_of.seconds_since(earlier.as_of) <= EARLIER_S;
        let earlier: Vec<&Statement> = self.earlier.iter().map(|earlier| &**earlier).collect();
        let around = Surroundings {
            statement,
            reconciliation: verdict,
            previous: earlier.last().copied(),
            earlier: &earlier.iter().filter(young).copied().collect::<Vec<_>>(),
            rewritten: &rewritten.collect::<Vec<_>>(),
            following: &following.collect::<Vec<_>>(),
        };
        watch(&around, &world.policy, now)
    }

    /// Lets go of a statement that needs no more verdicts.
    pub(crate) fn forget_if_final(&mut self, sequence: Option<u64>) {
        let Some(sequence) = sequence else { return };
        let is_latest = self.latest.as_ref().is_some_and(|latest| latest.sequence == sequence);
        let is_final = |open: &Open| open.kept.as_ref().is_some_and(|kept| kept["stage"] == "final");
        if !is_latest && self.open.get(&sequence).is_some_and(is_final) {
            self.open.remove(&sequence);
        }
    }

    /// The latest statement's verdict.
    pub(crate) fn verdict(&self) -> Option<Arc<Reconciliation>> {
        let latest = self.latest.as_ref()?;
        self.open.get(&latest.sequence)?.verdict.clone()
    }

    /// The statements that a new block may change something for: the latest while it is provisional, and the others once
    /// their blocks are final.
    pub(crate) fn touched(&self, is_final: impl Fn(&str, u64) -> bool) -> Vec<u64> {
        let latest = self.latest.as_ref().map(|latest| latest.sequence);
        let waits = |(sequence, open): (&u64, &Open)| {
            let wanted = match &open.verdict {
                None => true,
                Some(verdict) if verdict.stage == Stage::Final => false,
                Some(_) if Some(*sequence) == latest => true,
                Some(verdict) => verdict
                    .blocks
                    .iter()
                    .all(|block| block.height.is_none_or(|height| is_final(&block.chain, height.0))),
            };
            wanted.then_some(*sequence)
        };
        self.open.iter().filter_map(waits).collect()
    }
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

/// A verdict but for when it was given: what tells whether it is another one.
fn timeless(verdict: &serde_json::Value) -> serde_json::Value {
    let mut verdict = verdict.clone();
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
