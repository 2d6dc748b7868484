use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::anchors::AnchorSet;
use crate::identity::Identity;
use crate::testing::{Authority, Clock, leaf, material, self_signed, span, uri};

const A: &str = "spiffe://public/ns/default/a";
const B: &str = "spiffe://public/ns/default/b";
const HOUR: u64 = 3600;

fn app(namespace: &str, app_id: &str) -> Expect {
    Expect::App { namespace: namespace.to_owned(), app_id: app_id.to_owned() }
}

/// Shakes hands over loopback and sends a byte to and fro: a client learns of
/// its refusal only when it reads. Returns whom the server saw.
async fn meet(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<Option<PeerIdentity>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connect, accept) = (wrapper(client, "localhost"), securer(server));
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut secured = accept.secure(stream).await.map_err(|e| format!("server: {e}"))?;
        let byte = secured.stream.read_u8().await.map_err(|e| format!("server reads: {e}"))?;
        secured.stream.write_u8(byte).await.map_err(|e| format!("server writes: {e}"))?;
        Ok(secured.extensions.get::<PeerIdentity>().cloned())
    };
    let calling = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = connect(stream).await.map_err(|e| format!("client: {e}"))?;
        stream.write_u8(7).await.map_err(|e| format!("client writes: {e}"))?;
        stream.read_u8().await.map_err(|e| format!("client reads: {e}"))
    };
    match tokio::join!(calling, serving) {
        (Ok(7), Ok(peer)) => Ok(peer),
        (Ok(_), Ok(_)) => Err("another byte".to_owned()),
        // The side that refuses knows why.
        (Err(client), Err(server)) if client.contains("alert") => Err(server),
        (Err(e), _) | (_, Err(e)) => Err(e),
    }
}

fn identity(authority: &Authority, id: &str) -> Identity {
    authority.issue(&leaf(id))
}

/// A with `client` calls B with `server`, at the beginning of the test's time.
async fn meet_as(client: Identity, server: Identity, anchors: &str) -> Result<Option<PeerIdentity>, String> {
    let clock = Arc::new(Clock::default());
    let set = || AnchorSet::parse(anchors).unwrap();
    let (client, server) = (material(client, set(), &clock), material(server, set(), &clock));
    meet(client_config(&client, app("default", "b"), true), server_config(&server, ClientAuth::Required))
        .await
}

#[tokio::test]
async fn both_sides_prove_who_they_are() {
    let ca = Authority::new("one");
    let peer = meet_as(identity(&ca, A), identity(&ca, B), &ca.root_pem).await.unwrap().unwrap();
    assert_eq!(peer.id().as_str(), A);
    let mut extensions = http::Extensions::new();
    assert_eq!(PeerIdentity::of(&extensions), None);
    extensions.insert(peer);
    assert_eq!(PeerIdentity::of(&extensions).map(SpiffeId::app_id), Some("a"));
}

#[tokio::test]
async fn an_application_may_live_in_any_trust_domain_but_has_its_own_name() {
    let ca = Authority::new("one");
    let b = identity(&ca, "spiffe://elsewhere/ns/default/b");
    assert!(meet_as(identity(&ca, A), b, &ca.root_pem).await.is_ok());
    for other in
        ["spiffe://public/ns/default/c", "spiffe://public/ns/other/b", "spiffe://public/ns/default/b/x"]
    {
        let error = meet_as(identity(&ca, A), identity(&ca, other), &ca.root_pem).await.unwrap_err();
        assert!(error.contains(&format!("unexpected SPIFFE ID: \"{other}\"")), "{error}");
    }
}

