//! The wire contract as Rust: messages, gRPC clients and gRPC servers, generated at build time from the
//! `.proto` files in `proto/`, one module a protobuf package. The crate holds generated code and the size of its
//! buffers ([`codec`]), nothing else:
//! it must not know transports, blocks or any behaviour, and no hand-written conversion belongs here. Entry
//! types are the messages themselves (`runtime::v1::GetStateRequest`), the `*_client` and `*_server` modules
//! beside them, and [`FILE_DESCRIPTOR_SET`] for gRPC reflection. Fields of type `bytes` are
//! [`prost::bytes::Bytes`], so decoding from a `Bytes` copies no payload; well-known types are those of
//! `prost-types`, and `google.protobuf.Empty` is `()`.
#![forbid(unsafe_code)]

pub mod codec;

/// The encoded `google.protobuf.FileDescriptorSet` of every file in `proto/` and of what they import, with the
/// file paths that Dapr's own descriptors carry.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Declares the module of each Dapr package. References between packages are relative (`super::super::`), so
/// the modules have to be siblings.
macro_rules! packages {
    ($($(#[$doc:meta])* $name:ident = $package:literal;)*) => {$(
        $(#[$doc])*
        pub mod $name {
            #[doc = concat!("Package `", $package, "`.")]
            // Generated code answers to its generator, not to this workspace's lints.
            #[allow(
                clippy::all,
                clippy::large_futures,
                clippy::needless_pass_by_ref_mut,
                clippy::redundant_clone
            )]
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    )*};
}

packages! {
    /// Types shared by the public, internal and scheduler APIs.
    common = "dapr.proto.common.v1";
    /// The APIs between application and sidecar: `Dapr` and `AppCallback*`.
    runtime = "dapr.proto.runtime.v1";
    /// The API between sidecars: `ServiceInvocation`.
    internals = "dapr.proto.internals.v1";
    /// The API of the scheduler.
    scheduler = "dapr.proto.scheduler.v1";
    /// The API of the placement service.
    placement = "dapr.proto.placement.v1";
    /// The API of the certificate authority.
    sentry = "dapr.proto.sentry.v1";
    /// The API of the operator.
    operator = "dapr.proto.operator.v1";
    /// The APIs of pluggable components.
    components = "dapr.proto.components.v1";
    /// Inputs of the workflows around MCP calls.
    workflows = "dapr.proto.workflows.v1";
}

/// Google's common packages.
pub mod google {
    /// Package `google.rpc`: the rich error model.
    #[allow(clippy::all)]
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn descriptors() -> FileDescriptorSet {
        FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the build wrote it")
    }

    #[test]
    fn fields_carry_the_contracts_numbers() {
        // topic = 6 and data = 7: the order in which the message lists them is the other one.
        let event = runtime::v1::TopicEventRequest {
            topic: "t".into(),
            data: b"d".as_slice().into(),
            ..Default::default()
        };
        assert_eq!(event.encode_to_vec(), b"\x32\x01t\x3a\x01d");

        // Numbers 2 to 11 are left free.
        let options = runtime::v1::DecryptRequestOptions { component_name: "c".into(), key_name: "k".into() };
        assert_eq!(options.encode_to_vec(), b"\x0a\x01c\x62\x01k");

        // The id is 1, the message 3.
        let invoke = runtime::v1::InvokeServiceRequest {
            id: "a".into(),
            message: Some(common::v1::InvokeRequest {
                method: "m".into(),
                http_extension: Some(common::v1::HttpExtension {
                    verb: common::v1::http_extension::Verb::Patch.into(),
                    querystring: String::new(),
                }),
                ..Default::default()
            }),
        };
        assert_eq!(invoke.encode_to_vec(), b"\x0a\x01a\x1a\x07\x0a\x01m\x22\x02\x08\x09");

        // Presence counts: an explicit false is sent.
        let reminder =
            runtime::v1::RegisterActorReminderRequest { overwrite: Some(false), ..Default::default() };
        assert_eq!(reminder.encode_to_vec(), b"\x40\x00");

        let host = placement::v1::Host {
            name: "h".into(),
            operation: placement::v1::HostOperation::Unlock.into(),
            version: Some(0),
            ..Default::default()
        };
        assert_eq!(host.encode_to_vec(), b"\x0a\x01h\x48\x04\x50\x00");

        // The namespace is 2 here and 1 in every other list request.
        let list = operator::v1::ListSubscriptionsRequest { namespace: "n".into() };
        assert_eq!(list.encode_to_vec(), b"\x12\x01n");

        let status = google::rpc::Status { code: 5, message: "x".into(), details: Vec::new() };
        assert_eq!(status.encode_to_vec(), b"\x08\x05\x12\x01x");
    }

    #[test]
    fn json_names_that_differ_from_the_derived_ones() {
        let set = descriptors();
        let json_name = |message: &str, field: &str| {
            let all = set.file.iter().flat_map(|file| &file.message_type);
            let message = all
                .filter(|m| m.name() == message)
                .find_map(|m| m.field.iter().find(|f| f.name() == field).map(|f| f.json_name().to_owned()));
            message.expect("the contract names it")
        };
        assert_eq!(json_name("StartWorkflowResponse", "instance_id"), "instanceID");
        assert_eq!(json_name("GetActorReminderRequest", "actor_id"), "actorID");
        assert_eq!(json_name("InvokeActorRequest", "actor_id"), "actorId");
        assert_eq!(json_name("RegisterActorReminderRequest", "failure_policy"), "failure_policy");
        assert_eq!(json_name("GetMetadataResponse", "extended_metadata"), "extended");
        assert_eq!(json_name("PubsubSubscription", "pubsub_name"), "pubsubname");
    }

    #[test]
    fn descriptor_set_lists_every_service_where_dapr_has_it() {
        let set = descriptors();
        let services: Vec<(String, usize)> = set
            .file
            .iter()
            .flat_map(|file| {
                file.service
                    .iter()
                    .map(|s| (format!("{}:{}.{}", file.name(), file.package(), s.name()), s.method.len()))
            })
            .collect();
        for (service, methods) in [
            ("runtime/v1/dapr.proto:dapr.proto.runtime.v1.Dapr", 72),
            ("runtime/v1/appcallback.proto:dapr.proto.runtime.v1.AppCallback", 7),
            ("runtime/v1/appcallback.proto:dapr.proto.runtime.v1.AppCallbackHealthCheck", 1),
            ("runtime/v1/appcallback.proto:dapr.proto.runtime.v1.AppCallbackAlpha", 2),
            ("internals/v1/service_invocation.proto:dapr.proto.internals.v1.ServiceInvocation", 5),
            ("scheduler/v1/scheduler.proto:dapr.proto.scheduler.v1.Scheduler", 8),
            ("placement/v1/placement.proto:dapr.proto.placement.v1.Placement", 1),
            ("sentry/v1/sentry.proto:dapr.proto.sentry.v1.CA", 1),
            ("operator/v1/operator.proto:dapr.proto.operator.v1.Operator", 16),
            ("components/v1/state.proto:dapr.proto.components.v1.StateStore", 9),
            ("components/v1/pubsub.proto:dapr.proto.components.v1.PubSub", 8),
        ] {
            assert!(
                services.contains(&(format!("dapr/proto/{service}"), methods)),
                "{service} with {methods} methods is not among {services:?}"
            );
        }
    }

    #[test]
    fn deprecation_stays_in_the_descriptors() {
        let set = descriptors();
        let deprecated = set
            .file
            .iter()
            .flat_map(|file| &file.service)
            .filter(|service| service.name() == "Dapr")
            .flat_map(|service| &service.method)
            .filter(|method| method.options.as_ref().is_some_and(|options| options.deprecated()))
            .count();
        assert_eq!(deprecated, 13);
    }
}
