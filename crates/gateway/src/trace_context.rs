//! The trace context and baggage of a request, as blocks are handed them
//! (runtime.md §10).

use dapr_blocks::pubsub::Trace;
use dapr_telemetry::trace::{TraceContext, propagation};
use http::HeaderMap;

/// Names; gRPC metadata uses the same ones.
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";
pub(crate) const BAGGAGE: &str = "baggage";

/// The context that the headers carry: the span's own, or the caller's where
/// no spans are made. An invalid `traceparent` counts as none.
pub(crate) fn of(headers: &HeaderMap) -> Trace<'_> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let parent = text(TRACEPARENT);
    if TraceContext::parse_traceparent(parent).is_none() {
        return Trace::default();
    }
    Trace { parent, state: text(TRACESTATE) }
}

/// All `baggage` headers as one list; `None` without any. `Err` says what is
/// wrong with it.
pub(crate) fn baggage(headers: &HeaderMap) -> Result<Option<String>, String> {
    propagation::baggage(headers).map(|found| found.map(|(list, _)| list)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_a_valid_parent_counts() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02";
        let with = headers(&[("traceparent", valid), ("tracestate", "a=b")]);
        assert_eq!((of(&with).parent, of(&with).state), (valid, "a=b"));
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(&headers(&[("traceparent", bad), ("tracestate", "a=b")])).parent, "", "{bad}");
        }
    }
}
