//! Prices of assets, day by day, and their mean over days: exact, from CSV.
//!
//! One line is one asset's price on one day: `date,asset,price`. An asset stands under its symbol; the prices of one that is not
//! configured are read as well, and used by nobody.

use std::collections::BTreeMap;
use std::path::Path;

use assay_types::{Amount, InputError, InputErrors, Timestamp};
use csv::{ReaderBuilder, StringRecord, Trim};

use crate::csv::Lines;
use crate::time::Date;

/// The prices that there are, in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prices {
    /// What they are in, such as `KRW`.
    pub currency: String,
    /// When they were had from where they come from.
    pub fetched_at: Timestamp,
    /// From when on they are too old to be relied upon.
    pub good_until: Timestamp,
    by_symbol: BTreeMap<String, Series>,
}

/// One asset's prices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Series {
    /// In order.
    days: Vec<Date>,
    /// The sum of all prices up to and with that of each day: the sum over any days is a difference.
    sums: Vec<Amount>,
}

/// A mean over days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mean {
    /// In 10^-[`Prices::DECIMALS`] of the currency, rounded down.
    pub price: Amount,
    /// Over how many days.
    pub days: u64,
}

const COLUMNS: [&str; 3] = ["date", "asset", "price"];
/// Digits before the point: with them no sum of days comes near 2^256.
const LONGEST_WHOLE: usize = 30;

impl Prices {
    /// How many digits a price has behind its point, at most.
    pub const DECIMALS: u8 = 18;
    /// No file is longer: some two million prices.
    pub const LONGEST_BYTES: u64 = 64 << 20;

    /// Reads them. `label` is what errors call the text.
    ///
    /// # Errors
    /// Everything that is wrong, with its line and column.
    pub fn read(
        label: &Path,
        text: &str,
        currency: &str,
        fetched_at: Timestamp,
        good_until: Timestamp,
    ) -> Result<Prices, InputErrors> {
        let (mut errors, mut each) = (InputErrors::default(), BTreeMap::<String, BTreeMap<Date, Price>>::new());
        let mut reader =
            ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(text.as_bytes());
        let (mut lines, mut cells) = (Lines::new(text), StringRecord::new());
        let mut header = None;
        while reader.read_record(&mut cells).map_err(|error| InputError::new(label, error))? {
            let line = lines.advance(&cells);
            let at = |error: InputError| InputError { file: label.into(), ..error.line(line) };
            let Some(columns) = &header else {
                header = Some(columns(&cells).map_err(at)?);
                continue;
            };
            let added = Row::read(&cells, columns).and_then(|row| row.add(line, &mut each));
            added.unwrap_or_else(|error| errors.push(at(error)));
        }
        if each.is_empty() && errors.is_empty() {
            errors.push(InputError::new(label, "has no prices").hint("date,asset,price, then one line for each price"));
        }
        let by_symbol = each.into_iter().map(|(symbol, days)| (symbol, Series::of(days))).collect();
        errors.or(Prices { currency: currency.to_owned(), fetched_at, good_until, by_symbol })
    }

    /// The symbols that have prices.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.by_symbol.keys().map(String::as_str)
    }

    /// The last day of which there is any price.
    pub fn newest(&self) -> Option<Date> {
        self.by_symbol.values().filter_map(|series| series.days.last()).max().copied()
    }

    /// The mean over these days, both included. An asset that is younger has a price on each day since its first one.
    ///
    /// # Errors
    /// Why there is no such mean, in words.
    pub fn mean(&self, symbol: &str, (first, last): (Date, Date)) -> Result<Mean, String> {
        let none = || format!("there is no price from {first} to {last}");
        let series = self.by_symbol.get(symbol).ok_or_else(none)?;
        let (from, to) =
            (series.days.partition_point(|day| *day < first), series.days.partition_point(|day| *day <= last));
        let within = series.days.get(from..to).filter(|days| !days.is_empty()).ok_or_else(none)?;
        // Prices before these days: then it is not younger than they are.
        let begins = if from > 0 { first } else { within[0] };
        if let Some(missing) = gap(within, begins, last) {
            return Err(format!("there is no price on {missing}, and there are earlier ones"));
        }
        let before = from.checked_sub(1).map_or(Amount::ZERO, |before| series.sums[before]);
        let sum = series.sums[to - 1].checked_sub(before).ok_or_else(none)?;
        let days = within.len() as u64;
        Ok(Mean { price: Amount(sum.0 / Amount::from(days).0), days })
    }
}

/// The first day that is missing between two days, of days that all lie between them.
fn gap(days: &[Date], first: Date, last: Date) -> Option<Date> {
    let between = first.until(last).ok()?.get_days();
    if usize::try_from(between).is_ok_and(|between| days.len() == between + 1) {
        return None;
    }
    let mut expected = first;
    for day in days {
        if *day != expected {
            break;
        }
        expected = day.tomorrow().ok()?;
    }
    Some(expected)
}

