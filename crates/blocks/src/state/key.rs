use dapr_components::Properties;
use dapr_kernel::AppIdentity;

/// Separates the prefix from the caller's key.
pub const SEPARATOR: &str = "||";

/// A caller's key that holds the separator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", dapr_errors::state::illegal_key_reason(.0))]
pub struct IllegalKey(pub String);

/// How a caller's keys are told apart from others' in one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix {
    /// What goes before the key, separator included; empty for none.
    prefix: String,
}

impl KeyPrefix {
    /// From the component property `keyPrefix`; `store` is its name.
    pub fn from_properties(
        properties: &Properties,
        store: &str,
        identity: &AppIdentity,
    ) -> Result<Self, IllegalKey> {
        let strategy = properties.get("keyPrefix").unwrap_or_default();
        if strategy.contains(SEPARATOR) {
            return Err(IllegalKey(strategy.to_owned()));
        }
        let app = identity.app_id();
        let prefix = match strategy.to_ascii_lowercase().as_str() {
            "" | "appid" => format!("{app}{SEPARATOR}"),
            "name" => format!("{store}{SEPARATOR}"),
            "namespace" if identity.namespace_env().is_empty() => format!("{app}{SEPARATOR}"),
            "namespace" => format!("{}.{app}{SEPARATOR}", identity.namespace_env()),
            "none" => String::new(),
            _ => format!("{strategy}{SEPARATOR}"),
        };
        Ok(Self { prefix })
    }

    /// The key as the store sees it.
    pub fn apply(&self, key: &str) -> Result<String, IllegalKey> {
        if key.contains(SEPARATOR) {
            return Err(IllegalKey(key.to_owned()));
        }
        let mut out = String::with_capacity(self.prefix.len() + key.len());
        out.push_str(&self.prefix);
        out.push_str(key);
        Ok(out)
    }

    /// The key as the caller knows it.
    pub fn strip(stored: &str) -> &str {
        let mut parts = stored.splitn(3, SEPARATOR);
        let first = parts.next().unwrap_or_default();
        parts.next().unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(strategy: &str, namespace: Option<&str>) -> String {
        let properties = Properties::new([("KeyPrefix", strategy)]).unwrap();
        KeyPrefix::from_properties(&properties, "store", &AppIdentity::new("app", namespace))
            .unwrap()
            .apply("k")
            .unwrap()
    }

    #[test]
    fn strategies() {
        assert_eq!(prefix("", None), "app||k");
        assert_eq!(prefix("AppId", None), "app||k");
        assert_eq!(prefix("name", None), "store||k");
        assert_eq!(prefix("namespace", Some("ns")), "ns.app||k");
        assert_eq!(prefix("namespace", None), "app||k");
        assert_eq!(prefix("none", None), "k");
        assert_eq!(prefix("mine", None), "mine||k");
    }

    #[test]
    fn the_separator_is_refused_in_keys_and_taken_off_answers() {
        let p = KeyPrefix { prefix: "a||".to_owned() };
        assert_eq!(p.apply("x||y").unwrap_err().to_string(), "input key/keyPrefix 'x||y' can't contain '||'");
        assert_eq!(KeyPrefix::strip("a||k"), "k");
        assert_eq!(KeyPrefix::strip("k"), "k");
    }
}
