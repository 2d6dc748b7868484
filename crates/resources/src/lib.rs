//! Resource files and custom resources as typed values: parsing, loading from
//! folders, validation, and the difference of two loaded sets.
//!
//! This crate must not know the components it describes, the API protocols, the
//! operator's transport or any policy engine: it reads text and hands out values
//! that say where they came from. The environment is read through
//! [`template::EnvSource`] only. Entry types: [`loader::ResourceFiles`],
//! [`Component`], [`Configuration`], [`Subscription`], [`HttpEndpoint`],
//! [`Resiliency`] and [`diff::diff`].
#![forbid(unsafe_code)]

pub mod decode;
mod source;
pub mod yaml;

pub use decode::DecodeError;
pub use source::Source;
