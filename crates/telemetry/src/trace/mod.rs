//! The trace context that travels with requests: W3C headers, the binary form
//! of gRPC, baggage; and the spans that are made of it, up to the queues that
//! exporters empty (runtime.md §10). Exporters are not here.

mod baggage;
mod context;
mod headers;
mod queue;
mod sampler;
mod span;
mod tracer;
mod tracestate;

pub use baggage::{Baggage, BaggageError};
pub use context::{BINARY_LEN, SpanId, TRACEPARENT_LEN, TraceContext, TraceId};
pub use headers::{BAGGAGE, GRPC_TRACE_BIN, TRACEPARENT, TRACESTATE};
pub use queue::{BatchLimits, SpanQueue};
pub use sampler::Sampler;
pub use span::{Attributes, Span, SpanData, SpanKind, SpanLimits};
pub use tracer::Tracer;
pub use tracestate::TraceState;

/// Reading and writing contexts and baggage in headers and gRPC metadata.
pub mod propagation {
    pub use super::headers::{
        baggage, grpc_parent, http_parent, is_sampled, normalize_grpc, write_binary, write_grpc, write_http,
    };
}

/// What the application receives, and HTTP responses carry, when there is no
/// trace: the header must be present all the same.
pub const ZERO_TRACEPARENT: &str = "00-00000000000000000000000000000000-0000000000000000-00";
/// The same as `grpc-trace-bin`.
pub const ZERO_TRACE_BIN: [u8; BINARY_LEN] = {
    let mut bytes = [0; BINARY_LEN];
    bytes[18] = 1;
    bytes[27] = 2;
    bytes
};

/// A longer `tracestate` is not passed on.
pub const MAX_TRACESTATE_LEN: usize = 512;
