//! `dapr.proto.sentry.v1.CA` (control-plane.md §3.4).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dapr_security::ca::{self, CsrError};
use dapr_security::spiffe::SpiffeId;
use dapr_transport::grpc::{self, FrameError, Reader};
use dapr_transport::server::{Peer, Service};
use dapr_transport::{Body, BoxError};
use dapr_wire::sentry::v1::SignCertificateResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use prost_types::Timestamp;
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use crate::authority::{Authority, Subject};
use crate::core::{SignRequest, ValidatorKind, choose, dns_names, shown};
use crate::metrics::Metrics;
use crate::validator::Validators;

const SCOPE: &str = "dapr.sentry.server";
const METHOD: &str = "/dapr.proto.sentry.v1.CA/SignCertificate";
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// Largest request: that of every gRPC server of Dapr that sets no other.
const REQUEST_LIMIT: usize = 4 << 20;
/// Time for a request to arrive and be judged.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Requests in work; others wait.
const MAX_IN_WORK: usize = 256;
/// Tokens for one request: each costs a signature.
const MAX_AUDIENCES: usize = 128;

pub struct CaOptions {
    pub authority: Arc<Authority>,
    pub validators: Validators,
    pub default_validator: Option<ValidatorKind>,
    pub metrics: Metrics,
    /// Domain of the cluster.
    pub tld: String,
}

/// Signs certificates.
pub struct CaApi {
    options: CaOptions,
    in_work: Semaphore,
}

impl CaApi {
    pub fn new(options: CaOptions) -> Self {
        Self { options, in_work: Semaphore::new(MAX_IN_WORK) }
    }

    async fn sign(&self, body: Body) -> Result<SignCertificateResponse, Status> {
        let mut reader = Reader::new(body, REQUEST_LIMIT);
        let request: Option<SignRequest> = reader.next().await.map_err(|e| unread(&e))?;
        let request = request.ok_or_else(|| Status::new(Code::Internal, "the request holds no message"))?;
        let metrics = &self.options.metrics;
        metrics.request_received();
        // Not before the request is here: who sends slowly must not hold a place.
        let _place =
            self.in_work.acquire().await.map_err(|_| Status::unavailable("the server is stopping"))?;
        let result = self.judge(&request).await;
        match &result {
            Ok(_) => metrics.request_signed(),
            Err(status) => {
                metrics.request_failed();
                // Failures of ours have been logged with their reason.
                if status.code() != Code::Internal {
                    tracing::warn!(
                        target: SCOPE,
                        "Refused a certificate for {}/{}: {:?}: {}",
                        shown(&request.namespace), shown(&request.id), status.code(), shown(status.message())
                    );
                }
            }
        }
        result
    }

    async fn judge(&self, request: &SignRequest) -> Result<SignCertificateResponse, Status> {
        let options = &self.options;
        let kind =
            choose(request.token_validator, options.default_validator, |kind| options.validators.has(kind))
                .map_err(|e| Status::invalid_argument(e.to_string()))?;
        tracing::debug!(
            target: SCOPE,
            "Processing SignCertificate request for {}/{} (validator: {})",
            shown(&request.namespace), shown(&request.id), kind.as_str()
        );
        let domain = options.validators.validate(kind, request).await.map_err(Status::permission_denied)?;
        let key = ca::csr_public_key(&request.certificate_signing_request)
            .map_err(|e: CsrError| Status::invalid_argument(e.to_string()))?;
        let unsigned = |reason: &dyn std::fmt::Display| {
            let (namespace, id) = (shown(&request.namespace), shown(&request.id));
            tracing::error!(target: SCOPE, "Error signing identity for {namespace}/{id}: {reason}");
            Status::internal("failed to sign certificate")
        };
        let id = SpiffeId::new(&domain, &request.namespace, &request.id).map_err(|e| unsigned(&e))?;
        let own = options.authority.id();
        let names = dns_names(&request.id, &request.namespace, own.namespace(), &options.tld);
        let now = SystemTime::now();
        let subject = Subject { key: &key, id: &id, dns_names: &names };
        let issued = options.authority.certify(subject, now).map_err(|e| unsigned(&e))?;
        let (jwt, per_audience_jwts) = self.tokens(&id, request, now)?;
        tracing::debug!(target: SCOPE, "Successfully signed certificate for {}/{}", request.namespace, request.id);
        Ok(SignCertificateResponse {
            workload_certificate: issued.chain_pem.into(),
            trust_chain_certificates: vec![Bytes::copy_from_slice(
                options.authority.anchors_pem().as_bytes(),
            )],
            valid_until: Some(Timestamp::from(issued.leaf.not_after())),
            jwt,
            per_audience_jwts,
        })
    }

