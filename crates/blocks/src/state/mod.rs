//! State management: key prefixes, validation and the choice between single
//! and bulk operations (api.md §2.1).

mod encryption;
mod key;
mod outbound;
mod service;
#[cfg(test)]
mod tests;

pub(crate) use key::SEPARATOR;
pub use key::{IllegalKey, KeyPrefix};
pub use service::{BulkGetError, Options, StateError, StateService, Store, own_error};
