use dapr_components::description::{Block, Description};
use dapr_components::registry::{Registry, TypeName};
use dapr_resources::configuration::AccessControlSpec;

/// What only the sidecar can judge. An error is a sentence about what is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Checks {
    /// Whether the expression of a subscription's rule compiles.
    pub route: fn(&str) -> Result<(), String>,
    /// Whether `spec.accessControl` compiles.
    pub access_control: fn(&AccessControlSpec) -> Result<(), String>,
}

/// What a build can run.
#[derive(Clone, Debug)]
pub struct Catalogue {
    pub(crate) types: Vec<TypeName>,
    pub(crate) resolvers: Vec<String>,
    descriptions: Vec<&'static Description>,
    pub(crate) checks: Checks,
}

impl Catalogue {
    pub fn new(registry: &Registry, checks: Checks) -> Self {
        Self {
            types: registry.component_types(),
            resolvers: registry.name_resolvers.types().into_iter().map(str::to_owned).collect(),
            descriptions: registry.descriptions.clone(),
            checks,
        }
    }

    pub(crate) fn find(&self, component_type: &str) -> Option<&TypeName> {
        self.types.iter().find(|known| known.name.eq_ignore_ascii_case(component_type))
    }

    pub(crate) fn description(&self, component_type: &str, version: &str) -> Option<&'static Description> {
        self.descriptions.iter().find(|about| about.is_about(component_type, version)).copied()
    }

    pub(crate) fn names_of(&self, block: Option<Block>) -> Vec<&str> {
        let wanted = |known: &&TypeName| block.is_none_or(|block| known.block == block);
        self.types.iter().filter(wanted).map(|known| known.name.as_str()).collect()
    }
}
