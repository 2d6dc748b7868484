//! `middleware.http.bearer`: lets requests pass that carry a token of a trusted
//! issuer.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use dapr_components::middleware::{Answer, HttpMiddleware, Next, refuse};
use dapr_components::{InitContext, InitError, Properties};
use dapr_http_binding::Client;
use dapr_transport::Body;
use http::header::{AUTHORIZATION, CACHE_CONTROL, EXPIRES};
use http::{HeaderMap, Request, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::fetch::{Fetched, fetch, get};
use crate::jwks::KeySet;

const SCOPE: &str = "dapr.middleware.http.bearer";
const PREFIX: &str = "bearer ";
/// Shorter texts cannot be tokens.
const MIN_TOKEN: usize = 10;
/// Patience with the issuer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Keys are fetched again no sooner, whatever the issuer says.
const MIN_REFRESH: Duration = Duration::from_secs(10 * 60);
/// Seconds that the clocks of issuer and verifier may be apart.
const SKEW: i64 = 5 * 60;

pub struct Bearer {
    issuer: String,
    audience: String,
    keys: Arc<ArcSwap<KeySet>>,
    /// Ends the refreshing with this component.
    _alive: oneshot::Sender<()>,
}

impl Bearer {
    /// Asks the issuer for its keys: without them there is no component.
    pub async fn new(context: &InitContext) -> Result<Self, InitError> {
        let Settings { issuer, audience, keys_url } = Settings::read(&context.properties)?;
        let client = Client::with_system_roots();
        let url = match keys_url {
            Some(url) => url,
            None => discover(&client, &issuer).await.map_err(|e| {
                InitError::new(format!("failed to retrieve OpenID Configuration document: {e}"))
            })?,
        };
        let (keys, pause) = fetch_keys(&client, &url)
            .await
            .map_err(|e| InitError::new(format!("failed to fetch JWKS: {e}")))?;
        let keys = Arc::new(ArcSwap::from_pointee(keys));
        let (alive, gone) = oneshot::channel();
        let refreshing = refresh(client, url, keys.clone(), pause);
        context.tasks.spawn_until_shutdown("JWKS refresh", async move {
            tokio::select! {
                () = refreshing => {}
                _ = gone => {}
            }
        });
        Ok(Self { issuer, audience, keys, _alive: alive })
    }

    fn accepts(&self, headers: &HeaderMap) -> bool {
        let Some(token) = token(headers) else { return false };
        match self.keys.load().verify(token) {
            Ok(claims) => claims_hold(&claims, &self.issuer, &self.audience, unix_now()),
            Err(refusal) => {
                tracing::debug!(target: SCOPE, "A token was refused: {refusal}");
                false
            }
        }
    }
}

pub(crate) struct Settings {
    issuer: String,
    audience: String,
    /// `None`: the issuer says where.
    keys_url: Option<String>,
}

impl Settings {
    pub(crate) fn read(properties: &Properties) -> Result<Self, InitError> {
        Ok(Self {
            issuer: required(properties, "issuer", "issuerURL")?,
            audience: required(properties, "audience", "clientID")?,
            keys_url: properties.get("jwksURL").filter(|u| !u.is_empty()).map(str::to_owned),
        })
    }
}

/// A property by its name or its older one.
fn required(properties: &Properties, name: &str, alias: &str) -> Result<String, InitError> {
    let value = properties.get_any(&[name, alias]).filter(|v| !v.is_empty());
    value.map(str::to_owned).ok_or_else(|| InitError::new(format!("metadata property '{name}' is required")))
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct OpenIdConfiguration {
    issuer: String,
    jwks_uri: String,
}

/// Where the issuer publishes its keys.
async fn discover(client: &Client, issuer: &str) -> Result<String, String> {
    let url = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
    let fetched =
        fetch(client, get(&url)?, PATIENCE).await.map_err(|e| format!("failed to execute request: {e}"))?;
    if fetched.status != StatusCode::OK {
        return Err(format!("invalid response status code: {}", fetched.status.as_u16()));
    }
    let found: OpenIdConfiguration =
        serde_json::from_slice(&fetched.body).map_err(|e| format!("failed to decode JSON response: {e}"))?;
    if found.jwks_uri.is_empty() {
        return Err("the OpenID Configuration document does not contain a 'jwks_uri'".to_owned());
    }
    // By the specification, to the last character.
    if found.issuer != issuer {
        return Err(format!(
            "the issuer found in the OpenID Configuration document ('{}') doesn't match the one provided in the component's metadata ('{issuer}')",
            found.issuer
        ));
    }
    Ok(found.jwks_uri)
}

/// The keys, and how long they are good for.
async fn fetch_keys(client: &Client, url: &str) -> Result<(KeySet, Duration), String> {
    let fetched = fetch(client, get(url)?, PATIENCE)
        .await
        .map_err(|e| format!("failed to fetch {}: {e}", dapr_gocompat::quote::quote(url)))?;
    if fetched.status != StatusCode::OK {
        return Err(format!(
            "failed to fetch {}: bad response status code ({})",
            dapr_gocompat::quote::quote(url),
            fetched.status.as_u16()
        ));
    }
    let pause = freshness(&fetched).unwrap_or_default().max(MIN_REFRESH);
    let keys = KeySet::parse(&fetched.body).map_err(|e| format!("failed to unmarshal JWK set: {e}"))?;
    Ok((keys, pause))
}

/// Until when the answer may be kept.
fn freshness(fetched: &Fetched) -> Option<Duration> {
    let text = |name| fetched.headers.get(name).and_then(|v| v.to_str().ok());
    let directives = text(CACHE_CONTROL).unwrap_or_default().split(',');
    let max_age = directives.filter_map(|d| d.trim().strip_prefix("max-age=")?.parse().ok()).next();
    if let Some(seconds) = max_age {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text(EXPIRES)?).ok()?.duration_since(SystemTime::now()).ok()
}

/// Old keys stay while new ones cannot be had.
async fn refresh(client: Client, url: String, keys: Arc<ArcSwap<KeySet>>, mut pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        match fetch_keys(&client, &url).await {
            Ok((fresh, until)) => {
                keys.store(Arc::new(fresh));
                pause = until;
            }
            Err(error) => {
                tracing::warn!(target: SCOPE, "Error while refreshing JWKS cache: {error}");
                pause = MIN_REFRESH;
            }
        }
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (prefix, token) = value.split_at_checked(PREFIX.len())?;
    (prefix.eq_ignore_ascii_case(PREFIX) && token.len() >= MIN_TOKEN).then_some(token)
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Issuer and audience must be the expected ones; times count where they are
/// given.
fn claims_hold(claims: &Value, issuer: &str, audience: &str, now: i64) -> bool {
    let audiences = match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|a| a == audience),
        _ => false,
    };
    if !audiences || claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        return false;
    }
    let holds = |name: &str, test: &dyn Fn(i64) -> bool| match claims.get(name) {
        None | Some(Value::Null) => true,
        Some(time) => seconds(time).is_some_and(test),
    };
    holds("exp", &|at| now < at.saturating_add(SKEW))
        && holds("nbf", &|at| now >= at.saturating_sub(SKEW))
        && holds("iat", &|at| now >= at.saturating_sub(SKEW))
}

