//! The identity of this program: certificate, key and tokens
//! (control-plane.md §4.2, §4.4).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::anchors::AnchorSet;
use crate::expiry::Ends;
use crate::jwt::{self, Token};
use crate::rotation::{Terms, Time, Validity};
use crate::rsa_key;
use crate::spiffe::SpiffeId;
use crate::x509::{self, Facts};

/// A key that was made for one request and never leaves the process but for
/// the identity directory. Its debug form tells nothing.
pub struct PrivateKey {
    pkcs8: PrivatePkcs8KeyDer<'static>,
    pem: String,
}

#[cfg(test)]
impl PrivateKey {
    pub(crate) fn pair(&self) -> rcgen::KeyPair {
        rcgen::KeyPair::from_pem(&self.pem).expect("it was made so")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// A certificate signing request in PEM, and the key it is for.
#[derive(Debug)]
pub struct Request {
    pub csr_pem: String,
    pub key: PrivateKey,
}

/// What key an identity is to have (control-plane.md §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    #[default]
    Ed25519,
    /// Of 2048 bits: for servers whose clients are no programs of Dapr, as the
    /// API server of Kubernetes that calls webhooks.
    Rsa,
}

impl Request {
    /// A fresh key; the subject is empty, for the authority decides who we
    /// are. For RSA it takes up to seconds, off the thread that asks.
    pub async fn new(algorithm: KeyAlgorithm) -> Result<Self, Error> {
        match algorithm {
            KeyAlgorithm::Ed25519 => Self::ed25519(),
            KeyAlgorithm::Rsa => {
                let made = tokio::task::spawn_blocking(Self::rsa).await;
                made.map_err(|e| Error::Key(e.to_string()))?
            }
        }
    }

    pub(crate) fn ed25519() -> Result<Self, Error> {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(failed).and_then(Self::with)
    }

    fn rsa() -> Result<Self, Error> {
        let der = rsa_key::generate().map_err(Error::Key)?;
        rcgen::KeyPair::try_from(&der).map_err(failed).and_then(Self::with)
    }

    fn with(pair: rcgen::KeyPair) -> Result<Self, Error> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let csr = params.serialize_request(&pair).map_err(failed)?;
        let key =
            PrivateKey { pkcs8: PrivatePkcs8KeyDer::from(pair.serialize_der()), pem: pair.serialize_pem() };
        Ok(Self { csr_pem: csr.pem().map_err(failed)?, key })
    }
}

fn failed(error: rcgen::Error) -> Error {
    Error::Key(error.to_string())
}

/// Why an identity cannot be made, or cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("failed to generate the private key or its signing request: {0}")]
    Key(String),
    #[error("error parsing newly signed certificate: {0}")]
    Certificate(String),
    #[error("no certificates received from sentry")]
    Empty,
    #[error("error parsing spiffe id from newly signed certificate: {0}")]
    Id(#[from] x509::Error),
    #[error("the newly signed certificate does not fit the private key: {0}")]
    Mismatch(String),
    #[error(transparent)]
    Jwt(#[from] jwt::Error),
}

/// What proves who we are. Immutable: a renewal makes a new one.
pub struct Identity {
    id: SpiffeId,
    certified: Arc<CertifiedKey>,
    validity: Validity,
    /// Name of the root, and when the certificates between it and the leaf
    /// end; `None` without any.
    root: Vec<u8>,
    issuers_end: Option<Time>,
    chain_pem: String,
    key: PrivateKey,
    token: Option<Token>,
    audience_tokens: HashMap<String, Token>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("id", &self.id)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// From the authority's answer: the chain in PEM, leaf first, for `key`.
    /// Its validity is not looked at: that is for those we show it to, and
    /// their clocks (control-plane.md §4.3).
    pub fn new(chain_pem: String, key: PrivateKey) -> Result<Self, Error> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .collect::<Result<_, PemError>>()
            .map_err(|e| Error::Certificate(e.to_string()))?;
        let facts = Facts::read(chain.first().ok_or(Error::Empty)?)?;
        let id = facts.spiffe_id()?;
        let mut root = facts.issuer;
        let mut issuers_end = None;
        for issuer in &chain[1..] {
            let issuer = Facts::read(issuer)?;
            let end = issuer.validity.not_after;
            issuers_end = Some(issuers_end.map_or(end, |earlier: Time| earlier.min(end)));
            root = issuer.issuer;
        }
        let signing = any_supported_type(&PrivateKeyDer::Pkcs8(key.pkcs8.clone_key()))
            .map_err(|e| Error::Key(e.to_string()))?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(e) => return Err(Error::Mismatch(e.to_string())),
        }
        Ok(Self {
            id,
            certified: Arc::new(certified),
            validity: facts.validity,
            root,
            issuers_end,
            chain_pem,
            key,
            token: None,
            audience_tokens: HashMap::new(),
        })
    }

    /// Adds the tokens that came with it. The one for all audiences must name
    /// our trust domain, and the others exactly the audience they are for.
    pub fn with_tokens(
        mut self,
        token: Option<String>,
        per_audience: HashMap<String, String>,
        now: Time,
    ) -> Result<Self, Error> {
        if let Some(text) = token.filter(|t| !t.is_empty()) {
            let token = Token::read(text, now)?;
            if token.audiences().is_empty() {
                return Err(jwt::Error::NoAudience.into());
            }
            let domain = self.id.trust_domain_str();
            if !token.is_for(domain) {
                return Err(jwt::Error::different(domain, token.audiences()).into());
            }
            self.token = Some(token);
        }
        for (audience, text) in per_audience {
            let token = Token::read(text, now)?;
            if token.audiences() != [audience.as_str()] {
                return Err(jwt::Error::Mismatch.into());
            }
            self.audience_tokens.insert(audience, token);
        }
        Ok(self)
    }

    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// When the certificates end that it stands on, with `anchors` as roots.
    pub fn ends(&self, anchors: &AnchorSet) -> Ends {
        let root = anchors.end_of(&self.root);
        Ends { root, issuer: self.issuers_end.unwrap_or(root) }
    }

    /// What its renewal depends on.
    pub fn terms(&self) -> Terms {
        Terms { validity: self.validity, token_expiry: self.token.as_ref().map(Token::expiry) }
    }

    /// Leaf first, without root.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// PKCS#8, for the identity directory only.
    pub(crate) fn key_pem(&self) -> &str {
        &self.key.pem
    }

    /// The token for all audiences.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// A token for `audience`: one of its own, or the common one if that names
    /// it.
    pub fn token_for(&self, audience: &str) -> Result<&Token, jwt::Error> {
        if audience.is_empty() {
            return Err(jwt::Error::AudienceRequired);
        }
        if let Some(token) = self.audience_tokens.get(audience) {
            return Ok(token);
        }
        let token = self.token.as_ref().ok_or(jwt::Error::NoToken)?;
        if token.is_for(audience) {
            Ok(token)
        } else {
            Err(jwt::Error::different(audience, token.audiences()))
        }
    }

    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

/// The identity in use; none until the first was issued. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct IdentityStore(Arc<ArcSwapOption<Identity>>);

impl IdentityStore {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn current(&self) -> Option<Arc<Identity>> {
        self.0.load_full()
    }

    pub fn replace(&self, identity: Identity) {
        self.0.store(Some(Arc::new(identity)));
    }
}
