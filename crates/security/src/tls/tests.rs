use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const TLS12_ONLY: &[&SupportedProtocolVersion] = &[&version::TLS12];

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct Identity {
    cert: String,
    key: String,
}

fn identity(names: &[&str], issuer: &Issuer) -> Identity {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(names).unwrap().signed_by(&key, issuer).unwrap();
    Identity { cert: cert.pem(), key: key.serialize_pem() }
}

struct Server {
    identity: Identity,
    clients: Option<String>,
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: Vec<Vec<u8>>,
}

impl Server {
    fn new(identity: Identity) -> Self {
        Self { identity, clients: None, versions: rustls::ALL_VERSIONS, alpn: Vec::new() }
    }

    fn config(&self) -> ServerConfig {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(self.versions).unwrap();
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots: Arc<RootCertStore> = Arc::new(roots(ca).unwrap());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let chain = pem::certificates(Role::Certificate, &self.identity.cert).unwrap();
        let key: PrivateKeyDer<'static> = pem::private_key(&self.identity.key).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }

    /// One connection to `host` as the client sees it: the protocol agreed on,
    /// after an echo of `ping`.
    async fn call(&self, client: &ClientTls, host: &str) -> Result<Option<Vec<u8>>, String> {
        let config = client_config(client).map_err(|e| e.to_string())?;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(self.config()));
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut tls = acceptor.accept(tcp).await.ok()?;
            let mut ping = [0; 4];
            tls.read_exact(&mut ping).await.ok()?;
            tls.write_all(&ping).await.ok()?;
            tls.shutdown().await.ok()
        };
        let connect = async {
            let tcp = TcpStream::connect(address).await.unwrap();
            let mut tls = Connector::new(config).connect(host, tcp).await.map_err(|e| e.to_string())?;
            tls.write_all(b"ping").await.map_err(|e| e.to_string())?;
            tls.flush().await.map_err(|e| e.to_string())?;
            let mut pong = Vec::new();
            tls.read_to_end(&mut pong).await.map_err(|e| e.to_string())?;
            assert_eq!(pong, b"ping");
            Ok(tls.alpn_protocol().map(<[u8]>::to_vec))
        };
        tokio::join!(serve, connect).1
    }
}

fn trusting(ca: &Issuer) -> ClientTls {
    ClientTls { root_ca_pem: Some(ca.pem()), ..ClientTls::default() }
}

#[tokio::test]
async fn a_server_of_the_given_root_is_accepted_by_name_and_by_address() {
    let ca = authority();
    let server = Server::new(identity(&["app.test", "127.0.0.1", "::1"], &ca));
    for host in ["app.test", "127.0.0.1", "[::1]"] {
        server.call(&trusting(&ca), host).await.unwrap_or_else(|e| panic!("{host}: {e}"));
    }
}

#[tokio::test]
async fn a_wrong_name_or_a_wrong_root_is_refused() {
    let ca = authority();
    let server = Server::new(identity(&["app.test"], &ca));
    let error = server.call(&trusting(&ca), "other.test").await.unwrap_err();
    assert!(error.contains("'other.test'") && error.contains("not valid for name"), "{error}");
    let error = server.call(&trusting(&authority()), "app.test").await.unwrap_err();
    assert!(error.contains("tls: failed to verify certificate: x509: "), "{error}");
    let error = server.call(&trusting(&ca), "no host").await.unwrap_err();
    assert!(error.contains("'no host'"), "{error}");
}

#[tokio::test]
async fn roots_of_the_system_are_loaded_by_the_first_handshake_only() {
    let client = ClientTls::default();
    client_config(&client).unwrap();
    assert!(!client.native_roots.is_loaded());
    let server = Server::new(identity(&["app.test"], &authority()));
    server.call(&client, "app.test").await.unwrap_err();
    assert!(client.native_roots.is_loaded());
}

