//! `[prices]` and the file that it names: what is wrong is named, and `assay check` says what there is.

use serde_json::Value;

use crate::{CONFIG, Lab, lab, wrong};

#[test]
fn what_is_wrong_in_the_table_is_named() {
    let table: [(&str, &[&str]); 9] = [
        ("file = \"p.csv\"", &["assay.toml:25: ", "prices.currency: is missing"]),
        ("currency = \"KRW\"", &["assay.toml:25: prices: ", "one of file, url and url_file", "hint: file = "]),
        (
            "currency = \"KRW\"\nfile = \"p.csv\"\nurl = \"http://127.0.0.1:1\"",
            &["assay.toml:25: prices: ", "one of file"],
        ),
        (
            "currency = \"KRW\"\nurl = \"ftp://127.0.0.1\"",
            &["assay.toml:27: prices.url: ", "hint: write it as https://"],
        ),
        (
            "currency = \"won (₩)\"\nfile = \"p.csv\"",
            &["assay.toml:26: prices.currency: ", "is not the name of a currency"],
        ),
        (
            "currency = \"KRW\"\nurl = \"http://127.0.0.1:1\"\nevery = \"0s\"",
            &["assay.toml:28: prices.every: ", "a second"],
        ),
        ("currency = \"KRW\"\nfile = \"p.csv\"\nmax_age = \"old\"", &["assay.toml:28: ", "is not a duration"]),
        ("currency = \"KRW\"\nfiel = \"p.csv\"", &["assay.toml:27: ", "did you mean `file`?"]),
        ("currency = 1", &["assay.toml:26: ", "string"]),
    ];
    let lab = lab();
    for (prices, words) in table {
        lab.write("assay.toml", &format!("{CONFIG}\n[prices]\n{prices}\n"));
        wrong(&lab, &["check"], words);
    }
    for (policy, words) in [
        ("cold_ratio = \"80\"", ["assay.toml:24: ", "is above 1"]),
        ("cold_ratio = \"0.8\"\ncold_ratio_at = \"25:00\"", ["assay.toml:25: ", "is not a time of day"]),
    ] {
        lab.write("assay.toml", &format!("{CONFIG}{policy}\n"));
        wrong(&lab, &["check"], &words);
    }
}

/// What `assay check` finds of prices: each status and message, and the exit code.
fn checked(lab: &Lab) -> (Vec<(String, String)>, i32) {
    let ran = lab.assay(&["check", "--json"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr));
    let of_prices = document["checks"].as_array().unwrap().iter().filter(|check| check["subject"] == "prices");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (of_prices.map(|check| (text(&check["status"]), text(&check["message"]))).collect(), ran.code)
}

#[test]
fn check_says_whether_prices_are_there_and_how_old() {
    let lab = lab();
    assert_eq!(checked(&lab).0, []);
    lab.write("assay.toml", &format!("{CONFIG}cold_ratio = \"0.8\"\n"));
    let (found, _) = checked(&lab);
    assert!(found[0].0 == "warning" && found[0].1.contains("add [prices]"), "{found:?}");

    let with = |prices: &str| {
        lab.write("assay.toml", &format!("{CONFIG}cold_ratio = \"0.8\"\n[prices]\ncurrency = \"KRW\"\n{prices}\n"));
    };
    with("file = \"prices.csv\"");
    let (found, code) = checked(&lab);
    assert!(code == 2 && found[0].0 == "error" && found[0].1.contains("prices.csv: cannot be read"), "{found:?}");
    let file = lab.write("prices.csv", "date,asset,price\n2026-01-30,BTC,150000000.5\n2026-01-31,BTCC,1\n");
    let (found, code) = checked(&lab);
    assert_eq!(code, 3, "the nodes are away, and nothing else is wrong");
    assert!(
        found[0].0 == "ok" && found[0].1.starts_with("of 2 assets in KRW, up to 2026-01-31, as of 20"),
        "{found:?}"
    );
    assert!(found[1].0 == "warning" && found[1].1.ends_with("1 of the assets are not configured: BTCC"), "{found:?}");

    let three_days_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 86_400);
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(three_days_ago).unwrap();
    let (found, _) = checked(&lab);
    assert!(found[0].0 == "warning" && found[0].1.contains("too old, max_age is 172800 s"), "{found:?}");
    with("file = \"prices.csv\"\nmax_age = \"4d\"");
    assert_eq!(checked(&lab).0[0].0, "ok");

    lab.write("prices.csv", "date,asset,price\n2026-01-30,BTC,1\n2026-01-31,BTC,-1\n2026-13-31,BTC,1\n");
    let (found, code) = checked(&lab);
    let said: Vec<&str> = found.iter().map(|(_, message)| message.as_str()).collect();
    assert!(code == 2 && said[0].ends_with("prices.csv:3: price: `-1` is not a price"), "{said:?}");
    assert!(said[1].contains("prices.csv:4: date: `2026-13-31` is not a date"), "{said:?}");

    // A URL that carries a key is not shown, whatever becomes of it.
    lab.write("secrets/prices", "http://127.0.0.1:1/daily.csv?key=hush");
    with("url_file = \"secrets/prices\"");
    let (found, code) = checked(&lab);
    assert!(code == 3 && found[0].1.starts_with("prices from http://127.0.0.1:1: "), "{found:?}");
    assert!(!found[0].1.contains("hush"), "{found:?}");
    // A bad file keeps nobody from what needs no prices.
    with("file = \"nowhere.csv\"");
    assert_eq!(lab.assay(&["holdings", "acme"]).code, 3);
}
