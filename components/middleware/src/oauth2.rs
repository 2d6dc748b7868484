//! `middleware.http.oauth2`: sends browsers to a provider and keeps the token
//! that they come back with.

use async_trait::async_trait;
use dapr_components::middleware::{Answer, HttpMiddleware, Next, refuse, refuse_with};
use dapr_components::{InitContext, InitError};
use dapr_gocompat::bools::is_truthy;
use dapr_transport::Body;
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use regex::Regex;

use crate::session::{Login, Sessions, Shared};
use crate::token_endpoint::{AuthStyle, TokenEndpoint};
use crate::uri;

const SCOPE: &str = "dapr.middleware.http.oauth2";

pub struct OAuth2 {
    client_id: String,
    scopes: String,
    auth_url: String,
    redirect_url: String,
    /// `None` when none is named: requests go on without a header then.
    header: Option<HeaderName>,
    force_https: bool,
    path_filter: Option<Regex>,
    tokens: TokenEndpoint,
    sessions: Sessions,
}

impl OAuth2 {
    pub fn new(context: &InitContext) -> Result<Self, InitError> {
        let text = |name: &str| context.properties.get(name).unwrap_or_default();
        let path_filter = match text("pathFilter") {
            "" => None,
            rule => Some(Regex::new(rule).map_err(|e| InitError::new(e.to_string()))?),
        };
        let header = match text("authHeaderName") {
            "" => None,
            name => Some(HeaderName::try_from(name).map_err(|e| {
                InitError::new(format!("invalid value '{name}' for metadata property 'authHeaderName': {e}"))
            })?),
        };
        let (id, secret, url) = (text("clientID"), text("clientSecret"), text("tokenURL"));
        Ok(Self {
            client_id: id.to_owned(),
            scopes: text("scopes").replace(',', " "),
            auth_url: text("authURL").to_owned(),
            redirect_url: text("redirectURL").to_owned(),
            header,
            force_https: is_truthy(text("forceHTTPS")),
            path_filter,
            tokens: TokenEndpoint::new(url, id, secret, AuthStyle::Detect),
            sessions: Sessions::default(),
        })
    }

    /// Off to the provider, which sends the browser back with `state`.
    fn begin(&self, session: &Shared, target: String) -> Response<Body> {
        let state = uuid::Uuid::new_v4().to_string();
        session.lock().login = Some(Login { state: state.clone(), target });
        let mut query = vec![
            ("access_type".to_owned(), "offline".to_owned()),
            ("client_id".to_owned(), self.client_id.clone()),
            ("response_type".to_owned(), "code".to_owned()),
            ("state".to_owned(), state),
        ];
        for (name, value) in [("redirect_uri", &self.redirect_url), ("scope", &self.scopes)] {
            if !value.is_empty() {
                query.push((name.to_owned(), value.clone()));
            }
        }
        let join = if self.auth_url.contains('?') { '&' } else { '?' };
        redirect(&format!("{}{join}{}", self.auth_url, uri::encode(query)))
    }

    /// Back from the provider.
    async fn complete(&self, session: &Shared, query: &str, state: &str, host: &str) -> Response<Body> {
        let Some(login) = session.lock().login.clone() else {
            tracing::error!(target: SCOPE, "A login was answered that this session has not begun");
            return refuse(StatusCode::INTERNAL_SERVER_ERROR);
        };
        if state != login.state {
            return refuse_with(StatusCode::BAD_REQUEST, "invalid state");
        }
        let code = uri::query_value(query, "code");
        if code.is_empty() {
            return refuse_with(StatusCode::BAD_REQUEST, "code not found");
        }
        let mut form =
            vec![("grant_type".to_owned(), "authorization_code".to_owned()), ("code".to_owned(), code)];
        if !self.redirect_url.is_empty() {
            form.push(("redirect_uri".to_owned(), self.redirect_url.clone()));
        }
        let token = match self.tokens.token(form).await {
            Ok(token) => token,
            Err(error) => {
                tracing::error!(target: SCOPE, "Failed to exchange token: {error}");
                return refuse(StatusCode::INTERNAL_SERVER_ERROR);
            }
        };
        session.lock().authorization = Some(token.header());
        // Targets are paths: without a host there is nothing to force.
        let forced = self.force_https && !host.is_empty();
        redirect(&if forced { format!("https://{host}{}", login.target) } else { login.target })
    }
}

fn redirect(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    match HeaderValue::try_from(location) {
        Ok(location) => response.headers_mut().insert(LOCATION, location),
        Err(_) => return refuse(StatusCode::INTERNAL_SERVER_ERROR),
    };
    response
}

#[async_trait]
impl HttpMiddleware for OAuth2 {
    async fn handle(&self, mut request: Request<Body>, next: Next<'_>) -> Answer {
        if let Some(filter) = &self.path_filter
            && !filter.is_match(&uri::decoded_path(request.uri()))
        {
            return next.run(request).await;
        }
        let (session, cookie) = self.sessions.start(request.headers());
        let known = session.lock().authorization.clone();
        let mut response = if let Some(value) = known {
            if let (Some(header), Ok(value)) = (&self.header, HeaderValue::try_from(value)) {
                request.headers_mut().append(header.clone(), value);
            }
            next.run(request).await?
        } else {
            let query = request.uri().query().unwrap_or_default();
            let state = uri::query_value(query, "state");
            if state.is_empty() {
                let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
                self.begin(&session, target.to_owned())
            } else {
                let host = request.headers().get(http::header::HOST).and_then(|v| v.to_str().ok());
                self.complete(&session, query, &state, host.unwrap_or_default()).await
            }
        };
        if let Some(cookie) = cookie {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests;
