//! What a document says it is, and fields that are not there or of the wrong
//! type.

use dapr_resources::inspect::{Content, KINDS, Problem, Role, What};

use dapr_resources::yaml::Kind;

use super::Sink;
use crate::Severity;
use crate::gather::Read;
use crate::place::Step::Key;
use crate::suggest::{choice, nearest};

const GROUP: &str = "dapr.io/";

pub(super) fn check(read: &Read, sink: &mut Sink<'_>) {
    for problem in &read.document.problems {
        tell(problem, sink);
    }
    if read.document.node.is_some() {
        kind(read, sink);
        name(read, sink);
    }
}

fn kind(read: &Read, sink: &mut Sink<'_>) {
    let (kind, version) = (read.document.kind.as_str(), read.document.api_version.as_str());
    let kinds = KINDS.map(|(kind, _)| kind);
    if read.role == Role::Configuration {
        if !kind.is_empty() && kind != "Configuration" {
            let mend = "name a file with a Configuration in --config".to_owned();
            sink.warning(&[Key("kind")], format!("is read as a Configuration, but is a {kind}"), mend);
        }
        if !version.is_empty() && version != "dapr.io/v1alpha1" {
            let message = format!("unknown apiVersion {version} of a Configuration");
            sink.warning(&[Key("apiVersion")], message, "did you mean dapr.io/v1alpha1?");
        }
        return;
    }
    if let Some((_, versions)) = KINDS.iter().find(|(known, _)| *known == kind) {
        if version.is_empty() {
            let mend = format!("add apiVersion: {}", versions[0]);
            missing("apiVersion", &mend, read, sink);
        } else if !versions.contains(&version) {
            let message = format!("unknown apiVersion {version} of a {kind}: it is skipped");
            sink.error(&[Key("apiVersion")], message, choice(version, versions));
        }
        return;
    }
    let ours = version.starts_with(GROUP);
    match (kind, nearest(kind, kinds)) {
        ("", _) if ours => missing("kind", &format!("kinds: {}", kinds.join(", ")), read, sink),
        // A run file may live beside the resources.
        ("", _) if version.is_empty() && is_run_file(read) => {}
        ("", _) => sink.warning(&[], "is no resource: it has no kind and is skipped", ""),
        (_, None) if !ours => {}
        _ => sink.error(&[Key("kind")], format!("unknown kind {kind}: it is skipped"), choice(kind, &kinds)),
    }
}

/// Tells that `key` is not there, at the place of a slip if there is one.
fn missing(key: &str, mend: &str, read: &Read, sink: &mut Sink<'_>) {
    let slip = read.document.node.as_ref().and_then(|node| {
        let Kind::Mapping(pairs) = &node.kind else { return None };
        let keys = pairs.iter().filter_map(|(name, _)| match &name.kind {
            Kind::Scalar(scalar) => Some(scalar.text.as_str()),
            _ => None,
        });
        nearest(key, keys)
    });
    match slip {
        Some(slip) => {
            let message = format!("unknown field {slip}: the document is skipped");
            sink.error(&[Key(slip)], message, format!("did you mean {key}?"));
        }
        None => sink.error(&[], format!("has no {key}: it is skipped"), mend),
    }
}

fn is_run_file(read: &Read) -> bool {
    let has = |key: &str| {
        let node = read.document.node.as_ref();
        node.is_some_and(|node| node.get(key, dapr_resources::yaml::Dialect::Configuration).is_some())
    };
    has("version") && has("apps")
}

fn name(read: &Read, sink: &mut Sink<'_>) {
    let nameless = read.document.name.is_empty();
    match &read.document.content {
        Content::Unknown | Content::Configuration(_) => {}
        Content::Component(_) | Content::HttpEndpoint(_) | Content::McpServer(_) if nameless => {
            sink.error(&[Key("metadata")], "has no name: nothing can refer to it", "add metadata.name");
        }
        _ if nameless => sink.warning(&[Key("metadata")], "has no name", "add metadata.name"),
        _ => {}
    }
}

fn tell(problem: &Problem, sink: &mut Sink<'_>) {
    let (severity, message, mend) = match &problem.what {
        What::NotYaml(reason) => (Severity::Error, format!("cannot be read: {reason}"), String::new()),
        What::UnknownField(field) => {
            // A word that is near to a field is a slip; another may be meant for
            // another release.
            let near = nearest(&field.key, field.known.iter().copied());
            let severity = if near.is_some() { Severity::Error } else { Severity::Warning };
            (severity, format!("unknown field {}", field.key), choice(&field.key, field.known))
        }
        What::WrongType { path, got, want } => {
            let message = format!("{path} has to be {}, not {}", in_words(want), in_words(got));
            (Severity::Error, message, String::new())
        }
        What::Refused { path, reason } => (Severity::Error, format!("{path}: {reason}"), String::new()),
        What::Repeated { key, first } => {
            let message = format!("{key} is given twice: the one on line {first} has no effect");
            (Severity::Error, message, "remove one of them".to_owned())
        }
        What::BadName(reason) => (Severity::Error, reason.clone(), String::new()),
    };
    sink.find(severity, problem.line, message, mend);
}

/// A decoder's word for a type as people say it.
fn in_words(kind: &str) -> &'static str {
    match kind.trim_start_matches("!!") {
        "string" | "str" => "a text",
        "bool" => "true or false",
        "number" | "float" | "float64" => "a number",
        "null" => "nothing",
        "array" | "seq" | "list" => "a list",
        integer if integer.starts_with("int") || integer.starts_with("uint") => "a whole number",
        _ => "a mapping",
    }
}
