//! `middleware.http.opa`: a Rego policy decides which requests go on
//! (components.md §12).
//!
//! This crate must not know pipelines, routes or the application. Entry point:
//! [`register`].
#![forbid(unsafe_code)]

mod description;
mod functions;
mod input;
mod middleware;
mod policy;

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::middleware::HttpMiddleware;
use dapr_components::registry::Registry;

/// Registers `middleware.http.opa`.
pub fn register(registry: &mut Registry) {
    registry.describe(&[&description::OPA]);
    registry.middleware.register("middleware.http.opa", |context: InitContext| async move {
        let opa = middleware::Opa::new(&context)?;
        Ok(Arc::new(opa) as Arc<dyn HttpMiddleware>)
    });
}
