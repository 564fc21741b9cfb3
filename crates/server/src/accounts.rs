//! What an account held, and how it came to hold it: the fields of `assay balance --json` and `assay history --format ndjson`.
//!
//! A history is read in pages. The cursor names the block at which the first page was read: the pages after it show the chain
//! as of that block, and end with an error if that block has left the chain.

use std::collections::HashMap;
use std::sync::Arc;

use assay_desk::Source;
use assay_store::{Coverage, Movement, Store};
use assay_types::{Account, AccountNo, Asset, AssetEntry, Deployment, Directory, Header, Height};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::App;
use crate::access::Act;
use crate::layers::Who;
use crate::problem::Problem;

type Asked = Query<HashMap<String, String>>;
type Answer = Result<Response, Problem>;

/// Movements on a page, unless asked otherwise, and at most.
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1_000;

/// What is asked about.
struct Subject {
    source: Source,
    store: Arc<Store>,
    account: Account,
    address: String,
    symbol: String,
    deployment: Deployment,
}

pub(crate) async fn balance(
    State(app): State<App>,
    Extension(who): Extension<Who>,
    Path((chain, address)): Path<(String, String)>,
    Query(asked): Asked,
) -> Answer {
    who.must(Act::ReadAccounts)?;
    understood(&asked, &["asset", "at"])?;
    let answer = tokio::task::spawn_blocking(move || {
        let subject = Subject::find(&app, &chain, &address, asked.get("asset"))?;
        let header = subject.block(asked.get("at"))?;
        subject.balance(&header)
    });
    Ok(Json(answer.await??).into_response())
}

pub(crate) async fn history(
    State(app): State<App>,
    Extension(who): Extension<Who>,
    Path((chain, address)): Path<(String, String)>,
    Query(asked): Asked,
) -> Answer {
    who.must(Act::ReadAccounts)?;
    understood(&asked, &["asset", "cursor", "limit", "from", "to"])?;
    let answer = tokio::task::spawn_blocking(move || {
        let subject = Subject::find(&app, &chain, &address, asked.get("asset"))?;
        subject.history(&asked)
    });
    Ok(Json(answer.await??).into_response())
}

fn understood(asked: &HashMap<String, String>, known: &[&str]) -> Result<(), Problem> {
    match asked.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(Problem::bad(format!("`{unknown}` is not understood here: {} are", known.join(", ")))),
        None => Ok(()),
    }
}

