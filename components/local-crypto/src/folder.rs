//! Keys as files of one folder: a key's name is its file's.

use std::path::PathBuf;

use async_trait::async_trait;
use dapr_components::{InitError, Properties};
use dapr_security::keys::{Format, Key};

use crate::provider::KeySource;

/// Files are read for every operation, so a key can be replaced at any time.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub async fn open(properties: &Properties) -> Result<Self, InitError> {
        let failed = |reason: String| InitError::new(format!("failed to load metadata: {reason}"));
        let path = properties.get("path").unwrap_or_default();
        if path.is_empty() {
            return Err(failed("metadata property 'path' is required".to_owned()));
        }
        match tokio::fs::metadata(path).await {
            Ok(found) if found.is_dir() => Ok(Self(path.into())),
            Ok(_) => Err(failed(format!("path '{path}' is not a directory"))),
            Err(error) => Err(failed(format!("could not stat path '{path}': {error}"))),
        }
    }
}

#[async_trait]
impl KeySource for Folder {
    async fn key(&self, name: &str) -> Result<Key, String> {
        if name.contains("..") {
            return Err("invalid key path: cannot contain '..'".to_owned());
        }
        // An absolute name stays below the folder, too.
        let path = self.0.join(name.trim_start_matches('/'));
        let data = tokio::fs::read(&path).await.map_err(|e| format!("failed to load key '{name}': {e}"))?;
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let format = match extension.to_str() {
            Some("json") => Format::Jwk,
            Some("pem") => Format::Pem,
            _ => Format::Unknown,
        };
        Key::parse(&data, format).map_err(|e| format!("failed to parse key from secret: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use dapr_components::crypto::CryptoProvider;

    use super::*;
    use crate::provider::Provider;

    async fn open(path: &str) -> Result<Folder, InitError> {
        Folder::open(&Properties::new([("path", path)]).unwrap()).await
    }

    #[tokio::test]
    async fn keys_are_files_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("raw"), [5; 32]).unwrap();
        std::fs::write(folder.path().join("bad.JSON"), "{}").unwrap();
        let use_sig = r#"{"kty":"oct","k":"BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU","use":"sig"}"#;
        std::fs::write(folder.path().join("sig.json"), use_sig).unwrap();
        std::fs::write(
            folder.path().join("alg.json"),
            use_sig.replace(r#""use":"sig""#, r#""alg":"A128KW""#),
        )
        .unwrap();
        let provider = Provider::new(open(folder.path().to_str().unwrap()).await.unwrap());
        let wrapped = provider.wrap_key(&[1; 32], "A256KW", "raw").await.unwrap();
        assert_eq!(*provider.unwrap_key(&wrapped, "A256KW", "raw").await.unwrap(), [1; 32]);
        // A name that begins with a slash means the same file.
        assert!(provider.unwrap_key(&wrapped, "A256KW", "/raw").await.is_ok());
        for (name, algorithm, expected) in [
            (
                "../raw",
                "A256KW",
                "failed to retrieve the key encryption key: invalid key path: cannot contain '..'",
            ),
            ("none", "A256KW", "failed to retrieve the key encryption key: failed to load key 'none': "),
            (
                "bad.JSON",
                "A256KW",
                "failed to retrieve the key encryption key: failed to parse key from secret: ",
            ),
            ("sig.json", "A256KW", "key cannot perform the 'wrapKey' operation"),
            ("alg.json", "A256KW", "key cannot be used with algorithm 'A256KW'"),
            ("raw", "A256CBC-NOPAD", "failed to encrypt data: unsupported algorithm"),
            ("raw", "RSA-OAEP-256", "failed to encrypt data: key type mismatch"),
        ] {
            let error = provider.wrap_key(&[1; 32], algorithm, name).await.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn the_folder_must_be_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (path, expected) in [
            ("", "failed to load metadata: metadata property 'path' is required"),
            ("/no/such/folder", "failed to load metadata: could not stat path '/no/such/folder': "),
            (file.path().to_str().unwrap(), "is not a directory"),
        ] {
            let error = open(path).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
