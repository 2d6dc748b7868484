//! Flags and environment (control-plane.md §3.1), read once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dapr_flags::{Dashes, Flag, FlagError, FlagSet, Matches};
use dapr_telemetry::logging::{Format, Level};

/// Looks up a variable of the environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

const CREDENTIALS: &str = "/var/run/secrets/dapr.io/credentials";
const JWT_KEY: &str = "jwt.key";
const JWKS: &str = "jwks.json";
const DEFAULT_CONFIG: &str = "daprsystem";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Standalone,
    Kubernetes,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub config: String,
    pub mode: Mode,
    pub port: u16,
    pub listen_address: String,
    pub healthz_port: u16,
    /// `None` when metrics are off.
    pub metrics_port: Option<u16>,
    pub trust_domain: String,
    pub kubeconfig: PathBuf,
    pub files: Files,
    pub jwt: Jwt,
    pub oidc: Option<Oidc>,
    pub environment: Environment,
}

/// Where the authority's own keys and certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub ca: PathBuf,
    pub issuer_cert: PathBuf,
    pub issuer_key: PathBuf,
    pub jwt_key: PathBuf,
    pub jwks: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Jwt {
    pub enabled: bool,
    pub issuer: Option<String>,
    pub algorithm: String,
    pub key_id: Option<String>,
    pub ttl: Duration,
}

#[derive(Clone, Debug)]
pub struct Oidc {
    pub listen_address: String,
    pub port: u16,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub jwks_uri: Option<String>,
    pub path_prefix: Option<String>,
    pub allowed_hosts: Vec<String>,
}

/// What the environment says.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Raw `NAMESPACE`.
    pub namespace: Option<String>,
    pub skip_user_check: bool,
    /// For finding the cluster from within.
    pub kubernetes_host: Option<String>,
    pub kubernetes_port: Option<String>,
}

impl Environment {
    fn read(env: Env<'_>) -> Self {
        Self {
            namespace: env("NAMESPACE"),
            skip_user_check: env("DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK").as_deref() == Some("true"),
            kubernetes_host: env("KUBERNETES_SERVICE_HOST"),
            kubernetes_port: env("KUBERNETES_SERVICE_PORT"),
        }
    }

