//! The subscriptions that the application itself asks for (api.md §5.4).

use std::collections::BTreeMap;
use std::time::Duration;

use dapr_app_channel::AppChannel;
use dapr_transport::Body;
use http::{Method, Request, StatusCode};
use serde::Deserialize;

use super::route::{Bulk, Origin, Route, RouteError, Rule};

const SCOPE: &str = "dapr.runtime.pubsub";
pub(super) const DEFAULT_BULK_MESSAGES: usize = 100;
pub(super) const DEFAULT_BULK_AWAIT: Duration = Duration::from_millis(1000);

/// A subscription as the application, or a resource, describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    pub pubsub: String,
    pub topic: String,
    pub metadata: BTreeMap<String, String>,
    /// (expression, path); the default path is a rule without expression.
    pub rules: Vec<(String, String)>,
    pub dead_letter_topic: String,
    pub bulk: Option<Bulk>,
}

impl Description {
    pub fn compile(self, origin: Origin) -> Result<Route, RouteError> {
        let rules = self
            .rules
            .iter()
            .map(|(expression, path)| Rule::new(expression, path))
            .collect::<Result<_, _>>()?;
        Ok(Route {
            pubsub: self.pubsub,
            topic: self.topic,
            rules,
            metadata: self.metadata,
            dead_letter_topic: self.dead_letter_topic,
            bulk: self.bulk,
            origin,
        })
    }
}

/// Bulk settings with the defaults for what is not given.
pub fn bulk(enabled: bool, max_messages: i32, max_await_ms: i32) -> Option<Bulk> {
    enabled.then(|| Bulk {
        max_messages: usize::try_from(max_messages).ok().filter(|n| *n > 0).unwrap_or(DEFAULT_BULK_MESSAGES),
        max_await: u64::try_from(max_await_ms)
            .ok()
            .filter(|n| *n > 0)
            .map_or(DEFAULT_BULK_AWAIT, Duration::from_millis),
    })
}

/// Asks the application. `Err` is worth another try.
pub(super) async fn ask(channel: &AppChannel, app_id: &str) -> Result<Vec<Description>, String> {
    match channel.grpc() {
        Some(_) => ask_grpc(channel).await,
        None => ask_http(channel, app_id).await,
    }
}

