//! Client pools to one destination: HTTP/1.1 to the application, HTTP/2 to
//! gRPC applications and other sidecars.

mod h2;
mod http1;

pub use h2::{H2Channel, H2Options, Sending};
pub use http1::{Http1Options, Http1Pool};

use crate::BoxError;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection: the request never left.
    #[error("{0}")]
    Connect(#[source] std::io::Error),
    /// The connection broke while the request was under way.
    #[error("{}", reason(.0))]
    Broken(#[source] BoxError),
}

/// What the body that was being sent said, if that is what went wrong.
fn reason(error: &BoxError) -> String {
    let of_body = error.downcast_ref::<hyper::Error>().filter(|e| e.is_user());
    of_body.and_then(std::error::Error::source).map_or_else(|| error.to_string(), ToString::to_string)
}

impl ClientError {
    /// Whether the request certainly had no effect.
    pub fn never_sent(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}
