//! Sentry, Dapr's certificate authority (control-plane.md §3): who asks for a
//! certificate is checked, and gets one for its SPIFFE identity. `core` decides
//! without I/O, `store` keeps the authority's own keys, `validator` proves who
//! asks, `server` speaks to the outside, `program` is the process.
//!
//! It must not know how certificates and tokens are made (the security crate
//! does), nor anything of sidecars. Entry type: [`main`].
#![forbid(unsafe_code)]

mod authority;
mod cluster_domain;
mod config;
mod core;
mod generation;
mod metrics;
mod options;
mod program;
mod server;
mod store;
mod validator;
mod watch;

pub use program::main;

/// The version of Dapr that this is.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Scope of most log lines.
pub(crate) const SCOPE: &str = "dapr.sentry";
