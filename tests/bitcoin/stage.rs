//! A regtest with accounts of every type of script, transactions among them, and what the node itself says they hold.

use std::collections::BTreeSet;
use std::sync::Mutex;

use assay_bitcoin::BitcoinAddresses;
use assay_testnodes::Bitcoind;
use assay_types::{Account, Addresses as _, Amount};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::lab::{Lab, REGTEST, bitcoin_chain};

/// A master key that only tests use.
const MASTER: &str =
    "tprv8ZgxMBicQKsPd7Uf69XL1XwhmjHopUGep8GuEiJDZmbQz6o58LninorQAfcKZWARbtRtfnLcJ5MQ2AtHcQJCCRUcMRvmDUjyEmNUWwx8UbK";
/// What our transactions pay to nobody.
const FEE_SAT: u64 = 1_000;
/// A coinbase output can be spent in the block this far above its own.
pub const MATURITY: u64 = 100;

/// The first and the last index of a descriptor with `*`.
type Indices = Option<(u32, u32)>;

/// Descriptors whose coins the node's wallet can spend; `@` stands for the key.
const DESCRIPTORS: [(&str, &str, Indices); 11] = [
    ("p2wpkh", "wpkh(@/0/0)", None),
    ("p2pk", "pk(@/1/0)", None),
    ("p2pkh", "pkh(@/2/0)", None),
    ("p2sh", "sh(multi(1,@/3/0,@/3/1))", None),
    ("p2sh-p2wpkh", "sh(wpkh(@/4/0))", None),
    ("bare multisig", "multi(1,@/5/0,@/5/1)", None),
    ("p2wsh", "wsh(multi(2,@/6/0,@/6/1))", None),
    ("p2sh-p2wsh", "sh(wsh(pk(@/7/0)))", None),
    ("p2tr", "tr(@/8/0)", None),
    ("p2tr with a script", "tr(@/9/0,pk(@/9/1))", None),
    ("2 of 3", "wsh(sortedmulti(2,@/10/*,@/11/*,@/12/*))", Some((0, 2))),
];
/// Scripts that anyone may spend, and one that nobody can: the first coinbase's.
const SCRIPTS: [(&str, &str); 5] = [
    ("OP_TRUE", "51"),
    ("pay to anchor", "51024e73"),
    ("witness version 2", "52200707070707070707070707070707070707070707070707070707070707070707"),
    ("witness version 16", "60020909"),
    (
        "genesis",
        "4104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac",
    ),
];
/// How many of [`Stage::accounts`] the wallet can spend: they come first.
const SIGNABLE: usize = DESCRIPTORS.len() + 2;

/// A node with an economy.
pub struct Stage {
    pub node: Bitcoind,
    pub accounts: Vec<Watched>,
    /// The `[[wallet]]` tables and the lines of CSV that declare them, in the same order.
    declared: Vec<Declaration>,
    scan: Vec<Value>,
    /// What the wallet can spend in the next block, as far as that is known without asking.
    purse: Mutex<Option<Vec<Coin>>>,
    _dir: tempfile::TempDir,
}

/// One followed account.
pub struct Watched {
    pub name: &'static str,
    /// As one asks for it.
    pub address: String,
    /// Its script in hexadecimal.
    pub script: String,
    /// The same as a descriptor, to which the node mines.
    payee: String,
}

enum Declaration {
    Wallet(String),
    Line(String),
}

/// An output that can be spent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coin {
    pub txid: String,
    pub vout: usize,
    pub sat: u64,
    pub script: String,
}

/// A signed transaction.
pub struct Payment {
    pub hex: String,
    txid: String,
    outputs: Vec<(u64, String)>,
}

impl Payment {
    pub fn coin(&self, vout: usize) -> Coin {
        let (sat, script) = self.outputs[vout].clone();
        Coin { txid: self.txid.clone(), vout, sat, script }
    }
}

