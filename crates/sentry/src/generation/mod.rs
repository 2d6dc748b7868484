//! One life of the authority: from its files to its servers. A change of the
//! files ends it and begins the next in the same process.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dapr_kernel::Shutdown;
use dapr_kernel::health::{Health, Target};
use dapr_kernel::tasks::TaskGroup;
use dapr_kubernetes::Client;
use dapr_security::ca::{Serving, SigningKey};
use dapr_security::expiry::{self, Reminder};
use dapr_transport::listen::{self, BIND_PATIENCE};
use dapr_transport::server::{self, Protocol, Service};
use tokio::sync::{mpsc, watch};

use crate::authority::{Authority, Subject, own_id};
use crate::config::Config;
use crate::core::{ValidatorKind, renewal};
use crate::metrics::Metrics;
use crate::options::{Mode, Oidc, Options};
use crate::server::{CaApi, CaOptions, HealthApi, MetricsApi, OidcApi};
use crate::store::Store;
use crate::validator::{JwksOptions, JwksValidator, KubernetesValidator, Validator, Validators};
use crate::watch::Fingerprint;
use crate::{SCOPE, cluster_domain};

/// Time for requests in flight at a stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How often missing certificate files of the OIDC server are looked for.
const FILE_POLL: Duration = Duration::from_secs(5);
/// Pause after the serving certificate could not be renewed.
const RENEWAL_RETRY: Duration = Duration::from_secs(10);
/// From readiness until the code that only the start needed is given back.
const SETTLING: Duration = Duration::from_secs(1);
/// Failures that end a generation; one is enough.
const FAILURES: usize = 4;
/// HTTP/2 header list that gRPC accepts, in bytes.
const HEADER_LIST: u32 = 1 << 20;

/// What a generation is built from, the same for all of them.
pub struct Plan {
    pub options: Options,
    pub config: Config,
    /// In Kubernetes mode.
    pub client: Option<Client>,
    pub metrics: Metrics,
}

/// What the files held that a generation is made of; `None` until it has read
/// them.
pub type Loaded = watch::Sender<Option<Fingerprint>>;

/// Runs until `stop` is given or something that is needed fails; the error is
/// the text of a fatal line.
pub async fn run(plan: &Plan, stop: Shutdown, loaded: &Loaded) -> Result<(), String> {
    let tasks = TaskGroup::new(Shutdown::new());
    let (failures, mut failed) = mpsc::channel(FAILURES);
    let result = match stop.guard(start(plan, &tasks, &failures, loaded)).await {
        None => Ok(()),
        Some(Err(error)) => Err(error),
        Some(Ok(serving)) => {
            let result = tokio::select! {
                () = stop.wait() => Ok(()),
                Some(error) = failed.recv() => Err(format!("error running Sentry: {error}")),
            };
            serving.not_ready();
            tracing::info!(target: "dapr.sentry.server", "Shutting down gRPC server");
            result
        }
    };
    tasks.stop(DRAIN + Duration::from_secs(1)).await;
    result
}

