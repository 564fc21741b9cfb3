//! PostgreSQL: no node, and where an exchange has its ledger.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio_postgres::NoTls;

use crate::TestNodeError;
use crate::process::{self, Process};

const PROGRAM: &str = "postgres";
const NOBODY: u32 = 65534;
const PASSWORD: &str = "correct horse";
const CONFIGURATION: &str = "
fsync = off
jit = off
dynamic_shared_memory_type = mmap
listen_addresses = '127.0.0.1'
";

/// A running `postgres` with one database, stopped when dropped. Over TCP it wants a password, over its socket it does not.
pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    _process: Process,
}

impl Postgres {
    /// Makes a database in this folder, which begins empty, starts it with these settings beyond ours, and waits until it answers.
    /// For root, by whom it does not let itself be started, the folder becomes nobody's.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(folder: &Path, settings: &str) -> Result<Postgres, TestNodeError> {
        let failed = |error: io::Error| not_started(&error.to_string());
        let programs = programs()?;
        let folder = folder.canonicalize().map_err(failed)?;
        let (data, password_file) = (folder.join("data"), folder.join("password"));
        fs::write(&password_file, PASSWORD).map_err(failed)?;
        for path in fs::read_dir(&folder).map_err(failed)? {
            give_away(&path.map_err(failed)?.path()).map_err(failed)?;
        }
        give_away(&folder).map_err(failed)?;

        let mut initdb = as_somebody(&programs.join("initdb"), &folder);
        initdb.args([
            "-N",
            "-U",
            "assay",
            "-E",
            "UTF8",
            "--locale=C",
            "-A",
            "trust",
            "--auth-host=scram-sha-256",
            "-D",
        ]);
        initdb.arg(&data).arg("--pwfile").arg(&password_file);
        let made = initdb.output().map_err(failed)?;
        if !made.status.success() {
            return Err(not_started(&String::from_utf8_lossy(&made.stderr)));
        }
        let port = process::free_port().map_err(failed)?;
        let sockets = folder.display();
        let ours = format!("{CONFIGURATION}port = {port}\nunix_socket_directories = '{sockets}'\n{settings}\n");
        let file = data.join("postgresql.conf");
        let written = fs::read_to_string(&file).map_err(failed)?;
        fs::write(&file, written + &ours).map_err(failed)?;
        let mut process = Process::start(PROGRAM, as_somebody(&programs.join(PROGRAM), &folder).arg("-D").arg(&data))?;
        process.wait_until_ready(|| execute(&socket(&folder, port), "select 1"))?;
        Ok(Postgres { folder, programs, port, _process: process })
    }

    /// A connection string, over TCP with the password.
    pub fn over_tcp(&self) -> String {
        format!("host=127.0.0.1 port={} user=assay password='{PASSWORD}' dbname=postgres", self.port)
    }

    /// A connection string, over the socket.
    pub fn over_socket(&self) -> String {
        socket(&self.folder, self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs these commands, and gives the last value of the last row, if there is any.
    ///
    /// # Errors
    /// [`TestNodeError::NoAnswer`] with what it says.
    pub fn execute(&self, sql: &str) -> Result<Option<String>, TestNodeError> {
        execute(&self.over_socket(), sql)
    }
}

impl Drop for Postgres {
    /// At once, and still in good order: a killed server would leave shared memory behind.
    fn drop(&mut self) {
        let mut stop = as_somebody(&self.programs.join("pg_ctl"), &self.folder);
        stop.args(["stop", "-m", "immediate", "-t", "10", "-D"]).arg(self.folder.join("data"));
        let _ = stop.output(); // the process is killed next, whatever this says
    }
}

fn socket(folder: &Path, port: u16) -> String {
    format!("host={} port={port} user=assay dbname=postgres", folder.display())
}

fn execute(connection: &str, sql: &str) -> Result<Option<String>, TestNodeError> {
    let no_answer = |why: String| TestNodeError::NoAnswer { method: sql.into(), why };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| no_answer(error.to_string()))?.block_on(async {
        let said = |error: tokio_postgres::Error| no_answer(format!("{error}: {:?}", error.as_db_error()));
        let (client, driver) = tokio_postgres::connect(connection, NoTls).await.map_err(said)?;
        let work = async move { client.simple_query(sql).await };
        let (answer, _) = tokio::join!(work, driver);
        let last = answer.map_err(said)?.into_iter().rev().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(row.len().checked_sub(1)?).map(str::to_owned),
            _ => None,
        });
        Ok(last)
    })
}

/// The folder with its programs: `POSTGRES`, or where `make nodes` puts it.
fn programs() -> Result<PathBuf, TestNodeError> {
    const VARIABLE: &str = "POSTGRES";
    let cache = process::cache().join("nodes/postgres");
    // Its real name, which whoever runs it can reach also where the link lies in root's home.
    let folder = process::named(VARIABLE).unwrap_or_else(|| cache.clone()).canonicalize().ok();
    folder.filter(|folder| folder.join(PROGRAM).is_file()).ok_or(TestNodeError::NotInstalled {
        program: PROGRAM,
        variable: VARIABLE,
        cache,
    })
}

/// A command that is not run by root.
fn as_somebody(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).env("LC_ALL", "C");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn give_away(path: &Path) -> io::Result<()> {
    if is_root() { chown(path, Some(NOBODY), Some(NOBODY)) } else { Ok(()) }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|myself| myself.uid() == 0)
}

fn not_started(why: &str) -> TestNodeError {
    TestNodeError::NotStarted { program: PROGRAM, why: why.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_starts_answers_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let server = Postgres::start(folder.path(), "").unwrap();
        server.execute("create table t (n numeric); insert into t values (1.50)").unwrap();
        assert_eq!(server.execute("select n from t").unwrap().as_deref(), Some("1.50"));
        assert_eq!(execute(&server.over_tcp(), "select n from t").unwrap().as_deref(), Some("1.50"));
        assert!(execute(&server.over_tcp().replace("correct", "wrong"), "select 1").is_err());
        assert!(server.execute("select no").unwrap_err().to_string().contains("does not exist"));
        let connection = server.over_socket();
        drop(server);
        assert!(execute(&connection, "select 1").is_err());
    }
}
