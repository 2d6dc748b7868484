//! Where the authority's keys and certificates are kept (control-plane.md §3.3):
//! in files, or in a Secret and a ConfigMap.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dapr_kubernetes::{ApiError, Client};
use dapr_security::ca::jwk::{JwkError, JwkSet};
use dapr_security::ca::{Bundle, BundleError, KeyError, SigningKey};
use dapr_security::private_file;
use serde_json::{Map, Value};

use crate::options::Files;
use crate::watch::Fingerprint;

/// Name of the Secret and of the ConfigMap.
const TRUST_BUNDLE: &str = "dapr-trust-bundle";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to read {what} {}: {source}", path.display())]
    Read { what: &'static str, path: PathBuf, source: io::Error },
    #[error("failed to write file {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("failed to verify CA bundle: {0}")]
    Bundle(#[from] BundleError),
    #[error("failed to load JWT signing key: failed to decode JWT signing key: {0}")]
    JwtKey(KeyError),
    #[error("failed to verify JWKS: {0}")]
    Jwks(#[from] JwkError),
    #[error("failed to {action}: {source}")]
    Cluster { action: &'static str, source: ApiError },
    #[error("{0} of the trust bundle secret is not base64")]
    Encoding(String),
}

/// What signs tokens.
#[derive(Clone, Debug)]
pub struct JwtMaterial {
    pub key: SigningKey,
    pub key_pem: String,
    /// The key set as it was stored.
    pub jwks: String,
}

impl JwtMaterial {
    fn check(key_pem: &[u8], jwks: &[u8], key_id: Option<&str>) -> Result<Self, StoreError> {
        let key = SigningKey::from_pem(key_pem).map_err(StoreError::JwtKey)?;
        JwkSet::parse(jwks)?.check_contains(key.public(), key_id)?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self { key, key_pem: text(key_pem), jwks: text(jwks) })
    }
}

/// What was found; `None` has to be made.
#[derive(Debug, Default)]
pub struct Stored {
    pub x509: Option<Bundle>,
    pub jwt: Option<JwtMaterial>,
}

pub enum Store {
    Files(Files),
    Cluster { client: Client, namespace: String, files: Files },
}

impl Store {
    /// `key_id` is the ID under which the signing key must be in the set.
    pub async fn load(&self, key_id: Option<&str>, now: SystemTime) -> Result<Stored, StoreError> {
        match self {
            Self::Files(files) => load_files(files, key_id, now),
            Self::Cluster { client, namespace, files } => {
                let secret: Value = get(client, &secret_path(namespace), "get trust bundle secret").await?;
                let config: Value =
                    get(client, &config_path(namespace), "get trust bundle configmap").await?;
                from_objects(&secret, &config, files, key_id, now)
            }
        }
    }

    /// Notes in `known` what it writes to files.
    pub async fn save(
        &self,
        x509: &Bundle,
        jwt: Option<&JwtMaterial>,
        known: &mut Fingerprint,
    ) -> Result<(), StoreError> {
        match self {
            Self::Files(files) => save_files(files, x509, jwt, known),
            Self::Cluster { client, namespace, files } => {
                let (secret_path, config_path) = (secret_path(namespace), config_path(namespace));
                let mut secret: Value = get(client, &secret_path, "get trust bundle secret").await?;
                put_secret(&mut secret, files, x509, jwt);
                put(client, &secret_path, &secret, "update trust bundle secret").await?;
                let mut config: Value = get(client, &config_path, "get trust bundle configmap").await?;
                put_config(&mut config, files, x509, jwt);
                put(client, &config_path, &config, "update trust bundle configmap").await
            }
        }
    }
}

fn load_files(files: &Files, key_id: Option<&str>, now: SystemTime) -> Result<Stored, StoreError> {
    let parts = (
        read(&files.ca, "root certificate")?,
        read(&files.issuer_cert, "issuer certificate")?,
        read(&files.issuer_key, "issuer key")?,
    );
    let x509 = match parts {
        (Some(ca), Some(chain), Some(key)) => Some(Bundle::verify(&ca, &chain, &key, now)?),
        _ => None,
    };
    let jwt = match (read(&files.jwt_key, "JWT signing key")?, read(&files.jwks, "JWKS")?) {
        (Some(key), Some(jwks)) => Some(JwtMaterial::check(&key, &jwks, key_id)?),
        _ => None,
    };
    Ok(Stored { x509, jwt })
}

fn read(path: &Path, what: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Read { what, path: path.to_owned(), source }),
    }
}

