//! Scheme, manifest and MAC: what every document begins with.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use ring::{hkdf, hmac};
use serde_json::Value;

use super::segments::{SEGMENT_SIZE, Segments};
use super::{Cipher, FileKey, KeyAlgorithm, NONCE_PREFIX_LENGTH, SCHEME};
use crate::random;

/// A header is never longer than a segment.
const MAX_LENGTH: usize = SEGMENT_SIZE;
const LINES: usize = 3;

/// Why a document's beginning cannot be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("failed to sign header: header is too long")]
    TooLong,
    #[error("invalid header: invalid format")]
    Format,
    #[error("invalid header: unsupported scheme")]
    Scheme,
    #[error("invalid header: scheme name not found")]
    NoScheme,
    #[error("invalid header: manifest not found")]
    NoManifest,
    #[error("invalid header: message authentication code not found")]
    NoMac,
    /// No more is told: the document may be anybody's.
    #[error("invalid header: invalid manifest")]
    Manifest,
    #[error("failed to decode header's signature")]
    MacEncoding,
    #[error("failed to validate the document's signature")]
    Signature,
}

/// What a new document's header tells.
#[derive(Clone, Copy, Debug)]
pub struct Sealing<'a> {
    /// Name of the key that opens the document; `None` leaves it out.
    pub key_name: Option<&'a str>,
    pub algorithm: KeyAlgorithm,
    /// The file key, wrapped with that algorithm.
    pub wrapped: &'a [u8],
    pub cipher: Cipher,
}

/// The header of a new document, and what seals its body.
pub fn seal(file_key: &FileKey, sealing: &Sealing<'_>) -> Result<(Bytes, Segments), HeaderError> {
    let mut prefix = [0; NONCE_PREFIX_LENGTH];
    random::fill(&mut prefix);
    let name = match sealing.key_name {
        Some(name) if !name.is_empty() => format!("\"k\":{},", Value::from(name)),
        _ => String::new(),
    };
    let signed = format!(
        "{SCHEME}\n{{{name}\"kw\":{},\"wfk\":\"{}\",\"cph\":{},\"np\":\"{}\"}}\n",
        sealing.algorithm.number(),
        STANDARD.encode(sealing.wrapped),
        sealing.cipher.number(),
        STANDARD.encode(prefix),
    );
    let mac = STANDARD.encode(hmac::sign(&mac_key(file_key), signed.as_bytes()));
    let header = Bytes::from(format!("{signed}{mac}\n"));
    if header.len() > MAX_LENGTH {
        return Err(HeaderError::TooLong);
    }
    Ok((header, Segments::seal(file_key, sealing.cipher, prefix)))
}

fn mac_key(file_key: &FileKey) -> hmac::Key {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(file_key.as_bytes());
    let derived = secret.expand(&[b"header"], hmac::HMAC_SHA256);
    hmac::Key::from(derived.expect("32 bytes are no more than HKDF gives"))
}

/// Gathers the header of a document, which may come in any pieces.
#[derive(Debug, Default)]
pub struct HeaderReader {
    buffer: BytesMut,
    /// Where each line that was found ends.
    ends: Vec<usize>,
    scanned: usize,
}

impl HeaderReader {
    /// Takes a piece; `Some` when the header is complete, with what of the
    /// body came with it. Nothing may be pushed after that.
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<(Header, Bytes)>, HeaderError> {
        self.buffer.extend_from_slice(piece);
        let limit = self.buffer.len().min(MAX_LENGTH);
        while self.ends.len() < LINES && self.scanned < limit {
            let Some(offset) = self.buffer[self.scanned..limit].iter().position(|b| *b == b'\n') else {
                self.scanned = limit;
                break;
            };
            self.line(self.scanned + offset)?;
        }
        if self.ends.len() == LINES {
            return self.complete().map(Some);
        }
        if self.buffer.len() >= MAX_LENGTH { Err(self.missing()) } else { Ok(None) }
    }

    /// What the document lacks that ended before its header did.
    pub fn missing(&self) -> HeaderError {
        match self.ends.len() {
            0 => HeaderError::NoScheme,
            1 => HeaderError::NoManifest,
            _ => HeaderError::NoMac,
        }
    }

    fn line(&mut self, end: usize) -> Result<(), HeaderError> {
        let start = self.ends.last().map_or(0, |end| end + 1);
        if end == start {
            return Err(HeaderError::Format);
        }
        if self.ends.is_empty() && self.buffer[..end] != *SCHEME.as_bytes() {
            return Err(HeaderError::Scheme);
        }
        self.ends.push(end);
        self.scanned = end + 1;
        Ok(())
    }

    fn complete(&mut self) -> Result<(Header, Bytes), HeaderError> {
        let mut rest = std::mem::take(&mut self.buffer).freeze();
        let mut head = rest.split_to(self.ends[2] + 1);
        let signed = head.split_to(self.ends[1] + 1);
        let mac = head.slice(..head.len() - 1);
        let manifest = Manifest::parse(&signed[self.ends[0] + 1..]).ok_or(HeaderError::Manifest)?;
        Ok((Header { signed, mac, manifest }, rest))
    }
}

/// A header that was read, but not verified: that takes the file key.
#[derive(Clone, Debug)]
pub struct Header {
    /// The first two lines as they are written: the MAC covers them.
    signed: Bytes,
    mac: Bytes,
    manifest: Manifest,
}

impl Header {
    /// Name of the key that opens the document, if the header tells.
    pub fn key_name(&self) -> Option<&str> {
        Some(self.manifest.key_name.as_str()).filter(|name| !name.is_empty())
    }

    pub fn algorithm(&self) -> KeyAlgorithm {
        self.manifest.algorithm
    }

    pub fn wrapped_file_key(&self) -> &[u8] {
        &self.manifest.wrapped
    }

    /// Verifies the header; what is returned opens the body.
    pub fn open(&self, file_key: &FileKey) -> Result<Segments, HeaderError> {
        let mac = STANDARD.decode(&self.mac).map_err(|_| HeaderError::MacEncoding)?;
        hmac::verify(&mac_key(file_key), &self.signed, &mac).map_err(|_| HeaderError::Signature)?;
        Ok(Segments::open(file_key, self.manifest.cipher, self.manifest.nonce_prefix))
    }
}

#[derive(Clone, Debug)]
struct Manifest {
    key_name: String,
    algorithm: KeyAlgorithm,
    wrapped: Vec<u8>,
    cipher: Cipher,
    nonce_prefix: [u8; NONCE_PREFIX_LENGTH],
}

impl Manifest {
    /// Field names compare without regard to case, as where the scheme comes
    /// from; fields that are not known are passed over.
    fn parse(text: &[u8]) -> Option<Self> {
        let Value::Object(fields) = serde_json::from_slice(text).ok()? else { return None };
        let field = |name: &str| {
            let folded = || fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v);
            fields.get(name).or_else(folded).filter(|v| !v.is_null())
        };
        let bytes = |name| STANDARD.decode(field(name)?.as_str()?).ok();
        let wrapped = bytes("wfk").filter(|w| !w.is_empty())?;
        Some(Self {
            key_name: field("k").map_or(Some(""), Value::as_str)?.to_owned(),
            algorithm: KeyAlgorithm::numbered(field("kw")?.as_u64()?)?,
            wrapped,
            cipher: Cipher::numbered(field("cph")?.as_u64()?)?,
            nonce_prefix: bytes("np")?.try_into().ok()?,
        })
    }
}
