//! When the balances of a line were proven: a verdict rests on those proven at its block, and on those proven earlier that did not move since.

use assay_types::{ChainId, Height};
use serde::Serialize;

use crate::coins::{Coins, Wide};
use crate::holdings::{Blocks, Held, alias};
use crate::{ProvenEvidence, Require, When};

/// Some accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// How many.
    pub accounts: u64,
    /// What they hold.
    pub amount: Coins,
}

/// How many accounts, and how much, were proven when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProvenLine {
    /// At the line's block itself. Bitcoin: by walking every block up to it.
    pub at_block: Part,
    /// Before that block and behind it, with every movement between accounted for. With those at the block these are the verified ones.
    pub around: Part,
    /// Before that block and not since, in which time they did not move. These are among the unproven ones.
    pub earlier: Earlier,
}

/// Accounts that were proven earlier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Earlier {
    /// How many.
    pub accounts: u64,
    /// What they hold.
    pub amount: Coins,
    /// How far back, on each chain that has some.
    pub lowest: Vec<Lowest>,
}

/// The lowest of the blocks after which balances were proven last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lowest {
    /// The chain's alias.
    pub chain: String,
    /// That block.
    pub height: Height,
}

/// `None` where it was not looked at of every chain on which something is known.
pub(crate) fn proven(
    symbol: &str,
    held: &Held,
    evidence: &[ProvenEvidence],
    blocks: &Blocks<'_>,
    require: Require,
    coins: impl Fn(Wide) -> Coins,
) -> Option<Box<ProvenLine>> {
    let (mut at_block, mut earlier, mut lowest) = ((0, Wide::ZERO), (0, Wide::ZERO), Vec::new());
    for (chain, verified) in &held.verified_on {
        match &of(evidence, chain)?.when {
            When::Walked => add(&mut at_block, *verified),
            When::Looked(parts) => {
                for part in parts.iter().filter(|part| part.symbol == symbol) {
                    add(&mut at_block, part.at_block);
                    // Where only what is proven counts, these are unknown.
                    if let (Some(height), Require::Unproven) = (part.lowest, require) {
                        add(&mut earlier, part.earlier);
                        lowest.push(Lowest { chain: alias(blocks, chain).to_owned(), height });
                    }
                }
            }
        }
    }
    let around = (held.verified.0.saturating_sub(at_block.0), held.verified.1.saturating_sub(at_block.1));
    let part = |(accounts, amount): (u64, Wide)| Part { accounts, amount: coins(amount) };
    let earlier = Earlier { accounts: earlier.0, amount: coins(earlier.1), lowest };
    Some(Box::new(ProvenLine { at_block: part(at_block), around: part(around), earlier }))
}

fn of<'a>(evidence: &'a [ProvenEvidence], chain: &ChainId) -> Option<&'a ProvenEvidence> {
    evidence.iter().find(|one| one.chain == *chain)
}

fn add(sum: &mut (u64, Wide), more: (u64, Wide)) {
    sum.0 += more.0;
    sum.1 += more.1;
}
