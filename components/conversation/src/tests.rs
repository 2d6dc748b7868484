//! Providers against a server that speaks their protocol.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dapr_components::Properties;
use dapr_components::conversation::{
    Conversation, Message, Part, Request, Response, Role, Tool, ToolCall, ToolResult,
};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_transport::Body;
use dapr_transport::listen::{self, BIND_PATIENCE};
use dapr_transport::server::{self, Peer, Protocol, Service};
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::model::LanguageModel;
use crate::providers::{self, Provider, Surroundings};

/// Remembers what it was asked and gives prepared answers.
struct Server {
    url: String,
    asked: Mutex<Vec<(String, HeaderMap, Value)>>,
    answer: Mutex<(u16, String)>,
    tasks: TaskGroup,
}

struct Listening(Arc<Server>);

impl Service for Listening {
    async fn call(&self, request: http::Request<Incoming>, _: Peer) -> http::Response<Body> {
        let (parts, body) = request.into_parts();
        let body = Body::from_incoming(body).collect().await.unwrap();
        let path = parts.uri.path_and_query().unwrap().to_string();
        let question = serde_json::from_slice(&body).unwrap();
        self.0.asked.lock().push((path, parts.headers, question));
        let (status, text) = self.0.answer.lock().clone();
        let mut response = http::Response::new(Body::from(text));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }
}

async fn server(answer: &Value) -> Arc<Server> {
    let listener = listen::bind("127.0.0.1", 0, BIND_PATIENCE).await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let tasks = TaskGroup::new(Shutdown::new());
    let server = Arc::new(Server {
        url,
        asked: Mutex::default(),
        answer: Mutex::new((200, answer.to_string())),
        tasks: tasks.clone(),
    });
    let options = server::Options::http(Protocol::Http1Only);
    tasks.spawn(
        "server",
        server::serve(listener, Arc::new(Listening(server.clone())), options, tasks.clone()),
    );
    server
}

impl Server {
    fn asked(&self) -> (String, HeaderMap, Value) {
        self.asked.lock().pop().expect("the server was asked")
    }

    fn build(&self, component: &str, properties: &[(&str, &str)]) -> LanguageModel {
        let mut all = vec![("endpoint", self.url.as_str())];
        all.extend_from_slice(properties);
        build(component, &all, &[], &self.tasks).unwrap()
    }
}

fn provider(component: &str) -> &'static Provider {
    providers::ALL.iter().find(|p| p.component == component).unwrap()
}

fn build(
    component: &str,
    properties: &[(&str, &str)],
    env: &[(&str, &str)],
    tasks: &TaskGroup,
) -> Result<LanguageModel, String> {
    let env: HashMap<_, _> = env.iter().copied().collect();
    let lookup = |name: &str| env.get(name).map(|v| (*v).to_owned());
    let around = Surroundings { env: &lookup, tasks: tasks.clone() };
    let properties = Properties::new(properties.iter().copied()).unwrap();
    provider(component).build(&properties, &around).map_err(|e| e.to_string())
}

fn message(role: Role, parts: &[Part]) -> Message {
    Message { role, parts: parts.to_vec() }
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

fn weather() -> Tool {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    Tool {
        name: "weather".into(),
        description: "How it is outside".into(),
        parameters: parameters.as_object().unwrap().clone(),
    }
}

/// A conversation in which a tool was called.
fn long_request() -> Request {
    let call = ToolCall { id: "c1".into(), name: "weather".into(), arguments: r#"{"city":"Ulm"}"#.into() };
    let result = ToolResult { call_id: "c1".into(), name: "weather".into(), content: "rain".into() };
    Request {
        messages: vec![
            message(Role::System, &[text("be brief")]),
            message(Role::User, &[text("a"), text("b")]),
            message(Role::Assistant, &[text(""), Part::ToolCall(call)]),
            message(Role::Tool, &[Part::ToolResult(result)]),
        ],
        tools: vec![weather()],
        tool_choice: Some("auto".into()),
        ..Request::default()
    }
}

fn simple_request() -> Request {
    Request { messages: vec![message(Role::User, &[text("hello")])], ..Request::default() }
}

fn completion() -> Value {
    json!({
        "id": "x", "object": "chat.completion", "model": "whatever",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}},
            {"index": 1, "finish_reason": null, "message": {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
            ]}}
        ],
        "usage": {
            "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0}
        }
    })
}

