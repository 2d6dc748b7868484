//! What the tests of this crate share: contexts and the end of a pipeline.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dapr_components::middleware::{Answer, Endpoint, HttpMiddleware, Next};
use dapr_components::{InitContext, Properties};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use dapr_transport::Body;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub fn context(properties: &[(&str, &str)]) -> InitContext {
    InitContext {
        name: "test".into(),
        component_type: "middleware.http.test".into(),
        version: "v1".into(),
        properties: Properties::new(properties.iter().copied()).unwrap(),
        identity: AppIdentity::new("me", None),
        tasks: TaskGroup::new(Shutdown::new()),
    }
}

/// Keeps the heads of what came through, and echoes bodies.
#[derive(Default)]
pub struct End {
    pub seen: Mutex<Vec<http::request::Parts>>,
}

#[async_trait]
impl Endpoint for End {
    async fn call(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        self.seen.lock().push(parts);
        let body = body.collect().await?;
        Ok(Response::builder().header("from", "end").body(Body::from(body)).unwrap())
    }
}

impl End {
    /// URIs that came through.
    pub fn uris(&self) -> Vec<String> {
        self.seen.lock().iter().map(|p| p.uri.to_string()).collect()
    }

    pub fn last_header(&self, name: &str) -> Option<String> {
        let seen = self.seen.lock();
        Some(seen.last()?.headers.get(name)?.to_str().ok()?.to_owned())
    }
}

pub async fn send(
    middleware: impl HttpMiddleware + 'static,
    end: &End,
    request: Request<Body>,
) -> Response<Body> {
    send_to(&(Arc::new(middleware) as Arc<dyn HttpMiddleware>), end, request).await
}

pub async fn send_to(
    middleware: &Arc<dyn HttpMiddleware>,
    end: &End,
    request: Request<Body>,
) -> Response<Body> {
    let chain = [middleware.clone()];
    Next::new(&chain, end).run(request).await.unwrap()
}

pub fn get(uri: &str) -> Request<Body> {
    Request::builder().uri(uri).body(Body::empty()).unwrap()
}

pub async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_vec()).unwrap()
}

/// Signs tokens with ES256.
pub struct Signer {
    id: &'static str,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    pub fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        Self { id, key, random }
    }

    pub fn key_set(&self) -> Vec<u8> {
        let point = self.key.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id,
            "x": part(&point[1..33]), "y": part(&point[33..]),
        });
        json!({"keys": [key]}).to_string().into_bytes()
    }

    pub fn token(&self, claims: &Value) -> String {
        let head = json!({"alg": "ES256", "kid": self.id, "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(claims));
        let signature = self.key.sign(&self.random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A request to a [`Provider`].
#[derive(Clone, Debug)]
pub struct Asked {
    pub host: String,
    pub path: String,
    pub authorization: String,
    pub body: String,
}

/// An HTTP server that stands for an identity provider.
pub struct Provider {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    _serving: JoinSet<()>,
}

impl Provider {
    /// `answer` gives status and body; all answers are `application/json`.
    pub async fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), asked.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (answer.clone(), log.clone());
                let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (answer, log) = (answer.clone(), log.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let header = |name: &str| {
                            head.headers
                                .get(name)
                                .and_then(|v| v.to_str().ok())
                                .unwrap_or_default()
                                .to_owned()
                        };
                        let asked = Asked {
                            host: header("host"),
                            path: head.uri.path().to_owned(),
                            authorization: header("authorization"),
                            body: String::from_utf8_lossy(&body).into_owned(),
                        };
                        let (status, text) = answer(&asked);
                        log.lock().push(asked);
                        let response = Response::builder()
                            .status(status)
                            .header("content-type", "application/json")
                            .body(Full::new(bytes::Bytes::from(text)));
                        Ok::<_, hyper::Error>(response.unwrap())
                    }
                });
                connections.spawn(async move {
                    let io = TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                });
            }
        });
        Self { port, asked, _serving: serving }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}
