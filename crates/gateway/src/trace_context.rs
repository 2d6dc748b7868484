//! The W3C trace context that a caller sends (api.md §2.3, §6.1).

use dapr_blocks::pubsub::Trace;
use http::HeaderMap;

/// Header names; gRPC metadata uses the same ones.
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";
pub(crate) const BAGGAGE: &str = "baggage";

/// The caller's context. An invalid `traceparent` counts as none.
pub(crate) fn of(headers: &HeaderMap) -> Trace<'_> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let parent = text(TRACEPARENT);
    if !is_traceparent(parent) {
        return Trace::default();
    }
    Trace { parent, state: text(TRACESTATE) }
}

/// `version-trace-span-flags`, all hexadecimal, neither id zero.
fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(version), Some(trace), Some(span), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    if version == "00" && parts.next().is_some() {
        return false;
    }
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    let id = |part: &str, length: usize| {
        hex(part, length) && !part.bytes().any(|b| b.is_ascii_uppercase()) && part.bytes().any(|b| b != b'0')
    };
    hex(version, 2) && !version.eq_ignore_ascii_case("ff") && id(trace, 32) && id(span, 16) && hex(flags, 2)
}

/// Largest baggage that is looked at.
const MAX_BAGGAGE: usize = 8192;
const MAX_MEMBERS: usize = 64;

/// All `baggage` headers as one list; `None` without any. `Err` says what is
/// wrong with it.
pub(crate) fn baggage(headers: &HeaderMap) -> Result<Option<String>, String> {
    let mut values = headers.get_all(BAGGAGE).iter().filter_map(|v| v.to_str().ok()).peekable();
    if values.peek().is_none() {
        return Ok(None);
    }
    let list = values.collect::<Vec<_>>().join(",");
    check_baggage(&list)?;
    Ok(Some(list))
}

fn check_baggage(list: &str) -> Result<(), String> {
    if list.is_empty() {
        return Ok(());
    }
    if list.len() > MAX_BAGGAGE {
        return Err(format!("baggage-string too large: {}", list.len()));
    }
    for (count, member) in list.split(',').enumerate() {
        if count == MAX_MEMBERS {
            return Err("too many list-members in baggage-string".to_owned());
        }
        check_member(member)?;
    }
    Ok(())
}

fn check_member(member: &str) -> Result<(), String> {
    use dapr_gocompat::quote::quote;
    let (pair, properties) = member.split_once(';').unwrap_or((member, ""));
    if member.contains(';') {
        for property in properties.split(';') {
            let (key, value) = property.split_once('=').unwrap_or((property, ""));
            if !is_token(key.trim()) || !is_value(value.trim()) {
                return Err(format!("invalid baggage list-member property: {}", quote(property)));
            }
        }
    }
    let Some((key, value)) = pair.split_once('=') else {
        return Err(format!("invalid baggage list-member: {}", quote(member)));
    };
    if !is_token(key.trim()) {
        return Err(format!("invalid key: {}", quote(key.trim())));
    }
    if !is_value(value.trim()) {
        return Err(format!("invalid value: {}", quote(value)));
    }
    dapr_gocompat::urlesc::path_unescape(value.trim()).map(drop).map_err(|e| format!("invalid value: {e}"))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_value(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\'))
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

    #[test]
    fn baggage_is_joined_and_checked() {
        assert_eq!(baggage(&headers(&[])), Ok(None));
        let two = headers(&[("baggage", "a=1;p;q=2"), ("baggage", "b = %20")]);
        assert_eq!(baggage(&two), Ok(Some("a=1;p;q=2,b = %20".to_owned())));
        let refused = |text| baggage(&headers(&[("baggage", text)])).unwrap_err();
        assert_eq!(refused("invalid-baggage"), "invalid baggage list-member: \"invalid-baggage\"");
        assert_eq!(refused("a b=1"), "invalid key: \"a b\"");
        assert_eq!(refused("a=b c"), "invalid value: \"b c\"");
    }
}
