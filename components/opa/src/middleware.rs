use std::collections::BTreeMap;

use async_trait::async_trait;
use dapr_components::middleware::{Answer, HttpMiddleware, Next, refuse};
use dapr_components::{InitContext, InitError};
use dapr_transport::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use crate::input::{header_names, input};
use crate::policy::{Error, Policy};

const SCOPE: &str = "dapr.middleware.http.opa";
const ERROR: HeaderName = HeaderName::from_static("x-dapr-opa-error");
const YES: HeaderValue = HeaderValue::from_static("true");

pub struct Opa {
    policy: Policy,
    default_status: StatusCode,
    included_headers: Vec<String>,
    read_body: bool,
}

impl Opa {
    pub fn new(context: &InitContext) -> Result<Self, InitError> {
        let properties = &context.properties;
        let status = properties.integer::<u16>("defaultStatus")?.unwrap_or(403);
        if !(100..600).contains(&status) {
            let text = format!("invalid status value {status} expected in range [100-599]");
            return Err(InitError::new(text));
        }
        let policy = Policy::compile(properties.get("rego").unwrap_or_default()).map_err(InitError::new)?;
        Ok(Self {
            policy,
            default_status: StatusCode::from_u16(status).map_err(|e| InitError::new(e.to_string()))?,
            included_headers: header_names(properties.get("includedHeaders").unwrap_or_default()),
            read_body: properties.truthy("readBody"),
        })
    }

    fn failed(&self, error: &Error) -> Response<Body> {
        tracing::warn!(target: SCOPE, "Error procesing rego policy: {error}");
        let mut response = refuse(self.default_status);
        response.headers_mut().insert(ERROR, YES);
        response
    }
}

/// Those that are no headers are left out.
fn set(headers: &mut HeaderMap, more: BTreeMap<String, String>) {
    for (name, value) in more {
        match (HeaderName::try_from(&name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => drop(headers.insert(name, value)),
            _ => tracing::warn!(target: SCOPE, "The policy set {name:?}, which cannot be a header"),
        }
    }
}

#[async_trait]
impl HttpMiddleware for Opa {
    async fn handle(&self, request: Request<Body>, next: Next<'_>) -> Answer {
        let (mut parts, mut body) = request.into_parts();
        let mut text = String::new();
        if self.read_body {
            let whole = body.collect().await?;
            text = String::from_utf8_lossy(&whole).into_owned();
            body = Body::from(whole);
        }
        let decision = match self.policy.decide(input(&parts, &self.included_headers, &text)) {
            Ok(decision) => decision,
            Err(error) => return Ok(self.failed(&error)),
        };
        if decision.allow {
            set(&mut parts.headers, decision.additional_headers);
            return next.run(Request::from_parts(parts, body)).await;
        }
        let status = match decision.status_code {
            None => self.default_status,
            Some(code) => u16::try_from(code)
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        let mut response = refuse(status);
        let content_type = response.headers_mut().remove(http::header::CONTENT_TYPE);
        set(response.headers_mut(), decision.additional_headers);
        if let Some(content_type) = content_type {
            response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dapr_components::Properties;
    use dapr_components::middleware::Endpoint;
    use dapr_kernel::tasks::TaskGroup;
    use dapr_kernel::{AppIdentity, Shutdown};
    use parking_lot::Mutex;

    use super::*;

    fn context(properties: &[(&str, &str)]) -> InitContext {
        InitContext {
            name: "test".into(),
            component_type: "middleware.http.opa".into(),
            version: "v1".into(),
            properties: Properties::new(properties.iter().copied()).unwrap(),
            identity: AppIdentity::new("me", None),
            tasks: TaskGroup::new(Shutdown::new()),
        }
    }

    #[derive(Default)]
    struct End(Mutex<Option<Request<Body>>>);

    #[async_trait]
    impl Endpoint for End {
        async fn call(&self, request: Request<Body>) -> Answer {
            *self.0.lock() = Some(request);
            Ok(Response::new(Body::empty()))
        }
    }

    async fn ask(properties: &[(&str, &str)], body: &'static str) -> (Response<Body>, Option<Request<Body>>) {
        let opa: Arc<dyn HttpMiddleware> = Arc::new(Opa::new(&context(properties)).unwrap());
        let end = End::default();
        let request = Request::post("/allowed").header("x-role", "admin").body(Body::from(body)).unwrap();
        let response = Next::new(&[opa], &end).run(request).await.unwrap();
        (response, end.0.into_inner())
    }

    #[tokio::test]
    async fn a_policy_lets_pass_and_adds_headers() {
        let rego = r#"package http
            default allow = false
            allow = {"allow": true, "additional_headers": {"x-role": "seen", "x-new": "1"}} {
                input.request.path_parts[0] == "allowed"
                input.request.headers["X-Role"] == "admin"
                input.request.body == "text"
            }"#;
        let shown = [("rego", rego), ("includedHeaders", "x-role"), ("readBody", "true")];
        let (response, passed) = ask(&shown, "text").await;
        assert_eq!(response.status(), 200);
        let passed = passed.unwrap();
        assert_eq!(passed.headers()["x-role"], "seen");
        assert_eq!(passed.headers()["x-new"], "1");
        assert_eq!(passed.into_body().collect().await.unwrap(), "text");
        let (response, passed) = ask(&shown[..2], "text").await;
        assert_eq!((response.status().as_u16(), passed.is_none()), (403, true));
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.into_body().collect().await.unwrap(), "Forbidden");
    }

    #[tokio::test]
    async fn a_refusal_may_have_its_own_status_and_headers() {
        let rego = r#"package http
            allow = {"allow": false, "status_code": 301, "additional_headers": {"location": "/x"}}"#;
        let (response, _) = ask(&[("rego", rego)], "").await;
        assert_eq!(response.status(), 301);
        assert_eq!(response.headers()["location"], "/x");
        assert!(!response.headers().contains_key("x-dapr-opa-error"));
        let (response, _) =
            ask(&[("rego", "package http\nallow = false"), ("defaultStatus", "401")], "").await;
        assert_eq!(response.status(), 401);
    }

    #[tokio::test]
    async fn a_policy_without_an_answer_is_an_error() {
        for rego in ["package http\nallow = 1", "package other\nallow = true"] {
            let (response, passed) = ask(&[("rego", rego), ("defaultStatus", "500")], "").await;
            assert_eq!((response.status().as_u16(), passed.is_none()), (500, true));
            assert_eq!(response.headers()["x-dapr-opa-error"], "true");
        }
    }

    #[test]
    fn bad_metadata_is_refused() {
        let error = |p: &[(&str, &str)]| Opa::new(&context(p)).err().unwrap().to_string();
        assert!(!error(&[("rego", "not rego")]).is_empty());
        assert!(!error(&[]).is_empty());
        let status = error(&[("rego", "package http"), ("defaultStatus", "99")]);
        assert_eq!(status, "invalid status value 99 expected in range [100-599]");
    }
}
