//! Prices, read once from where the configuration says.

use std::path::Path;

use assay_http::{Endpoint, Login, wait};
use assay_registry::{Prices, read_text};
use assay_types::Timestamp;

use crate::config::{PricesConfig, PricesFrom};
use crate::failure::{Failure, UNKNOWN, WRONG_INPUT};
use crate::setup::url;
use assay_desk::clock;

/// The prices, with the time that they are of: when their file was written, or when they were asked for.
pub fn read(config: &PricesConfig) -> Result<Prices, Failure> {
    let parse = |label: &Path, text: &str, fetched_at: Timestamp| -> Result<Prices, Failure> {
        let good_until = Timestamp::from_unix_s(fetched_at.unix_s().saturating_add(config.max_age_s));
        Ok(Prices::read(label, text, &config.currency, fetched_at, good_until)?)
    };
    match &config.from {
        PricesFrom::File(file) => {
            let text = read_text(file, Prices::LONGEST_BYTES)?;
            let written_at = std::fs::metadata(file)?.modified()?.duration_since(std::time::UNIX_EPOCH);
            let seconds = i64::try_from(written_at.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
            parse(file, &text, Timestamp::from_unix_s(seconds))
        }
        PricesFrom::Url(address) => {
            let endpoint = Endpoint::new(&url(address)?, Login::None);
            let endpoint = endpoint.map_err(|error| Failure::new(WRONG_INPUT, error).during("prices"))?;
            let fetched_at = clock::now();
            let shown = endpoint.shown();
            let failed = |why: String| Failure::new(UNKNOWN, why).during(format!("prices from {shown}"));
            let longest = usize::try_from(Prices::LONGEST_BYTES).unwrap_or(usize::MAX);
            let answer = wait(endpoint.read(longest)).map_err(|error| failed(error.to_string()))?;
            if answer.status != 200 {
                return Err(failed(format!("HTTP status {}", answer.status)));
            }
            let text = String::from_utf8(answer.body).map_err(|_| failed("is not UTF-8".into()))?;
            parse(Path::new(&format!("prices from {shown}")), &text, fetched_at)
        }
    }
}
