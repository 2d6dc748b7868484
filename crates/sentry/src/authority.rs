//! The authority: its keys and what it issues (control-plane.md §3.3, §3.5).

use std::time::{Duration, SystemTime};

use dapr_security::ca::jwt::Signer;
use dapr_security::ca::{
    Bundle, CA_TTL, CertificateError, Issued, JwsAlgorithm, KeyError, PublicKey, SigningKey, WorkloadRequest,
    jwk, random_hex,
};
use dapr_security::expiry::Ends;
use dapr_security::spiffe::{SpiffeId, TrustDomain, control_plane};
use serde_json::json;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::options::{Jwt, Options};
use crate::store::{JwtMaterial, Store, StoreError};
use crate::watch::Fingerprint;

const SCOPE: &str = "dapr.sentry.ca";
/// Random bytes in the ID of a token.
const TOKEN_ID_BYTES: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("failed to get CA bundle: {0}")]
    Load(StoreError),
    #[error("failed to generate CA bundle: {0}")]
    Generate(CertificateError),
    #[error("failed to generate JWT bundle: {0}")]
    GenerateJwt(KeyError),
    #[error("failed to store CA bundle: {0}")]
    Save(StoreError),
    #[error("invalid trust domain: {0}")]
    TrustDomain(#[from] dapr_security::spiffe::Error),
    #[error("JWT signing algorithm required")]
    NoAlgorithm,
    #[error("JWT signing key is incompatible with algorithm {algorithm}: {reason}")]
    Algorithm { algorithm: String, reason: String },
}

/// Who is to get a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub key: &'a PublicKey,
    pub id: &'a SpiffeId,
    pub dns_names: &'a [String],
}

/// Issues certificates and tokens.
#[derive(Debug)]
pub struct Authority {
    bundle: Bundle,
    id: SpiffeId,
    workload_ttl: Duration,
    clock_skew: Duration,
    tokens: Option<Tokens>,
}

#[derive(Debug)]
struct Tokens {
    signer: Signer,
    issuer: Option<String>,
    ttl: Duration,
    jwks: String,
}

/// The identity of the authority itself.
pub fn own_id(options: &Options) -> Result<SpiffeId, dapr_security::spiffe::Error> {
    let domain = TrustDomain::parse(&options.trust_domain)?;
    SpiffeId::new(&domain, options.environment.namespace(), control_plane::SENTRY)
}

impl Authority {
    /// Takes what is stored; what is missing is made and stored. `known` is what
    /// the files held before, and holds what they do then.
    pub async fn open(
        options: &Options,
        config: &Config,
        store: &Store,
        metrics: &Metrics,
        known: &mut Fingerprint,
    ) -> Result<Self, AuthorityError> {
        let now = SystemTime::now();
        let id = own_id(options)?;
        let stored = store.load(options.jwt.key_id.as_deref(), now).await.map_err(AuthorityError::Load)?;
        let mut made = false;
        let bundle = match stored.x509 {
            Some(bundle) => bundle,
            None => {
                tracing::info!(target: SCOPE, "Root and issuer certs not found: generating self signed CA");
                tracing::info!(target: SCOPE, "Generating self-signed CA certs and persisting to store");
                made = true;
                Bundle::generate(&options.trust_domain, &id, earlier(now, config.clock_skew), now + CA_TTL)
                    .map_err(AuthorityError::Generate)?
            }
        };
        // A generated key fits one algorithm, whatever was asked for.
        let mut algorithm = options.jwt.algorithm.clone();
        let jwt = match stored.jwt {
            None if options.jwt.enabled => {
                tracing::info!(target: SCOPE, "Generating JWT signing key and persisting to store");
                made = true;
                algorithm = JwsAlgorithm::Rs256.to_string();
                Some(generate_jwt().await.map_err(AuthorityError::GenerateJwt)?)
            }
            stored => stored,
        };
        if made {
            let jwt = jwt.as_ref().filter(|_| options.jwt.enabled);
            store.save(&bundle, jwt, known).await.map_err(AuthorityError::Save)?;
            tracing::info!(target: SCOPE, "Self-signed certs and JWT root key generated and persisted successfully");
            metrics.issuer_changed();
        } else {
            tracing::info!(target: SCOPE, "Root and issuer certs found: using credentials from store");
        }
        metrics.certificates_end(bundle.ends());
        let tokens = match jwt {
            Some(material) if options.jwt.enabled => Some(Tokens::new(material, &options.jwt, &algorithm)?),
            _ => None,
        };
        Ok(Self { bundle, id, workload_ttl: config.workload_ttl, clock_skew: config.clock_skew, tokens })
    }

    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// When the issuer and its root end.
    pub fn ends(&self) -> Ends {
        self.bundle.ends()
    }

