//! Kept proofs as they are handed out: checked first, and with everything that whoever has no node needs to check them again.

use assay_registry::Exchange;
use assay_store::{KeptProof, Store};
use assay_types::{Account, AccountNo, ChainEntry, Deployment, Height, Timestamp};
use assay_verifier::BlockLine;
use serde_json::{Value, json};

use crate::{DeskError, World, holdings};

/// An account in an asset on a chain.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    /// The chain.
    pub chain: &'a ChainEntry,
    /// The account.
    pub account: &'a Account,
    /// The same, as the store counts.
    pub number: AccountNo,
    /// The asset.
    pub deployment: &'a Deployment,
}

/// What the proofs of a chain say of an exchange's balances.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Backed {
    /// The chain's alias.
    pub chain: String,
    /// How many of the balances that count are above zero.
    pub balances: u64,
    /// For how many of them there is a proof, of that block or of one between which and that block they did not move.
    pub proofs: u64,
}

/// The last proof of a balance, as JSON, where one is kept: `address`, `asset` (CAIP-19), `at` (the block after which the balance is proven),
/// `units`, `unmoved` (no movement is known between that block and the one that is asked about), and what
/// [`assay_types::Addresses::show_proof`] gives.
///
/// # Errors
/// Damaged, where it proves something else than what the store says. Or the database fails.
pub fn kept_proof(store: &Store, holder: Holder<'_>, asked: Height) -> Result<Option<Value>, DeskError> {
    let pair = (holder.number, holder.deployment.asset);
    let mut kept = store.kept_proof(pair.0, pair.1)?;
    while let Some(proof) = kept {
        match shown(store, holder, &proof)? {
            Ok(mut shown) => {
                shown["unmoved"] = json!(!store.moved_between(pair, proof.at, asked)?);
                return Ok(Some(shown));
            }
            Err(why) => {
                // Its block may have been taken back between two looks; then it is not there any more.
                kept = store.kept_proof(pair.0, pair.1)?;
                if kept.as_ref() == Some(&proof) {
                    let address = holder.chain.addresses.show(holder.account);
                    let which = format!("the kept proof of {address} at {} block {}", holder.chain.name, proof.at);
                    return Err(DeskError::Damaged(format!("{which}: {why}")));
                }
            }
        }
    }
    Ok(None)
}

/// What it shows, or how that is not what is stored.
fn shown(store: &Store, holder: Holder<'_>, kept: &KeptProof) -> Result<Result<Value, String>, DeskError> {
    let Holder { chain, account, number, deployment } = holder;
    let Some(header) = store.header(kept.at)? else { return Ok(Err("there is no such block".into())) };
    let balance = store.balance(number, deployment.asset, kept.at)?;
    let read = || {
        let document = chain.addresses.show_proof(&kept.sealed, &kept.proof)?;
        let proven = chain.addresses.check_proof(&document, account, deployment.asset)?;
        if (proven.at, proven.time) != (header.at(), header.time) {
            return Err(format!("it is of block {} {}", proven.at.height, chain.id.show_hash(&proven.at.hash.0)));
        }
        if proven.balance != balance {
            return Err(format!("it proves {} units, and {balance} are stored", proven.balance));
        }
        let mut shown: Value = serde_json::from_str(&document).map_err(|error| error.to_string())?;
        shown["address"] = json!(chain.addresses.show(account));
        shown["asset"] = json!(deployment.caip19());
        shown["at"] = holdings::at(&chain.id, &header);
        shown["units"] = json!(balance.to_string());
        Ok(shown)
    };
    Ok(read())
}

/// Shows the proofs that back what an exchange's accounts hold at the blocks of a verdict: those of that block, or of one between which and that
/// block the balance did not move. `as_of`: the statement's instant. Says of each chain how far they go.
///
/// # Errors
/// As [`kept_proof`], or when `see` fails.
pub fn proofs<E: From<DeskError>>(
    world: &World,
    exchange: &Exchange,
    as_of: Timestamp,
    blocks: &[BlockLine],
    mut see: impl FnMut(Value) -> Result<(), E>,
) -> Result<Vec<Backed>, E> {
    let mut all = Vec::new();
    for block in blocks {
        let source = world.sources.iter().find(|source| source.name == block.chain);
        let (Some(source), Some(chain), Some(at)) = (source, world.directory.chain(&block.chain), block.height) else {
            continue;
        };
        let Ok(store) = source.store() else { continue };
        let mut backed = Backed { chain: block.chain.clone(), balances: 0, proofs: 0 };
        let assets = world.directory.assets.iter().flat_map(|entry| &entry.on).filter(|on| on.chain == chain.id);
        let assets: Vec<&Deployment> = assets.collect();
        for declared in exchange.accounts.iter().filter(|declared| declared.terms.chain == chain.id) {
            let number = store.number(&declared.account).map_err(DeskError::from)?;
            let Some((number, true)) = number.filter(|_| declared.terms.counts(as_of, Some(at))) else { continue };
            for deployment in &assets {
                let balance = store.balance(number, deployment.asset, at).map_err(DeskError::from)?;
                backed.balances += u64::from(!balance.is_zero());
                let holder = Holder { chain, account: &declared.account, number, deployment };
                let proof = kept_proof(&store, holder, at)?.filter(|proof| proof["unmoved"] == true);
                if let Some(proof) = proof {
                    backed.proofs += u64::from(!balance.is_zero());
                    see(proof)?;
                }
            }
        }
        all.push(backed);
    }
    Ok(all)
}