/// The target that says whether certificates are signed.
async fn start(
    plan: &Plan,
    tasks: &TaskGroup,
    failures: &mpsc::Sender<String>,
    loaded: &Loaded,
) -> Result<Target, String> {
    let options = &plan.options;
    let health = Health::new();
    let serving_target = health.add_target("sentry-server");
    serving_target.not_ready();
    let mut validators = Validators::default();
    build_validators(plan, &health, tasks, failures, &mut validators)?;

    let store = store(plan);
    let mut known = Fingerprint::of(options.watched_files());
    let authority = Authority::open(options, &plan.config, &store, &plan.metrics, &mut known).await;
    let authority = Arc::new(authority.map_err(|e| format!("error creating CA: {e}"))?);
    loaded.send_replace(Some(known));
    tracing::info!(target: SCOPE, "CA certificate key pair ready");
    remind_of_expiry(&authority, tasks);
    check_user(options).map_err(|e| format!("error creating security: {e}"))?;

    let certificate = Serving::default();
    let renew_at = certify_self(&authority, &certificate, &plan.metrics)?;
    keep_certified(renew_at, authority.clone(), certificate.clone(), plan.metrics.clone(), tasks);
    let tld = cluster_domain(options).await;
    start_oidc(options, &authority, &health, tasks, failures)?;
    start_plain(plan, &health, tasks).await?;

    for kind in validators.kinds() {
        tracing::info!(target: SCOPE, "Using validator '{}'", kind.as_str());
    }
    let api = CaApi::new(CaOptions {
        authority,
        validators,
        default_validator: plan.config.default_validator,
        metrics: plan.metrics.clone(),
        tld,
    });
    let listener = listen::bind(&options.listen_address, options.port, BIND_PATIENCE)
        .await
        .map_err(|e| format!("could not listen on port {}: {e}", options.port))?;
    let tls = certificate.securer(&[b"h2"]).map_err(|e| e.to_string())?;
    let settings =
        server::Options { tls: Some(tls), drain: Some(DRAIN), ..server::Options::grpc(HEADER_LIST) };
    tracing::info!(target: "dapr.sentry.server", "Running gRPC server on port {}", options.port);
    tasks.spawn("certificate authority", server::serve(listener, Arc::new(api), settings, tasks.clone()));
    serving_target.ready();
    tasks.spawn_until_shutdown("footprint", async {
        tokio::time::sleep(SETTLING).await;
        dapr_footprint::release_start();
    });
    Ok(serving_target)
}

fn store(plan: &Plan) -> Store {
    let files = plan.options.files.clone();
    match &plan.client {
        Some(client) => {
            tracing::info!(target: "dapr.sentry.ca", "Using kubernetes secret store for trust bundle storage");
            let namespace = plan.options.environment.namespace().to_owned();
            Store::Cluster { client: client.clone(), namespace, files }
        }
        None => {
            tracing::info!(target: "dapr.sentry.ca", "Using local file system for trust bundle storage");
            Store::Files(files)
        }
    }
}

fn build_validators(
    plan: &Plan,
    health: &Health,
    tasks: &TaskGroup,
    failures: &mpsc::Sender<String>,
    validators: &mut Validators,
) -> Result<(), String> {
    let own = own_id(&plan.options).map_err(|e| format!("invalid trust domain: {e}"))?;
    for (kind, options) in &plan.config.validators {
        let validator = match (kind, &plan.client) {
            (ValidatorKind::Insecure, _) => {
                tracing::info!(target: SCOPE, "Adding validator 'insecure'");
                Validator::Insecure
            }
            (ValidatorKind::Jwks, _) => {
                tracing::info!(target: SCOPE, "Adding validator 'jwks' with Sentry ID: {own}");
                let target = health.add_target("sentry-jwks-validator");
                let (validator, keeper) = JwksValidator::new(JwksOptions::parse(options)?, &own, target);
                let (group, failures) = (tasks.clone(), failures.clone());
                tasks.spawn_until_shutdown("jwks validator", async move {
                    if let Err(error) = keeper.run(group).await {
                        // A full channel already holds a reason to stop.
                        let _ = failures.try_send(error);
                    }
                });
                Validator::Jwks(validator)
            }
            (ValidatorKind::Kubernetes, Some(client)) => {
                tracing::info!(target: SCOPE, "Adding validator 'kubernetes' with Sentry ID: {own}");
                let target = health.add_target("sentry-kubernetes-validator");
                Validator::Kubernetes(KubernetesValidator::start(client.clone(), own.clone(), target, tasks))
            }
            (ValidatorKind::Kubernetes, None) => return Err("invalid validators".to_owned()),
        };
        validators.insert(*kind, validator);
    }
    Ok(())
}

