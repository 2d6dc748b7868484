//! Metadata that all Redis components share (components.md §3.2), read with
//! the legacy decoder: whole numbers are milliseconds, booleans are strict.

use std::time::Duration;

use dapr_components::{InitError, Properties};
use dapr_gocompat::duration;

const DEFAULT_PORT: u16 = 6379;
const DEFAULT_DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(3);
const DEFAULT_MAX_RETRIES: u32 = 3;
const DEFAULT_MIN_BACKOFF: Duration = Duration::from_millis(8);
const DEFAULT_MAX_BACKOFF: Duration = Duration::from_millis(512);
const STATE_MIN_BACKOFF: Duration = Duration::from_secs(2);
const CONFIGURATION_MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Whose defaults apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    State,
    PubSub,
    Configuration,
    Lock,
}

impl Kind {
    /// Whether the names that settings had in old releases count.
    fn knows_old_names(self) -> bool {
        matches!(self, Self::State | Self::Lock)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    Node,
    Cluster,
    /// Sentinels know the node.
    Sentinel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) insecure: bool,
    /// Certificate and key as PEM text.
    pub(crate) client: Option<(String, String)>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    /// `host:port`, one or several.
    pub(crate) hosts: Vec<String>,
    pub(crate) topology: Topology,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) sentinel_username: String,
    pub(crate) sentinel_password: String,
    pub(crate) sentinel_master: String,
    pub(crate) database: i64,
    pub(crate) tls: Option<Tls>,
    pub(crate) retry: Retry,
    pub(crate) dial_timeout: Option<Duration>,
    pub(crate) read_timeout: Option<Duration>,
    /// `readTimeout` when it was given and positive.
    pub(crate) block: Option<Duration>,
}

impl Settings {
    pub(crate) fn parse(properties: &Properties, kind: Kind) -> Result<Self, InitError> {
        if properties.legacy_bool("useEntraID").map_err(configuration)? == Some(true) {
            return Err(InitError::new(
                "redis client configuration error: useEntraID is not supported by this build; \
                 set redisUsername and redisPassword instead",
            ));
        }
        let text = |name: &str| properties.get(name).unwrap_or_default().to_owned();
        let cluster = text("redisType") == "cluster";
        let topology = match properties.legacy_bool("failover").map_err(configuration)? {
            Some(true) => Topology::Sentinel,
            _ if cluster => Topology::Cluster,
            _ => Topology::Node,
        };
        let port = properties.integer::<u16>("redisPort").map_err(configuration)?.filter(|p| *p != 0);
        let read = timer(properties, "readTimeout")?;
        Ok(Self {
            hosts: resolve_hosts(&text("redisHost"), port)?,
            topology,
            username: text("redisUsername"),
            password: text("redisPassword"),
            sentinel_username: text("sentinelUsername"),
            sentinel_password: text("sentinelPassword"),
            sentinel_master: text("sentinelMasterName"),
            database: properties.integer("redisDB").map_err(configuration)?.unwrap_or(0),
            tls: tls(properties)?,
            retry: retry(properties, kind)?,
            dial_timeout: timer(properties, "dialTimeout")?.or_default(DEFAULT_DIAL_TIMEOUT),
            read_timeout: read.or_default(DEFAULT_READ_TIMEOUT),
            block: read.given(),
        })
    }

    /// How errors name the server.
    pub(crate) fn host(&self) -> String {
        self.hosts.join(",")
    }
}

/// A duration that may be disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Unset,
    Disabled,
    After(Duration),
}

impl Timer {
    fn or_default(self, default: Duration) -> Option<Duration> {
        match self {
            Self::Unset => Some(default),
            Self::Disabled => None,
            Self::After(time) => Some(time),
        }
    }

    fn given(self) -> Option<Duration> {
        match self {
            Self::After(time) => Some(time),
            Self::Unset | Self::Disabled => None,
        }
    }
}

