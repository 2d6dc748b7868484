//! What Mistral wants differently: one message a text, and past calls of tools
//! told as text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use dapr_components::conversation::{Message, Part, Request, Role, ToolResult};
use serde_json::{Map, json};

use crate::openai::{ChatMessage, Content, Question, response_format, role, tool_choice, tools};

/// Of a request that names none.
const DEFAULT_TEMPERATURE: f64 = 1.0;

pub(crate) fn question<'a>(model: &'a str, request: &'a Request) -> Question<'a> {
    let temperature = if request.temperature > 0.0 { request.temperature } else { DEFAULT_TEMPERATURE };
    let mut more = Map::new();
    more.insert("max_tokens".into(), json!(4000));
    more.insert("top_p".into(), json!(1));
    more.insert("random_seed".into(), json!(42069));
    more.insert("safe_prompt".into(), json!(false));
    Question {
        model,
        messages: request.messages.iter().flat_map(messages).collect(),
        temperature: Some(temperature),
        tools: tools(request),
        tool_choice: tool_choice(request),
        response_format: response_format(request),
        metadata: BTreeMap::new(),
        more,
    }
}

fn messages(message: &Message) -> Vec<ChatMessage<'_>> {
    let results: Vec<&ToolResult> = message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::ToolResult(result) => Some(result),
            _ => None,
        })
        .collect();
    let mut texts: Vec<Cow<'_, str>> = message.parts.iter().filter_map(text).collect();
    if let Some(told) = told(&results) {
        texts.push(Cow::Owned(told));
    }
    let role = match message.role {
        Role::Tool if !results.is_empty() => role(Role::User),
        Role::Function => role(Role::Tool),
        other => role(other),
    };
    texts
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(|text| ChatMessage { role, content: Content::One(text), ..ChatMessage::default() })
        .collect()
}

fn text(part: &Part) -> Option<Cow<'_, str>> {
    match part {
        Part::Text(text) => Some(Cow::Borrowed(text)),
        Part::ToolCall(call) => {
            Some(Cow::Owned(format!("Tool call [ID: {}]: {}({})", call.id, call.name, call.arguments)))
        }
        Part::ToolResult(_) => None,
    }
}

/// All results of one message; the first identifier and name stand for all.
fn told(results: &[&ToolResult]) -> Option<String> {
    let first = |field: fn(&ToolResult) -> &str| {
        results.iter().map(|r| field(r)).find(|text| !text.is_empty()).unwrap_or_default()
    };
    let contents: Vec<&str> = results.iter().map(|r| r.content.as_str()).collect();
    (!results.is_empty()).then(|| {
        let (id, name) = (first(|r| &r.call_id), first(|r| &r.name));
        format!("Tool response [ID: {id}, Name: {name}]: {}", contents.join("\n"))
    })
}
