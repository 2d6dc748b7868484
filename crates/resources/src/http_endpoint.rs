use serde::Deserialize;

use crate::component::secret_store_or_default;
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

impl ClientTls {
    fn documents(&mut self) -> impl Iterator<Item = &mut TlsDocument> {
        [&mut self.root_ca, &mut self.certificate, &mut self.private_key].into_iter().flatten()
    }

    /// The documents as items that ask for secrets, by position.
    fn items(&self) -> Vec<MetadataItem> {
        let mut copy = self.clone();
        copy.documents()
            .map(|document| MetadataItem {
                name: "clientTLS".to_owned(),
                value: document.value.take().unwrap_or_default(),
                secret_key_ref: document.secret_key_ref.take().unwrap_or_default(),
                env_ref: String::new(),
            })
            .collect()
    }

    fn take_items(&mut self, items: Vec<MetadataItem>) {
        for (document, item) in self.documents().zip(items) {
            document.value = Some(item.value).filter(|value| !value.is_empty());
        }
    }
}

impl HttpEndpoint {
    /// Secrets that headers and TLS documents ask for.
    pub fn secret_refs(&self) -> Vec<SecretRef> {
        let mut refs = metadata::secret_refs(&self.headers);
        if let Some(tls) = &self.client_tls {
            refs.extend(metadata::secret_refs(&tls.items()));
        }
        refs
    }

    /// The endpoint with fetched secrets in place.
    #[must_use]
    pub fn with_secrets(mut self, mut value_of: impl FnMut(&SecretRef) -> Option<String>) -> Self {
        metadata::apply_secrets(&mut self.headers, &mut value_of);
        if let Some(tls) = &mut self.client_tls {
            let mut items = tls.items();
            metadata::apply_secrets(&mut items, value_of);
            tls.take_items(items);
        }
        self
    }

    /// Decodes the secrets that the operator put in place; returns what could
    /// not be decoded, for the log.
    pub fn decode_inlined_secrets(&mut self) -> Vec<String> {
        let mut problems = metadata::decode_inlined_secrets(&mut self.headers);
        if let Some(tls) = &mut self.client_tls {
            let mut items = tls.items();
            problems.extend(metadata::decode_inlined_secrets(&mut items));
            tls.take_items(items);
        }
        problems
    }

    /// The store that secret references are read from.
    pub fn secret_store(&self, kubernetes: bool) -> &str {
        secret_store_or_default(&self.auth_secret_store, kubernetes)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endpoint(tls: serde_json::Value) -> HttpEndpoint {
        let headers = json!([{"name": "h", "secretKeyRef": {"name": "s", "key": "h"}, "value": "aA=="}]);
        HttpEndpoint::from_json(&json!({
            "metadata": {"name": "e"},
            "spec": {"baseUrl": "https://x", "headers": headers, "clientTLS": tls},
        }))
        .unwrap()
    }

    fn pem(document: &Option<TlsDocument>) -> Option<String> {
        document.as_ref()?.value.as_ref().map(crate::metadata::DynamicValue::text)
    }

    #[test]
    fn tls_documents_come_from_secrets_too() {
        let tls =
            json!({"rootCA": {"secretKeyRef": {"name": "s", "key": "ca"}}, "certificate": {"value": "C"}});
        let endpoint = endpoint(tls);
        assert_eq!(endpoint.secret_refs().iter().map(|r| r.key.as_str()).collect::<Vec<_>>(), ["h", "ca"]);
        let endpoint = endpoint.with_secrets(|r| Some(format!("{}/{}", r.secret, r.key)));
        assert_eq!(endpoint.headers[0].value.text(), "s/h");
        let tls = endpoint.client_tls.unwrap();
        assert_eq!(pem(&tls.root_ca).as_deref(), Some("s/ca"));
        assert_eq!((pem(&tls.certificate).as_deref(), pem(&tls.private_key)), (Some("C"), None));
    }

    #[test]
    fn the_operator_puts_secrets_in_place_in_base64() {
        let tls = json!({
            "rootCA": {"secretKeyRef": {"name": "s", "key": "ca"}, "value": "Q0E="},
            "privateKey": {"value": "S0VZ"},
        });
        let mut endpoint = endpoint(tls);
        assert_eq!(endpoint.decode_inlined_secrets(), Vec::<String>::new());
        assert_eq!(endpoint.headers[0].value.text(), "h");
        let tls = endpoint.client_tls.unwrap();
        assert_eq!(pem(&tls.root_ca).as_deref(), Some("CA"));
        assert_eq!(pem(&tls.private_key).as_deref(), Some("S0VZ"), "written there, not put there");
    }
}
