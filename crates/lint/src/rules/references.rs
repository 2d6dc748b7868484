//! Names that have to be found elsewhere: secrets, applications, and names that
//! must not be found twice.

use std::path::Path;

use dapr_gocompat::bools::is_truthy;
use dapr_resources::inspect::{Content, Document};
use dapr_resources::metadata::secret_refs;
use dapr_resources::{Component, KUBERNETES_SECRET_STORE, MetadataItem, Resource};
use serde_json::Value;

use super::{Set, Sink, literal};
use crate::Finding;
use crate::place::Step::{self, At, Key};
use crate::suggest::choice;

/// Name, namespace and scopes of any resource.
struct Identity<'a> {
    name: &'a str,
    namespace: &'a str,
    scopes: &'a [String],
}

fn identity(document: &Document) -> Option<Identity<'_>> {
    fn of<T: Resource>(resource: &T) -> Identity<'_> {
        Identity { name: resource.name(), namespace: resource.namespace(), scopes: resource.scopes() }
    }
    Some(match &document.content {
        Content::Component(resource) => of(&**resource),
        Content::HttpEndpoint(resource) => of(&**resource),
        Content::McpServer(resource) => of(&**resource),
        Content::Resiliency(resource) => of(&**resource),
        Content::Subscription(resource) => of(&**resource),
        Content::WorkflowAccessPolicy(resource) => of(&**resource),
        Content::Configuration(_) | Content::Unknown => return None,
    })
}

pub(super) fn scopes(document: &Document, set: &Set<'_>, sink: &mut Sink<'_>) {
    let Some(identity) = identity(document) else { return };
    for (index, scope) in identity.scopes.iter().enumerate() {
        let place = [Key("scopes"), At(index)];
        if scope.is_empty() {
            sink.warning(&place, "scopes holds an empty name", "name an application or remove it");
        }
        let Some(apps) = &set.job.apps else { continue };
        if !scope.is_empty() && !apps.contains(scope) {
            let apps: Vec<&str> = apps.iter().map(String::as_str).collect();
            sink.warning(
                &place,
                format!("scopes names {scope}, which is no application"),
                choice(scope, &apps),
            );
        }
    }
}

/// Whether two resources of one kind can be loaded by the same application.
fn overlap(a: &[String], b: &[String], set: &Set<'_>) -> bool {
    let holds = |scopes: &[String], app: &String| scopes.is_empty() || scopes.contains(app);
    if let Some(app) = &set.job.app {
        return holds(a, app) && holds(b, app);
    }
    match &set.job.apps {
        Some(apps) => apps.iter().any(|app| holds(a, app) && holds(b, app)),
        None => a.is_empty() || b.is_empty() || a.iter().any(|app| b.contains(app)),
    }
}

pub(super) fn meet(a: &Component, b: &Component, set: &Set<'_>) -> bool {
    overlap(&a.scopes, &b.scopes, set) && (a.namespace == b.namespace)
}

/// Kinds in which names have to be unique; of Resiliency and Subscription they
/// need not be (runtime.md §3.1).
const UNIQUE: [&str; 4] = ["Component", "HTTPEndpoint", "MCPServer", "WorkflowAccessPolicy"];

