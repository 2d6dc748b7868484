//! Wrapping one key with another: AES key wrap (RFC 3394) and RSA-OAEP.

use aes_gcm::aes::cipher::KeyInit;
use aes_kw::{KwAes128, KwAes192, KwAes256};
use rsa::sha2::{Sha256, Sha384, Sha512};
use rsa::traits::PaddingScheme;
use rsa::{Oaep, RsaPublicKey};
use zeroize::Zeroizing;

use super::{Key, Material, WrapError};
use crate::random::Random;

/// What AES key wrap adds to a key.
const KW_OVERHEAD: usize = 8;

/// The algorithms that keys are wrapped with here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    A128Kw,
    A192Kw,
    A256Kw,
    RsaOaep256,
    RsaOaep384,
    RsaOaep512,
}

impl Algorithm {
    /// As JWA spells it (RFC 7518 §4.1).
    fn named(name: &str) -> Result<Self, WrapError> {
        Ok(match name {
            "A128KW" => Self::A128Kw,
            "A192KW" => Self::A192Kw,
            "A256KW" => Self::A256Kw,
            "RSA-OAEP-256" => Self::RsaOaep256,
            "RSA-OAEP-384" => Self::RsaOaep384,
            "RSA-OAEP-512" => Self::RsaOaep512,
            _ => return Err(WrapError::UnsupportedAlgorithm),
        })
    }
}

impl Key {
    /// Wraps `plain`. `algorithm` is a name of RFC 7518.
    pub fn wrap(&self, plain: &[u8], algorithm: &str) -> Result<Vec<u8>, WrapError> {
        match Algorithm::named(algorithm)? {
            Algorithm::A128Kw => kw::<KwAes128>(self, plain),
            Algorithm::A192Kw => kw::<KwAes192>(self, plain),
            Algorithm::A256Kw => kw::<KwAes256>(self, plain),
            Algorithm::RsaOaep256 => self.rsa_encrypt(plain, Oaep::<Sha256>::new()),
            Algorithm::RsaOaep384 => self.rsa_encrypt(plain, Oaep::<Sha384>::new()),
            Algorithm::RsaOaep512 => self.rsa_encrypt(plain, Oaep::<Sha512>::new()),
        }
    }

    /// Takes the wrapping off.
    pub fn unwrap(&self, wrapped: &[u8], algorithm: &str) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        match Algorithm::named(algorithm)? {
            Algorithm::A128Kw => un_kw::<KwAes128>(self, wrapped),
            Algorithm::A192Kw => un_kw::<KwAes192>(self, wrapped),
            Algorithm::A256Kw => un_kw::<KwAes256>(self, wrapped),
            Algorithm::RsaOaep256 => self.rsa_decrypt(wrapped, Oaep::<Sha256>::new()),
            Algorithm::RsaOaep384 => self.rsa_decrypt(wrapped, Oaep::<Sha384>::new()),
            Algorithm::RsaOaep512 => self.rsa_decrypt(wrapped, Oaep::<Sha512>::new()),
        }
    }

    fn rsa_encrypt(&self, plain: &[u8], padding: impl PaddingScheme) -> Result<Vec<u8>, WrapError> {
        let public: &RsaPublicKey = match &self.material {
            Material::RsaPublic(key) => key,
            Material::RsaPrivate(key) => key.as_public_key(),
            Material::Symmetric(_) | Material::Curve => return Err(WrapError::KeyTypeMismatch),
        };
        public.encrypt(&mut Random, padding, plain).map_err(|_| WrapError::Rsa)
    }

    /// Blinded, so that the time taken tells nothing about the key.
    fn rsa_decrypt(
        &self,
        wrapped: &[u8],
        padding: impl PaddingScheme,
    ) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let Material::RsaPrivate(key) = &self.material else { return Err(WrapError::KeyTypeMismatch) };
        key.decrypt_blinded(&mut Random, padding, wrapped).map(Zeroizing::new).map_err(|_| WrapError::Rsa)
    }

    fn symmetric(&self) -> Result<&[u8], WrapError> {
        match &self.material {
            Material::Symmetric(bytes) => Ok(bytes),
            _ => Err(WrapError::KeyTypeMismatch),
        }
    }
}

/// The three key lengths of AES key wrap.
trait KeyWrap: KeyInit {
    fn wrap_into(&self, plain: &[u8], buffer: &mut [u8]) -> bool;
    fn unwrap_into(&self, wrapped: &[u8], buffer: &mut [u8]) -> bool;
}

macro_rules! key_wrap {
    ($($name:ty),*) => {$(
        impl KeyWrap for $name {
            fn wrap_into(&self, plain: &[u8], buffer: &mut [u8]) -> bool {
                self.wrap_key(plain, buffer).is_ok()
            }

            fn unwrap_into(&self, wrapped: &[u8], buffer: &mut [u8]) -> bool {
                self.unwrap_key(wrapped, buffer).is_ok()
            }
        }
    )*};
}

key_wrap!(KwAes128, KwAes192, KwAes256);

fn kw<W: KeyWrap>(key: &Key, plain: &[u8]) -> Result<Vec<u8>, WrapError> {
    let wrap = W::new_from_slice(key.symmetric()?).map_err(|_| WrapError::KeyTypeMismatch)?;
    if plain.is_empty() || !plain.len().is_multiple_of(8) {
        return Err(WrapError::Length);
    }
    let mut out = vec![0; plain.len() + KW_OVERHEAD];
    if wrap.wrap_into(plain, &mut out) { Ok(out) } else { Err(WrapError::Length) }
}

fn un_kw<W: KeyWrap>(key: &Key, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
    let wrap = W::new_from_slice(key.symmetric()?).map_err(|_| WrapError::KeyTypeMismatch)?;
    // Two blocks of a key at the least, and the check value.
    if wrapped.len() < 3 * KW_OVERHEAD || !wrapped.len().is_multiple_of(8) {
        return Err(WrapError::Length);
    }
    let mut out = Zeroizing::new(vec![0; wrapped.len() - KW_OVERHEAD]);
    if wrap.unwrap_into(wrapped, &mut out) { Ok(out) } else { Err(WrapError::Integrity) }
}
