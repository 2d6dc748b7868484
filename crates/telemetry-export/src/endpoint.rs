//! Where collectors are.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dapr_security::tls::{self, ClientTls};
use dapr_transport::connect::{BoxStream, Destination, Wrapper};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// Patience for connecting and for the TLS handshake together.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Patience for one request unless configured.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    /// Protobuf over HTTP/1.1.
    Http,
}

/// A collector that speaks OTLP.
#[derive(Clone)]
pub struct OtlpEndpoint {
    pub protocol: Protocol,
    /// `host:port`. A scheme is ignored; over HTTP a path goes before
    /// `/v1/traces`.
    pub address: String,
    pub secure: bool,
    /// Names and values; values may be secret.
    pub headers: Vec<(String, String)>,
    /// Whether requests are compressed with gzip.
    pub gzip: bool,
    /// For one request; `None` for 10 s.
    pub timeout: Option<Duration>,
    /// Trust and identity, as PEM or paths.
    pub tls: ClientTls,
}

/// Values of headers are not shown.
impl std::fmt::Debug for OtlpEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpEndpoint")
            .field("protocol", &self.protocol)
            .field("address", &self.address)
            .field("secure", &self.secure)
            .finish_non_exhaustive()
    }
}

/// Why a collector's address or settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("invalid collector URL \"{url}\": {reason}")]
    Url { url: String, reason: String },
    #[error("header {0:?} for the collector is not a valid HTTP header")]
    Header(String),
    #[error("TLS for the collector {address}: {source}")]
    Tls { address: String, source: tls::Error },
}

/// A parsed address with everything that connections need.
pub struct Target {
    pub destination: Destination,
    pub host: HeaderValue,
    /// Path without a trailing slash, possibly empty.
    pub path: String,
}

impl Target {
    /// `address` with or without scheme and path.
    pub fn new(
        address: &str,
        secure: bool,
        alpn: Option<&[u8]>,
        tls: &ClientTls,
    ) -> Result<Self, EndpointError> {
        let bare = address.split_once("://").map_or(address, |(_, rest)| rest);
        let bad = |reason: &str| EndpointError::Url { url: address.to_owned(), reason: reason.to_owned() };
        let uri: Uri =
            format!("http://{bare}").parse().map_err(|e: http::uri::InvalidUri| bad(&e.to_string()))?;
        let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(|| bad("no host"))?;
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let mut destination = Destination::tcp(format!("{host}:{port}"), DIAL_TIMEOUT);
        if secure {
            let wrapper = wrapper(host, alpn, tls)
                .map_err(|source| EndpointError::Tls { address: address.to_owned(), source })?;
            destination = destination.wrapped(wrapper);
        }
        let authority = uri.authority().map_or(host, |a| a.as_str());
        Ok(Self {
            destination,
            host: HeaderValue::from_str(authority).map_err(|e| bad(&e.to_string()))?,
            path: uri.path_and_query().map_or("", |p| p.as_str()).trim_end_matches('/').to_owned(),
        })
    }
}

fn wrapper(host: &str, alpn: Option<&[u8]>, tls: &ClientTls) -> Result<Wrapper, tls::Error> {
    let options = ClientTls { alpn: alpn.into_iter().map(<[u8]>::to_vec).collect(), ..tls.clone() };
    let connector = tls::Connector::new(tls::client_config(&options)?);
    let host: Arc<str> = host.into();
    Ok(Arc::new(move |stream| {
        let (connector, host) = (connector.clone(), host.clone());
        Box::pin(async move {
            let stream = connector.connect(&host, stream).await.map_err(io::Error::other)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }))
}

pub fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, EndpointError> {
    let mut out = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let bad = || EndpointError::Header(name.clone());
        let key = HeaderName::try_from(name.as_str()).map_err(|_| bad())?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| bad())?;
        value.set_sensitive(true);
        out.insert(key, value);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, secure: bool) -> (String, String) {
        let target = Target::new(address, secure, None, &ClientTls::default()).unwrap();
        (target.destination.authority(), target.path)
    }

    #[test]
    fn addresses_may_have_scheme_and_path() {
        assert_eq!(target("c:4317", false), ("c:4317".to_owned(), String::new()));
        assert_eq!(target("http://c:4318/otlp/", false), ("c:4318".to_owned(), "/otlp".to_owned()));
        assert_eq!(target("c", true).0, "c:443");
        assert_eq!(target("[::1]:4317", false).0, "[::1]:4317");
        assert!(Target::new("", false, None, &ClientTls::default()).is_err());
        assert!(Target::new("a b:1", false, None, &ClientTls::default()).is_err());
    }

    #[test]
    fn header_values_are_not_shown() {
        let endpoint = OtlpEndpoint {
            protocol: Protocol::Grpc,
            address: "c:1".to_owned(),
            secure: false,
            headers: vec![("api-key".to_owned(), "s3cret".to_owned())],
            gzip: false,
            timeout: None,
            tls: ClientTls::default(),
        };
        assert!(!format!("{endpoint:?}").contains("s3cret"));
        assert!(!format!("{:?}", headers(&endpoint.headers).unwrap()).contains("s3cret"));
        assert!(headers(&[("a b".to_owned(), String::new())]).is_err());
    }
}
