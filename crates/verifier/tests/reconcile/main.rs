//! Stories about verdicts, told through the crate's public function.

mod findings;
mod holdings;
mod in_flight;
mod model;
mod output;
mod world;
