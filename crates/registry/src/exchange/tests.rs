//! Folders, files and lists, good and bad.

use super::*;
use crate::account::fake::directory;
use crate::{Owner, Role};

const ACME: &str = "id = \"acme\"\n";

/// Writes the files into a new folder.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn loaded(files: &[(&str, &str)]) -> Result<Declarations, InputErrors> {
    let folder = folder(files);
    load(folder.path(), &directory(), &crate::timezone("Asia/Seoul").unwrap())
}

/// The errors and their hints, without the folder's path.
fn wrong(files: &[(&str, &str)]) -> Vec<String> {
    let folder = folder(files);
    let errors = load(folder.path(), &directory(), &TimeZone::UTC).unwrap_err();
    let show = |error: &InputError| {
        let hint = error.hint.as_ref().map(|hint| format!(" [{hint}]")).unwrap_or_default();
        format!("{error}{hint}").replace(&format!("{}/", folder.path().display()), "")
    };
    errors.errors().iter().map(show).collect()
}

#[test]
fn an_exchange_is_a_toml_file_with_lists_beside_it() {
    let toml = r#"
            id = "acme"
            name = "Acme Exchange"
            [[wallet]]
            chain = "bitcoin"
            role = "cold"
            descriptor = "0xc*"
            range = [0, 2]
            since = 2026-01-01
            [[wallet]]
            chain = "eip155:1"
            role = "hot"
            owner = "house"
            address = "0xAB"
            label = "desk"
            until = 2026-02-01T00:00:00+09:00
        "#;
    let csv = "\u{feff}role, address ,chain,since,until,owner,label,message,signature\n\n\
                   deposit, 0xD1 ,ethereum,2026-01-02T00:00:00Z,,,,,\r\n\
                   hot,\"0xD2\",polygon,2026-01-02,2026-01-03,house,\"two\nlines\",I,sig\n";
    let found = loaded(&[("acme/exchange.toml", toml), ("acme/list.csv", csv), ("notes.md", "")]).unwrap();
    let acme = found.exchange("acme").unwrap();
    assert_eq!(acme.name, "Acme Exchange");
    let show = |on: &Declared| {
        let time = |time: Option<Timestamp>| time.map_or("-".into(), |time| time.to_string());
        let terms = &*on.terms;
        let label = terms.label.clone().unwrap_or_default();
        let (since, until) = (time(terms.since), time(terms.until));
        let (role, owner) = (terms.role.as_str(), terms.owner.as_str());
        let address = directory().address(&terms.chain, &on.account);
        format!("{}:{address} {role} {owner} {label:?} {since} {until} {}", terms.chain.namespace(), on.line)
    };
    let expected = [
        r#"bip122:0xc0 cold customers "" 2025-12-31T15:00:00Z - 4"#,
        r#"bip122:0xc1 cold customers "" 2025-12-31T15:00:00Z - 4"#,
        r#"bip122:0xc2 cold customers "" 2025-12-31T15:00:00Z - 4"#,
        r#"eip155:0xab hot house "desk" - 2026-01-31T15:00:00Z 10"#,
        r#"eip155:0xd1 deposit customers "" 2026-01-02T00:00:00Z - 3"#,
        r#"eip155:0xd2 hot house "two\nlines" 2026-01-01T15:00:00Z 2026-01-02T15:00:00Z 4"#,
    ];
    assert_eq!(acme.accounts.iter().map(show).collect::<Vec<_>>(), expected);
    assert_eq!(acme.accounts[5].terms.proof.as_ref().unwrap().signature, "sig");
    assert_eq!(acme.at("2025-12-31T15:00:00Z".parse().unwrap()).count(), 4);
    assert_eq!(acme.at("2026-01-31T15:00:00Z".parse().unwrap()).count(), 4);
}

#[test]
fn a_file_or_folder_may_stand_alone() {
    for files in [[("a.toml", ACME)], [("exchange.toml", ACME)], [("acme/exchange.toml", ACME)]] {
        assert_eq!(loaded(&files).unwrap().exchanges[0].name, "acme");
    }
    let folder = folder(&[("a.toml", ACME)]);
    let found = load(&folder.path().join("a.toml"), &directory(), &TimeZone::UTC).unwrap();
    assert_eq!(found.exchanges.len(), 1);
}

