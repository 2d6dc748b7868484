//! Server reflection, both versions (api.md §1).

use std::convert::Infallible;

use dapr_transport::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic_reflection::server::Builder;
use tower_service::Service;

use super::server::unpack;

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Response<tonic::body::Body>, Infallible>> + Send>>;
type Call = Box<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// Answers questions about the services of this port.
pub struct Reflection {
    v1: Option<Call>,
    v1alpha: Option<Call>,
}

const V1: &str = "/grpc.reflection.v1.ServerReflection/";
const V1ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/";

impl Reflection {
    pub fn new() -> Self {
        let builder = || Builder::configure().register_encoded_file_descriptor_set(dapr_wire::FILE_DESCRIPTOR_SET);
        // The descriptors are compiled in; if they did not fit, only
        // reflection would be missing, and its calls would say so.
        Self {
            v1: builder().build_v1().ok().map(|service| -> Call {
                Box::new(move |request| Box::pin(service.clone().call(request)))
            }),
            v1alpha: builder().build_v1alpha().ok().map(|service| -> Call {
                Box::new(move |request| Box::pin(service.clone().call(request)))
            }),
        }
    }

    pub fn serves(path: &str) -> bool {
        path.starts_with(V1) || path.starts_with(V1ALPHA)
    }

    pub async fn call(&self, request: Request<Incoming>) -> Response<Body> {
        let version = if request.uri().path().starts_with(V1) { &self.v1 } else { &self.v1alpha };
        match version {
            Some(call) => unpack(call(request).await),
            None => super::status::response(dapr_errors::Code::Unimplemented, "reflection is not available", &[]),
        }
    }
}
