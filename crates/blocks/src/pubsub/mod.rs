//! Publish and subscribe: envelopes, scopes, subscriptions, routing and
//! delivery (api.md §6).

mod bulk_deliver;
mod bulk_publish;
mod bulk_subscribe;
#[cfg(test)]
mod bulk_subscribe_tests;
pub mod cloudevent;
mod deliver;
mod discovery;
mod handler;
mod ingress;
mod reload;
mod route;
mod scopes;
mod service;
mod spans;
mod streaming;
mod subscriptions;

pub use bulk_publish::{BulkCall, BulkEntryCall, BulkFailure, EntryIds};
pub use cloudevent::Form;
pub use discovery::{Description, bulk as bulk_settings};
pub(crate) use handler::Drain;
pub use route::{Bulk, Origin, Route, RouteError, Rule, SharedRoute};
pub use scopes::{Access, PubSubConfig};
pub use service::{Options, PubSubService, PublishCall, Trace, Via};
pub use streaming::{Acks, EventStream, StreamDelivery, StreamError, StreamRequest};
