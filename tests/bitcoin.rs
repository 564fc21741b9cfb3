//! The binary on a real `bitcoind`: what it says is what the node's own set of coins says, whatever happens to the chain,
//! to the node, or to the process.
#![allow(clippy::unwrap_used, missing_docs)] // all of it is test, helpers included

mod lab;

#[path = "bitcoin/balances.rs"]
mod balances;
#[path = "bitcoin/crashes.rs"]
mod crashes;
#[path = "bitcoin/declared.rs"]
mod declared;
#[path = "bitcoin/filters.rs"]
mod filters;
#[path = "bitcoin/following.rs"]
mod following;
#[path = "bitcoin/mempool.rs"]
mod mempool;
#[path = "bitcoin/nodes.rs"]
mod nodes;
#[path = "bitcoin/oracle.rs"]
mod oracle;
#[path = "lab/proxy.rs"]
mod proxy;
#[path = "bitcoin/reorgs.rs"]
mod reorgs;
#[path = "lab/serving.rs"]
mod serving;
#[path = "bitcoin/sources.rs"]
mod sources;
#[path = "bitcoin/stage.rs"]
mod stage;
