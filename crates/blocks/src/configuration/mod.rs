//! Configuration: reading items and following their changes (api.md §2.5, §4,
//! §5.11).

mod app;
mod service;
mod stream;
#[cfg(test)]
mod tests;

pub use app::items_to_json;
pub use service::{ConfigurationService, Options};
pub use stream::{Update, UpdateStream};
