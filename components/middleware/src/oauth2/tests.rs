use std::sync::Arc;

use super::*;
use crate::testing::{End, Provider, context, get, send_to, text};

struct Browser {
    middleware: Arc<dyn HttpMiddleware>,
    end: End,
    cookie: Option<String>,
}

impl Browser {
    fn new(properties: &[(&str, &str)]) -> Self {
        let middleware = Arc::new(OAuth2::new(&context(properties)).unwrap());
        Self { middleware, end: End::default(), cookie: None }
    }

    async fn open(&mut self, path: &str) -> Response<Body> {
        let mut request = get(path);
        request.headers_mut().insert("host", HeaderValue::from_static("localhost:3500"));
        if let Some(cookie) = &self.cookie {
            request.headers_mut().insert("cookie", HeaderValue::try_from(cookie).unwrap());
        }
        let response = send_to(&self.middleware, &self.end, request).await;
        if let Some(set) = response.headers().get(SET_COOKIE) {
            self.cookie = Some(set.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        response
    }
}

fn location(response: &Response<Body>) -> String {
    assert_eq!(response.status(), 302);
    response.headers()[LOCATION].to_str().unwrap().to_owned()
}

async fn provider() -> Provider {
    Provider::start(|asked| match asked.body.contains("code=good") {
        true => (200, r#"{"access_token":"t","token_type":"bearer"}"#.to_owned()),
        false => (400, r#"{"error":"invalid_grant"}"#.to_owned()),
    })
    .await
}

fn properties<'a>(url: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let all = [
        ("clientID", "me"),
        ("clientSecret", "secret"),
        ("scopes", "a,b"),
        ("authURL", "https://provider.example/auth"),
        ("tokenURL", url),
        ("redirectURL", "http://localhost:3500/v1.0/back"),
        ("authHeaderName", "authorization"),
    ];
    all.into_iter().chain(more.iter().copied()).collect()
}

#[tokio::test]
async fn a_browser_goes_to_the_provider_and_comes_back() {
    let provider = provider().await;
    let url = provider.url("/token");
    let mut browser = Browser::new(&properties(&url, &[("pathFilter", "^/v1.0/")]));
    assert_eq!(browser.open("/other").await.status(), 200);
    assert!(browser.cookie.is_none());
    let sent = location(&browser.open("/v1.0/x?y=1").await);
    let (front, state) = sent.rsplit_once("&state=").unwrap();
    assert_eq!(
        front,
        "https://provider.example/auth?access_type=offline&client_id=me&redirect_uri=http%3A%2F%2Flocalhost%3A3500%2Fv1.0%2Fback&response_type=code&scope=a+b"
    );
    let wrong = browser.open("/v1.0/back?state=wrong&code=good").await;
    assert_eq!((wrong.status().as_u16(), text(wrong).await), (400, "invalid state".to_owned()));
    let none = browser.open(&format!("/v1.0/back?state={state}")).await;
    assert_eq!((none.status().as_u16(), text(none).await), (400, "code not found".to_owned()));
    let refused = browser.open(&format!("/v1.0/back?state={state}&code=bad")).await;
    assert_eq!(text(refused).await, "Internal Server Error");
    let back = location(&browser.open(&format!("/v1.0/back?state={state}&code=good")).await);
    assert_eq!(back, "/v1.0/x?y=1");
    assert_eq!(browser.open(&back).await.status(), 200);
    assert_eq!(browser.end.last_header("authorization").unwrap(), "Bearer t");
    let exchange = provider.asked().pop().unwrap().body;
    assert_eq!(
        exchange,
        "code=good&grant_type=authorization_code&redirect_uri=http%3A%2F%2Flocalhost%3A3500%2Fv1.0%2Fback"
    );
}

#[tokio::test]
async fn https_can_be_forced_on_the_way_back() {
    let provider = provider().await;
    let url = provider.url("/token");
    let mut browser = Browser::new(&properties(&url, &[("forceHTTPS", "true")]));
    let sent = location(&browser.open("/v1.0/x").await);
    let state = sent.rsplit_once("&state=").unwrap().1.to_owned();
    let back = location(&browser.open(&format!("/back?state={state}&code=good")).await);
    assert_eq!(back, "https://localhost:3500/v1.0/x");
}

#[tokio::test]
async fn an_answer_to_a_login_that_was_not_begun_is_an_error() {
    let mut browser = Browser::new(&properties("http://127.0.0.1:1/token", &[]));
    assert_eq!(browser.open("/back?state=x&code=y").await.status(), 500);
}

#[test]
fn a_bad_path_filter_is_refused() {
    assert!(OAuth2::new(&context(&[("pathFilter", "(")])).is_err());
}
