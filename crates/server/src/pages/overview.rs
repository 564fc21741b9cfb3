//! The answer before the question: who is short, by how much and since when; then every exchange by asset.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use askama::Template;
use assay_desk::{ExchangeView, Moment, State as AlertState, View};
use assay_types::Timestamp;
use assay_verifier::{Line, Verdict};
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Reader};
use super::show::{self, Html, segment};
use super::shown;
use crate::answer::Asked;
use crate::app::Shared;
use crate::problem::Problem;
use crate::scope::Act;

/// So many of what is short are said in words; all are in the matrix.
const SHORTS: usize = 20;
/// So many assets have a column of their own.
const COLUMNS: usize = 6;
/// The trend's width in steps, over a day.
const STEPS: i64 = 48;
const DAY_S: i64 = 86_400;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    #[serde(default)]
    exchange: String,
    #[serde(default)]
    asset: String,
    #[serde(default)]
    show: String,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    f: Frame,
    filter: Filter,
    declared: usize,
    all_backed: bool,
    shorts: Vec<Short>,
    more_shorts: usize,
    columns: Vec<String>,
    has_others: bool,
    rows: Vec<Row>,
}

/// One line of what is short.
struct Short {
    link: String,
    name: String,
    asset: String,
    holds: Html,
    owes: Html,
    missing: Html,
    since: String,
    age: Html,
}

struct Row {
    id: String,
    name: String,
    age: Option<Html>,
    stale: bool,
    trouble: Option<String>,
    cells: Vec<Cell>,
    others: String,
    alerts: String,
    trend: Html,
}

struct Cell {
    class: &'static str,
    mark: &'static str,
    text: String,
    /// For whoever cannot see the mark, and on hover.
    said: String,
    link: String,
}

pub(super) async fn page(
    State(app): State<Shared>,
    reader: Reader,
    Asked(filter): Asked<Filter>,
) -> Result<Response, Problem> {
    let caller = reader.caller()?;
    let view = app.desk.view();
    let max_age_s = i64::try_from(app.desk.world().policy.max_statement_age.seconds).unwrap_or(i64::MAX);
    let seen: Vec<&Arc<ExchangeView>> =
        view.exchanges.iter().filter(|one| caller.may(&Act::ReadExchange(&one.id))).collect();
    let wanted = |one: &&&Arc<ExchangeView>| {
        let has = |text: &str| text.to_lowercase().contains(&filter.exchange.trim().to_lowercase());
        let wrong =
            filter.show != "wrong" || one.verdict.as_ref().is_none_or(|verdict| verdict.verdict != Verdict::Backed);
        (has(&one.id) || has(&one.name)) && wrong
    };
    let mut exchanges: Vec<&Arc<ExchangeView>> = seen.iter().filter(wanted).copied().collect();
    exchanges.sort_by_key(|one| (rank(one, view.at, max_age_s), one.name.to_lowercase()));
    let columns = columns(&exchanges, filter.asset.trim());
    let mut shorts: Vec<Short> = exchanges.iter().flat_map(|one| shorts(&reader, one, &view)).collect();
    let more_shorts = shorts.len().saturating_sub(SHORTS);
    shorts.truncate(SHORTS);
    let mut alerts: HashMap<&str, (usize, usize)> = HashMap::new();
    for alert in &view.alerts {
        let known = alerts.entry(&alert.exchange).or_default();
        match alert.state {
            AlertState::Firing => known.0 += 1,
            AlertState::Pending => known.1 += 1,
            AlertState::Resolved => {}
        }
    }
    let row = |one: &&Arc<ExchangeView>| {
        let alerts = alerts.get(one.id.as_str()).copied().unwrap_or_default();
        row(&reader, one, &columns, (view.at, max_age_s), alerts)
    };
    let rows: Vec<Row> = exchanges.iter().map(row).collect();
    let all_backed =
        exchanges.iter().all(|one| one.verdict.as_ref().is_some_and(|verdict| verdict.verdict == Verdict::Backed));
    let page = Overview {
        f: Frame::of(&reader, reader.words.say("overview"), &view),
        filter,
        declared: seen.len(),
        all_backed,
        shorts,
        more_shorts,
        has_others: rows.iter().any(|row| !row.others.is_empty()),
        columns: columns.iter().map(|one| (*one).to_owned()).collect(),
        rows,
    };
    shown(&page)
}

