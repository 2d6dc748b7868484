use std::time::{Duration, SystemTime};

use serde_json::json;

use super::jwk::{self, JwkSet};
use super::jwt::{self, Expected, Signer, TokenError};
use super::*;
use crate::spiffe::{SpiffeId, TrustDomain};

const HOUR: Duration = Duration::from_secs(3600);

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

fn now() -> SystemTime {
    SystemTime::now()
}

fn bundle() -> Bundle {
    let issuer = id("spiffe://td/ns/default/dapr-sentry");
    Bundle::generate("td", &issuer, now() - HOUR, now() + CA_TTL).unwrap()
}

fn issue(bundle: &Bundle, key: &PublicKey, dns: &[String]) -> Issued {
    let id = SpiffeId::new(&TrustDomain::default(), "ns", "app").unwrap();
    let request =
        WorkloadRequest { key, id: &id, dns_names: dns, not_before: now() - HOUR, not_after: now() + HOUR };
    bundle.issue(&request).unwrap()
}

fn verify(anchors: &str, chain: &str, key: &str) -> Result<Bundle, BundleError> {
    Bundle::verify(anchors.as_bytes(), chain.as_bytes(), key.as_bytes(), now())
}

/// Keys of every kind, in the forms that files have.
fn keys() -> Vec<(KeyKind, SigningKey)> {
    let p521 = p521::SecretKey::from_slice(&[&[0, 1][..], &[7; 64]].concat()).unwrap();
    let p521 = p521::pkcs8::EncodePrivateKey::to_pkcs8_der(&p521).unwrap();
    let rcgen = |algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap().serialize_pem();
    [
        (KeyKind::Ed25519, SigningKey::generate_ed25519().unwrap().1),
        (KeyKind::P256, rcgen(&rcgen::PKCS_ECDSA_P256_SHA256)),
        (KeyKind::P384, rcgen(&rcgen::PKCS_ECDSA_P384_SHA384)),
        (KeyKind::P521, certificate::to_pem("PRIVATE KEY", p521.as_bytes())),
        (KeyKind::Rsa, SigningKey::generate_rsa().unwrap().1),
    ]
    .into_iter()
    .map(|(kind, pem)| (kind, SigningKey::from_pem(pem.as_bytes()).unwrap()))
    .collect()
}

#[test]
fn a_root_with_the_same_key_takes_the_place_of_the_old_one() {
    let issuer = id("spiffe://td/ns/default/dapr-sentry");
    let (root_key, _) = SigningKey::generate_p256().unwrap();
    let make = |until| Bundle::generate_with(&root_key, "td", &issuer, now() - HOUR, until).unwrap();
    let (old, new) = (make(now() + HOUR), make(now() + CA_TTL));
    verify(old.anchors_pem(), new.chain_pem(), new.key_pem()).unwrap();
    verify(new.anchors_pem(), old.chain_pem(), old.key_pem()).unwrap();
    let root = Certificate::all_from_pem(old.anchors_pem().as_bytes()).unwrap().remove(0);
    assert_eq!(root.organization().as_deref(), Some("td"));
}

#[test]
fn old_roots_can_stay_trusted_while_they_last() {
    let (old, new) = (bundle(), bundle());
    let roots = || Certificate::all_from_pem(old.anchors_pem().as_bytes()).unwrap();
    let both = new.clone().also_trusting(roots(), now());
    assert_eq!(both.anchors_pem(), format!("{}{}", new.anchors_pem(), old.anchors_pem()));
    verify(both.anchors_pem(), old.chain_pem(), old.key_pem()).unwrap();
    assert_eq!(
        both.clone().also_trusting(roots(), now()).anchors_pem(),
        both.anchors_pem(),
        "once is enough"
    );
    assert_eq!(new.clone().also_trusting(roots(), now() + CA_TTL + HOUR).anchors_pem(), new.anchors_pem());
    let ends = both.ends();
    assert_eq!((ends.root, ends.issuer), (new.root_not_after().into(), new.issuer_not_after().into()));
}

#[test]
fn a_generated_bundle_passes_its_own_check() {
    let made = bundle();
    let read = verify(made.anchors_pem(), made.chain_pem(), made.key_pem()).unwrap();
    assert_eq!((read.anchors_pem(), read.chain_pem()), (made.anchors_pem(), made.chain_pem()));
    let commented = format!("# root\n{}# end\n", made.anchors_pem());
    let read = verify(&commented, made.chain_pem(), made.key_pem()).unwrap();
    assert_eq!(read.anchors_pem(), made.anchors_pem(), "comments do not reach clients");
}

