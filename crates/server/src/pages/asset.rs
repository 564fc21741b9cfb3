//! One exchange's asset: two lines and what lies between them, and the arithmetic of the latest verdict.

use std::collections::BTreeMap;

use askama::Template;
use assay_desk::{ExchangeView, Point};
use assay_registry::Declared;
use assay_store::Coverage;
use assay_types::{Height, Timestamp};
use assay_verifier::{Coins, Line, List, Stage, Standing, Verdict, Wide};
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::exchange::{Found, Stated};
use super::frame::{Choice, Frame, Reader};
use super::show::{self, Html, segment};
use super::shown;
use crate::answer::{Answer, Asked};
use crate::api::exchanges::{find, must_exist};
use crate::app::{App, Shared, blocking};
use crate::problem::Problem;
use crate::scope::Act;

const STATEMENTS: usize = 20;
/// So many accounts are listed, of so many that are looked up.
const WALLETS: usize = 25;
const LOOKED_UP: usize = 2000;
/// A chart is drawn of so many statements at most.
const POINTS: usize = 300;
const SPANS: [(&str, &str, i64); 4] = [
    ("6h", "span-6h", 6 * 3600),
    ("1d", "span-1d", 86_400),
    ("1w", "span-1w", 7 * 86_400),
    ("all", "span-all", i64::MAX / 4),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Span {
    span: Option<String>,
}

#[derive(Template)]
#[template(path = "asset.html")]
struct AssetPage {
    f: Frame,
    exchange: String,
    exchange_link: String,
    asset: String,
    course: String,
    spans: Vec<Choice>,
    verdict: Html,
    stage: &'static str,
    since: Option<Html>,
    trouble: Option<String>,
    sum: Vec<Term>,
    unknown: Vec<(String, u64, String)>,
    items: Vec<Item>,
    kinds: Vec<Kind>,
    wallets: Vec<Wallet>,
    wallets_said: Option<String>,
    findings: Vec<Found>,
    statements: Vec<Stated>,
    report: Vec<(&'static str, String)>,
    print: Option<String>,
}

/// One line of the arithmetic.
struct Term {
    what: String,
    amount: Html,
    from: Html,
    total: bool,
    class: &'static str,
}

struct Item {
    list: String,
    tx: String,
    amount: Html,
    standing: String,
    counted: Html,
}

/// Accounts of one role, owner and grade together.
struct Kind {
    role: &'static str,
    owner: &'static str,
    grade: &'static str,
    accounts: String,
    balance: Html,
}

struct Wallet {
    chain: String,
    link: String,
    address: String,
    role: &'static str,
    owner: &'static str,
    balance: Html,
    grade: &'static str,
    why: String,
}

pub(super) async fn page(
    State(app): State<Shared>,
    reader: Reader,
    Path((id, asset)): Path<(String, String)>,
    Asked(span): Asked<Span>,
) -> Result<Response, Problem> {
    let view = app.desk.view();
    let caller = reader.caller()?;
    let exchange = find(&view, caller, &id)?.clone();
    let verdict = exchange.verdict.clone().ok_or_else(Problem::not_found)?;
    let line = verdict.lines.iter().find(|line| line.asset == asset).cloned().ok_or_else(Problem::not_found)?;
    let (words, symbol) = (reader.words, line.asset.clone());
    let (shared, wanted, at) = (app.clone(), id.clone(), verdict.clone());
    let wallets_of = line.asset.clone();
    let (statements, wallets) = blocking(move || {
        let statements = shared.desk.statements(&wanted, None, STATEMENTS).map_err(Problem::internal)?;
        let height = |chain: &str| at.blocks.iter().find(|block| block.chain == chain).and_then(|block| block.height);
        Ok((statements, wallets(&shared, &wanted, &wallets_of, height)?))
    })
    .await?;
    // Older statements may have got their verdicts since.
    let sequence = exchange.statement.as_ref().map(|statement| statement.sequence);
    let last = exchange.course.iter().rfind(|one| Some(one.sequence) == sequence).map(|one| one.number);
    let path = show::asset_page(&id, &asset);
    let chosen = SPANS.iter().find(|(name, ..)| span.span.as_deref() == Some(*name)).unwrap_or(&SPANS[1]).0;
    let spans = SPANS.iter().map(|(name, key, _)| Choice { name, text: words.say(key), chosen: *name == chosen });
    let since = exchange.short_since.get(&asset).map(|since| {
        let block = since.block.as_ref().map(|(chain, height)| words.fill("block-n", &[chain, &show::count(*height)]));
        let (number, at) = (since.sequence.to_string(), show::time(since.as_of));
        let said = words.fill("since-short", &[&number, "\u{1}", &block.unwrap_or_else(|| "?".into())]);
        Html(show::escaped(&said).0.replace('\u{1}', &at.0))
    });
    let block = verdict.blocks.iter().map(|block| {
        let height = block.height.map_or_else(|| "?".into(), |height| show::count(height.0));
        (
            words.fill("block-n", &[&block.chain, &height]),
            block.hash.clone().or(block.unknown.clone()).unwrap_or_default(),
        )
    });
    let report = [
        ("digest", verdict.statement.digest.to_string()),
        ("block", block.map(|(name, hash)| format!("{name} {hash}")).collect::<Vec<_>>().join(", ")),
        ("policy", verdict.policy.digest.to_string()),
        ("program", verdict.program.clone()),
    ];
    let page = AssetPage {
        f: Frame::of(&reader, format!("{} {asset}", exchange.name), &view).with_charts(),
        exchange: exchange.name.clone(),
        exchange_link: show::exchange_page(&id),
        course: format!("{path}/course?span={chosen}"),
        spans: spans.collect(),
        verdict: show::verdict(line.verdict, words),
        stage: if verdict.stage == Stage::Final { "final" } else { "provisional" },
        since,
        trouble: exchange.trouble.as_ref().map(|trouble| trouble.why.clone()),
        sum: arithmetic(&reader, &exchange, &line),
        unknown: line.unknown.iter().map(|one| (one.reason.clone(), one.accounts, one.chain.clone())).collect(),
        items: line.in_flight.iter().map(|one| item(&reader, one, &symbol)).collect(),
        wallets_said: (wallets.shown.len() < wallets.declared).then(|| {
            let counts = [wallets.shown.len(), wallets.seen, wallets.declared].map(|number| show::count(number as u64));
            match wallets.seen == wallets.declared {
                true => words.fill("wallets-all", &[&counts[0], &counts[2], &id]),
                false => words.fill("wallets-shown", &[&counts[0], &counts[1], &counts[2], &id]),
            }
        }),
        kinds: wallets.kinds,
        wallets: wallets.shown,
        findings: exchange
            .findings
            .iter()
            .filter(|one| one.asset.as_ref().is_none_or(|of| *of == asset))
            .take(super::exchange::FINDINGS)
            .map(|one| Found::of(one))
            .collect(),
        statements: statements.iter().map(|one| Stated::of(&id, one)).collect(),
        report: report.into(),
        print: last.map(|last| format!("{}/verdicts/{last}?asset={}", show::exchange_page(&id), segment(&asset))),
        asset,
    };
    shown(&page)
}

/// What is owed, and what is there: in the order in which it is added up.
fn arithmetic(reader: &Reader, exchange: &ExchangeView, line: &Line) -> Vec<Term> {
    let (words, unit) = (reader.words, line.asset.as_str());
    let statement = exchange.statement.as_ref().map_or_else(String::new, |one| {
        let digest: String = one.digest.to_string().chars().take(15).collect();
        format!(
            r##"<a href="#statements">{}…</a>"##,
            words.fill("from-statement", &[&one.sequence.to_string(), &digest])
        )
    });
    let of = |list: List| line.in_flight.iter().filter(|item| item.list == list).count().to_string();
    let items = |list| Html(format!(r##"<a href="#items">{}</a>"##, words.fill("items-n", &[&of(list)])));
    let term = |sign: &str, key: &str, coins: &Coins, from: Html| Term {
        what: format!("{sign} {}", words.say(key)),
        amount: show::amount(coins, unit),
        from,
        total: sign == "=",
        class: "",
    };
    use List::{PendingWithdrawals, UnconfirmedCredits, UncreditedDeposits};
    let accounts = &line.accounts;
    let number = accounts.verified.accounts + accounts.unproven.accounts + accounts.unknown;
    let grade = match (accounts.unproven.accounts, accounts.unknown) {
        (0, 0) => words.say("all-proven").to_owned(),
        (unproven, 0) => {
            let earlier = accounts.proven.as_ref().map_or(0, |proven| proven.earlier.accounts).min(unproven);
            let each = [("some-earlier", earlier), ("some-unproven", unproven - earlier)].into_iter();
            let told = each.filter(|(_, count)| *count > 0).map(|(key, count)| words.fill(key, &[&show::count(count)]));
            told.collect::<Vec<_>>().join(", ")
        }
        (_, unknown) => words.fill("some-unknown", &[&show::count(unknown)]),
    };
    let from = format!(r##"<a href="#wallets">{}</a> · {grade}"##, words.fill("accounts-n", &[&show::count(number)]));
    let none = || Html::default();
    let mut terms = vec![
        term(" ", "customers", &line.customers, Html(statement)),
        term("+", "pending-withdrawals", &line.pending_withdrawals, items(PendingWithdrawals)),
        term("+", "uncredited-deposits", &line.uncredited_deposits, items(UncreditedDeposits)),
        term("=", "owed", &line.owed, none()),
        Term {
            amount: show::holdings(&line.holdings, unit), ..term("−", "holdings", &line.holdings.low, Html(from))
        },
        term("−", "unconfirmed-credits", &line.unconfirmed_credits, items(UnconfirmedCredits)),
        term("−", "elsewhere", &line.elsewhere, none()),
    ];
    if !line.tolerance.is_zero() {
        terms.push(term("−", "tolerance", &line.tolerance, none()));
    }
    let class = show::word(line.verdict);
    let total = match line.verdict {
        Verdict::Short => Term { class, ..term("=", "missing", &line.missing, Html(words.say("short").into())) },
        Verdict::Indeterminate => {
            Term { class, ..term("=", "missing", &line.missing_at_most, Html(words.say("indeterminate").into())) }
        }
        Verdict::Backed => Term { class, ..term("=", "missing", &line.missing, Html(words.say("backed").into())) },
    };
    terms.push(total);
    terms
}

fn item(reader: &Reader, item: &assay_verifier::InFlightLine, unit: &str) -> Item {
    let list = match item.list {
        List::PendingWithdrawals => "pending-withdrawals",
        List::UncreditedDeposits => "uncredited-deposits",
        List::UnconfirmedCredits => "unconfirmed-credits",
    };
    let standing = match item.standing {
        Standing::NoTransaction => "place-none",
        Standing::NotFound => "place-not-found",
        Standing::Mempool => "place-mempool",
        Standing::UpToBlock => "place-up-to",
        Standing::AfterBlock => "place-after",
        Standing::Unknown => "place-unknown",
    };
    let block = item.height.map(|height| reader.words.fill("block-n", &[&item.chain, &show::count(height)]));
    let standing = std::iter::once(reader.words.say(standing).to_owned()).chain(block);
    Item {
        list: reader.words.say(list).to_owned(),
        tx: item.txid.clone().unwrap_or_else(|| "–".into()),
        amount: show::amount(&item.amount, unit),
        standing: standing.collect::<Vec<_>>().join(", "),
        counted: show::amount(&item.counted, unit),
    }
}

/// Accounts on the asset's chains.
struct Wallets {
    /// Those that are not known, then the largest.
    shown: Vec<Wallet>,
    /// Those that were looked at, in sums.
    kinds: Vec<Kind>,
    /// How many were looked at, and how many there are.
    seen: usize,
    declared: usize,
}

/// The accounts with what they hold at the verdict's blocks, each deployment by itself.
fn wallets(
    app: &App,
    exchange: &str,
    asset: &str,
    height: impl Fn(&str) -> Option<Height>,
) -> Result<Wallets, Problem> {
    let (directory, sources) = (app.desk.directory(), app.desk.sources());
    let mut all = Wallets { shown: Vec::new(), kinds: Vec::new(), seen: 0, declared: 0 };
    let (Some(accounts), Some(entry)) = (app.desk.wallets(exchange), directory.asset(asset)) else { return Ok(all) };
    let mut rows: Vec<(Option<Coins>, &'static str, String, &Declared, String)> = Vec::new();
    for source in sources.iter().filter(|source| entry.on.iter().any(|on| on.chain == source.id)) {
        let here = || accounts.iter().filter(|on| on.terms.chain == source.id);
        all.declared += here().count();
        let (store, height) = (source.store(), height(&source.name));
        let mut lookup = store.as_ref().ok().map(|store| store.lookup()).transpose().map_err(Problem::internal)?;
        for on in here().take(LOOKED_UP.saturating_sub(all.seen)) {
            all.seen += 1;
            for deployment in entry.on.iter().filter(|deployment| deployment.chain == source.id) {
                let number = match &store {
                    Ok(store) => {
                        store.number(&on.account).map_err(Problem::internal)?.filter(|(_, published)| *published)
                    }
                    Err(_) => None,
                };
                let (balance, grade, why) = match (&store, lookup.as_mut(), height, number) {
                    (Ok(_), Some(lookup), Some(height), Some((number, _))) => {
                        let standing =
                            lookup.standing((number, deployment.asset), height).map_err(Problem::internal)?;
                        let held = Some(Coins::new(standing.balance, deployment.decimals));
                        match standing.coverage {
                            Coverage::Verified => (held, "proven", String::new()),
                            Coverage::Unproven => (held, "unproven", String::new()),
                            Coverage::Unknown(why) => (None, "unknown", why),
                        }
                    }
                    (Err(why), ..) => (None, "unknown", why.clone()),
                    _ => (None, "unknown", String::new()),
                };
                rows.push((balance, grade, why, on, entry.name_of(deployment)));
            }
        }
    }
    // Deployments may differ in their decimals: what is larger is told by the coins.
    let finest = entry.decimals();
    let size = |coins: &Coins| coins.units() * Wide::from(10).pow(Wide::from(finest.saturating_sub(coins.decimals())));
    let mut sums: BTreeMap<_, (u64, Wide)> = BTreeMap::new();
    for (balance, grade, _, on, _) in &rows {
        let sum = sums.entry((on.terms.role.as_str(), on.terms.owner.as_str(), *grade)).or_default();
        (sum.0, sum.1) = (sum.0 + 1, sum.1 + balance.as_ref().map_or(Wide::ZERO, size));
    }
    let kind = |((role, owner, grade), (accounts, sum)): ((&'static str, _, &'static str), (u64, Wide))| Kind {
        role,
        owner,
        grade,
        accounts: show::count(accounts),
        balance: if grade == "unknown" { Html("?".into()) } else { show::amount(&Coins::of(sum, finest), asset) },
    };
    all.kinds = sums.into_iter().map(kind).collect();
    rows.sort_by_cached_key(|(balance, ..)| balance.as_ref().map(|coins| std::cmp::Reverse(size(coins))));
    let row = |(balance, grade, why, on, name): (Option<Coins>, &'static str, String, &Declared, String)| {
        let chain = directory.chain(on.terms.chain.as_str()).map_or_else(String::new, |chain| chain.name.clone());
        let address = directory.address(&on.terms.chain, &on.account);
        Wallet {
            link: format!("/accounts/{}/{}?asset={}", segment(&chain), segment(&address), segment(&name)),
            chain,
            address,
            role: on.terms.role.as_str(),
            owner: on.terms.owner.as_str(),
            balance: balance.map_or_else(|| Html("?".into()), |coins| show::amount(&coins, asset)),
            grade,
            why,
        }
    };
    all.shown = rows.into_iter().take(WALLETS).map(row).collect();
    Ok(all)
}

/// What the chart is drawn of: holdings and what is owed, statement by statement.
pub(super) async fn course(
    State(app): State<Shared>,
    reader: Reader,
    Path((id, asset)): Path<(String, String)>,
    Asked(span): Asked<Span>,
) -> Result<Answer, Problem> {
    let caller = reader.caller()?;
    must_exist(&app, caller, &id)?;
    let span = SPANS.iter().find(|(name, ..)| span.span.as_deref() == Some(*name)).unwrap_or(&SPANS[1]).2;
    let (view, words) = (app.desk.view(), reader.words);
    let from = Timestamp::from_unix_s(view.at.unix_s().saturating_sub(span));
    let may_see = caller.may(&Act::ReadExchange(&id));
    let marks = view.alerts.iter().filter(|one| may_see && one.exchange == id && one.asset.as_ref() == Some(&asset));
    let marks: Vec<i64> = marks.map(|one| one.since.unix_s()).collect();
    let desk = app.desk.clone();
    let points = blocking(move || desk.points(&id, &asset, from, POINTS).map_err(Problem::internal)).await?;
    let column = |of: fn(&Point) -> Option<&str>| -> Vec<Option<f64>> {
        points.iter().map(|point| of(point).and_then(|text| text.parse().ok())).collect() // a picture's precision
    };
    Ok(Answer(json!({
        "x": points.iter().map(|point| point.as_of.unix_s()).collect::<Vec<_>>(),
        "low": column(|point| Some(&point.low)),
        "high": column(|point| point.high.as_deref()),
        "owed": column(|point| Some(&point.owed)),
        "marks": marks,
        "words": { "time": words.say("time"), "low": words.say("low"), "high": words.say("high"), "owed": words.say("owed") },
    })))
}
