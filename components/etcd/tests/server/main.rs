//! The component against a real etcd server, which every test starts for
//! itself. Must not touch a server that was there before.
#![forbid(unsafe_code)]

mod state;
mod support;
