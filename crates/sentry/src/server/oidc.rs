//! OIDC discovery document and key set (control-plane.md §3.6).

use bytes::Bytes;
use dapr_transport::Body;
use dapr_transport::server::{Peer, Service};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use url::Url;

use super::plain::text;
use crate::options::Oidc;

const SCOPE: &str = "dapr.sentry.server.oidc.http";
const JWKS: &str = "/jwks.json";
const DISCOVERY: &str = "/.well-known/openid-configuration";
const FORWARDED_HOST: &str = "x-forwarded-host";
const ANY: &str = "*";

/// Serves two documents to whoever checks our tokens.
#[derive(Debug)]
pub struct OidcApi {
    jwks: Bytes,
    algorithm: &'static str,
    issuer: Option<String>,
    jwks_uri: Option<String>,
    allowed_hosts: Vec<String>,
    scheme: &'static str,
    jwks_path: String,
    discovery_path: String,
}

impl OidcApi {
    /// `jwks` is the key set as it was stored; `issuer` is what tokens name.
    pub fn new(
        options: &Oidc,
        jwks: &str,
        algorithm: &'static str,
        issuer: Option<&str>,
    ) -> Result<Self, String> {
        let issuer = issuer.filter(|issuer| !issuer.is_empty());
        for (url, what) in [(issuer, "JWT issuer URI"), (options.jwks_uri.as_deref(), "JWKS URI")] {
            // A base for what is relative: only nonsense is refused.
            let base = Url::parse("http://localhost").map_err(|e| e.to_string())?;
            if let Some(url) = url {
                base.join(url).map_err(|e| format!("invalid {what}: {e}"))?;
            }
        }
        let prefix = options.path_prefix.as_deref().unwrap_or_default().trim_end_matches('/');
        if !prefix.is_empty() {
            tracing::info!(target: SCOPE, "Using path prefix {prefix:?} for OIDC HTTP endpoints");
        }
        let path = |end: &str| match prefix {
            "" => end.to_owned(),
            prefix => format!("/{}{end}", prefix.trim_start_matches('/')),
        };
        Ok(Self {
            jwks: Bytes::copy_from_slice(jwks.as_bytes()),
            algorithm,
            issuer: issuer.map(str::to_owned),
            jwks_uri: options.jwks_uri.clone(),
            allowed_hosts: options.allowed_hosts.clone(),
            scheme: if options.tls.is_some() { "https" } else { "http" },
            jwks_path: path(JWKS),
            discovery_path: path(DISCOVERY),
        })
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let path = request.uri().path();
        if path != self.jwks_path && path != self.discovery_path {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        let host = Host::of(request);
        if !self.allows(&host) {
            let shown = crate::core::shown(host.claimed());
            tracing::warn!(target: SCOPE, "Request from unauthorized domain: {shown}");
            return text(StatusCode::FORBIDDEN, "Forbidden: unauthorized domain\n");
        }
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed\n");
        }
        if path == self.jwks_path {
            return json_document(self.jwks.clone());
        }
        match self.discovery(&host) {
            Ok(document) => json_document(Bytes::from(format!("{document}\n"))),
            Err(_) => text(StatusCode::BAD_REQUEST, "Invalid host\n"),
        }
    }

    fn allows(&self, host: &Host<'_>) -> bool {
        if self.allowed_hosts.is_empty() {
            return true;
        }
        let claimed = host.claimed();
        let listed = |name: &str| self.allowed_hosts.iter().any(|allowed| allowed == name);
        listed(ANY) || listed(claimed) || without_port(claimed).is_some_and(listed)
    }

    fn discovery(&self, host: &Host<'_>) -> Result<Value, url::ParseError> {
        // A forwarded host is somebody's claim unless a list without wildcard
        // has confirmed it.
        let confirmed = !self.allowed_hosts.is_empty() && !self.allowed_hosts.iter().any(|h| h == ANY);
        let name = if confirmed { host.claimed() } else { host.direct };
        let here = format!("{}://{name}", self.scheme);
        let issuer = match &self.issuer {
            Some(issuer) => issuer.clone(),
            None => Url::parse(&here).map(|_| here.clone())?,
        };
        let jwks_uri = match &self.jwks_uri {
            Some(uri) => uri.clone(),
            None => Url::parse(&issuer).or_else(|_| Url::parse(&here))?.join(&self.jwks_path)?.to_string(),
        };
        Ok(json!({
            "issuer": issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm],
            "scopes_supported": ["openid"],
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nbf", "use"],
        }))
    }
}

