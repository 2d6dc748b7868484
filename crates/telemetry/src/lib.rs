//! What operators see: the log format, the metric registry with its catalogue,
//! and the trace context that travels with requests (runtime.md §8 to §10).
//!
//! It must not know who logs, counts or calls: no building block, no listener,
//! no exporter. Entry types: [`logging::LogOptions`], [`metrics::Registry`],
//! [`trace::TraceContext`].
#![forbid(unsafe_code)]

pub mod logging;
pub mod metrics;
pub mod trace;
