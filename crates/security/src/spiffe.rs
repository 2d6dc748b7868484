//! SPIFFE IDs as Dapr uses them: `spiffe://<trust domain>/ns/<namespace>/<app id>`
//! (control-plane.md §2).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What precedes the trust domain in every ID.
const SCHEME: &str = "spiffe://";
/// First path segment of every ID of Dapr.
const NAMESPACE_SEGMENT: &str = "ns";

/// The trust domain of workloads that ask for none.
pub const DEFAULT_TRUST_DOMAIN: &str = "public";

/// App IDs of the control plane. They mean the control plane only in its own
/// namespace.
pub mod control_plane {
    pub const SENTRY: &str = "dapr-sentry";
    pub const OPERATOR: &str = "dapr-operator";
    pub const PLACEMENT: &str = "dapr-placement";
    pub const INJECTOR: &str = "dapr-injector";
    pub const SCHEDULER: &str = "dapr-scheduler";

    /// Whether `app_id` is the name of a control plane service.
    pub fn is_service(app_id: &str) -> bool {
        [SENTRY, OPERATOR, PLACEMENT, INJECTOR, SCHEDULER].contains(&app_id)
    }
}

/// Why a text is no trust domain or no ID. The texts are those that users of
/// SPIFFE libraries know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("cannot be empty")]
    Empty,
    #[error("scheme is missing or invalid")]
    Scheme,
    #[error("trust domain is missing")]
    NoTrustDomain,
    #[error(
        "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores"
    )]
    TrustDomainCharacter,
    #[error("path segment characters are limited to letters, numbers, dots, dashes, and underscores")]
    SegmentCharacter,
    #[error("path cannot contain dot segments")]
    DotSegment,
    #[error("path cannot contain empty segments")]
    EmptySegment,
    #[error("path cannot have a trailing slash")]
    TrailingSlash,
    /// A valid SPIFFE ID that is not of Dapr's form; holds the ID.
    #[error("malformed SPIFFE ID: {0}")]
    Foreign(String),
    /// An ID cannot be made from an empty trust domain, namespace or app ID.
    #[error("malformed SPIFFE ID")]
    Incomplete,
}

/// A checked trust domain such as `cluster.local`. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Takes a name (`public`) or any SPIFFE ID (`spiffe://public/ns/a/b`),
    /// whose trust domain is meant.
    pub fn parse(name_or_id: &str) -> Result<Self, Error> {
        if name_or_id.is_empty() {
            return Err(Error::NoTrustDomain);
        }
        if name_or_id.contains(":/") {
            let (domain, _) = split(name_or_id)?;
            return Ok(Self(domain.into()));
        }
        check_domain(name_or_id)?;
        Ok(Self(name_or_id.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl Default for TrustDomain {
    /// [`DEFAULT_TRUST_DOMAIN`].
    fn default() -> Self {
        Self(DEFAULT_TRUST_DOMAIN.into())
    }
}

/// A SPIFFE ID of Dapr's form. Cloning is cheap. Two are equal when their
/// texts are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Ends of the trust domain, the namespace and the app ID within `text`.
    domain_end: usize,
    namespace_end: usize,
    app_end: usize,
}

impl SpiffeId {
    pub fn new(trust_domain: &TrustDomain, namespace: &str, app_id: &str) -> Result<Self, Error> {
        if namespace.is_empty() || app_id.is_empty() {
            return Err(Error::Incomplete);
        }
        check_segment(namespace)?;
        check_segment(app_id)?;
        let text = format!("{SCHEME}{trust_domain}/{NAMESPACE_SEGMENT}/{namespace}/{app_id}");
        Self::parse(&text)
    }

    /// Reads an ID. Path segments after the app ID are allowed and kept in the
    /// text: they may get a meaning in later versions.
    pub fn parse(id: &str) -> Result<Self, Error> {
        let (domain, path) = split(id)?;
        let mut segments = path.split('/').skip(1);
        let foreign = || Error::Foreign(id.to_owned());
        let (Some(NAMESPACE_SEGMENT), Some(namespace), Some(app_id)) =
            (segments.next(), segments.next(), segments.next())
        else {
            return Err(foreign());
        };
        let domain_end = SCHEME.len() + domain.len();
        let namespace_end = domain_end + 1 + NAMESPACE_SEGMENT.len() + 1 + namespace.len();
        Ok(Self { text: id.into(), domain_end, namespace_end, app_end: namespace_end + 1 + app_id.len() })
    }

    /// The whole ID, `spiffe://...`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.trust_domain_str().into())
    }

    pub fn trust_domain_str(&self) -> &str {
        &self.text[SCHEME.len()..self.domain_end]
    }

    pub fn namespace(&self) -> &str {
        &self.text[self.domain_end + 1 + NAMESPACE_SEGMENT.len() + 1..self.namespace_end]
    }

    pub fn app_id(&self) -> &str {
        &self.text[self.namespace_end + 1..self.app_end]
    }

    /// What follows the trust domain: `/ns/<namespace>/<app id>` and whatever
    /// more the ID holds.
    pub fn path(&self) -> &str {
        &self.text[self.domain_end..]
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpiffeId").field(&self.text).finish()
    }
}

impl FromStr for SpiffeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// Trust domain and path of any SPIFFE ID, both checked.
fn split(id: &str) -> Result<(&str, &str), Error> {
    if id.is_empty() {
        return Err(Error::Empty);
    }
    let rest = id.strip_prefix(SCHEME).ok_or(Error::Scheme)?;
    let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    check_domain(domain)?;
    if domain.is_empty() {
        return Err(Error::NoTrustDomain);
    }
    check_path(path)?;
    Ok((domain, path))
}

fn check_domain(domain: &str) -> Result<(), Error> {
    let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.' | b'_');
    if domain.bytes().all(valid) { Ok(()) } else { Err(Error::TrustDomainCharacter) }
}

/// `path` is empty or begins with a slash.
fn check_path(path: &str) -> Result<(), Error> {
    if path.is_empty() {
        return Ok(());
    }
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match check_segment(segment) {
            Err(Error::EmptySegment) if segments.peek().is_none() => return Err(Error::TrailingSlash),
            other => other?,
        }
    }
    Ok(())
}

