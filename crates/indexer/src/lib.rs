//! Follows one chain: fetch, check, apply; reorganisations; accounts declared late
