//! The conversation with the certificate authority (control-plane.md §4.2).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dapr_kernel::tasks::TaskGroup;
use dapr_transport::client::{H2Channel, H2Options};
use dapr_transport::connect::Destination;
use dapr_wire::sentry::v1::ca_client::CaClient;
use dapr_wire::sentry::v1::{SignCertificateRequest, SignCertificateResponse};
use rustls::ClientConfig;
use tonic::Code;

use super::token::TokenSource;
use crate::identity::{self, Identity, KeyAlgorithm};
use crate::jwt;
use crate::mtls;
use crate::rotation::Failure;

/// For the connection, and for one answer.
const DIAL_LIMIT: Duration = Duration::from_secs(10);
const SIGN_LIMIT: Duration = Duration::from_secs(3);
const MAX_HEADERS: u32 = 64 * 1024;
/// Seconds between which protobuf allows a timestamp: the years 1 to 9999.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A request that brought no identity.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub failure: Failure,
    /// As metrics name it.
    pub reason: &'static str,
    pub text: String,
}

impl Refusal {
    fn new(failure: Failure, reason: &'static str, text: String) -> Self {
        Self { failure, reason, text }
    }

    fn unusable(reason: &'static str, text: impl ToString) -> Self {
        Self::new(Failure::Refused, reason, text.to_string())
    }
}

/// How to reach the authority, and who asks.
pub(super) struct Sentry {
    /// `host:port`.
    pub address: String,
    pub config: Arc<ClientConfig>,
    pub id: String,
    pub namespace: String,
    /// Empty lets the authority decide.
    pub trust_domain: String,
    pub audiences: Vec<String>,
    pub key: KeyAlgorithm,
    pub token: TokenSource,
    pub tasks: TaskGroup,
}

impl Sentry {
    /// A new key and the certificate for it.
    pub async fn fetch(self: Arc<Self>) -> Result<Identity, Refusal> {
        let request = identity::Request::new(self.key).await.map_err(|e| Refusal::unusable("sign", e))?;
        let answer = self.sign(request.csr_pem).await?;
        check_timestamp(&answer)?;
        let chain = String::from_utf8(answer.workload_certificate.to_vec()).map_err(|_| {
            Refusal::unusable("sign", "error parsing newly signed certificate: it is not PEM")
        })?;
        let per_audience: HashMap<_, _> = answer.per_audience_jwts.into_iter().collect();
        Identity::new(chain, request.key)
            .and_then(|i| i.with_tokens(answer.jwt, per_audience, SystemTime::now().into()))
            .map_err(|error| Refusal::unusable(metric_reason(&error), error))
    }

    async fn sign(&self, csr_pem: String) -> Result<SignCertificateResponse, Refusal> {
        // A connection of its own: renewals are rare, and the authority may have moved meanwhile.
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let destination = Destination::tcp(self.address.as_str(), DIAL_LIMIT)
            .wrapped(mtls::wrapper(self.config.clone(), host));
        let options = H2Options { keepalive: None, max_header_list: MAX_HEADERS };
        let channel = H2Channel::new(destination, true, options, self.tasks.clone());
        channel.connect().await.map_err(|e| {
            let text = format!("error establishing connection to sentry: {e}");
            Refusal::new(Failure::Unreachable, "sentry_conn", text)
        })?;
        let (token, validator) = self
            .token
            .read()
            .map_err(|e| Refusal::unusable("sentry_token", format!("error obtaining token: {e}")))?;
        let request = SignCertificateRequest {
            id: self.id.clone(),
            token,
            trust_domain: self.trust_domain.clone(),
            namespace: self.namespace.clone(),
            certificate_signing_request: csr_pem.into_bytes().into(),
            token_validator: validator as i32,
            jwt_audiences: self.audiences.clone(),
        };
        let mut client = CaClient::new(channel);
        match tokio::time::timeout(SIGN_LIMIT, client.sign_certificate(request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(refused(&status)),
            Err(_) => {
                let text = format!("error from sentry SignCertificate: no answer within {SIGN_LIMIT:?}");
                Err(Refusal::new(Failure::Busy, "sign", text))
            }
        }
    }
}

fn refused(status: &tonic::Status) -> Refusal {
    let failure = match status.code() {
        Code::Unavailable | Code::ResourceExhausted => Failure::Busy,
        _ => Failure::Refused,
    };
    let (code, message) = (status.code(), status.message());
    let text = format!("error from sentry SignCertificate: rpc error: code = {code:?} desc = {message}");
    Refusal::new(failure, "sign", text)
}

fn check_timestamp(answer: &SignCertificateResponse) -> Result<(), Refusal> {
    match &answer.valid_until {
        Some(t) if TIMESTAMPS.contains(&t.seconds) && (0..1_000_000_000).contains(&t.nanos) => Ok(()),
        Some(t) => {
            let text = format!("error parsing ValidUntil: {}s and {}ns are no time", t.seconds, t.nanos);
            Err(Refusal::unusable("invalid_ts", text))
        }
        None => Err(Refusal::unusable("invalid_ts", "error parsing ValidUntil: there is none")),
    }
}

fn metric_reason(error: &identity::Error) -> &'static str {
    match error {
        identity::Error::Jwt(
            jwt::Error::NoAudience | jwt::Error::Mismatch | jwt::Error::Different { .. },
        ) => "jwt_aud",
        identity::Error::Jwt(_) => "jwt_parse",
        _ => "sign",
    }
}
