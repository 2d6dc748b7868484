//! Certificates, requests for them, and keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dapr_security::anchors::AnchorSet;
use dapr_security::ca::{Bundle, Certificate, SigningKey, csr_public_key};
use dapr_security::x509::Facts;
use std::time::{Duration, SystemTime};

use super::Target;

/// Made by OpenSSL: a request with a P-256 key, one with an RSA key, a root, an
/// issuer and a leaf with the usual extensions, keys in two forms.
const FILES: [&[u8]; 7] = [
    include_bytes!("../../corpus/certificates/request-p256.der"),
    include_bytes!("../../corpus/certificates/request-rsa.der"),
    include_bytes!("../../corpus/certificates/root.der"),
    include_bytes!("../../corpus/certificates/issuer.der"),
    include_bytes!("../../corpus/certificates/leaf.der"),
    include_bytes!("../../corpus/certificates/key-sec1.der"),
    include_bytes!("../../corpus/certificates/key-pkcs8.der"),
];
/// Within certificates.
const AT: u64 = 1_800_000_000;

pub const CERTIFICATES: Target = Target {
    name: "certificates",
    run: certificates,
    seeds: || {
        let mut seeds: Vec<Vec<u8>> = FILES.iter().map(|file| file.to_vec()).collect();
        seeds.push(pem("CERTIFICATE REQUEST", FILES[0]));
        seeds.push([pem("CERTIFICATE", FILES[4]), pem("CERTIFICATE", FILES[3])].concat());
        seeds
    },
    words: &[
        "-----BEGIN CERTIFICATE-----\n",
        "-----END CERTIFICATE-----\n",
        "-----BEGIN EC PRIVATE KEY-----",
        "spiffe://public/ns/default/app",
        "0\u{0}",
        "\u{6}\u{3}U\u{1d}\u{11}",
    ],
};

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der)).into_bytes()
}

/// As it is, and as DER within PEM: broken base64 would hide the rest.
fn certificates(input: &[u8]) {
    read(input);
    for label in ["CERTIFICATE REQUEST", "CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        read(&pem(label, input));
    }
    if let Ok(facts) = Facts::read(&input.into()) {
        let _ = (facts.check_leaf(), facts.spiffe_id());
    }
}

fn read(pem: &[u8]) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(AT);
    let _ = csr_public_key(pem);
    let _ = AnchorSet::parse(&String::from_utf8_lossy(pem));
    if let Ok(chain) = Certificate::all_from_pem(pem) {
        for certificate in &chain {
            let _ = (certificate.not_before(), certificate.not_after(), certificate.organization());
            let _ = (certificate.public_key(), certificate.is_signed_by(certificate));
        }
        let _ = Bundle::verify(pem, pem, pem, now);
    }
    let _ = SigningKey::from_pem(pem);
}
