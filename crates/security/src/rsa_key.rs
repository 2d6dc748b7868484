//! The one place where RSA keys are made: ring signs with them and cannot make
//! any. Private operations of the crate `rsa` happen here and, blinded, in
//! [`crate::keys`], nowhere else; see RUSTSEC-2023-0071 in deny.toml.

use rsa::pkcs8::EncodePrivateKey as _;
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::random::Random;

/// Size of generated keys (control-plane.md §3.3, §4.1).
const BITS: usize = 2048;

/// A fresh key. Takes up to seconds: not for a thread that serves others.
pub(crate) fn generate() -> Result<PrivatePkcs8KeyDer<'static>, String> {
    let key = rsa::RsaPrivateKey::new(&mut Random, BITS).map_err(|e| e.to_string())?;
    let der = key.to_pkcs8_der().map_err(|e| e.to_string())?;
    Ok(PrivatePkcs8KeyDer::from(der.as_bytes().to_vec()))
}
