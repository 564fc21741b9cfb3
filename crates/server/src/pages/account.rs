//! One account in one asset: what it holds, how it came to, and how well that is known at every height.

use std::collections::BTreeMap;

use askama::Template;
use assay_store::{Coverage, Movement, Store, StoreError};
use assay_types::{AccountNo, Amount, Direction, Header, Height};
use assay_verifier::Coins;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::frame::{Frame, Reader};
use super::show::{self, Html, segment};
use super::shown;
use crate::answer::{Answer, Asked};
use crate::api::accounts::{Subject, block};
use crate::app::{Shared, blocking};
use crate::problem::Problem;
use crate::scope::Act;
use crate::seats::Use;

/// So many movements are on a page.
const ROWS: usize = 50;
/// A chart has so many steps at most, and the strip of coverage so many parts.
const STEPS: usize = 240;
const PARTS: u64 = 120;
/// So many lines of an export are sent at once.
const LINES: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    asset: Option<String>,
    /// The place of the first movement that is not asked for: height and place in the block.
    before: Option<String>,
}

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
    course: String,
    strip: Html,
    rows: Vec<Row>,
    older: Option<String>,
    newest: Option<String>,
    exports: [(&'static str, String); 2],
}

struct Row {
    height: String,
    time: Html,
    kind: String,
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
        let before = wish.before.as_deref().map(read_place).transpose()?;
        let tip = block(&subject.store, None)?;
        let name = format!("{} {}", subject.address(), subject.symbol);
        let directory = app.desk.directory();
        let on_chain = directory.assets.iter().filter(|entry| entry.on.iter().any(|on| on.chain == subject.chain.id));
        let assets = on_chain.map(|entry| (entry.symbol.clone(), entry.symbol == subject.symbol)).collect();
        let f = Frame::of(&reader, name, &view).with_charts();
        make(f, &subject, &tip, before, assets).map_err(Problem::internal)
    });
    shown(&page.await?)
}

