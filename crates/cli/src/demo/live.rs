//! After the story: the same day goes on, watched by `assay serve`, with the pages open.
//!
//! The daemon is given each statement at the hour at which it came, and from then on one each minute.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use assay_desk::{ChainView, Desk, clock};
use assay_indexer::Stop;
use assay_types::Timestamp;

use super::broken;
use super::story::Play;
use super::told;
use crate::failure::{Failure, WRONG_INPUT};
use crate::serve;

/// So often the stage's clock is set, and blocks come that are due.
const STEP: Duration = Duration::from_secs(5);
const STATEMENT_EVERY_S: i64 = 60;

/// Whoever wishes for a port learns at once that it is taken, not at the end of the story.
pub fn must_be_free(port: u16) -> Result<(), Failure> {
    let taken = |error| Failure::new(WRONG_INPUT, error).during(format!("--port {port}")).hint("--port 0 takes any");
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop).map_err(taken)
}

/// Lets the day go on until Ctrl-C.
pub fn go_on(mut play: Play<'_>, config: &Path) -> Result<(), Failure> {
    let (setup, ended) = (play.setup, Stop::default());
    clock::set(play.issued.first().map_or_else(|| play.exchange.stage.now(), |(_, arrived)| *arrived));
    let (ready, listens) = sync_channel(1);
    std::thread::scope(|scope| {
        let ended = &ended;
        let watch = scope.spawn(move || {
            serve::watch(setup, ended, |desk, address| {
                let _ = ready.send((desk.clone(), address)); // the play may have ended
            })
        });
        let lived = match listens.recv() {
            Ok((desk, address)) => live(&mut play, config, (&desk, ended), &address),
            Err(_) => Ok(()), // the watch says why
        };
        // What fails once somebody has asked for the end only fails because of it.
        let lived = if play.stop.is_wished() { Ok(()) } else { lived };
        ended.now();
        watch.join().unwrap_or_else(|_| Err(broken("the watch ended by itself"))).and(lived)
    })
}

/// Until somebody asks for the end, or the watch has `ended` by itself.
fn live(play: &mut Play<'_>, config: &Path, (desk, ended): (&Desk, &Stop), address: &str) -> Result<(), Failure> {
    await_tips(play, desk)?;
    for (file, arrived) in std::mem::take(&mut play.issued) {
        set_clock(desk, arrived);
        submit(desk, "acme", &std::fs::read(file)?)?;
        others_report(play, desk, arrived)?;
    }
    let falls_silent = play.exchange.stage.others.iter().filter_map(|other| other.silent_from).max();
    if let Some(last) = falls_silent {
        set_clock(desk, last);
        others_report(play, desk, last)?;
    }
    set_clock(desk, play.exchange.stage.now());
    let mut reported = report(play, desk)?;
    say(play, config, address);
    loop {
        play.stop.pause(STEP);
        if play.stop.is_wished() || ended.is_wished() {
            return Ok(());
        }
        play.exchange.advance(clock::now(), play.told)?;
        if play.exchange.stage.now().seconds_since(reported) >= STATEMENT_EVERY_S {
            reported = report(play, desk)?;
        }
    }
}

/// Until the daemon has every block.
fn await_tips(play: &Play<'_>, desk: &Desk) -> Result<(), Failure> {
    let is_there = |chain: &ChainView| {
        let indexed = chain.indexed.as_ref().map(|block| block.height);
        chain.head.is_some() && chain.head == indexed
    };
    while !play.stop.is_wished() {
        let chains = &desk.view().chains;
        if chains.iter().all(is_there) {
            break;
        }
        if let Some(trouble) = chains.iter().find_map(|chain| chain.trouble.as_ref()).filter(|trouble| trouble.lasting)
        {
            return Err(broken(&trouble.why));
        }
        play.stop.pause(Duration::from_millis(20));
    }
    Ok(())
}

/// Moves the daemon's clock. The nodes have no other blocks than a moment ago.
fn set_clock(desk: &Desk, to: Timestamp) {
    clock::set(to);
    desk.sources().iter().for_each(|source| source.reached_tip(to));
}

/// The statements of this instant.
fn report(play: &mut Play<'_>, desk: &Desk) -> Result<Timestamp, Failure> {
    let issued = play.exchange.issue("live")?;
    submit(desk, "acme", &std::fs::read(issued.file)?)?;
    let now = play.exchange.stage.now();
    others_report(play, desk, now)?;
    Ok(now)
}

fn others_report(play: &mut Play<'_>, desk: &Desk, as_of: Timestamp) -> Result<(), Failure> {
    for other in &mut play.exchange.stage.others {
        if let Some(statement) = other.statement(as_of)? {
            submit(desk, other.id, &statement)?;
        }
    }
    Ok(())
}

fn submit(desk: &Desk, exchange: &str, bytes: &[u8]) -> Result<(), Failure> {
    desk.submit(exchange, bytes, None).map(drop).map_err(broken)
}

/// Says where the pages are and what else can be tried, and opens them.
fn say(play: &Play<'_>, config: &Path, address: &str) {
    let stage = &play.exchange.stage;
    let program = std::env::args().next().unwrap_or_else(|| "assay".into());
    let statement = |file: &str| stage.folder().join("statements").join(file).display().to_string();
    let commands = [
        "holdings acme".to_owned(),
        "explain acme BTC".to_owned(),
        format!("balance {} --chain bitcoin", stage.bitcoin.hot),
        format!("balance {} --chain ethereum --asset USDX --at 2026-02-06T16:00:00+09:00", stage.evm.cold()),
        format!("history {} --chain bitcoin", stage.bitcoin.hot_taproot),
        format!("history {} --chain ethereum", stage.evm.hot()),
        format!("verify acme --statement {} --now 2026-02-06T17:00:05+09:00", statement("2-in-flight.json")),
        format!("verify acme --statement {} --now 2026-02-06T19:01:05+09:00", statement("4-out-of-nothing.json")),
        "check --deep".to_owned(),
    ];
    play.told.below(format!(
        "\nThe day goes on from {}, with a statement each minute, under the eyes of assay serve:\n\n{address}",
        told::clock(stage.now())
    ));
    play.told.below(format!("\nIn another terminal:\n\nexport ASSAY_CONFIG={}", config.display()));
    commands.iter().for_each(|command| play.told.below(format!("{program} {command}")));
    play.told.below("\nCtrl-C ends it all and removes its folder.");
    open(address);
}

/// Shows the pages to a person at a screen; everybody else has the address.
fn open(address: &str) {
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if has_screen && std::io::stdout().is_terminal() {
        let mut opener = Command::new("xdg-open");
        // Ctrl-C ends the demo, and not the browser.
        let opener =
            opener.arg(address).process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = opener.spawn(); // without one there is still the address
    }
}
