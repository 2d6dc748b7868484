//! The documents of a file with everything that is wrong about their shape: for
//! tools that judge files before anything runs. Loading (runtime.md §3) is
//! lenient where this is not, and both read through the same decoders.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::configuration::{File, default_node, merge};
use crate::decode::{DecodeError, Notes, UnknownField, decode, decode_noting};
use crate::resource::{Manifest, TypeMeta, check_name};
use crate::source::Source;
use crate::subscription::SubscriptionV1;
use crate::yaml::{Dialect, Kind, Node, parse_first, parse_first_at, split_documents};
use crate::{
    Component, Configuration, HttpEndpoint, McpServer, Resiliency, Resource, Subscription,
    WorkflowAccessPolicy,
};

/// Values of a wrong type that one document is looked through for.
const MAX_MISMATCHES: usize = 64;

/// Kinds and the versions they have.
pub const KINDS: [(&str, &[&str]); 7] = [
    (Component::KIND, &[Component::API_VERSION]),
    ("Configuration", &["dapr.io/v1alpha1"]),
    (HttpEndpoint::KIND, &[HttpEndpoint::API_VERSION]),
    (McpServer::KIND, &[McpServer::API_VERSION]),
    (Resiliency::KIND, &[Resiliency::API_VERSION]),
    (Subscription::KIND, &[Subscription::API_VERSION, SubscriptionV1::API_VERSION]),
    (WorkflowAccessPolicy::KIND, &[WorkflowAccessPolicy::API_VERSION]),
];

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// From a resource folder: every document counts.
    Resources,
    /// Named by `--config`: the first document counts, whatever kind it says.
    Configuration,
}

/// One document that is not empty.
#[derive(Clone, Debug)]
pub struct Document {
    pub source: Source,
    pub api_version: String,
    pub kind: String,
    pub name: String,
    /// `None` when the text is not YAML.
    pub node: Option<Node>,
    pub content: Content,
    pub problems: Vec<Problem>,
}

/// What a document holds; fields that could not be read are at their default.
#[derive(Clone, Debug)]
pub enum Content {
    Component(Box<Component>),
    Configuration(Box<Configuration>),
    HttpEndpoint(Box<HttpEndpoint>),
    McpServer(Box<McpServer>),
    Resiliency(Box<Resiliency>),
    Subscription(Box<Subscription>),
    WorkflowAccessPolicy(Box<WorkflowAccessPolicy>),
    /// Not YAML, or of no known kind and version.
    Unknown,
}

/// Something wrong about the shape of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from one.
    pub line: usize,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    NotYaml(String),
    UnknownField(UnknownField),
    /// `path` is `spec.metadata.value`; the words are the decoder's.
    WrongType {
        path: String,
        got: String,
        want: String,
    },
    /// A value that its field's own rules refuse.
    Refused {
        path: String,
        reason: String,
    },
    /// The key stands there twice: the later one counts.
    Repeated {
        key: String,
        first: usize,
    },
    BadName(String),
}

/// The documents of a file.
pub fn inspect(text: &str, file: &Path, role: Role) -> Vec<Document> {
    let source = |document, line| Source { file: file.to_owned(), document, line };
    if role == Role::Configuration {
        let parsed = parse_first(text).transpose();
        return parsed.map(|parsed| document(parsed, source(0, 1), role)).into_iter().collect();
    }
    let chunks = split_documents(text).into_iter().enumerate();
    chunks
        .filter_map(|(index, chunk)| {
            let parsed = parse_first_at(chunk.text, chunk.line).transpose()?;
            Some(document(parsed, source(index, chunk.line), role))
        })
        .collect()
}

fn document(parsed: Result<Node, crate::yaml::YamlError>, source: Source, role: Role) -> Document {
    let mut document = Document {
        source,
        api_version: String::new(),
        kind: String::new(),
        name: String::new(),
        node: None,
        content: Content::Unknown,
        problems: Vec::new(),
    };
    let node = match parsed {
        Ok(node) => node,
        Err(error) => {
            let what = What::NotYaml(error.problem);
            document.problems.push(Problem { line: error.line, what });
            return document;
        }
    };
    repetitions(&node, &mut document.problems);
    document.source.line = document.source.line.max(node.line);
    match decode::<TypeMeta>(&node, Dialect::Resource, "document") {
        Ok(meta) => {
            (document.api_version, document.kind) = (meta.api_version, meta.kind);
            document.name = meta.metadata.name;
        }
        Err(error) => document.problems.push(problem(&error)),
    }
    if let Err(reason) = check_name(&document.name, &document.kind) {
        document.problems.push(Problem { line: node.line, what: What::BadName(reason) });
    }
    document.content = content(&node, &mut document, role);
    document.node = Some(node);
    document
}