impl Subject {
    fn find(app: &App, chain: &str, address: &str, asset: Option<&String>) -> Result<Subject, Problem> {
        let (sources, directory) = (app.desk.sources(), app.desk.directory());
        let source = sources.iter().find(|source| source.name == chain || source.id.as_str() == chain);
        let source = source.ok_or_else(|| Problem::bad(format!("no chain `{chain}` is configured")))?;
        let entry = directory.chain(source.id.as_str()).ok_or_else(Problem::not_found)?;
        let account = entry.addresses.parse(address).map_err(|why| Problem::bad(format!("address: {why}")))?;
        let (asset, deployment) = deployed(&directory, source, asset)?;
        let unknown = |why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).retry_after(1);
        Ok(Subject {
            store: source.store().map_err(unknown)?,
            address: entry.addresses.show(&account),
            account,
            symbol: asset.symbol.clone(),
            deployment: deployment.clone(),
            source: source.clone(),
        })
    }

    /// The block that `at` names: all digits is a height, else an RFC 3339 time; by default the last indexed one.
    fn block(&self, at: Option<&String>) -> Result<Header, Problem> {
        let none = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no block is indexed yet").retry_after(1);
        let tip = self.store.tip()?.ok_or_else(none)?;
        let Some(at) = at else { return Ok(tip) };
        let unindexed = || Problem::bad(format!("at: {at} is not among the indexed blocks"));
        if !at.is_empty() && at.bytes().all(|byte| byte.is_ascii_digit()) {
            let height = at.parse().map_err(|_| unindexed())?;
            return self.store.header(Height(height))?.ok_or_else(unindexed);
        }
        let time = at.parse().map_err(|error| Problem::bad(format!("at: {error}")))?;
        match self.store.first_later_than(time)? {
            None => Ok(tip),
            Some(later) => {
                let below = later.height.previous().map(|below| self.store.header(below)).transpose()?;
                below.flatten().ok_or_else(unindexed)
            }
        }
    }

    fn coverage(&self, header: &Header) -> Result<(Option<AccountNo>, Coverage), Problem> {
        Ok(match self.store.number(&self.account)? {
            None => (None, Coverage::Unknown("not declared by any exchange".into())),
            Some((_, false)) => (None, Coverage::Unknown("declared late: its history is still being filled in".into())),
            Some((number, true)) => (Some(number), self.store.coverage(number, self.deployment.asset, header.height)?),
        })
    }

    fn as_of(&self, header: &Header) -> Result<Value, Problem> {
        let mut at = assay_desk::at(&self.source.id, header);
        at["chain"] = json!(self.source.name);
        at["final"] = json!(self.store.final_height()?.is_some_and(|last| header.height <= last));
        Ok(at)
    }

    fn balance(&self, header: &Header) -> Result<Value, Problem> {
        let (number, coverage) = self.coverage(header)?;
        let asset = self.deployment.asset;
        let known = match (&coverage, number) {
            (Coverage::Unknown(_), _) | (_, None) => None,
            (_, Some(number)) => Some((number, self.store.balance(number, asset, header.height)?)),
        };
        let as_of = self.as_of(header)?;
        let mut answer = json!({
            "chain": self.source.name,
            "address": self.address,
            "asset": self.symbol,
            "amount": known.map(|(_, units)| units.to_coins(self.deployment.decimals)),
            "units": known.map(|(_, units)| units.to_string()),
            "decimals": self.deployment.decimals,
            "at": assay_desk::at(&self.source.id, header),
            "final": as_of["final"],
            "coverage": coverage.as_str(),
            "complete": known.is_some(),
            "as_of": as_of,
        });
        if let Coverage::Unknown(reason) = &coverage {
            answer["reason"] = json!(reason);
        }
        if self.source.id.namespace() == "bip122" {
            let immature = known.map(|(number, _)| self.store.immature(number, header.height)).transpose()?;
            answer["immature"] = json!(immature.map(|units| units.to_coins(self.deployment.decimals)));
        }
        Ok(answer)
    }

    fn history(&self, asked: &HashMap<String, String>) -> Result<Value, Problem> {
        let number = |key: &str| {
            let wrong = || Problem::bad(format!("{key} must be a whole number"));
            asked.get(key).map(|text| text.parse::<u64>().map_err(|_| wrong())).transpose()
        };
        let limit = number("limit")?.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if !(1..=LONGEST_PAGE).contains(&limit) {
            return Err(Problem::bad(format!("limit must be 1 to {LONGEST_PAGE}")));
        }
        let cursor = asked.get("cursor").map(|text| Cursor::read(text)).transpose()?;
        let header = match &cursor {
            Some(cursor) => self.pinned(cursor)?,
            None => self.block(None)?,
        };
        let (from, place) =
            cursor.as_ref().map_or((number("from")?.unwrap_or(0), 0), |cursor| (cursor.from, cursor.place));
        let to = Height(number("to")?.unwrap_or(u64::MAX)).min(header.height);
        let (account, coverage) = self.coverage(&header)?;
        let (rows, next) = match account {
            Some(account) => self.page(account, (Height(from), place), to, limit, &header)?,
            None => (Vec::new(), None),
        };
        let mut answer = json!({
            "chain": self.source.name, "address": self.address, "asset": self.symbol,
            "decimals": self.deployment.decimals, "coverage": coverage.as_str(), "movements": rows, "next": next,
            "complete": !matches!(coverage, Coverage::Unknown(_)), "as_of": self.as_of(&header)?,
        });
        if let Coverage::Unknown(reason) = &coverage {
            answer["reason"] = json!(reason);
        }
        Ok(answer)
    }

    fn pinned(&self, cursor: &Cursor) -> Result<Header, Problem> {
        let header = self.store.header(Height(cursor.height))?.filter(|header| header.hash.0 == cursor.hash);
        let gone = || {
            Problem::new(StatusCode::GONE, "the block at which this history was begun has left the chain: begin again")
        };
        header.ok_or_else(gone)
    }

    /// So many movements from this place on, and the cursor of those after them.
    fn page(
        &self,
        account: AccountNo,
        (from, place): (Height, u32),
        to: Height,
        limit: usize,
        pinned: &Header,
    ) -> Result<(Vec<Value>, Option<String>), Problem> {
        let final_height = self.store.final_height()?;
        let mut rows = Vec::new();
        for movement in self.store.movements(account, self.deployment.asset, from, to)? {
            let movement = movement?;
            if movement.height == from && movement.place < place {
                continue;
            }
            if rows.len() == limit {
                let (hash, height) = (pinned.hash.0, pinned.height.0);
                let cursor = Cursor { height, hash, from: movement.height.0, place: movement.place };
                return Ok((rows, Some(cursor.text())));
            }
            rows.push(self.row(&movement, final_height)?);
        }
        Ok((rows, None))
    }

    fn row(&self, movement: &Movement, final_height: Option<Height>) -> Result<Value, Problem> {
        let header = self.store.header(movement.height)?;
        let (chain, decimals) = (&self.source.id, self.deployment.decimals);
        Ok(json!({
            "height": movement.height,
            "hash": header.as_ref().map(|header| chain.show_hash(&header.hash.0)),
            "time": header.as_ref().map(|header| header.time),
            "txid": movement.txid.map(|txid| chain.show_hash(&txid.0)),
            "index": movement.index,
            "asset": self.symbol,
            "direction": movement.direction.as_str(),
            "amount": movement.amount.to_coins(decimals),
            "balance": movement.balance.to_coins(decimals),
            "kind": movement.kind.as_str(),
            "final": final_height.is_some_and(|height| movement.height <= height),
        }))
    }
}

