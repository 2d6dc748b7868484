use std::fs;
use std::path::PathBuf;

use super::LoadError;
use crate::configuration::{Configuration, ConfigurationError, default_node, merge};
use crate::template::{EnvSource, expand_env};
use crate::yaml::{Dialect, parse_first};

/// The configuration of a standalone process: the first document of each file,
/// environment variables filled in first, laid over the defaults and over earlier
/// files (runtime.md §3.4).
pub fn load_configuration(paths: &[PathBuf], env: &dyn EnvSource) -> Result<Configuration, LoadError> {
    let mut merged = default_node();
    let mut configuration = Ok(Configuration::default());
    for path in paths {
        fs::metadata(path).map_err(|error| LoadError::io("stat", path, &error))?;
        let bytes = fs::read(path).map_err(|error| LoadError::io("open", path, &error))?;
        let text = expand_env(&String::from_utf8_lossy(&bytes), env);
        let in_file = |error| LoadError::Yaml { path: path.clone(), error };
        let Some(node) = parse_first(&text).map_err(in_file)? else { continue };
        merged = merge(merged, node, Dialect::Configuration).map_err(in_file)?;
        configuration = Configuration::from_merged(&merged, Dialect::Configuration);
        // A value of the wrong type is this file's fault. Rules between values
        // hold for the outcome only: a later file may replace what breaks them.
        if let Err(error @ ConfigurationError::Decode(_)) = configuration {
            return Err(LoadError::Configuration { path: path.clone(), error });
        }
    }
    configuration.map_err(|error| {
        let path = paths.last().cloned().unwrap_or_default();
        LoadError::Configuration { path, error }
    })
}
