//! `middleware.http.oauth2clientcredentials`: adds a token that the component
//! gets for itself.

use std::time::Instant;

use async_trait::async_trait;
use dapr_components::middleware::{Answer, HttpMiddleware, Next};
use dapr_components::{InitContext, InitError};
use dapr_transport::Body;
use http::{HeaderName, HeaderValue, Request, Response};
use regex::Regex;
use tokio::sync::Mutex;

use crate::token_endpoint::{AuthStyle, TokenEndpoint};
use crate::uri;

const SCOPE: &str = "dapr.middleware.http.oauth2clientcredentials";
const GRANT_TYPE: &str = "grant_type";

pub struct ClientCredentials {
    header: HeaderName,
    path_filter: Option<Regex>,
    form: Result<Vec<(String, String)>, String>,
    tokens: TokenEndpoint,
    /// Locked while a token is fetched: one call serves all who wait.
    cached: Mutex<Option<Cached>>,
}

struct Cached {
    value: HeaderValue,
    /// Tokens without a lifetime are kept for good.
    expires: Option<Instant>,
}

impl ClientCredentials {
    pub fn new(context: &InitContext) -> Result<Self, InitError> {
        let text = |name: &str| context.properties.get(name).unwrap_or_default();
        let mut problems = String::new();
        for name in ["headerName", "clientID", "clientSecret", "scopes", "tokenURL"] {
            if text(name).is_empty() {
                problems.push_str(&format!("Parameter '{name}' needs to be set. "));
            }
        }
        let path_filter = match text("pathFilter") {
            "" => None,
            rule => Regex::new(rule)
                .map_err(|e| {
                    problems.push_str(&format!("Parameter 'pathFilter' is not a valid regex: {e}. "))
                })
                .ok(),
        };
        let style: i64 = context
            .properties
            .integer("authStyle")
            .map_err(|e| InitError::new(format!("metadata errors: {e}")))?
            .unwrap_or(0);
        let style = match style {
            0 => AuthStyle::Detect,
            1 => AuthStyle::Params,
            2 => AuthStyle::Header,
            other => {
                problems.push_str(&format!(
                    "Parameter 'authStyle' can only have the values 0,1,2. Received: '{other}'. "
                ));
                AuthStyle::Detect
            }
        };
        if !problems.is_empty() {
            return Err(InitError::new(format!("metadata errors: {problems}")));
        }
        let header = HeaderName::try_from(text("headerName")).map_err(|e| {
            InitError::new(format!("metadata errors: Parameter 'headerName' is not a header: {e}"))
        })?;
        Ok(Self {
            header,
            path_filter,
            form: form(text("scopes"), text("endpointParamsQuery")),
            tokens: TokenEndpoint::new(text("tokenURL"), text("clientID"), text("clientSecret"), style),
            cached: Mutex::new(None),
        })
    }

    async fn token(&self) -> Result<HeaderValue, String> {
        let mut cached = self.cached.lock().await;
        if let Some(known) = cached.as_ref()
            && known.expires.is_none_or(|at| Instant::now() < at)
        {
            return Ok(known.value.clone());
        }
        tracing::info!(target: SCOPE, "Cached token not found, attempting to retrieve a new one");
        let token = self.tokens.token(self.form.clone()?).await?;
        let expires = token.lifetime.map(|lifetime| Instant::now() + lifetime);
        let mut value = HeaderValue::try_from(token.header()).map_err(|e| e.to_string())?;
        value.set_sensitive(true);
        *cached = Some(Cached { value: value.clone(), expires });
        Ok(value)
    }
}

/// Parameters may be added; of the own ones only the grant type may be replaced.
fn form(scopes: &str, more: &str) -> Result<Vec<(String, String)>, String> {
    let mut form = vec![
        (GRANT_TYPE.to_owned(), "client_credentials".to_owned()),
        ("scope".to_owned(), scopes.replace(',', " ")),
    ];
    let more = uri::query_pairs(more);
    if more.iter().any(|(name, _)| name == "scope") {
        return Err("oauth2: cannot overwrite parameter \"scope\"".to_owned());
    }
    if more.iter().any(|(name, _)| name == GRANT_TYPE) {
        form.remove(0);
    }
    form.extend(more);
    Ok(form)
}

