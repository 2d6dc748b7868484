//! Everything the command line and the environment decide, read once
//! (runtime.md §1). No other code reads the environment.

mod flags;
mod mode;

use std::path::PathBuf;
use std::time::Duration;

use dapr_app_channel::Protocol;
use dapr_flags::{Dashes, FlagError, Matches};
use dapr_gocompat::{duration, quantity};
use dapr_kernel::AppIdentity;
use dapr_security::identity::KeyAlgorithm;
use dapr_security::provider::{self, TokenSource};
use dapr_telemetry::logging::{Format, Level};

use crate::trace_export::Variables;

pub use flags::flag_set;
pub use mode::{Cluster, Mode, Places};

const DEFAULT_BODY: i64 = 4 << 20;
const DEFAULT_HEADER: i64 = 4 << 10;
const DEFAULT_SOCKETS_FOLDER: &str = "/tmp/dapr-components-sockets";

/// What the process was asked to do.
#[derive(Debug)]
pub enum Request {
    Help,
    Version,
    BuildInfo,
    Wait { http_port: u16 },
    Run(Box<Options>),
}

/// How to log; known before anything else.
#[derive(Clone, Debug)]
pub struct LogSettings {
    pub level: Level,
    pub format: Format,
    pub file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub identity: AppIdentity,
    pub log: LogSettings,
    pub mode: Mode,
    pub listen: Listen,
    pub app: App,
    pub max_body: Option<u64>,
    /// Largest request head in bytes.
    pub max_header: usize,
    /// `None`: no limit.
    pub grace: Option<Duration>,
    pub block_shutdown: Option<Duration>,
    pub api_log: Option<bool>,
    pub allowed_origins: String,
    pub disabled_endpoints: DisabledEndpoints,
    pub binding_options_timeout: Duration,
    /// Time between two full comparisons of resources; zero for the default.
    pub reconcile_interval: Duration,
    pub placement_address: String,
    pub scheduler_addresses: Vec<String>,
    /// `DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK`.
    pub skip_user_check: bool,
    /// Identity and mTLS.
    pub security: provider::Options,
    pub api_token: Option<String>,
    pub host_ip: Option<String>,
    /// Name of the pod, for the `{podName}` template.
    pub pod_name: Option<String>,
    /// Where the sockets of pluggable components are.
    pub components_sockets_folder: PathBuf,
    /// `DAPR_HTTP_DISABLE_H2C`.
    pub disable_h2c: bool,
    /// `OTEL_*`.
    pub otel: Variables,
}

#[derive(Clone, Debug)]
pub struct Listen {
    pub http_port: u16,
    pub grpc_port: u16,
    pub internal_port: Option<u16>,
    pub internal_address: String,
    /// At least one; an empty string means all interfaces.
    pub addresses: Vec<String>,
    pub public_port: Option<u16>,
    pub public_address: String,
    pub socket_dir: Option<PathBuf>,
    pub metrics: Option<(String, u16)>,
    pub profiling_port: Option<u16>,
}

#[derive(Clone, Debug)]
pub struct App {
    pub port: u16,
    pub protocol: Protocol,
    pub address: String,
    pub max_concurrency: Option<usize>,
    pub token: Option<String>,
    pub health: Option<Health>,
}

