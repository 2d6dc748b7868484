//! Typed values from YAML nodes, with the leniency of Go's decoders.
//!
//! Field names, nulls and scalar conversions follow the node's [`Dialect`], so
//! that plain `serde` derives describe the kinds. A null leaves a field at its
//! default.

mod deserializer;
mod error;
pub(crate) mod fields;

use serde::de::DeserializeOwned;

use crate::yaml::{Dialect, Node};
use deserializer::NodeDeserializer;
pub use error::DecodeError;

/// Decodes `node`; `root` names the type in messages.
pub fn decode<T: DeserializeOwned>(node: &Node, dialect: Dialect, root: &str) -> Result<T, DecodeError> {
    T::deserialize(NodeDeserializer::new(node, dialect)).map_err(|error| error.finish(dialect, root))
}

#[cfg(test)]
mod tests;
