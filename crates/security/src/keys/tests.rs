use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};

use super::*;
use crate::random::Random;

const FILE_KEY: [u8; 32] = [9; 32];

fn oct(extra: &str) -> String {
    format!(r#"{{"kty":"oct","k":"{}"{extra}}}"#, URL_SAFE_NO_PAD.encode([1; 32]))
}

#[test]
fn aes_key_wrap_is_that_of_rfc_3394() {
    // RFC 3394 §4.6: 256 bits of key data with a 256-bit key.
    let kek: Vec<u8> = (0..32).collect();
    let plain = [&(0..16).map(|i| i * 0x11).collect::<Vec<u8>>()[..], &(0..16).collect::<Vec<u8>>()].concat();
    let key = Key::parse(&kek, Format::Unknown).unwrap();
    let wrapped = key.wrap(&plain, "A256KW").unwrap();
    let hex: String = wrapped.iter().map(|b| format!("{b:02X}")).collect();
    assert_eq!(hex, "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21");
    assert_eq!(*key.unwrap(&wrapped, "A256KW").unwrap(), plain);
    let mut changed = wrapped.clone();
    changed[5] ^= 1;
    assert_eq!(key.unwrap(&changed, "A256KW").err(), Some(WrapError::Integrity));
    for short in [0, 8, 16, 39] {
        assert_eq!(key.unwrap(&wrapped[..short], "A256KW").err(), Some(WrapError::Length), "{short}");
    }
    assert_eq!(key.wrap(&plain, "A128KW").err(), Some(WrapError::KeyTypeMismatch));
    assert_eq!(key.wrap(&plain, "RSA-OAEP-256").err(), Some(WrapError::KeyTypeMismatch));
    assert_eq!(key.wrap(&plain, "A256CBC-NOPAD").err(), Some(WrapError::UnsupportedAlgorithm));
}

#[test]
fn symmetric_keys_are_raw_or_base64() {
    let wraps = |raw: &[u8]| Key::parse(raw, Format::Unknown).unwrap().wrap(&FILE_KEY, "A256KW").unwrap();
    let expected = wraps(&[0xfb; 32]);
    assert_eq!(wraps(b"+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=\n"), expected);
    assert_eq!(wraps(b"-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s"), expected);
    // 32 bytes that begin like JSON are a key.
    assert!(Key::parse(b"{23456789012345678901234567890(!", Format::Unknown).is_ok());
    assert_eq!(Key::parse(b"", Format::Unknown).err(), Some(ParseError::Empty));
}

#[test]
fn rsa_keys_come_as_pem_and_jwk() {
    let private = RsaPrivateKey::new(&mut Random, 2048).unwrap();
    let number = |n: &rsa::BoxedUint| URL_SAFE_NO_PAD.encode(n.to_be_bytes_trimmed_vartime());
    let (n, e, d) = (number(private.n().as_ref()), number(private.e()), number(private.d()));
    let (p, q) = (number(&private.primes()[0]), number(&private.primes()[1]));
    let public_jwk = format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#);
    let jwk = format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}","d":"{d}","p":"{p}","q":"{q}"}}"#);
    let short_jwk = format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}","d":"{d}"}}"#);
    let public_pem = private.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
    let pkcs8 = private.to_pkcs8_pem(LineEnding::LF).unwrap();
    let pkcs1 = private.to_pkcs1_pem(LineEnding::LF).unwrap();
    for public in [&public_jwk, &public_pem] {
        let key = Key::parse(public.as_bytes(), Format::Unknown).unwrap();
        for algorithm in ["RSA-OAEP-256", "RSA-OAEP-384", "RSA-OAEP-512"] {
            let wrapped = key.wrap(&FILE_KEY, algorithm).unwrap();
            assert_eq!(key.unwrap(&wrapped, algorithm).err(), Some(WrapError::KeyTypeMismatch));
            for private in [jwk.as_str(), &short_jwk, &pkcs8, &pkcs1] {
                let key = Key::parse(private.as_bytes(), Format::Unknown).unwrap();
                assert_eq!(*key.unwrap(&wrapped, algorithm).unwrap(), FILE_KEY);
                assert_eq!(key.unwrap(&wrapped[1..], algorithm).err(), Some(WrapError::Rsa));
            }
        }
    }
}

#[test]
fn a_key_is_used_for_what_it_is_meant() {
    let key = |extra: &str| Key::parse(oct(extra).as_bytes(), Format::Jwk).unwrap();
    assert!(key("").allows("wrapKey") && key("").allows_algorithm("A256KW"));
    assert!(!key(r#","key_ops":["unwrapKey"]"#).allows("wrapKey"));
    assert!(key(r#","key_ops":["unwrapKey"]"#).allows("unwrapKey"));
    assert!(!key(r#","use":"sig""#).allows("wrapKey"));
    assert!(key(r#","use":"enc""#).allows("wrapKey"));
    assert!(!key(r#","alg":"A128KW""#).allows_algorithm("A256KW"));
}

#[test]
fn curve_keys_are_held_and_wrap_nothing() {
    let key = Key::parse(br#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#, Format::Unknown).unwrap();
    assert_eq!(key.wrap(&FILE_KEY, "RSA-OAEP-256").err(), Some(WrapError::KeyTypeMismatch));
    assert!(Key::parse(b"{\"kty\":\"what\"}", Format::Jwk).is_err());
    assert!(
        Key::parse(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", Format::Pem).is_err()
    );
    assert!(Key::parse(b"no key", Format::Pem).is_err());
}

#[test]
fn sets_are_looked_up_by_id() {
    let set = format!(r#"{{"keys":[{},{}]}}"#, oct(r#","kid":"a""#), oct(r#","kid":"b","use":"sig""#));
    let set = KeySet::parse(set.as_bytes()).unwrap();
    assert!(!set.get("b").unwrap().allows("wrapKey"));
    assert!(set.get("a").unwrap().allows("wrapKey") && set.get("c").is_none());
    assert!(KeySet::parse(oct(r#","kid":"one""#).as_bytes()).unwrap().get("one").is_some());
    assert!(KeySet::parse(b"{\"keys\":1}").is_err() && KeySet::parse(b"no").is_err());
}
