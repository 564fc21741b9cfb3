//! One exchange on a real bitcoind, before `assay serve`.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, dead_code)]

use assay_testnodes::Bitcoind;
use serde_json::{Value, json};

use crate::lab::{Lab, bitcoin_chain};
use crate::serving::{Answer, Serving};

/// A node, an exchange with one account on it, and a configuration that listens where the system says.
pub struct Scene {
    pub node: Bitcoind,
    pub lab: Lab,
    pub address: String,
    /// The regulator's token, and acme's.
    pub regulator: String,
    pub acme: String,
    _dir: tempfile::TempDir,
}

/// What the account receives with every block, in coins.
pub const SUBSIDY: u64 = 50;

impl Scene {
    pub fn new(blocks: u64) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let node = Bitcoind::start(dir.path(), &[]).unwrap();
        let lab = Lab::new();
        let address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".to_owned();
        let chain = bitcoin_chain(&node.rpc_url, &node.cookie_file, 3);
        let serve = "[serve]\nlisten = \"127.0.0.1:0\"\ntokens_file = \"tokens\"\nintake = \"intake\"\n\n[halt]\nclear_after = \"2s\"\n\n[alerts]\nclear_after = \"2s\"\n";
        lab.write("assay.toml", &format!("{chain}{serve}"));
        let wallet = format!("[[wallet]]\nchain = \"bitcoin\"\nrole = \"cold\"\naddress = \"{address}\"\n");
        lab.write("exchanges/acme/exchange.toml", &format!("id = \"acme\"\nname = \"Acme\"\n\n{wallet}"));
        let regulator = token(&lab, &["watch", "--scope", "regulator"]);
        let acme = token(&lab, &["acme-1", "--scope", "exchange", "--exchange", "acme"]);
        let scene = Scene { node, lab, address, regulator, acme, _dir: dir };
        scene.mine(blocks);
        scene
    }

    pub fn mine(&self, blocks: u64) {
        self.node.call("generatetoaddress", json!([blocks, self.address])).unwrap();
    }

    pub fn serve(&self) -> Serving {
        Serving::start(&self.lab, &self.regulator)
    }

    pub fn height(&self) -> u64 {
        self.node.call("getblockcount", json!([])).unwrap().as_u64().unwrap()
    }

    /// A statement as of now that names the node's last block.
    pub fn statement(&self, sequence: u64, customers: u64) -> String {
        let height = self.height();
        let hash = self.node.call("getblockhash", json!([height])).unwrap();
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let time = assay_time(since_epoch.as_secs());
        json!({
            "format": "assay.statement/1", "exchange": "acme", "sequence": sequence,
            "as_of": { "time": time, "blocks": { "bitcoin": { "height": height, "hash": hash } } },
            "assets": [ { "asset": "BTC", "customers": customers.to_string() } ],
        })
        .to_string()
    }
}

/// Gives a node's blocks to another one; those of a branch are its chain once that is the longer one.
pub fn copy_blocks(from: &Bitcoind, to: &Bitcoind, heights: std::ops::RangeInclusive<u64>) {
    for height in heights {
        let hash = from.call("getblockhash", json!([height])).unwrap();
        let block = from.call("getblock", json!([hash, 0])).unwrap();
        let answer = to.call("submitblock", json!([block])).unwrap();
        assert!(answer.is_null() || answer == "inconclusive", "block {height}: {answer}");
    }
}

pub fn assay_time(seconds: u64) -> String {
    assay_types::Timestamp::from_unix_s(i64::try_from(seconds).unwrap()).to_string()
}

/// Sends a statement as the exchange would.
pub fn submit(serving: &Serving, secret: &str, exchange: &str, statement: &str) -> Answer {
    serving.ask_as(secret, "POST", &format!("/v1/exchanges/{exchange}/statements"), statement.as_bytes())
}

pub fn indexed(serving: &Serving, height: u64) {
    serving.wait("/v1/chains", |chains| chains["chains"][0]["indexed"]["height"] == height);
}

pub fn btc_gate(serving: &Serving) -> Value {
    serving.get("/v1/exchanges/acme/gate")["gates"][0].clone()
}

/// Makes a token, and gives its secret.
pub fn token(lab: &Lab, arguments: &[&str]) -> String {
    let ran = lab.assay(&[&["token", "new"], arguments].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout.trim().to_owned()
}
