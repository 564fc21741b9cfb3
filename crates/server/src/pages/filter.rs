//! Which movements of a history are asked for.

use assay_store::{Movement, Store};
use assay_types::{Direction, Height, Kind, Timestamp};
use serde::Deserialize;

use super::show::segment;
use crate::problem::Problem;

const DAY_S: i64 = 86_400;

/// As a form sends it: what is left empty is not asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    pub(super) asset: Option<String>,
    /// A height, a day or an instant.
    from: Option<String>,
    to: Option<String>,
    kind: Option<String>,
    direction: Option<String>,
    /// The place of the first movement that is not asked for: height and place in the block.
    pub(super) before: Option<String>,
}

/// A form's fields.
pub(super) struct Shown {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) kinds: Vec<(&'static str, bool)>,
    pub(super) directions: [(&'static str, bool); 2],
}

/// The same, understood.
pub(super) struct Filter {
    /// The first block.
    pub(super) from: Height,
    /// The last block.
    pub(super) to: Height,
    /// Only what comes before this place.
    pub(super) before: (Height, u32),
    kind: Option<Kind>,
    direction: Option<Direction>,
}

fn kinds() -> impl Iterator<Item = Kind> {
    (0..=u8::MAX).map_while(Kind::from_byte)
}

const DIRECTIONS: [Direction; 2] = [Direction::Credit, Direction::Debit];

impl Wish {
    fn given(text: Option<&String>) -> Option<&str> {
        text.map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// The query that asks for the same again, from the newest on.
    pub(super) fn asked(&self, asset: &str) -> String {
        let more = [("from", &self.from), ("to", &self.to), ("kind", &self.kind), ("direction", &self.direction)];
        let more = more.into_iter().filter_map(|(name, text)| Some((name, Wish::given(text.as_ref())?)));
        let all = [("asset", asset)].into_iter().chain(more);
        all.map(|(name, text)| format!("{name}={}", segment(text))).collect::<Vec<_>>().join("&")
    }

    pub(super) fn shown(&self) -> Shown {
        let text = |text: &Option<String>| Wish::given(text.as_ref()).unwrap_or_default().to_owned();
        let is = |text: &Option<String>, name: &str| Wish::given(text.as_ref()) == Some(name);
        Shown {
            from: text(&self.from),
            to: text(&self.to),
            kinds: kinds().map(Kind::as_str).map(|name| (name, is(&self.kind, name))).collect(),
            directions: DIRECTIONS.map(Direction::as_str).map(|name| (name, is(&self.direction, name))),
        }
    }
}

impl Filter {
    /// `tip`: the last block that there is.
    pub(super) fn read(wish: &Wish, store: &Store, tip: Height) -> Result<Filter, Problem> {
        let from = Wish::given(wish.from.as_ref()).map(|text| first(store, text, tip)).transpose()?;
        let to = Wish::given(wish.to.as_ref()).map(|text| last(store, text, tip)).transpose()?;
        let (from, to) = (from.unwrap_or(Height(0)), to.unwrap_or(tip).min(tip));
        let kind = |name: &str| {
            let known = kinds().find(|kind| kind.as_str() == name);
            known.ok_or_else(|| Problem::bad(format!("`kind`: there is no `{name}`")))
        };
        let direction = |name: &str| {
            let known = DIRECTIONS.into_iter().find(|one| one.as_str() == name);
            known.ok_or_else(|| Problem::bad("`direction` is `credit` or `debit`"))
        };
        let before = Wish::given(wish.before.as_ref()).map(read_place).transpose()?;
        Ok(Filter {
            from,
            to,
            before: before.unwrap_or((to.next(), 0)).min((to.next(), 0)),
            kind: Wish::given(wish.kind.as_ref()).map(kind).transpose()?,
            direction: Wish::given(wish.direction.as_ref()).map(direction).transpose()?,
        })
    }

    /// Is it of the kind and in the direction that are asked for?
    pub(super) fn wants(&self, movement: &Movement) -> bool {
        self.kind.is_none_or(|kind| movement.kind == kind)
            && self.direction.is_none_or(|direction| movement.direction == direction)
    }
}

/// A height, or a day or instant with how many seconds it lasts.
enum When {
    At(Height),
    Then(i64, i64),
}

fn when(name: &str, text: &str) -> Result<When, Problem> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(|height| When::At(Height(height))).map_err(|_| unreadable(name));
    }
    let (instant, lasts) = match text.len() {
        10 => (format!("{text}T00:00:00Z"), DAY_S),
        _ => (text.to_owned(), 1),
    };
    let instant: Timestamp = instant.parse().map_err(|_| unreadable(name))?;
    Ok(When::Then(instant.unix_s(), lasts))
}

fn unreadable(name: &str) -> Problem {
    Problem::bad(format!(
        "`{name}` is no height, no day such as 2026-02-06, and no time such as 2026-02-06T19:00:00+09:00"
    ))
}

/// The first block at that time or later.
fn first(store: &Store, text: &str, tip: Height) -> Result<Height, Problem> {
    match when("from", text)? {
        When::At(height) => Ok(height),
        When::Then(second, _) => {
            let later = store.first_later_than(Timestamp::from_unix_s(second - 1)).map_err(Problem::internal)?;
            Ok(later.map_or(tip.next(), |header| header.height))
        }
    }
}

/// The last block before the first that is later.
fn last(store: &Store, text: &str, tip: Height) -> Result<Height, Problem> {
    match when("to", text)? {
        When::At(height) => Ok(height),
        When::Then(second, lasts) => {
            let end = Timestamp::from_unix_s(second + lasts - 1);
            let later = store.first_later_than(end).map_err(Problem::internal)?;
            Ok(later.map_or(tip, |header| header.height.previous().unwrap_or(Height(0))))
        }
    }
}

fn read_place(text: &str) -> Result<(Height, u32), Problem> {
    let read = |text: &str| {
        let (height, place) = text.split_once('-')?;
        Some((Height(height.parse().ok()?), place.parse().ok()?))
    };
    read(text).ok_or_else(|| Problem::bad("`before` is no place in a history"))
}
