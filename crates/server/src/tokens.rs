//! Tokens: random secrets, of which only the hash is kept. The file is read again when it changes, so that a token that is
//! taken out of it is worth nothing a moment later.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use assay_types::Timestamp;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::Scope;

/// What secrets begin with, so that a leaked one is recognised.
const PREFIX: &str = "assay_";
/// No file of tokens is longer.
const LONGEST_FILE_BYTES: u64 = 1 << 20;
/// How soon a changed file is noticed.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file.
    #[error("{}: cannot be read: {why}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// What is in it.
    #[error("{}: token {nth}: {why}", file.display())]
    Wrong {
        /// The file.
        file: PathBuf,
        /// Which one, from 1.
        nth: usize,
        /// What is wrong.
        why: String,
    },
    /// No randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

/// The file's tokens, kept up to date.
pub struct Tokens {
    file: PathBuf,
    read: Mutex<Read>,
}

struct Read {
    tokens: Vec<Token>,
    print: Option<(u64, SystemTime)>,
    looked_at: Instant,
}

struct Token {
    id: String,
    sha256: [u8; 32],
    scope: Scope,
    expires: Option<Timestamp>,
}

/// One line of the file: a JSON object.
#[derive(Deserialize)]
struct Written {
    id: String,
    sha256: String,
    #[serde(flatten)]
    scope: Scope,
    expires: Option<Timestamp>,
}

/// A token that was just made.
pub struct NewToken {
    /// What its owner keeps. It is nowhere else.
    pub secret: String,
    /// What goes into the file.
    pub line: String,
}

/// Makes a token.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new(id: &str, scope: &Scope, expires: Option<Timestamp>) -> Result<NewToken, TokensError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| TokensError::Random(error.to_string()))?;
    let secret = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
    let sha256: String = hash(&secret).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut line = serde_json::json!({ "id": id, "sha256": sha256 });
    match scope {
        Scope::Regulator => line["scope"] = "regulator".into(),
        Scope::Analyst => line["scope"] = "analyst".into(),
        Scope::Exchange { exchange } => {
            line["scope"] = "exchange".into();
            line["exchange"] = exchange.as_str().into();
        }
    }
    if let Some(expires) = expires {
        line["expires"] = expires.to_string().into();
    }
    Ok(NewToken { secret, line: line.to_string() })
}

impl NewToken {
    /// A new token for this scope.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn make(id: &str, scope: &Scope, expires: Option<Timestamp>) -> Result<NewToken, TokensError> {
        new(id, scope, expires)
    }
}

impl Tokens {
    /// Reads the file: one JSON object a line, as [`NewToken::line`] gives it; blank lines and those with `#` are skipped.
    ///
    /// # Errors
    /// When it cannot be read, or a line is wrong.
    pub fn load(file: &Path) -> Result<Tokens, TokensError> {
        let tokens = read(file)?;
        let read = Read { tokens, print: print(file), looked_at: Instant::now() };
        Ok(Tokens { file: file.into(), read: Mutex::new(read) })
    }

    /// What this secret is good for now, with the token's id.
    pub fn scope(&self, secret: &str, now: Timestamp) -> Option<(String, Scope)> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh(&mut read);
        let hash = hash(secret);
        let good = |token: &&Token| bool::from(token.sha256.ct_eq(&hash)) && token.expires.is_none_or(|end| now < end);
        read.tokens.iter().find(good).map(|token| (token.id.clone(), token.scope.clone()))
    }

    /// A file that is wrong lets nobody in: what it was meant to revoke is not known.
    fn refresh(&self, read: &mut Read) {
        if read.looked_at.elapsed() < LOOKED_AT_EVERY {
            return;
        }
        read.looked_at = Instant::now();
        let now = print(&self.file);
        if now.is_some() && now == read.print {
            return;
        }
        read.print = now;
        read.tokens = self::read(&self.file).unwrap_or_else(|error| {
            tracing::error!(%error, "no token is good until this is mended");
            Vec::new()
        });
    }
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn print(file: &Path) -> Option<(u64, SystemTime)> {
    let meta = fs::metadata(file).ok()?;
    Some((meta.len(), meta.modified().ok()?))
}

fn read(file: &Path) -> Result<Vec<Token>, TokensError> {
    let unreadable = |why: String| TokensError::Unreadable { file: file.into(), why };
    let length = fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
    if length > LONGEST_FILE_BYTES {
        return Err(unreadable(format!("it has {length} bytes, and {LONGEST_FILE_BYTES} are the most")));
    }
    let text = fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(nth, line)| {
            let wrong = |why: String| TokensError::Wrong { file: file.into(), nth: nth + 1, why };
            let written: Written = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
            let sha256 = bytes(&written.sha256).ok_or_else(|| wrong("sha256 must be 64 hexadecimal digits".into()))?;
            Ok(Token { id: written.id, sha256, scope: written.scope, expires: written.expires })
        })
        .collect()
}

fn bytes(hex: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs: Vec<u8> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?))
        .collect::<Option<_>>()?;
    pairs.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires_or_leaves_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let scope = Scope::Exchange { exchange: "acme".into() };
        let kept = new("acme-1", &scope, None).unwrap();
        let short = new("watch", &Scope::Regulator, Some(at("2026-01-02T00:00:00Z"))).unwrap();
        fs::write(&file, format!("# tokens\n{}\n{}\n", kept.line, short.line)).unwrap();
        let tokens = Tokens::load(&file).unwrap();
        let now = at("2026-01-01T00:00:00Z");
        assert_eq!(tokens.scope(&kept.secret, now), Some(("acme-1".into(), scope)));
        assert_eq!(tokens.scope(&short.secret, now).map(|(_, scope)| scope), Some(Scope::Regulator));
        assert_eq!(tokens.scope(&short.secret, at("2026-01-02T00:00:00Z")), None);
        assert_eq!(tokens.scope("assay_nothing", now), None);
        assert!(!fs::read_to_string(&file).unwrap().contains(&kept.secret), "only hashes rest on disk");
        fs::write(&file, &short.line).unwrap();
        std::thread::sleep(LOOKED_AT_EVERY + Duration::from_millis(50));
        assert_eq!(tokens.scope(&kept.secret, now), None);
        fs::write(&file, "{}").unwrap();
        std::thread::sleep(LOOKED_AT_EVERY + Duration::from_millis(50));
        assert_eq!(tokens.scope(&short.secret, now), None, "a file that is wrong lets nobody in");
        assert!(matches!(Tokens::load(&file), Err(TokensError::Wrong { nth: 1, .. })));
    }
}
