//! `assay init`: a commented configuration and a sample exchange.

use std::path::Path;

use assay_types::InputError;

use crate::failure::Failure;
use crate::output;

const FILES: [(&str, &str); 4] = [
    ("assay.toml", include_str!("../../../data/init/assay.toml")),
    ("exchanges/acme/exchange.toml", include_str!("../../../data/init/exchanges/acme/exchange.toml")),
    ("exchanges/acme/deposits.csv", include_str!("../../../data/init/exchanges/acme/deposits.csv")),
    ("statement.json", include_str!("../../../data/init/statement.json")),
];

/// Writes the files; nothing that is there already is touched.
pub fn run(dir: &Path) -> Result<u8, Failure> {
    if let Some((name, _)) = FILES.iter().find(|(name, _)| dir.join(name).exists()) {
        let error = InputError::new(dir.join(name), "is there already: nothing was written");
        return Err(error.hint("name another folder: assay init DIR").into());
    }
    for (name, text) in FILES {
        let file = dir.join(name);
        let parent = file.parent().unwrap_or(dir);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&file, text))
            .map_err(|error| InputError::new(&file, format!("cannot be written: {error}")))?;
        output::message(format!("wrote {}", file.display()));
    }
    output::message(
        "next: put your nodes' addresses into assay.toml and your accounts into exchanges/, then: assay check",
    );
    Ok(0)
}