fn seconds(time: &Value) -> Option<i64> {
    match time {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

#[async_trait]
impl HttpMiddleware for Bearer {
    async fn handle(&self, request: Request<Body>, next: Next<'_>) -> Answer {
        if !self.accepts(request.headers()) {
            return Ok(refuse(StatusCode::UNAUTHORIZED));
        }
        next.run(request).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{End, Provider, Signer, context, send_to, text};

    #[tokio::test]
    async fn tokens_of_the_issuer_pass() {
        let signer = Signer::new("k");
        let keys = String::from_utf8(signer.key_set()).unwrap();
        let provider = Provider::start(move |asked| match asked.path.as_str() {
            "/base/.well-known/openid-configuration" => {
                let base = format!("http://{}/base", asked.host);
                (200, json!({"issuer": base, "jwks_uri": format!("{base}/keys")}).to_string())
            }
            "/base/keys" => (200, keys.clone()),
            _ => (404, String::new()),
        })
        .await;
        let issuer = provider.url("/base");
        let bearer = Bearer::new(&context(&[("issuerURL", &issuer), ("clientID", "me")])).await.unwrap();
        let bearer: Arc<dyn HttpMiddleware> = Arc::new(bearer);
        let end = End::default();
        let ask =
            |value: String| Request::builder().header("authorization", value).body(Body::empty()).unwrap();
        let now = unix_now();
        let token = |claims: Value| signer.token(&claims);
        let good = token(json!({"iss": issuer, "aud": ["me"], "exp": now - 100, "nbf": now + 100}));
        for prefix in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(send_to(&bearer, &end, ask(format!("{prefix} {good}"))).await.status(), 200);
        }
        let refused = send_to(&bearer, &end, ask(good.clone())).await;
        assert_eq!(refused.status(), 401);
        assert_eq!(text(refused).await, "Unauthorized");
        for bad in [
            "short".to_owned(),
            "long enough, no token".to_owned(),
            format!("{good}x"),
            token(json!({"iss": issuer, "aud": "you"})),
            token(json!({"iss": format!("{issuer}/"), "aud": "me"})),
            token(json!({"iss": issuer, "aud": "me", "exp": now - 301})),
            token(json!({"iss": issuer, "aud": "me", "iat": now + 400})),
            token(json!({"iss": issuer, "aud": "me", "exp": "soon"})),
        ] {
            assert_eq!(send_to(&bearer, &end, ask(format!("Bearer {bad}"))).await.status(), 401, "{bad}");
        }
        assert_eq!(send_to(&bearer, &end, Request::new(Body::empty())).await.status(), 401);
    }

    async fn error(properties: &[(&str, &str)]) -> String {
        Bearer::new(&context(properties)).await.err().unwrap().to_string()
    }

    #[tokio::test]
    async fn what_is_wrong_at_the_start_is_said() {
        assert_eq!(error(&[]).await, "metadata property 'issuer' is required");
        assert_eq!(error(&[("issuer", "x")]).await, "metadata property 'audience' is required");
        let provider = Provider::start(|asked| match asked.path.as_str() {
            "/a/.well-known/openid-configuration" => {
                (200, json!({"issuer": "b", "jwks_uri": "c"}).to_string())
            }
            "/c/.well-known/openid-configuration" => (200, json!({"issuer": "b"}).to_string()),
            "/bad" => (200, "no keys".to_owned()),
            _ => (404, String::new()),
        })
        .await;
        let issuer = provider.url("/a");
        assert_eq!(
            error(&[("issuer", &issuer), ("audience", "x")]).await,
            format!(
                "failed to retrieve OpenID Configuration document: the issuer found in the OpenID Configuration document ('b') doesn't match the one provided in the component's metadata ('{issuer}')"
            )
        );
        let without = error(&[("issuer", &provider.url("/c")), ("audience", "x")]).await;
        assert!(without.ends_with("does not contain a 'jwks_uri'"), "{without}");
        let missing = error(&[("issuer", &provider.url("/b")), ("audience", "x")]).await;
        assert!(missing.ends_with("invalid response status code: 404"), "{missing}");
        for path in ["/bad", "/none"] {
            let keys = error(&[("issuer", "i"), ("audience", "x"), ("jwksURL", &provider.url(path))]).await;
            assert!(keys.starts_with("failed to fetch JWKS: "), "{keys}");
        }
    }

    #[test]
    fn keys_are_kept_as_long_as_the_issuer_says() {
        let fetched = |name, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_static(value));
            freshness(&Fetched { status: StatusCode::OK, headers, body: bytes::Bytes::new() })
        };
        assert_eq!(fetched(CACHE_CONTROL, "public, max-age=1200"), Some(Duration::from_secs(1200)));
        assert_eq!(fetched(CACHE_CONTROL, "no-cache"), None);
        assert_eq!(fetched(EXPIRES, "Thu, 01 Jan 1970 00:00:00 GMT"), None);
    }
}
