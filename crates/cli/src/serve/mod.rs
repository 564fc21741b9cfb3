//! `assay serve`: indexers, intake, desk and API in one process.
//!
//! Each chain has a thread that follows it, the desk has one that judges, the intake folder one that looks. They end together,
//! at a block boundary, when a signal asks for it. What the files say is read again when they change, or on SIGHUP.

mod alertmanager;
mod compare;
mod follow;
mod intake;
mod mempool;
mod prices;
mod reload;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use assay_desk::{Desk, clock};
use assay_indexer::Stop;
use assay_server::{Settings, Tls};
use assay_store::Records;
use parking_lot::RwLock;

use crate::config::DESK;
use crate::failure::{Failure, INTEGRITY, WRONG_INPUT};
use crate::index::stop_on_signals;
use crate::output;
use crate::setup::{PROGRAM, Setup};
use alertmanager::Alertmanager;
use webhook::Receiver;

/// For how long requests that wait for a node or a disk are waited for at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// What the threads share: the files as they were last read, and the wishes to stop.
pub(super) struct Shared {
    pub desk: Desk,
    setup: RwLock<Arc<Setup>>,
    /// The whole process.
    pub stop: Stop,
    /// What the chains' threads do now: they begin anew when it is wished, with what the files say then.
    round: RwLock<Stop>,
}

impl Shared {
    /// The files as they were last read.
    pub fn setup(&self) -> Arc<Setup> {
        self.setup.read().clone()
    }

    /// The wish that ends what the chains' threads do now.
    pub fn round(&self) -> Stop {
        self.round.read().clone()
    }

    /// Goes on with these files.
    pub fn change(&self, setup: Arc<Setup>) {
        *self.setup.write() = setup;
        self.end_round();
    }

    /// Ends what the chains' threads do now, at the next block boundary.
    pub fn end_round(&self) {
        let mut round = self.round.write();
        std::mem::take(&mut *round).now();
    }
}

/// Keeps the watch until a signal ends it.
pub fn run(setup: &Arc<Setup>) -> Result<u8, Failure> {
    let listening = |_: &Desk, address: String| output::message(format!("listening on {address}"));
    watch(setup, &stop_on_signals("stopping at the next block")?, listening)?;
    output::message("stopped: nothing is lost, the next start goes on from here");
    Ok(0)
}

/// Keeps the watch until a stop is wished. `listening` is told where the API and the pages are.
pub fn watch(setup: &Arc<Setup>, stop: &Stop, listening: impl FnOnce(&Desk, String)) -> Result<(), Failure> {
    let alerts = &setup.config.alerts;
    let watchdog_every = Duration::from_secs(alerts.watchdog_every_s);
    let receivers = alerts.webhooks.iter().map(|config| Receiver::new(config, watchdog_every));
    let receivers = receivers.collect::<Result<Vec<_>, _>>()?;
    let alertmanagers = alerts.alertmanagers.iter().map(Alertmanager::new).collect::<Result<Vec<_>, _>>()?;
    let records = Records::open(&setup.config.data_dir.join(DESK))?;
    let (desk, judging) = Desk::start(records, setup.world(PROGRAM), setup.config.desk.clone())?;
    let shared = Arc::new(Shared {
        desk: desk.clone(),
        setup: RwLock::new(setup.clone()),
        stop: stop.clone(),
        round: RwLock::new(Stop::default()),
    });
    let chains = desk.sources();
    for source in chains.iter() {
        source.follow_from(clock::now(), setup.chain(&source.name)?.nodes.len() > 1);
    }
    let served = std::thread::scope(|scope| {
        for source in chains.iter() {
            let shared = &shared;
            scope.spawn(move || follow::follow(shared, source));
            scope.spawn(move || compare::watch(shared, source));
            scope.spawn(move || mempool::watch(shared, source));
        }
        for receiver in &receivers {
            let shared = &shared;
            scope.spawn(move || receiver.serve(&shared.desk, &shared.stop));
        }
        for alertmanager in &alertmanagers {
            let shared = &shared;
            scope.spawn(move || alertmanager.serve(&shared.desk, &shared.stop));
        }
        scope.spawn(|| intake::watch(&shared));
        scope.spawn(|| reload::watch(&shared));
        scope.spawn(|| prices::watch(&shared));
        scope.spawn(|| {
            // Without the desk nothing would be judged any more, and the API would go on to show what was.
            while !stop.is_wished() {
                stop.pause(Duration::from_secs(1));
                if judging.is_finished() {
                    stop.now();
                }
            }
        });
        let served = api(setup, &desk, stop, listening);
        stop.now();
        shared.end_round();
        served
    });
    desk.stop();
    if judging.join().is_err() {
        return Err(Failure::new(INTEGRITY, "the desk's thread ended by itself").hint("see the log; start again"));
    }
    served
}

/// Serves until a stop is wished.
fn api(setup: &Setup, desk: &Desk, stop: &Stop, listening: impl FnOnce(&Desk, String)) -> Result<(), Failure> {
    let serve = &setup.config.serve;
    let tls = serve.tls.clone().map(|(cert_file, key_file)| Tls { cert_file, key_file });
    let scheme = if tls.is_some() { "https" } else { "http" };
    let settings = Settings { listen: serve.listen, tls, tokens_file: serve.tokens_file.clone(), rate: serve.rate };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let wished = {
        let stop = stop.clone();
        async move {
            while !stop.is_wished() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let bound = |address| listening(desk, format!("{scheme}://{address}"));
    let served = runtime.block_on(assay_server::serve(desk.clone(), settings, bound, wished));
    runtime.shutdown_timeout(LAST_REQUESTS); // a node that reads through its unspent outputs is not waited for
    served.map_err(|error| Failure::new(WRONG_INPUT, error).hint("see [serve] in assay.toml"))
}
