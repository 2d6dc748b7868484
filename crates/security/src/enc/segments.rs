//! The body of a document: each segment sealed with its number, the last one
//! marked as such.

use bytes::{Bytes, BytesMut};
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;

use super::{Cipher, FileKey, NONCE_PREFIX_LENGTH};

/// Length of a segment before it is sealed; only the last may be shorter.
pub const SEGMENT_SIZE: usize = 64 * 1024;
const TAG_LENGTH: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    #[error("error processing segment {0}: failed to decrypt segment")]
    Decrypt(u32),
    #[error("input stream is too large")]
    TooLarge,
    #[error("the document was read to its end already")]
    Ended,
}

/// Seals or opens a body as it comes. Holds one segment at the most.
pub struct Segments {
    key: LessSafeKey,
    nonce_prefix: [u8; NONCE_PREFIX_LENGTH],
    sealing: bool,
    /// Length of a whole segment of the input.
    size: usize,
    /// Number of the next segment; `None` after the last.
    number: Option<u32>,
    buffer: BytesMut,
}

impl Segments {
    pub(super) fn seal(file_key: &FileKey, cipher: Cipher, prefix: [u8; NONCE_PREFIX_LENGTH]) -> Self {
        Self::new(file_key, cipher, prefix, true, SEGMENT_SIZE)
    }

    pub(super) fn open(file_key: &FileKey, cipher: Cipher, prefix: [u8; NONCE_PREFIX_LENGTH]) -> Self {
        Self::new(file_key, cipher, prefix, false, SEGMENT_SIZE + TAG_LENGTH)
    }

    fn new(
        file_key: &FileKey,
        cipher: Cipher,
        nonce_prefix: [u8; NONCE_PREFIX_LENGTH],
        sealing: bool,
        size: usize,
    ) -> Self {
        let algorithm = match cipher {
            Cipher::AesGcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &nonce_prefix).extract(file_key.as_bytes());
        let derived = secret.expand(&[b"payload"], algorithm).expect("32 bytes are no more than HKDF gives");
        let key = LessSafeKey::new(UnboundKey::from(derived));
        Self { key, nonce_prefix, sealing, size, number: Some(0), buffer: BytesMut::new() }
    }

    /// Takes from `input` until a segment is ready or nothing is left: `None`
    /// asks for more. A segment waits for the byte after it, because the last
    /// one is sealed differently.
    pub fn push(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, SegmentError> {
        loop {
            if input.is_empty() {
                return Ok(None);
            }
            if self.buffer.len() == self.size {
                return self.segment(false).map(Some);
            }
            let wanted = self.size - self.buffer.len();
            let piece = input.split_to(wanted.min(input.len()));
            self.buffer.reserve(piece.len() + if self.sealing { TAG_LENGTH } else { 0 });
            self.buffer.extend_from_slice(&piece);
        }
    }

    /// The last segment; `None` for a body without a byte.
    pub fn finish(&mut self) -> Result<Option<Bytes>, SegmentError> {
        if self.buffer.is_empty() {
            self.number = None;
            return Ok(None);
        }
        self.segment(true).map(Some)
    }

    fn segment(&mut self, last: bool) -> Result<Bytes, SegmentError> {
        let number = self.number.ok_or(SegmentError::Ended)?;
        let next = if last { None } else { Some(number.checked_add(1).ok_or(SegmentError::TooLarge)?) };
        let mut data = std::mem::take(&mut self.buffer);
        let nonce = self.nonce(number, last);
        if self.sealing {
            let sealed = self.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut data);
            sealed.expect("a segment is far below what the ciphers can take");
        } else {
            let opened = self.key.open_in_place(nonce, Aad::empty(), &mut data);
            let length = opened.map_err(|_| SegmentError::Decrypt(number))?.len();
            data.truncate(length);
        }
        self.number = next;
        Ok(data.freeze())
    }

    fn nonce(&self, number: u32, last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..NONCE_PREFIX_LENGTH].copy_from_slice(&self.nonce_prefix);
        nonce[NONCE_PREFIX_LENGTH..NONCE_LEN - 1].copy_from_slice(&number.to_be_bytes());
        nonce[NONCE_LEN - 1] = u8::from(last);
        Nonce::assume_unique_for_key(nonce)
    }
}
