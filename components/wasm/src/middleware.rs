use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::middleware::{Answer, HttpMiddleware, Next, refuse_with};
use dapr_components::{InitContext, InitError};
use dapr_transport::server::Peer;
use dapr_transport::{Body, BodyError};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response, StatusCode};

use crate::guest::{FUEL, Guest, Instance};
use crate::source;
use crate::state::{BUFFER_REQUEST, BUFFER_RESPONSE, Content, Exchange};

const SCOPE: &str = "dapr.middleware.http.wasm";

pub struct Wasm {
    guest: Guest,
}

impl Wasm {
    pub async fn new(context: &InitContext) -> Result<Self, InitError> {
        let properties = &context.properties;
        let wasm = source::load(properties.get("url").unwrap_or_default())
            .await
            .map_err(|e| InitError::new(format!("wasm: failed to parse metadata: {e}")))?;
        let config = properties.get("guestConfig").unwrap_or_default();
        let guest = Guest::new(&wasm, config, properties.truthy("strictSandbox"), FUEL);
        Ok(Self { guest: guest.map_err(InitError::new)? })
    }

    /// The request goes on, and the guest sees its answer.
    async fn go_on(
        &self,
        mut instance: Instance,
        context: u32,
        body: Option<Body>,
        next: Next<'_>,
    ) -> Answer {
        let Some(exchange) = instance.exchange() else { return Ok(failed("the guest lost its request")) };
        let buffered = exchange.features & BUFFER_RESPONSE != 0;
        let answer = next.run(onward(exchange, body)).await;
        exchange.after_next = true;
        let mut response = match answer {
            Ok(response) => response,
            Err(error) => {
                if instance.handle_response(context, true).is_ok() {
                    self.guest.put_back(instance);
                }
                return Err(error);
            }
        };
        if buffered {
            return self.changed(instance, context, response).await;
        }
        // What the guest set before holds unless the answer has it, too.
        let mut headers = std::mem::take(&mut exchange.headers);
        lay_over(&mut headers, response.headers());
        exchange.headers = headers.clone();
        *response.headers_mut() = headers;
        if let Err(error) = instance.handle_response(context, false) {
            return Ok(failed(&error.to_string()));
        }
        self.guest.put_back(instance);
        Ok(response)
    }

    /// The whole answer, as the guest leaves it.
    async fn changed(&self, mut instance: Instance, context: u32, response: Response<Body>) -> Answer {
        let (parts, body) = response.into_parts();
        let whole = body.collect().await?;
        if let Some(exchange) = instance.exchange() {
            exchange.status = Some(parts.status);
            lay_over(&mut exchange.headers, &parts.headers);
            exchange.response_body = Content::new(whole);
        }
        if let Err(error) = instance.handle_response(context, false) {
            return Ok(failed(&error.to_string()));
        }
        Ok(self.answer(instance))
    }

    /// What the guest answers.
    fn answer(&self, mut instance: Instance) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        if let Some(exchange) = instance.exchange() {
            *response.status_mut() = exchange.status.unwrap_or(StatusCode::OK);
            *response.headers_mut() = std::mem::take(&mut exchange.headers);
            let body = &mut exchange.response_body;
            let bytes = body.written.take().map_or_else(|| std::mem::take(&mut body.bytes), Bytes::from);
            response.headers_mut().remove(CONTENT_LENGTH);
            *response.body_mut() = Body::from(bytes);
        }
        self.guest.put_back(instance);
        response
    }
}

/// The request as the guest leaves it. What it has read and not asked to be
/// kept is gone.
fn onward(exchange: &mut Exchange, body: Option<Body>) -> Request<Body> {
    let parts = exchange.request.clone();
    let content = &mut exchange.request_body;
    let mut request = Request::from_parts(parts, Body::empty());
    if let Some(written) = content.written.take() {
        request.headers_mut().remove(CONTENT_LENGTH);
        *request.body_mut() = Body::from(written);
    } else if let Some(body) = body {
        *request.body_mut() = body;
    } else {
        let kept = exchange.features & BUFFER_REQUEST != 0;
        let from = if kept { 0 } else { content.read };
        if from > 0 {
            request.headers_mut().remove(CONTENT_LENGTH);
        }
        *request.body_mut() = Body::from(content.bytes.slice(from..));
    }
    request
}

/// Headers of `over` in the place of those of the same name.
fn lay_over(headers: &mut HeaderMap, over: &HeaderMap) {
    for name in over.keys() {
        headers.remove(name);
    }
    for (name, value) in over {
        headers.append(name.clone(), value.clone());
    }
}

fn failed(reason: &str) -> Response<Body> {
    tracing::error!(target: SCOPE, "The guest failed: {reason}");
    refuse_with(StatusCode::INTERNAL_SERVER_ERROR, reason.to_owned())
}

#[async_trait]
impl HttpMiddleware for Wasm {
    async fn handle(&self, request: Request<Body>, next: Next<'_>) -> Answer {
        let (parts, body) = request.into_parts();
        let mut instance = match self.guest.instance() {
            Ok(instance) => instance,
            Err(error) => return Ok(failed(&error)),
        };
        let wanted = self.guest.reads_bodies();
        let (content, body) = match gathered(wanted, body).await {
            Ok(both) => both,
            Err(error) => return Ok(failed(&format!("error reading body: {error}"))),
        };
        let peer = parts.extensions.get::<Peer>().and_then(|peer| peer.0);
        let exchange = Exchange {
            features: instance.features(),
            request: parts,
            request_body: content,
            status: None,
            headers: HeaderMap::new(),
            response_body: Content::default(),
            after_next: false,
            source: peer.map(|peer| peer.to_string()).unwrap_or_default(),
        };
        match instance.handle_request(exchange) {
            Err(error) => Ok(failed(&error.to_string())),
            // The lower half says whether to go on.
            Ok(answer) if answer & u64::from(u32::MAX) == 0 => Ok(self.answer(instance)),
            Ok(answer) => self.go_on(instance, (answer >> 32) as u32, body, next).await,
        }
    }
}

/// The whole body for guests that read, the stream for others.
async fn gathered(wanted: bool, body: Body) -> Result<(Content, Option<Body>), BodyError> {
    if wanted {
        Ok((Content::new(body.collect().await?), None))
    } else {
        Ok((Content::default(), Some(body)))
    }
}

#[cfg(test)]
mod tests;
