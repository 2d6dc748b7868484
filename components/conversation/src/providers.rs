//! The providers: where they are, which model they run by default, and what
//! their components are configured with.

use dapr_components::{InitError, Properties};
use dapr_kernel::tasks::TaskGroup;

use crate::anthropic::Messages;
use crate::cache::Cache;
use crate::endpoint::Endpoint;
use crate::model::{LanguageModel, Provider as Generates};
use crate::openai::{Chat, Dialect};

const OPENAI: &str = "https://api.openai.com/v1";
const ANTHROPIC: &str = "https://api.anthropic.com/v1";
const ANTHROPIC_VERSION: &str = "2023-06-01";
const NO_OPENAI_KEY: &str = "missing the OpenAI API key, set it in the OPENAI_API_KEY environment variable";

pub(crate) struct Surroundings<'a> {
    /// Looks an environment variable up.
    pub env: &'a (dyn Fn(&str) -> Option<String> + Sync),
    pub tasks: TaskGroup,
}

/// One component type.
#[derive(Debug)]
pub(crate) struct Provider {
    /// The full type.
    pub component: &'static str,
    /// Variable that names the model; it outranks the metadata.
    model_variable: Option<&'static str>,
    default_model: &'static str,
    base: Base,
    /// Stands for a missing key.
    default_key: Option<&'static str>,
    /// Whether answers can be kept.
    caches: bool,
    protocol: Protocol,
}

