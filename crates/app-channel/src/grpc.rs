use std::sync::Arc;

use bytes::Bytes;
use dapr_errors::Code;
use dapr_kernel::tasks::TaskGroup;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_telemetry::trace::TraceContext;
use dapr_transport::Body;
use dapr_transport::client::{H2Channel, H2Options};
use dapr_transport::connect::Destination;
use dapr_wire::common::v1::http_extension::Verb;
use dapr_wire::common::v1::{HttpExtension, InvokeRequest as WireRequest};
use dapr_wire::runtime::v1::app_callback_alpha_client::AppCallbackAlphaClient;
use dapr_wire::runtime::v1::app_callback_client::AppCallbackClient;
use dapr_wire::runtime::v1::app_callback_health_check_client::AppCallbackHealthCheckClient;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::http_channel::{TOKEN_HEADER, ZERO_TRACEPARENT};
use crate::measured::Measured;
use crate::{ChannelError, InvokeRequest, InvokeResponse, Options, Origin, Status};

/// An application that speaks gRPC.
#[derive(Debug)]
pub struct GrpcChannel {
    channel: H2Channel,
    token: Option<MetadataValue<tonic::metadata::Ascii>>,
    max_message: usize,
    metrics: Option<Arc<Catalogue>>,
    zero_trace: bool,
}

impl GrpcChannel {
    pub(crate) fn new(destination: Destination, options: &Options, tasks: TaskGroup) -> Self {
        let limit = u32::try_from(options.max_response_head.saturating_mul(1024)).unwrap_or(u32::MAX);
        let channel = H2Channel::new(destination, options.protocol.is_tls(), H2Options::app(limit), tasks);
        let token = options.token.as_deref().filter(|t| !t.is_empty()).and_then(|t| t.parse().ok());
        let max_message = if options.max_message == 0 { usize::MAX } else { options.max_message };
        let zero_trace = options.zero_trace;
        Self { channel, token, max_message, metrics: options.metrics.clone(), zero_trace }
    }

    /// The raw connection: proxied calls go over it frame by frame.
    pub fn channel(&self) -> &H2Channel {
        &self.channel
    }

    /// Adds what every call carries: the application's token, and a trace
    /// context, all zero where none came in (runtime.md §18.1) unless tracing
    /// is turned off.
    pub fn authorize(&self, metadata: &mut MetadataMap) {
        // What the caller can decode is between it and the gateway: forwarded, the application would
        // compress for a reader that is not there.
        metadata.remove("grpc-encoding");
        metadata.remove("grpc-accept-encoding");
        if !metadata.contains_key("grpc-trace-bin") {
            let parent = metadata.get("traceparent").and_then(|v| v.to_str().ok());
            let context = parent.and_then(TraceContext::parse_traceparent);
            if let Some(context) = context.or_else(|| self.zero_trace.then(TraceContext::default)) {
                metadata.insert_bin("grpc-trace-bin", MetadataValue::from_bytes(&context.to_binary()));
            }
        }
        if self.zero_trace
            && !metadata.contains_key("traceparent")
            && let Ok(zero) = ZERO_TRACEPARENT.to_str().unwrap_or_default().parse()
        {
            metadata.insert("traceparent", zero);
        }
        if let Some(token) = &self.token {
            metadata.insert("dapr-api-token", token.clone());
        }
    }

    /// The token for proxied calls, as a header.
    pub fn token_header(&self) -> Option<(HeaderName, HeaderValue)> {
        let token = self.token.as_ref()?;
        Some((TOKEN_HEADER, HeaderValue::from_bytes(token.as_encoded_bytes()).ok()?))
    }

    /// Callback client with gRPC's default message limits.
    pub fn callbacks(&self) -> AppCallbackClient<Measured> {
        AppCallbackClient::new(self.measured())
    }

    /// Alpha callbacks, for applications that do not have the stable ones.
    pub fn alpha_callbacks(&self) -> AppCallbackAlphaClient<Measured> {
        AppCallbackAlphaClient::new(self.measured())
    }

    fn measured(&self) -> Measured {
        Measured::new(self.channel.clone(), self.metrics.clone())
    }

