use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use dapr_components::Properties;
use dapr_components::description::DecoderCheck;
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use serde_json::json;

use super::*;

/// An API server that answers one request after the other, and says which.
fn server(answers: Vec<(u16, serde_json::Value)>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, requests) = mpsc::channel();
    thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            asked.send(head.lines().next().unwrap_or_default().to_owned()).unwrap();
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, requests)
}

fn context(properties: &[(&str, &str)], namespace: Option<&str>) -> InitContext {
    InitContext {
        name: "kubernetes".into(),
        component_type: "secretstores.kubernetes".into(),
        version: "v1".into(),
        properties: Properties::new(properties.iter().map(|(k, v)| (*k, *v))).unwrap(),
        identity: AppIdentity::new("app", namespace),
        tasks: TaskGroup::new(Shutdown::new()),
    }
}

/// A store of the cluster at `address`; the folder holds its kubeconfig.
fn store(address: &str, namespace: Option<&str>) -> (tempfile::TempDir, KubernetesStore) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let text = format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: {{server: '{address}'}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    let shown = path.display().to_string();
    let context = context(&[("kubeconfigPath", &shown)], namespace);
    let store = KubernetesStore::new(&context, &|_| None).unwrap();
    (folder, store)
}

fn metadata(namespace: &str) -> RequestMetadata {
    RequestMetadata::from([(NAMESPACE.to_owned(), namespace.to_owned())])
}

#[tokio::test]
async fn a_secret_of_the_own_namespace_or_another() {
    let object = json!({"metadata": {"name": "db"}, "data": {"user": "bWU=", "password": "czNjcmV0"}});
    let (address, requests) = server(vec![(200, object.clone()), (200, object)]);
    let (_folder, store) = store(&address, Some("mine"));
    let secret = store.get("db", &RequestMetadata::new()).await.unwrap();
    assert_eq!((secret["user"].as_str(), secret["password"].as_str()), ("me", "s3cret"));
    store.get("db", &metadata("theirs")).await.unwrap();
    assert_eq!(requests.recv().unwrap(), "GET /api/v1/namespaces/mine/secrets/db HTTP/1.1");
    assert_eq!(requests.recv().unwrap(), "GET /api/v1/namespaces/theirs/secrets/db HTTP/1.1");
}

#[tokio::test]
async fn all_secrets_of_a_namespace() {
    let list = json!({"items": [
        {"metadata": {"name": "a"}, "data": {"k": "djE="}},
        {"metadata": {"name": "empty"}},
    ]});
    let (address, requests) = server(vec![(200, list), (200, json!({"items": null}))]);
    let (_folder, store) = store(&address, Some("mine"));
    let all = store.bulk_get(&RequestMetadata::new()).await.unwrap();
    assert_eq!((all.len(), all["a"]["k"].as_str(), all["empty"].len()), (2, "v1", 0));
    assert!(store.bulk_get(&RequestMetadata::new()).await.unwrap().is_empty());
    assert_eq!(requests.recv().unwrap(), "GET /api/v1/namespaces/mine/secrets HTTP/1.1");
}

#[tokio::test]
async fn refusals_are_the_servers_words() {
    let refusal = json!({"kind": "Status", "message": "secrets \"db\" not found", "code": 404});
    let (address, _requests) = server(vec![(404, refusal)]);
    let (_folder, store) = store(&address, Some("mine"));
    let error = store.get("db", &RequestMetadata::new()).await.unwrap_err();
    assert_eq!(error.0, "secrets \"db\" not found");
}

#[tokio::test]
async fn names_lead_nowhere_else() {
    let (_folder, store) = store("http://127.0.0.1:9", Some("mine"));
    for name in ["", "..", "a/../../kube-system/secrets/b", "a%2fb"] {
        let error = store.get(name, &RequestMetadata::new()).await.unwrap_err();
        assert!(error.0.starts_with("invalid resource name"), "{name}: {}", error.0);
    }
    let error = store.get("a", &metadata("../..")).await.unwrap_err();
    assert!(error.0.starts_with("invalid resource name"), "{}", error.0);
    assert_eq!(segment("a?b#c").unwrap(), "a%3Fb%23c");
}

#[tokio::test]
async fn without_any_namespace_nothing_can_be_asked() {
    let (_folder, store) = store("http://127.0.0.1:9", None);
    let error = store.get("a", &RequestMetadata::new()).await.unwrap_err();
    assert!(error.0.starts_with("namespace is missing on metadata and NAMESPACE env variable"));
}

#[tokio::test]
async fn without_a_cluster_there_is_no_store() {
    let error = KubernetesStore::new(&context(&[], None), &|_| None).err().unwrap();
    assert!(!error.to_string().is_empty());
    let env = |name: &str| (name == "KUBECONFIG").then(|| "/nowhere/config".to_owned());
    let error = KubernetesStore::new(&context(&[], None), &env).err().unwrap();
    assert!(error.to_string().contains("/nowhere/config"), "{error}");
}

#[tokio::test]
async fn the_description_is_what_is_read() {
    let (_folder, _store) = store("http://127.0.0.1:9", None);
    let config = _folder.path().join("config").display().to_string();
    let check = DecoderCheck::new(&crate::DESCRIPTION).sample("kubeconfigPath", config.clone());
    let read = |properties: &Properties| {
        let mut context = context(&[], None);
        context.properties = properties.clone();
        let env = |name: &str| (name == "KUBECONFIG").then(|| config.clone());
        KubernetesStore::new(&context, &env).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(check.run(read), Ok(()));
}