/// Whole milliseconds, a negative number (disabled) or a Go duration.
fn timer(properties: &Properties, name: &str) -> Result<Timer, InitError> {
    let Some(text) = properties.get(name).filter(|text| !text.is_empty()) else { return Ok(Timer::Unset) };
    let nanos = match text.parse::<i64>() {
        Ok(number) if number < 0 => return Ok(Timer::Disabled),
        Ok(millis) => millis.saturating_mul(1_000_000),
        Err(_) => duration::parse_signed(text).map_err(|e| {
            InitError::new(format!(
                "redis client configuration error: decode failed. invalid value '{text}' for '{name}': {e}"
            ))
        })?,
    };
    Ok(match u64::try_from(nanos) {
        Ok(0) => Timer::Unset,
        Ok(nanos) => Timer::After(Duration::from_nanos(nanos)),
        Err(_) => Timer::Disabled,
    })
}

fn retry(properties: &Properties, kind: Kind) -> Result<Retry, InitError> {
    let given = properties.integer::<i64>("redisMaxRetries").map_err(configuration)?;
    let legacy = match kind.knows_old_names() {
        true => properties.integer::<i64>("maxRetries").map_err(configuration)?,
        false => None,
    };
    let attempts = match given.or(legacy) {
        None | Some(0) => DEFAULT_MAX_RETRIES,
        Some(number) => u32::try_from(number).unwrap_or(0),
    };
    let default_min = if kind.knows_old_names() { STATE_MIN_BACKOFF } else { DEFAULT_MIN_BACKOFF };
    let default_max =
        if kind == Kind::Configuration { CONFIGURATION_MAX_BACKOFF } else { DEFAULT_MAX_BACKOFF };
    let old_name = kind.knows_old_names().then(|| properties.get("maxRetryBackoff")).flatten();
    let min = match (timer(properties, "redisMinRetryInterval")?, old_name) {
        (Timer::Unset, Some(nanos)) if !nanos.is_empty() => {
            // The old name counts nanoseconds.
            let nanos: i64 = nanos.parse().map_err(|e| {
                InitError::new(format!("redis store error: can't parse maxRetryBackoff field: {e}"))
            })?;
            u64::try_from(nanos).map(Duration::from_nanos).unwrap_or_default()
        }
        (timer, _) => timer.or_default(default_min).unwrap_or_default(),
    };
    let max = timer(properties, "redisMaxRetryInterval")?.or_default(default_max).unwrap_or_default();
    Ok(Retry { attempts, min, max })
}

fn tls(properties: &Properties) -> Result<Option<Tls>, InitError> {
    if properties.legacy_bool("enableTLS").map_err(configuration)? != Some(true) {
        return Ok(None);
    }
    let text = |name: &str| properties.get(name).filter(|v| !v.is_empty()).map(str::to_owned);
    Ok(Some(Tls {
        insecure: properties.legacy_bool("insecureSkipTLSVerify").map_err(configuration)?.unwrap_or(false),
        client: text("clientCert").zip(text("clientKey")),
    }))
}

/// A comma list of addresses, each completed with a port.
fn resolve_hosts(host: &str, port: Option<u16>) -> Result<Vec<String>, InitError> {
    if host.is_empty() {
        // What the reference's client connects to without an address.
        return Ok(vec![format!("localhost:{DEFAULT_PORT}")]);
    }
    if host.contains(',') {
        return host.split(',').map(|address| resolve_host(address.trim(), port)).collect();
    }
    Ok(vec![resolve_host(host, port)?])
}

fn resolve_host(address: &str, port: Option<u16>) -> Result<String, InitError> {
    if let Some((_, existing)) = split_host_port(address) {
        return match port {
            Some(port) if port.to_string() != existing => Err(InitError::new(format!(
                "redis client configuration error: redis host \"{address}\" already contains port {existing}, \
                 but redisPort is set to {port}; either remove the port from redisHost or remove the \
                 redisPort setting"
            ))),
            _ => Ok(address.to_owned()),
        };
    }
    let port = port.unwrap_or(DEFAULT_PORT);
    Ok(if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") })
}

/// Host and port of `host:port` or `[host]:port`; `None` without a port.
pub(crate) fn split_host_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(bracketed) => Some((bracketed.strip_suffix(']')?, port)),
        None => (!host.contains([':', '[', ']'])).then_some((host, port)),
    }
}