/// The trust anchors last: while they are missing, a bundle that was written in
/// part is made anew.
fn save_files(
    files: &Files,
    x509: &Bundle,
    jwt: Option<&JwtMaterial>,
    known: &mut Fingerprint,
) -> Result<(), StoreError> {
    let mut all: Vec<(&Path, &str)> = Vec::new();
    if let Some(jwt) = jwt {
        all.extend([(files.jwt_key.as_path(), jwt.key_pem.as_str()), (&files.jwks, &jwt.jwks)]);
    }
    all.extend([
        (files.issuer_key.as_path(), x509.key_pem()),
        (&files.issuer_cert, x509.chain_pem()),
        (&files.ca, x509.anchors_pem()),
    ]);
    all.into_iter().try_for_each(|(path, text)| {
        known.set(path, text.as_bytes());
        private_file::write(path, text.as_bytes())
            .map_err(|source| StoreError::Write { path: path.to_owned(), source })
    })
}

fn secret_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{TRUST_BUNDLE}")
}

fn config_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{TRUST_BUNDLE}")
}

async fn get(client: &Client, path: &str, action: &'static str) -> Result<Value, StoreError> {
    client.get(path).await.map_err(|source| StoreError::Cluster { action, source })
}

async fn put(client: &Client, path: &str, object: &Value, action: &'static str) -> Result<(), StoreError> {
    let answer: Result<Value, _> = client.put(path, object).await;
    answer.map(|_| ()).map_err(|source| StoreError::Cluster { action, source })
}

/// Keys of the objects are the names of the files.
fn key(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn from_objects(
    secret: &Value,
    config: &Value,
    files: &Files,
    key_id: Option<&str>,
    now: SystemTime,
) -> Result<Stored, StoreError> {
    let secret = secret_data(secret)?;
    let part = |path: &Path| secret.get(&key(path));
    let published = config["data"].get(key(&files.ca)).and_then(Value::as_str);
    let x509 = match (part(&files.ca), part(&files.issuer_cert), part(&files.issuer_key)) {
        // A ConfigMap that says otherwise means that one of both is not ours.
        (Some(ca), Some(chain), Some(issuer_key)) if published.map(str::as_bytes) == Some(ca) => {
            Some(Bundle::verify(ca, chain, issuer_key, now)?)
        }
        _ => None,
    };
    let jwt = match (part(&files.jwt_key), part(&files.jwks)) {
        (Some(jwt_key), Some(jwks)) => Some(JwtMaterial::check(jwt_key, jwks, key_id)?),
        _ => None,
    };
    Ok(Stored { x509, jwt })
}

fn secret_data(secret: &Value) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
    let entries = secret["data"].as_object().into_iter().flatten();
    let decode = |(name, value): (&String, &Value)| {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default());
        bytes.map(|bytes| (name.clone(), bytes)).map_err(|_| StoreError::Encoding(name.clone()))
    };
    entries.map(decode).collect()
}

/// The `data` of an object, made if there is none.
fn data(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let object = object.as_object_mut()?;
    let data = object.entry("data").or_insert(Value::Null);
    if !data.is_object() {
        *data = Value::Object(Map::new());
    }
    data.as_object_mut()
}

fn put_secret(secret: &mut Value, files: &Files, x509: &Bundle, jwt: Option<&JwtMaterial>) {
    let Some(data) = data(secret) else { return };
    let mut set = |path: &Path, text: &str| data.insert(key(path), STANDARD.encode(text).into());
    set(&files.ca, x509.anchors_pem());
    set(&files.issuer_cert, x509.chain_pem());
    set(&files.issuer_key, x509.key_pem());
    if let Some(jwt) = jwt {
        set(&files.jwt_key, &jwt.key_pem);
        set(&files.jwks, &jwt.jwks);
    }
}

