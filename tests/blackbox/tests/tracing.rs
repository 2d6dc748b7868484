//! Spans as a collector gets them: names, parents and attributes of whole
//! traces, over OTLP/gRPC and as Zipkin.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dapr_blackbox::{
    Collector, FakeApp, Options, Scratch, Sidecar, call_grpc, component, eventually, free_port, respond,
    respond_json,
};
use http::Method;
use parking_lot::Mutex;
use serde_json::json;

const TIMEOUT: Duration = Duration::from_secs(30);

fn config(tracing: &str) -> String {
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {{name: tracing}}\nspec:\n  tracing:\n{tracing}"
    )
}

fn otlp(port: u16) -> String {
    config(&format!(
        "    samplingRate: '1'\n    otel: {{endpointAddress: '127.0.0.1:{port}', protocol: grpc, isSecure: false, headers: ['x-key=k1']}}\n"
    ))
}

/// A sampled context of a caller that no other has.
fn caller() -> (String, String) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let trace = format!("{:032x}", 0xabcd_0000 + NEXT.fetch_add(1, Ordering::Relaxed));
    (format!("00-{trace}-00000000000000aa-01"), trace)
}

type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// An application that subscribes to `orders`, with path and `traceparent` of
/// every request.
async fn application() -> (FakeApp, Seen) {
    let seen = Seen::default();
    let into = seen.clone();
    let app = FakeApp::start(move |request| {
        let path = request.uri().path().to_owned();
        let parent = request.headers().get("traceparent").and_then(|v| v.to_str().ok()).unwrap_or_default();
        into.lock().push((path.clone(), parent.to_owned()));
        let response = match path.as_str() {
            "/dapr/subscribe" => {
                respond_json(&json!([{"pubsubname": "bus", "topic": "orders", "route": "/orders"}]))
            }
            "/fails" => respond(500, "no"),
            _ => respond(200, ""),
        };
        async { response }
    })
    .await;
    (app, seen)
}

/// Sends until the target was found: a trace of its own for every try.
async fn traced(sidecar: &Sidecar, method: Method, path: &str, body: &str, status: u16) -> (String, String) {
    eventually("the call gets through", TIMEOUT, || async {
        let (parent, trace) = caller();
        let headers = [("traceparent", parent.as_str()), ("content-type", "application/json")];
        let answer = sidecar.client.send(method.clone(), path, &headers, body.to_owned()).await;
        if answer.status != status {
            return Err(format!("{} {}", answer.status, answer.text()));
        }
        let own =
            answer.headers.get("traceparent").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        Ok((trace, own))
    })
    .await
}

/// The span of a context as text.
fn span_of(traceparent: &str) -> &str {
    traceparent.split('-').nth(2).unwrap_or_default()
}

