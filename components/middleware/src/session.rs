//! Sessions of browsers, in memory, known by a cookie.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderValue};
use lru::LruCache;
use parking_lot::Mutex;

const COOKIE_NAME: &str = "gosessionsid";
/// Life of a session and of its cookie.
const LIFE: Duration = Duration::from_secs(2 * 60 * 60);
/// Sessions that are kept; the one that was not used for longest goes first.
const MAX_SESSIONS: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// What is known about a browser. Locked briefly, never while waiting.
#[derive(Debug, Default)]
pub struct Session {
    /// Value of the header that its requests get.
    pub authorization: Option<String>,
    /// The login under way.
    pub login: Option<Login>,
}

#[derive(Clone, Debug)]
pub struct Login {
    pub state: String,
    /// Where the browser wanted to go.
    pub target: String,
}

pub type Shared = Arc<Mutex<Session>>;

/// All sessions of one component.
pub struct Sessions {
    known: Mutex<LruCache<String, (Instant, Shared)>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { known: Mutex::new(LruCache::new(MAX_SESSIONS)) }
    }
}

impl Sessions {
    /// The session of a request, and the cookie to send when it is new. An id
    /// that is not known, such as one of before a restart, begins a session.
    pub fn start(&self, headers: &HeaderMap) -> (Shared, Option<HeaderValue>) {
        if let Some(id) = cookie(headers) {
            return (self.of(id), None);
        }
        let id = new_id();
        let host = headers.get(HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let cookie = HeaderValue::try_from(set_cookie(&id, host, SystemTime::now() + LIFE)).ok();
        (self.of(&id), cookie)
    }

    fn of(&self, id: &str) -> Shared {
        let now = Instant::now();
        let mut known = self.known.lock();
        if let Some((begun, session)) = known.get(id)
            && now.duration_since(*begun) < LIFE
        {
            return session.clone();
        }
        let session = Shared::default();
        known.put(id.to_owned(), (now, session.clone()));
        session
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value).next()?;
    let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    (!value.is_empty()).then_some(value)
}

fn new_id() -> String {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    URL_SAFE.encode(bytes)
}

fn set_cookie(id: &str, host: &str, expires: SystemTime) -> String {
    let domain = domain(host).map(|d| format!("; Domain={d}")).unwrap_or_default();
    let expires = httpdate::fmt_http_date(expires);
    format!("{COOKIE_NAME}={id}; Path=/{domain}; Expires={expires}; HttpOnly")
}

/// The domain whose hosts share the session: the host itself with at most one
/// label before its suffix. Names without a dot and addresses have none.
fn domain(host: &str) -> Option<String> {
    let host = host.split(':').next().unwrap_or_default();
    let (front, last) = host.rsplit_once('.')?;
    if matches!(host, "0.0.0.0" | "127.0.0.1") || last.is_empty() {
        return None;
    }
    if host.matches('.').count() >= 3 && last.parse::<i64>().is_ok() {
        return None;
    }
    match front.rsplit_once('.') {
        Some((_, name)) => Some(format!("{name}.{last}")),
        None => Some(host.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::try_from(value).unwrap());
        headers
    }

    #[test]
    fn a_session_is_found_by_its_cookie() {
        let sessions = Sessions::default();
        let (session, cookie) = sessions.start(&headers("host", "localhost:3500"));
        session.lock().authorization = Some("x".to_owned());
        let cookie = cookie.unwrap().to_str().unwrap().to_owned();
        let id = cookie.strip_prefix("gosessionsid=").unwrap().split(';').next().unwrap().to_owned();
        assert!(cookie.contains("; Path=/; Expires=") && cookie.ends_with(" GMT; HttpOnly"), "{cookie}");
        let (again, none) = sessions.start(&headers("cookie", &format!("a=b; gosessionsid={id}")));
        assert!(none.is_none());
        assert_eq!(again.lock().authorization.as_deref(), Some("x"));
        let (other, none) = sessions.start(&headers("cookie", "gosessionsid=unknown"));
        assert!(none.is_none());
        assert!(other.lock().authorization.is_none());
    }

    #[test]
    fn a_cookie_is_for_the_domain_when_there_is_one() {
        for (host, expected) in [
            ("localhost:80", None),
            ("127.0.0.1:80", None),
            ("10.1.2.3", None),
            ("example.com:80", Some("example.com")),
            ("a.example.com", Some("example.com")),
            ("b.a.example.com", Some("example.com")),
        ] {
            assert_eq!(domain(host).as_deref(), expected, "{host}");
        }
    }
}
