//! `assay.statement/1`: one exchange's internal ledger as of an instant.

use std::path::Path;

use assay_types::{
    BlockHash, BlockRef, ChainId, Digest, Directory, Height, InputErrors, Statement, Timestamp, WalletClaim,
};
use foldhash::{HashSet, HashSetExt as _};

use crate::json::{Document, Object, Refused, Value};
use crate::names::{LONGEST_WORD, address, asset, chain, hash, known_chain, lives_on};
use crate::report;

/// What a statement's `format` says.
pub const FORMAT: &str = "assay.statement/1";

/// The largest whole number that every JSON program reads exactly.
const LARGEST_COUNT: u64 = (1 << 53) - 1;

const STATEMENT: [&str; 7] = ["format", "exchange", "sequence", "previous", "as_of", "assets", "wallets"];

/// Parses a statement: exactly, or not at all. `file` is how errors name it; the caller bounds the size of `bytes`.
///
/// # Errors
/// Everything that is wrong in it, each with its line and its field.
pub fn parse(file: &Path, bytes: &[u8], directory: &Directory) -> Result<Statement, InputErrors> {
    let document = Document::new(file, bytes)?;
    let statement = statement(&document.value(), Digest::of(bytes), directory);
    document.finish(statement)
}

fn statement(value: &Value<'_>, digest: Digest, directory: &Directory) -> Result<Statement, Refused> {
    let object = value.object(&STATEMENT)?;
    // Another format has other fields: what it says of them would mislead.
    format(&object)?;
    let exchange = object.required("exchange").and_then(|value| value.text(LONGEST_WORD));
    let sequence = object.optional("sequence", |value| value.number(LARGEST_COUNT));
    let previous = object.optional("previous", previous);
    let as_of = object.required("as_of").and_then(|value| as_of(value, directory));
    let assets = object.required("assets").and_then(|value| report::reports(value, directory));
    let wallets = claims(&object, directory);
    let (as_of, blocks) = as_of?;
    Ok(Statement {
        digest,
        exchange: exchange?,
        sequence: sequence?,
        previous: previous?,
        as_of,
        blocks,
        assets: assets?,
        wallets: wallets?,
    })
}

fn format(object: &Object<'_>) -> Result<(), Refused> {
    let value = object.required("format")?;
    match value.text(LONGEST_WORD)? {
        format if format == FORMAT => Ok(()),
        format => Err(value.refuse(format!("`{format}` is not a known format"), Some(format!("known: `{FORMAT}`")))),
    }
}

fn previous(value: &Value<'_>) -> Result<String, Refused> {
    let text = value.text(LONGEST_WORD)?;
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    if digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(text);
    }
    let why = format!("`{text}` is not a digest: `sha256:` and 64 hexadecimal digits in lower case");
    Err(value.refuse(why, None))
}

fn as_of(value: &Value<'_>, directory: &Directory) -> Result<(Timestamp, Vec<(ChainId, BlockRef)>), Refused> {
    let object = value.object(&["time", "blocks"])?;
    let time = object.required("time").and_then(time);
    let blocks = object.optional("blocks", |value| blocks(value, directory));
    Ok((time?, blocks?.unwrap_or_default()))
}

fn time(value: &Value<'_>) -> Result<Timestamp, Refused> {
    const LONGEST: usize = 40;
    let text = value.text(LONGEST)?;
    match text.parse() {
        Ok(time) if is_rfc3339(&text) => Ok(time),
        _ => {
            let why = format!("`{text}` is not an RFC 3339 time with its offset, such as 2026-02-06T19:00:00+09:00");
            Err(value.refuse(why, None))
        }
    }
}

/// `YYYY-MM-DD?HH:MM:SS[.digits](Z|±HH:MM)`: the parser of times takes more than that, other readers may not.
fn is_rfc3339(text: &str) -> bool {
    let Some((local, rest)) = text.split_at_checked("2026-02-06T19:00:00".len()) else { return false };
    let like = |text: &str, form: &str| {
        text.len() == form.len()
            && text.bytes().zip(form.bytes()).all(|(found, form)| match form {
                b'0' => found.is_ascii_digit(),
                b'T' => matches!(found, b'T' | b't' | b' '),
                b'+' => matches!(found, b'+' | b'-'),
                form => found == form,
            })
    };
    let offset = match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with(|c: char| c.is_ascii_digit()) => {
            fraction.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        Some(_) => return false,
        None => rest,
    };
    like(local, "0000-00-00T00:00:00") && (like(offset, "+00:00") || matches!(offset, "Z" | "z"))
}

fn blocks(value: &Value<'_>, directory: &Directory) -> Result<Vec<(ChainId, BlockRef)>, Refused> {
    let mut named = HashSet::new();
    let by_chain = value.map()?;
    let each = by_chain.members().map(|(name, value)| {
        let chain = known_chain(name, value, directory)?;
        if !named.insert(&chain.id) {
            return Err(value.refuse(format!("names another block of {}", chain.id), None));
        }
        let object = value.object(&["height", "hash"])?;
        let height = object.required("height").and_then(|value| value.number(LARGEST_COUNT));
        let hash = object.required("hash").and_then(|value| hash(value, chain));
        Ok((chain.id.clone(), BlockRef { height: Height(height?), hash: BlockHash(hash?) }))
    });
    let all: Vec<Result<_, Refused>> = each.collect();
    all.into_iter().collect()
}

fn claims(object: &Object<'_>, directory: &Directory) -> Result<Vec<WalletClaim>, Refused> {
    let mut claimed = HashSet::new();
    object.list("wallets", |value| {
        let (claim, on) = claim(&value, directory)?;
        if claimed.insert((on, claim.account.clone())) {
            return Ok(claim);
        }
        Err(value.refuse(format!("{} of {} are claimed already", claim.symbol, claim.address), None))
    })
}

/// A claim, and by which chain and asset of the directory.
fn claim<'d>(value: &Value<'_>, directory: &'d Directory) -> Result<(WalletClaim, (&'d str, &'d str)), Refused> {
    let object = value.object(&["chain", "address", "asset", "claimed"])?;
    let chain = chain(&object, directory);
    let asset = object.required("asset").and_then(|value| asset(value, directory));
    let to = chain.and_then(|chain| address(object.required("address")?, chain));
    let claimed = object.required("claimed").and_then(|value| value.amount(asset?.decimals()));
    let (chain, asset) = (chain?, asset?);
    lives_on(&object, asset, chain)?;
    let (account, address) = to?;
    let claim = WalletClaim {
        field: object.field(),
        chain: chain.id.clone(),
        account,
        address,
        symbol: asset.symbol.clone(),
        claimed: claimed?,
    };
    Ok((claim, (chain.id.as_str(), &asset.symbol)))
}

#[cfg(test)]
mod tests;
