//! Metadata that the PostgreSQL components share (components.md §1.6): a
//! connection string in either form, with fields that override its parts.

use std::collections::BTreeMap;
use std::time::Duration;

use dapr_components::{InitError, Properties};
use dapr_security::tls::Verify;
use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::tls::TlsSettings;

const MAX_IDLE: Duration = Duration::from_secs(30 * 60);
const MAX_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Connections of a pool that is not told otherwise, whatever the machine.
const MIN_POOL: usize = 4;
pub(crate) const EXEC_MODES: [&str; 5] =
    ["cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"];
/// Parameters that concern clients of another make.
const IGNORED: [&str; 8] = [
    "pool_min_conns",
    "pool_min_idle_conns",
    "pool_health_check_period",
    "pool_max_conn_lifetime_jitter",
    "default_query_exec_mode",
    "statement_cache_capacity",
    "description_cache_capacity",
    "sslsni",
];

/// What is needed to connect.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// `None` for connections in the clear.
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) max_connections: usize,
    pub(crate) max_idle: Duration,
    pub(crate) max_lifetime: Duration,
}

impl Settings {
    pub(crate) fn parse(properties: &Properties) -> Result<Self, InitError> {
        for (property, other) in [("useAzureAD", "Entra ID"), ("useAWSIAM", "AWS IAM")] {
            if properties.truthy(property) {
                return Err(InitError::new(format!(
                    "{property} is not supported by this build: log in with user and password instead of {other}"
                )));
            }
        }
        if let Some(mode) = properties.get("queryExecMode").filter(|mode| !mode.is_empty())
            && !EXEC_MODES.contains(&mode)
        {
            // Statements are never kept on the server, so any mode is served.
            return Err(InitError::new(format!("invalid queryExecMode metadata value: {mode}")));
        }
        let mut settings = Self::from_parameters(parameters(properties)?)?;
        let idle = match properties.duration("connectionMaxIdleTime")? {
            Some(time) if !time.is_zero() => Some(time),
            _ => properties.duration("connMaxIdleTime")?,
        };
        if let Some(idle) = idle.filter(|time| !time.is_zero()) {
            settings.max_idle = idle;
        }
        if let Some(most) = properties.integer::<i64>("maxConns")?.filter(|most| *most > 1) {
            settings.max_connections = usize::try_from(most).unwrap_or(usize::MAX);
        }
        Ok(settings)
    }

    fn from_parameters(mut parameters: BTreeMap<String, String>) -> Result<Self, InitError> {
        let mut config = Config::new();
        let tls = tls(&mut config, &mut parameters)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut settings = Self {
            config: Config::new(),
            tls,
            max_connections: cores.max(MIN_POOL),
            max_idle: MAX_IDLE,
            max_lifetime: MAX_LIFETIME,
        };
        let mut runtime = Vec::new();
        for (name, value) in &parameters {
            match name.as_str() {
                "user" => {
                    config.user(value.as_str());
                }
                "password" => {
                    config.password(value);
                }
                "dbname" | "database" => {
                    config.dbname(value.as_str());
                }
                "host" => {
                    for host in value.split(',') {
                        config.host(host);
                    }
                }
                "hostaddr" => {
                    for address in value.split(',') {
                        config.hostaddr(address.parse().map_err(|_| invalid(name, value))?);
                    }
                }
                "port" => {
                    for port in value.split(',') {
                        config.port(port.parse().map_err(|_| invalid(name, value))?);
                    }
                }
                "application_name" | "fallback_application_name" => {
                    config.application_name(value.as_str());
                }
                "options" => runtime.push(value.clone()),
                "connect_timeout" => {
                    let seconds = value.parse().map_err(|_| invalid(name, value))?;
                    config.connect_timeout(Duration::from_secs(seconds));
                }
                "target_session_attrs" => {
                    config
                        .target_session_attrs(session_attributes(value).ok_or_else(|| invalid(name, value))?);
                }
                "pool_max_conns" => {
                    settings.max_connections = value.parse().map_err(|_| invalid(name, value))?;
                }
                "pool_max_conn_idle_time" => settings.max_idle = duration(name, value)?,
                "pool_max_conn_lifetime" => settings.max_lifetime = duration(name, value)?,
                ignored if IGNORED.contains(&ignored) => {}
                // Whatever else there is, is a setting of the session.
                other => {
                    runtime.push(format!("-c {other}={}", value.replace('\\', "\\\\").replace(' ', "\\ ")))
                }
            }
        }
        if !runtime.is_empty() {
            config.options(runtime.join(" "));
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("localhost");
        }
        if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
            && !config.get_hosts().is_empty()
        {
            settings.tls = None;
            config.ssl_mode(SslMode::Disable);
        }
        settings.config = config;
        Ok(settings)
    }
}

fn invalid(name: &str, value: &str) -> InitError {
    InitError::new(format!("failed to parse connection string: invalid value '{value}' for {name}"))
}