    /// One token for all audiences, and one for each of them. The trust domain
    /// always is one.
    fn tokens(&self, id: &SpiffeId, request: &SignRequest, now: SystemTime) -> Result<Tokens, Status> {
        let authority = &self.options.authority;
        if !authority.issues_tokens() {
            return Ok(Tokens::default());
        }
        if request.jwt_audiences.len() > MAX_AUDIENCES {
            return Err(Status::invalid_argument(format!(
                "at most {MAX_AUDIENCES} audiences can be requested at once"
            )));
        }
        let domain = std::iter::once(id.trust_domain_str());
        let audiences: Vec<&str> = domain.chain(request.jwt_audiences.iter().map(String::as_str)).collect();
        let sign = |audiences: &[&str], of: &str| {
            let token = authority.token(id, audiences, now);
            token.map_err(|e| {
                tracing::error!(target: SCOPE, "Error signing a JWT for {id}: {e}");
                Status::internal(format!("failed to generate JWT{of}: {e}"))
            })
        };
        let all = sign(&audiences, "")?;
        let mut each = HashMap::with_capacity(audiences.len());
        for audience in &audiences {
            if !each.contains_key(*audience)
                && let Some(token) = sign(&[audience], &format!(" for audience {audience}"))?
            {
                each.insert((*audience).to_owned(), token);
            }
        }
        Ok((all, each))
    }
}

type Tokens = (Option<String>, HashMap<String, String>);

impl Service for CaApi {
    async fn call(&self, request: Request<Incoming>, _: Peer) -> Response<Body> {
        let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if !kind.starts_with(GRPC.as_bytes()) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        let path = request.uri().path();
        if path != METHOD {
            return refused(&unknown(path));
        }
        let signed = self.sign(Body::from_incoming(request.into_body()));
        match tokio::time::timeout(TIME_LIMIT, signed).await {
            Ok(Ok(response)) => answered(&response),
            Ok(Err(status)) => refused(&status),
            Err(_) => refused(&Status::deadline_exceeded("the request took too long")),
        }
    }
}

fn unread(error: &FrameError) -> Status {
    match error {
        FrameError::TooLarge { size, limit } => {
            Status::resource_exhausted(format!("grpc: received message larger than max ({size} vs. {limit})"))
        }
        FrameError::Compressed => Status::unimplemented(error.to_string()),
        FrameError::Body(_) => Status::cancelled(error.to_string()),
        FrameError::Truncated | FrameError::Decode(_) => Status::internal(error.to_string()),
    }
}

fn unknown(path: &str) -> Status {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    Status::unimplemented(match METHOD.trim_start_matches('/').split_once('/') {
        Some((known, _)) if known == service => format!("unknown method {method} for service {service}"),
        _ => format!("unknown service {service}"),
    })
}

fn answered(response: &SignCertificateResponse) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(grpc::frame(response)), Frame::trailers(trailers)];
    let frames = futures::stream::iter(frames.map(Ok::<_, BoxError>));
    let mut response = Response::new(Body::boxed(StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

fn refused(status: &Status) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert("grpc-status", HeaderValue::from(status.code() as i32));
    if let Ok(message) = HeaderValue::try_from(grpc::percent_encode(status.message())) {
        headers.insert("grpc-message", message);
    }
    response
}
