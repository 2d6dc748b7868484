//! What is filled in when a resource meets its process: placeholders in metadata
//! values, and the environment (runtime.md §3.3, §3.4).

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::metadata::MetadataItem;

/// Where environment variables come from. Tests pass a map.
pub trait EnvSource {
    /// `None` when the variable is not set.
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl EnvSource for ProcessEnv {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl EnvSource for HashMap<&str, &str> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).map(|value| (*value).to_owned())
    }
}

impl<F: Fn(&str) -> Option<String>> EnvSource for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// Space-separated list that, when set, narrows what `envRef` may name.
const ALLOW_LIST: &str = "DAPR_ENV_KEYS";

/// Whether `envRef` may name this variable: never the tokens and settings of
/// Dapr itself, and only what `DAPR_ENV_KEYS` lists when that is set.
pub(crate) fn env_allowed(variable: &str, env: &dyn EnvSource) -> bool {
    let folded = variable.to_uppercase();
    if folded.is_empty() || folded == "APP_API_TOKEN" || folded.starts_with("DAPR_") || folded.contains(' ') {
        return false;
    }
    match env.get(ALLOW_LIST).filter(|list| !list.is_empty()) {
        None => true,
        Some(list) => list.split(' ').any(|word| word == folded),
    }
}

/// What placeholders stand for.
#[derive(Clone, Debug, Default)]
pub struct TemplateContext {
    pub app_id: String,
    /// Never empty: `default` when the process has none.
    pub namespace: String,
    pub pod_name: Option<String>,
    /// Configuration `spec.wasm.strictSandbox`.
    pub strict_sandbox: bool,
}

/// A placeholder that has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse metadata: property {property} refers to {{podName}} but podName is not set")]
pub struct TemplateError {
    pub property: String,
}

/// Fills `{uuid}` (a fresh one per occurrence), `{podName}`, `{namespace}`
/// (which is `<namespace>.<app id>`) and `{appID}`, in that order.
pub fn expand(property: &str, value: &str, context: &TemplateContext) -> Result<String, TemplateError> {
    if !value.contains('{') {
        return Ok(value.to_owned());
    }
    let mut text = value.to_owned();
    while text.contains("{uuid}") {
        text = text.replacen("{uuid}", &Uuid::new_v4().to_string(), 1);
    }
    if text.contains("{podName}") {
        let pod_name = context.pod_name.as_deref().filter(|name| !name.is_empty());
        let pod_name = pod_name.ok_or_else(|| TemplateError { property: property.to_owned() })?;
        text = text.replace("{podName}", pod_name);
    }
    let namespace = format!("{}.{}", context.namespace, context.app_id);
    Ok(text.replace("{namespace}", &namespace).replace("{appID}", &context.app_id))
}

/// Name -> expanded value; of items with the same name the last counts.
pub fn properties(
    items: &[MetadataItem],
    context: &TemplateContext,
) -> Result<BTreeMap<String, String>, TemplateError> {
    items
        .iter()
        .map(|item| Ok((item.name.clone(), expand(&item.name, &item.value.text(), context)?)))
        .collect()
}

/// Replaces `$NAME` and `${NAME}` in the raw text of a configuration file; an
/// unset variable is empty. Like a shell, `$` also eats one of `*#$@!?-` or a
/// digit after it; before anything else it stays.
pub fn expand_env(text: &str, env: &dyn EnvSource) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, consumed) = variable_name(after);
        match (name, consumed) {
            (Some(name), _) => out.push_str(&env.get(name).unwrap_or_default()),
            (None, 0) => out.push('$'),
            (None, _) => {}
        }
        rest = &after[consumed..];
    }
    out.push_str(rest);
    out
}

/// The name after a `$` and how many bytes it takes; bytes without a name are
/// bad syntax and vanish.
fn variable_name(after: &str) -> (Option<&str>, usize) {
    let is_special = |c: char| "*#$@!?-0123456789".contains(c);
    let Some(first) = after.chars().next() else { return (None, 0) };
    if let Some(inner) = after.strip_prefix('{') {
        if inner.starts_with(is_special) && inner[1..].starts_with('}') {
            return (Some(&inner[..1]), 3);
        }
        return match inner.find('}') {
            None => (None, 1),
            Some(0) => (None, 2),
            Some(end) => (Some(&inner[..end]), end + 2),
        };
    }
    if is_special(first) {
        return (Some(&after[..1]), 1);
    }
    let len = after.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    if len == 0 { (None, 0) } else { (Some(&after[..len]), len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> TemplateContext {
        TemplateContext { app_id: "app".to_owned(), namespace: "ns".to_owned(), ..Default::default() }
    }

    #[test]
    fn placeholders() {
        let expand = |value: &str| expand("p", value, &context());
        assert_eq!(expand("{namespace}/{appID}/{other}").unwrap(), "ns.app/app/{other}");
        let two = expand("{uuid} {uuid}").unwrap();
        let (a, b) = two.split_once(' ').unwrap();
        assert_ne!(a, b);
        assert!(Uuid::parse_str(a).is_ok() && Uuid::parse_str(b).is_ok());
        assert_eq!(
            expand("x-{podName}").unwrap_err().to_string(),
            "failed to parse metadata: property p refers to {podName} but podName is not set"
        );
        let with_pod = TemplateContext { pod_name: Some("pod-0".to_owned()), ..context() };
        assert_eq!(super::expand("p", "x-{podName}", &with_pod).unwrap(), "x-pod-0");
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        let items = [MetadataItem::new("a", "1"), MetadataItem::new("a", "{appID}")];
        assert_eq!(properties(&items, &context()).unwrap()["a"], "app");
    }

    #[test]
    fn env_allow_list() {
        let none = HashMap::new();
        assert!(env_allowed("HOST", &none));
        assert!(env_allowed("host", &none));
        for refused in ["", "APP_API_TOKEN", "app_api_token", "DAPR_X", "dapr_x", "A B"] {
            assert!(!env_allowed(refused, &none), "{refused}");
        }
        let list = HashMap::from([("DAPR_ENV_KEYS", "HOST_NAME HOST")]);
        assert!(env_allowed("HOST", &list));
        assert!(env_allowed("host_name", &list));
        assert!(!env_allowed("NAME", &list));
    }

    #[test]
    fn shell_variables() {
        let env = HashMap::from([("A", "1"), ("B_2", "two"), ("*", "star"), ("3", "three")]);
        let table = [
            ("a: $A", "a: 1"),
            ("${A}${B_2}x", "1twox"),
            ("$B_2-$A.$NOPE.", "two-1.."),
            ("$AB", ""),
            ("^a$", "^a$"),
            ("a$ b", "a$ b"),
            ("${}x", "x"),
            ("${A", "A"),
            ("$*$3${*}", "starthreestar"),
            ("$$A", "A"),
            ("$\u{e9}", "$\u{e9}"),
            ("100%", "100%"),
        ];
        for (text, expected) in table {
            assert_eq!(expand_env(text, &env), expected, "{text}");
        }
    }
}