fn duration(name: &str, value: &str) -> Result<Duration, InitError> {
    let properties = Properties::new([(name, value)])?;
    Ok(properties.duration(name)?.unwrap_or_default())
}

fn session_attributes(value: &str) -> Option<TargetSessionAttrs> {
    match value {
        "any" | "prefer-standby" => Some(TargetSessionAttrs::Any),
        "read-write" | "primary" => Some(TargetSessionAttrs::ReadWrite),
        "read-only" | "standby" => Some(TargetSessionAttrs::ReadOnly),
        _ => None,
    }
}

/// Takes the parameters that say how connections are secured.
fn tls(
    config: &mut Config,
    parameters: &mut BTreeMap<String, String>,
) -> Result<Option<TlsSettings>, InitError> {
    let mut take = |name: &str| parameters.remove(name).filter(|value| !value.is_empty());
    let mode = take("sslmode").unwrap_or_else(|| "prefer".to_owned());
    let settings = TlsSettings {
        roots: take("sslrootcert").filter(|path| path != "system"),
        certificate: take("sslcert"),
        key: take("sslkey"),
        verify: Verify::None,
    };
    if take("sslpassword").is_some() {
        return Err(InitError::new(
            "failed to parse connection string: sslpassword is not supported: use a key that is not encrypted",
        ));
    }
    let (ssl_mode, verify) = match mode.as_str() {
        "disable" => {
            config.ssl_mode(SslMode::Disable);
            return Ok(None);
        }
        "allow" | "prefer" => (SslMode::Prefer, Verify::None),
        // With roots it has always meant more than it says.
        "require" if settings.roots.is_some() => (SslMode::Require, Verify::RootsAnyName),
        "require" => (SslMode::Require, Verify::None),
        "verify-ca" => (SslMode::Require, Verify::RootsAnyName),
        "verify-full" => (SslMode::Require, Verify::Roots),
        other => return Err(invalid("sslmode", other)),
    };
    config.ssl_mode(ssl_mode);
    Ok(Some(TlsSettings { verify, ..settings }))
}

/// The connection string's parameters, overridden by the fields.
fn parameters(properties: &Properties) -> Result<BTreeMap<String, String>, InitError> {
    let text = properties.get_any(&["connectionString", "url"]).unwrap_or_default();
    let field = |name: &str| properties.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
    let mut parameters = if is_url { from_url(text, field("port").as_deref())? } else { from_words(text)? };
    for name in ["user", "host", "hostaddr", "port", "password"] {
        if let Some(value) = field(name) {
            if is_url && name == "hostaddr" {
                // In a URL it takes the host's place.
                parameters.insert("host".to_owned(), value);
                continue;
            }
            parameters.insert(name.to_owned(), value);
        }
    }
    if let Some(database) = field("database") {
        parameters.remove("database");
        parameters.insert("dbname".to_owned(), database.trim_start_matches('/').to_owned());
    }
    if let Some(roots) = field("sslRootCert") {
        parameters.insert("sslrootcert".to_owned(), roots);
    }
    if parameters.is_empty() && !is_url {
        return Err(InitError::new("failed to build connection string"));
    }
    Ok(parameters)
}

/// `name=value` pairs; a value with blanks is in single quotes, and a
/// backslash takes the next character as it is.
fn from_words(text: &str) -> Result<BTreeMap<String, String>, InitError> {
    let bad = || InitError::new("failed to parse connection string: expected pairs of name=value");
    let mut parameters = BTreeMap::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=').ok_or_else(bad)?;
        let (name, value) = (name.trim(), value.trim_start());
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(bad());
        }
        let quoted = value.strip_prefix('\'');
        let mut out = String::new();
        let mut end = None;
        let body = quoted.unwrap_or(value);
        let mut characters = body.char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '\\' => out.extend(characters.next().map(|(_, taken)| taken)),
                '\'' if quoted.is_some() => {
                    end = Some(index + 1);
                    break;
                }
                blank if quoted.is_none() && blank.is_whitespace() => {
                    end = Some(index);
                    break;
                }
                other => out.push(other),
            }
        }
        if quoted.is_some() && end.is_none() {
            return Err(InitError::new("failed to parse connection string: a quote is not closed"));
        }
        parameters.insert(name.to_owned(), out);
        rest = body[end.unwrap_or(body.len())..].trim_start();
    }
    Ok(parameters)
}