#[test]
fn a_bundle_that_does_not_fit_together_is_refused() {
    let (one, other) = (bundle(), bundle());
    let refusal =
        |anchors: &str, chain: &str, key: &str| verify(anchors, chain, key).unwrap_err().to_string();
    assert_eq!(
        refusal(other.anchors_pem(), one.chain_pem(), one.key_pem()),
        "issuer chain does not belong to trust anchors: x509: certificate signed by unknown authority"
    );
    assert_eq!(
        refusal(one.anchors_pem(), one.chain_pem(), other.key_pem()),
        "issuer key does not match issuer certificate"
    );
    assert!(
        refusal(one.chain_pem(), one.chain_pem(), one.key_pem())
            .starts_with("certificate in trust anchor is not self-signed")
    );
    let wrong_order = format!("{}{}", one.chain_pem(), other.chain_pem());
    assert_eq!(refusal(one.anchors_pem(), &wrong_order, one.key_pem()), "certificate chain is not valid");
    let leaf = issue(&one, one.chain()[0].public_key().as_ref().unwrap(), &[]);
    assert_eq!(
        refusal(one.anchors_pem(), &leaf.chain_pem, one.key_pem()),
        "intermediate certificate is not valid for signing"
    );
    assert!(refusal("", one.chain_pem(), one.key_pem()).contains("no certificates found"));
    assert!(refusal(one.anchors_pem(), one.chain_pem(), "nonsense").contains("key is not PEM encoded"));
}

#[test]
fn an_expired_bundle_is_refused() {
    let made = bundle();
    let late = now() + CA_TTL + HOUR;
    let parts = (made.anchors_pem().as_bytes(), made.chain_pem().as_bytes(), made.key_pem().as_bytes());
    let error = Bundle::verify(parts.0, parts.1, parts.2, late).unwrap_err();
    assert!(error.to_string().ends_with("x509: certificate has expired or is not yet valid"), "{error}");
}

#[test]
fn a_root_behind_the_issuer_is_dropped() {
    let made = bundle();
    let with_root = format!("{}{}", made.chain_pem(), made.anchors_pem());
    let read = verify(made.anchors_pem(), &with_root, made.key_pem()).unwrap();
    assert_eq!(read.chain_pem(), made.chain_pem());
}

#[test]
fn leafs_of_every_kind_of_key_lead_to_the_issuer() {
    let made = bundle();
    for (kind, key) in keys() {
        assert_eq!(key.kind(), kind);
        let issued = issue(&made, key.public(), &["a.b.svc".to_owned()]);
        assert!(issued.leaf.is_signed_by(&made.chain()[0]), "{kind:?}");
        assert!(!issued.leaf.is_signed_by(&issued.leaf));
        assert_eq!(issued.leaf.public_key().as_ref(), Some(key.public()));
        assert_eq!(issued.chain_pem, issued.leaf.to_pem() + made.chain_pem());
    }
}

#[test]
fn issuers_of_every_kind_of_key_sign() {
    for (kind, key) in keys() {
        let subject = certificate::organization("issuer").unwrap();
        let usages = x509_cert::ext::pkix::KeyUsages::KeyCertSign;
        let template = certificate::Template {
            subject: subject.clone(),
            key: key.public(),
            not_before: now() - HOUR,
            not_after: now() + HOUR,
            extensions: bundle::authority_extensions(usages.into()).unwrap(),
        };
        let made = certificate::make(template, subject, &key).unwrap();
        assert!(made.is_self_signed(), "{kind:?}");
    }
}

#[test]
fn requests_prove_their_key() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&pair).unwrap();
    let pem = csr.pem().unwrap();
    let key = csr_public_key(pem.as_bytes()).unwrap();
    assert_eq!(key.bytes(), rcgen::PublicKeyData::der_bytes(&pair));
    assert!(csr_public_key(pem.replace("CERTIFICATE REQUEST", "CERTIFICATE").as_bytes()).is_ok());

    let mut forged = csr.der().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = certificate::to_pem("CERTIFICATE REQUEST", &forged);
    assert_eq!(csr_public_key(forged.as_bytes()).unwrap_err().to_string(), "invalid signature");
    for bad in ["", "no pem", &pem.replace("CERTIFICATE REQUEST", "PUBLIC KEY")] {
        assert_eq!(
            csr_public_key(bad.as_bytes()).unwrap_err().to_string(),
            "invalid certificate signing request"
        );
    }
    let garbage = certificate::to_pem("CERTIFICATE REQUEST", b"garbage");
    let error = csr_public_key(garbage.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("failed to parse certificate signing request: "), "{error}");
}

