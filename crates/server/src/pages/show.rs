//! How amounts and times are shown: short to read, exact on hover and on copy. Nothing is rounded up.

use std::fmt::{self, Display};

use assay_types::Timestamp;
use assay_verifier::{Coins, Interval, SignedCoins, Verdict};

use super::words::Words;

/// Digits after the point that are read.
const READ: usize = 4;
/// And where nothing stands before it.
const READ_BELOW_ONE: usize = 8;

/// An amount as HTML. What is cut off is on hover and in the element's value.
pub(super) fn amount(coins: &Coins, unit: &str) -> Html {
    number(&coins.grouped(), &coins.to_string(), unit)
}

/// The same of one that may be below zero.
pub(super) fn signed(coins: &SignedCoins, unit: &str) -> Html {
    let sign = if coins.negative { "−" } else { "" };
    number(&format!("{sign}{}", coins.magnitude.grouped()), &coins.to_string(), unit)
}

fn number(grouped: &str, exact: &str, unit: &str) -> Html {
    let (whole, fraction) = cut(grouped);
    let unit = escaped(unit);
    Html(format!(r#"<data value="{exact}" title="{grouped} {unit}">{whole}<i>{fraction}</i></data>"#))
}

/// An exact amount that is there as text, whole.
pub(super) fn exact(plain: &str, unit: &str) -> Html {
    let grouped = grouped(plain);
    let (plain, unit) = (escaped(plain), escaped(unit));
    Html(format!(r#"<data value="{plain}" title="{grouped} {unit}">{grouped}</data>"#))
}

/// Digits with commas between thousands; what is no number stays as it is.
pub(super) fn grouped(plain: &str) -> String {
    let (whole, fraction) =
        plain.split_once('.').map_or((plain, String::new()), |(whole, rest)| (whole, format!(".{rest}")));
    match whole.parse().ok().filter(|_| whole.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(whole) => Coins::new(assay_types::Amount(whole), 0).grouped() + &fraction,
        None => escaped(plain).0,
    }
}

/// Before the point, and from it on as far as it is read. Dots say that there is more.
fn cut(grouped: &str) -> (&str, String) {
    let Some((whole, fraction)) = grouped.split_once('.') else { return (grouped, String::new()) };
    let read = if whole.trim_start_matches('−') == "0" { READ_BELOW_ONE } else { READ };
    match fraction.get(..read).filter(|_| fraction.len() > read) {
        Some(read) => (whole, format!(".{read}…")),
        None => (whole, format!(".{fraction}")),
    }
}

/// A whole number with commas between thousands.
pub(super) fn count(number: u64) -> String {
    Coins::new(assay_types::Amount::from(number), 0).grouped()
}

/// An instant; the browser shows it in local time.
pub(super) fn time(at: Timestamp) -> Html {
    Html(format!(r#"<time datetime="{at}">{at}</time>"#))
}

/// How long ago; the browser counts on.
pub(super) fn age(at: Timestamp, now: Timestamp) -> Html {
    Html(format!(r#"<time datetime="{at}" title="{at}" data-age>{}</time>"#, lasting(now.seconds_since(at))))
}

/// So many seconds, to read.
pub(super) fn lasting(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A verdict's word, and its mark: the marks differ in shape.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Short => "short",
        Verdict::Indeterminate => "indeterminate",
        Verdict::Backed => "backed",
    }
}

/// The worse, the higher.
pub(super) fn order(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Backed => 0,
        Verdict::Indeterminate => 1,
        Verdict::Short => 2,
    }
}

pub(super) fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Short => "■",
        Verdict::Indeterminate => "◪",
        Verdict::Backed => "□",
    }
}

/// A verdict with its mark, in words.
pub(super) fn verdict(verdict: Verdict, words: &Words) -> Html {
    let (class, mark) = (word(verdict), mark(verdict));
    Html(format!(
        r#"<span class="{class}"><span class="m" aria-hidden="true">{mark}</span>{}</span>"#,
        words.say(class)
    ))
}

/// Text for a path's segment.
pub(super) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            let _ = write!(all, "%{byte:02X}"); // a String takes everything
        }
        all
    })
}

/// HTML that was made here.
#[derive(Debug, Clone, Default)]
pub(super) struct Html(pub(super) String);

impl Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Html {}

/// Any text as HTML, within an element or an attribute.
pub(super) fn escaped(text: &str) -> Html {
    let one = |all: String, (sign, written)| all.replace(sign, written);
    Html([('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;")].into_iter().fold(text.to_owned(), one))
}

/// What to do first, with the commands as they are to be typed.
pub(super) fn steps(text: &str, exchange: &str, asset: Option<&str>) -> Html {
    let text = text.replace("EXCHANGE", exchange).replace("ASSET", asset.unwrap_or("ASSET"));
    let part = |(nth, part): (usize, &str)| match nth % 2 {
        0 => escaped(part).0,
        _ => format!("<code>{}</code>", escaped(part)),
    };
    Html(text.split('`').enumerate().map(part).collect())
}

/// Where an exchange's page is.
pub(super) fn exchange_page(exchange: &str) -> String {
    format!("/exchanges/{}", segment(exchange))
}

/// Where the page of one of its assets is.
pub(super) fn asset_page(exchange: &str, asset: &str) -> String {
    format!("{}/assets/{}", exchange_page(exchange), segment(asset))
}

/// Holdings as an interval, where they are one.
pub(super) fn holdings(holdings: &Interval, unit: &str) -> Html {
    match &holdings.high {
        Some(high) if *high == holdings.low => amount(high, unit),
        Some(high) => Html(format!("{}–{}", amount(&holdings.low, unit), amount(high, unit))),
        None => Html(format!("≥ {}", amount(&holdings.low, unit))),
    }
}

#[cfg(test)]
mod tests {
    use assay_types::Amount;

    use super::*;

    #[test]
    fn what_is_read_is_never_more_than_there_is_and_what_is_copied_is_exact() {
        let shown = |units: u64, decimals| amount(&Coins::new(Amount::from(units), decimals), "BTC").0;
        let table = [
            (0, 8, r#"<data value="0" title="0 BTC">0<i></i></data>"#),
            (6_626_190_000_000, 8, r#"<data value="66261.9" title="66,261.9 BTC">66,261<i>.9</i></data>"#),
            (199_999_999, 8, r#"<data value="1.99999999" title="1.99999999 BTC">1<i>.9999…</i></data>"#),
            (12_345, 8, r#"<data value="0.00012345" title="0.00012345 BTC">0<i>.00012345</i></data>"#),
        ];
        for (units, decimals, expected) in table {
            assert_eq!(shown(units, decimals), expected);
        }
        assert!(amount(&Coins::new(Amount::from(1), 0), "<\"&").0.contains("1 &lt;&quot;&amp;"));
        assert_eq!(segment("a b/ü"), "a%20b%2F%C3%BC");
    }
}
