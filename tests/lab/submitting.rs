//! A running `assay submit`, and the ledger that it asks.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, dead_code)]

use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use assay_testnodes::Postgres;
use assay_types::Digest;
use serde_json::{Value, json};

use crate::lab::{Lab, Ran};
use crate::scene::Scene;
use crate::serving::Serving;

/// How long anything that must come may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a ledger looks like: a row for each asset, and the entries that made it.
const TABLES: &str = "
    create table ledger (asset text primary key, customers numeric(38, 8) not null, house numeric(38, 18));
    create table entries (at timestamptz not null default clock_timestamp(), asset text, deposit numeric(38, 18));
    create role reader login;
    grant select on ledger, entries to reader;
    insert into ledger values ('BTC', 100, 0)";

/// The query of most stories.
pub const QUERY: &str = "
    select asset, customers, house,
           (select coalesce(sum(deposit), 0) from entries
             where entries.asset = ledger.asset and at <= now()
               and at > nullif(current_setting('assay.since'), '')::timestamptz) as deposits
      from ledger order by asset;";

/// An exchange with its ledger in a database, before an `assay serve` that always listens at the same place.
pub struct Exchange {
    pub scene: Scene,
    pub database: Postgres,
    pub to: String,
    /// What signs its statements.
    pub key: String,
    _folder: tempfile::TempDir,
}

impl Exchange {
    pub fn new(blocks: u64) -> Exchange {
        let folder = tempfile::tempdir().unwrap();
        let database = Postgres::start(folder.path(), "").unwrap();
        database.execute(TABLES).unwrap();
        let scene = Scene::new(blocks);
        let lab = &scene.lab;
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
        lab.write("assay.toml", &config.replace("127.0.0.1:0", &address.to_string()));
        let made = lab.assay(&["keys", "new", "acme.key"]);
        let key = made.stdout.trim().to_owned();
        let declared = std::fs::read_to_string(lab.path("exchanges/acme/exchange.toml")).unwrap();
        lab.write("exchanges/acme/exchange.toml", &format!("statement_keys = [\"{key}\"]\n{declared}"));
        lab.write("acme.token", &scene.acme);
        lab.write("ledger.sql", QUERY);
        let exchange = Exchange { scene, database, to: format!("http://{address}"), key, _folder: folder };
        exchange.connect_by(&exchange.database.over_tcp());
        exchange
    }

    /// Lets it ask over this connection.
    pub fn connect_by(&self, connection: &str) {
        secret(&self.scene.lab, "ledger.conn", connection);
    }

    /// The command's words, with these beyond them.
    pub fn words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let words = ["submit", "acme", "--to", &self.to, "--key", "acme.key", "--token-file", "acme.token"];
        [&words, more].concat()
    }

    /// Asks the ledger once.
    pub fn ask_once(&self, more: &[&str]) -> Ran {
        let query = ["--query", "ledger.sql", "--database-file", "ledger.conn", "--tries", "1"];
        self.scene.lab.assay(&self.words(&[&query, more].concat()))
    }

    /// Asks the ledger every second.
    pub fn keep_asking(&self, more: &[&str]) -> Submitting {
        let query = ["--query", "ledger.sql", "--database-file", "ledger.conn", "--every", "1s"];
        Submitting::start(&self.scene.lab, &self.words(&[&query, more].concat()))
    }

    /// The numbers of the statements that wait.
    pub fn waiting(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(self.scene.lab.path("outgoing/acme")).into_iter().flatten();
        let number = |name: String| name.strip_suffix(".json")?.parse().ok();
        let mut found: Vec<u64> =
            entries.filter_map(|entry| number(entry.unwrap().file_name().into_string().unwrap())).collect();
        found.sort_unstable();
        found
    }
}

/// Writes a file that only its owner reads.
pub fn secret(lab: &Lab, name: &str, text: &str) -> PathBuf {
    let file = lab.write(name, text);
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    file
}

/// The numbers that the server has, highest first.
pub fn numbers(serving: &Serving) -> Vec<u64> {
    let kept = serving.get("/v1/exchanges/acme/statements?limit=500");
    kept["statements"].as_array().unwrap().iter().map(|kept| kept["sequence"].as_u64().unwrap()).collect()
}

/// A statement as the server has it.
pub fn statement(serving: &Serving, number: u64) -> Value {
    serving.get(&format!("/v1/exchanges/acme/statements/{number}"))
}

/// Every statement from the first to this one is there, once, signed, and names the one before it.
pub fn must_be_one_chain(serving: &Serving, exchange: &Exchange, last: u64) {
    let kept = serving.get("/v1/exchanges/acme/statements?limit=500");
    let kept = kept["statements"].as_array().unwrap();
    let found: Vec<u64> = kept.iter().rev().map(|kept| kept["sequence"].as_u64().unwrap()).collect();
    assert_eq!(found, (1..=last).collect::<Vec<_>>());
    assert!(kept.iter().all(|kept| kept["signed_by"] == exchange.key.as_str()));
    let mut previous = Value::Null;
    for number in 1..=last {
        let path = format!("/v1/exchanges/acme/statements/{number}");
        let body = serving.ask_as(&exchange.scene.regulator, "GET", &path, &[]).body;
        let statement: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&statement["sequence"], &statement["previous"]), (&json!(number), &previous));
        previous = json!(Digest::of(body.as_bytes()).to_string());
    }
    let findings = serving.get("/v1/findings").to_string();
    assert!(!findings.contains("rewritten-history"), "{findings}");
}

/// An `assay submit` that goes on; killed with this.
pub struct Submitting {
    process: Child,
    told: Receiver<String>,
    said: Receiver<String>,
}

impl Submitting {
    pub fn start(lab: &Lab, words: &[&str]) -> Submitting {
        let mut process = lab.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (told, said) = (lines(process.stdout.take().unwrap()), lines(process.stderr.take().unwrap()));
        Submitting { process, told, said }
    }

    /// The next line of its data.
    pub fn told(&self) -> String {
        let told = self.told.recv_timeout(PATIENCE);
        told.unwrap_or_else(|_| panic!("it tells nothing more: {:#?}", self.said.try_iter().collect::<Vec<_>>()))
    }

    /// The next of its messages with these words.
    pub fn said(&self, words: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("`{words}` is not said: {before:#?}"),
            }
        }
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to stop, and gives its exit code with the lines of data that came and were not read yet.
    pub fn stop(mut self) -> (i32, Vec<String>) {
        let pid = self.process.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let code = self.wait();
        (code, self.told.iter().collect())
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Submitting {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| drop(tell.send(line)));
    });
    told
}

/// Waits until something is as wished.
pub fn until(what: &str, mut wished: impl FnMut() -> bool) {
    let began = Instant::now();
    while !wished() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
