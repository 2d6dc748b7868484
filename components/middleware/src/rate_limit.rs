//! `middleware.http.ratelimit`: a token bucket per caller and path.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Instant;

use async_trait::async_trait;
use dapr_components::middleware::{Answer, HttpMiddleware, Next, refuse_with};
use dapr_components::{InitContext, InitError};
use dapr_transport::Body;
use dapr_transport::server::Peer;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use lru::LruCache;
use parking_lot::Mutex;

use crate::uri::decoded_path;

const MAX_REQUESTS: &str = "maxRequestsPerSecond";
const DEFAULT_MAX: f64 = 100.0;
/// Callers and paths that are remembered; whoever was not seen for longest
/// begins anew.
const MAX_BUCKETS: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// Stands for callers of unknown address.
const NOBODY: HeaderValue = HeaderValue::from_static("0.0.0.0");
const ONE_SECOND: HeaderValue = HeaderValue::from_static("1");
const REFUSAL: &str = "You have reached maximum request limit.";

pub struct RateLimit {
    rate: f64,
    burst: f64,
    /// `X-Rate-Limit-Limit` and `RateLimit-Limit`.
    limits: (HeaderValue, HeaderValue),
    buckets: Mutex<LruCache<String, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl RateLimit {
    pub fn new(context: &InitContext) -> Result<Self, InitError> {
        let rate = match context.properties.get(MAX_REQUESTS).filter(|v| !v.is_empty()) {
            None => DEFAULT_MAX,
            Some(text) => text.trim().parse::<f64>().map_err(|e| {
                InitError::new(format!("invalid value '{text}' for metadata property '{MAX_REQUESTS}': {e}"))
            })?,
        };
        if rate.is_nan() || rate <= 0.0 {
            return Err(InitError::new(format!("metadata property {MAX_REQUESTS} must be a positive value")));
        }
        let header = |text: String| HeaderValue::try_from(text).map_err(|e| InitError::new(e.to_string()));
        Ok(Self {
            rate,
            burst: rate.max(1.0).floor(),
            limits: (header(format!("{rate:.2}"))?, header(format!("{:.0}", rate.round()))?),
            buckets: Mutex::new(LruCache::new(MAX_BUCKETS)),
        })
    }

    /// Takes a token: how many are left, or `None` when there is none.
    fn take(&self, key: String, now: Instant) -> Option<u64> {
        let mut buckets = self.buckets.lock();
        let bucket = buckets.get_or_insert_mut(key, || Bucket { tokens: self.burst, filled: now });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.rate).min(self.burst);
        bucket.filled = bucket.filled.max(now);
        if bucket.tokens < 1.0 {
            return None;
        }
        bucket.tokens -= 1.0;
        Some(bucket.tokens as u64)
    }

    fn decorate(&self, headers: &mut HeaderMap, caller: Caller, left: u64) {
        let mut add = |name: &'static str, value| headers.append(HeaderName::from_static(name), value);
        add("x-rate-limit-limit", self.limits.0.clone());
        add("x-rate-limit-duration", ONE_SECOND);
        if let Some(forwarded) = caller.forwarded {
            add("x-rate-limit-request-forwarded-for", forwarded);
        }
        add("x-rate-limit-request-remote-addr", caller.remote);
        add("ratelimit-limit", self.limits.1.clone());
        add("ratelimit-reset", ONE_SECOND);
        add("ratelimit-remaining", left.into());
    }
}

/// Who sent a request.
struct Caller {
    address: String,
    forwarded: Option<HeaderValue>,
    remote: HeaderValue,
}

impl Caller {
    /// A caller without an address gets one, which the next handlers see.
    fn of(request: &mut Request<Body>) -> Self {
        let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0);
        let headers = request.headers();
        let first = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
        let (forwarded, real) = (first(FORWARDED_FOR), first(REAL_IP));
        let address = if !forwarded.is_empty() {
            canonical(forwarded.rsplit(',').next().unwrap_or_default().trim())
        } else if !real.is_empty() {
            canonical(real)
        } else {
            peer.map(|p| canonical(&p.ip().to_string())).unwrap_or_default()
        };
        let address = if address.is_empty() {
            request.headers_mut().insert(FORWARDED_FOR, NOBODY);
            NOBODY.to_str().unwrap_or_default().to_owned()
        } else {
            address
        };
        let forwarded =
            request.headers().get(FORWARDED_FOR).filter(|v| !v.as_bytes().trim_ascii().is_empty());
        let remote = peer.map(|p| p.to_string()).unwrap_or_default();
        Self {
            address,
            forwarded: forwarded.cloned(),
            remote: HeaderValue::try_from(remote).unwrap_or(HeaderValue::from_static("")),
        }
    }
}

