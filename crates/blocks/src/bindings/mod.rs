//! Bindings: calls from the application to the outside, and events from
//! outside delivered to the application (api.md §2.4, §5.7).

mod input;
mod service;
#[cfg(test)]
mod tests;

pub use input::InputConfig;
pub use service::{BindingsService, InvokeFailure, Options, Removed};
