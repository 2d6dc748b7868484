//! Contexts and baggage in HTTP headers and gRPC metadata.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD};
use base64::engine::{DecodePaddingMode, general_purpose};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::baggage::{Baggage, BaggageError};
use super::context::{TRACEPARENT_LEN, TraceContext};

/// Header and metadata names.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub const GRPC_TRACE_BIN: HeaderName = HeaderName::from_static("grpc-trace-bin");
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Peers send binary metadata with padding and without.
const LENIENT: GeneralPurpose = general_purpose::GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// The caller's context over HTTP; `None` when there is none or it is invalid.
pub fn http_parent(headers: &HeaderMap) -> Option<TraceContext> {
    TraceContext::from_headers(headers.get(&TRACEPARENT)?.to_str().ok()?, text(headers, &TRACESTATE))
}

/// The caller's context over gRPC: the binary form, or `traceparent` where
/// that is absent, and then without `tracestate`.
pub fn grpc_parent(headers: &HeaderMap) -> Option<TraceContext> {
    match headers.get(&GRPC_TRACE_BIN) {
        Some(value) => {
            let bytes = LENIENT.decode(value.as_bytes()).ok()?;
            TraceContext::from_binary(&bytes).filter(TraceContext::is_valid)
        }
        None => TraceContext::parse_traceparent(headers.get(&TRACEPARENT)?.to_str().ok()?),
    }
}

/// Makes `context` the one that the headers carry.
pub fn write_http(context: &TraceContext, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::from_bytes(&context.traceparent_bytes()) {
        headers.insert(TRACEPARENT, value);
    }
    match context.tracestate().and_then(|state| HeaderValue::try_from(state).ok()) {
        Some(state) => drop(headers.insert(TRACESTATE, state)),
        None => drop(headers.remove(TRACESTATE)),
    }
}

/// Adds `grpc-trace-bin`.
pub fn write_binary(context: &TraceContext, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::try_from(STANDARD_NO_PAD.encode(context.to_binary())) {
        headers.insert(GRPC_TRACE_BIN, value);
    }
}

/// Both forms: what calls between sidecars and to gRPC applications carry.
pub fn write_grpc(context: &TraceContext, headers: &mut HeaderMap) {
    write_http(context, headers);
    write_binary(context, headers);
}

/// Gives metadata that has the binary form only the textual one too, so that
/// everything behind needs to know one.
pub fn normalize_grpc(headers: &mut HeaderMap) {
    if headers.contains_key(&GRPC_TRACE_BIN)
        && let Some(context) = grpc_parent(headers)
    {
        write_http(&context, headers);
    }
}

/// Whether the context in the headers says so; cheaper than reading all of it.
pub fn is_sampled(headers: &HeaderMap) -> bool {
    let parent = headers.get(&TRACEPARENT).map_or(&b""[..], HeaderValue::as_bytes);
    parent.len() == TRACEPARENT_LEN
        && matches!(parent[TRACEPARENT_LEN - 1], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f')
}

/// All `baggage` headers as one list and as parsed; `None` without any.
pub fn baggage(headers: &HeaderMap) -> Result<Option<(String, Baggage)>, BaggageError> {
    let mut values = headers.get_all(&BAGGAGE).iter().filter_map(|v| v.to_str().ok()).peekable();
    if values.peek().is_none() {
        return Ok(None);
    }
    let list = values.collect::<Vec<_>>().join(",");
    let parsed = Baggage::parse(&list)?;
    Ok(Some((list, parsed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_binary_form_wins_over_grpc_and_padding_does_not_matter() {
        let context = TraceContext::parse_traceparent(PARENT).unwrap();
        let mut metadata = HeaderMap::new();
        write_binary(&context, &mut metadata);
        assert_eq!(grpc_parent(&metadata), Some(context.clone()));
        let padded = base64::engine::general_purpose::STANDARD.encode(context.to_binary());
        let other = PARENT.replace("4bf9", "aaaa");
        let both = headers(&[("grpc-trace-bin", &padded), ("traceparent", &other)]);
        assert_eq!(grpc_parent(&both), Some(context));
        let broken = headers(&[("grpc-trace-bin", "AAAA"), ("traceparent", PARENT)]);
        assert_eq!(grpc_parent(&broken), None);
    }

    #[test]
    fn tracestate_travels_over_http_only() {
        let both = headers(&[("traceparent", PARENT), ("tracestate", "a=b")]);
        assert_eq!(http_parent(&both).unwrap().tracestate(), Some("a=b"));
        assert_eq!(grpc_parent(&both).unwrap().tracestate(), None);
        let mut out = headers(&[("tracestate", "old=1")]);
        write_http(&grpc_parent(&both).unwrap(), &mut out);
        assert!(out.get("tracestate").is_none() && out["traceparent"] == PARENT);
    }

    #[test]
    fn metadata_with_the_binary_form_only_gets_the_textual_one() {
        let mut metadata = HeaderMap::new();
        write_binary(&TraceContext::parse_traceparent(PARENT).unwrap(), &mut metadata);
        normalize_grpc(&mut metadata);
        assert_eq!(metadata["traceparent"], PARENT);
    }

    #[test]
    fn baggage_is_joined_and_checked() {
        assert_eq!(baggage(&HeaderMap::new()), Ok(None));
        let two = headers(&[("baggage", "a=1;p;q=2"), ("baggage", "b = %20")]);
        let (list, parsed) = baggage(&two).unwrap().unwrap();
        assert_eq!((list.as_str(), parsed.to_string().as_str()), ("a=1;p;q=2,b = %20", "a=1;p;q=2,b=%20"));
        let error = baggage(&headers(&[("baggage", "invalid-baggage")])).unwrap_err().to_string();
        assert_eq!(error, "invalid baggage list-member: \"invalid-baggage\"");
    }
}
