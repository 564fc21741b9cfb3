//! EVM nodes: JSON-RPC; a block becomes movements; state proofs.
//!
//! A block is asked for by its hash, from one node (`headers`, `fetch`), and every part is checked against its header before anything is
//! made of it (`json`, `codec`, `verify`; `trie`, `proof`, `keccak`); of what kind an answer is that fails is found out afterwards
//! (`diagnose`, `elsewhere`, `recent`); what a refusal means, by its words (`meaning`) or by where state ends (`horizon`). What the header commits to
//! gives the movements (`extract`); a trace, to which nothing commits, explains internal payments (`traces`, `trace`), as far as proofs do
//! not deny it (`told`, `repeated`); state is read beside them and decides (`state`, `reader`), and is proven: native coins by accounts, tokens by slots
//! of their storage where these can be found (`slots`, `layout`), and by their code where these and the node's word part (`run`). A proof can
//! be kept, and checked again by whoever has no node (`kept`).
//!
//! This crate knows no store, and compares nothing with what was before: where the sum of movements and the state that
//! was read part is for its caller to see.

mod ability;
mod addresses;
mod batch;
mod chain;
mod check;
mod codec;
mod contract;
mod diagnose;
mod digest;
mod elsewhere;
mod extract;
mod fetch;
mod finality;
mod headers;
mod horizon;
mod json;
mod keccak;
mod kept;
mod layout;
mod meaning;
mod node;
mod proof;
mod reader;
mod recent;
mod repeated;
mod run;
mod slots;
mod state;
mod told;
mod trace;
mod traces;
mod transport;
mod trie;
mod verify;
mod wanted;

pub use addresses::EvmAddresses;
pub use chain::{EvmChain, EvmConfig, knows};
pub use finality::{Finality, FinalityTag};
pub use verify::{AccountProof, account as verify_account};
