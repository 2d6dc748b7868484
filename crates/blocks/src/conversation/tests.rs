use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use dapr_components::conversation::{Choice, Output, Role, Tool, ToolCall, ToolResult};
use parking_lot::Mutex;

use super::*;
use dapr_components::conversation::{Conversation, Error, Message, Part, Request, Response};

/// Answers with a fixed text and remembers what it was asked.
#[derive(Default)]
struct Model {
    asked: Mutex<Vec<Request>>,
    failures: AtomicU32,
}

#[async_trait]
impl Conversation for Model {
    async fn converse(&self, request: &Request) -> Result<Response, Error> {
        self.asked.lock().push(request.clone());
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::new("busy"));
        }
        let choice = Choice { content: "write to a@b.de".into(), ..Choice::default() };
        Ok(Response { outputs: vec![Output { choices: vec![choice] }], ..Response::default() })
    }
}

fn service() -> (ConversationService, std::sync::Arc<Model>) {
    let service = ConversationService::default();
    let model = std::sync::Arc::new(Model::default());
    service.add("model", model.clone());
    (service, model)
}

fn text(text: &str) -> Message {
    Message { role: Role::User, parts: vec![Part::Text(text.into())] }
}

fn ask(messages: Vec<Message>, scrub: bool) -> ConverseRequest {
    ConverseRequest { inputs: vec![Input { messages, scrub }], ..ConverseRequest::default() }
}

fn tool(name: &str) -> Tool {
    Tool { name: name.into(), ..Tool::default() }
}

#[tokio::test]
async fn what_is_missing_is_told() {
    let (service, model) = service();
    let unknown = service.with("other").err().unwrap();
    assert_eq!((unknown.http, &*unknown.tag), (400, "ERR_CONVERSATION_NOT_FOUND"));
    let error = service.with("model").unwrap().converse(ConverseRequest::default()).await.unwrap_err();
    assert_eq!(error.message, "failed conversing with component model: missing inputs in request");
    assert!(model.asked.lock().is_empty());
}

#[tokio::test]
async fn only_inputs_that_ask_for_it_are_scrubbed() {
    let (service, model) = service();
    let call = ToolCall { arguments: "10.0.0.1".into(), ..ToolCall::default() };
    let result = ToolResult { content: "10.0.0.1".into(), ..ToolResult::default() };
    let tools = Message { role: Role::Tool, parts: vec![Part::ToolCall(call), Part::ToolResult(result)] };
    let mut request = ask(vec![text("from 10.0.0.1"), tools], true);
    request.inputs.push(Input { messages: vec![text("from 10.0.0.2")], scrub: false });
    let answer = service.with("model").unwrap().converse(request).await.unwrap();
    let asked = model.asked.lock().remove(0).messages;
    assert_eq!(asked[0], text("from <IP>"));
    let Part::ToolCall(call) = &asked[1].parts[0] else { panic!("{asked:?}") };
    let Part::ToolResult(result) = &asked[1].parts[1] else { panic!("{asked:?}") };
    assert_eq!((call.arguments.as_str(), result.content.as_str()), ("10.0.0.1", "<IP>"));
    assert_eq!(asked[2], text("from 10.0.0.2"));
    assert_eq!(answer.outputs[0].choices[0].content, "write to a@b.de");
    let mut request = ask(vec![text("x")], false);
    request.scrub_answer = true;
    let answer = service.with("model").unwrap().converse(request).await.unwrap();
    assert_eq!(answer.outputs[0].choices[0].content, "write to <EMAIL_ADDRESS>");
}

#[tokio::test]
async fn tool_choices() {
    let (service, model) = service();
    let cases: &[(Option<&str>, &[&str], Result<Option<&str>, &str>)] = &[
        (None, &[], Ok(None)),
        (Some(""), &["f"], Ok(Some("auto"))),
        (None, &["f"], Ok(Some("auto"))),
        (Some("none"), &[], Ok(Some("none"))),
        (Some("required"), &["f"], Ok(Some("required"))),
        (Some("required"), &[], Err("tool choice must be")),
        (Some("f"), &["e", "f"], Ok(Some("f"))),
        (Some("F"), &["f"], Err("tool choice selected was not found")),
        (Some("f"), &[], Ok(Some("f"))),
    ];
    for (choice, tools, expected) in cases {
        let mut request = ask(vec![text("x")], false);
        request.request.tool_choice = choice.map(str::to_owned);
        request.request.tools = tools.iter().map(|t| tool(t)).collect();
        let outcome = service.with("model").unwrap().converse(request).await;
        match expected {
            Ok(wanted) => {
                outcome.unwrap();
                assert_eq!(model.asked.lock().pop().unwrap().tool_choice.as_deref(), *wanted);
            }
            Err(reason) => {
                let error = outcome.unwrap_err();
                assert!(error.message.contains(reason), "{error:?}");
                assert_eq!(&*error.tag, "ERR_CONVERSATION_INVALID_PARMS");
            }
        }
    }
}

#[tokio::test]
async fn failures_are_told_and_a_removed_component_is_gone() {
    let (service, model) = service();
    model.failures.store(1, Ordering::Relaxed);
    let error = service.with("model").unwrap().converse(ask(vec![text("x")], false)).await.unwrap_err();
    assert_eq!((error.http, &*error.tag), (500, "ERR_CONVERSATION_INVOKE"));
    assert_eq!(error.message, "failed conversing with component model: busy");
    assert!(service.remove("model").is_some());
    assert!(service.with("model").is_err() && service.remove("model").is_none());
}
