//! What ends a stretch of blocks.

use assay_types::{NodeError, Pair};

use crate::IndexError;

/// A chain that reorganises this often while it is followed once is not going to rest.
pub(crate) const RESTARTS: u32 = 20;

/// What ends a stretch before its last block.
pub(crate) enum Break {
    Error(IndexError),
    /// The next block does not link to ours.
    Reorganised,
    /// State proves that an earlier answer was wrong.
    Doubt(Vec<Pair>, Box<NodeError>),
    /// It took so long that the tip comes first.
    Enough,
    /// What was stored of blocks below was not all that they did, and now is.
    Corrected,
}

impl<E: Into<IndexError>> From<E> for Break {
    fn from(error: E) -> Break {
        match error.into() {
            IndexError::Node(NodeError::Gone(_)) => Break::Reorganised,
            error => Break::Error(error),
        }
    }
}
