//! Sidecars with identities of a certificate authority: they wait for it, prove
//! themselves to each other and refuse who cannot.
#![forbid(unsafe_code)]

use std::time::Duration;

use dapr_blackbox::{
    FakeApp, GrpcApp, GrpcStream, Options, SQLITE_RESOLVER, Scratch, Sentry, Sidecar, eventually, free_port,
    respond,
};
use dapr_wire::common::v1::{InvokeRequest, InvokeResponse};
use http::Method;
use prost::Message;
use prost_types::Any;

const FIND_TIMEOUT: Duration = Duration::from_secs(30);
/// Long enough for a sidecar that does not wait to have opened its port.
const START_TIME: Duration = Duration::from_secs(2);

#[tokio::test]
async fn sidecars_wait_for_the_authority_and_trust_only_who_it_knows() {
    let scratch = Scratch::new("mtls");
    let sentry = Sentry::new(&scratch);
    let app = FakeApp::start(|_| async { respond(200, "secret") }).await;
    let (callee_id, caller_id) =
        (format!("callee-{}", fastrand::u32(..)), format!("a-{}", fastrand::u32(..)));
    let metrics = free_port();
    let options =
        sentry.secure(Options::new(&callee_id)).app(app.port).flag(format!("--metrics-port={metrics}"));
    let mut callee = Sidecar::spawn(&scratch, options);
    let mut caller = Sidecar::spawn(&scratch, sentry.secure(Options::new(&caller_id)));

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
async fn applications_with_grpc_are_reached_both_ways() {
    let scratch = Scratch::new("mtls");
    let sentry = Sentry::new(&scratch);
    let _authority = sentry.ready().await;
    let folder = scratch.path().to_str().expect("UTF-8");
    let config = scratch.write("names.yaml", &SQLITE_RESOLVER.replace("FOLDER", folder));
    let app = GrpcApp::start(|message| {
        let request = InvokeRequest::decode(message).expect("an InvokeRequest");
        let sent = request.data.unwrap_or_default().value;
        let text = format!("{} {}", request.method, String::from_utf8_lossy(&sent));
        let data = Any { value: text.into_bytes(), ..Any::default() };
        let content_type = "text/plain".to_owned();
        InvokeResponse { data: Some(data), content_type }.encode_to_vec().into()
    })
    .await;
    let options = Options::new("callee").app_with_protocol(app.port, "grpc").config(&config);
    let callee = Sidecar::start(&scratch, sentry.secure(options)).await;
    let caller = Sidecar::start(&scratch, sentry.secure(Options::new("caller").config(&config))).await;

    // HTTP in front, gRPC behind.
    let answer = eventually("the callee is reached", FIND_TIMEOUT, || async {
        let path = "/v1.0/invoke/callee/method/shout";
        let headers = [("content-type", "text/plain")];
        let answer = caller.client.send(Method::POST, path, &headers, "hello").await;
        if answer.status == 200 { Ok(answer) } else { Err(answer.text()) }
    })
    .await;
    assert_eq!(
        (answer.text().as_str(), &answer.headers["content-type"]),
        ("shout hello", &"text/plain".parse().unwrap())
    );

    // A method of the application's own, passed on undecoded: message by message, both ways, and a large one.
    let metadata = [("dapr-app-id", "callee")];
    let mut call = GrpcStream::open(caller.grpc_port, "/shop.Orders/Watch", &metadata, b"first").await;
    assert_eq!(call.next().await.as_deref(), Some(b"first".as_slice()));
    let large = vec![b'x'; 3 << 20];
    for message in [b"second".as_slice(), b"", &large] {
        call.send(message).await;
        assert_eq!(call.next().await.map(|m| m.len()), Some(message.len()));
    }
    call.end();
    assert_eq!((call.next().await, call.code()), (None, Some(0)));
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
