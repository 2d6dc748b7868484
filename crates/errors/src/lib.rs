//! The catalogue of API errors: every error that a caller of the sidecar can
//! see, with its tag, HTTP status, gRPC code, message and details
//! (api.md §3). An [`ApiError`] renders to both protocols.
//!
//! It must not know any building block's types or how a response is sent.
//! Entry types: [`ApiError`], [`Code`]; constructors by area in the modules.
#![forbid(unsafe_code)]

mod category;
mod code;
mod detail;
mod error;

pub mod bindings;
pub mod configuration;
pub mod conversation;
pub mod crypto;
pub mod general;
pub mod invoke;
pub mod lock;
pub mod pubsub;
pub mod secrets;
pub mod state;

pub use code::Code;
pub use detail::Detail;
pub use error::{ApiError, grpc_nested};
