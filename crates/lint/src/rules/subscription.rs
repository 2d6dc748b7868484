//! Declarative subscriptions.

use dapr_gocompat::bools::parse_bool;
use dapr_resources::Subscription;

use super::{Set, Sink};
use crate::place::Step::{At, Key};
use crate::suggest::choice;

pub(super) fn check(subscription: &Subscription, set: &Set<'_>, sink: &mut Sink<'_>) {
    let pubsub = subscription.pubsub_name.as_str();
    if pubsub.is_empty() {
        sink.error(&[Key("spec")], "names no pub/sub component", "add spec.pubsubname");
    } else if set.is_whole() {
        let names = set.names_of("pubsub.");
        if !names.contains(&pubsub) {
            let message = format!("there is no pub/sub component {pubsub}");
            sink.error(&[Key("spec"), Key("pubsubname")], message, choice(pubsub, &names));
        }
    }
    if subscription.topic.is_empty() {
        sink.error(&[Key("spec")], "names no topic", "add spec.topic");
    }
    if subscription.routes.rules.is_empty() && subscription.routes.default.is_empty() {
        let mend = "add spec.routes.default with a path of the application";
        sink.error(&[Key("spec")], "leads nowhere: it has no route", mend);
    }
    rules(subscription, set, sink);
    let raw = subscription.metadata.iter().find(|(name, _)| name.eq_ignore_ascii_case("rawPayload"));
    if let Some((name, value)) = raw.filter(|(_, value)| !value.is_empty() && parse_bool(value).is_err()) {
        let message = format!("{name} has to be true or false, not {value:?}");
        sink.error(&[Key("spec"), Key("metadata"), Key(name)], message, "");
    }
}

fn rules(subscription: &Subscription, set: &Set<'_>, sink: &mut Sink<'_>) {
    for (index, rule) in subscription.routes.rules.iter().enumerate() {
        let place = |key| [Key("spec"), Key("routes"), Key("rules"), At(index), Key(key)];
        if let Err(reason) = (set.catalogue.checks.route)(&rule.matches) {
            let mend = "write an expression about the event, such as event.type == \"order\"";
            let reason = reason.lines().next().unwrap_or_default();
            sink.error(&place("match"), format!("the rule does not compile: {reason}"), mend);
        }
        if rule.path.is_empty() {
            sink.error(&place("path"), "the rule has no path", "add path with a path of the application");
        }
        let last = index + 1 == subscription.routes.rules.len();
        if rule.matches.trim().is_empty() && !last {
            let mend = "put it last, or use spec.routes.default";
            sink.warning(&place("match"), "the rule matches every event: those after it never count", mend);
        }
    }
}
