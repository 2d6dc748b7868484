//! The middleware between the API's token and its routes (runtime.md §6).

use async_trait::async_trait;
use dapr_components::middleware::{Answer, Chain, Endpoint, Next};
use dapr_transport::Body;
use dapr_transport::server::Peer;
use http::{Request, Response, StatusCode, Uri};
use parking_lot::Mutex;

use super::call::{Call, Params};
use super::reply;
use super::server::{HttpApi, cleaned};
use super::spans::Traced;

/// Sends a request through `chain`; what arrives at its end is routed anew,
/// since a middleware may have changed method and path.
pub async fn run(api: &HttpApi, chain: &Chain, call: Call, traced: &mut Traced) -> Response<Body> {
    let request = match to_request(call) {
        Ok(request) => request,
        Err(error) => return reply::text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let end = Routes { api, traced: Mutex::new(traced) };
    match Next::new(chain, &end).run(request).await {
        Ok(response) => response,
        Err(error) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

struct Routes<'a> {
    api: &'a HttpApi,
    /// Uncontended: a request comes here once.
    traced: Mutex<&'a mut Traced>,
}

#[async_trait]
impl Endpoint for Routes<'_> {
    async fn call(&self, request: Request<Body>) -> Answer {
        let mut routed = self.api.route(to_call(request), &mut self.traced.lock());
        Ok(routed.answer().await)
    }
}

fn to_request(call: Call) -> Result<Request<Body>, http::uri::InvalidUri> {
    let path = call.uncleaned.as_deref().unwrap_or(&call.path);
    let target = match call.query.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", call.query),
    };
    let mut request = Request::new(call.body);
    *request.uri_mut() = Uri::try_from(target)?;
    *request.method_mut() = call.method;
    *request.headers_mut() = call.headers;
    request.extensions_mut().insert(call.peer);
    Ok(request)
}

fn to_call(request: Request<Body>) -> Call {
    let (parts, body) = request.into_parts();
    let (path, uncleaned) = cleaned(&parts.uri);
    Call {
        method: parts.method,
        path,
        uncleaned,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        params: Params::default(),
        body,
        peer: parts.extensions.get().copied().unwrap_or(Peer(None)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::Path;
    use super::*;

    #[test]
    fn a_call_survives_the_way_through() {
        let call = Call {
            method: http::Method::PUT,
            path: Path::Cleaned("/v1.0/state/a%2Fb".into()),
            uncleaned: Some("/v1.0/state//a%2Fb".to_owned()),
            query: "metadata.x=1".to_owned(),
            headers: http::HeaderMap::new(),
            params: Params::default(),
            body: Body::from("text"),
            peer: Peer(Some(([127, 0, 0, 1], 80).into())),
        };
        let back = to_call(to_request(call).unwrap());
        assert_eq!((back.method.as_str(), &*back.path), ("PUT", "/v1.0/state/a%2Fb"));
        assert_eq!(back.uncleaned.as_deref(), Some("/v1.0/state//a%2Fb"));
        assert_eq!(back.query, "metadata.x=1");
        assert_eq!(back.body.as_full().unwrap(), "text");
        assert_eq!(back.peer.0.unwrap().port(), 80);
    }
}
