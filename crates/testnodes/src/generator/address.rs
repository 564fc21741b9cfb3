//! The script types, and what is paid to.

use bitcoin::key::TweakedPublicKey;
use bitcoin::opcodes::all::{OP_CHECKMULTISIG, OP_CHECKSIG};
use bitcoin::script::Builder;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::taproot::{TaprootBuilder, TaprootSpendInfo};
use bitcoin::{CompressedPublicKey, PublicKey, ScriptBuf, WitnessProgram, WitnessVersion};
use fastrand::Rng;

use super::keys::{self, Ring};

/// A script type. Those with several keys take the following ones on the ring. Of three keys the last two sign, as
/// OP_CHECKMULTISIG tries from the end and takes long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    P2pk,
    P2pkh,
    Multisig,
    P2shMultisig,
    P2shP2wpkh,
    P2wpkh,
    P2wshMultisig,
    TaprootKey,
    /// One leaf, with the next key.
    TaprootScript,
    /// A witness version without rules: anybody can spend it.
    Future,
}

impl Kind {
    pub(super) const ALL: [Kind; 10] = [
        Kind::P2pk,
        Kind::P2pkh,
        Kind::Multisig,
        Kind::P2shMultisig,
        Kind::P2shP2wpkh,
        Kind::P2wpkh,
        Kind::P2wshMultisig,
        Kind::TaprootKey,
        Kind::TaprootScript,
        Kind::Future,
    ];

    /// How many of a thousand outputs are of this kind. Chosen so that 6,000 inputs and outputs fill a block.
    fn permille(self) -> u32 {
        match self {
            Kind::P2pk | Kind::TaprootScript => 6,
            Kind::Multisig | Kind::Future => 4,
            Kind::P2pkh => 220,
            Kind::P2shMultisig => 130,
            Kind::P2shP2wpkh => 160,
            Kind::P2wpkh => 270,
            Kind::P2wshMultisig => 130,
            Kind::TaprootKey => 70,
        }
    }

    fn random(rng: &mut Rng) -> Kind {
        let mut at = rng.u32(..1_000);
        let here = |kind: &Kind| match at.checked_sub(kind.permille()) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        };
        Kind::ALL.into_iter().find(here).expect("the kinds make a thousand")
    }
}

/// A script type and a key.
#[derive(Clone, Copy)]
pub(super) struct Address {
    pub(super) kind: Kind,
    pub(super) key: usize,
}

/// Who is paid: now and then somebody who is watched, a stranger else.
#[derive(Clone, Copy)]
pub(super) struct Payees {
    pub(super) watched_permille: u32,
    /// The first keys on the ring.
    pub(super) watched_keys: usize,
}

impl Payees {
    pub(super) fn one(self, rng: &mut Rng) -> Address {
        let is_watched = rng.u32(..1_000) < self.watched_permille;
        let keys = if is_watched { 0..self.watched_keys } else { self.watched_keys..keys::COUNT };
        Address { kind: Kind::random(rng), key: rng.usize(keys) }
    }
}

impl Address {
    /// The `scriptPubKey`.
    pub(super) fn script(self, ring: &Ring) -> ScriptBuf {
        match self.kind {
            Kind::P2pk => ScriptBuf::new_p2pk(&PublicKey::new_uncompressed(ring.public(self.key))),
            Kind::P2pkh => ScriptBuf::new_p2pkh(&self.compressed(ring).pubkey_hash()),
            Kind::Multisig => self.multisig(ring),
            Kind::P2shMultisig => self.multisig(ring).to_p2sh(),
            Kind::P2shP2wpkh => self.p2wpkh(ring).to_p2sh(),
            Kind::P2wpkh => self.p2wpkh(ring),
            Kind::P2wshMultisig => self.multisig(ring).to_p2wsh(),
            Kind::TaprootKey => {
                ScriptBuf::new_p2tr_tweaked(TweakedPublicKey::dangerous_assume_tweaked(ring.x_only(self.key)))
            }
            Kind::TaprootScript => ScriptBuf::new_p2tr_tweaked(self.tree(ring).output_key()),
            Kind::Future => {
                let versions = [WitnessVersion::V2, WitnessVersion::V3, WitnessVersion::V15, WitnessVersion::V16];
                let program = WitnessProgram::new(versions[self.key % 4], &ring.x_only(self.key).serialize());
                ScriptBuf::new_witness_program(&program.expect("32 bytes fit"))
            }
        }
    }

    fn compressed(self, ring: &Ring) -> CompressedPublicKey {
        CompressedPublicKey(ring.public(self.key))
    }

    pub(super) fn p2wpkh(self, ring: &Ring) -> ScriptBuf {
        ScriptBuf::new_p2wpkh(&self.compressed(ring).wpubkey_hash())
    }

    pub(super) fn multisig(self, ring: &Ring) -> ScriptBuf {
        let keys = (0..3).map(|nth| ring.public(self.key + nth).serialize());
        let script = keys.fold(Builder::new().push_int(2), |script, key| script.push_slice(key));
        script.push_int(3).push_opcode(OP_CHECKMULTISIG).into_script()
    }

    pub(super) fn leaf(self, ring: &Ring) -> ScriptBuf {
        Builder::new().push_x_only_key(&ring.x_only(self.key + 1)).push_opcode(OP_CHECKSIG).into_script()
    }

    pub(super) fn tree(self, ring: &Ring) -> TaprootSpendInfo {
        let tree = TaprootBuilder::new().add_leaf(0, self.leaf(ring)).expect("the first leaf");
        tree.finalize(&Secp256k1::verification_only(), ring.x_only(self.key)).expect("one leaf is a whole tree")
    }
}