#[derive(Clone, Debug)]
pub struct Health {
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub threshold: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct DisabledEndpoints {
    pub config: bool,
    pub subscribe: bool,
}

/// Why the command line or the environment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Exit code 2, message on standard error.
    #[error(transparent)]
    Flag(#[from] FlagError),
    /// Logged as fatal, exit code 1.
    #[error("{0}")]
    Invalid(String),
}

fn invalid(message: impl Into<String>) -> OptionsError {
    OptionsError::Invalid(message.into())
}

/// Reads the environment; a test gives its own.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The parsed flags and what they say about logging. Logging must be set up
/// before [`resolve`] can complain.
pub fn parse(args: Vec<String>) -> Result<Matches, FlagError> {
    flag_set().parse(args, Dashes::SingleIsLong)
}

pub fn log_settings(m: &Matches) -> Result<LogSettings, OptionsError> {
    let text = m.string("log-level");
    let level = text.parse().map_err(|_| invalid(format!("invalid value for --log-level: {text}")))?;
    let format = if m.bool("log-as-json") { Format::Json } else { Format::Text };
    let file = Some(m.string("log-file")).filter(|f| !f.is_empty()).map(PathBuf::from);
    Ok(LogSettings { level, format, file })
}

/// What is asked for, checked.
pub fn resolve(m: &Matches, env: Env<'_>) -> Result<Request, OptionsError> {
    if m.bool("version") {
        return Ok(Request::Version);
    }
    if m.bool("build-info") {
        return Ok(Request::BuildInfo);
    }
    if m.bool("wait") {
        return Ok(Request::Wait { http_port: port(m, "dapr-http-port")?.unwrap_or(3500) });
    }
    Ok(Request::Run(Box::new(options(m, env)?)))
}

fn options(m: &Matches, env: Env<'_>) -> Result<Options, OptionsError> {
    let mode = mode::read(m)?;
    if m.uint("scheduler-job-streams") == 0 {
        return Err(invalid("must define at least 1 scheduler stream, got 0"));
    }
    let disseminate = m.duration_nanos("actors-disseminate-timeout");
    if disseminate <= 0 {
        let shown = if disseminate == 0 {
            "0s".to_owned()
        } else {
            format!("-{}", duration::format_duration(Duration::from_nanos(disseminate.unsigned_abs())))
        };
        return Err(invalid(format!(
            "invalid value for 'actors-disseminate-timeout' option: must be positive, got {shown}"
        )));
    }
    let app_id = m.string("app-id");
    if app_id.is_empty() {
        return Err(invalid("parameter app-id cannot be empty"));
    }
    if !mode.is_kubernetes() && app_id.contains('.') {
        return Err(invalid("parameter app-id cannot contain dots"));
    }
    let listen = listen(m)?;
    let app = app(m, env)?;
    for (name, port) in [("dapr-http-port", listen.http_port), ("dapr-grpc-port", listen.grpc_port)] {
        if app.port != 0 && app.port == port {
            return Err(invalid(format!("the '{name}' argument value {port} conflicts with 'app-port'")));
        }
    }
    let namespace = env("NAMESPACE");
    let block = m.changed("dapr-block-shutdown-duration").then(|| m.duration("dapr-block-shutdown-duration"));
    let grace = m.int("dapr-graceful-shutdown-seconds");
    Ok(Options {
        identity: AppIdentity::new(app_id, namespace.as_deref()),
        log: log_settings(m)?,
        listen,
        app,
        max_body: body_limit(m)?,
        max_header: header_limit(m)?,
        grace: match grace {
            0 => None,
            n => Some(Duration::from_secs(u64::try_from(n).unwrap_or(5))),
        },
        block_shutdown: block,
        api_log: m.changed("enable-api-logging").then(|| m.bool("enable-api-logging")),
        allowed_origins: m.string("allowed-origins").to_owned(),
        disabled_endpoints: disabled_endpoints(m)?,
        binding_options_timeout: Some(m.duration("app-binding-options-timeout"))
            .filter(|d| !d.is_zero())
            .unwrap_or(Duration::from_secs(3)),
        reconcile_interval: m.duration("hot-reload-reconcile-interval"),
        placement_address: placement(m),
        scheduler_addresses: scheduler(m, env),
        skip_user_check: env("DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK").as_deref() == Some("true"),
        security: security(m, env, app_id, namespace.as_deref(), mode.is_kubernetes()),
        mode,
        api_token: env("DAPR_API_TOKEN").filter(|t| !t.is_empty()),
        host_ip: env("DAPR_HOST_IP").filter(|t| !t.is_empty()),
        pod_name: env("POD_NAME").filter(|t| !t.is_empty()),
        components_sockets_folder: env("DAPR_COMPONENTS_SOCKETS_FOLDER")
            .filter(|f| !f.is_empty())
            .unwrap_or_else(|| DEFAULT_SOCKETS_FOLDER.to_owned())
            .into(),
        disable_h2c: env("DAPR_HTTP_DISABLE_H2C").is_some_and(|v| dapr_gocompat::bools::is_truthy(&v)),
        otel: Variables::read(env),
    })
}

/// What is given on the command line wins over the environment
/// (control-plane.md §4.1).
fn security(
    m: &Matches,
    env: Env<'_>,
    app_id: &str,
    namespace: Option<&str>,
    kubernetes: bool,
) -> provider::Options {
    let flag_or_env = |flag: &str, name: &str| match env(name) {
        Some(value) if !m.changed(flag) => value,
        _ => m.string(flag).to_owned(),
    };
    let given = |name: &str| env(name).filter(|v| !v.is_empty());
    provider::Options {
        app_id: app_id.to_owned(),
        namespace: namespace.unwrap_or("default").to_owned(),
        mtls: m.bool("enable-mtls"),
        kubernetes,
        control_plane_trust_domain: flag_or_env(
            "control-plane-trust-domain",
            "DAPR_CONTROLPLANE_TRUST_DOMAIN",
        ),
        control_plane_namespace: flag_or_env("control-plane-namespace", "DAPR_CONTROLPLANE_NAMESPACE"),
        trust_anchors: given("DAPR_TRUST_ANCHORS"),
        trust_anchors_file: given("DAPR_TRUST_ANCHORS_FILE").map(PathBuf::from),
        sentry_address: m.string("sentry-address").to_owned(),
        sentry_identity: given("SENTRY_LOCAL_IDENTITY"),
        jwt_audiences: m.list("sentry-request-jwt-audiences").to_vec(),
        key: KeyAlgorithm::Ed25519,
        token: TokenSource { file: env("DAPR_SENTRY_TOKEN_FILE"), kubernetes },
        identity_dir: None,
    }
}

fn placement(m: &Matches) -> String {
    if m.changed("placement-host-address") {
        return m.string("placement-host-address").to_owned();
    }
    m.string("actors-service").strip_prefix("placement:").unwrap_or_default().to_owned()
}

fn scheduler(m: &Matches, env: Env<'_>) -> Vec<String> {
    let mut addresses: Vec<String> = m.list("scheduler-host-address").to_vec();
    if !m.changed("scheduler-host-address") {
        addresses.extend(env("DAPR_SCHEDULER_HOST_ADDRESS_DNS_A"));
    }
    addresses.retain(|a| !a.trim().is_empty());
    addresses
}

fn listen(m: &Matches) -> Result<Listen, OptionsError> {
    let addresses: Vec<String> =
        m.string("dapr-listen-addresses").split(',').map(|a| a.trim().to_owned()).collect();
    let metrics = m.bool("enable-metrics").then(|| {
        port(m, "metrics-port").map(|p| (m.string("metrics-listen-address").to_owned(), p.unwrap_or(9090)))
    });
    let profiling = if m.bool("enable-profiling") { port(m, "profile-port")? } else { None };
    Ok(Listen {
        http_port: port(m, "dapr-http-port")?.unwrap_or(3500),
        grpc_port: port(m, "dapr-grpc-port")?.unwrap_or(50001),
        internal_port: port(m, "dapr-internal-grpc-port")?.filter(|p| *p != 0),
        internal_address: m.string("dapr-internal-grpc-listen-address").to_owned(),
        addresses,
        public_port: port(m, "dapr-public-port")?,
        public_address: m.string("dapr-public-listen-address").to_owned(),
        socket_dir: Some(m.string("unix-domain-socket")).filter(|d| !d.is_empty()).map(PathBuf::from),
        metrics: metrics.transpose()?,
        profiling_port: profiling,
    })
}

fn port(m: &Matches, name: &str) -> Result<Option<u16>, OptionsError> {
    let text = m.string(name);
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let quoted = dapr_gocompat::quote::quote(text);
        invalid(format!("error parsing {name} flag: strconv.Atoi: parsing {quoted}: invalid syntax"))
    })
}

