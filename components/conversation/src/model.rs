//! What all providers have in common: the shape of the answer, the cache, and
//! what counts as none.

use async_trait::async_trait;
use dapr_components::conversation::{
    Choice, CompletionDetails, Conversation, Error, Output, PromptDetails, Request, Response, Usage,
};

use crate::cache::Cache;

/// What a provider answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Finish reasons may be empty, indices are not looked at.
    pub choices: Vec<Choice>,
    pub usage: Usage,
}

#[async_trait]
pub(crate) trait Provider: Send + Sync {
    async fn generate(&self, request: &Request) -> Result<Answer, Error>;
}

/// A model of some provider.
pub(crate) struct LanguageModel {
    provider: Box<dyn Provider>,
    name: String,
    cache: Option<Cache>,
}

impl LanguageModel {
    pub fn new(provider: Box<dyn Provider>, name: String, cache: Option<Cache>) -> Self {
        Self { provider, name, cache }
    }

    async fn answer(&self, request: &Request) -> Result<Answer, Error> {
        let Some(cache) = &self.cache else { return self.provider.generate(request).await };
        let question = cache.key(request)?;
        if let Some(known) = cache.get(&question) {
            return Ok(known);
        }
        let answer = self.provider.generate(request).await?;
        cache.put(question, answer.clone());
        Ok(answer)
    }
}

#[async_trait]
impl Conversation for LanguageModel {
    async fn converse(&self, request: &Request) -> Result<Response, Error> {
        let Answer { choices, usage } = self.answer(request).await?;
        let silent = choices.iter().all(|c| c.content.is_empty() && c.tool_calls.is_empty());
        if silent && !request.tools.is_empty() && request.tool_choice.as_deref() == Some("required") {
            // A failure, so that it is tried again.
            return Err(Error::new(format!(
                "LLM returned empty response with no tool calls despite {} tools being available",
                request.tools.len()
            )));
        }
        let output = |(index, mut choice): (i64, Choice)| {
            choice.index = index;
            if choice.finish_reason.is_empty() {
                choice.finish_reason = "unknown".to_owned();
            }
            Output { choices: vec![choice] }
        };
        Ok(Response {
            outputs: (0..).zip(choices).map(output).collect(),
            model: self.name.clone(),
            usage: told(usage),
        })
    }
}

/// Without what is zero throughout.
fn told(mut usage: Usage) -> Option<Usage> {
    usage.completion_details = usage.completion_details.filter(|d| *d != CompletionDetails::default());
    usage.prompt_details = usage.prompt_details.filter(|d| *d != PromptDetails::default());
    (usage.completion > 0 || usage.prompt > 0 || usage.total > 0).then_some(usage)
}
