//! `[prices]`: where they come from, and for how long they are good.

use std::path::{Path, PathBuf};

use assay_registry::Source;
use assay_types::{InputError, InputErrors};
use assay_verifier::Age;
use serde::Deserialize;
use toml::Spanned;

use super::{Address, resolve};

/// `[prices]`, its paths resolved.
#[derive(Clone, PartialEq, Eq)]
pub struct PricesConfig {
    pub from: PricesFrom,
    pub currency: String,
    /// How often a URL is asked.
    pub every_s: u64,
    /// How long after they were had they are relied upon.
    pub max_age_s: i64,
}

/// Where prices come from.
#[derive(Clone, PartialEq, Eq)]
pub enum PricesFrom {
    File(PathBuf),
    Url(Address),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PricesBlock {
    file: Option<PathBuf>,
    url: Option<Spanned<String>>,
    url_file: Option<PathBuf>,
    currency: Spanned<String>,
    every: Option<Spanned<Age>>,
    max_age: Option<Age>,
}

const EVERY_S: u64 = 3600;
const MAX_AGE_S: u64 = 2 * 86_400;

/// Reads the table; what is wrong in it goes to `errors`.
pub fn read(
    source: &Source<'_>,
    folder: &Path,
    block: Option<Spanned<PricesBlock>>,
    errors: &mut InputErrors,
) -> Option<PricesConfig> {
    let block = block?;
    let at = block.span().start;
    let PricesBlock { file, url, url_file, currency, every, max_age } = block.into_inner();
    let from = from(source, folder, at, (file, url, url_file)).map_err(|error| errors.push(error)).ok();
    let is_name = |name: &str| (1..=10).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_name(currency.get_ref()) {
        let why = format!("`{}` is not the name of a currency", currency.get_ref());
        errors.push(source.error(currency.span().start, why).field("prices.currency").hint("such as \"KRW\""));
    }
    if let Some(every) = every.as_ref().filter(|every| every.get_ref().seconds == 0) {
        errors.push(source.error(every.span().start, "must be a second at least").field("prices.every"));
    }
    let every_s = every.map_or(EVERY_S, |every| every.get_ref().seconds).max(1);
    let max_age_s = i64::try_from(max_age.map_or(MAX_AGE_S, |age| age.seconds)).unwrap_or(i64::MAX);
    Some(PricesConfig { from: from?, currency: currency.into_inner(), every_s, max_age_s })
}

type Written = (Option<PathBuf>, Option<Spanned<String>>, Option<PathBuf>);

fn from(source: &Source<'_>, folder: &Path, at: usize, written: Written) -> Result<PricesFrom, InputError> {
    match written {
        (Some(file), None, None) => Ok(PricesFrom::File(resolve(folder, &file))),
        (None, None, Some(file)) => Ok(PricesFrom::Url(Address::File(resolve(folder, &file)))),
        (None, Some(url), None) => {
            assay_http::check_url(url.get_ref()).map_err(|error| {
                let error = source.error(url.span().start, error).field("prices.url");
                error.hint("write it as https://prices.example/daily.csv")
            })?;
            Ok(PricesFrom::Url(Address::Url(url.into_inner())))
        }
        _ => {
            let error = source.error(at, "one of file, url and url_file says where prices come from").field("prices");
            Err(error.hint("file = \"prices.csv\""))
        }
    }
}
