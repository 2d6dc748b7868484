//! What the metadata of the middleware may hold (components.md §12).

use dapr_components::description::{Description, Field};

pub(crate) const WASM: Description = Description::new(
    &["middleware.http.wasm"],
    &[&[Field::checked("url", url).required(), Field::text("guestConfig"), Field::bool("strictSandbox")]],
);

fn url(text: &str) -> Result<(), String> {
    let known = ["file://", "http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    if known { Ok(()) } else { Err("a file://, http:// or https:// URL".to_owned()) }
}

#[cfg(test)]
mod tests {
    use dapr_components::InitContext;
    use dapr_components::description::DecoderCheck;
    use dapr_kernel::tasks::TaskGroup;
    use dapr_kernel::{AppIdentity, Shutdown};

    use super::*;

    /// A guest that lets everything pass.
    const GUEST: &str = r#"(module
        (memory (export "memory") 1)
        (func (export "handle_request") (result i64) i64.const 1)
        (func (export "handle_response") (param i32 i32)))"#;

    #[test]
    fn the_description_is_what_the_decoder_reads() {
        let folder = tempfile::tempdir().unwrap();
        let guest = folder.path().join("guest.wasm");
        std::fs::write(&guest, wat::parse_str(GUEST).unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome =
            DecoderCheck::new(&WASM).sample("url", format!("file://{}", guest.display())).run(|properties| {
                let context = InitContext {
                    name: "test".into(),
                    component_type: "middleware.http.wasm".into(),
                    version: "v1".into(),
                    properties: properties.clone(),
                    identity: AppIdentity::new("me", None),
                    tasks: TaskGroup::new(Shutdown::new()),
                };
                runtime.block_on(crate::middleware::Wasm::new(&context)).map(|_| ()).map_err(|e| e.0)
            });
        assert_eq!(outcome, Ok(()));
    }
}