    pub(crate) async fn health_check(&self) -> Result<(), tonic::Status> {
        AppCallbackHealthCheckClient::new(self.channel.clone()).health_check(()).await.map(drop)
    }

    pub(crate) async fn invoke(&self, request: InvokeRequest) -> Result<InvokeResponse, ChannelError> {
        let data = request.body.collect().await.map_err(|e| ChannelError::Invalid(e.to_string()))?;
        let mut metadata = MetadataMap::from_headers(to_metadata(request.headers, request.origin));
        self.authorize(&mut metadata);
        let message = WireRequest {
            method: request.method,
            data: Some(prost_types::Any { type_url: request.type_url, value: data.to_vec() }),
            content_type: text(request.content_type.as_ref()),
            http_extension: Some(HttpExtension {
                verb: verb(&request.verb) as i32,
                querystring: request.query,
            }),
        };
        let mut client = self
            .callbacks()
            .max_decoding_message_size(self.max_message)
            .max_encoding_message_size(self.max_message);
        let call = tonic::Request::from_parts(metadata, tonic::Extensions::default(), message);
        Ok(match client.on_invoke(call).await {
            Ok(answer) => {
                let (headers, message, _) = answer.into_parts();
                let data = message.data.unwrap_or_default();
                InvokeResponse {
                    status: Status::Grpc { code: Code::Ok, message: String::new(), details: Bytes::new() },
                    headers: headers.into_headers(),
                    trailers: HeaderMap::new(),
                    content_type: HeaderValue::from_str(&message.content_type).ok().filter(|v| !v.is_empty()),
                    type_url: data.type_url,
                    body: Body::from(Bytes::from(data.value)),
                }
            }
            Err(status) => failed(&status),
        })
    }
}

fn failed(status: &tonic::Status) -> InvokeResponse {
    InvokeResponse {
        status: Status::Grpc {
            code: Code::from_i32(status.code() as i32),
            message: status.message().to_owned(),
            details: Bytes::copy_from_slice(status.details()),
        },
        headers: status.metadata().clone().into_headers(),
        trailers: HeaderMap::new(),
        content_type: None,
        type_url: String::new(),
        body: Body::empty(),
    }
}

fn text(value: Option<&HeaderValue>) -> String {
    value.and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
}

/// Verbs without a number of their own travel as POST (api.md §5.1).
pub fn verb(method: &Method) -> Verb {
    match *method {
        Method::GET => Verb::Get,
        Method::HEAD => Verb::Head,
        Method::PUT => Verb::Put,
        Method::DELETE => Verb::Delete,
        Method::CONNECT => Verb::Connect,
        Method::OPTIONS => Verb::Options,
        Method::TRACE => Verb::Trace,
        Method::PATCH => Verb::Patch,
        _ => Verb::Post,
    }
}

/// Header names that HTTP reserves travel with a prefix (api.md §5.2).
fn to_metadata(headers: HeaderMap, origin: Origin) -> HeaderMap {
    if origin == Origin::Grpc && !headers.keys().any(is_permanent) {
        return headers;
    }
    let mut out = HeaderMap::with_capacity(headers.len());
    let mut current = None;
    for (name, value) in headers {
        if name.is_some() {
            current = name.map(|n| if is_permanent(&n) { prefixed(&n) } else { n });
        }
        if let Some(name) = &current {
            out.append(name.clone(), value);
        }
    }
    out
}

fn prefixed(name: &HeaderName) -> HeaderName {
    HeaderName::try_from(format!("dapr-{name}")).unwrap_or_else(|_| name.clone())
}

/// Names that the HTTP registry calls permanent, as gRPC gateways treat them.
pub fn is_permanent(name: &HeaderName) -> bool {
    const PERMANENT: &[&str] = &[
        "accept",
        "accept-charset",
        "accept-language",
        "accept-ranges",
        "authorization",
        "cache-control",
        "content-type",
        "cookie",
        "date",
        "expect",
        "from",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-schedule-tag-match",
        "if-unmodified-since",
        "max-forwards",
        "origin",
        "pragma",
        "referer",
        "user-agent",
        "via",
        "warning",
        "connection",
    ];
    PERMANENT.contains(&name.as_str())
}
