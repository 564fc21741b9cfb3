//! Progress bars on standard error: where, how fast, how long still.

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use assay_indexer::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bars of all chains.
pub struct Bars(MultiProgress);

impl Bars {
    /// Drawn on a terminal, silent elsewhere.
    pub fn new() -> Bars {
        Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)))
    }

    /// A bar for a chain.
    pub fn chain(&self, name: &str) -> ProgressBar {
        let bar = self.0.add(ProgressBar::new(0));
        let template = "{prefix} {msg} {pos}/{len} {bar:30} {per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }
}

/// A bar for what seldom takes long: it comes after a second.
pub struct LateBar {
    name: String,
    of: &'static str,
    began: Instant,
    bar: OnceCell<ProgressBar>,
}

impl LateBar {
    /// For a chain; `of`: what is counted.
    pub fn new(name: &str, of: &'static str) -> LateBar {
        LateBar { name: name.into(), of, began: Instant::now(), bar: OnceCell::new() }
    }

    /// So many of all are done.
    pub fn show(&self, done: usize, all: usize) {
        if self.began.elapsed() < Duration::from_secs(1) {
            return;
        }
        let bar = self.bar.get_or_init(|| Bars::new().chain(&self.name));
        bar.set_message(self.of);
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    }

    /// Takes it away.
    pub fn clear(&self) {
        self.bar.get().into_iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// Moves a bar to where the indexer is.
pub fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_message(if progress.filling_in { "filling in" } else { "block" });
    bar.set_length(progress.to.0);
    if bar.position() < progress.from.0.saturating_sub(1) {
        bar.set_position(progress.from.0.saturating_sub(1));
        bar.reset_eta();
    }
    bar.set_position(progress.at.0);
}
