//! The effective policy of a target and where each part of it comes from, for
//! people who wonder why a call was retried.

use std::fmt;

use dapr_gocompat::duration::format_duration;
use dapr_resources::resiliency::PolicyNames;

use crate::observe::PolicyKind;
use crate::policies::{describe_breaker, describe_retry};
use crate::resolve::{
    Builtin, Direction, Kind, Policies, actor_levels, app_levels, component_levels, default_policies,
};

/// What to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    App(String),
    ActorType(String),
    Component { name: String, kind: Kind, direction: Direction },
    Builtin(Builtin),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(id) => write!(f, "app {id}"),
            Self::ActorType(name) => write!(f, "actor type {name}"),
            Self::Component { name, kind, direction } => {
                let direction = direction.as_str().to_lowercase();
                write!(f, "{} component {name} ({direction})", kind.as_str())
            }
            Self::Builtin(builtin) => f.write_str(builtin.name()),
        }
    }
}

/// Where a part of the policy comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The target is listed and names this policy.
    Named,
    /// The target is listed and names no policy: defaults do not apply.
    NamedOmits,
    /// The target is listed and names a policy that does not exist.
    NamedUnknown,
    /// The target is not listed; a default policy exists.
    Default,
    /// Neither.
    Absent,
    /// Part of the runtime.
    Builtin,
}

impl Origin {
    /// As the metadata API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::NamedOmits => "namedWithout",
            Self::NamedUnknown => "namedUnknown",
            Self::Default => "default",
            Self::Absent => "none",
            Self::Builtin => "builtin",
        }
    }
}

/// One part of the effective policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub kind: PolicyKind,
    pub origin: Origin,
    /// Name of the policy; empty where none was named.
    pub policy: String,
    /// What it does; empty where none applies.
    pub effect: String,
}

/// The effective policy of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub target: Target,
    pub choices: Vec<Choice>,
}

impl Policies {
    /// Explains the policy that calls to `target` get.
    pub fn explain(&self, target: Target) -> Explanation {
        let tables = self.tables();
        let (listed, names) = match &target {
            Target::Builtin(builtin) => return self.explain_builtin(*builtin),
            Target::App(id) => (tables.apps.get(id).map(|t| &t.names), app_levels()),
            Target::ActorType(name) => (tables.actors.get(name).map(|t| &t.names), actor_levels()),
            Target::Component { name, kind, direction } => {
                let of = tables.components.get(name).map(|t| match direction {
                    Direction::Inbound => &t.inbound,
                    Direction::Outbound => &t.outbound,
                });
                (of, component_levels(*kind, *direction))
            }
        };
        let defaults;
        let (named, names) = match listed {
            Some(names) => (true, names),
            None => {
                defaults = default_policies(tables, &names);
                (false, &defaults)
            }
        };
        let choices = self.choices(named, names);
        Explanation { target, choices }
    }

    fn choices(&self, named: bool, names: &PolicyNames) -> Vec<Choice> {
        let tables = self.tables();
        let choice = |kind, policy: &str, effect: Option<String>| {
            let origin = match (named, policy.is_empty(), effect.is_some()) {
                (true, true, _) => Origin::NamedOmits,
                (true, false, true) => Origin::Named,
                (true, false, false) => Origin::NamedUnknown,
                (false, true, _) => Origin::Absent,
                (false, false, _) => Origin::Default,
            };
            Choice { kind, origin, policy: policy.to_owned(), effect: effect.unwrap_or_default() }
        };
        let timeout = tables.timeouts.get(&names.timeout).map(|d| format_duration(*d));
        let retry = tables.retries.get(&names.retry).map(|c| describe_retry(c));
        let breaker = tables.breakers.get(&names.circuit_breaker).map(describe_breaker);
        vec![
            choice(PolicyKind::Timeout, &names.timeout, timeout),
            choice(PolicyKind::Retry, &names.retry, retry),
            choice(PolicyKind::CircuitBreaker, &names.circuit_breaker, breaker),
        ]
    }

    fn explain_builtin(&self, builtin: Builtin) -> Explanation {
        let policy = self.builtin(builtin);
        let choice = Choice {
            kind: PolicyKind::Retry,
            origin: Origin::Builtin,
            policy: builtin.name().to_owned(),
            effect: policy.retry().map(describe_retry).unwrap_or_default(),
        };
        Explanation { target: Target::Builtin(builtin), choices: vec![choice] }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.target)?;
        for Choice { kind, origin, policy, effect } in &self.choices {
            write!(f, "\n  {}: ", kind.as_str())?;
            match origin {
                Origin::Named => write!(f, "{effect} ({policy}, named by the target)")?,
                Origin::NamedOmits => {
                    write!(f, "none (the target is listed without one, so defaults do not apply)")?;
                }
                Origin::NamedUnknown => write!(f, "none (the target names {policy}, which does not exist)")?,
                Origin::Default => write!(f, "{effect} ({policy}, a default)")?,
                Origin::Absent => write!(f, "none (the target is not listed and there is no default)")?,
                Origin::Builtin => write!(f, "{effect} (built in)")?,
            }
        }
        Ok(())
    }
}