/// Where a provider is.
#[derive(Debug)]
enum Base {
    /// Unless the metadata says otherwise; `{model}` stands for the model.
    Default(&'static str),
    /// Whatever the metadata says.
    Fixed(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// OpenAI's own: also on Azure, and at an address from the environment.
    OpenAi,
    /// The same protocol elsewhere.
    Compatible,
    Mistral,
    Anthropic,
}

pub(crate) const ALL: &[Provider] = &[
    Provider {
        component: "conversation.openai",
        model_variable: Some("OPENAI_MODEL"),
        default_model: "gpt-5-nano",
        base: Base::Default(OPENAI),
        default_key: None,
        caches: true,
        protocol: Protocol::OpenAi,
    },
    Provider {
        component: "conversation.anthropic",
        model_variable: Some("ANTHROPIC_MODEL"),
        default_model: "claude-sonnet-4-20250514",
        base: Base::Default(ANTHROPIC),
        default_key: None,
        caches: true,
        protocol: Protocol::Anthropic,
    },
    Provider {
        component: "conversation.googleai",
        model_variable: Some("GOOGLEAI_MODEL"),
        default_model: "gemini-2.5-flash-lite",
        base: Base::Fixed("https://generativelanguage.googleapis.com/v1beta/openai"),
        default_key: None,
        caches: true,
        protocol: Protocol::Compatible,
    },
    Provider {
        component: "conversation.deepseek",
        model_variable: None,
        default_model: "deepseek-chat",
        base: Base::Default("https://api.deepseek.com"),
        default_key: None,
        caches: false,
        protocol: Protocol::Compatible,
    },
    Provider {
        component: "conversation.huggingface",
        model_variable: Some("HUGGINGFACE_MODEL"),
        default_model: "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
        base: Base::Default("https://router.huggingface.co/hf-inference/models/{model}/v1"),
        default_key: None,
        caches: true,
        protocol: Protocol::Compatible,
    },
    Provider {
        component: "conversation.ollama",
        model_variable: Some("OLLAMA_MODEL"),
        default_model: "llama3.2:latest",
        base: Base::Default("http://localhost:11434/v1"),
        default_key: Some("ollama"),
        caches: true,
        protocol: Protocol::Compatible,
    },
    Provider {
        component: "conversation.mistral",
        model_variable: Some("MISTRAL_MODEL"),
        default_model: "open-mistral-7b",
        base: Base::Fixed("https://api.mistral.ai/v1"),
        default_key: None,
        caches: true,
        protocol: Protocol::Mistral,
    },
];

impl Provider {
    pub fn build(
        &self,
        properties: &Properties,
        around: &Surroundings<'_>,
    ) -> Result<LanguageModel, InitError> {
        let key = text(properties, "key").or(self.default_key).ok_or_else(|| self.no_key())?;
        let azure = self.protocol == Protocol::OpenAi && api_type(properties, "azure");
        let cache = self.cache(properties)?;
        let tasks = around.tasks.clone();
        if azure {
            let model = model(Some("AZURE_OPENAI_MODEL"), "gpt-4.1-nano", properties, around);
            let url = azure_url(properties, &model)?;
            let endpoint = Endpoint::new(&url, &[("api-key", key)], tasks)?;
            let chat = Chat { endpoint, model: model.clone(), dialect: Dialect::Standard };
            return Ok(LanguageModel::new(Box::new(chat), model, cache));
        }
        if self.protocol == Protocol::Anthropic
            && api_type(properties, "foundry")
            && text(properties, "endpoint").is_none()
        {
            return Err(InitError::new("endpoint must be provided when apiType is set to 'foundry'"));
        }
        let model = model(self.model_variable, self.default_model, properties, around);
        let base = self.base(properties, around, &model);
        let provider = self.client(base.trim_end_matches('/'), key, model.clone(), around)?;
        Ok(LanguageModel::new(provider, model, cache))
    }

    fn client(
        &self,
        base: &str,
        key: &str,
        model: String,
        around: &Surroundings<'_>,
    ) -> Result<Box<dyn Generates>, InitError> {
        let tasks = around.tasks.clone();
        if self.protocol == Protocol::Anthropic {
            let headers = [("x-api-key", key), ("anthropic-version", ANTHROPIC_VERSION)];
            let endpoint = Endpoint::new(&format!("{base}/messages"), &headers, tasks)?;
            return Ok(Box::new(Messages { endpoint, model }));
        }
        let bearer = format!("Bearer {key}");
        let organisation = match self.protocol {
            Protocol::OpenAi => (around.env)("OPENAI_ORGANIZATION").filter(|o| !o.is_empty()),
            _ => None,
        };
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(organisation.as_deref().map(|o| ("openai-organization", o)));
        let endpoint = Endpoint::new(&format!("{base}/chat/completions"), &headers, tasks)?;
        let dialect = match self.protocol {
            Protocol::Mistral => Dialect::Mistral,
            _ => Dialect::Standard,
        };
        Ok(Box::new(Chat { endpoint, model, dialect }))
    }

    fn base(&self, properties: &Properties, around: &Surroundings<'_>, model: &str) -> String {
        match (&self.base, text(properties, "endpoint")) {
            (Base::Fixed(base), _) => (*base).to_owned(),
            (Base::Default(_), Some(endpoint)) => endpoint.to_owned(),
            (Base::Default(default), None) => {
                let variables = ["OPENAI_BASE_URL", "OPENAI_API_BASE"];
                let own = self.protocol == Protocol::OpenAi;
                let given = variables.iter().filter(|_| own).find_map(|name| (around.env)(name));
                given.filter(|url| !url.is_empty()).unwrap_or_else(|| default.replace("{model}", model))
            }
        }
    }

    fn cache(&self, properties: &Properties) -> Result<Option<Cache>, InitError> {
        let name = ["responseCacheTTL", "cacheTTL"].into_iter().find(|n| properties.get(n).is_some());
        match name.filter(|_| self.caches) {
            Some(name) => Ok(properties.duration(name)?.map(Cache::new)),
            None => Ok(None),
        }
    }

    fn no_key(&self) -> InitError {
        InitError::new(match self.protocol {
            Protocol::OpenAi | Protocol::Compatible => NO_OPENAI_KEY,
            Protocol::Mistral => "mistral api key is required",
            Protocol::Anthropic => {
                "anthropic: failed to create client: missing the Anthropic API key, set it in the ANTHROPIC_API_KEY environment variable"
            }
        })
    }
}

fn text<'a>(properties: &'a Properties, name: &str) -> Option<&'a str> {
    properties.get(name).filter(|value| !value.is_empty())
}

fn api_type(properties: &Properties, wanted: &str) -> bool {
    properties.get("apiType").is_some_and(|given| given.eq_ignore_ascii_case(wanted))
}

fn model(
    variable: Option<&str>,
    default: &str,
    properties: &Properties,
    around: &Surroundings<'_>,
) -> String {
    let named = variable.and_then(|name| (around.env)(name)).filter(|model| !model.is_empty());
    named.unwrap_or_else(|| text(properties, "model").unwrap_or(default).to_owned())
}

fn azure_url(properties: &Properties, model: &str) -> Result<String, InitError> {
    let (Some(endpoint), Some(version)) = (text(properties, "endpoint"), text(properties, "apiVersion"))
    else {
        return Err(InitError::new(
            "endpoint and apiVersion must be provided when apiType is set to 'azure'",
        ));
    };
    let base = endpoint.trim_end_matches('/');
    Ok(format!("{base}/openai/deployments/{model}/chat/completions?api-version={version}"))
}
