//! Server reflection, both versions (api.md §1).

use std::convert::Infallible;
use std::sync::OnceLock;

use dapr_transport::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic_reflection::server::Builder;
use tower_service::Service;

use super::server::unpack;

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Response<tonic::body::Body>, Infallible>> + Send>>;
type Call = Box<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// Answers questions about the services of this port. Built on first use: the
/// descriptors take longer to index than the rest of the start takes.
#[derive(Default)]
pub struct Reflection {
    v1: OnceLock<Option<Call>>,
    v1alpha: OnceLock<Option<Call>>,
}

const V1: &str = "/grpc.reflection.v1.ServerReflection/";
const V1ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/";

fn builder() -> Builder<'static> {
    Builder::configure().register_encoded_file_descriptor_set(dapr_wire::FILE_DESCRIPTOR_SET)
}

/// `None` if the compiled-in descriptors did not fit: calls then say so.
fn v1() -> Option<Call> {
    let service = builder().build_v1().ok()?;
    Some(Box::new(move |request| Box::pin(service.clone().call(request))))
}

fn v1alpha() -> Option<Call> {
    let service = builder().build_v1alpha().ok()?;
    Some(Box::new(move |request| Box::pin(service.clone().call(request))))
}

impl Reflection {
    pub fn serves(path: &str) -> bool {
        path.starts_with(V1) || path.starts_with(V1ALPHA)
    }

    pub async fn call(&self, request: Request<Incoming>) -> Response<Body> {
        let version = if request.uri().path().starts_with(V1) {
            self.v1.get_or_init(v1)
        } else {
            self.v1alpha.get_or_init(v1alpha)
        };
        match version {
            Some(call) => unpack(call(request).await),
            None => {
                super::status::response(dapr_errors::Code::Unimplemented, "reflection is not available", &[])
            }
        }
    }
}
