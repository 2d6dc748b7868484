//! `dapr run`: its flags (cli.md §4.1), for one application or a run file.

use std::process::ExitCode;

use dapr_flags::{Command, Flag, Matches};

use super::{Handler, help_flag, kubernetes_flag, later};
use crate::context::Context;
use crate::run::config::{DEFAULT_APP_CHANNEL, RunConfig, Shared};
use crate::run::{file, multi, single};

const EXAMPLE: &str = "
# Run a Node.js application that listens to port 3000
dapr run --app-id myapp --app-port 3000 -- node myapp.js

# Run a Python application
dapr run --app-id myapp -- python3 myapp.py

# Run sidecar only
dapr run --app-id myapp

# Run a gRPC application that listens to port 3000
dapr run --app-id myapp --app-port 3000 --app-protocol grpc -- go run main.go

# Run multiple apps by providing path of a run config file
dapr run --run-file dapr.yaml

# Run multiple apps by providing a directory path containing the run config file(dapr.yaml)
dapr run --run-file /path/to/directory

# Run multiple apps by providing config via stdin
cat dapr.template.yaml | envsubst | dapr run --run-file -
";
/// Flags that mean something beside `--run-file`.
const WITH_RUN_FILE: [&str; 6] = ["run-file", "kubernetes", "help", "version", "runtime-path", "log-as-json"];

pub(super) fn command() -> Command<Handler> {
    let command = Command::new(
        "run",
        "Run Dapr and (optionally) your application side by side. Supported platforms: Self-hosted",
    )
    .example(EXAMPLE);
    FLAGS.iter().fold(command, |command, flag| command.flag(flag())).run(run)
}

const FLAGS: [fn() -> Flag; 31] = [
    help_flag,
    kubernetes_flag,
    || Flag::string("app-id", "", "The id for your application, used for service discovery").short('a'),
    || Flag::int("app-port", -1, "The port your application is listening on").short('p'),
    || {
        let usage = "The protocol (grpc, grpcs, http, https, h2c) Dapr uses to talk to the application";
        Flag::string("app-protocol", "http", usage).short('P')
    },
    || {
        Flag::string(
            "app-channel-address",
            DEFAULT_APP_CHANNEL,
            "The network address the application listens on",
        )
    },
    || {
        let usage = "The concurrency level of the application, otherwise is unlimited";
        Flag::int("app-max-concurrency", -1, usage)
    },
    || {
        Flag::bool("app-ssl", false, "Enable https when Dapr invokes the application").deprecated(
            "This flag is deprecated and will be removed in the future releases. Use \"app-protocol\" flag with https \
             or grpcs values instead",
        )
    },
    || Flag::string("config", "", "Dapr configuration file").short('c'),
    || Flag::int("dapr-http-port", -1, "The HTTP port for Dapr to listen on").short('H'),
    || Flag::int("dapr-grpc-port", -1, "The gRPC port for Dapr to listen on").short('G'),
    || {
        let usage = "The gRPC port for the Dapr internal API to listen on";
        Flag::int("dapr-internal-grpc-port", -1, usage).short('I')
    },
    || Flag::int("metrics-port", -1, "The port of metrics on dapr").short('M'),
    || Flag::bool("enable-profiling", false, "Enable pprof profiling via an HTTP endpoint"),
    || Flag::int("profile-port", -1, "The port for the profile server to listen on"),
    || {
        let usage = "The log verbosity. Valid values are: debug, info, warn, error, fatal, or panic";
        Flag::string("log-level", "info", usage)
    },
    || {
        Flag::string("components-path", "", "The path for components directory").short('d').deprecated(
            "This flag is deprecated and will be removed in the future releases. Use \"resources-path\" flag instead",
        )
    },
    || Flag::list("resources-path", &[], "The path for resources directory"),
    || {
        let usage = "The address of the placement service. Format is either <hostname> for default port or \
                     <hostname>:<port> for custom port. Set to an empty string to disable placement";
        Flag::string("placement-host-address", "localhost", usage)
    },
    || {
        let usage = "The address of the scheduler service. Format is either <hostname> for default port or \
                     <hostname>:<port> for custom port. Set to an empty string to disable scheduler";
        Flag::string("scheduler-host-address", "localhost", usage)
    },
    || Flag::string("max-body-size", "4Mi", "Max size of the request body, for example 4Mi"),
    || Flag::string("read-buffer-size", "4Ki", "Max size of the HTTP header, for example 4Ki"),
    || {
        let usage =
            "Path to a unix domain socket dir. If specified, Dapr API servers will use Unix Domain Sockets";
        Flag::string("unix-domain-socket", "", usage).short('u')
    },
    || {
        let usage = "Enable health checks for the application using the protocol defined with app-protocol";
        Flag::bool("enable-app-health-check", false, usage)
    },
    || Flag::string("app-health-check-path", "", "Path used for health checks; HTTP only"),
    || Flag::int("app-health-probe-interval", 0, "Interval to probe for the health of the app in seconds"),
    || Flag::int("app-health-probe-timeout", 0, "Timeout for app health probes in milliseconds"),
    || {
        let usage = "Number of consecutive failures for the app to be considered unhealthy";
        Flag::int("app-health-threshold", 0, usage)
    },
    || {
        Flag::bool(
            "enable-api-logging",
            false,
            "Log API calls at INFO verbosity. Valid values are: true or false",
        )
    },
    || {
        let usage = "Comma separated list of IP addresses that sidecar will listen to";
        Flag::string("dapr-listen-addresses", "", usage)
    },
    || Flag::string("run-file", "", "Path to the run template file for the list of apps to run").short('f'),
];

