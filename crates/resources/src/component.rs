use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::metadata::{self, MetadataItem, SecretRef};
use crate::resource::{Manifest, Resource};
use crate::source::Source;
use crate::template::{EnvSource, TemplateContext, TemplateError, properties};

/// Time for a component to start when `initTimeout` is absent or unreadable.
const DEFAULT_INIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Secret store that is used in Kubernetes when none is named.
pub const KUBERNETES_SECRET_STORE: &str = "kubernetes";

const KUBERNETES_SECRET_STORE_TYPE: &str = "secretstores.kubernetes";

/// The store that is named, or the one that is used where none is.
pub(crate) fn secret_store_or_default(named: &str, kubernetes: bool) -> &str {
    match (named, kubernetes) {
        ("", true) => KUBERNETES_SECRET_STORE,
        (store, _) => store,
    }
}

/// Annotation that asks for background starts: an addition to Dapr, which
/// reads no annotations of components (docs/late-backends.md).
const INIT_RETRY_ANNOTATION: &str = "dapr.io/init-retry";

/// A component resource (runtime.md §3.3).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Component {
    pub name: String,
    pub namespace: String,
    /// `state.redis`, `bindings.cron`, ...
    pub component_type: String,
    pub version: String,
    pub ignore_errors: bool,
    /// As written; see [`Component::init_timeout_or_default`].
    pub init_timeout: String,
    /// A start that fails is tried again in the background.
    pub init_retry: bool,
    pub metadata: Vec<MetadataItem>,
    /// Store that `secretKeyRef`s are read from; may be empty.
    pub auth_secret_store: String,
    pub scopes: Vec<String>,
    pub source: Source,
}

impl Component {
    /// Five seconds when absent or unreadable.
    pub fn init_timeout_or_default(&self) -> Duration {
        dapr_gocompat::duration::parse_duration(&self.init_timeout).unwrap_or(DEFAULT_INIT_TIMEOUT)
    }

    /// The store that secret references are read from.
    pub fn secret_store(&self, kubernetes: bool) -> &str {
        secret_store_or_default(&self.auth_secret_store, kubernetes)
    }

    /// The secret store that every sidecar in Kubernetes has (runtime.md §2.1).
    pub fn builtin_secret_store() -> Self {
        Self {
            name: KUBERNETES_SECRET_STORE.to_owned(),
            component_type: KUBERNETES_SECRET_STORE_TYPE.to_owned(),
            version: "v1".to_owned(),
            ..Self::default()
        }
    }

    /// Decodes the secrets that the operator put in place; returns what could
    /// not be decoded, for the log.
    pub fn decode_inlined_secrets(&mut self) -> Vec<String> {
        metadata::decode_inlined_secrets(&mut self.metadata)
    }

    /// Secrets to fetch from [`Component::secret_store`]; ask after
    /// [`Component::apply_env`].
    pub fn secret_refs(&self) -> Vec<SecretRef> {
        metadata::secret_refs(&self.metadata)
    }

    /// The component with fetched secrets in place.
    #[must_use]
    pub fn with_secrets(mut self, value_of: impl FnMut(&SecretRef) -> Option<String>) -> Self {
        metadata::apply_secrets(&mut self.metadata, value_of);
        self
    }

    /// Replaces environment references; returns refusals for the log.
    pub fn apply_env(&mut self, env: &dyn EnvSource) -> Vec<String> {
        metadata::apply_env(&mut self.metadata, Self::KIND, &self.name, env)
    }

    /// Metadata with placeholders filled, as the component's constructor gets it.
    pub fn properties(&self, context: &TemplateContext) -> Result<BTreeMap<String, String>, TemplateError> {
        let mut values = properties(&self.metadata, context)?;
        if context.strict_sandbox && is_wasm(&self.component_type) {
            const SANDBOX: &str = "strictSandbox";
            // One item of that name is overruled, in whatever case; further ones stay.
            let item = self.metadata.iter().find(|item| item.name.eq_ignore_ascii_case(SANDBOX));
            let key = item.map_or(SANDBOX, |item| item.name.as_str());
            values.insert(key.to_owned(), "true".to_owned());
        }
        Ok(values)
    }

    /// Whether a value uses `{namespace}`.
    pub fn uses_namespace(&self) -> bool {
        self.metadata.iter().any(|item| item.value.text().contains("{namespace}"))
    }
}

/// The HTTP middleware is known to the sandbox rule as `middleware.wasm`, so that
/// `middleware.http.wasm` is not covered (components.md §1.3).
fn is_wasm(component_type: &str) -> bool {
    matches!(component_type, "bindings.wasm" | "middleware.wasm")
}

