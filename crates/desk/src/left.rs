//! Blocks that are indexed and that the chain left for good, as far as its node says: see [`assay_store::Left`].

use assay_indexer::ChainLeft;
use assay_store::{Store, StoreError};
use assay_types::{ChainId, Height};
use assay_verifier::rules::Departure;

use crate::Source;

/// Why nothing is known of the block at this height, where the chain left it.
///
/// # Errors
/// When the database fails.
pub fn left_at(store: &Store, chain: &ChainId, at: Height) -> Result<Option<String>, StoreError> {
    let left = store.left()?.filter(|left| left.block.height <= at);
    Ok(left.map(|left| ChainLeft::new(chain, left).to_string()))
}

/// What a finding says of it.
///
/// # Errors
/// When the database fails.
pub(crate) fn departure(source: &Source, store: &Store) -> Result<Option<Departure>, StoreError> {
    Ok(store.left()?.map(|left| {
        let said = ChainLeft::new(&source.id, left);
        let (chain, height, why) = (source.name.clone(), left.block.height.0, said.to_string());
        Departure { chain, height, hash: said.hash, final_height: left.final_height.map(|height| height.0), why }
    }))
}
