//! The Bitcoin side of the play: who has keys, and what they do with them, on a real node.

use std::path::Path;

use assay_testnodes::Bitcoind;
use assay_types::{Amount, Timestamp};
use bitcoin::NetworkKind;
use bitcoin::bip32::{DerivationPath, Xpriv, Xpub};
use bitcoin::key::Secp256k1;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::book::plus;
use super::figures::{COLD_ADDRESSES, CUSTOMERS, HISTORY_BLOCKS, OTHERS};
use super::{broken, text};
use crate::failure::Failure;

/// The chain's alias.
pub const CHAIN: &str = "bitcoin";
const DECIMALS: u8 = 8;
/// In satoshi for each virtual byte.
const FEE_RATE: &str = "5";

/// Everybody's wallets on one node. Each has its own, as they would have their own nodes.
pub struct BitcoinSide {
    node: Bitcoind,
    /// The cold wallet's descriptor, public keys only.
    pub cold_descriptor: String,
    /// Its addresses.
    pub cold: Vec<String>,
    /// A hot wallet's one address (p2wpkh).
    pub hot: String,
    /// Another one's (p2tr).
    pub hot_taproot: String,
    /// One for each customer.
    pub deposits: Vec<String>,
    /// Of other exchanges.
    pub others: Vec<String>,
    /// Of the world: miners and users.
    outside: Vec<String>,
}

/// A transaction that the node took.
pub struct Sent {
    /// Its id.
    pub txid: String,
    /// What the sender paid for it.
    pub fee: Amount,
}

/// Who pays the fee.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FeeFrom {
    /// The sender, beside the amount.
    Sender,
    /// It is taken out of the amount.
    Amount,
}

impl BitcoinSide {
    /// Starts the node, with its clock at this instant.
    pub fn start(folder: &Path, now: Timestamp) -> Result<Bitcoind, Failure> {
        // The wallets live as long as the play: waiting for the disk after each step would only take time.
        let clock = format!("-mocktime={}", now.unix_s());
        Ok(Bitcoind::start(&folder.join("bitcoind"), &["-rest=1", "-unsafesqlitesync=1", "-keypool=1", &clock])?)
    }

    /// Mines what was before the story, a block every ten minutes up to this instant, and opens the wallets.
    pub fn open(node: Bitcoind, until: Timestamp) -> Result<BitcoinSide, Failure> {
        let mut side = BitcoinSide {
            node,
            cold_descriptor: String::new(),
            cold: vec![],
            hot: String::new(),
            hot_taproot: String::new(),
            deposits: vec![],
            others: vec![],
            outside: vec![],
        };
        let outside = side.descriptor(&format!("wpkh({}/0/*)", account_key("outside", "84h/1h/0h")?.private))?;
        let change = side.descriptor(&format!("wpkh({}/1/*)", account_key("outside", "84h/1h/0h")?.private))?;
        side.outside = side.addresses(&outside, Some(COLD_ADDRESSES))?;
        let others = side.descriptor(&format!("wpkh({}/0/*)", account_key("others", "84h/1h/0h")?.public))?;
        side.others = side.addresses(&others, Some(OTHERS))?;
        side.mine_history(until)?;
        // From the first block on: what was mined belongs to it.
        let active = |descriptor: &str, internal: bool| json!({ "desc": descriptor, "timestamp": 0, "range": [0, 99], "active": true, "internal": internal });
        side.create_wallet("outside", true, &[active(&outside, false), active(&change, true)])?;
        side.open_hot()?;
        side.open_deposits()?;
        side.open_cold()?;
        Ok(side)
    }

    fn mine_history(&self, until: Timestamp) -> Result<(), Failure> {
        for before in (0..HISTORY_BLOCKS).rev() {
            self.mine(Timestamp::from_unix_s(until.unix_s() - before * super::figures::BITCOIN_BLOCK_S))?;
        }
        Ok(())
    }

