//! Which policy a call gets.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use dapr_resources::resiliency::PolicyNames;
use lru::LruCache;
use parking_lot::Mutex;

use crate::breaker::CircuitBreaker;
use crate::core::RetryConfig;
use crate::observe::{Attachment, Flow, Meter, Observer, Source};
use crate::policies::{ActorScope, BreakerTemplate, PoliciesBuilder, Tables};
use crate::policy::{Policy, PolicyParts};

/// Policies kept, with their breakers, per application that a default applies to.
const DEFAULT_APP_POLICIES: NonZeroUsize = NonZeroUsize::new(100).expect("not zero");
/// Applications and actor types that such are kept for, and places with meters.
const DEFAULT_TARGETS: NonZeroUsize = NonZeroUsize::new(1000).expect("not zero");

/// Type of a component, as default policy names spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Binding,
    Configuration,
    Lock,
    Pubsub,
    Crypto,
    Conversation,
    Secretstore,
    Statestore,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Binding,
        Self::Configuration,
        Self::Lock,
        Self::Pubsub,
        Self::Crypto,
        Self::Conversation,
        Self::Secretstore,
        Self::Statestore,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binding => "Binding",
            Self::Configuration => "Configuration",
            Self::Lock => "Lock",
            Self::Pubsub => "Pubsub",
            Self::Crypto => "Crypto",
            Self::Conversation => "Conversation",
            Self::Secretstore => "Secretstore",
            Self::Statestore => "Statestore",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the component to the application.
    Inbound,
    Outbound,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "Inbound",
            Self::Outbound => "Outbound",
        }
    }
}

/// Policies that replace what used to be fixed retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    ServiceRetries,
    ActorRetries,
    ActorReminderRetries,
    ActorNotFoundRetries,
    InitializationRetries,
}

impl Builtin {
    pub const ALL: [Self; 5] = [
        Self::ServiceRetries,
        Self::ActorRetries,
        Self::ActorReminderRetries,
        Self::ActorNotFoundRetries,
        Self::InitializationRetries,
    ];

    /// The name under which a resource may override it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceRetries => "DaprBuiltInServiceRetries",
            Self::ActorRetries => "DaprBuiltInActorRetries",
            Self::ActorReminderRetries => "DaprBuiltInActorReminderRetries",
            Self::ActorNotFoundRetries => "DaprBuiltInActorNotFoundRetries",
            Self::InitializationRetries => "DaprBuiltInInitializationRetries",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|b| b.name() == name)
    }
}

/// PolicyNames looked up.
#[derive(Clone, Debug, Default)]
struct Bound {
    timeout: Option<Duration>,
    retry: Option<Arc<RetryConfig>>,
    /// With the name of the policy.
    breaker: Option<Arc<(String, BreakerTemplate)>>,
}

impl Bound {
    fn new(tables: &Tables, names: &PolicyNames) -> Self {
        Self {
            timeout: tables.timeouts.get(&names.timeout).copied().filter(|d| !d.is_zero()),
            retry: tables.retries.get(&names.retry).cloned(),
            breaker: tables
                .breakers
                .get_key_value(&names.circuit_breaker)
                .map(|(name, template)| Arc::new((name.clone(), template.clone()))),
        }
    }

    fn is_empty(&self) -> bool {
        self.timeout.is_none() && self.retry.is_none() && self.breaker.is_none()
    }

    fn parts(&self, breaker: Option<Arc<CircuitBreaker>>) -> PolicyParts {
        PolicyParts { timeout: self.timeout, retry: self.retry.clone(), breaker }
    }
}

type BreakerCache = LruCache<String, Arc<CircuitBreaker>>;

fn make_breaker(name: String, template: &BreakerTemplate) -> Arc<CircuitBreaker> {
    let now = tokio::time::Instant::now().into_std();
    Arc::new(CircuitBreaker::new(name, template.config, template.trip.clone(), now))
}

fn breaker_of(cache: &mut BreakerCache, key: &str, template: &BreakerTemplate) -> Arc<CircuitBreaker> {
    if let Some(found) = cache.get(key) {
        return Arc::clone(found);
    }
    let made = make_breaker(key.to_owned(), template);
    cache.put(key.to_owned(), Arc::clone(&made));
    made
}

/// The policies of an application by method. A breaker lives as long as the
/// policy that holds it.
type PolicyCache = LruCache<String, Policy>;

fn cache<V>(size: usize) -> Mutex<LruCache<String, V>> {
    // `sparse` does not reserve room for entries that may never come.
    Mutex::new(LruCache::sparse(NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN)))
}

struct NamedApp {
    bound: Bound,
    policies: Mutex<PolicyCache>,
}

struct Named {
    bound: Bound,
    breakers: Mutex<BreakerCache>,
}

struct NamedActor {
    named: Named,
    scope: ActorScope,
}

/// The policies in force: an immutable snapshot with the state of its
/// breakers. Cloning shares both.
#[derive(Clone)]
pub struct Policies(Arc<Inner>);

