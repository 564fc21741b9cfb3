//! The deposit addresses that an exchange really declared, all at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr as _;

use assay_testnodes::Bitcoind;
use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Network};
use serde_json::{Value, json};

use crate::lab::{Lab, bitcoin_chain};

const FILE: &str = "bitmex-763269-addresses.txt.gz";
/// Each of so many gets coins, once or twice.
const PAID: usize = 900;

/// The published addresses; nothing, and a word about it, where they are not at hand.
fn published() -> Option<Vec<String>> {
    let folder = std::env::var_os("ASSAY_SHARED_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let file = folder.join(FILE);
    if !file.exists() {
        eprintln!("SKIPPED: {FILE} is neither in ../shared/data nor in ASSAY_SHARED_DATA");
        return None;
    }
    let unpacked = Command::new("gzip").arg("-dc").arg(file).output().unwrap();
    assert!(unpacked.status.success());
    Some(String::from_utf8(unpacked.stdout).unwrap().lines().map(Into::into).collect())
}

/// The same script, as regtest writes its address.
fn on_regtest(address: &str) -> String {
    let address = Address::<NetworkUnchecked>::from_str(address).unwrap().require_network(Network::Bitcoin).unwrap();
    Address::from_script(&address.script_pubkey(), Network::Regtest).unwrap().to_string()
}

#[test]
fn what_an_exchange_with_hundreds_of_thousands_of_addresses_declared_is_indexed() {
    let Some(addresses) = published() else { return };
    assert_eq!(addresses.len(), 336_208);
    let addresses: Vec<String> = addresses.iter().map(|address| on_regtest(address)).collect();
    let folder = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(folder.path(), &["-rest=1", "-fallbackfee=0.0001"]).unwrap();
    node.call("createwallet", json!(["payer"])).unwrap();
    let payer: String = serde_json::from_value(node.call("getnewaddress", json!([])).unwrap()).unwrap();
    node.call("generatetoaddress", json!([110, payer])).unwrap();
    let mut held: BTreeMap<&str, u64> = BTreeMap::new();
    let step = addresses.len() / PAID;
    for round in 0..3_usize {
        let mut outputs = serde_json::Map::new();
        for (nth, address) in addresses.iter().step_by(step).enumerate().filter(|(nth, _)| nth % 3 != round) {
            let sat = 10_000 + u64::try_from(1_000 * round + nth).unwrap();
            outputs.insert(address.clone(), Value::from_str(&format!("0.{sat:08}")).unwrap());
            *held.entry(address).or_default() += sat;
        }
        node.call("sendmany", json!(["", outputs])).unwrap();
        node.call("generatetoaddress", json!([2, payer])).unwrap();
    }
    let lab = Lab::new();
    let chain = bitcoin_chain(&node.rpc_url, &node.cookie_file, 6);
    let blocks = folder.path().join("regtest/blocks");
    lab.write("assay.toml", &format!("{}\nblocks_dir = \"{}\"\n", chain.trim_end(), blocks.display()));
    lab.write("exchanges/acme/exchange.toml", "id = \"acme\"\n");
    let lines: String = addresses.iter().map(|address| format!("bitcoin,{address},deposit\n")).collect();
    lab.write("exchanges/acme/accounts.csv", &format!("chain,address,role\n{lines}"));
    lab.index();
    let holdings = lab.json(&["holdings", "acme"], 0);
    assert_eq!(holdings["holdings"][0]["units"], json!(held.values().sum::<u64>().to_string()), "{holdings}");
    let unpaid = [addresses[1].as_str(), addresses[addresses.len() - 1].as_str()].map(|address| (address, 0));
    for (address, sat) in held.iter().step_by(40).map(|(address, sat)| (*address, *sat)).chain(unpaid) {
        let answer = lab.json(&["balance", address, "--chain", "bitcoin"], 0);
        assert_eq!((&answer["units"], &answer["coverage"]), (&json!(sat.to_string()), &json!("verified")), "{answer}");
    }
    assert_eq!(lab.assay(&["check", "--deep"]).code, 0);
}