    fn open_hot(&mut self) -> Result<(), Failure> {
        let segwit = format!("wpkh({}/0/0)", account_key("hot", "84h/1h/0h")?.private);
        let taproot = format!("tr({}/0/0)", account_key("hot", "86h/1h/0h")?.private);
        let (segwit, taproot) = (self.descriptor(&segwit)?, self.descriptor(&taproot)?);
        self.hot = self.addresses(&segwit, None)?.remove(0);
        self.hot_taproot = self.addresses(&taproot, None)?.remove(0);
        self.create_wallet("hot", true, &[json!({ "desc": segwit, "timestamp": "now" })])?;
        self.create_wallet("hot-taproot", true, &[json!({ "desc": taproot, "timestamp": "now" })])
    }

    fn open_deposits(&mut self) -> Result<(), Failure> {
        let descriptor = self.descriptor(&format!("wpkh({}/0/*)", account_key("deposits", "84h/1h/0h")?.private))?;
        self.deposits = self.addresses(&descriptor, Some(CUSTOMERS))?;
        let import = json!({ "desc": descriptor, "timestamp": "now", "range": [0, CUSTOMERS - 1] });
        self.create_wallet("deposits", true, &[import])
    }

    /// Two of three: a wallet without private keys that writes transactions, and two signers with one key each.
    fn open_cold(&mut self) -> Result<(), Failure> {
        let keys = ["cold one", "cold two", "cold three"].map(|seed| account_key(seed, "48h/1h/0h/2h"));
        let [one, two, three] = keys;
        let (one, two, three) = (one?, two?, three?);
        let multisig = |a: &str, b: &str, c: &str| format!("wsh(sortedmulti(2,{a}/0/*,{b}/0/*,{c}/0/*))");
        let public = self.descriptor(&multisig(&one.public, &two.public, &three.public))?;
        let import =
            |descriptor: &str| json!({ "desc": descriptor, "timestamp": "now", "range": [0, COLD_ADDRESSES - 1] });
        self.cold = self.addresses(&public, Some(COLD_ADDRESSES))?;
        self.create_wallet("cold", false, &[import(&public)])?;
        let first = self.descriptor(&multisig(&one.private, &two.public, &three.public))?;
        self.create_wallet("signer-one", true, &[import(&first)])?;
        let third = self.descriptor(&multisig(&one.public, &two.public, &three.private))?;
        self.create_wallet("signer-three", true, &[import(&third)])?;
        self.cold_descriptor = public;
        Ok(())
    }

    /// Adds the checksum that the node wants.
    fn descriptor(&self, descriptor: &str) -> Result<String, Failure> {
        let info = self.node.call("getdescriptorinfo", json!([descriptor]))?;
        Ok(format!("{descriptor}#{}", text(&info["checksum"])?))
    }

    fn addresses(&self, descriptor: &str, count: Option<u32>) -> Result<Vec<String>, Failure> {
        let params = match count {
            Some(count) => json!([descriptor, [0, count.saturating_sub(1)]]),
            None => json!([descriptor]),
        };
        let addresses = self.node.call("deriveaddresses", params)?;
        addresses.as_array().into_iter().flatten().map(text).collect()
    }

    fn create_wallet(&self, name: &str, with_private_keys: bool, descriptors: &[Value]) -> Result<(), Failure> {
        let create = json!({ "wallet_name": name, "blank": true, "disable_private_keys": !with_private_keys });
        self.node.call("createwallet", create)?;
        let results = self.node.call_wallet(name, "importdescriptors", json!([descriptors]))?;
        let failed = results.as_array().into_iter().flatten().find(|result| result["success"] != json!(true));
        failed.map_or(Ok(()), |result| Err(broken(format!("wallet {name}: {}", result["error"]["message"]))))
    }

    /// Moves the node's clock.
    pub fn clock(&self, now: Timestamp) -> Result<(), Failure> {
        self.node.call("setmocktime", json!([now.unix_s()]))?;
        Ok(())
    }

