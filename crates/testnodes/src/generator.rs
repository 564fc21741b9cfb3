//! A Bitcoin chain as heavy as mainnet's, made up on the spot, which a real `bitcoind -regtest` accepts block by block.
//!
//! The chain stands on regtest's genesis and is decided by its [`Plan`] alone. It begins with blocks that hold nothing
//! but a coinbase, goes on with blocks that split some of those coins into many, and then come the full blocks that the
//! plan asks for: inputs and outputs of every script type, with signatures and witnesses of their real sizes.
//!
//! Everything is signed with a nonce that the whole world knows. Nothing here is for money.

mod address;
mod draft;
mod keys;
mod pool;
#[cfg(test)]
mod tests;
mod unlock;

use bitcoin::hashes::Hash as _;
use bitcoin::hex::DisplayHex as _;
use bitcoin::{BlockHash, Network};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::{Bitcoind, TestNodeError};
use address::{Address, Kind, Payees};
use draft::Draft;
use keys::Ring;
use pool::Pool;

/// A coinbase can be spent this many blocks later.
const MATURITY: u32 = 100;
/// So many coins are prepared as this many full blocks spend: a coin then lies for some blocks, as real ones do.
const BLOCKS_OF_COINS: u32 = 12;
/// Outputs of a block that splits coins; they fill three quarters of it.
const SPLIT_OUTPUTS: u32 = 20_000;
/// Outputs of one transaction there.
const SPLIT_OUTPUTS_OF_ONE: u32 = 500;

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The same seed and the same numbers make the same bytes.
    pub seed: u64,
    /// Full blocks, beside the ones that prepare coins.
    pub blocks: u32,
    /// Inputs of each full block; fewer when there is no room or there are no coins.
    pub inputs: u32,
    /// Outputs of each full block, without its coinbase's; fewer when there is no room.
    pub outputs: u32,
    /// How many of a thousand outputs pay to a watched script.
    pub watched_permille: u32,
    /// How many keys, of 50,000, have watched scripts: ten each, one of every type.
    pub watched_keys: u32,
}

impl Default for Plan {
    /// Sixty blocks as full as mainnet's; a thousand scripts are watched.
    fn default() -> Plan {
        Plan { seed: 1, blocks: 60, inputs: 6_000, outputs: 6_000, watched_permille: 20, watched_keys: 100 }
    }
}

impl Plan {
    /// Coins that must be there before the first full block.
    fn coins(&self) -> u64 {
        // The few outputs that hold no coin make the pool shrink, block by block.
        let spendable = u64::from(self.outputs) * 98 / 100;
        let shrinking = u64::from(self.inputs).saturating_sub(spendable) * u64::from(self.blocks);
        u64::from(self.inputs) * u64::from(self.blocks.min(BLOCKS_OF_COINS)) + shrinking
    }

    fn splitting_blocks(&self) -> u32 {
        u32::try_from(self.coins().div_ceil(u64::from(SPLIT_OUTPUTS))).expect("a chain of that many blocks")
    }
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its height; the first is 1.
    pub height: u32,
    /// Its hash, in the order in which hashes are displayed.
    pub hash: [u8; 32],
    /// The block as nodes send it.
    pub bytes: Vec<u8>,
}

/// Generates the blocks of a plan, in order.
pub struct Generator {
    plan: Plan,
    rng: Rng,
    ring: Ring,
    payees: Payees,
    pool: Pool,
    coins_to_prepare: u64,
    height: u32,
    tip: BlockHash,
}

impl Generator {
    /// Prepares the keys, which takes a moment.
    pub fn new(plan: Plan) -> Generator {
        let watched_keys = usize::try_from(plan.watched_keys).expect("a small number").clamp(1, keys::COUNT - 1);
        Generator {
            rng: Rng::with_seed(plan.seed),
            ring: Ring::new(plan.seed),
            payees: Payees { watched_permille: plan.watched_permille, watched_keys },
            pool: Pool::default(),
            coins_to_prepare: plan.coins(),
            height: 0,
            tip: bitcoin::constants::genesis_block(Network::Regtest).block_hash(),
            plan,
        }
    }

    /// The `scriptPubKey`s that are watched: nearly all of them get paid, but for those of seldom types.
    pub fn watched_scripts(&self) -> Vec<Vec<u8>> {
        let of_key = |key| Kind::ALL.map(|kind| Address { kind, key }.script(&self.ring).into_bytes());
        (0..self.payees.watched_keys).flat_map(of_key).collect()
    }