struct Inner {
    tables: Tables,
    source: Arc<Source>,
    observer: Option<Arc<dyn Observer>>,
    builtins: [Policy; Builtin::ALL.len()],
    apps: HashMap<String, NamedApp>,
    actors: HashMap<String, NamedActor>,
    /// Inbound, outbound.
    components: HashMap<String, [Bound; 2]>,
    default_app: Bound,
    default_actor: Bound,
    default_components: [[Bound; 2]; Kind::ALL.len()],
    default_app_policies: Mutex<LruCache<String, PolicyCache>>,
    default_actor_breakers: Mutex<BreakerCache>,
    /// Bounded by the number of components.
    component_breakers: Mutex<HashMap<String, Arc<CircuitBreaker>>>,
    meters: Mutex<LruCache<(Flow, String), Arc<dyn Meter>>>,
}

impl Default for Policies {
    /// The built-in policies and nothing else.
    fn default() -> Self {
        PoliciesBuilder::new().build()
    }
}

/// PolicyNames of the default policies of one class of targets, from the most
/// specific to the general one; `suffix` is `RetryPolicy` and the like.
pub(crate) fn default_names(levels: &[String], suffix: &str) -> Vec<String> {
    levels.iter().map(String::as_str).chain([""]).map(|level| format!("Default{level}{suffix}")).collect()
}

/// The defaults that exist for a class of targets.
pub(crate) fn default_policies(tables: &Tables, levels: &[String]) -> PolicyNames {
    let pick = |suffix: &str, exists: &dyn Fn(&String) -> bool| {
        default_names(levels, suffix).into_iter().find(|name| exists(name)).unwrap_or_default()
    };
    PolicyNames {
        timeout: pick("TimeoutPolicy", &|n| tables.timeouts.contains_key(n)),
        retry: pick("RetryPolicy", &|n| tables.retries.contains_key(n)),
        circuit_breaker: pick("CircuitBreakerPolicy", &|n| tables.breakers.contains_key(n)),
    }
}

pub(crate) fn app_levels() -> Vec<String> {
    vec!["App".to_owned()]
}

pub(crate) fn actor_levels() -> Vec<String> {
    vec!["Actor".to_owned()]
}

pub(crate) fn component_levels(kind: Kind, direction: Direction) -> Vec<String> {
    let (kind, direction) = (kind.as_str(), direction.as_str());
    vec![format!("{kind}Component{direction}"), format!("Component{direction}"), "Component".to_owned()]
}

impl Policies {
    pub(crate) fn new(tables: Tables, observer: Option<Arc<dyn Observer>>) -> Self {
        let default = |levels: &[String]| Bound::new(&tables, &default_policies(&tables, levels));
        let builtins = Builtin::ALL.map(|builtin| {
            let retry = tables.retries.get(builtin.name()).cloned();
            Policy::new(builtin.name(), PolicyParts { retry, ..PolicyParts::default() })
        });
        let apps = tables.apps.iter().map(|(id, entry)| {
            let policies = cache(entry.cache_size);
            (id.clone(), NamedApp { bound: Bound::new(&tables, &entry.names), policies })
        });
        let actors = tables.actors.iter().map(|(actor_type, entry)| {
            let breakers = cache(entry.cache_size);
            let named = Named { bound: Bound::new(&tables, &entry.names), breakers };
            (actor_type.clone(), NamedActor { named, scope: entry.scope })
        });
        let components = tables.components.iter().map(|(name, target)| {
            (name.clone(), [Bound::new(&tables, &target.inbound), Bound::new(&tables, &target.outbound)])
        });
        let both = [Direction::Inbound, Direction::Outbound];
        let inner = Inner {
            builtins,
            apps: apps.collect(),
            actors: actors.collect(),
            components: components.collect(),
            default_app: default(&app_levels()),
            default_actor: default(&actor_levels()),
            default_components: Kind::ALL.map(|kind| both.map(|d| default(&component_levels(kind, d)))),
            default_app_policies: Mutex::new(LruCache::sparse(DEFAULT_TARGETS)),
            default_actor_breakers: Mutex::new(LruCache::sparse(DEFAULT_TARGETS)),
            component_breakers: Mutex::default(),
            meters: Mutex::new(LruCache::sparse(DEFAULT_TARGETS)),
            source: Arc::new(tables.source.clone()),
            observer,
            tables,
        };
        Self(Arc::new(inner))
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.0.tables
    }

    /// Whether `spec.targets.apps` lists the application: its own policy then
    /// replaces the built-in service retries.
    pub fn has_app(&self, id: &str) -> bool {
        self.0.apps.contains_key(id)
    }

    pub fn has_actor(&self, actor_type: &str) -> bool {
        self.0.actors.contains_key(actor_type)
    }

    pub fn has_component(&self, name: &str) -> bool {
        self.0.components.contains_key(name)
    }

    /// The policy of a call to `method` of the application `id`.
    pub fn app_method(&self, id: &str, method: &str) -> Policy {
        self.app(id, ":", method)
    }

