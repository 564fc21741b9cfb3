//! Addresses of nodes, and what of them is shown: no key, no password.

use crate::HttpError;

/// Could there be an endpoint at this URL?
///
/// # Errors
/// When it cannot be used.
pub fn check_url(url: &str) -> Result<(), HttpError> {
    parse(url).map(|_| ())
}

/// Host and port of a URL, as [`Endpoint::shown`] has it.
///
/// # Errors
/// When it cannot be used.
pub fn shown(url: &str) -> Result<String, HttpError> {
    parse(url).map(|url| show(&url))
}

pub(crate) fn show(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

pub(crate) fn parse(url: &str) -> Result<reqwest::Url, HttpError> {
    let url: reqwest::Url = url.parse().map_err(|error| HttpError::Url(format!("{error}")))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some() => Ok(url),
        _ => Err(HttpError::Url("http:// or https:// and a host are expected".into())),
    }
}