fn configuration(error: impl std::fmt::Display) -> InitError {
    InitError::new(format!("redis client configuration error: decode failed. {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, items: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::parse(&Properties::new(items.iter().copied()).unwrap(), kind).map_err(|e| e.to_string())
    }

    #[test]
    fn hosts_get_a_port() {
        let hosts = |host: &str, port: &str| {
            parse(Kind::State, &[("redisHost", host), ("redisPort", port)]).map(|s| s.host())
        };
        assert_eq!(hosts("a", "").unwrap(), "a:6379");
        assert_eq!(hosts("a", "7000").unwrap(), "a:7000");
        assert_eq!(hosts("a:1", "1").unwrap(), "a:1");
        assert_eq!(hosts("a:1, b ,::1", "").unwrap(), "a:1,b:6379,[::1]:6379");
        assert_eq!(hosts("[::1]:7", "").unwrap(), "[::1]:7");
        assert_eq!(
            hosts("a:1", "2").unwrap_err(),
            "redis client configuration error: redis host \"a:1\" already contains port 1, but redisPort \
             is set to 2; either remove the port from redisHost or remove the redisPort setting"
        );
        assert!(hosts("a", "70000").unwrap_err().starts_with("redis client configuration error: "));
    }

    #[test]
    fn whole_numbers_are_milliseconds_and_minus_one_disables() {
        let s = parse(Kind::PubSub, &[("readTimeout", "250"), ("dialTimeout", "-1")]).unwrap();
        assert_eq!((s.read_timeout, s.dial_timeout), (Some(Duration::from_millis(250)), None));
        assert_eq!(s.block, Some(Duration::from_millis(250)));
        let s = parse(Kind::PubSub, &[("dialTimeout", "1m")]).unwrap();
        assert_eq!((s.read_timeout, s.block), (Some(Duration::from_secs(3)), None));
        assert_eq!(s.dial_timeout, Some(Duration::from_secs(60)));
        assert!(parse(Kind::PubSub, &[("dialTimeout", "soon")]).is_err());
    }

    #[test]
    fn booleans_are_strict() {
        assert!(parse(Kind::State, &[("enableTLS", "1")]).unwrap().tls.is_some());
        assert!(parse(Kind::State, &[("enableTLS", "yes")]).is_err());
    }

    #[test]
    fn retries_and_their_old_names() {
        let state = parse(Kind::State, &[]).unwrap().retry;
        assert_eq!((state.attempts, state.min), (3, Duration::from_secs(2)));
        let old = [("maxRetries", "5"), ("maxRetryBackoff", "1000000")];
        let state = parse(Kind::State, &old).unwrap().retry;
        assert_eq!((state.attempts, state.min), (5, Duration::from_millis(1)));
        let pubsub = parse(Kind::PubSub, &old).unwrap().retry;
        assert_eq!((pubsub.attempts, pubsub.min), (3, DEFAULT_MIN_BACKOFF));
        assert_eq!(parse(Kind::State, &[("redisMaxRetries", "-1")]).unwrap().retry.attempts, 0);
    }

    #[test]
    fn topologies() {
        let topology = |items| parse(Kind::State, items).unwrap().topology;
        assert_eq!(topology(&[]), Topology::Node);
        assert_eq!(topology(&[("redisType", "cluster")]), Topology::Cluster);
        assert_eq!(topology(&[("redisType", "cluster"), ("failover", "true")]), Topology::Sentinel);
        assert!(parse(Kind::State, &[("useEntraID", "true")]).is_err());
    }
}
