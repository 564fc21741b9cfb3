//! The only crate that knows RocksDB: column families, bytes, apply and undo