/// What the node's own set of coins says after a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub height: u64,
    pub hash: String,
    /// Satoshis of each account, and how many of them are immature coinbase.
    pub held: Vec<(u64, u64)>,
    /// What the wallet can spend in the next block, oldest first.
    pub coins: Vec<Coin>,
}

#[derive(Deserialize)]
struct Scan {
    height: u64,
    bestblock: String,
    unspents: Vec<Unspent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unspent {
    txid: String,
    vout: usize,
    script_pub_key: String,
    amount: Box<RawValue>,
    coinbase: bool,
    height: u64,
}

impl Stage {
    /// A chain with nothing but its first block.
    pub fn new() -> Stage {
        Stage::with(&["-rest=1"])
    }

    pub fn with(arguments: &[&str]) -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let node = Bitcoind::start(dir.path(), arguments).unwrap();
        node.call("createwallet", json!({ "wallet_name": "w", "blank": true })).unwrap();
        let mut stage =
            Stage { node, accounts: vec![], declared: vec![], scan: vec![], purse: Mutex::default(), _dir: dir };
        for (name, descriptor, range) in DESCRIPTORS {
            stage.add_descriptor(name, &descriptor.replace('@', MASTER), range);
        }
        for (name, script) in SCRIPTS {
            stage.add_script(name, script);
        }
        stage
    }

    fn add_descriptor(&mut self, name: &'static str, private: &str, range: Indices) {
        let about = self.node.call("getdescriptorinfo", json!([private])).unwrap();
        let (public, checksum) = (about["descriptor"].as_str().unwrap(), about["checksum"].as_str().unwrap());
        let mut import = json!({ "desc": format!("{private}#{checksum}"), "timestamp": "now" });
        let mut scan = json!({ "desc": public });
        let mut wallet = format!("[[wallet]]\nchain = \"bitcoin\"\nrole = \"cold\"\ndescriptor = \"{public}\"\n");
        if let Some((first, last)) = range {
            import["range"] = json!([first, last]);
            scan["range"] = json!([first, last]);
            wallet += &format!("range = [{first}, {last}]\n");
        }
        let imported = self.node.call("importdescriptors", json!([[import]])).unwrap();
        assert_eq!(imported[0]["success"], json!(true), "{imported}");
        for account in addresses().expand(public, range).unwrap() {
            let (address, script) = (addresses().show(&account), hex(&account.0));
            self.accounts.push(Watched { name, address, payee: self.payee(&script), script });
        }
        self.scan.push(scan);
        self.declared.push(Declaration::Wallet(wallet));
    }

    fn add_script(&mut self, name: &'static str, script: &str) {
        let address = addresses().show(&Account(bytes(script).into()));
        let written = if name == "witness version 2" { address.clone() } else { format!("script:{script}") };
        self.scan.push(json!(format!("raw({script})")));
        self.declared.push(Declaration::Line(format!("bitcoin,{written},hot\n")));
        self.accounts.push(Watched { name, address, payee: self.payee(script), script: script.into() });
    }

    /// A folder whose configuration follows this node and declares every account.
    pub fn lab(&self, confirmations: u32) -> Lab {
        let lab = Lab::new();
        lab.write("assay.toml", &bitcoin_chain(&self.node.rpc_url, &self.node.cookie_file, confirmations));
        self.declare(&lab, |_| true);
        lab
    }

    /// The same, reading the node's block files where many blocks are missing.
    pub fn lab_with_files(&self, confirmations: u32) -> Lab {
        let lab = self.lab(confirmations);
        let chain = bitcoin_chain(&self.node.rpc_url, &self.node.cookie_file, confirmations);
        let blocks = self.node.dir.join("regtest/blocks");
        lab.write("assay.toml", &format!("{}\nblocks_dir = \"{}\"\n", chain.trim_end(), blocks.display()));
        lab
    }

