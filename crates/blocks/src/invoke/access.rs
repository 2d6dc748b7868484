//! Who may call the application through its sidecar (control-plane.md §6.1).
//! Asked at the callee only; methods are normalised before, and what was
//! judged is what the application gets.

use std::sync::Arc;

use dapr_security::acl::{AccessControl, Basis, Protocol, denial};
use dapr_security::spiffe::SpiffeId;
use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_wire::common::v1::http_extension::Verb;

/// A refused call; the text is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// An access control list, and who counts its decisions.
#[derive(Debug)]
pub struct AccessGuard {
    list: AccessControl,
    app: Protocol,
    metrics: Option<Arc<Catalogue>>,
}

impl AccessGuard {
    /// `app` is what the application speaks.
    pub fn new(list: AccessControl, app: Protocol, metrics: Option<Arc<Catalogue>>) -> Self {
        Self { list, app, metrics }
    }

    /// Whether `caller` may call the normalised `method`. The verb is that of
    /// the message, `None` in one without metadata.
    pub fn admit_call(&self, caller: Option<&SpiffeId>, verb: Verb, method: &str) -> Result<(), Denied> {
        let verb = (self.app == Protocol::Http && verb != Verb::None).then_some(verb);
        self.admit(caller, method, verb.map(|v| v.as_str_name()), self.app)
    }

    /// Whether `caller` may call `path`, `/package.Service/Method`, which is
    /// passed on without being decoded. Calls of our own application have no
    /// caller.
    pub fn admit_proxied(&self, caller: Option<&SpiffeId>, path: &str) -> Result<(), Denied> {
        self.admit(caller, path, None, Protocol::Grpc)
    }

    fn admit(
        &self,
        caller: Option<&SpiffeId>,
        operation: &str,
        verb: Option<&str>,
        protocol: Protocol,
    ) -> Result<(), Denied> {
        let decision = self.list.decide(caller, operation, verb, protocol);
        if let Some(metrics) = &self.metrics {
            let (id, domain, namespace) =
                caller.map_or(("", "", ""), |c| (c.app_id(), c.trust_domain_str(), c.namespace()));
            match decision.basis {
                Basis::App => metrics.acl.app_policy(decision.allowed, id, domain, namespace),
                Basis::Global => metrics.acl.global_policy(decision.allowed, id, domain, namespace),
            }
        }
        if decision.allowed {
            return Ok(());
        }
        let denied = Denied(denial(caller, operation, verb));
        tracing::debug!(target: "dapr.acl", "{denied}");
        Err(denied)
    }
}

#[cfg(test)]
mod tests {
    use dapr_security::acl::{AppPolicySpec, OperationSpec, Spec};
    use proptest::prelude::*;

    use super::super::normalize;
    use super::*;

    fn guard(default: &str, operations: &[(&str, &str, &str)], app: Protocol) -> AccessGuard {
        let operations = operations
            .iter()
            .map(|(name, verb, action)| OperationSpec {
                name: (*name).into(),
                verbs: vec![(*verb).into()],
                action: (*action).into(),
            })
            .collect();
        let policy = AppPolicySpec {
            app_id: "caller".into(),
            default_action: default.into(),
            trust_domain: "public".into(),
            namespace: "default".into(),
            operations,
        };
        let spec = Spec {
            default_action: "deny".into(),
            trust_domain: "public".into(),
            policies: Some(vec![policy]),
        };
        AccessGuard::new(AccessControl::compile(&spec, app).unwrap().unwrap(), app, None)
    }

    fn caller() -> SpiffeId {
        SpiffeId::parse("spiffe://public/ns/default/caller").unwrap()
    }

    /// As a request of `raw`, the part of an HTTP path after `/method/`, ends:
    /// `None` when it is refused before the list is asked.
    fn over_http(guard: &AccessGuard, raw: &str, verb: Verb) -> Option<Result<(), Denied>> {
        let decoded = percent_encoding::percent_decode_str(raw).decode_utf8_lossy();
        let method = normalize(&decoded).ok()?;
        Some(guard.admit_call(Some(&caller()), verb, &method))
    }

    #[test]
    fn the_verb_counts_for_http_applications() {
        let http = guard("deny", &[("/op", "POST", "allow")], Protocol::Http);
        let id = caller();
        assert_eq!(http.admit_call(Some(&id), Verb::Post, "op"), Ok(()));
        for (verb, name) in [(Verb::None, "NONE"), (Verb::Put, "PUT")] {
            let denied = http.admit_call(Some(&id), verb, "op").unwrap_err();
            assert_eq!(
                denied.to_string(),
                format!(
                    "access control policy has denied access to id: spiffe://public/ns/default/caller operation: op verb: {name}"
                )
            );
        }
        let grpc = guard("deny", &[("/op", "POST", "allow")], Protocol::Grpc);
        assert_eq!(grpc.admit_call(Some(&id), Verb::None, "op"), Ok(()));
        assert!(grpc.admit_call(Some(&id), Verb::None, "Op").is_err());
    }

