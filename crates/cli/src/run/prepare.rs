//! Making a [`RunConfig`] ready to start: identity, folders, ports, sizes,
//! addresses (cli.md §4.1).

use std::path::{Path, PathBuf};

use dapr_gocompat::quantity::parse_quantity;
use dapr_gocompat::quote::quote;
use dapr_resources::loader::{LoadContext, load_components};
use dapr_resources::yaml::{Dialect, parse_first};

use super::config::RunConfig;
use super::names;
use super::ports::Ports;
use crate::instances::Sidecar;
use crate::layout::{Layout, stat_error};

const PLACEMENT_PORT: u16 = 50005;
const SCHEDULER_PORT: u16 = 50006;

/// Settles everything that depends on the machine. Ports stay held in `ports`.
/// `namespace` is the variable `NAMESPACE`, which the sidecar will see too.
pub(super) fn prepare(
    config: &mut RunConfig,
    layout: &Layout,
    namespace: Option<&str>,
    running: &[Sidecar],
    ports: &mut Ports,
) -> Result<(), String> {
    config.apply_defaults();
    if config.app_id.is_empty() {
        config.app_id = names::fresh(|name| running.iter().any(|one| one.app_id == name));
    }
    check_resources(config, layout, namespace)?;
    config.app_port = config.app_port.max(0);
    if config.app_port > 0 {
        ports.avoid(config.app_port);
    }
    settle_ports(config, ports)?;
    if config.shared.app_max_concurrency < 1 {
        config.shared.app_max_concurrency = -1;
    }
    check_size(&mut config.shared.max_body_size, "max request body size")?;
    check_size(&mut config.shared.read_buffer_size, "http read buffer size")?;
    let placement = config.shared.placement.as_deref().unwrap_or("localhost");
    config.shared.placement = Some(with_port(placement, PLACEMENT_PORT));
    if let Some(scheduler) = &config.shared.scheduler {
        config.shared.scheduler = Some(with_port(scheduler, SCHEDULER_PORT));
    }
    Ok(())
}

/// The folders that were named must exist. The default ones come into being
/// here, so that nothing needs to be installed first; a default configuration
/// file that is not there is not used.
fn check_resources(config: &mut RunConfig, layout: &Layout, namespace: Option<&str>) -> Result<(), String> {
    let (defaults, default_config) = (layout.components(), layout.config());
    let shared = &mut config.shared;
    if Path::new(&shared.config_file) == default_config && !default_config.exists() {
        shared.config_file.clear();
    }
    let paths = match shared.resources_paths.is_empty() {
        true => vec![shared.components_path.clone()],
        false => shared.resources_paths.clone(),
    };
    let all = || format!("[{}]", paths.iter().map(|path| quote(path)).collect::<Vec<_>>().join(" "));
    for path in paths.iter().map(Path::new) {
        if path == defaults {
            // When this fails the check says what is missing.
            let _ = std::fs::create_dir_all(path);
        }
        if let Err(error) = path.metadata() {
            let reason = stat_error(path, &error);
            return Err(format!("error validating resources path {} : {reason}", all()));
        }
    }
    let folders: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    let whom = LoadContext { app_id: config.app_id.clone(), namespace_env: namespace.map(str::to_owned) };
    load_components(&folders, &whom)
        .map_err(|error| format!("error validating components in resources path {} : {error}", all()))?;
    if !shared.resources_paths.is_empty() {
        shared.components_path.clear();
    }
    Ok(())
}

fn settle_ports(config: &mut RunConfig, ports: &mut Ports) -> Result<(), String> {
    // With sockets there is no API port, but the numbers are still handed out:
    // the sidecar's flags and the application's environment carry them.
    config.http_port = ports.settle("HTTPPort", config.http_port)?;
    config.grpc_port = ports.settle("GRPCPort", config.grpc_port)?;
    config.metrics_port = ports.settle("MetricsPort", config.metrics_port)?;
    config.internal_grpc_port = ports.settle("InternalGRPCPort", config.internal_grpc_port)?;
    if config.shared.enable_profiling {
        config.profile_port = ports.settle("ProfilePort", config.profile_port)?;
    }
    Ok(())
}

