//! On which proofs the balances at a block rest: those of that block, and earlier ones. It is looked at one by one, and so only where an exchange
//! has few balances on a chain: sums do not tell it.

use assay_store::{Coverage, Store};
use assay_types::{AssetEntry, Deployment, Header};
use assay_verifier::{ProvenEvidence, ProvenPart, When, Wide};

use crate::dispute::Disputed;
use crate::question::{Question, finer};
use crate::{DeskError, Source};

/// Up to so many balances: with each verdict some milliseconds.
const FEW: usize = 2_000;

/// When an exchange's balances at this block were proven; nothing where they are too many.
///
/// # Errors
/// When the database fails.
pub(crate) fn rests(
    question: &Question<'_>,
    source: &Source,
    (store, header): (&Store, &Header),
    disputed: &Disputed,
    assets: &[(&AssetEntry, &Deployment)],
) -> Result<Option<ProvenEvidence>, DeskError> {
    let chain = source.id.clone();
    if chain.namespace() == "bip122" {
        return Ok(Some(ProvenEvidence { chain, when: When::Walked }));
    }
    let accounts = &question.exchange.accounts;
    if accounts.len().saturating_mul(assets.len()) > FEW {
        return Ok(None);
    }
    let (at, mut looked_up, at_block) = (header.height, store.lookup()?, store.proven_at(header.height)?);
    let mut parts: Vec<ProvenPart> = assets.iter().map(|(entry, _)| ProvenPart::none(&entry.symbol)).collect();
    let here = accounts.iter().filter(|on| on.terms.chain == chain && on.terms.counts(question.as_of, Some(at)));
    for declared in here {
        let Some((number, true)) = store.number(&declared.account)? else { continue };
        for ((entry, deployment), part) in assets.iter().zip(&mut parts) {
            if disputed.contains_key(&(declared.account.clone(), deployment.asset)) {
                continue;
            }
            let pair = (number, deployment.asset);
            let standing = looked_up.standing(pair, at)?;
            let amount = Wide::from(standing.balance.0) * finer(entry, deployment);
            match standing.coverage {
                Coverage::Verified => {
                    let is_at_block = match &at_block {
                        Some(pairs) => pairs.contains(&pair),
                        None => looked_up.ends_proven(pair, at)?,
                    };
                    if is_at_block {
                        part.at_block = (part.at_block.0 + 1, part.at_block.1 + amount);
                    }
                }
                Coverage::Unproven => {
                    if let Some(last) = looked_up.last_proof(pair, at)? {
                        part.earlier = (part.earlier.0 + 1, part.earlier.1 + amount);
                        part.lowest = Some(part.lowest.map_or(last, |lowest| lowest.min(last)));
                    }
                }
                Coverage::Unknown(_) => {}
            }
        }
    }
    Ok(Some(ProvenEvidence { chain, when: When::Looked(parts) }))
}
