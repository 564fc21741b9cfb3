//! Two other exchanges: what they owe is there. One reports each minute; the other has fallen silent before the end of the story.

use assay_types::{Amount, Timestamp};
use serde_json::json;

use super::bitcoin::{self, BitcoinSide};
use super::book::minus;
use super::ethereum::{self, EvmSide};
use super::figures::{btc_milli, eth_milli, usdx};
use crate::failure::Failure;

/// An exchange with one account on each chain.
pub struct Other {
    /// Its id.
    pub id: &'static str,
    name: &'static str,
    bitcoin: String,
    evm: &'static str,
    assets: [Held; 3],
    /// From then on it reports nothing more.
    pub silent_from: Option<Timestamp>,
    sequence: u64,
}

struct Held {
    symbol: &'static str,
    decimals: u8,
    held: Amount,
    customers: Amount,
}

impl Other {
    /// Both of them.
    pub fn all(side: &BitcoinSide, silent_from: Timestamp) -> Vec<Other> {
        let held = |symbol, decimals, held, customers| Held { symbol, decimals, held, customers };
        let one = |place: usize, id, name, evm, assets| Other {
            id,
            name,
            bitcoin: side.others[place].clone(),
            evm,
            assets,
            silent_from: None,
            sequence: 0,
        };
        let borealis = [
            held("BTC", 8, btc_milli(612_450), btc_milli(603_720)),
            held("ETH", 18, eth_milli(5_061_400), eth_milli(5_000_000)),
            held("USDX", 6, usdx(9_120_000), usdx(9_112_300)),
        ];
        let cinder = [
            held("BTC", 8, btc_milli(148_207), btc_milli(148_180)),
            held("ETH", 18, eth_milli(910_000), eth_milli(884_250)),
            held("USDX", 6, usdx(1_300_000), usdx(1_295_000)),
        ];
        let cinder = one(1, "cinder", "Cinder", "0xc14de5c14de5c14de5c14de5c14de5c14de5c14d", cinder);
        vec![
            one(0, "borealis", "Borealis", "0xb05ea115b05ea115b05ea115b05ea115b05ea115", borealis),
            Other { silent_from: Some(silent_from), ..cinder },
        ]
    }

    /// What it declares.
    pub fn declaration(&self) -> String {
        let wallet = |chain: &str, address: &str| {
            format!("\n[[wallet]]\nchain = \"{chain}\"\nrole = \"cold\"\naddress = \"{address}\"\n")
        };
        let wallets = wallet(bitcoin::CHAIN, &self.bitcoin) + &wallet(ethereum::CHAIN, self.evm);
        format!("id = \"{}\"\nname = \"{}\"\n{wallets}", self.id, self.name)
    }

    /// Its coins come from somebody in the world.
    pub fn fund(&self, bitcoin: &BitcoinSide, evm: &EvmSide) -> Result<(), Failure> {
        let [btc, eth, token] = &self.assets;
        bitcoin.outside_pays(&[(&self.bitcoin, btc.held)])?;
        evm.outside_pays(self.evm, eth.held)?;
        evm.outside_pays_token(self.evm, token.held)?;
        Ok(())
    }

    /// Its next statement, as of this instant; nothing once it has fallen silent.
    pub fn statement(&mut self, as_of: Timestamp) -> Result<Option<Vec<u8>>, Failure> {
        if self.silent_from.is_some_and(|silent| as_of > silent) {
            return Ok(None);
        }
        self.sequence += 1;
        let report = |one: &Held| {
            let house = minus(one.held, one.customers)?;
            let coins = |amount: Amount| amount.to_coins(one.decimals);
            Ok(json!({ "asset": one.symbol, "customers": coins(one.customers), "house": coins(house) }))
        };
        let assets = self.assets.iter().map(report).collect::<Result<Vec<_>, Failure>>()?;
        let statement = json!({
            "format": "assay.statement/1",
            "exchange": self.id,
            "sequence": self.sequence,
            "as_of": { "time": as_of.to_string() },
            "assets": assets,
        });
        Ok(Some(statement.to_string().into_bytes()))
    }
}
