//! Listening: where, with which certificate, until when.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use assay_desk::Desk;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio::sync::broadcast::error::RecvError;

use crate::app::{App, Shared};
use crate::router;
use crate::tokens::{TokenError, Tokens};

const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(15);
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Where and for whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Beyond loopback only with tokens and TLS. Port 0 is any free one.
    pub listen: SocketAddr,
    /// Certificate and key; `None` speaks plainly.
    pub tls: Option<Tls>,
    /// Who may do what. Without it everyone on this machine reads, and nobody submits.
    pub tokens_file: Option<PathBuf>,
    /// Requests a second for each token or address; twice as many at once.
    pub rate: u32,
}

/// A certificate with its key, both PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The chain of certificates, ours first.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

/// Why it does not listen, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others could read everything.
    #[error(
        "{0} can be reached from other machines, and there is no {1}: set `tokens_file`, `tls_cert_file` and \
         `tls_key_file` in [serve], or listen on 127.0.0.1"
    )]
    Exposed(SocketAddr, &'static str),
    /// The tokens file.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The certificate or its key.
    #[error("{}: the certificate or its key {} cannot be used: {why}", .tls.cert_file.display(), .tls.key_file.display())]
    Certificate {
        /// The files.
        tls: Tls,
        /// What is wrong.
        why: io::Error,
    },
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What happened.
        why: io::Error,
    },
    /// It broke off.
    #[error("serving broke off: {0}")]
    Broken(#[source] io::Error),
}

/// Serves until `stop`, then finishes what was begun. `bound` is told the address once it is listened on.
///
/// # Errors
/// An address beyond loopback without tokens and TLS, files that cannot be used, an address that is taken.
pub async fn serve(
    desk: Desk,
    settings: Settings,
    bound: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    refuse_exposed(&settings)?;
    let tokens = settings.tokens_file.as_deref().map(Tokens::open).transpose()?;
    let certificate = match &settings.tls {
        Some(tls) => Some(certificate(tls).await?),
        None => None,
    };
    let (routes, openapi) = router::routes();
    let openapi = openapi.to_json().map_err(|error| ServeError::Broken(io::Error::other(error)))?;
    let app = Arc::new(App::new(desk, tokens, settings.rate, certificate.is_some(), openapi));
    let service = router::service(app.clone(), routes).into_make_service_with_connect_info::<SocketAddr>();

    let failed = |why| ServeError::Listen { address: settings.listen, why };
    let listener = TcpListener::bind(settings.listen).map_err(failed)?;
    bound(listener.local_addr().map_err(failed)?);
    let handle = Handle::new();
    let listening = tokio::spawn(listen(app.clone()));
    let stopping = tokio::spawn(stop_with(stop, app, handle.clone()));
    let served = match certificate {
        Some(certificate) => {
            let server = axum_server::from_tcp_rustls(listener, certificate).map_err(failed)?;
            server.handle(handle).first_request_timeout(FIRST_REQUEST_WITHIN).serve(service).await
        }
        None => {
            let server = axum_server::from_tcp(listener).map_err(failed)?;
            server.handle(handle).first_request_timeout(FIRST_REQUEST_WITHIN).serve(service).await
        }
    };
    listening.abort();
    stopping.abort();
    served.map_err(ServeError::Broken)
}

pub(crate) fn refuse_exposed(settings: &Settings) -> Result<(), ServeError> {
    if settings.listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    match (&settings.tokens_file, &settings.tls) {
        (Some(_), Some(_)) => Ok(()),
        (None, Some(_)) => Err(ServeError::Exposed(settings.listen, "tokens file")),
        (Some(_), None) => Err(ServeError::Exposed(settings.listen, "TLS")),
        (None, None) => Err(ServeError::Exposed(settings.listen, "tokens file and no TLS")),
    }
}

async fn certificate(tls: &Tls) -> Result<RustlsConfig, ServeError> {
    // Another part of the process may have chosen the same already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = RustlsConfig::from_pem_file(&tls.cert_file, &tls.key_file).await;
    config.map_err(|why| ServeError::Certificate { tls: tls.clone(), why })
}

/// Remembers events for listeners who come back.
async fn listen(app: Shared) {
    let mut events = app.desk.subscribe();
    loop {
        match events.recv().await {
            Ok(event) => app.hear(event),
            Err(RecvError::Lagged(lost)) => tracing::warn!(lost, "events were not counted"),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn stop_with(stop: impl Future<Output = ()>, app: Shared, handle: Handle<SocketAddr>) {
    stop.await;
    app.stopping.store(true, Ordering::Release);
    handle.graceful_shutdown(Some(LAST_ANSWERS_WITHIN));
}
