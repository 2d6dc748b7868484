//! Trace id, span id and flags, as text and in binary.

use std::fmt;

use super::tracestate::TraceState;

/// Length of `grpc-trace-bin`.
pub const BINARY_LEN: usize = 29;

/// Length of `traceparent` in version 00.
pub const TRACEPARENT_LEN: usize = 55;

/// Versions above this are invalid; later ones than 00 are read as 00.
const MAX_VERSION: u8 = 254;
const SAMPLED: u8 = 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The context of a request. The default is the zero context: no trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub flags: u8,
    pub state: TraceState,
}

impl TraceContext {
    /// From the headers. Without a valid `traceparent` there is no context,
    /// and an invalid `tracestate` counts as empty.
    pub fn from_headers(traceparent: &str, tracestate: &str) -> Option<Self> {
        let mut context = Self::parse_traceparent(traceparent)?;
        context.state = TraceState::parse(tracestate).unwrap_or_default();
        Some(context)
    }

    /// From `traceparent` alone.
    pub fn parse_traceparent(text: &str) -> Option<Self> {
        let mut sections = text.split('-');
        let version = decode_hex::<1>(sections.next()?, false)?[0];
        let trace_id = TraceId(decode_hex(sections.next()?, true)?);
        let span_id = SpanId(decode_hex(sections.next()?, true)?);
        let flags = sections.next()?;
        if version > MAX_VERSION || (version == 0 && sections.next().is_some()) {
            return None;
        }
        // Later versions may have longer flags; only the first byte is known.
        if flags.len() % 2 != 0 || !flags.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let [flags] = decode_hex::<1>(flags.get(..2)?, false)?;
        let context = Self { trace_id, span_id, flags, state: TraceState::default() };
        context.is_valid().then_some(context)
    }

    /// From the value of `grpc-trace-bin` (decoded from base64 by the
    /// transport). Span id and flags may be missing; ids are not checked.
    pub fn from_binary(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[0, 0])?;
        let (trace_id, mut rest) = rest.split_first_chunk::<16>()?;
        let mut context = Self { trace_id: TraceId(*trace_id), ..Self::default() };
        if let Some((span_id, after)) = rest.strip_prefix(&[1]).and_then(|r| r.split_first_chunk::<8>()) {
            context.span_id = SpanId(*span_id);
            rest = after;
        }
        if let Some([flags, ..]) = rest.strip_prefix(&[2]) {
            context.flags = *flags;
        }
        Some(context)
    }

    /// Neither id is zero.
    pub fn is_valid(&self) -> bool {
        self.trace_id != TraceId::default() && self.span_id != SpanId::default()
    }

    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The value of `traceparent`.
    pub fn traceparent(&self) -> String {
        String::from_utf8_lossy(&self.traceparent_bytes()).into_owned()
    }

    /// The same as bytes, all of them ASCII, without an allocation.
    pub fn traceparent_bytes(&self) -> [u8; TRACEPARENT_LEN] {
        let mut out = [b'-'; TRACEPARENT_LEN];
        out[..2].copy_from_slice(b"00");
        encode_hex(&self.trace_id.0, &mut out[3..35]);
        encode_hex(&self.span_id.0, &mut out[36..52]);
        encode_hex(&[self.flags], &mut out[53..]);
        out
    }

    /// The value of `tracestate`, if it is to be passed on.
    pub fn tracestate(&self) -> Option<&str> {
        Some(self.state.as_str()).filter(|s| !s.is_empty() && s.len() <= super::MAX_TRACESTATE_LEN)
    }

    /// The value of `grpc-trace-bin`.
    pub fn to_binary(&self) -> [u8; BINARY_LEN] {
        let mut bytes = super::ZERO_TRACE_BIN;
        bytes[2..18].copy_from_slice(&self.trace_id.0);
        bytes[19..27].copy_from_slice(&self.span_id.0);
        bytes[28] = self.flags;
        bytes
    }
}

fn encode_hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Exactly `N` bytes. Ids are lower case, the rest may be either.
fn decode_hex<const N: usize>(text: &str, lower_only: bool) -> Option<[u8; N]> {
    let digit = |b: u8| match b {
        b'A'..=b'F' if lower_only => None,
        b => char::from(b).to_digit(16).map(|d| d as u8),
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{ZERO_TRACE_BIN, ZERO_TRACEPARENT};

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn traceparent_round_trips() {
        let context = TraceContext::from_headers(PARENT, "congo=t61rcWkgMzE").unwrap();
        assert!(context.is_sampled() && context.is_valid());
        assert_eq!(context.traceparent(), PARENT);
        assert_eq!(context.tracestate(), Some("congo=t61rcWkgMzE"));
    }

    #[test]
    fn binary_round_trips() {
        let context = TraceContext::parse_traceparent(PARENT).unwrap();
        let bytes = context.to_binary();
        assert_eq!((bytes[0], bytes[1], bytes[18], bytes[27], bytes[28]), (0, 0, 1, 2, 1));
        assert_eq!(TraceContext::from_binary(&bytes), Some(context));
    }

    #[test]
    fn binary_may_end_early() {
        let bytes = TraceContext::parse_traceparent(PARENT).unwrap().to_binary();
        let short = TraceContext::from_binary(&bytes[..18]).unwrap();
        assert_eq!((short.span_id, short.flags), (SpanId::default(), 0));
        assert!(TraceContext::from_binary(&bytes[..17]).is_none());
        assert!(TraceContext::from_binary(&[]).is_none());
        assert!(TraceContext::from_binary(&[1; 29]).is_none());
    }

    #[test]
    fn the_zero_context_has_both_forms() {
        let zero = TraceContext::default();
        assert_eq!(zero.traceparent(), ZERO_TRACEPARENT);
        assert_eq!(zero.to_binary(), ZERO_TRACE_BIN);
        assert_eq!(TraceContext::from_binary(&ZERO_TRACE_BIN), Some(zero));
    }

    #[test]
    fn malformed_and_zero_headers_are_ignored() {
        for text in [
            "",
            "00",
            ZERO_TRACEPARENT,
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-zz",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse_traceparent(text), None, "{text}");
        }
    }

    #[test]
    fn later_versions_may_have_more_sections() {
        let text = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future";
        assert_eq!(TraceContext::parse_traceparent(text).unwrap().traceparent(), PARENT);
    }

    #[test]
    fn a_long_tracestate_is_not_passed_on() {
        let long = format!("k={}", "v".repeat(256));
        let longer = format!("{long},l={}", "v".repeat(256));
        assert!(TraceContext::from_headers(PARENT, &long).unwrap().tracestate().is_some());
        assert!(TraceContext::from_headers(PARENT, &longer).unwrap().tracestate().is_none());
    }
}
