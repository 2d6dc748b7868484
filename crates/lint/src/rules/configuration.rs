//! What a Configuration names and sets.

use dapr_components::description::Block;
use dapr_gocompat::duration::parse_duration;
use dapr_resources::Configuration;
use dapr_resources::configuration::{ApiAccessRule, PipelineSpec};

use super::{Set, Sink};
use crate::place::Step::{At, Key};
use crate::suggest::choice;

const SPEC: crate::place::Step<'static> = Key("spec");

pub(super) fn check(configuration: &Configuration, set: &Set<'_>, sink: &mut Sink<'_>) {
    pipeline("httpPipeline", &configuration.http_pipeline, set, sink);
    pipeline("appHttpPipeline", &configuration.app_http_pipeline, set, sink);
    name_resolution(configuration, set, sink);
    features(configuration, sink);
    secret_scopes(configuration, set, sink);
    access_control(configuration, set, sink);
    denied_components(configuration, set, sink);
    api(configuration, sink);
    tracing(configuration, sink);
    for (name, text) in [
        ("workloadCertTTL", &configuration.mtls.workload_cert_ttl),
        ("allowedClockSkew", &configuration.mtls.allowed_clock_skew),
    ] {
        if !text.is_empty() && parse_duration(text).is_err() {
            let message = format!("{name} has to be a duration such as 24h, not {text:?}");
            sink.error(&[SPEC, Key("mtls"), Key(name)], message, "");
        }
    }
}

/// Handlers that are not loaded are left out of a pipeline without a word.
fn pipeline(field: &str, pipeline: &PipelineSpec, set: &Set<'_>, sink: &mut Sink<'_>) {
    for (index, handler) in pipeline.handlers.iter().enumerate() {
        let place = |key| [SPEC, Key(field), Key("handlers"), At(index), Key(key)];
        let (name, wanted) = (handler.name.as_str(), handler.handler_type.as_str());
        if name.is_empty() || wanted.is_empty() {
            sink.error(&place("name"), "the handler needs a name and a type", "");
            continue;
        }
        let served = set.job.pluggable.iter().any(|it| it.eq_ignore_ascii_case(wanted));
        if set.catalogue.find(wanted).is_none_or(|known| known.block != Block::Middleware) && !served {
            let mend = choice(wanted, &set.catalogue.names_of(Some(Block::Middleware)));
            sink.error(&place("type"), format!("unknown middleware type {wanted}"), mend);
            continue;
        }
        if !set.is_whole() {
            continue;
        }
        let Some(component) = set.components().find(|component| component.name == name) else {
            let message = format!("there is no component {name}: the handler is left out");
            sink.error(&place("name"), message, choice(name, &set.names_of("middleware.")));
            continue;
        };
        let version = |text: &str| if text.is_empty() { "v1".to_owned() } else { text.to_owned() };
        if component.component_type != wanted || version(&component.version) != version(&handler.version) {
            let (theirs, source) = (component.component_type.as_str(), &component.source);
            let their_version = version(&component.version);
            let message = format!(
                "the component {name} is {theirs}/{their_version} ({source}): the handler is left out"
            );
            sink.error(&place("type"), message, format!("write type: {theirs}, version: {their_version}"));
        }
    }
}

fn name_resolution(configuration: &Configuration, set: &Set<'_>, sink: &mut Sink<'_>) {
    let Some(resolution) = &configuration.name_resolution else { return };
    let wanted = resolution.component.as_str();
    let names: Vec<&str> = set.catalogue.resolvers.iter().map(String::as_str).collect();
    if !wanted.is_empty() && !names.iter().any(|name| name.eq_ignore_ascii_case(wanted)) {
        let message = format!("unknown name resolution component {wanted}");
        sink.error(&[SPEC, Key("nameResolution"), Key("component")], message, choice(wanted, &names));
    }
}

fn features(configuration: &Configuration, sink: &mut Sink<'_>) {
    let known = Configuration::known_features();
    for (index, feature) in configuration.features.iter().enumerate() {
        if !known.contains(&feature.name.as_str()) {
            let place = [SPEC, Key("features"), At(index), Key("name")];
            let message = format!("the feature {:?} means nothing", feature.name);
            sink.warning(&place, message, choice(&feature.name, &known));
        }
    }
}

