//! A small client of the Kubernetes API (control-plane.md §11): finding the
//! cluster, reading and writing single objects, and caches of whole kinds that
//! list and watch keep current. It decodes only what its callers name, asks for
//! nothing else (no discovery, no version), and takes servers as they are:
//! objects without kind, version or UID, lists without items.
//!
//! It must not know which objects Dapr has or what they mean. Entry types:
//! [`ClusterConfig`], [`Client`], [`Reflector`].
#![forbid(unsafe_code)]

mod client;
mod config;
pub mod core;
mod reflector;
#[cfg(test)]
mod tests;

pub use client::{ApiError, Client};
pub use config::{Auth, ClusterConfig, ConfigError};
pub use core::{Change, Meta, Object};
pub use reflector::{Reflector, Store};
