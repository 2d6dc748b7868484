//! Access control lists between sidecars that prove who they are.
#![forbid(unsafe_code)]

use std::time::Duration;

use dapr_blackbox::{
    Client, FakeApp, Options, Scratch, Sentry, Sidecar, call_grpc, eventually, free_port, respond,
};
use http::Method;

const FIND_TIMEOUT: Duration = Duration::from_secs(30);

/// Only `friend` may, and only what the rules say.
fn configuration(friend: &str) -> String {
    format!(
        "
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {{name: acl}}
spec:
  accessControl:
    defaultAction: deny
    trustDomain: public
    policies:
    - appId: {friend}
      defaultAction: deny
      trustDomain: public
      namespace: default
      operations:
      - {{name: /public, httpVerb: ['*'], action: allow}}
      - {{name: /orders/*, httpVerb: [GET], action: allow}}
"
    )
}

#[tokio::test]
async fn only_what_a_policy_allows_reaches_the_application() {
    let scratch = Scratch::new("acl");
    let sentry = Sentry::new(&scratch);
    let _authority = sentry.ready().await;
    let app = FakeApp::start(|request| async move { respond(200, request.uri().path().to_owned()) }).await;
    let number = fastrand::u32(..);
    let [callee_id, friend_id, other_id] = ["callee", "friend", "other"].map(|n| format!("{n}-{number}"));
    let metrics = free_port();
    let options = sentry
        .secure(Options::new(&callee_id))
        .app(app.port)
        .config(scratch.write("acl.yaml", &configuration(&friend_id)))
        .flag(format!("--metrics-port={metrics}"));
    let mut callee = Sidecar::spawn(&scratch, options);
    let mut friend = Sidecar::spawn(&scratch, sentry.secure(Options::new(&friend_id)));
    let mut other = Sidecar::spawn(&scratch, sentry.secure(Options::new(&other_id)));
    for sidecar in [&mut callee, &mut friend, &mut other] {
        sidecar.ready().await;
    }

    let path = |method: &str| format!("/v1.0/invoke/{callee_id}/method/{method}");
    eventually("the callee is found", FIND_TIMEOUT, || async {
        let answer = friend.client.get(&path("public")).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    for (verb, method, reached) in [
        (Method::POST, "public", "/public"),
        (Method::GET, "PUBLIC/below", "/PUBLIC/below"),
        (Method::GET, "private/../public", "/public"),
        (Method::GET, "orders/7", "/orders/7"),
    ] {
        let answer = friend.client.send(verb, &path(method), &[], "").await.expect(200);
        assert_eq!(answer.text(), reached, "{method}");
    }
    for (verb, method, judged) in [
        (Method::GET, "private", "private"),
        (Method::GET, "public/../private", "private"),
        (Method::GET, "public%2F..%2Fprivate", "private"),
        (Method::GET, "public/%2e%2e/private", "private"),
        (Method::GET, "publicity", "publicity"),
        (Method::POST, "orders/7", "orders/7"),
        (Method::GET, "orders/7/8", "orders/7/8"),
    ] {
        let answer = friend.client.send(verb.clone(), &path(method), &[], "").await.expect(403);
        let text = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        let reason = format!(
            "rpc error: code = PermissionDenied desc = access control policy has denied access to id: spiffe://public/ns/default/{friend_id} operation: {judged} verb: {verb}"
        );
        assert!(text.ends_with(&reason), "{text}");
        assert_eq!(answer.json()["errorCode"], "ERR_DIRECT_INVOKE");
    }
    friend.client.get(&path("public%23")).await.expect(500);

    eventually("the other finds the callee", FIND_TIMEOUT, || async {
        let answer = other.client.get(&path("public")).await;
        if answer.status == 403 { Ok(()) } else { Err(answer.text()) }
    })
    .await;

    // A call that is passed on undecoded is judged before the application's
    // protocol is looked at; one of our own has no identity.
    for (sidecar, id) in
        [(&friend, format!("spiffe://public/ns/default/{friend_id}")), (&callee, String::new())]
    {
        let metadata = [("dapr-app-id", callee_id.as_str())];
        let (headers, status) = call_grpc(sidecar.grpc_port, "/pkg.Svc/Call", &metadata, b"").await;
        assert_eq!(status, "7");
        let text = headers["grpc-message"].to_str().expect("text");
        assert!(
            text.contains(&format!("denied access to id: {id} operation: /pkg.Svc/Call verb: NONE")),
            "{text}"
        );
    }

    let shown = Client::new(metrics).get("/").await.expect(200).text();
    for (family, id, count) in [
        ("app_policy_action_blocked_total", &friend_id, 8),
        ("global_policy_action_blocked_total", &other_id, 1),
    ] {
        let line = format!(
            "dapr_runtime_acl_{family}{{app_id=\"{id}\",namespace=\"default\",trustDomain=\"public\"}} "
        );
        let value: f64 = shown
            .lines()
            .find_map(|l| l.strip_prefix(&line))
            .unwrap_or_else(|| panic!("{line} in {shown}"))
            .parse()
            .expect("a number");
        assert!(value >= f64::from(count), "{line}{value}");
    }
}

#[tokio::test]
async fn without_mtls_nobody_has_an_identity() {
    let scratch = Scratch::new("acl");
    let app = FakeApp::start(|_| async { respond(200, "secret") }).await;
    let callee_id = format!("callee-{}", fastrand::u32(..));
    let options =
        Options::new(&callee_id).app(app.port).config(scratch.write("acl.yaml", &configuration("friend")));
    let callee = Sidecar::start(&scratch, options).await;
    let friend = Sidecar::start(&scratch, Options::new("friend")).await;
    let path = format!("/v1.0/invoke/{callee_id}/method/public");
    eventually("the callee is found", FIND_TIMEOUT, || async {
        let answer = friend.client.get(&path).await;
        if answer.status == 403 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    // An application is not asked who it is when it calls itself.
    callee.client.get(&path).await.expect(200);
}

#[tokio::test]
async fn an_incomplete_policy_is_told_at_the_start() {
    let scratch = Scratch::new("acl");
    let file = scratch.write(
        "acl.yaml",
        "{kind: Configuration, spec: {accessControl: {policies: [{appId: a, namespace: default}]}}}",
    );
    let output = Sidecar::spawn(&scratch, Options::new("a").config(file)).failed().await;
    assert!(
        output.contains("invalid access control spec. missing trustdomain for apps: [a], missing namespace for apps: [], missing app name on at least one of the app policies: false"),
        "{output}"
    );
}
