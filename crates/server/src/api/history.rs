//! One page of a history. Read from where the last one ended, and no further than it needs.

use assay_store::{Coverage, StoreError};
use assay_types::{Header, Height};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::limit;
use crate::api::subject::{Subject, block};
use crate::cursor::HistoryCursor;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    pub(crate) asset: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
    cursor: Option<String>,
    limit: Option<usize>,
}

pub(crate) fn page(subject: &Subject, asked: &HistoryQuery) -> Result<Value, Problem> {
    if asked.from.zip(asked.to).is_some_and(|(from, to)| from > to) {
        return Err(Problem::bad("`from` is above `to`"));
    }
    let limit = limit(asked.limit)?;
    let question = question(subject, asked);
    let cursor = asked.cursor.as_deref().map(|text| HistoryCursor::read(&question, text)).transpose()?;
    let pinned = match cursor {
        Some(cursor) => still_there(subject, &cursor)?,
        None => block(&subject.store, None)?,
    };
    let from = cursor.map_or((Height(asked.from.unwrap_or(0)), 0), |cursor| (cursor.height, cursor.place));
    let to = asked.to.map_or(pinned.height, Height).min(pinned.height);
    let (number, coverage) = subject.coverage(&pinned).map_err(Problem::internal)?;
    let (movements, next) = match number {
        Some(number) => movements(subject, number, from, to, limit).map_err(Problem::internal)?,
        None => (Vec::new(), None),
    };
    let unknown = |number| subject.movements(number)?.unknown(Height(asked.from.unwrap_or(0)), to);
    let unknown = number.map(unknown).transpose().map_err(Problem::internal)?.unwrap_or_default();
    // What was read while a block was taken back belongs to no chain.
    still_at(subject, &pinned)?;
    let next = next.map(|(height, place)| HistoryCursor { pinned: pinned.at(), height, place }.write(&question));
    let beyond = [asked.from, asked.to].iter().flatten().any(|height| Height(*height) > pinned.height);
    let mut answer = json!({
        "chain": subject.chain.name,
        "address": subject.address(),
        "asset": subject.symbol,
        "decimals": subject.decimals(),
        "from": asked.from.unwrap_or(0),
        "to": to,
        "coverage": coverage.as_str(),
        "movements": movements,
        "next": next,
        "as_of": subject.as_of(&pinned).map_err(Problem::internal)?,
        "complete": !beyond && unknown.is_empty() && !matches!(coverage, Coverage::Unknown(_)),
    });
    if !unknown.is_empty() {
        answer["unknown"] = json!(unknown);
    }
    if let Coverage::Unknown(reason) = coverage {
        answer["reason"] = json!(reason);
    }
    Ok(answer)
}

/// A cursor continues this question and no other.
fn question(subject: &Subject, asked: &HistoryQuery) -> String {
    let deployment = subject.deployment.caip19();
    format!("history of {:?} in {deployment} from {:?} to {:?}", subject.account, asked.from, asked.to)
}

fn still_there(subject: &Subject, cursor: &HistoryCursor) -> Result<Header, Problem> {
    let header = subject.store.header(cursor.pinned.height).map_err(Problem::internal)?;
    header.filter(|header| header.hash == cursor.pinned.hash).ok_or_else(gone)
}

fn still_at(subject: &Subject, pinned: &Header) -> Result<(), Problem> {
    let header = subject.store.header(pinned.height).map_err(Problem::internal)?;
    if header.is_some_and(|header| header.hash == pinned.hash) { Ok(()) } else { Err(gone()) }
}

fn gone() -> Problem {
    let detail = "the block as of which these pages are is no longer on the chain: begin again without `cursor`";
    Problem::new(StatusCode::GONE, "block-gone", detail)
}

/// So many movements from a place on, and where the next one stands.
type Page = (Vec<Value>, Option<(Height, u32)>);

fn movements(
    subject: &Subject,
    number: assay_types::AccountNo,
    from: (Height, u32),
    to: Height,
    limit: usize,
) -> Result<Page, StoreError> {
    let told = subject.movements(number)?;
    let mut rows = Vec::new();
    for movement in subject.store.movements(number, subject.deployment.asset, from.0, to)? {
        let movement = movement?;
        if (movement.height, movement.place) < from {
            continue;
        }
        if rows.len() == limit {
            return Ok((rows, Some((movement.height, movement.place))));
        }
        rows.push(told.row(&movement)?);
    }
    Ok((rows, None))
}
