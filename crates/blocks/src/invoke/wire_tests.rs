//! The hand-written messages against the generated types.

use std::collections::HashMap;

use dapr_wire::common::v1 as common;
use dapr_wire::internals::v1 as internals;
use dapr_wire::internals::v1::{InternalInvokeRequestStream, InternalInvokeResponseStream};
use http::HeaderName;
use prost::Message;

use super::*;

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    list.iter().map(|(k, v)| (k.parse::<HeaderName>().unwrap(), v.parse::<HeaderValue>().unwrap())).collect()
}

fn map(list: &[(&str, &[&str])]) -> HashMap<String, internals::ListStringValue> {
    let values =
        |v: &[&str]| internals::ListStringValue { values: v.iter().map(|v| (*v).to_owned()).collect() };
    list.iter().map(|(k, v)| ((*k).to_owned(), values(v))).collect()
}

fn unframed(frame: &Bytes) -> Bytes {
    assert_eq!(frame[0], 0);
    let size = u32::from_be_bytes(frame[1..PREFIX].try_into().unwrap()) as usize;
    assert_eq!(size, frame.len() - PREFIX);
    frame.slice(PREFIX..)
}

#[test]
fn requests_are_what_the_generated_types_read() {
    let sent =
        headers(&[("x-many", "a"), ("x-many", "b"), ("forwarded", "for=x"), ("dapr-callee-app-id", "z")]);
    let added = [("Forwarded", "for=1.2.3.4"), ("dapr-callee-app-id", "callee")];
    let head = RequestHead {
        metadata: Metadata { headers: &sent, spelling: Spelling::Canonical, added: &added },
        method: "orders/new",
        type_url: "",
        content_type: Some(&HeaderValue::from_static("text/plain")),
        verb: common::http_extension::Verb::Post as i32,
        query: "a=1",
    };
    let body = vec![7u8; 300];
    let read = InternalInvokeRequestStream::decode(unframed(&request_frame(&head, Some(&body)))).unwrap();
    let expected = InternalInvokeRequestStream {
        request: Some(internals::InternalInvokeRequest {
            ver: 1,
            metadata: map(&[
                ("X-Many", &["a", "b"]),
                ("Forwarded", &["for=x", "for=1.2.3.4"]),
                ("Dapr-Callee-App-Id", &["z"]),
                ("dapr-callee-app-id", &["callee"]),
            ]),
            message: Some(common::InvokeRequest {
                method: "orders/new".to_owned(),
                data: Some(prost_types::Any::default()),
                content_type: "text/plain".to_owned(),
                http_extension: Some(common::HttpExtension {
                    verb: common::http_extension::Verb::Post as i32,
                    querystring: "a=1".to_owned(),
                }),
            }),
            actor: None,
        }),
        payload: Some(common::StreamPayload { data: body.clone().into(), seq: 0 }),
    };
    assert_eq!(read, expected);

    let frame = Received::decode(expected.encode_to_vec().into()).unwrap();
    assert_eq!(frame.payload, Some(Payload { data: body.into(), seq: 0 }));
    let request = ReceivedRequest::decode(frame.head.unwrap()).unwrap();
    assert_eq!(request.metadata.get("dapr-callee-app-id").unwrap(), "callee");
    let message = request.message.unwrap();
    assert_eq!((message.method.as_str(), message.query.as_str()), ("orders/new", "a=1"));
    assert_eq!(
        (&message.content_type[..], message.verb),
        (&b"text/plain"[..], common::http_extension::Verb::Post as i32)
    );
}

#[test]
fn lower_case_names_take_lower_case_additions() {
    let sent = headers(&[("dapr-callee-app-id", "z")]);
    let added = [("Forwarded", "f"), ("dapr-callee-app-id", "callee")];
    let metadata = Metadata { headers: &sent, spelling: Spelling::Lower, added: &added };
    let head = RequestHead { metadata, method: "", type_url: "t", content_type: None, verb: 0, query: "" };
    let read = InternalInvokeRequestStream::decode(unframed(&request_frame(&head, None))).unwrap();
    let request = read.request.unwrap();
    assert_eq!(request.metadata, map(&[("Forwarded", &["f"]), ("dapr-callee-app-id", &["z", "callee"])]));
    assert_eq!(request.message.unwrap().data.unwrap().type_url, "t");
    assert_eq!(read.payload, None);
}