/// Runs only as the process of the test below: the roots of a system come from
/// its environment.
#[tokio::test]
#[ignore = "not a test: the process of the test below, which starts it"]
async fn helper_with_other_native_roots() {
    let ca = authority();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("system.pem");
    assert_eq!(std::env::var("SSL_CERT_FILE").unwrap(), "system.pem");
    std::fs::write(&path, ca.pem()).unwrap();
    std::env::set_current_dir(folder.path()).unwrap();
    let client = ClientTls::default();
    Server::new(identity(&["app.test"], &ca)).call(&client, "app.test").await.unwrap();
    Server::new(identity(&["app.test"], &authority())).call(&client, "app.test").await.unwrap_err();
}

#[test]
fn roots_of_the_system_are_trusted() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "tls::tests::helper_with_other_native_roots"])
        .env("SSL_CERT_FILE", "system.pem")
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn without_verification_any_certificate_does_with_both_versions() {
    let client = ClientTls { verify: Verify::None, ..ClientTls::default() };
    for versions in [TLS12_ONLY, TLS13_ONLY] {
        let mut server = Server::new(identity(&["whoever"], &authority()));
        server.versions = versions;
        server.call(&client, "localhost").await.unwrap();
    }
    assert!(!client.native_roots.is_loaded());
}

#[tokio::test]
async fn the_oldest_version_can_be_raised() {
    let ca = authority();
    let mut server = Server::new(identity(&["app.test"], &ca));
    server.versions = TLS12_ONLY;
    server.call(&trusting(&ca), "app.test").await.unwrap();
    let strict = ClientTls { min_version: MinVersion::Tls13, ..trusting(&ca) };
    server.call(&strict, "app.test").await.unwrap_err();
}

#[tokio::test]
async fn protocols_are_negotiated() {
    let ca = authority();
    let mut server = Server::new(identity(&["app.test"], &ca));
    server.alpn = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let client = ClientTls { alpn: vec![b"h2".to_vec()], ..trusting(&ca) };
    assert_eq!(server.call(&client, "app.test").await.unwrap().as_deref(), Some(&b"h2"[..]));
    assert_eq!(server.call(&trusting(&ca), "app.test").await.unwrap(), None);
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_given() {
    let ca = authority();
    let mut server = Server::new(identity(&["app.test"], &ca));
    server.clients = Some(ca.pem());
    let own = identity(&["client.test"], &ca);
    let client = ClientTls { cert_pem: Some(own.cert), key_pem: Some(own.key), ..trusting(&ca) };
    server.call(&client, "app.test").await.unwrap();
    server.call(&trusting(&ca), "app.test").await.unwrap_err();
}

#[tokio::test]
async fn pems_may_be_files() {
    let ca = authority();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, format!("a remark\n{}", ca.pem())).unwrap();
    let client = ClientTls { root_ca_pem: Some(path.display().to_string()), ..ClientTls::default() };
    Server::new(identity(&["app.test"], &ca)).call(&client, "app.test").await.unwrap();
}

#[test]
fn halves_and_mismatches_of_an_identity_are_named() {
    let ca = authority();
    let (one, two) = (identity(&["one"], &ca), identity(&["two"], &ca));
    let build = |cert: Option<&str>, key: Option<&str>| {
        let client = ClientTls {
            cert_pem: cert.map(str::to_owned),
            key_pem: key.map(str::to_owned),
            ..ClientTls::default()
        };
        client_config(&client).unwrap_err().to_string()
    };
    assert!(build(Some(&one.cert), None).contains("the private key is missing"));
    assert!(build(Some(&one.cert), Some(" ")).contains("the private key is missing"));
    assert!(build(None, Some(&one.key)).contains("the certificate is missing"));
    assert!(build(Some(&one.cert), Some(&two.key)).contains("do not fit together"));
    assert!(
        build(Some(&one.key), Some(&one.key)).contains("the certificate (inline text) holds no CERTIFICATE")
    );
    assert!(build(Some(&one.cert), Some(&one.cert)).contains("the private key (inline text) holds no"));
}

#[test]
fn a_root_that_is_no_certificate_is_named_by_its_place() {
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let client =
        ClientTls { root_ca_pem: Some(format!("{}{garbage}", authority().pem())), ..Default::default() };
    let error = client_config(&client).unwrap_err().to_string();
    assert!(error.contains("certificate 2 of the root CA"), "{error}");
}
