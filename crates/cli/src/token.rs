//! `assay token`: a secret for each who may ask the API, of which the file keeps only the hash.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use assay_desk::clock;
use assay_server::{NamedToken, Scope, create_token, revoke_token, tokens_in};

use assay_types::suggestion;
use serde_json::json;

use crate::args::{ScopeName, TokenArgs};
use crate::failure::{Failure, WRONG_INPUT};
use crate::setup::Setup;
use crate::{output, place};

pub fn new(setup: &Setup, wished: &TokenArgs) -> Result<u8, Failure> {
    let wrong = |why: &str| Failure::new(WRONG_INPUT, why);
    let file = tokens_file(setup)?;
    let scope = match (wished.scope, &wished.exchange) {
        (ScopeName::Regulator, None) => Scope::Regulator,
        (ScopeName::Analyst, None) => Scope::Analyst,
        (ScopeName::Exchange, Some(id)) => Scope::Exchange(setup.exchange(id)?.id.clone()),
        (ScopeName::Exchange, None) => return Err(wrong("--scope exchange needs --exchange ID")),
        (_, Some(_)) => return Err(wrong("--exchange belongs to --scope exchange")),
    };
    if file.exists() {
        // One that is wrong, or has an id twice, lets nobody in.
        let known = tokens_in(file).map_err(|error| Failure::new(WRONG_INPUT, error))?;
        if known.iter().any(|token| token.id == wished.id) {
            let why = format!("{}: token `{}` is there already", file.display(), wished.id);
            return Err(wrong(&why).hint("choose another id, or revoke that one first: assay token revoke"));
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
    output::message(format!("its hash is in {}; to revoke it: assay token revoke {}", file.display(), wished.id));
    Ok(0)
}

pub fn list(setup: &Setup, json: bool) -> Result<u8, Failure> {
    let file = tokens_file(setup)?;
    let tokens = tokens_in(file).map_err(|error| Failure::new(WRONG_INPUT, error))?;
    let scope = |token: &NamedToken| match &token.scope {
        Scope::Local => ("local", None),
        Scope::Regulator => ("regulator", None),
        Scope::Analyst => ("analyst", None),
        Scope::Exchange(id) => ("exchange", Some(id.clone())),
    };
    if json {
        let row = |token: &NamedToken| {
            let (word, exchange) = scope(token);
            json!({ "id": token.id, "scope": word, "exchange": exchange, "expires": token.expires })
        };
        output::document(&json!({ "tokens": tokens.iter().map(row).collect::<Vec<_>>() }));
        return Ok(0);
    }
    let now = clock::now();
    let row = |token: &NamedToken| {
        let (word, exchange) = scope(token);
        let expires = token.expires.map_or_else(String::new, |at| {
            let is_over = if at <= now { " (over)" } else { "" };
            format!("{at}{is_over}")
        });
        vec![token.id.clone(), word.to_owned(), exchange.unwrap_or_default(), expires]
    };
    output::data(output::table(&["token", "scope", "exchange", "until"], &[], tokens.iter().map(row)).to_string());
    Ok(0)
}

pub fn revoke(setup: &Setup, id: &str) -> Result<u8, Failure> {
    let file = tokens_file(setup)?;
    let failed = |error| Failure::new(WRONG_INPUT, error);
    if !revoke_token(file, id).map_err(failed)? {
        let known = tokens_in(file).map_err(failed)?;
        let why = format!("{}: there is no token `{id}`", file.display());
        return Err(Failure::new(WRONG_INPUT, why).hint(suggestion(id, known.iter().map(|token| token.id.as_str()))));
    }
    output::message(format!("token `{id}` is out of {}: it is worth nothing from the next second on", file.display()));
    Ok(0)
}

fn tokens_file(setup: &Setup) -> Result<&Path, Failure> {
    let none = || Failure::new(WRONG_INPUT, "no file of tokens is configured").hint("[serve] tokens_file = \"tokens\"");
    setup.config.serve.tokens_file.as_deref().ok_or_else(none)
}
