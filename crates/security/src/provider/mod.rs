//! From options to an identity that renews itself (control-plane.md §4): the
//! shell around [`crate::rotation`].

mod anchor_file;
mod directory;
mod sentry;
mod shell;
#[cfg(test)]
mod tests;
mod token;

use std::path::PathBuf;
use std::sync::Arc;

use dapr_kernel::tasks::TaskGroup;
use dapr_transport::connect::Wrapper;
use dapr_transport::server::Securer;
use tokio::sync::watch;

use crate::anchors::{self, AnchorSet, TrustAnchors};
use crate::expiry::Ends;
use crate::identity::{Identity, IdentityStore, KeyAlgorithm};
use crate::mtls::{self, ClientAuth, Expect, Material};
use crate::rotation::Time;
use crate::spiffe::{self, SpiffeId, TrustDomain, control_plane};
use anchor_file::AnchorFile;
use sentry::Sentry;
use shell::Shell;
pub use token::TokenSource;

const SCOPE: &str = "dapr.runtime.security";

/// What the provider is built from.
#[derive(Clone, Debug)]
pub struct Options {
    pub app_id: String,
    /// Our own namespace; may be empty.
    pub namespace: String,
    /// Whether calls between applications are encrypted.
    pub mtls: bool,
    /// In Kubernetes an identity is had even without `mtls`: the control plane
    /// asks for it.
    pub kubernetes: bool,
    pub control_plane_trust_domain: String,
    pub control_plane_namespace: String,
    /// PEM text.
    pub trust_anchors: Option<String>,
    /// Followed when it changes; excludes `trust_anchors`.
    pub trust_anchors_file: Option<PathBuf>,
    /// `host:port`.
    pub sentry_address: String,
    /// What the authority is told instead of the app ID.
    pub sentry_identity: Option<String>,
    pub jwt_audiences: Vec<String>,
    pub key: KeyAlgorithm,
    pub token: TokenSource,
    /// Where the identity is written as files.
    pub identity_dir: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("control plane trust domain is required")]
    NoTrustDomain,
    #[error("invalid control plane trust domain: {0}")]
    TrustDomain(spiffe::Error),
    #[error("invalid control plane namespace '{namespace}': {source}")]
    Namespace { namespace: String, source: spiffe::Error },
    #[error("trust anchors are required: set DAPR_TRUST_ANCHORS or DAPR_TRUST_ANCHORS_FILE")]
    NoAnchors,
    #[error("trust anchors cannot be specified in both TrustAnchors and TrustAnchorsFile")]
    TwoAnchors,
    #[error(transparent)]
    Anchors(#[from] anchors::Error),
    #[error("{0}")]
    AnchorFile(String),
    #[error("the address of sentry is required: set --sentry-address")]
    NoSentry,
    #[error("failed to retrieve the initial identity: {0}")]
    Identity(String),
    #[error("stopped while waiting for the identity")]
    Stopped,
}

/// Is told what happens; for metrics. Reasons are `sentry_conn`,
/// `sentry_token`, `sign`, `invalid_ts`, `jwt_parse`, `jwt_aud`.
pub trait Observer: Send + Sync + 'static {
    fn initialized(&self) {}
    fn init_failed(&self, _reason: &str) {}
    fn rotated(&self) {}
    fn rotation_failed(&self, _reason: &str) {}
    /// The identity in use and what it stands on: once there is one, and when
    /// it or the trust anchors changed.
    fn certificates(&self, _workload: Time, _ends: Ends) {}
}

/// Observes nothing.
impl Observer for () {}

enum Anchors {
    Text(AnchorSet),
    File(PathBuf),
}

/// Checked options.
pub struct Provider {
    options: Options,
    trust_domain: TrustDomain,
    /// `None`: there is to be no identity. Otherwise where the anchors are,
    /// and who the authority is.
    anchors: Option<(Anchors, SpiffeId)>,
}

impl Provider {
    pub fn new(options: Options) -> Result<Self, Error> {
        if options.control_plane_trust_domain.is_empty() {
            return Err(Error::NoTrustDomain);
        }
        let trust_domain =
            TrustDomain::parse(&options.control_plane_trust_domain).map_err(Error::TrustDomain)?;
        if !options.mtls && !options.kubernetes {
            return Ok(Self { options, trust_domain, anchors: None });
        }
        let text = options.trust_anchors.as_deref().filter(|t| !t.is_empty());
        let anchors = match (text, &options.trust_anchors_file) {
            (Some(_), Some(_)) => return Err(Error::TwoAnchors),
            (None, None) => return Err(Error::NoAnchors),
            (Some(text), None) => Anchors::Text(AnchorSet::parse(text)?),
            (None, Some(file)) => Anchors::File(file.clone()),
        };
        if options.sentry_address.is_empty() {
            return Err(Error::NoSentry);
        }
        let namespace = &options.control_plane_namespace;
        let sentry = SpiffeId::new(&trust_domain, namespace, control_plane::SENTRY)
            .map_err(|source| Error::Namespace { namespace: namespace.clone(), source })?;
        Ok(Self { options, trust_domain, anchors: Some((anchors, sentry)) })
    }

