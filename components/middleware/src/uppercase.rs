//! `middleware.http.uppercase`: upper-cases bodies; made for tests.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::middleware::{Answer, HttpMiddleware, Next};
use dapr_components::{InitContext, InitError};
use dapr_transport::{Body, BodyError};
use http::Request;
use http::header::CONTENT_LENGTH;
use http_body::{Body as HttpBody, Frame};

pub struct Uppercase {
    request: bool,
    response: bool,
}

impl Uppercase {
    /// Any `direction` but `response` and `both` means `request`.
    pub fn new(context: &InitContext) -> Result<Self, InitError> {
        let direction = context.properties.get_exact("direction").unwrap_or_default().to_lowercase();
        Ok(Self { request: direction != "response", response: matches!(&*direction, "response" | "both") })
    }
}

#[async_trait]
impl HttpMiddleware for Uppercase {
    async fn handle(&self, mut request: Request<Body>, next: Next<'_>) -> Answer {
        if self.request {
            // Upper case may be longer or shorter.
            request.headers_mut().remove(CONTENT_LENGTH);
            request = request.map(upper);
        }
        let mut response = next.run(request).await?;
        if self.response {
            response.headers_mut().remove(CONTENT_LENGTH);
            response = response.map(upper);
        }
        Ok(response)
    }
}

/// A body that is here is mapped at once and keeps a known length.
fn upper(body: Body) -> Body {
    if let Some(all) = body.as_full() {
        let mut text = Letters::default();
        let mut out = text.map(all);
        out.extend(text.finish());
        return Body::from(out);
    }
    if HttpBody::is_end_stream(&body) {
        return body;
    }
    Body::boxed(Upper { body, letters: Letters::default() })
}

struct Upper {
    body: Body,
    letters: Letters,
}

impl HttpBody for Upper {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?) else {
                let rest = self.letters.finish();
                return Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest.into()))));
            };
            match frame.into_data() {
                Ok(data) => {
                    let out = self.letters.map(&data);
                    if !out.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(out.into()))));
                    }
                }
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }
}

/// Letters across the borders of chunks.
#[derive(Default)]
struct Letters {
    /// The beginning of a letter whose rest is still to come.
    begun: Vec<u8>,
}

impl Letters {
    fn map(&mut self, data: &[u8]) -> Vec<u8> {
        let joined;
        let mut data = if self.begun.is_empty() {
            data
        } else {
            joined = [std::mem::take(&mut self.begun).as_slice(), data].concat();
            joined.as_slice()
        };
        let mut out = Vec::with_capacity(data.len());
        loop {
            match std::str::from_utf8(data) {
                Ok(text) => {
                    push_upper(&mut out, text);
                    return out;
                }
                Err(error) => {
                    let (valid, rest) = data.split_at(error.valid_up_to());
                    push_upper(&mut out, std::str::from_utf8(valid).unwrap_or_default());
                    if error.error_len().is_none() {
                        self.begun = rest.to_vec();
                        return out;
                    }
                    // Go takes one byte at a time for an error.
                    out.extend_from_slice("\u{fffd}".as_bytes());
                    data = &rest[1..];
                }
            }
        }
    }

    /// What is left when nothing more comes.
    fn finish(&mut self) -> Vec<u8> {
        "\u{fffd}".repeat(std::mem::take(&mut self.begun).len()).into_bytes()
    }
}

fn push_upper(out: &mut Vec<u8>, text: &str) {
    let mut buffer = [0; 4];
    for letter in text.chars() {
        let mut upper = letter.to_uppercase();
        // Go maps one letter to one letter and leaves the others alone.
        let mapped = match (upper.next(), upper.next()) {
            (Some(one), None) => one,
            _ => letter,
        };
        out.extend_from_slice(mapped.encode_utf8(&mut buffer).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{End, context, get, send, text};

    async fn through(direction: &str, body: &'static str) -> String {
        let middleware = Uppercase::new(&context(&[("direction", direction)])).unwrap();
        let request = get("/").map(|_| Body::from(body));
        text(send(middleware, &End::default(), request).await).await
    }

    #[tokio::test]
    async fn every_direction_changes_the_echo() {
        for direction in ["", "request", "response", "BOTH", "other"] {
            assert_eq!(through(direction, "straße Ünï").await, "STRAßE ÜNÏ", "{direction}");
        }
    }

    #[test]
    fn the_direction_decides_which_body() {
        let made = |d| Uppercase::new(&context(&[("direction", d)])).unwrap();
        assert!(made("request").request && !made("request").response);
        assert!(!made("Response").request && made("Response").response);
        assert!(made("both").request && made("both").response);
    }

    #[test]
    fn letters_may_be_split_between_chunks() {
        let mut letters = Letters::default();
        let bytes = "aé€b".as_bytes();
        let mut out = Vec::new();
        for byte in bytes {
            out.extend(letters.map(&[*byte]));
        }
        out.extend(letters.finish());
        assert_eq!(String::from_utf8(out).unwrap(), "AÉ€B");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut letters = Letters::default();
        let mut out = letters.map(b"a\xff\xfeb\xe2\x82");
        out.extend(letters.finish());
        assert_eq!(String::from_utf8(out).unwrap(), "A\u{fffd}\u{fffd}B\u{fffd}\u{fffd}");
    }

    #[tokio::test]
    async fn a_stream_stays_a_stream() {
        let chunks: Vec<Result<Bytes, BodyError>> = vec![Ok("ab".into()), Ok("c".into())];
        let body = upper(Body::from_stream(futures::stream::iter(chunks)));
        assert_eq!(body.length(), None);
        assert_eq!(body.collect().await.unwrap(), "ABC");
    }
}
