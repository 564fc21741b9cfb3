//! Stories about verdicts, told through the crate's public function.

#![allow(clippy::unwrap_used)]

mod cold;
mod findings;
mod holdings;
mod in_flight;
mod model;
mod output;
mod pages;
mod proven;
mod watching;
mod world;
