//! What a statement names: chains and assets of the directory, accounts, blocks and transactions.

use assay_types::{Account, AssetEntry, ChainEntry, Directory, suggestion};

use crate::json::{Object, Refused, Value};

/// Names are not longer than this, in characters.
pub(crate) const LONGEST_WORD: usize = 200;
/// An address is not longer than `script:` and the hexadecimal digits of the longest script.
const LONGEST_ADDRESS: usize = 20_100;
/// The chain that an object's `chain` names.
pub(crate) fn chain<'d>(object: &Object<'_>, directory: &'d Directory) -> Result<&'d ChainEntry, Refused> {
    let value = object.required("chain")?;
    known_chain(&value.text(LONGEST_WORD)?, value, directory)
}

pub(crate) fn known_chain<'d>(
    name: &str,
    value: &Value<'_>,
    directory: &'d Directory,
) -> Result<&'d ChainEntry, Refused> {
    directory.chain(name).ok_or_else(|| {
        let known = directory.chains.iter().map(|chain| chain.name.as_str());
        value.refuse(format!("`{name}` is not a configured chain"), Some(suggestion(name, known)))
    })
}

/// The asset that a value names.
pub(crate) fn asset<'d>(value: &Value<'_>, directory: &'d Directory) -> Result<&'d AssetEntry, Refused> {
    let name = value.text(LONGEST_WORD)?;
    directory.asset(&name).ok_or_else(|| {
        let known = directory.assets.iter().map(|asset| asset.symbol.as_str());
        let why = format!("`{name}` is not an asset of the configured chains");
        value.refuse(why, Some(suggestion(&name, known)))
    })
}

/// The account that a value names on this chain, with its text as written.
pub(crate) fn address(value: &Value<'_>, chain: &ChainEntry) -> Result<(Account, String), Refused> {
    let text = value.text(LONGEST_ADDRESS)?;
    match chain.addresses.parse(&text) {
        Ok(account) => Ok((account, text)),
        Err(why) => Err(value.refuse(why, None)),
    }
}

/// A block's or transaction's hash as this chain writes it.
pub(crate) fn hash(value: &Value<'_>, chain: &ChainEntry) -> Result<[u8; 32], Refused> {
    chain.id.parse_hash(&value.text(LONGEST_WORD)?).map_err(|error| value.refuse(error, None))
}

/// An asset is somewhere on the chain that an object names.
pub(crate) fn lives_on(object: &Object<'_>, asset: &AssetEntry, chain: &ChainEntry) -> Result<(), Refused> {
    if asset.on.iter().any(|deployment| deployment.chain == chain.id) {
        return Ok(());
    }
    let chains: Vec<&str> = asset.on.iter().map(|deployment| deployment.chain.as_str()).collect();
    let why = format!("{} is not known on {}", asset.symbol, chain.name);
    Err(object.required("chain")?.refuse(why, Some(format!("it is on {}", chains.join(", ")))))
}