pub(super) fn duplicates(set: &Set<'_>, findings: &mut Vec<Finding>) {
    let mut known: Vec<(&Document, Identity<'_>)> = Vec::new();
    for read in set.documents {
        let document = &read.document;
        let Some(identity) = identity(document).filter(|_| UNIQUE.contains(&document.kind.as_str())) else {
            continue;
        };
        let same = |(other, theirs): &&(&Document, Identity<'_>)| {
            other.kind == document.kind
                && theirs.name == identity.name
                && theirs.namespace == identity.namespace
                && overlap(theirs.scopes, identity.scopes, set)
        };
        if let Some((other, _)) = known.iter().find(same).filter(|_| !identity.name.is_empty()) {
            let mut sink = Sink { document, findings };
            let message = format!("the name is taken by {}: the sidecar does not start", other.source);
            sink.error(&[Key("metadata"), Key("name")], message, "rename one of them, or set scopes");
        }
        known.push((document, identity));
    }
}

/// Secrets that items at `place` ask for.
pub(super) fn secrets(
    items: &[MetadataItem],
    store: &str,
    place: &[Step<'_>; 2],
    set: &Set<'_>,
    sink: &mut Sink<'_>,
) {
    for (index, item) in items.iter().enumerate() {
        if item.secret_key_ref.name.is_empty() && !item.secret_key_ref.key.is_empty() {
            let at = [place[0], place[1], At(index), Key("secretKeyRef")];
            sink.error(&at, format!("the secret of {} has no name", item.name), "add secretKeyRef.name");
        }
    }
    let wanted = secret_refs(items);
    let Some(first) = wanted.first() else { return };
    if store.is_empty() {
        let at = [place[0], place[1], At(first.item), Key("secretKeyRef")];
        let message = format!("{} asks for a secret, but no secret store is named", first.property);
        return sink.error(&at, message, "add auth.secretStore with the name of a secret store");
    }
    if store == KUBERNETES_SECRET_STORE || !set.is_whole() {
        return;
    }
    let Some(component) = set.components().find(|c| c.name == store && is_secret_store(c)) else {
        let message = format!("there is no secret store {store}");
        let mend = choice(store, &set.names_of("secretstores."));
        return sink.error(&[Key("auth"), Key("secretStore")], message, mend);
    };
    let Some(file) = SecretsFile::of(component, set) else { return };
    for reference in wanted.iter().filter(|reference| !file.has(&reference.secret, &reference.key)) {
        let at = [place[0], place[1], At(reference.item), Key("secretKeyRef")];
        let message = match reference.secret == reference.key {
            true => format!("{} has no secret {}", file.path, reference.secret),
            false => format!("{} has no key {} in a secret {}", file.path, reference.key, reference.secret),
        };
        let names = file.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        sink.error(&at, message, choice(&reference.secret, &names));
    }
}

fn is_secret_store(component: &Component) -> bool {
    component.component_type.to_lowercase().starts_with("secretstores.")
}

/// The file behind a `secretstores.local.file` (components.md §6).
struct SecretsFile {
    path: String,
    values: Value,
    separator: String,
    multi_valued: bool,
}

impl SecretsFile {
    /// `None` for another store, and for a file that cannot be read from here.
    fn of(component: &Component, set: &Set<'_>) -> Option<Self> {
        if !component.component_type.eq_ignore_ascii_case("secretstores.local.file") {
            return None;
        }
        let text = |name: &str| {
            let item = component.metadata.iter().find(|item| item.name.eq_ignore_ascii_case(name))?;
            literal(item).filter(|text| !text.is_empty())
        };
        let path = text("secretsFile")?;
        let file = set.job.working_folder.as_ref()?.join(Path::new(&path));
        let values: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        Some(Self {
            path,
            values,
            separator: text("nestedSeparator").unwrap_or_else(|| ":".to_owned()),
            multi_valued: text("multiValued").is_some_and(|word| is_truthy(&word)),
        })
    }

    fn has(&self, secret: &str, key: &str) -> bool {
        match self.multi_valued {
            // Below the name anything may be nested.
            true => self.values.get(secret).is_some(),
            false => secret == key && self.names().iter().any(|name| name == secret),
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        if let Value::Object(fields) = &self.values {
            for (name, value) in fields {
                match self.multi_valued {
                    true => names.push(name.clone()),
                    false => self.collect(name.clone(), value, &mut names),
                }
            }
        }
        names
    }

    fn collect(&self, name: String, value: &Value, names: &mut Vec<String>) {
        let inside = |key: &str| format!("{name}{}{key}", self.separator);
        match value {
            Value::Object(fields) => fields.iter().for_each(|(k, v)| self.collect(inside(k), v, names)),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, v)| self.collect(inside(&i.to_string()), v, names));
            }
            _ => names.push(name),
        }
    }
}
