//! What the metadata of the stores may hold (components.md §6).

use dapr_components::description::{Description, Field};

pub(crate) const FILE: Description = Description::new(
    &["secretstores.local.file"],
    &[&[Field::text("secretsFile").required(), Field::text("nestedSeparator"), Field::bool("multiValued")]],
);
pub(crate) const ENV: Description =
    Description::new(&["secretstores.local.env"], &[&[Field::text("prefix")]]);

#[cfg(test)]
mod tests {
    use dapr_components::Properties;
    use dapr_components::description::DecoderCheck;

    use super::*;

    #[test]
    fn descriptions_are_what_the_decoders_read() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let secrets = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secrets.path(), "{}").unwrap();
        let file =
            |p: &Properties| runtime.block_on(crate::file::FileStore::open(p)).map(|_| ()).map_err(|e| e.0);
        let check = DecoderCheck::new(&FILE).sample("secretsFile", secrets.path().to_string_lossy());
        assert_eq!(check.run(file), Ok(()));
        let env = |p: &Properties| {
            crate::env::EnvStore::new(p);
            Ok(())
        };
        assert_eq!(DecoderCheck::new(&ENV).run(env), Ok(()));
    }
}
