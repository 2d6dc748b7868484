//! Running applications beside their sidecars (cli.md §4, §5).
//!
//! Processes are ended with the command in every case: it stops them itself on
//! a signal, and [`guard`] does when the command was killed.

pub(crate) mod config;
pub(crate) mod file;
mod group;
pub(crate) mod guard;
mod logs;
mod lookup;
pub(crate) mod multi;
mod names;
mod ports;
mod prepare;
mod process;
pub(crate) mod sidecar;
pub(crate) mod single;
mod start;
mod yaml_in;
