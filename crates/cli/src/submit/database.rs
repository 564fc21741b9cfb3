//! A connection to PostgreSQL: from a file, since it holds a password; in TLS wherever others could listen.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::failure::{Failure, UNKNOWN, WRONG_INPUT};
use crate::keys;

const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// Where the ledger is, and whose certificates count.
pub struct Database {
    config: Config,
    tls: MakeRustlsConnect,
}

/// What has to be driven while the client asks.
pub type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Database {
    /// Reads the connection string. What it says is never shown, not even where it is wrong.
    pub fn new(file: &Path, authorities: Option<&Path>) -> Result<Database, Failure> {
        let text = keys::read_secret(file, "a new password")?;
        let wrong = |_| {
            let failure =
                Failure::new(WRONG_INPUT, format!("{}: is no connection string of PostgreSQL", file.display()));
            failure.hint(
                "host=… user=… password=… dbname=… sslmode=…, or postgresql://user:password@host/dbname; sslmode is disable, prefer \
                 or require, which here checks the certificate",
            )
        };
        let mut config: Config = text.trim().parse().map_err(wrong)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            let failure = Failure::new(WRONG_INPUT, format!("{}: names no host", file.display()));
            return Err(failure.hint("host=/var/run/postgresql for the socket on this machine"));
        }
        config.ssl_mode(privacy(&config));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WITHIN);
        }
        if config.get_application_name().is_none() {
            config.application_name("assay submit");
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::new(WRONG_INPUT, error))?
            .with_root_certificates(roots(authorities)?)
            .with_no_client_auth();
        Ok(Database { config, tls: MakeRustlsConnect::new(tls) })
    }

    /// Connects. The second of the two has to be driven beside the first.
    pub async fn connect(&self) -> Result<(Client, Driver), Error> {
        self.config.connect(self.tls.clone()).await
    }
}

/// `prefer` would let whoever stands in between choose plain text. So it is plain only where nobody can stand: on this machine.
fn privacy(config: &Config) -> SslMode {
    let here = |name: &str| name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let local = |host: &Host| match host {
        Host::Tcp(name) => here(name),
        Host::Unix(_) => true,
    };
    let stays = match config.get_hostaddrs() {
        [] => config.get_hosts().iter().all(local),
        addresses => addresses.iter().all(IpAddr::is_loopback),
    };
    match config.get_ssl_mode() {
        SslMode::Prefer if stays => SslMode::Disable,
        SslMode::Prefer => SslMode::Require,
        said => said,
    }
}

/// The certificates of those who vouch for the database: these, or those that the system has.
fn roots(authorities: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let Some(file) = authorities else {
        // With none of them a connection in TLS fails, and says so; one without TLS needs none.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let wrong = |why: String| {
        let failure = Failure::new(WRONG_INPUT, format!("{}: {why}", file.display()));
        failure.hint("--database-ca wants the certificates of the authority, in PEM")
    };
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("holds no certificate".into())) } else { Ok(roots) }
}

/// What the database says, with the line of the query where it names one.
pub fn failure(error: &Error, file: &Path, query: &str) -> Failure {
    let name = file.display();
    let Some(said) = error.as_db_error() else {
        let cause = std::error::Error::source(error);
        let why = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        let transport =
            cause.is_none_or(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|io| !is_of_tls(io)));
        let failure = Failure::new(if transport { UNKNOWN } else { WRONG_INPUT }, format!("the database: {why}"));
        return match transport {
            true => failure.hint("is it running, and where --database-file says?"),
            false => failure.hint("see sslmode in --database-file, and --database-ca"),
        };
    };
    let line = match said.position() {
        Some(ErrorPosition::Original(position)) => {
            let before = query.chars().take(usize::try_from(*position).unwrap_or(0).saturating_sub(1));
            format!(":{}", 1 + before.filter(|c| *c == '\n').count())
        }
        _ => String::new(),
    };
    let (code, hint) = match said.code().code() {
        // Of the transaction itself: it writes.
        "25006" => (WRONG_INPUT, Some("the query may only read: nothing was changed".to_owned())),
        "57014" => {
            (UNKNOWN, Some("options='-c statement_timeout=90s' in --database-file gives it more time".to_owned()))
        }
        // Login and database, in the words of the server.
        code if code.starts_with("28") || code.starts_with("3D") => {
            return Failure::new(WRONG_INPUT, format!("the database: {}", said.message())).hint("see --database-file");
        }
        // Connections, resources, an operator's intervention, what others do to the same rows.
        code if ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            (UNKNOWN, said.hint().map(str::to_owned))
        }
        _ => (WRONG_INPUT, said.hint().map(str::to_owned)),
    };
    let failure = Failure::new(code, format!("{name}{line}: {}", said.message()));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn is_of_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_on_this_machine_unless_it_is_asked_for() {
        for (text, expected) in [
            ("host=/var/run/postgresql", SslMode::Disable),
            ("host=localhost", SslMode::Disable),
            ("host=127.0.0.1,::1", SslMode::Disable),
            ("host=db.example hostaddr=127.0.0.1", SslMode::Disable),
            ("host=localhost sslmode=require", SslMode::Require),
            ("host=db.example", SslMode::Require),
            ("host=db.example sslmode=prefer", SslMode::Require),
            ("host=localhost,db.example", SslMode::Require),
            ("host=localhost hostaddr=192.0.2.1", SslMode::Require),
            ("host=db.example sslmode=disable", SslMode::Disable),
            ("postgresql://a:b@db.example/ledger", SslMode::Require),
        ] {
            assert_eq!(privacy(&text.parse().unwrap()), expected, "{text}");
        }
    }
}
