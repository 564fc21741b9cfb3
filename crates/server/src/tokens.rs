//! Bearer tokens: a file that names each by the hash of its secret, read again when it changes.
//!
//! A file that can no longer be read allows nobody: a revocation must not be undone by a slip of the editor.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use assay_types::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::scope::{Scope, ScopeWord};

const PREFIX: &str = "assay_";
/// How old what is known of the file may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A token that was just made.
pub struct NewToken {
    /// To be given to its holder once, and kept nowhere here.
    pub secret: String,
    /// To be appended to the tokens file.
    pub entry: String,
}

/// Why tokens could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
    /// The file cannot be read.
    #[error("{}: cannot be read: {why}", path.display())]
    Unreadable {
        /// The tokens file.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// Something in it is wrong.
    #[error("{}: {why}", path.display())]
    Wrong {
        /// The tokens file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An analyst or regulator speaks for no exchange, and nobody is `Local` by a token.
    #[error("a token is for a regulator, an exchange or an analyst")]
    NotForTokens,
}

/// Makes a token. `expires` is the first instant at which it no longer counts.
///
/// # Errors
/// No randomness, or a scope that no token can have.
pub fn create_token(id: &str, scope: &Scope, expires: Option<Timestamp>) -> Result<NewToken, TokenError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| TokenError::Random(error.to_string()))?;
    let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let (word, exchange) = match scope {
        Scope::Regulator => ("regulator", None),
        Scope::Exchange(id) => ("exchange", Some(id)),
        Scope::Analyst => ("analyst", None),
        Scope::Local => return Err(TokenError::NotForTokens),
    };
    let text = |text: &str| toml::Value::String(text.into());
    let hash = const_hex::encode(Sha256::digest(&secret));
    let mut entry = format!("[[token]]\nid = {}\nsha256 = \"{hash}\"\nscope = \"{word}\"\n", text(id));
    if let Some(exchange) = exchange {
        entry.push_str(&format!("exchange = {}\n", text(exchange)));
    }
    if let Some(expires) = expires {
        entry.push_str(&format!("expires = \"{expires}\"\n"));
    }
    Ok(NewToken { secret, entry })
}

/// A token as its file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedToken {
    /// What it is called.
    pub id: String,
    /// What it is good for.
    pub scope: Scope,
    /// The first instant at which it no longer counts.
    pub expires: Option<Timestamp>,
}

/// The tokens in a file.
///
/// # Errors
/// When it cannot be read, or something in it is wrong.
pub fn tokens_in(path: &Path) -> Result<Vec<NamedToken>, TokenError> {
    let named = |Token { id, scope, expires, .. }| NamedToken { id, scope, expires };
    Ok(read(path)?.into_iter().map(named).collect())
}

/// Strikes a token out of a file: replaced as a whole, so that at no instant it is half there. `false` where it was not in it.
///
/// # Errors
/// When the file cannot be read or replaced, or something in it is wrong.
pub fn revoke_token(path: &Path, id: &str) -> Result<bool, TokenError> {
    let failed = |error: std::io::Error| TokenError::Unreadable { path: path.into(), why: error.to_string() };
    let wrong = |why: String| TokenError::Wrong { path: path.into(), why };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let mut others = parse(&text).map_err(wrong)?;
    let before = others.len();
    others.retain(|token| token.id != id);
    if others.len() == before {
        return Ok(false);
    }
    let struck = without(&text, id);
    if parse(&struck).as_ref() != Ok(&others) {
        return Err(wrong(format!("token `{id}` is not a [[token]] of its own: remove it by hand")));
    }
    let beside = path.with_added_extension("new");
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside).map_err(failed)?;
    file.write_all(struck.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    Ok(true)
}

