//! What sidecars send each other.

use bytes::Bytes;
use dapr_blocks::invoke::fuzzing::{Received, ReceivedRequest, ReceivedResponse, headers_of};
use dapr_transport::Body;
use dapr_transport::grpc::{FrameError, Reader, frame};
use dapr_wire::common::v1::{HttpExtension, InvokeRequest, InvokeResponse, StreamPayload};
use dapr_wire::internals::v1 as internals;
use dapr_wire::internals::v1::{
    InternalInvokeRequest, InternalInvokeRequestStream, InternalInvokeResponse, InternalInvokeResponseStream,
};
use futures::FutureExt as _;
use prost::Message;
use prost_types::Any;

use super::Target;

/// Largest message of a stream.
const LIMIT: usize = 32 << 10;
const WORDS: &[&str] =
    &["x-header", "\u{0}\u{0}\u{0}\u{0}\u{5}", "\u{1}", "\u{8}", "\u{a}", "\u{12}", "\u{1a}", "-bin"];

pub const FRAMES: Target = Target {
    name: "frames",
    run: frames,
    seeds: || {
        let one = frame(&request()).to_vec();
        // The first byte says how the stream is cut.
        vec![
            [&[0], &one[..]].concat(),
            [&[1], &one[..], &one[..]].concat(),
            [&[7], &one[..9]].concat(),
            vec![3],
        ]
    },
    words: WORDS,
};

/// However a stream is cut, the same messages come out of it.
fn frames(input: &[u8]) {
    let Some((cut, stream)) = input.split_first() else { return };
    let whole = read(vec![Bytes::copy_from_slice(stream)]);
    let size = usize::from(*cut) % 17 + 1;
    let pieces = stream.chunks(size).map(Bytes::copy_from_slice).collect();
    assert_eq!(whole, read(pieces), "in pieces of {size}");
}

/// The messages, and the error at their end.
fn read(pieces: Vec<Bytes>) -> (Vec<Bytes>, Option<String>) {
    let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
    let mut reader = Reader::new(Body::from_stream(futures::stream::iter(pieces)), LIMIT);
    let mut messages = Vec::new();
    loop {
        let next: Result<Option<Bytes>, FrameError> =
            reader.next_bytes().now_or_never().expect("everything has arrived");
        match next {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(error) => return (messages, Some(error.to_string())),
        }
    }
}

pub const INVOKE: Target = Target {
    name: "invoke",
    run: invoke,
    seeds: || vec![request().encode_to_vec(), response().encode_to_vec()],
    words: WORDS,
};

/// What the generated code reads is what ours reads; what only ours accepts
/// does no harm.
fn invoke(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(request) = ReceivedRequest::decode(bytes.clone()) {
        drop(headers_of(&request.metadata));
    }
    if let Ok(response) = ReceivedResponse::decode(bytes.clone()) {
        drop((headers_of(&response.headers), headers_of(&response.trailers)));
    }
    if let Ok(received) = Received::decode(bytes.clone())
        && let Some(head) = received.head
    {
        let _ = (ReceivedRequest::decode(head.clone()), ReceivedResponse::decode(head));
    }
    if let Ok(message) = InternalInvokeRequestStream::decode(bytes.clone()) {
        same_request(&message);
    }
    if let Ok(message) = InternalInvokeResponseStream::decode(bytes) {
        same_response(&message);
    }
}

fn same_request(sent: &InternalInvokeRequestStream) {
    let received = Received::decode(sent.encode_to_vec().into()).expect("it is well formed");
    same_payload(sent.payload.as_ref(), &received);
    let Some(request) = &sent.request else { return assert!(received.head.is_none()) };
    let head = ReceivedRequest::decode(received.head.expect("it was sent")).expect("it is well formed");
    assert_eq!(head.metadata.len(), request.metadata.len());
    for (name, list) in &request.metadata {
        assert_eq!(head.metadata.get(name).as_deref(), list.values.first().map(String::as_bytes));
    }
    let (Some(sent), Some(message)) = (&request.message, &head.message) else {
        return assert!(request.message.is_none() && head.message.is_none());
    };
    assert_eq!(
        (&message.method, message.content_type.as_ref()),
        (&sent.method, sent.content_type.as_bytes())
    );
    let extension = sent.http_extension.clone().unwrap_or_default();
    assert_eq!((message.verb, &message.query), (extension.verb, &extension.querystring));
    assert_eq!(message.data.as_deref(), sent.data.as_ref().map(|data| &data.value[..]));
}

fn same_response(sent: &InternalInvokeResponseStream) {
    let received = Received::decode(sent.encode_to_vec().into()).expect("it is well formed");
    same_payload(sent.payload.as_ref(), &received);
    let Some(response) = &sent.response else { return assert!(received.head.is_none()) };
    let head = ReceivedResponse::decode(received.head.expect("it was sent")).expect("it is well formed");
    assert_eq!((head.headers.len(), head.trailers.len()), (response.headers.len(), response.trailers.len()));
    assert_eq!(head.status.is_some(), response.status.is_some());
    let content_type = response.message.as_ref().map(|message| message.content_type.as_bytes());
    assert_eq!(head.content_type.as_ref(), content_type.unwrap_or_default());
}

fn same_payload(sent: Option<&StreamPayload>, received: &Received) {
    let received = received.payload.as_ref().map(|payload| (&payload.data[..], payload.seq));
    assert_eq!(received, sent.map(|payload| (&payload.data[..], payload.seq)));
}

fn list(values: &[&str]) -> internals::ListStringValue {
    internals::ListStringValue { values: values.iter().map(|value| (*value).to_owned()).collect() }
}

fn any(text: &str) -> Any {
    Any { type_url: "type.googleapis.com/x".to_owned(), value: text.as_bytes().to_vec() }
}

fn request() -> InternalInvokeRequestStream {
    let message = InvokeRequest {
        method: "orders/new".to_owned(),
        data: Some(any("body")),
        content_type: "text/plain".to_owned(),
        http_extension: Some(HttpExtension { verb: 4, querystring: "a=1".to_owned() }),
    };
    let metadata =
        [("X-Many", list(&["a", "b"])), ("data-bin", list(&["AAE="]))].map(|(k, v)| (k.to_owned(), v));
    let request = InternalInvokeRequest {
        ver: 1,
        metadata: metadata.into_iter().collect(),
        message: Some(message),
        ..InternalInvokeRequest::default()
    };
    let payload = StreamPayload { data: Bytes::from_static(b"payload"), seq: 3 };
    InternalInvokeRequestStream { request: Some(request), payload: Some(payload) }
}

fn response() -> InternalInvokeResponseStream {
    let response = InternalInvokeResponse {
        status: Some(internals::Status { code: 200, message: "ok".to_owned(), details: vec![any("detail")] }),
        headers: [("Content-Length".to_owned(), list(&["7"]))].into_iter().collect(),
        trailers: [("x-t".to_owned(), list(&["", "v"]))].into_iter().collect(),
        message: Some(InvokeResponse { data: Some(any("body")), content_type: "a/b".to_owned() }),
    };
    let payload = StreamPayload { data: Bytes::from_static(b"payload"), seq: 0 };
    InternalInvokeResponseStream { response: Some(response), payload: Some(payload) }
}
