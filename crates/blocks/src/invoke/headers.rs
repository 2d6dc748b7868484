//! Headers on their way between callers, sidecars and applications
//! (api.md §7.4).

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use dapr_wire::internals::v1::ListStringValue;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Whether a header belongs to one connection only.
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "te"
            | "trailer"
            | "proxy-authorization"
            | "proxy-authenticate"
    )
}

/// Takes hop-by-hop headers away, those named in `Connection` among them.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(listed) = headers.get_all(CONNECTION).iter().next().is_some().then(|| listed(headers)) {
        for name in listed {
            headers.remove(name);
        }
    }
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "te",
        "trailer",
        "proxy-authorization",
        "proxy-authenticate",
    ] {
        headers.remove(name);
    }
}

fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|n| n.trim().to_ascii_lowercase().parse().ok())
        .collect()
}

/// How names are written between sidecars: from HTTP in canonical case, from
/// gRPC in lower case (api.md §13.30).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    Canonical,
    Lower,
}

/// Headers as the sidecar-to-sidecar protocol carries them.
pub fn to_wire(headers: &HeaderMap, spelling: Spelling) -> HashMap<String, ListStringValue> {
    let mut out = HashMap::with_capacity(headers.keys_len() + 4);
    for name in headers.keys() {
        let values = headers.get_all(name).iter().map(text).collect();
        let key = match spelling {
            Spelling::Canonical => dapr_gocompat::header::canonical_key(name.as_str()),
            Spelling::Lower => name.as_str().to_owned(),
        };
        out.insert(key, ListStringValue { values });
    }
    out
}

/// Header bytes as text; bytes outside UTF-8 are replaced, as a Go string in
/// a protobuf message could not hold them either.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The headers of a message between sidecars, as an application or caller is
/// to see them: no hop-by-hop, binary or length headers, reserved names
/// prefixed, one `baggage` value.
///
/// Binary values stay, as bytes, when `keep_binary` is set: gRPC peers.
pub fn from_wire(wire: HashMap<String, ListStringValue>, keep_binary: bool) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(wire.len() + 4);
    for (key, list) in wire {
        let key = key.to_ascii_lowercase();
        let binary = key.ends_with("-bin");
        if key == CONTENT_TYPE.as_str() || key == "destination-app-id" || (binary && !keep_binary) {
            continue;
        }
        let Some(name) = header_name(&key) else { continue };
        let limit = if key == "baggage" { 1 } else { usize::MAX };
        for value in list.values.into_iter().take(limit) {
            if let Some(value) = header_value(value, binary) {
                out.append(name.clone(), value);
            }
        }
    }
    strip_hop_by_hop(&mut out);
    out
}

fn header_name(key: &str) -> Option<HeaderName> {
    match key.strip_prefix(':') {
        Some(pseudo) => format!("dapr-{pseudo}").parse().ok(),
        None if key.starts_with("grpc-") && !key.ends_with("-bin") => format!("dapr-{key}").parse().ok(),
        None => key.parse().ok(),
    }
}

fn header_value(value: String, binary: bool) -> Option<HeaderValue> {
    if binary {
        let raw = STANDARD.decode(&value).or_else(|_| STANDARD_NO_PAD.decode(&value)).ok()?;
        return HeaderValue::from_str(&STANDARD_NO_PAD.encode(raw)).ok();
    }
    HeaderValue::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(values: &[&str]) -> ListStringValue {
        ListStringValue { values: values.iter().map(|v| (*v).to_owned()).collect() }
    }

    #[test]
    fn connection_names_more_headers_to_strip() {
        let mut h: HeaderMap =
            [("connection", "close, X-Once"), ("x-once", "1"), ("x-keep", "2"), ("te", "trailers")]
                .iter()
                .map(|(k, v)| (k.parse::<HeaderName>().unwrap(), v.parse().unwrap()))
                .collect();
        strip_hop_by_hop(&mut h);
        assert_eq!(h.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-keep"]);
    }

    #[test]
    fn names_from_http_are_canonical_and_values_keep_their_number() {
        let mut h = HeaderMap::new();
        h.append("x-many", "a".parse().unwrap());
        h.append("x-many", "b".parse().unwrap());
        let wire = to_wire(&h, Spelling::Canonical);
        assert_eq!(wire["X-Many"], list(&["a", "b"]));
        let back = from_wire(wire, false);
        assert_eq!(back.get_all("x-many").iter().count(), 2);
    }

    #[test]
    fn what_an_application_does_not_see() {
        let wire = HashMap::from([
            ("Content-Type".to_owned(), list(&["a/b"])),
            ("Destination-App-Id".to_owned(), list(&["x"])),
            ("trace-bin".to_owned(), list(&["AAAA"])),
            ("Transfer-Encoding".to_owned(), list(&["chunked"])),
            (":authority".to_owned(), list(&["h"])),
            ("grpc-timeout".to_owned(), list(&["1S"])),
            ("Baggage".to_owned(), list(&["a=1", "b=2"])),
        ]);
        let headers = from_wire(wire, false);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["baggage", "dapr-authority", "dapr-grpc-timeout"]);
        assert_eq!(headers.get_all("baggage").iter().count(), 1);
    }
}