/// IPv6 callers are known by the first half of their address.
fn canonical(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V6(v6)) if address.find(['.', ':']).is_some_and(|at| address.as_bytes()[at] == b':') => {
            Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).to_string()
        }
        _ => address.to_owned(),
    }
}

#[async_trait]
impl HttpMiddleware for RateLimit {
    async fn handle(&self, mut request: Request<Body>, next: Next<'_>) -> Answer {
        let caller = Caller::of(&mut request);
        let key = format!("{}|{}", caller.address, decoded_path(request.uri()));
        let left = self.take(key, Instant::now());
        let mut response = match left {
            Some(_) => next.run(request).await?,
            None => refuse_with(StatusCode::TOO_MANY_REQUESTS, REFUSAL),
        };
        self.decorate(response.headers_mut(), caller, left.unwrap_or(0));
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::testing::{End, context, get, send_to, text};

    fn limit(rate: &str) -> RateLimit {
        RateLimit::new(&context(&[(MAX_REQUESTS, rate)])).unwrap()
    }

    #[tokio::test]
    async fn who_asks_too_often_is_refused_and_told_the_limit() {
        let limit: Arc<dyn HttpMiddleware> = Arc::new(limit("1.5"));
        let end = End::default();
        let ask = |path: &str, from: &str| {
            let mut request = get(path);
            if !from.is_empty() {
                request.headers_mut().insert(FORWARDED_FOR, HeaderValue::try_from(from).unwrap());
            }
            request.extensions_mut().insert(Peer(Some(([10, 0, 0, 1], 99).into())));
            request
        };
        let first = send_to(&limit, &end, ask("/a", "")).await;
        assert_eq!(first.status(), 200);
        let header = |name: &str| first.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-rate-limit-limit"), "1.50");
        assert_eq!(header("x-rate-limit-duration"), "1");
        assert_eq!(header("x-rate-limit-request-remote-addr"), "10.0.0.1:99");
        assert!(!first.headers().contains_key("x-rate-limit-request-forwarded-for"));
        assert_eq!(header("ratelimit-limit"), "2");
        assert_eq!(header("ratelimit-reset"), "1");
        assert_eq!(header("ratelimit-remaining"), "0");
        let second = send_to(&limit, &end, ask("/a", "")).await;
        assert_eq!(second.status(), 429);
        assert_eq!(second.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(second.headers()["ratelimit-remaining"], "0");
        assert_eq!(text(second).await, REFUSAL);
        // Another path and another caller have buckets of their own.
        assert_eq!(send_to(&limit, &end, ask("/b", "")).await.status(), 200);
        let forwarded = send_to(&limit, &end, ask("/a", "1.1.1.1, 2.2.2.2")).await;
        assert_eq!(forwarded.status(), 200);
        assert_eq!(forwarded.headers()["x-rate-limit-request-forwarded-for"], "1.1.1.1, 2.2.2.2");
        assert_eq!(send_to(&limit, &end, ask("/a", "2.2.2.2")).await.status(), 429);
    }

    #[tokio::test]
    async fn callers_without_an_address_share_one() {
        let limit: Arc<dyn HttpMiddleware> = Arc::new(limit("1"));
        let end = End::default();
        assert_eq!(send_to(&limit, &end, get("/")).await.status(), 200);
        assert_eq!(end.last_header("x-forwarded-for").unwrap(), "0.0.0.0");
        assert_eq!(send_to(&limit, &end, get("/")).await.status(), 429);
    }

    #[test]
    fn buckets_fill_up_with_time() {
        let limit = limit("2");
        let start = Instant::now();
        let take = |ms| limit.take("k".to_owned(), start + Duration::from_millis(ms));
        assert_eq!((take(0), take(0), take(0)), (Some(1), Some(0), None));
        assert_eq!((take(500), take(600)), (Some(0), None));
        assert_eq!(take(5000), Some(1), "never more than the burst");
    }

    #[test]
    fn ipv6_callers_are_known_by_their_network() {
        assert_eq!(canonical("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(canonical("::1"), "::");
        assert_eq!(canonical("10.1.2.3"), "10.1.2.3");
        assert_eq!(canonical("someone"), "someone");
    }

    #[test]
    fn the_limit_must_be_positive() {
        for bad in ["0", "-1", "NaN"] {
            let error = RateLimit::new(&context(&[(MAX_REQUESTS, bad)])).err().unwrap();
            assert_eq!(error.to_string(), "metadata property maxRequestsPerSecond must be a positive value");
        }
        assert!(RateLimit::new(&context(&[(MAX_REQUESTS, "many")])).is_err());
        assert_eq!(RateLimit::new(&context(&[])).unwrap().burst, 100.0);
    }
}
