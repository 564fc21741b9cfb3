//! Keys by the thousand, and signatures at the price of an addition.
//!
//! Neighbours on the ring differ by the curve's generator G, so that each public key is one addition away from the
//! last. Every signature has the nonce 1. Its point is G, no multiplication on the curve is left, and what remains is
//! s = z + r·d for ECDSA and s = 1 + e·d for BIP340, both modulo the curve's order. G's second coordinate is even, as
//! BIP340 wants it.

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::secp256k1::{Parity, PublicKey, Scalar, SecretKey, XOnlyPublicKey, constants, ecdsa, schnorr};
use bitcoin::{EcdsaSighashType, TapSighash, TapSighashType, taproot};

/// Keys on the ring.
pub(super) const COUNT: usize = 50_000;

/// Of everything that fails once in 2^128 tries.
const NEVER: &str = "less likely than a broken computer";

struct Key {
    public: PublicKey,
    secret: SecretKey,
    /// r·d
    secret_times_r: SecretKey,
}

/// Keys; one past the last is the first again.
pub(super) struct Ring {
    keys: Vec<Key>,
    /// SHA-256 that has taken in BIP340's tag and the nonce's point.
    challenge: sha256::HashEngine,
}

impl Ring {
    /// Other keys for each seed.
    pub(super) fn new(seed: u64) -> Ring {
        let r = Scalar::from_be_bytes(constants::GENERATOR_X).expect("a coordinate below the curve's order");
        let one = SecretKey::from_slice(&Scalar::ONE.to_be_bytes()).expect("one is a secret key");
        let generator = PublicKey::from_slice(&[&[2], &constants::GENERATOR_X[..]].concat()).expect("a point");
        let secret = SecretKey::from_slice(sha256::Hash::hash(&seed.to_be_bytes()).as_byte_array()).expect(NEVER);
        let public = secret.public_key(&bitcoin::secp256k1::Secp256k1::signing_only());
        let mut key = Key { public, secret, secret_times_r: secret.mul_tweak(&r).expect(NEVER) };
        let mut keys = Vec::with_capacity(COUNT);
        while keys.len() < COUNT {
            let next = Key {
                public: key.public.combine(&generator).expect(NEVER),
                secret: key.secret.add_tweak(&one.into()).expect(NEVER),
                secret_times_r: key.secret_times_r.add_tweak(&r).expect(NEVER),
            };
            keys.push(std::mem::replace(&mut key, next));
        }
        let mut challenge = sha256::Hash::engine();
        let tag = sha256::Hash::hash(b"BIP0340/challenge");
        challenge.input(tag.as_byte_array());
        challenge.input(tag.as_byte_array());
        challenge.input(&constants::GENERATOR_X);
        Ring { keys, challenge }
    }

    pub(super) fn public(&self, key: usize) -> PublicKey {
        self.keys[key % COUNT].public
    }

    /// As taproot has it, without a tweak: consensus does not ask for one.
    pub(super) fn x_only(&self, key: usize) -> XOnlyPublicKey {
        self.public(key).x_only_public_key().0
    }

    /// A signature of everything in the transaction.
    pub(super) fn ecdsa(&self, key: usize, sighash: [u8; 32]) -> bitcoin::ecdsa::Signature {
        let z = Scalar::from_be_bytes(sighash).expect(NEVER);
        let s = self.keys[key % COUNT].secret_times_r.add_tweak(&z).expect(NEVER);
        let mut compact = [0; 64];
        compact[..32].copy_from_slice(&constants::GENERATOR_X);
        compact[32..].copy_from_slice(&s.secret_bytes());
        let mut signature = ecdsa::Signature::from_compact(&compact).expect("both below the curve's order");
        signature.normalize_s();
        bitcoin::ecdsa::Signature { signature, sighash_type: EcdsaSighashType::All }
    }

    /// A signature of everything in the transaction, for [`Ring::x_only`].
    pub(super) fn schnorr(&self, key: usize, sighash: TapSighash) -> taproot::Signature {
        let key = &self.keys[key % COUNT];
        let (x_only, parity) = key.public.x_only_public_key();
        let secret = if parity == Parity::Odd { key.secret.negate() } else { key.secret };
        let mut engine = self.challenge.clone();
        engine.input(&x_only.serialize());
        engine.input(sighash.as_byte_array());
        let e = Scalar::from_be_bytes(sha256::Hash::from_engine(engine).to_byte_array()).expect(NEVER);
        let s = secret.mul_tweak(&e).expect(NEVER).add_tweak(&Scalar::ONE).expect(NEVER);
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&constants::GENERATOR_X);
        bytes[32..].copy_from_slice(&s.secret_bytes());
        let signature = schnorr::Signature::from_slice(&bytes).expect("64 bytes");
        taproot::Signature { signature, sighash_type: TapSighashType::Default }
    }
}
