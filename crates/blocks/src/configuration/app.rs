//! Updates as calls of the application (api.md §5.11).

use async_trait::async_trait;
use bytes::Bytes;
use dapr_app_channel::{AppChannel, InvokeRequest, Origin, Status};
use dapr_components::configuration::{Item, Items, UpdateHandler};
use dapr_errors::Code;
use dapr_gocompat::json::to_go_json;
use dapr_kernel::Shutdown;
use dapr_resiliency::{Outcome, Policy, StatusCode};
use dapr_transport::Body;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};

use super::ConfigurationService;

const SCOPE: &str = "dapr.runtime.http";

pub(super) struct AppPoster {
    pub service: ConfigurationService,
    pub store: String,
    pub id: String,
    pub policy: Policy,
    pub stop: Shutdown,
}

/// An attempt that the application did not take.
#[derive(Debug)]
struct Refused {
    message: String,
    status: Option<StatusCode>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Outcome for Refused {
    fn status(&self) -> Option<StatusCode> {
        self.status
    }
}

#[async_trait]
impl UpdateHandler for AppPoster {
    /// One call a key, each with the whole event.
    async fn handle(&self, changed: Items) {
        let Some(channel) = self.service.app_channel() else {
            tracing::error!(
                target: SCOPE,
                "app channel is nil. unable to send configuration update from {}", self.store
            );
            return;
        };
        let mut body = to_go_json(&event(&self.id, &changed));
        body.push(b'\n');
        let body = Bytes::from(body);
        for key in changed.keys() {
            let attempt = |_| post(&channel, format!("configuration/{}/{key}", self.store), body.clone());
            // A subscription that has ended sends no more.
            match self.stop.guard(self.policy.run(attempt)).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::error!(target: SCOPE, "error sending configuration item to the app: {error}");
                }
            }
        }
    }
}

async fn post(channel: &AppChannel, method: String, body: Bytes) -> Result<(), Refused> {
    let request = InvokeRequest {
        method,
        verb: Method::POST,
        query: String::new(),
        headers: HeaderMap::new(),
        content_type: Some(HeaderValue::from_static("application/json")),
        type_url: String::new(),
        origin: Origin::Http,
        body: Body::from(body),
    };
    let refused = |message: String| Refused { message, status: None };
    let response = channel.invoke(request).await.map_err(|e| refused(e.to_string()))?;
    let status = response.status;
    // Reading to the end lets the connection be used again.
    let _ = response.body.collect().await;
    match status {
        Status::Http(200) | Status::Grpc { code: Code::Ok, .. } => Ok(()),
        Status::Http(status) => Err(Refused {
            message: format!("error sending configuration item to application, status {status}"),
            status: Some(StatusCode::http(status)),
        }),
        Status::Grpc { code, message, .. } => Err(refused(dapr_errors::grpc_nested(code, &message))),
    }
}

fn event(id: &str, items: &Items) -> Value {
    json!({ "id": id, "items": items_to_json(items) })
}

/// Items as the HTTP API and the application see them: what is empty is left
/// out (api.md §2.5).
pub fn items_to_json(items: &Items) -> Value {
    items.iter().map(|(key, item)| (key.clone(), shown(item))).collect()
}

fn shown(item: &Item) -> Value {
    let mut out = Map::new();
    for (name, text) in [("value", &item.value), ("version", &item.version)] {
        if !text.is_empty() {
            out.insert(name.to_owned(), json!(text));
        }
    }
    if !item.metadata.is_empty() {
        out.insert("metadata".to_owned(), json!(item.metadata));
    }
    Value::Object(out)
}
