//! What a block moved (`fetch`): what its header commits to (`digest`, `extract`), and what calls did, as the node's trace says (`traces`, `trace`), to which
//! nothing commits, as far as proofs do not deny it (`told`, `repeated`).

pub(crate) mod digest;
pub(crate) mod extract;
pub(crate) mod fetch;
pub(crate) mod repeated;
pub(crate) mod told;
pub(crate) mod trace;
pub(crate) mod traces;
