//! Bitcoin nodes: RPC and REST; a block becomes movements
