//! `assay token new`: a secret for one who may ask the API, of which the file keeps only the hash.

use std::fs::OpenOptions;
use std::io::Write as _;

use assay_server::{Scope, create_token, token_ids};

use crate::args::{ScopeName, TokenArgs};
use crate::failure::{Failure, WRONG_INPUT};
use crate::setup::Setup;
use crate::{output, place};

pub fn new(setup: &Setup, wished: &TokenArgs) -> Result<u8, Failure> {
    let wrong = |why: &str| Failure::new(WRONG_INPUT, why);
    let file = setup.config.serve.tokens_file.as_ref();
    let file = file.ok_or_else(|| wrong("no file of tokens is configured").hint("[serve] tokens_file = \"tokens\""))?;
    let scope = match (wished.scope, &wished.exchange) {
        (ScopeName::Regulator, None) => Scope::Regulator,
        (ScopeName::Analyst, None) => Scope::Analyst,
        (ScopeName::Exchange, Some(id)) => Scope::Exchange(setup.exchange(id)?.id.clone()),
        (ScopeName::Exchange, None) => return Err(wrong("--scope exchange needs --exchange ID")),
        (_, Some(_)) => return Err(wrong("--exchange belongs to --scope exchange")),
    };
    if file.exists() {
        // One that is wrong, or has an id twice, lets nobody in.
        let ids = token_ids(file).map_err(|error| Failure::new(WRONG_INPUT, error))?;
        if ids.contains(&wished.id) {
            let why = format!("{}: token `{}` is there already", file.display(), wished.id);
            return Err(wrong(&why).hint("choose another id, or remove its [[token]] first"));
        }
    }
    let expires = wished.expires.as_deref().map(|text| place::time("--expires", text)).transpose()?;
    let token = create_token(&wished.id, &scope, expires).map_err(|error| Failure::new(WRONG_INPUT, error))?;
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let named = |error| Failure::new(WRONG_INPUT, format!("{}: {error}", file.display()));
    let mut open = options.open(file).map_err(named)?;
    open.write_all(format!("{}\n", token.entry).as_bytes()).map_err(named)?;
    output::data(token.secret);
    output::message(format!("its hash is in {}: to revoke it, remove its [[token]] `{}`", file.display(), wished.id));
    Ok(0)
}
