//! The sidecar's metadata: reading it, and the attributes by which other
//! commands recognise what `run` started (cli.md §4.5).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::http_client::{Call, Endpoint, HttpError, send};

const PATH: &str = "/v1.0/metadata";
/// A sidecar that accepts but never answers must not hang the command.
const GET_LIMIT: Duration = Duration::from_secs(3);
const PUT_LIMIT: Duration = Duration::from_secs(10);
/// How long a refused write is repeated: what a backoff of one second that
/// doubles four times comes to. The first repeats are quicker, because a
/// sidecar usually needs milliseconds.
const PUT_PATIENCE: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The `extended` map of the sidecar; an entry that is no string is left out.
pub(crate) async fn extended(endpoint: &Endpoint) -> Option<BTreeMap<String, String>> {
    let call = Call { method: Method::GET, path: PATH, content_type: None, body: Bytes::new() };
    let answer = send(endpoint, call, Some(GET_LIMIT)).await.ok()?;
    let metadata: Value = serde_json::from_slice(&answer.body).ok()?;
    let extended = metadata.get("extended").and_then(Value::as_object);
    let texts = extended
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    Some(texts.collect())
}

/// Sets one attribute, repeating while the sidecar is not up or overloaded.
pub(crate) async fn put(endpoint: &Endpoint, key: &str, value: &str) -> Result<(), String> {
    let path = format!("{PATH}/{key}");
    let give_up = Instant::now() + PUT_PATIENCE;
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let body = Bytes::copy_from_slice(value.as_bytes());
        let call = Call { method: Method::PUT, path: &path, content_type: None, body };
        let problem = match send(endpoint, call, Some(PUT_LIMIT)).await {
            Ok(answer) if !worth_repeating(answer.status) => return Ok(()),
            Ok(answer) => format!("{}{path} answered {}", endpoint.url(), answer.status),
            Err(error @ HttpError::Request(_)) => return Err(error.to_string()),
            Err(error) => error.to_string(),
        };
        if Instant::now() + pause > give_up {
            return Err(format!("giving up after {attempts} attempt(s): {problem}"));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn worth_repeating(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}
