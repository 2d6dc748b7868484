use std::path::Path;

use crate::{Auth, ClusterConfig, ConfigError};

fn kubeconfig(text: &str) -> (tempfile::TempDir, Result<ClusterConfig, ConfigError>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    std::fs::write(&path, text).unwrap();
    let config = ClusterConfig::from_kubeconfig(&path);
    (folder, config)
}

const FILE: &str = "
apiVersion: v1
kind: Config
current-context: b
contexts:
- {name: a, context: {cluster: none, user: none}}
- {name: b, context: {cluster: c, user: u}}
clusters:
- name: c
  cluster: {server: 'https://localhost:6443/base', certificate-authority: ca.crt, tls-server-name: cluster.local}
users:
- name: u
  user: {client-certificate-data: QUJD, client-key: /abs/key, token: secret}
";

#[test]
fn the_current_context_counts() {
    let (folder, config) = kubeconfig(FILE);
    let config = config.unwrap();
    assert_eq!(config.server.as_str(), "https://localhost:6443/base");
    assert_eq!(config.tls_server_name.as_deref(), Some("cluster.local"));
    let ca = folder.path().join("ca.crt");
    assert_eq!(config.tls.root_ca_pem.as_deref(), ca.to_str(), "relative to the file");
    assert_eq!(config.tls.cert_pem.as_deref(), Some("ABC"));
    assert_eq!(config.tls.key_pem.as_deref(), Some("/abs/key"));
    assert_eq!(config.auth, Auth::Token("secret".to_owned()));
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn what_cannot_be_used_is_named() {
    let problem = |text: &str| kubeconfig(text).1.unwrap_err().to_string();
    assert!(problem("").ends_with("it is empty"));
    assert!(problem("current-context: x").ends_with("context \"x\" does not exist"));
    assert!(problem(&FILE.replace("token: secret", "exec: {command: aws}")).contains("exec"));
    assert!(problem(&FILE.replace("QUJD", "'!'")).contains("not base64"));
}

#[test]
fn in_cluster_needs_host_and_port() {
    let env = |name: &str| (name == "KUBERNETES_SERVICE_HOST").then(|| "anything".to_owned());
    assert!(matches!(ClusterConfig::in_cluster(&env), Err(ConfigError::NotInCluster)));
    assert!(matches!(ClusterConfig::load(&env, None), Err(ConfigError::None)));
    let missing = ClusterConfig::load(&env, Some(Path::new("/nowhere/config"))).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/config"));
}