    /// Waits for the first identity, for as long as the authority is away, and
    /// leaves its renewal to `tasks`. Without mTLS returns at once.
    pub async fn start(self, tasks: &TaskGroup, observer: Arc<dyn Observer>) -> Result<Security, Error> {
        let shutdown = tasks.shutdown().clone();
        shutdown.guard(self.obtain(tasks, observer)).await.unwrap_or(Err(Error::Stopped))
    }

    async fn obtain(self, tasks: &TaskGroup, observer: Arc<dyn Observer>) -> Result<Security, Error> {
        let (changed, changes) = watch::channel(());
        let Some((source, sentry_id)) = self.anchors else {
            tracing::warn!(
                target: SCOPE,
                "mTLS is disabled. Skipping certificate request and tls validation"
            );
            return Ok(Security::new(false, None, self.trust_domain, self.options, changes));
        };
        let anchors = match source {
            Anchors::Text(set) => TrustAnchors::new(set),
            Anchors::File(path) => {
                let mut file = AnchorFile::new(path);
                let anchors = TrustAnchors::new(file.first().await.map_err(Error::AnchorFile)?);
                tasks.spawn_until_shutdown("trust anchors", file.follow(anchors.clone(), changed));
                anchors
            }
        };
        let options = &self.options;
        let material = Material::new(IdentityStore::new(), anchors);
        let own = options.control_plane_namespace == options.namespace
            && control_plane::is_service(&options.app_id);
        let sentry = Sentry {
            address: options.sentry_address.clone(),
            config: mtls::client_config(&material, Expect::Id(sentry_id), false),
            id: options.sentry_identity.clone().unwrap_or_else(|| options.app_id.clone()),
            namespace: options.namespace.clone(),
            trust_domain: if own { self.trust_domain.to_string() } else { String::new() },
            audiences: options.jwt_audiences.clone(),
            key: options.key,
            token: options.token.clone(),
            tasks: tasks.clone(),
        };
        let shell = Shell::new(Arc::new(sentry), material.clone(), observer, changes.clone(), options);
        let shell = shell.until_ready().await?;
        tasks.spawn_until_shutdown("identity", shell.run());
        Ok(Security::new(options.mtls, Some(material), self.trust_domain, self.options, changes))
    }
}

/// The handle: identity, anchors and what TLS is made of. Cloning shares it.
#[derive(Clone)]
pub struct Security(Arc<Inner>);

struct Inner {
    mtls: bool,
    /// `None` without any identity.
    material: Option<Material>,
    trust_domain: TrustDomain,
    namespace: String,
    changes: watch::Receiver<()>,
}

impl Security {
    fn new(
        mtls: bool,
        material: Option<Material>,
        trust_domain: TrustDomain,
        options: Options,
        changes: watch::Receiver<()>,
    ) -> Self {
        let namespace = options.control_plane_namespace;
        Self(Arc::new(Inner { mtls, material, trust_domain, namespace, changes }))
    }

    /// Whether calls between applications are encrypted.
    pub fn mtls(&self) -> bool {
        self.0.mtls
    }

    /// Who we are now; `None` without any identity.
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.0.material.as_ref()?.identity.current()
    }

    /// The identity that follows renewals.
    pub fn identity_store(&self) -> Option<&IdentityStore> {
        self.0.material.as_ref().map(|m| &m.identity)
    }

    pub fn trust_anchors(&self) -> Option<Arc<AnchorSet>> {
        self.0.material.as_ref().map(|m| m.anchors.current())
    }

    /// Changes whenever the trust anchors do.
    pub fn anchor_changes(&self) -> watch::Receiver<()> {
        self.0.changes.clone()
    }

    pub fn control_plane_trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    pub fn control_plane_namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The identity of a service of the control plane, such as
    /// [`control_plane::PLACEMENT`].
    pub fn control_plane_id(&self, service: &str) -> Result<SpiffeId, spiffe::Error> {
        SpiffeId::new(&self.0.trust_domain, &self.0.namespace, service)
    }

    /// For a gRPC server: every client has to prove who it is, see
    /// [`mtls::PeerIdentity`]. `None`: plaintext, as mTLS is off.
    pub fn server(&self) -> Option<Securer> {
        let material = self.0.material.as_ref().filter(|_| self.0.mtls)?;
        Some(mtls::securer(mtls::server_config(material, ClientAuth::Required)))
    }

    /// For a server whose clients have no identity. `None` without one of our
    /// own.
    pub fn server_without_client_auth(&self) -> Option<Securer> {
        let material = self.0.material.as_ref()?;
        Some(mtls::securer(mtls::server_config(material, ClientAuth::None)))
    }

    /// For a client of exactly `id`, such as a service of the control plane.
    /// Plaintext only without any identity: in Kubernetes the control plane is
    /// reached over TLS even if mTLS is off.
    pub fn client_of(&self, id: SpiffeId, host: &str) -> Option<Wrapper> {
        let material = self.0.material.as_ref()?;
        Some(mtls::wrapper(mtls::client_config(material, Expect::Id(id), true), host))
    }

    /// For a client of an application, whose trust domain we do not know.
    /// `None`: plaintext, as mTLS is off.
    pub fn client_of_app(&self, namespace: &str, app_id: &str, host: &str) -> Option<Wrapper> {
        let material = self.0.material.as_ref().filter(|_| self.0.mtls)?;
        let expect = Expect::App { namespace: namespace.to_owned(), app_id: app_id.to_owned() };
        Some(mtls::wrapper(mtls::client_config(material, expect, true), host))
    }
}
