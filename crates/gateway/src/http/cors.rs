//! Cross-origin rules of `--allowed-origins` (api.md §1).

use dapr_gocompat::header::canonical_key;
use dapr_transport::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::reply;

#[derive(Clone, Debug)]
pub struct Cors {
    /// `None`: every origin.
    allowed: Option<Vec<String>>,
}

const ALLOWED_METHODS: [&str; 6] = ["HEAD", "GET", "POST", "PUT", "PATCH", "DELETE"];

impl Cors {
    /// `None` when the flag is empty: no cross-origin handling at all.
    pub fn from_flag(allowed_origins: &str) -> Option<Self> {
        let list: Vec<String> =
            allowed_origins.split(',').map(|o| o.trim().to_owned()).filter(|o| !o.is_empty()).collect();
        if list.is_empty() {
            return None;
        }
        Some(Self { allowed: (!list.iter().any(|o| o == "*")).then_some(list) })
    }

    pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Always 200; the headers tell whether the request may follow.
    pub fn preflight(&self, request: &HeaderMap) -> Response<Body> {
        let mut response = reply::status(StatusCode::OK);
        let headers = response.headers_mut();
        for name in ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"] {
            headers.append(VARY, HeaderValue::from_static(name));
        }
        let asked = request.get(ACCESS_CONTROL_REQUEST_METHOD);
        let method_ok = asked.and_then(|m| m.to_str().ok()).is_some_and(|m| {
            m.eq_ignore_ascii_case("OPTIONS") || ALLOWED_METHODS.iter().any(|a| a.eq_ignore_ascii_case(m))
        });
        if let (Some(origin), true) = (self.answer_for(request), method_ok) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if let Some(method) = asked {
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
            }
            if let Some(wanted) = request.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(|v| !v.is_empty()) {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, canonical(wanted));
            }
        }
        response
    }

    /// What an ordinary answer carries.
    pub fn decorate(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        response.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(value) = origin.and_then(|o| self.answer(o)) {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
        }
    }

    fn answer_for(&self, request: &HeaderMap) -> Option<HeaderValue> {
        self.answer(request.get(ORIGIN)?)
    }

    fn answer(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.allowed {
            None => Some(HeaderValue::from_static("*")),
            Some(list) => {
                let text = origin.to_str().ok()?;
                list.iter().any(|o| o.eq_ignore_ascii_case(text)).then(|| origin.clone())
            }
        }
    }
}

/// The names of a list in their canonical spelling.
fn canonical(list: &HeaderValue) -> HeaderValue {
    let names = list.to_str().unwrap_or_default().split([',', ' ']).filter(|name| !name.is_empty());
    let names: Vec<_> = names.map(canonical_key).collect();
    HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| list.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preflight(cors: &Cors, origin: &'static str) -> HeaderMap {
        let mut request = HeaderMap::new();
        request.insert(ORIGIN, HeaderValue::from_static(origin));
        request.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT"));
        assert!(Cors::is_preflight(&Method::OPTIONS, &request));
        cors.preflight(&request).headers().clone()
    }

    #[test]
    fn origins_are_echoed_only_when_allowed() {
        assert!(Cors::from_flag("").is_none());
        let some = Cors::from_flag("http://a, http://b").unwrap();
        assert_eq!(preflight(&some, "http://a")[ACCESS_CONTROL_ALLOW_ORIGIN], "http://a");
        assert!(!preflight(&some, "http://c").contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(preflight(&some, "http://c").get_all(VARY).iter().count(), 3);
        let all = Cors::from_flag("*").unwrap();
        assert_eq!(preflight(&all, "http://c")[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
}
