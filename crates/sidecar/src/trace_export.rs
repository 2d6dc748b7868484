//! Tracing as the Configuration and the `OTEL_*` variables want it: which
//! spans are made and where they go (runtime.md §10).

use std::collections::BTreeMap;
use std::time::Duration;

use dapr_gocompat::urlesc::path_unescape;
use dapr_resources::configuration::{OtelSpec, TracingSpec};
use dapr_security::tls::ClientTls;
use dapr_telemetry::metrics::{Counter, Registry};
use dapr_telemetry::trace::{BatchLimits, Sampler, SpanLimits, Tracer};
use dapr_telemetry_export::{Exporters, MetricSettings, OtlpEndpoint, Protocol, Settings};

const SCOPE: &str = "dapr.runtime";
/// How often metrics are sent unless `OTEL_METRIC_EXPORT_INTERVAL` says.
const METRIC_INTERVAL: Duration = Duration::from_secs(60);
/// Patience for the last spans where the stop has no limit of its own.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// The `OTEL_*` variables that are set, by name.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<&'static str, String>);

const NAMES: [&str; 34] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_INSECURE",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
];

impl Variables {
    pub fn read(env: &dyn Fn(&str) -> Option<String>) -> Self {
        Self(NAMES.iter().filter_map(|name| Some((*name, env(name).filter(|v| !v.is_empty())?))).collect())
    }

    /// The first of the names that is set.
    fn first(&self, names: &[&str]) -> Option<&str> {
        let set = |name: &&str| self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        names.iter().find_map(set)
    }

    /// Of `OTEL_EXPORTER_OTLP_<signal>_<what>`, or without the signal.
    fn otlp(&self, signal: &str, what: &str) -> Option<&str> {
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_{what}");
        let any = format!("OTEL_EXPORTER_OTLP_{what}");
        self.first(&[&own, &any])
    }

    /// A positive number.
    fn number(&self, name: &str) -> Option<u64> {
        self.first(&[name])?.parse().ok().filter(|n| *n > 0)
    }

    fn millis(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_millis)
    }
}

/// The tracing of one sidecar.
pub struct Tracing {
    pub tracer: Tracer,
    exporters: Exporters,
}

impl Tracing {
    /// Starts the exporters. The error says what setting cannot be used.
    pub fn start(
        spec: &TracingSpec,
        variables: &Variables,
        app_id: &str,
        metrics: Option<&Registry>,
    ) -> Result<Self, String> {
        let plan = plan(spec, variables, app_id)?;
        tracing::info!(target: SCOPE, "Dapr trace sampler initialized: {}", plan.sampler);
        let start = || {
            let settings = plan.settings.clone();
            let (push, resource) = (settings.metrics.clone(), settings.resource.clone());
            let exporters = Exporters::start(settings, metrics.map(dropped))?;
            if let (Some(push), Some(registry)) = (push, metrics) {
                exporters.start_metrics(&push, &resource, registry.clone())?;
            }
            Ok(exporters)
        };
        let exporters = start()
            .map_err(|e: dapr_telemetry_export::EndpointError| format!("failed to setup tracing: {e}"))?;
        let queues = exporters.queues();
        let tracer = if !plan.sampler.is_enabled() {
            Tracer::off()
        } else if queues.is_empty() && !plan.rate_given {
            Tracer::pass_through()
        } else {
            Tracer::active(plan.sampler, queues).limited(plan.span_limits)
        };
        Ok(Self { tracer, exporters })
    }

    /// Sends what waits.
    pub async fn stop(&self, limit: Option<Duration>) {
        self.exporters.stop(limit.unwrap_or(FLUSH_LIMIT)).await;
    }
}

fn dropped(registry: &Registry) -> Counter {
    let help = "Spans that were lost because a queue was full or a collector did not take them.";
    registry.counter("runtime/trace_spans_dropped_total", help, &[]).with(&[])
}

struct Plan {
    sampler: Sampler,
    rate_given: bool,
    span_limits: SpanLimits,
    settings: Settings,
}