#[test]
fn what_two_exchanges_declare_is_listed_once_and_found() {
    let csv = "chain,address,role\nethereum,0x2,hot\nethereum,0x1,hot\nbitcoin,0x1,hot\n";
    let found = loaded(&[
        ("b/exchange.toml", "id = \"b\""),
        ("b/list.csv", csv),
        ("a.toml", "id = \"a\"\n[[wallet]]\nchain=\"ethereum\"\nrole=\"cold\"\naddress=\"0X2\""),
    ])
    .unwrap();
    let ethereum = "eip155:1".parse().unwrap();
    assert_eq!(found.accounts(&ethereum), [&Account::new(b"1"), &Account::new(b"2")]);
    let (one, two) = (Account::new(b"1"), Account::new(b"2"));
    assert_eq!(found.groups(&ethereum), [vec![&two], vec![&one, &two]], "a's cold ones, b's hot ones");
    let shared = found.shared();
    assert_eq!(shared.len(), 1);
    assert_eq!((shared[0].chain, shared[0].account), (&ethereum, &Account::new(b"2")));
    let by = shared[0].by.iter().map(|(exchange, on)| (exchange.id.as_str(), on.terms.role, on.terms.owner));
    let by: Vec<_> = by.collect();
    assert_eq!(by, [("a", Role::Cold, Owner::Customers), ("b", Role::Hot, Owner::Customers)]);
}

