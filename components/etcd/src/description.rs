//! What the metadata of `state.etcd` may hold (components.md §3.8).

use dapr_components::description::{Description, Field};

const FIELDS: &[Field] = &[
    Field::text("endpoints").required(),
    Field::text("keyPrefixPath"),
    Field::bool("tlsEnable"),
    Field::text("ca"),
    Field::text("cert"),
    Field::text("key"),
    Field::integer("maxTxnOps"),
];

pub(crate) const STATE: Description = Description::new(&[crate::TYPE], &[FIELDS]);

#[cfg(test)]
mod tests {
    use dapr_components::description::DecoderCheck;

    use super::*;
    use crate::settings::Settings;

    #[test]
    fn the_description_is_what_the_decoder_reads() {
        // Each property alone: without its certificates TLS is refused.
        let checked = DecoderCheck::new(&STATE)
            .sample("endpoints", "localhost:2379")
            .sample("tlsEnable", "false")
            .run(|properties| Settings::parse(properties).map(|_| ()).map_err(|e| e.0));
        assert_eq!(checked, Ok(()));
    }
}