    #[test]
    fn a_caller_without_identity_gets_the_default_for_all() {
        let guard = guard("allow", &[], Protocol::Grpc);
        assert!(guard.admit_proxied(Some(&caller()), "/s.S/M").is_ok());
        assert_eq!(
            guard.admit_proxied(None, "/s.S/M").unwrap_err().to_string(),
            "access control policy has denied access to id:  operation: /s.S/M verb: NONE"
        );
    }

    #[test]
    fn spelling_a_path_differently_changes_nothing() {
        let guard = guard("allow", &[("/admin", "*", "deny"), ("/a/b*/secret", "*", "deny")], Protocol::Http);
        for raw in [
            "admin",
            "/admin",
            "//admin",
            "ADMIN",
            "%61dmin",
            "%41dmin",
            "admin/",
            "admin//",
            "admin/.",
            "./admin",
            "x/../admin",
            "x%2F..%2Fadmin",
            "x/%2e%2e/admin",
            "%2e%2e/%2e%2e/admin",
            "..%2Fadmin",
            "%2Fadmin",
            "admin%2Fbelow",
            "admin/x/../../admin",
            "a/b/secret",
            "a/b/./secret",
            "a//b//secret",
            "a/b/c/../secret",
            "a/b/secret%2F",
        ] {
            assert!(over_http(&guard, raw, Verb::Get).unwrap().is_err(), "{raw}");
        }
        for raw in ["admin%23", "admin%3Fx", "admin%00", "admin%0d"] {
            assert!(over_http(&guard, raw, Verb::Get).is_none(), "{raw}");
        }
        // Decoded once: what is left encoded is another name, and so it is for
        // the application.
        for raw in ["%2561dmin", "admin%252F..", "x%252F..%252Fadmin", "admin/../public", "administrator"] {
            assert!(over_http(&guard, raw, Verb::Get).unwrap().is_ok(), "{raw}");
        }
    }

    /// A segment that names nothing in a path.
    fn noise() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("/".to_owned()),
            Just("./".to_owned()),
            Just(".//./".to_owned()),
            "[a-z]{1,4}".prop_map(|name| format!("{name}/../")),
            "[a-z]{1,4}".prop_map(|name| format!("{name}//.//../")),
        ]
    }

    /// `text` with some of its bytes percent-encoded.
    fn encoded(text: &str, which: &[bool]) -> String {
        let mut out = String::new();
        for (byte, encode) in text.bytes().zip(which.iter().chain(std::iter::repeat(&false))) {
            if *encode {
                out.push_str(&format!("%{byte:02x}"));
            } else {
                out.push(byte as char);
            }
        }
        out
    }

    fn mixed_case(text: &str, which: &[bool]) -> String {
        let upper = which.iter().chain(std::iter::repeat(&true));
        text.chars().zip(upper).map(|(c, u)| if *u { c.to_ascii_uppercase() } else { c }).collect()
    }

    proptest! {
        #[test]
        fn normalising_twice_is_normalising_once(method in "[a-z./%~ ]{0,24}|\\PC{0,24}") {
            if let Ok(once) = normalize(&method) {
                prop_assert_eq!(normalize(&once).unwrap(), once);
            }
        }

        #[test]
        fn no_spelling_of_a_denied_path_is_allowed(
            before in prop::collection::vec(noise(), 0..4),
            between in prop::collection::vec(noise(), 0..3),
            after in prop::collection::vec(noise(), 0..3),
            encode in prop::collection::vec(any::<bool>(), 0..64),
            upper in prop::collection::vec(any::<bool>(), 12),
        ) {
            let guard = guard("allow", &[("/admin/delete", "*", "deny")], Protocol::Http);
            let path = format!(
                "{}{}/{}{}/{}",
                before.concat(), mixed_case("admin", &upper), between.concat(), mixed_case("delete", &upper[5..]), after.concat()
            );
            let raw = encoded(&path, &encode);
            prop_assert!(over_http(&guard, &raw, Verb::Post).unwrap().is_err(), "{} {}", path, raw);
        }

        #[test]
        fn no_spelling_of_another_path_gets_through_an_allowed_prefix(
            climb in 1usize..5,
            encode in prop::collection::vec(any::<bool>(), 0..64),
            target in "[a-z]{1,8}",
        ) {
            prop_assume!(target != "public");
            let guard = guard("deny", &[("/public", "*", "allow")], Protocol::Http);
            let raw = encoded(&format!("public/{}{target}", "../".repeat(climb)), &encode);
            prop_assert!(over_http(&guard, &raw, Verb::Get).unwrap().is_err(), "{}", raw);
        }
    }
}
