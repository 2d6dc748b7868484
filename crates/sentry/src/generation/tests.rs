//! A generation as its clients see it: TLS, gRPC, real files.

mod requests;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dapr_security::anchors::{AnchorSet, TrustAnchors};
use dapr_security::ca::jwt::Signer;
use dapr_security::ca::{self, Certificate, JwsAlgorithm, KeyKind, SigningKey, jwk};
use dapr_security::identity::IdentityStore;
use dapr_security::mtls::{self, Expect, Material};
use dapr_security::x509::Facts;
use dapr_transport::client::{H2Channel, H2Options};
use dapr_transport::connect::Destination;
use dapr_wire::sentry::v1::ca_client::CaClient;
use dapr_wire::sentry::v1::{SignCertificateRequest, SignCertificateResponse};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::*;
use crate::config::ValidatorOptions;
use crate::options;

const LIMIT: Duration = Duration::from_secs(30);
const SENTRY: &str = "spiffe://localhost/ns/default/dapr-sentry";

struct Running {
    /// `host:port`.
    address: String,
    stop: Shutdown,
    tasks: TaskGroup,
    result: tokio::task::JoinHandle<Option<Result<(), String>>>,
    client: CaClient<H2Channel>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts with the keys in `folder`, which are made.
async fn start_in(folder: &Path, validators: BTreeMap<ValidatorKind, ValidatorOptions>) -> Running {
    let port = free_port();
    let args = vec![
        format!("-port={port}"),
        "-listen-address=127.0.0.1".to_owned(),
        format!("-healthz-port={}", free_port()),
        "-enable-metrics=false".to_owned(),
        format!("-issuer-credentials={}", folder.display()),
    ];
    let env = |_: &str| None;
    let options = options::resolve(&options::parse(args, &env).unwrap(), &env).unwrap();
    let config = Config {
        workload_ttl: Duration::from_secs(3600),
        clock_skew: Duration::from_secs(60),
        default_validator: validators.keys().next().copied(),
        validators,
    };
    let plan = Plan { options, config, client: None, metrics: Metrics::new() };
    let stop = Shutdown::new();
    let tasks = TaskGroup::new(Shutdown::new());
    let (loaded, mut seen) = watch::channel(None);
    let until = stop.clone();
    let result = tasks.spawn("generation", async move { run(&plan, until, &loaded).await });
    tokio::time::timeout(LIMIT, seen.wait_for(Option::is_some)).await.unwrap().unwrap();
    let client = client(folder, port, &tasks);
    Running { address: format!("127.0.0.1:{port}"), stop, tasks, result, client }
}

fn client(folder: &Path, port: u16, tasks: &TaskGroup) -> CaClient<H2Channel> {
    let anchors = std::fs::read_to_string(folder.join("ca.crt")).unwrap();
    let anchors = TrustAnchors::new(AnchorSet::parse(&anchors).unwrap());
    let material = Material::new(IdentityStore::new(), anchors);
    let expect = Expect::Id(SENTRY.parse().unwrap());
    let wrapper = mtls::wrapper(mtls::client_config(&material, expect, false), "127.0.0.1");
    let destination = Destination::tcp(format!("127.0.0.1:{port}"), LIMIT).wrapped(wrapper);
    CaClient::new(H2Channel::new(destination, true, H2Options::peer(1 << 20), tasks.clone()))
}

impl Running {
    /// Once the server listens.
    async fn sign(&mut self, request: SignCertificateRequest) -> Result<SignCertificateResponse, Status> {
        for _ in 0..200 {
            match self.client.sign_certificate(request.clone()).await {
                Err(status) if status.code() == Code::Unavailable || status.code() == Code::Unknown => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => return other.map(tonic::Response::into_inner),
            }
        }
        panic!("the server did not come up");
    }

    async fn end(self) -> Result<(), String> {
        self.stop.trigger();
        let result = tokio::time::timeout(LIMIT, self.result).await.unwrap().unwrap().unwrap();
        self.tasks.stop(LIMIT).await;
        result
    }
}

fn csr() -> Bytes {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    Bytes::from(csr.pem().unwrap())
}

fn request() -> SignCertificateRequest {
    SignCertificateRequest {
        id: "app".to_owned(),
        namespace: "ns".to_owned(),
        certificate_signing_request: csr(),
        ..SignCertificateRequest::default()
    }
}

fn insecure() -> BTreeMap<ValidatorKind, ValidatorOptions> {
    BTreeMap::from([(ValidatorKind::Insecure, ValidatorOptions::new())])
}

#[tokio::test]
async fn a_certificate_is_issued_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start_in(folder.path(), insecure()).await;
    let answer = running.sign(request()).await.unwrap();
    let chain = Certificate::all_from_pem(&answer.workload_certificate).unwrap();
    assert_eq!(chain.len(), 2);
    assert!(chain[0].is_signed_by(&chain[1]));
    let issuer = std::fs::read(folder.path().join("issuer.crt")).unwrap();
    assert_eq!(chain[1].to_pem().as_bytes(), issuer);
    assert_eq!(answer.trust_chain_certificates, [std::fs::read(folder.path().join("ca.crt")).unwrap()]);
    let until = SystemTime::try_from(answer.valid_until.unwrap()).unwrap();
    assert_eq!(until, chain[0].not_after());
    assert!(answer.jwt.is_none() && answer.per_audience_jwts.is_empty());

