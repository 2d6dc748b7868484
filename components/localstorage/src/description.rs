//! What the metadata of the binding may hold (components.md §5.7).

use dapr_components::description::{Description, Field};

pub(crate) const LOCAL_STORAGE: Description =
    Description::new(&["bindings.localstorage"], &[&[Field::text("rootPath").required()]]);

#[cfg(test)]
mod tests {
    use dapr_components::Properties;
    use dapr_components::description::DecoderCheck;

    use super::*;

    #[test]
    fn the_description_is_what_the_decoder_reads() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let root = tempfile::tempdir().unwrap();
        let decode =
            |p: &Properties| runtime.block_on(crate::LocalStorage::open(p)).map(|_| ()).map_err(|e| e.0);
        let check = DecoderCheck::new(&LOCAL_STORAGE).sample("rootPath", root.path().to_string_lossy());
        assert_eq!(check.run(decode), Ok(()));
    }
}
