//! Files that change while the daemon runs: declarations and policy take effect, chains and addresses need a new start.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use assay_desk::World;

use super::Shared;
use crate::output;
use crate::setup::{PROGRAM, Setup};

const EVERY: Duration = Duration::from_secs(1);

/// Every file that is read, with its length and when it was changed.
type Print = Vec<(std::path::PathBuf, u64, Option<SystemTime>)>;

/// Watches until the process stops.
pub fn watch(shared: &Shared) {
    let asked = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGHUP, asked.clone()) {
        tracing::warn!(%error, "SIGHUP is not listened to");
    }
    let mut read = print(&shared.setup());
    while !shared.stop.is_wished() {
        shared.stop.pause(EVERY);
        let now = print(&shared.setup());
        // A file that is still being written changes again: it is read once it has rested for a look.
        let rests = now == print(&shared.setup());
        if asked.swap(false, Ordering::Relaxed) || (now != read && rests) {
            read = now;
            reload(shared);
        }
    }
}

fn reload(shared: &Shared) {
    let before = shared.setup();
    let setup = match Setup::load(&before.config.file) {
        Ok(setup) => setup,
        Err(failure) => {
            output::message("the files have changed and are not in order: what was read before stays in force");
            output::failure(&failure);
            return;
        }
    };
    let chains = |setup: &Setup| -> Vec<_> {
        setup.config.chains.iter().map(|chain| (chain.name.clone(), chain.id.clone())).collect()
    };
    if chains(&before) != chains(&setup) {
        output::warning(
            "the chains in assay.toml have changed: that takes effect at the next start, nothing else does before",
        );
        return;
    }
    let (alerts, alerts_before) = (&setup.config.alerts, &before.config.alerts);
    if alerts.webhooks != alerts_before.webhooks || alerts.alertmanagers != alerts_before.alertmanagers {
        output::warning("who is told of alerts has changed in assay.toml: that takes effect at the next start");
    }
    let sources = shared.desk.sources(); // with the stores that are open
    let receivers = before.config.desk.receivers.clone();
    let settings = assay_desk::Settings { receivers, ..setup.config.desk.clone() };
    shared.desk.reload(World { sources, ..setup.world(PROGRAM) }, settings);
    shared.change(setup);
    output::message("declarations and policy were read again");
}

fn print(setup: &Setup) -> Print {
    let mut found = Vec::new();
    add(&setup.config.file, &mut found);
    add(&setup.config.exchanges, &mut found);
    found.sort();
    found
}

fn add(path: &Path, found: &mut Print) {
    let Ok(meta) = fs::metadata(path) else { return };
    if meta.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| add(&entry.path(), found));
    } else {
        found.push((path.into(), meta.len(), meta.modified().ok()));
    }
}
