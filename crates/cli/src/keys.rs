//! `assay keys new`: the key by which an exchange signs its statements.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use assay_registry::{SecretKey, SignatureError};

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

/// Reads the secret key.
pub fn read(file: &Path) -> Result<SecretKey, Failure> {
    let wrong = |error| Failure::new(WRONG_INPUT, format!("{}: {error}", file.display()));
    let text = read_secret(file, "a new key")?;
    text.trim().parse().map_err(|error: SignatureError| wrong(error).hint("assay keys new FILE makes one"))
}

/// Reads a secret. A file that others may read is refused; what it then takes is said by `replacement`.
pub fn read_secret(file: &Path, replacement: &str) -> Result<String, Failure> {
    const LONGEST: u64 = 4096;
    let text = assay_registry::read_text(file, LONGEST)?;
    #[cfg(unix)]
    {
        let mode = std::fs::metadata(file).map(|meta| std::os::unix::fs::PermissionsExt::mode(&meta.permissions()));
        if mode.is_ok_and(|mode| mode & 0o077 != 0) && !is_credential(file) {
            let failure = Failure::new(WRONG_INPUT, format!("{}: others may read this secret", file.display()));
            return Err(failure.hint(format!("chmod 600, and think of {replacement}")));
        }
    }
    Ok(text)
}

/// Is it one of those that the service manager hands to this process alone? What their mode looks like then says nothing.
#[cfg(unix)]
fn is_credential(file: &Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| !folder.is_empty() && file.starts_with(folder))
}