fn plan(spec: &TracingSpec, variables: &Variables, app_id: &str) -> Result<Plan, String> {
    let mut rate = spec.sampling_rate.clone();
    let otlp = match spec.otel.as_ref().filter(|o| !o.endpoint_address.is_empty()) {
        Some(otel) => configured(otel, variables)?,
        None => from_variables(&mut rate, variables)?,
    };
    let zipkin = spec.zipkin.as_ref().map(|z| z.endpoint_address.clone()).filter(|a| !a.is_empty());
    Ok(Plan {
        sampler: Sampler::parse(&rate),
        rate_given: !rate.is_empty(),
        span_limits: span_limits(variables),
        settings: Settings {
            stdout: spec.stdout,
            zipkin,
            otlp,
            metrics: metrics(variables)?,
            resource: resource(variables, app_id),
            limits: limits(variables),
        },
    })
}

/// The Configuration's endpoint. What it leaves open, the variables say.
fn configured(otel: &OtelSpec, variables: &Variables) -> Result<Option<OtlpEndpoint>, String> {
    let protocol = match otel.protocol.as_str() {
        "" => return Ok(None),
        "grpc" => Protocol::Grpc,
        "http" => Protocol::Http,
        other => {
            return Err(format!(
                "failed to setup tracing: invalid protocol {other} provided for Otel endpoint"
            ));
        }
    };
    let own = otel.headers.iter().filter_map(|h| h.split_once('='));
    let mut headers: Vec<(String, String)> = own.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    if headers.is_empty() {
        let given = variables.otlp("TRACES", "HEADERS").map(parse_headers);
        headers = given.and_then(Result::ok).unwrap_or_default();
    }
    let millis =
        || variables.otlp("TRACES", "TIMEOUT").and_then(|t| t.parse().ok()).map(Duration::from_millis);
    Ok(Some(OtlpEndpoint {
        protocol,
        address: otel.endpoint_address.clone(),
        secure: otel.secure(),
        headers,
        gzip: gzip(variables, "TRACES"),
        timeout: otel.timeout.or_else(millis),
        tls: tls(variables),
    }))
}

fn from_variables(rate: &mut String, variables: &Variables) -> Result<Option<OtlpEndpoint>, String> {
    let bad = |reason: String| format!("error setting tracing spec from env: {reason}");
    // Bad values are fatal even where nothing uses them.
    let headers = variables.otlp("TRACES", "HEADERS").map(parse_headers).transpose().map_err(bad)?;
    let timeout = variables.otlp("TRACES", "TIMEOUT").map(parse_millis).transpose().map_err(bad)?;
    let Some(endpoint) = variables.otlp("TRACES", "ENDPOINT") else { return Ok(None) };
    if rate.is_empty() {
        "1".clone_into(rate);
    }
    Ok(Some(OtlpEndpoint {
        protocol: protocol(variables.otlp("TRACES", "PROTOCOL")),
        address: endpoint.to_owned(),
        secure: variables.first(&["OTEL_EXPORTER_OTLP_INSECURE"]) != Some("true"),
        headers: headers.unwrap_or_default(),
        gzip: gzip(variables, "TRACES"),
        timeout: timeout.filter(|t| !t.is_zero()),
        tls: tls(variables),
    }))
}

/// Metrics are sent only if their own endpoint is given: the common one is
/// what sends Dapr's traces, and nothing more (docs/observability.md).
fn metrics(variables: &Variables) -> Result<Option<MetricSettings>, String> {
    let Some(endpoint) = variables.first(&["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"]) else { return Ok(None) };
    let bad = |reason: String| format!("failed to setup metrics export: {reason}");
    let headers = variables.otlp("METRICS", "HEADERS").map(parse_headers).transpose().map_err(bad)?;
    let timeout = variables.otlp("METRICS", "TIMEOUT").map(parse_millis).transpose().map_err(bad)?;
    let insecure = variables.otlp("METRICS", "INSECURE") == Some("true") || endpoint.starts_with("http://");
    Ok(Some(MetricSettings {
        endpoint: OtlpEndpoint {
            protocol: protocol(variables.otlp("METRICS", "PROTOCOL")),
            address: endpoint.to_owned(),
            secure: !insecure,
            headers: headers.unwrap_or_default(),
            gzip: gzip(variables, "METRICS"),
            timeout: timeout.filter(|t| !t.is_zero()),
            tls: tls(variables),
        },
        interval: variables.millis("OTEL_METRIC_EXPORT_INTERVAL").unwrap_or(METRIC_INTERVAL),
    }))
}

