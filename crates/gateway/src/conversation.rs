//! Conversation messages to and from what the block knows; both protocols use
//! them, for over HTTP they come as JSON of the same messages (api.md §8).

use dapr_blocks::conversation::{ConverseRequest, Conversing, Input};
use dapr_components::conversation as model;
use dapr_errors::ApiError;
use dapr_wire::runtime::v1 as rt;
use prost_types::value::Kind;
use rt::conversation_message::MessageTypes;
use rt::conversation_tool_calls::ToolTypes as CallTypes;
use rt::conversation_tools::ToolTypes;
use serde_json::{Map, Number, Value};

use crate::Api;

pub async fn alpha1(
    api: &Api,
    request: rt::ConversationRequest,
) -> Result<rt::ConversationResponse, ApiError> {
    let conversing = api.conversation.with(&request.name)?;
    let inputs = request.inputs.into_iter().map(|input| Input {
        scrub: input.scrub_pii.unwrap_or(false),
        messages: vec![model::Message {
            role: role(input.role.as_deref().unwrap_or_default()),
            parts: vec![model::Part::Text(input.content)],
        }],
    });
    let asked = ConverseRequest {
        inputs: inputs.collect(),
        scrub_answer: request.scrub_pii.unwrap_or(false),
        request: model::Request {
            temperature: request.temperature.unwrap_or(0.0),
            ..model::Request::default()
        },
    };
    let answer = conversing.converse(asked).await?;
    // One text an output: that of its first choice.
    let result = |output: model::Output| rt::ConversationResult {
        result: output.choices.into_iter().next().map(|c| c.content).unwrap_or_default(),
        parameters: request.parameters.clone(),
    };
    Ok(rt::ConversationResponse {
        context_id: request.context_id.filter(|id| !id.is_empty()),
        outputs: answer.outputs.into_iter().map(result).collect(),
    })
}

fn role(name: &str) -> model::Role {
    match name {
        "system" => model::Role::System,
        "assistant" | "ai" => model::Role::Assistant,
        "tool" => model::Role::Tool,
        "function" => model::Role::Function,
        "generic" => model::Role::Generic,
        _ => model::Role::User,
    }
}

pub async fn alpha2(
    api: &Api,
    request: rt::ConversationRequestAlpha2,
) -> Result<rt::ConversationResponseAlpha2, ApiError> {
    let conversing = api.conversation.with(&request.name)?;
    let context_id = request.context_id.clone().filter(|id| !id.is_empty());
    let answer = conversing.converse(asked(&conversing, request)?).await?;
    let usage = answer.usage.map(usage);
    let model = Some(answer.model).filter(|model| !model.is_empty());
    let output = |output: model::Output| rt::ConversationResultAlpha2 {
        choices: output.choices.into_iter().map(choice).collect(),
        model: model.clone(),
        usage,
    };
    Ok(rt::ConversationResponseAlpha2 {
        context_id,
        outputs: answer.outputs.into_iter().map(output).collect(),
    })
}

fn asked(
    conversing: &Conversing,
    request: rt::ConversationRequestAlpha2,
) -> Result<ConverseRequest, ApiError> {
    let mut inputs = Vec::with_capacity(request.inputs.len());
    for input in request.inputs {
        let messages = input.messages.into_iter().map(|m| message(conversing, m));
        inputs.push(Input {
            scrub: input.scrub_pii.unwrap_or(false),
            messages: messages.collect::<Result<_, _>>()?,
        });
    }
    let retention = request.prompt_cache_retention.map(std::time::Duration::try_from);
    Ok(ConverseRequest {
        inputs,
        scrub_answer: request.scrub_pii.unwrap_or(false),
        request: model::Request {
            messages: Vec::new(),
            tools: request.tools.into_iter().filter_map(tool).collect(),
            tool_choice: request.tool_choice,
            temperature: request.temperature.unwrap_or(0.0),
            metadata: request.metadata.into_iter().collect(),
            response_format: request.response_format.map(object),
            prompt_cache_retention: retention
                .transpose()
                .map_err(|_| conversing.invalid("promptCacheRetention is not a positive duration"))?,
        },
    })
}

