use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use dapr_flags::Outcome;
use dapr_security::ca::Certificate;

use super::files::read;
use super::*;
use crate::commands::tree;
use crate::say::Say;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn run(args: &[&str]) -> ExitCode {
    let tree = tree();
    let args = [&["mtls"], args].concat().iter().map(|arg| (*arg).to_owned()).collect();
    match tree.resolve(args).outcome {
        Outcome::Run { handler, matches, .. } => {
            handler(&Context::of_process(&[], Say::default(), ""), &matches)
        }
        Outcome::Refused { message, .. } => panic!("{message}"),
        _ => panic!("no command"),
    }
}

fn refusal(args: &[&str]) -> String {
    let tree = tree();
    let args = [&["mtls"], args].concat().iter().map(|arg| (*arg).to_owned()).collect();
    match tree.resolve(args).outcome {
        Outcome::Refused { message, .. } => message,
        _ => panic!("it was not refused"),
    }
}

#[test]
fn a_cluster_or_a_folder_has_to_be_named() {
    assert_eq!(refusal(&[]), r#"required flag(s) "kubernetes" not set"#);
    assert_eq!(refusal(&["rnc"]), r#"required flag(s) "kubernetes" not set"#);
    assert!(refusal(&["-k", "--certs-dir", "x"]).ends_with("[certs-dir kubernetes] were all set"));
}

#[test]
fn files_are_renewed_and_private() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("certs");
    let dir = folder.to_str().unwrap();
    assert_eq!(run(&["--certs-dir", dir]), ExitCode::FAILURE, "nothing is there yet");
    assert_eq!(run(&["expiry", "--certs-dir", dir]), ExitCode::FAILURE);
    assert_eq!(run(&["renew-certificate", "--certs-dir", dir, "--valid-until", "10"]), ExitCode::SUCCESS);
    let first = read(&folder).unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    assert_eq!(run(&["--certs-dir", dir]), ExitCode::SUCCESS);
    assert_eq!(run(&["expiry", "--certs-dir", dir]), ExitCode::SUCCESS);

    assert_eq!(run(&["rnc", "--certs-dir", dir, "--keep-old-root"]), ExitCode::SUCCESS);
    let second = read(&folder).unwrap();
    let roots = Certificate::all_from_pem(&second.roots).unwrap();
    let old = Certificate::all_from_pem(&first.roots).unwrap();
    assert_eq!((roots.len(), roots[1].der()), (2, old[0].der()));
    assert!(second.root_end().unwrap() > first.root_end().unwrap() + 300 * DAY);
}

#[test]
fn provided_certificates_are_checked_before_anything_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (mine, other) = (of("mine"), of("other"));
    for dir in [&mine, &other] {
        assert_eq!(run(&["renew-cert", "--certs-dir", dir]), ExitCode::SUCCESS);
    }
    let before = read(mine.as_ref()).unwrap();
    let renew = |key: &str| {
        let (root, issuer) = (of("other/ca.crt"), of("other/issuer.crt"));
        let given = ["--ca-root-certificate", &root, "--issuer-public-certificate", &issuer];
        run(&[&["rnc", "--certs-dir", &mine, "--issuer-private-key", key], &given[..]].concat())
    };
    assert_eq!(renew(&of("mine/issuer.key")), ExitCode::FAILURE, "the key of another certificate");
    assert_eq!(read(mine.as_ref()).unwrap().roots, before.roots);
    assert_eq!(renew(&of("other/issuer.key")), ExitCode::SUCCESS);
    assert_eq!(read(mine.as_ref()).unwrap().key, read(other.as_ref()).unwrap().key);
    assert_eq!(run(&["rnc", "--certs-dir", &mine, "--issuer-private-key", "x"]), ExitCode::FAILURE);
    assert_eq!(run(&["rnc", "--certs-dir", &mine, "--private-key", ""]), ExitCode::FAILURE);
    assert_eq!(run(&["rnc", "--certs-dir", &mine, "--image-variant", "x"]), ExitCode::FAILURE);
}

#[test]
fn exported_files_are_private_copies() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("a/b"));
    let (source, target) = (from.to_str().unwrap(), to.to_str().unwrap());
    assert_eq!(run(&["rnc", "--certs-dir", source]), ExitCode::SUCCESS);
    assert_eq!(run(&["export", "--certs-dir", source, "-o", target]), ExitCode::SUCCESS);
    assert_eq!(read(&to).unwrap().parts(), read(&from).unwrap().parts());
    assert_eq!(fs::metadata(to.join("issuer.key")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_warning_begins_a_month_before_the_end() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let place = place(None);
    let warning = |end| expiry_warning(end, now, &place);
    assert_eq!(warning(now + 30 * DAY), None);
    assert_eq!(
        warning(now + 29 * DAY).unwrap(),
        "Dapr root certificate of your Kubernetes cluster expires in 29 days. Expiry date: Wed, 13 Dec 2023 22:13:20 \
         UTC. \n Please see docs.dapr.io for certificate renewal instructions to avoid service interruptions."
    );
    assert!(warning(now + DAY / 2).unwrap().contains("cluster expires today. "));
    assert!(warning(now - DAY / 2).unwrap().contains("cluster has expired. "));
    assert!(warning(now - 2 * DAY).unwrap().contains("cluster has expired. "));
}
