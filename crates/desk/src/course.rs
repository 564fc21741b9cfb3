//! How an exchange went: what each of its statements came to, for pictures over time.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use assay_store::Records;
use assay_types::Timestamp;
use assay_verifier::{Line, Reconciliation, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::moment::Moment;
use crate::{DeskError, KeptVerdict, World, keep};

/// Since which statement, without a break, an asset is short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShortSince {
    /// The statement's number.
    pub sequence: u64,
    /// The instant that it speaks of.
    pub as_of: Timestamp,
    /// The chain's alias and the height of the block that it was judged on; of several chains the first.
    pub block: Option<(String, u64)>,
}

/// One asset in one statement's last verdict. Amounts are in coins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// The instant that the statement speaks of.
    pub as_of: Timestamp,
    /// The statement's number.
    pub sequence: u64,
    /// What is held at least.
    pub low: String,
    /// And at most; `None` where nothing bounds it.
    pub high: Option<String>,
    /// What is owed.
    pub owed: String,
    /// What follows.
    pub verdict: Verdict,
}

/// For so long moments are remembered.
const DAY_S: i64 = 86_400;
/// And so many at most.
const MOMENTS: usize = 3000;
/// Of so many statements a picture is made at most.
const MOST_STATEMENTS: usize = 50_000;

/// An exchange's last day, in order.
#[derive(Debug, Default)]
pub(crate) struct Course(Arc<Vec<Moment>>);

impl Course {
    /// As it was kept.
    pub(crate) fn resume(records: &Records, exchange: &str) -> Result<Course, DeskError> {
        let moments = keep::moments(records, exchange, None, MOMENTS)?;
        let mut course = Course::default();
        moments.into_iter().rev().for_each(|moment| course.add(moment));
        Ok(course)
    }

    pub(crate) fn add(&mut self, moment: Moment) {
        let moments = Arc::make_mut(&mut self.0);
        let key = |one: &Moment| (one.as_of, one.sequence);
        match moments.binary_search_by_key(&key(&moment), key) {
            Ok(place) => moments[place] = moment,
            Err(place) => moments.insert(place, moment),
        }
        let last = moments.last().map_or(moment.as_of, |last| last.as_of);
        let old = moments.iter().take_while(|one| last.seconds_since(one.as_of) > DAY_S).count();
        moments.drain(..old.max(moments.len().saturating_sub(MOMENTS)));
    }

    pub(crate) fn moments(&self) -> Arc<Vec<Moment>> {
        self.0.clone()
    }
}

/// The assets that are short by a verdict, and since when: `before` says it of the verdicts before.
pub(crate) fn short_since(
    world: &World,
    before: &BTreeMap<String, ShortSince>,
    sequence: u64,
    verdict: &Reconciliation,
) -> BTreeMap<String, ShortSince> {
    let short = verdict.lines.iter().filter(|line: &&Line| line.verdict == Verdict::Short);
    let blocks = || verdict.blocks.iter().map(|block| (block.chain.as_str(), block.height.map(|height| height.0)));
    let since = short.map(|line| {
        let known = before.get(&line.asset).filter(|since| since.sequence < sequence).cloned();
        let now =
            || ShortSince { sequence, as_of: verdict.statement.as_of, block: block_of(world, &line.asset, blocks()) };
        (line.asset.clone(), known.unwrap_or_else(now))
    });
    since.collect()
}

/// The first of these blocks that is on a chain of the asset's.
fn block_of<'a>(
    world: &World,
    asset: &str,
    mut blocks: impl Iterator<Item = (&'a str, Option<u64>)>,
) -> Option<(String, u64)> {
    let entry = world.directory.asset(asset)?;
    blocks.find_map(|(chain, height)| {
        let source = world.sources.iter().find(|source| source.name == chain)?;
        let is_on = entry.on.iter().any(|deployment| deployment.chain == source.id);
        Some((chain.to_owned(), height?)).filter(|_| is_on)
    })
}