fn app(m: &Matches, env: Env<'_>) -> Result<App, OptionsError> {
    let text = m.string("app-protocol");
    let mut protocol: Protocol =
        text.parse().map_err(|_| invalid(format!("invalid value for 'app-protocol': {text}")))?;
    if m.bool("app-ssl") {
        protocol = match protocol {
            Protocol::Http => Protocol::Https,
            Protocol::Grpc => Protocol::Grpcs,
            other => other,
        };
    }
    Ok(App {
        port: port(m, "app-port")?.unwrap_or(0),
        protocol,
        address: Some(m.string("app-channel-address"))
            .filter(|a| !a.is_empty())
            .unwrap_or("127.0.0.1")
            .to_owned(),
        max_concurrency: usize::try_from(m.int("app-max-concurrency")).ok().filter(|n| *n > 0),
        token: env("APP_API_TOKEN").filter(|t| !t.is_empty()),
        health: if m.bool("enable-app-health-check") { Some(health(m)?) } else { None },
    })
}

fn health(m: &Matches) -> Result<Health, OptionsError> {
    let positive =
        |name: &str, default: u64| u64::try_from(m.int(name)).ok().filter(|n| *n > 0).unwrap_or(default);
    let interval = Duration::from_secs(positive("app-health-probe-interval", 5));
    let timeout = Duration::from_millis(positive("app-health-probe-timeout", 500));
    if timeout > interval {
        return Err(invalid("value for 'health-probe-timeout' must be smaller than 'health-probe-interval'"));
    }
    let threshold =
        u32::try_from(m.int("app-health-threshold")).ok().filter(|n| (1..=i32::MAX as u32).contains(n));
    Ok(Health {
        path: m.string("app-health-check-path").to_owned(),
        interval,
        timeout,
        threshold: threshold.unwrap_or(3),
    })
}

