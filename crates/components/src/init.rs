use std::sync::Arc;

use dapr_kernel::AppIdentity;
use dapr_kernel::tasks::TaskGroup;

use crate::{Properties, PropertyError};

/// Everything a component gets to come into being.
#[derive(Clone, Debug)]
pub struct InitContext {
    /// `metadata.name` of the resource.
    pub name: Arc<str>,
    /// Full type such as `state.redis`, lower-cased.
    pub component_type: Arc<str>,
    /// `spec.version` as written; may be empty.
    pub version: Arc<str>,
    /// Metadata after templates, environment and secret references.
    pub properties: Properties,
    pub identity: AppIdentity,
    /// Background work of the component runs here and ends with it.
    pub tasks: TaskGroup,
}

impl InitContext {
    /// `name (type)` or `name (type/version)`: how logs call a component
    /// (runtime.md §2.3).
    pub fn log_name(&self) -> String {
        if self.version.is_empty() {
            format!("{} ({})", self.name, self.component_type)
        } else {
            format!("{} ({}/{})", self.name, self.component_type, self.version)
        }
    }
}

/// Why a component could not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InitError(pub String);

impl InitError {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl From<PropertyError> for InitError {
    fn from(error: PropertyError) -> Self {
        Self(error.to_string())
    }
}
