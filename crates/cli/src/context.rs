//! What a command knows of the process it runs in. The environment is read
//! here, once.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;

use dapr_lint::Catalogue;

use crate::layout::{Layout, LayoutError};
use crate::programs::SIDECAR;
use crate::say::Say;
use crate::{MakeCatalogue, Program};

/// The surroundings of one run of the command.
pub(crate) struct Context {
    pub say: Say,
    env: BTreeMap<String, String>,
    /// `--runtime-path`.
    runtime_path: String,
    has_sidecar: bool,
    executable: Option<PathBuf>,
    catalogue: Option<MakeCatalogue>,
}

impl Context {
    pub fn of_process(programs: &[Program], say: Say, runtime_path: &str) -> Self {
        let env = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            say,
            env,
            runtime_path: runtime_path.to_owned(),
            has_sidecar: programs.iter().any(|program| program.name == SIDECAR),
            executable: std::env::current_exe().ok(),
            catalogue: None,
        }
    }

    #[must_use]
    pub fn with_catalogue(self, catalogue: MakeCatalogue) -> Self {
        Self { catalogue: Some(catalogue), ..self }
    }

    /// What the sidecar of this executable can run; `None` without a sidecar.
    pub fn catalogue(&self) -> Option<Catalogue> {
        self.catalogue.map(|make| make())
    }

    pub fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    /// This executable, which can run as `daprd` when [`Context::has_sidecar`].
    pub fn executable(&self) -> Option<&PathBuf> {
        self.executable.as_ref()
    }

    pub fn has_sidecar(&self) -> bool {
        self.has_sidecar
    }

    /// `--runtime-path` as given, trimmed.
    pub fn runtime_path(&self) -> &str {
        self.runtime_path.trim()
    }

    /// The installation of this command.
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        self.layout_at(self.runtime_path())
    }

    /// The installation below `runtime_path`; when that is empty, below
    /// `DAPR_RUNTIME_PATH` or the home directory (cli.md §2).
    pub fn layout_at(&self, runtime_path: &str) -> Result<Layout, LayoutError> {
        let base = [runtime_path.trim(), self.var("DAPR_RUNTIME_PATH").unwrap_or_default().trim()]
            .into_iter()
            .find(|path| !path.is_empty())
            .map_or_else(|| self.home(), |path| Ok(PathBuf::from(path)))?;
        Ok(Layout::new(base))
    }

    pub fn home(&self) -> Result<PathBuf, LayoutError> {
        self.var("HOME").filter(|home| !home.is_empty()).map(PathBuf::from).ok_or(LayoutError::NoHome)
    }

    /// The value of `flag`, or of its environment variable when the flag was
    /// not given.
    pub fn flag_or_env<'a>(&'a self, matches: &'a dapr_flags::Matches, flag: &str) -> &'a str {
        let variable = format!("DAPR_{}", flag.to_uppercase().replace('-', "_"));
        match self.var(&variable).filter(|value| !value.is_empty()) {
            Some(value) if !matches.changed(flag) => value,
            _ => matches.string(flag),
        }
    }

    /// Runs `work` on this thread.
    pub fn block_on<F: Future>(&self, work: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime needs only a few file descriptors")
            .block_on(work)
    }
}
