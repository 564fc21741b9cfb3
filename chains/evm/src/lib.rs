//! EVM nodes: JSON-RPC; a block becomes movements; state proofs.
//!
//! A node answers (`node`); a block is asked for by its hash (`block`), read once (`json`), and every part, turned into the bytes that its header commits
//! to (`codec`), is checked against that before anything is made of it (`verify`). What the header commits to gives the movements, and a trace explains internal payments (`movements`). State is read
//! beside them and decides: native coins are proven by accounts, tokens by what their code returns, run here on proven storage, which a slot's proof
//! shows to others (`state`). Of what kind an answer is that fails is found out afterwards (`diagnose`). All this is one chain to
//! the indexer (`chain`), which says whose balances it needs (`wanted`), and reports to people what a node can do (`check`).
//!
//! This crate knows no store, and compares nothing with what was before: where the sum of movements and the state that
//! was read part is for its caller to see.

mod addresses;
mod block;
mod chain;
mod check;
mod codec;
mod diagnose;
mod finality;
mod json;
mod movements;
mod node;
mod state;
mod transactions;
mod verify;
mod wanted;

pub use addresses::EvmAddresses;
pub use chain::{EvmChain, EvmConfig, knows};
pub use finality::{Finality, FinalityTag};
pub use verify::{AccountProof, account as verify_account};
