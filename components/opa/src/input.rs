//! What a policy gets to see of a request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use dapr_components::middleware::Scheme;
use dapr_gocompat::header::canonical_key;
use dapr_gocompat::urlesc;
use http::request::Parts;
use regorus::Value;
use serde_json::json;

/// `input.request`; only the headers of `included`, in canonical spelling.
pub fn input(parts: &Parts, included: &[String], body: &str) -> Value {
    let path = decoded(parts.uri.path());
    let path_parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let mut headers = BTreeMap::new();
    for name in parts.headers.keys() {
        let canonical = canonical_key(name.as_str());
        if included.contains(&canonical) {
            let values = parts.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()));
            headers.insert(canonical, values.collect::<Vec<_>>().join(", "));
        }
    }
    let query = parts.uri.query().unwrap_or_default();
    let request = json!({
        "method": parts.method.as_str(),
        "path": path,
        "path_parts": path_parts,
        "raw_query": query,
        "query": values(query),
        "headers": headers,
        "scheme": parts.extensions.get::<Scheme>().map_or("", |scheme| scheme.0),
        "body": body,
    });
    Value::from(json!({ "request": request }))
}

fn decoded(path: &str) -> Cow<'_, str> {
    urlesc::path_unescape(path).map_or(Cow::Borrowed(path), Cow::Owned)
}

fn values(query: &str) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for part in query.split('&').filter(|part| !part.is_empty() && !part.contains(';')) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if let (Ok(name), Ok(value)) = (urlesc::query_unescape(name), urlesc::query_unescape(value)) {
            all.entry(name).or_default().push(value);
        }
    }
    all
}

/// Names of headers as a policy knows them: `x-my-header, other`.
pub fn header_names(list: &str) -> Vec<String> {
    let names = list.split(',').map(|name| name.replace(' ', "")).filter(|name| !name.is_empty());
    names.map(|name| canonical_key(&name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_as_policies_expect_it() {
        let request = http::Request::post("/v1.0/a%20b/?x=1&x=2&y=%20")
            .header("x-one", "1")
            .header("x-one", "2")
            .header("x-two", "3")
            .extension(Scheme("http"))
            .body(())
            .unwrap();
        let value = input(&request.into_parts().0, &header_names(" X-ONE ,x-Three"), "text");
        let shown: serde_json::Value = serde_json::from_str(&value.to_json_str().unwrap()).unwrap();
        let expected = json!({"request": {
            "method": "POST", "path": "/v1.0/a b/", "path_parts": ["v1.0", "a b"],
            "raw_query": "x=1&x=2&y=%20", "query": {"x": ["1", "2"], "y": [" "]},
            "headers": {"X-One": "1, 2"}, "scheme": "http", "body": "text",
        }});
        assert_eq!(shown, expected);
    }
}
