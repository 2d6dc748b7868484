use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::bindings::{
    EventHandler, InputBinding, InvokeError, InvokeRequest, InvokeResponse, OutputBinding, ReadEvent,
};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use parking_lot::Mutex;

use super::*;
use crate::test_app::TestApp;

fn service(tasks: TaskGroup) -> BindingsService {
    BindingsService::new(Options {
        identity: AppIdentity::new("me", None),
        policies: dapr_resiliency::Policies::default(),
        tasks,
        options_timeout: Duration::from_secs(3),
        metrics: None,
        tracer: dapr_telemetry::trace::Tracer::default(),
    })
}

/// Echoes, or fails with response metadata for data `fail`.
struct Echo;

#[async_trait]
impl OutputBinding for Echo {
    fn operations(&self) -> &[&str] {
        &["create", "get"]
    }

    async fn invoke(&self, request: InvokeRequest) -> Result<InvokeResponse, InvokeError> {
        let response =
            InvokeResponse { metadata: HashMap::from([("k".into(), "v".into())]), ..Default::default() };
        if request.data == "fail" {
            return Err(InvokeError { message: "no".into(), response });
        }
        Ok(InvokeResponse { data: Some(request.data), ..response })
    }
}

fn request(operation: &str, data: &'static str) -> InvokeRequest {
    InvokeRequest {
        data: Bytes::from_static(data.as_bytes()),
        operation: operation.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn output_bindings_answer_and_refuse_as_clients_know_it() {
    let service = service(TaskGroup::new(Shutdown::new()));
    service.add_output("out", Arc::new(Echo));
    assert_eq!(service.invoke("out", request("create", "x")).await.unwrap().data.unwrap(), "x");
    for (name, operation, data, wanted) in [
        ("out", "", "x", "error invoking output binding out: operation field is missing from request"),
        ("none", "create", "x", "error invoking output binding none: couldn't find output binding none"),
        (
            "out",
            "list",
            "x",
            "error invoking output binding out: binding out does not support operation list. supported operations:create get",
        ),
        ("out", "get", "fail", "error invoking output binding out: no"),
    ] {
        let failure = service.invoke(name, request(operation, data)).await.unwrap_err();
        assert_eq!(failure.error.message, wanted);
        assert_eq!(failure.response.metadata.contains_key("k"), data == "fail");
    }
    assert!(service.remove("out").is_some_and(|(output, input)| output.is_some() && input.is_none()));
    assert!(service.remove("out").is_none());
}

/// Hands its handler to the test.
#[derive(Default)]
struct Source {
    handler: Mutex<Option<(Shutdown, Arc<dyn EventHandler>)>>,
}

impl Source {
    fn handler(&self) -> Option<Arc<dyn EventHandler>> {
        self.handler.lock().as_ref().map(|(_, h)| h.clone())
    }

    fn is_stopped(&self) -> bool {
        self.handler.lock().as_ref().is_some_and(|(stop, _)| stop.is_triggered())
    }
}

#[async_trait]
impl InputBinding for Source {
    async fn read(&self, stop: Shutdown, handler: Arc<dyn EventHandler>) -> Result<(), String> {
        *self.handler.lock() = Some((stop, handler));
        Ok(())
    }
}

fn event(data: &'static str) -> ReadEvent {
    ReadEvent {
        data: Bytes::from_static(data.as_bytes()),
        metadata: HashMap::from([("Mine".into(), "1".into()), ("content-length".into(), "99".into())]),
        content_type: None,
    }
}

#[tokio::test]
async fn inputs_that_the_application_answers_for_are_read() {
    let mut app = TestApp::start(|seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("OPTIONS", "/wanted") => (204, String::new()),
        ("OPTIONS", "/path/of/routed") => (405, String::new()),
        ("POST", "/wanted") => (201, "made".to_owned()),
        ("POST", _) => (500, "oops".to_owned()),
        _ => (404, String::new()),
    })
    .await;
    let service = service(app.tasks.clone());
    service.set_app_channel(Some(app.channel.clone()));
    let sources: Vec<_> = (0..4).map(|_| Arc::new(Source::default())).collect();
    let routed = InputConfig { route: Some("/path/of/routed".into()), ..InputConfig::default() };
    let declared = InputConfig { declared_input: true, route: None };
    for ((name, config), source) in [
        ("wanted", InputConfig::default()),
        ("routed", routed),
        ("unwanted", InputConfig::default()),
        ("declared", declared),
    ]
    .into_iter()
    .zip(&sources)
    {
        service.add_input(name, source.clone(), config);
    }
    service.start_inputs().await;
    let probed: Vec<_> = [app.next().await, app.next().await, app.next().await].map(|s| s.path).into();
    assert_eq!(probed, ["/path/of/routed", "/unwanted", "/wanted"]);
    assert!(app.is_quiet(), "a declared input is not asked for");
    assert!(sources[2].handler().is_none());

    let handler = sources[0].handler().unwrap();
    assert_eq!(handler.handle(event("{}")).await.unwrap().unwrap(), "made");
    let seen = app.next().await;
    assert_eq!(
        (seen.headers["mine"].as_bytes(), seen.headers["content-type"].as_bytes()),
        (&b"1"[..], &b"application/json"[..])
    );
    assert_eq!(seen.body, "{}");
    assert_eq!(
        sources[1].handler().unwrap().handle(event("x")).await.unwrap_err(),
        "fails to send binding event to http app channel, status code: 500 body: oops"
    );

    service.stop_inputs().await;
    assert!(sources[0].is_stopped() && sources[3].is_stopped());
    assert_eq!(handler.handle(event("x")).await.unwrap_err(), "input binding is closed");
}

#[tokio::test]
async fn inputs_added_later_start_only_while_others_are_read() {
    let app = TestApp::start(|_| (200, String::new())).await;
    let service = service(app.tasks.clone());
    service.set_app_channel(Some(app.channel.clone()));
    let source = Arc::new(Source::default());
    service.add_input("late", source.clone(), InputConfig::default());
    service.start_input("late").await.unwrap();
    assert!(source.handler().is_none());
    service.start_inputs().await;
    assert!(source.handler().is_some());
    service.stop_input("late").await;
    assert!(source.is_stopped());
}
