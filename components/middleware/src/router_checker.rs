//! `middleware.http.routerchecker`: only paths that fit a rule pass.

use async_trait::async_trait;
use dapr_components::middleware::{Answer, HttpMiddleware, Next, refuse_with};
use dapr_components::{InitContext, InitError};
use dapr_transport::Body;
use http::{Request, StatusCode};
use regex::Regex;

pub struct RouterChecker {
    rule: Regex,
}

impl RouterChecker {
    /// Without a rule everything passes.
    pub fn new(context: &InitContext) -> Result<Self, InitError> {
        let rule = Regex::new(context.properties.get("rule").unwrap_or_default())
            .map_err(|e| InitError::new(format!("failed to compile rule regexp: {e}")))?;
        Ok(Self { rule })
    }
}

#[async_trait]
impl HttpMiddleware for RouterChecker {
    async fn handle(&self, request: Request<Body>, next: Next<'_>) -> Answer {
        let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
        if !self.rule.is_match(target) {
            return Ok(refuse_with(StatusCode::BAD_REQUEST, "invalid router"));
        }
        next.run(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{End, context, get, send, text};

    async fn status(rule: &str, path: &str) -> (u16, String) {
        let checker = RouterChecker::new(&context(&[("rule", rule)])).unwrap();
        let response = send(checker, &End::default(), get(path)).await;
        (response.status().as_u16(), text(response).await)
    }

    #[tokio::test]
    async fn path_and_query_must_fit() {
        let rule = "^[A-Za-z0-9/._-]+$";
        assert_eq!(status(rule, "/v1.0/invoke/qcg.default/method").await.0, 200);
        let refused = (400, "invalid router".to_owned());
        assert_eq!(status(rule, "/v1.0/invoke/qcg.default/%20/method").await, refused);
        assert_eq!(status(rule, "/a?b=1").await, refused);
        assert_eq!(status("", "/a?b=1").await.0, 200);
    }

    #[test]
    fn a_bad_rule_is_refused() {
        let error = RouterChecker::new(&context(&[("rule", "(")])).err().unwrap().to_string();
        assert!(error.starts_with("failed to compile rule regexp: "), "{error}");
    }
}