    pub fn anchors_pem(&self) -> &str {
        self.bundle.anchors_pem()
    }

    /// Certificates above those that are issued, for the authority's own TLS.
    pub fn chain(&self) -> &[dapr_security::ca::Certificate] {
        self.bundle.chain()
    }

    /// Certifies `subject`. Whether it may have that has been decided before.
    pub fn certify(&self, subject: Subject<'_>, now: SystemTime) -> Result<Issued, CertificateError> {
        self.bundle.issue(&WorkloadRequest {
            key: subject.key,
            id: subject.id,
            dns_names: subject.dns_names,
            not_before: earlier(now, self.clock_skew),
            not_after: now + self.workload_ttl,
        })
    }

    /// Whether tokens are issued.
    pub fn issues_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// A token for `id`; `None` when none are issued.
    pub fn token(
        &self,
        id: &SpiffeId,
        audiences: &[&str],
        now: SystemTime,
    ) -> Result<Option<String>, KeyError> {
        self.tokens.as_ref().map(|tokens| tokens.sign(id, audiences, self.clock_skew, now)).transpose()
    }

    /// The key set and the algorithm of tokens.
    pub fn key_set(&self) -> Option<(&str, JwsAlgorithm)> {
        self.tokens.as_ref().map(|tokens| (tokens.jwks.as_str(), tokens.signer.algorithm()))
    }
}

fn earlier(at: SystemTime, by: Duration) -> SystemTime {
    at.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// In a thread of its own: finding primes takes a while.
async fn generate_jwt() -> Result<JwtMaterial, KeyError> {
    let made = tokio::task::spawn_blocking(SigningKey::generate_rsa).await;
    let (key, key_pem) = made.map_err(|e| KeyError::Generate(e.to_string()))??;
    let jwks = jwk::set_of(key.public(), JwsAlgorithm::Rs256);
    Ok(JwtMaterial { key, key_pem, jwks })
}

impl Tokens {
    fn new(material: JwtMaterial, options: &Jwt, algorithm: &str) -> Result<Self, AuthorityError> {
        tracing::info!(target: SCOPE, "JWT issuing enabled");
        if algorithm.is_empty() {
            return Err(AuthorityError::NoAlgorithm);
        }
        let refused = |reason| AuthorityError::Algorithm { algorithm: algorithm.to_owned(), reason };
        let key_id = match &options.key_id {
            Some(given) => {
                tracing::info!(target: SCOPE, "Using JWT kid from configuration: {given}");
                given.clone()
            }
            None => {
                let thumbprint = jwk::thumbprint(material.key.public());
                tracing::info!(
                    target: SCOPE,
                    "Using JWT kid from thumbprint: {thumbprint}, please ensure this aligns with your JWKS"
                );
                thumbprint
            }
        };
        let parsed = algorithm.parse().map_err(refused)?;
        let signer = Signer::new(material.key, parsed, &key_id).map_err(refused)?;
        Ok(Self { signer, issuer: options.issuer.clone(), ttl: options.ttl, jwks: material.jwks })
    }

    fn sign(
        &self,
        id: &SpiffeId,
        audiences: &[&str],
        skew: Duration,
        now: SystemTime,
    ) -> Result<String, KeyError> {
        let seconds =
            |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut claims = json!({
            "jti": random_hex(TOKEN_ID_BYTES),
            "sub": id.as_str(),
            "iat": seconds(now),
            "nbf": seconds(earlier(now, skew)),
            "exp": seconds(now + self.ttl),
            "aud": audiences,
            // Azure wants it.
            "use": "sig",
        });
        if let Some(issuer) = &self.issuer {
            claims["iss"] = issuer.as_str().into();
        }
        self.signer.sign(&claims)
    }
}
