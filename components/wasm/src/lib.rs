//! `middleware.http.wasm`: HTTP middleware in WebAssembly, with the http-wasm
//! handler interface and as much of WASI as its guests need
//! (components.md §12).
//!
//! This crate must not know pipelines, routes or the application. Entry point:
//! [`register`].
#![forbid(unsafe_code)]

mod description;
mod guest;
mod handler_abi;
mod memory;
mod middleware;
mod source;
mod state;
mod wasi;

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::middleware::HttpMiddleware;
use dapr_components::registry::Registry;

/// Registers `middleware.http.wasm`.
pub fn register(registry: &mut Registry) {
    registry.describe(&[&description::WASM]);
    registry.middleware.register("middleware.http.wasm", |context: InitContext| async move {
        let wasm = middleware::Wasm::new(&context).await?;
        Ok(Arc::new(wasm) as Arc<dyn HttpMiddleware>)
    });
}
