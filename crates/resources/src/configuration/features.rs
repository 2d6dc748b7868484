use std::collections::BTreeSet;

use serde::Deserialize;

/// Features that a Configuration switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    ActorStateTtl,
    HotReload,
    WorkflowsClusteredDeployment,
    WorkflowsRemoteActivityReminder,
    WorkflowHistorySigning,
}

/// On unless a Configuration lists them as off.
const ON_BY_DEFAULT: [Feature; 2] = [Feature::HotReload, Feature::WorkflowsRemoteActivityReminder];

impl Feature {
    pub(super) const ALL: [Feature; 5] = [
        Feature::ActorStateTtl,
        Feature::HotReload,
        Feature::WorkflowsClusteredDeployment,
        Feature::WorkflowsRemoteActivityReminder,
        Feature::WorkflowHistorySigning,
    ];

    /// Spelling in Configuration and in the metadata API.
    pub fn name(self) -> &'static str {
        match self {
            Feature::ActorStateTtl => "ActorStateTTL",
            Feature::HotReload => "HotReload",
            Feature::WorkflowsClusteredDeployment => "WorkflowsClusteredDeployment",
            Feature::WorkflowsRemoteActivityReminder => "WorkflowsRemoteActivityReminder",
            Feature::WorkflowHistorySigning => "WorkflowHistorySigning",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FeatureSpec {
    pub name: String,
    pub enabled: bool,
}

pub(super) fn with_defaults(mut listed: Vec<FeatureSpec>) -> Vec<FeatureSpec> {
    for feature in ON_BY_DEFAULT {
        if !listed.iter().any(|spec| spec.name == feature.name()) {
            listed.push(FeatureSpec { name: feature.name().to_owned(), enabled: true });
        }
    }
    listed
}

/// Of entries with the same name the last counts.
pub(super) fn enabled(listed: &[FeatureSpec]) -> BTreeSet<&str> {
    let mut enabled = BTreeSet::new();
    for spec in listed.iter().filter(|spec| !spec.name.is_empty()) {
        if spec.enabled {
            enabled.insert(spec.name.as_str());
        } else {
            enabled.remove(spec.name.as_str());
        }
    }
    enabled
}
