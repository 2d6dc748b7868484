//! Conversation: language models behind one API (api.md §8).

mod scrub;
mod service;
#[cfg(test)]
mod tests;

pub use service::{ConversationService, ConverseRequest, Conversing, Input, Options};