fn protocol(name: Option<&str>) -> Protocol {
    if name.is_some_and(|n| n.starts_with("http")) { Protocol::Http } else { Protocol::Grpc }
}

/// Anything but `gzip` means none, as for Dapr.
fn gzip(variables: &Variables, signal: &str) -> bool {
    variables.otlp(signal, "COMPRESSION") == Some("gzip")
}

/// Spans have no events and no links, so that limits of these never matter.
fn span_limits(variables: &Variables) -> SpanLimits {
    // Negative: no limit.
    let of = |what: &str, default| {
        let names = [format!("OTEL_SPAN_ATTRIBUTE_{what}_LIMIT"), format!("OTEL_ATTRIBUTE_{what}_LIMIT")];
        let given = variables.first(&[&names[0], &names[1]]).and_then(|text| text.parse::<i64>().ok());
        given.map_or(default, |limit| usize::try_from(limit).ok())
    };
    let default = SpanLimits::default();
    SpanLimits {
        attributes: of("COUNT", Some(default.attributes)).unwrap_or(usize::MAX),
        value: of("VALUE_LENGTH", default.value),
    }
}

fn tls(variables: &Variables) -> ClientTls {
    let file = |what| variables.otlp("TRACES", what).map(str::to_owned);
    ClientTls {
        root_ca_pem: file("CERTIFICATE"),
        cert_pem: file("CLIENT_CERTIFICATE"),
        key_pem: file("CLIENT_KEY"),
        ..ClientTls::default()
    }
}

/// `k=v,k2=v2`, values URL-encoded.
fn parse_headers(list: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |header: &str| {
        let (name, value) =
            header.split_once('=').ok_or_else(|| format!("missing '=' parse headers input{header}"))?;
        let name = name.trim();
        if name.is_empty()
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        {
            return Err(format!("invalid header key{name}"));
        }
        let value = path_unescape(value).map_err(|e| format!("{e}\nescape header value{value}"))?;
        Ok((name.to_owned(), value.trim().to_owned()))
    };
    list.split(',').map(pair).collect()
}

