//! What pages load: scripts and styles, built in. Their names carry a digest, so that browsers may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use crate::problem::Problem;

struct File {
    name: String,
    stem: &'static str,
    kind: &'static str,
    text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let all = [
        ("assay.css", STYLE, include_str!("../../static/assay.css")),
        ("assay.js", SCRIPT, include_str!("../../static/assay.js")),
        ("htmx.js", SCRIPT, include_str!("../../static/htmx.min.js")),
        ("uplot.js", SCRIPT, include_str!("../../static/uplot.min.js")),
        ("uplot.css", STYLE, include_str!("../../static/uplot.css")),
    ];
    let file = |(stem, kind, text): (&'static str, _, &'static str)| {
        let digest = const_hex::encode(&Sha256::digest(text)[..6]);
        File { name: format!("{digest}-{stem}"), stem, kind, text }
    };
    all.into_iter().map(file).collect()
});

const FOLDER: &str = "/files/";

pub(crate) fn is_file(path: &str) -> bool {
    path.starts_with(FOLDER)
}

/// Where a browser finds a file.
pub(super) fn place(stem: &str) -> String {
    let name = FILES.iter().find(|file| file.stem == stem).map_or(stem, |file| &file.name);
    format!("{FOLDER}{name}")
}

/// Marks an answer that never changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lasting;

pub(super) async fn one(Path(name): Path<String>) -> Result<Response, Problem> {
    let file = FILES.iter().find(|file| file.name == name).ok_or_else(Problem::not_found)?;
    let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static(file.kind))], file.text).into_response();
    response.extensions_mut().insert(Lasting);
    Ok(response)
}
