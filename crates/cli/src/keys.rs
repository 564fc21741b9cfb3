//! `assay keys new`: the key by which an exchange signs its statements.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use assay_registry::SecretKey;

use crate::failure::{Failure, WRONG_INPUT};
use crate::output;

/// Makes a key: the secret into a file that only its owner reads, the public one on standard output.
pub fn new(file: &Path) -> Result<u8, Failure> {
    let named = |error: &dyn std::fmt::Display| Failure::new(WRONG_INPUT, format!("{}: {error}", file.display()));
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| named(&format!("no random bytes can be had: {error}")))?;
    let key = SecretKey::from_random(&random);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.open(file).map_err(|error| {
        named(&error).hint("a key is never written over another one: choose a name that is not taken")
    })?;
    open.write_all(format!("{}\n", key.to_text()).as_bytes()).map_err(|error| named(&error))?;
    open.sync_all().map_err(|error| named(&error))?;
    output::data(key.public().to_string());
    output::message(format!(
        "{} holds the secret; what is printed goes into exchange.toml: statement_keys",
        file.display()
    ));
    Ok(0)
}

/// Reads the secret key. A file that others may read is refused.
pub fn read(file: &Path) -> Result<SecretKey, Failure> {
    const LONGEST: u64 = 1024;
    let named = |why: String| Failure::new(WRONG_INPUT, format!("{}: {why}", file.display()));
    let text = assay_registry::read_text(file, LONGEST)?;
    #[cfg(unix)]
    {
        let mode = std::fs::metadata(file).map(|meta| std::os::unix::fs::PermissionsExt::mode(&meta.permissions()));
        if mode.is_ok_and(|mode| mode & 0o077 != 0) {
            return Err(named("others may read this secret".into()).hint("chmod 600, and think of a new key"));
        }
    }
    text.trim().parse().map_err(|error| named(format!("{error}")).hint("assay keys new FILE makes one"))
}
