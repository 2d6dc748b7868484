//! Sidecars with identities of a certificate authority: they wait for it, prove
//! themselves to each other and refuse who cannot.
#![forbid(unsafe_code)]

use std::time::Duration;

use dapr_blackbox::{FakeApp, Options, Scratch, Sentry, Sidecar, eventually, free_port, respond};
use http::Method;

const FIND_TIMEOUT: Duration = Duration::from_secs(30);
/// Long enough for a sidecar that does not wait to have opened its port.
const START_TIME: Duration = Duration::from_secs(2);

fn with_mtls(app_id: &str, sentry: &Sentry) -> Options {
    Options::new(app_id)
        .flag("--enable-mtls")
        .flag(format!("--sentry-address={}", sentry.address))
        .env("DAPR_TRUST_ANCHORS_FILE", &sentry.anchors.display().to_string())
}

#[tokio::test]
async fn sidecars_wait_for_the_authority_and_trust_only_who_it_knows() {
    let scratch = Scratch::new("mtls");
    let sentry = Sentry::new(&scratch);
    let app = FakeApp::start(|_| async { respond(200, "secret") }).await;
    let (callee_id, caller_id) =
        (format!("callee-{}", fastrand::u32(..)), format!("a-{}", fastrand::u32(..)));
    let metrics = free_port();
    let options = with_mtls(&callee_id, &sentry).app(app.port).flag(format!("--metrics-port={metrics}"));
    let mut callee = Sidecar::spawn(&scratch, options);
    let mut caller = Sidecar::spawn(&scratch, with_mtls(&caller_id, &sentry));

    tokio::time::sleep(START_TIME).await;
    assert!(callee.process.ended().is_none() && caller.process.ended().is_none(), "they wait");
    for sidecar in [&callee, &caller] {
        assert!(
            sidecar.client.try_send(Method::GET, "/v1.0/healthz", &[], "").await.is_err(),
            "a port is open"
        );
    }
    let mut authority = sentry.start();
    callee.ready().await;
    caller.ready().await;

    let path = format!("/v1.0/invoke/{callee_id}/method/x");
    eventually("the callee is reached", FIND_TIMEOUT, || async {
        let answer = caller.client.get(&path).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    let shown = dapr_blackbox::Client::new(metrics).get("/").await.expect(200).text();
    assert!(shown.contains(&format!("dapr_runtime_mtls_init_total{{app_id=\"{callee_id}\"}} 1")), "{shown}");

    // Without identity: found by name, and refused.
    let stranger = Sidecar::start(&scratch, Options::new("stranger")).await;
    let answer = stranger.client.get(&path).await;
    assert!(answer.status != 200 && !answer.text().contains("secret"), "{}", answer.text());
    stranger.stop().await;

    // What runs does not need the authority.
    authority.kill().await;
    caller.client.get(&path).await.expect(200);
    caller.stop().await;
    callee.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_said_at_once() {
    let scratch = Scratch::new("mtls");
    let mut sidecar = Sidecar::spawn(&scratch, Options::new("a").flag("--enable-mtls"));
    let output = sidecar.failed().await;
    assert!(output.contains("trust anchors are required"), "{output}");
    let options = Options::new("a").flag("--enable-mtls").env("DAPR_TRUST_ANCHORS", "no PEM");
    let output = Sidecar::spawn(&scratch, options).failed().await;
    assert!(output.contains("the trust anchors hold no CERTIFICATE block"), "{output}");
    let options = Options::new("a").flag("--control-plane-trust-domain=Not A Domain");
    let output = Sidecar::spawn(&scratch, options).failed().await;
    assert!(output.contains("invalid control plane trust domain"), "{output}");
}
