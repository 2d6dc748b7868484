//! Answers with what it is told: for trying things out and for tests.

use async_trait::async_trait;
use dapr_components::conversation::{
    Choice, Conversation, Error, Output, Part, Request, Response, Tool, ToolCall, Usage,
};
use serde_json::Value;

pub(crate) struct Echo;

#[async_trait]
impl Conversation for Echo {
    /// One output: all texts, one a line. Tools are called with the names of
    /// their parameters.
    async fn converse(&self, request: &Request) -> Result<Response, Error> {
        let mut tool_calls = request
            .tools
            .iter()
            .enumerate()
            .map(|(index, tool)| call_of(index, tool))
            .collect::<Result<Vec<_>, _>>()?;
        let mut texts = Vec::new();
        for part in request.messages.iter().flat_map(|m| &m.parts) {
            match part {
                Part::Text(text) => texts.push(text.clone()),
                Part::ToolCall(call) => tool_calls.push(call.clone()),
                Part::ToolResult(result) => texts.push(format!(
                    "Tool Response for tool ID '{}' with name '{}': {}",
                    result.call_id, result.name, result.content
                )),
            }
        }
        let content = texts.join("\n");
        let words = content.split_whitespace().count() as u64;
        let finish_reason = if tool_calls.is_empty() { "stop" } else { "tool_calls" };
        let choice = Choice { finish_reason: finish_reason.into(), index: 0, content, tool_calls };
        Ok(Response {
            outputs: vec![Output { choices: vec![choice] }],
            model: String::new(),
            usage: Some(Usage { completion: words, prompt: words, total: 2 * words, ..Usage::default() }),
        })
    }
}

fn call_of(index: usize, tool: &Tool) -> Result<ToolCall, Error> {
    let mut arguments = match tool.parameters.get("properties") {
        None => Vec::new(),
        Some(Value::Object(properties)) => properties.keys().map(String::as_str).collect(),
        Some(other) => {
            return Err(Error::new(format!(
                "tool function properties must be a map[string]any, got {}",
                go_type(other)
            )));
        }
    };
    arguments.sort_unstable();
    Ok(ToolCall { id: index.to_string(), name: tool.name.clone(), arguments: arguments.join(",") })
}

/// What Go calls the type of a decoded JSON value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use dapr_components::conversation::{Message, Role, ToolResult};
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> serde_json::Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[tokio::test]
    async fn texts_tool_results_and_calls_come_back() {
        let call = ToolCall { id: "c1".into(), name: "f".into(), arguments: "{}".into() };
        let result = ToolResult { call_id: "c1".into(), name: "f".into(), content: "42".into() };
        let message = |role, part| Message { role, parts: vec![part] };
        let mut request = Request {
            messages: vec![
                message(Role::User, Part::Text("well hello".into())),
                message(Role::Assistant, Part::ToolCall(call.clone())),
                message(Role::Tool, Part::ToolResult(result)),
            ],
            ..Request::default()
        };
        let answer = Echo.converse(&request).await.unwrap();
        let choice = &answer.outputs[0].choices[0];
        assert_eq!(choice.content, "well hello\nTool Response for tool ID 'c1' with name 'f': 42");
        assert_eq!((choice.finish_reason.as_str(), &choice.tool_calls), ("tool_calls", &vec![call]));
        assert_eq!(answer.usage.unwrap().total, 24);
        request.messages.truncate(1);
        let answer = Echo.converse(&request).await.unwrap();
        assert_eq!(answer.outputs[0].choices[0].finish_reason, "stop");
        assert_eq!(answer.model, "");
    }

    #[tokio::test]
    async fn every_tool_is_called_with_its_parameters() {
        let tool = |parameters| Tool { name: "f".into(), parameters: object(parameters), ..Tool::default() };
        let tools = vec![tool(json!({"properties": {"b": {}, "a": {}}})), tool(json!({}))];
        let answer = Echo.converse(&Request { tools, ..Request::default() }).await.unwrap();
        let calls = &answer.outputs[0].choices[0].tool_calls;
        assert_eq!((calls[0].id.as_str(), calls[0].arguments.as_str()), ("0", "a,b"));
        assert_eq!((calls[1].id.as_str(), calls[1].arguments.as_str()), ("1", ""));
        let tools = vec![tool(json!({"properties": "x"}))];
        let error = Echo.converse(&Request { tools, ..Request::default() }).await.unwrap_err();
        assert_eq!(error.to_string(), "tool function properties must be a map[string]any, got string");
    }
}
