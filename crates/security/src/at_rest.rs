//! Values encrypted at rest in state stores: AES-GCM under a named key
//! (api.md §8). A sealed value is `base64(nonce ciphertext tag)||key name`.

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::random;

const SEPARATOR: &[u8] = b"||";
const NONCE_LENGTH: usize = 12;
const TAG_LENGTH: usize = 16;

type Gcm128 = AesGcm<Aes128, U12>;
type Gcm192 = AesGcm<Aes192, U12>;
type Gcm256 = AesGcm<Aes256, U12>;

#[derive(Clone)]
enum Cipher {
    Aes128(Box<Gcm128>),
    Aes192(Box<Gcm192>),
    Aes256(Box<Gcm256>),
}

/// A key and the name that values sealed with it end in.
#[derive(Clone)]
pub struct NamedKey {
    name: String,
    cipher: Cipher,
}

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("encryption key '{0}' is not hexadecimal")]
    NotHex(String),
    #[error("encryption key '{name}' has {length} bytes; AES keys have 16, 24 or 32")]
    Length { name: String, length: usize },
}

/// Why a stored value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("encryption key name not found on record")]
    NoKeyName,
    #[error("the record was encrypted with key '{0}', which is neither the primary nor the secondary key")]
    UnknownKey(String),
    #[error("the record is not base64")]
    Encoding,
    #[error(
        "message authentication failed: the record was changed, or encrypted with another key of that name"
    )]
    Authentication,
}

impl NamedKey {
    /// `hex` holds 16, 24 or 32 bytes.
    pub fn new(name: &str, hex: &str) -> Result<Self, KeyError> {
        let bytes = from_hex(hex).ok_or_else(|| KeyError::NotHex(name.to_owned()))?;
        let length = KeyError::Length { name: name.to_owned(), length: bytes.len() };
        let cipher = match bytes.len() {
            16 => Gcm128::new_from_slice(&bytes).map(|c| Cipher::Aes128(Box::new(c))),
            24 => Gcm192::new_from_slice(&bytes).map(|c| Cipher::Aes192(Box::new(c))),
            _ => Gcm256::new_from_slice(&bytes).map(|c| Cipher::Aes256(Box::new(c))),
        };
        Ok(Self { name: name.to_owned(), cipher: cipher.map_err(|_| length)? })
    }

    fn seal(&self, data: &mut [u8], nonce: [u8; NONCE_LENGTH]) -> [u8; TAG_LENGTH] {
        let (nonce, data) = (Nonce::<Gcm256>::from(nonce), InOutBuf::from(data));
        let tag = match &self.cipher {
            Cipher::Aes128(c) => c.encrypt_inout_detached(&nonce, &[], data),
            Cipher::Aes192(c) => c.encrypt_inout_detached(&nonce, &[], data),
            Cipher::Aes256(c) => c.encrypt_inout_detached(&nonce, &[], data),
        };
        tag.expect("values are far below the 64 GiB that GCM can take").into()
    }

    fn open(
        &self,
        data: &mut [u8],
        nonce: [u8; NONCE_LENGTH],
        tag: [u8; TAG_LENGTH],
    ) -> Result<(), OpenError> {
        let (nonce, tag) = (Nonce::<Gcm256>::from(nonce), Tag::<Gcm256>::from(tag));
        let data = InOutBuf::from(data);
        let opened = match &self.cipher {
            Cipher::Aes128(c) => c.decrypt_inout_detached(&nonce, &[], data, &tag),
            Cipher::Aes192(c) => c.decrypt_inout_detached(&nonce, &[], data, &tag),
            Cipher::Aes256(c) => c.decrypt_inout_detached(&nonce, &[], data, &tag),
        };
        opened.map_err(|_| OpenError::Authentication)
    }
}

/// The keys of one store: the first seals and opens, the second only opens.
#[derive(Clone)]
pub struct Keys {
    pub primary: NamedKey,
    pub secondary: Option<NamedKey>,
}

