//! `dapr init`: lays out the installation folder (cli.md §2, §3). Everything
//! local runs on SQLite files, so neither a container engine nor a download is
//! needed; the flags about those stay accepted.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use dapr_flags::{Command, Flag, FlagGroup, Matches};

use super::{Handler, help_flag, kubernetes_flag, later};
use crate::context::Context;
use crate::layout::{Layout, link_to};
use crate::records::yaml_string;
use crate::run::sidecar::RUNTIME_VERSION;
use crate::say::Level;

const EXAMPLE: &str = "
# Initialize Dapr
dapr init

# Initialize Dapr without default components
dapr init --slim

# Initialize Dapr inside a \".dapr\" directory in another folder
dapr init --runtime-path <path-to-install-directory>
";

const SUCCESS: &str =
    "Success! Dapr is up and running. To get started, go here: https://docs.dapr.io/getting-started";
/// Flags whose only purpose is containers or downloads.
const UNUSED: [&str; 6] = [
    "network",
    "image-registry",
    "from-dir",
    "image-variant",
    "scheduler-volume",
    "scheduler-override-broadcast-host-port",
];

pub(super) fn command() -> Command<Handler> {
    let unused = "Accepted and not used: no container engine is needed";
    Command::<Handler>::new("init", "Install Dapr on this machine. Supported platforms: Self-hosted")
        .example(EXAMPLE)
        .flag(help_flag())
        .flag(Flag::bool("slim", false, "Leave out the default components and configuration").short('s'))
        .flag(Flag::string(
            "runtime-version",
            "latest",
            "The version of the Dapr runtime to install, for example: 1.0.0",
        ))
        .flag(Flag::string("container-runtime", "docker", unused))
        .flag(Flag::string("network", "", unused))
        .flag(Flag::string("image-registry", "", unused))
        .flag(Flag::string("image-variant", "", unused))
        .flag(Flag::string("from-dir", "", "Accepted and not used: nothing is downloaded"))
        .flag(Flag::string("scheduler-volume", "dapr_scheduler", unused))
        .flag(Flag::string("scheduler-override-broadcast-host-port", "", unused))
        .flag(kubernetes_flag())
        .flag(Flag::bool("dev", false, "").hidden())
        .flag(Flag::bool("wait", false, "").hidden())
        .flag(Flag::uint("timeout", 300, "").hidden())
        .flag(Flag::string("namespace", "dapr-system", "").short('n').hidden())
        .flag(Flag::bool("enable-mtls", true, "").hidden())
        .flag(Flag::bool("enable-ha", false, "").hidden())
        .flag(Flag::array("set", "").hidden())
        .flag(Flag::string("ca-root-certificate", "", "").hidden())
        .flag(Flag::string("issuer-private-key", "", "").hidden())
        .flag(Flag::string("issuer-public-certificate", "", "").hidden())
        .group(FlagGroup::Together(vec![
            "ca-root-certificate",
            "issuer-private-key",
            "issuer-public-certificate",
        ]))
        .run(run)
}

fn run(context: &Context, matches: &Matches) -> ExitCode {
    let say = context.say;
    say.out(Level::Pending, "Making the jump to hyperspace...");
    if matches.bool("kubernetes") && !context.runtime_path().is_empty() {
        say.failure("--runtime-path is only valid for self-hosted mode");
        return ExitCode::FAILURE;
    }
    if let Some(code) = later::refuse_kubernetes(context, matches, "init") {
        return code;
    }
    if let Err((level, message)) = check(context, matches) {
        match level {
            Stream::Stdout => say.out(Level::Failure, message),
            Stream::Stderr => say.failure(message),
        }
        return ExitCode::FAILURE;
    }
    match install(context, matches) {
        Ok(()) => {
            say.success(SUCCESS);
            ExitCode::SUCCESS
        }
        Err(message) => {
            say.failure(message);
            ExitCode::FAILURE
        }
    }
}

enum Stream {
    Stdout,
    Stderr,
}

fn check(context: &Context, matches: &Matches) -> Result<(), (Stream, String)> {
    let refuse = |message: String| Err((Stream::Stderr, message));
    let registry = context.flag_or_env(matches, "image-registry").trim();
    let slim = matches.bool("slim");
    if !slim && !registry.is_empty() && !matches.string("from-dir").trim().is_empty() {
        return refuse(
            "both --image-registry and --from-dir flags cannot be given at the same time".to_owned(),
        );
    }
    if !matches!(context.flag_or_env(matches, "container-runtime").trim(), "docker" | "podman") {
        let message = "Invalid container runtime. Supported values are docker and podman.".to_owned();
        return Err((Stream::Stdout, message));
    }
    if !slim && matches!(registry, "ghcr.io" | "docker.io") {
        return refuse(
            r#"flag --image-registry not set correctly. It cannot be "ghcr.io" or "docker.io""#.to_owned(),
        );
    }
    let version = context.flag_or_env(matches, "runtime-version").trim();
    let version = version.strip_prefix('v').unwrap_or(version);
    if !matches!(version, "latest" | RUNTIME_VERSION) {
        return refuse(format!(
            "runtime version {version} is not available: this executable contains {RUNTIME_VERSION} and downloads nothing"
        ));
    }
    Ok(())
}

