//! Documents on their way through: a piece in, a segment out.

use bytes::Bytes;
use dapr_errors::{ApiError, crypto as errors};
use dapr_security::enc::{HeaderReader, Segments};
use futures::{Stream, StreamExt};

use super::service::{Encryption, Provider};

/// Why a document cannot be processed.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// Before the first byte was given out: options, keys, header.
    #[error("{0}")]
    Start(String),
    /// Later: the input ended or a segment is bad.
    #[error("{0}")]
    Stream(String),
}

impl CryptoError {
    /// Both kinds in one form, as gRPC shows them.
    pub fn into_operation(self) -> ApiError {
        errors::operation_failed(self)
    }

    /// In the two forms of HTTP.
    pub fn into_api(self) -> ApiError {
        match self {
            Self::Start(_) => errors::operation_failed(self),
            Self::Stream(reason) => errors::stream_failed(reason),
        }
    }
}

/// A document that is being processed. Holds one segment and one piece of the
/// input at the most.
pub struct Processed<S> {
    input: S,
    piece: Bytes,
    /// Given out before the segments.
    header: Option<Bytes>,
    segments: Segments,
    ended: bool,
}

impl<S> Processed<S>
where
    S: Stream<Item = Result<Bytes, String>> + Unpin,
{
    /// Begins to encrypt what `input` brings.
    pub async fn encrypt(provider: &Provider, how: &Encryption, input: S) -> Result<Self, CryptoError> {
        let (header, segments) = provider.seal(how).await.map_err(CryptoError::Start)?;
        Ok(Self { input, piece: Bytes::new(), header: Some(header), segments, ended: false })
    }

    /// Begins to decrypt what `input` brings; reads it as far as its header
    /// goes. `key_name` may be empty.
    pub async fn decrypt(provider: &Provider, key_name: &str, mut input: S) -> Result<Self, CryptoError> {
        let mut reader = HeaderReader::default();
        let start = |error: &dyn std::fmt::Display| CryptoError::Start(error.to_string());
        let (header, piece) = loop {
            match input.next().await {
                Some(Ok(piece)) => {
                    if let Some(found) = reader.push(&piece).map_err(|e| start(&e))? {
                        break found;
                    }
                }
                Some(Err(reason)) => return Err(CryptoError::Start(reason)),
                None => return Err(start(&reader.missing())),
            }
        };
        let segments = provider.open(&header, key_name).await.map_err(CryptoError::Start)?;
        Ok(Self { input, piece, header: None, segments, ended: false })
    }

    /// The next bytes of the result; `None` at its end and after an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, CryptoError>> {
        if let Some(header) = self.header.take() {
            return Some(Ok(header));
        }
        if self.ended {
            return None;
        }
        let outcome = self.advance().await;
        self.ended |= !matches!(outcome, Some(Ok(_)));
        outcome
    }

    async fn advance(&mut self) -> Option<Result<Bytes, CryptoError>> {
        let failed = |reason: String| Some(Err(CryptoError::Stream(reason)));
        loop {
            match self.segments.push(&mut self.piece) {
                Ok(Some(segment)) => return Some(Ok(segment)),
                Ok(None) => {}
                Err(error) => return failed(error.to_string()),
            }
            match self.input.next().await {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(reason)) => return failed(reason),
                None => {
                    self.ended = true;
                    return match self.segments.finish() {
                        Ok(last) => last.map(Ok),
                        Err(error) => failed(error.to_string()),
                    };
                }
            }
        }
    }
}