#[test]
fn what_is_wrong_in_a_wallet_is_named_with_line_and_field() {
    let good = "chain = \"ethereum\"\nrole = \"hot\"\n";
    let table = [
        (
            format!("{good}adress = \"0x1\""),
            vec![
                "2: wallet[0].address: is missing",
                "5: wallet[0].adress: is not a known key [did you mean `address`?]",
            ],
        ),
        (format!("{good}address = \"0x1F\""), vec!["5: wallet[0].address: `0x1F` has a wrong checksum"]),
        (format!("{good}address = 1"), vec!["5: wallet[0].address: is an integer, and should be text"]),
        (
            format!("{good}address = \"0x1\"\ndescriptor = \"0x1\""),
            vec!["6: wallet[0].descriptor: stands beside an `address` [declare each as a wallet of its own]"],
        ),
        (format!("{good}address = \"0x1\"\nrange = [0, 1]"), vec!["6: wallet[0].range: is for descriptors only"]),
        (
            format!("{good}descriptor = \"0x1*\""),
            vec!["5: wallet[0].descriptor: a descriptor with `*` needs a `range`"],
        ),
        (
            format!("{good}descriptor = \"0x1\"\nrange = [0, 1]"),
            vec!["5: wallet[0].descriptor: a descriptor without `*` has no `range`"],
        ),
        (format!("{good}descriptor = \"0x1*\"\nrange = [2, 1]"), vec!["6: wallet[0].range: 2 to 1 is an empty range"]),
        (
            format!("{good}descriptor = \"0x1*\"\nrange = [0, 4294967295]"),
            vec![
                "6: wallet[0].range: 0 to 4294967295 is too long: at most 1000000 accounts in one wallet [declare it as several wallets]",
            ],
        ),
        (
            format!("{good}descriptor = \"0x1*\"\nrange = [-1, 9]"),
            vec!["6: wallet[0].range: is not a range: two whole numbers, the first and the last, such as [0, 999]"],
        ),
        (
            format!("{good}address = \"0x1\"\nsince = 2026-01-01T00:00:00"),
            vec![
                "6: wallet[0].since: `2026-01-01T00:00:00` is neither a date such as 2026-01-01 nor a time with its offset such as 2026-01-01T09:00:00+09:00",
            ],
        ),
        (
            format!("{good}address = \"0x1\"\nsince = 2026-01-01\nuntil = 2026-01-01"),
            vec!["7: wallet[0].until: `until` (2026-01-01T00:00:00Z) is not after `since` (2026-01-01T00:00:00Z)"],
        ),
        (
            format!("{good}address = \"0x1\"\nsignature = \"s\""),
            vec!["2: wallet[0].message: is missing: there is a `signature`"],
        ),
        (
            "chain = \"etherum\"\nrole = \"warm\"\nowner = \"me\"\naddress = \"0x1\"".into(),
            vec![
                "3: wallet[0].chain: `etherum` is not a configured chain [did you mean `ethereum`?]",
                "4: wallet[0].role: `warm` is not a known role [known: `cold`, `hot`, `deposit`]",
                "5: wallet[0].owner: `me` is not a known owner [known: `customers`, `house`]",
            ],
        ),
    ];
    for (wallet, expected) in table {
        let mut found = wrong(&[("a.toml", &format!("{ACME}[[wallet]]\n{wallet}\n"))]);
        found.sort();
        assert_eq!(found, expected.iter().map(|line| format!("a.toml:{line}")).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_wrong_in_a_list_is_named_with_line_and_column() {
    let table = [
        ("", vec![": is empty [the first line names the columns: chain,address,role]"]),
        (
            "chain,adress\n",
            vec![
                ":1: adress: is not a known column [did you mean `address`?]",
                ":1: address: is missing from the header",
                ":1: role: is missing from the header",
            ],
        ),
        ("chain,address,role,role\n", vec![":1: role: is there twice"]),
        (
            "chain,address,role\nethereum,0x1\n\nethereum,0x1F,hot\r\n,0x2,hot\nethereum,0x3,cool\n",
            vec![
                ":2: has 2 cells, and the header has 3",
                ":4: address: `0x1F` has a wrong checksum",
                ":5: chain: is missing",
                ":6: role: `cool` is not a known role [did you mean `cold`?]",
            ],
        ),
        (
            "chain,address,role,since\nethereum,0x1,hot,soon\n",
            vec![
                ":2: since: `soon` is neither a date such as 2026-01-01 nor a time with its offset such as 2026-01-01T09:00:00+09:00",
            ],
        ),
    ];
    for (csv, expected) in table {
        let found = wrong(&[("a/exchange.toml", ACME), ("a/l.csv", csv)]);
        assert_eq!(found, expected.iter().map(|line| format!("a/l.csv{line}")).collect::<Vec<_>>());
    }
}

#[test]
fn an_account_is_declared_once_whatever_its_form() {
    let toml = "id = \"a\"\n[[wallet]]\nchain=\"bitcoin\"\nrole=\"hot\"\ndescriptor=\"0x*\"\nrange=[1, 500]\n\
                    [[wallet]]\nchain=\"bitcoin\"\nrole=\"hot\"\ndescriptor=\"0x*\"\nrange=[400, 600]\n";
    let csv =
        "chain,address,role\nethereum,0xAB,hot\nethereum,0xab,cold\nbip122:0f9188f13cb7b2c71f2a335e3a4fc328,0x7,hot\n";
    assert_eq!(
        wrong(&[("a/exchange.toml", toml), ("a/l.csv", csv)]),
        [
            "a/exchange.toml:7: the account 0x400 is declared already, at a/exchange.toml:2",
            "a/l.csv:3: the account 0xab is declared already, at a/l.csv:2",
            "a/l.csv:4: the account 0x7 is declared already, at a/exchange.toml:2",
        ]
    );
}

#[test]
fn what_is_wrong_in_a_folder_is_named() {
    let none = vec!["a: has no exchange.toml"];
    type Case<'a> = (&'a [(&'a str, &'a str)], Vec<&'a str>);
    let table: [Case<'_>; 9] = [
        (&[("a/list.csv", "")], none),
        (
            &[("list.csv", "")],
            vec!["list.csv: belongs to no exchange [move it into an exchange's folder, beside its exchange.toml]"],
        ),
        (
            &[("a/exchange.toml", ACME), ("a/more.toml", "")],
            vec!["a/more.toml: is not read [an exchange's folder has one exchange.toml, and lists as *.csv]"],
        ),
        (
            &[("a.toml", ACME), ("b.toml", "\nid = \"acme\"")],
            vec!["b.toml:2: id: the id `acme` is taken already, at a.toml:1"],
        ),
        (&[("a.toml", "id = \"A me\"")], vec!["a.toml:1: id: `A me` is not an id: 1 to 64 of a-z, 0-9, `-` and `_`"]),
        (
            &[("a.toml", "name = \"x\"\nwallets = 1")],
            vec!["a.toml:2: wallets: is not a known key [did you mean `wallet`?]", "a.toml:1: id: is missing"],
        ),
        (
            &[("a.toml", "id = \"a\"\n[wallet]\nrole = \"hot\"")],
            vec!["a.toml:2: wallet: is one table, and should be a list of tables [write [[wallet]]]"],
        ),
        (&[("a.toml", "id = \"a\"\nid = \"b\"")], vec!["a.toml:2: id: duplicate key"]),
        (&[("a.toml", "id = \"a\"\n[[wallet]\n")], vec!["a.toml:2: unclosed array table, expected `]`"]),
    ];
    for (files, expected) in table {
        assert_eq!(wrong(files), expected);
    }
    let empty = tempfile::tempdir().unwrap();
    let at = |path: &Path| load(path, &directory(), &TimeZone::UTC).unwrap_err().to_string();
    assert!(at(empty.path()).ends_with(": declares no exchange"));
    assert!(at(&empty.path().join("x")).contains("x: cannot be read: "));
    fs::write(empty.path().join("a.toml"), b"\n\xff").unwrap();
    assert!(at(empty.path()).ends_with("a.toml:2: is not UTF-8"));
}

#[test]
fn a_million_accounts_load_in_seconds() {
    let mut csv = String::from("chain,address,role\n");
    (0..1_000_000).for_each(|nth| csv.push_str(&format!("ethereum,0x{nth:040x},deposit\n")));
    let start = std::time::Instant::now();
    let found = loaded(&[("a/exchange.toml", ACME), ("a/l.csv", &csv)]).unwrap();
    assert_eq!(found.accounts(&"eip155:1".parse().unwrap()).len(), 1_000_000);
    assert!(found.shared().is_empty());
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
