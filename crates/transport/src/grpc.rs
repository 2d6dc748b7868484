//! gRPC message framing on plain HTTP/2 bodies, for the paths where generated
//! code would copy: the sidecar-to-sidecar stream and the transparent proxy.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use prost::Message;

use crate::{Body, BodyError};

/// One flag byte and four length bytes precede a message.
pub const PREFIX: usize = 5;

/// Appends one uncompressed message to `out`.
pub fn put_message(out: &mut BytesMut, message: &impl Message) {
    let len = message.encoded_len();
    out.reserve(PREFIX + len);
    out.put_u8(0);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    message.encode(out).expect("capacity was reserved");
}

/// One framed message.
pub fn frame(message: &impl Message) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + message.encoded_len());
    put_message(&mut out, message);
    out.freeze()
}

/// Memory taken for a message before its bytes are there.
const AHEAD: usize = 1 << 20;

/// Why a stream of messages could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("{0}")]
    Body(#[from] BodyError),
    #[error("message of {size} bytes is larger than the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("compressed messages are not supported on this stream")]
    Compressed,
    #[error("stream ended inside a message")]
    Truncated,
    #[error("cannot decode message: {0}")]
    Decode(#[from] prost::DecodeError),
}

/// Reads framed messages from a body, without copying what arrives whole.
#[derive(Debug)]
pub struct Reader {
    body: Body,
    /// The rest of the frame that came last; the connection's own memory.
    frame: Bytes,
    /// A message of which one frame did not hold all.
    buffer: BytesMut,
    limit: usize,
    trailers: Option<http::HeaderMap>,
    ended: bool,
}

impl Reader {
    /// `limit` is the largest message in bytes; 0 for none.
    pub fn new(body: Body, limit: usize) -> Self {
        Self { body, frame: Bytes::new(), buffer: BytesMut::new(), limit, trailers: None, ended: false }
    }

    /// The next message's bytes; `None` at the regular end.
    pub async fn next_bytes(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(message) = self.take_ready()? {
                return Ok(Some(message));
            }
            if self.ended {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::Truncated) };
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(frame) => match frame?.into_data() {
                    Ok(data) if self.buffer.is_empty() => self.frame = data,
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.ended = true;
                    }
                },
            }
        }
    }

    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        match self.next_bytes().await? {
            None => Ok(None),
            Some(bytes) => Ok(Some(M::decode(bytes)?)),
        }
    }

    /// Trailers, once the end was reached.
    pub fn trailers(&self) -> Option<&http::HeaderMap> {
        self.trailers.as_ref()
    }

    /// A message that is all here.
    fn take_ready(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.buffer.is_empty() {
            if let Some(end) = self.end_of_message(&self.frame)?
                && end <= self.frame.len()
            {
                return Ok(Some(self.frame.split_to(end).slice(PREFIX..)));
            }
            self.buffer.extend_from_slice(&std::mem::take(&mut self.frame));
        }
        match self.end_of_message(&self.buffer)? {
            Some(end) if end <= self.buffer.len() => {
                let mut message = self.buffer.split_to(end).freeze();
                message.advance(PREFIX);
                Ok(Some(message))
            }
            Some(end) => {
                // A length is a claim: without a limit it may be 4 GiB, of which nothing has to follow.
                self.buffer.reserve((end - self.buffer.len()).min(AHEAD));
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Where the message at the beginning of `data` ends; `None` without a
    /// whole prefix.
    fn end_of_message(&self, data: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some((prefix, _)) = data.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        if compressed != 0 {
            return Err(FrameError::Compressed);
        }
        let size = u32::from_be_bytes(length) as usize;
        if self.limit != 0 && size > self.limit {
            return Err(FrameError::TooLarge { size, limit: self.limit });
        }
        Ok(Some(PREFIX + size))
    }
}

/// Status and message of a gRPC answer, from headers or trailers; `None`
/// without a `grpc-status`.
pub fn status_of(headers: &http::HeaderMap) -> Option<(i32, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").map(|v| percent_decode(v.as_bytes())).unwrap_or_default();
    Some((code, message))
}

/// The `grpc-message` encoding: percent for all but printable ASCII.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn percent_decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let hex = tail
            .get(..2)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(parts: Vec<Vec<u8>>) -> Body {
        Body::from_stream(futures::stream::iter(
            parts.into_iter().map(|p| Ok::<_, crate::BoxError>(Bytes::from(p))),
        ))
    }

    #[tokio::test]
    async fn messages_split_anywhere_arrive_whole() {
        let mut wire = BytesMut::new();
        put_message(&mut wire, &"one".to_owned());
        put_message(&mut wire, &"two".to_owned());
        for cut in 0..wire.len() {
            let (a, b) = wire.split_at(cut);
            let mut reader = Reader::new(body(vec![a.to_vec(), b.to_vec()]), 0);
            assert_eq!(reader.next::<String>().await.unwrap().as_deref(), Some("one"));
            assert_eq!(reader.next::<String>().await.unwrap().as_deref(), Some("two"));
            assert_eq!(reader.next::<String>().await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn messages_of_one_frame_are_not_copied() {
        let mut wire = BytesMut::new();
        put_message(&mut wire, &"one".to_owned());
        put_message(&mut wire, &"two".to_owned());
        let wire = wire.freeze();
        let mut reader = Reader::new(Body::from(wire.clone()), 0);
        for _ in 0..2 {
            let message = reader.next_bytes().await.unwrap().unwrap();
            assert!(wire.as_ptr_range().contains(&message.as_ptr()));
        }
    }

    #[tokio::test]
    async fn a_cut_or_oversized_message_is_an_error() {
        let wire = frame(&"hello".to_owned());
        let mut reader = Reader::new(body(vec![wire[..wire.len() - 1].to_vec()]), 0);
        assert!(matches!(reader.next_bytes().await, Err(FrameError::Truncated)));
        let mut reader = Reader::new(body(vec![wire.to_vec()]), 3);
        assert!(matches!(reader.next_bytes().await, Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn grpc_messages_round_trip() {
        let text = "50% über\n";
        assert_eq!(percent_decode(percent_encode(text).as_bytes()), text);
        assert_eq!(percent_decode(b"%zz%4"), "%zz%4");
    }
}
