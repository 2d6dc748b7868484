//! CloudEvents and the expressions that route them.

use std::collections::{BTreeMap, HashMap};

use dapr_blocks::pubsub::cloudevent::{self, Publish};
use dapr_blocks::pubsub::{Origin, Route, Rule};
use dapr_components::ttl::{message_ttl, state_ttl};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Target, join, parts};

pub const CLOUDEVENT: Target = Target {
    name: "cloudevent",
    run: cloudevent,
    seeds: || {
        vec![
            join(&["application/json", "ttlInSeconds=10\ncloudevent.id=x", r#"{"a":[1,2.50,"x"],"b":null}"#]),
            join(&["text/plain; charset=utf-8", "ttl=1h", "hello <world>"]),
            join(&["application/octet-stream", "traceparent=00-1-2-01", "\0\u{1}"]),
            join(&[
                "application/cloudevents+json",
                "",
                r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"x":1},"expiration":"2026-01-02T03:04:05Z","traceid":7}"#,
            ]),
        ]
    },
    words: &[
        "application/cloudevents+json",
        "application/json",
        "+json",
        "ttlInSeconds=",
        "cloudevent.",
        "\"expiration\":",
        "\"data_base64\":",
        "{\"a\":",
        "[",
        "2026-01-02T3:04:05,5+23:59",
    ],
};

fn metadata_of(text: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(text);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn cloudevent(input: &[u8]) {
    let [content_type, metadata, data] = parts::<3>(input);
    let content_type = String::from_utf8_lossy(content_type);
    let metadata = metadata_of(metadata);
    let _ = state_ttl(&metadata);
    let publish = Publish {
        source: "app",
        topic: "orders",
        pubsub: "pubsub",
        content_type: &content_type,
        data,
        trace_parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        trace_state: "",
        ttl: message_ttl(&metadata).ok().flatten(),
    };
    if let Ok(event) = cloudevent::wrap(&publish, &metadata) {
        // Numbers keep their digits, so that some are too large for a value.
        let whole: Result<BTreeMap<String, &RawValue>, _> = serde_json::from_slice(&event);
        assert!(whole.is_ok(), "an envelope is an object: {event:?}");
        if let Ok(mut event) = serde_json::from_slice::<Map<String, Value>>(&event) {
            cloudevent::complete_trace(&mut event, &metadata);
            let _ = cloudevent::has_expired(&event);
        }
    }
    let mut raw = cloudevent::from_raw(data, "orders", "pubsub", &metadata);
    cloudevent::complete_trace(&mut raw, &metadata);
}

pub const ROUTES: Target = Target {
    name: "routes",
    run: routes,
    seeds: || {
        let event =
            r#"{"type":"order","data":{"n":5,"list":[1,2],"name":"x"},"time":"2026-01-02T03:04:05Z"}"#;
        [
            "event.type == 'order'",
            "event.data.n > 3 && has(event.data.name)",
            "event.data.list.exists(x, x == 2) || size(event.type) > 10",
            "event.type.matches('^o.*r$') ? true : false",
            "timestamp(event.time) < timestamp('2030-01-01T00:00:00Z') && duration('1h') > duration('1m')",
            "!(event.data.n % 2 == 0) && event.type in ['a', 'b']",
        ]
        .map(|expression| join(&[expression, event]))
        .to_vec()
    },
    words: &[
        "(",
        ")",
        "[",
        "{",
        "!",
        "-",
        "?",
        ":",
        "&&",
        "||",
        "event",
        ".data",
        "'",
        "b'",
        "r\"",
        "0x",
        "1u",
        "/0",
        "%0",
        ".map(x, x)",
        ".all(x, ",
        "size(",
        "matches('(a+)+$')",
        "duration('",
        "int(",
        "-9223372036854775808",
    ],
};

fn routes(input: &[u8]) {
    let [expression, event] = parts::<2>(input);
    let Ok(rule) = Rule::new(&String::from_utf8_lossy(expression), "/path") else { return };
    let Ok(event) = serde_json::from_slice::<Map<String, Value>>(event) else { return };
    let route = Route {
        pubsub: "pubsub".to_owned(),
        topic: "orders".to_owned(),
        rules: vec![rule],
        metadata: BTreeMap::new(),
        dead_letter_topic: String::new(),
        bulk: None,
        origin: Origin::Declarative,
    };
    if let Ok(Some(path)) = route.find(&event) {
        assert_eq!(path, "/path");
    }
}