fn deployed<'a>(
    directory: &'a Directory,
    source: &Source,
    asset: Option<&String>,
) -> Result<(&'a AssetEntry, &'a Deployment), Problem> {
    let none = || Problem::bad(format!("no such asset on {}", source.name));
    match asset {
        None => directory.deployed(&source.id, Asset::Native).ok_or_else(none),
        Some(name) => {
            let entry = directory.asset(name).ok_or_else(none)?;
            entry.on.iter().find(|on| on.chain == source.id).map(|on| (entry, on)).ok_or_else(none)
        }
    }
}

/// Where a history goes on, and the block at which it was begun.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    height: u64,
    hash: [u8; 32],
    from: u64,
    place: u32,
}

impl Cursor {
    fn text(&self) -> String {
        let bytes = [&self.height.to_be_bytes()[..], &self.hash, &self.from.to_be_bytes(), &self.place.to_be_bytes()];
        BASE64_URL_SAFE_NO_PAD.encode(bytes.concat())
    }

    fn read(text: &str) -> Result<Cursor, Problem> {
        let parts = || {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
            let (height, rest) = bytes.split_first_chunk::<8>()?;
            let (hash, rest) = rest.split_first_chunk::<32>()?;
            let (from, rest) = rest.split_first_chunk::<8>()?;
            let place = <[u8; 4]>::try_from(rest).ok()?;
            let (height, from) = (u64::from_be_bytes(*height), u64::from_be_bytes(*from));
            Some(Cursor { height, hash: *hash, from, place: u32::from_be_bytes(place) })
        };
        parts().ok_or_else(|| Problem::bad("cursor: is not one that was given here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_anything_else_is_refused() {
        let cursor = Cursor { height: 7, hash: [3; 32], from: 5, place: 9 };
        let text = cursor.text();
        assert_eq!(Cursor::read(&text).unwrap(), cursor);
        for wrong in ["", "x", &text[1..], &format!("{text}AAAA"), "!!!!"] {
            assert!(Cursor::read(wrong).is_err(), "{wrong}");
        }
    }
}
