//! Reading a response body up to a limit, unpacking gzip on the way.

use std::io::Write;

use bytes::{Bytes, BytesMut};
use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// What is still read after the limit so that the connection can be used
/// again; beyond, it is closed.
const DRAIN_LIMIT: usize = 256 * 1024;
/// Most that is reserved ahead on a server's word.
const MAX_RESERVE: usize = 8 * 1024 * 1024;

/// At most `limit` bytes of `body`; the rest is left out.
pub(crate) async fn read(body: Incoming, gzip: bool, limit: Option<usize>) -> Result<Bytes, String> {
    let limit = limit.unwrap_or(usize::MAX);
    if gzip { read_gzip(body, limit).await } else { read_plain(body, limit).await }
}

async fn read_plain(mut body: Incoming, limit: usize) -> Result<Bytes, String> {
    let announced = hyper::body::Body::size_hint(&body).exact().and_then(|n| usize::try_from(n).ok());
    let mut all = BytesMut::new();
    while let Some(mut data) = next(&mut body).await? {
        data.truncate(limit - all.len());
        if all.is_empty() {
            if announced == Some(data.len()) {
                return Ok(data);
            }
            all.reserve(announced.unwrap_or(0).min(limit).min(MAX_RESERVE));
        }
        all.extend_from_slice(&data);
        if all.len() == limit {
            drain(body).await;
            break;
        }
    }
    Ok(all.freeze())
}

async fn read_gzip(mut body: Incoming, limit: usize) -> Result<Bytes, String> {
    let mut decoder = MultiGzDecoder::new(Capped { data: BytesMut::new(), limit });
    while let Some(data) = next(&mut body).await? {
        decoder.write_all(&data).map_err(|e| format!("gzip: {e}"))?;
        if decoder.get_ref().data.len() == limit {
            let data = std::mem::take(&mut decoder.get_mut().data);
            drain(body).await;
            return Ok(data.freeze());
        }
    }
    // Also flushes what the decoder still held.
    decoder.try_finish().map_err(|e| format!("gzip: {e}"))?;
    Ok(std::mem::take(&mut decoder.get_mut().data).freeze())
}

/// Takes everything, keeps what fits.
struct Capped {
    data: BytesMut,
    limit: usize,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let fits = bytes.len().min(self.limit - self.data.len());
        self.data.extend_from_slice(&bytes[..fits]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(format!("failed to read the response body: {error}")),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn drain(mut body: Incoming) {
    let mut left = DRAIN_LIMIT;
    while let Ok(Some(data)) = next(&mut body).await {
        match left.checked_sub(data.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
