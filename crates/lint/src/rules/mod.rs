//! The rules, one file a subject.

mod component;
mod configuration;
mod references;
mod resiliency;
mod shape;
mod subscription;

use dapr_resources::inspect::{Content, Document};
use dapr_resources::{Component, MetadataItem};

use crate::catalogue::Catalogue;
use crate::gather::Read;
use crate::place::{self, Step};
use crate::{Finding, Job, Severity};

/// Everything that is checked together.
pub(crate) struct Set<'a> {
    pub documents: &'a [Read],
    pub job: &'a Job,
    pub catalogue: &'a Catalogue,
}

impl<'a> Set<'a> {
    /// Whether a resource that is not here is nowhere.
    fn is_whole(&self) -> bool {
        !self.job.folders.is_empty()
    }

    fn components(&self) -> impl Iterator<Item = &'a Component> + use<'a> {
        self.documents.iter().filter_map(|read| match &read.document.content {
            Content::Component(component) => Some(&**component),
            _ => None,
        })
    }

    /// Names of components whose type starts like that.
    fn names_of(&self, prefix: &str) -> Vec<&'a str> {
        let wanted = |component: &&Component| component.component_type.to_lowercase().starts_with(prefix);
        self.components().filter(wanted).map(|component| component.name.as_str()).collect()
    }
}

/// Takes findings about one document.
pub(crate) struct Sink<'a> {
    document: &'a Document,
    findings: &'a mut Vec<Finding>,
}

impl Sink<'_> {
    fn error(&mut self, path: &[Step<'_>], message: impl Into<String>, mend: impl Into<String>) {
        self.find(Severity::Error, self.line(path), message.into(), mend.into());
    }

    fn warning(&mut self, path: &[Step<'_>], message: impl Into<String>, mend: impl Into<String>) {
        self.find(Severity::Warning, self.line(path), message.into(), mend.into());
    }

    fn line(&self, path: &[Step<'_>]) -> usize {
        self.document.node.as_ref().map_or(self.document.source.line, |node| place::line(node, path))
    }

    fn find(&mut self, severity: Severity, line: usize, message: String, mend: String) {
        let resource = match (self.document.kind.as_str(), self.document.name.as_str()) {
            (kind, "") => kind.to_owned(),
            (kind, name) => format!("{kind} {name}").trim_start().to_owned(),
        };
        // A finding is one line; some compilers draw.
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        let file = self.document.source.file.clone();
        self.findings.push(Finding { file, line: line.max(1), severity, resource, message, mend });
    }
}

pub(crate) fn run(set: &Set<'_>, findings: &mut Vec<Finding>) {
    for read in set.documents {
        let document = &read.document;
        let mut sink = Sink { document, findings };
        shape::check(read, &mut sink);
        references::scopes(document, set, &mut sink);
        match &document.content {
            Content::Component(component) => {
                component::check(component, set, &mut sink);
                let place = [Step::Key("spec"), Step::Key("metadata")];
                references::secrets(
                    &component.metadata,
                    &component.auth_secret_store,
                    &place,
                    set,
                    &mut sink,
                );
            }
            Content::Configuration(configuration) => configuration::check(configuration, set, &mut sink),
            Content::HttpEndpoint(endpoint) => {
                component::base_url(&endpoint.base_url, &mut sink);
                let place = [Step::Key("spec"), Step::Key("headers")];
                references::secrets(&endpoint.headers, &endpoint.auth_secret_store, &place, set, &mut sink);
            }
            Content::Resiliency(resiliency) => resiliency::check(resiliency, set, &mut sink),
            Content::Subscription(subscription) => subscription::check(subscription, set, &mut sink),
            Content::McpServer(_) | Content::WorkflowAccessPolicy(_) | Content::Unknown => {}
        }
    }
    references::duplicates(set, findings);
    component::actor_stores(set, findings);
}

/// Whether an item has a text that is known before anything runs.
fn literal(item: &MetadataItem) -> Option<String> {
    const PLACEHOLDERS: [&str; 4] = ["{uuid}", "{podName}", "{namespace}", "{appID}"];
    if item.value.is_empty() || !item.secret_key_ref.name.is_empty() {
        return None;
    }
    let text = item.value.text();
    (!PLACEHOLDERS.iter().any(|placeholder| text.contains(placeholder))).then_some(text)
}