#[test]
fn responses_are_what_the_generated_types_read() {
    let detail = prost_types::Any { type_url: "d".to_owned(), value: vec![1, 2] };
    let rich =
        dapr_wire::google::rpc::Status { code: 5, message: "no".to_owned(), details: vec![detail.clone()] };
    let (sent, none) = (headers(&[("x-a", "1")]), HeaderMap::new());
    let head = ResponseHead {
        code: 5,
        message: "no",
        details: rich.encode_to_vec().into(),
        headers: Metadata { headers: &sent, spelling: Spelling::Lower, added: &[] },
        trailers: Metadata { headers: &none, spelling: Spelling::Lower, added: &[] },
        type_url: "t",
        content_type: Some(&HeaderValue::from_static("a/b")),
        data: b"",
    };
    let bytes = unframed(&response_frame(&head, Some(b"x")));
    let read = InternalInvokeResponseStream::decode(bytes.clone()).unwrap();
    let response = read.response.unwrap();
    assert_eq!(
        response.status,
        Some(internals::Status { code: 5, message: "no".to_owned(), details: vec![detail] })
    );
    assert_eq!((response.headers, response.trailers), (map(&[("x-a", &["1"])]), HashMap::new()));
    assert_eq!(response.message.unwrap().content_type, "a/b");
    assert_eq!(read.payload.unwrap().data, "x");

    let back = ReceivedResponse::decode(Received::decode(bytes).unwrap().head.unwrap()).unwrap();
    let status = back.status.unwrap();
    assert_eq!((status.code, status.message.as_str()), (5, "no"));
    assert_eq!(dapr_wire::google::rpc::Status::decode(status.details).unwrap(), rich);
    assert_eq!((back.type_url.as_str(), &back.content_type[..]), ("t", &b"a/b"[..]));

    let unary = ResponseHead { data: b"whole", ..head };
    let read = internals::InternalInvokeResponse::decode(unframed(&unary_response_frame(&unary))).unwrap();
    assert_eq!(read.message.unwrap().data.unwrap().value, b"whole");
}

#[test]
fn payloads_are_numbered() {
    for seq in [0, 1, 300] {
        let frame = unframed(&payload_frame(b"abc", seq));
        let read = InternalInvokeResponseStream::decode(frame.clone()).unwrap();
        assert_eq!(read.payload, Some(common::StreamPayload { data: Bytes::from_static(b"abc"), seq }));
        assert_eq!(Received::decode(frame).unwrap().payload.unwrap().seq, seq);
    }
}

#[test]
fn cut_messages_are_errors_and_never_panic() {
    let sent = headers(&[("x-many", "a"), ("x-many", "b")]);
    let metadata = Metadata { headers: &sent, spelling: Spelling::Canonical, added: &[("k", "v")] };
    let head = RequestHead { metadata, method: "m", type_url: "t", content_type: None, verb: 3, query: "q" };
    let whole = unframed(&request_frame(&head, Some(b"data")));
    let read = |bytes: Bytes| {
        let frame = Received::decode(bytes)?;
        frame.head.map(ReceivedRequest::decode).transpose()
    };
    assert!(read(whole.clone()).is_ok());
    for cut in 0..whole.len() {
        let _ = read(whole.slice(..cut));
        let mut bad = whole.to_vec();
        bad[cut] ^= 0x55;
        let _ = read(bad.into());
    }
    let head = Received::decode(whole).unwrap().head.unwrap();
    assert!(ReceivedRequest::decode(head.slice(..head.len() - 1)).is_err());
}