/// `postgres://user:password@host:port,host:port/database?name=value`. A port
/// given beside is appended to the host, which must not have one then.
fn from_url(text: &str, port: Option<&str>) -> Result<BTreeMap<String, String>, InitError> {
    let bad = |what: &str| InitError::new(format!("invalid URL connection string: {what}"));
    let decode =
        |part: &str| percent_decode_str(part).decode_utf8().map(String::from).map_err(|_| bad("not UTF-8"));
    let (_, rest) = text.split_once("://").ok_or_else(|| bad("no scheme"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let mut parameters = BTreeMap::new();
    let mut put = |name: &str, value: String| {
        if !value.is_empty() {
            parameters.insert(name.to_owned(), value);
        }
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    put("user", decode(user)?);
    put("password", decode(password)?);
    put("dbname", decode(database)?);
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        let (name, own) = split_port(host);
        if own.is_some() && port.is_some() {
            return Err(bad("the host has a port and metadata property 'port' gives another"));
        }
        names.push(decode(name.trim_matches(['[', ']']))?);
        ports.push(own.unwrap_or("5432").to_owned());
    }
    put("host", names.join(","));
    put("port", ports.join(","));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        put(&decode(name)?, decode(&value.replace('+', " "))?);
    }
    Ok(parameters)
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        // A colon inside brackets is the address's own.
        Some((name, port)) if !port.contains(']') => (name, Some(port).filter(|port| !port.is_empty())),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(items: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::parse(&Properties::new(items.iter().copied()).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn both_forms_of_connection_strings() {
        let words = parse(&[(
            "connectionString",
            r"host=a port=1 user='o''' password='x y\'z'  dbname=d search_path=s",
        )]);
        assert!(words.unwrap_err().contains("name=value"));
        let words = parse(&[(
            "connectionString",
            r"host=a port=1 user=o password='x y\'z'  dbname=d search_path=s sslmode=disable",
        )])
        .unwrap();
        assert_eq!(words.config.get_hosts(), [Host::Tcp("a".into())]);
        assert_eq!((words.config.get_ports(), words.config.get_user()), (&[1][..], Some("o")));
        assert_eq!(words.config.get_password(), Some(&b"x y'z"[..]));
        assert_eq!(
            (words.config.get_dbname(), words.config.get_options()),
            (Some("d"), Some("-c search_path=s"))
        );
        assert!(words.tls.is_none());
        let url =
            parse(&[("url", "postgresql://o%40x:p%3Aq@a:1,[::1]/d?sslmode=verify-full&pool_max_conns=9")])
                .unwrap();
        assert_eq!(url.config.get_hosts(), [Host::Tcp("a".into()), Host::Tcp("::1".into())]);
        assert_eq!((url.config.get_ports(), url.config.get_user()), (&[1, 5432][..], Some("o@x")));
        assert_eq!(url.config.get_password(), Some(&b"p:q"[..]));
        assert_eq!((url.tls.unwrap().verify, url.max_connections), (Verify::Roots, 9));
    }

    #[test]
    fn fields_override() {
        let fields = [("host", "b"), ("user", "v"), ("database", "e"), ("password", "w"), ("maxConns", "7")];
        for text in ["host=a user=u password=p database=d", "postgres://u:p@a/d"] {
            let mut items = vec![("connectionString", text)];
            items.extend(fields);
            let settings = parse(&items).unwrap();
            assert_eq!(settings.config.get_hosts(), [Host::Tcp("b".into())], "{text}");
            assert_eq!(settings.config.get_user(), Some("v"));
            assert_eq!((settings.config.get_dbname(), settings.max_connections), (Some("e"), 7));
        }
        assert_eq!(parse(&fields).unwrap().config.get_user(), Some("v"));
        let error = parse(&[("connectionString", "postgres://a:1/d"), ("port", "2")]).unwrap_err();
        assert!(error.starts_with("invalid URL connection string: "), "{error}");
        let settings = parse(&[("connectionString", "postgres://a/d"), ("port", "2")]).unwrap();
        assert_eq!(settings.config.get_ports(), [2]);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert_eq!(parse(&[]).unwrap_err(), "failed to build connection string");
        assert_eq!(
            parse(&[("connectionString", "host=a"), ("queryExecMode", "fast")]).unwrap_err(),
            "invalid queryExecMode metadata value: fast"
        );
        for (name, text) in [("useAzureAD", "host=a"), ("useAWSIAM", "host=a")] {
            assert!(
                parse(&[("connectionString", text), (name, "true")]).unwrap_err().contains("not supported")
            );
        }
        for text in ["host=a port=x", "host=a sslmode=perhaps", "host", "host='a"] {
            assert!(parse(&[("connectionString", text)]).is_err(), "{text}");
        }
    }

    #[test]
    fn how_much_is_verified() {
        let verify = |text: &str| parse(&[("connectionString", text)]).unwrap().tls.map(|tls| tls.verify);
        assert_eq!(verify("host=a"), Some(Verify::None));
        assert_eq!(verify("host=/run/postgresql"), None);
        assert_eq!(verify("host=a sslmode=require"), Some(Verify::None));
        assert_eq!(verify("host=a sslmode=require sslrootcert=r"), Some(Verify::RootsAnyName));
        assert_eq!(verify("host=a sslmode=verify-ca"), Some(Verify::RootsAnyName));
    }
}
