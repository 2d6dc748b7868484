//! A certificate authority for tests, with its own clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, date_time_ymd,
};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

use crate::anchors::{AnchorSet, TrustAnchors};
use crate::identity::{Identity, IdentityStore, Request};
use crate::mtls::Material;

/// The beginning of 2030.
const EPOCH: u64 = 1_893_456_000;
const HOUR: u64 = 3600;
const YEAR: u64 = 365 * 24 * HOUR;

/// Seconds since the beginning of the test.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(EPOCH + self.0.load(Ordering::Relaxed))))
    }
}

/// A leaf with everything in order; a test breaks one thing.
pub fn leaf(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri(id)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    span(&mut params, 0, HOUR);
    params
}

pub fn uri(id: &str) -> SanType {
    SanType::URI(id.try_into().unwrap())
}

/// Validity in seconds of the test's clock.
pub fn span(params: &mut CertificateParams, from: u64, to: u64) {
    let epoch = date_time_ymd(2030, 1, 1);
    params.not_before = epoch + Duration::from_secs(from);
    params.not_after = epoch + Duration::from_secs(to);
}

/// A root and an issuer below it.
pub struct Authority {
    pub root_pem: String,
    issuer: Issuer<'static, KeyPair>,
    issuer_pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::valid(name, (0, YEAR), (0, YEAR))
    }

    pub fn valid(name: &str, root: (u64, u64), issuer: (u64, u64)) -> Self {
        let (root_params, root_key) = (Self::ca(&format!("{name} root"), root), key());
        let root_pem = root_params.self_signed(&root_key).unwrap().pem();
        let root = Issuer::new(root_params, root_key);
        let (params, issuer_key) = (Self::ca(&format!("{name} issuer"), issuer), key());
        let issuer_pem = params.signed_by(&issuer_key, &root).unwrap().pem();
        Self { root_pem, issuer: Issuer::new(params, issuer_key), issuer_pem }
    }

    fn ca(name: &str, (from, to): (u64, u64)) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        span(&mut params, from, to);
        params
    }

    /// The chain for a key, leaf first, in PEM.
    pub fn sign(&self, params: &CertificateParams, public: &impl PublicKeyData) -> String {
        params.signed_by(public, &self.issuer).unwrap().pem() + &self.issuer_pem
    }

    pub fn issue(&self, params: &CertificateParams) -> Identity {
        let request = Request::ed25519().unwrap();
        let chain = self.sign(params, &request.key.pair());
        Identity::new(chain, request.key).unwrap()
    }

    pub fn anchors(&self) -> AnchorSet {
        AnchorSet::parse(&self.root_pem).unwrap()
    }
}

/// A leaf that signed itself.
pub fn self_signed(params: &CertificateParams) -> Identity {
    let request = Request::ed25519().unwrap();
    let chain = params.self_signed(&request.key.pair()).unwrap().pem();
    Identity::new(chain, request.key).unwrap()
}

pub fn material(identity: Identity, anchors: AnchorSet, clock: &Arc<Clock>) -> Material {
    let store = IdentityStore::new();
    store.replace(identity);
    Material { identity: store, anchors: TrustAnchors::new(anchors), clock: clock.clone() }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()
}
