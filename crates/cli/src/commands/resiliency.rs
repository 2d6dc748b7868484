//! `dapr resiliency`: which policy a target gets and why. An addition to
//! Dapr's commands (docs/resiliency.md).

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use dapr_flags::{Command, Flag, Matches};
use http::{Method, StatusCode};
use serde_json::Value;

use super::{Handler, help_flag};
use crate::context::Context;
use crate::http_client::{Call, send};
use crate::instances;
use crate::say::stdout;

const PATH: &str = "/v1.0/metadata/resiliency";
const LIMIT: Duration = Duration::from_secs(10);
const EXAMPLE: &str = "
# Explain the policies of every component of an application
dapr resiliency --app-id orders

# Explain what calls to the app \"billing\" and to the component \"store\" get
dapr resiliency --app-id orders --app billing --component store
";

pub(super) fn command() -> Command<Handler> {
    Command::<Handler>::new(
        "resiliency",
        "Explain the resiliency policies in force and where they come from. Supported platforms: Self-hosted",
    )
    .example(EXAMPLE)
    .flag(help_flag())
    .flag(Flag::string("app-id", "", "The application id whose sidecar is asked").short('a'))
    .flag(Flag::list("app", &[], "Applications that are called"))
    .flag(Flag::list("actor", &[], "Actor types that are called"))
    .flag(Flag::list("component", &[], "Components that are used"))
    .require(&["app-id"])
    .run(run)
}

fn run(context: &Context, matches: &Matches) -> ExitCode {
    match context.block_on(explain(matches)) {
        Ok(text) => {
            stdout(&text);
            ExitCode::SUCCESS
        }
        Err(reason) => {
            context.say.failure(reason);
            ExitCode::FAILURE
        }
    }
}

async fn explain(matches: &Matches) -> Result<String, String> {
    let app_id = matches.string("app-id");
    let sidecar = instances::scan()
        .into_iter()
        .find(|sidecar| sidecar.app_id == app_id)
        .ok_or_else(|| format!("app ID {app_id} not found"))?;
    let path = path(matches);
    let call = Call { method: Method::GET, path: &path, content_type: None, body: Bytes::new() };
    let answer = send(&sidecar.endpoint(), call, Some(LIMIT)).await.map_err(|e| e.to_string())?;
    if answer.status != StatusCode::OK {
        return Err(format!("the sidecar of {app_id} answered {} to {path}", answer.status));
    }
    let answer: Value = serde_json::from_slice(&answer.body)
        .map_err(|e| format!("the sidecar of {app_id} did not answer with JSON: {e}"))?;
    Ok(texts(&answer))
}

fn path(matches: &Matches) -> String {
    let pairs = ["app", "actor", "component"]
        .into_iter()
        .flat_map(|name| matches.list(name).iter().map(move |value| format!("{name}={value}")));
    let query: Vec<String> = pairs.collect();
    if query.is_empty() { PATH.to_owned() } else { format!("{PATH}?{}", query.join("&")) }
}

fn texts(answer: &Value) -> String {
    let targets = answer["targets"].as_array().into_iter().flatten();
    let mut out = String::new();
    for text in targets.filter_map(|target| target["text"].as_str()) {
        out.push_str(text);
        out.push('\n');
    }
    if out.is_empty() { "No targets found\n".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn explanations_are_printed_as_they_come() {
        let answer = json!({"targets": [{"text": "app a:\n  retry: none"}, {"text": "app b:"}]});
        assert_eq!(texts(&answer), "app a:\n  retry: none\napp b:\n");
        assert_eq!(texts(&json!({"targets": []})), "No targets found\n");
    }
}
