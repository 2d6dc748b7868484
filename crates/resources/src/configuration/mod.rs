//! The Configuration kind (runtime.md §3.4).

mod access;
mod document;
mod features;
mod merge;
mod observability;
mod workflow;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::decode::{DecodeError, decode};
use crate::yaml::{Dialect, Kind, Node, Scalar};

pub use access::{
    AccessControlSpec, ApiAccessRule, ApiProtocol, ApiSpec, AppOperation, AppPolicySpec, ComponentsSpec,
    SecretScope, SecretsSpec,
};
pub use document::ConfigurationDocument;
pub use features::{Feature, FeatureSpec};
pub(crate) use merge::merge;
pub use observability::{
    ApiLoggingSpec, LoggingSpec, MetricHttp, MetricLabel, MetricSpec, MetricsRule, OtelSpec, TracingSpec,
    ZipkinSpec,
};
pub use workflow::{NamedConcurrencyLimit, StateRetentionPolicy, WorkflowSpec};

/// Settings of a process, defaults included.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// May be empty: files need no name.
    pub name: String,
    pub namespace: String,
    pub http_pipeline: PipelineSpec,
    pub app_http_pipeline: PipelineSpec,
    pub tracing: TracingSpec,
    pub mtls: MtlsSpec,
    /// `metric` with the fields of `metrics` laid over it.
    pub metric: MetricSpec,
    pub secrets: SecretsSpec,
    pub access_control: Option<AccessControlSpec>,
    pub name_resolution: Option<NameResolutionSpec>,
    /// As listed, then the defaults that are not listed.
    pub features: Vec<FeatureSpec>,
    pub api: ApiSpec,
    pub components: ComponentsSpec,
    pub logging: LoggingSpec,
    pub wasm: WasmSpec,
    pub workflow: WorkflowSpec,
}

/// A Configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("{0} storeName is repeated in secrets configuration")]
    RepeatedSecretStore(String),
    #[error("defaultAccess {0} can be either allow or deny")]
    BadDefaultAccess(String),
}

impl Default for Configuration {
    fn default() -> Self {
        Self::from_merged(&default_node(), Dialect::Configuration).expect("the built-in defaults are valid")
    }
}

impl Configuration {
    /// Decodes a resource as the operator sends it, on top of the defaults.
    pub fn from_json(json: &Value) -> Result<Self, ConfigurationError> {
        let merged =
            merge(default_node(), Node::from_json(json), Dialect::Resource).map_err(DecodeError::from)?;
        Self::from_merged(&merged, Dialect::Resource)
    }

    /// Decodes and validates a node that already holds the defaults.
    pub(crate) fn from_merged(node: &Node, dialect: Dialect) -> Result<Self, ConfigurationError> {
        let file: File = decode(node, dialect, "Configuration")?;
        file.spec.secrets.validate()?;
        let spec = file.spec;
        Ok(Self {
            name: file.metadata.name,
            namespace: file.metadata.namespace,
            http_pipeline: spec.http_pipeline,
            app_http_pipeline: spec.app_http_pipeline,
            tracing: spec.tracing,
            mtls: spec.mtls,
            metric: spec.metric.overlaid_by(spec.metrics),
            secrets: spec.secrets,
            access_control: spec.access_control,
            name_resolution: spec.name_resolution,
            features: features::with_defaults(spec.features),
            api: spec.api,
            components: spec.components,
            logging: spec.logging,
            wasm: spec.wasm,
            workflow: spec.workflow,
        })
    }

    /// The names in `spec.features` that mean something.
    pub fn known_features() -> [&'static str; 5] {
        Feature::ALL.map(Feature::name)
    }

    pub fn is_feature_enabled(&self, feature: Feature) -> bool {
        self.enabled_features().contains(feature.name())
    }

    /// Names of all features that are on, known to us or not, for the metadata API.
    pub fn enabled_features(&self) -> BTreeSet<&str> {
        features::enabled(&self.features)
    }

    /// The scope of a secret store, if one is set.
    pub fn secret_scope(&self, store: &str) -> Option<&SecretScope> {
        self.secrets.scopes.iter().find(|scope| scope.store_name == store)
    }
}

/// What applies before any file is read.
pub(crate) fn default_node() -> Node {
    fn object(fields: Vec<(&str, Node)>) -> Node {
        let key = |key: &str| Node { line: 0, kind: Kind::Scalar(Scalar::quoted(key)) };
        let pairs = fields.into_iter().map(|(name, value)| (key(name), value)).collect();
        Node { line: 0, kind: Kind::Mapping(pairs) }
    }
    let text = |text: &str| Node { line: 0, kind: Kind::Scalar(Scalar::plain(text)) };
    object(vec![(
        "spec",
        object(vec![
            ("tracing", object(vec![("otel", object(vec![("isSecure", text("true"))]))])),
            ("metric", object(vec![("enabled", text("true"))])),
            (
                "accessControl",
                object(vec![("defaultAction", text("allow")), ("trustDomain", text("public"))]),
            ),
        ]),
    )])
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct File {
    metadata: crate::resource::ObjectMeta,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    http_pipeline: PipelineSpec,
    app_http_pipeline: PipelineSpec,
    tracing: TracingSpec,
    mtls: MtlsSpec,
    metric: MetricSpec,
    metrics: MetricSpec,
    secrets: SecretsSpec,
    access_control: Option<AccessControlSpec>,
    name_resolution: Option<NameResolutionSpec>,
    features: Vec<FeatureSpec>,
    api: ApiSpec,
    components: ComponentsSpec,
    logging: LoggingSpec,
    wasm: WasmSpec,
    workflow: WorkflowSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PipelineSpec {
    pub handlers: Vec<HandlerSpec>,
}

/// A middleware in a pipeline; `selector` is accepted and has no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HandlerSpec {
    pub name: String,
    #[serde(rename = "type")]
    pub handler_type: String,
    pub version: String,
}

impl HandlerSpec {
    /// `name (type)` or `name (type/version)`.
    pub fn log_name(&self) -> String {
        crate::component::component_log_name(&self.name, &self.handler_type, &self.version)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NameResolutionSpec {
    pub component: String,
    pub version: String,
    /// Any JSON; null when absent.
    pub configuration: Value,
}

/// Read by Sentry and the injector; the sidecar follows its `--enable-mtls` flag.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MtlsSpec {
    pub enabled: bool,
    /// Go duration as written; empty is the default of the reader.
    #[serde(rename = "workloadCertTTL")]
    pub workload_cert_ttl: String,
    pub allowed_clock_skew: String,
    pub sentry_address: String,
    pub control_plane_trust_domain: String,
    pub token_validators: Vec<ValidatorSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ValidatorSpec {
    pub name: String,
    pub options: Value,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WasmSpec {
    pub strict_sandbox: bool,
}

#[cfg(test)]
mod tests;