impl Series {
    fn of(days: BTreeMap<Date, Price>) -> Series {
        let mut sum = Amount::ZERO;
        let sums = days.values().map(|price| {
            sum = Amount(sum.0 + price.amount.0); // LONGEST_WHOLE keeps it far below 2^256
            sum
        });
        let sums = sums.collect();
        Series { days: days.into_keys().collect(), sums }
    }
}

/// Where each column is.
fn columns(cells: &StringRecord) -> Result<[usize; 3], InputError> {
    let place = |name: &str| {
        let found = cells.iter().position(|cell| cell == name);
        found.ok_or_else(|| {
            let error = InputError::new("", "is missing from the header").field(name);
            error.hint("the first line names the columns: date,asset,price")
        })
    };
    let [date, asset, price] = COLUMNS.map(place);
    Ok([date?, asset?, price?])
}

struct Price {
    amount: Amount,
    line: u64,
}

/// One line.
struct Row {
    date: Date,
    asset: String,
    amount: Amount,
}

impl Row {
    fn read(cells: &StringRecord, columns: &[usize; 3]) -> Result<Row, InputError> {
        let refuse = |column: usize, why: String| InputError::new("", why).field(COLUMNS[column]);
        let cell = |column: usize| {
            let cell = cells.get(columns[column]).filter(|cell| !cell.is_empty());
            cell.ok_or_else(|| refuse(column, "is missing".into()))
        };
        let (date, asset, price) = (cell(0)?, cell(1)?, cell(2)?);
        // What is longer may be a date all the same, of a time in some zone.
        let day: Option<Date> = date.parse().ok().filter(|_| date.len() == "2026-01-31".len());
        let day = day.ok_or_else(|| refuse(0, format!("`{date}` is not a date such as 2026-01-31")))?;
        let amount = Amount::from_coins(price, Prices::DECIMALS).map_err(|_| {
            let hint = format!("a plain decimal of at most {} digits behind the point", Prices::DECIMALS);
            refuse(2, format!("`{price}` is not a price")).hint(hint)
        })?;
        if amount.is_zero() {
            // It would weigh nothing, and hide whatever is not there.
            return Err(refuse(2, "is zero".into()).hint("leave the line out where there is no price"));
        }
        if price.split('.').next().is_some_and(|whole| whole.len() > LONGEST_WHOLE) {
            return Err(refuse(2, format!("has more than {LONGEST_WHOLE} digits before the point")));
        }
        Ok(Row { date: day, asset: asset.to_owned(), amount })
    }

