//! Tables under the lines of the story: the arithmetic of a verdict, items in flight, who sees it when.

use assay_types::{Amount, Timestamp};
use assay_verifier::{Coins, Effect, Line, List, Reconciliation, Severity, Standing};
use comfy_table::{CellAlignment, Table, presets};

use super::told::{clock, duration, word};

/// A row of the arithmetic: its name, whether it is shown when it is zero, and its value for an asset.
type Term<'a> = (&'a str, bool, &'a dyn Fn(&Line) -> String);

/// The arithmetic of every line, asset beside asset; what is zero everywhere is left out.
pub fn arithmetic(found: &Reconciliation) -> String {
    let coins = |coins: &Coins| coins.grouped();
    let rows: [Term<'_>; 12] = [
        ("customers", true, &|line| coins(&line.customers)),
        ("+ pending withdrawals", false, &|line| coins(&line.pending_withdrawals)),
        ("+ uncredited deposits", false, &|line| coins(&line.uncredited_deposits)),
        ("= owed", true, &|line| coins(&line.owed)),
        ("holdings", true, &holdings),
        ("+ credits proven after it", false, &|line| coins(&line.deductions)),
        ("missing", false, &|line| coins(&line.missing)),
        ("house", true, &|line| line.house.as_ref().map_or("unknown".into(), coins)),
        ("credits in the mempool", false, &|line| coins(&line.unconfirmed_in_mempool)),
        ("difference", true, &difference),
        ("ratio", true, &|line| line.coverage_ratio.clone().unwrap_or_default()),
        ("", true, &|line| word(line.verdict).to_owned()),
    ];
    let mut table = empty();
    let symbols = found.lines.iter().map(|line| line.asset.clone());
    table.set_header(std::iter::once(String::new()).chain(symbols));
    for (name, always, value) in rows {
        let values: Vec<String> = found.lines.iter().map(value).collect();
        if always || values.iter().any(|value| value != "0") {
            table.add_row(std::iter::once(name.to_owned()).chain(values));
        }
    }
    aligned(table, &[0])
}

fn holdings(line: &Line) -> String {
    match &line.holdings.high {
        Some(high) if *high == line.holdings.low => high.grouped(),
        Some(high) => format!("{} to {}", line.holdings.low.grouped(), high.grouped()),
        None => format!("at least {}", line.holdings.low.grouped()),
    }
}

fn difference(line: &Line) -> String {
    line.difference.as_ref().map_or("unknown".into(), |difference| {
        format!("{}{}", if difference.negative { "-" } else { "" }, difference.magnitude.grouped())
    })
}

/// Every item in flight: what it is, where it is, and what follows.
pub fn in_flight(found: &Reconciliation) -> String {
    let mut table = empty();
    table.set_header(["in flight", "amount", "", "its transaction", "so it"]);
    for (line, item) in found.lines.iter().flat_map(|line| line.in_flight.iter().map(move |item| (line, item))) {
        let what = match item.list {
            List::PendingWithdrawals => "pending withdrawal",
            List::UncreditedDeposits => "uncredited deposit",
            List::UnconfirmedCredits => "unconfirmed credit",
        };
        let height = item.height.map_or(String::new(), |height| format!(" {height}"));
        let standing = match item.standing {
            Standing::NoTransaction => "has none yet".to_owned(),
            Standing::NotFound => "is in no block and not in the mempool".to_owned(),
            Standing::Mempool => "waits in the mempool".to_owned(),
            Standing::UpToBlock => format!("is in block{height}, so in the holdings"),
            Standing::AfterBlock => format!("is in block{height}, after the statement's"),
            Standing::Unknown => "cannot be judged".to_owned(),
        };
        let effect = match item.effect {
            Effect::Counts => "is owed",
            Effect::DoesNotCount => "is not owed",
            Effect::Deducts => "is deducted",
            Effect::DoesNotDeduct => "is not deducted",
        };
        table.add_row([what, &item.amount.grouped(), &line.asset, &standing, effect]);
    }
    aligned(table, &[0, 2, 3, 4])
}

/// What was found, the worst first; notices too where they are wanted.
pub fn findings(found: &Reconciliation, least: Severity) -> String {
    let lines = found.findings.iter().filter(|finding| finding.severity <= least).map(|finding| {
        let severity = format!("{:?}", finding.severity).to_lowercase();
        format!("{severity:<9}{}: {}\n", finding.rule, finding.message)
    });
    lines.collect()
}

/// From what anyone can compute the verdict again.
pub fn evidence(found: &Reconciliation) -> String {
    let mut table = empty();
    for block in &found.blocks {
        let height = block.height.map_or("unknown".into(), |height| height.to_string());
        let hash = block.hash.clone().unwrap_or_default();
        table.add_row([format!("{} block {height}", block.chain), hash]);
    }
    table.add_row(["statement".to_owned(), found.statement.digest.to_string()]);
    table.add_row(["policy".to_owned(), found.policy.digest.to_string()]);
    table.add_row(["program".to_owned(), found.program.clone()]);
    aligned(table, &[0, 1])
}

/// One who looks: who, when, and what was sold until then.
pub struct Look {
    /// Who.
    pub who: String,
    /// When.
    pub at: Timestamp,
    /// What was sold until then.
    pub sold: Amount,
    /// In how many orders.
    pub orders: usize,
}

/// Who sees it when.
pub fn looks(looks: &[Look], since: Timestamp) -> String {
    let mut table = empty();
    table.set_header(["seen by", "at", "after", "sold until then, BTC", "orders"]);
    for look in looks {
        let after = duration(look.at.seconds_since(since));
        table.add_row([
            look.who.clone(),
            clock(look.at),
            after,
            Coins::new(look.sold, 8).grouped(),
            look.orders.to_string(),
        ]);
    }
    aligned(table, &[0])
}

fn empty() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

/// The table's text; columns, but for these, are aligned to the right.
fn aligned(mut table: Table, left: &[usize]) -> String {
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 3));
        if !left.contains(&number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}
