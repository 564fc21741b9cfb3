//! `assay balance`: what an account held after a block, and how sure that is; and beside it what waits in the mempool.

use std::time::Duration;

use assay_desk::{Holder, Mempool, Waiting, kept_proof, left_at, say_pending};
use assay_store::{Coverage, Mode, Store};
use assay_types::{Account, AccountNo, Asset, ChainId, Header};
use serde_json::{Value, json};

use crate::args::BalanceArgs;
use crate::config::ChainConfig;
use crate::failure::{Failure, UNKNOWN, WRONG_INPUT};
use crate::progress::LateBar;
use crate::setup::Setup;
use crate::{output, place};

/// How long a node may take for one answer. What is asked of it is said beside a balance that is known already.
pub const NODE_DEADLINE: Duration = Duration::from_secs(2);

pub fn run(setup: &Setup, question: &BalanceArgs, json: bool) -> Result<u8, Failure> {
    let chain = setup.chain(&question.chain)?;
    let account = account(setup, chain, &question.address)?;
    let (entry, deployment) = setup.asset(chain, question.asset.as_deref())?;
    let store = setup.store(chain, Mode::Read)?;
    let header = place::block(&store, question.at.as_deref())?;
    let coverage = coverage(&store, &chain.id, &account, deployment.asset, &header)?;
    let known = match &coverage {
        (Some(number), Coverage::Verified | Coverage::Unproven) => {
            Some((*number, store.balance(*number, deployment.asset, header.height)?))
        }
        _ => None,
    };
    let is_final = store.final_height()?.is_some_and(|final_height| header.height <= final_height);
    let mut answer = json!({
        "chain": chain.name,
        "address": setup.addresses(&chain.id).map(|addresses| addresses.show(&account)),
        "asset": entry.symbol,
        "amount": known.map(|(_, units)| units.to_coins(deployment.decimals)),
        "units": known.map(|(_, units)| units.to_string()),
        "decimals": deployment.decimals,
        "at": assay_desk::at(&chain.id, &header),
        "final": is_final,
        "coverage": coverage.1.as_str(),
    });
    if let Coverage::Unknown(reason) = &coverage.1 {
        answer["reason"] = json!(reason);
    }
    if question.proof {
        let entry = setup.directory.chain(chain.id.as_str()).filter(|_| known.is_some());
        let holder =
            entry.zip(known).map(|(chain, (number, _))| Holder { chain, account: &account, number, deployment });
        let proof = holder.map(|holder| kept_proof(&store, holder, header.height)).transpose()?.flatten();
        answer["proof"] = json!(proof);
    }
    if chain.id.namespace() == "bip122" {
        let immature = known.map(|(number, _)| store.immature(number, header.height)).transpose()?;
        answer["immature"] = json!(immature.map(|units| units.to_coins(deployment.decimals)));
        if question.at.is_none() {
            let waits = match (&coverage, known) {
                (_, Some((number, _))) => waiting(setup, chain, &store).and_then(|all| all.net(number, header.at())),
                ((_, Coverage::Unknown(reason)), None) => Err(reason.clone()),
                _ => Err("the account is not known".into()),
            };
            say_pending(&mut answer, waits, deployment.decimals);
        }
    }
    if json {
        output::document(&answer);
    } else {
        print(&answer);
    }
    Ok(if known.is_some() { 0 } else { UNKNOWN })
}

/// What waits in the node's mempool, or why that is not known: the node may be away, and nothing depends on it.
pub fn waiting(setup: &Setup, chain: &ChainConfig, store: &Store) -> Result<Waiting, String> {
    let node = setup.connect(chain).map_err(|failure| failure.first())?;
    let bar = LateBar::new(&chain.name, "waiting transaction");
    let looked = Mempool::default().look(&*node, store, &|done, all| bar.show(done, all));
    bar.clear();
    looked.map_err(|error| error.to_string())?.ok_or_else(|| format!("{} shows no mempool", chain.name))
}

/// The account that an address stands for.
pub fn account(setup: &Setup, chain: &ChainConfig, address: &str) -> Result<Account, Failure> {
    let addresses = setup.addresses(&chain.id).ok_or_else(|| Failure::new(WRONG_INPUT, "no such chain"))?;
    addresses.parse(address).map_err(|why| Failure::new(WRONG_INPUT, format!("address {address}: {why}")))
}

/// How well an account is known at a block; nobody's account is unknown, and so is one that is still being filled in.
pub fn coverage(
    store: &Store,
    chain: &ChainId,
    account: &Account,
    asset: Asset,
    header: &Header,
) -> Result<(Option<AccountNo>, Coverage), Failure> {
    Ok(match store.number(account)? {
        None => {
            (None, Coverage::Unknown("not declared by any exchange, or declared since the last `assay index`".into()))
        }
        Some((_, false)) => (None, Coverage::Unknown("declared late: its history is still being filled in".into())),
        Some((number, true)) => match left_at(store, chain, header.height)? {
            Some(why) => (Some(number), Coverage::Unknown(why)),
            None => (Some(number), store.coverage(number, asset, header.height)?),
        },
    })
}

fn print(answer: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let amount = match answer["amount"].as_str() {
        Some(amount) => format!("{amount} {}", text(&answer["asset"])),
        None => format!("unknown: {}", text(&answer["reason"])),
    };
    let mut rows = vec![
        vec!["account".into(), format!("{} on {}", text(&answer["address"]), text(&answer["chain"]))],
        vec!["balance".into(), amount],
        vec!["coverage".into(), text(&answer["coverage"])],
        vec!["block".into(), format!("{} {}", answer["at"]["height"], text(&answer["at"]["hash"]))],
        vec!["time".into(), text(&answer["at"]["time"])],
        vec!["final".into(), if answer["final"] == true { "yes" } else { "not yet" }.into()],
    ];
    if let Some(immature) = answer["immature"].as_str().filter(|immature| *immature != "0") {
        rows.insert(2, vec!["of it immature".into(), format!("{immature} {}", text(&answer["asset"]))]);
    }
    match answer.get("proof") {
        None => {}
        Some(Value::Null) => rows.push(vec!["proof".into(), "none is kept".into()]),
        Some(proof) => {
            let since = if proof["unmoved"] == true { "" } else { ", and it moved between" };
            let (units, at) = (text(&proof["units"]), &proof["at"]);
            let shown = format!(
                "of {units} units after block {} {}{since}: all of it with --json",
                at["height"],
                text(&at["hash"])
            );
            rows.push(vec!["proof".into(), shown]);
        }
    }
    let pending = match (answer["pending"].as_str(), &answer["pending_reason"]) {
        (Some("0"), _) | (None, Value::Null) => None,
        (Some(pending), _) => Some(format!("{pending} {}", text(&answer["asset"]))),
        (None, why) => Some(format!("unknown: {}", text(why))),
    };
    if let Some(pending) = pending {
        rows.push(vec!["waiting in the mempool".into(), pending]);
    }
    output::data(output::pairs(rows).to_string());
}