async fn converse(model: &LanguageModel, request: &Request) -> Result<Response, String> {
    tokio::time::timeout(Duration::from_secs(30), model.converse(request))
        .await
        .unwrap()
        .map_err(|e| e.to_string())
}

#[tokio::test]
async fn openai_is_asked_and_answers() {
    let server = server(&completion()).await;
    let model = server.build("conversation.openai", &[("key", "secret"), ("model", "gpt-4.1")]);
    let mut request = long_request();
    request.temperature = 0.5;
    request.metadata.insert("team".into(), "blue".into());
    request.metadata.insert("openai:x".into(), "hidden".into());
    request.prompt_cache_retention = Some(Duration::from_secs(86400));
    request.response_format = json!({"type": "object", "properties": {}}).as_object().cloned();
    let answer = converse(&model, &request).await.unwrap();
    let (path, headers, question) = server.asked();
    assert_eq!(path, "/v1/chat/completions");
    assert_eq!(headers["authorization"], "Bearer secret");
    assert_eq!(
        question,
        json!({
            "model": "gpt-4.1",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Ulm\"}"}}
                ]},
                {"role": "tool", "content": "rain", "tool_call_id": "c1"},
            ],
            "temperature": 0.5,
            "tools": [{"type": "function", "function": {
                "name": "weather", "description": "How it is outside",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            }}],
            "tool_choice": "auto",
            "response_format": {"type": "json_schema", "json_schema": {
                "name": "response", "strict": false,
                "schema": {"type": "object", "properties": {}, "additionalProperties": false},
            }},
            "metadata": {"team": "blue", "prompt_cache_retention": "24h0m0s"},
        })
    );
    assert_eq!((answer.model.as_str(), answer.outputs.len()), ("gpt-4.1", 2));
    let first = &answer.outputs[0].choices[0];
    assert_eq!((first.content.as_str(), first.finish_reason.as_str(), first.index), ("hi", "stop", 0));
    let second = &answer.outputs[1].choices[0];
    assert_eq!(
        (second.tool_calls[0].id.as_str(), second.finish_reason.as_str(), second.index),
        ("c2", "unknown", 1)
    );
    let usage = answer.usage.unwrap();
    assert_eq!((usage.prompt, usage.completion, usage.total), (3, 4, 7));
    assert_eq!(usage.prompt_details.unwrap().cached, 2);
    assert_eq!(usage.completion_details, None);
    server.tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn models_that_reason_are_asked_differently() {
    let server = server(&completion()).await;
    let model = server.build("conversation.openai", &[("key", "k")]);
    converse(&model, &simple_request()).await.unwrap();
    let (_, _, question) = server.asked();
    assert_eq!((question["model"].as_str(), question.get("temperature")), (Some("gpt-5-nano"), None));
    let model = server.build("conversation.openai", &[("key", "k"), ("model", "o1-mini")]);
    converse(&model, &long_request()).await.unwrap();
    let (_, _, question) = server.asked();
    assert_eq!(question["messages"][0]["content"][0]["text"], "be brief\n\n");
    assert_eq!(question["messages"][0]["role"], "user");
}

#[tokio::test]
async fn a_tool_can_be_demanded_by_name() {
    let server = server(&completion()).await;
    let model = server.build("conversation.ollama", &[]);
    let mut request = long_request();
    request.tool_choice = Some("weather".into());
    converse(&model, &request).await.unwrap();
    let (_, headers, question) = server.asked();
    assert_eq!(question["tool_choice"], json!({"type": "function", "function": {"name": "weather"}}));
    assert_eq!(headers["authorization"], "Bearer ollama");
    assert_eq!(question["temperature"], 0.0);
}

