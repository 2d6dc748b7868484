use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::crypto::{CryptoProvider, Error, Unwrapped};
use futures::stream;

use super::*;

/// Turns keys around, and knows one name only.
struct Backwards;

#[async_trait]
impl CryptoProvider for Backwards {
    async fn wrap_key(&self, plain: &[u8], _: &str, name: &str) -> Result<Bytes, Error> {
        if name != "k" {
            return Err(Error("no such key".to_owned()));
        }
        Ok(plain.iter().rev().copied().collect())
    }

    async fn unwrap_key(&self, wrapped: &[u8], algorithm: &str, name: &str) -> Result<Unwrapped, Error> {
        self.wrap_key(wrapped, algorithm, name).await.map(|key| Unwrapped::new(key.to_vec()))
    }
}

fn provider() -> Provider {
    let service = CryptoService::new(Options::default());
    assert_eq!(service.provider("p").err().unwrap().tag, "ERR_CRYPTO_PROVIDERS_NOT_CONFIGURED");
    service.add("p", Arc::new(Backwards));
    assert_eq!(service.provider("q").err().unwrap().message, "crypto provider q not found");
    assert_eq!(service.provider("").err().unwrap().message, "invalid request: missing component name");
    service.provider("p").unwrap()
}

fn how(key_name: &str) -> Encryption {
    Encryption { key_name: key_name.to_owned(), algorithm: "aes".to_owned(), ..Encryption::default() }
}

type Pieces = stream::Iter<std::vec::IntoIter<Result<Bytes, String>>>;

fn pieces(data: &[u8], size: usize) -> Pieces {
    stream::iter(data.chunks(size).map(|c| Ok(Bytes::copy_from_slice(c))).collect::<Vec<_>>())
}

async fn gather(mut processed: Processed<Pieces>) -> Result<Vec<u8>, CryptoError> {
    let mut out = Vec::new();
    while let Some(piece) = processed.next().await {
        out.extend_from_slice(&piece?);
    }
    Ok(out)
}

async fn encrypted(data: &[u8], how: &Encryption) -> Vec<u8> {
    gather(Processed::encrypt(&provider(), how, pieces(data, 5000)).await.unwrap()).await.unwrap()
}

async fn decrypted(data: &[u8], key_name: &str) -> Result<Vec<u8>, CryptoError> {
    gather(Processed::decrypt(&provider(), key_name, pieces(data, 777)).await?).await
}

#[tokio::test]
async fn documents_come_back_whatever_their_length() {
    for length in [0, 1, 65535, 65536, 65537, 200_000] {
        let data = vec![b'x'; length];
        for cipher in ["", "aes-gcm", "ChaCha20-Poly1305"] {
            let document = encrypted(&data, &Encryption { cipher: cipher.to_owned(), ..how("k") }).await;
            assert!(decrypted(&document, "").await.unwrap() == data, "{length} {cipher}");
        }
    }
}

#[tokio::test]
async fn the_document_may_keep_the_key_to_itself_or_name_another() {
    let silent = encrypted(b"data", &Encryption { omit_key_name: true, ..how("k") }).await;
    let error = decrypted(&silent, "").await.unwrap_err().into_api();
    assert_eq!(
        (error.tag.as_ref(), error.message.as_str()),
        (
            "ERR_CRYPTO",
            "failed to perform operation: document's manifest does not contain a key name, and no key name was provided"
        )
    );
    assert_eq!(decrypted(&silent, "k").await.unwrap(), b"data");
    let other = encrypted(b"data", &Encryption { decryption_key_name: "o".to_owned(), ..how("k") }).await;
    let error = decrypted(&other, "").await.unwrap_err();
    assert_eq!(error.to_string(), "failed to validate the document's signature");
    assert_eq!(decrypted(&other, "k").await.unwrap(), b"data");
}

#[tokio::test]
async fn failures_say_what_is_wrong() {
    for (how, expected) in [
        (how("none"), "failed to wrap the file key: no such key"),
        (
            Encryption { algorithm: "what".to_owned(), ..how("k") },
            "option Algorithm is not valid: algorithm WHAT is not supported",
        ),
        (
            Encryption { cipher: "what".to_owned(), ..how("k") },
            "option Cipher is not valid: cipher WHAT is not supported",
        ),
    ] {
        let error = Processed::encrypt(&provider(), &how, pieces(b"", 1)).await.err().unwrap();
        assert!(matches!(&error, CryptoError::Start(text) if text == expected), "{error}");
    }
    let mut document = encrypted(&vec![1; 70_000], &how("k")).await;
    let last = document.len() - 1;
    document[last] ^= 1;
    let error = decrypted(&document, "").await.unwrap_err();
    assert!(matches!(error, CryptoError::Stream(_)), "{error}");
    let error = error.into_api();
    assert_eq!(error.tag, "ERROR");
    assert_eq!(error.message, "error processing segment 1: failed to decrypt segment");
    let error = decrypted(b"no document", "").await.unwrap_err().into_operation();
    assert_eq!(error.message, "failed to perform operation: invalid header: scheme name not found");
}

#[tokio::test]
async fn nothing_follows_an_error() {
    let broken = stream::iter(vec![Ok(Bytes::from_static(b"a")), Err("gone".to_owned())]);
    let mut processed = Processed::encrypt(&provider(), &how("k"), broken).await.unwrap();
    assert!(processed.next().await.unwrap().is_ok());
    assert_eq!(processed.next().await.unwrap().unwrap_err().to_string(), "gone");
    assert!(processed.next().await.is_none());
}
