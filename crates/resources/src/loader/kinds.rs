use super::files::Entry;
use super::{Diagnostic, LoadContext, LoadError, Loaded, ResourceFiles};
use crate::Subscription;
use crate::resource::{Resource, check_name};
use crate::source::Source;
use crate::subscription::SubscriptionV1;
use crate::yaml::Node;

impl ResourceFiles {
    /// The resources of one kind that are meant for this app: namespace, then
    /// duplicate names, then scopes (runtime.md §3.1). A document that is out of
    /// scope never claims a name, but must not repeat one.
    pub fn load<T: Resource>(&self, context: &LoadContext) -> Result<Loaded<T>, LoadError> {
        let Loaded { resources, warnings } = self.all_of_kind::<T>();
        let mut accepted: Vec<T> = Vec::with_capacity(resources.len());
        let mut duplicates = Vec::new();
        for resource in resources {
            if !context.shares_namespace(&resource) {
                continue;
            }
            if let Some(existing) = accepted.iter().find(|known| known.name() == resource.name()) {
                duplicates.push(format!(
                    "duplicate definition of {} name {} with existing {}",
                    T::KIND,
                    resource.log_name(),
                    existing.log_name()
                ));
                continue;
            }
            if resource.is_scoped_to(&context.app_id) {
                accepted.push(resource);
            }
        }
        if duplicates.is_empty() {
            Ok(Loaded { resources: accepted, warnings })
        } else {
            Err(LoadError::Duplicates(duplicates.join("\n")))
        }
    }

    /// All resources of a kind, whomever they are meant for.
    pub fn all_of_kind<T: Resource>(&self) -> Loaded<T> {
        self.collect(T::KIND, |api_version, node, source| {
            (api_version == T::API_VERSION).then(|| T::from_node(node, source))
        })
    }

    /// Subscriptions of both versions, whomever they are meant for.
    pub fn subscriptions(&self) -> Loaded<Subscription> {
        self.collect(Subscription::KIND, |api_version, node, source| match api_version {
            Subscription::API_VERSION => Some(Subscription::from_node(node, source)),
            SubscriptionV1::API_VERSION => Some(SubscriptionV1::from_node(node, source).map(|old| old.0)),
            _ => None,
        })
    }

    fn collect<T>(
        &self,
        kind: &str,
        read: impl Fn(&str, &Node, Source) -> Option<Result<T, crate::DecodeError>>,
    ) -> Loaded<T> {
        let mut loaded = Loaded { resources: Vec::new(), warnings: Vec::new() };
        for entry in &self.entries {
            let (path, documents) = match entry {
                Entry::NotYaml { name } => {
                    loaded.warnings.push(Diagnostic::warning(format!(
                        "A non-YAML {kind} file {name} was detected, it will not be loaded"
                    )));
                    continue;
                }
                Entry::Unreadable { path, reason } => {
                    let path = path.display();
                    loaded.warnings.push(Diagnostic::warning(format!(
                        "daprd load {kind} error when opening file {path}: open {path}: {reason}"
                    )));
                    continue;
                }
                Entry::File { path, documents } => (path, documents),
            };
            let mut problems = Vec::new();
            for document in documents {
                let (meta, node) = match &document.content {
                    Ok(content) => content,
                    Err(error) => {
                        problems.push(error.to_string());
                        continue;
                    }
                };
                if meta.kind != kind {
                    continue;
                }
                let source = Source { file: path.clone(), document: document.index, line: document.line };
                let Some(resource) = read(&meta.api_version, node, source) else { continue };
                match check_name(&meta.metadata.name, kind)
                    .and_then(|()| resource.map_err(|error| error.to_string()))
                {
                    Ok(resource) => loaded.resources.push(resource),
                    Err(problem) => problems.push(problem),
                }
            }
            if !problems.is_empty() {
                loaded.warnings.push(Diagnostic::warning(format!(
                    "daprd load {kind} error when parsing manifests yaml resource in {}: {}",
                    path.display(),
                    problems.join("\n")
                )));
            }
        }
        loaded
    }
}
