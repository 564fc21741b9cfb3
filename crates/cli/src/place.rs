//! Which block a question means: a height, a time, or the last one.

use assay_store::Store;
use assay_types::{Header, Height, Timestamp};

use crate::failure::{Failure, UNKNOWN, WRONG_INPUT};

/// All digits is a height, anything else an RFC 3339 time: then the last block before the first whose time is later.
pub fn block(store: &Store, at: Option<&str>) -> Result<Header, Failure> {
    let tip = store.tip()?.ok_or_else(|| nothing_indexed("no block is indexed yet"))?;
    let Some(text) = at else { return Ok(tip) };
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let height = text.parse().map(Height).unwrap_or(Height(u64::MAX));
        return at_height(store, height, &tip);
    }
    let time = self::time("--at", text)?;
    match store.first_later_than(time)? {
        None => Ok(tip),
        Some(later) => match later.height.previous().map(|height| store.header(height)).transpose()?.flatten() {
            Some(header) => Ok(header),
            None => Err(nothing_indexed(format!("{time} is before the first indexed block, {}", later.height))),
        },
    }
}

fn at_height(store: &Store, height: Height, tip: &Header) -> Result<Header, Failure> {
    if height > tip.height {
        let why = format!("block {height} is above the last indexed block, {}", tip.height);
        return Err(nothing_indexed(why));
    }
    let first = store.first_height()?.unwrap_or(height);
    let below = || nothing_indexed(format!("block {height} is below the first indexed block, {first}"));
    store.header(height)?.ok_or_else(below)
}

fn nothing_indexed(why: impl ToString) -> Failure {
    Failure::new(UNKNOWN, why).hint("index further: assay index --once")
}

/// An RFC 3339 time that an option gives.
pub fn time(option: &str, text: &str) -> Result<Timestamp, Failure> {
    text.parse().map_err(|error| Failure::new(WRONG_INPUT, error).during(option))
}
