//! Statements: parsed exactly or not at all.

use crate::{lab, wrong};

const GOOD: &str = r#"{
"format": "assay.statement/1",
"exchange": "acme",
"as_of": { "time": "2026-02-06T19:00:00+09:00" },
"assets": [
{ "asset": "BTC",
"customers": "1.5"
} ] }"#;
const TXID: &str = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";
const OF_CUSTOMERS: &str = "s.json:7: assets[0].customers: ";
const VERIFY: [&str; 4] = ["verify", "acme", "--statement", "s.json"];

#[test]
fn what_is_wrong_in_a_statement_is_named() {
    let lab = lab();
    lab.write("s.json", GOOD);
    let good = lab.json(&VERIFY, 3);
    assert_eq!(good["verdict"], "indeterminate", "nothing is indexed yet");
    assert!(!lab.path("assay-data").exists());

    let amount = |text: &str| GOOD.replace("\"1.5\"", text);
    let report = |more: &str| GOOD.replace("\"1.5\"", &format!("\"1.5\",\n{more}"));
    let top = |more: &str| GOOD.replace("\"exchange\"", &format!("{more},\n\"exchange\""));
    let deposit = |fields: &str| report(&format!("\"uncredited_deposits\": [ {{ {fields} }} ]"));
    let above = "1157920892373161954235709850086879078532699846656405640394575840079131.29639936";
    let table: Vec<(String, &[&str])> = vec![
        // Amounts.
        (amount("\"-1\""), &[OF_CUSTOMERS, "is negative"]),
        (amount("\"1e8\""), &[OF_CUSTOMERS, "is not a decimal amount"]),
        (amount("\"NaN\""), &[OF_CUSTOMERS, "is not a decimal amount"]),
        (amount("\"Infinity\""), &[OF_CUSTOMERS, "is not a decimal amount"]),
        (amount("1.5"), &[OF_CUSTOMERS, "should be a string", "hint: write \"1.5\""]),
        (amount("-1"), &[OF_CUSTOMERS, "should be a string"]),
        (amount("null"), &[OF_CUSTOMERS, "hint: leave out"]),
        (amount("\"0.123456789\""), &[OF_CUSTOMERS, "more precise", "8 decimals"]),
        (amount(&format!("\"{above}\"")), &[OF_CUSTOMERS, "is above 2^256 - 1"]),
        (amount(&format!("\"{}\"", "9".repeat(150))), &[OF_CUSTOMERS, "is above 2^256 - 1"]),
        (amount(&format!("\"{}\"", "9".repeat(1_000))), &[OF_CUSTOMERS, "is longer than"]),
        (amount("\"\""), &[OF_CUSTOMERS, "is empty"]),
        (amount("\" 1\""), &[OF_CUSTOMERS, "is not a decimal amount"]),
        (amount("\"+1\""), &[OF_CUSTOMERS, "is not a decimal amount"]),
        (amount("\"1,5\""), &[OF_CUSTOMERS, "is not a decimal amount"]),
        (amount("\"1.\""), &[OF_CUSTOMERS, "is not a decimal amount"]),
        (amount("\".5\""), &[OF_CUSTOMERS, "is not a decimal amount"]),
        (amount("\"0x10\""), &[OF_CUSTOMERS, "is not a decimal amount"]),
        (amount("\"１\""), &[OF_CUSTOMERS, "is not a decimal amount"]),
        (amount("NaN"), &["s.json:7: ", "is not JSON"]),
        (report("\"house\": \"-2\""), &["s.json:8: assets[0].house: ", "is negative"]),
        (report("\"negative\": \"-2\""), &["s.json:8: assets[0].negative: ", "is negative"]),
        (report("\"flows\": { \"fees\": \"1e1\" }"), &["s.json:8: assets[0].flows.fees: "]),
        // Names.
        (GOOD.replace("\"BTC\"", "\"BTX\""), &["s.json:6: assets[0].asset: ", "did you mean `BTC`?"]),
        (GOOD.replace("\"acme\"", "\"other\""), &["s.json: exchange: ", "`other`", "`acme` is asked for"]),
        (GOOD.replace("statement/1", "statement/2"), &["s.json:2: format: ", "hint: known: `assay.statement/1`"]),
        (GOOD.replace("\"customers\"", "\"customrs\""), &["s.json:7: assets[0].customrs: ", "did you mean `customers`?"]),
        (GOOD.replace("\"customers\"", "\"customrs\""), &["s.json:6: assets[0].customers: is missing"]),
        (top("\"exchnage\": \"x\""), &["s.json:3: exchnage: ", "did you mean `exchange`?"]),
        (top("\"exchange\": \"x\""), &["s.json:4: exchange: is there twice"]),
        (report("\"customers\": \"2\""), &["s.json:8: assets[0].customers: is there twice"]),
        (report("\"flows\": { \"fee\": \"1\" }"), &["assets[0].flows.fee: ", "did you mean `fees`?"]),
        (report("\"elsewhere\": [ { \"kind\": \"custody\", \"amount\": \"1\" } ]"), &["assets[0].elsewhere[0].kind: ", "custodian"]),
        // Times and blocks.
        (GOOD.replace("+09:00", ""), &["s.json:4: as_of.time: ", "RFC 3339"]),
        (GOOD.replace("2026-02-06", "2026-02-30"), &["s.json:4: as_of.time: ", "RFC 3339"]),
        (GOOD.replace("\"time\"", "\"tme\""), &["s.json:4: as_of.tme: ", "did you mean `time`?"]),
        (
            GOOD.replace("+09:00\"", "+09:00\", \"blocks\": { \"bitcoin\": { \"height\": 5, \"hash\": \"00\" } }"),
            &["s.json:4: as_of.blocks.bitcoin.hash: "],
        ),
        (
            GOOD.replace("+09:00\"", "+09:00\", \"blocks\": { \"bitcon\": { \"height\": 5, \"hash\": \"00\" } }"),
            &["s.json:4: as_of.blocks.bitcon: ", "did you mean `bitcoin`?"],
        ),
        (
            GOOD.replace("+09:00\"", &format!("+09:00\", \"blocks\": {{ \"bitcoin\": {{ \"height\": -5, \"hash\": \"{TXID}\" }} }}")),
            &["s.json:4: as_of.blocks.bitcoin.height: ", "whole number"],
        ),
        // Items in flight.
        (deposit(&format!("\"chain\": \"bitcoin\", \"txid\": \"{TXID}\", \"amount\": \"1\"")), &["uncredited_deposits[0].vout: is missing"]),
        (deposit(&format!("\"chain\": \"bitcoin\", \"txid\": \"{TXID}\", \"vout\": -1, \"amount\": \"1\"")), &["uncredited_deposits[0].vout: "]),
        (deposit("\"chain\": \"bitcoin\", \"txid\": \"00\", \"vout\": 0, \"amount\": \"1\""), &["uncredited_deposits[0].txid: "]),
        (deposit(&format!("\"chain\": \"ethereum\", \"txid\": \"0x{TXID}\", \"amount\": \"1\"")), &["BTC is not known on ethereum"]),
        (
            report("\"pending_withdrawals\": [ { \"chain\": \"bitcoin\", \"address\": \"bc1q\", \"amount\": \"1\" } ]"),
            &["s.json:8: assets[0].pending_withdrawals[0].address: "],
        ),
        (
            GOOD.replace("} ] }", "} ],\n\"wallets\": [ { \"chain\": \"bitcoin\", \"address\": \"1BoatSLRHtKNngkdXEeobR76b53LETtpyU\", \"asset\": \"BTC\", \"claimed\": \"1\" } ] }"),
            &["s.json:9: wallets[0].address: "],
        ),
        // Shapes.
        (GOOD.replace("{ \"asset\": \"BTC\",\n\"customers\": \"1.5\"\n}", ""), &["s.json:5: assets: names no asset", "hint: "]),
        (
            GOOD.replace("} ] }", "}, { \"asset\": \"BTC\", \"customers\": \"0\" } ] }"),
            &["s.json:8: assets[1]: BTC is reported already"],
        ),
        ("[]".into(), &["s.json:1: is a list, and should be an object"]),
        (String::new(), &["s.json:1: is not JSON"]),
        (GOOD[..GOOD.len() - 5].into(), &["s.json:8: is not JSON"]),
        (format!("{GOOD} x"), &["s.json:8: is not JSON"]),
        (format!("\u{feff}{GOOD}"), &["s.json:1: ", "byte order mark", "hint: "]),
        ("[".repeat(200_000), &["s.json:1: is not JSON"]),
    ];
    for (text, words) in table {
        lab.write("s.json", &text);
        wrong(&lab, &VERIFY, words);
    }
}

#[test]
fn what_is_no_statement_at_all_is_named() {
    let lab = lab();
    wrong(&lab, &VERIFY, &["s.json: cannot be read: "]);
    let file = lab.path("s.json");
    std::fs::create_dir(&file).unwrap();
    wrong(&lab, &VERIFY, &["s.json: cannot be read: ", "directory"]);
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, b"{\n\"format\": \"\xff\"}").unwrap();
    wrong(&lab, &VERIFY, &["s.json:2: is not UTF-8"]);
    std::fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    wrong(&lab, &VERIFY, &["s.json: is longer than"]);
    wrong(&lab, &["verify", "acme", "--statement", "/dev/zero"], &["/dev/zero: is longer than"]);
    lab.write("s.json", GOOD);
    wrong(&lab, &["verify", "acmee", "--statement", "s.json"], &["no exchange `acmee`", "did you mean `acme`?"]);
    wrong(&lab, &[&VERIFY[..], &["--now", "noon"]].concat(), &["--now", "`noon`", "RFC 3339"]);
}
