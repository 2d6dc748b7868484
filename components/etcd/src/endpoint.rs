//! From the text of an endpoint to where to connect.

use std::sync::Arc;
use std::time::Duration;

use dapr_security::tls::rustls::ClientConfig;
use dapr_security::tls::{ClientTls, Connector, client_config};
use dapr_transport::connect::{BoxStream, Destination, Wrapper};

/// For making one connection.
const DIAL_LIMIT: Duration = Duration::from_secs(5);

/// One server of the cluster.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) destination: Destination,
    pub(crate) secure: bool,
}

/// Whether connections are secured, which the first endpoint decides for all:
/// `http` never, `https` always, and without a scheme as `tlsEnable` says.
pub(crate) fn security(
    first: &str,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Option<Arc<ClientConfig>>, String> {
    match (first.split_once("://").map(|(scheme, _)| scheme), tls) {
        (Some("http"), _) => Ok(None),
        (Some("https"), None) => {
            let options = ClientTls { alpn: vec![b"h2".to_vec()], ..ClientTls::default() };
            client_config(&options).map(Some).map_err(|e| e.to_string())
        }
        (_, tls) => Ok(tls),
    }
}

impl Endpoint {
    /// `host:port`, with or without a scheme, or the path of a Unix socket.
    pub(crate) fn new(text: &str, tls: Option<&Arc<ClientConfig>>) -> Self {
        let socket = ["unix://", "unix:"].iter().find_map(|scheme| text.strip_prefix(scheme));
        if let Some(path) = socket {
            return Self { destination: Destination::unix(path, DIAL_LIMIT), secure: false };
        }
        let address = text.split_once("://").map_or(text, |(_, rest)| rest);
        let address = address.split('/').next().unwrap_or_default();
        let destination = Destination::tcp(address, DIAL_LIMIT);
        match tls {
            None => Self { destination, secure: false },
            Some(config) => Self { destination: destination.wrapped(wrapper(address, config)), secure: true },
        }
    }
}

fn wrapper(address: &str, config: &Arc<ClientConfig>) -> Wrapper {
    let host: Arc<str> = address.rsplit_once(':').map_or(address, |(host, _)| host).into();
    let connector = Connector::new(config.clone());
    Arc::new(move |stream| {
        let (host, connector) = (host.clone(), connector.clone());
        Box::pin(async move {
            let secured = connector.connect(&host, stream).await.map_err(std::io::Error::other)?;
            Ok(Box::new(secured) as BoxStream)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, authority) in [
            ("localhost:2379", "localhost:2379"),
            ("http://10.0.0.1:2379/", "10.0.0.1:2379"),
            ("https://[::1]:2379", "[::1]:2379"),
            ("unix:///run/etcd.sock", "localhost"),
        ] {
            assert_eq!(Endpoint::new(text, None).destination.authority(), authority, "{text}");
        }
    }

    #[test]
    fn the_first_scheme_decides() {
        let given = security("https://a:1", None).unwrap();
        assert!(given.is_some(), "roots of the system");
        assert!(security("http://a:1", given.clone()).unwrap().is_none());
        assert!(security("a:1", given).unwrap().is_some());
        assert!(security("a:1", None).unwrap().is_none());
    }
}
