//! In which way an answer is not what it must be.

use std::fmt;

/// What is wrong with an answer, as far as it shows. Who is to blame is another question: a line or a balancer does most of
/// it without meaning to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// Something is in it that never was.
    Forged,
    /// Something is left out.
    Omitted,
    /// All of it is there, in another order, or in answer to another question.
    Reordered,
    /// It ends too early.
    Truncated,
    /// It is announced to be larger than any such answer.
    Oversized,
    /// It does not end.
    NeverEnding,
    /// It is of an older block than what was asked for.
    Stale,
    /// It is of another branch than the answer before it.
    MixedForks,
    /// It is nothing that could be understood.
    Garbled,
}

impl Fault {
    /// Its name, as people and metrics know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Forged => "forged",
            Fault::Omitted => "omitted",
            Fault::Reordered => "reordered",
            Fault::Truncated => "truncated",
            Fault::Oversized => "oversized",
            Fault::NeverEnding => "never-ending",
            Fault::Stale => "stale",
            Fault::MixedForks => "mixed-forks",
            Fault::Garbled => "garbled",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(kind: {})", self.as_str())
    }
}
