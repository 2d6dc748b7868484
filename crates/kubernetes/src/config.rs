//! Where the cluster is and how to prove who asks (control-plane.md §1).

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dapr_resources::yaml::{self, Dialect};
use dapr_security::tls::{ClientTls, Verify};
use serde::Deserialize;
use url::Url;

const HOST_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";
const PORT_VARIABLE: &str = "KUBERNETES_SERVICE_PORT";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
    )]
    NotInCluster,
    #[error("invalid configuration: no configuration has been provided, try setting --kubeconfig")]
    None,
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("invalid kubeconfig {}: {problem}", path.display())]
    Kubeconfig { path: PathBuf, problem: String },
}

/// How a request proves who sends it, besides a client certificate.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    None,
    Token(String),
    /// Read again for each request: the file is replaced before it expires.
    TokenFile(PathBuf),
    Basic {
        user: String,
        password: String,
    },
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(..)",
            Self::TokenFile(_) => "TokenFile(..)",
            Self::Basic { .. } => "Basic(..)",
        })
    }
}

/// One cluster and one user.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    pub server: Url,
    pub tls: ClientTls,
    /// What the server's certificate must be for, if not the host of `server`.
    pub tls_server_name: Option<String>,
    pub auth: Auth,
}

impl ClusterConfig {
    /// In the cluster if the environment says so, else by the file. A missing
    /// port variable means that this is no cluster.
    pub fn load(
        env: &dyn Fn(&str) -> Option<String>,
        kubeconfig: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        match Self::in_cluster(env) {
            Ok(config) => Ok(config),
            Err(_) => match kubeconfig.filter(|path| !path.as_os_str().is_empty()) {
                Some(path) => Self::from_kubeconfig(path),
                None => Err(ConfigError::None),
            },
        }
    }

    /// With the service account of the pod.
    pub fn in_cluster(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let set = |name| env(name).filter(|value| !value.is_empty());
        let (Some(host), Some(port)) = (set(HOST_VARIABLE), set(PORT_VARIABLE)) else {
            return Err(ConfigError::NotInCluster);
        };
        let (token, ca) = (Path::new(ACCOUNT).join("token"), Path::new(ACCOUNT).join("ca.crt"));
        read(&token)?;
        let root = read(&ca)?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let server = Url::parse(&format!("https://{host}:{port}")).map_err(|_| ConfigError::NotInCluster)?;
        let tls = ClientTls { root_ca_pem: Some(root), ..ClientTls::default() };
        Ok(Self { server, tls, tls_server_name: None, auth: Auth::TokenFile(token) })
    }

    /// The current context of a kubeconfig file.
    pub fn from_kubeconfig(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let problem = |problem: String| ConfigError::Kubeconfig { path: path.to_owned(), problem };
        let node = yaml::parse_first(&text).map_err(|e| problem(e.to_string()))?;
        let node = node.ok_or_else(|| problem("it is empty".to_owned()))?;
        let json = node.to_json(Dialect::Resource).map_err(|e| problem(e.to_string()))?;
        let file: Kubeconfig = serde_json::from_value(json).map_err(|e| problem(e.to_string()))?;
        file.resolve(path.parent().unwrap_or(Path::new("."))).map_err(problem)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })
}

#[derive(Deserialize)]
#[serde(default, rename_all = "kebab-case")]
#[derive(Default)]
struct Kubeconfig {
    clusters: Vec<Named>,
    contexts: Vec<Named>,
    users: Vec<Named>,
    current_context: String,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    cluster: Cluster,
    #[serde(default)]
    context: Context,
    #[serde(default)]
    user: User,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<serde_json::Value>,
    auth_provider: Option<serde_json::Value>,
}

impl Kubeconfig {
    /// `folder` is what relative paths start from.
    fn resolve(self, folder: &Path) -> Result<ClusterConfig, String> {
        let find = |list: &[Named], kind: &str, name: &str| {
            let at = list.iter().position(|entry| entry.name == name);
            at.ok_or_else(|| format!("{kind} \"{name}\" does not exist"))
        };
        let context = find(&self.contexts, "context", &self.current_context)?;
        let context = &self.contexts[context].context;
        let cluster = &self.clusters[find(&self.clusters, "cluster", &context.cluster)?].cluster;
        let user = match context.user.as_str() {
            "" => User::default(),
            name => self.users[find(&self.users, "user", name)?].user.clone(),
        };
        if user.exec.is_some() || user.auth_provider.is_some() {
            return Err(
                "users with exec or auth-provider are not supported; use a token or a client certificate"
                    .to_owned(),
            );
        }
        let server = Url::parse(&cluster.server).map_err(|e| format!("server '{}': {e}", cluster.server))?;
        let tls = ClientTls {
            root_ca_pem: pem(folder, &cluster.certificate_authority_data, &cluster.certificate_authority)?,
            cert_pem: pem(folder, &user.client_certificate_data, &user.client_certificate)?,
            key_pem: pem(folder, &user.client_key_data, &user.client_key)?,
            verify: if cluster.insecure_skip_tls_verify { Verify::None } else { Verify::Roots },
            ..ClientTls::default()
        };
        let auth = match (user.token, user.token_file, user.username) {
            (Some(token), ..) => Auth::Token(token),
            (None, Some(file), _) => Auth::TokenFile(folder.join(file)),
            (None, None, Some(user_name)) => {
                Auth::Basic { user: user_name, password: user.password.unwrap_or_default() }
            }
            (None, None, None) => Auth::None,
        };
        let tls_server_name = cluster.tls_server_name.clone().filter(|name| !name.is_empty());
        Ok(ClusterConfig { server, tls, tls_server_name, auth })
    }
}

/// Inline data wins over a file, as in every client.
fn pem(folder: &Path, data: &Option<String>, file: &Option<String>) -> Result<Option<String>, String> {
    if let Some(data) = data.as_deref().filter(|data| !data.is_empty()) {
        let bytes = STANDARD.decode(data).map_err(|_| "certificate or key data is not base64".to_owned())?;
        return String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| "certificate or key data is not PEM".to_owned());
    }
    Ok(file.as_deref().filter(|f| !f.is_empty()).map(|f| folder.join(f).to_string_lossy().into_owned()))
}
