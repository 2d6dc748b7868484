//! The flags of `daprd` (runtime.md §1).

use std::time::Duration;

use dapr_flags::{Flag, FlagSet};

pub fn flag_set() -> FlagSet {
    let mut set = FlagSet::new();
    for flag in
        general().into_iter().chain(listeners()).chain(application()).chain(control_plane()).chain(limits())
    {
        set.add(flag);
    }
    set
}

fn general() -> Vec<Flag> {
    vec![
        Flag::string("mode", "standalone", "Where resources come from: standalone or kubernetes"),
        Flag::string(
            "app-id",
            "",
            "The unique id of the application: how others call it and whose state it is",
        ),
        Flag::list("config", &[], "Path of a Configuration file; may be repeated, later files win"),
        Flag::list(
            "resources-path",
            &[],
            "Folder of resource files; may be repeated. Without it none are loaded",
        ),
        Flag::string("components-path", "", "Alias for --resources-path").deprecated("use --resources-path"),
        Flag::string("log-level", "info", "Lowest level that is logged: debug, info, warn, error or fatal"),
        Flag::bool("log-as-json", false, "Write log lines as JSON"),
        Flag::string("log-file", "", "Append log lines to this file instead of standard output"),
        Flag::bool("enable-metrics", true, "Serve metrics for Prometheus"),
        Flag::bool("enable-api-logging", false, "Log every call of the API"),
        Flag::bool("version", false, "Print the version and exit"),
        Flag::bool("build-info", false, "Print version and build and exit"),
        Flag::bool("wait", false, "Wait until a running sidecar is ready for outbound calls, then exit"),
        Flag::duration(
            "hot-reload-reconcile-interval",
            Duration::ZERO,
            "Time between two full comparisons of resources; 0 means 60s",
        ),
    ]
}

fn listeners() -> Vec<Flag> {
    vec![
        Flag::string("dapr-http-port", "3500", "Port of the HTTP API"),
        Flag::string("dapr-grpc-port", "50001", "Port of the gRPC API"),
        Flag::string("dapr-internal-grpc-port", "", "Port for other sidecars; empty or 0 picks a stable one"),
        Flag::string("dapr-internal-grpc-listen-address", "", "Address for other sidecars; empty means all"),
        Flag::string("dapr-listen-addresses", "", "Comma-separated addresses of the API; empty means all"),
        Flag::string("dapr-public-port", "", "Port for health and metadata only; empty means none"),
        Flag::string("dapr-public-listen-address", "", "Address of the public port; empty means all"),
        Flag::string(
            "unix-domain-socket",
            "",
            "Folder for Unix sockets, which then replace the API's TCP ports",
        ),
        Flag::string("metrics-port", "9090", "Port of the metrics"),
        Flag::string("metrics-listen-address", "0.0.0.0", "Address of the metrics"),
        Flag::bool("enable-profiling", false, "Open the profiling port"),
        Flag::string("profile-port", "7777", "Port of the profiling endpoint"),
        Flag::string(
            "allowed-origins",
            "",
            "Comma-separated origins that browsers may call from; * allows all",
        ),
    ]
}

fn application() -> Vec<Flag> {
    vec![
        Flag::string("app-port", "", "Port that the application listens on"),
        Flag::string("app-protocol", "http", "Protocol of the application: http, https, h2c, grpc or grpcs"),
        Flag::string("app-channel-address", "127.0.0.1", "Address that the application listens on"),
        Flag::int("app-max-concurrency", -1, "Most calls to the application at once; -1 for no limit"),
        Flag::bool("app-ssl", false, "Reach the application over TLS")
            .deprecated("use '--app-protocol=https|grpcs' instead"),
        Flag::bool("enable-app-health-check", false, "Probe the health of the application"),
        Flag::string("app-health-check-path", "/healthz", "Path that is probed; HTTP only"),
        Flag::int("app-health-probe-interval", 5, "Seconds between two probes"),
        Flag::int("app-health-probe-timeout", 500, "Milliseconds that a probe may take"),
        Flag::int("app-health-threshold", 3, "Failed probes after which the application counts as unhealthy"),
        Flag::list(
            "disable-init-endpoints",
            &[],
            "Endpoints of the application that are not asked at start: config, subscribe",
        ),
        Flag::duration(
            "app-binding-options-timeout",
            Duration::from_secs(3),
            "Time for the application to say whether it wants an input binding",
        ),
    ]
}

fn control_plane() -> Vec<Flag> {
    vec![
        Flag::string("control-plane-address", "", "Address of the operator; kubernetes mode only"),
        Flag::string("control-plane-trust-domain", "localhost", "Trust domain of the control plane"),
        Flag::string("control-plane-namespace", "default", "Namespace of the control plane"),
        Flag::string("sentry-address", "", "Address of the certificate authority"),
        Flag::list(
            "sentry-request-jwt-audiences",
            &[],
            "Audiences of requested tokens; the trust domain if empty",
        ),
        Flag::bool("enable-mtls", false, "Encrypt calls between sidecars and prove identities"),
        Flag::string(
            "placement-host-address",
            "",
            "Comma-separated addresses of the placement service; empty disables actors",
        ),
        Flag::list("scheduler-host-address", &[], "Addresses of the scheduler; empty disables jobs"),
        Flag::uint("scheduler-job-streams", 3, "Streams to each scheduler"),
        Flag::duration(
            "actors-disseminate-timeout",
            Duration::from_secs(30),
            "Time for one round of placement",
        ),
        Flag::string("reminders-service", "", "").deprecated("the scheduler serves reminders").hidden(),
        Flag::string("actors-service", "", "").deprecated("use --placement-host-address").hidden(),
    ]
}

fn limits() -> Vec<Flag> {
    vec![
        Flag::string(
            "max-body-size",
            "4Mi",
            "Largest body of a request, as a quantity such as 4Mi; 0 for no limit",
        ),
        Flag::int("dapr-http-max-request-size", 4, "Largest body in MB")
            .deprecated("use '--max-body-size' instead"),
        Flag::string("read-buffer-size", "4Ki", "Largest request head, as a quantity such as 4Ki"),
        Flag::int("dapr-http-read-buffer-size", 4, "Largest request head in KB")
            .deprecated("use '--read-buffer-size' instead"),
        Flag::int("dapr-graceful-shutdown-seconds", 5, "Seconds for a graceful stop; 0 for no limit"),
        Flag::duration(
            "dapr-block-shutdown-duration",
            Duration::ZERO,
            "Keep serving this long after the signal, or until the application is unhealthy",
        ),
        Flag::bool("disable-builtin-k8s-secret-store", false, "Do not add the Kubernetes secret store"),
    ]
}
