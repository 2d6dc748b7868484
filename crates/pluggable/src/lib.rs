//! Components that run in a process of their own and are reached by gRPC over
//! a Unix socket (runtime.md §13): discovery of the sockets and one adapter per
//! building block.
//!
//! It must not know the blocks that use a component, the API protocols or any
//! resource file. Entry type: [`discover`], which registers what it finds in a
//! [`dapr_components::registry::Registry`].
#![forbid(unsafe_code)]

mod bindings;
mod connection;
mod discovery;
mod errors;
mod names;
mod pubsub;
mod query;
mod secrets;
mod state;

#[cfg(test)]
mod tests;

pub use discovery::{DiscoveryError, discover};
