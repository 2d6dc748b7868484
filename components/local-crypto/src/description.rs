//! What the metadata of the components may hold (components.md §9).

use dapr_components::description::{Description, Field};

pub(crate) const FOLDER: Description =
    Description::new(&["crypto.dapr.localstorage"], &[&[Field::text("path").required()]]);
pub(crate) const JWKS: Description = Description::new(
    &["crypto.dapr.jwks"],
    &[&[
        Field::text("jwks").required(),
        Field::duration("requestTimeout"),
        Field::duration("minRefreshInterval"),
    ]],
);

#[cfg(test)]
mod tests {
    use dapr_components::Properties;
    use dapr_components::description::DecoderCheck;
    use dapr_kernel::Shutdown;
    use dapr_kernel::tasks::TaskGroup;

    use super::*;

    #[test]
    fn descriptions_are_what_the_decoders_read() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let keys = tempfile::tempdir().unwrap();
        let folder =
            |p: &Properties| runtime.block_on(crate::folder::Folder::open(p)).map(|_| ()).map_err(|e| e.0);
        let check = DecoderCheck::new(&FOLDER).sample("path", keys.path().to_string_lossy());
        assert_eq!(check.run(folder), Ok(()));
        let tasks = TaskGroup::new(Shutdown::new());
        let jwks = |p: &Properties| {
            runtime.block_on(crate::jwks::Jwks::open(p, &tasks)).map(|_| ()).map_err(|e| e.0)
        };
        let check = DecoderCheck::new(&JWKS).sample("jwks", r#"{"keys": []}"#);
        assert_eq!(check.run(jwks), Ok(()));
    }
}
