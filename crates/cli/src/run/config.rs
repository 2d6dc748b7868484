//! What one application and its sidecar are started with.

use std::collections::BTreeMap;

/// The address that needs no `--app-channel-address`.
pub(crate) const DEFAULT_APP_CHANNEL: &str = "127.0.0.1";
const DEFAULT_PROTOCOL: &str = "http";
const DEFAULT_MAX_BODY: &str = "4Mi";
const DEFAULT_READ_BUFFER: &str = "4Ki";

/// Settings that a run file may also give for all its applications. Zero values
/// mean "not given".
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shared {
    pub config_file: String,
    pub app_protocol: String,
    pub listen_addresses: String,
    pub enable_profiling: bool,
    pub log_level: String,
    pub app_max_concurrency: i64,
    /// `None` is the default service, the empty text none.
    pub placement: Option<String>,
    pub components_path: String,
    pub resources_paths: Vec<String>,
    pub app_ssl: bool,
    pub max_body_size: String,
    pub read_buffer_size: String,
    pub enable_app_health: bool,
    pub app_health_path: String,
    pub app_health_interval: i64,
    pub app_health_timeout: i64,
    pub app_health_threshold: i64,
    pub enable_api_logging: bool,
    /// `None` and the empty text start without a scheduler.
    pub scheduler: Option<String>,
    pub runtime_path: String,
    pub env: BTreeMap<String, String>,
    pub app_log_destination: String,
    pub daprd_log_destination: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RunConfig {
    pub shared: Shared,
    pub app_id: String,
    pub app_channel_address: String,
    pub app_port: i64,
    pub http_port: i64,
    pub grpc_port: i64,
    pub profile_port: i64,
    pub metrics_port: i64,
    pub internal_grpc_port: i64,
    pub unix_domain_socket: String,
    pub command: Vec<String>,
}

impl RunConfig {
    /// Fills in what was not given; ports become -1, "any".
    pub fn apply_defaults(&mut self) {
        let ports = [
            &mut self.app_port,
            &mut self.http_port,
            &mut self.grpc_port,
            &mut self.profile_port,
            &mut self.metrics_port,
            &mut self.internal_grpc_port,
            &mut self.shared.app_max_concurrency,
        ];
        ports.into_iter().filter(|value| **value == 0).for_each(|value| *value = -1);
        let texts = [
            (&mut self.shared.app_protocol, DEFAULT_PROTOCOL),
            (&mut self.shared.max_body_size, DEFAULT_MAX_BODY),
            (&mut self.shared.read_buffer_size, DEFAULT_READ_BUFFER),
        ];
        texts
            .into_iter()
            .filter(|(text, _)| text.is_empty())
            .for_each(|(text, default)| default.clone_into(text));
    }

    /// The sidecar's arguments, in the order in which tools know them.
    pub fn sidecar_args(&self, mtls: bool, log_as_json: bool) -> Vec<String> {
        let shared = &self.shared;
        let mut args = Args::default();
        args.text("config", &shared.config_file);
        args.text("app-protocol", &shared.app_protocol);
        args.text("dapr-listen-addresses", &shared.listen_addresses);
        args.switch("enable-profiling", shared.enable_profiling);
        args.text("log-level", &shared.log_level);
        args.number("app-max-concurrency", shared.app_max_concurrency);
        args.text("placement-host-address", shared.placement.as_deref().unwrap_or_default());
        args.text("components-path", &shared.components_path);
        shared.resources_paths.iter().for_each(|path| args.text("resources-path", path));
        args.switch("app-ssl", shared.app_ssl);
        args.text("max-body-size", &shared.max_body_size);
        args.text("read-buffer-size", &shared.read_buffer_size);
        args.switch("enable-app-health-check", shared.enable_app_health);
        args.text("app-health-check-path", &shared.app_health_path);
        args.positive("app-health-probe-interval", shared.app_health_interval);
        args.positive("app-health-probe-timeout", shared.app_health_timeout);
        args.positive("app-health-threshold", shared.app_health_threshold);
        args.switch("enable-api-logging", shared.enable_api_logging);
        args.text("scheduler-host-address", shared.scheduler.as_deref().unwrap_or_default());
        args.text("app-id", &self.app_id);
        if self.app_channel_address != DEFAULT_APP_CHANNEL {
            args.text("app-channel-address", &self.app_channel_address);
        }
        args.number("app-port", self.app_port);
        args.number("dapr-http-port", self.http_port);
        args.number("dapr-grpc-port", self.grpc_port);
        args.number("profile-port", self.profile_port);
        args.number("metrics-port", self.metrics_port);
        args.text("unix-domain-socket", &self.unix_domain_socket);
        args.number("dapr-internal-grpc-port", self.internal_grpc_port);
        if mtls {
            args.switch("enable-mtls", true);
            args.text("sentry-address", "localhost:50001");
        }
        args.switch("log-as-json", log_as_json);
        args.0
    }

    /// What the application gets on top of the command's own environment, which
    /// these replace (cli.md §4.2, §12.12).
    pub fn app_env(&self) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
        set("APP_ID", self.app_id.clone());
        set("APP_CHANNEL_ADDRESS", self.app_channel_address.clone());
        let ports = [
            ("APP_PORT", self.app_port),
            ("DAPR_HTTP_PORT", self.http_port),
            ("DAPR_GRPC_PORT", self.grpc_port),
            ("DAPR_METRICS_PORT", self.metrics_port),
        ];
        for (name, port) in ports.into_iter().filter(|(_, port)| *port > 0) {
            set(name, port.to_string());
        }
        if let Some(protocol) = self.protocol_of_app() {
            set("APP_PROTOCOL", protocol);
        }
        env.extend(self.shared.env.clone());
        env
    }

    fn protocol_of_app(&self) -> Option<String> {
        let protocol = self.shared.app_protocol.to_lowercase();
        match (protocol.as_str(), self.shared.app_ssl) {
            ("http", true) => Some("https".to_owned()),
            ("grpc", true) => Some("grpcs".to_owned()),
            ("http" | "https" | "grpc" | "grpcs" | "h2c", _) => Some(protocol),
            ("", _) => Some("http".to_owned()),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    /// Left out when empty.
    fn text(&mut self, name: &str, value: &str) {
        let value = value.trim();
        if !value.is_empty() {
            self.0.extend([format!("--{name}"), value.to_owned()]);
        }
    }

    fn number(&mut self, name: &str, value: i64) {
        self.0.extend([format!("--{name}"), value.to_string()]);
    }

    /// Left out when zero.
    fn positive(&mut self, name: &str, value: i64) {
        if value != 0 {
            self.number(name, value);
        }
    }

    fn switch(&mut self, name: &str, on: bool) {
        if on {
            self.0.push(format!("--{name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RunConfig {
        let mut config = RunConfig {
            app_id: "order".to_owned(),
            app_channel_address: DEFAULT_APP_CHANNEL.to_owned(),
            app_port: 8080,
            http_port: 3501,
            grpc_port: 50002,
            metrics_port: 9091,
            internal_grpc_port: 50003,
            ..RunConfig::default()
        };
        config.apply_defaults();
        config
    }

    #[test]
    fn arguments_have_a_fixed_order() {
        let mut config = config();
        config.shared.config_file = "/x/config.yaml".to_owned();
        config.shared.log_level = "info".to_owned();
        config.shared.placement = Some("localhost:50005".to_owned());
        config.shared.scheduler = Some("localhost:50006".to_owned());
        config.shared.resources_paths = vec!["a".to_owned(), "b".to_owned()];
        config.shared.enable_app_health = true;
        config.shared.app_health_threshold = 3;
        assert_eq!(
            config.sidecar_args(true, true).join(" "),
            "--config /x/config.yaml --app-protocol http --log-level info --app-max-concurrency -1 \
             --placement-host-address localhost:50005 --resources-path a --resources-path b --max-body-size 4Mi \
             --read-buffer-size 4Ki --enable-app-health-check --app-health-threshold 3 --scheduler-host-address \
             localhost:50006 --app-id order --app-port 8080 --dapr-http-port 3501 --dapr-grpc-port 50002 \
             --profile-port -1 --metrics-port 9091 --dapr-internal-grpc-port 50003 --enable-mtls --sentry-address \
             localhost:50001 --log-as-json"
        );
    }

    #[test]
    fn the_application_sees_ids_and_ports() {
        let mut config = config();
        config.shared.env.insert("DAPR_HTTP_PORT".to_owned(), "mine".to_owned());
        config.app_port = 0;
        let env: Vec<String> = config.app_env().iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            env,
            [
                "APP_CHANNEL_ADDRESS=127.0.0.1",
                "APP_ID=order",
                "APP_PROTOCOL=http",
                "DAPR_GRPC_PORT=50002",
                "DAPR_HTTP_PORT=mine",
                "DAPR_METRICS_PORT=9091"
            ]
        );
    }

    #[test]
    fn protocols_follow_the_old_ssl_switch() {
        let mut config = config();
        for (protocol, ssl, seen) in [
            ("grpc", true, Some("grpcs")),
            ("HTTP", false, Some("http")),
            ("h2c", true, Some("h2c")),
            ("x", false, None),
        ] {
            config.shared.app_protocol = protocol.to_owned();
            config.shared.app_ssl = ssl;
            assert_eq!(config.protocol_of_app().as_deref(), seen);
        }
    }
}
