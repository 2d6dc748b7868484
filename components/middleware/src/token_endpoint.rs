//! Tokens from an OAuth 2 token endpoint (RFC 6749).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dapr_gocompat::http_status::status_line;
use dapr_gocompat::quote::quote;
use dapr_gocompat::urlesc;
use dapr_http_binding::{Call, Client};
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use parking_lot::Mutex;
use serde::Deserialize;
use url::Url;

use crate::fetch::{Fetched, fetch};
use crate::uri;

const PATIENCE: Duration = Duration::from_secs(30);
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// How the client's identity is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthStyle {
    /// In a header first, then in the form; what worked is remembered.
    Detect,
    Params,
    Header,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    /// `Bearer` unless the server says something else.
    pub token_type: String,
    pub access_token: String,
    /// `None` when the server does not say.
    pub lifetime: Option<Duration>,
}

impl Token {
    /// Value of a header that carries the token.
    pub fn header(&self) -> String {
        format!("{} {}", self.token_type, self.access_token)
    }
}

pub struct TokenEndpoint {
    url: String,
    client_id: String,
    client_secret: String,
    style: Mutex<AuthStyle>,
    client: Client,
}

impl TokenEndpoint {
    pub fn new(url: &str, client_id: &str, client_secret: &str, style: AuthStyle) -> Self {
        Self {
            url: url.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            style: Mutex::new(style),
            client: Client::with_system_roots(),
        }
    }

    /// Asks for a token with `form`.
    pub async fn token(&self, form: Vec<(String, String)>) -> Result<Token, String> {
        let style = *self.style.lock();
        if style != AuthStyle::Detect {
            return self.ask(form, style == AuthStyle::Header).await;
        }
        if let Ok(token) = self.ask(form.clone(), true).await {
            *self.style.lock() = AuthStyle::Header;
            return Ok(token);
        }
        let token = self.ask(form, false).await?;
        *self.style.lock() = AuthStyle::Params;
        Ok(token)
    }

    async fn ask(&self, mut form: Vec<(String, String)>, in_header: bool) -> Result<Token, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, FORM);
        if in_header {
            headers.insert(AUTHORIZATION, self.basic());
        } else {
            for (name, value) in [("client_id", &self.client_id), ("client_secret", &self.client_secret)] {
                if !value.is_empty() {
                    form.retain(|(known, _)| known != name);
                    form.push((name.to_owned(), value.clone()));
                }
            }
        }
        let url = Url::parse(&self.url).map_err(|e| format!("parse {}: {e}", quote(&self.url)))?;
        let body = Bytes::from(uri::encode(form));
        let call = Call { method: Method::POST, url, headers, body };
        parse(&fetch(&self.client, call, PATIENCE).await?)
    }

    fn basic(&self) -> HeaderValue {
        let escape = urlesc::query_escape;
        let pair = STANDARD.encode(format!("{}:{}", escape(&self.client_id), escape(&self.client_secret)));
        let mut value = HeaderValue::try_from(format!("Basic {pair}")).expect("base64 is visible ASCII");
        value.set_sensitive(true);
        value
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    access_token: String,
    token_type: String,
    expires_in: serde_json::Value,
    error: String,
    error_description: String,
    error_uri: String,
}

impl Answer {
    fn lifetime(&self) -> Option<Duration> {
        let seconds = match &self.expires_in {
            serde_json::Value::Number(n) => n.as_i64(),
            serde_json::Value::String(text) => text.parse().ok(),
            _ => None,
        };
        seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0).map(Duration::from_secs)
    }

    fn refusal(&self) -> String {
        let mut text = format!("oauth2: {}", quote(&self.error));
        for detail in [&self.error_description, &self.error_uri] {
            if !detail.is_empty() {
                text.push(' ');
                text.push_str(&quote(detail));
            }
        }
        text
    }
}

fn parse(fetched: &Fetched) -> Result<Token, String> {
    let failed = !fetched.status.is_success();
    let refused = || {
        let body = String::from_utf8_lossy(&fetched.body);
        format!("oauth2: cannot fetch token: {}\nResponse: {body}", status_line(fetched.status.as_u16()))
    };
    let content = fetched.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let content = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let answer = if matches!(&*content, "application/x-www-form-urlencoded" | "text/plain") {
        let body = String::from_utf8_lossy(&fetched.body);
        let value = |name| uri::query_value(&body, name);
        Answer {
            access_token: value("access_token"),
            token_type: value("token_type"),
            expires_in: value("expires_in").into(),
            error: value("error"),
            error_description: value("error_description"),
            error_uri: value("error_uri"),
        }
    } else {
        match serde_json::from_slice::<Answer>(&fetched.body) {
            Ok(answer) => answer,
            Err(_) if failed => return Err(refused()),
            Err(error) => return Err(format!("oauth2: cannot parse json: {error}")),
        }
    };
    if !answer.error.is_empty() {
        return Err(answer.refusal());
    }
    if failed {
        return Err(refused());
    }
    if answer.access_token.is_empty() {
        return Err("oauth2: server response missing access_token".to_owned());
    }
    Ok(Token {
        lifetime: answer.lifetime(),
        token_type: spelled(answer.token_type),
        access_token: answer.access_token,
    })
}

/// Known types in the spelling that servers expect.
fn spelled(token_type: String) -> String {
    if token_type.is_empty() {
        return "Bearer".to_owned();
    }
    let known = ["Bearer", "MAC", "Basic"].into_iter().find(|k| k.eq_ignore_ascii_case(&token_type));
    known.map_or(token_type, str::to_owned)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn answer(status: u16, content_type: &'static str, body: &'static str) -> Result<Token, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let status = StatusCode::from_u16(status).unwrap();
        parse(&Fetched { status, headers, body: Bytes::from_static(body.as_bytes()) })
    }

    #[test]
    fn tokens_come_as_json_or_as_a_form() {
        let json =
            answer(200, "application/json", r#"{"access_token":"t","token_type":"bearer","expires_in":60}"#);
        let token = json.unwrap();
        assert_eq!(token.header(), "Bearer t");
        assert_eq!(token.lifetime, Some(Duration::from_secs(60)));
        let form = answer(200, "text/plain; charset=utf-8", "access_token=t&token_type=Custom&expires_in=5");
        assert_eq!(form.unwrap().header(), "Custom t");
        let bare = answer(200, "application/json", r#"{"access_token":"t","expires_in":"0"}"#).unwrap();
        assert_eq!((bare.header().as_str(), bare.lifetime), ("Bearer t", None));
    }

    #[test]
    fn refusals_say_what_the_server_said() {
        let error = |status, body| answer(status, "application/json", body).unwrap_err();
        assert_eq!(error(400, r#"{"error":"bad","error_description":"no"}"#), r#"oauth2: "bad" "no""#);
        assert_eq!(error(200, r#"{"error":"bad"}"#), r#"oauth2: "bad""#);
        let text = "oauth2: cannot fetch token: 500 Internal Server Error\nResponse: oops";
        assert_eq!(error(500, "oops"), text);
        assert!(error(200, "oops").starts_with("oauth2: cannot parse json: "));
        assert_eq!(error(200, "{}"), "oauth2: server response missing access_token");
    }
}
