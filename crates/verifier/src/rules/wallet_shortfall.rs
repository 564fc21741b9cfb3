use assay_types::{Account, AssetReport, ChainId, Statement, WalletClaim};
use foldhash::HashMap;
use serde_json::json;

use crate::coins::{Coins, Wide, wide};
use crate::holdings::{Blocks, Knowledge, alias, blocks, knowledge};
use crate::{AccountEvidence, At, Evidence, Finding, Policy, Severity};

/// **`wallet-shortfall`** (error): the statement claims of a wallet what is not there at the block, or claims a wallet that
/// the exchange has not declared.
///
/// Catches a wallet that was emptied, or shown fuller than it is, also while the sum over all wallets is enough.
///
/// Cannot judge a claim about an account whose balance is unknown; such a claim only bounds what the account may hold.
///
/// Policy: `require`: under `"verified"` a balance that is not proven accuses nobody.
pub fn wallet_shortfall(statement: &Statement, evidence: &Evidence, policy: &Policy) -> Vec<Finding> {
    let blocks = blocks(evidence);
    let mut declared: HashMap<_, Vec<&AccountEvidence>> =
        statement.wallets.iter().map(|claim| (wallet(claim), Vec::new())).collect();
    for one in &evidence.accounts {
        if let Some(same) = declared.get_mut(&(&one.chain, &one.account, one.symbol.as_str())) {
            same.push(one);
        }
    }
    let judge = |claim: &WalletClaim| match declared.get(&wallet(claim)).map(Vec::as_slice) {
        None | Some([]) => Some(finding(statement, &blocks, claim, None)),
        Some(accounts) => {
            let balance = known_balance(accounts, &blocks, policy)?;
            (wide(claim.claimed) > balance).then(|| finding(statement, &blocks, claim, Some(balance)))
        }
    };
    statement.wallets.iter().filter_map(judge).collect()
}

fn wallet(claim: &WalletClaim) -> (&ChainId, &Account, &str) {
    (&claim.chain, &claim.account, &claim.symbol)
}

/// The sum over the asset's deployments on that chain; `None` when one of them is unknown.
fn known_balance(accounts: &[&AccountEvidence], blocks: &Blocks<'_>, policy: &Policy) -> Option<Wide> {
    let mut assets: Vec<_> = accounts.to_vec();
    assets.sort_by_key(|one| one.asset);
    assets.dedup_by_key(|one| one.asset);
    assets.into_iter().try_fold(Wide::ZERO, |sum, one| match knowledge(one, blocks, policy.require) {
        Knowledge::Known { amount, .. } => Some(sum + wide(amount)),
        Knowledge::Unknown { .. } => None,
    })
}

fn finding(statement: &Statement, blocks: &Blocks<'_>, claim: &WalletClaim, balance: Option<Wide>) -> Finding {
    let scale = |report: &AssetReport| (report.symbol == claim.symbol).then_some(report.decimals);
    let decimals = statement.assets.iter().find_map(scale);
    // The scale of an asset that the statement does not report is not known here.
    let unit = if decimals.is_some() { "" } else { " base units of" };
    let coins = |units: Wide| Coins::of(units, decimals.unwrap_or(0));
    let claimed = Coins::new(claim.claimed, decimals.unwrap_or(0));
    let found = match balance {
        Some(balance) => format!("holds {}", coins(balance).grouped()),
        None => "is not declared".to_owned(),
    };
    let block = blocks.get(&claim.chain).and_then(|block| match &block.at {
        At::Block { at, .. } => Some(json!({ "height": at.height, "hash": claim.chain.show_hash(&at.hash.0) })),
        At::Unknown { .. } => None,
    });
    Finding {
        rule: "wallet-shortfall",
        severity: Severity::Error,
        asset: Some(claim.symbol.clone()),
        message: format!(
            "{}: {}{unit} {} are claimed of {}, which {found}",
            claim.field,
            claimed.grouped(),
            claim.symbol,
            claim.address,
        ),
        evidence: facts!({
            "field": claim.field,
            "chain": alias(blocks, &claim.chain),
            "address": claim.address,
            "claimed": claimed,
            "balance": balance.map(coins),
            "declared": balance.is_some(),
            "in_base_units": decimals.is_none(),
            "block": block,
        }),
    }
}
