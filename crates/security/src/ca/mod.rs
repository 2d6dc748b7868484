//! Making certificates and tokens: what a certificate authority needs from
//! cryptography (control-plane.md §3.3 to §3.5).
//!
//! Who may have which certificate is decided elsewhere; here a key becomes a
//! signature, a request a public key, a set of files a checked [`Bundle`]. No
//! file is read or written, and the time is always given.

mod algorithm;
mod bundle;
mod certificate;
mod csr;
pub mod jwk;
pub mod jwt;
mod key;
mod public_key;
mod serving;
#[cfg(test)]
mod tests;

pub use algorithm::{JwsAlgorithm, KeyKind};
pub use bundle::{Bundle, BundleError, CA_TTL, Issued, WorkloadRequest};
pub use certificate::{Certificate, CertificateError};
pub use csr::{CsrError, public_key_of as csr_public_key};
pub use key::{KeyError, SigningKey, random_hex};
pub use public_key::PublicKey;
pub use serving::{Serving, ServingError};
