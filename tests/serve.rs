//! `assay serve` on a real bitcoind: told within a tick, kept through a kill, honest when it is blind.

#![allow(clippy::unwrap_used)]

mod lab;
#[path = "lab/scene.rs"]
mod scene;
#[path = "lab/serving.rs"]
mod serving;

use lab::Lab;
use scene::{SUBSIDY, Scene, assay_time, btc_gate, indexed, submit, token};
use serde_json::{Value, json};
use serving::Serving;

fn verdicts(serving: &Serving) -> Vec<(u64, String, String)> {
    let kept = serving.get("/v1/exchanges/acme/verdicts");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |kept: &Value| {
        (kept["sequence"].as_u64().unwrap(), text(&kept["verdict"]["verdict"]), text(&kept["verdict"]["stage"]))
    };
    kept["verdicts"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn a_shortage_is_told_at_once_and_kept_through_a_kill() {
    let scene = Scene::new(10);
    let serving = scene.serve();
    indexed(&serving, 10);

    let backed = scene.statement(1, 10 * SUBSIDY);
    let receipt = submit(&serving, &scene.acme, "acme", &backed);
    assert_eq!(receipt.status, 201, "{}", receipt.body);
    assert_eq!(receipt.json()["verdict"]["verdict"], "backed");
    assert_eq!(receipt.json()["verdict"]["stage"], "provisional");
    assert_eq!(btc_gate(&serving)["signal"], "allow");

    // The same again is answered as before; another one under its number is refused, and the first one stays.
    let again = submit(&serving, &scene.acme, "acme", &backed);
    assert_eq!((again.status, again.json()["repeated"].as_bool()), (200, Some(true)));
    assert_eq!(submit(&serving, &scene.acme, "acme", &scene.statement(1, 7)).status, 409);

    let short = scene.statement(2, 10 * SUBSIDY + 1);
    let receipt = submit(&serving, &scene.acme, "acme", &short).json();
    assert_eq!(receipt["verdict"]["verdict"], "short");
    assert_eq!(btc_gate(&serving)["signal"], "halt");
    let overview = serving.get("/v1/exchanges/acme");
    assert!(overview["findings"].as_array().unwrap().iter().any(|found| found["rule"] == "phantom-assets"));

    let alerts = || serving.get("/v1/alerts")["alerts"].as_array().unwrap().clone();
    let firing = |rule: &str| alerts().into_iter().filter(|alert| alert["rule"] == rule).collect::<Vec<_>>();
    let phantom = firing("phantom-assets");
    assert_eq!((phantom.len(), phantom[0]["state"].as_str()), (1, Some("firing")));
    assert_eq!(firing("rewritten-history").len(), 1, "the other statement under number 1");

    // Both get a final verdict once their blocks are final, also the one that is not the latest any more.
    scene.mine(3);
    let expected =
        |stage: &str| vec![(2, "short".to_owned(), stage.to_owned()), (1, "backed".to_owned(), stage.to_owned())];
    let both_final = |kept: &Value| {
        kept["verdicts"].as_array().unwrap().iter().filter(|kept| kept["verdict"]["stage"] == "final").count() == 2
    };
    serving.wait("/v1/exchanges/acme/verdicts", both_final);
    let before = verdicts(&serving);
    let finals: Vec<_> = before.iter().filter(|(_, _, stage)| stage == "final").cloned().collect();
    let mut sorted = finals.clone();
    sorted.sort_by_key(|(sequence, ..)| std::cmp::Reverse(*sequence));
    assert_eq!(sorted, expected("final"));
    serving.kill();

    // Killed and started again: no verdict is lost, none is given twice, and the gate is still shut.
    let serving = scene.serve();
    indexed(&serving, 13);
    assert_eq!(verdicts(&serving), before);
    assert_eq!(btc_gate(&serving)["signal"], "halt");
    let alerts = serving.get("/v1/alerts")["alerts"].as_array().unwrap().clone();
    let again: Vec<_> = alerts.into_iter().filter(|alert| alert["rule"] == "phantom-assets").collect();
    assert_eq!(again, phantom, "the same alert, fired once, also after a kill");
    let kept = serving.ask_as(&scene.regulator, "GET", "/v1/exchanges/acme/statements/2", &[]);
    assert_eq!(kept.body, short, "a statement is given back byte for byte");

    // The debt is made good: the gate opens after nothing has stood against it for a while.
    let receipt = submit(&serving, &scene.acme, "acme", &scene.statement(3, 10 * SUBSIDY)).json();
    assert_eq!(receipt["verdict"]["verdict"], "backed");
    serving.wait("/v1/exchanges/acme/gate", |gate| gate["gates"][0]["signal"] == "allow");
    serving.wait("/v1/alerts", |all| {
        let alerts = all["alerts"].as_array().unwrap();
        alerts.iter().any(|alert| alert["rule"] == "phantom-assets" && alert["state"] == "resolved")
    });
    // A provisional verdict is not given anew because the process was: what it rests on is the same.
    let before = verdicts(&serving);
    assert_eq!(before[0], (3, "backed".to_owned(), "provisional".to_owned()));
    serving.kill();
    let serving = scene.serve();
    serving.wait("/v1/exchanges/acme", |acme| acme["verdict"]["verdict"] == "backed");
    assert_eq!(verdicts(&serving), before);
    let (code, _) = serving.stop();
    assert_eq!(code, 0);
}

#[test]
fn with_the_node_down_it_says_since_when_and_what_was_last_known() {
    let scene = Scene::new(6);
    let serving = scene.serve();
    indexed(&serving, 6);
    assert_eq!(
        submit(&serving, &scene.acme, "acme", &scene.statement(1, 6 * SUBSIDY)).json()["verdict"]["verdict"],
        "backed"
    );
    let named = scene.statement(2, 6 * SUBSIDY);
    let Scene { node, lab, acme, .. } = scene;
    node.kill();
    let chains = serving.wait("/v1/chains", |chains| !chains["chains"][0]["trouble"].is_null());
    assert_eq!(chains["chains"][0]["indexed"]["height"], 6, "what was last known is still shown");
    assert!(chains["chains"][0]["trouble"]["since"].is_string());

    // What the store has is still judged; a block that it cannot know is unknown, and unknown is never backed.
    assert_eq!(submit(&serving, &acme, "acme", &named).json()["verdict"]["verdict"], "backed");
    let mut unknown: Value = serde_json::from_str(&named).unwrap();
    unknown["sequence"] = json!(3);
    unknown["as_of"]["blocks"]["bitcoin"] = json!({ "height": 7, "hash": "11".repeat(32) });
    let receipt = submit(&serving, &acme, "acme", &unknown.to_string()).json();
    assert_eq!(receipt["verdict"]["verdict"], "indeterminate");
    let gate = serving.wait("/v1/exchanges/acme/gate", |gates| gates["gates"][0]["signal"] == "halt");
    assert_eq!(gate["gates"][0]["blind"], true, "{gate:#}");
    assert_eq!(serving.ask("GET", "/readyz", &[], &[]).status, 200, "a node that is away may come back");
    drop(serving);
    drop(lab);
}

#[test]
fn the_intake_folder_and_changed_declarations_take_effect() {
    let scene = Scene::new(4);
    let serving = scene.serve();
    indexed(&serving, 4);
    scene.lab.write("intake/acme/1.json", &scene.statement(1, 4 * SUBSIDY));
    scene.lab.write("intake/acme/2.json", "{}");
    serving.wait("/v1/exchanges/acme", |acme| acme["verdict"]["verdict"] == "backed");
    let refused = scene.lab.path("intake/acme/refused/2.json.error");
    serving.wait("/v1/chains", |_| refused.exists());
    let why = std::fs::read_to_string(refused).unwrap();
    assert!(why.contains("format"), "{why}");
    assert!(scene.lab.path("intake/acme/accepted/1.json").exists());

    // Another exchange is declared while the daemon runs.
    let other = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";
    let wallet = format!("[[wallet]]\nchain = \"bitcoin\"\nrole = \"hot\"\naddress = \"{other}\"\n");
    scene.lab.write("exchanges/beta/exchange.toml", &format!("id = \"beta\"\nname = \"Beta\"\n\n{wallet}"));
    serving.wait("/v1/exchanges", |all| all["exchanges"].as_array().unwrap().len() == 2);
    let beta = token(&scene.lab, &["beta-1", "--scope", "exchange", "--exchange", "beta"]);
    let statement = scene.statement(1, 0).replace("\"acme\"", "\"beta\"");
    let mut nth = 0;
    loop {
        nth += 1;
        let sequence = format!("\"sequence\":{nth}");
        let receipt = submit(&serving, &beta, "beta", &statement.replace("\"sequence\":1", &sequence)).json();
        // Its history is filled in beside; until then it is unknown, and owes nothing.
        if receipt["verdict"]["lines"][0]["accounts"]["verified"]["accounts"] == 1 {
            break;
        }
        assert!(nth < 100, "{receipt:#}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Makes a token by the command, adds its line to the file, and gives the secret.
#[test]
fn every_route_asks_who_it_is_and_no_exchange_sees_another() {
    let scene = Scene::new(3);
    let wallet = "[[wallet]]\nchain = \"bitcoin\"\nrole = \"hot\"\naddress = \"bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry\"\n";
    scene.lab.write("exchanges/beta/exchange.toml", &format!("id = \"beta\"\nname = \"Beta\"\n\n{wallet}"));
    let (regulator, acme) = (scene.regulator.clone(), scene.acme.clone());
    let analyst = token(&scene.lab, &["desk", "--scope", "analyst"]);
    let file = std::fs::read_to_string(scene.lab.path("tokens")).unwrap();
    assert_eq!(file.matches("[[token]]").count(), 3);
    assert!(![&regulator, &acme, &analyst].iter().any(|secret| file.contains(*secret)), "only hashes rest on disk");

    let serving = scene.serve();
    let ask = |secret: &str, method: &str, path: &str, body: &[u8]| serving.ask_as(secret, method, path, body);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while ask(&regulator, "GET", "/v1/chains", &[]).json()["chains"][0]["indexed"]["height"] != 3 {
        assert!(std::time::Instant::now() < until, "it does not index");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let statement = scene.statement(1, 3 * SUBSIDY);
    assert_eq!(ask(&regulator, "POST", "/v1/exchanges/acme/statements", statement.as_bytes()).status, 403);
    assert_eq!(ask(&acme, "POST", "/v1/exchanges/acme/statements", statement.as_bytes()).status, 201);
    assert_eq!(ask(&acme, "POST", "/v1/exchanges/beta/statements", statement.as_bytes()).status, 404);

    let account = format!("/v1/accounts/bitcoin/{}", scene.address);
    let of = |id: &str, rest: &str| format!("/v1/exchanges/{id}{rest}");
    let mut table: Vec<(String, [u16; 3])> = vec![
        ("/v1/exchanges".into(), [200, 200, 200]),
        ("/v1/findings".into(), [200, 200, 200]),
        ("/v1/alerts".into(), [200, 200, 200]),
        ("/v1/silences".into(), [200, 403, 403]),
        ("/v1/chains".into(), [200, 403, 200]),
        ("/metrics".into(), [200, 403, 403]),
        (format!("{account}/balance"), [200, 403, 200]),
        (format!("{account}/history"), [200, 403, 200]),
        ("/healthz".into(), [200, 200, 200]),
        ("/readyz".into(), [200, 200, 200]),
        ("/nothing".into(), [404, 404, 404]),
    ];
    for rest in ["", "/holdings", "/statements", "/statements/1", "/verdicts", "/wallets", "/gate", "/maintenance"] {
        let there = if rest == "/statements/1" { 404 } else { 200 };
        table.push((of("acme", rest), [200, 200, 404]));
        table.push((of("beta", rest), [there, 404, 404]));
        table.push((of("nobody", rest), [404, 404, 404]));
    }
    for (path, expected) in &table {
        let found = [&regulator, &acme, &analyst].map(|secret| ask(secret, "GET", path, &[]).status);
        assert_eq!(found, *expected, "{path}");
        let open = ["/healthz", "/readyz"].contains(&path.as_str());
        for wrong in ["", "assay_wrong", &regulator[..regulator.len() - 1]] {
            assert_eq!(ask(wrong, "GET", path, &[]).status == 401, !open, "{path} for `{wrong}`");
        }
    }
    // Streams and what people do: none crosses either.
    for (path, expected) in
        [(of("beta", "/gate/stream"), [404, 404]), (of("acme", "/gate/stream?asset=ETH"), [400, 404])]
    {
        assert_eq!([&acme, &analyst].map(|secret| ask(secret, "GET", &path, &[]).status), expected, "{path}");
    }
    let window = json!({ "until": assay_time(4_000_000_000), "why": "x" }).to_string();
    let note = r#"{"note":"x"}"#;
    for (method, path, body, expected) in [
        ("POST", of("beta", "/maintenance"), &*window, [403, 404, 404]),
        ("POST", of("acme", "/maintenance"), &*window, [403, 422, 404]),
        (
            "POST",
            "/v1/silences".into(),
            r#"{"exchange":"acme","until":"2000-01-01T00:00:00Z","why":"x"}"#,
            [422, 403, 403],
        ),
        ("DELETE", "/v1/silences/x".into(), "", [404, 403, 403]),
        ("POST", "/v1/alerts/x/acknowledge".into(), note, [404, 404, 404]),
    ] {
        let found = [&regulator, &acme, &analyst].map(|secret| ask(secret, method, &path, body.as_bytes()).status);
        assert_eq!(found, expected, "{method} {path}");
    }
    // What is not for one to see looks exactly like what is not there, and lists leave it out.
    let detail = |path: String| {
        let mut problem = ask(&acme, "GET", &path, &[]).json();
        problem["instance"].take(); // the path that was asked for
        problem
    };
    assert_eq!(detail(of("beta", "")), detail(of("nobody", "")));
    let listed = ask(&acme, "GET", "/v1/exchanges", &[]).json();
    assert_eq!(listed["exchanges"].as_array().unwrap().len(), 1);
    assert_eq!(ask(&analyst, "GET", "/v1/exchanges", &[]).json()["exchanges"], json!([]));

    // Every refusal is a problem, and every answer carries what keeps browsers from harm.
    let refused = ask(&acme, "GET", &of("beta", ""), &[]);
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(refused.json()["status"], 404);
    assert_eq!(refused.header("x-content-type-options"), Some("nosniff"));
    let problem = |method: &str, path: &str, status: u16| {
        let answer = ask(&regulator, method, path, &[]);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some("application/problem+json")),
            "{path}"
        );
    };
    problem("DELETE", "/v1/chains", 405);
    problem("GET", &format!("{account}/history?cursor=x"), 400);
    problem("GET", &format!("{account}/history?colour=red"), 400);
    problem("GET", &format!("{account}/balance?at=99"), 404);
    problem("GET", "/v1/accounts/bitcoin/nonsense/balance", 400);
    problem("GET", "/v1/accounts/nowhere/x/balance", 404);

    // A tag saves sending the same again, and a history is read in pages that belong together.
    let first = ask(&analyst, "GET", &format!("{account}/history?limit=2"), &[]);
    let tag = first.header("etag").unwrap();
    let bearer = format!("Bearer {analyst}");
    let same = serving.ask(
        "GET",
        &format!("{account}/history?limit=2"),
        &[("authorization", &bearer), ("if-none-match", tag)],
        &[],
    );
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    let cursor = first.json()["next"].as_str().unwrap().to_owned();
    scene.mine(1);
    let second = ask(&analyst, "GET", &format!("{account}/history?limit=2&cursor={cursor}"), &[]).json();
    assert_eq!((second["movements"].as_array().unwrap().len(), &second["next"]), (1, &Value::Null));
    assert_eq!(second["as_of"]["height"], 3, "the pages show the chain as of the first one");
    let hash = scene.node.call("getblockhash", json!([2])).unwrap();
    scene.node.call("invalidateblock", json!([hash])).unwrap();
    let other = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";
    scene.node.call("generatetoaddress", json!([4, other])).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while ask(&analyst, "GET", &format!("{account}/history?limit=2&cursor={cursor}"), &[]).status != 410 {
        assert!(std::time::Instant::now() < until, "the block that left the chain is still shown");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }

    // A token that is struck out is worth nothing a moment later.
    let listed = scene.lab.json(&["token", "list"], 0);
    assert_eq!((&listed["tokens"][1]["id"], &listed["tokens"][1]["exchange"]), (&json!("acme-1"), &json!("acme")));
    let unknown = scene.lab.assay(&["token", "revoke", "acme-2"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("acme-1"), "{}", unknown.stderr);
    assert_eq!(scene.lab.assay(&["token", "revoke", "acme-1"]).code, 0);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while ask(&acme, "GET", "/v1/exchanges", &[]).status != 401 {
        assert!(std::time::Instant::now() < until, "a token that was revoked is still good");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(ask(&regulator, "GET", "/v1/chains", &[]).status, 200);
}

#[test]
fn it_does_not_listen_to_the_world_without_tokens_and_tls() {
    let scene = Scene::new(1);
    let configured = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    scene.lab.write("assay.toml", &configured.replace("127.0.0.1:0", "0.0.0.0:0"));
    let ran = scene.lab.assay(&["serve"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("tls_cert_file") && ran.stderr.contains("hint: "), "{}", ran.stderr);
}

/// Makes a key, and gives the public one.
fn new_key(lab: &Lab, file: &str) -> String {
    let made = lab.assay(&["keys", "new", file]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    made.stdout.trim().to_owned()
}

#[test]
fn a_statement_is_taken_only_with_a_signature_by_a_declared_key() {
    let scene = Scene::new(2);
    let (lab, exchange) = (&scene.lab, scene.lab.path("exchanges/acme/exchange.toml"));
    let (old, new) = (new_key(lab, "old.key"), new_key(lab, "new.key"));
    new_key(lab, "foreign.key");
    assert_eq!(lab.assay(&["keys", "new", "old.key"]).code, 2, "a key is never overwritten");
    let written = std::fs::read_to_string(&exchange).unwrap();
    let declare = |keys: &str| format!("statement_keys = [{keys}]\n{written}");
    lab.write("exchanges/acme/exchange.toml", &declare(&format!("\"{old}\"")));
    let serving = scene.serve();
    indexed(&serving, 2);
    lab.write("acme.token", &scene.acme);
    let to = format!("http://{}", serving.address());
    let send = |file: &str, key: &[&str]| {
        let words = ["submit", "acme", "--statement", file, "--to", &to, "--token-file", "acme.token", "--tries", "2"];
        lab.assay(&[&words, key].concat())
    };

    lab.write("1.json", &scene.statement(1, 2 * SUBSIDY));
    let checked = lab.json(&["statement", "check", "1.json"], 0);
    assert_eq!((checked["sequence"].as_u64(), checked["assets"][0]["customers"].as_str()), (Some(1), Some("100")));

    let unsigned = send("1.json", &[]);
    assert_eq!(unsigned.code, 2);
    assert!(unsigned.stderr.contains("there is none, and the exchange declares keys"), "{}", unsigned.stderr);
    let foreign = send("1.json", &["--key", "foreign.key"]);
    assert_eq!(foreign.code, 2);
    assert!(foreign.stderr.contains("not by any of the 1 keys"), "{}", foreign.stderr);
    assert_eq!(serving.get("/v1/exchanges/acme/statements")["statements"].as_array().unwrap().len(), 0);

    let taken = send("1.json", &["--key", "old.key"]);
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert!(taken.stdout.contains("taken as number 1") && taken.stdout.contains("backed"), "{}", taken.stdout);
    assert_eq!(serving.get("/v1/exchanges/acme/statements")["statements"][0]["signed_by"], old);

    // A new key comes beside the old one, which then goes.
    lab.write("2.json", &scene.statement(2, 2 * SUBSIDY));
    assert_eq!(send("2.json", &["--key", "new.key"]).code, 2);
    lab.write("exchanges/acme/exchange.toml", &declare(&format!("\"{new}\"")));
    let began = std::time::Instant::now();
    while send("2.json", &["--key", "new.key"]).code != 0 {
        assert!(began.elapsed().as_secs() < 60, "the new key is never taken");
    }
    lab.write("3.json", &scene.statement(3, 2 * SUBSIDY));
    assert_eq!(send("3.json", &["--key", "old.key"]).code, 2);
    // What is known already is answered as before, by the key of now.
    assert_eq!(send("2.json", &["--key", "new.key"]).code, 0);

    // Nobody is there: it is tried again, and said that it can be sent again.
    drop(serving);
    let away = send("3.json", &["--key", "new.key"]);
    assert_eq!(away.code, 3, "{}", away.stderr);
    assert!(away.stderr.contains("once more in 1 s") && away.stderr.contains("send it again"), "{}", away.stderr);
    lab.write("open.key", &std::fs::read_to_string(lab.path("new.key")).unwrap());
    let open = send("3.json", &["--key", "open.key"]);
    assert!(open.code == 2 && open.stderr.contains("others may read this secret"), "{}", open.stderr);
}

#[test]
fn what_leaves_after_the_statement_is_told_before_the_next_one() {
    let scene = Scene::new(1);
    let wallet = |method: &str, params: Value| scene.node.call(method, params).unwrap();
    wallet("createwallet", json!(["w"]));
    let hot = wallet("getnewaddress", json!([]));
    let hot = hot.as_str().unwrap();
    let exchange = scene.lab.path("exchanges/acme/exchange.toml");
    let declared = std::fs::read_to_string(&exchange).unwrap();
    let more = format!("[[wallet]]\nchain = \"bitcoin\"\nrole = \"hot\"\naddress = \"{hot}\"\n");
    scene.lab.write("exchanges/acme/exchange.toml", &format!("{declared}\n{more}"));
    let stranger = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";
    wallet("generatetoaddress", json!([5, hot]));
    wallet("generatetoaddress", json!([100, stranger]));
    let serving = scene.serve();
    indexed(&serving, 106);

    // 50 cold and 250 hot; 200 leave in the block after, and nobody has said anything new.
    let backed = scene.statement(1, 6 * SUBSIDY);
    assert_eq!(submit(&serving, &scene.acme, "acme", &backed).json()["verdict"]["verdict"], "backed");
    let firing = |alerts: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let alerts = alerts["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
        alerts.map(|alert| (text(&alert["rule"]), text(&alert["severity"]))).collect::<Vec<_>>()
    };
    assert_eq!(firing(&serving.get("/v1/alerts")), []);
    wallet("sendtoaddress", json!([stranger, 200]));
    wallet("generatetoaddress", json!([1, stranger]));
    let outflow = vec![("outflow-since-statement".to_owned(), "critical".to_owned())];
    serving.wait("/v1/alerts", |alerts| firing(alerts) == outflow);
    assert_eq!(btc_gate(&serving)["signal"], "halt");
    // The verdict is of the statement's own block, and stays.
    assert!(verdicts(&serving).iter().all(|(_, verdict, _)| verdict == "backed"));

    // A block that takes the payment back takes back what was said, too.
    let tip = wallet("getbestblockhash", json!([]));
    wallet("invalidateblock", json!([tip]));
    wallet("generateblock", json!([stranger, []]));
    wallet("generateblock", json!([stranger, []]));
    serving.wait("/v1/alerts", |alerts| firing(alerts).is_empty());
    serving.wait("/v1/exchanges/acme/gate", |gate| gate["gates"][0]["signal"] == "allow");

    // It leaves after all, and the next statement owes as much less.
    wallet("generatetoaddress", json!([1, stranger]));
    serving.wait("/v1/alerts", |alerts| firing(alerts) == outflow);
    assert_eq!(
        submit(&serving, &scene.acme, "acme", &scene.statement(2, SUBSIDY)).json()["verdict"]["verdict"],
        "backed"
    );
    serving.wait("/v1/alerts", |alerts| firing(alerts).is_empty());
}
