//! Whom a call is for (api.md §7.1, §7.2).

use std::borrow::Cow;

use base64::Engine;
use dapr_gocompat::{path, urlesc};
use http::HeaderMap;
use http::header::AUTHORIZATION;

const APP_ID_HEADER: &str = "dapr-app-id";

/// Target and method of an HTTP request that matched no route: from the
/// `dapr-app-id` header, from basic authentication, or from the invoke path.
/// `path` is decoded. The method still has to be normalised. `None`: there is no
/// target.
///
/// The header is taken away; credentials stay.
pub fn from_http<'p>(path: &'p str, headers: &mut HeaderMap) -> Option<(Cow<'p, str>, Cow<'p, str>)> {
    if let Some(id) = headers.remove(APP_ID_HEADER) {
        let id = id.to_str().ok().filter(|id| !id.is_empty())?;
        return Some((Cow::Owned(id.to_owned()), cleaned(path.trim_start_matches('/'))));
    }
    if let Some(id) = from_basic_auth(headers) {
        return Some((Cow::Owned(id), cleaned(path.trim_start_matches('/'))));
    }
    from_path(path)
}

fn from_basic_auth(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let encoded = value.strip_prefix("Basic ")?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, target) = text.split_once(':')?;
    (user.eq_ignore_ascii_case(APP_ID_HEADER) && !target.is_empty() && !target.contains(':'))
        .then(|| target.to_owned())
}

fn from_path(path: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    let mut rest = path.trim_start_matches('/');
    for part in ["v1.0", "invoke"] {
        let after = rest.strip_prefix(part)?;
        rest = after.trim_start_matches('/');
        if rest.len() == after.len() {
            return None;
        }
    }
    let (target, method) = rest
        .split_once("/method/")
        .or_else(|| Some((rest.trim_end_matches('/').strip_suffix("/method")?, "")))?;
    let target = target.trim_end_matches('/');
    let target = match target.contains(['%', '+']) {
        true => Cow::Owned(urlesc::query_unescape(target).ok()?),
        false => Cow::Borrowed(target),
    };
    if target.is_empty() {
        return None;
    }
    Some((restore_scheme(target), cleaned(method)))
}

/// Resolved before anybody looks for characters that a method must not have:
/// what is not there any more cannot offend (api.md §7.3).
fn cleaned(method: &str) -> Cow<'_, str> {
    if !method.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Cow::Borrowed(method);
    }
    match path::clean(method) {
        cleaned if cleaned == "." => Cow::Borrowed(""),
        cleaned => Cow::Owned(cleaned),
    }
}

/// Path cleaning folds the slashes of a URL target into one.
fn restore_scheme(target: Cow<'_, str>) -> Cow<'_, str> {
    for scheme in ["http:/", "https:/"] {
        if let Some(rest) = target.strip_prefix(scheme)
            && !rest.starts_with('/')
        {
            return Cow::Owned(format!("{scheme}/{rest}"));
        }
    }
    target
}

/// An application as a caller names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppAddress<'a> {
    App {
        id: &'a str,
        namespace: &'a str,
    },
    /// `http://` or `https://` URL.
    Url(&'a str),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid app id {0}")]
pub struct InvalidTarget(pub String);

impl<'a> AppAddress<'a> {
    /// `id` or `id.namespace`; an id alone is in `own_namespace`.
    pub fn parse(target: &'a str, own_namespace: &'a str) -> Result<Self, InvalidTarget> {
        if target.starts_with("http://") || target.starts_with("https://") {
            return Ok(Self::Url(target));
        }
        let mut parts = target.split('.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(id), None, _) => Ok(Self::App { id, namespace: own_namespace }),
            (Some(id), Some(namespace), None) => Ok(Self::App { id, namespace }),
            _ => Err(InvalidTarget(target.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn the_header_wins_and_is_taken_away() {
        let mut h = headers(&[("dapr-app-id", "b")]);
        assert_eq!(
            from_http("/v1.0/invoke/x/method/m", &mut h),
            Some(("b".into(), "v1.0/invoke/x/method/m".into()))
        );
        assert!(h.is_empty());
    }

    #[test]
    fn basic_auth_names_a_target() {
        let encoded = base64::engine::general_purpose::STANDARD.encode("Dapr-App-Id:b");
        let mut h = headers(&[("authorization", &format!("Basic {encoded}"))]);
        assert_eq!(from_http("/m", &mut h), Some(("b".into(), "m".into())));
        let encoded = base64::engine::general_purpose::STANDARD.encode("dapr-app-id:b:c");
        assert_eq!(from_http("/m", &mut headers(&[("authorization", &format!("Basic {encoded}"))])), None);
    }

    #[test]
    fn paths_name_targets() {
        let path = |p: &'static str| from_http(p, &mut HeaderMap::new());
        assert_eq!(path("/v1.0/invoke/b/method/m/n"), Some(("b".into(), "m/n".into())));
        assert_eq!(path("/v1.0/invoke/b/method"), Some(("b".into(), "".into())));
        assert_eq!(path("/v1.0/invoke/b/m"), None);
        assert_eq!(path("/other"), None);
        assert_eq!(
            path("/v1.0/invoke/http:/127.0.0.1:80/method/m"),
            Some(("http://127.0.0.1:80".into(), "m".into()))
        );
        assert_eq!(
            path("/v1.0/invoke/http://127.0.0.1:80/method/m"),
            Some(("http://127.0.0.1:80".into(), "m".into()))
        );
        assert_eq!(path("//v1.0//invoke//b//method/m"), Some(("b".into(), "m".into())));
        assert_eq!(path("/v1.0/invoke/b/method/"), Some(("b".into(), "".into())));
        assert_eq!(path("/v1.0invoke/b/method/m"), None);
    }

    #[test]
    fn a_method_may_lead_out_of_its_place() {
        let path = |p: &'static str| from_http(p, &mut HeaderMap::new());
        assert_eq!(path("/v1.0/invoke/b/method/a#/../../c"), Some(("b".into(), "../c".into())));
        assert_eq!(path("/v1.0/invoke/b/method/../c"), Some(("b".into(), "../c".into())));
    }

    #[test]
    fn one_dot_separates_the_namespace() {
        let app = |id, namespace| AppAddress::App { id, namespace };
        assert_eq!(AppAddress::parse("a", "ns"), Ok(app("a", "ns")));
        assert_eq!(AppAddress::parse("a.b", "ns"), Ok(app("a", "b")));
        assert_eq!(AppAddress::parse("a.b.c", "ns").unwrap_err().to_string(), "invalid app id a.b.c");
    }
}
