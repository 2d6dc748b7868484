//! Between services' types and generated messages, where several methods
//! share the shape.

use dapr_blocks::metadata::{AppConnection, Document, SubscriptionInfo, SubscriptionKind};
use dapr_wire::runtime::v1 as rt;

pub fn metadata(document: Document) -> rt::GetMetadataResponse {
    let options = document.options;
    rt::GetMetadataResponse {
        id: options.identity.app_id().to_owned(),
        registered_components: document
            .components
            .into_iter()
            .map(|c| rt::RegisteredComponents {
                name: c.name,
                r#type: c.component_type,
                version: c.version,
                capabilities: c.capabilities,
            })
            .collect(),
        extended_metadata: document.extended.into_iter().collect(),
        subscriptions: document.subscriptions.into_iter().map(subscription).collect(),
        http_endpoints: document
            .http_endpoints
            .into_iter()
            .map(|name| rt::MetadataHttpEndpoint { name })
            .collect(),
        app_connection_properties: Some(connection(options.app_connection)),
        runtime_version: options.runtime_version,
        enabled_features: options.enabled_features,
        actor_runtime: Some(rt::ActorRuntime {
            runtime_status: rt::actor_runtime::ActorRuntimeStatus::Disabled as i32,
            placement: "placement: disconnected".to_owned(),
            ..Default::default()
        }),
        resiliencies: options.resiliencies.into_iter().map(|name| rt::MetadataResiliency { name }).collect(),
        ..Default::default()
    }
}

fn connection(c: AppConnection) -> rt::AppConnectionProperties {
    rt::AppConnectionProperties {
        port: i32::from(c.port),
        protocol: c.protocol.as_str().to_owned(),
        channel_address: c.channel_address,
        max_concurrency: c.max_concurrency,
        health: c.health.map(|h| rt::AppConnectionHealthProperties {
            health_check_path: h.path,
            health_probe_interval: h.interval,
            health_probe_timeout: h.timeout,
            health_threshold: i32::try_from(h.threshold).unwrap_or(i32::MAX),
        }),
    }
}

fn subscription(s: SubscriptionInfo) -> rt::PubsubSubscription {
    rt::PubsubSubscription {
        pubsub_name: s.pubsub_name,
        topic: s.topic,
        metadata: s.metadata.into_iter().collect(),
        rules: Some(rt::PubsubSubscriptionRules {
            rules: s
                .rules
                .into_iter()
                .map(|(r#match, path)| rt::PubsubSubscriptionRule { r#match, path })
                .collect(),
        }),
        dead_letter_topic: s.dead_letter_topic,
        r#type: match s.kind {
            SubscriptionKind::Declarative => rt::PubsubSubscriptionType::Declarative,
            SubscriptionKind::Programmatic => rt::PubsubSubscriptionType::Programmatic,
            SubscriptionKind::Streaming => rt::PubsubSubscriptionType::Streaming,
        } as i32,
    }
}