/// `name (type)` or `name (type/version)`.
pub fn component_log_name(name: &str, component_type: &str, version: &str) -> String {
    if version.is_empty() {
        format!("{name} ({component_type})")
    } else {
        format!("{name} ({component_type}/{version})")
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ComponentSpec {
    #[serde(rename = "type")]
    component_type: String,
    version: String,
    ignore_errors: bool,
    init_timeout: String,
    metadata: Vec<MetadataItem>,
}

impl Resource for Component {
    const KIND: &'static str = "Component";
    const API_VERSION: &'static str = "dapr.io/v1alpha1";
    type Spec = ComponentSpec;

    fn from_manifest(manifest: Manifest<ComponentSpec>, source: Source) -> Self {
        let Manifest { metadata, spec, auth, scopes } = manifest;
        let init_retry = metadata.annotations.get(INIT_RETRY_ANNOTATION);
        Self {
            init_retry: init_retry.and_then(|v| v.as_str()).is_some_and(|v| v == "background"),
            name: metadata.name,
            namespace: metadata.namespace,
            component_type: spec.component_type,
            version: spec.version,
            ignore_errors: spec.ignore_errors,
            init_timeout: spec.init_timeout,
            metadata: spec.metadata,
            auth_secret_store: auth.secret_store,
            scopes,
            source,
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn scopes(&self) -> &[String] {
        &self.scopes
    }

    fn source(&self) -> &Source {
        &self.source
    }

    fn comparable(&self) -> Self {
        let (namespace, source) = (String::new(), Source::default());
        Self { namespace, source, init_retry: false, ..self.clone() }
    }

    fn log_name(&self) -> String {
        component_log_name(&self.name, &self.component_type, &self.version)
    }

    fn is_builtin(&self) -> bool {
        self.name == KUBERNETES_SECRET_STORE && self.component_type == KUBERNETES_SECRET_STORE_TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse_first;

    fn component(text: &str) -> Component {
        Component::from_node(&parse_first(text).unwrap().unwrap(), Source::default()).unwrap()
    }

    const FULL: &str = "
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: 123, namespace: ns}
spec:
  type: state.redis
  version: v1
  ignoreErrors: on
  initTimeout: 1m
  metadata:
  - {name: redisHost, value: 'localhost:6379'}
  - {name: redisDB, value: 0644}
  - {name: enableTLS, value: no}
  - {name: list, value: [1, x]}
  - {name: password, secretKeyRef: {name: redis, key: pw}}
  - {name: user, envRef: USER_NAME}
  - {name: id, value: '{namespace}'}
auth:
  secretStore: vault
scopes: [app1, 2]
";

    #[test]
    fn every_field_is_read() {
        let c = component(FULL);
        assert_eq!((c.name.as_str(), c.namespace.as_str()), ("123", "ns"));
        assert_eq!(c.log_name(), "123 (state.redis/v1)");
        assert!(c.ignore_errors);
        assert_eq!(c.init_timeout_or_default(), Duration::from_secs(60));
        assert_eq!(c.secret_store(true), "vault");
        assert_eq!(c.scopes, ["app1", "2"]);
        assert!(c.is_scoped_to("2") && !c.is_scoped_to("app2"));
        assert!(c.uses_namespace());
        let context = TemplateContext { app_id: "a".into(), namespace: "n".into(), ..Default::default() };
        let mut c = c.with_secrets(|r| Some(format!("{}/{}", r.secret, r.key)));
        let env = |name: &str| (name == "USER_NAME").then(|| "me".to_owned());
        assert_eq!(c.apply_env(&env), Vec::<String>::new());
        let p = c.properties(&context).unwrap();
        assert_eq!(p["redisHost"], "localhost:6379");
        assert_eq!(p["redisDB"], "420");
        assert_eq!(p["enableTLS"], "false");
        assert_eq!(p["list"], "[1,\"x\"]");
        assert_eq!(p["password"], "redis/pw");
        assert_eq!(p["user"], "me");
        assert_eq!(p["id"], "n.a");
    }

    #[test]
    fn timeouts_fall_back() {
        for text in ["", "soon", "-1s"] {
            let c = Component { init_timeout: text.to_owned(), ..Default::default() };
            assert_eq!(c.init_timeout_or_default(), Duration::from_secs(5), "{text}");
        }
    }

    #[test]
    fn names_without_a_version() {
        assert_eq!(component("spec: {type: state.x}\nmetadata: {name: a}").log_name(), "a (state.x)");
    }

    #[test]
    fn the_sandbox_covers_the_wasm_binding() {
        let context = TemplateContext { strict_sandbox: true, ..Default::default() };
        let wasm =
            component("spec: {type: bindings.wasm, metadata: [{name: StrictSandbox, value: 'false'}]}");
        assert_eq!(
            wasm.properties(&context).unwrap(),
            BTreeMap::from([("StrictSandbox".into(), "true".into())])
        );
        let bare = component("spec: {type: bindings.wasm}");
        assert_eq!(bare.properties(&context).unwrap()["strictSandbox"], "true");
        for other in ["middleware.http.wasm", "state.redis"] {
            let c = Component { component_type: other.to_owned(), ..Default::default() };
            assert!(c.properties(&context).unwrap().is_empty(), "{other}");
        }
    }

    #[test]
    fn kubernetes_has_a_default_secret_store() {
        let c = Component::default();
        assert_eq!((c.secret_store(true), c.secret_store(false)), ("kubernetes", ""));
    }
}
