use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use dapr_errors::{ApiError, general};
use dapr_gocompat::urlesc;
use dapr_transport::Body;
use dapr_transport::server::Peer;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

/// One request on its way to a handler.
#[derive(Debug)]
pub struct Call {
    pub method: Method,
    /// Cleaned, still escaped.
    pub path: Path,
    /// The path as it was asked for, if cleaning changed it.
    pub uncleaned: Option<String>,
    /// Query string without the question mark.
    pub query: String,
    pub headers: HeaderMap,
    pub params: Params,
    /// Limited to the configured size; may fail while being read.
    pub body: Body,
    pub peer: Peer,
}

/// The path of a request. The usual one needs no cleaning and no copy: it is
/// the request's own.
#[derive(Clone, Debug)]
pub enum Path {
    AsAsked(PathAndQuery),
    Cleaned(Arc<str>),
}

impl std::ops::Deref for Path {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::AsAsked(target) => target.path(),
            Self::Cleaned(path) => path,
        }
    }
}

/// Path parameters, decoded.
#[derive(Clone, Debug, Default)]
pub struct Params(pub(super) Vec<(&'static str, String)>);

impl Params {
    /// Value of a parameter that the route's pattern names.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value.as_str())
    }
}

/// Prefix of query parameters that are request metadata.
const METADATA_PREFIX: &str = "metadata.";

impl Call {
    /// First value of a query parameter.
    pub fn query_value(&self, name: &str) -> Option<String> {
        query_pairs(&self.query).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Every value of a query parameter.
    pub fn query_values(&self, name: &str) -> Vec<String> {
        query_pairs(&self.query).filter(|(key, _)| key == name).map(|(_, value)| value).collect()
    }

    /// `metadata.<k>=<v>` parameters; the first value of a key counts.
    pub fn query_metadata(&self) -> HashMap<String, String> {
        if self.query.is_empty() {
            return HashMap::new();
        }
        let mut out = HashMap::new();
        for (key, value) in query_pairs(&self.query) {
            if let Some(name) = key.strip_prefix(METADATA_PREFIX) {
                out.entry(name.to_owned()).or_insert(value);
            }
        }
        out
    }

    /// Header as text; `None` when absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn content_type(&self) -> &str {
        self.header("content-type").unwrap_or_default()
    }

    /// The whole body, or `ERR_BODY_READ`.
    pub async fn read_body(&mut self) -> Result<Bytes, ApiError> {
        self.take_body().await.map_err(general::body_read)
    }

    /// The whole body, or the reading error's own text.
    pub async fn take_body(&mut self) -> Result<Bytes, String> {
        std::mem::take(&mut self.body).collect().await.map_err(|e| e.to_string())
    }
}

/// Decoded pairs; those that cannot be decoded are left out.
fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|part| !part.is_empty()).filter_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        Some((urlesc::query_unescape(key).ok()?, urlesc::query_unescape(value).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(query: &str) -> Call {
        Call {
            method: Method::GET,
            path: Path::Cleaned("/".into()),
            uncleaned: None,
            query: query.to_owned(),
            headers: HeaderMap::new(),
            params: Params::default(),
            body: Body::empty(),
            peer: Peer(None),
        }
    }

    #[test]
    fn metadata_comes_from_prefixed_parameters() {
        let call = call("metadata.a=1&metadata.a=2&x=3&metadata.b=c+d&Metadata.z=9");
        let metadata = call.query_metadata();
        assert_eq!(metadata.len(), 2);
        assert_eq!(metadata["a"], "1");
        assert_eq!(metadata["b"], "c d");
        assert_eq!(call.query_value("x").as_deref(), Some("3"));
    }
}
