//! What the metadata of the components may hold (components.md §10).

use dapr_components::description::{Description, Field, FieldKind};

const KEY: Field = Field::text("key");
const MODEL: Field = Field::text("model");
const ENDPOINT: Field = Field::text("endpoint");
const CACHE: Field = Field::duration("responseCacheTTL").aliases(&["cacheTTL"]);

/// Whatever is given has no effect.
pub(crate) const ECHO: Description = Description::new(&["conversation.echo"], &[]).open();
pub(crate) const OPENAI: Description = Description::new(
    &["conversation.openai"],
    &[&[
        KEY.required(),
        MODEL,
        ENDPOINT,
        CACHE,
        Field::new("apiType", FieldKind::Lenient(openai_type)),
        Field::text("apiVersion"),
    ]],
);
pub(crate) const ANTHROPIC: Description = Description::new(
    &["conversation.anthropic"],
    &[&[KEY.required(), MODEL, ENDPOINT, CACHE, Field::new("apiType", FieldKind::Lenient(anthropic_type))]],
);
pub(crate) const GOOGLE: Description =
    Description::new(&["conversation.googleai"], &[&[KEY.required(), MODEL, ENDPOINT, CACHE]]);
/// Answers are not kept, so that the time for it is not even read.
const NO_CACHE: Field = Field::text("responseCacheTTL").aliases(&["cacheTTL"]);
pub(crate) const DEEPSEEK: Description =
    Description::new(&["conversation.deepseek"], &[&[KEY.required(), MODEL, ENDPOINT, NO_CACHE]])
        .without_effect(&["maxTokens"]);
pub(crate) const HUGGINGFACE: Description =
    Description::new(&["conversation.huggingface"], &[&[KEY.required(), MODEL, ENDPOINT, CACHE]]);
pub(crate) const OLLAMA: Description =
    Description::new(&["conversation.ollama"], &[&[KEY, MODEL, ENDPOINT, CACHE]]);
pub(crate) const MISTRAL: Description =
    Description::new(&["conversation.mistral"], &[&[KEY.required(), MODEL, ENDPOINT, CACHE]]);

fn openai_type(text: &str) -> Result<(), String> {
    if ["openai", "azure"].iter().any(|known| known.eq_ignore_ascii_case(text)) {
        return Ok(());
    }
    Err("openai or azure".to_owned())
}

fn anthropic_type(text: &str) -> Result<(), String> {
    if ["anthropic", "foundry"].iter().any(|known| known.eq_ignore_ascii_case(text)) {
        return Ok(());
    }
    Err("anthropic or foundry".to_owned())
}

#[cfg(test)]
mod tests {
    use dapr_components::Properties;
    use dapr_components::description::DecoderCheck;
    use dapr_kernel::Shutdown;
    use dapr_kernel::tasks::TaskGroup;

    use super::*;
    use crate::providers::{ALL, Surroundings};

    #[test]
    fn descriptions_are_what_the_decoders_read() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let all = [&OPENAI, &ANTHROPIC, &GOOGLE, &DEEPSEEK, &HUGGINGFACE, &OLLAMA, &MISTRAL];
        for provider in ALL {
            let description = all.iter().find(|d| d.types[0] == provider.component);
            let description = description.unwrap_or_else(|| panic!("{} is described", provider.component));
            let decode = |p: &Properties| {
                let tasks = TaskGroup::new(Shutdown::new());
                let around = Surroundings { env: &|_| None, tasks };
                provider.build(p, &around).map(|_| ()).map_err(|e| e.0)
            };
            let own_type = provider.component.rsplit('.').next().unwrap();
            let azure = [("key", "k"), ("apiType", "azure"), ("endpoint", "http://x"), ("apiVersion", "1")];
            let check = DecoderCheck::new(description)
                .sample("endpoint", "http://localhost:1")
                .sample("apiType", own_type)
                .combination(if own_type == "openai" { &azure } else { &[] });
            assert_eq!(check.run(decode), Ok(()));
        }
    }
}
