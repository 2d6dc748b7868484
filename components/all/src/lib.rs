//! The façade over all component crates: one cargo feature per technology and
//! one call that registers what was compiled in.
//!
//! It must not hold any behaviour of its own; adding a component means one
//! feature and one line here. Entry point: [`register_all`].
#![forbid(unsafe_code)]

use dapr_components::registry::Registry;

/// Registers every component type that this build contains.
pub fn register_all(registry: &mut Registry) {
    let technologies: &[fn(&mut Registry)] = &[
        #[cfg(feature = "conversation")]
        dapr_conversation::register,
        #[cfg(feature = "consul")]
        dapr_consul::register,
        #[cfg(feature = "cron")]
        dapr_cron::register,
        #[cfg(feature = "dns-names")]
        dapr_dns_names::register,
        #[cfg(feature = "etcd")]
        dapr_etcd::register,
        #[cfg(feature = "http")]
        dapr_http_binding::register,
        #[cfg(feature = "in-memory")]
        dapr_in_memory::register,
        #[cfg(feature = "kubernetes-secrets")]
        dapr_kubernetes_secrets::register,
        #[cfg(feature = "local-crypto")]
        dapr_local_crypto::register,
        #[cfg(feature = "local-secrets")]
        dapr_local_secrets::register,
        #[cfg(feature = "localstorage")]
        dapr_localstorage::register,
        #[cfg(feature = "mdns")]
        dapr_mdns::register,
        #[cfg(feature = "middleware")]
        dapr_middleware::register,
        #[cfg(feature = "postgresql")]
        dapr_postgresql::register,
        #[cfg(feature = "opa")]
        dapr_opa::register,
        #[cfg(feature = "redis")]
        dapr_redis::register,
        #[cfg(feature = "sqlite")]
        dapr_sqlite::register,
        #[cfg(feature = "wasm")]
        dapr_wasm::register,
    ];
    for register in technologies {
        register(registry);
    }
}

#[cfg(all(test, feature = "default"))]
mod tests {
    use super::*;

    #[test]
    fn the_default_build_has_what_a_laptop_needs() {
        let mut registry = Registry::default();
        register_all(&mut registry);
        for name in ["state.in-memory", "state.redis", "state.sqlite"] {
            assert!(registry.state.find(name, "v1").is_some(), "{name}");
        }
        for version in ["", "v1", "v2"] {
            assert!(registry.state.find("state.etcd", version).is_some(), "{version}");
        }
        for name in ["pubsub.in-memory", "pubsub.redis"] {
            assert!(registry.pubsub.find(name, "v1").is_some(), "{name}");
        }
        for name in ["secretstores.kubernetes", "secretstores.local.file", "secretstores.local.env"] {
            assert!(registry.secret_stores.find(name, "v1").is_some(), "{name}");
        }
        for name in ["bindings.http", "bindings.localstorage"] {
            assert!(registry.output_bindings.find(name, "v1").is_some(), "{name}");
        }
        for name in ["crypto.dapr.localstorage", "crypto.dapr.jwks"] {
            assert!(registry.crypto.find(name, "v1").is_some(), "{name}");
        }
        assert!(registry.input_bindings.find("bindings.cron", "v1").is_some());
        let middleware = [
            "bearer",
            "oauth2",
            "oauth2clientcredentials",
            "opa",
            "ratelimit",
            "routeralias",
            "routerchecker",
            "sentinel",
            "uppercase",
            "wasm",
        ];
        assert_eq!(registry.middleware.types(), middleware.map(|name| format!("middleware.http.{name}")));
        for name in ["configuration.redis", "configuration.sqlite", "configuration.postgresql"] {
            assert!(registry.configuration.find(name, "v1").is_some(), "{name}");
        }
        for name in ["lock.redis", "lock.sqlite"] {
            assert!(registry.locks.find(name, "v1").is_some(), "{name}");
        }
        for name in ["consul", "kubernetes", "nameformat", "sqlite"] {
            assert!(registry.name_resolvers.find(name, "v1").is_some(), "{name}");
        }
        assert!(registry.name_resolvers.types().iter().any(|name| name.ends_with("mdns")));
    }
}