#[tokio::test]
async fn azure_has_its_own_address_and_header() {
    let server = server(&completion()).await;
    let base = server.url.trim_end_matches("/v1").to_owned();
    let properties =
        [("key", "k"), ("apiType", "Azure"), ("apiVersion", "2025-01-01"), ("endpoint", base.as_str())];
    let model = build("conversation.openai", &properties, &[], &server.tasks).unwrap();
    converse(&model, &simple_request()).await.unwrap();
    let (path, headers, _) = server.asked();
    assert_eq!(path, "/openai/deployments/gpt-4.1-nano/chat/completions?api-version=2025-01-01");
    assert_eq!(headers["api-key"], "k");
    let error = build("conversation.openai", &[("key", "k"), ("apiType", "azure")], &[], &server.tasks);
    assert_eq!(
        error.err().unwrap(),
        "endpoint and apiVersion must be provided when apiType is set to 'azure'"
    );
}

#[tokio::test]
async fn refusals_are_told_with_their_text() {
    let server = server(&completion()).await;
    let model = server.build("conversation.deepseek", &[("key", "k")]);
    for (status, body, expected) in [
        (
            401,
            r#"{"error":{"message":"no such key"}}"#,
            "API returned unexpected status code: 401: no such key",
        ),
        (503, "gone", "API returned unexpected status code: 503"),
        (200, r#"{"choices":[]}"#, "empty response"),
    ] {
        *server.answer.lock() = (status, body.to_owned());
        assert_eq!(converse(&model, &simple_request()).await.unwrap_err(), expected);
    }
    *server.answer.lock() = (200, "<html>".into());
    let error = converse(&model, &simple_request()).await.unwrap_err();
    assert!(error.starts_with("the API server's answer cannot be read"), "{error}");
    server.tasks.stop(Duration::from_secs(5)).await;
    let tasks = TaskGroup::new(Shutdown::new());
    let gone = build("conversation.ollama", &[("endpoint", "http://127.0.0.1:9")], &[], &tasks).unwrap();
    let error = converse(&gone, &simple_request()).await.unwrap_err();
    assert!(error.starts_with("network error: failed to reach API server"), "{error}");
}

#[tokio::test]
async fn an_empty_answer_to_a_demand_for_tools_is_a_failure() {
    let answer = json!({"choices": [{"finish_reason": "stop", "message": {"content": ""}}]});
    let server = server(&answer).await;
    let model = server.build("conversation.huggingface", &[("key", "k")]);
    let mut request = long_request();
    request.tool_choice = Some("required".into());
    let error = converse(&model, &request).await.unwrap_err();
    assert_eq!(error, "LLM returned empty response with no tool calls despite 1 tools being available");
    request.tool_choice = None;
    let answer = converse(&model, &request).await.unwrap();
    assert_eq!(answer.usage, None);
}

#[tokio::test]
async fn tool_messages_have_one_result() {
    let server = server(&completion()).await;
    let model = server.build("conversation.openai", &[("key", "k")]);
    let result = || Part::ToolResult(ToolResult::default());
    let ask = |parts: &[Part]| Request { messages: vec![message(Role::Tool, parts)], ..Request::default() };
    let error = converse(&model, &ask(&[result(), result()])).await.unwrap_err();
    assert_eq!(error, "expected exactly one part for role tool, got 2");
    assert!(converse(&model, &ask(&[text("x")])).await.is_err());
    assert!(server.asked.lock().is_empty());
}

#[tokio::test]
async fn answers_are_kept_when_asked_to() {
    let server = server(&completion()).await;
    let model = server.build("conversation.openai", &[("key", "k"), ("cacheTTL", "10m")]);
    let answers = [converse(&model, &simple_request()).await, converse(&model, &simple_request()).await];
    assert_eq!(answers[0], answers[1]);
    assert_eq!(server.asked.lock().len(), 1);
    converse(&model, &long_request()).await.unwrap();
    assert_eq!(server.asked.lock().len(), 2);
}

#[tokio::test]
async fn anthropic_is_asked_and_answers() {
    let server = server(&json!({
        "id": "m", "type": "message", "role": "assistant", "stop_reason": "tool_use",
        "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "one"}, {"type": "text", "text": "two"},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Ulm"}},
        ],
        "usage": {"input_tokens": 5, "output_tokens": 6},
    }))
    .await;
    let model = server.build("conversation.anthropic", &[("key", "secret"), ("model", "claude")]);
    let answer = converse(&model, &long_request()).await.unwrap();
    let (path, headers, question) = server.asked();
    assert_eq!(path, "/v1/messages");
    assert_eq!(headers["x-api-key"], "secret");
    assert_eq!(headers["anthropic-version"], "2023-06-01");
    assert_eq!(
        question,
        json!({
            "model": "claude", "system": "be brief", "max_tokens": 2048, "temperature": 0.0,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Ulm"}},
                ]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "rain"}]},
            ],
            "tools": [{
                "name": "weather", "description": "How it is outside",
                "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
            }],
            "tool_choice": {"type": "auto"},
        })
    );
    let choice = &answer.outputs[0].choices[0];
    assert_eq!((choice.content.as_str(), choice.finish_reason.as_str()), ("one\ntwo", "tool_use"));
    assert_eq!(choice.tool_calls[0].arguments, r#"{"city":"Ulm"}"#);
    assert_eq!(answer.usage.unwrap().total, 11);
}

