//! The intake folder: a statement that is put into `<intake>/<exchange>/` as `*.json` is taken, with its signature beside it as
//! `*.json.sig` where there is one, and moved to `accepted/` or, with the reason, to `refused/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_desk::SubmitError;
use assay_registry::{read_bytes, read_text};

use super::Shared;
use crate::verify::LONGEST_STATEMENT_BYTES;

const EVERY: Duration = Duration::from_secs(1);
/// No signature is longer.
const LONGEST_SIGNATURE_BYTES: u64 = 4096;

/// Looks until the process stops.
pub fn watch(shared: &Shared) {
    while !shared.stop.is_wished() {
        if let Some(intake) = &shared.setup().config.serve.intake {
            for (exchange, file) in statements(intake) {
                take(shared, &exchange, &file);
            }
        }
        shared.stop.pause(EVERY);
    }
}

/// The statements that wait, each exchange's by name.
fn statements(intake: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for folder in fs::read_dir(intake).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        let exchange = folder.file_name().to_string_lossy().into_owned();
        for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            // Whoever writes a file in place gives it its name when it is whole.
            if file.path().extension().is_some_and(|kind| kind == "json") {
                found.push((exchange.clone(), file.path()));
            }
        }
    }
    found.sort();
    found
}

fn take(shared: &Shared, exchange: &str, file: &Path) {
    let signature_file = beside(file, "sig");
    // A signature that is there and cannot be read is not the same as none.
    let signature = signature_file.exists().then(|| read_text(&signature_file, LONGEST_SIGNATURE_BYTES)).transpose();
    let read = signature.and_then(|signature| Ok((signature, read_bytes(file, LONGEST_STATEMENT_BYTES)?)));
    let taken = match read {
        Ok((signature, bytes)) => shared.desk.submit(exchange, &bytes, signature.as_deref().map(str::trim)),
        Err(error) => Err(SubmitError::Refused(vec![error.to_string()])),
    };
    let (place, why) = match taken {
        Ok(_) => ("accepted", None),
        // Ours to mend: it waits.
        Err(SubmitError::Failed(why)) => {
            tracing::error!(file = %file.display(), why, "a statement waits: it could not be kept");
            return;
        }
        Err(error) => ("refused", Some(error.to_string())),
    };
    if let Err(error) = put_away(file, &signature_file, place, why.as_deref()) {
        tracing::error!(file = %file.display(), %error, "a statement cannot be moved away");
    }
}

fn put_away(file: &Path, signature_file: &Path, place: &str, why: Option<&str>) -> std::io::Result<()> {
    let folder = file.with_file_name(place);
    fs::create_dir_all(&folder)?;
    let to = |file: &Path| folder.join(file.file_name().unwrap_or_default());
    if let Some(why) = why {
        tracing::warn!(file = %file.display(), why, "a statement is refused");
        fs::write(beside(&to(file), "error"), format!("{why}\n"))?;
    }
    if signature_file.exists() {
        fs::rename(signature_file, to(signature_file))?;
    }
    fs::rename(file, to(file))
}

/// `a.json` becomes `a.json.sig`.
fn beside(file: &Path, kind: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(kind);
    name.into()
}
