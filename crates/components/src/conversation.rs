//! Language models (components.md §10). What is asked and answered has the
//! shape of a chat: messages with roles, calls of tools, choices.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Error {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Role {
    User,
    System,
    Assistant,
    Tool,
    /// The result of a function, before tools had identifiers.
    Function,
    /// Somebody; models take it for the user.
    Generic,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Part {
    Text(String),
    /// What the assistant asked for.
    ToolCall(ToolCall),
    /// What came of it.
    ToolResult(ToolResult),
}

/// A function that the application is asked to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ToolCall {
    /// May be empty.
    pub id: String,
    pub name: String,
    /// JSON, but nobody vouches for that.
    pub arguments: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ToolResult {
    /// [`ToolCall::id`] that this answers; may be empty.
    pub call_id: String,
    pub name: String,
    pub content: String,
}

/// A function that the model may ask for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tool {
    pub name: String,
    pub description: String,
    /// JSON schema of the arguments.
    pub parameters: Map<String, Value>,
}

/// One turn of a conversation; models remember nothing, so it holds all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Request {
    pub messages: Vec<Message>,
    pub tools: Vec<Tool>,
    /// `auto`, `none`, `required` or the name of a tool.
    pub tool_choice: Option<String>,
    /// Zero leaves it to the component.
    pub temperature: f64,
    /// For the model's provider.
    pub metadata: BTreeMap<String, String>,
    /// JSON schema that the answer has to satisfy.
    pub response_format: Option<Map<String, Value>>,
    /// How long the provider should keep the prompt, where it can.
    pub prompt_cache_retention: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub outputs: Vec<Output>,
    /// Empty when the component has no model.
    pub model: String,
    pub usage: Option<Usage>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub choices: Vec<Choice>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// `stop`, `tool_calls`, `length`, ...; `unknown` when the model gave none.
    pub finish_reason: String,
    pub index: i64,
    pub content: String,
    pub tool_calls: Vec<ToolCall>,
}

/// In tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub completion: u64,
    pub prompt: u64,
    pub total: u64,
    pub completion_details: Option<CompletionDetails>,
    pub prompt_details: Option<PromptDetails>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompletionDetails {
    pub accepted_prediction: u64,
    pub audio: u64,
    pub reasoning: u64,
    pub rejected_prediction: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptDetails {
    pub audio: u64,
    pub cached: u64,
}

#[async_trait]
pub trait Conversation: Send + Sync + 'static {
    async fn converse(&self, request: &Request) -> Result<Response, Error>;

    async fn close(&self) {}
}
