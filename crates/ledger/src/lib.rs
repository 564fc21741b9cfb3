//! Statements of an exchange's internal ledger: parsed exactly, or refused with the line and the field.
//!
//! Knows the format and the names in it. Whether a statement is true is the verifier's question.

mod flight;
mod json;
mod names;
mod report;
mod statement;

pub use statement::{FORMAT, parse};

/// The JSON Schema (2020-12) of [`FORMAT`]. It says everything about a statement's shape; what depends on the configured
/// chains and assets is only known to [`parse`].
pub const SCHEMA: &str = include_str!("../../../data/statement.schema.json");

/// A complete statement, as an example.
pub const EXAMPLE: &str = include_str!("../../../data/statement.example.json");
