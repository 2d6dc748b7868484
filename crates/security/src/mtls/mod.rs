//! TLS between programs of Dapr: both sides show certificates with SPIFFE
//! identities (control-plane.md §4.4). Certificate and anchors are looked up at
//! each handshake, so that a rotation needs no new configuration; sessions are
//! never resumed, because that would skip the check.

#[cfg(test)]
mod tests;
mod verifier;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dapr_transport::connect::{BoxStream, Wrapper};
use dapr_transport::server::{Secured, Securer};
use rustls::SignatureScheme;
use rustls::client::{ClientConfig, ResolvesClientCert, Resumption};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use verifier::Spiffe;
pub use verifier::{Expect, verify_chain};

use crate::anchors::TrustAnchors;
use crate::identity::IdentityStore;
use crate::spiffe::SpiffeId;
use crate::tls::read_ahead::ReadAhead;
use crate::x509::Facts;

/// Time for a handshake: who connects and stays silent must not stay for ever.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);
const H2: &[u8] = b"h2";
const VERSIONS: &str = "ring has cipher suites of both versions of TLS";

/// Who is at the other end of a connection, proved by its certificate. Servers
/// that ask for certificates put it into the extensions of every request;
/// requests that came without TLS have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity(pub Arc<SpiffeId>);

impl PeerIdentity {
    pub fn id(&self) -> &SpiffeId {
        &self.0
    }

    /// That of the client of `request`, from its extensions.
    pub fn of(extensions: &http::Extensions) -> Option<&SpiffeId> {
        extensions.get::<Self>().map(Self::id)
    }
}

/// What both sides of TLS are made of.
#[derive(Clone, Debug)]
pub struct Material {
    pub identity: IdentityStore,
    pub anchors: TrustAnchors,
    /// The clock for validity.
    pub clock: Arc<dyn TimeProvider>,
}

impl Material {
    pub fn new(identity: IdentityStore, anchors: TrustAnchors) -> Self {
        Self { identity, anchors, clock: Arc::new(DefaultTimeProvider) }
    }
}

/// Whether a server asks its clients for certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Any identity that leads to the anchors; none is a failed handshake.
    Required,
    None,
}

/// The configuration of a server that speaks HTTP/2 (`alpn` of gRPC).
pub fn server_config(material: &Material, auth: ClientAuth) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_details(crate::tls::provider(), material.clock.clone())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect(VERSIONS);
    let builder = match auth {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Required => {
            builder.with_client_cert_verifier(Spiffe::verifier(material.anchors.clone(), Expect::Anyone))
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Current(material.identity.clone())));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![H2.to_vec()];
    Arc::new(config)
}

/// The configuration of a client that meets `expect`. Without `show`, it shows
/// no certificate: for the authority, which gives it its first.
pub fn client_config(material: &Material, expect: Expect, show: bool) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_details(crate::tls::provider(), material.clock.clone())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect(VERSIONS)
        .dangerous()
        .with_custom_certificate_verifier(Spiffe::verifier(material.anchors.clone(), expect));
    let mut config = if show {
        builder.with_client_cert_resolver(Arc::new(Current(material.identity.clone())))
    } else {
        builder.with_no_client_auth()
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![H2.to_vec()];
    Arc::new(config)
}

/// Shows the certificate that is in use when the handshake happens.
#[derive(Debug)]
struct Current(IdentityStore);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.current().map(|identity| identity.certified().clone())
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.current().map(|identity| identity.certified().clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// For [`dapr_transport::connect::Destination::wrapped`]. `host` is only a
/// hint for those who route by it; names are not checked.
pub fn wrapper(config: Arc<ClientConfig>, host: &str) -> Wrapper {
    let connector = TlsConnector::from(config);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned())
        .unwrap_or(ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([127, 0, 0, 1]))));
    Arc::new(move |stream: TcpStream| {
        let (connector, name) = (connector.clone(), name.clone());
        Box::pin(async move {
            match tokio::time::timeout(HANDSHAKE_LIMIT, connector.connect(name, ReadAhead::new(stream))).await
            {
                Ok(Ok(stream)) => Ok(Box::new(stream) as BoxStream),
                Ok(Err(error)) => Err(handshake_error(&error)),
                Err(_) => Err(timed_out()),
            }
        })
    })
}

/// For [`dapr_transport::server::Options::tls`].
pub fn securer(config: Arc<ServerConfig>) -> Securer {
    let acceptor = TlsAcceptor::from(config);
    Securer::new(move |stream: TcpStream| {
        let acceptor = acceptor.clone();
        Box::pin(async move {
            let stream =
                match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(ReadAhead::new(stream))).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => return Err(handshake_error(&error)),
                    Err(_) => return Err(timed_out()),
                };
            let mut extensions = http::Extensions::new();
            if let Some(leaf) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
                extensions.insert(peer_identity(leaf)?);
            }
            Ok(Secured { stream: Box::new(stream), extensions })
        })
    })
}

/// Of a certificate that was verified already.
fn peer_identity(leaf: &CertificateDer<'_>) -> io::Result<PeerIdentity> {
    let id = Facts::read(leaf).and_then(|facts| facts.spiffe_id()).map_err(io::Error::other)?;
    Ok(PeerIdentity(Arc::new(id)))
}

/// In the words that gRPC clients know.
fn handshake_error(error: &io::Error) -> io::Error {
    let reason = verifier::reason(error);
    io::Error::new(error.kind(), format!("transport: authentication handshake failed: {reason}"))
}

fn timed_out() -> io::Error {
    let text = format!("transport: authentication handshake failed: no end after {HANDSHAKE_LIMIT:?}");
    io::Error::new(io::ErrorKind::TimedOut, text)
}
