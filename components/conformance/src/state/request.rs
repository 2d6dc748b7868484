//! Requests as tests of stores write them.

use dapr_components::state::{DeleteRequest, SetRequest, Value};

/// Bytes without anything else.
pub fn set(key: &str, data: &'static str) -> SetRequest {
    SetRequest::new(key, Value::Bytes(data.into()))
}

pub fn with_etag(mut request: SetRequest, etag: &str) -> SetRequest {
    request.etag = Some(etag.to_owned());
    request
}

pub fn with_ttl(mut request: SetRequest, ttl: &str) -> SetRequest {
    request.metadata.insert("ttlInSeconds".to_owned(), ttl.to_owned());
    request
}

pub fn delete(key: &str, etag: Option<&str>) -> DeleteRequest {
    DeleteRequest { key: key.to_owned(), etag: etag.map(str::to_owned), ..DeleteRequest::default() }
}
