//! The encryption scheme `dapr.io/enc/v1` for documents of any size
//! (api.md §2.7): a header of three lines, then segments of 64 KiB, each
//! sealed on its own. No input or output here: bytes are handed in and taken
//! out as they come.
//!
//! A random file key seals the document and is itself wrapped by a key that
//! stays with its holder, so a document is made in two steps, and read in two:
//! [`FileKey::random`], wrapped by the caller, then [`seal`]; [`HeaderReader`],
//! unwrapped by the caller, then [`Header::open`].

mod header;
mod segments;
#[cfg(test)]
mod tests;

use zeroize::Zeroizing;

pub use header::{Header, HeaderError, HeaderReader, Sealing, seal};
pub use segments::{SEGMENT_SIZE, SegmentError, Segments};

/// First line of every document.
pub const SCHEME: &str = "dapr.io/enc/v1";
/// Length of a file key.
pub const FILE_KEY_LENGTH: usize = 32;
const NONCE_PREFIX_LENGTH: usize = 7;

/// How the file key is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    A256Kw,
    A128CbcNoPad,
    A192CbcNoPad,
    A256CbcNoPad,
    RsaOaep256,
}

impl KeyAlgorithm {
    const ALL: [(Self, u64, &'static str); 5] = [
        (Self::A256Kw, 1, "A256KW"),
        (Self::A128CbcNoPad, 2, "A128CBC-NOPAD"),
        (Self::A192CbcNoPad, 3, "A192CBC-NOPAD"),
        (Self::A256CbcNoPad, 4, "A256CBC-NOPAD"),
        (Self::RsaOaep256, 5, "RSA-OAEP-256"),
    ];

    /// `AES` and `RSA` are short names. Upper case only.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "AES" => Some(Self::A256Kw),
            "RSA" => Some(Self::RsaOaep256),
            _ => Self::ALL.iter().find(|(_, _, known)| *known == name).map(|(algorithm, ..)| *algorithm),
        }
    }

    fn numbered(number: u64) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == number).map(|(algorithm, ..)| *algorithm)
    }

    fn entry(self) -> (Self, u64, &'static str) {
        *Self::ALL.iter().find(|(known, ..)| *known == self).expect("the table has every algorithm")
    }

    pub fn name(self) -> &'static str {
        self.entry().2
    }

    fn number(self) -> u64 {
        self.entry().1
    }
}

/// What seals the segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cipher {
    #[default]
    AesGcm,
    ChaCha20Poly1305,
}

impl Cipher {
    /// Upper case only.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "AES-GCM" => Some(Self::AesGcm),
            "CHACHA20-POLY1305" => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    fn numbered(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::AesGcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    fn number(self) -> u64 {
        match self {
            Self::AesGcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }
}

/// The key of one document.
#[derive(Clone)]
pub struct FileKey(Zeroizing<[u8; FILE_KEY_LENGTH]>);

impl FileKey {
    pub fn random() -> Self {
        let mut key = Zeroizing::new([0; FILE_KEY_LENGTH]);
        crate::random::fill(&mut *key);
        Self(key)
    }

    /// `None` when the length is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    /// A key that opens nothing: stands for one that could not be unwrapped,
    /// so that the failure shows at the same place as a wrong key's.
    pub fn unusable() -> Self {
        Self(Zeroizing::new([0; FILE_KEY_LENGTH]))
    }

    /// For wrapping.
    pub fn as_bytes(&self) -> &[u8] {
        &*self.0
    }
}
