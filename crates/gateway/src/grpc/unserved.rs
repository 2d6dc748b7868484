//! Building blocks that this release does not have; see the HTTP side.

use dapr_errors::general;
use tonic::{Request, Response, Status};

use super::status::from_api;
use crate::Api;
use crate::http::refusals;

type Answer<T> = Result<Response<T>, Status>;

pub async fn actors<Q, A>(api: &Api, _: Request<Q>) -> Answer<A> {
    Err(from_api(&refusals::actors(api)))
}

pub async fn subtle_crypto<Q, A>(_: &Api, _: Request<Q>) -> Answer<A> {
    Err(from_api(&general::unimplemented()))
}

pub async fn jobs<Q, A>(api: &Api, _: Request<Q>) -> Answer<A> {
    Err(from_api(&refusals::jobs(api)))
}