    fn add(self, line: u64, each: &mut BTreeMap<String, BTreeMap<Date, Price>>) -> Result<(), InputError> {
        let Row { date, asset, amount } = self;
        let days = each.entry(asset).or_default();
        if let Some(before) = days.get(&date) {
            let why = format!("{date} has a price for this asset already, in line {}", before.line);
            return Err(InputError::new("", why).field(COLUMNS[0]));
        }
        days.insert(date, Price { amount, line });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Prices, InputErrors> {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (fetched, good) = (at("2026-02-01T00:00:00Z"), at("2026-02-03T00:00:00Z"));
        Prices::read(Path::new("prices.csv"), text, "KRW", fetched, good)
    }

    /// A price for each day from one to another; `skip`: but for those.
    fn daily(asset: &str, first: &str, last: &str, price: impl Fn(Date) -> u64, skip: &[&str]) -> String {
        let (mut day, last): (Date, Date) = (first.parse().unwrap(), last.parse().unwrap());
        let mut text = String::new();
        while day <= last {
            if !skip.contains(&day.to_string().as_str()) {
                text += &format!("{day},{asset},{}\n", price(day));
            }
            day = day.tomorrow().unwrap();
        }
        text
    }

    fn days(first: &str, last: &str) -> (Date, Date) {
        (first.parse().unwrap(), last.parse().unwrap())
    }

    #[test]
    fn a_mean_is_over_every_day_of_the_year_with_its_leap_day() {
        let leap = |day: Date| if day.to_string() == "2024-02-29" { 367 } else { 1 };
        let text = format!("date,asset,price\n{}", daily("BTC", "2023-01-01", "2024-12-31", leap, &[]));
        let prices = read(&text).unwrap();
        let coins = |mean: Mean| (mean.price.to_coins(Prices::DECIMALS), mean.days);
        let mean = |first, last| coins(prices.mean("BTC", days(first, last)).unwrap());
        assert_eq!(mean("2023-03-01", "2024-02-29"), ("2".into(), 366));
        assert_eq!(mean("2023-02-01", "2024-01-31"), ("1".into(), 365));
        assert_eq!(mean("2024-02-29", "2024-02-29"), ("367".into(), 1));
        assert_eq!(mean("2024-02-28", "2024-03-01"), ("123".into(), 3));
        assert_eq!(prices.newest().unwrap().to_string(), "2024-12-31");
        // 1 + 1 + 2 over 3 days, rounded down in the last digit.
        let thirds = read("date,asset,price\n2026-01-01,BTC,1\n2026-01-02,BTC,1\n2026-01-03,BTC,2\n").unwrap();
        let third = thirds.mean("BTC", days("2026-01-01", "2026-01-03")).unwrap();
        assert_eq!(coins(third), ("1.333333333333333333".into(), 3));
    }

    #[test]
    fn an_asset_that_is_younger_needs_each_day_since_its_first_price() {
        let year = days("2025-01-01", "2025-12-31");
        // First and last price, the days that are left out, and how many days count or why none do.
        type Case<'a> = (&'a str, &'a str, &'a [&'a str], Result<u64, &'a str>);
        let table: [Case<'_>; 7] = [
            ("2024-06-01", "2026-01-20", &[], Ok(365)),
            ("2025-12-30", "2026-01-20", &[], Ok(2)),
            ("2025-12-30", "2026-01-20", &["2025-12-31"], Err("no price on 2025-12-31")),
            ("2025-03-01", "2025-12-31", &["2025-03-02", "2025-07-01"], Err("no price on 2025-03-02")),
            // Not younger: it had prices before.
            ("2024-12-30", "2026-01-20", &["2025-01-01"], Err("no price on 2025-01-01")),
            ("2026-01-01", "2026-01-20", &[], Err("no price from 2025-01-01 to 2025-12-31")),
            ("2024-01-01", "2024-12-31", &[], Err("no price from 2025-01-01 to 2025-12-31")),
        ];
        for (first, last, skip, expected) in table {
            let prices = read(&format!("date,asset,price\n{}", daily("X", first, last, |_| 5, skip))).unwrap();
            match (prices.mean("X", year), expected) {
                (Ok(mean), Ok(days)) => assert_eq!((mean.days, mean.price.to_coins(18)), (days, "5".into())),
                (Err(why), Err(words)) => assert!(why.contains(words), "{why}"),
                (found, _) => panic!("{first} {last}: {found:?}"),
            }
            assert!(prices.mean("Y", year).unwrap_err().contains("no price"));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_column() {
        let table: [(&str, &str); 14] = [
            ("", "prices.csv: has no prices"),
            ("date,asset,price\n", "prices.csv: has no prices"),
            ("date,price\n", "prices.csv:1: asset: is missing from the header"),
            ("date,asset,price\n2026-1-01,BTC,1\n", "prices.csv:2: date: `2026-1-01` is not a date"),
            ("date,asset,price\n2026-02-30,BTC,1\n", "prices.csv:2: date: `2026-02-30` is not a date"),
            ("date,asset,price\n2026-02-01T00:00:00Z,BTC,1\n", "prices.csv:2: date: "),
            ("date,asset,price\n\n2026-02-01,,1\n", "prices.csv:3: asset: is missing"),
            ("date,asset,price\n2026-02-01,BTC\n", "prices.csv:2: price: is missing"),
            ("date,asset,price\n2026-02-01,BTC,-1\n", "prices.csv:2: price: `-1` is not a price"),
            ("date,asset,price\n2026-02-01,BTC,1e3\n", "prices.csv:2: price: `1e3` is not a price"),
            ("date,asset,price\n2026-02-01,BTC,NaN\n", "prices.csv:2: price: `NaN` is not a price"),
            ("date,asset,price\n2026-02-01,BTC,0.0\n", "prices.csv:2: price: is zero"),
            (
                "date,asset,price\n2026-02-01,BTC,1111111111222222222233333333334\n",
                "more than 30 digits before the point",
            ),
            (
                "date,asset,price\n2026-02-01,BTC,1\n2026-02-01,BTC,2\n",
                "prices.csv:3: date: 2026-02-01 has a price for this asset already, in line 2",
            ),
        ];
        for (text, words) in table {
            let told = read(text).unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        }
        let many = format!("date,asset,price\n{}", "2026-02-01,BTC,x\n".repeat(30));
        assert!(read(&many).unwrap_err().to_string().ends_with("and 10 more"));
        let free = read("price , asset, source, date\n1.5, BTC , kimchi, 2026-02-01\n").unwrap();
        assert_eq!(free.symbols().collect::<Vec<_>>(), ["BTC"], "columns in any order, and others beside");
    }
}
