//! What the metadata of the binding may hold (components.md §5.1).

use dapr_components::description::{Description, Field};

use crate::binding;

pub(crate) const CRON: Description =
    Description::new(&["bindings.cron"], &[&[Field::checked("schedule", check).required()]]);

fn check(text: &str) -> Result<(), String> {
    match binding::parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("a cron expression or @every and a duration ({error})")),
    }
}

#[cfg(test)]
mod tests {
    use dapr_components::description::DecoderCheck;

    use super::*;

    #[test]
    fn the_description_is_what_the_decoder_reads() {
        let decode = |p: &dapr_components::Properties| binding::schedule(p).map(|_| ()).map_err(|e| e.0);
        let check = DecoderCheck::new(&CRON).sample("schedule", "@every 2s");
        assert_eq!(check.run(decode), Ok(()));
    }
}
