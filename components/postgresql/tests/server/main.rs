//! The components against a real PostgreSQL server, which every test starts
//! for itself. Must not touch a server that was there before.
#![forbid(unsafe_code)]

mod configuration;
mod support;
