//! From the application to the sidecar: two thin adapters, [`http`] and
//! [`grpc`], onto the building blocks. Parsing, status codes and header
//! spelling live here and nowhere else.
//!
//! It must not know any component or any policy. Entry types: [`Api`],
//! [`http::HttpApi`], [`grpc::GrpcApi`], [`grpc::InternalApi`].
#![forbid(unsafe_code)]

mod access;
mod api;
mod conversation;
pub mod grpc;
pub mod http;
mod trace_context;

pub use access::ApiAccess;
pub use api::{Api, Control};
