//! Deterministic simulation: cores that decide without I/O live through years
//! of faults in seconds, and a seed that once failed is a test for ever. One
//! module a core; `cargo run -p dapr-sim --release -- rotation 10000` is a full
//! run.
//!
//! It must not know sockets, files or the clock of the machine: everything that
//! happens comes from the seed. Entry types: [`rotation::run`],
//! [`runner::search`].
#![forbid(unsafe_code)]

pub mod rotation;
pub mod runner;
