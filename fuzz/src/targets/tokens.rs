//! Tokens, the keys that sign them, and identities.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dapr_security::ca::jwk::JwkSet;
use dapr_security::ca::jwt::{Expected, unverified_claims, verify};
use dapr_security::jwt::Token;
use dapr_security::rotation::Time;
use dapr_security::spiffe::{SpiffeId, TrustDomain};

use super::{Target, join, parts, texts};

const AT: u64 = 1_700_000_000;

pub const TOKENS: Target = Target {
    name: "tokens",
    run: tokens,
    seeds: || {
        let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"k","alg":"EdDSA","use":"sig"},{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"e"},{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","kid":"r","alg":"RS256"}]}"#;
        let claims = r#"{"sub":"spiffe://public/ns/default/app","aud":["a","b"],"exp":1700000600,"nbf":1699999000.5,"iat":1699999000,"iss":"x"}"#;
        ["EdDSA", "ES256", "RS256"]
            .map(|alg| {
                join(&[&format!(r#"{{"alg":"{alg}","kid":"k","typ":"JWT"}}"#), claims, "signature", set])
            })
            .to_vec()
    },
    words: &[
        "\"crit\":[],",
        "\"kid\":",
        "\"exp\":",
        "\"aud\":",
        "none",
        "HS256",
        "1e300",
        "-1",
        "null",
        "[",
        "{",
        ".",
        "\"x\":\"\"",
    ],
};

fn tokens(input: &[u8]) {
    let [header, claims, signature, keys] = parts::<4>(input);
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let compact = format!("{}.{}.{}", encode(header), encode(claims), encode(signature));
    let plain = String::from_utf8_lossy(input).into_owned();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(AT);
    let expected = Expected {
        audience: "a",
        subject: "spiffe://public/ns/default/app",
        now,
        skew: Duration::from_secs(300),
    };
    let keys = JwkSet::parse(keys);
    for token in [compact, plain] {
        let _ = unverified_claims(&token);
        if let Ok(keys) = &keys {
            assert!(verify(&token, keys, &expected).is_err(), "nobody signed it");
        }
        if let Ok(read) = Token::read(token, Time::from_seconds(AT)) {
            let _ = (read.audiences().len(), read.expiry(), read.is_for("a"));
        }
    }
}

pub const IDENTITIES: Target = Target {
    name: "identities",
    run: identities,
    seeds: || {
        texts(&[
            "spiffe://public/ns/default/app",
            "spiffe://cluster.local/ns/dapr-system/dapr-sentry/more",
            "public",
            "SPIFFE://x/ns/a/b",
        ])
    },
    words: &["spiffe://", "/ns/", "/", ".", "..", "%2F", "@", ":", "?", "#"],
};

fn identities(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(domain) = TrustDomain::parse(&text) {
        assert_eq!(TrustDomain::parse(domain.as_str()).as_ref(), Ok(&domain));
    }
    let Ok(id) = SpiffeId::parse(&text) else { return };
    assert_eq!(id.as_str(), text);
    let again = SpiffeId::new(&id.trust_domain(), id.namespace(), id.app_id()).expect("its parts are valid");
    assert!(text.starts_with(again.as_str()), "{again} of {text}");
    assert!(id.path().starts_with("/ns/"));
}