    let unnamed = running.sign(SignCertificateRequest { id: String::new(), ..request() }).await.unwrap_err();
    assert_eq!(unnamed.code(), Code::PermissionDenied);
    let unknown =
        running.sign(SignCertificateRequest { token_validator: -1, ..request() }).await.unwrap_err();
    assert_eq!(unknown.message(), "the requested validator is not enabled");
    assert_eq!(running.end().await, Ok(()));
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start_in(folder.path(), insecure()).await;
    running.sign(request()).await.unwrap();
    let large = Bytes::from(vec![b'x'; 5_000_000]);
    let request = SignCertificateRequest { certificate_signing_request: large, ..request() };
    let status = running.sign(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().starts_with("grpc: received message larger than max (50000"), "{status}");
    assert_eq!(running.end().await, Ok(()));
}

fn seconds(from_now: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + from_now
}

fn signer() -> (Signer, String) {
    let (key, _) = SigningKey::generate_ed25519().unwrap();
    let set = jwk::set_of(key.public(), JwsAlgorithm::EdDsa);
    let id = jwk::thumbprint(key.public());
    (Signer::new(key, JwsAlgorithm::EdDsa, &id).unwrap(), set)
}

#[tokio::test]
async fn tokens_must_be_for_us_from_them_and_current() {
    let folder = tempfile::tempdir().unwrap();
    let (trusted, set) = signer();
    let options = ValidatorOptions::from([("source".to_owned(), set)]);
    let mut running = start_in(folder.path(), BTreeMap::from([(ValidatorKind::Jwks, options)])).await;
    let subject = "spiffe://public/ns/ns/app";
    let claims = |change: &dyn Fn(&mut Value)| {
        let mut claims = json!({"aud": [SENTRY], "sub": subject, "exp": seconds(600), "iat": seconds(0)});
        change(&mut claims);
        claims
    };
    let with = |token: String| SignCertificateRequest { token, ..request() };
    let good = trusted.sign(&claims(&|_| {})).unwrap();
    running.sign(with(good.clone())).await.unwrap();

    let (stranger, _) = signer();
    let refused = [
        (String::new(), "the request does not contain a token"),
        (good[..good.len() - 4].to_owned(), "token validation failed: "),
        (stranger.sign(&claims(&|_| {})).unwrap(), "could not verify message"),
        (trusted.sign(&claims(&|c| c["exp"] = seconds(-400).into())).unwrap(), "\"exp\""),
        (trusted.sign(&claims(&|c| c["nbf"] = seconds(400).into())).unwrap(), "\"nbf\""),
        (trusted.sign(&claims(&|c| c["aud"] = json!(["other"]))).unwrap(), "\"aud\""),
        (trusted.sign(&claims(&|c| c["sub"] = "spiffe://public/ns/ns/b".into())).unwrap(), "\"sub\""),
    ];
    for (token, reason) in refused {
        let status = running.sign(with(token.clone())).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains(reason), "{}: {reason}", status.message());
        assert!(token.is_empty() || !status.message().contains(&token));
    }
    // A token that somebody copied is of no use for another identity.
    for (id, namespace, trust_domain) in [("b", "ns", ""), ("app", "other", ""), ("app", "ns", "td")] {
        let stolen = SignCertificateRequest {
            id: id.to_owned(),
            namespace: namespace.to_owned(),
            trust_domain: trust_domain.to_owned(),
            ..with(good.clone())
        };
        assert!(running.sign(stolen).await.unwrap_err().message().contains("\"sub\""));
    }
    assert_eq!(running.end().await, Ok(()));
}

#[tokio::test]
async fn keys_that_cannot_be_loaded_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = ValidatorOptions::from([("source".to_owned(), "neither".to_owned())]);
    let running = start_in(folder.path(), BTreeMap::from([(ValidatorKind::Jwks, options)])).await;
    let result = tokio::time::timeout(LIMIT, running.result).await.unwrap().unwrap().unwrap();
    assert!(result.unwrap_err().starts_with("error running Sentry: failed to init cache: "));
}