    /// Mines a block at this instant; the coins go to the world.
    pub fn mine(&self, at: Timestamp) -> Result<(), Failure> {
        self.clock(at)?;
        self.node.call("generatetoaddress", json!([1, self.outside[0]]))?;
        Ok(())
    }

    /// The last block: height and hash.
    pub fn tip(&self) -> Result<(u64, String), Failure> {
        let info = self.node.call("getblockchaininfo", json!([]))?;
        let height = info["blocks"].as_u64().ok_or_else(|| broken("bitcoind names no height"))?;
        Ok((height, text(&info["bestblockhash"])?))
    }

    /// One of the world's addresses.
    pub fn stranger(&self, number: u32) -> &str {
        let number = usize::try_from(number).unwrap_or_default();
        &self.outside[1 + number % (self.outside.len() - 1)]
    }

    /// Pays from somebody in the world.
    pub fn outside_pays(&self, outputs: &[(&str, Amount)]) -> Result<Sent, Failure> {
        self.send("outside", outputs, &self.outside[0])
    }

    /// Pays from the p2wpkh hot wallet, change back to itself.
    pub fn hot_pays(&self, outputs: &[(&str, Amount)]) -> Result<Sent, Failure> {
        self.send("hot", outputs, &self.hot)
    }

    /// Pays from the p2tr hot wallet, change back to itself.
    pub fn hot_taproot_pays(&self, outputs: &[(&str, Amount)]) -> Result<Sent, Failure> {
        self.send("hot-taproot", outputs, &self.hot_taproot)
    }

    fn send(&self, wallet: &str, outputs: &[(&str, Amount)], change: &str) -> Result<Sent, Failure> {
        let params =
            json!({ "outputs": written(outputs), "fee_rate": FEE_RATE, "options": { "change_address": change } });
        let sent = self.node.call_wallet(wallet, "send", params)?;
        self.sent(text(&sent["txid"])?)
    }

    /// Gathers so many deposits on the p2wpkh hot wallet; says how many there were.
    pub fn sweep(&self, count: usize) -> Result<(Sent, usize), Failure> {
        let unspent = self.node.call_wallet("deposits", "listunspent", json!([]))?;
        let output = |one: &Value| json!({ "txid": one["txid"], "vout": one["vout"] });
        let inputs: Vec<_> = unspent.as_array().into_iter().flatten().take(count).map(output).collect();
        let swept = inputs.len();
        let params = json!({ "recipients": [self.hot], "fee_rate": FEE_RATE, "options": { "inputs": inputs } });
        let sent = self.node.call_wallet("deposits", "sendall", params)?;
        Ok((self.sent(text(&sent["txid"])?)?, swept))
    }

    /// Spends from the cold wallet: written by one, signed by two of three, sent.
    pub fn cold_pays(&self, to: &str, amount: Amount, fee: FeeFrom) -> Result<Sent, Failure> {
        let mut options = json!({ "changeAddress": self.cold[0], "fee_rate": FEE_RATE });
        if fee == FeeFrom::Amount {
            options["subtractFeeFromOutputs"] = json!([0]);
        }
        let params = json!({ "outputs": written(&[(to, amount)]), "options": options, "bip32derivs": true });
        let drafted = self.node.call_wallet("cold", "walletcreatefundedpsbt", params)?;
        let mut psbt = text(&drafted["psbt"])?;
        for signer in ["signer-one", "signer-three"] {
            let signed = self.node.call_wallet(signer, "walletprocesspsbt", json!([psbt]))?;
            psbt = text(&signed["psbt"])?;
        }
        let whole = self.node.call("finalizepsbt", json!([psbt]))?;
        let txid = self.node.call("sendrawtransaction", json!([text(&whole["hex"])?]))?;
        self.sent(text(&txid)?)
    }

