//! What it takes to spend each script type.

use bitcoin::ecdsa::SerializedSignature;
use bitcoin::hashes::Hash as _;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::{LeafVersion, TapLeafHash};
use bitcoin::{EcdsaSighashType, ScriptBuf, TapSighashType, Transaction, TxOut, Witness};

use super::address::{Address, Kind};
use super::keys::Ring;
use super::pool::Coin;

/// A transaction that spends coins, without signatures yet.
pub(super) struct Unsigned<'a> {
    ring: &'a Ring,
    coins: &'a [Coin],
    spent: Vec<TxOut>,
    cache: SighashCache<&'a Transaction>,
}

/// The input is there, and so is the output that it spends.
const THERE: &str = "every coin has its input";

impl<'a> Unsigned<'a> {
    /// The inputs stand in the order of the coins.
    pub(super) fn new(ring: &'a Ring, coins: &'a [Coin], transaction: &'a Transaction) -> Unsigned<'a> {
        let output = |coin: &Coin| TxOut { value: coin.value, script_pubkey: coin.address.script(ring) };
        let spent = coins.iter().map(output).collect();
        Unsigned { ring, coins, spent, cache: SighashCache::new(transaction) }
    }

    /// What makes an input valid: its `scriptSig` and its witness.
    pub(super) fn unlock(&mut self, input: usize) -> (ScriptBuf, Witness) {
        let (ring, address) = (self.ring, self.coins[input].address);
        let Address { kind, key } = address;
        match kind {
            Kind::P2pk => (Builder::new().push_slice(self.legacy(input, None, key)).into_script(), Witness::new()),
            Kind::P2pkh => {
                let script = Builder::new().push_slice(self.legacy(input, None, key));
                (script.push_slice(ring.public(key).serialize()).into_script(), Witness::new())
            }
            Kind::Multisig => (self.two_legacy(input, None, key).into_script(), Witness::new()),
            Kind::P2shMultisig => {
                let redeem = address.multisig(ring);
                let script = self.two_legacy(input, Some(&redeem), key);
                (script.push_slice(pushed(&redeem)).into_script(), Witness::new())
            }
            Kind::P2shP2wpkh => {
                let program = address.p2wpkh(ring);
                let script = Builder::new().push_slice(pushed(&program)).into_script();
                (script, self.p2wpkh(input, &program, key))
            }
            Kind::P2wpkh => (ScriptBuf::new(), self.p2wpkh(input, &address.p2wpkh(ring), key)),
            Kind::P2wshMultisig => (ScriptBuf::new(), self.p2wsh(input, &address.multisig(ring), key)),
            Kind::TaprootKey => {
                let spent = Prevouts::All(&self.spent);
                let sighash = self.cache.taproot_key_spend_signature_hash(input, &spent, TapSighashType::Default);
                (ScriptBuf::new(), Witness::p2tr_key_spend(&ring.schnorr(key, sighash.expect(THERE))))
            }
            Kind::TaprootScript => (ScriptBuf::new(), self.taproot_script(input, address)),
            Kind::Future => (ScriptBuf::new(), Witness::new()),
        }
    }

    /// A signature of before segwit; `redeem` is the script that signs for a hash.
    fn legacy(&self, input: usize, redeem: Option<&ScriptBuf>, key: usize) -> SerializedSignature {
        self.ring.ecdsa(key, self.legacy_sighash(input, redeem)).serialize()
    }

    fn two_legacy(&self, input: usize, redeem: Option<&ScriptBuf>, key: usize) -> Builder {
        let sighash = self.legacy_sighash(input, redeem);
        let signature = |key| self.ring.ecdsa(key, sighash).serialize();
        // The empty push is for the element too many that OP_CHECKMULTISIG takes.
        Builder::new().push_int(0).push_slice(signature(key + 1)).push_slice(signature(key + 2))
    }

    fn legacy_sighash(&self, input: usize, redeem: Option<&ScriptBuf>) -> [u8; 32] {
        let script = redeem.unwrap_or(&self.spent[input].script_pubkey);
        let all = EcdsaSighashType::All.to_u32();
        self.cache.legacy_signature_hash(input, script, all).expect(THERE).to_byte_array()
    }

    fn p2wpkh(&mut self, input: usize, program: &ScriptBuf, key: usize) -> Witness {
        let (value, all) = (self.spent[input].value, EcdsaSighashType::All);
        let sighash = self.cache.p2wpkh_signature_hash(input, program, value, all).expect(THERE);
        Witness::p2wpkh(&self.ring.ecdsa(key, sighash.to_byte_array()), &self.ring.public(key))
    }

    fn p2wsh(&mut self, input: usize, script: &ScriptBuf, key: usize) -> Witness {
        let (value, all) = (self.spent[input].value, EcdsaSighashType::All);
        let sighash = self.cache.p2wsh_signature_hash(input, script, value, all).expect(THERE).to_byte_array();
        let signature = |key| self.ring.ecdsa(key, sighash).serialize();
        let mut witness = Witness::new();
        witness.push([]);
        witness.push(signature(key + 1));
        witness.push(signature(key + 2));
        witness.push(script);
        witness
    }

    fn taproot_script(&mut self, input: usize, address: Address) -> Witness {
        let (leaf, tree) = (address.leaf(self.ring), address.tree(self.ring));
        let hash = TapLeafHash::from_script(&leaf, LeafVersion::TapScript);
        let (spent, all) = (Prevouts::All(&self.spent), TapSighashType::Default);
        let sighash = self.cache.taproot_script_spend_signature_hash(input, &spent, hash, all).expect(THERE);
        let mut witness = Witness::new();
        witness.push(self.ring.schnorr(address.key + 1, sighash).serialize());
        witness.push(&leaf);
        let control = tree.control_block(&(leaf, LeafVersion::TapScript)).expect("the tree's leaf");
        witness.push(control.serialize());
        witness
    }
}

fn pushed(script: &ScriptBuf) -> PushBytesBuf {
    PushBytesBuf::try_from(script.to_bytes()).expect("a short script")
}
