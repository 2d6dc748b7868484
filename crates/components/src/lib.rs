//! What a component is: one trait per building block, the decoding of its
//! metadata, and the registry that maps a type name to a constructor.
//!
//! This crate must not know any technology, the API protocols or the resource
//! files. Entry types: [`state::StateStore`], [`pubsub::PubSub`],
//! [`bindings::InputBinding`], [`bindings::OutputBinding`],
//! [`secrets::SecretStore`], [`nameresolution::NameResolver`],
//! [`middleware::HttpMiddleware`], [`conversation::Conversation`],
//! [`crypto::CryptoProvider`], [`registry::Registry`] and [`Properties`].
#![forbid(unsafe_code)]

pub mod bindings;
pub mod configuration;
pub mod conversation;
pub mod crypto;
pub mod description;
mod init;
pub mod like;
pub mod lock;
pub mod middleware;
pub mod nameresolution;
mod properties;
pub mod pubsub;
pub mod registry;
pub mod secrets;
pub mod state;
pub mod ttl;

pub use init::{InitContext, InitError};
pub use properties::{Properties, PropertyError};
