//! The transactional outbox: what a transaction writes is published exactly
//! when it was written (runtime.md §12).
//!
//! Before the transaction, each change goes to an internal topic together with
//! the name of a marker that the transaction writes as well. Who reads that
//! topic publishes a change once its marker is there, and removes the marker.

mod config;
mod event;
mod relay;
mod service;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use service::{Options, Outbox};
