//! What the authority is shown so that it believes who asks (control-plane.md
//! §4.2).

use std::path::Path;
use std::{fs, io};

use dapr_wire::sentry::v1::sign_certificate_request::TokenValidator;

/// Where the token of Kubernetes is mounted, and where older installations
/// have theirs.
const KUBERNETES_TOKEN: &str = "/var/run/secrets/dapr.io/sentrytoken/token";
const LEGACY_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("environmental variable DAPR_SENTRY_TOKEN_FILE is set with an empty value")]
    EmptyPath,
    #[error("failed to read token at path '{path}': {reason}")]
    Unreadable { path: String, reason: String },
    #[error("token at path '{0}' is empty")]
    EmptyFile(String),
}

/// Where the token comes from. It is read again for each request.
#[derive(Clone, Debug, Default)]
pub struct TokenSource {
    /// `DAPR_SENTRY_TOKEN_FILE` as it is set, even to nothing.
    pub file: Option<String>,
    pub kubernetes: bool,
}

impl TokenSource {
    pub(super) fn read(&self) -> Result<(String, TokenValidator), Error> {
        if let Some(path) = &self.file {
            let validator = if self.kubernetes { TokenValidator::Kubernetes } else { TokenValidator::Jwks };
            return Ok((from_file(path)?, validator));
        }
        if self.kubernetes
            && let Some(token) = mounted(Path::new(KUBERNETES_TOKEN), Path::new(LEGACY_TOKEN))
        {
            return Ok((token, TokenValidator::Kubernetes));
        }
        Ok((String::new(), TokenValidator::Unknown))
    }
}

fn from_file(path: &str) -> Result<String, Error> {
    if path.is_empty() {
        return Err(Error::EmptyPath);
    }
    match fs::read_to_string(path) {
        Ok(token) if token.is_empty() => Err(Error::EmptyFile(path.to_owned())),
        Ok(token) => Ok(token),
        Err(e) => Err(Error::Unreadable { path: path.to_owned(), reason: e.to_string() }),
    }
}

/// The older place counts only where the newer does not exist.
fn mounted(path: &Path, legacy: &Path) -> Option<String> {
    let token = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => fs::read_to_string(legacy),
        other => other,
    };
    token.ok().filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_for_the_jwks_validator_outside_kubernetes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let shown = path.display().to_string();
        let source = |kubernetes| TokenSource { file: Some(shown.clone()), kubernetes };
        assert!(matches!(source(false).read(), Err(Error::Unreadable { .. })));
        fs::write(&path, "").unwrap();
        assert_eq!(source(false).read(), Err(Error::EmptyFile(shown.clone())));
        fs::write(&path, "t").unwrap();
        assert_eq!(source(false).read(), Ok(("t".to_owned(), TokenValidator::Jwks)));
        assert_eq!(source(true).read(), Ok(("t".to_owned(), TokenValidator::Kubernetes)));
    }

    #[test]
    fn a_file_without_name_is_a_mistake_and_no_file_is_no_token() {
        let empty = TokenSource { file: Some(String::new()), kubernetes: false };
        assert_eq!(empty.read(), Err(Error::EmptyPath));
        assert_eq!(TokenSource::default().read(), Ok((String::new(), TokenValidator::Unknown)));
    }

    #[test]
    fn the_older_mount_is_a_last_resort() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        assert_eq!(mounted(&new, &old), None);
        fs::write(&old, "old").unwrap();
        assert_eq!(mounted(&new, &old).as_deref(), Some("old"));
        fs::write(&new, "").unwrap();
        assert_eq!(mounted(&new, &old), None);
        fs::write(&new, "new").unwrap();
        assert_eq!(mounted(&new, &old).as_deref(), Some("new"));
    }
}
