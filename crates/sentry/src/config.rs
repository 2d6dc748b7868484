//! What the Configuration says to the authority (control-plane.md §3.2).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dapr_gocompat::duration::parse_duration;
use dapr_kubernetes::Client;
use dapr_resources::Configuration;
use dapr_resources::loader::load_configuration;
use dapr_resources::template::ProcessEnv;
use serde_json::Value;

use crate::core::ValidatorKind;
use crate::options::{Mode, Options};

const WORKLOAD_TTL: Duration = Duration::from_secs(24 * 60 * 60);
const CLOCK_SKEW: Duration = Duration::from_secs(15 * 60);

/// Options of a validator, all texts.
pub type ValidatorOptions = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub workload_ttl: Duration,
    pub clock_skew: Duration,
    pub validators: BTreeMap<ValidatorKind, ValidatorOptions>,
    /// For requests that name none.
    pub default_validator: Option<ValidatorKind>,
}

/// The error is the text of a fatal line.
pub async fn load(options: &Options, client: Option<&Client>) -> Result<Config, String> {
    let loaded = match client {
        Some(client) => from_cluster(options, client).await,
        None => load_configuration(&[PathBuf::from(&options.config)], &ProcessEnv).map_err(|e| e.to_string()),
    };
    let config = loaded.and_then(|configuration| read(&configuration, options.mode));
    config.map_err(|e| format!("loading default config. couldn't find config name {:?}: {e}", options.config))
}

async fn from_cluster(options: &Options, client: &Client) -> Result<Configuration, String> {
    let namespace = match options.environment.namespace.as_deref() {
        None => return Err("'NAMESPACE' environment variable not set".to_owned()),
        Some("") => return Err("'NAMESPACE' environment variable is empty".to_owned()),
        Some(namespace) => namespace,
    };
    let path = format!("/apis/dapr.io/v1alpha1/namespaces/{namespace}/configurations/{}", options.config);
    let resource: Value = match client.get(&path).await {
        Err(e) if e.is_not_found() => return Err("config CRD not found".to_owned()),
        other => other.map_err(|e| e.to_string())?,
    };
    Configuration::from_json(&resource).map_err(|e| e.to_string())
}

fn read(configuration: &Configuration, mode: Mode) -> Result<Config, String> {
    let mtls = &configuration.mtls;
    let duration = |text: &str, default: Duration, name: &str| match text {
        "" => Ok(default),
        text => parse_duration(text).map_err(|e| format!("error parsing {name} duration: {e}")),
    };
    let mut config = Config {
        workload_ttl: duration(&mtls.workload_cert_ttl, WORKLOAD_TTL, "WorkloadCertTTL")?,
        clock_skew: duration(&mtls.allowed_clock_skew, CLOCK_SKEW, "AllowedClockSkew")?,
        validators: BTreeMap::new(),
        default_validator: None,
    };
    let mut built_in = |kind| {
        config.validators.insert(kind, ValidatorOptions::new());
        config.default_validator = Some(kind);
    };
    match mode {
        Mode::Kubernetes => built_in(ValidatorKind::Kubernetes),
        Mode::Standalone if mtls.token_validators.is_empty() => built_in(ValidatorKind::Insecure),
        Mode::Standalone => {}
    }
    for validator in &mtls.token_validators {
        match validator.name.to_ascii_lowercase().as_str() {
            "jwks" => {
                config.validators.insert(ValidatorKind::Jwks, texts(&validator.options));
            }
            "kubernetes" | "insecure" => {
                return Err("invalid token validator: the built-in 'kubernetes' and 'insecure' validators cannot be configured manually".to_owned());
            }
            _ => {
                let name = &validator.name;
                return Err(format!("invalid token validator name: '{name}'; supported values: 'jwks'"));
            }
        }
    }
    Ok(config)
}

/// Numbers and booleans count as the text they are written as.
fn texts(options: &Value) -> ValidatorOptions {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    options.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(mtls: Value, mode: Mode) -> Result<Config, String> {
        read(&Configuration::from_json(&json!({"spec": {"mtls": mtls}})).unwrap(), mode)
    }

    #[test]
    fn each_mode_has_a_validator_of_its_own() {
        let standalone = config(json!({}), Mode::Standalone).unwrap();
        assert_eq!(standalone.default_validator, Some(ValidatorKind::Insecure));
        assert_eq!((standalone.workload_ttl, standalone.clock_skew), (WORKLOAD_TTL, CLOCK_SKEW));
        let kubernetes = config(json!({}), Mode::Kubernetes).unwrap();
        assert_eq!(kubernetes.default_validator, Some(ValidatorKind::Kubernetes));
    }

    #[test]
    fn jwks_replaces_insecure_and_is_no_default() {
        let mtls = json!({"workloadCertTTL": "1h", "tokenValidators": [{"name": "JWKS", "options": {"source": "s", "requestTimeout": 5}}]});
        let standalone = config(mtls.clone(), Mode::Standalone).unwrap();
        assert_eq!(standalone.default_validator, None);
        assert_eq!(standalone.validators.keys().collect::<Vec<_>>(), [&ValidatorKind::Jwks]);
        assert_eq!(standalone.validators[&ValidatorKind::Jwks]["requestTimeout"], "5");
        assert_eq!(standalone.workload_ttl, Duration::from_secs(3600));
        let kubernetes = config(mtls, Mode::Kubernetes).unwrap();
        assert_eq!(kubernetes.validators.len(), 2);
        assert_eq!(kubernetes.default_validator, Some(ValidatorKind::Kubernetes));
    }

    #[test]
    fn mistakes_are_named() {
        let refusal = |mtls| config(mtls, Mode::Standalone).unwrap_err();
        assert!(
            refusal(json!({"workloadCertTTL": "x"})).starts_with("error parsing WorkloadCertTTL duration: ")
        );
        assert!(
            refusal(json!({"allowedClockSkew": "x"}))
                .starts_with("error parsing AllowedClockSkew duration: ")
        );
        let validator = |name: &str| refusal(json!({"tokenValidators": [{"name": name}]}));
        assert_eq!(validator("x"), "invalid token validator name: 'x'; supported values: 'jwks'");
        assert!(validator("Insecure").contains("cannot be configured manually"));
    }
}
