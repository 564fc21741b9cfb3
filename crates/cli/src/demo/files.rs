//! The files that an operator of Assay would have: its configuration, and what the exchange declares.

use std::path::PathBuf;

use super::ethereum;
use super::figures::COLD_ADDRESSES;
use super::stage::Stage;
use crate::failure::Failure;

/// Writes them; gives the configuration's path. `port`: of the pages; with 0 the system picks one.
pub fn write(stage: &Stage, port: u16) -> Result<PathBuf, Failure> {
    let (bitcoin, evm) = (&stage.bitcoin, &stage.evm);
    stage.write("exchanges/acme/exchange.toml", exchange(stage))?;
    for other in &stage.others {
        stage.write(&format!("exchanges/{}/exchange.toml", other.id), other.declaration())?;
    }
    let header = "chain,address,role\n".to_owned();
    let rows = bitcoin.deposits.iter().map(|address| format!("bitcoin,{address},deposit\n"));
    stage.write("exchanges/acme/bitcoin-deposits.csv", header.clone() + &rows.collect::<String>())?;
    let rows = evm.deposits().iter().map(|address| format!("ethereum,{address},deposit\n"));
    stage.write("exchanges/acme/ethereum-deposits.csv", header + &rows.collect::<String>())?;
    stage.write("assay.toml", configuration(stage, port))
}

fn configuration(stage: &Stage, port: u16) -> String {
    format!(
        r#"# The demo's own configuration, for this run's nodes.
data_dir = "assay-data"
exchanges = "exchanges"
timezone = "Asia/Seoul"

[[chain]]
name = "bitcoin"
id = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328"      # regtest
finality = {{ confirmations = 6 }}
[[chain.node]]
rpc = "{bitcoin}"
cookie_file = "bitcoind/regtest/.cookie"

[[chain]]
name = "ethereum"
id = "{chain_id}"
start = {start}
finality = {{ tag = "finalized" }}
[[chain.node]]
rpc = "{evm}"

[[asset]]
symbol = "USDX"
on = [ {{ id = "{chain_id}/erc20:{token}", decimals = 6 }} ]

[policy]
max_statement_age = "5m"

[serve]
listen = "127.0.0.1:{port}"
"#,
        bitcoin = stage.bitcoin.rpc_url(),
        evm = stage.evm.rpc_url(),
        chain_id = ethereum::CHAIN_ID,
        start = ethereum::START,
        token = stage.evm.token,
    )
}

fn exchange(stage: &Stage) -> String {
    let (bitcoin, evm) = (&stage.bitcoin, &stage.evm);
    let wallet = |chain: &str, role: &str, address: &str| {
        format!("\n[[wallet]]\nchain = \"{chain}\"\nrole = \"{role}\"\naddress = \"{address}\"\n")
    };
    let cold = format!(
        "\n[[wallet]]\nchain = \"bitcoin\"\nrole = \"cold\"\ndescriptor = \"{}\"\nrange = [0, {}]\n",
        bitcoin.cold_descriptor,
        COLD_ADDRESSES - 1
    );
    let wallets = [
        cold,
        wallet("bitcoin", "hot", &bitcoin.hot),
        wallet("bitcoin", "hot", &bitcoin.hot_taproot),
        wallet("ethereum", "hot", evm.hot()),
        wallet("ethereum", "cold", evm.cold()),
    ];
    format!("id = \"acme\"\nname = \"Acme\"\n{}", wallets.concat())
}
