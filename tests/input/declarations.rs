//! Declarations: wrong addresses, duplicates, descriptors, lists.

use crate::{EXCHANGE, lab, wrong};

const GOOD: &str = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq";
const XPUB: &str =
    "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ";
const XPRV: &str =
    "xprv9s21ZrQH143K31xYSDQpPDxsXRTUcvj2iNHm5NUtrGiGG5e2DtALGdso3pGz6ssrdK4PFmM8NSpSBHNqPqm55Qn3LqFtT2emdEXVYsCzC2U";
/// The generator point, and its address.
const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
const KEY_ADDRESS: &str = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";

/// A wallet on line 9 and after, behind the good one.
fn wallet(lines: &str) -> String {
    format!("{EXCHANGE}\n[[wallet]]\nchain = \"bitcoin\"\nrole = \"hot\"\n{lines}\n")
}

fn address(chain: &str, address: &str) -> String {
    format!("{EXCHANGE}\n[[wallet]]\nchain = \"{chain}\"\nrole = \"hot\"\naddress = \"{address}\"\n")
}

#[test]
fn what_is_wrong_in_a_declaration_is_named() {
    let wpkh = |lines: &str| wallet(&format!("descriptor = \"wpkh({XPUB}/0/*)\"\n{lines}"));
    let table: Vec<(String, &[&str])> = vec![
        // Addresses.
        (
            address("bitcoin", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp"),
            &["exchange.toml:12: ", "wallet[1].address", "is not a segwit address"],
        ),
        (
            address("bitcoin", "1BoatSLRHtKNngkdXEeobR76b53LETtpyU"),
            &["exchange.toml:12: ", "is not a Bitcoin address", "checksum"],
        ),
        (address("bitcoin", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"), &["is an address of testnet", "not of"]),
        (address("bitcoin", "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"), &["is an address of regtest", "not of"]),
        (address("bitcoin", "0x52908400098527886E0F7030069857D2E4169EE7"), &["is an address of an EVM chain"]),
        (address("bitcoin", "script:5"), &["hexadecimal"]),
        (address("bitcoin", "script:6a00"), &["can never be spent"]),
        (address("bitcoin", ""), &["wallet[1].address"]),
        (address("bitcoin", "\\u0007\\u001b[31mred"), &["\\u{7}\\u{1b}[31mred"]),
        (address("ethereum", GOOD), &["exchange.toml:12: ", "wallet[1].address", "a Bitcoin address"]),
        (address("ethereum", "0x52908400098527886E0F7030069857D2E4169Ee7"), &["wallet[1].address", "checksum"]),
        (address("ethereum", "0x52908400098527886E0F7030069857D2E4169EE"), &["wallet[1].address"]),
        (address("ethereum", "script:51"), &["wallet[1].address"]),
        (address("etherum", GOOD), &["exchange.toml:10: ", "wallet[1].chain", "did you mean `ethereum`?"]),
        // Keys and words.
        (format!("nmae = \"x\"\n{EXCHANGE}"), &["exchange.toml:1: ", "nmae", "did you mean `name`?"]),
        (wallet("adress = \"x\""), &["exchange.toml:12: ", "wallet[1].adress", "did you mean `address`?"]),
        (EXCHANGE.replace("\"cold\"", "\"colld\""), &["exchange.toml:6: ", "wallet[0].role", "did you mean `cold`?"]),
        (EXCHANGE.replace("role = \"cold\"\n", ""), &["exchange.toml:4: ", "wallet[0].role", "is missing"]),
        (EXCHANGE.replace("id = \"acme\"\n", ""), &["exchange.toml:1: ", "id", "is missing"]),
        (EXCHANGE.replace("\"acme\"", "\"Acme Ltd\""), &["exchange.toml:1: ", "is not an id"]),
        (wallet("address = 5"), &["exchange.toml:12: ", "wallet[1].address", "should be text"]),
        (
            wallet(&format!("address = \"{KEY_ADDRESS}\"\nowner = \"customer\"")),
            &["wallet[1].owner", "did you mean `customers`?"],
        ),
        (
            wallet(&format!("address = \"{KEY_ADDRESS}\"\nsince = \"yesterday\"")),
            &["exchange.toml:13: ", "wallet[1].since"],
        ),
        (wallet(&format!("address = \"{KEY_ADDRESS}\"\nsince = 2026-13-01")), &["exchange.toml:13: ", "since: "]),
        (
            wallet(&format!("address = \"{KEY_ADDRESS}\"\nsince = 2026-02-02\nuntil = 2026-02-01")),
            &["wallet[1].until", "is not after"],
        ),
        (wallet(&format!("address = \"{KEY_ADDRESS}\"\nmessage = \"I am\"")), &["wallet[1].signature", "is missing"]),
        // Twice.
        (wallet(&format!("address = \"{GOOD}\"")), &["exchange.toml:9: ", "declared already", "exchange.toml:4"]),
        (wallet(&format!("address = \"{}\"", GOOD.to_uppercase())), &["exchange.toml:9: ", "declared already"]),
        (
            wallet(&format!(
                "descriptor = \"wpkh({KEY})\"\n\n[[wallet]]\nchain = \"bitcoin\"\nrole = \"hot\"\naddress = \"{KEY_ADDRESS}\""
            )),
            &["exchange.toml:14: ", KEY_ADDRESS, "declared already", "exchange.toml:9"],
        ),
        (
            wpkh(&format!(
                "range = [0, 9]\n\n[[wallet]]\nchain = \"bitcoin\"\nrole = \"hot\"\ndescriptor = \"wpkh({XPUB}/0/*)\"\nrange = [9, 12]"
            )),
            &["exchange.toml:15: ", "declared already", "exchange.toml:9"],
        ),
        // Descriptors.
        (wpkh(""), &["exchange.toml:12: ", "wallet[1].descriptor", "needs a range"]),
        (wallet(&format!("descriptor = \"wpkh({KEY})\"\nrange = [0, 9]")), &["wallet[1].descriptor", "has no `*`"]),
        (wpkh("range = [9, 0]"), &["exchange.toml:13: ", "wallet[1].range", "empty"]),
        (wpkh("range = [0, 1000000]"), &["wallet[1].range", "too long", "hint: "]),
        (wpkh("range = [0]"), &["wallet[1].range", "is not a range"]),
        (wpkh("range = [-1, 5]"), &["wallet[1].range", "is not a range"]),
        (wpkh("range = [0, 4294967296]"), &["wallet[1].range", "is not a range"]),
        (wallet(&format!("descriptor = \"wpkh({KEY})#aaaaaaaa\"")), &["wallet[1].descriptor", "checksum"]),
        (wallet(&format!("descriptor = \"wpkh({KEY}\"")), &["wallet[1].descriptor", "cannot be read"]),
        (wallet(&format!("descriptor = \"combo({KEY})\"")), &["wallet[1].descriptor", "`combo`"]),
        (
            wallet(&format!("descriptor = \"wpkh({XPRV}/0/*)\"\nrange = [0, 9]")),
            &["wallet[1].descriptor", "private key"],
        ),
        (wallet(&format!("address = \"{KEY_ADDRESS}\"\nrange = [0, 9]")), &["wallet[1].range", "descriptors only"]),
        (wallet(&format!("address = \"{KEY_ADDRESS}\"\ndescriptor = \"wpkh({KEY})\"")), &["beside an `address`"]),
        (
            wpkh("range = [0, 9]")
                .replace("chain = \"bitcoin\"\nrole = \"hot\"", "chain = \"ethereum\"\nrole = \"hot\""),
            &["wallet[1].descriptor"],
        ),
        // What is no TOML.
        ("id = \"acme\"\n[[wallet]\n".into(), &["exchange.toml:2: "]),
        (String::new(), &["exchange.toml:1: ", "id", "is missing"]),
    ];
    let lab = lab();
    for (text, words) in table {
        lab.write("exchanges/acme/exchange.toml", &text);
        let ran = wrong(&lab, &["index", "--once"], words);
        assert!(!ran.stderr.contains(XPRV), "a private key is shown");
    }
}

#[test]
fn what_is_wrong_in_a_list_is_named() {
    let table: Vec<(String, &[&str])> = vec![
        (format!("chain,address,role\nbitcoin,{GOOD},hot\n"), &["list.csv:2: ", "declared already", "exchange.toml:4"]),
        (
            format!("chain,address,role\n\nbitcoin,{KEY_ADDRESS},hot\nbitcoin,{KEY_ADDRESS},deposit\n"),
            &["list.csv:4: ", "declared already", "list.csv:3"],
        ),
        ("chain,address,role\nbitcoin,bc1q,hot\n".into(), &["list.csv:2: address: "]),
        (
            format!("chain,address,role\nbitcon,{KEY_ADDRESS},hot\n"),
            &["list.csv:2: chain: ", "did you mean `bitcoin`?"],
        ),
        (format!("chain,address,role\nbitcoin,{KEY_ADDRESS},warm\n"), &["list.csv:2: role: "]),
        (format!("chain,address,role\nbitcoin,{KEY_ADDRESS}\n"), &["list.csv:2: ", "2 cells"]),
        (
            format!("chain,adress,role\nbitcoin,{KEY_ADDRESS},hot\n"),
            &["list.csv:1: adress: ", "did you mean `address`?"],
        ),
        ("chain,address\n".into(), &["list.csv:1: role: is missing"]),
        ("chain,address,role,role\n".into(), &["list.csv:1: role: is there twice"]),
        (String::new(), &["list.csv: is empty", "hint: "]),
    ];
    let lab = lab();
    for (text, words) in table {
        lab.write("exchanges/acme/list.csv", &text);
        wrong(&lab, &["index", "--once"], words);
    }
    let file = lab.path("exchanges/acme/list.csv");
    std::fs::write(&file, b"chain,address,role\nbitcoin,\xff,hot\n").unwrap();
    wrong(&lab, &["index", "--once"], &["list.csv:2: is not UTF-8"]);
    std::fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    wrong(&lab, &["index", "--once"], &["list.csv: is longer than"]);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    wrong(&lab, &["index", "--once"], &["list.csv: cannot be read: "]);
}

#[test]
fn what_is_wrong_with_the_folder_is_named() {
    let lab = lab();
    lab.write("exchanges/two/exchange.toml", "id = \"acme\"\n");
    wrong(&lab, &["index", "--once"], &["exchange.toml:1: id: ", "`acme` is taken already"]);
    std::fs::remove_file(lab.path("exchanges/two/exchange.toml")).unwrap();
    wrong(&lab, &["index", "--once"], &["two: has no exchange.toml"]);
    std::fs::remove_dir(lab.path("exchanges/two")).unwrap();
    lab.write("exchanges/list.csv", "chain,address,role\n");
    wrong(&lab, &["index", "--once"], &["list.csv: belongs to no exchange", "hint: "]);
    std::fs::remove_file(lab.path("exchanges/list.csv")).unwrap();
    lab.write("exchanges/acme/more.toml", "");
    wrong(&lab, &["index", "--once"], &["more.toml: is not read", "hint: "]);
    std::fs::remove_dir_all(lab.path("exchanges/acme")).unwrap();
    wrong(&lab, &["index", "--once"], &["exchanges: declares no exchange", "hint: "]);
    std::fs::remove_dir(lab.path("exchanges")).unwrap();
    wrong(&lab, &["index", "--once"], &["exchanges: cannot be read: ", "hint: "]);
}
