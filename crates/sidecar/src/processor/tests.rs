use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use dapr_app_channel::Protocol;
use dapr_blocks::{bindings, configuration, crypto, lock, metadata, outbox, pubsub, secrets, state};
use dapr_components::secrets::{Error, RequestMetadata, Secret, SecretStore};
use dapr_kernel::Shutdown;
use dapr_resiliency::Policies;
use dapr_telemetry::metrics::catalogue::CatalogueOptions;
use dapr_telemetry::metrics::{Registry as Metrics, RegistryOptions};

use super::*;

/// Says when it is closed, and waits for all of its kind to be.
struct Store {
    closing: Arc<tokio::sync::Barrier>,
}

#[async_trait]
impl SecretStore for Store {
    async fn get(&self, name: &str, _: &RequestMetadata) -> Result<Secret, Error> {
        Err(Error(format!("{name} is not here")))
    }

    async fn bulk_get(&self, _: &RequestMetadata) -> Result<HashMap<String, Secret>, Error> {
        Ok(HashMap::new())
    }

    async fn close(&self) {
        self.closing.wait().await;
    }
}

fn processor(registry: Registry, metrics: Arc<Catalogue>) -> Processor {
    let identity = AppIdentity::new("me", None);
    let tasks = TaskGroup::new(Shutdown::new());
    let (policies, some) = (Policies::default(), Some(metrics));
    let pubsub = PubSubService::new(pubsub::Options {
        identity: identity.clone(),
        policies: policies.clone(),
        tasks: tasks.clone(),
        skip_programmatic: true,
        metrics: some.clone(),
        tracer: Default::default(),
    });
    Processor {
        registry,
        identity: identity.clone(),
        templates: TemplateContext::default(),
        state: StateService::new(state::Options {
            identity: identity.clone(),
            policies: policies.clone(),
            metrics: some.clone(),
            outbox: None,
        }),
        outbox: Outbox::new(outbox::Options { identity: identity.clone(), pubsub: pubsub.clone() }),
        pubsub,
        bindings: BindingsService::new(bindings::Options {
            identity: identity.clone(),
            policies,
            tasks: tasks.clone(),
            options_timeout: Duration::from_secs(1),
            metrics: some.clone(),
            tracer: Default::default(),
        }),
        secrets: SecretsService::new(secrets::Options::default()),
        configuration: ConfigurationService::new(configuration::Options {
            policies: Policies::default(),
            tasks: tasks.clone(),
            metrics: some.clone(),
        }),
        conversation: ConversationService::new(dapr_blocks::conversation::Options {
            policies: Policies::default(),
            metrics: some.clone(),
        }),
        crypto: CryptoService::new(crypto::Options::default()),
        lock: LockService::new(lock::Options { identity: identity.clone(), policies: Policies::default() }),
        middleware: Middlewares::default(),
        metadata: MetadataService::new(metadata::Options {
            identity,
            runtime_version: String::new(),
            enabled_features: Vec::new(),
            app_connection: metadata::AppConnection {
                port: 0,
                protocol: Protocol::Http,
                channel_address: String::new(),
                max_concurrency: 0,
                health: None,
            },
            resiliencies: Vec::new(),
            policies: Policies::default(),
        }),
        tasks,
        metrics: some,
        inventory: Inventory::default(),
        secret_refs: SecretRefs::default(),
    }
}

fn component(name: &str, component_type: &str) -> Component {
    Component {
        name: name.to_owned(),
        component_type: component_type.to_owned(),
        ignore_errors: true,
        ..Component::default()
    }
}

#[tokio::test]
async fn components_are_counted_and_closed_at_once() {
    let closing = Arc::new(tokio::sync::Barrier::new(2));
    let mut registry = Registry::default();
    let shared = closing.clone();
    registry.secret_stores.register("secretstores.test", move |_: InitContext| {
        let closing = shared.clone();
        async move { Ok(Arc::new(Store { closing }) as Arc<dyn SecretStore>) }
    });
    let rendered = Metrics::new(RegistryOptions::default()).unwrap();
    let catalogue = Arc::new(Catalogue::new(&rendered, &CatalogueOptions::default()));
    let processor = processor(registry, catalogue);
    let components = ["a", "b"]
        .map(|n| component(n, "secretstores.test"))
        .into_iter()
        .chain([component("c", "state.none")]);
    processor.load_all(components.collect()).await.unwrap();
    let text = rendered.render();
    for line in [
        "dapr_runtime_component_loaded 2",
        "dapr_runtime_component_init_total{component=\"secretstores.test\"} 2",
        "dapr_runtime_component_init_fail_total{component=\"state.none\",componentName=\"c\",reason=\"creation\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    // One after the other would wait for ever.
    tokio::time::timeout(Duration::from_secs(10), processor.close_all()).await.unwrap();
    assert!(processor.secrets.raw_store("a").is_none());
}

#[tokio::test]
async fn a_replaced_component_is_closed_when_its_last_user_is_gone() {
    let closing = Arc::new(tokio::sync::Barrier::new(2));
    let mut registry = Registry::default();
    let shared = closing.clone();
    registry.secret_stores.register("secretstores.test", move |_: InitContext| {
        let closing = shared.clone();
        async move { Ok(Arc::new(Store { closing }) as Arc<dyn SecretStore>) }
    });
    let rendered = Metrics::new(RegistryOptions::default()).unwrap();
    let catalogue = Arc::new(Catalogue::new(&rendered, &CatalogueOptions::default()));
    let processor = processor(registry, catalogue);
    let first = component("a", "secretstores.test");
    processor.load_all(vec![first.clone()]).await.unwrap();
    let in_use = processor.secrets.raw_store("a").unwrap();
    assert!(processor.difference(vec![first.clone()]).await.is_empty());
    let second = Component { version: "v1".to_owned(), ..first };
    let difference = processor.difference(vec![second]).await;
    assert_eq!(difference.updated.len(), 1);
    processor.apply(difference).await.unwrap();
    // The new one serves already, the old one is still open for its user.
    assert!(!Arc::ptr_eq(&in_use, &processor.secrets.raw_store("a").unwrap()));
    let closed = tokio::time::timeout(Duration::from_millis(100), closing.wait()).await;
    assert!(closed.is_err());
    drop(in_use);
    tokio::time::timeout(Duration::from_secs(10), closing.wait()).await.unwrap();
    processor.apply(processor.difference(Vec::new()).await).await.unwrap();
    assert!(processor.secrets.raw_store("a").is_none());
    assert!(processor.metadata.components().is_empty());
}