#[tokio::test]
async fn anthropic_answers_in_a_given_shape() {
    let server = server(&json!({
        "stop_reason": "tool_use",
        "content": [{"type": "tool_use", "id": "t1", "name": "person", "input": {"name": "Ada"}}],
    }))
    .await;
    let model = server.build("conversation.anthropic", &[("key", "k")]);
    let mut request = simple_request();
    request.response_format = json!({"type": "object", "name": "person"}).as_object().cloned();
    let answer = converse(&model, &request).await.unwrap();
    let (_, _, question) = server.asked();
    assert_eq!(question["tool_choice"], json!({"type": "tool", "name": "person"}));
    assert_eq!(answer.outputs[0].choices[0].content, r#"{"name":"Ada"}"#);
    assert!(answer.outputs[0].choices[0].tool_calls.is_empty());
}

#[test]
fn mistral_reads_tools_as_text() {
    let request = long_request();
    let question = serde_json::to_value(crate::mistral::question("open-mistral-7b", &request)).unwrap();
    assert_eq!(
        question["messages"],
        json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "Tool call [ID: c1]: weather({\"city\":\"Ulm\"})"},
            {"role": "user", "content": "Tool response [ID: c1, Name: weather]: rain"},
        ])
    );
    assert_eq!((&question["temperature"], &question["max_tokens"]), (&json!(1.0), &json!(4000)));
}

#[tokio::test]
async fn keys_are_required_where_they_are() {
    let tasks = TaskGroup::new(Shutdown::new());
    for (component, expected) in [
        (
            "conversation.openai",
            "missing the OpenAI API key, set it in the OPENAI_API_KEY environment variable",
        ),
        ("conversation.mistral", "mistral api key is required"),
        (
            "conversation.anthropic",
            "anthropic: failed to create client: missing the Anthropic API key, set it in the ANTHROPIC_API_KEY environment variable",
        ),
    ] {
        assert_eq!(build(component, &[], &[], &tasks).err().unwrap(), expected);
    }
    let foundry = [("key", "k"), ("apiType", "foundry")];
    let error = build("conversation.anthropic", &foundry, &[], &tasks).err().unwrap();
    assert_eq!(error, "endpoint must be provided when apiType is set to 'foundry'");
    for provider in providers::ALL {
        build(provider.component, &[("key", "k")], &[], &tasks).unwrap();
    }
    let error = build("conversation.ollama", &[("endpoint", "localhost:1")], &[], &tasks).err().unwrap();
    assert!(error.contains("localhost:1"), "{error}");
}

#[tokio::test]
async fn the_environment_outranks_the_metadata() {
    let server = server(&completion()).await;
    let properties = [("key", "k"), ("model", "from-metadata")];
    let env = [("OPENAI_MODEL", "from-env"), ("OPENAI_BASE_URL", server.url.as_str())];
    let model = build("conversation.openai", &properties, &env, &server.tasks).unwrap();
    assert_eq!(converse(&model, &simple_request()).await.unwrap().model, "from-env");
}
