//! Certificates and keys in PEM, given as text or as the path of a file.

use std::fs;
use std::io;

use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// What a PEM is for; errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    RootCa,
    Certificate,
    PrivateKey,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RootCa => "root CA",
            Self::Certificate => "certificate",
            Self::PrivateKey => "private key",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the {role} from file '{path}': {source}")]
    File { role: Role, path: String, source: io::Error },
    #[error("the {role} ({origin}) is not valid PEM: {reason}")]
    Invalid { role: Role, origin: String, reason: String },
    #[error("the {role} ({origin}) holds no {wanted}")]
    Empty { role: Role, origin: String, wanted: &'static str },
}

/// PEM text with where it came from.
#[derive(Debug)]
struct Source {
    role: Role,
    origin: String,
    text: Vec<u8>,
}

/// Begins every PEM block; what holds none is taken for a path.
const MARKER: &str = "-----BEGIN";

impl Source {
    fn load(role: Role, text_or_path: &str) -> Result<Self, Error> {
        if text_or_path.contains(MARKER) {
            return Ok(Self { role, origin: "inline text".to_owned(), text: text_or_path.into() });
        }
        let path = text_or_path.trim();
        // Text that lost its markers is no path, and may be a key: never echo it.
        if path.is_empty() || path.contains('\n') {
            let reason = format!("it has no '{MARKER}' line, and is no file path either");
            return Err(Error::Invalid { role, origin: "inline text".to_owned(), reason });
        }
        match fs::read(path) {
            Ok(text) => Ok(Self { role, origin: format!("file '{path}'"), text }),
            Err(source) => Err(Error::File { role, path: path.to_owned(), source }),
        }
    }

    fn empty(self, wanted: &'static str) -> Error {
        Error::Empty { role: self.role, origin: self.origin, wanted }
    }

    fn invalid(&self, reason: &PemError) -> Error {
        Error::Invalid { role: self.role, origin: self.origin.clone(), reason: reason.to_string() }
    }
}

/// All certificates of a bundle or chain; at least one.
pub fn certificates(role: Role, text_or_path: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let source = Source::load(role, text_or_path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&source.text).collect();
    let found = found.map_err(|e| source.invalid(&e))?;
    if found.is_empty() { Err(source.empty("CERTIFICATE block")) } else { Ok(found) }
}

/// The first private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
pub fn private_key(text_or_path: &str) -> Result<PrivateKeyDer<'static>, Error> {
    let source = Source::load(Role::PrivateKey, text_or_path)?;
    match PrivateKeyDer::from_pem_slice(&source.text) {
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) => {
            Err(source.empty("unencrypted PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY block"))
        }
        Err(e) => Err(source.invalid(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_role_and_the_origin() {
        let missing = certificates(Role::RootCa, "/nowhere/ca.pem").unwrap_err().to_string();
        assert!(missing.starts_with("cannot read the root CA from file '/nowhere/ca.pem'"), "{missing}");

        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let none = certificates(Role::Certificate, key).unwrap_err().to_string();
        assert_eq!(none, "the certificate (inline text) holds no CERTIFICATE block");

        let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        let broken = certificates(Role::RootCa, broken).unwrap_err().to_string();
        assert!(broken.starts_with("the root CA (inline text) is not valid PEM"), "{broken}");
    }

    #[test]
    fn a_key_without_markers_is_not_echoed() {
        let error = private_key("MC4CAQAw\nBQYDK2Vw\n").unwrap_err().to_string();
        assert!(!error.contains("MC4C"), "{error}");
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let error = private_key(encrypted).unwrap_err().to_string();
        assert!(error.contains("holds no unencrypted PRIVATE KEY"), "{error}");
    }

    #[test]
    fn files_work_like_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        std::fs::write(&path, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(private_key(path.to_str().unwrap()).is_ok());
    }
}