fn disabled_endpoints(m: &Matches) -> Result<DisabledEndpoints, OptionsError> {
    let mut out = DisabledEndpoints::default();
    for name in m.list("disable-init-endpoints") {
        match name.trim().to_ascii_lowercase().as_str() {
            "config" => out.config = true,
            "subscribe" => out.subscribe = true,
            "" => {}
            _ => return Err(invalid(format!("invalid value for 'disable-init-endpoints': {name}"))),
        }
    }
    Ok(out)
}

fn body_limit(m: &Matches) -> Result<Option<u64>, OptionsError> {
    let bytes = sized(m, "max-body-size", "dapr-http-max-request-size", 1 << 20, DEFAULT_BODY)?;
    Ok(u64::try_from(bytes).ok().filter(|n| *n > 0))
}

fn header_limit(m: &Matches) -> Result<usize, OptionsError> {
    let bytes = sized(m, "read-buffer-size", "dapr-http-read-buffer-size", 1 << 10, DEFAULT_HEADER)?;
    Ok(usize::try_from(bytes).ok().filter(|n| *n > 0).unwrap_or(DEFAULT_HEADER as usize))
}

/// The quantity flag wins over the deprecated number; -1 means the default.
fn sized(m: &Matches, flag: &str, old: &str, unit: i64, default: i64) -> Result<i64, OptionsError> {
    let bytes = if !m.changed(flag) && m.changed(old) && m.int(old) > 0 {
        m.int(old).saturating_mul(unit)
    } else {
        let text = m.string(flag);
        quantity::parse_quantity(text)
            .map_err(|e| invalid(format!("invalid value for '{flag}' option: {e}")))?
    };
    Ok(if bytes == -1 { default } else { bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Options, String> {
        run_in(args, &|_| None)
    }

    fn run_in(args: &[&str], env: Env<'_>) -> Result<Options, String> {
        let args = args.iter().map(|a| (*a).to_owned()).collect();
        let matches = parse(args).map_err(|e| e.to_string())?;
        match resolve(&matches, env).map_err(|e| e.to_string())? {
            Request::Run(options) => Ok(*options),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn defaults() {
        let o = run(&["-app-id", "a"]).unwrap();
        assert_eq!((o.listen.http_port, o.listen.grpc_port, o.listen.internal_port), (3500, 50001, None));
        assert_eq!((o.max_body, o.max_header), (Some(4 << 20), 4096));
        assert_eq!(o.grace, Some(Duration::from_secs(5)));
        assert_eq!(o.identity.namespace(), "default");
        assert_eq!(o.listen.metrics, Some(("0.0.0.0".to_owned(), 9090)));
    }

    #[test]
    fn what_the_command_line_tool_passes_is_accepted() {
        let o = run(&[
            "--app-id",
            "a",
            "--app-port",
            "0",
            "--app-max-concurrency",
            "-1",
            "--profile-port",
            "-1",
            "--max-body-size",
            "-1",
            "--components-path",
            "/c",
            "--app-ssl",
        ])
        .unwrap();
        assert_eq!(o.max_body, Some(4 << 20));
        let Mode::Standalone(places) = o.mode else { panic!("{:?}", o.mode) };
        assert_eq!(places.resource_dirs, [PathBuf::from("/c")]);
        assert_eq!(o.app.protocol, Protocol::Https);
    }

    #[test]
    fn mistakes_name_the_flag() {
        for (args, text) in [
            (&[][..], "parameter app-id cannot be empty"),
            (&["--app-id", "a.b"], "parameter app-id cannot contain dots"),
            (
                &["--app-id", "a", "--app-port", "3500"],
                "the 'dapr-http-port' argument value 3500 conflicts with 'app-port'",
            ),
            (&["--app-id", "a", "--app-protocol", "x"], "invalid value for 'app-protocol': x"),
            (&["--app-id", "a", "--mode", "x"], "invalid mode: x"),
            (&["--app-id", "a", "--log-level", "x"], "invalid value for --log-level: x"),
            (
                &["--app-id", "a", "--disable-init-endpoints", "x"],
                "invalid value for 'disable-init-endpoints': x",
            ),
            (
                &["--app-id", "a", "--scheduler-job-streams", "0"],
                "must define at least 1 scheduler stream, got 0",
            ),
            (
                &["--app-id", "a", "--actors-disseminate-timeout", "0s"],
                "invalid value for 'actors-disseminate-timeout' option: must be positive, got 0s",
            ),
        ] {
            assert_eq!(run(args).unwrap_err(), text);
        }
    }

    #[test]
    fn flags_of_the_control_plane_win_over_the_environment() {
        let env = |name: &str| match name {
            "DAPR_CONTROLPLANE_TRUST_DOMAIN" => Some("env.td".to_owned()),
            "DAPR_CONTROLPLANE_NAMESPACE" => Some("env-ns".to_owned()),
            "DAPR_TRUST_ANCHORS" => Some("PEM".to_owned()),
            "DAPR_SENTRY_TOKEN_FILE" => Some(String::new()),
            "SENTRY_LOCAL_IDENTITY" => Some("other".to_owned()),
            _ => None,
        };
        let s =
            run_in(&["--app-id", "a", "--enable-mtls", "--sentry-address", "h:1"], &env).unwrap().security;
        assert!(s.mtls);
        assert_eq!(
            (s.control_plane_trust_domain.as_str(), s.control_plane_namespace.as_str()),
            ("env.td", "env-ns")
        );
        assert_eq!((s.trust_anchors.as_deref(), s.sentry_address.as_str()), (Some("PEM"), "h:1"));
        assert_eq!((s.token.file.as_deref(), s.sentry_identity.as_deref()), (Some(""), Some("other")));
        let flags = [
            "--app-id",
            "a",
            "--control-plane-trust-domain",
            "td",
            "--control-plane-namespace",
            "n",
            "--sentry-request-jwt-audiences",
            "x,y",
        ];
        let s = run_in(&flags, &env).unwrap().security;
        assert_eq!((s.control_plane_trust_domain.as_str(), s.control_plane_namespace.as_str()), ("td", "n"));
        assert_eq!((s.mtls, s.jwt_audiences), (false, vec!["x".to_owned(), "y".to_owned()]));
        let s = run(&["--app-id", "a"]).unwrap().security;
        assert_eq!(
            (s.control_plane_trust_domain.as_str(), s.control_plane_namespace.as_str()),
            ("localhost", "default")
        );
    }

    #[test]
    fn the_environment_gives_namespace_and_tokens() {
        let env = |name: &str| match name {
            "NAMESPACE" => Some("ns".to_owned()),
            "DAPR_API_TOKEN" => Some("t".to_owned()),
            "DAPR_COMPONENTS_SOCKETS_FOLDER" => Some("/s".to_owned()),
            _ => None,
        };
        let o = run_in(&["--app-id", "a"], &env).unwrap();
        assert_eq!((o.identity.namespace(), o.api_token.as_deref()), ("ns", Some("t")));
        assert_eq!(o.components_sockets_folder, PathBuf::from("/s"));
        let default = run(&["--app-id", "a"]).unwrap().components_sockets_folder;
        assert_eq!(default, PathBuf::from("/tmp/dapr-components-sockets"));
    }
}