    /// How many blocks the plan makes, those included that prepare coins. The last one's height, too.
    pub fn blocks_in_all(&self) -> u32 {
        MATURITY + self.plan.splitting_blocks() + self.plan.blocks
    }

    /// Splits the one coinbase that gets ripe at this height, in two stages.
    fn split(&mut self, draft: &mut Draft) {
        let outputs = self.coins_to_prepare.min(u64::from(SPLIT_OUTPUTS));
        self.coins_to_prepare -= outputs;
        let outputs = u32::try_from(outputs).expect("at most what a block takes");
        let coinbase = self.pool.ripe(self.height).expect("each block ripens one coinbase");
        let transactions = outputs.div_ceil(SPLIT_OUTPUTS_OF_ONE);
        for coin in draft.spend(&self.ring, &mut self.rng, &[coinbase], transactions) {
            let coins = draft.spend(&self.ring, &mut self.rng, &[coin], outputs.div_ceil(transactions));
            coins.into_iter().for_each(|coin| self.pool.put(coin));
        }
    }

    /// Coins made here can be spent here, as soon as they are in the pool.
    fn fill(&mut self, draft: &mut Draft) {
        while let Some(coinbase) = self.pool.ripe(self.height) {
            self.pool.put(coinbase);
        }
        let (inputs, outputs) = (self.plan.inputs, self.plan.outputs);
        if inputs.min(outputs) == 0 {
            return;
        }
        // 2,500 transactions with 6,000 inputs and outputs.
        let transactions = (inputs.min(outputs) / 12 * 5).max(1);
        let inputs = shares(&mut self.rng, inputs, transactions);
        let outputs = shares(&mut self.rng, outputs, transactions);
        for (inputs, outputs) in inputs.into_iter().zip(outputs) {
            let coins = self.pool.take(&mut self.rng, inputs);
            if coins.is_empty() {
                return;
            }
            if !draft.has_room(inputs, outputs) {
                coins.into_iter().for_each(|coin| self.pool.put(coin));
                return;
            }
            let coins = draft.spend(&self.ring, &mut self.rng, &coins, outputs);
            coins.into_iter().for_each(|coin| self.pool.put(coin));
        }
    }
}

impl Iterator for Generator {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        if self.height == self.blocks_in_all() {
            return None;
        }
        self.height += 1;
        let mut draft = Draft::new(self.height, self.tip, self.payees);
        match self.height {
            ..=MATURITY => {}
            _ if self.coins_to_prepare > 0 => self.split(&mut draft),
            _ => self.fill(&mut draft),
        }
        let (hash, bytes, coinbase) = draft.finish(&self.ring, &mut self.rng);
        self.pool.put_unripe(self.height + MATURITY, coinbase);
        self.tip = hash;
        let mut hash = hash.to_byte_array();
        hash.reverse();
        Some(Generated { height: self.height, hash, bytes })
    }
}

/// Divides so many inputs, or outputs, among transactions: at least one for each, mostly one or two, now and then many.
fn shares(rng: &mut Rng, of: u32, transactions: u32) -> Vec<u32> {
    let transactions = usize::try_from(transactions).expect("fits");
    let mut shares = vec![1; transactions];
    let mut left = of.saturating_sub(u32::try_from(transactions).expect("fits"));
    while left > 0 {
        let more = if rng.u32(..20) == 0 { rng.u32(5..=30).min(left) } else { 1 };
        shares[rng.usize(..transactions)] += more;
        left -= more;
    }
    shares
}

/// Gives the blocks to a node, in order.
///
/// # Errors
/// On the first block that the node does not take: [`TestNodeError::Refused`] in its own words, with code 0 as the node
/// gives none, or no answer.
pub fn feed(node: &Bitcoind, blocks: impl Iterator<Item = Generated>) -> Result<(), TestNodeError> {
    const METHOD: &str = "submitblock";
    for block in blocks {
        match node.call(METHOD, json!([block.bytes.to_lower_hex_string()]))? {
            Value::Null => {}
            refusal => {
                let message = format!("block {}: {}", block.height, refusal.as_str().unwrap_or("without a word"));
                return Err(TestNodeError::Refused { method: METHOD.into(), code: 0, message });
            }
        }
    }
    Ok(())
}
