//! Requests with keys of every kind, made by `openssl req` with names that
//! nobody may have for the asking.

use super::*;

use dapr_kernel::tasks::TaskGroup;
use dapr_security::identity::KeyAlgorithm;
use dapr_security::provider::{self, Provider, TokenSource};
use dapr_security::{PeerIdentity, Security};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

macro_rules! made {
    ($name:literal) => {
        ($name, include_str!(concat!("requests/", $name, ".pem")))
    };
}

fn with(csr: impl Into<Vec<u8>>) -> SignCertificateRequest {
    SignCertificateRequest { certificate_signing_request: csr.into().into(), ..request() }
}

#[tokio::test]
async fn keys_of_each_supported_kind_get_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start_in(folder.path(), insecure()).await;
    for (name, csr) in [
        made!("ed25519"),
        made!("p-256"),
        made!("p-384"),
        made!("p-521"),
        made!("rsa-2048"),
        made!("rsa-3072"),
        made!("rsa-4096"),
    ] {
        let answer = running.sign(with(csr)).await.unwrap_or_else(|status| panic!("{name}: {status}"));
        let chain = Certificate::all_from_pem(&answer.workload_certificate).unwrap();
        assert_eq!(chain[0].public_key(), Some(ca::csr_public_key(csr.as_bytes()).unwrap()), "{name}");
        assert!(chain[0].is_signed_by(&chain[1]), "{name}");
        let facts = Facts::read(&chain[0].der().to_vec().into()).unwrap();
        // The identity that was authenticated, and none of the names in the request.
        assert_eq!(facts.uris, ["spiffe://public/ns/ns/app"], "{name}");
        let text = String::from_utf8_lossy(chain[0].der()).into_owned();
        assert!(!text.contains("somebody else") && !text.contains("example.com"), "{name}");
    }
    assert_eq!(running.end().await, Ok(()));
}

#[tokio::test]
async fn a_request_that_is_none_is_refused() {
    const KIND: &str = "failed to parse certificate signing request: the public key is of no supported kind: \
                        RSA, ECDSA on P-256, P-384 or P-521, or Ed25519";
    const SIZE: &str =
        "failed to parse certificate signing request: RSA keys must have from 2048 to 8192 bits";
    let folder = tempfile::tempdir().unwrap();
    let mut running = start_in(folder.path(), insecure()).await;
    let good = made!("p-256").1;
    let lines: Vec<&str> = good.lines().collect();
    // The line before the end is the tail of the signature.
    let signature = lines[lines.len() - 2];
    let swapped: String = signature.chars().rev().collect();
    let tampered = good.replace(signature, &swapped);
    let shortened = good.replace(lines[2], "");
    let other_label = good.replace("CERTIFICATE REQUEST", "PRIVATE KEY");
    for (name, csr, refusal) in [
        ("p-224", made!("p-224").1, KIND),
        ("p-256-explicit", made!("p-256-explicit").1, KIND),
        ("secp256k1", made!("secp256k1").1, KIND),
        ("brainpool", made!("brainpool").1, KIND),
        ("ed448", made!("ed448").1, KIND),
        ("dsa", made!("dsa").1, KIND),
        ("rsa-pss", made!("rsa-pss").1, KIND),
        ("rsa-1024", made!("rsa-1024").1, SIZE),
        ("rsa-sha1", made!("rsa-sha1").1, "invalid signature"),
        ("p-256-sha512", made!("p-256-sha512").1, "invalid signature"),
        ("tampered", &tampered, "invalid signature"),
        ("shortened", &shortened, "failed to parse certificate signing request: "),
        ("other label", &other_label, "invalid certificate signing request"),
        ("text", "text", "invalid certificate signing request"),
    ] {
        let status = running.sign(with(csr)).await.map(drop).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status}");
        assert!(status.message().starts_with(refusal), "{name}: {status}");
        assert!(refusal.ends_with(": ") || status.message() == refusal, "{name}: {status}");
    }
    let none = running.sign(with("")).await.map(drop).unwrap_err();
    assert_eq!(none.code(), Code::PermissionDenied);
    assert!(none.message().contains("CSR is required"), "{none}");
    assert_eq!(running.end().await, Ok(()));
}

/// With an identity of its own, and a key as the operator and the injector ask
/// for.
async fn program(
    folder: &Path,
    address: &str,
    app_id: &str,
    key: KeyAlgorithm,
    tasks: &TaskGroup,
) -> Security {
    let options = provider::Options {
        app_id: app_id.to_owned(),
        namespace: "default".to_owned(),
        mtls: true,
        kubernetes: false,
        control_plane_trust_domain: "localhost".to_owned(),
        control_plane_namespace: "default".to_owned(),
        trust_anchors: None,
        trust_anchors_file: Some(folder.join("ca.crt")),
        sentry_address: address.to_owned(),
        sentry_identity: None,
        jwt_audiences: Vec::new(),
        key,
        token: TokenSource::default(),
        identity_dir: None,
    };
    tokio::time::timeout(LIMIT, Provider::new(options).unwrap().start(tasks, Arc::new(())))
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn identities_with_keys_of_both_kinds_meet() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start_in(folder.path(), insecure()).await;
    running.sign(request()).await.unwrap();
    let (address, tasks) = (running.address.clone(), running.tasks.clone());
    let operator = program(folder.path(), &address, "dapr-operator", KeyAlgorithm::Rsa, &tasks).await;
    let app = program(folder.path(), &address, "app", KeyAlgorithm::Ed25519, &tasks).await;
    let kind = |of: &Security| {
        let leaf = of.identity().unwrap().chain()[0].to_vec();
        Certificate::from_der(leaf).unwrap().public_key().unwrap().kind()
    };
    assert_eq!((kind(&operator), kind(&app)), (KeyKind::Rsa, KeyKind::Ed25519));
    // In its namespace it belongs to the control plane, whose trust domain it gets.
    let id = operator.identity().unwrap().id().clone();
    assert_eq!(id.as_str(), "spiffe://localhost/ns/default/dapr-operator");

    for (client, server, id) in
        [(&app, &operator, id), (&operator, &app, "spiffe://public/ns/default/app".parse().unwrap())]
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = client.client_of(id, "127.0.0.1").unwrap();
        let (address, securer) = (listener.local_addr().unwrap(), server.server().unwrap());
        let calling = async {
            let mut stream = connect(tokio::net::TcpStream::connect(address).await.unwrap()).await.unwrap();
            stream.write_u8(7).await.unwrap();
            stream.flush().await.unwrap();
            stream.read_u8().await.unwrap()
        };
        let serving = async {
            let mut secured = securer.secure(listener.accept().await.unwrap().0).await.unwrap();
            let byte = secured.stream.read_u8().await.unwrap();
            secured.stream.write_u8(byte).await.unwrap();
            secured.stream.flush().await.unwrap();
            secured.extensions.get::<PeerIdentity>().cloned()
        };
        let (answer, peer) = tokio::join!(calling, serving);
        assert_eq!(answer, 7);
        assert_eq!(peer.unwrap().id(), client.identity().unwrap().id());
    }
    assert_eq!(running.end().await, Ok(()));
}
