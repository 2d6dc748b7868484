//! Cryptography (api.md §2.7).

use bytes::{Bytes, BytesMut};
use dapr_blackbox::{Options, Scratch, Sidecar, component, grpc_frame};
use dapr_wire::common::v1::StreamPayload;
use dapr_wire::runtime::v1 as rt;
use prost::Message;
use serde_json::json;

use crate::ask::Ask;

const ENCRYPT: &str = "PUT /v1.0-alpha1/crypto/keys/encrypt";
const DECRYPT: &str = "PUT /v1.0-alpha1/crypto/keys/decrypt";

fn frames(messages: &[&dyn Fn() -> Vec<u8>]) -> Bytes {
    let mut out = BytesMut::new();
    messages.iter().for_each(|message| out.extend_from_slice(&grpc_frame(&message())));
    out.freeze()
}

fn encrypt(options: Option<(&str, &str, &str)>, seq: u64, data: &'static [u8]) -> Vec<u8> {
    let options = options.map(|(component, key, algorithm)| rt::EncryptRequestOptions {
        component_name: component.into(),
        key_name: key.into(),
        key_wrap_algorithm: algorithm.into(),
        ..Default::default()
    });
    let payload = Some(StreamPayload { data: data.into(), seq });
    rt::EncryptRequest { options, payload }.encode_to_vec()
}

fn decrypt(component: &str, data: &'static [u8]) -> Vec<u8> {
    let options =
        Some(rt::DecryptRequestOptions { component_name: component.into(), key_name: String::new() });
    rt::DecryptRequest { options, payload: Some(StreamPayload { data: data.into(), seq: 0 }) }.encode_to_vec()
}

#[tokio::test]
async fn crypto() {
    let scratch = Scratch::new("errors");
    let keys = scratch.path().join("keys");
    std::fs::create_dir(&keys).expect("folder");
    std::fs::write(keys.join("raw"), [5; 32]).expect("key");
    let resources = scratch
        .resources("resources", &[&component("keys", "crypto.dapr.localstorage", &json!({"path": keys}))]);
    let sidecar = Sidecar::start(&scratch, Options::new("errors").resources(resources)).await;
    let mut ask = Ask::new(&sidecar, "crypto");
    ask.mask(scratch.path().to_str().expect("UTF-8"), "FOLDER");
    over_http(&mut ask).await;
    over_grpc(&mut ask).await;
    subtle(&mut ask).await;
    ask.done();
    sidecar.stop().await;
}

async fn over_http(ask: &mut Ask<'_>) {
    let none = [("x", "")];
    ask.http_with("unknown", "PUT /v1.0-alpha1/crypto/none/encrypt", &none, "x").await;
    ask.http_with("unknown decrypt", "PUT /v1.0-alpha1/crypto/none/decrypt", &none, "x").await;
    ask.http_with("no key name", ENCRYPT, &none, "x").await;
    ask.http_with("no algorithm", ENCRYPT, &[("dapr-key-name", "raw")], "x").await;
    for (what, key, algorithm, cipher) in [
        ("unknown key", "none", "aes", ""),
        ("unknown algorithm", "raw", "rot13", ""),
        ("algorithm of another kind", "raw", "rsa", ""),
        ("unknown cipher", "raw", "aes", "rot13"),
    ] {
        let headers = [
            ("dapr-key-name", key),
            ("dapr-key-wrap-algorithm", algorithm),
            ("dapr-data-encryption-cipher", cipher),
        ];
        ask.http_with(what, ENCRYPT, &headers, "x").await;
    }
    ask.http_with("no document", DECRYPT, &none, "no document at all").await;
    ask.http_with("empty document", DECRYPT, &none, "").await;
    ask.http_with("head only", DECRYPT, &none, "dapr.io/enc/v1\n").await;
    ask.http_with("head is no JSON", DECRYPT, &none, "dapr.io/enc/v1\nnonsense\nAAAA\n").await;
}

async fn over_grpc(ask: &mut Ask<'_>) {
    let (e, d) = ("EncryptAlpha1", "DecryptAlpha1");
    for (what, options) in [
        ("unknown", ("none", "raw", "AES")),
        ("no component", ("", "raw", "AES")),
        ("no key name", ("keys", "", "AES")),
        ("no algorithm", ("keys", "raw", "")),
        ("unknown key", ("keys", "none", "AES")),
        ("unknown algorithm", ("keys", "raw", "rot13")),
    ] {
        ask.grpc_stream(what, e, &[], frames(&[&|| encrypt(Some(options), 0, b"x")])).await;
    }
    let good = Some(("keys", "raw", "AES"));
    ask.grpc_stream("no options", e, &[], frames(&[&|| encrypt(None, 0, b"x")])).await;
    ask.grpc_stream("no message", e, &[], Bytes::new()).await;
    let gap = frames(&[&|| encrypt(good, 0, b"x"), &|| encrypt(None, 2, b"x")]);
    ask.grpc_stream("a gap", e, &[], gap).await;
    let twice = frames(&[&|| encrypt(good, 0, b"x"), &|| encrypt(good, 1, b"x")]);
    ask.grpc_stream("options twice", e, &[], twice).await;
    ask.grpc_stream("unknown decrypt", d, &[], frames(&[&|| decrypt("none", b"x")])).await;
    ask.grpc_stream("no component decrypt", d, &[], frames(&[&|| decrypt("", b"x")])).await;
    ask.grpc_stream("no document", d, &[], frames(&[&|| decrypt("keys", b"no document at all")])).await;
    ask.grpc_stream("empty document", d, &[], frames(&[&|| decrypt("keys", b"")])).await;
}

async fn subtle(ask: &mut Ask<'_>) {
    for call in ["getkey", "encrypt", "decrypt", "wrapkey", "unwrapkey", "sign", "verify"] {
        ask.http(&format!("subtle {call}"), &format!("POST /v1.0-alpha1/subtlecrypto/keys/{call}"), "{}")
            .await;
    }
    for call in ["GetKey", "Encrypt", "Decrypt", "WrapKey", "UnwrapKey", "Sign", "Verify"] {
        ask.grpc(&format!("subtle {call}"), &format!("Subtle{call}Alpha1"), &()).await;
    }
}
