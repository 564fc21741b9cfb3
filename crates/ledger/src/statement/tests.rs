//! The published format, its schema and its parser say the same.

use std::sync::Arc;

use assay_types::{Account, Addresses, Amount, Asset, AssetEntry, ChainEntry, Deployment, Placement};

use super::*;
use crate::{EXAMPLE, SCHEMA};

const BTC_TX: &str = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";

/// Addresses are any text without a space.
struct Simple;

impl Addresses for Simple {
    fn parse(&self, address: &str) -> Result<Account, String> {
        match address.contains(' ') {
            false => Ok(Account::new(address.to_lowercase().as_bytes())),
            true => Err(format!("`{address}` is not an address")),
        }
    }
    fn show(&self, account: &Account) -> String {
        String::from_utf8_lossy(&account.0).into()
    }
    fn expand(&self, _: &str, _: Option<(u32, u32)>) -> Result<Vec<Account>, String> {
        Err("not here".into())
    }
}

fn directory() -> Directory {
    let chain =
        |name: &str, id: &str| ChainEntry { name: name.into(), id: id.parse().unwrap(), addresses: Arc::new(Simple) };
    let chains = vec![
        chain("bitcoin", "bip122:000000000019d6689c085ae165831e93"),
        chain("ethereum", "eip155:1"),
        chain("bnb", "eip155:56"),
    ];
    let on = |chain: usize, asset, decimals| Deployment { chain: chains[chain].id.clone(), asset, decimals };
    let assets = vec![
        AssetEntry { symbol: "BTC".into(), on: vec![on(0, Asset::Native, 8)] },
        AssetEntry { symbol: "ETH".into(), on: vec![on(1, Asset::Native, 18)] },
        AssetEntry {
            symbol: "USDT".into(),
            on: vec![on(1, Asset::Token([1; 20]), 6), on(2, Asset::Token([2; 20]), 18)],
        },
    ];
    Directory { chains, assets }
}

fn parsed(text: &str) -> Result<Statement, InputErrors> {
    parse(Path::new("s.json"), text.as_bytes(), &directory())
}

fn schema() -> jsonschema::Validator {
    jsonschema::validator_for(&serde_json::from_str(SCHEMA).unwrap()).unwrap()
}

/// A statement on four lines, of which the last two are the assets and the rest.
fn with(assets: &str, rest: &str) -> String {
    format!(
        "{{\"format\":\"assay.statement/1\",\"exchange\":\"acme\",\n\"as_of\":{{\"time\":\"2026-02-06T19:00:00Z\"}},\n\"assets\":[{assets}]\n{rest}}}"
    )
}

/// As [`with`], with more fields in one report.
fn report(asset: &str, more: &str) -> String {
    with(&format!("{{\"asset\":\"{asset}\",\"customers\":\"1\",\n{more}}}"), "")
}

