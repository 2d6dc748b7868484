//! Cryptography over gRPC: a stream of pieces in, a stream of pieces out
//! (api.md §4).

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use dapr_blocks::crypto::{CryptoError, Encryption, Processed};
use dapr_errors::{ApiError, crypto as errors, general};
use dapr_wire::common::v1::StreamPayload;
use dapr_wire::runtime::v1 as rt;
use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::service::Messages;
use super::status::from_api;
use crate::Api;

/// The first message must be there in this time.
const FIRST_MESSAGE_LIMIT: Duration = Duration::from_secs(5);

type Input = Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send>>;

/// What the two requests share.
trait Piece: Send + 'static {
    type Options;

    fn has_options(&self) -> bool;
    fn take_options(&mut self) -> Option<Self::Options>;
    fn take_payload(&mut self) -> Option<StreamPayload>;
}

macro_rules! piece {
    ($request:ty, $options:ty) => {
        impl Piece for $request {
            type Options = $options;

            fn has_options(&self) -> bool {
                self.options.is_some()
            }

            fn take_options(&mut self) -> Option<$options> {
                self.options.take()
            }

            fn take_payload(&mut self) -> Option<StreamPayload> {
                self.payload.take()
            }
        }
    };
}

piece!(rt::EncryptRequest, rt::EncryptRequestOptions);
piece!(rt::DecryptRequest, rt::DecryptRequestOptions);

pub async fn encrypt(
    api: &Api,
    request: Request<Streaming<rt::EncryptRequest>>,
) -> Result<Response<Messages<rt::EncryptResponse>>, Status> {
    let failed = |error: ApiError| from_api(&error);
    let (options, input) = begin(request.into_inner()).await.map_err(failed)?;
    let missing =
        |what| failed(general::bad_request(format!("missing property '{what}' in the options message")));
    if options.key_name.is_empty() {
        return Err(missing("keyName"));
    }
    if options.key_wrap_algorithm.is_empty() {
        return Err(missing("keyWrapAlgorithm"));
    }
    let provider = api.crypto.provider(&options.component_name).map_err(failed)?;
    let how = Encryption {
        key_name: options.key_name,
        algorithm: options.key_wrap_algorithm,
        cipher: options.data_encryption_cipher,
        omit_key_name: options.omit_decryption_key_name,
        decryption_key_name: options.decryption_key_name,
    };
    let processed = Processed::encrypt(&provider, &how, input).await;
    answer(processed, |payload| rt::EncryptResponse { payload: Some(payload) })
}

pub async fn decrypt(
    api: &Api,
    request: Request<Streaming<rt::DecryptRequest>>,
) -> Result<Response<Messages<rt::DecryptResponse>>, Status> {
    let failed = |error: ApiError| from_api(&error);
    let (options, input) = begin(request.into_inner()).await.map_err(failed)?;
    let provider = api.crypto.provider(&options.component_name).map_err(failed)?;
    let processed = Processed::decrypt(&provider, &options.key_name, input).await;
    answer(processed, |payload| rt::DecryptResponse { payload: Some(payload) })
}

/// Waits for the first message: its options, and all payloads.
async fn begin<R: Piece>(mut stream: Streaming<R>) -> Result<(R::Options, Input), ApiError> {
    let first = tokio::time::timeout(FIRST_MESSAGE_LIMIT, stream.message()).await;
    let first = first
        .map_err(|_| general::bad_request("error waiting for first message: context deadline exceeded"))?;
    let receiving =
        |reason: &str| errors::operation_failed(format!("error receiving the first message: {reason}"));
    let mut first = first.map_err(|e| receiving(e.message()))?.ok_or_else(|| receiving("EOF"))?;
    let options = first
        .take_options()
        .ok_or_else(|| general::bad_request("first message does not contain the required options"))?;
    let reader = Reader { stream, first: Some(first), expected: 0 };
    let input = futures::stream::unfold(reader, |mut reader| async move {
        let next = reader.next().await?;
        Some((next, reader))
    });
    Ok((options, Box::pin(input)))
}

/// Payloads in their order.
struct Reader<R> {
    stream: Streaming<R>,
    first: Option<R>,
    /// Number that the next payload must have.
    expected: u64,
}

impl<R: Piece> Reader<R> {
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            let payload = match self.first.take() {
                Some(mut first) => first.take_payload(),
                None => match self.stream.message().await {
                    Ok(Some(message)) if message.has_options() => {
                        return Some(Err("options found in non-leading message".to_owned()));
                    }
                    Ok(Some(mut message)) => message.take_payload(),
                    Ok(None) => return None,
                    Err(error) => return Some(Err(format!("error receiving message: {}", error.message()))),
                },
            };
            let Some(StreamPayload { data, seq }) = payload else { continue };
            if seq != self.expected {
                let expected = self.expected;
                return Some(Err(format!("invalid sequence number received: {seq} (expected: {expected})")));
            }
            self.expected += 1;
            return Some(Ok(data));
        }
    }
}

fn answer<M: Send + 'static>(
    begun: Result<Processed<Input>, CryptoError>,
    message: fn(StreamPayload) -> M,
) -> Result<Response<Messages<M>>, Status> {
    let failed = |error: CryptoError| from_api(&error.into_operation());
    let processed = begun.map_err(failed)?;
    let messages = futures::stream::unfold((processed, 0), move |(mut processed, seq)| async move {
        let piece = processed.next().await?;
        let piece = piece.map(|data| message(StreamPayload { data, seq })).map_err(failed);
        Some((piece, (processed, seq + 1)))
    });
    Ok(Response::new(Box::pin(messages)))
}
