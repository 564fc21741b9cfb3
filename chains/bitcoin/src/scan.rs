//! What scripts hold, from a node's set of unspent outputs: all of it is read through, which takes a minute or more on the main
//! network, however many scripts are asked for. No header commits to the set: what it says is as the node says.

use std::collections::HashMap;

use assay_types::{Account, AccountNo, Amount, Asset, BlockHash, BlockRef, ChainId, Height, NodeError, Reading};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::node::Node;

const SUBJECT: &str = "the unspent outputs";
const DECIMALS: u8 = 8;

/// The part of `scantxoutset` that is used. Amounts are numbers in coins, read digit by digit.
#[derive(Deserialize)]
struct Scan {
    success: bool,
    height: u64,
    bestblock: String,
    unspents: Vec<Unspent>,
    total_amount: Box<RawValue>,
}

#[derive(Deserialize)]
struct Unspent {
    #[serde(rename = "scriptPubKey")]
    script: String,
    amount: Box<RawValue>,
}

/// What these scripts hold after the node's last block, and which block that was.
pub(crate) fn held(
    node: &Node,
    id: &ChainId,
    accounts: &[(AccountNo, Account)],
) -> Result<(BlockRef, Vec<Reading>), NodeError> {
    let descriptors = accounts.iter().map(|(_, script)| format!("raw({})", const_hex::encode(&script.0)));
    let params = [json!("start"), descriptors.collect()];
    let scan: Scan = match node.call_patiently(SUBJECT, "scantxoutset", &params) {
        // Such as "Scan already in progress": nothing that is not there.
        Err(NodeError::Missing { why, .. }) => return Err(node.unreachable(format!("{SUBJECT}: {why}"))),
        answer => answer?,
    };
    let unreadable = |why: &str| node.unreadable(SUBJECT, why.into());
    if !scan.success {
        return Err(node.unreachable(format!("{SUBJECT}: the scan was broken off")));
    }
    let hash = id.parse_hash(&scan.bestblock).map_err(|error| unreadable(&error.to_string()))?;
    let amount = |text: &RawValue| Amount::from_coins(text.get(), DECIMALS).map_err(|why| unreadable(&why.to_string()));
    let mut sums: HashMap<&[u8], Amount> = accounts.iter().map(|(_, script)| (&*script.0, Amount::ZERO)).collect();
    let mut total = Amount::ZERO;
    for unspent in &scan.unspents {
        let script = const_hex::decode(&unspent.script).map_err(|_| unreadable("a script is not hexadecimal"))?;
        let sum = sums.get_mut(&*script).ok_or_else(|| unreadable("it tells of a script that was not asked for"))?;
        let coins = amount(&unspent.amount)?;
        let too_large = || unreadable("amounts above 2^256 - 1");
        *sum = sum.checked_add(coins).ok_or_else(too_large)?;
        total = total.checked_add(coins).ok_or_else(too_large)?;
    }
    if total != amount(&scan.total_amount)? {
        return Err(unreadable("its outputs are not what it says that they come to"));
    }
    let reading = |(account, script): &(AccountNo, Account)| {
        let balance = Ok(sums.get(&*script.0).copied().unwrap_or_default());
        Reading::unproven((*account, Asset::Native), balance)
    };
    let at = BlockRef { height: Height(scan.height), hash: BlockHash(hash) };
    Ok((at, accounts.iter().map(reading).collect()))
}