#[async_trait]
impl HttpMiddleware for ClientCredentials {
    async fn handle(&self, mut request: Request<Body>, next: Next<'_>) -> Answer {
        if let Some(filter) = &self.path_filter
            && !filter.is_match(&uri::decoded_path(request.uri()))
        {
            return next.run(request).await;
        }
        match self.token().await {
            Ok(value) => {
                request.headers_mut().append(self.header.clone(), value);
                next.run(request).await
            }
            // An empty answer with 200, as clients of Dapr know it (components.md §16).
            Err(error) => {
                tracing::error!(target: SCOPE, "Error acquiring token: {error}");
                Ok(Response::new(Body::empty()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{End, Provider, context, get, send_to, text};

    fn properties<'a>(url: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let all = [
            ("headerName", "authorization"),
            ("clientID", "me"),
            ("clientSecret", "it's secret"),
            ("scopes", "a,b"),
            ("tokenURL", url),
        ];
        all.into_iter().chain(more.iter().copied()).collect()
    }

    fn made(properties: &[(&str, &str)]) -> Arc<dyn HttpMiddleware> {
        Arc::new(ClientCredentials::new(&context(properties)).unwrap())
    }

    #[tokio::test]
    async fn a_token_is_fetched_once_and_added() {
        let provider =
            Provider::start(|_| (200, r#"{"access_token":"t","expires_in":3600}"#.to_owned())).await;
        let url = provider.url("/token");
        let all = properties(&url, &[("endpointParamsQuery", "audience=x"), ("pathFilter", "^/a")]);
        let (middleware, end) = (made(&all), End::default());
        for _ in 0..3 {
            assert_eq!(send_to(&middleware, &end, get("/a/b")).await.headers()["from"], "end");
            assert_eq!(end.last_header("authorization").unwrap(), "Bearer t");
        }
        send_to(&middleware, &end, get("/b/a")).await;
        assert_eq!(end.last_header("authorization"), None);
        let asked = provider.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].body, "audience=x&grant_type=client_credentials&scope=a+b");
        assert_eq!(asked[0].authorization, "Basic bWU6aXQlMjdzK3NlY3JldA==");
    }

    #[tokio::test]
    async fn the_client_is_named_in_the_form_when_the_header_is_refused() {
        let provider = Provider::start(|asked| match asked.authorization.is_empty() {
            true => (200, r#"{"access_token":"t","token_type":"MAC","expires_in":"-1"}"#.to_owned()),
            false => (401, "{}".to_owned()),
        })
        .await;
        let url = provider.url("/token");
        let (middleware, end) = (made(&properties(&url, &[])), End::default());
        send_to(&middleware, &end, get("/")).await;
        assert_eq!(end.last_header("authorization").unwrap(), "MAC t");
        let asked = provider.asked();
        assert_eq!(asked.len(), 2);
        assert!(asked[1].body.contains("client_id=me&client_secret=it%27s+secret"), "{}", asked[1].body);
    }

    #[tokio::test]
    async fn without_a_token_the_answer_is_empty() {
        let provider = Provider::start(|_| (500, "no".to_owned())).await;
        let url = provider.url("/token");
        let (middleware, end) = (made(&properties(&url, &[("authStyle", "1")])), End::default());
        let answer = send_to(&middleware, &end, get("/")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(text(answer).await, "");
        assert!(end.uris().is_empty());
        assert_eq!(provider.asked().len(), 1);
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let error = |p: &[(&str, &str)]| ClientCredentials::new(&context(p)).err().unwrap().to_string();
        assert_eq!(
            error(&[("headerName", "x"), ("clientID", "y"), ("tokenURL", "z"), ("authStyle", "3")]),
            "metadata errors: Parameter 'clientSecret' needs to be set. Parameter 'scopes' needs to be set. \
             Parameter 'authStyle' can only have the values 0,1,2. Received: '3'. "
        );
        let bad = error(&properties("u", &[("pathFilter", "(")]));
        assert!(bad.starts_with("metadata errors: Parameter 'pathFilter' is not a valid regex: "), "{bad}");
    }

    #[test]
    fn only_the_grant_type_may_be_replaced() {
        assert_eq!(form("a", "grant_type=x").unwrap()[1], ("grant_type".to_owned(), "x".to_owned()));
        assert!(form("a", "scope=x").unwrap_err().contains("cannot overwrite"));
    }
}
