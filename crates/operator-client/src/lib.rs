//! A client of the operator, from which a sidecar in Kubernetes has its
//! resources (control-plane.md §8.2): lists of them, and sets that a stream of
//! events keeps current and lists make good, whatever happens to the operator.
//! What happened is decided in [`core`], without clock or I/O.
//!
//! It must not know what a resource is or means: objects are bytes, and who
//! follows a kind says how they are read. Entry types: [`OperatorClient`],
//! [`Kind`], [`Feed`].
#![forbid(unsafe_code)]

mod client;
pub mod core;
mod feed;
mod kind;
#[cfg(test)]
mod tests;

pub use client::{Error, OperatorClient, Options};
pub use core::{Entry, EventKind};
pub use feed::{Bell, Decode, Feed, FeedOptions, Undecodable};
pub use kind::Kind;

const SCOPE: &str = "dapr.runtime.operator";
