//! The HTTP API. One table ([`routes`]) says which path leads where; what
//! matches nothing is service invocation.

mod bindings;
mod call;
mod configuration;
mod conversation;
mod cors;
mod crypto;
mod fields;
mod health;
mod invoke;
mod lock;
mod metadata;
mod pipeline;
mod proto_json;
mod proto_message;
mod pubsub;
pub(crate) mod refusals;
pub mod reply;
mod router;
pub mod routes;
mod secrets;
mod server;
mod spans;
mod state;
mod unserved;

pub use call::{Call, Params};
pub use cors::Cors;
pub use proto_message::ProtoMessages;
pub use server::{ApiLog, HttpApi, Options};
