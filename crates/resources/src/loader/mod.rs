//! Resources from folders and configuration from files (runtime.md §3.1, §3.4).
//!
//! [`ResourceFiles`] reads and parses every file once; each kind is then picked
//! from the parsed documents under its own rules. The `load_*` functions do both
//! for one kind.

mod configuration;
mod files;
mod kinds;
mod resiliency;

use std::path::{Path, PathBuf};

use crate::configuration::ConfigurationError;
use crate::resource::Resource;
use crate::{Component, HttpEndpoint, McpServer, Subscription, WorkflowAccessPolicy};

pub use configuration::load_configuration;
pub use files::ResourceFiles;
pub use resiliency::load_resiliency;

/// Whom resources are loaded for.
#[derive(Clone, Debug, Default)]
pub struct LoadContext {
    pub app_id: String,
    /// The raw variable `NAMESPACE`; namespaces are ignored when it is not set or empty.
    pub namespace_env: Option<String>,
}

impl LoadContext {
    /// Whether a resource's namespace and scopes include this app.
    pub fn admits<T: Resource>(&self, resource: &T) -> bool {
        self.shares_namespace(resource) && resource.is_scoped_to(&self.app_id)
    }

    fn shares_namespace<T: Resource>(&self, resource: &T) -> bool {
        let own = self.namespace_env.as_deref().filter(|namespace| !namespace.is_empty());
        own.is_none_or(|own| resource.namespace().is_empty() || resource.namespace() == own)
    }
}

/// Resources in order of folder, file and document.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<T> {
    pub resources: Vec<T>,
    /// What was skipped and why, for the log.
    pub warnings: Vec<Diagnostic>,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub level: Level,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Warning,
    Error,
}

impl Diagnostic {
    pub(crate) fn warning(message: String) -> Self {
        Self { level: Level::Warning, message }
    }

    pub(crate) fn error(message: String) -> Self {
        Self { level: Level::Error, message }
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why nothing could be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// `reason` in the system's words: `no such file or directory`.
    #[error("{operation} {}: {reason}", path.display())]
    Io { operation: &'static str, path: PathBuf, reason: String },
    /// One line per duplicate.
    #[error("{0}")]
    Duplicates(String),
    #[error("{}: {error}", path.display())]
    Yaml { path: PathBuf, error: crate::yaml::YamlError },
    #[error("{}: {error}", path.display())]
    Configuration { path: PathBuf, error: ConfigurationError },
}

impl LoadError {
    fn io(operation: &'static str, path: &Path, error: &std::io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), reason: reason(error) }
    }
}

/// The message of a system error as Go words it: lower case, without the number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Whether a file name ends in `.yaml` or `.yml`, in any case.
fn is_yaml(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"))
}

fn load<T: Resource>(dirs: &[PathBuf], context: &LoadContext) -> Result<Loaded<T>, LoadError> {
    ResourceFiles::read(dirs)?.load(context)
}

/// Components for this app; duplicates among them are an error.
pub fn load_components(dirs: &[PathBuf], context: &LoadContext) -> Result<Loaded<Component>, LoadError> {
    load(dirs, context)
}

/// HTTP endpoints for this app; duplicates among them are an error.
pub fn load_http_endpoints(
    dirs: &[PathBuf],
    context: &LoadContext,
) -> Result<Loaded<HttpEndpoint>, LoadError> {
    load(dirs, context)
}

/// MCP servers for this app; duplicates among them are an error.
pub fn load_mcp_servers(dirs: &[PathBuf], context: &LoadContext) -> Result<Loaded<McpServer>, LoadError> {
    load(dirs, context)
}

/// Workflow access policies for this app; duplicates among them are an error.
pub fn load_workflow_access_policies(
    dirs: &[PathBuf],
    context: &LoadContext,
) -> Result<Loaded<WorkflowAccessPolicy>, LoadError> {
    load(dirs, context)
}

/// All subscriptions, old form and new: neither namespace nor scopes are looked
/// at, and names may repeat.
pub fn load_subscriptions(dirs: &[PathBuf]) -> Result<Loaded<Subscription>, LoadError> {
    Ok(ResourceFiles::read(dirs)?.subscriptions())
}

#[cfg(test)]
mod tests;