fn make(
    f: Frame,
    subject: &Subject,
    tip: &Header,
    before: Option<(Height, u32)>,
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
    let mut movements = Vec::new();
    if let Some(number) = number {
        let from = before.unwrap_or((Height(u64::MAX), 0));
        let newest = store.movements_before(number, subject.deployment.asset, from)?;
        movements = newest.take(ROWS + 1).collect::<Result<Vec<Movement>, _>>()?;
    }
    let place = place(&subject.chain.name, &subject.address());
    let asset = segment(unit);
    let more = movements.len() > ROWS;
    movements.truncate(ROWS);
    let older = movements
        .last()
        .filter(|_| more)
        .map(|last| format!("{place}?asset={asset}&before={}-{}", last.height, last.place));
    let row = |movement: &Movement| -> Result<Row, StoreError> {
        let header = store.header(movement.height)?;
        let (amount, none) = (coins(movement.amount), Html::default());
        let (credit, debit) = match movement.direction {
            Direction::Credit => (amount, none),
            Direction::Debit => (none, amount),
        };
        Ok(Row {
            height: show::count(movement.height.0),
            time: header.map(|header| show::time(header.time)).unwrap_or_default(),
            kind: movement.kind.as_str().into(),
            tx: movement.txid.map_or_else(|| "–".into(), |txid| subject.chain.id.show_hash(&txid.0)),
            credit,
            debit,
            balance: coins(movement.balance),
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
        course: format!("{place}/course?asset={asset}"),
        strip: number.map(|number| strip(&f, subject, number, tip)).transpose()?.unwrap_or_default(),
        rows: movements.iter().map(row).collect::<Result<_, _>>()?,
        older,
        newest: before.map(|_| format!("{place}?asset={asset}")),
        exports: [
            ("CSV", format!("{place}/history.csv?asset={asset}")),
            ("NDJSON", format!("{place}/history.ndjson?asset={asset}")),
        ],
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

fn read_place(text: &str) -> Result<(Height, u32), Problem> {
    let read = |text: &str| {
        let (height, place) = text.split_once('-')?;
        Some((Height(height.parse().ok()?), place.parse().ok()?))
    };
    read(text).ok_or_else(|| Problem::bad("`before` is no place in a history"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    asset: Option<String>,
}

/// The balance over time: every movement, or where these are many what was held at as many blocks.
pub(super) async fn course(
    State(app): State<Shared>,
    reader: Reader,
    Path((chain, address)): Path<(String, String)>,
    Asked(of): Asked<Of>,
) -> Result<Answer, Problem> {
    reader.caller()?.must(&Act::ReadAccounts)?;
    let words = reader.words;
    blocking(move || {
        let subject = Subject::find(&app, &chain, &address, of.asset.as_deref())?;
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

/// The whole history as a file, oldest first, sent as it is read: the fields of `assay history`.
pub(super) async fn export(
    State(app): State<Shared>,
    reader: Reader,
    Path((chain, address, file)): Path<(String, String, String)>,
    Asked(of): Asked<Of>,
) -> Result<Response, Problem> {
    let caller = reader.caller()?.clone();
    caller.must(&Act::ReadAccounts)?;
    let (kind, csv) = match file.as_str() {
        "history.csv" => ("text/csv; charset=utf-8", true),
        "history.ndjson" => ("application/x-ndjson", false),
        _ => return Err(Problem::not_found()),
    };
    let seat = app.seats.take(Use::Listen, &caller)?;
    let shared = app.clone();
    let subject = blocking(move || Subject::find(&shared, &chain, &address, of.asset.as_deref())).await?;
    let name = format!("{}-{}-{file}", subject.chain.name, subject.symbol);
    let (send, receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    tokio::task::spawn_blocking(move || {
        let _seat = seat;
        if let Err(error) = write(&subject, csv, &send, || caller.counts(&app)) {
            tracing::error!(%error, "a history could not be exported to its end");
            let _ = send.blocking_send(Err(std::io::Error::other("it broke off here"))); // so that nobody takes it for whole
        }
    });
    let body = Body::from_stream(futures_util::stream::unfold(receive, async |mut receive| {
        receive.recv().await.map(|part| (part, receive))
    }));
    let mut response = Response::new(body);
    let kept = format!(
        "attachment; filename=\"{}\"",
        name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.', "_")
    );
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert(header::CONTENT_DISPOSITION, HeaderValue::from_str(&kept).map_err(Problem::internal)?);
    Ok(response)
}

fn write(
    subject: &Subject,
    csv: bool,
    send: &mpsc::Sender<Result<Bytes, std::io::Error>>,
    counts: impl Fn() -> bool,
) -> Result<(), StoreError> {
    let store = &subject.store;
    let Some(tip) = store.tip()? else { return Ok(()) };
    let (Some(number), _) = subject.coverage(&tip)? else { return Ok(()) };
    let final_height = store.final_height()?;
    const FIELDS: [&str; 11] =
        ["height", "hash", "time", "txid", "index", "asset", "direction", "amount", "balance", "kind", "final"];
    let mut text = if csv { format!("{}\n", FIELDS.join(",")) } else { String::new() };
    let mut lines = 0;
    for movement in store.movements(number, subject.deployment.asset, Height(0), tip.height)? {
        let row = crate::api::history::row(subject, &movement?, final_height)?;
        if csv {
            let field = |name: &&str| match &row[*name] {
                serde_json::Value::String(text) if text.contains([',', '"', '\n']) => {
                    format!("\"{}\"", text.replace('"', "\"\""))
                }
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Null => String::new(),
                other => other.to_string(),
            };
            text += &FIELDS.iter().map(field).collect::<Vec<_>>().join(",");
        } else {
            text += &row.to_string();
        }
        text.push('\n');
        lines += 1;
        if lines % LINES == 0 && (!counts() || send.blocking_send(Ok(std::mem::take(&mut text).into())).is_err()) {
            return Ok(()); // nobody reads on, or may
        }
    }
    let _ = send.blocking_send(Ok(text.into())); // nobody may read on
    Ok(())
}
