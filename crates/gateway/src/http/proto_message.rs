//! Whole messages in the JSON form of protobuf, with `Any` and `Struct` in
//! them (api.md §1.2). For small ones see `proto_json`.

use std::sync::OnceLock;

use dapr_errors::{ApiError, general};
use dapr_wire::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use prost_types::FileDescriptorSet;

/// The file of the messages that have this form; the others of the API are
/// not needed.
const FILE: &str = "dapr/proto/runtime/v1/ai.proto";

const PACKAGE: &str = "dapr.proto.runtime.v1";

/// What the messages consist of; read when the first one comes.
#[derive(Debug, Default)]
pub struct ProtoMessages(OnceLock<DescriptorPool>);

impl ProtoMessages {
    /// `name` is the message's in its package. Unknown fields are ignored; an empty body is an empty message.
    pub(super) fn decode<M: Message + Default>(&self, name: &str, body: &[u8]) -> Result<M, ApiError> {
        if body.is_empty() {
            return Ok(M::default());
        }
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let mut json = serde_json::Deserializer::from_slice(body);
        let message = DynamicMessage::deserialize_with_options(self.descriptor(name), &mut json, &options)
            .and_then(|message| json.end().map(|()| message))
            .map_err(|e| general::malformed_request(format!("proto: {e}")))?;
        message.transcode_to().map_err(|e| general::malformed_request(format!("proto: {e}")))
    }

    /// Fields with their default value are left out.
    pub(super) fn encode(&self, name: &str, message: &impl Message) -> Result<Vec<u8>, ApiError> {
        let failed = |e: &dyn std::fmt::Display| {
            ApiError::simple("ERR_INTERNAL", 500, dapr_errors::Code::Internal, e.to_string())
        };
        let mut dynamic = DynamicMessage::new(self.descriptor(name));
        dynamic.transcode_from(message).map_err(|e| failed(&e))?;
        serde_json::to_vec(&dynamic).map_err(|e| failed(&e))
    }

    fn descriptor(&self, name: &str) -> MessageDescriptor {
        let pool = self.0.get_or_init(pool);
        pool.get_message_by_name(&format!("{PACKAGE}.{name}"))
            .expect("only messages of the file are asked for")
    }
}

fn pool() -> DescriptorPool {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the build made it");
    // Well-known types are there already: the ones that may be in an `Any`.
    let mut pool = DescriptorPool::global();
    let file = set.file.into_iter().find(|file| file.name() == FILE).expect("the file is part of the API");
    pool.add_file_descriptor_proto(file).expect("the file needs well-known types only");
    pool
}

#[cfg(test)]
mod tests {
    use dapr_wire::runtime::v1 as rt;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn messages_have_the_form_that_protobuf_gives_them() {
        let messages = ProtoMessages::default();
        let body = json!({
            "contextID": "c", "inputs": [{"content": "x", "scrubPII": true, "unknown": 1}],
            "parameters": {"n": {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": "100"}},
        });
        let request: rt::ConversationRequest =
            messages.decode("ConversationRequest", body.to_string().as_bytes()).unwrap();
        assert_eq!(request.inputs[0].scrub_pii, Some(true));
        let answer = rt::ConversationResponse {
            context_id: request.context_id,
            outputs: vec![rt::ConversationResult { result: String::new(), parameters: request.parameters }],
        };
        let answer: Value =
            serde_json::from_slice(&messages.encode("ConversationResponse", &answer).unwrap()).unwrap();
        let parameters = &body["parameters"];
        assert_eq!(answer, json!({"contextID": "c", "outputs": [{"parameters": parameters}]}));
    }

    #[test]
    fn large_numbers_are_strings_and_names_may_be_the_original_ones() {
        let messages = ProtoMessages::default();
        let body =
            br#"{"scrub_pii": true, "promptCacheRetention": "86400s", "responseFormat": {"type": "object"}}"#;
        let request: rt::ConversationRequestAlpha2 =
            messages.decode("ConversationRequestAlpha2", body).unwrap();
        assert_eq!(request.scrub_pii, Some(true));
        assert_eq!(request.prompt_cache_retention.unwrap().seconds, 86400);
        let usage = rt::ConversationResultAlpha2CompletionUsage { total_tokens: 7, ..Default::default() };
        let output = rt::ConversationResultAlpha2 { usage: Some(usage), ..Default::default() };
        let answer = rt::ConversationResponseAlpha2 { outputs: vec![output], ..Default::default() };
        let answer = messages.encode("ConversationResponseAlpha2", &answer).unwrap();
        assert_eq!(answer, br#"{"outputs":[{"usage":{"totalTokens":"7"}}]}"#);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let messages = ProtoMessages::default();
        assert_eq!(
            messages.decode::<rt::ConversationRequest>("ConversationRequest", b"").unwrap(),
            Default::default()
        );
        for body in ["{", "[]", "{} {}", r#"{"inputs": 1}"#, r#"{"scrubPII": "yes"}"#] {
            let error = messages
                .decode::<rt::ConversationRequest>("ConversationRequest", body.as_bytes())
                .unwrap_err();
            assert_eq!((error.http, &*error.tag), (400, "ERR_MALFORMED_REQUEST"), "{body}");
        }
    }
}