fn secret_scopes(configuration: &Configuration, set: &Set<'_>, sink: &mut Sink<'_>) {
    if !set.is_whole() {
        return;
    }
    let names = set.names_of("secretstores.");
    for (index, scope) in configuration.secrets.scopes.iter().enumerate() {
        let store = scope.store_name.as_str();
        if store != dapr_resources::KUBERNETES_SECRET_STORE && !names.contains(&store) {
            let place = [SPEC, Key("secrets"), Key("scopes"), At(index), Key("storeName")];
            sink.warning(&place, format!("there is no secret store {store}"), choice(store, &names));
        }
    }
}

fn access_control(configuration: &Configuration, set: &Set<'_>, sink: &mut Sink<'_>) {
    let Some(spec) = &configuration.access_control else { return };
    const PLACE: [crate::place::Step<'static>; 2] = [SPEC, Key("accessControl")];
    if let Err(reason) = (set.catalogue.checks.access_control)(spec) {
        sink.error(&PLACE, reason, "");
    }
    let action = |text: &str| matches!(text, "" | "allow" | "deny");
    let mut refuse = |place: &[crate::place::Step<'_>], text: &str| {
        if !action(text) {
            sink.error(place, format!("unknown action {text:?}"), choice(text, &["allow", "deny"]));
        }
    };
    refuse(&[PLACE[0], PLACE[1], Key("defaultAction")], &spec.default_action);
    for (index, policy) in spec.policies.iter().flatten().enumerate() {
        let place = [PLACE[0], PLACE[1], Key("policies"), At(index)];
        refuse(&[&place[..], &[Key("defaultAction")]].concat(), &policy.default_action);
        for (number, operation) in policy.operations.iter().enumerate() {
            let place = [&place[..], &[Key("operations"), At(number), Key("action")]].concat();
            refuse(&place, &operation.action);
        }
    }
    let Some(apps) = set.job.apps.as_ref() else { return };
    let apps: Vec<&str> = apps.iter().map(String::as_str).collect();
    for (index, policy) in spec.policies.iter().flatten().enumerate() {
        let app = policy.app_id.as_str();
        if !app.is_empty() && !apps.contains(&app) {
            let place = [PLACE[0], PLACE[1], Key("policies"), At(index), Key("appId")];
            sink.warning(&place, format!("{app} is no application"), choice(app, &apps));
        }
    }
}

fn denied_components(configuration: &Configuration, set: &Set<'_>, sink: &mut Sink<'_>) {
    for (index, entry) in configuration.components.deny.iter().enumerate() {
        let wanted = entry.split('/').next().unwrap_or_default();
        if set.catalogue.types.iter().all(|known| known.name != wanted) {
            let names = set.catalogue.names_of(Block::of(wanted));
            let message = format!("denies {entry}, which this build does not have");
            sink.warning(&[SPEC, Key("components"), Key("deny"), At(index)], message, choice(wanted, &names));
        }
    }
}

fn api(configuration: &Configuration, sink: &mut Sink<'_>) {
    let mut rules = |list: &str, rules: &[ApiAccessRule]| {
        for (index, rule) in rules.iter().enumerate() {
            if !["http", "grpc"].iter().any(|known| known.eq_ignore_ascii_case(&rule.protocol)) {
                let place = [SPEC, Key("api"), Key(list), At(index), Key("protocol")];
                let message = format!("the rule has no effect: its protocol is {:?}", rule.protocol);
                sink.error(&place, message, "write protocol: http or protocol: grpc");
            }
        }
    };
    rules("allowed", &configuration.api.allowed);
    rules("denied", &configuration.api.denied);
}

fn tracing(configuration: &Configuration, sink: &mut Sink<'_>) {
    let rate = &configuration.tracing.sampling_rate;
    let fits = rate.parse().is_ok_and(|rate: f64| (0.0..=1.0).contains(&rate));
    if !rate.is_empty() && !fits {
        let message = format!("samplingRate has to be a number from 0 to 1, not {rate:?}");
        sink.error(&[SPEC, Key("tracing"), Key("samplingRate")], message, "");
    }
    let Some(otel) = &configuration.tracing.otel else { return };
    if !otel.endpoint_address.is_empty() && !matches!(otel.protocol.as_str(), "grpc" | "http") {
        let place = [SPEC, Key("tracing"), Key("otel"), Key("protocol")];
        let message = format!("otel.protocol has to be grpc or http, not {:?}", otel.protocol);
        sink.error(&place, message, choice(&otel.protocol, &["grpc", "http"]));
    }
}
