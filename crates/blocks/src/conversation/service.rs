use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use dapr_components::conversation::{Conversation, Error, Message, Part, Request, Response};
use dapr_errors::{ApiError, conversation as errors};
use dapr_resiliency::{Direction, Kind, Outcome, Policies, Policy, PolicyError};
use dapr_telemetry::metrics::catalogue::Catalogue;

use super::scrub::Scrubber;
use crate::observed::Meter;

/// What the service is built from.
#[derive(Clone, Default)]
pub struct Options {
    pub policies: Policies,
    pub metrics: Option<Arc<Catalogue>>,
}

/// Messages that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    pub messages: Vec<Message>,
    /// Whether personal data is taken out before the model sees it.
    pub scrub: bool,
}

/// What the application asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConverseRequest {
    pub inputs: Vec<Input>,
    /// Whether personal data is taken out of the answer.
    pub scrub_answer: bool,
    /// All but the messages; no tool choice means `auto` when there are tools.
    pub request: Request,
}

/// A component with what surrounds its calls.
struct Loaded {
    component: Arc<dyn Conversation>,
    policy: Policy,
    meter: Meter,
}

/// Conversations. Cloning shares it.
#[derive(Clone, Default)]
pub struct ConversationService(Arc<Inner>);

#[derive(Default)]
struct Inner {
    components: ArcSwap<HashMap<String, Arc<Loaded>>>,
    options: Options,
    /// Made when first needed: its patterns are large.
    scrubber: OnceLock<Scrubber>,
}

impl ConversationService {
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner { options, ..Inner::default() }))
    }

    /// Adds or replaces a component.
    pub fn add(&self, name: &str, component: Arc<dyn Conversation>) {
        let Options { policies, metrics } = &self.0.options;
        let loaded = Arc::new(Loaded {
            component,
            policy: policies.component(name, Kind::Conversation, Direction::Outbound),
            meter: Meter::conversation(metrics.as_deref().map(|m| &m.components), name),
        });
        self.0.components.rcu(|components| {
            let mut next = HashMap::clone(components);
            next.insert(name.to_owned(), loaded.clone());
            next
        });
    }

    pub fn remove(&self, name: &str) -> Option<Arc<dyn Conversation>> {
        let removed = self.0.components.load().get(name).map(|l| l.component.clone());
        self.0.components.rcu(|components| {
            let mut next = HashMap::clone(components);
            next.remove(name);
            next
        });
        removed
    }

    /// The component called `name`. Requests are looked at only when there is
    /// one.
    pub fn with(&self, name: &str) -> Result<Conversing, ApiError> {
        let loaded = self.0.components.load().get(name).cloned();
        let loaded = loaded.ok_or_else(|| errors::not_found(name))?;
        Ok(Conversing { name: name.to_owned(), loaded, service: self.clone() })
    }
}

/// A component that is about to be asked.
pub struct Conversing {
    name: String,
    loaded: Arc<Loaded>,
    service: ConversationService,
}

impl Conversing {
    /// An error that says what is wrong with the request.
    pub fn invalid(&self, reason: &str) -> ApiError {
        errors::invalid_params(&self.name, reason)
    }

    pub async fn converse(&self, asked: ConverseRequest) -> Result<Response, ApiError> {
        let ConverseRequest { inputs, scrub_answer, mut request } = asked;
        if inputs.is_empty() {
            return Err(errors::missing_inputs(&self.name));
        }
        self.settle_tool_choice(&mut request)?;
        request.messages = self.messages(inputs);
        let started = self.loaded.meter.start();
        let answer = self.ask(&request).await;
        self.loaded.meter.end(started, answer.is_ok());
        let mut answer = answer.map_err(|e| errors::failed(&self.name, e))?;
        if scrub_answer {
            let choices = answer.outputs.iter_mut().flat_map(|o| &mut o.choices);
            choices.for_each(|choice| self.scrub(&mut choice.content));
        }
        Ok(answer)
    }

    async fn ask(&self, request: &Request) -> Result<Response, Error> {
        let Loaded { component, policy, .. } = &*self.loaded;
        if policy.is_none() {
            return component.converse(request).await;
        }
        let outcome = policy.run(|_| async { component.converse(request).await.map_err(Failed) }).await;
        outcome.map_err(|error| match error {
            PolicyError::Operation(Failed(error)) => error,
            other => Error(other.to_string()),
        })
    }

    fn settle_tool_choice(&self, request: &mut Request) -> Result<(), ApiError> {
        let tools = &request.tools;
        let choice = request.tool_choice.take().filter(|c| !c.is_empty());
        request.tool_choice = match choice.as_deref() {
            None if tools.is_empty() => None,
            None => Some("auto".to_owned()),
            Some("required") if tools.is_empty() => {
                return Err(self.invalid(
                    "tool choice must be 'auto', 'none', 'required', or a specific tool name matching the tools available to be used",
                ));
            }
            Some("auto" | "none" | "required") => choice,
            Some(name) if tools.is_empty() || tools.iter().any(|t| t.name == name) => choice,
            Some(_) => {
                return Err(self.invalid(
                    "tool choice selected was not found. Must be 'auto', 'none', 'required', or a specific tool name matching the tools available to be used",
                ));
            }
        };
        Ok(())
    }

    fn messages(&self, inputs: Vec<Input>) -> Vec<Message> {
        let mut all = Vec::with_capacity(inputs.iter().map(|i| i.messages.len()).sum());
        for input in inputs {
            let mut messages = input.messages;
            if input.scrub {
                for part in messages.iter_mut().flat_map(|m| &mut m.parts) {
                    match part {
                        Part::Text(text) => self.scrub(text),
                        Part::ToolResult(result) => self.scrub(&mut result.content),
                        // What the model said itself is not the application's to tell.
                        Part::ToolCall(_) => {}
                    }
                }
            }
            all.append(&mut messages);
        }
        all
    }

    fn scrub(&self, text: &mut String) {
        let scrubber = self.service.0.scrubber.get_or_init(Scrubber::default);
        if let std::borrow::Cow::Owned(scrubbed) = scrubber.scrub(text) {
            *text = scrubbed;
        }
    }
}

/// A failed attempt: every failure may be tried again.
struct Failed(Error);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Outcome for Failed {}
