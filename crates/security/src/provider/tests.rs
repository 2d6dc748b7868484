use std::os::unix::fs::PermissionsExt;

use super::directory::IdentityDirectory;
use super::*;
use crate::rotation::Time;
use crate::testing::{Authority, leaf};

fn options() -> Options {
    Options {
        app_id: "a".to_owned(),
        namespace: "default".to_owned(),
        mtls: true,
        kubernetes: false,
        control_plane_trust_domain: "localhost".to_owned(),
        control_plane_namespace: "default".to_owned(),
        trust_anchors: Some(Authority::new("one").root_pem),
        trust_anchors_file: None,
        sentry_address: "127.0.0.1:1".to_owned(),
        sentry_identity: None,
        jwt_audiences: Vec::new(),
        key: KeyAlgorithm::Ed25519,
        token: TokenSource::default(),
        identity_dir: None,
    }
}

fn refused(change: impl FnOnce(&mut Options)) -> String {
    let mut options = options();
    change(&mut options);
    Provider::new(options).map(drop).unwrap_err().to_string()
}

#[test]
fn options_are_checked() {
    assert!(Provider::new(options()).is_ok());
    assert_eq!(refused(|o| o.control_plane_trust_domain.clear()), "control plane trust domain is required");
    assert!(
        refused(|o| o.control_plane_trust_domain = "A B".to_owned())
            .starts_with("invalid control plane trust domain: ")
    );
    assert!(refused(|o| o.trust_anchors = None).starts_with("trust anchors are required"));
    assert!(refused(|o| o.trust_anchors = Some(String::new())).starts_with("trust anchors are required"));
    assert!(refused(|o| o.trust_anchors = Some("text".to_owned())).contains("no CERTIFICATE block"));
    assert!(refused(|o| o.trust_anchors_file = Some("/f".into())).contains("cannot be specified in both"));
    assert!(refused(|o| o.sentry_address.clear()).contains("--sentry-address"));
}

#[tokio::test]
async fn without_mtls_there_is_nothing_to_wait_for() {
    let options = Options { mtls: false, trust_anchors: None, sentry_address: String::new(), ..options() };
    let tasks = TaskGroup::new(dapr_kernel::Shutdown::new());
    let security = Provider::new(options).unwrap().start(&tasks, Arc::new(())).await.unwrap();
    assert!(!security.mtls() && security.identity().is_none() && security.trust_anchors().is_none());
    assert!(security.server().is_none() && security.client_of_app("n", "a", "h").is_none());
    let sentry = security.control_plane_id(control_plane::SENTRY).unwrap();
    assert_eq!(sentry.as_str(), "spiffe://localhost/ns/default/dapr-sentry");
    assert!(security.client_of(sentry, "h").is_none());
}

#[tokio::test]
async fn a_stop_ends_the_waiting_for_the_authority() {
    let tasks = TaskGroup::new(dapr_kernel::Shutdown::new());
    let started = Provider::new(options()).unwrap();
    let waiting = started.start(&tasks, Arc::new(()));
    tasks.shutdown().trigger();
    assert!(matches!(waiting.await, Err(Error::Stopped)));
}

#[test]
fn files_of_an_identity_are_private_and_change_at_once() {
    let ca = Authority::new("one");
    let identity = || ca.issue(&leaf("spiffe://public/ns/default/a"));
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("identity");
    let mut directory = IdentityDirectory::new(link.clone());
    for round in 1..=3 {
        let written = identity();
        directory.write(&written, &ca.root_pem, Time(round)).unwrap();
        let read = |name: &str| std::fs::read_to_string(link.join(name)).unwrap();
        assert_eq!((read("cert.pem").as_str(), read("ca.pem")), (written.chain_pem(), ca.root_pem.clone()));
        assert!(read("key.pem").starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(!link.join("jwt_svid.token").exists());
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&link), mode(&link.join("key.pem"))), (0o700, 0o600));
    }
    // The link, what it leads to, and the version before.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[tokio::test]
async fn a_file_of_anchors_is_waited_for_and_followed() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.crt");
    let mut file = AnchorFile::new(path.clone());
    let writes = async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        std::fs::write(&path, &old.root_pem).unwrap();
    };
    let (first, ()) = tokio::join!(file.first(), writes);
    let anchors = TrustAnchors::new(first.unwrap());
    assert_eq!(anchors.current().pem(), old.root_pem);

    let (changed, mut changes) = watch::channel(());
    let tasks = TaskGroup::new(dapr_kernel::Shutdown::new());
    tasks.spawn_until_shutdown("anchors", file.follow(anchors.clone(), changed));
    std::fs::write(&path, "half of a file").unwrap();
    // Replaced as mounted volumes are: another file under the name.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(anchors.current().pem(), old.root_pem);
    let next = folder.path().join("next");
    std::fs::write(&next, &new.root_pem).unwrap();
    std::fs::rename(&next, &path).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(30), changes.changed()).await.unwrap().unwrap();
    assert_eq!(anchors.current().pem(), new.root_pem);
    tasks.shutdown().trigger();
}
