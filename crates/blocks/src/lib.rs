//! The building blocks as protocol-neutral services: policy, key prefixes,
//! metrics and semantics live here; parsing and status codes do not.
//!
//! It must not know HTTP routes or gRPC service traits: the gateway adapts
//! both onto these services. Entry types: one service per module, such as
//! [`invoke::InvokeService`] and [`state::StateService`].
#![forbid(unsafe_code)]

pub mod bindings;
pub mod configuration;
pub mod conversation;
pub mod crypto;
pub mod invoke;
pub mod lock;
pub mod metadata;
mod observed;
pub mod outbox;
pub mod pubsub;
pub mod secrets;
pub mod state;

#[cfg(test)]
mod test_app;
