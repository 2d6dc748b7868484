//! What the metadata of the middleware may hold (components.md §12).

use dapr_components::description::{Description, Field};

use crate::policy::Policy;

pub(crate) const OPA: Description = Description::new(
    &["middleware.http.opa"],
    &[&[
        Field::checked("rego", policy).required(),
        Field::checked("defaultStatus", status),
        Field::text("includedHeaders"),
        Field::bool("readBody"),
    ]],
);

fn policy(text: &str) -> Result<(), String> {
    Policy::compile(text).map(|_| ()).map_err(|error| format!("a policy in Rego ({})", error.trim()))
}

fn status(text: &str) -> Result<(), String> {
    let fits = text.trim().parse().is_ok_and(|status: u16| (100..600).contains(&status));
    if fits { Ok(()) } else { Err("an HTTP status between 100 and 599".to_owned()) }
}

#[cfg(test)]
mod tests {
    use dapr_components::InitContext;
    use dapr_components::description::DecoderCheck;
    use dapr_kernel::tasks::TaskGroup;
    use dapr_kernel::{AppIdentity, Shutdown};

    use super::*;

    #[test]
    fn the_description_is_what_the_decoder_reads() {
        let outcome = DecoderCheck::new(&OPA)
            .sample("rego", "package http\ndefault allow = true")
            .sample("defaultStatus", "404")
            .run(|properties| {
                let context = InitContext {
                    name: "test".into(),
                    component_type: "middleware.http.opa".into(),
                    version: "v1".into(),
                    properties: properties.clone(),
                    identity: AppIdentity::new("me", None),
                    tasks: TaskGroup::new(Shutdown::new()),
                };
                crate::middleware::Opa::new(&context).map(|_| ()).map_err(|e| e.0)
            });
        assert_eq!(outcome, Ok(()));
    }
}
