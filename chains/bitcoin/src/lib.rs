//! Bitcoin: addresses and descriptors, nodes over RPC and REST, and blocks that become movements.
//!
//! A block's way: [`BitcoinChain`] fetches its bytes from a node (`node`), `block` checks them against the header whose
//! hash was asked for and extracts what they do to the watched scripts, `pow` and `merkle` hold the rules that this
//! needs. What the bytes mean is never taken from the node's words; what scripts that were not followed hold is (`scan`), and
//! counts as unproven. So is what a node's filters of blocks hide (`filter`). What waits for a block (`mempool`) is nobody's yet. This crate
//! knows no store.

mod address;
mod block;
mod buffer;
mod chain;
mod cursor;
mod descriptor;
mod files;
mod filter;
mod mempool;
mod merkle;
mod network;
mod node;
mod pow;
mod scan;
mod sha256d;
mod transport;

pub use address::BitcoinAddresses;
pub use chain::{BitcoinChain, read_block};
pub use node::{NodeConfig, NodeLogin};