fn check_segment(segment: &str) -> Result<(), Error> {
    let valid = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
    match segment {
        "" => Err(Error::EmptySegment),
        "." | ".." => Err(Error::DotSegment),
        _ if segment.bytes().all(valid) => Ok(()),
        _ => Err(Error::SegmentCharacter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public() -> TrustDomain {
        TrustDomain::default()
    }

    #[test]
    fn an_id_is_made_and_read() {
        let id = SpiffeId::new(&public(), "default", "My-app_1.2").unwrap();
        assert_eq!(id.as_str(), "spiffe://public/ns/default/My-app_1.2");
        assert_eq!(id, id.as_str().parse().unwrap());
        assert_eq!((id.trust_domain_str(), id.namespace(), id.app_id()), ("public", "default", "My-app_1.2"));
        assert_eq!(id.path(), "/ns/default/My-app_1.2");
        assert_eq!(id.trust_domain(), public());
    }

    #[test]
    fn segments_after_the_app_id_are_kept_but_ignored() {
        let id = SpiffeId::parse("spiffe://td/ns/a/b/c/d").unwrap();
        assert_eq!((id.namespace(), id.app_id(), id.path()), ("a", "b", "/ns/a/b/c/d"));
        assert_ne!(id, SpiffeId::parse("spiffe://td/ns/a/b").unwrap());
    }

    #[test]
    fn what_is_not_of_our_form_is_malformed() {
        for foreign in ["spiffe://td", "spiffe://td/ns/a", "spiffe://td/na/a/b", "spiffe://td/workload"] {
            let error = SpiffeId::parse(foreign).unwrap_err();
            assert_eq!(error.to_string(), format!("malformed SPIFFE ID: {foreign}"));
        }
        assert_eq!(SpiffeId::new(&public(), "", "a").unwrap_err().to_string(), "malformed SPIFFE ID");
        assert_eq!(SpiffeId::new(&public(), "a", "").unwrap_err(), Error::Incomplete);
    }

    #[test]
    fn invalid_texts_are_told_apart() {
        let cases = [
            ("", Error::Empty),
            ("http://td/ns/a/b", Error::Scheme),
            ("SPIFFE://td/ns/a/b", Error::Scheme),
            ("spiffe:///ns/a/b", Error::NoTrustDomain),
            ("spiffe://TD/ns/a/b", Error::TrustDomainCharacter),
            ("spiffe://td:8/ns/a/b", Error::TrustDomainCharacter),
            ("spiffe://user@td/ns/a/b", Error::TrustDomainCharacter),
            ("spiffe://td/ns//b", Error::EmptySegment),
            ("spiffe://td/ns/a/b/", Error::TrailingSlash),
            ("spiffe://td/", Error::TrailingSlash),
            ("spiffe://td/ns/../b", Error::DotSegment),
            ("spiffe://td/ns/./b", Error::DotSegment),
            ("spiffe://td/ns/a/b%20", Error::SegmentCharacter),
            ("spiffe://td/ns/a/b?x", Error::SegmentCharacter),
            ("spiffe://td/ns/ä/b", Error::SegmentCharacter),
        ];
        for (text, expected) in cases {
            assert_eq!(SpiffeId::parse(text), Err(expected), "{text}");
        }
        assert_eq!(SpiffeId::new(&public(), "a/b", "c"), Err(Error::SegmentCharacter));
        assert_eq!(SpiffeId::new(&public(), "..", "c"), Err(Error::DotSegment));
    }

    #[test]
    fn a_trust_domain_is_a_name_or_the_beginning_of_an_id() {
        assert_eq!(TrustDomain::parse("cluster.local").unwrap().as_str(), "cluster.local");
        assert_eq!(TrustDomain::parse("spiffe://td/any/path").unwrap().as_str(), "td");
        assert_eq!(TrustDomain::parse("spiffe:/td"), Err(Error::Scheme));
        assert_eq!(TrustDomain::parse(""), Err(Error::NoTrustDomain));
        assert_eq!(TrustDomain::parse("Upper"), Err(Error::TrustDomainCharacter));
    }
}
