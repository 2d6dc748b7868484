//! Anthropic's messages.

use async_trait::async_trait;
use dapr_components::conversation::{Choice, Error, Message, Part, Request, Role, ToolCall, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;
use crate::model::{Answer, Provider};
use crate::schema::Structured;

/// Longest answer, in tokens: the API wants a limit.
const MAX_TOKENS: u32 = 2048;

pub(crate) struct Messages {
    pub endpoint: Endpoint,
    pub model: String,
}

#[async_trait]
impl Provider for Messages {
    async fn generate(&self, request: &Request) -> Result<Answer, Error> {
        let structured = Structured::of(request);
        let question = question(&self.model, request, structured.as_ref())?;
        let reply: Reply = self.endpoint.post(&question).await.map_err(|e| failed(&e))?;
        if reply.content.is_empty() {
            return Err(Error::new("no response"));
        }
        let usage = reply.usage.clone().into();
        let choice = match structured {
            None => free(reply),
            Some(structured) => bound(reply, &structured.name)?,
        };
        Ok(Answer { choices: vec![choice], usage })
    }
}

fn failed(reason: &dyn std::fmt::Display) -> Error {
    Error::new(format!("anthropic: failed to create message: {reason}"))
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: Vec<Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    system: String,
    max_tokens: u32,
    temperature: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
}

fn question<'a>(
    model: &'a str,
    request: &Request,
    structured: Option<&Structured>,
) -> Result<Question<'a>, Error> {
    let mut tools: Vec<Value> = request
        .tools
        .iter()
        .map(|t| tool(&t.name, &t.description, &Value::Object(t.parameters.clone())))
        .collect();
    let tool_choice = match structured {
        None => tool_choice(request),
        // An answer of a given shape is the call of a tool with such arguments.
        Some(Structured { name, description, schema, .. }) => {
            tools.push(tool(name, description, schema));
            Some(json!({"type": "tool", "name": name}))
        }
    };
    let mut messages = Vec::with_capacity(request.messages.len());
    let mut system = String::new();
    for message in &request.messages {
        match message.role {
            Role::System => system.extend(texts(message)),
            Role::Function | Role::Generic => {
                return Err(Error::new("anthropic: unsupported message type"));
            }
            role => messages.push(chat_message(role, message)?),
        }
    }
    Ok(Question {
        model,
        messages,
        system,
        max_tokens: MAX_TOKENS,
        temperature: request.temperature,
        tools,
        tool_choice,
    })
}

fn tool(name: &str, description: &str, schema: &Value) -> Value {
    let mut tool = json!({"name": name, "input_schema": schema});
    if !description.is_empty() {
        tool["description"] = json!(description);
    }
    tool
}

fn tool_choice(request: &Request) -> Option<Value> {
    match request.tool_choice.as_deref()? {
        _ if request.tools.is_empty() => None,
        "required" => Some(json!({"type": "any"})),
        word @ ("auto" | "none") => Some(json!({"type": word})),
        name => Some(json!({"type": "tool", "name": name})),
    }
}

fn texts(message: &Message) -> impl Iterator<Item = &str> {
    message.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

fn chat_message(role: Role, message: &Message) -> Result<Value, Error> {
    let role = if role == Role::Assistant { "assistant" } else { "user" };
    // The API refuses empty texts; an assistant's often is, beside a call.
    let wanted = |part: &&Part| !matches!(part, Part::Text(text) if text.is_empty());
    let blocks = message.parts.iter().filter(wanted).map(block).collect::<Result<Vec<_>, _>>()?;
    if blocks.is_empty() {
        return Err(Error::new(format!("anthropic: no valid content in {role} message")));
    }
    Ok(json!({"role": role, "content": blocks}))
}

fn block(part: &Part) -> Result<Value, Error> {
    Ok(match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::ToolCall(call) => {
            let input: Map<String, Value> = match call.arguments.as_str() {
                "" => Map::new(),
                text => serde_json::from_str(text).map_err(|e| {
                    Error::new(format!("anthropic: failed to unmarshal tool call arguments: {e}"))
                })?,
            };
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
        }
        Part::ToolResult(result) => {
            json!({"type": "tool_result", "tool_use_id": result.call_id, "content": result.content})
        }
    })
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    content: Vec<Block>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: WireUsage,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
    },
    /// Thoughts, and whatever else there will be.
    #[serde(other)]
    Other,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    input_tokens: u64,
    output_tokens: u64,
}

impl From<WireUsage> for Usage {
    fn from(usage: WireUsage) -> Self {
        let WireUsage { input_tokens: prompt, output_tokens: completion } = usage;
        Self { completion, prompt, total: prompt + completion, ..Self::default() }
    }
}

fn free(reply: Reply) -> Choice {
    let mut texts = Vec::new();
    let mut tool_calls = Vec::new();
    for block in reply.content {
        match block {
            Block::Text { text } => texts.push(text),
            Block::ToolUse { id, name, input } => {
                tool_calls.push(ToolCall { id, name, arguments: arguments(&input) });
            }
            Block::Other => {}
        }
    }
    Choice {
        finish_reason: reply.stop_reason.unwrap_or_default(),
        index: 0,
        content: texts.join("\n"),
        tool_calls,
    }
}

/// The arguments of the tool called `name` are the answer.
fn bound(reply: Reply, name: &str) -> Result<Choice, Error> {
    let called = reply.content.into_iter().find_map(|block| match block {
        Block::ToolUse { name: called, input, .. } if called == name => Some(input),
        _ => None,
    });
    let input =
        called.ok_or_else(|| Error::new("anthropic: structured output tool call not found in response"))?;
    Ok(Choice {
        finish_reason: reply.stop_reason.unwrap_or_default(),
        index: 0,
        content: arguments(&input),
        tool_calls: Vec::new(),
    })
}

fn arguments(input: &Value) -> String {
    if input.is_null() { "{}".to_owned() } else { input.to_string() }
}
