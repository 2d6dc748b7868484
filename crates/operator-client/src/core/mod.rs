//! What the client decides, given the time and what happened.

mod collection;
mod follow;
#[cfg(test)]
mod tests;

pub use collection::{Collection, Entry, EventKind};
pub use follow::{Action, End, Follow, Input};
