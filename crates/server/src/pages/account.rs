//! One account in one asset: what it holds, how it came to, and how well that is known at every height. What is not final is told apart.

use std::collections::BTreeMap;

use askama::Template;
use assay_store::{Coverage, Movement, Store, StoreError};
use assay_types::{AccountNo, Amount, Direction, Header, Height, Pair};
use assay_verifier::{Coins, SignedCoins, Wide};
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;

use super::filter::{Filter, Shown, Wish};
use super::frame::{Frame, Reader};
use super::show::{self, Html, segment};
use super::shown;
use crate::answer::{Answer, Asked};
use crate::api::subject::{Subject, block};
use crate::app::{Shared, blocking};
use crate::problem::Problem;
use crate::scope::Act;

/// So many movements are on a page.
const ROWS: usize = 50;
/// A chart has so many steps at most, and the strip of coverage so many parts.
const STEPS: usize = 240;
const PARTS: u64 = 120;
/// So many movements are looked at for one page, however few of them are asked for.
const LOOKED_AT: usize = 20_000;

/// Height and place in the block.
type Place = (Height, u32);

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    f: Frame,
    address: String,
    chain: String,
    asset: String,
    assets: Vec<(String, bool)>,
    balance: Html,
    grade: &'static str,
    why: String,
    at: Vec<(&'static str, String)>,
    time: Html,
    is_final: bool,
    final_balance: Option<(String, Html)>,
    pending: Html,
    filter: Shown,
    course: String,
    strip: Html,
    rows: Vec<Row>,
    looked: Option<String>,
    older: Option<String>,
    newest: Option<String>,
    exports: [(&'static str, String); 3],
}

struct Row {
    height: String,
    time: Html,
    kind: &'static str,
    tx: String,
    credit: Html,
    debit: Html,
    balance: Html,
    is_final: bool,
}

fn place(chain: &str, address: &str) -> String {
    format!("/accounts/{}/{}", segment(chain), segment(address))
}

pub(super) async fn page(
    State(app): State<Shared>,
    reader: Reader,
    Path((chain, address)): Path<(String, String)>,
    Asked(wish): Asked<Wish>,
) -> Result<Response, Problem> {
    reader.caller()?.must(&Act::ReadAccounts)?;
    let view = app.desk.view();
    let page = blocking(move || {
        let subject = Subject::find(&app, &chain, &address, wish.asset.as_deref())?;
        let tip = block(&subject.store, None)?;
        let filter = Filter::read(&wish, &subject.store, tip.height)?;
        let name = format!("{} {}", subject.address(), subject.symbol);
        let directory = app.desk.directory();
        let on_chain = directory.names_on(&subject.chain.id);
        let assets = on_chain.map(|name| (name.clone(), name == subject.name)).collect();
        let f = Frame::of(&reader, name, &view).with_charts();
        make(f, &subject, &tip, (&wish, filter), assets).map_err(Problem::internal)
    });
    shown(&page.await?)
}

fn make(
    f: Frame,
    subject: &Subject,
    tip: &Header,
    (wish, filter): (&Wish, Filter),
    assets: Vec<(String, bool)>,
) -> Result<AccountPage, StoreError> {
    let (store, unit) = (&subject.store, subject.symbol.as_str());
    let (number, coverage) = subject.coverage(tip)?;
    let coins = |amount| show::amount(&Coins::new(amount, subject.decimals()), unit);
    let (grade, why) = grade(&coverage);
    let known = number.filter(|_| grade != "unknown");
    let balance = match known {
        Some(number) => coins(store.balance(number, subject.deployment.asset, tip.height)?),
        None => Html("?".into()),
    };
    let final_height = store.final_height()?;
    let is_final = |height: Height| final_height.is_some_and(|last| height <= last);
    let (movements, on) = match number {
        Some(number) => newest(store, (number, subject.deployment.asset), &filter)?,
        None => (Vec::new(), None),
    };
    let place = place(&subject.chain.name, &subject.address());
    let asked = wish.asked(&subject.name);
    let looked = on.filter(|_| movements.len() < ROWS).map(|_| show::count(LOOKED_AT as u64));
    let final_at = final_height.map(|last| last.min(tip.height)).zip(known);
    let (mut final_balance, mut pending) = (None, Html::default());
    if let Some((last, number)) = final_at {
        let held = |at| store.balance(number, subject.deployment.asset, at);
        let was_known = !matches!(store.coverage(number, subject.deployment.asset, last)?, Coverage::Unknown(_));
        let then = if was_known { Some(held(last)?) } else { None };
        let now = Wide::from(held(tip.height)?.0);
        let unknown = || Html("?".into());
        let change = |then: Amount| SignedCoins::difference(now, Wide::from(then.0), subject.decimals());
        final_balance = Some((show::count(last.0), then.map_or_else(unknown, coins)));
        pending = then.map_or_else(unknown, |then| show::signed(&change(then), unit));
    }
    let mut lookup = store.lookup()?;
    let row = |movement: &Movement| -> Result<Row, StoreError> {
        let header = store.header(movement.height)?;
        let (amount, none) = (coins(movement.amount), Html::default());
        let (credit, debit) = match movement.direction {
            Direction::Credit => (amount, none),
            Direction::Debit => (none, amount),
        };
        let since = match number {
            Some(number) => lookup.unknown_since((number, subject.deployment.asset), movement.height)?,
            None => None,
        };
        let balance = since.map_or_else(|| coins(movement.balance), |_| Html("?".into()));
        Ok(Row {
            height: show::count(movement.height.0),
            time: header.map(|header| show::time(header.time)).unwrap_or_default(),
            kind: movement.kind.as_str(),
            tx: movement.txid.map_or_else(|| "–".into(), |txid| subject.chain.id.show_hash(&txid.0)),
            credit,
            debit,
            balance,
            is_final: is_final(movement.height),
        })
    };
    Ok(AccountPage {
        address: subject.address(),
        chain: subject.chain.name.clone(),
        asset: unit.into(),
        assets,
        balance,
        grade,
        why,
        at: vec![("block", show::count(tip.height.0)), ("hash", subject.chain.id.show_hash(&tip.hash.0))],
        time: show::time(tip.time),
        is_final: is_final(tip.height),
        final_balance,
        pending,
        filter: wish.shown(),
        course: format!("{place}/course?{asked}"),
        strip: number.map(|number| strip(&f, subject, number, tip)).transpose()?.unwrap_or_default(),
        rows: movements.iter().map(row).collect::<Result<_, _>>()?,
        looked,
        older: on.map(|(height, nth)| format!("{place}?{asked}&before={height}-{nth}")),
        newest: wish.before.as_ref().map(|_| format!("{place}?{asked}")),
        exports: [("CSV", "csv"), ("NDJSON", "ndjson"), ("Parquet", "parquet")]
            .map(|(name, kind)| (name, format!("{place}/history.{kind}?{asked}"))),
        f,
    })
}

fn grade(coverage: &Coverage) -> (&'static str, String) {
    match coverage {
        Coverage::Verified => ("proven", String::new()),
        Coverage::Unproven => ("unproven", String::new()),
        Coverage::Unknown(why) => ("unknown", why.clone()),
    }
}

/// How well the account is known from the first indexed block to the last, as parts of a strip: shape tells them apart, not only colour.
fn strip(f: &Frame, subject: &Subject, number: AccountNo, tip: &Header) -> Result<Html, StoreError> {
    let (store, asset) = (&subject.store, subject.deployment.asset);
    let first = store.first_height()?.unwrap_or(tip.height).0;
    let blocks = tip.height.0.saturating_sub(first) + 1;
    let parts = blocks.min(PARTS);
    let mut runs: Vec<(&str, u64, u64, u64)> = Vec::new(); // grade, parts, from, to
    for part in 0..parts {
        let height = first + (blocks * (part + 1)).div_ceil(parts) - 1;
        let (grade, _) = grade(&store.coverage(number, asset, Height(height))?);
        match runs.last_mut().filter(|last| last.0 == grade) {
            Some(last) => (last.1, last.3) = (last.1 + 1, height),
            None => runs.push((grade, 1, runs.last().map_or(first, |last| last.3 + 1), height)),
        }
    }
    let mut html =
        format!(r#"<svg class="strip" viewBox="0 0 {parts} 6" preserveAspectRatio="none" aria-hidden="true">"#);
    let mut x = 0;
    for (grade, wide, ..) in &runs {
        let (y, high) = match *grade {
            "proven" => (0, 6),
            "unproven" => (3, 3),
            _ => (5, 1),
        };
        html += &format!(r#"<rect class="{grade}" x="{x}" y="{y}" width="{wide}" height="{high}"/>"#);
        x += wide;
    }
    html += r#"</svg><ul class="dim strip">"#;
    for (grade, _, from, to) in runs.iter().take(8) {
        let said = f.w.fill("blocks-from-to", &[&show::count(*from), &show::count(*to)]);
        html += &format!("<li>{}: {said}</li>", f.w.say(grade));
    }
    Ok(Html(html + "</ul>"))
}

/// A page of those that are asked for, the newest first, and where it goes on.
fn newest(store: &Store, (number, asset): Pair, filter: &Filter) -> Result<(Vec<Movement>, Option<Place>), StoreError> {
    let mut found = Vec::with_capacity(ROWS);
    for (nth, movement) in store.movements_before(number, asset, filter.before)?.enumerate() {
        let movement = movement?;
        if movement.height < filter.from {
            break;
        }
        let at = (movement.height, movement.place);
        if filter.wants(&movement) {
            if found.len() == ROWS {
                return Ok((found.clone(), found.last().map(|last: &Movement| (last.height, last.place))));
            }
            found.push(movement);
        }
        if nth + 1 == LOOKED_AT {
            return Ok((found, Some(at)));
        }
    }
    Ok((found, None))
}

/// The balance over time: every movement, or where these are many what was held at as many blocks.
pub(super) async fn course(
    State(app): State<Shared>,
    reader: Reader,
    Path((chain, address)): Path<(String, String)>,
    Asked(wish): Asked<Wish>,
) -> Result<Answer, Problem> {
    reader.caller()?.must(&Act::ReadAccounts)?;
    let words = reader.words;
    blocking(move || {
        let subject = Subject::find(&app, &chain, &address, wish.asset.as_deref())?;
        let tip = block(&subject.store, None)?;
        let steps = match subject.coverage(&tip).map_err(Problem::internal)?.0 {
            Some(number) => steps(&subject.store, (number, &subject), tip.height).map_err(Problem::internal)?,
            None => Vec::new(),
        };
        let coins = |amount| Coins::new(amount, subject.decimals()).to_string().parse::<f64>().ok(); // a picture's precision
        Ok(Answer(json!({
            "x": steps.iter().map(|(time, _)| time).collect::<Vec<_>>(),
            "balance": steps.iter().map(|(_, amount)| coins(*amount)).collect::<Vec<_>>(),
            "words": { "time": words.say("time"), "balance": words.say("balance") },
        })))
    })
    .await
}

fn steps(
    store: &Store,
    (number, subject): (AccountNo, &Subject),
    tip: Height,
) -> Result<Vec<(i64, Amount)>, StoreError> {
    let asset = subject.deployment.asset;
    let newest = store.movements_before(number, asset, (Height(u64::MAX), 0))?;
    let newest: Vec<Movement> = newest.take(STEPS + 1).collect::<Result<_, _>>()?;
    let mut heights: Vec<Height> = newest.iter().map(|movement| movement.height).collect();
    if newest.len() > STEPS {
        let first = store.movements(number, asset, Height(0), tip)?.next().transpose()?;
        let first = first.map_or(tip.0, |movement| movement.height.0);
        let (blocks, steps) = (tip.0 - first, u64::try_from(STEPS).unwrap_or(1));
        heights = (0..=steps).map(|step| Height(first + blocks * step / steps)).collect();
    }
    heights.push(tip);
    heights.sort_unstable();
    heights.dedup();
    // Blocks' times may go back, and several may have the same: then the last one counts.
    let mut all: BTreeMap<i64, Amount> = BTreeMap::new();
    for height in heights {
        if let Some(time) = store.latest_time(height)? {
            all.insert(time.unix_s(), store.balance(number, asset, height)?);
        }
    }
    Ok(all.into_iter().collect())
}
