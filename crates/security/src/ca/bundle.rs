//! The authority's own certificates and what it issues with them
//! (control-plane.md §3.3).

use std::time::{Duration, SystemTime};

use x509_cert::der::asn1::Ia5String;
use x509_cert::der::flagset::FlagSet;
use x509_cert::der::oid::{AssociatedOid, db};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};
use x509_cert::name::RdnSequence;

use super::certificate::{
    Certificate, CertificateError, Template, authority_key_id, extension, make, organization, subject_key_id,
};
use super::key::{KeyError, SigningKey};
use super::public_key::PublicKey;
use crate::expiry::Ends;
use crate::spiffe::SpiffeId;

/// How long generated certificates of the authority are valid.
pub const CA_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Why given certificates cannot be an authority's.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("failed to decode trust anchors: {0}")]
    Anchors(CertificateError),
    #[error(
        "certificate in trust anchor is not self-signed: trust anchor {0} is no CA, or its signature is by another key"
    )]
    AnchorNotSelfSigned(usize),
    #[error("failed to decode issuer certificate: {0}")]
    Chain(CertificateError),
    #[error("certificate chain is not valid")]
    ChainOrder,
    #[error("issuer chain is empty after re-encoding")]
    OnlyRoot,
    #[error("intermediate certificate is not valid for signing")]
    NotForSigning,
    #[error("failed to decode issuer key: {0}")]
    Key(#[from] KeyError),
    #[error("issuer key does not match issuer certificate")]
    KeyMismatch,
    #[error("issuer chain does not belong to trust anchors: {0}")]
    Foreign(&'static str),
}

/// Trust anchors, issuer chain and issuer key of an authority.
#[derive(Clone, Debug)]
pub struct Bundle {
    anchors: Vec<Certificate>,
    anchors_pem: String,
    chain: Vec<Certificate>,
    chain_pem: String,
    key: SigningKey,
    key_pem: String,
}

/// A certificate to be issued to a workload.
#[derive(Clone, Debug)]
pub struct WorkloadRequest<'a> {
    pub key: &'a PublicKey,
    pub id: &'a SpiffeId,
    pub dns_names: &'a [String],
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// A certificate with the chain that leads to a trust anchor.
#[derive(Clone, Debug)]
pub struct Issued {
    pub leaf: Certificate,
    /// The leaf and the issuers, without root, in PEM.
    pub chain_pem: String,
}

impl Bundle {
    /// A root and an issuer below it with fresh Ed25519 keys. The key of the
    /// root is not kept.
    pub fn generate(
        trust_domain: &str,
        issuer_id: &SpiffeId,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Result<Self, CertificateError> {
        let (root_key, _) = SigningKey::generate_ed25519()?;
        Self::generate_with(&root_key, trust_domain, issuer_id, not_before, not_after)
    }

    /// The same with a key for the root that the caller has. A root with the
    /// key and name of an earlier one can take its place unnoticed: what the
    /// one has signed, the other has, too.
    pub fn generate_with(
        root_key: &SigningKey,
        trust_domain: &str,
        issuer_id: &SpiffeId,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Result<Self, CertificateError> {
        let name = organization(trust_domain)?;
        let signs = KeyUsages::DigitalSignature | KeyUsages::KeyCertSign;
        let mut extensions = authority_extensions(signs)?;
        extensions.push(subject_key_id(root_key.public())?);
        let template =
            Template { subject: name.clone(), key: root_key.public(), not_before, not_after, extensions };
        let root = make(template, name.clone(), root_key)?;

        let (key, key_pem) = SigningKey::generate_ed25519()?;
        let mut extensions = authority_extensions(signs | KeyUsages::CRLSign)?;
        extensions.push(subject_key_id(key.public())?);
        let subject = organization(issuer_id.as_str())?;
        let template = Template { subject, key: key.public(), not_before, not_after, extensions };
        let issuer = make(template, name, root_key)?;

        let (anchors_pem, chain_pem) = (root.to_pem(), issuer.to_pem());
        Ok(Self { anchors: vec![root], anchors_pem, chain_pem, chain: vec![issuer], key, key_pem })
    }

    /// Takes what a user provides, if it fits together at `now`.
    pub fn verify(anchors: &[u8], chain: &[u8], key: &[u8], now: SystemTime) -> Result<Self, BundleError> {
        let anchors = Certificate::all_from_pem(anchors).map_err(BundleError::Anchors)?;
        if let Some(at) = anchors.iter().position(|anchor| !anchor.is_self_signed()) {
            return Err(BundleError::AnchorNotSelfSigned(at + 1));
        }
        let mut chain = Certificate::all_from_pem(chain).map_err(BundleError::Chain)?;
        if chain.windows(2).any(|pair| !pair[0].is_signed_by(&pair[1])) {
            return Err(BundleError::ChainOrder);
        }
        if chain.len() > 1 && chain.last().is_some_and(Certificate::is_self_signed) {
            chain.pop();
        }
        if !chain[0].may_sign() {
            return Err(BundleError::NotForSigning);
        }
        let chain_pem = chain_pem(&chain);
        if chain_pem.is_empty() {
            return Err(BundleError::OnlyRoot);
        }
        let signing_key = SigningKey::from_pem(key)?;
        if chain[0].public_key().as_ref() != Some(signing_key.public()) {
            return Err(BundleError::KeyMismatch);
        }
        leads_to_anchor(&chain, &anchors, now)?;
        Ok(Self {
            anchors_pem: anchors.iter().map(Certificate::to_pem).collect(),
            anchors,
            chain,
            chain_pem,
            key: signing_key,
            key_pem: String::from_utf8_lossy(key).into_owned(),
        })
    }

    /// All trust anchors in PEM, nothing else between them.
    pub fn anchors_pem(&self) -> &str {
        &self.anchors_pem
    }

    /// The issuer's certificate and those above it, without root.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// When the issuer's certificate ends.
    pub fn issuer_not_after(&self) -> SystemTime {
        self.chain[0].not_after()
    }

    /// When the last root ends that the issuer leads to.
    pub fn root_not_after(&self) -> SystemTime {
        let last = &self.chain[self.chain.len() - 1];
        let above = |anchor: &&Certificate| last.der() == anchor.der() || last.is_signed_by(anchor);
        let ends = self.anchors.iter().filter(above).map(Certificate::not_after).max();
        ends.unwrap_or_else(|| self.issuer_not_after())
    }

    /// When the issuer's certificate and its root end.
    pub fn ends(&self) -> Ends {
        Ends { root: self.root_not_after().into(), issuer: self.issuer_not_after().into() }
    }

    /// Trusts those of `roots`, too, that are valid at `now`: for the time in
    /// which certificates below them are still in use.
    #[must_use]
    pub fn also_trusting(mut self, roots: Vec<Certificate>, now: SystemTime) -> Self {
        for root in roots {
            let known = self.anchors.iter().any(|anchor| anchor.der() == root.der());
            if !known && root.is_self_signed() && root.is_valid_at(now) {
                self.anchors_pem.push_str(&root.to_pem());
                self.anchors.push(root);
            }
        }
        self
    }

    /// Certificates above a leaf, for a TLS server.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Certifies that `request.key` is `request.id`. Whether it is has been
    /// decided before.
    pub fn issue(&self, request: &WorkloadRequest<'_>) -> Result<Issued, CertificateError> {
        let usage = KeyUsage(FlagSet::from(KeyUsages::DigitalSignature));
        let purposes = ExtendedKeyUsage(vec![db::rfc5280::ID_KP_SERVER_AUTH, db::rfc5280::ID_KP_CLIENT_AUTH]);
        let mut names = Vec::with_capacity(request.dns_names.len() + 1);
        for name in request.dns_names {
            names.push(GeneralName::DnsName(Ia5String::new(name)?));
        }
        names.push(GeneralName::UniformResourceIdentifier(Ia5String::new(request.id.as_str())?));
        let mut extensions = vec![
            extension(KeyUsage::OID, true, &usage)?,
            extension(ExtendedKeyUsage::OID, false, &purposes)?,
        ];
        let issuer = &self.chain[0];
        extensions.extend(issuer.key_id().map(authority_key_id).transpose()?);
        // Critical because there is no subject (RFC 5280, 4.1.2.6).
        extensions.push(extension(SubjectAltName::OID, true, &SubjectAltName(names))?);
        let template = Template {
            subject: RdnSequence::default(),
            key: request.key,
            not_before: request.not_before,
            not_after: request.not_after,
            extensions,
        };
        let leaf = make(template, issuer.subject(), &self.key)?;
        let chain_pem = leaf.to_pem() + &self.chain_pem;
        Ok(Issued { leaf, chain_pem })
    }
}

pub(super) fn authority_extensions(usages: FlagSet<KeyUsages>) -> Result<Extensions, CertificateError> {
    let constraints = BasicConstraints { ca: true, path_len_constraint: None };
    Ok(vec![
        extension(KeyUsage::OID, true, &KeyUsage(usages))?,
        extension(BasicConstraints::OID, true, &constraints)?,
    ])
}

/// Self-signed certificates are left out, as TLS wants it.
fn chain_pem(chain: &[Certificate]) -> String {
    chain.iter().filter(|c| !c.is_self_signed()).map(Certificate::to_pem).collect()
}

/// `chain` is in order and not empty.
fn leads_to_anchor(
    chain: &[Certificate],
    anchors: &[Certificate],
    now: SystemTime,
) -> Result<(), BundleError> {
    const EXPIRED: &str = "x509: certificate has expired or is not yet valid";
    if chain.iter().any(|certificate| !certificate.is_valid_at(now)) {
        return Err(BundleError::Foreign(EXPIRED));
    }
    // The number of CA certificates below each, which it may limit.
    let too_long = |certificate: &Certificate, below: usize| {
        certificate.path_limit().is_some_and(|limit| usize::from(limit) < below)
    };
    if chain.iter().enumerate().any(|(below, certificate)| too_long(certificate, below)) {
        return Err(BundleError::Foreign("x509: too many intermediates for path length constraint"));
    }
    let last = &chain[chain.len() - 1];
    let mut expired = false;
    for anchor in anchors {
        let above =
            last.der() == anchor.der() || (last.is_issued_by_name_of(anchor) && last.is_signed_by(anchor));
        if above && !too_long(anchor, chain.len()) {
            if anchor.is_valid_at(now) {
                return Ok(());
            }
            expired = true;
        }
    }
    Err(BundleError::Foreign(if expired { EXPIRED } else { "x509: certificate signed by unknown authority" }))
}
