//! What a statement says of one asset.

use std::collections::HashSet;

use assay_types::{Amount, AssetReport, Directory, Elsewhere, ElsewhereKind, Flows, Volume, suggestion};

use crate::flight::{deposit, withdrawal};
use crate::json::{Object, Refused, Value};
use crate::names::{LONGEST_WORD, asset};

const REPORT: [&str; 11] = [
    "asset",
    "customers",
    "house",
    "negative",
    "pending_withdrawals",
    "uncredited_deposits",
    "unconfirmed_credits",
    "elsewhere",
    "flows",
    "inventory",
    "volume",
];
const FLOWS: [&str; 5] = ["deposits", "withdrawals", "rewards", "fees", "corrections"];
const KINDS: [(&str, ElsewhereKind); 5] = [
    ("custodian", ElsewhereKind::Custodian),
    ("staked", ElsewhereKind::Staked),
    ("lent", ElsewhereKind::Lent),
    ("other-chain", ElsewhereKind::OtherChain),
    ("in-transit", ElsewhereKind::InTransit),
];

/// The reports of `assets`: at least one, since a statement about no asset would be called backed for saying nothing.
pub(crate) fn reports(value: &Value<'_>, directory: &Directory) -> Result<Vec<AssetReport>, Refused> {
    let mut reported = HashSet::new();
    let reports = value.list(|value| {
        let report = report(&value, directory)?;
        if reported.insert(report.symbol.clone()) {
            return Ok(report);
        }
        Err(value.refuse(format!("{} is reported already", report.symbol), Some("report each asset once".into())))
    })?;
    if reports.is_empty() {
        let hint = "report every asset that customers can hold, with zero where nothing is owed";
        return Err(value.refuse("names no asset", Some(hint.into())));
    }
    Ok(reports)
}

fn report(value: &Value<'_>, directory: &Directory) -> Result<AssetReport, Refused> {
    let object = value.object(&REPORT)?;
    let asset = asset(object.required("asset")?, directory)?;
    let decimals = asset.decimals();
    let amount = |value: &Value<'_>| value.amount(decimals);
    let customers = object.required("customers").and_then(amount);
    let house = object.optional("house", amount);
    let negative = object.optional("negative", amount);
    let withdrawals = object.list("pending_withdrawals", |value| withdrawal(&value, asset, directory));
    let deposits = object.list("uncredited_deposits", |value| deposit(&value, asset, directory));
    let credits = object.list("unconfirmed_credits", |value| deposit(&value, asset, directory));
    let elsewhere = object.list("elsewhere", |value| elsewhere(&value, decimals));
    let flows = object.optional("flows", |value| flows(value, decimals));
    let inventory = object.optional("inventory", amount);
    let volume = volumes(&object, decimals);
    Ok(AssetReport {
        symbol: asset.symbol.clone(),
        decimals,
        customers: customers?,
        house: house?,
        negative: negative?.unwrap_or(Amount::ZERO),
        pending_withdrawals: withdrawals?,
        uncredited_deposits: deposits?,
        unconfirmed_credits: credits?,
        elsewhere: elsewhere?,
        flows: flows?,
        inventory: inventory?,
        volume: volume?,
    })
}

fn elsewhere(value: &Value<'_>, decimals: u8) -> Result<Elsewhere, Refused> {
    const LONGEST_TEXT: usize = 4000;
    let object = value.object(&["kind", "name", "amount", "attestation"])?;
    let kind = object.required("kind").and_then(kind);
    let name = object.optional("name", |value| value.text(LONGEST_TEXT));
    let amount = object.required("amount").and_then(|value| value.amount(decimals));
    let attestation = object.optional("attestation", |value| value.text(LONGEST_TEXT));
    Ok(Elsewhere { kind: kind?, name: name?, amount: amount?, attestation: attestation? })
}

fn kind(value: &Value<'_>) -> Result<ElsewhereKind, Refused> {
    let text = value.text(LONGEST_WORD)?;
    KINDS.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind).ok_or_else(|| {
        let hint = suggestion(&text, KINDS.iter().map(|(name, _)| *name));
        value.refuse(format!("`{text}` is not a known kind"), Some(hint))
    })
}

fn flows(value: &Value<'_>, decimals: u8) -> Result<Flows, Refused> {
    let object = value.object(&FLOWS)?;
    let [deposits, withdrawals, rewards, fees, corrections] =
        FLOWS.map(|key| object.optional(key, |value| value.amount(decimals)));
    Ok(Flows {
        deposits: deposits?,
        withdrawals: withdrawals?,
        rewards: rewards?,
        fees: fees?,
        corrections: corrections?,
    })
}

fn volumes(object: &Object<'_>, decimals: u8) -> Result<Vec<Volume>, Refused> {
    let mut windows = HashSet::new();
    object.list("volume", |value| {
        let object = value.object(&["window", "traded"])?;
        let window = object.required("window").and_then(window);
        let traded = object.required("traded").and_then(|value| value.amount(decimals));
        let volume = Volume { window: window?, traded: traded? };
        if windows.insert(volume.window.clone()) {
            return Ok(volume);
        }
        Err(value.refuse(format!("the window `{}` is there already", volume.window), None))
    })
}

fn window(value: &Value<'_>) -> Result<String, Refused> {
    const MOST_DIGITS: usize = 6;
    let text = value.text(LONGEST_WORD)?;
    let digits = text.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or_default();
    let counts = (1..=MOST_DIGITS).contains(&digits.len()) && !digits.starts_with('0');
    if counts && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(text);
    }
    let why = format!("`{text}` is not a window: a number of seconds, minutes, hours or days, such as `1h`");
    Err(value.refuse(why, None))
}
