//! What a call that may be made more than once is made of, and what a policy
//! sees of its tries (api.md §7.7).

use bytes::Bytes;
use dapr_app_channel::{InvokeRequest, InvokeResponse, Origin, Status as AppStatus};
use dapr_errors::Code;
use dapr_resiliency::{Outcome, StatusCode};
use dapr_transport::Body;
use http::{HeaderMap, HeaderValue};

use super::service::InvokeError;

/// A failed attempt and whether another may succeed.
#[derive(Debug)]
pub(super) struct Attempt(pub InvokeError, pub bool);

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Outcome for Attempt {
    fn retriable(&self) -> bool {
        self.1
    }
}

/// What a policy sees as failed: no answer, or one with an error status.
pub(super) struct Failure {
    pub answer: Result<Box<InvokeResponse>, InvokeError>,
    retriable: bool,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.answer {
            Ok(answer) => write!(f, "the application answered {:?}", answer.status),
            Err(error) => error.fmt(f),
        }
    }
}

impl Outcome for Failure {
    fn retriable(&self) -> bool {
        self.retriable
    }

    fn status(&self) -> Option<StatusCode> {
        match &self.answer {
            Ok(answer) => match &answer.status {
                AppStatus::Http(status) => Some(StatusCode::http(*status)),
                AppStatus::Grpc { code, .. } => Some(StatusCode::grpc(*code as i32)),
            },
            Err(error) => Some(StatusCode::grpc(error.code as i32)),
        }
    }
}

/// `Err` is what a policy may try again.
pub(super) fn judge(
    answer: Result<InvokeResponse, InvokeError>,
) -> Result<InvokeResponse, Result<InvokeResponse, InvokeError>> {
    match answer {
        // A gRPC application's own status never asks for a retry (api.md §7.5).
        Ok(answer) if answer.status.is_success() || matches!(answer.status, AppStatus::Grpc { .. }) => {
            Ok(answer)
        }
        failed => Err(failed),
    }
}

pub(super) async fn failure(answer: Result<InvokeResponse, InvokeError>, streaming: bool) -> Failure {
    let answer = match answer {
        Ok(mut answer) => {
            if !streaming && let Ok(data) = std::mem::take(&mut answer.body).collect().await {
                answer.body = Body::from(data);
            }
            Ok(Box::new(answer))
        }
        Err(error) => Err(error),
    };
    Failure { answer, retriable: !streaming }
}

/// The body's bytes; what is here already needs no waiting.
pub(super) async fn whole(body: Body) -> Result<Bytes, InvokeError> {
    match body.as_full() {
        Some(data) => Ok(data.clone()),
        None => body.collect().await.map_err(|e| InvokeError::new(Code::Internal, e.to_string())),
    }
}

/// A request without its body, which is what makes it shareable.
#[derive(Clone, Default)]
pub(super) struct Template {
    pub method: String,
    pub verb: http::Method,
    pub query: String,
    pub headers: HeaderMap,
    pub content_type: Option<HeaderValue>,
    pub type_url: String,
    pub origin: Origin,
}

impl Template {
    pub fn of(request: InvokeRequest) -> (Self, Body) {
        let InvokeRequest { method, verb, query, headers, content_type, type_url, origin, body } = request;
        (Self { method, verb, query, headers, content_type, type_url, origin }, body)
    }

    fn with(self, body: Body) -> InvokeRequest {
        let Self { method, verb, query, headers, content_type, type_url, origin } = self;
        InvokeRequest { method, verb, query, headers, content_type, type_url, origin, body }
    }
}

/// Whether a request may be sent again, and must then be left as it is.
pub(super) enum Head<'a> {
    Only(&'a mut Template),
    Again(&'a Template),
}

impl<'a> Head<'a> {
    pub fn template(self) -> &'a Template {
        match self {
            Self::Only(template) => template,
            Self::Again(template) => template,
        }
    }

    pub fn request(self, body: Body) -> InvokeRequest {
        match self {
            Self::Only(template) => std::mem::take(template).with(body),
            Self::Again(template) => template.clone().with(body),
        }
    }
}