/// The text without this `[[token]]`; what is said between it and the next one stays.
fn without(text: &str, id: &str) -> String {
    let mut parts = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with("[[token]]") {
            parts.push(String::new());
        }
        parts.iter_mut().last().into_iter().for_each(|part| part.push_str(line));
    }
    let is_it = |part: &str| toml::from_str::<File>(part).is_ok_and(|file| file.token.iter().any(|one| one.id == id));
    let says_nothing = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let kept = |(nth, part): (usize, String)| {
        if nth == 0 || !is_it(&part) {
            return part;
        }
        let lines: Vec<&str> = part.split_inclusive('\n').collect();
        let after = lines.iter().rev().take_while(|line| says_nothing(line)).count();
        lines[lines.len() - after..].concat()
    };
    parts.into_iter().enumerate().map(kept).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    sha256: String,
    scope: ScopeWord,
    exchange: Option<String>,
    expires: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    id: String,
    sha256: [u8; 32],
    scope: Scope,
    expires: Option<Timestamp>,
}

/// Who presents a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) id: String,
    pub(crate) scope: Scope,
}

/// The tokens of a file, as they are now.
pub(crate) struct Tokens {
    path: PathBuf,
    known: Mutex<Known>,
}

type Stamp = Option<(SystemTime, u64)>;

struct Known {
    looked_at: Instant,
    stamp: Stamp,
    tokens: Arc<Vec<Token>>,
}

impl Tokens {
    pub(crate) fn open(path: &Path) -> Result<Tokens, TokenError> {
        let (stamp, tokens) = (stamp(path), Arc::new(read(path)?));
        let known = Mutex::new(Known { looked_at: Instant::now(), stamp, tokens });
        Ok(Tokens { path: path.into(), known })
    }

    #[cfg(test)]
    pub(crate) fn holder(&self, secret: &str, now: Timestamp) -> Option<Holder> {
        self.holder_of(&Sha256::digest(secret).into(), now)
    }

    /// Whose secret has this hash, if it counts at this instant. Every token is compared, each in constant time.
    pub(crate) fn holder_of(&self, digest: &[u8; 32], now: Timestamp) -> Option<Holder> {
        let mut found = None;
        for token in self.current(Instant::now()).iter() {
            if bool::from(token.sha256.ct_eq(digest)) && token.expires.is_none_or(|expires| now < expires) {
                found = Some(Holder { id: token.id.clone(), scope: token.scope.clone() });
            }
        }
        found
    }

    fn current(&self, now: Instant) -> Arc<Vec<Token>> {
        let mut known = self.known.lock();
        if now.saturating_duration_since(known.looked_at) >= LOOK_EVERY {
            known.looked_at = now;
            let stamp = stamp(&self.path);
            if stamp.is_none() || stamp != known.stamp {
                known.stamp = stamp;
                known.tokens = Arc::new(read(&self.path).unwrap_or_else(|error| {
                    tracing::error!(%error, "no token counts until the file is right");
                    Vec::new()
                }));
            }
        }
        known.tokens.clone()
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

fn read(path: &Path) -> Result<Vec<Token>, TokenError> {
    let unreadable = |error: std::io::Error| TokenError::Unreadable { path: path.into(), why: error.to_string() };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&text).map_err(|why| TokenError::Wrong { path: path.into(), why })
}

fn parse(text: &str) -> Result<Vec<Token>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let tokens: Vec<Token> = file.token.into_iter().map(token).collect::<Result<_, _>>()?;
    for (at, token) in tokens.iter().enumerate() {
        if tokens[..at].iter().any(|before| before.id == token.id || before.sha256 == token.sha256) {
            return Err(format!("token `{}` is there twice", token.id));
        }
    }
    Ok(tokens)
}

