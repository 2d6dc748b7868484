use serde::Deserialize;

use crate::metadata::{self, MetadataItem, SecretRef, TlsDocument};
use crate::resource::{Manifest, Resource};
use crate::source::Source;
use crate::template::EnvSource;

/// An external HTTP service that can be invoked by name (runtime.md §3.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpEndpoint {
    pub name: String,
    pub namespace: String,
    pub base_url: String,
    /// Overwrite headers of the request.
    pub headers: Vec<MetadataItem>,
    pub client_tls: Option<ClientTls>,
    pub auth_secret_store: String,
    pub scopes: Vec<String>,
    pub source: Source,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClientTls {
    #[serde(rename = "rootCA")]
    pub root_ca: Option<TlsDocument>,
    pub certificate: Option<TlsDocument>,
    #[serde(rename = "privateKey")]
    pub private_key: Option<TlsDocument>,
    /// `Never`, `OnceAsClient` or `FreelyAsClient`; empty is `Never`.
    pub renegotiation: String,
}

impl HttpEndpoint {
    /// Secrets that headers ask for; those of [`ClientTls`] are in its documents.
    pub fn secret_refs(&self) -> Vec<SecretRef> {
        metadata::secret_refs(&self.headers)
    }

    #[must_use]
    pub fn with_secrets(mut self, value_of: impl FnMut(&SecretRef) -> Option<String>) -> Self {
        metadata::apply_secrets(&mut self.headers, value_of);
        self
    }

    /// Replaces environment references of headers; returns refusals for the log.
    pub fn apply_env(&mut self, env: &dyn EnvSource) -> Vec<String> {
        metadata::apply_env(&mut self.headers, Self::KIND, &self.name, env)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HttpEndpointSpec {
    #[serde(rename = "baseUrl")]
    base_url: String,
    headers: Vec<MetadataItem>,
    #[serde(rename = "clientTLS")]
    client_tls: Option<ClientTls>,
}

impl Resource for HttpEndpoint {
    const KIND: &'static str = "HTTPEndpoint";
    const API_VERSION: &'static str = "dapr.io/v1alpha1";
    type Spec = HttpEndpointSpec;

    fn from_manifest(manifest: Manifest<HttpEndpointSpec>, source: Source) -> Self {
        let Manifest { metadata, spec, auth, scopes } = manifest;
        Self {
            name: metadata.name,
            namespace: metadata.namespace,
            base_url: spec.base_url,
            headers: spec.headers,
            client_tls: spec.client_tls,
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
        Self { namespace: String::new(), source: Source::default(), ..self.clone() }
    }

    fn log_name(&self) -> String {
        format!("{} ({})", self.name, self.base_url)
    }
}
