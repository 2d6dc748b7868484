//! Policies that cannot be read, and targets that match nothing.

use std::collections::BTreeSet;

use dapr_resiliency::spec;
use dapr_resiliency::{PoliciesBuilder, Warning};
use dapr_resources::Resiliency;
use dapr_resources::inspect::Content;
use dapr_resources::resiliency::{PolicyNames, Targets};
use serde_json::{Map, Value, json};

use super::{Set, Sink};
use crate::place::Step::{self, Key};
use crate::suggest::choice;

/// Policies of such names count without being named by a target.
const BY_NAME: [&str; 2] = ["Default", "DaprBuiltIn"];

/// Policy field of a target, and the table of the policies it names.
const NAMED: [(&str, &str); 3] =
    [("timeout", "timeouts"), ("retry", "retries"), ("circuitBreaker", "circuitBreakers")];

pub(super) fn check(resiliency: &Resiliency, set: &Set<'_>, sink: &mut Sink<'_>) {
    let document = resiliency.document();
    for (_, table) in NAMED {
        for name in keys(&document["spec"]["policies"][table]) {
            let policy = &document["spec"]["policies"][table][&name];
            let place = [Key("spec"), Key("policies"), Key(table), Key(&name)];
            alone(json!({"policies": {table: {&name: policy}}}), &place, sink);
        }
    }
    for table in ["apps", "actors", "components"] {
        for name in keys(&document["spec"]["targets"][table]) {
            let target = &document["spec"]["targets"][table][&name];
            let place = [Key("spec"), Key("targets"), Key(table), Key(&name)];
            alone(json!({"targets": {table: {&name: target}}}), &place, sink);
        }
    }
    names(resiliency, &document, set, sink);
    targets(&resiliency.targets, set, sink);
}

fn keys(table: &Value) -> Vec<String> {
    table.as_object().map(Map::keys).into_iter().flatten().cloned().collect()
}

/// What the engine says of a part that stands on its own.
fn alone(spec: Value, place: &[Step<'_>], sink: &mut Sink<'_>) {
    let resource = match spec::Resource::from_value(&json!({"spec": spec})) {
        Ok(resource) => resource,
        Err(error) => return sink.error(place, error.to_string(), ""),
    };
    match PoliciesBuilder::new().add(&resource) {
        Ok(warnings) => warnings.iter().for_each(|warning: &Warning| {
            sink.warning(place, warning.to_string(), "");
        }),
        Err(error) => sink.error(place, format!("{error}: the whole resource is skipped"), ""),
    }
}

/// One use of a policy.
struct Use<'a> {
    place: Vec<Step<'a>>,
    field: &'static str,
    table: &'static str,
    name: &'a str,
}

fn uses(targets: &Targets) -> Vec<Use<'_>> {
    let mut all = Vec::new();
    for (key, app) in &targets.apps {
        add(&mut all, &[Key("apps"), Key(key)], [&app.timeout, &app.retry, &app.circuit_breaker]);
    }
    for (key, actor) in &targets.actors {
        add(&mut all, &[Key("actors"), Key(key)], [&actor.timeout, &actor.retry, &actor.circuit_breaker]);
    }
    for (key, component) in &targets.components {
        let ways = [("inbound", &component.inbound), ("outbound", &component.outbound)];
        for (way, PolicyNames { timeout, retry, circuit_breaker }) in ways {
            let place = [Key("components"), Key(key), Key(way)];
            add(&mut all, &place, [timeout, retry, circuit_breaker]);
        }
    }
    all
}

fn add<'a>(all: &mut Vec<Use<'a>>, target: &[Step<'a>], names: [&'a str; 3]) {
    for ((field, table), name) in NAMED.into_iter().zip(names).filter(|(_, name)| !name.is_empty()) {
        let mut place = vec![Key("spec"), Key("targets")];
        place.extend_from_slice(target);
        place.push(Key(field));
        all.push(Use { place, field, table, name });
    }
}

fn names(resiliency: &Resiliency, document: &Value, set: &Set<'_>, sink: &mut Sink<'_>) {
    // Policies of all resources make one table.
    let others = set.documents.iter().filter_map(|read| match &read.document.content {
        Content::Resiliency(other) => Some(&**other),
        _ => None,
    });
    let others: Vec<(Value, &Resiliency)> = others.map(|other| (other.document(), other)).collect();
    for used in uses(&resiliency.targets) {
        let defined: BTreeSet<String> =
            others.iter().flat_map(|(other, _)| keys(&other["spec"]["policies"][used.table])).collect();
        if !defined.contains(used.name) && !BY_NAME.iter().any(|start| used.name.starts_with(start)) {
            let defined: Vec<&str> = defined.iter().map(String::as_str).collect();
            let message = format!("there is no {} policy {}", used.field, used.name);
            sink.error(&used.place, message, choice(used.name, &defined));
        }
    }
    let used: BTreeSet<(&str, &str)> = others
        .iter()
        .flat_map(|(_, other)| uses(&other.targets))
        .map(|used| (used.table, used.name))
        .collect();
    for (_, table) in NAMED {
        for name in keys(&document["spec"]["policies"][table]) {
            let by_name = BY_NAME.iter().any(|start| name.starts_with(start));
            if !by_name && !used.contains(&(table, name.as_str())) {
                let place = [Key("spec"), Key("policies"), Key(table), Key(&name)];
                sink.warning(&place, format!("no target uses the policy {name}"), "use it or remove it");
            }
        }
    }
}

fn targets(targets: &Targets, set: &Set<'_>, sink: &mut Sink<'_>) {
    let place = |table, name| [Key("spec"), Key("targets"), Key(table), Key(name)];
    if set.is_whole() {
        let names: Vec<&str> = set.components().map(|component| component.name.as_str()).collect();
        for name in targets.components.keys().filter(|name| !names.contains(&name.as_str())) {
            let message = format!("there is no component {name}");
            sink.warning(&place("components", name), message, choice(name, &names));
        }
    }
    let Some(apps) = set.job.apps.as_ref() else { return };
    let endpoints = set.documents.iter().filter_map(|read| match &read.document.content {
        Content::HttpEndpoint(endpoint) => Some(endpoint.name.as_str()),
        _ => None,
    });
    let names: Vec<&str> = apps.iter().map(String::as_str).chain(endpoints).collect();
    for name in targets.apps.keys().filter(|name| !names.contains(&name.as_str())) {
        let message = format!("there is no application or HTTP endpoint {name}");
        sink.warning(&place("apps", name), message, choice(name, &names));
    }
}