async fn ask_http(channel: &AppChannel, app_id: &str) -> Result<Vec<Description>, String> {
    let Some(http) = channel.http() else { return Ok(Vec::new()) };
    let request = Request::builder()
        .method(Method::GET)
        .uri("/dapr/subscribe")
        .header("dapr-app-id", app_id)
        .body(Body::empty())
        .map_err(|e| e.to_string())?;
    let response = http.send(request).await.map_err(|e| format!("could not invoke app: {e}"))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|e| e.to_string())?;
    match status {
        StatusCode::OK if body.is_empty() => Ok(Vec::new()),
        StatusCode::OK => from_json(&body).map_err(|e| format!("error getting topics from app: {e}")),
        StatusCode::NOT_FOUND => {
            tracing::debug!(target: SCOPE, "app does not serve subscriptions (404)");
            Ok(Vec::new())
        }
        other => {
            tracing::warn!(target: SCOPE, "app returned http status code {} from subscription endpoint", other.as_u16());
            Ok(Vec::new())
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Listed {
    #[serde(alias = "pubsubName", alias = "pubSubName")]
    pubsubname: String,
    topic: String,
    #[serde(rename = "deadLetterTopic", alias = "deadlettertopic")]
    dead_letter_topic: String,
    metadata: Option<BTreeMap<String, String>>,
    route: String,
    routes: Option<Routes>,
    #[serde(rename = "bulkSubscribe")]
    bulk_subscribe: Option<BulkSubscribe>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Routes {
    rules: Option<Vec<ListedRule>>,
    default: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListedRule {
    #[serde(rename = "match")]
    expression: String,
    path: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BulkSubscribe {
    enabled: bool,
    #[serde(rename = "maxMessagesCount")]
    max_messages_count: i32,
    #[serde(rename = "maxAwaitDurationMs")]
    max_await_duration_ms: i32,
}

fn from_json(body: &[u8]) -> Result<Vec<Description>, serde_json::Error> {
    let listed: Option<Vec<Listed>> = serde_json::from_slice(body)?;
    Ok(listed.unwrap_or_default().into_iter().filter_map(describe).collect())
}

fn describe(listed: Listed) -> Option<Description> {
    let routes = listed.routes.unwrap_or_default();
    let mut rules: Vec<(String, String)> =
        routes.rules.unwrap_or_default().into_iter().map(|r| (r.expression, r.path)).collect();
    let default = if routes.default.is_empty() { listed.route } else { routes.default };
    if !default.is_empty() {
        rules.push((String::new(), default));
    }
    if rules.is_empty() {
        tracing::warn!(target: SCOPE, "topic {} on pubsub {} has no route and is left out", listed.topic, listed.pubsubname);
        return None;
    }
    let bulk_settings = listed.bulk_subscribe.unwrap_or_default();
    Some(Description {
        pubsub: listed.pubsubname,
        topic: listed.topic,
        metadata: listed.metadata.unwrap_or_default(),
        rules,
        dead_letter_topic: listed.dead_letter_topic,
        bulk: bulk(
            bulk_settings.enabled,
            bulk_settings.max_messages_count,
            bulk_settings.max_await_duration_ms,
        ),
    })
}

async fn ask_grpc(channel: &AppChannel) -> Result<Vec<Description>, String> {
    let Some(grpc) = channel.grpc() else { return Ok(Vec::new()) };
    let mut request = tonic::Request::new(());
    grpc.authorize(request.metadata_mut());
    let answer = match grpc.callbacks().list_topic_subscriptions(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == tonic::Code::Unimplemented => {
            tracing::warn!(target: SCOPE, "gRPC app does not implement AppCallback service; no topics are subscribed");
            return Ok(Vec::new());
        }
        Err(status) => return Err(status.to_string()),
    };
    Ok(answer.subscriptions.into_iter().map(from_grpc).collect())
}

fn from_grpc(listed: dapr_wire::runtime::v1::TopicSubscription) -> Description {
    let routes = listed.routes.unwrap_or_default();
    let mut rules: Vec<(String, String)> = routes.rules.into_iter().map(|r| (r.r#match, r.path)).collect();
    // Without any route the event goes to the empty path.
    if rules.is_empty() || !routes.default.is_empty() {
        rules.push((String::new(), routes.default));
    }
    let bulk_settings = listed.bulk_subscribe.unwrap_or_default();
    Description {
        pubsub: listed.pubsub_name,
        topic: listed.topic,
        metadata: listed.metadata.into_iter().collect(),
        rules,
        dead_letter_topic: listed.dead_letter_topic,
        bulk: bulk(
            bulk_settings.enabled,
            bulk_settings.max_messages_count,
            bulk_settings.max_await_duration_ms,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_comes_last_and_beats_the_old_field() {
        let found = from_json(
            br#"[{"pubsubname":"p","topic":"t","route":"/old","routes":{"rules":[{"match":"true","path":"/a"}],"default":"/d"},
                 "deadLetterTopic":"dl","metadata":null,"bulkSubscribe":{"enabled":true,"maxMessagesCount":7}},
                {"pubsubname":"p","topic":"none"}]"#,
        )
        .unwrap();
        assert_eq!(found.len(), 1, "entries without a route are left out");
        assert_eq!(found[0].rules, [("true".to_owned(), "/a".to_owned()), (String::new(), "/d".to_owned())]);
        let bulk = found[0].bulk.unwrap();
        assert_eq!((bulk.max_messages, bulk.max_await), (7, DEFAULT_BULK_AWAIT));
        assert!(from_json(b"null").unwrap().is_empty());
        assert!(from_json(b"{}").is_err());
    }
}
