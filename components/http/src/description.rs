//! What the metadata of the binding may hold (components.md §5.2).

use dapr_components::description::{Description, Field, FieldKind};

pub(crate) const HTTP: Description = Description::new(&["bindings.http"], &[FIELDS]);

const FIELDS: &[Field] = &[
    Field::text("url").expected(),
    Field::duration("responseTimeout"),
    Field::new("maxResponseBodySize", FieldKind::ByteSize),
    Field::text("securityToken"),
    Field::text("securityTokenHeader"),
    Field::bool("errorIfNot2XX").exact_case(),
    Field::text("MTLSRootCA"),
    Field::text("MTLSClientCert"),
    Field::text("MTLSClientKey"),
    Field::checked("MTLSRenegotiation", renegotiation),
];

fn renegotiation(text: &str) -> Result<(), String> {
    const MODES: [&str; 3] = ["RenegotiateNever", "RenegotiateOnceAsClient", "RenegotiateFreelyAsClient"];
    if MODES.contains(&text) { Ok(()) } else { Err(format!("one of {}", MODES.join(", "))) }
}

#[cfg(test)]
mod tests {
    use dapr_components::Properties;
    use dapr_components::description::DecoderCheck;

    use super::*;
    use crate::binding::HttpBinding;

    #[test]
    fn the_description_is_what_the_decoder_reads() {
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let decode = |p: &Properties| runtime.block_on(HttpBinding::new(p)).map(|_| ()).map_err(|e| e.0);
        let check = DecoderCheck::new(&HTTP)
            .sample("MTLSRootCA", identity.cert.pem())
            .sample("MTLSClientCert", identity.cert.pem())
            .sample("MTLSClientKey", identity.signing_key.serialize_pem())
            .sample("MTLSRenegotiation", "RenegotiateNever")
            .sample("securityTokenHeader", "x-token");
        assert_eq!(check.run(decode), Ok(()));
    }
}