#[tokio::test]
async fn traces_are_whole_over_otlp() {
    let (scratch, collector) = (Scratch::new("otlp"), Collector::otlp().await);
    let (app, seen) = application().await;
    let target = FakeApp::start(|_| async { respond(200, "") }).await;
    let url = format!("http://127.0.0.1:{}", target.port);
    let resources = scratch.resources(
        "a",
        &[
            &component("store", "state.in-memory", &json!({})),
            &component("bus", "pubsub.in-memory", &json!({})),
            &component("out", "bindings.http", &json!({"url": url})),
        ],
    );
    let file = scratch.write("config.yaml", &otlp(collector.port));
    let start = |id: &str| Options::new(id).config(&file).env("OTEL_BSP_SCHEDULE_DELAY", "100");
    let a = Sidecar::start(&scratch, start("tree-a").app(app.port).resources(resources)).await;
    let _b = Sidecar::start(&scratch, start("tree-b").app(app.port)).await;

    let (trace, answered) = traced(&a, Method::POST, "/v1.0/invoke/tree-b/method/hello?q=1", "", 200).await;
    assert_eq!(
        collector.tree(&trace, 2).await,
        [
            "tree-a CLIENT CallLocal/tree-b/hello [dapr.api=POST /v1.0/invoke/tree-b/method/hello, dapr.protocol=http, dapr.status_code=200, http.request.method=POST, net.peer.name=tree-b, rpc.service=ServiceInvocation, server.address=127.0.0.1, server.port=PORT, url.full=/v1.0/invoke/tree-b/method/hello?q=1]",
            "  tree-b SERVER CallLocal/tree-b/hello [dapr.api=/dapr.proto.internals.v1.ServiceInvocation/CallLocalStream, dapr.invoke_method=hello, dapr.protocol=grpc, rpc.service=ServiceInvocation]",
        ]
    );
    let spans: Vec<_> = collector.spans().into_iter().filter(|s| s.trace == trace).collect();
    let (client, server) = (
        spans.iter().find(|s| s.kind == "CLIENT").unwrap(),
        spans.iter().find(|s| s.kind == "SERVER").unwrap(),
    );
    assert_eq!((client.parent.as_str(), span_of(&answered)), ("00000000000000aa", client.id.as_str()));
    let given = seen.lock().iter().rfind(|(path, _)| path == "/hello").cloned().unwrap().1;
    assert_eq!(span_of(&given), server.id, "the application continues the server's span");
    assert_eq!(collector.headers().get("x-key").unwrap(), "k1");

    let (trace, _) = traced(&a, Method::GET, "/v1.0/invoke/tree-a/method/fails", "", 500).await;
    assert_eq!(
        collector.tree(&trace, 1).await,
        [
            "tree-a CLIENT CallLocal/tree-a/fails [dapr.api=GET /v1.0/invoke/tree-a/method/fails, dapr.protocol=http, dapr.status_code=500, error=Code(500): Internal Server Error, http.request.method=GET, net.peer.name=tree-a, rpc.service=ServiceInvocation, server.address=127.0.0.1, server.port=PORT, url.full=/v1.0/invoke/tree-a/method/fails]"
        ]
    );

    let (trace, _) = traced(&a, Method::POST, "/v1.0/publish/bus/orders", r#"{"id":1}"#, 204).await;
    assert_eq!(
        collector.tree(&trace, 2).await,
        [
            "tree-a CLIENT /v1.0/publish/bus/orders [dapr.api=POST /v1.0/publish/bus/orders, dapr.protocol=http, dapr.status_code=204, http.request.method=POST, messaging.destination.name=orders, messaging.system=pubsub, server.address=127.0.0.1, server.port=PORT, url.full=/v1.0/publish/bus/orders]",
            "  tree-a CLIENT pubsub/orders [messaging.destination.name=orders, messaging.system=pubsub]",
        ]
    );
    let entries = r#"[{"entryId":"1","event":"x","contentType":"text/plain"}]"#;
    let (trace, _) = traced(&a, Method::POST, "/v1.0/publish/bulk/bus/orders", entries, 204).await;
    let tree = collector.tree(&trace, 3).await;
    let names: Vec<&str> = tree.iter().map(|line| line.split(" [").next().unwrap()).collect();
    assert_eq!(
        names,
        [
            "tree-a CLIENT /v1.0/publish/bulk/bus/orders",
            "  tree-a PRODUCER /v1.0/publish/bulk/bus/orders",
            "    tree-a CLIENT pubsub/orders"
        ]
    );

    let (trace, _) = traced(&a, Method::GET, "/v1.0/state/store/k", "", 204).await;
    assert_eq!(
        collector.tree(&trace, 1).await,
        [
            "tree-a CLIENT /v1.0/state/store/k [dapr.api=GET /v1.0/state/store/k, dapr.protocol=http, dapr.status_code=204, db.connection_string=state, db.name=store, db.statement=GET /v1.0/state/store/k, db.system=state, http.request.method=GET, server.address=127.0.0.1, server.port=PORT, url.full=/v1.0/state/store/k]"
        ]
    );
    let (trace, _) = traced(&a, Method::POST, "/v1.0/bindings/out", r#"{"operation":"get"}"#, 200).await;
    assert_eq!(
        collector.tree(&trace, 1).await,
        [
            "tree-a CLIENT /v1.0/bindings/out [dapr.api=POST /v1.0/bindings/out, dapr.protocol=http, dapr.status_code=200, db.connection_string=bindings, db.name=out, db.statement=POST /v1.0/bindings/out, db.system=bindings, http.request.method=POST, server.address=127.0.0.1, server.port=PORT, url.full=/v1.0/bindings/out]"
        ]
    );

    // GetState over gRPC: store_name "store", key "k".
    let (parent, trace) = caller();
    let message = b"\x0a\x05store\x12\x01k";
    let method = "/dapr.proto.runtime.v1.Dapr/GetState";
    let metadata = [("traceparent", parent.as_str()), ("dapr-mark", "yes"), ("baggage", "a = 1")];
    let (headers, status) = call_grpc(a.grpc_port, method, &metadata, message).await;
    assert_eq!((status.as_str(), headers.get("baggage").unwrap().to_str().unwrap()), ("0", "a=1"));
    assert!(headers.contains_key("grpc-trace-bin"));
    assert_eq!(
        collector.tree(&trace, 1).await,
        [
            "tree-a CLIENT /dapr.proto.runtime.v1.Dapr/GetState [dapr-mark=yes, dapr.api=/dapr.proto.runtime.v1.Dapr/GetState, dapr.protocol=grpc, db.connection_string=state, db.name=store, db.statement=/dapr.proto.runtime.v1.Dapr/GetState, db.system=state, rpc.service=Dapr]"
        ]
    );
}

#[tokio::test]
async fn input_bindings_begin_traces_and_zipkin_gets_them() {
    let (scratch, collector) = (Scratch::new("zipkin"), Collector::zipkin().await);
    let (app, seen) = application().await;
    let tracing = format!(
        "    samplingRate: '1'\n    zipkin: {{endpointAddress: 'http://127.0.0.1:{}/api/v2/spans'}}\n",
        collector.port
    );
    let file = scratch.write("config.yaml", &config(&tracing));
    let tick = component("tick", "bindings.cron", &json!({"schedule": "@every 1s", "direction": "input"}));
    let options =
        Options::new("ticker").app(app.port).resources(scratch.resources("r", &[&tick])).config(file);
    let sidecar = Sidecar::start(&scratch, options.env("OTEL_BSP_SCHEDULE_DELAY", "100")).await;
    let given = eventually("the binding fires", TIMEOUT, || async {
        seen.lock().iter().find(|(path, _)| path == "/tick").cloned().ok_or("no event yet")
    })
    .await
    .1;
    let trace = given.split('-').nth(1).unwrap().to_owned();
    assert_eq!(
        collector.tree(&trace, 1).await,
        [
            "ticker CLIENT bindings/tick [db.connection_string=POST /tick, db.name=tick, db.system=bindings, rpc.service=Dapr]"
        ]
    );
    sidecar.stop().await;
}

#[tokio::test]
async fn what_is_not_exported_yet_leaves_at_the_stop() {
    let (scratch, collector) = (Scratch::new("flush"), Collector::otlp().await);
    let file = scratch.write("config.yaml", &otlp(collector.port));
    let options = Options::new("flush").config(file).env("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let sidecar = Sidecar::start(&scratch, options).await;
    sidecar.client.get("/v1.0/metadata").await.expect(200);
    assert!(collector.spans().is_empty());
    sidecar.stop().await;
    assert_eq!(collector.spans().iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["/v1.0/metadata"]);
}

#[tokio::test]
async fn a_collector_that_is_away_holds_nothing_up() {
    let scratch = Scratch::new("away");
    let file = scratch.write("config.yaml", &otlp(free_port()));
    let limits = [
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "500"),
    ];
    let options = limits.iter().fold(Options::new("away").config(file), |o, (k, v)| o.env(k, v));
    let sidecar = Sidecar::start(&scratch, options).await;
    for _ in 0..200 {
        sidecar.client.get("/v1.0/metadata").await.expect(200);
    }
    let complaints = eventually("the log names the failure", TIMEOUT, || async {
        let count =
            sidecar.process.output().matches("Telemetry could not be sent to the OTLP collector").count();
        if count > 0 { Ok(count) } else { Err("nothing yet") }
    })
    .await;
    assert_eq!(complaints, 1, "one message a minute");
    sidecar.stop().await;
}

#[tokio::test]
async fn without_a_rate_contexts_pass_through_and_with_zero_none_are_written() {
    let scratch = Scratch::new("off");
    let (parent, _) = caller();
    let sidecar = Sidecar::start(&scratch, Options::new("plain")).await;
    let answer = sidecar.client.send(Method::GET, "/v1.0/metadata", &[("traceparent", &parent)], "").await;
    assert_eq!(answer.headers.get("traceparent").unwrap(), parent.as_str());
    let zero = sidecar.client.get("/v1.0/metadata").await.headers.get("traceparent").unwrap().clone();
    assert_eq!(zero, "00-00000000000000000000000000000000-0000000000000000-00");
    let bad = sidecar.client.send(Method::GET, "/v1.0/metadata", &[("baggage", "bad")], "").await.expect(400);
    assert!(bad.text().starts_with("invalid baggage header: "), "{}", bad.text());
    let file = scratch.write("config.yaml", &config("    samplingRate: '0'\n"));
    let sidecar = Sidecar::start(&scratch, Options::new("off").config(file)).await;
    let answer = sidecar.client.send(Method::GET, "/v1.0/metadata", &[("traceparent", &parent)], "").await;
    assert!(answer.headers.get("traceparent").is_none());
}

#[tokio::test]
async fn metrics_go_to_a_collector_of_their_own() {
    let (scratch, collector) = (Scratch::new("metrics"), Collector::otlp().await);
    let endpoint = format!("http://127.0.0.1:{}", collector.port);
    let options = Options::new("pushes")
        .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &endpoint)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200");
    let sidecar = Sidecar::start(&scratch, options).await;
    sidecar.client.get("/v1.0/metadata").await.expect(200);
    eventually("metrics arrive", TIMEOUT, || async {
        let names = collector.metrics();
        if names.iter().any(|n| n == "dapr_http_server_request_count") {
            Ok(())
        } else {
            Err(format!("{names:?}"))
        }
    })
    .await;
    assert!(collector.spans().is_empty());
}
