//! Composition: builds everything of one sidecar from its options, starts it
//! in order and drains it.
//!
//! It must not know protocols or technologies: it wires services that do.
//! Entry types: [`options::Options`], [`Sidecar`], [`main`].
#![forbid(unsafe_code)]

mod access_control;
mod app;
mod drain;
mod endpoints;
mod host;
mod identity;
mod open_files;
pub mod options;
mod policies;
mod processor;
mod program;
mod reload;
mod servers;
mod services;
mod sidecar;
mod sockets;
mod source;
mod telemetry;
mod trace_export;
mod unserved;
mod wait;

pub use access_control::check as check_access_control;
pub use program::main;
pub use sidecar::{Exit, Sidecar};
pub use sockets::Sockets;

/// The release that this program is compatible with and reports.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
