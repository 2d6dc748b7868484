//! Bytes in and out: listeners, HTTP/1 and HTTP/2 servers, client pools, body
//! streaming and gRPC framing. hyper's servers and pools are set up here only.
//!
//! It must not know what is served: no route, no block, no component. Entry
//! types: [`Body`], [`server::serve`], [`client::Http1Pool`],
//! [`client::H2Channel`], [`listen::bind`].
#![forbid(unsafe_code)]

mod body;
pub mod client;
pub mod connect;
mod cork;
pub mod grpc;
mod h2c_upgrade;
mod io;
pub mod listen;
pub mod server;
mod streams;
pub mod watched;

pub use body::{Body, BodyError, TOO_LARGE};

/// An error of any origin, as tower services speak of it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
