//! From a type name to a constructor. Registration is explicit: a façade
//! crate calls `register_*` once per type; nothing runs before `main`.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::bindings::{InputBinding, OutputBinding};
use crate::configuration::ConfigurationStore;
use crate::conversation::Conversation;
use crate::crypto::CryptoProvider;
use crate::description::{Block, Description};
use crate::lock::LockStore;
use crate::middleware::HttpMiddleware;
use crate::nameresolution::{NameResolver, ResolverContext};
use crate::pubsub::PubSub;
use crate::secrets::SecretStore;
use crate::state::StateStore;
use crate::{InitContext, InitError};

/// A component on its way.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<Arc<T>, InitError>> + Send>>;
/// Makes one component.
pub type Constructor<C, T> = Arc<dyn Fn(C) -> Pending<T> + Send + Sync>;

/// Constructors of one building block.
pub struct Kind<T: ?Sized, C = InitContext> {
    by_type: HashMap<String, Versions<C, T>>,
}

enum Versions<C, T: ?Sized> {
    /// `""`, `v0` and `v1` all mean this one.
    Unversioned(Constructor<C, T>),
    /// Explicit versions with the one that an empty version means.
    Explicit { default: &'static str, versions: HashMap<&'static str, Constructor<C, T>> },
}

impl<T: ?Sized, C> Default for Kind<T, C> {
    fn default() -> Self {
        Self { by_type: HashMap::new() }
    }
}

impl<T: ?Sized, C: Send + 'static> Kind<T, C> {
    /// `name` is the full type, such as `state.redis`; it may be given several
    /// times for aliases.
    pub fn register<F, Fut>(&mut self, name: &str, constructor: F)
    where
        F: Fn(C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Arc<T>, InitError>> + Send + 'static,
    {
        let boxed: Constructor<C, T> = Arc::new(move |context| Box::pin(constructor(context)));
        self.by_type.insert(name.to_lowercase(), Versions::Unversioned(boxed));
    }

    /// Registers one version of a type that has several; `default` is the one
    /// that an empty version means.
    pub fn register_version<F, Fut>(&mut self, name: &str, version: &'static str, default: &'static str, f: F)
    where
        F: Fn(C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Arc<T>, InitError>> + Send + 'static,
    {
        let boxed: Constructor<C, T> = Arc::new(move |context| Box::pin(f(context)));
        let entry = self
            .by_type
            .entry(name.to_lowercase())
            .or_insert_with(|| Versions::Explicit { default, versions: HashMap::new() });
        if let Versions::Explicit { versions, .. } = entry {
            versions.insert(version, boxed);
        }
    }

    /// Type and version compare without regard to case.
    pub fn find(&self, component_type: &str, version: &str) -> Option<Constructor<C, T>> {
        let version = version.to_lowercase();
        match self.by_type.get(&component_type.to_lowercase())? {
            Versions::Unversioned(c) => matches!(version.as_str(), "" | "v0" | "v1").then(|| c.clone()),
            Versions::Explicit { default, versions } => {
                let wanted = if version.is_empty() { *default } else { version.as_str() };
                versions.get(wanted).cloned()
            }
        }
    }

    /// The versions that a type has by name; empty for a type without several,
    /// `None` for one that is not registered.
    pub fn versions(&self, component_type: &str) -> Option<Vec<&'static str>> {
        Some(match self.by_type.get(&component_type.to_lowercase())? {
            Versions::Unversioned(_) => Vec::new(),
            Versions::Explicit { versions, .. } => {
                let mut names: Vec<_> = versions.keys().copied().collect();
                names.sort_unstable();
                names
            }
        })
    }

    /// Registered full type names, sorted: for `--help`, lint and suggestions.
    pub fn types(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.by_type.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

/// Every component type that this build contains.
#[derive(Default)]
pub struct Registry {
    pub state: Kind<dyn StateStore>,
    pub pubsub: Kind<dyn PubSub>,
    pub input_bindings: Kind<dyn InputBinding>,
    pub output_bindings: Kind<dyn OutputBinding>,
    pub secret_stores: Kind<dyn SecretStore>,
    pub configuration: Kind<dyn ConfigurationStore>,
    pub conversation: Kind<dyn Conversation>,
    pub crypto: Kind<dyn CryptoProvider>,
    pub locks: Kind<dyn LockStore>,
    pub middleware: Kind<dyn HttpMiddleware>,
    pub name_resolvers: Kind<dyn NameResolver, ResolverContext>,
    /// What the types' metadata may hold.
    pub descriptions: Vec<&'static Description>,
}

/// A type as something that can be named: see [`Registry::component_types`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeName {
    /// Full, lower-cased.
    pub name: String,
    pub block: Block,
    /// Versions of a type that has several by name.
    pub versions: Vec<&'static str>,
}

impl Registry {
    /// Every type that a Component can have, sorted by name.
    pub fn component_types(&self) -> Vec<TypeName> {
        fn add<T: ?Sized>(all: &mut Vec<TypeName>, kind: &Kind<T>, block: Block) {
            for name in kind.types() {
                let versions = kind.versions(name).unwrap_or_default();
                all.push(TypeName { name: name.to_owned(), block, versions });
            }
        }
        let mut all = Vec::new();
        add(&mut all, &self.state, Block::State);
        add(&mut all, &self.pubsub, Block::PubSub);
        add(&mut all, &self.input_bindings, Block::Bindings);
        add(&mut all, &self.output_bindings, Block::Bindings);
        add(&mut all, &self.secret_stores, Block::Secrets);
        add(&mut all, &self.configuration, Block::Configuration);
        add(&mut all, &self.conversation, Block::Conversation);
        add(&mut all, &self.crypto, Block::Crypto);
        add(&mut all, &self.locks, Block::Lock);
        add(&mut all, &self.middleware, Block::Middleware);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|a, b| a.name == b.name);
        all
    }

    /// Publishes what the metadata of types may hold.
    pub fn describe(&mut self, descriptions: &[&'static Description]) {
        self.descriptions.extend_from_slice(descriptions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> Kind<str, ()> {
        let mut kind = Kind::<str, ()>::default();
        kind.register("state.Plain", |()| async { Ok(Arc::from("plain")) });
        kind.register_version("state.two", "v1", "v1", |()| async { Ok(Arc::from("one")) });
        kind.register_version("state.two", "v2", "v1", |()| async { Ok(Arc::from("two")) });
        kind
    }

    #[test]
    fn unversioned_types_answer_to_the_three_first_versions() {
        let kind = kind();
        for version in ["", "v0", "V1"] {
            assert!(kind.find("STATE.plain", version).is_some(), "{version}");
        }
        assert!(kind.find("state.plain", "v2").is_none());
        assert!(kind.find("state.none", "").is_none());
    }

    #[tokio::test]
    async fn versioned_types_have_a_default_and_no_v0() {
        let kind = kind();
        assert_eq!(&*kind.find("state.two", "").unwrap()(()).await.unwrap(), "one");
        assert_eq!(&*kind.find("state.two", "v2").unwrap()(()).await.unwrap(), "two");
        assert!(kind.find("state.two", "v0").is_none());
    }
}
