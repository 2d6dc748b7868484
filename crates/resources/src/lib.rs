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

mod component;
pub mod configuration;
pub mod decode;
pub mod diff;
mod http_endpoint;
pub mod inspect;
pub mod loader;
pub mod metadata;
mod raw;
pub mod resiliency;
mod resource;
mod source;
pub mod subscription;
pub mod template;
pub mod yaml;

pub use component::{Component, ComponentSpec, KUBERNETES_SECRET_STORE, component_log_name};
pub use configuration::{Configuration, ConfigurationDocument, Feature, SecretScope};
pub use decode::DecodeError;
pub use http_endpoint::{ClientTls, HttpEndpoint, HttpEndpointSpec};
pub use metadata::{DynamicValue, MetadataItem, SecretKeyRef, SecretRef, TlsDocument};
pub use raw::{McpServer, WorkflowAccessPolicy};
pub use resiliency::Resiliency;
pub use resource::{Auth, Manifest, ObjectMeta, Resource};
pub use source::Source;
pub use subscription::Subscription;
