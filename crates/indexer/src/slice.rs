//! Blocks that are read again beside the chain that is followed: a slice of them, then the tip again.

use std::time::{Duration, Instant};

use assay_types::Height;

use crate::IndexError;
use crate::breaks::{Break, RESTARTS};
use crate::patience::MOMENT_MS;

/// How long a slice takes, about: for so long a new block waits at most.
const SLICE: Duration = Duration::from_millis(10 * MOMENT_MS);
/// How many blocks the first slice has: from there on as many as fit.
const FIRST_SLICE: u64 = 16;

/// How many blocks a slice has. What is fetched ahead at its end would be fetched in vain, so that it ends with a block
/// that was chosen before, unless that takes far too long.
pub(crate) struct Slice {
    blocks: u64,
    began: Instant,
}

impl Slice {
    pub fn new() -> Slice {
        Slice { blocks: FIRST_SLICE, began: Instant::now() }
    }

    /// Begins one at this height; says with which it ends.
    pub fn begin(&mut self, from: Height, last: Height) -> Height {
        self.began = Instant::now();
        last.min(Height(from.0.saturating_add(self.blocks - 1)))
    }

    /// Is it high time to look at the tip?
    pub fn is_long(&self) -> bool {
        self.began.elapsed() > SLICE * 3
    }

    pub fn end(&mut self) {
        let took = self.began.elapsed();
        if took < SLICE / 2 {
            self.blocks = self.blocks.saturating_mul(2);
        } else if took > SLICE * 2 {
            self.blocks = (self.blocks / 2).max(1);
        }
    }
}

/// How often in a row the chain reorganised before a slice was done.
#[derive(Default)]
pub(crate) struct Restarts(u32);

impl Restarts {
    /// What comes of a slice: where the chain reorganised, or it took too long, the tip comes first.
    pub fn settle(&mut self, slice: Result<bool, Break>) -> Result<bool, IndexError> {
        match slice {
            Ok(more) => {
                self.0 = 0;
                Ok(more)
            }
            Err(Break::Error(error)) => Err(error),
            Err(Break::Doubt(_, error)) => Err((*error).into()), // taking blocks back does not help accounts that are filled in below them
            Err(Break::Enough | Break::Corrected) => Ok(true),
            Err(Break::Reorganised) if self.0 == RESTARTS => Err(IndexError::Restless),
            Err(Break::Reorganised) => {
                tracing::info!("the chain reorganised while blocks were read again");
                self.0 += 1;
                Ok(true)
            }
        }
    }
}