#[tokio::test]
async fn an_exact_identity_includes_the_trust_domain() {
    let (ca, clock) = (Authority::new("one"), Arc::new(Clock::default()));
    let client = material(identity(&ca, A), ca.anchors(), &clock);
    let expect = || Expect::Id("spiffe://cluster.local/ns/dapr-system/dapr-sentry".parse().unwrap());
    for (shown, accepted) in [
        ("spiffe://cluster.local/ns/dapr-system/dapr-sentry", true),
        ("spiffe://public/ns/dapr-system/dapr-sentry", false),
        ("spiffe://cluster.local/ns/default/dapr-sentry", false),
    ] {
        let server = material(identity(&ca, shown), ca.anchors(), &clock);
        let met =
            meet(client_config(&client, expect(), false), server_config(&server, ClientAuth::None)).await;
        match met {
            Ok(peer) => assert!(accepted && peer.is_none(), "{shown}"),
            Err(error) => assert!(!accepted && error.contains("unexpected SPIFFE ID"), "{shown}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_server_refuses_who_shows_nothing() {
    let (ca, clock) = (Authority::new("one"), Arc::new(Clock::default()));
    let server = material(identity(&ca, B), ca.anchors(), &clock);
    let error = meet(
        client_config(&server, app("default", "b"), false),
        server_config(&server, ClientAuth::Required),
    )
    .await
    .unwrap_err();
    assert!(error.contains("authentication handshake failed: peer sent no certificates"), "{error}");
}

/// Breaks one thing of a leaf; both sides must refuse it.
async fn refused(change: impl Fn(&mut CertificateParams), reason: &str) {
    let ca = Authority::new("one");
    let broken = |id: &str| {
        let mut params = leaf(id);
        change(&mut params);
        ca.issue(&params)
    };
    for met in [
        meet_as(broken(A), identity(&ca, B), &ca.root_pem).await,
        meet_as(identity(&ca, A), broken(B), &ca.root_pem).await,
    ] {
        let error = met.expect_err(reason);
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_leaf_outside_its_validity_is_refused() {
    refused(|p| span(p, 1, HOUR), "not valid yet").await;
    let past = |p: &mut CertificateParams| p.not_after = rcgen::date_time_ymd(2029, 12, 31);
    refused(move |p| (p.not_before = rcgen::date_time_ymd(2029, 1, 1), past(p)).1, "expired").await;
}

#[tokio::test]
async fn a_leaf_that_can_sign_is_refused() {
    refused(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), "CA flag").await;
    refused(|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign), "KeyCertSign").await;
    refused(|p| p.key_usages.push(KeyUsagePurpose::CrlSign), "KeyCrlSign").await;
}

#[tokio::test]
async fn usages_names_and_subjects_do_not_matter() {
    let ca = Authority::new("one");
    let odd = |id: &str| {
        let mut params = leaf(id);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.subject_alt_names.push(rcgen::SanType::DnsName("example.com".try_into().unwrap()));
        ca.issue(&params)
    };
    assert!(meet_as(odd(A), odd(B), &ca.root_pem).await.is_ok());
}

#[tokio::test]
async fn an_identity_needs_exactly_one_uri() {
    let ca = Authority::new("one");
    let facts = |uris: &[&str]| {
        let mut params = leaf(A);
        params.subject_alt_names = uris.iter().map(|u| uri(u)).collect();
        let chain = ca.sign(&params, &crate::identity::Request::ed25519().unwrap().key.pair());
        let request = crate::identity::Request::ed25519().unwrap();
        Identity::new(chain, request.key).map(drop).map_err(|e| e.to_string())
    };
    assert!(facts(&[]).unwrap_err().ends_with("certificate contains no URI SAN"));
    assert!(facts(&[A, B]).unwrap_err().ends_with("certificate contains more than one URI SAN"));
    assert!(facts(&["spiffe://public/x"]).unwrap_err().ends_with("malformed SPIFFE ID: spiffe://public/x"));
    assert!(facts(&["https://x"]).unwrap_err().ends_with("scheme is missing or invalid"));
    assert!(facts(&[A]).unwrap_err().contains("does not fit the private key"));
}

#[tokio::test]
async fn strangers_are_refused() {
    let (ca, other, namesake) = (Authority::new("one"), Authority::new("two"), Authority::new("one"));
    let strangers = |id: &str| {
        [
            (identity(&other, id), "unknown authority"),
            (self_signed(&leaf(id)), "unknown authority"),
            (identity(&namesake, id), "bad signature"),
        ]
    };
    for (stranger, reason) in strangers(B) {
        let error = meet_as(identity(&ca, A), stranger, &ca.root_pem).await.unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    for (stranger, reason) in strangers(A) {
        let error = meet_as(stranger, identity(&ca, B), &ca.root_pem).await.unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn issuers_and_roots_have_their_time_too() {
    let ca = Authority::valid("old", (0, 2 * HOUR), (10, 2 * HOUR));
    let error = meet_as(identity(&ca, A), identity(&ca, B), &ca.root_pem).await.unwrap_err();
    assert!(error.contains("not valid yet"), "{error}");
    let ca = Authority::valid("old", (10, 2 * HOUR), (0, 2 * HOUR));
    let error = meet_as(identity(&ca, A), identity(&ca, B), &ca.root_pem).await.unwrap_err();
    assert!(error.contains("unknown authority"), "{error}");
}

#[tokio::test]
async fn a_rotation_of_roots_needs_no_new_configuration() {
    let (old, new, clock) = (Authority::new("old"), Authority::new("new"), Arc::new(Clock::default()));
    let a = material(identity(&old, A), old.anchors(), &clock);
    let b = material(identity(&old, B), old.anchors(), &clock);
    let client = client_config(&a, app("default", "b"), true);
    let server = server_config(&b, ClientAuth::Required);
    let met = async || meet(client.clone(), server.clone()).await;
    assert!(met().await.is_ok());

    let both = old.root_pem.clone() + &new.root_pem;
    for one in [&a, &b] {
        one.anchors.replace(AnchorSet::parse(&both).unwrap());
    }
    a.identity.replace(identity(&new, A));
    assert!(met().await.is_ok(), "each side of another root");
    b.identity.replace(identity(&new, B));
    for one in [&a, &b] {
        one.anchors.replace(new.anchors());
    }
    assert!(met().await.is_ok(), "the old root is gone");
    a.identity.replace(identity(&old, A));
    assert!(met().await.unwrap_err().contains("unknown authority"));
}

#[tokio::test]
async fn a_connection_made_before_is_no_pass() {
    let (ca, clock) = (Authority::new("one"), Arc::new(Clock::default()));
    let a = material(identity(&ca, A), ca.anchors(), &clock);
    let b = material(identity(&ca, B), ca.anchors(), &clock);
    let client = client_config(&a, app("default", "b"), true);
    let server = server_config(&b, ClientAuth::Required);
    assert!(meet(client.clone(), server.clone()).await.is_ok());
    clock.set(HOUR);
    assert!(meet(client.clone(), server.clone()).await.is_ok(), "the last second belongs to it");
    clock.set(HOUR + 1);
    assert!(meet(client, server).await.unwrap_err().contains("expired"));
}

#[test]
fn keys_and_tokens_do_not_show_in_debug_output() {
    let identity = identity(&Authority::new("one"), A);
    let shown = format!("{identity:?} {:?}", crate::identity::Request::ed25519().unwrap().key);
    assert!(shown.contains(A) && !shown.contains("PRIVATE") && !shown.contains("MC4"), "{shown}");
}