fn token(entry: Entry) -> Result<Token, String> {
    let id = entry.id;
    let scope = match (entry.scope, entry.exchange) {
        (ScopeWord::Exchange, Some(exchange)) => Scope::Exchange(exchange),
        (ScopeWord::Exchange, None) => return Err(format!("token `{id}`: `exchange` says of which exchange it is")),
        (_, Some(_)) => return Err(format!("token `{id}`: `exchange` goes with scope = \"exchange\" only")),
        (ScopeWord::Regulator, None) => Scope::Regulator,
        (ScopeWord::Analyst, None) => Scope::Analyst,
    };
    let mut sha256 = [0; 32];
    const_hex::decode_to_slice(&entry.sha256, &mut sha256)
        .map_err(|error| format!("token `{id}`: `sha256` is not 64 hexadecimal digits: {error}"))?;
    let expires = entry.expires.map(|text| text.parse()).transpose();
    let expires = expires.map_err(|error| format!("token `{id}`: `expires`: {error}"))?;
    Ok(Token { id, sha256, scope, expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_counts_until_it_expires_or_is_struck_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let expires = at("2026-03-01T00:00:00Z");
        let acme = create_token("acme \"1\"", &Scope::Exchange("acme".into()), Some(expires)).unwrap();
        let regulator = create_token("fss", &Scope::Regulator, None).unwrap();
        assert!(acme.secret.starts_with(PREFIX) && acme.secret != regulator.secret);
        assert!(!acme.entry.contains(&acme.secret));
        std::fs::write(&path, format!("{}\n{}", acme.entry, regulator.entry)).unwrap();
        let tokens = Tokens::open(&path).unwrap();
        let (before, after) = (at("2026-02-28T23:59:59Z"), expires);
        let holder = tokens.holder(&acme.secret, before).unwrap();
        assert_eq!(holder, Holder { id: "acme \"1\"".into(), scope: Scope::Exchange("acme".into()) });
        assert_eq!(tokens.holder(&acme.secret, after), None);
        assert_eq!(tokens.holder(&regulator.secret, after).unwrap().scope, Scope::Regulator);
        assert_eq!(tokens.holder("assay_no", before), None);

        std::fs::write(&path, &acme.entry).unwrap();
        tokens.current(Instant::now() + LOOK_EVERY);
        assert_eq!(tokens.holder(&regulator.secret, before), None);
        assert!(tokens.holder(&acme.secret, before).is_some());
        std::fs::write(&path, "[[token]]\nid = 3").unwrap();
        tokens.current(Instant::now() + LOOK_EVERY + LOOK_EVERY);
        assert_eq!(tokens.holder(&acme.secret, before), None, "a broken file allows nobody");
    }

    #[test]
    fn a_token_is_struck_out_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let ids = ["watch", "a\"[[token]]\"", "last"];
        let entry = |id| create_token(id, &Scope::Analyst, None).unwrap().entry;
        let [one, two, three] = ids.map(entry);
        let text = format!("# ours\n{one}# the second\n  {two}\n# the third\n{three}# the end");
        std::fs::write(&path, &text).unwrap();
        assert!(!revoke_token(&path, "nobody").unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert!(revoke_token(&path, ids[1]).unwrap());
        let left = format!("# ours\n{one}# the second\n\n# the third\n{three}# the end");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), left);
        assert!(revoke_token(&path, "last").unwrap() && revoke_token(&path, "watch").unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# ours\n# the second\n\n# the third\n# the end");
        let hash = "ab".repeat(32);
        std::fs::write(&path, format!("token = [{{ id = \"a\", sha256 = \"{hash}\", scope = \"analyst\" }}]")).unwrap();
        assert!(revoke_token(&path, "a").unwrap_err().to_string().contains("by hand"));
        std::fs::write(&path, "[[token]]\nid = 3").unwrap();
        assert!(revoke_token(&path, "a").is_err() && tokens_in(&path).is_err());
    }

    #[test]
    fn what_is_wrong_in_the_file_is_said() {
        let hash = "ab".repeat(32);
        let table = [
            (format!("[[token]]\nid = \"a\"\nsha256 = \"{hash}\"\nscope = \"exchange\""), "of which exchange"),
            (format!("[[token]]\nid = \"a\"\nsha256 = \"{hash}\"\nscope = \"analyst\"\nexchange = \"x\""), "only"),
            ("[[token]]\nid = \"a\"\nsha256 = \"ab\"\nscope = \"analyst\"".into(), "64 hexadecimal"),
            (format!("[[token]]\nid = \"a\"\nsha256 = \"{hash}\"\nscope = \"root\""), "unknown variant"),
            (format!("[[token]]\nid = \"a\"\nsha256 = \"{hash}\"\nscope = \"analyst\"\nexpires = \"soon\""), "expires"),
        ];
        for (text, expected) in table {
            let why = parse(&text).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        let one = format!("[[token]]\nid = \"a\"\nsha256 = \"{hash}\"\nscope = \"analyst\"\n");
        assert!(parse(&one.repeat(2)).unwrap_err().contains("twice"));
    }
}