/// What is worst comes first.
fn rank(exchange: &ExchangeView, now: Timestamp, max_age_s: i64) -> u8 {
    match exchange.verdict.as_ref().map(|verdict| verdict.verdict) {
        Some(Verdict::Short) => 0,
        Some(Verdict::Indeterminate) => 1,
        None => 3,
        Some(Verdict::Backed) if is_stale(exchange, now, max_age_s) => 2,
        Some(Verdict::Backed) => 4,
    }
}

fn is_stale(exchange: &ExchangeView, now: Timestamp, max_age_s: i64) -> bool {
    exchange.statement.as_ref().is_some_and(|statement| now.seconds_since(statement.as_of) > max_age_s)
}

fn lines(exchange: &ExchangeView) -> &[Line] {
    exchange.verdict.as_ref().map_or(&[], |verdict| &verdict.lines)
}

/// The assets that matter most: the worst, then those that most exchanges report.
fn columns<'a>(exchanges: &[&'a Arc<ExchangeView>], wanted: &str) -> Vec<&'a str> {
    let mut assets: BTreeMap<&str, (Verdict, usize, usize)> = BTreeMap::new();
    for exchange in exchanges {
        for (place, line) in lines(exchange).iter().enumerate() {
            let known = assets.entry(&line.asset).or_insert((Verdict::Backed, 0, usize::MAX));
            *known = (known.0.max(line.verdict), known.1 + 1, known.2.min(place));
        }
    }
    let mut assets: Vec<_> = assets.into_iter().collect();
    if !wanted.is_empty() {
        let wanted = wanted.to_lowercase();
        assets.retain(|(symbol, _)| symbol.to_lowercase().contains(&wanted));
    }
    assets.sort_by_key(|(symbol, (worst, reports, place))| {
        (std::cmp::Reverse(*worst), std::cmp::Reverse(*reports), *place, *symbol)
    });
    assets.into_iter().take(COLUMNS).map(|(symbol, _)| symbol).collect()
}

fn shorts<'a>(reader: &'a Reader, exchange: &'a ExchangeView, view: &'a View) -> impl Iterator<Item = Short> + 'a {
    let short = lines(exchange).iter().filter(|line| line.verdict == Verdict::Short);
    short.map(move |line| {
        let since = exchange.short_since.get(&line.asset);
        let block = since.and_then(|since| since.block.as_ref());
        let said = block.map(|(chain, height)| reader.words.fill("since-block", &[chain, &show::count(*height)]));
        let statement = since.map(|since| reader.words.fill("statement-n", &[&since.sequence.to_string()]));
        let high = line.holdings.high.as_ref().unwrap_or(&line.holdings.low);
        Short {
            link: show::asset_page(&exchange.id, &line.asset),
            name: exchange.name.clone(),
            asset: line.asset.clone(),
            holds: show::amount(high, &line.asset),
            owes: show::amount(&line.owed, &line.asset),
            missing: show::amount(&line.missing, &line.asset),
            since: said.into_iter().chain(statement).collect::<Vec<_>>().join(" · "),
            age: since.map(|since| show::age(since.as_of, view.at)).unwrap_or_default(),
        }
    })
}

fn row(
    reader: &Reader,
    exchange: &ExchangeView,
    columns: &[&str],
    (now, max_age_s): (Timestamp, i64),
    (firing, pending): (usize, usize),
) -> Row {
    let (words, lines) = (reader.words, lines(exchange));
    let mut found: Vec<Option<&Line>> = vec![None; columns.len()];
    let mut others = [0usize; 3];
    for line in lines {
        match columns.iter().position(|asset| *asset == line.asset) {
            Some(place) => found[place] = Some(line),
            None => others[usize::from(show::order(line.verdict))] += 1,
        }
    }
    let cell = |(asset, line): (&&str, &Option<&Line>)| {
        let link = show::asset_page(&exchange.id, asset);
        match line {
            Some(line) => line_cell(reader, line, link),
            None => {
                let said = words.say("not-reported").to_owned();
                Cell { class: "none", mark: "–", text: String::new(), said, link: String::new() }
            }
        }
    };
    let worst_first = [Verdict::Short, Verdict::Indeterminate, Verdict::Backed].into_iter();
    let others = worst_first.map(|verdict| (others[usize::from(show::order(verdict))], show::mark(verdict)));
    let others = others.filter(|(number, _)| *number > 0).map(|(number, mark)| format!("{number} {mark}"));
    let alerts = [("firing-n", firing), ("pending-n", pending)].into_iter().filter(|(_, number)| *number > 0);
    let alerts: Vec<String> = alerts.map(|(key, number)| words.fill(key, &[&number.to_string()])).collect();
    Row {
        id: segment(&exchange.id),
        name: exchange.name.clone(),
        age: exchange.statement.as_ref().map(|statement| show::age(statement.as_of, now)),
        stale: is_stale(exchange, now, max_age_s),
        trouble: exchange.trouble.as_ref().map(|trouble| trouble.why.clone()),
        cells: columns.iter().zip(&found).map(cell).collect(),
        others: others.collect::<Vec<_>>().join(" "),
        alerts: if alerts.is_empty() { "–".into() } else { alerts.join(", ") },
        trend: trend(&exchange.course, now),
    }
}

