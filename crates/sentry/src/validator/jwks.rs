//! Tokens that are signed by a key of a known set (control-plane.md §3.4).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use dapr_gocompat::duration::parse_duration_or_seconds;
use dapr_kernel::health::Target;
use dapr_kernel::tasks::TaskGroup;
use dapr_security::ca::jwk::JwkSet;
use dapr_security::ca::jwt::{self, Expected};
use dapr_security::spiffe::{SpiffeId, TrustDomain};
use dapr_security::tls::ClientTls;
use tokio::sync::watch;

use super::fetch;
use crate::config::ValidatorOptions;
use crate::core::{SignRequest, check};
use crate::watch::FileWatch;

const SCOPE: &str = "dapr.sentry.identity.jwks";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const REFRESH: Duration = Duration::from_secs(600);
/// By how much the clocks of issuer and authority may differ.
const SKEW: Duration = Duration::from_secs(300);
/// Shortest settings that count.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

/// Where the keys come from.
#[derive(Clone, Debug)]
pub struct JwksOptions {
    source: String,
    tls: ClientTls,
    refresh: Duration,
    timeout: Duration,
}

impl JwksOptions {
    /// Names are matched in any case.
    pub fn parse(options: &ValidatorOptions) -> Result<Self, String> {
        let get = |name: &str| {
            let found = options.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let duration = |name: &str, default: Duration, shortest: Duration| match get(name) {
            "" => Ok(default),
            text => parse_duration_or_seconds(text)
                .map(|given| if given > shortest { given } else { default })
                .map_err(|e| format!("failed to decode validator options: {name}: {e}")),
        };
        let ca = Some(get("caCertificate")).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self {
            source: get("source").to_owned(),
            tls: ClientTls { root_ca_pem: ca, ..ClientTls::default() },
            refresh: duration("minRefreshInterval", REFRESH, SHORTEST_REFRESH)?,
            timeout: duration("requestTimeout", REQUEST_TIMEOUT, SHORTEST_TIMEOUT)?,
        })
    }
}

#[derive(Debug)]
pub struct JwksValidator {
    /// What tokens must be for.
    audience: String,
    keys: Keys,
    ready: watch::Receiver<bool>,
}

type Keys = Arc<ArcSwapOption<JwkSet>>;

/// Keeps the keys of a [`JwksValidator`] current.
pub struct JwksKeeper {
    options: JwksOptions,
    keys: Keys,
    ready: watch::Sender<bool>,
    health: Target,
}

impl JwksValidator {
    pub fn new(options: JwksOptions, audience: &SpiffeId, health: Target) -> (Self, JwksKeeper) {
        let keys = Keys::default();
        let (sender, ready) = watch::channel(false);
        health.not_ready();
        let keeper = JwksKeeper { options, keys: keys.clone(), ready: sender, health };
        (Self { audience: audience.to_string(), keys, ready }, keeper)
    }

    pub async fn validate(&self, request: &SignRequest) -> Result<TrustDomain, String> {
        if request.token.is_empty() {
            return Err("the request does not contain a token".to_owned());
        }
        let mut ready = self.ready.clone();
        if ready.wait_for(|ready| *ready).await.is_err() {
            return Err("jwks validator not ready".to_owned());
        }
        let keys = self.keys.load_full().ok_or("jwks validator not ready")?;
        let domain = check(request)?;
        let subject = SpiffeId::new(&domain, &request.namespace, &request.id)
            .map_err(|e| format!("failed to construct SPIFFE ID for requestor: {e}"))?;
        let expected = Expected {
            audience: &self.audience,
            subject: subject.as_str(),
            now: SystemTime::now(),
            skew: SKEW,
        };
        jwt::verify(&request.token, &keys, &expected)
            .map(|()| domain)
            .map_err(|e| format!("token validation failed: {e}"))
    }
}

impl JwksKeeper {
    /// Loads the keys, which must succeed once, then follows their source. Runs
    /// until it is dropped, or fails at the start.
    pub async fn run(self, tasks: TaskGroup) -> Result<(), String> {
        let fail = |e: String| format!("failed to init cache: {e}");
        let source = self.options.source.clone();
        if source.is_empty() {
            return Err(fail("property 'location' must not be empty".to_owned()));
        }
        if source.starts_with("http://") || source.starts_with("https://") {
            if source.starts_with("http://") {
                tracing::warn!(
                    target: SCOPE,
                    "Loading JWK from an HTTP endpoint without TLS: this is not recommended on production environments."
                );
            }
            return self.follow_url(&source, &tasks).await.map_err(fail);
        }
        if Path::new(&source).is_file() {
            return self.follow_file(source.into()).await.map_err(fail);
        }
        let decoded = STANDARD_NO_PAD.decode(source.trim_end_matches('='));
        let json = decoded.unwrap_or_else(|_| source.into_bytes());
        let keys = JwkSet::parse(&json).map_err(|_| {
            fail("failed to parse property 'location': not a URL, path to local file, or JSON value (optionally base64-encoded)".to_owned())
        })?;
        self.publish(keys);
        std::future::pending().await
    }

    fn publish(&self, keys: JwkSet) {
        self.keys.store(Some(Arc::new(keys)));
        self.ready.send_replace(true);
        self.health.ready();
    }

    async fn follow_url(&self, url: &str, tasks: &TaskGroup) -> Result<(), String> {
        let (keys, mut pause) =
            self.fetch(url, tasks).await.map_err(|e| format!("failed to fetch JWKS: {e}"))?;
        self.publish(keys);
        loop {
            tokio::time::sleep(pause).await;
            match self.fetch(url, tasks).await {
                Ok((keys, next)) => {
                    self.publish(keys);
                    pause = next;
                }
                Err(error) => {
                    tracing::warn!(target: SCOPE, "Error while refreshing JWKS cache: {error}");
                    pause = self.options.refresh;
                }
            }
        }
    }

    async fn fetch(&self, url: &str, tasks: &TaskGroup) -> Result<(JwkSet, Duration), String> {
        let fetching = fetch::get(url, &self.options.tls, tasks);
        let document = tokio::time::timeout(self.options.timeout, fetching).await;
        let document = document.map_err(|_| format!("{url} did not answer in time"))??;
        let keys = JwkSet::parse(&document.body).map_err(|e| e.to_string())?;
        Ok((keys, document.max_age.unwrap_or_default().max(self.options.refresh)))
    }

    async fn follow_file(&self, path: PathBuf) -> Result<(), String> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Before the first read, so that no change is missed.
        let changes = FileWatch::new([folder]).map_err(|e| e.to_string())?;
        self.publish(load(&path)?);
        loop {
            changes.changed().await;
            tracing::debug!(target: SCOPE, "Reloading JWKS file from disk");
            match load(&path) {
                Ok(keys) => self.publish(keys),
                Err(error) => tracing::error!(target: SCOPE, "Error reading JWKS from disk: {error}"),
            }
        }
    }
}

fn load(path: &Path) -> Result<JwkSet, String> {
    let bytes = fs::read(path).map_err(|e| format!("failed to read JWKS file: {e}"))?;
    JwkSet::parse(&bytes).map_err(|e| format!("failed to parse JWKS file: {e}"))
}
