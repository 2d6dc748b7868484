//! Language models behind the conversation API (components.md §10): providers
//! that speak OpenAI's chat protocol share one client, Anthropic has its own,
//! and an echo answers without any model.
//!
//! This crate must not know the API that a question came through, nor what is
//! taken out of texts before. Entry point: [`register`].
#![forbid(unsafe_code)]

mod anthropic;
mod cache;
mod description;
mod echo;
mod endpoint;
mod mistral;
mod model;
mod openai;
mod providers;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::conversation::Conversation;
use dapr_components::registry::Registry;

use providers::Surroundings;

/// Registers every `conversation.*` type of this crate.
pub fn register(registry: &mut Registry) {
    registry.describe(&[
        &description::ECHO,
        &description::OPENAI,
        &description::ANTHROPIC,
        &description::GOOGLE,
        &description::DEEPSEEK,
        &description::HUGGINGFACE,
        &description::OLLAMA,
        &description::MISTRAL,
    ]);
    registry.conversation.register("conversation.echo", |_: InitContext| async {
        Ok(Arc::new(echo::Echo) as Arc<dyn Conversation>)
    });
    for provider in providers::ALL {
        registry.conversation.register(provider.component, move |context: InitContext| async move {
            // Models may be named by the environment: so the contract has it.
            let env = |name: &str| std::env::var(name).ok();
            let surroundings = Surroundings { env: &env, tasks: context.tasks.clone() };
            let model = provider.build(&context.properties, &surroundings)?;
            Ok(Arc::new(model) as Arc<dyn Conversation>)
        });
    }
}
