//! Paths and queries of requests as Go's URL type has them.

use std::borrow::Cow;

use dapr_gocompat::urlesc;
use http::Uri;

/// The path with its escapes undone; as it is when they are broken.
pub fn decoded_path(uri: &Uri) -> Cow<'_, str> {
    let path = uri.path();
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    urlesc::path_unescape(path).map_or(Cow::Borrowed(path), Cow::Owned)
}

/// A URI in origin form; `path` is not escaped yet, `query` is.
pub fn origin_form(path: &str, query: &str) -> Result<Uri, http::uri::InvalidUri> {
    let mut text = String::with_capacity(path.len() + query.len() + 2);
    if !path.starts_with('/') {
        text.push('/');
    }
    for (at, segment) in path.split('/').enumerate() {
        if at > 0 {
            text.push('/');
        }
        text.push_str(&urlesc::path_escape(segment));
    }
    if !query.is_empty() {
        text.push('?');
        text.push_str(query);
    }
    text.parse()
}

/// Decoded pairs of a query; those that cannot be decoded are left out.
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|part| !part.is_empty() && !part.contains(';'))
        .filter_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((urlesc::query_unescape(name).ok()?, urlesc::query_unescape(value).ok()?))
        })
        .collect()
}

/// First value of a query parameter; empty when there is none.
pub fn query_value(query: &str, name: &str) -> String {
    query_pairs(query).into_iter().find(|(n, _)| n == name).map_or_else(String::new, |(_, value)| value)
}

/// Pairs as a query, sorted by name as Go writes them; values of one name
/// keep their order.
pub fn encode(mut pairs: Vec<(String, String)>) -> String {
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let parts = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", urlesc::query_escape(name), urlesc::query_escape(value)));
    parts.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_sorted_by_name() {
        let pairs = query_pairs("b=2&a=x+y&b=1&bad=%zz&c;d=1&e");
        assert_eq!(encode(pairs), "a=x+y&b=2&b=1&e=");
        assert_eq!(query_value("a=1&a=2", "a"), "1");
    }

    #[test]
    fn paths_are_escaped_and_unescaped() {
        let uri = origin_form("/a b/ü?", "x=1").unwrap();
        assert_eq!(uri.to_string(), "/a%20b/%C3%BC%3F?x=1");
        assert_eq!(decoded_path(&uri), "/a b/ü?");
        assert_eq!(origin_form("a", "").unwrap().to_string(), "/a");
    }
}
