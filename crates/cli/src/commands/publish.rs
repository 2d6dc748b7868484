//! `dapr publish` (cli.md §7).

use std::process::ExitCode;

use bytes::Bytes;
use dapr_flags::{Command, Flag, Matches};
use http::Method;
use serde_json::{Map, Value};

use super::{Handler, help_flag, payload};
use crate::context::Context;
use crate::http_client::{Call, Endpoint, send};
use crate::instances;
use crate::say::stdout;

const EXAMPLE: &str = "
# Publish to sample topic in target pubsub via a publishing app
dapr publish --publish-app-id myapp --pubsub target --topic sample --data '{\"key\":\"value\"}'

# Publish to sample topic in target pubsub via a publishing app using Unix domain socket
dapr publish --unix-domain-socket /tmp --publish-app-id myapp --pubsub target --topic sample --data '{\"key\":\"value\"}'

# Publish to sample topic in target pubsub via a publishing app without cloud event
dapr publish --publish-app-id myapp --pubsub target --topic sample --data '{\"key\":\"value\"}' --metadata '{\"rawPayload\":\"true\",\"ttlInSeconds\":\"10\"}'
";
/// An object with all of these is a CloudEvent already and is passed as one.
const CLOUD_EVENT_FIELDS: [&str; 5] = ["id", "source", "specversion", "type", "data"];

pub(super) fn command() -> Command<Handler> {
    let socket =
        "Path to a unix domain socket dir. If specified, Dapr API servers will use Unix Domain Sockets";
    Command::<Handler>::new("publish", "Publish a pub-sub event. Supported platforms: Self-hosted")
        .example(EXAMPLE)
        .flag(help_flag())
        .flag(Flag::string("publish-app-id", "", "The ID of the publishing app").short('i'))
        .flag(Flag::string("pubsub", "", "The name of the pub/sub component").short('p'))
        .flag(Flag::string("topic", "", "The topic to be published to").short('t'))
        .flag(Flag::string("data", "", "The JSON serialized data string (optional)").short('d'))
        .flag(
            Flag::string("data-file", "", "A file containing the JSON serialized data (optional)").short('f'),
        )
        .flag(Flag::string("metadata", "", "The JSON serialized publish metadata (optional)").short('m'))
        .flag(Flag::string("unix-domain-socket", "", socket).short('u'))
        .require(&["publish-app-id", "pubsub", "topic"])
        .run(run)
}

fn run(context: &Context, matches: &Matches) -> ExitCode {
    let say = context.say;
    let Some(body) = payload::read(context, matches, "publish") else { return ExitCode::FAILURE };
    if !matches.string("unix-domain-socket").is_empty() {
        say.warning("Unix domain sockets are currently a preview feature");
    }
    let metadata: Map<String, Value> = match matches.string("metadata") {
        "" => Map::new(),
        text => match serde_json::from_str(text) {
            Ok(metadata) => metadata,
            Err(error) => {
                say.failure(format!("Error parsing metadata as JSON. Error: {error}"));
                return ExitCode::FAILURE;
            }
        },
    };
    match context.block_on(publish(matches, body, &metadata)) {
        Ok(()) => {
            say.success("Event published successfully");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            say.failure(format!("Error publishing topic {}: {reason}", matches.string("topic")));
            ExitCode::FAILURE
        }
    }
}

async fn publish(matches: &Matches, body: Bytes, metadata: &Map<String, Value>) -> Result<(), String> {
    let (app_id, pubsub, topic) =
        (matches.string("publish-app-id"), matches.string("pubsub"), matches.string("topic"));
    for (value, name) in [(app_id, "publishAppID"), (pubsub, "pubsubName"), (topic, "topic")] {
        if value.is_empty() {
            return Err(format!("{name} is missing"));
        }
    }
    let sidecar = instances::scan()
        .into_iter()
        .find(|sidecar| sidecar.app_id == app_id)
        .ok_or("couldn't find a running Dapr instance")?;
    let endpoint = match matches.string("unix-domain-socket") {
        "" => sidecar.endpoint(),
        folder => Endpoint::socket(folder, app_id, "http"),
    };
    let path = format!("/v1.0/publish/{pubsub}/{topic}{}", query(metadata));
    let call = Call { method: Method::POST, path: &path, content_type: Some(content_type(&body)), body };
    let answer = send(&endpoint, call, None).await.map_err(|error| error.to_string())?;
    if answer.status.is_success() {
        return Ok(());
    }
    stdout(&format!("{}{path}\n", endpoint.url()));
    Err(format!("unexpected status code {} on publishing to {topic} in {pubsub}", answer.status.as_u16()))
}

fn content_type(body: &[u8]) -> &'static str {
    let event: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    match event {
        Some(event) if CLOUD_EVENT_FIELDS.iter().all(|field| event.contains_key(*field)) => {
            "application/cloudevents+json"
        }
        _ => "application/json",
    }
}

/// `?metadata.k=v&…`, values as they are.
fn query(metadata: &Map<String, Value>) -> String {
    let pairs: Vec<String> = metadata
        .iter()
        .map(|(key, value)| match value {
            Value::String(text) => format!("metadata.{key}={text}"),
            other => format!("metadata.{key}={other}"),
        })
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_becomes_a_query() {
        let metadata = json!({"rawPayload": "true", "ttlInSeconds": 10});
        assert_eq!(
            query(metadata.as_object().unwrap()),
            "?metadata.rawPayload=true&metadata.ttlInSeconds=10"
        );
        assert_eq!(query(&Map::new()), "");
    }

    #[test]
    fn complete_cloud_events_are_recognised() {
        let event = br#"{"id":"1","source":"s","specversion":"1.0","type":"t","data":{}}"#;
        assert_eq!(content_type(event), "application/cloudevents+json");
        assert_eq!(content_type(br#"{"id":"1"}"#), "application/json");
        assert_eq!(content_type(b"plain"), "application/json");
    }
}
