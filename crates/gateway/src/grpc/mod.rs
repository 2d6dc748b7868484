//! The gRPC APIs: the application's, and the one between sidecars. Calls of
//! services that are not ours are proxied, frame by frame.

mod access;
mod bindings;
mod configuration;
mod conversation;
mod convert;
mod crypto;
mod internal;
mod invoke;
mod lock;
mod metrics;
mod proxy;
mod pubsub;
mod reflection;
mod secrets;
mod server;
mod service;
mod spans;
mod state;
mod status;

mod system;
mod unserved;

pub use access::is_group;
pub use internal::InternalApi;
pub use server::{GrpcApi, Options};