fn content(node: &Node, document: &mut Document, role: Role) -> Content {
    let source = document.source.clone();
    let version = document.api_version.as_str();
    let problems = &mut document.problems;
    macro_rules! read {
        ($kind:ident) => {
            resource::<$kind>(node, source, problems)
                .map_or(Content::Unknown, |it| Content::$kind(Box::new(it)))
        };
    }
    match (document.kind.as_str(), version) {
        _ if role == Role::Configuration => configuration(node, problems),
        ("Configuration", "dapr.io/v1alpha1") => configuration(node, problems),
        (Component::KIND, Component::API_VERSION) => read!(Component),
        (HttpEndpoint::KIND, HttpEndpoint::API_VERSION) => read!(HttpEndpoint),
        (McpServer::KIND, McpServer::API_VERSION) => read!(McpServer),
        (Resiliency::KIND, Resiliency::API_VERSION) => read!(Resiliency),
        (Subscription::KIND, Subscription::API_VERSION) => read!(Subscription),
        (Subscription::KIND, SubscriptionV1::API_VERSION) => {
            resource::<SubscriptionV1>(node, source, problems)
                .map_or(Content::Unknown, |old| Content::Subscription(Box::new(old.0)))
        }
        (WorkflowAccessPolicy::KIND, WorkflowAccessPolicy::API_VERSION) => read!(WorkflowAccessPolicy),
        _ => Content::Unknown,
    }
}

fn resource<T: Resource>(node: &Node, source: Source, problems: &mut Vec<Problem>) -> Option<T> {
    let (manifest, _) = readable::<Manifest<T::Spec>>(node, Dialect::Resource, T::KIND, problems)?;
    Some(T::from_manifest(manifest, source))
}

fn configuration(node: &Node, problems: &mut Vec<Problem>) -> Content {
    const DIALECT: Dialect = Dialect::Configuration;
    let Some((_, node)) = readable::<File>(node, DIALECT, "Configuration", problems) else {
        return Content::Unknown;
    };
    let merged = merge(default_node(), node.clone(), DIALECT).map_err(DecodeError::from);
    let read = merged.map_err(Into::into).and_then(|merged| Configuration::from_merged(&merged, DIALECT));
    match read {
        Ok(configuration) => Content::Configuration(Box::new(configuration)),
        Err(error) => {
            let at = ["spec", "secrets"].iter().try_fold(&node, |at, key| at.get(key, DIALECT));
            let line = at.map_or(node.line, |at| at.line);
            let what = What::Refused { path: "spec.secrets".to_owned(), reason: error.to_string() };
            problems.push(Problem { line, what });
            Content::Unknown
        }
    }
}

/// Decodes what can be: values of a wrong type are taken down and left out.
/// Also the node that was decoded in the end.
fn readable<T: DeserializeOwned>(
    node: &Node,
    dialect: Dialect,
    root: &str,
    problems: &mut Vec<Problem>,
) -> Option<(T, Node)> {
    let mut node = node.clone();
    for _ in 0..MAX_MISMATCHES {
        let notes = Notes::default();
        let error = match decode_noting::<T>(&node, dialect, root, &notes) {
            Ok(value) => {
                problems.extend(notes.into_fields().into_iter().map(unknown));
                return Some((value, node));
            }
            Err(error) => error,
        };
        problems.push(problem(&error));
        if !blank(&mut node, &error.path, error.line) {
            problems.extend(notes.into_fields().into_iter().map(unknown));
            return None;
        }
    }
    None
}

fn unknown(field: UnknownField) -> Problem {
    Problem { line: field.line, what: What::UnknownField(field) }
}

fn problem(error: &DecodeError) -> Problem {
    let path = error.path.join(".");
    let what = match error.mismatch() {
        Some((got, want)) => What::WrongType { path, got: got.to_owned(), want: want.to_owned() },
        None if path.is_empty() => What::NotYaml(error.problem()),
        None => What::Refused { path, reason: error.problem() },
    };
    Problem { line: error.line, what }
}

