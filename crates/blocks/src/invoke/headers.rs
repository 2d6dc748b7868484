//! Headers on their way between callers, sidecars and applications
//! (api.md §7.4).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, Entry};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::wire::ReceivedMetadata;

const DESTINATION_APP_ID: HeaderName = HeaderName::from_static("destination-app-id");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

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

/// Room that is made before a header is read: for what is added on the way to
/// the application or caller, and at most. A map that grows is copied.
const FURTHER_HEADERS: usize = 4;
const MOST_ROOM: usize = 64;

/// How names are written between sidecars: from HTTP in canonical case, from
/// gRPC in lower case (api.md §13.30).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    Canonical,
    Lower,
}

/// The headers of a message between sidecars, as an application or caller is
/// to see them: no hop-by-hop, binary or length headers, reserved names
/// prefixed, one `baggage` value.
///
/// Binary values stay, as bytes, when `keep_binary` is set: gRPC peers.
pub fn from_wire(wire: &ReceivedMetadata, keep_binary: bool) -> HeaderMap {
    if wire.is_empty() {
        return HeaderMap::new();
    }
    let mut out = HeaderMap::with_capacity((wire.len() + FURTHER_HEADERS).min(MOST_ROOM));
    let mut connection = false;
    for (key, values) in wire.iter() {
        let Some(name) = header_name(key) else { continue };
        let binary = name.as_str().ends_with("-bin");
        if name == CONTENT_TYPE || name == DESTINATION_APP_ID || (binary && !keep_binary) {
            continue;
        }
        if name == CONNECTION {
            connection = true;
        } else if is_hop_by_hop(name.as_str()) {
            continue;
        }
        let limit = if name == BAGGAGE { 1 } else { usize::MAX };
        let mut values = values.take(limit).filter_map(|value| header_value(value, binary));
        let Some(first) = values.next() else { continue };
        // The name goes into the map as it is: a copy of it would be an allocation.
        let entry = match out.try_entry(name).ok() {
            Some(Entry::Occupied(mut there)) => {
                there.append(first);
                Some(there)
            }
            Some(Entry::Vacant(place)) => place.try_insert_entry(first).ok(),
            None => None,
        };
        // More than a map can hold (32768) are left out: no server would take them either.
        let Some(mut entry) = entry else { break };
        values.for_each(|value| entry.append(value));
    }
    if connection {
        strip_hop_by_hop(&mut out);
    }
    out
}

fn header_name(key: &[u8]) -> Option<HeaderName> {
    let renamed = |rest: &[u8]| HeaderName::from_bytes(&[b"dapr-", rest].concat()).ok();
    match key.strip_prefix(b":") {
        Some(pseudo) => renamed(pseudo),
        None => {
            let name = HeaderName::from_bytes(key).ok()?;
            let reserved = name.as_str().starts_with("grpc-") && !name.as_str().ends_with("-bin");
            if reserved { renamed(name.as_str().as_bytes()) } else { Some(name) }
        }
    }
}

fn header_value(value: Bytes, binary: bool) -> Option<HeaderValue> {
    if binary {
        let raw = STANDARD.decode(&value).or_else(|_| STANDARD_NO_PAD.decode(&value)).ok()?;
        return HeaderValue::from_str(&STANDARD_NO_PAD.encode(raw)).ok();
    }
    HeaderValue::from_maybe_shared(value).ok()
}

#[cfg(test)]
mod tests {
    use dapr_wire::internals::v1::{InternalInvokeRequest, ListStringValue};
    use prost::Message;

    use super::super::wire::ReceivedRequest;
    use super::*;

    fn received(list: &[(&str, &[&str])]) -> HeaderMap {
        let metadata = list
            .iter()
            .map(|(key, values)| {
                let values = values.iter().map(|v| (*v).to_owned()).collect();
                ((*key).to_owned(), ListStringValue { values })
            })
            .collect();
        let request = InternalInvokeRequest { metadata, ..InternalInvokeRequest::default() };
        let request = ReceivedRequest::decode(request.encode_to_vec().into()).unwrap();
        from_wire(&request.metadata, false)
    }

    #[test]
    fn more_headers_than_a_map_holds_do_not_panic() {
        let names: Vec<String> = (0..40_000).map(|number| format!("h{number}")).collect();
        let list: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &["v"][..])).collect();
        assert!(received(&list).len() > 1000);
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
    fn values_keep_their_number() {
        let headers = received(&[("X-Many", &["a", "b"])]);
        assert_eq!(headers.get_all("x-many").iter().count(), 2);
    }

    #[test]
    fn what_an_application_does_not_see() {
        let headers = received(&[
            ("Content-Type", &["a/b"]),
            ("Destination-App-Id", &["x"]),
            ("trace-bin", &["AAAA"]),
            ("Transfer-Encoding", &["chunked"]),
            ("Connection", &["X-Once"]),
            ("X-Once", &["1"]),
            (":authority", &["h"]),
            ("grpc-timeout", &["1S"]),
            ("Baggage", &["a=1", "b=2"]),
        ]);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["baggage", "dapr-authority", "dapr-grpc-timeout"]);
        assert_eq!(headers.get_all("baggage").iter().count(), 1);
    }
}
