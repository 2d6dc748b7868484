//! Where the sidecar runs, and what follows from that.

use std::path::PathBuf;

use dapr_flags::Matches;

use super::{OptionsError, invalid};

/// `--mode`.
#[derive(Clone, Debug)]
pub enum Mode {
    Standalone(Places),
    Kubernetes(Cluster),
}

/// Files with resources and settings.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub config_files: Vec<PathBuf>,
    pub resource_dirs: Vec<PathBuf>,
}

/// What the cluster is asked for.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `host:port`.
    pub operator_address: String,
    /// Name of the Configuration; the first that is given.
    pub configuration: Option<String>,
    /// Whether there is the secret store `kubernetes` without a resource.
    pub builtin_secret_store: bool,
}

impl Mode {
    pub fn is_kubernetes(&self) -> bool {
        matches!(self, Self::Kubernetes(_))
    }

    /// As logs call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Standalone(_) => "standalone",
            Self::Kubernetes(_) => "kubernetes",
        }
    }

    /// Unless a Configuration names one (runtime.md §7).
    pub fn default_name_resolver(&self) -> &'static str {
        match self {
            Self::Standalone(_) => "mdns",
            Self::Kubernetes(_) => "kubernetes",
        }
    }
}

pub(super) fn read(m: &Matches) -> Result<Mode, OptionsError> {
    match m.string("mode") {
        "standalone" => Ok(Mode::Standalone(Places {
            config_files: m.list("config").iter().map(PathBuf::from).collect(),
            resource_dirs: resource_dirs(m),
        })),
        "kubernetes" => Ok(Mode::Kubernetes(cluster(m)?)),
        other => Err(invalid(format!("invalid mode: {other}"))),
    }
}

fn cluster(m: &Matches) -> Result<Cluster, OptionsError> {
    let operator_address = m.string("control-plane-address").to_owned();
    if operator_address.is_empty() {
        return Err(invalid("the address of the operator is required: set --control-plane-address"));
    }
    if m.list("config").len() > 1 {
        tracing::warn!(
            target: "dapr.runtime",
            "Multiple configurations are not supported in Kubernetes mode; only the first one will be loaded"
        );
    }
    Ok(Cluster {
        operator_address,
        configuration: m.list("config").first().filter(|name| !name.is_empty()).cloned(),
        builtin_secret_store: !m.bool("disable-builtin-k8s-secret-store"),
    })
}

fn resource_dirs(m: &Matches) -> Vec<PathBuf> {
    let dirs = m.list("resources-path");
    if !dirs.is_empty() {
        return dirs.iter().map(PathBuf::from).collect();
    }
    Some(m.string("components-path")).filter(|d| !d.is_empty()).map(PathBuf::from).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::parse;

    fn mode(args: &[&str]) -> Result<Mode, String> {
        let matches = parse(args.iter().map(|a| (*a).to_owned()).collect()).unwrap();
        read(&matches).map_err(|e| e.to_string())
    }

    #[test]
    fn a_cluster_has_an_operator_and_one_configuration() {
        let args =
            ["--mode", "kubernetes", "--control-plane-address", "o:443", "--config", "a", "--config", "b"];
        let Mode::Kubernetes(cluster) = mode(&args).unwrap() else { panic!("not in a cluster") };
        assert_eq!(
            (cluster.operator_address.as_str(), cluster.configuration.as_deref()),
            ("o:443", Some("a"))
        );
        assert!(cluster.builtin_secret_store);
        let args = [&args[..4], &["--disable-builtin-k8s-secret-store"]].concat();
        let Mode::Kubernetes(cluster) = mode(&args).unwrap() else { panic!("not in a cluster") };
        assert_eq!((cluster.builtin_secret_store, cluster.configuration), (false, None));
        let error = mode(&["--mode", "kubernetes"]).unwrap_err();
        assert_eq!(error, "the address of the operator is required: set --control-plane-address");
    }

    #[test]
    fn the_older_flag_for_folders_counts_without_the_newer() {
        let Mode::Standalone(places) = mode(&["--components-path", "/c"]).unwrap() else { panic!() };
        assert_eq!(places.resource_dirs, [PathBuf::from("/c")]);
        let both = ["--components-path", "/c", "--resources-path", "/r"];
        let Mode::Standalone(places) = mode(&both).unwrap() else { panic!() };
        assert_eq!(places.resource_dirs, [PathBuf::from("/r")]);
    }
}
