//! What is ordinary: how much was traded in each window, over many statements.

use std::collections::BTreeMap;

use assay_types::Statement;
use serde::{Deserialize, Serialize};

use crate::coins::{Wide, wide};

/// What statements reported as traded, by asset and window: enough for a mean, however many they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordinary(BTreeMap<String, BTreeMap<String, Traded>>);

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
        for report in statement.assets.iter().filter(|report| !report.volume.is_empty()) {
            let windows = self.0.entry(report.symbol.clone()).or_default();
            for volume in &report.volume {
                let traded = windows.entry(volume.window.clone()).or_default();
                (traded.reports, traded.sum) = (traded.reports + 1, traded.sum + wide(volume.traded));
            }
        }
    }

    /// Adds what others were added to.
    pub fn add_all(&mut self, other: &Ordinary) {
        for (symbol, windows) in &other.0 {
            let mine = self.0.entry(symbol.clone()).or_default();
            for (window, more) in windows {
                let traded = mine.entry(window.clone()).or_default();
                (traded.reports, traded.sum) = (traded.reports + more.reports, traded.sum + more.sum);
            }
        }
    }

    /// What was traded in an asset in windows of this length.
    pub fn of(&self, symbol: &str, window: &str) -> Traded {
        self.0.get(symbol).and_then(|windows| windows.get(window)).copied().unwrap_or_default()
    }
}
