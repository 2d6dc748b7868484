use base64::engine::general_purpose::STANDARD;
use dapr_components::crypto::CryptoProvider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::provider::Provider;

fn set(id: &str) -> String {
    format!(r#"{{"keys":[{{"kty":"oct","kid":"{id}","k":"BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"}}]}}"#)
}

async fn open(items: &[(&str, &str)]) -> Result<Jwks, InitError> {
    let properties = Properties::new(items.iter().copied()).unwrap();
    Jwks::open(&properties, &TaskGroup::new(Shutdown::new())).await
}

#[tokio::test]
async fn a_set_may_be_given_in_place() {
    for text in [set("a"), STANDARD.encode(set("a"))] {
        let provider = Provider::new(open(&[("jwks", &text)]).await.unwrap());
        assert!(provider.wrap_key(&[1; 32], "A256KW", "a").await.is_ok());
        let error = provider.wrap_key(&[1; 32], "A256KW", "b").await.unwrap_err();
        assert_eq!(error.to_string(), "failed to retrieve the key encryption key: key not found");
    }
    for (text, expected) in [
        ("", "failed to load metadata: metadata property 'jwks' is required"),
        ("what", "failed to init cache: failed to parse property 'location': not a URL"),
        ("http://127.0.0.1:1/", "failed to init cache: failed to fetch JWKS: "),
    ] {
        let error = open(&[("jwks", text)]).await.err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), set("a")).unwrap();
    let jwks = open(&[("jwks", file.path().to_str().unwrap())]).await.unwrap();
    assert!(jwks.key("a").await.is_ok());
    std::fs::write(file.path(), "{broken").unwrap();
    assert!(jwks.key("a").await.is_ok());
    std::fs::write(file.path(), set("other")).unwrap();
    assert!(jwks.key("other").await.is_ok());
    assert!(jwks.key("a").await.is_err());
}

/// Serves a different set with each connection.
async fn server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let serve = async move {
        for id in ["first", "second", "third", "fourth", "fifth", "sixth"] {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let body = set(id);
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    };
    let tasks = TaskGroup::new(Shutdown::new());
    tasks.spawn("key server", serve);
    url
}

#[tokio::test]
async fn a_url_is_asked_again_and_again() {
    let jwks = open(&[("jwks", &server().await), ("minRefreshInterval", "1s")]).await.unwrap();
    assert!(jwks.key("first").await.is_ok());
    let changed = async {
        while jwks.key("first").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), changed).await.unwrap();
    jwks.close();
}