fn parse_millis(text: &str) -> Result<Duration, String> {
    let quoted = dapr_gocompat::quote::quote(text);
    let millis =
        text.parse::<i64>().map_err(|_| format!("strconv.Atoi: parsing {quoted}: invalid syntax"))?;
    Ok(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

/// The application's id is the name of the service unless a variable says
/// otherwise.
fn resource(variables: &Variables, app_id: &str) -> Vec<(String, String)> {
    let mut pairs = BTreeMap::from([("service.name".to_owned(), app_id.to_owned())]);
    let given = variables.first(&["OTEL_RESOURCE_ATTRIBUTES"]).unwrap_or_default();
    for (key, value) in given.split(',').filter_map(|pair| pair.split_once('=')) {
        let value = path_unescape(value.trim()).unwrap_or_else(|_| value.trim().to_owned());
        pairs.insert(key.trim().to_owned(), value);
    }
    if let Some(name) = variables.first(&["OTEL_SERVICE_NAME"]) {
        pairs.insert("service.name".to_owned(), name.to_owned());
    }
    pairs.into_iter().collect()
}

fn limits(variables: &Variables) -> BatchLimits {
    let default = BatchLimits::default();
    let size =
        |name, default| variables.number(name).and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
    let queue = size("OTEL_BSP_MAX_QUEUE_SIZE", default.queue);
    BatchLimits {
        queue,
        batch: size("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", default.batch).min(queue),
        delay: variables.millis("OTEL_BSP_SCHEDULE_DELAY").unwrap_or(default.delay),
        timeout: variables.millis("OTEL_BSP_EXPORT_TIMEOUT").unwrap_or(default.timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        Variables::read(&|name| pairs.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
    }

    fn of(spec: &TracingSpec, pairs: &[(&str, &str)]) -> Plan {
        plan(spec, &variables(pairs), "app").map_err(|e| panic!("{e}")).unwrap()
    }

    fn otel(protocol: &str) -> TracingSpec {
        let otel = OtelSpec {
            protocol: protocol.to_owned(),
            endpoint_address: "conf:4317".to_owned(),
            headers: vec!["a=1".to_owned(), "noequals".to_owned()],
            ..OtelSpec::default()
        };
        TracingSpec { otel: Some(otel), ..TracingSpec::default() }
    }

    #[test]
    fn nothing_is_set_by_default() {
        let plan = of(&TracingSpec::default(), &[]);
        assert!(!plan.rate_given && plan.sampler.is_enabled());
        assert!(
            plan.settings.otlp.is_none() && plan.settings.zipkin.is_none() && plan.settings.metrics.is_none()
        );
        assert_eq!(plan.settings.resource, [("service.name".to_owned(), "app".to_owned())]);
    }

    #[test]
    fn the_variables_for_traces_come_first_and_sample_everything() {
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://any:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "k=v%20w, k2 = v2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ];
        let plan = of(&TracingSpec::default(), &env);
        let otlp = plan.settings.otlp.unwrap();
        assert!(plan.rate_given && plan.sampler == Sampler::new(1.0) && !otlp.secure);
        assert_eq!((otlp.address.as_str(), otlp.protocol), ("http://own:4318", Protocol::Http));
        let header = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(otlp.headers, [header("k", "v w"), header("k2", "v2")]);
        assert_eq!(otlp.timeout, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn a_configured_endpoint_wins() {
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "any:4317"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "b=2"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ];
        let plan = of(&otel("grpc"), &env);
        let otlp = plan.settings.otlp.unwrap();
        assert!(otlp.secure && !plan.rate_given);
        assert_eq!(
            (otlp.address.as_str(), otlp.headers.as_slice()),
            ("conf:4317", &[("a".to_owned(), "1".to_owned())][..])
        );
        assert!(of(&otel(""), &[]).settings.otlp.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let refused =
            |spec: &TracingSpec, pairs: &[(&str, &str)]| plan(spec, &variables(pairs), "a").err().unwrap();
        assert_eq!(
            refused(&otel("tcp"), &[]),
            "failed to setup tracing: invalid protocol tcp provided for Otel endpoint"
        );
        assert_eq!(
            refused(&TracingSpec::default(), &[("OTEL_EXPORTER_OTLP_HEADERS", "novalue")]),
            "error setting tracing spec from env: missing '=' parse headers inputnovalue"
        );
        assert_eq!(
            refused(&TracingSpec::default(), &[("OTEL_EXPORTER_OTLP_TIMEOUT", "1s")]),
            "error setting tracing spec from env: strconv.Atoi: parsing \"1s\": invalid syntax"
        );
    }

    #[test]
    fn the_service_may_have_another_name() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,k8s.pod.name=pod%201");
        let named = of(&TracingSpec::default(), &[attributes]).settings.resource;
        assert_eq!(named[1], ("service.name".to_owned(), "x".to_owned()));
        assert_eq!(named[0], ("k8s.pod.name".to_owned(), "pod 1".to_owned()));
        let named = of(&TracingSpec::default(), &[attributes, ("OTEL_SERVICE_NAME", "y")]).settings.resource;
        assert_eq!(named[1].1, "y");
    }

    #[test]
    fn limits_and_compression_come_from_variables() {
        let plan = of(&otel("grpc"), &[]);
        assert!(plan.span_limits == SpanLimits::default() && !plan.settings.otlp.unwrap().gzip);
        let env = [
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),
            ("OTEL_ATTRIBUTE_COUNT_LIMIT", "7"),
            ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "100"),
        ];
        let plan = of(&otel("http"), &env);
        assert_eq!(plan.span_limits, SpanLimits { attributes: usize::MAX, value: Some(100) });
        assert!(plan.settings.otlp.unwrap().gzip);
    }

    #[test]
    fn metrics_are_sent_only_to_an_endpoint_of_their_own() {
        let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
        assert!(of(&TracingSpec::default(), &[common]).settings.metrics.is_none());
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:4317");
        let metrics = of(&TracingSpec::default(), &[own]).settings.metrics.unwrap();
        assert!(!metrics.endpoint.secure && metrics.interval == METRIC_INTERVAL);
    }
}