/// The same from kept verdicts, the newest first.
pub(crate) fn kept_short_since(world: &World, kept: &[Arc<KeptVerdict>]) -> BTreeMap<String, ShortSince> {
    #[derive(Deserialize)]
    struct Said {
        statement: Which,
        blocks: Vec<Block>,
        lines: Vec<Each>,
    }
    #[derive(Deserialize)]
    struct Which {
        as_of: Timestamp,
    }
    #[derive(Deserialize)]
    struct Block {
        chain: String,
        height: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Each {
        asset: String,
        verdict: Verdict,
    }
    let (mut since, mut open): (BTreeMap<String, ShortSince>, Option<BTreeSet<String>>) = (BTreeMap::new(), None);
    for one in kept {
        let Ok(said) = serde_json::from_str::<Said>(one.verdict.get()) else { break };
        let short: BTreeSet<String> =
            said.lines.into_iter().filter(|line| line.verdict == Verdict::Short).map(|line| line.asset).collect();
        let still: BTreeSet<String> = match open {
            None => short,
            Some(open) => open.intersection(&short).cloned().collect(),
        };
        for asset in &still {
            let blocks = said.blocks.iter().map(|block| (block.chain.as_str(), block.height));
            let (sequence, as_of) = (one.sequence, said.statement.as_of);
            since.insert(asset.clone(), ShortSince { sequence, as_of, block: block_of(world, asset, blocks) });
        }
        if still.is_empty() {
            break;
        }
        open = Some(still);
    }
    since
}

/// One asset over time, the oldest first: of more than `most` statements the worst of each few.
///
/// # Errors
/// When the database fails.
pub(crate) fn points(
    records: &Records,
    exchange: &str,
    asset: &str,
    from: Timestamp,
    most: usize,
) -> Result<Vec<Point>, DeskError> {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        lines: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        asset: Cow<'a, str>,
    }
    #[derive(Deserialize)]
    struct Each {
        holdings: Held,
        owed: String,
        verdict: Verdict,
    }
    #[derive(Deserialize)]
    struct Held {
        low: String,
        high: Option<String>,
    }
    let moments = keep::moments(records, exchange, Some(from), MOST_STATEMENTS)?;
    let few = moments.len().div_ceil(most.max(1)).max(1);
    let mut points = Vec::new();
    for some in moments.chunks(few) {
        let worst = some.iter().max_by_key(|one| (one.verdict, Reverse(one.ratio.unwrap_or(u32::MAX))));
        let Some(moment) = worst else { continue };
        let Some(kept) = keep::verdict(records, exchange, moment.number)? else { continue };
        let damaged = |error: serde_json::Error| DeskError::Damaged(error.to_string());
        let said: Said<'_> = serde_json::from_str(kept.verdict.get()).map_err(damaged)?;
        let is_it =
            |line: &&&RawValue| serde_json::from_str::<Named<'_>>(line.get()).is_ok_and(|one| one.asset == asset);
        let Some(line) = said.lines.iter().find(is_it) else { continue };
        let Each { holdings: Held { low, high }, owed, verdict } = serde_json::from_str(line.get()).map_err(damaged)?;
        points.push(Point { as_of: moment.as_of, sequence: moment.sequence, low, high, owed, verdict });
    }
    // Of several of one instant the last one counts.
    points.dedup_by_key(|point: &mut Point| point.as_of);
    points.reverse();
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(seconds: i64, sequence: u64, ratio: u32) -> Moment {
        let verdict = if ratio < 10_000 { Verdict::Short } else { Verdict::Backed };
        Moment { as_of: Timestamp::from_unix_s(seconds), sequence, number: sequence, verdict, ratio: Some(ratio) }
    }

    #[test]
    fn a_day_is_remembered_in_order_and_each_statement_once() {
        let mut course = Course::default();
        for one in [moment(100, 1, 10_000), moment(300, 3, 645), moment(200, 2, 10_000), moment(300, 3, 12_000)] {
            course.add(one);
        }
        let seen = |course: &Course| course.moments().iter().map(|one| (one.sequence, one.ratio)).collect::<Vec<_>>();
        assert_eq!(seen(&course), [(1, Some(10_000)), (2, Some(10_000)), (3, Some(12_000))]);
        course.add(moment(200 + DAY_S, 4, 10_000));
        assert_eq!(seen(&course), [(2, Some(10_000)), (3, Some(12_000)), (4, Some(10_000))], "the first is too old");
    }
}
