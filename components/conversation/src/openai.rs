//! OpenAI's chat completions, which many others speak too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use async_trait::async_trait;
use dapr_components::conversation::{
    Choice, CompletionDetails, Error, Message, Part, PromptDetails, Request, Role, ToolCall, Usage,
};
use dapr_gocompat::duration::format_duration;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;
use crate::mistral;
use crate::model::{Answer, Provider};
use crate::schema::Structured;

/// Metadata that only means something on the way here.
const INTERNAL_METADATA: [&str; 2] = ["thinking_config", "openai:"];

/// Deviations from the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Standard,
    /// Tools are told of as text, and there are defaults of its own.
    Mistral,
}

pub(crate) struct Chat {
    pub endpoint: Endpoint,
    pub model: String,
    pub dialect: Dialect,
}

#[async_trait]
impl Provider for Chat {
    async fn generate(&self, request: &Request) -> Result<Answer, Error> {
        let question = match self.dialect {
            Dialect::Standard => self.question(request)?,
            Dialect::Mistral => mistral::question(&self.model, request),
        };
        let completion: Completion = self.endpoint.post(&question).await?;
        if completion.choices.is_empty() {
            return Err(Error::new("empty response"));
        }
        Ok(Answer {
            choices: completion.choices.into_iter().map(Choice::from).collect(),
            usage: completion.usage.unwrap_or_default().into(),
        })
    }
}

#[derive(Serialize)]
pub(crate) struct Question<'a> {
    pub model: &'a str,
    pub messages: Vec<ChatMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<&'a str, Cow<'a, str>>,
    /// What one provider wants besides.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Default, Serialize)]
pub(crate) struct ChatMessage<'a> {
    pub role: &'static str,
    pub content: Content<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<WireCall>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub tool_call_id: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Content<'a> {
    One(Cow<'a, str>),
    Many(Vec<TextPart<'a>>),
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::One(Cow::Borrowed(""))
    }
}

#[derive(Serialize)]
pub(crate) struct TextPart<'a> {
    r#type: &'static str,
    text: Cow<'a, str>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct WireCall {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(default = "function_word", rename = "type")]
    kind: String,
    #[serde(default)]
    function: WireFunction,
}

fn function_word() -> String {
    "function".to_owned()
}

#[derive(Default, Deserialize, Serialize)]
struct WireFunction {
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: String,
}

impl Chat {
    fn question<'a>(&'a self, request: &'a Request) -> Result<Question<'a>, Error> {
        let model = self.model.as_str();
        Ok(Question {
            model,
            messages: messages(&request.messages, takes_system_messages(model))?,
            // Sent even when nobody asked for one: zero, as Dapr has it.
            temperature: (!has_fixed_temperature(model)).then_some(request.temperature),
            tools: tools(request),
            tool_choice: tool_choice(request),
            response_format: response_format(request),
            metadata: metadata(request),
            more: Map::new(),
        })
    }
}

/// Models that reason take no temperature.
fn has_fixed_temperature(model: &str) -> bool {
    model == "o3" || ["o1-", "o3-", "gpt-5"].iter().any(|prefix| model.starts_with(prefix))
}

/// The first models that reason take no system messages.
fn takes_system_messages(model: &str) -> bool {
    let model = model.to_ascii_lowercase();
    !["o1", "o3"].iter().any(|family| {
        model.strip_prefix(family).is_some_and(|rest| matches!(rest, "" | "-mini" | "-preview"))
    })
}

fn messages(messages: &[Message], system: bool) -> Result<Vec<ChatMessage<'_>>, Error> {
    // What the system says goes before what the user says first.
    let mut preface = match system {
        true => None,
        false => Some(system_text(messages)).filter(|t| !t.is_empty()),
    };
    let mut out = Vec::with_capacity(messages.len());
    for message in messages {
        if message.role == Role::System && !system {
            continue;
        }
        if message.role == Role::Tool {
            out.push(tool_result(message)?);
            continue;
        }
        let mut texts: Vec<Cow<'_, str>> = texts(message).map(Cow::Borrowed).collect();
        if message.role == Role::User
            && let Some(preface) = preface.take()
        {
            texts.insert(0, Cow::Owned(format!("{preface}\n\n")));
        }
        out.push(ChatMessage {
            role: role(message.role),
            content: content(texts),
            tool_calls: calls(message),
            tool_call_id: "",
        });
    }
    Ok(out)
}

fn system_text(messages: &[Message]) -> String {
    let system = messages.iter().filter(|m| m.role == Role::System);
    system.flat_map(texts).collect::<Vec<_>>().join("\n\n")
}

