//! Items in flight between ledger and chain: withdrawals, deposits, credits.

use assay_types::{Asset, AssetEntry, ChainEntry, Directory, InFlight, Placement, TxId};

use crate::json::{Object, Refused, Value};
use crate::names::{address, chain, hash, lives_on};

/// A withdrawal that may not have left yet: its address is known, its transaction perhaps.
pub(crate) fn withdrawal(value: &Value<'_>, asset: &AssetEntry, directory: &Directory) -> Result<InFlight, Refused> {
    let object = value.object(&["chain", "address", "amount", "txid", "vout", "log_index"])?;
    in_flight(&object, asset, directory, Side::Out)
}

/// A payment to the exchange: its transaction is known.
pub(crate) fn deposit(value: &Value<'_>, asset: &AssetEntry, directory: &Directory) -> Result<InFlight, Refused> {
    let object = value.object(&["chain", "txid", "vout", "log_index", "amount"])?;
    in_flight(&object, asset, directory, Side::In)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    In,
    Out,
}

fn in_flight(object: &Object<'_>, asset: &AssetEntry, directory: &Directory, side: Side) -> Result<InFlight, Refused> {
    let chain = chain(object, directory);
    let amount = object.required("amount").and_then(|value| value.amount(asset.decimals()));
    let chain = chain?;
    let here = lives_on(object, asset, chain);
    let to = match side {
        Side::Out => object.required("address").and_then(|value| address(value, chain)).map(Some),
        Side::In => Ok(None),
    };
    let txid = match side {
        Side::Out => object.optional("txid", |value| hash(value, chain)),
        Side::In => object.required("txid").and_then(|value| hash(value, chain)).map(Some),
    };
    let placement = placement(object, asset, chain, side);
    here?;
    Ok(InFlight {
        field: object.field(),
        chain: chain.id.clone(),
        to: to?,
        txid: txid?.map(TxId),
        placement: placement?,
        amount: amount?,
    })
}

/// `vout` on Bitcoin, where a deposit needs it; `log_index` on EVM chains, where tokens may have it.
fn placement(object: &Object<'_>, asset: &AssetEntry, chain: &ChainEntry, side: Side) -> Result<Placement, Refused> {
    let bitcoin = chain.id.namespace() == "bip122";
    let (key, other) = if bitcoin { ("vout", "log_index") } else { ("log_index", "vout") };
    if let Some(wrong) = object.get(other) {
        let hint = if bitcoin { "name a Bitcoin output by `vout`" } else { "name an EVM log by `log_index`" };
        return Err(wrong.refuse(format!("does not exist on {}", chain.name), Some(hint.into())));
    }
    let Some(value) = object.get(key) else {
        return match bitcoin && side == Side::In {
            true => Err(object.missing(key, "is missing: a Bitcoin deposit is an output of its transaction")),
            false => Ok(Placement::Whole),
        };
    };
    if side == Side::Out && object.get("txid").is_none() {
        return Err(value.refuse("stands without a `txid`", None));
    }
    let mut here = asset.on.iter().filter(|deployment| deployment.chain == chain.id);
    if !bitcoin && here.all(|deployment| deployment.asset == Asset::Native) {
        let why =
            format!("does not exist for {}, the coin of {}: payments of it leave no log", asset.symbol, chain.name);
        return Err(value.refuse(why, Some("leave it out".into())));
    }
    let index = value.number(u64::from(u32::MAX))?;
    Ok(u32::try_from(index).map_or(Placement::Whole, Placement::Index))
}
