//! The HTTP API: who may ask what, and what is answered. The desk decides everything that is said; this crate only says it.
//!
//! Answers are JSON, errors RFC 9457 problems. It listens on loopback unless told otherwise, and refuses to listen wider
//! without tokens and TLS.

mod access;
mod accounts;
mod exchanges;
mod layers;
mod metrics;
mod problem;
mod routes;
mod tokens;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use assay_desk::Desk;

pub use access::{Act, Scope, may};
pub use tokens::{NewToken, Tokens, TokensError};

/// How the API is served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; port 0 lets the system pick one.
    pub listen: SocketAddr,
    /// Who may ask; without it everyone who reaches the address may, so that it must be loopback.
    pub tokens_file: Option<PathBuf>,
    /// Certificate and key, PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// Why it cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Anyone could read it.
    #[error(
        "{0} can be reached from other machines: that takes serve.tokens_file, and serve.tls_cert_file with serve.tls_key_file"
    )]
    TooOpen(SocketAddr),
    /// The address cannot be had.
    #[error("{0}: cannot listen: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// Certificate or key.
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    /// The tokens.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// While serving.
    #[error("serving ended: {0}")]
    Ended(std::io::Error),
}

/// What every handler has.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) desk: Desk,
    pub(crate) tokens: Option<Arc<Tokens>>,
    pub(crate) limits: Arc<layers::Limits>,
}

/// How long open requests may take once a stop is wished.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `stop` comes. `listening` is told the address, with its scheme, before the first request is taken.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    desk: Desk,
    settings: &Settings,
    listening: impl FnOnce(&str),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let open = settings.tokens_file.is_none() || settings.tls.is_none();
    if open && !settings.listen.ip().is_loopback() {
        return Err(ServeError::TooOpen(settings.listen));
    }
    let tokens = settings.tokens_file.as_deref().map(Tokens::load).transpose()?.map(Arc::new);
    let listen = |error| ServeError::Listen(settings.listen, error);
    let listener = TcpListener::bind(settings.listen).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let app = App { desk, tokens, limits: Arc::default() };
    let service = routes::router(app, settings.tls.is_some()).into_make_service_with_connect_info::<SocketAddr>();
    let handle = axum_server::Handle::new();
    let ending = handle.clone();
    tokio::spawn(async move {
        stop.await;
        ending.graceful_shutdown(Some(GRACE));
    });
    match &settings.tls {
        None => {
            listening(&format!("http://{address}"));
            let server = axum_server::from_tcp(listener).map_err(listen)?;
            server.handle(handle).serve(service).await.map_err(ServeError::Ended)
        }
        Some((certificate, key)) => {
            // Fails only where one is installed already, which is as good.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let config = axum_server::tls_rustls::RustlsConfig::from_pem_file(certificate, key).await;
            let config = config.map_err(ServeError::Tls)?;
            listening(&format!("https://{address}"));
            let server = axum_server::from_tcp_rustls(listener, config).map_err(listen)?;
            server.handle(handle).serve(service).await.map_err(ServeError::Ended)
        }
    }
}
