//! `dapr invoke` (cli.md §7).

use std::process::ExitCode;

use bytes::Bytes;
use dapr_flags::{Command, Flag, Matches};
use dapr_gocompat::http_status::status_line;
use http::Method;

use super::{Handler, help_flag, payload};
use crate::context::Context;
use crate::http_client::{Call, Endpoint, send};
use crate::instances;
use crate::say::stdout;

const EXAMPLE: &str = "
# Invoke a sample method on target app with POST Verb
dapr invoke --app-id target --method sample --data '{\"key\":\"value\"}'

# Invoke a sample method on target app with GET Verb
dapr invoke --app-id target --method sample --verb GET

# Invoke a sample method on target app with GET Verb using Unix domain socket
dapr invoke --unix-domain-socket /tmp --app-id target --method sample --verb GET
";

pub(super) fn command() -> Command<Handler> {
    let socket =
        "Path to a unix domain socket dir. If specified, Dapr API servers will use Unix Domain Sockets";
    Command::<Handler>::new(
        "invoke",
        "Invoke a method on a given Dapr application. Supported platforms: Self-hosted",
    )
    .example(EXAMPLE)
    .flag(help_flag())
    .flag(Flag::string("app-id", "", "The application id to invoke").short('a'))
    .flag(Flag::string("method", "", "The method to invoke").short('m'))
    .flag(Flag::string("data", "", "The JSON serialized data string (optional)").short('d'))
    .flag(Flag::string("data-file", "", "A file containing the JSON serialized data (optional)").short('f'))
    .flag(Flag::string("verb", "POST", "The HTTP verb to use").short('v'))
    .flag(Flag::string("unix-domain-socket", "", socket).short('u'))
    .require(&["app-id", "method"])
    .run(run)
}

fn run(context: &Context, matches: &Matches) -> ExitCode {
    let Some(body) = payload::read(context, matches, "invoke") else { return ExitCode::FAILURE };
    if !matches.string("unix-domain-socket").is_empty() {
        context.say.warning("Unix domain sockets are currently a preview feature");
    }
    let app_id = matches.string("app-id");
    match context.block_on(invoke(matches, body)) {
        Ok(answer) => {
            if !answer.is_empty() {
                stdout(&format!("{}\n", String::from_utf8_lossy(&answer)));
            }
            context.say.success("App invoked successfully");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            context.say.failure(format!("error invoking app {app_id}: {reason}"));
            ExitCode::FAILURE
        }
    }
}

async fn invoke(matches: &Matches, body: Bytes) -> Result<Bytes, String> {
    let app_id = matches.string("app-id");
    let sidecar = instances::scan()
        .into_iter()
        .find(|sidecar| sidecar.app_id == app_id)
        .ok_or_else(|| format!("app ID {app_id} not found"))?;
    let endpoint = match matches.string("unix-domain-socket") {
        "" => sidecar.endpoint(),
        folder => Endpoint::socket(folder, app_id, "http"),
    };
    let verb = matches.string("verb");
    let call = Call {
        method: Method::from_bytes(verb.as_bytes())
            .map_err(|_| format!("net/http: invalid method {verb:?}"))?,
        path: &format!("/v1.0/invoke/{app_id}/method/{}", matches.string("method")),
        content_type: Some("application/json"),
        body,
    };
    let answer = send(&endpoint, call, None).await.map_err(|error| error.to_string())?;
    match answer.status.as_u16() {
        200..=399 => Ok(answer.body),
        code => Err(status_line(code)),
    }
}
