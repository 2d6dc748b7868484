//! Cryptography over HTTP (api.md §2.7).
//!
//! A document is worked on as it comes, but its answer waits for its end: an
//! error is then still an error, and clients that send everything before they
//! read anything do not block. What waits is limited as the request is.

use std::sync::Arc;

use bytes::Bytes;
use dapr_blocks::crypto::{CryptoError, Encryption, Processed};
use dapr_errors::{ApiError, general};
use dapr_gocompat::bools::is_truthy;
use dapr_transport::Body;
use futures::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::BodyExt;

use super::call::Call;
use crate::Api;

const KEY_NAME: &str = "dapr-key-name";
const ALGORITHM: &str = "dapr-key-wrap-algorithm";
const OMIT_KEY_NAME: &str = "dapr-omit-decryption-key-name";
const DECRYPTION_KEY_NAME: &str = "dapr-decryption-key-name";
const CIPHER: &str = "dapr-data-encryption-cipher";
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

type Answer = Result<Response<Body>, ApiError>;

pub async fn encrypt(api: Arc<Api>, mut call: Call) -> Answer {
    let provider = api.crypto.provider(call.params.get("name"))?;
    let how = encryption(&call)?;
    let input = Box::pin(pieces(std::mem::take(&mut call.body)));
    gathered(Processed::encrypt(&provider, &how, input).await).await
}

pub async fn decrypt(api: Arc<Api>, mut call: Call) -> Answer {
    let provider = api.crypto.provider(call.params.get("name"))?;
    let input = Box::pin(pieces(std::mem::take(&mut call.body)));
    let key_name = call.header(KEY_NAME).unwrap_or_default().to_owned();
    gathered(Processed::decrypt(&provider, &key_name, input).await).await
}

fn encryption(call: &Call) -> Result<Encryption, ApiError> {
    let text = |name: &str| call.header(name).unwrap_or_default().to_owned();
    let required = |name: &str| match text(name) {
        value if value.is_empty() => Err(general::bad_request(format!("missing header '{name}'"))),
        value => Ok(value),
    };
    Ok(Encryption {
        key_name: required(KEY_NAME)?,
        algorithm: required(ALGORITHM)?,
        cipher: text(CIPHER),
        omit_key_name: is_truthy(&text(OMIT_KEY_NAME)),
        decryption_key_name: text(DECRYPTION_KEY_NAME),
    })
}

fn pieces(body: Body) -> impl Stream<Item = Result<Bytes, String>> {
    futures::stream::unfold(body, |mut body| async move {
        loop {
            match body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some((Ok(data), body));
                    }
                }
                Err(error) => return Some((Err(error.to_string()), Body::empty())),
            }
        }
    })
}

async fn gathered<S>(begun: Result<Processed<S>, CryptoError>) -> Answer
where
    S: Stream<Item = Result<Bytes, String>> + Unpin,
{
    let mut processed = begun.map_err(CryptoError::into_api)?;
    let mut segments = Vec::new();
    while let Some(segment) = processed.next().await {
        segments.push(segment.map_err(CryptoError::into_api)?);
    }
    let length: usize = segments.iter().map(Bytes::len).sum();
    let segments = segments.into_iter().map(Ok::<_, std::convert::Infallible>);
    let mut response = Response::new(Body::from_stream(futures::stream::iter(segments)));
    response.headers_mut().insert(CONTENT_TYPE, OCTETS);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}