fn put_config(config: &mut Value, files: &Files, x509: &Bundle, jwt: Option<&JwtMaterial>) {
    let Some(data) = data(config) else { return };
    data.insert(key(&files.ca), x509.anchors_pem().into());
    data.remove(&key(&files.jwks));
    if let Some(jwt) = jwt {
        data.insert(key(&files.jwks), jwt.jwks.as_str().into());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use dapr_security::ca::{JwsAlgorithm, jwk};
    use dapr_security::spiffe::SpiffeId;
    use serde_json::json;

    use super::*;

    fn bundle() -> Bundle {
        let id = SpiffeId::parse("spiffe://td/ns/default/dapr-sentry").unwrap();
        let now = SystemTime::now();
        Bundle::generate("td", &id, now, now + Duration::from_secs(3600)).unwrap()
    }

    fn jwt() -> JwtMaterial {
        let (key, key_pem) = SigningKey::generate_ed25519().unwrap();
        JwtMaterial { jwks: jwk::set_of(key.public(), JwsAlgorithm::EdDsa), key, key_pem }
    }

    fn known() -> Fingerprint {
        Fingerprint::of([])
    }

    fn files(folder: &Path) -> Files {
        Files {
            ca: folder.join("ca.crt"),
            issuer_cert: folder.join("issuer.crt"),
            issuer_key: folder.join("issuer.key"),
            jwt_key: folder.join("jwt.key"),
            jwks: folder.join("jwks.json"),
        }
    }

    #[tokio::test]
    async fn files_come_back_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        // One that others may read is replaced by one that they may not.
        fs::write(&files.issuer_key, "old").unwrap();
        fs::set_permissions(&files.issuer_key, fs::Permissions::from_mode(0o644)).unwrap();
        let store = Store::Files(files.clone());
        let empty = store.load(None, SystemTime::now()).await.unwrap();
        assert!(empty.x509.is_none() && empty.jwt.is_none());
        let (x509, jwt) = (bundle(), jwt());
        store.save(&x509, Some(&jwt), &mut known()).await.unwrap();
        let stored = store.load(None, SystemTime::now()).await.unwrap();
        assert_eq!(stored.x509.unwrap().key_pem(), x509.key_pem());
        assert_eq!(stored.jwt.unwrap().jwks, jwt.jwks);
        for entry in fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5, "nothing temporary is left");
    }

    #[tokio::test]
    async fn a_missing_file_means_a_new_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let store = Store::Files(files.clone());
        store.save(&bundle(), None, &mut known()).await.unwrap();
        fs::remove_file(&files.issuer_cert).unwrap();
        assert!(store.load(None, SystemTime::now()).await.unwrap().x509.is_none());
    }

    #[tokio::test]
    async fn files_that_do_not_fit_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let store = Store::Files(files.clone());
        store.save(&bundle(), Some(&jwt()), &mut known()).await.unwrap();
        let refusal = async || store.load(None, SystemTime::now()).await.unwrap_err().to_string();
        fs::write(&files.jwks, "").unwrap();
        assert!(refusal().await.starts_with("failed to verify JWKS: failed to parse JWKS: "));
        fs::write(&files.jwks, r#"{"keys":[]}"#).unwrap();
        assert_eq!(refusal().await, "failed to verify JWKS: JWKS doesn't contain any keys");
        fs::write(&files.jwks, jwt().jwks).unwrap();
        assert!(refusal().await.contains("doesn't contain a matching public key"));
        fs::write(&files.issuer_key, bundle().key_pem()).unwrap();
        assert_eq!(
            refusal().await,
            "failed to verify CA bundle: issuer key does not match issuer certificate"
        );
    }

    #[test]
    fn objects_hold_what_files_would() {
        let files = files(Path::new("/c"));
        let (x509, jwt, now) = (bundle(), jwt(), SystemTime::now());
        let (mut secret, mut config) =
            (json!({"data": null}), json!({"data": {"jwks.json": "old", "x": "y"}}));
        put_secret(&mut secret, &files, &x509, None);
        put_config(&mut config, &files, &x509, None);
        assert_eq!(config["data"], json!({"ca.crt": x509.anchors_pem(), "x": "y"}));
        let read = |secret: &Value, config: &Value| from_objects(secret, config, &files, None, now).unwrap();
        assert!(read(&secret, &config).x509.is_some());
        put_secret(&mut secret, &files, &x509, Some(&jwt));
        put_config(&mut config, &files, &x509, Some(&jwt));
        assert_eq!(config["data"]["jwks.json"], jwt.jwks.as_str());
        assert!(read(&secret, &config).jwt.is_some());
        config["data"]["ca.crt"] = "other".into();
        assert!(read(&secret, &config).x509.is_none(), "published anchors differ");
    }
}
