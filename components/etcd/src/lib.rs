//! State store on etcd: `state.etcd` v1 and v2 (components.md §3.8).
//!
//! This crate must not know the API or key prefixes of applications: keys and
//! values arrive as they are stored. Entry points: [`register`],
//! [`state::EtcdStore`].
//!
//! Six calls of etcd's API are generated from `proto/etcd.proto` and go over the
//! connections of `dapr-transport`: the client library of the field brings a
//! second HTTP/2 stack and a balancer, and needs `protoc` to build.
#![forbid(unsafe_code)]

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::registry::Registry;
use dapr_components::state::StateStore;

mod client;
mod description;
mod endpoint;
mod keys;
mod layout;
mod settings;
pub mod state;

use layout::Layout;

const TYPE: &str = "state.etcd";
/// What a component without a version is.
const DEFAULT_VERSION: &str = "v1";

/// Messages of etcd's API.
#[allow(clippy::all, clippy::large_futures, clippy::needless_pass_by_ref_mut, clippy::redundant_clone)]
pub(crate) mod api {
    tonic::include_proto!("etcdserverpb");
}

/// Registers the types of this crate.
pub fn register(registry: &mut Registry) {
    registry.describe(&[&description::STATE]);
    for (version, layout) in [("v1", Layout::Plain), ("v2", Layout::Envelope)] {
        registry.state.register_version(TYPE, version, DEFAULT_VERSION, move |context: InitContext| async move {
            if layout == Layout::Plain {
                tracing::warn!(
                    target: "dapr.contrib",
                    "WARNING: state store {TYPE}/v1 is deprecated and will be removed in a future version, \
                     please use {TYPE}/v2",
                );
            }
            Ok(Arc::new(state::EtcdStore::open(&context, layout)?) as Arc<dyn StateStore>)
        });
    }
}
