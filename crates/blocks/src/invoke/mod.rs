//! Service invocation: calling a method of another application, or of our own,
//! through its sidecar (api.md §7).

mod access;
mod external;
mod headers;
mod local;
mod method;
mod peer;
mod proxied;
mod redirects;
mod replay;
mod service;
mod target;
mod tries;
mod wire;

pub use access::{AccessGuard, Denied};
pub use dapr_app_channel::verb;
pub use headers::{is_hop_by_hop, strip_hop_by_hop};
pub use local::{Called, call_local, serve_stream};
pub use method::{InvalidMethod, normalize, normalized};
pub use peer::CALL_LOCAL_STREAM;
pub use proxied::{Callee, Unanswered};
pub use service::{InvokeError, InvokeService, Options};
pub use target::{AppAddress, InvalidTarget, from_http};

/// For `fuzz/` alone: what reads the messages of peers is reached elsewhere
/// only through a connection, which is too slow for millions of inputs.
#[doc(hidden)]
pub mod fuzzing {
    pub use super::wire::{Received, ReceivedMetadata, ReceivedRequest, ReceivedResponse};

    /// Headers as a received message's metadata makes them.
    pub fn headers_of(metadata: &ReceivedMetadata) -> http::HeaderMap {
        super::headers::from_wire(metadata, true)
    }
}