/// Nothing of Dapr runs as root in a cluster, unless told to.
fn check_user(options: &Options) -> Result<(), String> {
    if options.mode != Mode::Kubernetes {
        return Ok(());
    }
    if options.environment.skip_user_check {
        tracing::warn!(target: SCOPE, "Skipping container UID/GID check due to env override.");
        return Ok(());
    }
    let user = nix::unistd::geteuid();
    if user.is_root() {
        return Err("current user UID(0) is root. Dapr must be run as a non-root user in Kubernetes environments. To override this check, set the environment variable 'DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK=true'".to_owned());
    }
    tracing::info!(target: SCOPE, "Running in Kubernetes environment as user {user}");
    Ok(())
}

async fn cluster_domain(options: &Options) -> String {
    let fallback = options.trust_domain.clone();
    if options.mode != Mode::Kubernetes {
        return fallback;
    }
    cluster_domain::find().await.unwrap_or_else(|error| {
        tracing::error!(
            target: SCOPE,
            "Error getting Kubernetes cluster domain, falling back to {fallback:?}: {error}"
        );
        fallback
    })
}

/// When a certificate was issued, and what its renewal depends on.
#[derive(Clone, Copy)]
struct Validity {
    issued: SystemTime,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// The authority's own certificate, with a fresh key, is used from now on.
fn certify_self(authority: &Authority, serving: &Serving, metrics: &Metrics) -> Result<Validity, String> {
    let now = SystemTime::now();
    let issue = || -> Result<Validity, String> {
        let (key, _) = SigningKey::generate_ed25519().map_err(|e| e.to_string())?;
        let subject = Subject { key: key.public(), id: authority.id(), dns_names: &[] };
        let leaf = authority.certify(subject, now).map_err(|e| e.to_string())?.leaf;
        let validity = Validity { issued: now, not_before: leaf.not_before(), not_after: leaf.not_after() };
        let mut chain = vec![leaf];
        chain.extend_from_slice(authority.chain());
        serving.set(&chain, &key).map_err(|e| e.to_string())?;
        Ok(validity)
    };
    issue().map_err(|e| {
        metrics.serving_certificate_failed();
        format!("error creating security: {e}")
    })
}

fn keep_certified(
    mut validity: Validity,
    authority: Arc<Authority>,
    serving: Serving,
    metrics: Metrics,
    tasks: &TaskGroup,
) {
    tasks.spawn_until_shutdown("serving certificate", async move {
        loop {
            let Validity { issued, not_before, not_after } = validity;
            if let Some(pause) = renewal(not_before, not_after, issued, SystemTime::now()) {
                tokio::time::sleep(pause).await;
                continue;
            }
            match certify_self(&authority, &serving, &metrics) {
                Ok(next) => validity = next,
                Err(error) => {
                    tracing::error!(target: SCOPE, "Error renewing the serving certificate: {error}");
                    tokio::time::sleep(RENEWAL_RETRY).await;
                }
            }
        }
    });
}

/// A line a day in the log while the issuer or its root are about to end.
fn remind_of_expiry(authority: &Authority, tasks: &TaskGroup) {
    let ends = authority.ends();
    tasks.spawn_until_shutdown("certificate expiry", async move {
        let mut reminder = Reminder::default();
        loop {
            for line in reminder.due(SystemTime::now().into(), ends) {
                tracing::warn!(target: "dapr.sentry.ca", "{line}");
            }
            tokio::time::sleep(expiry::LOOK).await;
        }
    });
}

/// Health and metrics, on all interfaces whatever the flags say
/// (control-plane.md §13.29).
async fn start_plain(plan: &Plan, health: &Health, tasks: &TaskGroup) -> Result<(), String> {
    let port = plan.options.healthz_port;
    let listener = listen::bind("", port, BIND_PATIENCE).await.map_err(|e| e.to_string())?;
    tracing::info!(target: SCOPE, "Healthz server is listening on [::]:{port}");
    serve_plain(listener, HealthApi(health.clone()), tasks);
    let target = health.add_target("metrics-exporter");
    if let Some(port) = plan.options.metrics_port {
        let listener = listen::bind("", port, BIND_PATIENCE)
            .await
            .map_err(|e| format!("failed to listen on :{port}: {e}"))?;
        tracing::info!(target: SCOPE, "metrics server started on :{port}/");
        serve_plain(listener, MetricsApi(plan.metrics.clone()), tasks);
    }
    target.ready();
    Ok(())
}

fn serve_plain<S: Service>(listener: listen::Listener, service: S, tasks: &TaskGroup) {
    let settings = server::Options { drain: Some(DRAIN), ..server::Options::http(Protocol::Http1Only) };
    tasks.spawn("server", server::serve(listener, Arc::new(service), settings, tasks.clone()));
}

fn start_oidc(
    options: &Options,
    authority: &Authority,
    health: &Health,
    tasks: &TaskGroup,
    failures: &mpsc::Sender<String>,
) -> Result<(), String> {
    let (Some(oidc), Some((jwks, algorithm))) = (&options.oidc, authority.key_set()) else {
        tracing::info!(target: SCOPE, "OIDC HTTP server is disabled");
        return Ok(());
    };
    tracing::info!(target: SCOPE, "Starting OIDC HTTP server on port {}", oidc.port);
    let issuer = options.jwt.issuer.as_deref();
    let api = OidcApi::new(oidc, jwks, algorithm.as_str(), issuer)
        .map_err(|e| format!("error creating OIDC server: failed to create OIDC server: {e}"))?;
    let target = health.add_target("oidc-server");
    target.not_ready();
    let (oidc, group, failures) = (oidc.clone(), tasks.clone(), failures.clone());
    tasks.spawn_until_shutdown("oidc start", async move {
        if let Err(error) = serve_oidc(&oidc, api, &target, &group).await {
            // A full channel already holds a reason to stop.
            let _ = failures.try_send(error);
        }
    });
    Ok(())
}

async fn serve_oidc(oidc: &Oidc, api: OidcApi, target: &Target, tasks: &TaskGroup) -> Result<(), String> {
    const SCOPE: &str = "dapr.sentry.server.oidc.http";
    let address = format!("{}:{}", oidc.listen_address, oidc.port);
    let tls = match &oidc.tls {
        None => {
            tracing::info!(target: SCOPE, "Starting OIDC HTTP server (insecure) on {address}");
            None
        }
        Some((cert, key)) => {
            let (chain, private) = (awaited(cert).await?, awaited(key).await?);
            let serving = Serving::default();
            let fail = |e| format!("failed to load TLS certificate and key: {e}");
            serving.set_pem(&chain, &private).map_err(fail)?;
            let tls = serving.securer(&[b"h2", b"http/1.1"]).map_err(fail)?;
            tracing::info!(target: SCOPE, "Starting OIDC HTTP server on {address}");
            Some(tls)
        }
    };
    let listener = listen::bind(&oidc.listen_address, oidc.port, BIND_PATIENCE)
        .await
        .map_err(|e| format!("failed to listen on {address}: {e}"))?;
    let settings = server::Options { tls, drain: Some(DRAIN), ..server::Options::http(Protocol::Http) };
    tasks.spawn("oidc", server::serve(listener, Arc::new(api), settings, tasks.clone()));
    target.ready();
    Ok(())
}

/// The content of a file, once it is there.
async fn awaited(path: &Path) -> Result<Vec<u8>, String> {
    loop {
        match tokio::fs::read(path).await {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                tracing::warn!(
                    target: "dapr.sentry.server.oidc.http",
                    "Waiting for TLS certificate and key files to be available: {}", path.display()
                );
                tokio::time::sleep(FILE_POLL).await;
            }
            other => {
                return other
                    .map_err(|e| format!("failed to load TLS certificate and key: {}: {e}", path.display()));
            }
        }
    }
}
