//! Exchanges, declarations, lists of accounts, the asset registry