    /// Unset is `default`, empty stays empty.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// For the Kubernetes client.
    pub fn get(&self, name: &str) -> Option<String> {
        match name {
            "KUBERNETES_SERVICE_HOST" => self.kubernetes_host.clone(),
            "KUBERNETES_SERVICE_PORT" => self.kubernetes_port.clone(),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub level: Level,
    pub format: Format,
    pub file: Option<PathBuf>,
}

pub fn flag_set(env: Env<'_>) -> FlagSet {
    let home = env("HOME").filter(|home| !home.is_empty());
    let kubeconfig = home.map(|home| Path::new(&home).join(".kube/config").to_string_lossy().into_owned());
    let mut set = FlagSet::new();
    set.extend(general(kubeconfig.as_deref().unwrap_or_default()));
    set.extend(tokens());
    set
}

fn general(kubeconfig: &str) -> Vec<Flag> {
    vec![
        Flag::string(
            "config",
            DEFAULT_CONFIG,
            "Path of a Configuration file, or name of a Configuration in the cluster",
        ),
        Flag::string("mode", "standalone", "Where keys are kept and callers known: standalone or kubernetes"),
        Flag::int("port", 50001, "Port of the certificate authority"),
        Flag::string("listen-address", "", "Address of the certificate authority; empty means all"),
        Flag::int("healthz-port", 8080, "Port of the health check"),
        Flag::string(
            "healthz-listen-address",
            "",
            "Accepted without effect: the health check listens on all addresses",
        ),
        Flag::string("trust-domain", "localhost", "Trust domain of the control plane"),
        Flag::string("issuer-credentials", CREDENTIALS, "Folder of the authority's keys and certificates"),
        Flag::string("issuer-ca-filename", "ca.crt", "File of the trust anchors"),
        Flag::string("issuer-certificate-filename", "issuer.crt", "File of the issuer's certificate chain"),
        Flag::string("issuer-key-filename", "issuer.key", "File of the issuer's private key"),
        Flag::string(
            "kubeconfig",
            kubeconfig,
            "Path of a kubeconfig file, for when this is not in a cluster",
        ),
        Flag::string("log-level", "info", "Lowest level that is logged: debug, info, warn, error or fatal"),
        Flag::bool("log-as-json", false, "Write log lines as JSON"),
        Flag::string("log-file", "", "Append log lines to this file instead of standard output"),
        Flag::bool("enable-metrics", true, "Serve metrics for Prometheus"),
        Flag::string("metrics-port", "9090", "Port of the metrics"),
        Flag::string(
            "metrics-listen-address",
            "0.0.0.0",
            "Accepted without effect: metrics listen on all addresses",
        ),
    ]
}

fn tokens() -> Vec<Flag> {
    vec![
        Flag::bool("jwt-enabled", false, "Issue JWT-SVIDs beside certificates"),
        Flag::string("jwt-key-filename", JWT_KEY, "Absolute path of the key that signs tokens"),
        Flag::string("jwks-filename", JWKS, "Absolute path of the key set for tokens"),
        Flag::string("jwt-issuer", "", "Issuer that tokens name; none if empty"),
        Flag::string("jwt-signing-algorithm", "RS256", "Algorithm of tokens; it must fit the key"),
        Flag::string("jwt-key-id", "", "ID of the signing key; its thumbprint if empty"),
        Flag::duration("jwt-ttl", DAY, "How long tokens are valid"),
        Flag::bool("oidc-enabled", false, "Serve the OIDC discovery document and the key set over HTTP"),
        Flag::string("oidc-server-listen-address", "localhost", "Address of the OIDC server"),
        Flag::int("oidc-server-listen-port", 9080, "Port of the OIDC server"),
        Flag::bool("oidc-server-tls-enabled", true, "Require TLS for the OIDC server"),
        Flag::string("oidc-server-tls-cert-file", "", "Certificate of the OIDC server"),
        Flag::string("oidc-server-tls-key-file", "", "Private key of the OIDC server"),
        Flag::string("oidc-jwks-uri", "", "Where others find the key set, if not at the OIDC server"),
        Flag::string("oidc-path-prefix", "", "Prefix of the paths of the OIDC server"),
        Flag::list("oidc-allowed-hosts", &[], "Hosts for which the OIDC server answers; all if empty"),
    ]
}

pub fn parse(args: Vec<String>, env: Env<'_>) -> Result<Matches, FlagError> {
    flag_set(env).parse(args, Dashes::SingleIsLong)
}

/// The error is the text of a fatal line.
pub fn log_settings(m: &Matches) -> Result<LogSettings, String> {
    let text = m.string("log-level");
    let level = text.parse().map_err(|_| format!("invalid value for --log-level: {text}"))?;
    let format = if m.bool("log-as-json") { Format::Json } else { Format::Text };
    let file = Some(m.string("log-file")).filter(|file| !file.is_empty()).map(PathBuf::from);
    Ok(LogSettings { level, format, file })
}

/// The error is the text of a fatal line.
pub fn resolve(m: &Matches, env: Env<'_>) -> Result<Options, String> {
    let invalid = |problem: String| format!("Invalid options: {problem}");
    let mode = match m.string("mode") {
        "standalone" => Mode::Standalone,
        "kubernetes" => Mode::Kubernetes,
        other => return Err(invalid(format!("invalid mode: {other}"))),
    };
    let oidc = oidc(m)?;
    let jwt = Jwt {
        enabled: m.bool("jwt-enabled"),
        issuer: given(m, "jwt-issuer"),
        algorithm: m.string("jwt-signing-algorithm").to_owned(),
        key_id: given(m, "jwt-key-id"),
        ttl: m.duration("jwt-ttl"),
    };
    if jwt.issuer.is_some() && !jwt.enabled {
        return Err(invalid("jwt-issuer cannot be set when jwt-enabled is false".to_owned()));
    }
    let metrics_port = m.bool("enable-metrics").then(|| m.string("metrics-port"));
    let metrics_port = metrics_port
        .map(|text| {
            text.parse().map_err(|_| format!("failed to parse metrics port: {text} is no port number"))
        })
        .transpose()?;
    Ok(Options {
        config: Some(m.string("config")).filter(|c| !c.is_empty()).unwrap_or(DEFAULT_CONFIG).to_owned(),
        mode,
        port: port(m, "port")?,
        listen_address: m.string("listen-address").to_owned(),
        healthz_port: port(m, "healthz-port")?,
        metrics_port,
        trust_domain: m.string("trust-domain").to_owned(),
        kubeconfig: m.string("kubeconfig").into(),
        files: files(m),
        jwt,
        oidc,
        environment: Environment::read(env),
    })
}

fn oidc(m: &Matches) -> Result<Option<Oidc>, String> {
    let enabled = m.bool("oidc-enabled");
    let (cert, key) = (given(m, "oidc-server-tls-cert-file"), given(m, "oidc-server-tls-key-file"));
    if enabled && m.bool("oidc-server-tls-enabled") {
        for (file, name) in [(&cert, "oidc-server-tls-cert-file"), (&key, "oidc-server-tls-key-file")] {
            if file.is_none() {
                return Err(format!(
                    "Invalid options: {name} is required when OIDC HTTP server is enabled (unless oidc-server-tls-enabled is false)"
                ));
            }
        }
    }
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert.into(), key.into())),
        (None, None) => None,
        _ => return Err("both OIDC TLS certificate and key must be provided if one is specified".to_owned()),
    };
    if !enabled {
        return Ok(None);
    }
    Ok(Some(Oidc {
        listen_address: m.string("oidc-server-listen-address").to_owned(),
        port: port(m, "oidc-server-listen-port")?,
        tls,
        jwks_uri: given(m, "oidc-jwks-uri"),
        path_prefix: given(m, "oidc-path-prefix"),
        allowed_hosts: m.list("oidc-allowed-hosts").to_vec(),
    }))
}