impl Service for OidcApi {
    async fn call(&self, request: Request<Incoming>, _: Peer) -> Response<Body> {
        self.answer(&request)
    }
}

/// For which host a request is.
struct Host<'a> {
    direct: &'a str,
    forwarded: Option<&'a str>,
}

impl<'a> Host<'a> {
    fn of<B>(request: &'a Request<B>) -> Self {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        Self {
            direct: authority.or(header(HOST.as_str())).unwrap_or_default(),
            forwarded: header(FORWARDED_HOST).filter(|host| !host.is_empty()),
        }
    }

    fn claimed(&self) -> &'a str {
        self.forwarded.unwrap_or(self.direct)
    }
}

fn without_port(host: &str) -> Option<&str> {
    let (name, port) = host.rsplit_once(':')?;
    if port.contains(']') {
        return None;
    }
    Some(name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name))
}

fn json_document(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

#[cfg(test)]
mod tests {

    use super::*;

    fn options() -> Oidc {
        Oidc {
            listen_address: String::new(),
            port: 0,
            tls: None,
            jwks_uri: None,
            path_prefix: None,
            allowed_hosts: Vec::new(),
        }
    }

    fn api(options: &Oidc, issuer: Option<&str>) -> OidcApi {
        OidcApi::new(options, "{\"keys\":[]}", "RS256", issuer).unwrap()
    }

    fn request(path: &str, host: &str, forwarded: Option<&str>) -> Request<()> {
        let mut request = Request::get(path).header(HOST, host);
        if let Some(forwarded) = forwarded {
            request = request.header(FORWARDED_HOST, forwarded);
        }
        request.body(()).unwrap()
    }

    async fn document(api: &OidcApi, path: &str, host: &str, forwarded: Option<&str>) -> Value {
        let response = api.answer(&request(path, host, forwarded));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=3600");
        serde_json::from_slice(&response.into_body().collect().await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn without_an_issuer_the_host_is_one() {
        let found = document(&api(&options(), None), DISCOVERY, "h:1", None).await;
        assert_eq!(found["issuer"], "http://h:1");
        assert_eq!(found["jwks_uri"], "http://h:1/jwks.json");
        assert!(found.get("authorization_endpoint").is_none());
        let set = document(&api(&options(), None), JWKS, "h:1", None).await;
        assert_eq!(set, json!({"keys": []}));
    }

    #[tokio::test]
    async fn prefix_and_issuer_make_the_address_of_the_keys() {
        let options = Oidc { path_prefix: Some("/auth/".to_owned()), ..options() };
        let api = api(&options, Some("https://issuer.example/auth"));
        let found = document(&api, "/auth/.well-known/openid-configuration", "h", None).await;
        assert_eq!(found["issuer"], "https://issuer.example/auth");
        assert_eq!(found["jwks_uri"], "https://issuer.example/auth/jwks.json");
        assert_eq!(api.answer(&request(DISCOVERY, "h", None)).status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_forwarded_host_counts_only_when_a_list_confirms_it() {
        let with = |hosts: &[&str]| {
            let allowed_hosts = hosts.iter().map(|h| (*h).to_owned()).collect();
            api(&Oidc { allowed_hosts, ..options() }, None)
        };
        let forwarded = Some("evil.example");
        for open in [&[][..], &["*"]] {
            let found = document(&with(open), DISCOVERY, "h", forwarded).await;
            assert_eq!(found["issuer"], "http://h");
        }
        let closed = with(&["good.example", "h"]);
        assert_eq!(closed.answer(&request(DISCOVERY, "h", forwarded)).status(), StatusCode::FORBIDDEN);
        let found = document(&closed, DISCOVERY, "other", Some("good.example:8443")).await;
        assert_eq!(found["issuer"], "http://good.example:8443");
    }

    #[test]
    fn only_reading_is_allowed() {
        let mut post = request(JWKS, "h", None);
        *post.method_mut() = Method::POST;
        assert_eq!(api(&options(), None).answer(&post).status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
