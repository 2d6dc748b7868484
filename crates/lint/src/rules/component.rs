//! Types, versions and metadata of components; the address of an endpoint.

use dapr_components::description::{Block, Description, Field};
use dapr_components::registry::TypeName;
use dapr_gocompat::bools::is_truthy;
use dapr_gocompat::duration::parse_duration;
use dapr_resources::inspect::Content;
use dapr_resources::{Component, MetadataItem};

use super::{Set, Sink, literal};
use crate::Finding;
use crate::place::Step::{self, At, Key};
use crate::suggest::{choice, nearest};

const METADATA: [Step<'_>; 2] = [Key("spec"), Key("metadata")];

pub(super) fn check(component: &Component, set: &Set<'_>, sink: &mut Sink<'_>) {
    init_timeout(component, sink);
    let known = known_type(component, set, sink);
    items(&component.metadata, sink);
    let Some(known) = known else { return };
    let version = if component.version.is_empty() { "v1" } else { &component.version };
    let Some(description) = set.catalogue.description(&known.name, version) else { return };
    let about = About { description, block: known.block };
    for (index, item) in component.metadata.iter().enumerate().filter(|(_, item)| !item.name.is_empty()) {
        about.item(index, item, sink);
    }
    about.missing(component, sink);
    encryption(component, known.block, sink);
}

fn init_timeout(component: &Component, sink: &mut Sink<'_>) {
    let text = &component.init_timeout;
    if !text.is_empty() && parse_duration(text).is_err() {
        let message = format!("initTimeout {text:?} is no duration: 5s applies");
        sink.warning(&[Key("spec"), Key("initTimeout")], message, "write a duration such as 10s or 1m");
    }
}

fn known_type<'a>(component: &Component, set: &Set<'a>, sink: &mut Sink<'_>) -> Option<&'a TypeName> {
    let (wanted, catalogue) = (component.component_type.as_str(), set.catalogue);
    let place = [Key("spec"), Key("type")];
    if wanted.is_empty() {
        sink.error(&place, "has no type", "add spec.type, such as state.sqlite");
        return None;
    }
    if set.job.pluggable.iter().any(|served| served.eq_ignore_ascii_case(wanted)) {
        return None;
    }
    let Some(known) = catalogue.find(wanted) else {
        let (block, all) = (Block::of(wanted), catalogue.names_of(None));
        let mend = match nearest(wanted, all.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => {
                let names = catalogue.names_of(block);
                let what = block.map_or("types", |_| "of its kind");
                format!("this build has {what}: {}", names.join(", "))
            }
        };
        sink.error(&place, format!("unknown component type {wanted}"), mend);
        return None;
    };
    let version = component.version.to_lowercase();
    let fits = match known.versions.as_slice() {
        [] => matches!(version.as_str(), "" | "v0" | "v1"),
        versions => version.is_empty() || versions.contains(&version.as_str()),
    };
    if !fits {
        let versions = if known.versions.is_empty() { vec!["v1"] } else { known.versions.clone() };
        let message = format!("unknown version {} of {}", component.version, known.name);
        sink.error(&[Key("spec"), Key("version")], message, choice(&version, &versions));
    }
    Some(known)
}

/// What holds for the metadata of any type.
fn items(items: &[MetadataItem], sink: &mut Sink<'_>) {
    for (index, item) in items.iter().enumerate() {
        let place = [METADATA[0], METADATA[1], At(index)];
        if item.name.is_empty() {
            sink.error(&place, "metadata without a name", "add name");
            continue;
        }
        if items[..index].iter().any(|earlier| earlier.name.eq_ignore_ascii_case(&item.name)) {
            let message = format!("metadata {} is given twice: the component is refused", item.name);
            sink.error(&place, message, "remove one of them");
        }
        if item.value.is_empty() && item.env_ref.is_empty() && item.secret_key_ref.name.is_empty() {
            sink.warning(&place, format!("metadata {} has no value", item.name), "add value");
        }
    }
}

struct About {
    description: &'static Description,
    block: Block,
}

impl About {
    fn field(&self, name: &str) -> Option<&'static Field> {
        let of_block = || self.block.fields().iter().find(|field| field.answers_to(name));
        self.description.field(name).or_else(of_block)
    }

    fn names(&self) -> Vec<&'static str> {
        let own = self.description.all_fields().chain(self.block.fields());
        let without_effect = self.description.without_effect.iter().copied();
        own.flat_map(Field::names).chain(without_effect).collect()
    }

    fn item(&self, index: usize, item: &MetadataItem, sink: &mut Sink<'_>) {
        let place = |key| [METADATA[0], METADATA[1], At(index), Key(key)];
        let own_type = self.description.types.first().copied().unwrap_or_default();
        let Some(field) = self.field(&item.name) else {
            let same = |name: &&str| name.eq_ignore_ascii_case(&item.name);
            if self.description.open || self.description.without_effect.iter().any(same) {
                return;
            }
            let (names, message) =
                (self.names(), format!("metadata {} means nothing to {own_type}", item.name));
            return match nearest(&item.name, names.iter().copied()) {
                Some(near) => sink.error(&place("name"), message, format!("did you mean {near}?")),
                None => sink.warning(&place("name"), message, choice(&item.name, &names)),
            };
        };
        if field.exact_case && !field.names().any(|name| name == item.name) {
            let message = format!("metadata {} is read only when it is spelt {}", item.name, field.name);
            sink.error(&place("name"), message, format!("write {}", field.name));
        }
        let Some(text) = literal(item) else { return };
        if text.is_empty() && field.required {
            sink.error(
                &place("value"),
                format!("metadata {} of {own_type} is empty", item.name),
                "add a value",
            );
        }
        if let Err(unfit) = field.kind.check(&text) {
            let message = format!("metadata {} has to be {}, not {text:?}", item.name, unfit.wanted);
            match unfit.lenient {
                true => sink.warning(&place("value"), message, ""),
                false => sink.error(&place("value"), message, ""),
            }
        }
    }

    fn missing(&self, component: &Component, sink: &mut Sink<'_>) {
        let given = |field: &Field| component.metadata.iter().any(|item| field.answers_to(&item.name));
        let instead = |field: &Field| {
            let others = field.instead;
            component.metadata.iter().any(|item| others.iter().any(|o| o.eq_ignore_ascii_case(&item.name)))
        };
        let own_type = component.component_type.as_str();
        for field in self.description.all_fields().filter(|field| !given(field) && !instead(field)) {
            let name = field.name;
            let mend = format!("add it to spec.metadata: - name: {name}");
            if field.required {
                sink.error(&METADATA, format!("{own_type} needs metadata {name}"), mend);
            } else if field.expected {
                sink.warning(&METADATA, format!("{own_type} does little without metadata {name}"), mend);
            }
        }
    }
}

