//! `assay proof check`: what proofs that Assay handed out show, without a node, a store or a configuration.

use std::path::Path;

use assay_evm::EvmAddresses;
use assay_types::{Addresses as _, Asset, InputError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::failure::{Failure, INTEGRITY};
use crate::output;

/// As many proofs as are kept of 5,000 accounts in ten assets fit.
const LONGEST_BYTES: u64 = 1 << 30;

/// `proof` as `assay balance --proof --json` has it, `proofs` as `assay verify --proofs`.
#[derive(Deserialize)]
struct Document {
    proof: Option<Box<RawValue>>,
    #[serde(default)]
    proofs: Vec<Box<RawValue>>,
}

/// What is said of a balance beside the proof of it.
#[derive(Deserialize, Serialize)]
struct Claim {
    address: String,
    asset: String,
    units: String,
    at: At,
}

#[derive(Deserialize, Serialize)]
struct At {
    height: u64,
    hash: String,
    time: String,
}

pub fn check(file: &Path, as_json: bool) -> Result<u8, Failure> {
    let bytes = assay_registry::read_bytes(file, LONGEST_BYTES)?;
    let unreadable = |error: serde_json::Error| InputError::new(file, error);
    let Document { proof, proofs } = serde_json::from_slice(&bytes).map_err(unreadable)?;
    let mut proven: Vec<Claim> = Vec::with_capacity(proofs.len());
    for proof in proof.iter().chain(&proofs) {
        let claim: Claim = serde_json::from_str(proof.get()).map_err(unreadable)?;
        let refused = |why: String| {
            let Claim { address, asset, at, .. } = &claim;
            Failure::new(INTEGRITY, format!("the proof of {address} in {asset} at block {}: {why}", at.height))
        };
        holds(&claim, proof.get()).map_err(refused)?;
        proven.push(claim);
    }
    if proven.is_empty() {
        return Err(InputError::new(file, "there is no proof in it").hint("see: assay help balance").into());
    }
    if as_json {
        output::document(&json!({ "proven": proven }));
        return Ok(0);
    }
    let rows = proven
        .into_iter()
        .map(|Claim { address, asset, units, at }| vec![address, asset, units, at.height.to_string(), at.hash]);
    output::data(output::table(&["address", "asset", "units", "block", "hash"], &["units", "block"], rows).to_string());
    output::message("proven for blocks with these hashes: whether they are on the chain, ask whomever you trust");
    Ok(0)
}

/// Does the proof show what is said? Else why not.
fn holds(claim: &Claim, proof: &str) -> Result<(), String> {
    let Claim { address, asset, units, at } = claim;
    let (chain, asset) = Asset::parse_caip19(asset).map_err(|error| error.to_string())?;
    if chain.namespace() != "eip155" {
        return Err(format!("of {chain} nothing is proven to others"));
    }
    let proven = EvmAddresses.check_proof(proof, &EvmAddresses.parse(address)?, asset)?;
    let (height, hash, time) = (proven.at.height.0, chain.show_hash(&proven.at.hash.0), proven.time.to_string());
    if (height, &hash, &time) != (at.height, &at.hash, &at.time) {
        return Err(format!("it is of block {height} {hash} of {time}"));
    }
    let balance = proven.balance.to_string();
    if balance == *units { Ok(()) } else { Err(format!("it proves {balance} units, not {units}")) }
}
