//! The three parts of an authority, as PEM, wherever they are kept.

use std::time::SystemTime;

use dapr_security::ca::{Bundle, Certificate};

/// Names of the files, and of the keys of the Secret (control-plane.md §3.3).
pub(super) const ROOT: &str = "ca.crt";
pub(super) const ISSUER: &str = "issuer.crt";
pub(super) const KEY: &str = "issuer.key";

#[derive(Clone, Debug)]
pub(super) struct Material {
    pub roots: Vec<u8>,
    pub issuer: Vec<u8>,
    /// Private.
    pub key: Vec<u8>,
}

impl Material {
    pub fn of(bundle: &Bundle) -> Self {
        Self {
            roots: bundle.anchors_pem().into(),
            issuer: bundle.chain_pem().into(),
            key: bundle.key_pem().into(),
        }
    }

    /// The parts under their names.
    pub fn parts(&self) -> [(&'static str, &[u8]); 3] {
        // The root last: an authority that misses it makes everything anew, but
        // never takes one half of each for its own.
        [(KEY, &self.key), (ISSUER, &self.issuer), (ROOT, &self.roots)]
    }

    /// That an authority would take it.
    pub fn verified(&self, now: SystemTime) -> Result<Bundle, String> {
        Bundle::verify(&self.roots, &self.issuer, &self.key, now).map_err(|e| e.to_string())
    }

    /// When the first root ends: the one in use, if there are several.
    pub fn root_end(&self) -> Result<SystemTime, String> {
        let roots = Certificate::all_from_pem(&self.roots).map_err(|e| e.to_string())?;
        Ok(roots[0].not_after())
    }
}
