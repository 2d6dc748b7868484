//! HTTP middleware that needs no engine of its own: `bearer`, `oauth2`,
//! `oauth2clientcredentials`, `ratelimit`, `routeralias`, `routerchecker`,
//! `sentinel`, `uppercase` (components.md §12).
//!
//! This crate must not know pipelines, routes or the application: a request
//! comes in, and goes on or is answered. Entry point: [`register`].
#![forbid(unsafe_code)]

mod bearer;
mod client_credentials;
mod description;
mod fetch;
mod jwks;
mod oauth2;
mod rate_limit;
mod route_alias;
mod route_template;
mod router_checker;
mod sentinel;
mod session;
mod token_endpoint;
mod uppercase;
mod uri;

use std::sync::Arc;

use dapr_components::middleware::HttpMiddleware;
use dapr_components::registry::Registry;
use dapr_components::{InitContext, InitError};

/// Registers every type of this crate.
pub fn register(registry: &mut Registry) {
    registry.describe(&[
        &description::BEARER,
        &description::OAUTH2,
        &description::CLIENT_CREDENTIALS,
        &description::RATE_LIMIT,
        &description::ROUTE_ALIAS,
        &description::ROUTER_CHECKER,
        &description::SENTINEL,
        &description::UPPERCASE,
    ]);
    registry.middleware.register("middleware.http.bearer", |context: InitContext| async move {
        shared(bearer::Bearer::new(&context).await)
    });
    plain(registry, "middleware.http.oauth2", oauth2::OAuth2::new);
    plain(registry, "middleware.http.oauth2clientcredentials", client_credentials::ClientCredentials::new);
    plain(registry, "middleware.http.ratelimit", rate_limit::RateLimit::new);
    plain(registry, "middleware.http.routeralias", route_alias::RouteAlias::new);
    plain(registry, "middleware.http.routerchecker", router_checker::RouterChecker::new);
    plain(registry, "middleware.http.sentinel", sentinel::Sentinel::new);
    plain(registry, "middleware.http.uppercase", uppercase::Uppercase::new);
}

/// Types that are there as soon as their metadata is read.
fn plain<M: HttpMiddleware + 'static>(
    registry: &mut Registry,
    name: &str,
    new: fn(&InitContext) -> Result<M, InitError>,
) {
    registry.middleware.register(name, move |context: InitContext| std::future::ready(shared(new(&context))));
}

fn shared<M: HttpMiddleware + 'static>(
    made: Result<M, InitError>,
) -> Result<Arc<dyn HttpMiddleware>, InitError> {
    made.map(|m| Arc::new(m) as Arc<dyn HttpMiddleware>)
}

#[cfg(test)]
mod testing;
