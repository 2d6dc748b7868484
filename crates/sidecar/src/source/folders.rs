//! Resources from folders, configuration from files (runtime.md §3.1).

use dapr_resources::configuration::Configuration;
use dapr_resources::loader::{
    LoadContext, Loaded, ResourceFiles, load_configuration, load_resiliency, load_subscriptions,
};
use dapr_resources::template::ProcessEnv;
use dapr_resources::{Resiliency, Resource, Subscription};

use super::Now;
use super::built::Built;
use super::watch::Watch;
use crate::options::Places;

const SCOPE: &str = "dapr.runtime.hotreload";

/// Folders and files.
pub struct Folders {
    places: Places,
    context: LoadContext,
    built: Built,
}

impl Folders {
    pub fn new(places: Places, context: LoadContext) -> Self {
        Self { places, context, built: Built::default() }
    }

    pub fn configuration(&self) -> Result<Configuration, String> {
        load_configuration(&self.places.config_files, &ProcessEnv).map_err(|e| e.to_string())
    }

    pub fn resiliencies(&self) -> Loaded<Resiliency> {
        load_resiliency(&self.places.resource_dirs, &self.context.app_id)
    }

    pub fn load<T: Resource>(&self) -> Result<Loaded<T>, String> {
        let files = ResourceFiles::read(&self.places.resource_dirs).map_err(|e| e.to_string())?;
        files.load(&self.context).map_err(|e| e.to_string())
    }

    pub fn subscriptions(&self) -> Result<Loaded<Subscription>, String> {
        load_subscriptions(&self.places.resource_dirs).map_err(|e| e.to_string())
    }

    pub fn watch(&mut self) -> Result<FolderWatch, String> {
        let dirs = &self.places.resource_dirs;
        let watch = Watch::new(dirs).map_err(|e| format!("failed to create watcher: {e}"))?;
        let shown: Vec<_> = dirs.iter().map(|d| d.display().to_string()).collect();
        tracing::info!(target: SCOPE, "Watching directories: [{}]", shown.join(", "));
        // Whoever loads the kinds at the start reports what is wrong with them.
        self.built = ResourceFiles::read(dirs)
            .and_then(|files| Built::read(&files, &self.context))
            .unwrap_or_default();
        Ok(FolderWatch { watch, places: self.places.clone(), context: self.context.clone() })
    }

    pub fn built(&self) -> Built {
        self.built.clone()
    }
}

/// Notices changes in the folders.
pub struct FolderWatch {
    watch: Watch,
    places: Places,
    context: LoadContext,
}

impl FolderWatch {
    pub async fn changed(&mut self) {
        self.watch.changed().await;
    }

    pub fn read(&self, built: &Built) -> Result<Now, String> {
        let failed = |error| format!("failed to load resources from disk: {error}");
        let files = ResourceFiles::read(&self.places.resource_dirs).map_err(failed)?;
        let components = files.load(&self.context).map_err(failed)?;
        let now = Built::read(&files, &self.context).map_err(failed)?;
        Ok(Now {
            components: Some(components),
            subscriptions: Some(files.subscriptions()),
            restart: built.differs(&now),
        })
    }
}
