//! Why a command failed, what to do about it, and with which code it exits. The codes are those of `contracts`.

use assay_desk::DeskError;
use assay_indexer::{ChainLeft, IndexError};
use assay_store::StoreError;
use assay_types::{InputError, InputErrors, NodeError};

/// Wrong usage, configuration or input, wrong chain, refused login.
pub const WRONG_INPUT: u8 = 2;
/// A node proven to lie, a damaged store.
pub const INTEGRITY: u8 = 4;
/// A discrepancy.
pub const DISCREPANCY: u8 = 1;
/// Not known.
pub const UNKNOWN: u8 = 3;

/// One or several errors, each with what to do.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What failed and why; what to do.
    pub errors: Vec<(String, Option<String>)>,
}

impl Failure {
    pub fn new(code: u8, error: impl ToString) -> Failure {
        Failure { code, errors: vec![(error.to_string(), None)] }
    }

    /// The first error, in words.
    pub fn first(&self) -> String {
        self.errors.first().map_or_else(String::new, |(error, _)| error.clone())
    }

    /// Adds what to do about the last error.
    pub fn hint(mut self, hint: impl ToString) -> Failure {
        if let Some((_, slot)) = self.errors.last_mut() {
            *slot = Some(hint.to_string());
        }
        self
    }

    /// Says what failed, in front of why.
    pub fn during(mut self, what: impl std::fmt::Display) -> Failure {
        for (error, _) in &mut self.errors {
            *error = format!("{what}: {error}");
        }
        self
    }

    /// Both, under the code that comes first in the contract's order.
    pub fn and(mut self, other: Failure) -> Failure {
        let first = [WRONG_INPUT, INTEGRITY, DISCREPANCY, UNKNOWN];
        let rank = |code: u8| first.iter().position(|known| *known == code).unwrap_or(first.len());
        if rank(other.code) < rank(self.code) {
            self.code = other.code;
        }
        self.errors.extend(other.errors);
        self
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Failure {
        let hint = error.hint.clone();
        Failure { code: WRONG_INPUT, errors: vec![(error.to_string(), hint)] }
    }
}

impl From<InputErrors> for Failure {
    fn from(errors: InputErrors) -> Failure {
        let mut each: Vec<_> = errors.errors().iter().map(|error| (error.to_string(), error.hint.clone())).collect();
        if errors.more() > 0 {
            each.push((format!("and {} more", errors.more()), None));
        }
        Failure { code: WRONG_INPUT, errors: each }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Failure {
        use NodeError::{
            Contradiction, Disagreement, Gone, Limited, LoginRefused, Missing, Unreachable, Unreadable, Unsupported,
            WrongChain,
        };
        let (code, hint) = match &error {
            Unreachable { .. } => {
                (UNKNOWN, "is the node running, and its address in assay.toml right? see: assay check")
            }
            Limited { .. } => (UNKNOWN, "wait, or ask less of this node, or use another one"),
            Disagreement { .. } => {
                (UNKNOWN, "nothing was taken from either branch, and which is right is not known; see: assay check")
            }
            Unreadable { .. } => (UNKNOWN, "nothing was taken from this answer; see: assay check"),
            Missing { .. } => (UNKNOWN, "a pruned node, or one without old states, cannot answer; see: assay check"),
            Gone(_) => (UNKNOWN, "the chain reorganised meanwhile: try again"),
            Contradiction { .. } => {
                (INTEGRITY, "the node's answers were asked for again and contradict each other: do not trust this node")
            }
            LoginRefused { .. } => {
                (WRONG_INPUT, "check cookie_file, or user and password_file, of this node in assay.toml")
            }
            WrongChain { .. } => (WRONG_INPUT, "check the chain's id and its node's address in assay.toml"),
            Unsupported(_) => (WRONG_INPUT, "see assay.toml"),
        };
        Failure::new(code, error).hint(hint)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        use StoreError::{Absent, Busy, Damaged, Database, Format, Impossible, OtherChain, UndoGone};
        let (code, hint) = match &error {
            Absent(_) => (UNKNOWN, "index first: assay index --once"),
            Busy(_) => (WRONG_INPUT, "one process indexes a chain at a time; queries work beside it"),
            Format { .. } => (WRONG_INPUT, "index again into another data_dir, or use the version that wrote it"),
            OtherChain { .. } => (WRONG_INPUT, "each chain needs a name of its own in assay.toml"),
            Damaged { .. } => (INTEGRITY, "move the folder away and index again: assay index --once"),
            Impossible(_) => (INTEGRITY, "the node's answers cannot all be true; see: assay check --deep"),
            UndoGone(_) => (INTEGRITY, "undo_depth was too small for this: move the folder away and index again"),
            Database { .. } => (UNKNOWN, "check the disk: space, rights, and that the folder is not changed by others"),
        };
        Failure::new(code, error).hint(hint)
    }
}

impl From<DeskError> for Failure {
    fn from(error: DeskError) -> Failure {
        match error {
            DeskError::Store(error) => error.into(),
            DeskError::Stopped => Failure::new(UNKNOWN, error),
            DeskError::Damaged(_) => Failure::new(INTEGRITY, error),
        }
    }
}

impl From<ChainLeft> for Failure {
    fn from(error: ChainLeft) -> Failure {
        let hint = match error.left.final_height {
            Some(_) => {
                "ask other nodes first; to go on with this one: assay index --chain C --accept-reorg HASH (its tip)"
            }
            None => {
                "undo_depth was too small for this: ask other nodes first, then move the folder away and index again"
            }
        };
        Failure::new(INTEGRITY, error).hint(hint)
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Failure {
        match error {
            IndexError::Node(error) => error.into(),
            IndexError::Store(error) => error.into(),
            IndexError::Left(left) => left.into(),
            IndexError::NodeBehind { .. } => {
                Failure::new(UNKNOWN, error).hint("wait until the node has caught up, or ask another one")
            }
            IndexError::NotBegun { .. } => {
                Failure::new(UNKNOWN, error).hint("lower `start` in assay.toml, or wait until the chain is there")
            }
            IndexError::OtherStart { indexed, .. } => Failure::new(WRONG_INPUT, error)
                .hint(format!("say start = {indexed} again; for another beginning index again into another data_dir")),
            IndexError::Restless => Failure::new(UNKNOWN, error).hint("try again"),
            IndexError::Stopped => {
                Failure::new(UNKNOWN, "stopped before the tip was reached").hint("the next run goes on from here")
            }
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(WRONG_INPUT, error)
    }
}
