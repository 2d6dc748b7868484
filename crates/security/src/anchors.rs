//! The certificates that every identity must lead to.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::rotation::{Time, Validity};
use crate::x509::{self, Facts};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the trust anchors are not valid PEM: {0}")]
    Pem(String),
    #[error("the trust anchors hold no CERTIFICATE block")]
    Empty,
    #[error("certificate {number} of the trust anchors cannot be used: {reason}")]
    Certificate { number: usize, reason: String },
}

/// An immutable set of trust anchors: one certificate in quiet times, the old
/// and the new one while a root is replaced.
#[derive(Debug)]
pub struct AnchorSet {
    anchors: Vec<Anchor>,
    pem: Box<str>,
}

#[derive(Debug)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    validity: Validity,
    /// Encoded name.
    subject: Vec<u8>,
}

impl AnchorSet {
    pub fn parse(pem: &str) -> Result<Self, Error> {
        let mut anchors = Vec::new();
        for (index, der) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
            let fail = |reason: String| Error::Certificate { number: index + 1, reason };
            let der = der.map_err(|e: PemError| Error::Pem(e.to_string()))?;
            let facts = Facts::read(&der).map_err(|e: x509::Error| fail(e.to_string()))?;
            let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|e| fail(e.to_string()))?.to_owned();
            anchors.push(Anchor { anchor, validity: facts.validity, subject: facts.subject });
        }
        if anchors.is_empty() { Err(Error::Empty) } else { Ok(Self { anchors, pem: pem.into() }) }
    }

    /// Those that may be used now: path building itself does not look at the
    /// validity of what it trusts.
    pub(crate) fn valid_at(&self, now: Time) -> Vec<TrustAnchor<'_>> {
        self.anchors.iter().filter(|a| a.validity.contains(now)).map(|a| a.anchor.clone()).collect()
    }

    /// When the last anchor of this name ends; without one, the last of all.
    /// While a root is replaced there are several, and one is enough.
    pub(crate) fn end_of(&self, name: &[u8]) -> Time {
        let last = |named: bool| {
            let anchors = self.anchors.iter().filter(|anchor| !named || anchor.subject == name);
            anchors.map(|anchor| anchor.validity.not_after).max()
        };
        last(true).or_else(|| last(false)).unwrap_or_default()
    }

    /// The text that the set was read from.
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

/// The current set. Cloning shares it: a new set counts for every handshake
/// that begins afterwards.
#[derive(Clone, Debug)]
pub struct TrustAnchors(Arc<ArcSwap<AnchorSet>>);

impl TrustAnchors {
    pub fn new(set: AnchorSet) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(set)))
    }

    pub fn replace(&self, set: AnchorSet) {
        self.0.store(Arc::new(set));
    }

    pub fn current(&self) -> Arc<AnchorSet> {
        self.0.load_full()
    }
}