    fn sent(&self, txid: String) -> Result<Sent, Failure> {
        #[derive(Deserialize)]
        struct Entry<'a> {
            #[serde(borrow)]
            fees: Fees<'a>,
        }
        #[derive(Deserialize)]
        struct Fees<'a> {
            #[serde(borrow)]
            base: &'a RawValue,
        }
        let entry = self.node.call_raw("getmempoolentry", json!([txid]))?;
        let entry: Entry<'_> =
            serde_json::from_str(entry.get()).map_err(|error| broken(format!("getmempoolentry: {error}")))?;
        Ok(Sent { fee: coins(entry.fees.base)?, txid })
    }

    /// Which output of a payment from the world goes to this address.
    pub fn output_to(&self, txid: &str, address: &str) -> Result<u64, Failure> {
        let transaction = self.node.call_wallet("outside", "gettransaction", json!([txid]))?;
        let details = transaction["details"].as_array();
        let pays = |detail: &&Value| detail["address"] == json!(address);
        let vout = details.into_iter().flatten().find(pays).and_then(|detail| detail["vout"].as_u64());
        vout.ok_or_else(|| broken(format!("{txid} does not pay {address}")))
    }

    /// What these addresses hold, as the node's own set of unspent outputs says: an oracle that Assay never asks.
    pub fn unspent(&self, descriptors: &[String]) -> Result<Amount, Failure> {
        #[derive(Deserialize)]
        struct Scan<'a> {
            #[serde(borrow)]
            total_amount: &'a RawValue,
        }
        let scan = self.node.call_raw("scantxoutset", json!(["start", descriptors]))?;
        let scan: Scan<'_> =
            serde_json::from_str(scan.get()).map_err(|error| broken(format!("scantxoutset: {error}")))?;
        coins(scan.total_amount)
    }

    /// The same for everything that the exchange has on this chain.
    pub fn unspent_of_all(&self) -> Result<Amount, Failure> {
        let single = |address: &String| format!("addr({address})");
        let mut all: Vec<String> = self.deposits.iter().map(single).collect();
        all.extend(self.cold.iter().map(single));
        plus(self.unspent(&all)?, self.unspent(&[single(&self.hot), single(&self.hot_taproot)])?)
    }

    /// Where the node answers.
    pub fn rpc_url(&self) -> &str {
        &self.node.rpc_url
    }
}

/// What a node calls itself, such as `/Satoshi:29.0.0/`.
pub fn version(node: &Bitcoind) -> Result<String, Failure> {
    let info = node.call("getnetworkinfo", json!([]))?;
    Ok(text(&info["subversion"])?.trim_matches('/').to_owned())
}

/// A key of somebody in the play, as descriptors have it: with its origin.
struct AccountKey {
    private: String,
    public: String,
}

/// Keys come from words that anyone can read: they are worth nothing outside of this play.
fn account_key(whose: &str, path: &str) -> Result<AccountKey, Failure> {
    let wrong = |error: bitcoin::bip32::Error| broken(format!("the key of {whose}: {error}"));
    let secp = Secp256k1::new();
    let seed = format!("assay demo, not a secret: {whose}");
    let master = Xpriv::new_master(NetworkKind::Test, seed.as_bytes()).map_err(wrong)?;
    let steps: DerivationPath = path.parse().map_err(wrong)?;
    let private = master.derive_priv(&secp, &steps).map_err(wrong)?;
    let origin = format!("[{}/{path}]", master.fingerprint(&secp));
    Ok(AccountKey {
        public: format!("{origin}{}", Xpub::from_priv(&secp, &private)),
        private: format!("{origin}{private}"),
    })
}

fn written(outputs: &[(&str, Amount)]) -> Vec<Value> {
    outputs.iter().map(|(address, amount)| json!({ *address: amount.to_coins(DECIMALS) })).collect()
}

/// An amount as the node wrote it, never through a float.
fn coins(written: &RawValue) -> Result<Amount, Failure> {
    Amount::from_coins(written.get(), DECIMALS).map_err(broken)
}
