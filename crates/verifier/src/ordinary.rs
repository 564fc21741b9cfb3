//! What is ordinary: how much was traded in each window, over many statements.

use std::collections::BTreeMap;

use assay_types::Statement;
use serde::{Deserialize, Serialize};

use crate::coins::{Wide, wide};

/// What statements reported as traded, by asset and window: enough for a mean, however many they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Ordinary(BTreeMap<String, Windows>);

/// By window, in the order of their names: there are a few at most, and a map of each would be mostly empty.
type Windows = Vec<(String, Traded)>;

/// As it is kept.
type Written = BTreeMap<String, BTreeMap<String, Traded>>;

impl From<Written> for Ordinary {
    fn from(written: Written) -> Ordinary {
        Ordinary(written.into_iter().map(|(symbol, windows)| (symbol, windows.into_iter().collect())).collect())
    }
}

impl From<Ordinary> for Written {
    fn from(ordinary: Ordinary) -> Written {
        ordinary.0.into_iter().map(|(symbol, windows)| (symbol, windows.into_iter().collect())).collect()
    }
}

/// What was traded in one asset and one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traded {
    /// In how many statements.
    pub reports: u64,
    /// All together, in base units of the asset's finest deployment.
    pub sum: Wide,
}

impl Ordinary {
    /// Adds what a statement reports.
    pub fn add(&mut self, statement: &Statement) {
        for report in &statement.assets {
            for volume in &report.volume {
                self.grow(&report.symbol, &volume.window, Traded { reports: 1, sum: wide(volume.traded) });
            }
        }
    }

    /// Adds what others were added to.
    pub fn add_all(&mut self, other: &Ordinary) {
        for (symbol, windows) in &other.0 {
            windows.iter().for_each(|(window, more)| self.grow(symbol, window, *more));
        }
    }

    /// What was traded in an asset in windows of this length.
    pub fn of(&self, symbol: &str, window: &str) -> Traded {
        let windows = self.0.get(symbol).map_or(&[][..], Vec::as_slice);
        windows.iter().find(|(name, _)| name == window).map_or_else(Traded::default, |(_, traded)| *traded)
    }

    fn grow(&mut self, symbol: &str, window: &str, more: Traded) {
        if !self.0.contains_key(symbol) {
            self.0.insert(symbol.to_owned(), Windows::with_capacity(1));
        }
        let Some(windows) = self.0.get_mut(symbol) else { return };
        match windows.binary_search_by(|(name, _)| name.as_str().cmp(window)) {
            Ok(place) => {
                let traded = &mut windows[place].1;
                (traded.reports, traded.sum) = (traded.reports + more.reports, traded.sum + more.sum);
            }
            Err(place) => windows.insert(place, (window.to_owned(), more)),
        }
    }
}
