//! Metadata of the component (components.md §3.8).

use std::sync::Arc;

use dapr_components::{InitError, Properties};
use dapr_security::tls::rustls::ClientConfig;
use dapr_security::tls::{ClientTls, client_config};

/// What `--max-txn-ops` of a server is unless told otherwise.
const MAX_TRANSACTION: usize = 128;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// At least one.
    pub(crate) endpoints: Vec<String>,
    pub(crate) prefix: String,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Most operations of one transaction.
    pub(crate) max_transaction: usize,
}

impl Settings {
    pub(crate) fn parse(properties: &Properties) -> Result<Self, InitError> {
        let max_transaction = properties
            .integer::<i64>("maxTxnOps")
            .map_err(|e| InitError::new(format!("couldn't convert metadata properties: {e}")))?;
        let tls = tls(properties).map_err(client)?;
        let endpoints: Vec<String> =
            properties.list("endpoints").iter().map(|text| text.trim().to_owned()).collect();
        if endpoints.first().is_none_or(String::is_empty) {
            return Err(client("endpoints required".to_owned()));
        }
        Ok(Self {
            endpoints,
            prefix: properties.get("keyPrefixPath").unwrap_or_default().to_owned(),
            tls,
            max_transaction: max_transaction
                .map_or(MAX_TRANSACTION, |limit| usize::try_from(limit).unwrap_or(0)),
        })
    }
}

fn client(reason: String) -> InitError {
    InitError::new(format!("initializing etcd client: {reason}"))
}

fn tls(properties: &Properties) -> Result<Option<Arc<ClientConfig>>, String> {
    let pem = |name| properties.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let (roots, certificate, key) = (pem("ca"), pem("cert"), pem("key"));
    if !properties.truthy("tlsEnable") {
        return Ok(None);
    }
    if roots.is_none() || certificate.is_none() || key.is_none() {
        return Err("tls authentication information is incomplete".to_owned());
    }
    let options = ClientTls {
        root_ca_pem: roots,
        cert_pem: certificate,
        key_pem: key,
        alpn: vec![b"h2".to_vec()],
        ..ClientTls::default()
    };
    client_config(&options).map(Some).map_err(|e| format!("tls authentication error: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(items: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::parse(&Properties::new(items.iter().copied()).unwrap()).map_err(|e| e.0)
    }

    #[test]
    fn defaults() {
        let settings = parse(&[("Endpoints", "a:2379, b:2379")]).unwrap();
        assert_eq!(settings.endpoints, ["a:2379", "b:2379"]);
        assert_eq!((settings.prefix.as_str(), settings.max_transaction), ("", 128));
        assert!(settings.tls.is_none());
    }

    #[test]
    fn refusals() {
        let required = "initializing etcd client: endpoints required";
        assert_eq!(parse(&[]).unwrap_err(), required);
        assert_eq!(parse(&[("endpoints", "")]).unwrap_err(), required);
        assert_eq!(parse(&[("endpoints", ",a:1")]).unwrap_err(), required);
        let error = parse(&[("endpoints", "a:1"), ("maxTxnOps", "many")]).unwrap_err();
        assert!(error.starts_with("couldn't convert metadata properties: "), "{error}");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let tls = [("endpoints", "a:1"), ("tlsEnable", "yes"), ("ca", &certificate), ("cert", &certificate)];
        assert_eq!(
            parse(&tls).unwrap_err(),
            "initializing etcd client: tls authentication information is incomplete"
        );
        let with = |key| parse(&[&tls[..], &[("key", key)]].concat());
        assert!(with(key.as_str()).unwrap().tls.is_some());
        let error = with("no key").unwrap_err();
        assert!(error.starts_with("initializing etcd client: tls authentication error: "), "{error}");
    }
}
