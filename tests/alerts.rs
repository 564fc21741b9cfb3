//! Alerts of `assay serve`, as whoever is on duty gets them: by webhook, and in a real Alertmanager.

#![allow(clippy::unwrap_used)]

mod lab;
#[path = "lab/receiver.rs"]
mod receiver;
#[path = "lab/scene.rs"]
mod scene;
#[path = "lab/serving.rs"]
mod serving;

use std::time::{Duration, Instant};

use assay_testnodes::Alertmanager;
use receiver::Receiver;
use scene::{SUBSIDY, Scene, assay_time, indexed, submit};
use serde_json::{Value, json};
use serving::Serving;

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn in_seconds(seconds: u64) -> String {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assay_time(since_epoch.as_secs() + seconds)
}

/// The one alert of this rule.
fn alert(serving: &Serving, rule: &str) -> Value {
    let alerts = serving.get("/v1/alerts");
    alerts["alerts"].as_array().unwrap().iter().find(|alert| alert["rule"] == rule).cloned().unwrap_or_default()
}

/// Waits until the Alertmanager has, or no longer has, an alert of this name.
fn wait(manager: &Alertmanager, name: &str, there: bool) -> Value {
    let began = Instant::now();
    loop {
        let alerts = manager.alerts().unwrap();
        let found = alerts.iter().find(|alert| alert["labels"]["alertname"] == name).cloned();
        if found.is_some() == there {
            return found.unwrap_or_default();
        }
        assert!(began.elapsed().as_secs() < 60, "{name} should be there: {there}; {alerts:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_alertmanager_knows_what_fires_through_its_own_restart_and_through_silences() {
    let scene = Scene::new(4);
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    let told = format!("\n[[alerts.alertmanager]]\nname = \"am\"\nurl = \"http://127.0.0.1:{port}/\"\n");
    let rule =
        "\n[[alerts.rule]]\nrule = \"phantom-assets\"\nowner = \"custody desk\"\nnotes = \"call the exchange\"\n";
    scene.lab.write("assay.toml", &format!("{config}{told}{}", rule.replace("assets", "asets")));
    let wrong = scene.lab.assay(&["serve"]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.stderr.contains("alerts.rule[0].rule") && wrong.stderr.contains("`phantom-assets`"),
        "{}",
        wrong.stderr
    );
    scene.lab.write("assay.toml", &format!("{config}{told}{rule}"));

    let serving = scene.serve(); // nobody listens yet
    indexed(&serving, 4);
    submit(&serving, &scene.acme, "acme", &scene.statement(1, 4 * SUBSIDY + 1));
    let manager = Alertmanager::start(folder.path(), port).unwrap();
    wait(&manager, "Watchdog", true);
    let short = wait(&manager, "phantom-assets", true);
    for (label, value) in [("exchange", "acme"), ("asset", "BTC"), ("severity", "critical")] {
        assert_eq!(short["labels"][label], value, "{short:#}");
    }
    assert_eq!(
        (&short["annotations"]["owner"], &short["annotations"]["notes"]),
        (&json!("custody desk"), &json!("call the exchange"))
    );
    assert!(short["annotations"]["first_steps"].as_str().unwrap().contains("assay explain"), "{short:#}");

    // Whoever is watched can take it on, and cannot make it quiet.
    let id = alert(&serving, "phantom-assets")["id"].as_str().unwrap().to_owned();
    let silence = json!({ "exchange": "acme", "until": in_seconds(600), "why": "known" }).to_string();
    assert_eq!(serving.ask_as(&scene.acme, "POST", "/v1/silences", silence.as_bytes()).status, 403);
    assert_eq!(serving.ask_as(&scene.acme, "GET", "/v1/silences", &[]).status, 403);
    let path = format!("/v1/alerts/{id}/acknowledge");
    assert_eq!(serving.ask_as(&scene.acme, "POST", &path, br#"{ "note": "looking" }"#).status, 200);
    assert_eq!(alert(&serving, "phantom-assets")["acknowledged"]["by"], "acme-1");
    wait(&manager, "phantom-assets", true);

    let everything = json!({ "until": in_seconds(600), "why": "no" }).to_string();
    assert_eq!(serving.ask_as(&scene.regulator, "POST", "/v1/silences", everything.as_bytes()).status, 422);
    let made = serving.ask_as(&scene.regulator, "POST", "/v1/silences", silence.as_bytes());
    assert_eq!(made.status, 201, "{}", made.body);
    wait(&manager, "phantom-assets", false);
    let quiet = alert(&serving, "phantom-assets");
    assert_eq!((&quiet["state"], &quiet["silenced"]["why"]), (&json!("firing"), &json!("known")), "it stays visible");
    assert!(serving.ask_as(&scene.regulator, "GET", "/metrics", &[]).body.contains("assay_alerts{state=\"firing\"} 0"));
    // A kill forgets neither the silence nor who has taken it on.
    serving.kill();
    let serving = scene.serve();
    indexed(&serving, 4);
    assert_eq!(serving.get("/v1/silences")["silences"][0], made.json());
    assert_eq!(alert(&serving, "phantom-assets")["acknowledged"]["note"], "looking");
    let path = format!("/v1/silences/{}", made.json()["id"].as_str().unwrap());
    assert_eq!(serving.ask_as(&scene.acme, "DELETE", &path, &[]).status, 403);
    assert_eq!(serving.ask_as(&scene.regulator, "DELETE", &path, &[]).status, 200);
    assert_eq!(serving.ask_as(&scene.regulator, "DELETE", &path, &[]).status, 404);
    wait(&manager, "phantom-assets", true);

    // The Alertmanager comes back knowing nothing, and is told again.
    drop(manager);
    let empty = tempfile::tempdir().unwrap();
    let manager = Alertmanager::start(empty.path(), port).unwrap();
    wait(&manager, "phantom-assets", true);
    submit(&serving, &scene.acme, "acme", &scene.statement(2, 4 * SUBSIDY));
    wait(&manager, "phantom-assets", false);
    wait(&manager, "Watchdog", true);
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn announced_maintenance_makes_a_late_statement_expected_and_hides_nothing() {
    let scene = Scene::new(4);
    let config = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    let more = "max_maintenance = \"1h\"\n\n[policy]\nmax_statement_age = \"2s\"\n";
    scene.lab.write("assay.toml", &format!("{config}{more}"));
    let serving = scene.serve();
    indexed(&serving, 4);
    let announce = |secret: &str, window: Value| {
        serving.ask_as(secret, "POST", "/v1/exchanges/acme/maintenance", window.to_string().as_bytes())
    };
    assert_eq!(announce(&scene.regulator, json!({ "until": in_seconds(6), "why": "a new engine" })).status, 403);
    assert_eq!(announce(&scene.acme, json!({ "until": in_seconds(3700), "why": "long" })).status, 422);
    assert_eq!(
        announce(&scene.acme, json!({ "from": "2026-01-01T00:00:00Z", "until": in_seconds(6), "why": "was" })).status,
        422
    );
    assert_eq!(announce(&scene.acme, json!({ "until": in_seconds(6) })).status, 400);
    let announced = announce(&scene.acme, json!({ "until": in_seconds(6), "why": "a new engine" }));
    assert_eq!(announced.status, 201, "{}", announced.body);
    assert_eq!(serving.get("/v1/exchanges/acme/maintenance")["maintenance"][0]["why"], "a new engine");

    // Within it: the regulator sees that the statement is old, and a shortage fires as ever.
    submit(&serving, &scene.acme, "acme", &scene.statement(1, 4 * SUBSIDY + 1));
    serving.wait("/v1/findings", |found| found.to_string().contains("stale-statement"));
    assert_eq!(alert(&serving, "stale-statement"), Value::Null);
    assert_eq!(alert(&serving, "phantom-assets")["state"], "firing");
    // After it: it is late.
    serving.wait("/v1/alerts", |alerts| alerts.to_string().contains("stale-statement"));
    assert_eq!(serving.get("/v1/exchanges/acme/maintenance")["maintenance"], json!([]));
    assert_eq!(serving.stop().0, 0);
}

#[test]
fn whoever_is_on_duty_is_told_once_each_in_order_and_through_a_kill() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let scene = Scene::new(4);
    // The system picks a port, on which nobody listens for now.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    let webhook = "\n[[alerts.webhook]]\nname = \"duty\"\nurl_file = \"duty.url\"\nsecret_file = \"duty.secret\"\n";
    scene.lab.write("assay.toml", &format!("{config}{webhook}"));
    scene.lab.write("duty.url", &format!("http://{address}/alerts?key=hidden\n"));
    scene.lab.write("duty.secret", "not a secret");
    let wrong = scene.lab.assay(&["serve"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("duty.secret: is not a secret"), "{}", wrong.stderr);
    scene.lab.write("duty.secret", SECRET);

    let serving = scene.serve();
    indexed(&serving, 4);
    let firing = |alerts: &Value| alerts["alerts"].as_array().unwrap().iter().any(|alert| alert["state"] == "firing");
    submit(&serving, &scene.acme, "acme", &scene.statement(1, 4 * SUBSIDY + 1));
    serving.wait("/v1/alerts", firing);
    serving.kill();
    let serving = scene.serve();
    indexed(&serving, 4);
    serving.kill();

    // It comes back, and is unwilling at first.
    let duty = Receiver::listen(std::net::TcpListener::bind(address).unwrap(), 2);
    let serving = scene.serve();
    let kinds = |told: &[receiver::Told]| {
        let kind = |told: &receiver::Told| {
            let body: Value = serde_json::from_str(&told.body).unwrap();
            format!("{} {}", body["type"].as_str().unwrap(), body["data"]["rule"].as_str().unwrap())
        };
        told.iter().map(kind).collect::<std::collections::BTreeSet<_>>()
    };
    let first = duty.wait(1);
    assert!(kinds(&first).contains("alert.firing phantom-assets"), "{first:#?}");
    submit(&serving, &scene.acme, "acme", &scene.statement(2, 4 * SUBSIDY));
    serving.wait("/v1/alerts", |alerts| !firing(alerts));
    let told = duty.wait(2 * serving.get("/v1/alerts")["alerts"].as_array().unwrap().len());
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(duty.told().len(), told.len(), "{:#?}", duty.told());

    for one in &told {
        assert_eq!(Ok(&one.signature), assay_desk::sign(SECRET, &one.id, one.at, &one.body).as_ref());
    }
    let place = |state: &str, rule: &str| {
        let is = |one: &receiver::Told| kinds(std::slice::from_ref(one)).contains(&format!("alert.{state} {rule}"));
        let places: Vec<usize> = (0..told.len()).filter(|place| is(&told[*place])).collect();
        assert_eq!(places.len(), 1, "{state} {rule}: {told:#?}");
        places[0]
    };
    assert!(place("firing", "phantom-assets") < place("resolved", "phantom-assets"));
    assert!(duty.barked() > 0, "the watchdog is heard when nothing waits");
    let (code, said) = serving.stop();
    assert_eq!(code, 0);
    assert!(!said.iter().any(|line| line.contains("hidden")), "a URL is never logged: {said:#?}");
}
