//! The way from the sidecar to its application: HTTP/1.1, h2c, HTTPS and gRPC,
//! with the application's token, its health and the concurrency limit
//! (api.md §5, runtime.md §5).
//!
//! It must not know any building block: it carries requests, it does not
//! decide about them. Entry types: [`AppChannel`], [`Options`],
//! [`InvokeRequest`], [`ConcurrencyLimit`], [`health::AppHealth`].
#![forbid(unsafe_code)]

mod channel;
pub mod discovery;
mod grpc;
pub mod health;
mod http_channel;
mod invoke;
mod limit;
mod measured;

pub use channel::{AppChannel, Options, Protocol, UnknownProtocol};
pub use grpc::{GrpcChannel, is_permanent, verb};
pub use http_channel::{HttpChannel, request_uri};
pub use invoke::{ChannelError, InvokeRequest, InvokeResponse, Origin, Status};
pub use limit::ConcurrencyLimit;
pub use measured::Measured;