    /// The policy of a call to `method` of the HTTPEndpoint `id`.
    pub fn http_endpoint(&self, id: &str, method: &str) -> Policy {
        self.app(id, "/", method)
    }

    fn app(&self, id: &str, separator: &str, method: &str) -> Policy {
        let inner = &*self.0;
        let named = inner.apps.get(id);
        let bound = named.map_or(&inner.default_app, |n| &n.bound);
        if bound.is_empty() {
            return Policy::NONE;
        }
        let key = [id, separator, method].concat();
        let make = || {
            let breaker = bound.breaker.as_deref().map(|(_, template)| make_breaker(key.clone(), template));
            Policy::with_metrics(bound.parts(breaker), || {
                (format!("endpoint[{id}, {key}]"), inner.meter(Flow::Outbound, || format!("app_{id}")))
            })
        };
        match named {
            Some(named) => named.policies.lock().get_or_insert_ref(&*key, make).clone(),
            None => {
                let mut apps = inner.default_app_policies.lock();
                let of_app = apps.get_or_insert_mut_ref(id, || LruCache::sparse(DEFAULT_APP_POLICIES));
                of_app.get_or_insert_ref(&*key, make).clone()
            }
        }
    }

    /// Retry and breaker of an actor call; they wrap the wait for the actor's
    /// lock.
    pub fn actor_pre_lock(&self, actor_type: &str, id: &str) -> Policy {
        let inner = &*self.0;
        let named = inner.actors.get(actor_type);
        let bound = named.map_or(&inner.default_actor, |n| &n.named.bound);
        if bound.retry.is_none() && bound.breaker.is_none() {
            return Policy::NONE;
        }
        let breaker = bound.breaker.as_deref().map(|(_, template)| match named {
            Some(NamedActor { named, scope: ActorScope::Id }) => {
                breaker_of(&mut named.breakers.lock(), &format!("{actor_type}-{id}"), template)
            }
            Some(NamedActor { named, scope: ActorScope::Type }) => {
                breaker_of(&mut named.breakers.lock(), actor_type, template)
            }
            None => breaker_of(&mut inner.default_actor_breakers.lock(), actor_type, template),
        });
        let parts = PolicyParts { timeout: None, ..bound.parts(breaker) };
        inner.actor_policy(parts, actor_type, id)
    }

    /// Timeout of an actor call; it counts from the moment the lock is held.
    pub fn actor_post_lock(&self, actor_type: &str, id: &str) -> Policy {
        let inner = &*self.0;
        let bound = inner.actors.get(actor_type).map_or(&inner.default_actor, |n| &n.named.bound);
        let parts = PolicyParts { timeout: bound.timeout, ..PolicyParts::default() };
        inner.actor_policy(parts, actor_type, id)
    }

    /// The policy of calls to, or deliveries from, the component `name`. It
    /// does not change for the life of this value: resolve once, keep.
    pub fn component(&self, name: &str, kind: Kind, direction: Direction) -> Policy {
        let inner = &*self.0;
        let bounds = inner.components.get(name).unwrap_or(&inner.default_components[kind as usize]);
        let bound = &bounds[direction as usize];
        if bound.is_empty() {
            return Policy::NONE;
        }
        let breaker = bound.breaker.as_deref().map(|(policy, template)| {
            let mut breakers = inner.component_breakers.lock();
            let breaker = breakers
                .entry(name.to_owned())
                .or_insert_with(|| make_breaker(format!("{policy}-{name}"), template));
            Arc::clone(breaker)
        });
        Policy::with_metrics(bound.parts(breaker), || {
            let (word, flow) = match direction {
                Direction::Inbound => ("input", Flow::Inbound),
                Direction::Outbound => ("output", Flow::Outbound),
            };
            let target = || format!("{}_{name}", kind.as_str());
            (format!("component[{name}] {word}"), inner.meter(flow, target))
        })
    }

    /// A built-in policy, as shipped or as overridden. These have no metrics.
    pub fn builtin(&self, builtin: Builtin) -> Policy {
        self.0.builtins[builtin as usize].clone()
    }
}

impl Inner {
    fn actor_policy(&self, parts: PolicyParts, actor_type: &str, id: &str) -> Policy {
        Policy::with_metrics(parts, || {
            let metrics = self.meter(Flow::Outbound, || format!("actor_{actor_type}"));
            (format!("actor[{actor_type}, {id}]"), metrics)
        })
    }

    fn meter(&self, flow: Flow, target: impl FnOnce() -> String) -> Option<Arc<dyn Meter>> {
        let observer = self.observer.as_ref()?;
        let place = (flow, target());
        let mut meters = self.meters.lock();
        if let Some(meter) = meters.get(&place) {
            return Some(Arc::clone(meter));
        }
        let at = Attachment { source: Arc::clone(&self.source), flow, target: place.1.clone() };
        let meter = observer.meter(at);
        meters.put(place, Arc::clone(&meter));
        Some(meter)
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
