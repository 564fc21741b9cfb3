//! The service as its callers meet it: a desk in a temporary folder, asked through the router.

use std::collections::BTreeSet;
use std::sync::Arc;

use assay_desk::{Desk, Source, World};
use assay_registry::{Declarations, Exchange};
use assay_store::Records;
use assay_types::{Account, Addresses, AssetEntry, ChainEntry, ChainId, Deployment, Directory};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::app::App;
use crate::tokens::Tokens;
use crate::{Scope, Settings, Tls, create_token, router, serve};

const CHAIN: &str = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328";
const STATEMENT: &str = r#"{"format":"assay.statement/1","exchange":"acme","sequence":1,
    "as_of":{"time":"2026-02-06T10:00:00Z"},"assets":[{"asset":"BTC","customers":"1"}]}"#;

struct Plain;

impl Addresses for Plain {
    fn parse(&self, address: &str) -> Result<Account, String> {
        match address.strip_prefix('a') {
            Some(rest) => Ok(Account::new(rest.as_bytes())),
            None => Err("addresses here begin with a".into()),
        }
    }
    fn show(&self, account: &Account) -> String {
        format!("a{}", String::from_utf8_lossy(&account.0))
    }
    fn expand(&self, _: &str, _: Option<(u32, u32)>) -> Result<Vec<Account>, String> {
        Err("no descriptors here".into())
    }
}

fn desk(folder: &std::path::Path) -> Desk {
    let id: ChainId = CHAIN.parse().unwrap();
    let chain = ChainEntry { name: "bitcoin".into(), id: id.clone(), addresses: Arc::new(Plain) };
    let deployment = Deployment { chain: id.clone(), asset: assay_types::Asset::Native, decimals: 8 };
    let asset = AssetEntry { symbol: "BTC".into(), on: vec![deployment] };
    let exchange = |id: &str| Exchange {
        id: id.into(),
        name: id.into(),
        accounts: vec![].into(),
        statement_keys: vec![],
        ranges: vec![],
    };
    let source = Source::new("bitcoin", id, Arc::new(|| Err("no node".into())));
    let world = World {
        directory: Arc::new(Directory { chains: vec![chain], assets: vec![asset] }),
        declarations: Arc::new(Declarations::new(vec![exchange("acme"), exchange("other")])),
        policy: Default::default(),
        sources: Arc::new(vec![source]),
        program: "assay test",
        sums: assay_desk::Sums::Apart,
        timezone: assay_registry::TimeZone::UTC,
        prices: assay_desk::Priced::NotYet,
    };
    let records = Records::open(&folder.join("desk")).unwrap();
    Desk::start(records, world, assay_desk::Settings::default()).unwrap().0
}

struct House {
    service: Router,
    regulator: String,
    acme: String,
    analyst: String,
    _folder: tempfile::TempDir,
}

fn house(rate: u32) -> House {
    let folder = tempfile::tempdir().unwrap();
    let regulator = create_token("regulator", &Scope::Regulator, None).unwrap();
    let acme = create_token("acme", &Scope::Exchange("acme".into()), None).unwrap();
    let analyst = create_token("analyst", &Scope::Analyst, None).unwrap();
    let path = folder.path().join("tokens.toml");
    std::fs::write(&path, [&*regulator.entry, &acme.entry, &analyst.entry].concat()).unwrap();
    let (routes, openapi) = router::routes();
    let tokens = Some(Tokens::open(&path).unwrap());
    let app = App::new(desk(folder.path()), tokens, rate, false, openapi.to_json().unwrap());
    let service = router::service(Arc::new(app), routes);
    let (regulator, acme, analyst) = (regulator.secret, acme.secret, analyst.secret);
    House { service, regulator, acme, analyst, _folder: folder }
}

