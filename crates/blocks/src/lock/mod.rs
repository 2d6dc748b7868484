//! Distributed lock: requests are checked, resources prefixed, stores called
//! under their policy (api.md §2.6).

mod key;
mod service;
#[cfg(test)]
mod tests;

pub use service::{LockService, Options};
