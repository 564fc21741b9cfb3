//! Accounts and chains: balances, and where the indexes stand. The same fields as `assay balance --json`.

use assay_desk::{DeskError, Holder, kept_proof, say_pending};
use assay_store::{Coverage, StoreError};
use assay_types::Header;
use axum::Extension;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::answer::{Answer, Asked, Nothing, complete, troubles, value};
use crate::api::history;
use crate::api::subject::{Subject, block};
use crate::app::{Shared, blocking};
use crate::caller::Caller;
use crate::problem::Problem;
use crate::scope::Act;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BalanceQuery {
    asset: Option<String>,
    at: Option<String>,
    #[serde(default)]
    proof: bool,
}

/// What `balance` answers: for the description alone, as the answer is made as JSON.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(crate) struct Balance {
    /// The alias
    chain: String,
    address: String,
    /// The asset's symbol
    asset: String,
    /// In coins; null when unknown
    amount: Option<String>,
    /// In base units; null when unknown
    units: Option<String>,
    decimals: u8,
    /// The block after which it is
    at: BalanceAt,
    r#final: bool,
    /// `verified`, `unproven` or `unknown`
    coverage: String,
    /// Why it is unknown
    #[schema(nullable = false)]
    reason: Option<String>,
    /// Bitcoin: in coins, what of the amount is coinbase that cannot be spent yet; null when unknown
    immature: Option<String>,
    /// Bitcoin, without `at`: in coins, with a sign, what the transactions in the node's mempool would change, none of which is part
    /// of the amount; null when unknown
    pending: Option<String>,
    /// Why that is unknown
    #[schema(nullable = false)]
    pending_reason: Option<String>,
    /// EVM, with `proof=true`: the last proof of the balance that is kept, for `assay proof check`; null where none is
    proof: Option<BalanceProof>,
    as_of: BalanceAsOf,
    complete: bool,
    /// Why the chain is not followed at the moment
    #[schema(value_type = Vec<Object>)]
    trouble: Vec<Value>,
}

/// A block.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(crate) struct BalanceAt {
    height: u64,
    hash: String,
    time: String,
}

/// From a block's header to a balance.
#[derive(ToSchema)]
#[allow(dead_code)]
struct BalanceProof {
    address: String,
    /// CAIP-19
    asset: String,
    /// The block after which the balance is proven
    at: BalanceAt,
    /// What is proven, in base units
    units: String,
    /// No movement is known between that block and the one of the answer
    unmoved: bool,
    /// That block's header in RLP: its hash is the block's
    header: String,
    /// As a node answers to `eth_getProof`, of the account or, for a token, of the slot that holds its balance
    #[serde(rename = "eth_getProof")]
    #[schema(value_type = Object)]
    answer: Value,
}

/// A block of a chain.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(crate) struct BalanceAsOf {
    chain: String,
    height: u64,
    hash: String,
    r#final: bool,
}

/// What an account held after a block, and how sure that is.
#[utoipa::path(get, path = "/v1/accounts/{chain}/{address}/balance",
    params(("chain" = String, Path), ("address" = String, Path), ("asset" = Option<String>, Query), ("at" = Option<String>, Query),
        ("proof" = Option<bool>, Query)),
    responses((status = 200, content_type = "application/json", body = Balance)))]
pub(crate) async fn balance(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((chain, address)): Path<(String, String)>,
    Asked(asked): Asked<BalanceQuery>,
) -> Result<Answer, Problem> {
    caller.must(&Act::ReadAccounts)?;
    blocking(move || {
        let subject = Subject::find(&app, &chain, &address, asked.asset.as_deref())?;
        let header = block(&subject.store, asked.at.as_deref())?;
        let mut answer = balance_at(&subject, &header).map_err(Problem::internal)?;
        if asked.proof {
            answer["proof"] = json!(proof_at(&subject, &header).map_err(Problem::internal)?);
        }
        let of_now = asked.at.is_none();
        if of_now && subject.chain.id.namespace() == "bip122" {
            say_pending(&mut answer, subject.waiting(&header).map_err(Problem::internal)?, subject.decimals());
        }
        let troubles = troubles(&app.desk.view(), |name| of_now && name == subject.chain.name);
        if !troubles.is_empty() {
            answer["complete"] = json!(false);
        }
        answer["trouble"] = json!(troubles);
        Ok(answer)
    })
    .await
    .map(Answer)
}

fn balance_at(subject: &Subject, header: &Header) -> Result<Value, StoreError> {
    let (number, coverage) = subject.coverage(header)?;
    let number = number.filter(|_| !matches!(coverage, Coverage::Unknown(_)));
    let (store, deployment) = (&subject.store, &subject.deployment);
    let units = number.map(|number| store.balance(number, deployment.asset, header.height)).transpose()?;
    let as_of = subject.as_of(header)?;
    let mut answer = json!({
        "chain": subject.chain.name,
        "address": subject.address(),
        "asset": subject.symbol,
        "amount": units.map(|units| units.to_coins(deployment.decimals)),
        "units": units.map(|units| units.to_string()),
        "decimals": deployment.decimals,
        "at": assay_desk::at(&subject.chain.id, header),
        "final": as_of["final"],
        "coverage": coverage.as_str(),
        "as_of": as_of,
        "complete": units.is_some(),
    });
    if let Coverage::Unknown(reason) = coverage {
        answer["reason"] = json!(reason);
    }
    if subject.chain.id.namespace() == "bip122" {
        let immature = number.map(|number| store.immature(number, header.height)).transpose()?;
        answer["immature"] = json!(immature.map(|units| units.to_coins(deployment.decimals)));
    }
    Ok(answer)
}

fn proof_at(subject: &Subject, header: &Header) -> Result<Option<Value>, DeskError> {
    let Subject { store, chain, account, deployment, .. } = subject;
    match subject.coverage(header)? {
        (None, _) | (_, Coverage::Unknown(_)) => Ok(None),
        (Some(number), _) => kept_proof(store, Holder { chain, account, number, deployment }, header.height),
    }
}

/// How an account came to hold what it holds, oldest first, a page at a time.
#[utoipa::path(get, path = "/v1/accounts/{chain}/{address}/history",
    params(("chain" = String, Path), ("address" = String, Path), ("asset" = Option<String>, Query),
        ("from" = Option<u64>, Query, format = "uint64"), ("to" = Option<u64>, Query, format = "uint64"), ("cursor" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, content_type = "application/json"), (status = 410, content_type = "application/problem+json")))]
pub(crate) async fn history(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((chain, address)): Path<(String, String)>,
    Asked(asked): Asked<history::HistoryQuery>,
) -> Result<Answer, Problem> {
    caller.must(&Act::ReadAccounts)?;
    blocking(move || {
        let subject = Subject::find(&app, &chain, &address, asked.asset.as_deref())?;
        history::page(&subject, &asked)
    })
    .await
    .map(Answer)
}

/// Where each chain's index stands.
#[utoipa::path(get, path = "/v1/chains", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn chains(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Asked(_): Asked<Nothing>,
) -> Result<Answer, Problem> {
    caller.must(&Act::ReadChains)?;
    let view = app.desk.view();
    let as_of = crate::answer::as_of(&view);
    Ok(Answer(json!({ "chains": value(&view.chains)?, "as_of": as_of, "complete": complete(&view) })))
}