    /// Declares those declarations that are chosen by their place: accounts declared together share one.
    pub fn declare(&self, lab: &Lab, chosen: impl Fn(usize) -> bool) {
        let (mut toml, mut csv) = (String::from("id = \"acme\"\n\n"), String::from("chain,address,role\n"));
        for (_, declaration) in self.declared.iter().enumerate().filter(|(nth, _)| chosen(*nth)) {
            match declaration {
                Declaration::Wallet(text) => toml += text,
                Declaration::Line(text) => csv += text,
            }
        }
        lab.write("exchanges/acme/exchange.toml", &toml);
        lab.write("exchanges/acme/scripts.csv", &csv);
    }

    /// The account with this name; of several, the first.
    pub fn script(&self, name: &str) -> String {
        self.accounts.iter().find(|account| account.name == name).unwrap().script.clone()
    }

    pub fn tip(&self) -> u64 {
        self.node.call("getblockcount", json!([])).unwrap().as_u64().unwrap()
    }

    pub fn hash_at(&self, height: u64) -> String {
        self.node.call("getblockhash", json!([height])).unwrap().as_str().unwrap().into()
    }

    /// Mines so many blocks for the first account, with what waits in the mempool.
    pub fn mine(&self, blocks: u64) {
        self.purse.lock().unwrap().take();
        self.node.call("generatetoaddress", json!([blocks, self.accounts[0].address])).unwrap();
    }

    /// Mines one block with exactly these transactions; its coinbase goes to this script.
    pub fn block(&self, coinbase: &str, payments: &[&Payment]) {
        self.purse.lock().unwrap().take();
        let hexes: Vec<&str> = payments.iter().map(|payment| payment.hex.as_str()).collect();
        let payee = &self.accounts.iter().find(|account| account.script == coinbase).unwrap().payee;
        self.node.call("generateblock", json!([payee, hexes])).unwrap();
    }

    fn payee(&self, script: &str) -> String {
        let about = self.node.call("getdescriptorinfo", json!([format!("raw({script})")])).unwrap();
        about["descriptor"].as_str().unwrap().into()
    }

    /// Takes the last blocks off the node's chain.
    pub fn invalidate(&self, blocks: u64) {
        self.purse.lock().unwrap().take();
        let first = self.hash_at(self.tip() + 1 - blocks);
        self.node.call("invalidateblock", json!([first])).unwrap();
    }

    /// A transaction from these coins to these scripts; what is left over is a fee.
    pub fn pay(&self, coins: &[Coin], outputs: Vec<(u64, String)>) -> Payment {
        let raw = raw_transaction(coins, &outputs);
        let known: Vec<Value> = coins.iter().map(known).collect();
        let signed = self.node.call("signrawtransactionwithwallet", json!([raw, known])).unwrap();
        let hex = signed["hex"].as_str().unwrap().to_owned();
        let decoded = self.node.call("decoderawtransaction", json!([hex])).unwrap();
        Payment { hex, txid: decoded["txid"].as_str().unwrap().into(), outputs }
    }

    /// Asks the node for all coins of all accounts: independently of any index, by the descriptors themselves.
    pub fn snapshot(&self) -> Snapshot {
        let answer = self.node.call_raw("scantxoutset", json!(["start", self.scan])).unwrap();
        let scan: Scan = serde_json::from_str(answer.get()).unwrap();
        let mut held = vec![(0, 0); self.accounts.len()];
        let mut coins = vec![];
        for coin in scan.unspents {
            let place = self.accounts.iter().position(|account| account.script == coin.script_pub_key);
            let place = place.unwrap_or_else(|| panic!("the node finds {}, which we do not", coin.script_pub_key));
            let sat = satoshis(coin.amount.get());
            // Its first chance to be spent is in the next block.
            let immature = coin.coinbase && scan.height + 1 < coin.height + MATURITY;
            held[place].0 += sat;
            held[place].1 += if immature { sat } else { 0 };
            if !immature && place < SIGNABLE {
                let (txid, vout, script) = (coin.txid, coin.vout, coin.script_pub_key);
                coins.push((coin.height, Coin { txid, vout, sat, script }));
            }
        }
        coins.sort();
        let coins: Vec<Coin> = coins.into_iter().map(|(_, coin)| coin).collect();
        self.purse.lock().unwrap().replace(coins.clone());
        Snapshot { height: scan.height, hash: scan.bestblock, held, coins }
    }