fn run(context: &Context, matches: &Matches) -> ExitCode {
    if let Some(code) = later::refuse_kubernetes(context, matches, "run") {
        return code;
    }
    let say = context.say;
    if !matches.string("run-file").is_empty() {
        return run_file(context, matches);
    }
    let layout = match context.layout() {
        Ok(layout) => layout,
        Err(error) => {
            say.failure(format!("Failed to get Dapr install directory: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let mut config = config(matches);
    if config.shared.config_file.is_empty() {
        config.shared.config_file = layout.config().to_string_lossy().into_owned();
    }
    if config.shared.components_path.is_empty() {
        config.shared.components_path = layout.components().to_string_lossy().into_owned();
    }
    if !config.unix_domain_socket.is_empty() {
        say.warning("Unix domain sockets are currently a preview feature");
        config.http_port = 0;
        config.grpc_port = 0;
    }
    context.block_on(single::run(context, &layout, config))
}

fn run_file(context: &Context, matches: &Matches) -> ExitCode {
    let say = context.say;
    let ignored: Vec<&str> =
        matches.given().into_iter().filter(|name| !WITH_RUN_FILE.contains(name)).collect();
    if !ignored.is_empty() {
        say.warning(format!(
            "The following flags are ignored when using --run-file and should be configured in the run file instead: {}",
            ignored.join(", ")
        ));
    }
    let path = match file::locate(matches.string("run-file")) {
        Ok(path) => path,
        Err(reason) => {
            say.failure(format!("Failed to get run file path: {reason}"));
            return ExitCode::FAILURE;
        }
    };
    match file::read(context, &path) {
        Ok(file) if file.apps.is_empty() => {
            say.out(crate::say::Level::Failure, "No apps to run");
            ExitCode::FAILURE
        }
        Ok(file) => context.block_on(multi::run(context, file, &path)),
        Err(reason) => {
            say.out(crate::say::Level::Failure, format!("Error getting apps from config file: {reason}"));
            ExitCode::FAILURE
        }
    }
}

fn config(matches: &Matches) -> RunConfig {
    let text = |name: &str| matches.string(name).to_owned();
    let shared = Shared {
        config_file: text("config"),
        app_protocol: text("app-protocol"),
        listen_addresses: text("dapr-listen-addresses"),
        enable_profiling: matches.bool("enable-profiling"),
        log_level: text("log-level"),
        app_max_concurrency: matches.int("app-max-concurrency"),
        placement: matches.changed("placement-host-address").then(|| text("placement-host-address")),
        components_path: text("components-path"),
        resources_paths: matches.list("resources-path").to_vec(),
        app_ssl: matches.bool("app-ssl"),
        max_body_size: text("max-body-size"),
        read_buffer_size: text("read-buffer-size"),
        enable_app_health: matches.bool("enable-app-health-check"),
        app_health_path: text("app-health-check-path"),
        app_health_interval: matches.int("app-health-probe-interval"),
        app_health_timeout: matches.int("app-health-probe-timeout"),
        app_health_threshold: matches.int("app-health-threshold"),
        enable_api_logging: matches.bool("enable-api-logging"),
        scheduler: Some(text("scheduler-host-address")),
        ..Shared::default()
    };
    RunConfig {
        shared,
        app_id: text("app-id"),
        app_channel_address: text("app-channel-address"),
        app_port: matches.int("app-port"),
        http_port: matches.int("dapr-http-port"),
        grpc_port: matches.int("dapr-grpc-port"),
        profile_port: matches.int("profile-port"),
        metrics_port: matches.int("metrics-port"),
        internal_grpc_port: matches.int("dapr-internal-grpc-port"),
        unix_domain_socket: text("unix-domain-socket"),
        command: matches.positionals().to_vec(),
    }
}