#[test]
fn the_example_is_valid_and_parses_exactly() {
    assert!(schema().is_valid(&serde_json::from_str(EXAMPLE).unwrap()));
    let statement = parsed(EXAMPLE).unwrap();
    assert_eq!(statement.digest, Digest::of(EXAMPLE.as_bytes()));
    assert_eq!((statement.exchange.as_str(), statement.sequence), ("acme", Some(42)));
    assert_eq!(statement.as_of.to_string(), "2026-02-06T10:00:00Z");
    assert_eq!(statement.blocks[0].1.height, Height(935_000));
    let [btc, eth, usdt] = &statement.assets[..] else { panic!("three assets") };
    assert_eq!(btc.customers, Amount::from(662_619 * 100_000_000));
    assert_eq!((btc.house, btc.negative), (Some(Amount::from(17_500_000_000)), Amount::ZERO));
    assert_eq!(btc.pending_withdrawals[0].to.as_ref().unwrap().1, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4");
    assert_eq!(btc.pending_withdrawals[0].placement, Placement::Whole);
    assert_eq!(btc.pending_withdrawals[1].txid, None);
    assert_eq!(btc.pending_withdrawals[1].field, "assets[0].pending_withdrawals[1]");
    assert_eq!(btc.uncredited_deposits[0].placement, Placement::Index(1));
    assert_eq!(btc.unconfirmed_credits[0].amount, Amount::from(30_000_000));
    assert_eq!(btc.elsewhere[0].kind, assay_types::ElsewhereKind::Custodian);
    assert_eq!(btc.flows.as_ref().unwrap().rewards, Some(Amount::from(62_000_000_000_000)));
    assert_eq!(eth.customers.to_string(), "1200000000000000000001");
    assert_eq!((eth.house, eth.uncredited_deposits[0].placement), (None, Placement::Whole));
    assert_eq!((usdt.decimals, usdt.customers.to_coins(18)), (18, "2500000.25".into()));
    assert_eq!(usdt.uncredited_deposits[0].placement, Placement::Index(7));
    assert_eq!(statement.wallets[1].field, "wallets[1]");
    assert_eq!(statement.wallets[1].claimed.to_coins(18), "2500100.25");
}

#[test]
fn the_smallest_statement_names_format_exchange_time_and_what_is_owed() {
    let statement =
        parsed(&with(r#"{"asset":"eip155:56/erc20:0x0202020202020202020202020202020202020202","customers":"0"}"#, ""))
            .unwrap();
    assert_eq!((statement.assets[0].symbol.as_str(), statement.assets[0].house), ("USDT", None));
    assert_eq!(statement.assets[0].flows, None);
}

/// Refused by both: the schema sees the shape.
#[test]
fn a_wrong_shape_is_refused_by_schema_and_parser() {
    let validator = schema();
    let amount = |amount: &str| report("BTC", &format!("\"house\":{amount}"));
    let item = |list: &str, item: &str| report("BTC", &format!("\"{list}\":[\n{{{item}}}]"));
    let out = r#""chain":"bitcoin","address":"a","amount":"1""#;
    let deposit = format!(r#""chain":"bitcoin","txid":"{BTC_TX}","vout":0"#);
    let table = [
        ("[]".to_owned(), "1: is a list, and should be an object"),
        ("{}".into(), "1: format: is missing"),
        (
            r#"{"format":"assay.statement/2"}"#.into(),
            "1: format: `assay.statement/2` is not a known format [known: `assay.statement/1`]",
        ),
        (
            with("", ""),
            "3: assets: names no asset [report every asset that customers can hold, with zero where nothing is owed]",
        ),
        (with(r#"{"customers":"1"}"#, ""), "3: assets[0].asset: is missing"),
        (with(r#"{"asset":"BTC"}"#, ""), "3: assets[0].customers: is missing"),
        (
            with(r#"{"asset":"BTC","custmers":"1","customers":"1"}"#, ""),
            "3: assets[0].custmers: is not a known key [did you mean `customers`?]",
        ),
        (report("BTC", r#""vuolme":[]"#), "4: assets[0].vuolme: is not a known key [did you mean `volume`?]"),
        (
            amount("1.5"),
            "4: assets[0].house: is a number, and should be a string: programs round JSON numbers [write \"1.5\"]",
        ),
        (
            amount("-1"),
            "4: assets[0].house: is a number, and should be a string: programs round JSON numbers [write \"-1\"]",
        ),
        (amount("null"), "4: assets[0].house: is null, and should be a string [leave out what is not known]"),
        (amount("[\"1\"]"), "4: assets[0].house: is a list, and should be a string"),
        (amount("\"\""), "4: assets[0].house: is empty"),
        (amount("\"-1\""), "4: assets[0].house: `-1` is negative: amounts are magnitudes"),
        (
            amount("\"1e3\""),
            "4: assets[0].house: `1e3` is not a decimal amount: digits, with at most one point, are expected",
        ),
        (
            amount("\"NaN\""),
            "4: assets[0].house: `NaN` is not a decimal amount: digits, with at most one point, are expected",
        ),
        (
            amount("\"1,000\""),
            "4: assets[0].house: `1,000` is not a decimal amount: digits, with at most one point, are expected",
        ),
        (
            amount("\" 1\""),
            "4: assets[0].house: ` 1` is not a decimal amount: digits, with at most one point, are expected",
        ),
        (amount(&format!("\"{}\"", "0".repeat(161))), "4: assets[0].house: is longer than 160 characters"),
        (
            report("BTC", "\"flows\":{\"deposit\":\"1\"}"),
            "4: assets[0].flows.deposit: is not a known key [did you mean `deposits`?]",
        ),
        (
            report("BTC", "\"volume\":[{\"window\":\"1 hour\",\"traded\":\"1\"}]"),
            "4: assets[0].volume[0].window: `1 hour` is not a window: a number of seconds, minutes, hours or days, such as `1h`",
        ),
        (
            report("BTC", "\"elsewhere\":[{\"kind\":\"staking\",\"amount\":\"1\"}]"),
            "4: assets[0].elsewhere[0].kind: `staking` is not a known kind [did you mean `staked`?]",
        ),
        (
            item("pending_withdrawals", r#""chain":"bitcoin","amount":"1""#),
            "5: assets[0].pending_withdrawals[0].address: is missing",
        ),
        (
            item("pending_withdrawals", &format!("{out},\"vout\":0")),
            "5: assets[0].pending_withdrawals[0].vout: stands without a `txid`",
        ),
        (
            item("pending_withdrawals", &format!("{out},\"txid\":\"4a5e\"")),
            "5: assets[0].pending_withdrawals[0].txid: `4a5e` is not a hash of 64 hexadecimal digits",
        ),
        (
            item("uncredited_deposits", r#""chain":"bitcoin","vout":0,"amount":"1""#),
            "5: assets[0].uncredited_deposits[0].txid: is missing",
        ),
        (
            item("uncredited_deposits", &format!("{deposit},\"address\":\"a\",\"amount\":\"1\"")),
            "5: assets[0].uncredited_deposits[0].address: is not a known key [known: `chain`, `txid`, `vout`, `log_index`, `amount`]",
        ),
        (
            item("unconfirmed_credits", &format!("{deposit},\"log_index\":1,\"amount\":\"1\"")),
            "5: assets[0].unconfirmed_credits[0].log_index: does not exist on bitcoin [name a Bitcoin output by `vout`]",
        ),
        (
            item(
                "unconfirmed_credits",
                &format!(r#""chain":"bitcoin","txid":"{BTC_TX}","vout":4294967296,"amount":"1""#),
            ),
            "5: assets[0].unconfirmed_credits[0].vout: is 4294967296, and should be a whole number from 0 to 4294967295",
        ),
        (
            with(r#"{"asset":"BTC","customers":"1"}"#, ",\"wallets\":{}"),
            "4: wallets: is an object, and should be a list",
        ),
        (
            with(
                r#"{"asset":"BTC","customers":"1"}"#,
                ",\"wallets\":[{\"chain\":\"bitcoin\",\"asset\":\"BTC\",\"claimed\":\"1\"}]",
            ),
            "4: wallets[0].address: is missing",
        ),
        (
            with(r#"{"asset":"BTC","customers":"1"}"#, ",\"sequence\":-1"),
            "4: sequence: is -1, and should be a whole number from 0 to 9007199254740991",
        ),
        (
            with(r#"{"asset":"BTC","customers":"1"}"#, ",\"sequence\":\"1\""),
            "4: sequence: is \"1\", and should be a whole number from 0 to 9007199254740991",
        ),
        (
            with(r#"{"asset":"BTC","customers":"1"}"#, ",\"previous\":\"sha256:12\""),
            "4: previous: `sha256:12` is not a digest: `sha256:` and 64 hexadecimal digits in lower case",
        ),
        (
            with(r#"{"asset":"BTC","customers":"1"}"#, ",\"note\":1"),
            "4: note: is not a known key [known: `format`, `exchange`, `sequence`, `previous`, `as_of`, `assets`, `wallets`]",
        ),
    ];
    for (text, expected) in &table {
        assert!(!validator.is_valid(&serde_json::from_str(text).unwrap()), "the schema accepts {text}");
        assert_eq!(shown(text), [format!("s.json:{expected}")], "{text}");
    }
}

fn shown(text: &str) -> Vec<String> {
    let errors = parsed(text).expect_err(text);
    let show = |error: &assay_types::InputError| {
        format!("{error}{}", error.hint.as_ref().map(|hint| format!(" [{hint}]")).unwrap_or_default())
    };
    errors.errors().iter().map(show).collect()
}

#[test]
fn times_have_their_offset() {
    let validator = schema();
    let at = |time: &str| with(r#"{"asset":"BTC","customers":"1"}"#, "").replace("2026-02-06T19:00:00Z", time);
    for good in
        ["2026-02-06T19:00:00Z", "2026-02-06t19:00:00.123z", "2026-02-06 19:00:00+09:00", "2026-02-06T19:00:00-00:00"]
    {
        assert!(validator.is_valid(&serde_json::from_str(&at(good)).unwrap()), "{good}");
        parsed(&at(good)).unwrap();
    }
    for bad in [
        "",
        "2026-02-06",
        "2026-02-06T19:00:00",
        "2026-02-06T19:00Z",
        "2026-02-06T19:00:00+09",
        "2026-02-06T19:00:00.Z",
        "20260206T190000Z",
        "2026-02-06T19:00:00+09:00[Asia/Seoul]",
        "now",
    ] {
        assert!(!validator.is_valid(&serde_json::from_str(&at(bad)).unwrap()), "{bad}");
        assert!(shown(&at(bad))[0].starts_with("s.json:2: as_of.time: "), "{bad}");
    }
    assert!(shown(&at("2026-02-30T19:00:00Z"))[0].contains("is not an RFC 3339 time"));
}

/// Refused by the parser, which knows the chains and the assets; the schema cannot.
#[test]
fn what_the_configuration_contradicts_is_refused() {
    let validator = schema();
    let item =
        |asset: &str, list: &str, item: &str| report(asset, &format!("\"{list}\":[\n{{{item},\"amount\":\"1\"}}]"));
    let evm_tx = format!("0x{BTC_TX}");
    let above = "1157920892373161954235709850086879078532699846656405640394575840079131296.39936";
    let claim = |asset: &str, chain: &str, claimed: &str| {
        format!(r#"{{"chain":"{chain}","address":"a","asset":"{asset}","claimed":"{claimed}"}}"#)
    };
    let wallets = |claims: &str| with(r#"{"asset":"BTC","customers":"1"}"#, &format!(",\"wallets\":[\n{claims}]"));
    let block = |block: &str| {
        with(r#"{"asset":"BTC","customers":"1"}"#, "")
            .replace("\"time\"", &format!("\"blocks\":{{\n{block}}},\"time\""))
    };
    let hash = format!("{{\"height\":1,\"hash\":\"{BTC_TX}\"}}");
    let table = [
        (report("DOGE", ""), "3: assets[0].asset: `DOGE` is not an asset of the configured chains [known: `BTC`, `ETH`, `USDT`]".to_owned()),
        (report("usdt", ""), "3: assets[0].asset: `usdt` is not an asset of the configured chains [did you mean `USDT`?]".into()),
        (with("{\"asset\":\"BTC\",\"customers\":\"1\"},\n{\"asset\":\"BTC\",\"customers\":\"1\"}", ""), "4: assets[1]: BTC is reported already [report each asset once]".into()),
        (report("BTC", "\"house\":\"0.000000001\""), "4: assets[0].house: `0.000000001` is more precise than the asset, which has 8 decimals".into()),
        (report("USDT", "\"house\":\"0.0000000000000000001\""), "4: assets[0].house: `0.0000000000000000001` is more precise than the asset, which has 18 decimals".into()),
        (report("BTC", &format!("\"house\":\"{above}\"")), format!("4: assets[0].house: `{above}` is above 2^256 - 1 base units")),
        (item("BTC", "pending_withdrawals", r#""chain":"bitcoins","address":"a""#), "5: assets[0].pending_withdrawals[0].chain: `bitcoins` is not a configured chain [did you mean `bitcoin`?]".into()),
        (item("BTC", "pending_withdrawals", r#""chain":"bitcoin","address":"a b""#), "5: assets[0].pending_withdrawals[0].address: `a b` is not an address".into()),
        (item("BTC", "pending_withdrawals", r#""chain":"ethereum","address":"a""#), "5: assets[0].pending_withdrawals[0].chain: BTC is not known on ethereum [it is on bip122:000000000019d6689c085ae165831e93]".into()),
        (item("BTC", "uncredited_deposits", &format!(r#""chain":"bitcoin","txid":"{BTC_TX}""#)), "5: assets[0].uncredited_deposits[0].vout: is missing: a Bitcoin deposit is an output of its transaction".into()),
        (item("BTC", "uncredited_deposits", &format!(r#""chain":"bitcoin","txid":"{evm_tx}","vout":1"#)), format!("5: assets[0].uncredited_deposits[0].txid: `{evm_tx}` is not a hash of 64 hexadecimal digits")),
        (item("USDT", "uncredited_deposits", &format!(r#""chain":"bnb","txid":"{evm_tx}","vout":1"#)), "5: assets[0].uncredited_deposits[0].vout: does not exist on bnb [name an EVM log by `log_index`]".into()),
        (item("ETH", "uncredited_deposits", &format!(r#""chain":"eip155:1","txid":"{evm_tx}","log_index":1"#)), "5: assets[0].uncredited_deposits[0].log_index: does not exist for ETH, the coin of ethereum: payments of it leave no log [leave it out]".into()),
        (report("BTC", r#""volume":[{"window":"1h","traded":"1"},{"window":"1h","traded":"2"}]"#), "4: assets[0].volume[1]: the window `1h` is there already".into()),
        (wallets(&format!("{},\n{}", claim("USDT", "bnb", "1"), claim("USDT", "eip155:56", "2"))), "6: wallets[1]: USDT of a are claimed already".into()),
        (wallets(&claim("BTC", "bnb", "1")), "5: wallets[0].chain: BTC is not known on bnb [it is on bip122:000000000019d6689c085ae165831e93]".into()),
        (wallets(&claim("BTC", "bitcoin", "0.123456789")), "5: wallets[0].claimed: `0.123456789` is more precise than the asset, which has 8 decimals".into()),
        (block(&format!("\"bitcoin\":{hash},\n\"bip122:000000000019d6689c085ae165831e93\":{hash}")), "4: as_of.blocks.bip122:000000000019d6689c085ae165831e93: names another block of bip122:000000000019d6689c085ae165831e93".into()),
        (block(&format!("\"bitcoin\":{}", hash.replace(":\"4a", ":\"0x4a"))), format!("3: as_of.blocks.bitcoin.hash: `0x{BTC_TX}` is not a hash of 64 hexadecimal digits")),
        (block(&format!("\"monero\":{hash}")), "3: as_of.blocks.monero: `monero` is not a configured chain [known: `bitcoin`, `ethereum`, `bnb`]".into()),
    ];
    for (text, expected) in &table {
        let text = text.replace(",\n}", "}");
        assert!(validator.is_valid(&serde_json::from_str(&text).unwrap()), "the schema refuses {text}");
        assert_eq!(shown(&text), [format!("s.json:{expected}")], "{text}");
    }
}

#[test]
fn what_is_not_one_json_document_is_refused() {
    let good = with(r#"{"asset":"BTC","customers":"1"}"#, "");
    parsed(&format!(" \n{good}\n ")).unwrap();
    let table = [
        (String::new(), "1: is not JSON: EOF while parsing a value (column 0)"),
        (good[..good.len() - 1].into(), "4: is not JSON: EOF while parsing an object (column 0)"),
        (format!("{good}\n{good}"), "5: is not JSON: trailing characters (column 1)"),
        (
            format!("\u{feff}{good}"),
            "1: begins with a byte order mark, which is not JSON [save it as UTF-8 without a byte order mark]",
        ),
        (
            good.replace("\"customers\"", "\"customers\":\"1\",\n\"customers\""),
            "4: assets[0].customers: is there twice",
        ),
        (good.replace("acme\",", "acme\",\n\"exchange\":\"acme\","), "2: exchange: is there twice"),
        (good.replace("acme", "\\ud800"), "1: exchange: is not a string: unexpected end of hex escape"),
    ];
    for (text, expected) in &table {
        let found = shown(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("s.json:{expected}")), "{found:?} is not {expected}");
    }
    let latin = [good.as_bytes(), b"\n\xff"].concat();
    let error = parse(Path::new("s.json"), &latin, &directory()).unwrap_err();
    assert_eq!(error.to_string(), "s.json:5: is not UTF-8");
}

#[test]
fn everything_wrong_is_reported_within_bounds() {
    let items = vec![r#"{"chain":"bitcoin","address":"a","amount":"-1"}"#; 100_000].join(",\n");
    let errors = parsed(&report("BTC", &format!("\"house\":1,\"pending_withdrawals\":[{items}]"))).unwrap_err();
    assert_eq!((errors.errors().len(), errors.more()), (InputErrors::KEPT, 100_001 - InputErrors::KEPT));
    assert_eq!(errors.errors()[19].line, Some(4 + 18));
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(shown(&deep), ["s.json:1: is a list, and should be an object"]);
    let long = shown(&report(&"x".repeat(100_000), ""));
    assert!(long[0].len() < 500);
}