/// Only keys from a secret store encrypt anything.
fn encryption(component: &Component, block: Block, sink: &mut Sink<'_>) {
    if block != Block::State {
        return;
    }
    for (index, item) in component.metadata.iter().enumerate() {
        let key = ["primaryEncryptionKey", "secondaryEncryptionKey"].contains(&item.name.as_str());
        if key && item.secret_key_ref.name.is_empty() {
            let message = format!("{} does not come from a secret store: nothing is encrypted", item.name);
            let place = [METADATA[0], METADATA[1], At(index)];
            sink.error(&place, message, "name the secret in secretKeyRef and the store in auth.secretStore");
        }
    }
}

pub(super) fn base_url(url: &str, sink: &mut Sink<'_>) {
    let place = [Key("spec"), Key("baseUrl")];
    let host = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    match host.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default()) {
        Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => {}
        _ if url.is_empty() => sink.error(&place, "has no baseUrl", "add spec.baseUrl"),
        _ => {
            sink.error(&place, format!("baseUrl {url:?} is no address"), "write http://host or https://host")
        }
    }
}

/// At most one store of an application keeps its actors.
pub(super) fn actor_stores(set: &Set<'_>, findings: &mut Vec<Finding>) {
    let mut known: Vec<&Component> = Vec::new();
    for read in set.documents {
        let Content::Component(component) = &read.document.content else { continue };
        let item = component.metadata.iter().position(|item| {
            item.name.eq_ignore_ascii_case("actorStateStore") && is_truthy(&item.value.text())
        });
        let Some(item) = item.filter(|_| Block::of(&component.component_type) == Some(Block::State)) else {
            continue;
        };
        if let Some(other) = known.iter().find(|other| super::references::meet(component, other, set)) {
            let mut sink = Sink { document: &read.document, findings };
            let message = format!("is a second actor state store beside {} ({})", other.name, other.source);
            sink.error(&[METADATA[0], METADATA[1], At(item)], message, "mark one store only, or set scopes");
        }
        known.push(component);
    }
}