fn check_size(size: &mut String, name: &str) -> Result<(), String> {
    let bytes = parse_quantity(size).map_err(|error| format!("invalid {name}: {error}"))?;
    if bytes < 0 {
        "-1".clone_into(size);
    }
    Ok(())
}

/// Adds the port of the service where the address has none; nothing stays
/// nothing.
fn with_port(address: &str, port: u16) -> String {
    match address.trim() {
        "" => String::new(),
        address if address.contains(':') => address.to_owned(),
        address => format!("{address}:{port}"),
    }
}

/// Whether the configuration file turns mutual TLS on.
pub(super) fn wants_mtls(config_file: &str) -> bool {
    let enabled = || {
        let text = std::fs::read_to_string(config_file).ok()?;
        let json = parse_first(&text).ok()??.to_json(Dialect::Configuration).ok()?;
        json.pointer("/spec/mtls/enabled")?.as_bool()
    };
    !config_file.is_empty() && enabled().unwrap_or(false)
}

/// The files of the two API sockets.
pub(super) fn sockets(config: &RunConfig) -> Vec<PathBuf> {
    let path = |kind| crate::http_client::socket_path(&config.unix_domain_socket, &config.app_id, kind);
    if config.unix_domain_socket.is_empty() { Vec::new() } else { vec![path("http"), path("grpc")] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(change: impl FnOnce(&mut RunConfig, &Layout)) -> Result<RunConfig, String> {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::new(home.path());
        let mut config = RunConfig::default();
        config.shared.components_path = layout.components().to_string_lossy().into_owned();
        config.shared.config_file = layout.config().to_string_lossy().into_owned();
        change(&mut config, &layout);
        prepare(&mut config, &layout, None, &[], &mut Ports::default()).map(|()| config)
    }

    #[test]
    fn nothing_needs_to_be_installed() {
        let config = ready(|_, _| {}).unwrap();
        assert!(config.app_id.contains('-'), "{}", config.app_id);
        assert!(config.http_port > 0 && config.grpc_port > 0 && config.metrics_port > 0);
        assert_eq!((config.app_port, config.profile_port), (0, -1));
        assert_eq!(config.shared.config_file, "");
        assert_eq!(config.shared.placement.as_deref(), Some("localhost:50005"));
        assert_eq!(config.shared.scheduler, None);
    }

    #[test]
    fn a_named_folder_must_exist() {
        let error =
            ready(|config, _| config.shared.resources_paths = vec!["/no/such".to_owned()]).unwrap_err();
        assert_eq!(
            error,
            r#"error validating resources path ["/no/such"] : stat /no/such: no such file or directory"#
        );
    }

    #[test]
    fn components_must_not_repeat() {
        let error = ready(|_, layout| {
            std::fs::create_dir_all(layout.components()).unwrap();
            let one = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: a}\nspec: {type: state.x, version: v1}\n";
            std::fs::write(layout.components().join("a.yaml"), format!("{one}---\n{one}")).unwrap();
        })
        .unwrap_err();
        assert!(error.starts_with("error validating components in resources path [\""), "{error}");
    }

    #[test]
    fn addresses_get_their_port_or_stay_empty() {
        let config = ready(|config, _| {
            config.shared.placement = Some(String::new());
            config.shared.scheduler = Some("host".to_owned());
        })
        .unwrap();
        assert_eq!(config.shared.placement.as_deref(), Some(""));
        assert_eq!(config.shared.scheduler.as_deref(), Some("host:50006"));
        assert_eq!(with_port("h:1", 2), "h:1");
    }

    #[test]
    fn sizes_are_quantities() {
        let error = ready(|config, _| config.shared.max_body_size = "x".to_owned()).unwrap_err();
        assert!(error.starts_with("invalid max request body size: "), "{error}");
        let config = ready(|config, _| config.shared.max_body_size = "-5Mi".to_owned()).unwrap();
        assert_eq!(config.shared.max_body_size, "-1");
    }

    #[test]
    fn mtls_is_read_from_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, "kind: Configuration\nspec:\n  mtls:\n    enabled: true\n").unwrap();
        assert!(wants_mtls(&file.to_string_lossy()));
        std::fs::write(&file, "spec: {}\n").unwrap();
        assert!(!wants_mtls(&file.to_string_lossy()));
        assert!(!wants_mtls("/no/such"));
    }
}