    /// A block with a few payments among the accounts, each with a second one that spends it within the block.
    pub fn busy_block(&self, random: &mut Random) {
        let purse = self.purse.lock().unwrap().take();
        let mut coins = purse.unwrap_or_else(|| self.snapshot().coins);
        let mut payments = vec![];
        for _ in 0..2 {
            let spendable: Vec<usize> = (0..coins.len()).filter(|nth| coins[*nth].sat > 1_000_000).collect();
            if spendable.is_empty() {
                break;
            }
            let coin = coins.remove(spendable[random.below(spendable.len())]);
            let part = (coin.sat - FEE_SAT) / 4;
            let mut outputs: Vec<_> = (0..4).map(|_| (part, self.any(random, self.accounts.len()))).collect();
            outputs[0].1 = self.any(random, SIGNABLE);
            outputs.push((0, self.any(random, self.accounts.len())));
            let first = self.pay(&[coin], outputs);
            let second = self.pay(&[first.coin(0)], vec![(part - FEE_SAT, self.any(random, self.accounts.len()))]);
            payments.extend([first, second]);
        }
        let coinbase = self.any(random, SIGNABLE);
        self.block(&coinbase, &payments.iter().collect::<Vec<_>>());
        let is_ours = |coin: &Coin| self.accounts[..SIGNABLE].iter().any(|account| account.script == coin.script);
        for pair in payments.chunks(2) {
            coins.extend((1..4).map(|vout| pair[0].coin(vout)).chain([pair[1].coin(0)]).filter(is_ours));
        }
        self.purse.lock().unwrap().replace(coins);
    }

    fn any(&self, random: &mut Random, of: usize) -> String {
        self.accounts[random.below(of)].script.clone()
    }
}

/// The same numbers in every run, from this seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX; its high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn addresses() -> BitcoinAddresses {
    BitcoinAddresses::new(&REGTEST.parse().unwrap()).unwrap()
}

fn satoshis(coins: &str) -> u64 {
    Amount::from_coins(coins, 8).unwrap().to_string().parse().unwrap()
}

fn coins(sat: u64) -> String {
    Amount::from(sat).to_coins(8)
}

fn known(coin: &Coin) -> Value {
    json!({ "txid": coin.txid, "vout": coin.vout, "scriptPubKey": coin.script, "amount": coins(coin.sat) })
}

/// Unsigned; the node's own commands make no outputs without an address.
fn raw_transaction(coins: &[Coin], outputs: &[(u64, String)]) -> String {
    let mut raw = format!("02000000{:02x}", coins.len());
    for coin in coins {
        let mut txid = bytes(&coin.txid);
        txid.reverse();
        raw += &format!("{}{}00ffffffff", hex(&txid), hex(&u32::try_from(coin.vout).unwrap().to_le_bytes()));
    }
    raw += &format!("{:02x}", outputs.len());
    for (sat, script) in outputs {
        raw += &format!("{}{}{script}", hex(&sat.to_le_bytes()), length(script.len() / 2));
    }
    raw + "00000000"
}

fn length(bytes: usize) -> String {
    match u8::try_from(bytes) {
        Ok(short) if short < 0xfd => format!("{short:02x}"),
        _ => format!("fd{}", hex(&u16::try_from(bytes).unwrap().to_le_bytes())),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Every name once, to be sure that nothing is left out.
pub fn names(accounts: &[Watched]) -> BTreeSet<&'static str> {
    accounts.iter().map(|account| account.name).collect()
}
