//! `assay submit` from an exchange's ledger in a real PostgreSQL to a real `assay serve`: exact, in order, through everything that
//! comes in between.

#![allow(clippy::unwrap_used)]

mod lab;
#[path = "lab/scene.rs"]
mod scene;
#[path = "lab/serving.rs"]
mod serving;
#[path = "lab/submitting.rs"]
mod submitting;

use assay_testnodes::Postgres;
use assay_types::{Digest, Timestamp};
use lab::Ran;
use scene::{SUBSIDY, indexed, token};
use serde_json::{Value, json};
use submitting::{Exchange, QUERY, Submitting, must_be_one_chain, numbers, secret, statement, until};

/// The numbers of `taken as number 7, sha256:…: backed`.
fn number(line: &str) -> u64 {
    let rest = line.strip_prefix("taken as number ").unwrap_or_else(|| panic!("{line}"));
    rest.split_once(',').unwrap().0.parse().unwrap()
}

fn refused(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{}", ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is not said: {}", ran.stderr);
    }
}

#[test]
fn a_ledger_is_told_to_the_last_digit_and_the_next_statement_goes_on_from_there() {
    let exchange = Exchange::new(2);
    let (lab, database) = (&exchange.scene.lab, &exchange.database);
    let serving = exchange.scene.serve();
    indexed(&serving, 2);
    database.execute("update ledger set customers = 123456789012345678901234567890.12345678, house = 1.5").unwrap();
    // Every column there is. What is NULL is not reported; what is 0 is.
    lab.write(
        "ledger.sql",
        "select asset, customers, house, 7::bigint as negative, '0.00000001'::text as inventory,
                0.1000::numeric as deposits, 3 as withdrawals, 0.000::numeric(38, 18) as rewards, null::numeric as fees, '2' as corrections,
                jsonb_build_array(jsonb_build_object('chain', 'bitcoin', 'txid', repeat('ab', 32), 'vout', 1, 'amount', '0.5')) as uncredited_deposits,
                '[{\"window\": \"1h\", \"traded\": \"1788\"}]'::json as volume, '[]'::jsonb as elsewhere,
                null::jsonb as pending_withdrawals, null::json as unconfirmed_credits
           from ledger -- the whole of it",
    );
    let clock = || exchange.database.execute("select floor(extract(epoch from now()))::bigint").unwrap().unwrap();
    let began: i64 = clock().parse().unwrap();
    let ran = exchange.ask_once(&["--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let receipt: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.stdout.lines().count(), &receipt["sequence"]), (1, &json!(1)));
    assert_eq!(receipt["verdict"]["verdict"], "short", "{receipt:#}");
    assert_eq!(receipt["verdict"]["lines"][0]["customers"], "123456789012345678901234567890.12345678");
    let first = statement(&serving, 1);
    let as_of: Timestamp = first["as_of"]["time"].as_str().unwrap().parse().unwrap();
    assert!((began..=clock().parse().unwrap()).contains(&as_of.unix_s()), "{first}");
    let expected = json!({
        "format": "assay.statement/1", "exchange": "acme", "sequence": 1, "as_of": { "time": first["as_of"]["time"] },
        "assets": [ {
            "asset": "BTC", "customers": "123456789012345678901234567890.12345678", "house": "1.5", "negative": "7",
            "inventory": "0.00000001",
            "uncredited_deposits": [ { "chain": "bitcoin", "txid": "ab".repeat(32), "vout": 1, "amount": "0.5" } ],
            "volume": [ { "window": "1h", "traded": "1788" } ], "elsewhere": [],
            "flows": { "deposits": "0.1", "withdrawals": "3", "rewards": "0", "corrections": "2" },
        } ],
    });
    assert_eq!(first, expected);

    // The next one: what came since is a flow, once, and the chain is not broken. Over the socket now, as one who may only read.
    exchange.connect_by(&database.over_socket().replace("user=assay", "user=reader"));
    lab.write("ledger.sql", QUERY);
    let deposits = |number: u64| statement(&serving, number)["assets"][0]["flows"]["deposits"].clone();
    database.execute("insert into entries (asset, deposit) values ('BTC', 12.5), ('BTC', 0.00000001)").unwrap();
    assert_eq!(exchange.ask_once(&[]).code, 0);
    assert_eq!(exchange.ask_once(&[]).code, 0);
    assert_eq!((deposits(2), deposits(3)), (json!("12.50000001"), json!("0")));
    // Without its folder it asks the server which one was the last.
    std::fs::remove_dir_all(lab.path("outgoing")).unwrap();
    database.execute("insert into entries (asset, deposit) values ('BTC', 1)").unwrap();
    let ran = exchange.ask_once(&[]);
    assert!(ran.stdout.starts_with("taken as number 4, sha256:"), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(deposits(4), json!("1"));

    // The query in the documentation.
    database
        .execute(
            "create table balances (asset text, customer int, balance numeric); create table deposits (at timestamptz, asset text, amount numeric);
             grant select on balances, deposits to reader;
             insert into balances values ('BTC', 1, 70.5), ('BTC', 2, -0.5), ('BTC', 3, 30), ('BTC', 4, -2);
             insert into deposits select clock_timestamp(), 'BTC', 4",
        )
        .unwrap();
    let page = include_str!("../docs/statements.md").split_once("```sql\n").unwrap().1;
    lab.write("ledger.sql", page.split_once("```").unwrap().0);
    assert_eq!(exchange.ask_once(&[]).code, 0);
    let told = &statement(&serving, 5)["assets"][0];
    assert_eq!((&told["customers"], &told["negative"], deposits(5)), (&json!("100.5"), &json!("2.5"), json!("4")));
    must_be_one_chain(&serving, &exchange, 5);
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn what_a_ledger_must_not_say_is_refused_by_name_and_changes_nothing() {
    let exchange = Exchange::new(1);
    let (lab, database) = (&exchange.scene.lab, &exchange.database);
    // With no statement here, and nobody to ask, there is no number for the next.
    refused(&exchange.ask_once(&[]), 3, &["which statement was the last one is not known", "Connection refused"]);
    let serving = exchange.scene.serve();
    database
        .execute(
            "create function pay() returns numeric language plpgsql as
             $$ begin update ledger set customers = 0; return 1; end $$;
             create function look() returns numeric language plpgsql as
             $$ begin perform set_config('transaction_read_only', 'off', true); update ledger set customers = 0; return 1; end $$",
        )
        .unwrap();
    let two = |customers: &str| {
        format!("select * from (values ('BTC', 1::numeric), ('BTC', {customers})) as t (asset, customers)")
    };
    let one = |column: &str| format!("select 'BTC' as asset, 1 as customers, {column}");
    let table: Vec<(String, &[&str])> = vec![
        (
            "select 'BTC' as asset, 1.5::float8 as customers".into(),
            &["column customers", "float8", "money is never a float"],
        ),
        (one("0.5::real as fees"), &["column fees: is float4 in every row", "hint: keep amounts as numeric"]),
        (one("1 as hose"), &["column hose: is none that a statement has", "hint: did you mean `house`?"]),
        (one("1 as house, 2 as house"), &["column house: is there twice"]),
        (one("'1'::money as house"), &["column house: is money, and should be numeric"]),
        (one("'[]'::text as elsewhere"), &["column elsewhere: is text, and should be jsonb"]),
        ("select 'BTC' as asset".into(), &["column customers: is missing", "hint: a row for each asset"]),
        (
            "select 'BTX' as asset, 1 as customers".into(),
            &["row 1: asset: `BTX` is not an asset", "did you mean `BTC`?"],
        ),
        (two("2"), &["row 2: BTC is reported already"]),
        (two("null"), &["row 2: customers: is NULL", "hint: nothing is said with 0: coalesce"]),
        (two("'NaN'"), &["row 2: customers: `NaN` is not a decimal amount"]),
        (two("-0.1"), &["row 2: customers: `-0.1` is negative"]),
        (two("0.123456789"), &["row 2: customers: `0.123456789` is more precise than the asset"]),
        (one("-1 as fees"), &["row 1: fees: `-1` is negative"]),
        (
            one("'[{\"kind\": \"moon\", \"amount\": 1}]'::jsonb as elsewhere"),
            &["row 1: elsewhere[0].kind: `moon`", "should be a string"],
        ),
        ("select asset, customers from ledger where false".into(), &["assets: names no asset"]),
        (
            "insert into ledger values ('ETH', 1) returning asset, customers".into(),
            &["cannot execute INSERT in a read-only transaction", "hint: the query may only read"],
        ),
        ("select 'BTC' as asset, pay() as customers".into(), &["cannot execute UPDATE in a read-only transaction"]),
        ("select 'BTC' as asset, look() as customers".into(), &["transaction read-write mode"]),
        ("select 'BTC' as asset, 1 as customers; delete from ledger".into(), &["multiple commands"]),
        ("commit".into(), &["column asset: is missing"]),
        ("select asset,\n  custmers\nfrom ledger".into(), &["ledger.sql:2: column \"custmers\" does not exist"]),
    ];
    for (query, words) in &table {
        lab.write("ledger.sql", query);
        refused(&exchange.ask_once(&[]), 2, &[&["error: ledger.sql"], *words].concat());
    }
    // What takes too long is given up; it may be faster the next time.
    exchange.connect_by(&format!("{} options='-c statement_timeout=100ms'", database.over_tcp()));
    lab.write("ledger.sql", "select 'BTC' as asset, 1 as customers from pg_sleep(60)");
    refused(&exchange.ask_once(&[]), 3, &["statement timeout"]);

    let ledger = database.execute("select string_agg(ledger::text, ' ') from ledger").unwrap();
    assert_eq!(ledger.as_deref(), Some("(BTC,100.00000000,0.000000000000000000)"), "something was written");
    assert_eq!((numbers(&serving), exchange.waiting()), (vec![], vec![]));
    // No number was spent on any of them.
    lab.write("ledger.sql", QUERY);
    assert!(exchange.ask_once(&[]).stdout.starts_with("taken as number 1,"));
}

#[test]
fn a_connection_is_as_private_as_it_was_asked_to_be_and_its_password_is_never_shown() {
    let exchange = Exchange::new(1);
    let lab = &exchange.scene.lab;
    let serving = exchange.scene.serve();
    let wrong_password = exchange.database.over_tcp().replace("correct horse", "battery staple");
    exchange.connect_by(&wrong_password);
    let ran = exchange.ask_once(&[]);
    refused(&ran, 2, &["the database: password authentication failed", "hint: see --database-file"]);
    exchange.connect_by("host=localhost password=battery staple=1 sslmode=verify-full");
    let malformed = exchange.ask_once(&[]);
    refused(&malformed, 2, &["ledger.conn: is no connection string of PostgreSQL", "hint: host="]);
    assert!(!(ran.stderr + &malformed.stderr).contains("staple"));
    let open = lab.write("open.conn", &exchange.database.over_tcp());
    std::fs::set_permissions(open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let words = ["--query", "ledger.sql", "--database-file", "open.conn"];
    refused(&lab.assay(&exchange.words(&words)), 2, &["open.conn: others may read this secret"]);
    exchange.connect_by(&exchange.database.over_tcp().replace(&exchange.database.port().to_string(), "1"));
    refused(&exchange.ask_once(&[]), 3, &["the database: error connecting to server", "hint: is it running"]);
    // This server does not speak TLS, and is then not spoken to.
    exchange.connect_by(&format!("{} sslmode=require", exchange.database.over_tcp()));
    refused(&exchange.ask_once(&[]), 2, &["server does not support TLS"]);

    // Another one does, with a certificate that it made by itself.
    let folder = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args([
            "-subj",
            "/CN=ledger",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let path = |name: &str| folder.path().join(name).display().to_string();
    let settings = format!("ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'", path("cert.pem"), path("key.pem"));
    let private = Postgres::start(folder.path(), &settings).unwrap();
    lab.write(
        "ledger.sql",
        "select 'BTC' as asset, 50 as customers from pg_stat_ssl where pid = pg_backend_pid() and ssl",
    );
    let by_name = private.over_tcp().replace("host=127.0.0.1", "host=localhost hostaddr=127.0.0.1");
    secret(lab, "ledger.conn", &format!("{by_name} sslmode=require"));
    refused(&exchange.ask_once(&[]), 2, &["the database: error performing TLS handshake", "hint: see sslmode"]);
    let ran = exchange.ask_once(&["--database-ca", &path("cert.pem")]);
    assert!(ran.stdout.starts_with("taken as number 1,"), "{}{}", ran.stdout, ran.stderr);
    // A certificate of somebody else is none of this one.
    secret(lab, "ledger.conn", &format!("{} sslmode=require", private.over_tcp()));
    refused(&exchange.ask_once(&["--database-ca", &path("cert.pem")]), 2, &["error performing TLS handshake"]);
    // What the service manager hands over is nobody else's, whatever its mode looks like.
    let given = lab.path("open.conn");
    let mut command =
        lab.command(&exchange.words(&["--query", "ledger.sql", "--database-file", given.to_str().unwrap()]));
    lab.write("ledger.sql", QUERY);
    let ran = command.env("CREDENTIALS_DIRECTORY", given.parent().unwrap()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(numbers(&serving), [2, 1]);
}

#[test]
fn while_the_server_is_away_statements_go_on_and_arrive_in_order_once_it_is_back() {
    let exchange = Exchange::new(2);
    let serving = exchange.scene.serve();
    indexed(&serving, 2);
    let submitting = exchange.keep_asking(&[]);
    assert_eq!(number(&submitting.told()), 1);
    serving.kill();
    until("three statements wait", || exchange.waiting().len() >= 3);
    submitting.said("once more in 1 s");
    let waited = exchange.waiting();
    let bytes =
        |number: u64| std::fs::read(exchange.scene.lab.path(&format!("outgoing/acme/{number:016}.json"))).unwrap();
    let kept: Vec<(u64, Digest)> = waited.iter().map(|number| (*number, Digest::of(&bytes(*number)))).collect();

    let serving = exchange.scene.serve();
    until("they have arrived", || numbers(&serving).first() > waited.last());
    let (code, lines) = submitting.stop();
    assert_eq!(code, 0);
    let told: Vec<u64> = lines.iter().map(|line| number(line)).collect();
    assert_eq!(told, (2..2 + told.len() as u64).collect::<Vec<_>>(), "in order, none twice");
    let taken = numbers(&serving)[0];
    must_be_one_chain(&serving, &exchange, taken);
    for (number, digest) in kept {
        let path = format!("/v1/exchanges/acme/statements/{number}");
        let body = serving.ask_as(&exchange.scene.regulator, "GET", &path, &[]).body;
        assert_eq!(Digest::of(body.as_bytes()), digest, "the same bytes as were kept");
    }
    // They were made at their times, one in each round.
    let second = |number: u64| {
        let time: Timestamp = statement(&serving, number)["as_of"]["time"].as_str().unwrap().parse().unwrap();
        time.unix_s()
    };
    assert!((2..=taken).all(|number| second(number) >= second(number - 1)));
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_round_that_takes_longer_than_its_time_is_not_made_up_for() {
    let exchange = Exchange::new(1);
    let serving = exchange.scene.serve();
    exchange.scene.lab.write("ledger.sql", "select 'BTC' as asset, 50 as customers from pg_sleep(1.3)");
    let submitting = exchange.keep_asking(&[]);
    let last = [(); 3].map(|()| number(&submitting.told()))[2];
    submitting.said("rounds are left out");
    assert_eq!(submitting.stop().0, 0);
    let second = |number: u64| {
        let time: Timestamp = statement(&serving, number)["as_of"]["time"].as_str().unwrap().parse().unwrap();
        time.unix_s()
    };
    assert!((2..=last).all(|number| second(number) > second(number - 1)), "each is of its own instant");
    must_be_one_chain(&serving, &exchange, numbers(&serving)[0]);
}

#[test]
fn killed_at_any_instant_it_goes_on_without_a_gap_or_a_fork() {
    let exchange = Exchange::new(2);
    let serving = exchange.scene.serve();
    indexed(&serving, 2);
    for nth in 0..12 {
        let submitting = exchange.keep_asking(&[]);
        if nth % 3 == 2 {
            submitting.told();
        }
        std::thread::sleep(std::time::Duration::from_millis(17 * nth)); // the instant of the kill is the question
        submitting.kill();
    }
    let submitting = exchange.keep_asking(&[]);
    let last = [submitting.told(), submitting.told()].map(|line| number(&line))[1];
    let (code, more) = submitting.stop();
    assert_eq!(code, 0);
    let last = more.last().map_or(last, |line| number(line));
    // What a stop leaves to wait goes with the next run.
    let ran = exchange.ask_once(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let end = ran.stdout.lines().last().map(number).unwrap();
    assert!(end > last, "{}", ran.stdout);
    must_be_one_chain(&serving, &exchange, end);
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_token_that_counts_no_more_ends_it_and_what_waits_is_sent_with_another() {
    let exchange = Exchange::new(2);
    let lab = &exchange.scene.lab;
    let serving = exchange.scene.serve();
    indexed(&serving, 2);
    let mut submitting = exchange.keep_asking(&[]);
    submitting.told();
    let another =
        Submitting::start(lab, &exchange.words(&["--query", "ledger.sql", "--database-file", "ledger.conn"])).wait();
    assert_eq!(another, 2, "one at a time sends from a folder");
    let tokens = std::fs::read_to_string(lab.path("tokens")).unwrap();
    let regulator = tokens.split("[[token]]").nth(1).unwrap();
    lab.write("tokens", &format!("[[token]]{regulator}"));
    assert_eq!(submitting.wait(), 2);
    submitting.said("error: refused: 401 Unauthorized: this token does not count");
    submitting.said("hint: --token-file");
    let waiting = exchange.waiting();
    assert!(!waiting.is_empty());
    // Nor does it count at a start.
    let ran = exchange.ask_once(&[]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("refused: 401"), "{}", ran.stderr);

    lab.write("acme.token", &token(lab, &["acme-2", "--scope", "exchange", "--exchange", "acme"]));
    until("the new token counts", || exchange.ask_once(&[]).code == 0);
    assert!(exchange.waiting().is_empty());
    let last = numbers(&serving)[0];
    assert!(last > *waiting.last().unwrap());
    must_be_one_chain(&serving, &exchange, last);

    // Somebody else takes the next number: that is for people to sort out.
    let body = exchange.scene.statement(last + 1, 1);
    lab.write("other.json", &body);
    assert_eq!(lab.assay(&exchange.words(&["--statement", "other.json"])).code, 0);
    let mut forked = exchange.keep_asking(&[]);
    assert_eq!(forked.wait(), 2);
    forked.said("refused: 409 Conflict");
    // Another may have been asked for before the refusal came.
    assert_eq!(exchange.waiting().first(), Some(&(last + 1)), "it is kept, to be looked at");
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_statement_that_is_refused_leaves_its_number_empty_and_the_chain_whole() {
    let exchange = Exchange::new(2);
    let lab = &exchange.scene.lab;
    // The exchange follows a chain of which the server knows nothing.
    let ours = std::fs::read_to_string(lab.path("assay.toml")).unwrap();
    let theirs = ours.clone() + &lab::evm_chain("http://127.0.0.1:1", 1, 1).replace(lab::ANVIL, "eip155:1");
    let with_ether = || exchange.database.execute("insert into ledger values ('ETH', 1, 0)").unwrap();
    let without = || exchange.database.execute("delete from ledger where asset = 'ETH'").unwrap();
    let serving = exchange.scene.serve();
    assert_eq!(exchange.ask_once(&[]).code, 0);
    serving.kill();
    lab.write("assay.toml", &theirs);
    with_ether();
    let away = exchange.ask_once(&[]);
    refused(&away, 3, &["could not be handed over", "hint: it waits in outgoing/acme"]);
    without();
    assert_eq!(exchange.ask_once(&[]).code, 3);
    assert_eq!(exchange.waiting(), [2, 3]);

    // What comes after one that is refused is taken all the same.
    lab.write("assay.toml", &ours);
    let serving = exchange.scene.serve();
    let ran = exchange.ask_once(&["--json"]);
    assert_eq!(ran.code, 2);
    let why = "the statement is refused: 422 Unprocessable Entity";
    assert!(ran.stderr.contains(why) && ran.stderr.contains("`ETH` is not an asset"), "{}", ran.stderr);
    let told: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let each = |field: &str| told.iter().map(|told| told[field].clone()).collect::<Vec<_>>();
    assert_eq!(each("sequence"), [2, 3, 4]);
    assert!(told[0]["refused"].as_str().unwrap().starts_with(why) && told[1]["refused"].is_null());
    let put_away = lab.path("outgoing/acme/refused/0000000000000002.json");
    assert_eq!(json!(Digest::of(&std::fs::read(&put_away).unwrap()).to_string()), told[0]["digest"]);
    assert!(std::fs::read_to_string(put_away.with_extension("json.error")).unwrap().contains("`ETH`"));
    assert_eq!(statement(&serving, 3)["previous"], told[0]["digest"], "it was made before anyone knew");

    // The number is not given again. What is made now names the last that was taken, and counts its flows from there.
    lab.write("assay.toml", &theirs);
    with_ether();
    assert_eq!(exchange.ask_once(&[]).code, 2);
    without();
    exchange.database.execute("insert into entries (asset, deposit) values ('BTC', 3)").unwrap();
    assert!(exchange.ask_once(&[]).stdout.starts_with("taken as number 6,"));
    let last = statement(&serving, 6);
    assert_eq!((&last["previous"], &last["assets"][0]["flows"]["deposits"]), (&told[2]["digest"], &json!("3")));
    assert_eq!(numbers(&serving), [6, 4, 3, 1]);
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn a_file_that_another_program_writes_is_sent_when_it_has_changed() {
    let exchange = Exchange::new(2);
    let (scene, lab) = (&exchange.scene, &exchange.scene.lab);
    let serving = scene.serve();
    indexed(&serving, 2);
    let write = |text: &str| {
        lab.write("next.json", text);
        std::fs::rename(lab.path("next.json"), lab.path("statement.json")).unwrap();
    };
    write(&scene.statement(7, 2 * SUBSIDY));
    let submitting = Submitting::start(lab, &exchange.words(&["--statement", "statement.json", "--every", "1s"]));
    assert_eq!(number(&submitting.told()), 7);
    write("{\"format\": \"assay.stat");
    submitting.said("statement.json:1: is not JSON");
    write(&scene.statement(7, 1));
    submitting.said("statement.json: sequence: is 7, and 7 was given to another statement already");
    write(&scene.statement(9, 2 * SUBSIDY + 1));
    let line = submitting.told();
    assert!(number(&line) == 9 && line.ends_with(": short"), "{line}");
    let (code, more) = submitting.stop();
    assert_eq!((code, more), (0, vec![]), "what did not change is not sent again");
    assert_eq!(numbers(&serving), [9, 7]);
    assert_eq!(serving.stop().0, 0);
}