/// Makes the value at `path` that starts on `line` a null.
fn blank(node: &mut Node, path: &[String], line: usize) -> bool {
    if path.is_empty() && node.line == line && !node.is_null() {
        *node = Node::null(line);
        return true;
    }
    match (&mut node.kind, path) {
        (Kind::Sequence(items), _) => items.iter_mut().any(|item| blank(item, path, line)),
        (Kind::Mapping(pairs), [key, rest @ ..]) => pairs.iter_mut().any(|(name, value)| {
            let same = matches!(&name.kind, Kind::Scalar(s) if s.text.eq_ignore_ascii_case(key));
            same && blank(value, rest, line)
        }),
        _ => false,
    }
}

fn repetitions(node: &Node, problems: &mut Vec<Problem>) {
    match &node.kind {
        Kind::Scalar(_) => {}
        Kind::Sequence(items) => items.iter().for_each(|item| repetitions(item, problems)),
        Kind::Mapping(pairs) => {
            for (index, (key, value)) in pairs.iter().enumerate() {
                repetitions(value, problems);
                let Kind::Scalar(text) = &key.kind else { continue };
                if text.text == "<<" {
                    continue;
                }
                if let Some((first, _)) = pairs[..index].iter().find(|(other, _)| other.kind == key.kind) {
                    let what = What::Repeated { key: text.text.clone(), first: first.line };
                    problems.push(Problem { line: key.line, what });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Document {
        let mut documents = inspect(text, Path::new("a.yaml"), Role::Resources);
        assert_eq!(documents.len(), 1);
        documents.remove(0)
    }

    fn whats(document: &Document) -> Vec<(usize, String)> {
        let shown = |problem: &Problem| match &problem.what {
            What::UnknownField(field) => format!("unknown {}", field.key),
            What::WrongType { path, got, want } => format!("{path}: {got} for {want}"),
            What::Refused { path, reason } => format!("{path}: {reason}"),
            What::Repeated { key, first } => format!("{key} again after {first}"),
            What::NotYaml(reason) | What::BadName(reason) => reason.clone(),
        };
        document.problems.iter().map(|problem| (problem.line, shown(problem))).collect()
    }

    #[test]
    fn all_that_is_wrong_is_found_at_once() {
        let document = one("apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: store
  labels: {a: b}
spec:
  type: [state.redis]
  verison: v1
  ignoreErrors: 'yes please'
  metadata:
  - name: a
    value: 1
    secretKeyRef: x
  - nmae: b
    name: c
    name: d
scpoes: []
");
        let Content::Component(component) = &document.content else { panic!("{document:?}") };
        assert_eq!((component.name.as_str(), component.metadata.len()), ("store", 2));
        let mut found = whats(&document);
        found.sort();
        assert_eq!(
            found,
            [
                (7, "spec.type: array for string".to_owned()),
                (8, "unknown verison".to_owned()),
                (9, "spec.ignoreErrors: string for bool".to_owned()),
                (13, "spec.metadata.secretKeyRef: string for SecretKeyRef".to_owned()),
                (14, "unknown nmae".to_owned()),
                (16, "name again after 15".to_owned()),
                (17, "unknown scpoes".to_owned()),
            ]
        );
    }

    #[test]
    fn configurations_are_read_as_the_sidecar_reads_them() {
        let text = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nspec:\n  Tracing: {}\n  metrics:\n    enabled: maybe\n";
        let document = one(text);
        assert!(matches!(document.content, Content::Configuration(_)));
        assert_eq!(
            whats(&document),
            [(6, "spec.metrics.enabled: !!str for bool".to_owned()), (4, "unknown Tracing".to_owned())]
        );
        let bare = inspect("spec: {}\n---\nx: 1\n", Path::new("c.yaml"), Role::Configuration);
        assert!(matches!(bare[..], [Document { content: Content::Configuration(_), .. }]));
        assert_eq!(whats(&bare[0]), []);
    }

    #[test]
    fn broken_text_is_one_problem_of_its_document() {
        let documents =
            inspect("kind: Component\n---\na: [\n---\nkind: X\n", Path::new("a.yaml"), Role::Resources);
        assert_eq!(documents.len(), 3);
        assert_eq!(documents[1].problems.len(), 1);
        assert!(documents[1].node.is_none() && documents[1].problems[0].line >= 3);
    }
}
