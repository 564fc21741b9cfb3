//! Who signs an exchange's statements: Ed25519 (RFC 8032) over the bytes as they are sent.
//!
//! What is signed is three lines: `assay.statement/1`, the exchange's id, and the SHA-256 of the bytes as digests are written.
//! So a signature is good for nothing else, and for no other exchange.

use std::fmt;
use std::str::FromStr;

use assay_types::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

const PUBLIC: &str = "ed25519:";
const SECRET: &str = "ed25519-secret:";

/// Why a key or a signature is not one, or not the right one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not the text of a public key.
    #[error("`{0}` is not a key: `{PUBLIC}` and 32 bytes in Base64 are expected")]
    NotAKey(String),
    /// Not the text of a secret key, which is not shown.
    #[error("is not a secret key: `{SECRET}` and 32 bytes in Base64 are expected")]
    NotASecret,
    /// Not the text of a signature.
    #[error("is not a signature: `{PUBLIC}` and 64 bytes in Base64 are expected")]
    NotASignature,
    /// There is none.
    #[error("there is none, and the exchange declares keys: sign the statement with `assay submit --key`")]
    Missing,
    /// It is of other bytes, of another exchange, or by another key.
    #[error("it is not by any of the {0} keys that the exchange declares, over these bytes")]
    NotTheirs(usize),
}

/// The key by which anyone can check an exchange's statements. Written `ed25519:` and its 32 bytes in Base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StatementKey(VerifyingKey);

/// The key by which an exchange signs. It is forgotten when dropped, and never printed but into its own file.
pub struct SecretKey(SigningKey);

impl StatementKey {
    /// Which of these keys made the signature over the statement with this digest?
    ///
    /// # Errors
    /// None of them, or it is no signature.
    pub fn check<'a>(
        keys: &'a [StatementKey],
        exchange: &str,
        digest: Digest,
        signature: &str,
    ) -> Result<&'a StatementKey, SignatureError> {
        let signature = decode::<64>(PUBLIC, signature).ok_or(SignatureError::NotASignature)?;
        let (signed, signature) = (signed(exchange, digest), Signature::from_bytes(&signature));
        // Strict: no key of small order, and one signature for each message.
        let made_it = |key: &&StatementKey| key.0.verify_strict(&signed, &signature).is_ok();
        keys.iter().find(made_it).ok_or(SignatureError::NotTheirs(keys.len()))
    }
}

impl SecretKey {
    /// From 32 random bytes.
    pub fn from_random(bytes: &[u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(bytes))
    }

    /// What goes into its file.
    pub fn to_text(&self) -> String {
        format!("{SECRET}{}", STANDARD.encode(self.0.as_bytes()))
    }

    /// The key that belongs to it.
    pub fn public(&self) -> StatementKey {
        StatementKey(self.0.verifying_key())
    }

    /// The signature of an exchange's statement.
    pub fn sign(&self, exchange: &str, digest: Digest) -> String {
        format!("{PUBLIC}{}", STANDARD.encode(self.0.sign(&signed(exchange, digest)).to_bytes()))
    }
}

fn signed(exchange: &str, digest: Digest) -> Vec<u8> {
    format!("assay.statement/1\n{exchange}\n{digest}").into_bytes()
}

fn decode<const N: usize>(prefix: &str, text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text.strip_prefix(prefix)?).ok()?.try_into().ok()
}

impl FromStr for StatementKey {
    type Err = SignatureError;
    fn from_str(text: &str) -> Result<StatementKey, SignatureError> {
        let bytes = decode::<32>(PUBLIC, text);
        let key = bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok()).filter(|key| !key.is_weak());
        key.map(StatementKey).ok_or_else(|| SignatureError::NotAKey(text.into()))
    }
}

impl FromStr for SecretKey {
    type Err = SignatureError;
    fn from_str(text: &str) -> Result<SecretKey, SignatureError> {
        decode::<32>(SECRET, text).map(|bytes| SecretKey::from_random(&bytes)).ok_or(SignatureError::NotASecret)
    }
}

impl fmt::Display for StatementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for StatementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> SecretKey {
        SecretKey::from_random(&[byte; 32])
    }

    #[test]
    fn a_key_is_that_of_rfc_8032() {
        // RFC 8032, 7.1, TEST 1.
        let secret = const_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = const_hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let key = SecretKey::from_random(&secret).public();
        assert_eq!(key.to_string(), format!("ed25519:{}", STANDARD.encode(public)));
        assert_eq!(key.to_string().parse(), Ok(key));
        // Its signature of the empty message.
        let signature = SecretKey::from_random(&secret).0.sign(b"").to_bytes();
        assert!(signature.starts_with(&const_hex("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")));
    }

    #[test]
    fn what_is_signed_never_changes() {
        let digest = Digest::of(b"{}");
        let text = "assay.statement/1\nacme\nsha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(String::from_utf8(signed("acme", digest)).unwrap(), text);
        let signature = secret(1).0.sign(text.as_bytes());
        assert_eq!(secret(1).sign("acme", digest), format!("ed25519:{}", STANDARD.encode(signature.to_bytes())));
    }

    fn const_hex(text: &str) -> [u8; 32] {
        std::array::from_fn(|place| u8::from_str_radix(&text[2 * place..2 * place + 2], 16).unwrap())
    }

    #[test]
    fn a_signature_is_good_for_one_exchange_and_these_bytes_alone() {
        let (one, other) = (secret(1), secret(2));
        let keys = [other.public(), one.public()];
        let signature = one.sign("acme", Digest::of(b"{}"));
        assert_eq!(StatementKey::check(&keys, "acme", Digest::of(b"{}"), &signature), Ok(&keys[1]));
        let not_theirs = |count| Err(SignatureError::NotTheirs(count));
        assert_eq!(StatementKey::check(&keys, "globex", Digest::of(b"{}"), &signature), not_theirs(2));
        assert_eq!(StatementKey::check(&keys, "acme", Digest::of(b"{} "), &signature), not_theirs(2));
        assert_eq!(StatementKey::check(&keys[..1], "acme", Digest::of(b"{}"), &signature), not_theirs(1));
        assert_eq!(StatementKey::check(&[], "acme", Digest::of(b"{}"), &signature), not_theirs(0));
        for bad in ["", "ed25519:", "ed25519:AAAA", &signature[1..], &one.public().to_string()] {
            assert_eq!(
                StatementKey::check(&keys, "acme", Digest::of(b"{}"), bad),
                Err(SignatureError::NotASignature),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_no_secret_is_shown() {
        let text = secret(3).to_text();
        assert_eq!(text.parse::<SecretKey>().unwrap().public(), secret(3).public());
        assert!(text.parse::<StatementKey>().is_err());
        for bad in ["", "ed25519:", "ed25519-secret:AAAA", "hello"] {
            let Err(error) = bad.parse::<SecretKey>() else { panic!("{bad}") };
            assert_eq!(error.to_string(), SignatureError::NotASecret.to_string());
        }
        // The neutral element signs everything for everyone.
        let weak = format!("ed25519:{}", STANDARD.encode([[1].as_slice(), &[0; 31]].concat()));
        assert!(weak.parse::<StatementKey>().is_err());
    }
}