impl House {
    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.service.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, token: &str, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        read(self.send(request.body(Body::empty()).unwrap()).await).await
    }

    async fn submit(&self, token: &str, exchange: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::post(format!("/v1/exchanges/{exchange}/statements"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        read(self.send(request.body(Body::from(body.to_owned())).unwrap()).await).await
    }
}

/// An answer's status and document; an error must be a problem.
async fn read(answer: Response<Body>) -> (StatusCode, Value) {
    let status = answer.status();
    assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    assert!(answer.headers().contains_key("x-request-id"));
    let kind = answer.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.as_u16() >= 400 {
        assert_eq!(kind.as_deref(), Some("application/problem+json"));
        assert_eq!(document["status"], status.as_u16());
        for field in ["type", "title", "detail", "instance"] {
            assert!(document[field].is_string(), "{field} in {document}");
        }
    }
    (status, document)
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let house = house(1000);
    let (chain, regulator) = ("/v1/accounts/bitcoin", &house.regulator);
    for (path, expected) in [
        ("/nowhere".into(), 404),
        ("/v1/exchanges/nobody".into(), 404),
        ("/v1/exchanges?x=1".into(), 400),
        ("/v1/exchanges/acme/statements?limit=many".into(), 400),
        ("/v1/exchanges/acme/statements?limit=0".into(), 400),
        ("/v1/exchanges/acme/verdicts?cursor=abc".into(), 400),
        ("/v1/exchanges/acme/statements/7".into(), 404),
        ("/v1/exchanges/acme/statements/x".into(), 400),
        ("/v1/accounts/nochain/a1/balance".into(), 404),
        (format!("{chain}/zzz/balance"), 400),
        (format!("{chain}/a1/balance?asset=DOGE"), 400),
        (format!("{chain}/a1/balance"), 503),
        ("/readyz".into(), 503),
    ] {
        assert_eq!(house.get(regulator, &path).await.0, expected, "{path}");
    }
    let put = Request::put("/v1/chains").header(header::AUTHORIZATION, format!("Bearer {regulator}"));
    let answer = house.send(put.body(Body::empty()).unwrap()).await;
    assert!(answer.headers().contains_key(header::ALLOW));
    assert_eq!(read(answer).await.0, 405);
    let length = (64 << 20) + 1;
    let large = Request::post("/v1/exchanges/acme/statements").header(header::CONTENT_LENGTH, length);
    let large = large.header(header::AUTHORIZATION, format!("Bearer {}", house.acme));
    assert_eq!(read(house.send(large.body(Body::empty()).unwrap()).await).await.0, 413);
}

#[tokio::test]
async fn nobody_sees_more_than_the_scope_allows() {
    let house = house(1000);
    assert_eq!(house.get("assay_wrong", "/v1/chains").await.0, 401);
    let bare = Request::get("/v1/chains").body(Body::empty()).unwrap();
    assert_eq!(read(house.send(bare).await).await.0, 401);
    let health = Request::get("/healthz").body(Body::empty()).unwrap();
    assert_eq!(read(house.send(health).await).await.0, 200);
    let (_, open) = read(house.send(Request::get("/readyz").body(Body::empty()).unwrap()).await).await;
    assert_eq!(open["detail"], "not ready");

    let (other, nobody) = ("/v1/exchanges/other/holdings", "/v1/exchanges/nobody/holdings");
    let (hidden, absent) = (house.get(&house.acme, other).await, house.get(&house.acme, nobody).await);
    assert_eq!((hidden.0, &hidden.1["detail"]), (absent.0, &absent.1["detail"]));
    assert_eq!(hidden.0, 404);
    assert_eq!(house.get(&house.regulator, other).await.0, 200);
    assert_eq!(house.get(&house.acme, "/metrics").await.0, 403);
    assert_eq!(house.get(&house.analyst, "/v1/chains").await.0, 200);
    assert_eq!(house.get(&house.analyst, "/v1/exchanges/acme").await.0, 404);
    assert_eq!(house.submit(&house.regulator, "acme", STATEMENT).await.0, 403);
    assert_eq!(house.submit(&house.acme, "other", STATEMENT).await.0, 404);
}

#[tokio::test]
async fn a_statement_comes_in_once_and_out_as_it_came() {
    let house = house(1000);
    let (status, receipt) = house.submit(&house.acme, "acme", STATEMENT).await;
    assert_eq!((status, &receipt["repeated"]), (StatusCode::CREATED, &Value::Bool(false)), "{receipt}");
    assert_eq!(house.submit(&house.acme, "acme", STATEMENT).await.0, 200);
    assert_eq!(house.submit(&house.acme, "acme", &STATEMENT.replace("\"1\"", "\"2\"")).await.0, 409);
    assert_eq!(house.submit(&house.acme, "acme", "{}").await.0, 422);
    let (_, list) = house.get(&house.regulator, "/v1/exchanges/acme/statements").await;
    assert_eq!(list["statements"].as_array().unwrap().len(), 1);
    assert_eq!(list["statements"][0]["sequence"], 1);
    let path = "/v1/exchanges/acme/statements/1";
    let request = Request::get(path).header(header::AUTHORIZATION, format!("bearer {}", house.acme));
    let answer = house.send(request.body(Body::empty()).unwrap()).await;
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    assert_eq!(bytes, STATEMENT);
}

#[tokio::test]
async fn what_the_caller_has_is_not_sent_again() {
    let house = house(1000);
    let ask = || Request::get("/v1/exchanges/acme/wallets").header("authorization", format!("Bearer {}", house.acme));
    let answer = house.send(ask().body(Body::empty()).unwrap()).await;
    let tag = answer.headers()[header::ETAG].clone();
    let again = house.send(ask().header(header::IF_NONE_MATCH, &tag).body(Body::empty()).unwrap()).await;
    assert_eq!((again.status(), &again.headers()[header::ETAG]), (StatusCode::NOT_MODIFIED, &tag));
    let other = house.send(ask().header(header::IF_NONE_MATCH, "\"no\"").body(Body::empty()).unwrap()).await;
    assert_eq!(other.status(), StatusCode::OK);
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_wait() {
    let house = house(1);
    for _ in 0..2 {
        assert_eq!(house.get(&house.analyst, "/v1/chains").await.0, 200);
    }
    let request = Request::get("/v1/chains").header(header::AUTHORIZATION, format!("Bearer {}", house.analyst));
    let answer = house.send(request.body(Body::empty()).unwrap()).await;
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(read(answer).await.0, 429);
    assert_eq!(house.get(&house.regulator, "/v1/chains").await.0, 200);
}

#[tokio::test]
async fn the_description_names_the_routes_and_every_one_is_there() {
    let house = house(1000);
    let (_, document) = house.get(&house.regulator, "/openapi.json").await;
    let described: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let exchange = ["", "/holdings", "/statements", "/statements/{sequence}", "/verdicts", "/wallets", "/gate"];
    let exchange = exchange.iter().chain(&["/gate/stream", "/maintenance"]);
    let mut expected: BTreeSet<String> = exchange.map(|rest| format!("/v1/exchanges/{{id}}{rest}")).collect();
    let accounts = ["balance", "history"].map(|what| format!("/v1/accounts/{{chain}}/{{address}}/{what}"));
    let others = ["/v1/exchanges", "/v1/findings", "/v1/alerts", "/v1/chains", "/v1/events", "/healthz", "/readyz"];
    expected.extend(["/v1/alerts/{id}/acknowledge", "/v1/silences", "/v1/silences/{id}"].map(str::to_owned));
    expected.extend(accounts);
    expected.extend(others.into_iter().chain(["/metrics", "/openapi.json"]).map(str::to_owned));
    assert_eq!(described, expected.iter().map(String::as_str).collect());
    for path in described {
        let patch =
            Request::patch(path.replace(['{', '}'], "")).header("authorization", format!("Bearer {}", house.acme));
        assert_eq!(house.send(patch.body(Body::empty()).unwrap()).await.status(), 405, "{path}");
    }
}

#[tokio::test]
async fn metrics_leave_out_what_is_not_known() {
    let house = house(1000);
    let request = Request::get("/metrics").header(header::AUTHORIZATION, format!("Bearer {}", house.regulator));
    let answer = house.send(request.body(Body::empty()).unwrap()).await;
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains("assay_build_info{version=") && text.contains("assay_alerts{state=\"firing\"} 0"), "{text}");
    assert!(!text.contains("assay_indexed_height{") && !text.contains("assay_coverage_ratio{"), "{text}");
}

#[tokio::test]
async fn it_listens_beyond_this_machine_only_with_tokens_and_tls() {
    let tls = Tls { cert_file: "c".into(), key_file: "k".into() };
    for (tls, tokens_file) in [(None, None), (Some(tls), None), (None, Some("tokens".into()))] {
        let settings = Settings { listen: "0.0.0.0:0".parse().unwrap(), tls, tokens_file, rate: 10 };
        let folder = tempfile::tempdir().unwrap();
        let served = serve(desk(folder.path()), settings, |_| panic!("it listens"), async {}).await;
        assert!(served.unwrap_err().to_string().contains("tokens_file"));
    }
}

#[tokio::test]
async fn it_listens_on_a_free_port_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let settings = Settings { listen, tls: None, tokens_file: None, rate: 10 };
    let (tell, told) = tokio::sync::oneshot::channel();
    let stop = async {
        told.await.unwrap();
    };
    let bound = |address: std::net::SocketAddr| {
        assert_ne!(address.port(), 0);
        tell.send(()).unwrap();
    };
    serve(desk(folder.path()), settings, bound, stop).await.unwrap();
}

#[test]
fn what_operators_are_given_asks_for_metrics_that_are_there() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/ops");
    let source = include_str!("metrics.rs");
    let mut count = 0;
    for file in ["prometheus-rules.yml", "grafana-dashboard.json"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        for word in
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("assay_"))
        {
            let name = word.strip_suffix("_total").or_else(|| word.strip_suffix("_info")).unwrap_or(word);
            assert!(source.contains(&format!("\"{name}\"")), "{file} asks for {word}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