impl Keys {
    /// The text to store.
    pub fn seal(&self, value: &[u8]) -> Bytes {
        let mut sealed = Vec::with_capacity(NONCE_LENGTH + value.len() + TAG_LENGTH);
        let mut nonce = [0; NONCE_LENGTH];
        random::fill(&mut nonce);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value);
        let tag = self.primary.seal(&mut sealed[NONCE_LENGTH..], nonce);
        sealed.extend_from_slice(&tag);
        let mut text = STANDARD.encode(sealed).into_bytes();
        text.extend_from_slice(SEPARATOR);
        text.extend_from_slice(self.primary.name.as_bytes());
        Bytes::from(text)
    }

    /// The value that was sealed; nothing opens as nothing.
    pub fn open(&self, stored: &[u8]) -> Result<Bytes, OpenError> {
        if stored.is_empty() {
            return Ok(Bytes::new());
        }
        let split =
            stored.windows(SEPARATOR.len()).rposition(|w| w == SEPARATOR).ok_or(OpenError::NoKeyName)?;
        let name = &stored[split + SEPARATOR.len()..];
        if name.is_empty() {
            return Err(OpenError::NoKeyName);
        }
        let key = std::iter::once(&self.primary)
            .chain(&self.secondary)
            .find(|key| key.name.as_bytes() == name)
            .ok_or_else(|| OpenError::UnknownKey(String::from_utf8_lossy(name).into_owned()))?;
        let mut sealed = STANDARD.decode(&stored[..split]).map_err(|_| OpenError::Encoding)?;
        let (Some(nonce), Some(tag)) =
            (sealed.first_chunk::<NONCE_LENGTH>().copied(), sealed.last_chunk::<TAG_LENGTH>().copied())
        else {
            return Err(OpenError::Authentication);
        };
        let end = sealed.len() - TAG_LENGTH;
        let data = sealed.get_mut(NONCE_LENGTH..end).ok_or(OpenError::Authentication)?;
        key.open(data, nonce, tag)?;
        Ok(Bytes::from(sealed).slice(NONCE_LENGTH..end))
    }
}

fn from_hex(text: &str) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let bytes: Option<Vec<u8>> =
        digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    bytes.map(zeroize::Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(primary: (&str, usize), secondary: Option<(&str, usize)>) -> Keys {
        let key = |(name, length): (&str, usize)| NamedKey::new(name, &"0f".repeat(length)).unwrap();
        Keys { primary: key(primary), secondary: secondary.map(key) }
    }

    #[test]
    fn values_open_with_the_key_that_their_end_names() {
        for length in [16, 24, 32] {
            let old = keys(("old", length), None);
            let sealed = old.seal(b"value");
            assert!(sealed.ends_with(b"||old"), "{sealed:?}");
            assert_ne!(sealed, old.seal(b"value"), "nonces differ");
            let both = keys(("new", 32), Some(("old", length)));
            assert_eq!(both.open(&sealed).unwrap(), "value");
            assert_eq!(keys(("new", 32), None).open(&sealed), Err(OpenError::UnknownKey("old".to_owned())));
        }
    }

    #[test]
    fn what_was_not_sealed_is_refused() {
        let keys = keys(("k", 16), None);
        assert_eq!(keys.open(b"").unwrap(), "");
        assert_eq!(keys.open(b"plain"), Err(OpenError::NoKeyName));
        assert_eq!(keys.open(b"plain||"), Err(OpenError::NoKeyName));
        assert_eq!(keys.open(b"%%||k"), Err(OpenError::Encoding));
        for short in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="] {
            assert_eq!(
                keys.open(format!("{short}||k").as_bytes()),
                Err(OpenError::Authentication),
                "{short}"
            );
        }
        let mut changed = keys.seal(b"value").to_vec();
        changed[3] ^= 1;
        assert_eq!(keys.open(&changed), Err(OpenError::Authentication));
    }

    #[test]
    fn keys_are_hexadecimal_and_of_an_aes_length() {
        assert_eq!(NamedKey::new("k", "zz").err(), Some(KeyError::NotHex("k".to_owned())));
        assert_eq!(NamedKey::new("k", "abc").err(), Some(KeyError::NotHex("k".to_owned())));
        let length = KeyError::Length { name: "k".to_owned(), length: 1 };
        assert_eq!(NamedKey::new("k", "ab").err(), Some(length));
    }
}
