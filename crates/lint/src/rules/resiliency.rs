//! Policies that cannot be read, and targets that match nothing.

use std::collections::{BTreeMap, BTreeSet};

use dapr_resiliency::{PoliciesBuilder, Warning};
use dapr_resources::Resiliency;
use dapr_resources::inspect::Content;
use dapr_resources::resiliency::{Policies, PolicyNames, Targets};

use super::{Set, Sink};
use crate::place::Step::{self, Key};
use crate::suggest::choice;

/// Policies of such names count without being named by a target.
const BY_NAME: [&str; 2] = ["Default", "DaprBuiltIn"];

/// Policy field of a target, and the table of the policies it names.
const NAMED: [(&str, &str); 3] =
    [("timeout", "timeouts"), ("retry", "retries"), ("circuitBreaker", "circuitBreakers")];

pub(super) fn check(resiliency: &Resiliency, set: &Set<'_>, sink: &mut Sink<'_>) {
    for (table, name, policies) in policies(&resiliency.policies) {
        let place = [Key("spec"), Key("policies"), Key(table), Key(name)];
        alone(&Resiliency { policies, ..Resiliency::default() }, &place, sink);
    }
    for (table, name, targets) in single_targets(&resiliency.targets) {
        let place = [Key("spec"), Key("targets"), Key(table), Key(name)];
        alone(&Resiliency { targets, ..Resiliency::default() }, &place, sink);
    }
    names(resiliency, set, sink);
    targets(&resiliency.targets, set, sink);
}

/// A table with one of its entries.
fn only<V: Clone>((name, value): (&String, &V)) -> BTreeMap<String, V> {
    BTreeMap::from([(name.clone(), value.clone())])
}

/// Every policy by itself, with its table and name.
fn policies(all: &Policies) -> Vec<(&'static str, &str, Policies)> {
    let none = Policies::default;
    let timeouts = all.timeouts.iter().map(|e| ("timeouts", e.0, Policies { timeouts: only(e), ..none() }));
    let retries = all.retries.iter().map(|e| ("retries", e.0, Policies { retries: only(e), ..none() }));
    let breakers = all
        .circuit_breakers
        .iter()
        .map(|e| ("circuitBreakers", e.0, Policies { circuit_breakers: only(e), ..none() }));
    timeouts.chain(retries).chain(breakers).map(|(table, name, one)| (table, name.as_str(), one)).collect()
}

/// Every target by itself, with its table and name.
fn single_targets(all: &Targets) -> Vec<(&'static str, &str, Targets)> {
    let none = Targets::default;
    let apps = all.apps.iter().map(|e| ("apps", e.0, Targets { apps: only(e), ..none() }));
    let actors = all.actors.iter().map(|e| ("actors", e.0, Targets { actors: only(e), ..none() }));
    let components =
        all.components.iter().map(|e| ("components", e.0, Targets { components: only(e), ..none() }));
    apps.chain(actors).chain(components).map(|(table, name, one)| (table, name.as_str(), one)).collect()
}

/// Names of the policies of one table.
fn keys<'a>(policies: &'a Policies, table: &str) -> Vec<&'a str> {
    match table {
        "timeouts" => policies.timeouts.keys().map(String::as_str).collect(),
        "retries" => policies.retries.keys().map(String::as_str).collect(),
        _ => policies.circuit_breakers.keys().map(String::as_str).collect(),
    }
}

/// What the engine says of a part that stands on its own.
fn alone(part: &Resiliency, place: &[Step<'_>], sink: &mut Sink<'_>) {
    match PoliciesBuilder::new().add(part) {
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

fn names(resiliency: &Resiliency, set: &Set<'_>, sink: &mut Sink<'_>) {
    // Policies of all resources make one table.
    let others = set.documents.iter().filter_map(|read| match &read.document.content {
        Content::Resiliency(other) => Some(&**other),
        _ => None,
    });
    let others: Vec<&Resiliency> = others.collect();
    for used in uses(&resiliency.targets) {
        let defined: BTreeSet<&str> =
            others.iter().flat_map(|other| keys(&other.policies, used.table)).collect();
        if !defined.contains(used.name) && !BY_NAME.iter().any(|start| used.name.starts_with(start)) {
            let defined: Vec<&str> = defined.into_iter().collect();
            let message = format!("there is no {} policy {}", used.field, used.name);
            sink.error(&used.place, message, choice(used.name, &defined));
        }
    }
    let used: BTreeSet<(&str, &str)> =
        others.iter().flat_map(|other| uses(&other.targets)).map(|used| (used.table, used.name)).collect();
    for (_, table) in NAMED {
        for name in keys(&resiliency.policies, table) {
            let by_name = BY_NAME.iter().any(|start| name.starts_with(start));
            if !by_name && !used.contains(&(table, name)) {
                let place = [Key("spec"), Key("policies"), Key(table), Key(name)];
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
