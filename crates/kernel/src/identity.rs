use std::fmt;
use std::sync::Arc;

/// The application this sidecar serves. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AppIdentity {
    app_id: Arc<str>,
    namespace: Arc<str>,
    namespace_env: Option<Arc<str>>,
}

impl AppIdentity {
    /// `namespace_env` is the raw value of `NAMESPACE`: absent means the
    /// namespace `default`, present-but-empty stays empty (runtime.md §18.5).
    pub fn new(app_id: impl Into<Arc<str>>, namespace_env: Option<&str>) -> Self {
        Self {
            app_id: app_id.into(),
            namespace: Arc::from(namespace_env.unwrap_or("default")),
            namespace_env: namespace_env.map(Arc::from),
        }
    }

    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    pub fn app_id_shared(&self) -> Arc<str> {
        self.app_id.clone()
    }

    /// Namespace for identity, invocation and topic names.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Raw `NAMESPACE`, empty when unset: what metrics, key prefixes and the
    /// resource filter use.
    pub fn namespace_env(&self) -> &str {
        self.namespace_env.as_deref().unwrap_or("")
    }
}

impl fmt::Debug for AppIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.app_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_defaults_only_when_absent() {
        assert_eq!(AppIdentity::new("a", None).namespace(), "default");
        assert_eq!(AppIdentity::new("a", Some("")).namespace(), "");
        assert_eq!(AppIdentity::new("a", None).namespace_env(), "");
        assert_eq!(AppIdentity::new("a", Some("ns")).namespace_env(), "ns");
    }
}
