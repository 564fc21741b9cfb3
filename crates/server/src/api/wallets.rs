//! The accounts of an exchange, and announcing those that it will use.

use assay_desk::{AnnounceError, Announced, Wallet};
use assay_registry::{Declared, Owner, Role};
use assay_types::{ChainId, Directory};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Asked, Nothing, read_body, value};
use crate::api::exchanges::must_exist;
use crate::app::{Shared, blocking};
use crate::caller::Caller;
use crate::problem::Problem;
use crate::scope::Act;
use crate::seats::Use;

const LONGEST_BODY: usize = 1 << 20;
const MOST_WALLETS: usize = 1000;
const LONGEST_LABEL: usize = 200;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Announcement {
    /// At most 1000.
    #[schema(min_items = 1, max_items = 1000)]
    wallets: Vec<NewWallet>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWallet {
    /// The alias, or the CAIP-2 id.
    chain: String,
    /// An address, or `script:HEX` for a Bitcoin script that has none.
    address: String,
    /// `cold`, `hot` or `deposit`.
    #[schema(value_type = String, pattern = "^(cold|hot|deposit)$")]
    #[serde(default = "deposit")]
    role: Role,
    /// `customers` or `house`.
    #[schema(value_type = String, pattern = "^(customers|house)$")]
    #[serde(default = "customers")]
    owner: Owner,
    /// What people call it.
    #[schema(max_length = 200)]
    label: Option<String>,
}

fn deposit() -> Role {
    Role::Deposit
}

fn customers() -> Owner {
    Owner::Customers
}

/// The accounts that it declares, ever, and those that it has announced.
#[utoipa::path(get, path = "/v1/exchanges/{id}/wallets", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn list(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(_): Asked<Nothing>,
) -> Result<Answer, Problem> {
    must_exist(&app, &caller, &id)?;
    let wallets = app.desk.wallets(&id).ok_or_else(Problem::not_found)?;
    let directory = app.desk.directory();
    let row = |on: &Declared| {
        let terms = &*on.terms;
        json!({
            "chain": alias(&directory, &terms.chain),
            "address": directory.address(&terms.chain, &on.account),
            "role": terms.role,
            "owner": terms.owner,
            "label": terms.label,
            "since": terms.since,
            "until": terms.until,
            "announced": terms.announced.is_some(),
        })
    };
    Ok(Answer(json!({ "exchange": id, "wallets": wallets.iter().map(row).collect::<Vec<_>>() })))
}

/// Announces accounts that it will use, all of them or none. They are proven to hold nothing, and followed from that block on:
/// hand an address to a customer only after this answer. On the main Bitcoin network it takes a minute or more, since the node reads
/// through its unspent outputs; the same again is no error.
#[utoipa::path(post, path = "/v1/exchanges/{id}/wallets", params(("id" = String, Path)), request_body = Announcement,
    responses((status = 201, content_type = "application/json"), (status = 200, content_type = "application/json"),
        (status = 409, description = "One of them holds something, or is declared already, or was announced otherwise",
            content_type = "application/problem+json"),
        (status = 422, description = "One of them is wrong", content_type = "application/problem+json")))]
pub(crate) async fn announce(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(_): Asked<Nothing>,
    body: Bytes,
) -> Result<Response, Problem> {
    must_exist(&app, &caller, &id)?;
    caller.must(&Act::Announce(&id))?;
    let Announcement { wallets } = read_body(&body, LONGEST_BODY)?;
    let refused = |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", why);
    if !(1..=MOST_WALLETS).contains(&wallets.len()) {
        return Err(refused(format!("wallets: there are {}: 1 to {MOST_WALLETS} are possible", wallets.len())));
    }
    let is_long = |one: &NewWallet| one.label.as_ref().is_some_and(|label| label.chars().count() > LONGEST_LABEL);
    if let Some(nth) = wallets.iter().position(is_long) {
        return Err(refused(format!("wallets[{nth}].label: has more than {LONGEST_LABEL} characters")));
    }
    let turn = app.seats.take(Use::Announce, &caller)?;
    let (desk, directory, exchange) = (app.desk.clone(), app.desk.directory(), id.clone());
    let wallet = |NewWallet { chain, address, role, owner, label }| Wallet { chain, address, role, owner, label };
    let wallets: Vec<Wallet> = wallets.into_iter().map(wallet).collect();
    let done = blocking(move || {
        let _turn = turn;
        desk.announce(&exchange, &caller.name, &wallets).map_err(refusal)
    });
    let done = done.await?;
    let rows = done.wallets.iter().map(|one| row(&directory, one)).collect::<Result<Vec<_>, _>>()?;
    let status = if done.repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Answer(json!({ "exchange": id, "wallets": rows }))).into_response())
}

fn row(directory: &Directory, one: &Announced) -> Result<Value, Problem> {
    Ok(json!({
        "chain": alias(directory, &one.chain),
        "address": one.address,
        "role": one.role,
        "owner": one.owner,
        "label": one.label,
        "since": one.since,
        "from": value(&one.from)?,
        "coverage": one.coverage,
    }))
}

fn alias<'a>(directory: &'a Directory, chain: &'a ChainId) -> &'a str {
    directory.chain(chain.as_str()).map_or(chain.as_str(), |chain| &chain.name)
}

fn refusal(error: AnnounceError) -> Problem {
    let said = error.to_string();
    match error {
        AnnounceError::UnknownExchange(_) => Problem::not_found(),
        AnnounceError::Refused(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", said),
        AnnounceError::NotEmpty(_) => Problem::new(StatusCode::CONFLICT, "not-empty", said),
        AnnounceError::Conflict(_) => Problem::new(StatusCode::CONFLICT, "conflict", said),
        AnnounceError::NotNow(_) => Problem::unavailable(said),
        AnnounceError::Failed(_) => Problem::internal(said),
    }
}