/// A relative name of the two token files is ignored, as in Dapr
/// (control-plane.md §13.6).
fn files(m: &Matches) -> Files {
    let folder = Path::new(m.string("issuer-credentials"));
    let token_file = |flag: &str, default: &str| {
        let name = Path::new(m.string(flag));
        if name.is_absolute() { name.to_owned() } else { folder.join(default) }
    };
    Files {
        ca: folder.join(m.string("issuer-ca-filename")),
        issuer_cert: folder.join(m.string("issuer-certificate-filename")),
        issuer_key: folder.join(m.string("issuer-key-filename")),
        jwt_key: token_file("jwt-key-filename", JWT_KEY),
        jwks: token_file("jwks-filename", JWKS),
    }
}

fn given(m: &Matches, name: &str) -> Option<String> {
    m.changed(name).then(|| m.string(name).to_owned())
}

fn port(m: &Matches, name: &str) -> Result<u16, String> {
    let value = m.int(name);
    u16::try_from(value).map_err(|_| format!("Invalid options: --{name} {value} is no port number"))
}

impl Options {
    /// Every file whose change makes this a different authority.
    pub fn watched_files(&self) -> Vec<&Path> {
        let files = &self.files;
        let mut all: Vec<&Path> =
            vec![&files.issuer_cert, &files.issuer_key, &files.ca, &files.jwt_key, &files.jwks];
        if let Some((cert, key)) = self.oidc.as_ref().and_then(|oidc| oidc.tls.as_ref()) {
            all.extend([cert.as_path(), key.as_path()]);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(args: &[&str]) -> Result<Options, String> {
        let env = |_: &str| None;
        let matches = parse(args.iter().map(|a| (*a).to_owned()).collect(), &env).unwrap();
        resolve(&matches, &env)
    }

    #[test]
    fn defaults() {
        let options = resolved(&[]).unwrap();
        assert_eq!((options.port, options.healthz_port, options.metrics_port), (50001, 8080, Some(9090)));
        assert_eq!(options.files.ca, Path::new("/var/run/secrets/dapr.io/credentials/ca.crt"));
        assert_eq!(
            (options.trust_domain.as_str(), options.environment.namespace()),
            ("localhost", "default")
        );
        assert!(options.oidc.is_none() && !options.jwt.enabled);
        assert_eq!(options.jwt.ttl, DAY);
        assert_eq!(options.kubeconfig, Path::new(""), "no home, no file");
    }

    #[test]
    fn one_dash_is_enough_and_absolute_files_stand_alone() {
        let options = resolved(&[
            "-port=1",
            "-issuer-credentials",
            "/c",
            "-issuer-ca-filename=/abs/root.pem",
            "-issuer-key-filename=k.pem",
            "-jwt-key-filename=ignored.key",
            "--jwks-filename=/abs/set.json",
        ])
        .unwrap();
        assert_eq!(options.port, 1);
        assert_eq!(options.files.ca, Path::new("/abs/root.pem"));
        assert_eq!(options.files.issuer_key, Path::new("/c/k.pem"));
        assert_eq!(options.files.jwt_key, Path::new("/c/jwt.key"));
        assert_eq!(options.files.jwks, Path::new("/abs/set.json"));
    }

    #[test]
    fn contradictions_are_refused() {
        let refusal = |args: &[&str]| resolved(args).unwrap_err();
        assert_eq!(refusal(&["-mode=x"]), "Invalid options: invalid mode: x");
        assert_eq!(
            refusal(&["-jwt-issuer=x"]),
            "Invalid options: jwt-issuer cannot be set when jwt-enabled is false"
        );
        assert!(
            refusal(&["-oidc-enabled"]).starts_with("Invalid options: oidc-server-tls-cert-file is required")
        );
        assert_eq!(
            refusal(&["-oidc-server-tls-cert-file=x"]),
            "both OIDC TLS certificate and key must be provided if one is specified"
        );
        assert!(refusal(&["-port=70000"]).contains("--port 70000"));
    }

    #[test]
    fn oidc_without_tls_is_possible() {
        let options =
            resolved(&["-oidc-enabled", "-oidc-server-tls-enabled=false", "-oidc-allowed-hosts=a,b"])
                .unwrap();
        let oidc = options.oidc.unwrap();
        assert!(oidc.tls.is_none() && oidc.path_prefix.is_none());
        assert_eq!(oidc.allowed_hosts, ["a", "b"]);
    }
}