fn install(context: &Context, matches: &Matches) -> Result<(), String> {
    let say = context.say;
    let layout = context.layout().map_err(|error| error.to_string())?;
    say.info(format!("Installing runtime version {RUNTIME_VERSION}"));
    let daprd = layout.daprd();
    if daprd.symlink_metadata().is_ok() {
        return Err(format!(
            "{} file already exists, please run `dapr uninstall` first before running `dapr init`",
            daprd.display()
        ));
    }
    let executable = match (context.executable(), context.has_sidecar()) {
        (Some(executable), true) => executable,
        _ => return Err("this executable does not contain the sidecar (daprd)".to_owned()),
    };
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| format!("cannot write {path}: {error}")
    };
    let slim = matches.bool("slim");
    write_resources(&layout, slim).map_err(failed(layout.root()))?;
    link_to(&daprd, executable).map_err(failed(&daprd))?;
    say.info(format!("daprd binary has been installed to {}.", layout.bin().display()));
    if UNUSED.iter().any(|flag| matches.changed(flag)) {
        say.info(
            "No container engine is used and nothing is downloaded: the flags about those have no effect.",
        );
    }
    if !slim {
        say.info(format!(
            "State, pub/sub and name resolution use SQLite files in {}; no container is running for them.",
            layout.data().display()
        ));
    }
    Ok(())
}

fn write_resources(layout: &Layout, slim: bool) -> io::Result<()> {
    std::fs::create_dir_all(layout.components())?;
    std::fs::create_dir_all(layout.bin())?;
    if slim {
        return write_new(&layout.config(), &configuration(None));
    }
    let data = std::path::absolute(layout.data())?;
    std::fs::create_dir_all(&data)?;
    let file = |name: &str| data.join(name).to_string_lossy().into_owned();
    let pubsub = component("pubsub", "pubsub.sqlite", &[("connectionString", &file("pubsub.db"))]);
    let state_file = file("state.db");
    let state = component(
        "statestore",
        "state.sqlite",
        &[("connectionString", &state_file), ("actorStateStore", "true")],
    );
    write_new(&layout.components().join("pubsub.yaml"), &pubsub)?;
    write_new(&layout.components().join("statestore.yaml"), &state)?;
    write_new(&layout.config(), &configuration(Some(&file("names.db"))))
}

fn component(name: &str, kind: &str, metadata: &[(&str, &str)]) -> String {
    let items: String = metadata
        .iter()
        .map(|(name, value)| format!("  - name: {name}\n    value: {}\n", yaml_string(value)))
        .collect();
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: {name}\nspec:\n  type: {kind}\n  \
         version: v1\n  metadata:\n{items}"
    )
}

/// The default configuration: applications of this machine find each other
/// through `names`, and every request carries a trace.
fn configuration(names: Option<&str>) -> String {
    let spec = match names {
        None => " {}\n".to_owned(),
        Some(names) => format!(
            "\n  tracing:\n    samplingRate: \"1\"\n  nameResolution:\n    component: sqlite\n    version: v1\n    \
             configuration:\n      connectionString: {}\n",
            yaml_string(names)
        ),
    };
    format!("apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: daprConfig\nspec:{spec}")
}

/// Writes `text` unless the file exists: what a user edited stays.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    match std::fs::File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        write_resources(&layout, false).unwrap();
        let data = layout.data();
        let statestore = layout.components().join("statestore.yaml");
        assert_eq!(
            std::fs::read_to_string(&statestore).unwrap(),
            format!(
                "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: statestore\nspec:\n  \
                 type: state.sqlite\n  version: v1\n  metadata:\n  - name: connectionString\n    \
                 value: {}/state.db\n  - name: actorStateStore\n    value: \"true\"\n",
                data.display()
            )
        );
        assert_eq!(
            std::fs::read_to_string(layout.config()).unwrap(),
            format!(
                "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: daprConfig\nspec:\n  \
                 tracing:\n    samplingRate: \"1\"\n  nameResolution:\n    component: sqlite\n    version: v1\n    \
                 configuration:\n      connectionString: {}/names.db\n",
                data.display()
            )
        );
        std::fs::write(&statestore, "mine").unwrap();
        write_resources(&layout, false).unwrap();
        assert_eq!(std::fs::read_to_string(&statestore).unwrap(), "mine");
    }

    #[test]
    fn slim_has_no_components() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        write_resources(&layout, true).unwrap();
        assert_eq!(std::fs::read_dir(layout.components()).unwrap().count(), 0);
        assert!(std::fs::read_to_string(layout.config()).unwrap().ends_with("\nspec: {}\n"));
    }
}
