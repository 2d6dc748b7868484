//! Where the resources of a sidecar come from: folders and files, or the
//! operator of a cluster (runtime.md §3.1, §3.2). The start and hot reload ask
//! here, and know no modes.

mod built;
mod folders;
mod operator;
mod watch;

use std::time::Duration;

use dapr_kernel::tasks::TaskGroup;
use dapr_resources::configuration::Configuration;
use dapr_resources::loader::{LoadContext, Loaded};
use dapr_resources::{Component, HttpEndpoint, Resiliency, Subscription};
use dapr_security::Security;

use crate::options::{Mode, Options};
use crate::processor::SecretRefs;
use folders::{FolderWatch, Folders};
use operator::{Feeds, Operator};

pub use built::Built;
pub use operator::Served;

/// Time between two full comparisons when the flag does not say (runtime.md §17).
const DEFAULT_RECONCILE_INTERVAL: Duration = Duration::from_secs(60);

/// Where resources are read.
pub enum Source {
    Folders(Folders),
    Operator(Operator),
}

/// Resources as they are now, for hot reload. `None`: not known at the moment.
#[derive(Default)]
pub struct Now {
    pub components: Option<Loaded<Component>>,
    pub subscriptions: Option<Loaded<Subscription>>,
    /// Something changed that the sidecar is built from.
    pub restart: bool,
}

impl Source {
    /// In a cluster, waits for the operator, which knows us by our identity.
    pub async fn open(options: &Options, security: &Security, tasks: &TaskGroup) -> Result<Self, String> {
        let identity = &options.identity;
        let context = LoadContext {
            app_id: identity.app_id().to_owned(),
            namespace_env: Some(identity.namespace_env().to_owned()),
        };
        Ok(match &options.mode {
            Mode::Standalone(places) => Self::Folders(Folders::new(places.clone(), context)),
            Mode::Kubernetes(cluster) => {
                let namespace = identity.namespace().to_owned();
                let operator =
                    Operator::connect(cluster.clone(), namespace, context, security.clone(), tasks.clone());
                Self::Operator(operator.await?)
            }
        })
    }

    pub async fn configuration(&mut self) -> Result<Configuration, String> {
        match self {
            Self::Folders(folders) => folders.configuration(),
            Self::Operator(operator) => operator.configuration().await,
        }
    }

    /// What is wrong with them is never fatal.
    pub async fn resiliencies(&mut self) -> Loaded<Resiliency> {
        match self {
            Self::Folders(folders) => folders.resiliencies(),
            Self::Operator(operator) => operator.resiliencies().await,
        }
    }

    /// The resources of a kind that are meant for this app.
    pub async fn load<T: Served>(&self) -> Result<Loaded<T>, String> {
        match self {
            Self::Folders(folders) => folders.load(),
            Self::Operator(operator) => operator.load().await,
        }
    }

    pub async fn http_endpoints(&mut self) -> Result<Loaded<HttpEndpoint>, String> {
        match self {
            Self::Folders(folders) => folders.load(),
            Self::Operator(operator) => operator.http_endpoints().await,
        }
    }

    /// All subscriptions, whomever they are meant for.
    pub async fn subscriptions(&self) -> Result<Loaded<Subscription>, String> {
        match self {
            Self::Folders(folders) => folders.subscriptions(),
            Self::Operator(operator) => operator.subscriptions().await,
        }
    }

    /// A component that is there without a resource.
    pub fn builtin_component(&self) -> Option<Component> {
        match self {
            Self::Folders(_) => None,
            Self::Operator(operator) => operator.builtin_component(),
        }
    }

    pub fn secret_refs(&self) -> SecretRefs {
        match self {
            Self::Folders(_) => SecretRefs::Stores,
            Self::Operator(_) => SecretRefs::Operator,
        }
    }

    /// Begins to notice changes; to be called before resources are loaded, so
    /// that none is missed.
    pub fn watch(&mut self, interval: Duration) -> Result<Changes, String> {
        let interval = if interval.is_zero() { DEFAULT_RECONCILE_INTERVAL } else { interval };
        let place = match self {
            Self::Folders(folders) => Place::Folders(folders.watch()?),
            Self::Operator(operator) => Place::Operator(operator.watch(interval)),
        };
        Ok(Changes { place, interval })
    }

    /// What the sidecar was built from, as far as changes of it are noticed.
    pub fn built(&self) -> Built {
        match self {
            Self::Folders(folders) => folders.built(),
            Self::Operator(operator) => operator.built(),
        }
    }
}

/// Notices changes of the resources.
pub struct Changes {
    place: Place,
    /// Between two full comparisons.
    pub interval: Duration,
}

enum Place {
    Folders(FolderWatch),
    Operator(Feeds),
}

impl Changes {
    /// Returns once changes are noticed.
    pub fn established(&self) -> impl Future<Output = ()> + Send + 'static {
        let feeds = match &self.place {
            Place::Folders(_) => None,
            Place::Operator(feeds) => Some(feeds.clone()),
        };
        async move {
            if let Some(feeds) = feeds {
                feeds.opened().await;
            }
        }
    }

    /// Resolves after a change. Cancelling loses nothing.
    pub async fn next(&mut self) {
        match &mut self.place {
            Place::Folders(watch) => watch.changed().await,
            Place::Operator(feeds) => feeds.changed().await,
        }
    }

    /// Everything as it is now; `Err` when that is fatal.
    pub fn read(&self, built: &Built) -> Result<Now, String> {
        match &self.place {
            Place::Folders(watch) => watch.read(built),
            Place::Operator(feeds) => Ok(feeds.read(built)),
        }
    }
}
