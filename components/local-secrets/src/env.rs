//! `secretstores.local.env`: secrets are environment variables.

use std::collections::HashMap;
use std::ffi::OsString;

use async_trait::async_trait;
use dapr_components::Properties;
use dapr_components::secrets::{Error, RequestMetadata, Secret, SecretStore};

/// Reads the environment at the time of each request.
pub struct EnvStore {
    /// Put before a requested name to get the variable's name.
    prefix: String,
    variables: fn() -> Vec<(OsString, OsString)>,
}

impl EnvStore {
    pub fn new(properties: &Properties) -> Self {
        // Reading the environment is what this component is for.
        Self::over(properties, || std::env::vars_os().collect())
    }

    fn over(properties: &Properties, variables: fn() -> Vec<(OsString, OsString)>) -> Self {
        Self { prefix: properties.get("prefix").unwrap_or_default().to_owned(), variables }
    }

    fn value(&self, name: &str) -> String {
        let variable = format!("{}{name}", self.prefix);
        if !is_allowed(&variable) {
            tracing::warn!(target: "dapr.contrib", "Access to env var {name} is forbidden");
            return String::new();
        }
        (self.variables)()
            .into_iter()
            .find(|(key, _)| key.to_str() == Some(variable.as_str()))
            .map(|(_, value)| text(value))
            .unwrap_or_default()
    }
}

#[async_trait]
impl SecretStore for EnvStore {
    /// A name that is unset or forbidden answers with an empty value.
    async fn get(&self, name: &str, _metadata: &RequestMetadata) -> Result<Secret, Error> {
        Ok(Secret::from([(name.to_owned(), self.value(name))]))
    }

    async fn bulk_get(&self, _metadata: &RequestMetadata) -> Result<HashMap<String, Secret>, Error> {
        let secrets = (self.variables)().into_iter().filter_map(|(key, value)| {
            let key = text(key);
            let name = key.strip_prefix(&self.prefix)?;
            if (name.is_empty() && !self.prefix.is_empty()) || !is_allowed(&key) {
                return None;
            }
            Some((name.to_owned(), Secret::from([(name.to_owned(), text(value))])))
        });
        Ok(secrets.collect())
    }
}

/// Credentials of the sidecar itself are never handed out.
fn is_allowed(variable: &str) -> bool {
    let upper = variable.to_uppercase();
    upper != "APP_API_TOKEN" && !upper.starts_with("DAPR_")
}

fn text(value: OsString) -> String {
    value.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Vec<(OsString, OsString)> {
        [("PLAIN", "1"), ("MY_A", "a"), ("MY_", "none"), ("DAPR_API_TOKEN", "x"), ("app_api_token", "y")]
            .map(|(k, v)| (k.into(), v.into()))
            .into()
    }

    fn store(prefix: &str) -> EnvStore {
        EnvStore::over(&Properties::new([("prefix", prefix)]).unwrap(), variables)
    }

    async fn get(store: &EnvStore, name: &str) -> String {
        store.get(name, &RequestMetadata::new()).await.unwrap().remove(name).unwrap()
    }

    #[tokio::test]
    async fn unknown_and_forbidden_names_are_empty_not_errors() {
        let store = store("");
        assert_eq!(get(&store, "PLAIN").await, "1");
        for name in ["NOPE", "DAPR_API_TOKEN", "dapr_api_token", "app_api_token"] {
            assert_eq!(get(&store, name).await, "", "{name}");
        }
    }

    #[tokio::test]
    async fn the_prefix_can_not_be_used_to_reach_a_forbidden_name() {
        assert_eq!(get(&store("DAPR_"), "API_TOKEN").await, "");
    }

    #[tokio::test]
    async fn bulk_strips_the_prefix() {
        let all = store("MY_").bulk_get(&RequestMetadata::new()).await.unwrap();
        assert_eq!(all, HashMap::from([("A".to_owned(), Secret::from([("A".to_owned(), "a".to_owned())]))]));
        let mut names: Vec<_> =
            store("").bulk_get(&RequestMetadata::new()).await.unwrap().into_keys().collect();
        names.sort();
        assert_eq!(names, ["MY_", "MY_A", "PLAIN"]);
    }
}
