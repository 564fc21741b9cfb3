//! Statements of an exchange's internal ledger: parsed exactly
