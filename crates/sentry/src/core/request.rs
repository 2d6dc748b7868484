//! Requests for certificates (control-plane.md §3.4).

use dapr_security::spiffe::{TrustDomain, control_plane};
use dapr_wire::sentry::v1::SignCertificateRequest;
use dapr_wire::sentry::v1::sign_certificate_request::TokenValidator;

pub type SignRequest = SignCertificateRequest;

/// Longest app ID, in bytes.
const MAX_APP_ID: usize = 64;
/// Longest claimed name in a log line.
const SHOWN: usize = 128;
/// Replicas that the scheduler's certificate names.
const SCHEDULERS: usize = 3;

/// How the caller proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValidatorKind {
    Insecure,
    Kubernetes,
    Jwks,
}

impl ValidatorKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insecure => "insecure",
            Self::Kubernetes => "kubernetes",
            Self::Jwks => "jwks",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error("a validator name must be specified in this environment")]
    None,
    #[error("the requested validator is not enabled")]
    NotEnabled,
}

/// The validator for a request. Numbers that nobody knows are not enabled.
pub fn choose(
    requested: i32,
    default: Option<ValidatorKind>,
    enabled: impl Fn(ValidatorKind) -> bool,
) -> Result<ValidatorKind, ChoiceError> {
    let kind = match TokenValidator::try_from(requested) {
        Ok(TokenValidator::Unknown) => default.ok_or(ChoiceError::None)?,
        Ok(TokenValidator::Insecure) => ValidatorKind::Insecure,
        Ok(TokenValidator::Kubernetes) => ValidatorKind::Kubernetes,
        Ok(TokenValidator::Jwks) => ValidatorKind::Jwks,
        Err(_) => return Err(ChoiceError::NotEnabled),
    };
    if enabled(kind) { Ok(kind) } else { Err(ChoiceError::NotEnabled) }
}

/// What every request must hold, whoever judges it; the trust domain it asks
/// for. The error lists everything that is missing, a line each.
pub fn check(request: &SignRequest) -> Result<TrustDomain, String> {
    let mut problems = Vec::new();
    if request.id.is_empty() {
        problems.push("parameter app-id cannot be empty");
    } else if request.id.contains('.') {
        problems.push("parameter app-id cannot contain dots");
    }
    if request.id.len() > MAX_APP_ID {
        problems.push("app ID must be 64 characters or less");
    }
    if request.certificate_signing_request.is_empty() {
        problems.push("CSR is required");
    }
    if request.namespace.is_empty() {
        problems.push("namespace is required");
    }
    if !problems.is_empty() {
        return Err(format!("invalid request: {}", problems.join("\n")));
    }
    match request.trust_domain.as_str() {
        "" => Ok(TrustDomain::default()),
        domain => TrustDomain::parse(domain).map_err(|e| e.to_string()),
    }
}

/// DNS names in a certificate: those of the Services in front of the control
/// plane, in its own namespace only. `tld` is the domain of the cluster.
pub fn dns_names(app_id: &str, namespace: &str, own_namespace: &str, tld: &str) -> Vec<String> {
    if namespace != own_namespace {
        return Vec::new();
    }
    match app_id {
        control_plane::INJECTOR => vec![format!("dapr-sidecar-injector.{namespace}.svc")],
        control_plane::OPERATOR => vec![format!("dapr-webhook.{namespace}.svc")],
        control_plane::SCHEDULER => (0..SCHEDULERS)
            .map(|n| format!("dapr-scheduler-server-{n}.dapr-scheduler-server.{namespace}.svc.{tld}"))
            .collect(),
        _ => Vec::new(),
    }
}

/// A name that somebody claims, for the log: not longer than a name is.
pub fn shown(claimed: &str) -> &str {
    match claimed.char_indices().nth(SHOWN) {
        Some((end, _)) => &claimed[..end],
        None => claimed,
    }
}
