//! The ground every other crate stands on: who this application is, how tasks
//! are supervised and how a shutdown reaches them.
//!
//! It must not know anything above it: no protocol, no component, no
//! configuration file. Entry types: [`AppIdentity`], [`tasks::TaskGroup`],
//! [`workers::Workers`], [`Shutdown`].
#![forbid(unsafe_code)]

pub mod health;
mod identity;
mod shutdown;
pub mod tasks;
pub mod workers;

pub use identity::AppIdentity;
pub use shutdown::Shutdown;
