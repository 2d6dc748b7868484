//! The components against a real Redis server, which every test starts for
//! itself. Must not touch a server that was there before.
#![forbid(unsafe_code)]

mod configuration;
mod lock;
mod pubsub;
mod settings;
mod state;
mod support;
