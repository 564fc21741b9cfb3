//! How the story is told: one line after the other, each with the story's clock; tables beneath.

use std::cell::{Cell, RefCell};
use std::io::Write;

use assay_types::Timestamp;
use assay_verifier::Verdict;

use crate::output;

/// Behind the clock, so that everything stands in one column.
const INDENT: &str = "          ";

/// Where the story is told.
pub struct Told {
    out: RefCell<Box<dyn Write>>,
    colours: bool,
    now: Cell<Timestamp>,
}

impl Told {
    /// On standard output, or beside it where that is for data.
    pub fn new(beside: bool, now: Timestamp) -> Told {
        let (out, colours): (Box<dyn Write>, bool) = match beside {
            true => (Box::new(std::io::stderr()), output::colours(&std::io::stderr())),
            false => (Box::new(std::io::stdout()), output::colours(&std::io::stdout())),
        };
        Told { out: RefCell::new(out), colours, now: Cell::new(now) }
    }

    /// Moves the clock.
    pub fn clock(&self, now: Timestamp) {
        self.now.set(now);
    }

    /// A new act begins.
    pub fn act(&self, number: u32, title: &str) {
        self.write(&format!("\n{INDENT}{number}. {title}\n{INDENT}{}\n", "─".repeat(title.chars().count() + 3)));
    }

    /// What happens now.
    pub fn line(&self, text: impl AsRef<str>) {
        let mut lines = text.as_ref().lines();
        let mut told = format!("{}  {}\n", clock(self.now.get()), lines.next().unwrap_or_default());
        for more in lines {
            told.push_str(&format!("{INDENT}{more}\n"));
        }
        self.write(&told);
    }

    /// What belongs to the line above.
    pub fn below(&self, text: impl AsRef<str>) {
        if text.as_ref().is_empty() {
            return self.write("\n");
        }
        let lines = text.as_ref().lines().map(|line| format!("{INDENT}{line}").trim_end().to_owned() + "\n");
        self.write(&lines.collect::<String>());
    }

    /// A reader that has gone, such as `head`, is no failure.
    fn write(&self, text: &str) {
        let mut out = self.out.borrow_mut();
        let text = if self.colours { painted(text) } else { text.to_owned() };
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// A verdict's word.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Backed => "BACKED",
        Verdict::Indeterminate => "INDETERMINATE",
        Verdict::Short => "SHORT",
    }
}

/// Verdicts' words in their colours; done last, as colours have no width.
fn painted(text: &str) -> String {
    let colours = [(Verdict::Backed, 32), (Verdict::Indeterminate, 33), (Verdict::Short, 31)];
    colours.iter().fold(text.to_owned(), |text, (verdict, colour)| {
        let word = word(*verdict);
        text.replace(word, &format!("\u{1b}[1;{colour}m{word}\u{1b}[0m"))
    })
}

/// `HH:MM:SS` in Korea.
pub fn clock(at: Timestamp) -> String {
    const KST_S: i64 = 9 * 3600;
    let second = (at.unix_s() + KST_S).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// `5 h 0 min`, `20 min`, `1 min 5 s`
pub fn duration(seconds: i64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_korean() {
        assert_eq!(clock("2026-02-06T10:00:05Z".parse().unwrap()), "19:00:05");
        assert_eq!(clock("2026-02-06T15:00:00Z".parse().unwrap()), "00:00:00");
        let shown = [5, 60, 65, 1200, 18_000].map(duration);
        assert_eq!(shown, ["5 s", "1 min", "1 min 5 s", "20 min", "5 h 0 min"]);
    }
}
