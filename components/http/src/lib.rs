//! `bindings.http`: calls an HTTP endpoint (components.md §5.2).
//!
//! This crate must not know the API that a call came through; trace headers
//! arrive as request metadata. Entry points: [`register`], [`HttpBinding`], and
//! [`Client`] for other components that call HTTP servers.
#![forbid(unsafe_code)]

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::bindings::OutputBinding;
use dapr_components::registry::Registry;

mod binding;
mod body;
mod client;
mod description;
mod tls;

pub use binding::HttpBinding;
pub use client::{Call, Client};

/// Registers `bindings.http`.
pub fn register(registry: &mut Registry) {
    registry.describe(&[&description::HTTP]);
    registry.output_bindings.register("bindings.http", |context: InitContext| async move {
        let binding = HttpBinding::new(&context.properties).await?;
        Ok(Arc::new(binding) as Arc<dyn OutputBinding>)
    });
}
