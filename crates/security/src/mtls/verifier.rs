//! The one judge of certificates between programs of Dapr (control-plane.md
//! §2): chain, validity and SPIFFE identity count; host names and extended key
//! usages do not.

mod complaints;

use std::fmt;
use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use crate::anchors::{AnchorSet, TrustAnchors};
use crate::rotation::Time;
use crate::spiffe::SpiffeId;
use crate::tls::verifier::{Judge, Shown, Verifier, algorithms};
use crate::x509::Facts;
use complaints::Complaints;

/// Who the other side must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anyone with an identity.
    Anyone,
    /// Exactly this one.
    Id(SpiffeId),
    /// An application, in whatever trust domain it lives.
    App { namespace: String, app_id: String },
}

impl Expect {
    fn check(&self, id: &SpiffeId) -> Result<(), Error> {
        let met = match self {
            Self::Anyone => true,
            Self::Id(expected) => id == expected,
            // The whole path: nothing may follow the app ID.
            Self::App { namespace, app_id } => id.path() == format!("/ns/{namespace}/{app_id}"),
        };
        if met { Ok(()) } else { Err(refused(format!("unexpected SPIFFE ID: \"{id}\""))) }
    }
}

/// Whether `leaf` leads to one of `anchors` and everything on the way is valid
/// at `now`; the identity that it then proves.
pub fn verify_chain(
    anchors: &AnchorSet,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<SpiffeId, Error> {
    let facts = Facts::read(leaf).map_err(|e| refused(e.to_string()))?;
    let id = facts.spiffe_id().map_err(|e| refused(e.to_string()))?;
    facts.check_leaf().map_err(|e| refused(e.to_string()))?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|e| failed(&e))?;
    let valid = anchors.valid_at(Time::from_seconds(now.as_secs()));
    leaf.verify_for_usage(algorithms().all, &valid, intermediates, now, AnyUsage, None, None)
        .map_err(|e| failed(&e))?;
    Ok(id)
}

/// Certificates of Dapr serve both sides, and older ones have no usages.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// Judges either side of a connection.
#[derive(Debug)]
pub(super) struct Spiffe {
    anchors: TrustAnchors,
    expect: Expect,
    complaints: Complaints,
}

impl Spiffe {
    pub fn verifier(anchors: TrustAnchors, expect: Expect) -> Arc<Verifier<Self>> {
        Arc::new(Verifier::new(Self { anchors, expect, complaints: Complaints::default() }))
    }
}

impl Judge for Spiffe {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), Error> {
        let judged = verify_chain(&self.anchors.current(), shown.leaf, shown.intermediates, shown.now)
            .and_then(|id| self.expect.check(&id));
        // A refused server is the answer to whoever called it; a refused client learns nothing but an
        // alert, and without this line nobody would.
        if let (Err(error), None) = (&judged, shown.server) {
            self.complaints.refused(shown.leaf, error);
        }
        judged
    }
}

/// A refusal by our rules; its text survives rustls' debug formatting.
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

fn refused(reason: String) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refusal(reason)))))
}

/// The alerts that peers understand, where there is one.
fn failed(error: &webpki::Error) -> Error {
    use webpki::Error as E;
    Error::InvalidCertificate(match error {
        E::CertExpired { .. } => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        other => return refused(other.to_string()),
    })
}

/// The reason of a failed handshake in words.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(tls) => in_words(tls),
        None => error.to_string(),
    }
}

fn in_words(error: &Error) -> String {
    let Error::InvalidCertificate(refusal) = error else { return error.to_string() };
    match refusal {
        CertificateError::Other(other) => other.0.to_string(),
        CertificateError::Expired => "certificate has expired".to_owned(),
        CertificateError::NotValidYet => "certificate is not valid yet".to_owned(),
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::BadSignature => "certificate has a bad signature".to_owned(),
        other => other.to_string(),
    }
}
