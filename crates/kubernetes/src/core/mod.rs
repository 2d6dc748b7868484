//! What a cache of a kind does with lists and events, and when it asks again.
//! No clock, no network: times and randomness are given.

mod cache;
mod pace;
#[cfg(test)]
mod tests;

pub use cache::{Cache, Change, Event, Meta, Object};
pub use pace::{Next, Pace};
