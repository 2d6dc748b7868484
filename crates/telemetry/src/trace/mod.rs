//! The trace context that travels with requests: W3C headers, the binary form
//! of gRPC, baggage (runtime.md §10). Spans and exporters are not here.

mod baggage;
mod context;
mod tracestate;

pub use baggage::{Baggage, BaggageError};
pub use context::{BINARY_LEN, SpanId, TraceContext, TraceId};
pub use tracestate::TraceState;

/// Header and metadata names.
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";
pub const GRPC_TRACE_BIN: &str = "grpc-trace-bin";
pub const BAGGAGE: &str = "baggage";

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
