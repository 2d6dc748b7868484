//! Clients with certificates made by `openssl`, some of them with the keys of
//! the authority itself: who is refused, what they learn, and what the log says.
#![forbid(unsafe_code)]

use std::{path::Path, process::Stdio, time::Duration};

use dapr_blackbox::{Options, Process, Scratch, Sentry, Sidecar, eventually, free_port};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(30);
const ID: &str = "URI:spiffe://public/ns/default/b";
/// The preface of HTTP/2 and empty settings; the server answers with its own.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// All of what may stand in a certificate's subject here.
const CA_CONFIGURATION: &str = "
[ca]
default_ca = d
[d]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = default
policy = p
unique_subject = no
[p]
organizationName = optional
";

async fn openssl(folder: &Path, arguments: &str) {
    let run = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output();
    let done = run.await.expect("openssl is installed");
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The times of `openssl ca`.
const PAST: (&str, &str) = ("20200101000000Z", "20200102000000Z");
const NOW: (&str, &str) = ("20200101000000Z", "20990101000000Z");
const FUTURE: (&str, &str) = ("20980101000000Z", "20990101000000Z");

struct Forge {
    scratch: Scratch,
}

impl Forge {
    async fn new(sentry: &Sentry) -> Self {
        let scratch = Scratch::new("forge");
        scratch.write("ca.cnf", CA_CONFIGURATION);
        scratch.write("index.txt", "");
        for name in ["issuer.crt", "issuer.key"] {
            std::fs::copy(sentry.credentials().join(name), scratch.path().join(name)).expect("the issuer");
        }
        let forge = Self { scratch };
        let folder = forge.scratch.path();
        openssl(folder, "genpkey -algorithm ED25519 -out key.pem").await;
        openssl(folder, "req -new -key key.pem -subj /O=x -out leaf.csr").await;
        openssl(folder, "req -x509 -newkey ed25519 -nodes -keyout stranger.key -out stranger.crt -subj /O=x")
            .await;
        openssl(
            folder,
            &format!("req -x509 -key key.pem -subj /O=x -addext subjectAltName={ID} -out self.pem"),
        )
        .await;
        forge
    }

    /// A chain in `<name>.pem`, signed by `issuer`, with lines of extensions.
    async fn leaf(&self, name: &str, issuer: &str, (from, to): (&str, &str), extensions: &str) {
        let (scratch, folder) = (&self.scratch, self.scratch.path());
        let usage = "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n";
        scratch.write("extensions", &format!("{usage}{extensions}\n"));
        let arguments = format!(
            "ca -batch -notext -config ca.cnf -cert {issuer}.crt -keyfile {issuer}.key -startdate {from} \
             -enddate {to} -extfile extensions -in leaf.csr -out leaf.crt"
        );
        openssl(folder, &arguments).await;
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).expect("made just now");
        scratch.write(&format!("{name}.pem"), &(read("leaf.crt") + &read(&format!("{issuer}.crt"))));
    }

    /// Connects with the chain in `<name>.pem`, or with none: the number of the
    /// alert that ends it, or `None` when the server speaks.
    async fn connect(&self, port: u16, name: Option<&str>, version: &str) -> Option<u8> {
        let shown = name.map(|n| format!("-cert {n}.pem -cert_chain {n}.pem -key key.pem"));
        let shown = shown.unwrap_or_default();
        let arguments = format!("s_client -connect 127.0.0.1:{port} -alpn h2 -quiet {version} {shown}");
        let mut client = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("openssl is installed");
        let mut stdin = client.stdin.take().expect("piped");
        // Whoever was refused already does not read it.
        let _ = stdin.write_all(PREFACE).await;
        let mut head = [0; 9];
        let mut stdout = client.stdout.take().expect("piped");
        if timeout(LIMIT, stdout.read_exact(&mut head)).await.expect("an answer").is_ok() {
            assert_eq!(head[3], 4, "settings");
            return None;
        }
        let output = timeout(LIMIT, client.wait_with_output()).await.expect("the end").expect("own child");
        let errors = String::from_utf8_lossy(&output.stderr);
        let (_, number) = errors.rsplit_once("SSL alert number ").unwrap_or_else(|| panic!("{errors}"));
        Some(number.trim().parse().expect("a number"))
    }
}

const CERTIFICATE_EXPIRED: u8 = 45;
const CERTIFICATE_UNKNOWN: u8 = 46;
const UNKNOWN_CA: u8 = 48;
const PROTOCOL: [u8; 2] = [40, 70];
const CERTIFICATE_REQUIRED: u8 = 116;

