//! EVM nodes: JSON-RPC; a block becomes movements; state proofs
