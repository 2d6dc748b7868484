//! Harness for the tests of the built programs: starts sidecars, fake
//! applications and collectors on free ports of this machine, each in a
//! scratch folder, and ends them when their value goes out of scope.
//!
//! It must not know any crate of the project: what a test sees here is what a
//! user sees, a process with flags, files and ports. Entry types:
//! [`Sidecar`], [`FakeApp`], [`Client`], [`Pluggable`], [`Scratch`]; servers come
//! from `dapr-test-servers`.
#![forbid(unsafe_code)]

mod app;
mod client;
mod collector;
mod component;
mod grpc;
mod grpc_app;
mod pluggable;
mod process;
mod scratch;
pub mod sdk;
mod sentry;
mod sidecar;
mod wait;

pub use app::{Chunks, FakeApp, Request, Response, respond, respond_json, respond_stream};
pub use client::{Answer, Client};
pub use collector::{Collector, Span, call_grpc};
pub use component::{SQLITE_RESOLVER, component, component_document};
pub use dapr_test_servers::{Postgresql, Redis, free_port, taken_port};
pub use grpc::{GrpcAnswer, ask_grpc, ask_grpc_over, grpc_frame, try_grpc};
pub use grpc_app::{GrpcApp, GrpcStream};
pub use pluggable::{ComponentStream, Pluggable, Refusal};
pub use process::Process;
pub use scratch::Scratch;
pub use sentry::Sentry;
pub use sidecar::{Options, Sidecar};
pub use wait::{START_TIMEOUT, eventually};