fn texts(message: &Message) -> impl Iterator<Item = &str> {
    message.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

fn content(mut texts: Vec<Cow<'_, str>>) -> Content<'_> {
    if texts.len() < 2 {
        return texts.pop().map_or_else(Content::default, Content::One);
    }
    Content::Many(texts.into_iter().map(|text| TextPart { r#type: "text", text }).collect())
}

pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::User | Role::Generic => "user",
        Role::System => "system",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        Role::Function => "function",
    }
}

fn calls(message: &Message) -> Vec<WireCall> {
    let call = |part: &Part| match part {
        Part::ToolCall(ToolCall { id, name, arguments }) => Some(WireCall {
            id: id.clone(),
            kind: function_word(),
            function: WireFunction { name: name.clone(), arguments: arguments.clone() },
        }),
        _ => None,
    };
    message.parts.iter().filter_map(call).collect()
}

fn tool_result(message: &Message) -> Result<ChatMessage<'_>, Error> {
    match message.parts.as_slice() {
        [Part::ToolResult(result)] => Ok(ChatMessage {
            role: role(Role::Tool),
            content: Content::One(Cow::Borrowed(&result.content)),
            tool_call_id: &result.call_id,
            ..ChatMessage::default()
        }),
        [_] => Err(Error::new("expected the result of a tool call for role tool, got a text")),
        parts => Err(Error::new(format!("expected exactly one part for role tool, got {}", parts.len()))),
    }
}

pub(crate) fn tools(request: &Request) -> Vec<Value> {
    let tool = |tool: &dapr_components::conversation::Tool| {
        let mut function = json!({"name": tool.name, "parameters": tool.parameters});
        if !tool.description.is_empty() {
            function["description"] = json!(tool.description);
        }
        json!({"type": "function", "function": function})
    };
    request.tools.iter().map(tool).collect()
}

pub(crate) fn tool_choice(request: &Request) -> Option<Value> {
    match request.tool_choice.as_deref()? {
        _ if request.tools.is_empty() => None,
        word @ ("auto" | "none" | "required") => Some(json!(word)),
        name => Some(json!({"type": "function", "function": {"name": name}})),
    }
}

pub(crate) fn response_format(request: &Request) -> Option<Value> {
    let Structured { name, strict, schema, .. } = Structured::of(request)?;
    Some(json!({"type": "json_schema", "json_schema": {"name": name, "strict": strict, "schema": schema}}))
}

fn metadata(request: &Request) -> BTreeMap<&str, Cow<'_, str>> {
    let internal = |key: &str| INTERNAL_METADATA.iter().any(|prefix| key.starts_with(prefix));
    let given = request.metadata.iter().filter(|(key, _)| !internal(key));
    let mut all: BTreeMap<_, _> = given.map(|(k, v)| (k.as_str(), Cow::Borrowed(v.as_str()))).collect();
    if let Some(retention) = request.prompt_cache_retention {
        all.insert("prompt_cache_retention", Cow::Owned(format_duration(retention)));
    }
    all
}

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    choices: Vec<WireChoice>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct WireChoice {
    message: WireAnswer,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct WireAnswer {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<WireCall>>,
}

impl From<WireChoice> for Choice {
    fn from(choice: WireChoice) -> Self {
        let call = |call: WireCall| ToolCall {
            id: call.id,
            name: call.function.name,
            arguments: call.function.arguments,
        };
        Self {
            finish_reason: choice.finish_reason.unwrap_or_default(),
            index: 0,
            content: choice.message.content.unwrap_or_default(),
            tool_calls: choice.message.tool_calls.unwrap_or_default().into_iter().map(call).collect(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: Option<WirePromptDetails>,
    completion_tokens_details: Option<WireCompletionDetails>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WirePromptDetails {
    cached_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCompletionDetails {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    accepted_prediction_tokens: Option<u64>,
    rejected_prediction_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(usage: WireUsage) -> Self {
        Self {
            completion: usage.completion_tokens,
            prompt: usage.prompt_tokens,
            total: usage.total_tokens,
            completion_details: usage.completion_tokens_details.map(|d| CompletionDetails {
                accepted_prediction: d.accepted_prediction_tokens.unwrap_or(0),
                audio: d.audio_tokens.unwrap_or(0),
                reasoning: d.reasoning_tokens.unwrap_or(0),
                rejected_prediction: d.rejected_prediction_tokens.unwrap_or(0),
            }),
            prompt_details: usage.prompt_tokens_details.map(|d| PromptDetails {
                audio: d.audio_tokens.unwrap_or(0),
                cached: d.cached_tokens.unwrap_or(0),
            }),
        }
    }
}