/// A verdict with how much is covered: an interval where that is not known, and the reason where nothing bounds it.
fn line_cell(reader: &Reader, line: &Line, link: String) -> Cell {
    let words = reader.words;
    let low = line.coverage_ratio.clone();
    let (class, mark, text) = match (line.verdict, line.ratio_at_most()) {
        (Verdict::Indeterminate, None) => {
            let why = line.unknown.first().map_or("", |unknown| &unknown.reason);
            ("unknown", "?", shorten(why))
        }
        (Verdict::Indeterminate, Some(high)) => {
            ("indeterminate", show::mark(line.verdict), format!("{}–{high}", low.unwrap_or_default()))
        }
        (verdict, _) => (show::word(verdict), show::mark(verdict), low.unwrap_or_else(|| "0".into())),
    };
    let said = format!("{} {}", line.asset, words.say(class));
    Cell { class, mark, text, said, link }
}

fn shorten(why: &str) -> String {
    match why.char_indices().nth(22) {
        Some((end, _)) => format!("{}…", &why[..end]),
        None => why.to_owned(),
    }
}

/// The least that was covered, over the last day, in steps: what is not known is a gap.
fn trend(course: &[Moment], now: Timestamp) -> Html {
    const HEIGHT: u32 = 20;
    let step_s = DAY_S / STEPS;
    let mut steps: BTreeMap<i64, (Verdict, u32)> = BTreeMap::new();
    for moment in course {
        let ago = now.seconds_since(moment.as_of);
        if (0..DAY_S).contains(&ago) {
            let worst = steps.entry(STEPS - 1 - ago / step_s).or_insert((Verdict::Backed, u32::MAX));
            *worst = (worst.0.max(moment.verdict), worst.1.min(moment.ratio.unwrap_or(u32::MAX)));
        }
    }
    // What is covered lies at the middle, so that a drop is seen, and a surplus does not matter.
    let y = |ratio: u32| HEIGHT - 2 - (ratio.min(11_000) * (HEIGHT - 4) / 11_000);
    let class = |verdict| match verdict {
        Verdict::Backed => "",
        Verdict::Indeterminate => "doubt",
        Verdict::Short => "bad",
    };
    let (mut paths, mut open): (String, Option<(Verdict, i64, u32)>) = (String::new(), None);
    for step in 0..STEPS {
        let now = steps.get(&step).map(|(verdict, ratio)| (*verdict, y(*ratio)));
        let goes_on = open.zip(now).is_some_and(|((verdict, last, _), (next, _))| verdict == next && last == step);
        match (now, goes_on) {
            (Some((_, y)), true) => {
                if open.is_some_and(|(.., before)| before != y) {
                    paths.push_str(&format!("V{y}"));
                }
                paths.push_str(&format!("H{}", step + 1));
            }
            (Some((verdict, y)), false) => {
                if open.is_some() {
                    paths.push_str("\"/>");
                }
                let class = class(verdict);
                let class = if class.is_empty() { String::new() } else { format!(" class={class}") };
                paths.push_str(&format!("<path{class} d=\"M{step} {y}H{}", step + 1));
            }
            (None, _) => {}
        }
        match now {
            Some((verdict, y)) => open = Some((verdict, step + 1, y)),
            None if open.is_some() => {
                paths.push_str("\"/>");
                open = None;
            }
            None => {}
        }
    }
    if open.is_some() {
        paths.push_str("\"/>");
    }
    Html(format!(
        r#"<svg class="trend" viewBox="0 0 {STEPS} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{paths}</svg>"#
    ))
}