#[test]
fn tokens_of_every_algorithm_verify() {
    let expected = Expected { audience: "a", subject: "s", now: now(), skew: Duration::ZERO };
    let claims = json!({"aud": ["a", "b"], "sub": "s"});
    for (_, key) in keys() {
        let mut fits = 0;
        for algorithm in JwsAlgorithm::ALL {
            let Ok(signer) = Signer::new(key.clone(), algorithm, "k1") else { continue };
            fits += 1;
            let token = signer.sign(&claims).unwrap();
            let set = jwk::set_of(key.public(), algorithm).replace(&jwk::thumbprint(key.public()), "k1");
            let set = JwkSet::parse(set.as_bytes()).unwrap();
            assert_eq!(jwt::verify(&token, &set, &expected), Ok(()), "{algorithm}");
            let (front, _) = token.rsplit_once('.').unwrap();
            let (_, other) = signer
                .sign(&json!({}))
                .unwrap()
                .rsplit_once('.')
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .unwrap();
            assert_eq!(jwt::verify(&format!("{front}.{other}"), &set, &expected), Err(TokenError::Signature));
        }
        assert_eq!(fits, if key.kind() == KeyKind::Rsa { 6 } else { 1 });
    }
}

fn judged(claims: serde_json::Value) -> Result<(), TokenError> {
    let (key, _) = SigningKey::generate_ed25519().unwrap();
    let set = JwkSet::parse(jwk::set_of(key.public(), JwsAlgorithm::EdDsa).as_bytes()).unwrap();
    let signer = Signer::new(key.clone(), JwsAlgorithm::EdDsa, &jwk::thumbprint(key.public())).unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
    let expected = Expected { audience: "sentry", subject: "app", now: at, skew: Duration::from_secs(300) };
    jwt::verify(&signer.sign(&claims).unwrap(), &set, &expected)
}

#[test]
fn claims_are_checked_with_the_skew() {
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = json!({"aud": "sentry", "sub": "app"});
        claims[name] = value;
        judged(claims)
    };
    assert_eq!(with("exp", json!(9_701)), Ok(()));
    assert_eq!(with("exp", json!(9_700)), Err(TokenError::Expired));
    assert_eq!(with("exp", json!("never")), Err(TokenError::Malformed));
    assert_eq!(with("nbf", json!(10_300)), Ok(()));
    assert_eq!(with("nbf", json!(10_301)), Err(TokenError::NotBefore));
    assert_eq!(with("iat", json!(10_301)), Err(TokenError::IssuedAt));
    assert_eq!(with("aud", json!(["other"])), Err(TokenError::Audience));
    assert_eq!(with("aud", json!(null)), Err(TokenError::Audience));
    assert_eq!(with("sub", json!("other")), Err(TokenError::Subject));
}

#[test]
fn tokens_without_a_known_key_are_refused() {
    let (key, _) = SigningKey::generate_ed25519().unwrap();
    let set = JwkSet::parse(jwk::set_of(key.public(), JwsAlgorithm::EdDsa).as_bytes()).unwrap();
    let expected = Expected { audience: "a", subject: "s", now: now(), skew: Duration::ZERO };
    let (other, _) = SigningKey::generate_ed25519().unwrap();
    let same_id = Signer::new(other, JwsAlgorithm::EdDsa, &jwk::thumbprint(key.public())).unwrap();
    let token = same_id.sign(&json!({"aud": "a", "sub": "s"})).unwrap();
    assert_eq!(jwt::verify(&token, &set, &expected), Err(TokenError::Signature));
    // {"alg":"none","kid":"x"}
    let none = "eyJhbGciOiJub25lIiwia2lkIjoieCJ9.e30.";
    assert_eq!(jwt::verify(none, &set, &expected), Err(TokenError::Signature));
    assert_eq!(jwt::verify("e30.e30.", &set, &expected), Err(TokenError::NoKeyId));
    for malformed in ["", "a", "a.b", "a.b.c", "!.!.!", "W10.e30."] {
        assert_eq!(jwt::verify(malformed, &set, &expected), Err(TokenError::Malformed), "{malformed}");
    }
}

