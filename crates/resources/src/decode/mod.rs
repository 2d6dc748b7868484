//! Typed values from YAML nodes, with the leniency of Go's decoders.
//!
//! Field names, nulls and scalar conversions follow the node's [`Dialect`], so
//! that plain `serde` derives describe the kinds. A null leaves a field at its
//! default.

mod deserializer;
mod error;
pub(crate) mod fields;
mod notes;

use serde::de::DeserializeOwned;

use crate::yaml::{Dialect, Node};
use deserializer::NodeDeserializer;
pub use error::DecodeError;
pub(crate) use notes::Notes;
pub use notes::UnknownField;

/// Decodes `node`; `root` names the type in messages.
pub fn decode<T: DeserializeOwned>(node: &Node, dialect: Dialect, root: &str) -> Result<T, DecodeError> {
    T::deserialize(NodeDeserializer::new(node, dialect, None)).map_err(|error| error.finish(dialect, root))
}

/// [`decode`] that takes down the fields that `T` does not have.
pub(crate) fn decode_noting<T: DeserializeOwned>(
    node: &Node,
    dialect: Dialect,
    root: &str,
    notes: &Notes,
) -> Result<T, DecodeError> {
    T::deserialize(NodeDeserializer::new(node, dialect, Some(notes))).map_err(|e| e.finish(dialect, root))
}

#[cfg(test)]
mod tests;