fn message(conversing: &Conversing, message: rt::ConversationMessage) -> Result<model::Message, ApiError> {
    let (role, content, calls) = match message.message_types {
        None => return Err(conversing.invalid("message type cannot be nil")),
        // The component's provider knows no developers.
        Some(MessageTypes::OfDeveloper(m)) => (model::Role::User, m.content, Vec::new()),
        Some(MessageTypes::OfSystem(m)) => (model::Role::System, m.content, Vec::new()),
        Some(MessageTypes::OfUser(m)) => (model::Role::User, m.content, Vec::new()),
        Some(MessageTypes::OfAssistant(m)) => (model::Role::Assistant, m.content, m.tool_calls),
        Some(MessageTypes::OfTool(m)) => return Ok(tool_message(m)),
    };
    let mut parts: Vec<_> = content.into_iter().map(|c| model::Part::Text(c.text)).collect();
    for call in calls {
        let Some(CallTypes::Function(function)) = call.tool_types else {
            return Err(conversing.invalid("tool types cannot be nil"));
        };
        parts.push(model::Part::ToolCall(model::ToolCall {
            id: call.id.unwrap_or_default(),
            name: function.name,
            arguments: function.arguments,
        }));
    }
    Ok(model::Message { role, parts })
}

fn tool_message(message: rt::ConversationMessageOfTool) -> model::Message {
    let call_id = message.tool_id.unwrap_or_default();
    let result = |content: rt::ConversationMessageContent| {
        model::Part::ToolResult(model::ToolResult {
            call_id: call_id.clone(),
            name: message.name.clone(),
            content: content.text,
        })
    };
    model::Message { role: model::Role::Tool, parts: message.content.into_iter().map(result).collect() }
}

fn tool(tool: rt::ConversationTools) -> Option<model::Tool> {
    let ToolTypes::Function(function) = tool.tool_types?;
    Some(model::Tool {
        name: function.name,
        description: function.description.unwrap_or_default(),
        parameters: function.parameters.map(object).unwrap_or_default(),
    })
}

fn choice(choice: model::Choice) -> rt::ConversationResultChoices {
    let call = |call: model::ToolCall| rt::ConversationToolCalls {
        id: Some(call.id).filter(|id| !id.is_empty()),
        tool_types: Some(CallTypes::Function(rt::ConversationToolCallsOfFunction {
            name: call.name,
            arguments: call.arguments,
        })),
    };
    rt::ConversationResultChoices {
        finish_reason: choice.finish_reason,
        index: choice.index,
        message: Some(rt::ConversationResultMessage {
            content: choice.content,
            tool_calls: choice.tool_calls.into_iter().map(call).collect(),
        }),
    }
}

fn usage(usage: model::Usage) -> rt::ConversationResultAlpha2CompletionUsage {
    rt::ConversationResultAlpha2CompletionUsage {
        completion_tokens: usage.completion,
        prompt_tokens: usage.prompt,
        total_tokens: usage.total,
        completion_tokens_details: usage.completion_details.map(|d| {
            rt::ConversationResultAlpha2CompletionUsageCompletionTokensDetails {
                accepted_prediction_tokens: d.accepted_prediction,
                audio_tokens: d.audio,
                reasoning_tokens: d.reasoning,
                rejected_prediction_tokens: d.rejected_prediction,
            }
        }),
        prompt_tokens_details: usage.prompt_details.map(|d| {
            rt::ConversationResultAlpha2CompletionUsagePromptTokensDetails {
                audio_tokens: d.audio,
                cached_tokens: d.cached,
            }
        }),
    }
}

fn object(message: prost_types::Struct) -> Map<String, Value> {
    message.fields.into_iter().map(|(key, field)| (key, value(field))).collect()
}

fn value(message: prost_types::Value) -> Value {
    match message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => Value::Bool(b),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(n)) => number(n),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(value).collect()),
        Some(Kind::StructValue(fields)) => Value::Object(object(fields)),
    }
}

/// Whole numbers stay whole: they were before protobuf made floats of them.
fn number(n: f64) -> Value {
    /// Beyond, not every whole number is a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within the range")]
    if n.fract() == 0.0 && n.abs() <= EXACT {
        return Value::Number(Number::from(n as i64));
    }
    Number::from_f64(n).map_or(Value::Null, Value::Number)
}