#[test]
fn key_sets_must_hold_the_key() {
    let ((key, _), (other, _)) =
        (SigningKey::generate_ed25519().unwrap(), SigningKey::generate_ed25519().unwrap());
    let json = jwk::set_of(key.public(), JwsAlgorithm::EdDsa);
    let kid = jwk::thumbprint(key.public());
    let set = JwkSet::parse(json.as_bytes()).unwrap();
    assert!(set.check_contains(key.public(), None).is_ok());
    assert!(set.check_contains(key.public(), Some(&kid)).is_ok());
    let refusal =
        |set: &JwkSet, key: &SigningKey, id| set.check_contains(key.public(), id).unwrap_err().to_string();
    assert_eq!(
        refusal(&set, &other, None),
        "JWKS doesn't contain a matching public key for the JWT signing key"
    );
    assert_eq!(refusal(&set, &key, Some("x")), "JWKS doesn't contain a key with user-provided key ID \"x\"");
    assert!(refusal(&set, &other, Some(&kid)).contains("the key content doesn't match"));
    let for_encryption = JwkSet::parse(json.replace("\"sig\"", "\"enc\"").as_bytes()).unwrap();
    assert!(for_encryption.check_contains(key.public(), None).is_err());
    assert_eq!(
        refusal(&JwkSet::parse(br#"{"keys":[]}"#).unwrap(), &key, None),
        "JWKS doesn't contain any keys"
    );
    for bad in ["", "[]", "{}", r#"{"keys":[{}]}"#, r#"{"keys":[{"kty":"RSA","n":"!"}]}"#] {
        assert!(JwkSet::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let symmetric = JwkSet::parse(br#"{"kty":"oct","k":"AAAA"}"#).unwrap();
    assert!(symmetric.keys()[0].key.is_none());
}

/// RFC 7638, 3.1, with the alphabet that Dapr uses.
#[test]
fn thumbprints_follow_the_standard() {
    let key = br#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
    let set = JwkSet::parse(key).unwrap();
    let thumbprint = jwk::thumbprint(set.keys()[0].key.as_ref().unwrap());
    assert_eq!(thumbprint, "NzbLsXh8uDCcd+6MNwXF4W/7noWXFZAfHkxZsRGC9Xs=");
}

#[test]
fn algorithms_name_what_they_miss() {
    let refusal = |algorithm: JwsAlgorithm, kind| algorithm.check(kind).unwrap_err();
    assert_eq!(
        refusal(JwsAlgorithm::Rs256, KeyKind::Ed25519),
        "RSA algorithm RS256 requires an RSA key, but got ed25519.PrivateKey"
    );
    assert_eq!(refusal(JwsAlgorithm::Es256, KeyKind::P384), "ES256 requires a P-256 curve, got P-384");
    assert_eq!(
        refusal(JwsAlgorithm::Es512, KeyKind::Rsa),
        "ECDSA algorithm ES512 requires an ECDSA key, but got *rsa.PrivateKey"
    );
    assert_eq!("HS256".parse::<JwsAlgorithm>().unwrap_err(), "unsupported signature algorithm: HS256");
}

#[test]
fn claims_of_checked_tokens_are_read_in_both_forms() {
    let bare = jwt::unverified_claims(r#"{"a":1}"#).unwrap();
    assert_eq!(bare["a"], 1);
    assert_eq!(jwt::unverified_claims("e30.eyJhIjoxfQ.x").unwrap(), bare);
    for bad in ["", "a.b", "e30.e30", "e30.e30.e30.e30", "{", "[]"] {
        assert_eq!(jwt::unverified_claims(bad), Err(TokenError::Malformed), "{bad}");
    }
}

#[test]
fn a_server_wants_a_certificate_of_its_key() {
    let made = bundle();
    let (key, _) = SigningKey::generate_ed25519().unwrap();
    let issued = issue(&made, key.public(), &[]);
    let serving = Serving::default();
    assert!(serving.set(std::slice::from_ref(&issued.leaf), &key).is_ok());
    let (other, _) = SigningKey::generate_ed25519().unwrap();
    assert_eq!(
        serving.set(&[issued.leaf], &other).unwrap_err().to_string(),
        "tls: private key does not match public key"
    );
    assert!(!format!("{key:?}").contains("seed"));
}

/// OpenSSL signs requests with SHA-256 whatever the curve; this one is for P-521.
#[test]
fn p521_requests_may_use_any_hash() {
    let pem = include_bytes!("testdata/p521-sha256.csr.pem");
    assert_eq!(csr_public_key(pem).unwrap().kind(), KeyKind::P521);
}

#[test]
fn short_rsa_keys_are_refused() {
    let pem = include_bytes!("testdata/rsa1024.csr.pem");
    assert_eq!(
        csr_public_key(pem).unwrap_err().to_string(),
        "failed to parse certificate signing request: RSA keys must have from 2048 to 8192 bits"
    );
}