fn refusals(process: &Process) -> Vec<String> {
    let output = process.output();
    output.lines().filter(|line| line.contains("Refused a client")).map(str::to_owned).collect()
}

#[tokio::test]
async fn who_cannot_prove_an_identity_learns_only_that() {
    let scratch = Scratch::new("refused");
    let sentry = Sentry::new(&scratch);
    let _authority = sentry.ready().await;
    let port = free_port();
    let options = Options::new("a").flag(format!("--dapr-internal-grpc-port={port}"));
    let sidecar = Sidecar::start(&scratch, sentry.secure(options)).await;
    let forge = Forge::new(&sentry).await;

    // From anywhere below the anchors, whatever the trust domain.
    for (name, id) in [("good", ID), ("elsewhere", "URI:spiffe://elsewhere/ns/default/b")] {
        forge.leaf(name, "issuer", NOW, &format!("subjectAltName={id}")).await;
        for version in ["-tls1_2", "-tls1_3"] {
            assert_eq!(forge.connect(port, Some(name), version).await, None, "{name} {version}");
        }
    }
    assert!(refusals(&sidecar.process).is_empty());

    let id = format!("subjectAltName={ID}");
    let two = format!("{id},URI:spiffe://public/ns/default/c");
    let authority = format!("{id}\nbasicConstraints=critical,CA:true");
    let shown = "\"spiffe://public/ns/default/b\"";
    let cases = [
        ("expired", "issuer", PAST, id.as_str(), CERTIFICATE_EXPIRED, shown, "certificate has expired"),
        ("early", "issuer", FUTURE, &id, CERTIFICATE_EXPIRED, shown, "certificate is not valid yet"),
        ("stranger", "stranger", NOW, &id, UNKNOWN_CA, shown, "certificate signed by unknown authority"),
        (
            "authority",
            "issuer",
            NOW,
            &authority,
            CERTIFICATE_UNKNOWN,
            shown,
            "leaf certificate with CA flag set to true",
        ),
        (
            "nobody",
            "issuer",
            NOW,
            "subjectAltName=DNS:b",
            CERTIFICATE_UNKNOWN,
            "nobody",
            "certificate contains no URI SAN",
        ),
        (
            "two",
            "issuer",
            NOW,
            &two,
            CERTIFICATE_UNKNOWN,
            "\"spiffe://public/ns/default/b, spiffe://public/ns/default/c\"",
            "certificate contains more than one URI SAN",
        ),
        (
            "web",
            "issuer",
            NOW,
            "subjectAltName=URI:https://example.com/ns/default/b",
            CERTIFICATE_UNKNOWN,
            "\"https://example.com/ns/default/b\"",
            "the URI SAN is no SPIFFE ID of Dapr",
        ),
    ];
    for (count, (name, issuer, times, extensions, alert, claimed, reason)) in cases.into_iter().enumerate() {
        forge.leaf(name, issuer, times, extensions).await;
        assert_eq!(forge.connect(port, Some(name), "-tls1_3").await, Some(alert), "{name}");
        let said = eventually("the refusal is logged", LIMIT, || async {
            let said = refusals(&sidecar.process);
            if said.len() > count { Ok(said) } else { Err(format!("{said:?}")) }
        })
        .await;
        assert_eq!(said.len(), count + 1, "once: {said:?}");
        let expected = format!("claims to be {claimed}: {reason}").replace('"', "\\\"");
        assert!(said[count].contains(&expected), "{expected} in {}", said[count]);
    }
    assert_eq!(forge.connect(port, Some("self"), "-tls1_3").await, Some(CERTIFICATE_UNKNOWN), "self-signed");
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(forge.connect(port, None, version).await, Some(CERTIFICATE_REQUIRED), "{version}");
    }
    let old = forge.connect(port, Some("good"), "-tls1_1").await;
    assert!(old.is_some_and(|alert| PROTOCOL.contains(&alert)), "{old:?}");
    // And it still serves.
    assert_eq!(forge.connect(port, Some("good"), "-tls1_3").await, None);
}

#[cfg(unix)]
#[tokio::test]
async fn keys_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new("refused");
    let sentry = Sentry::new(&scratch);
    let _authority = sentry.ready().await;
    for name in ["ca.crt", "issuer.crt", "issuer.key"] {
        let file = sentry.credentials().join(name);
        let mode = eventually("the file is there", LIMIT, || async { std::fs::metadata(&file) }).await;
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
    }
}
