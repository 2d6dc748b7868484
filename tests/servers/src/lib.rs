//! Real servers that tests start for themselves: empty, on a free port of
//! loopback, with their files in a folder that goes with them. They end when
//! their value goes out of scope, and can be killed and started again.
//!
//! It must not know any crate of the project, nor touch a server that was there
//! before. Entry types: [`Redis`], [`Postgresql`], [`Etcd`]; [`free_port`].
#![forbid(unsafe_code)]

mod etcd;
mod port;
mod postgresql;
mod process;
mod redis;

pub use etcd::{Etcd, Identity};
pub use port::{free_port, taken_port};
pub use postgresql::Postgresql;
pub use redis::Redis;
