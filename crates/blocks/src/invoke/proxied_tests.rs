use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::nameresolution::{Error as ResolveError, NameResolver, ResolveRequest};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use dapr_resiliency::{Policies, PoliciesBuilder};
use dapr_resources::{Resiliency, Resource};
use dapr_transport::listen;
use dapr_transport::server::{self, Peer, Service};
use hyper::body::Incoming;
use serde_json::json;

use super::*;
use crate::invoke::Options;

/// Answers with a script: messages, then a status; none is an answer that
/// never comes.
#[derive(Default)]
struct Peers {
    script: Mutex<VecDeque<Option<(Vec<&'static str>, i32)>>>,
    got: Mutex<Vec<Bytes>>,
}

impl Service for Peers {
    async fn call(&self, request: Request<Incoming>, _: Peer) -> Response<Body> {
        let body = Body::from_incoming(request.into_body()).collect().await.unwrap_or_default();
        self.got.lock().push(body);
        let next = self.script.lock().pop_front().unwrap_or(Some((vec![], 13)));
        let Some((messages, code)) = next else { std::future::pending().await };
        let mut end = HeaderMap::new();
        end.insert("grpc-status", HeaderValue::from(code));
        end.insert("grpc-message", HeaderValue::from_static("said"));
        let frames = messages
            .into_iter()
            .map(|m| Ok::<_, BodyError>(Frame::data(grpc::frame(&m.to_owned()))))
            .chain([Ok(Frame::trailers(end))]);
        let frames: Vec<_> = frames.collect();
        Response::new(Body::boxed(http_body_util::StreamBody::new(futures::stream::iter(frames))))
    }
}

struct Fixed(String);

#[async_trait]
impl NameResolver for Fixed {
    async fn resolve(&self, _: &ResolveRequest<'_>) -> Result<Vec<String>, ResolveError> {
        Ok(vec![self.0.clone()])
    }
}

struct Setup {
    service: InvokeService,
    peers: Arc<Peers>,
    tasks: TaskGroup,
}

fn policies(retry: serde_json::Value, extra: serde_json::Value) -> Policies {
    let mut policies = json!({"retries": {"DefaultAppRetryPolicy": retry}});
    policies.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let mut builder = PoliciesBuilder::new();
    let resource = json!({"metadata": {"name": "r"}, "spec": {"policies": policies}});
    builder.add(&Resiliency::from_json(&resource).unwrap()).unwrap();
    builder.build()
}

async fn setup(policies: Policies, script: Vec<Option<(Vec<&'static str>, i32)>>) -> Setup {
    let tasks = TaskGroup::new(Shutdown::new());
    let listener = listen::bind("127.0.0.1", 0, Duration::from_secs(1)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peers = Arc::new(Peers { script: Mutex::new(script.into()), ..Peers::default() });
    let options = server::Options { drain: Some(Duration::ZERO), ..server::Options::grpc(1 << 16) };
    tasks.spawn("peer", server::serve(listener, peers.clone(), options, tasks.clone()));
    let service = InvokeService::new(Options {
        identity: AppIdentity::new("me", None),
        host_address: "127.0.0.1".to_owned(),
        hostname: "host".to_owned(),
        internal_port: 1,
        max_message: 1024,
        max_header_list: 1 << 16,
        max_concurrency: None,
        policies,
        security: None,
        access: None,
        tasks: tasks.clone(),
        metrics: None,
    });
    service.set_resolver(Arc::new(Fixed(address)));
    Setup { service, peers, tasks }
}

impl Setup {
    /// What the caller gets: messages and status.
    async fn call(
        &self,
        messages: &[&str],
        headers: &[(&'static str, &'static str)],
    ) -> (Vec<u8>, i32, String) {
        let body: Vec<u8> = messages.iter().flat_map(|m| grpc::frame(&(*m).to_owned())).collect();
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/p.S/M");
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        let callee = Callee { id: "other", namespace: "default", named: Some("other") };
        let call = self.service.pass_on(callee, request);
        let response = match tokio::time::timeout(Duration::from_secs(20), call).await.expect("in time") {
            Ok(response) => response,
            Err(unanswered) => return (Vec::new(), unanswered.code as i32, unanswered.message),
        };
        let (head, mut body) = response.into_parts();
        let (mut data, mut status) = (Vec::new(), grpc::status_of(&head.headers));
        while let Some(frame) = body.frame().await {
            match frame.unwrap().into_data() {
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(frame) => status = grpc::status_of(&frame.into_trailers().unwrap()),
            }
        }
        let (code, message) = status.expect("a status");
        (data, code, message)
    }

    fn calls(&self) -> usize {
        self.peers.got.lock().len()
    }

    async fn end(self) {
        drop(self.service);
        self.tasks.stop(Duration::from_secs(5)).await;
    }
}

fn two_more(codes: &str) -> serde_json::Value {
    json!({"duration": "1ms", "maxRetries": 2, "matching": {"gRPCStatusCodes": codes}})
}

#[tokio::test]
async fn failures_whose_code_is_listed_are_tried_again_with_the_same_message() {
    let script = vec![Some((vec![], 14)), Some((vec!["yes"], 0))];
    let setup = setup(policies(two_more("14"), json!({})), script).await;
    let message = grpc::frame(&"ask".to_owned());
    assert_eq!(setup.call(&["ask"], &[]).await, (grpc::frame(&"yes".to_owned()).to_vec(), 0, "said".into()));
    assert_eq!(*setup.peers.got.lock(), [message.clone(), message]);
    setup.end().await;
}

#[tokio::test]
async fn other_codes_and_the_last_failure_reach_the_caller() {
    let setup = setup(policies(two_more("14"), json!({})), vec![Some((vec![], 5))]).await;
    assert_eq!(setup.call(&["ask"], &[]).await, (vec![], 5, "said".into()));
    assert_eq!(setup.calls(), 1);
    setup.peers.script.lock().extend([Some((vec![], 14)), Some((vec![], 14)), Some((vec![], 14))]);
    assert_eq!(setup.call(&["ask"], &[]).await, (vec![], 14, "said".into()));
    assert_eq!(setup.calls(), 4);
    setup.peers.script.lock().push_back(Some((vec![], 20)));
    assert_eq!(setup.call(&["ask"], &[]).await.1, 20);
    assert_eq!(setup.calls(), 5);
    setup.end().await;
}

#[tokio::test]
async fn nothing_is_tried_again_after_a_part_of_the_answer() {
    let setup = setup(policies(two_more(""), json!({})), vec![Some((vec!["part"], 14))]).await;
    assert_eq!(
        setup.call(&["ask"], &[]).await,
        (grpc::frame(&"part".to_owned()).to_vec(), 14, "said".into())
    );
    assert_eq!(setup.calls(), 1);
    setup.end().await;
}

#[tokio::test]
async fn two_messages_cannot_be_repeated() {
    let setup = setup(policies(two_more(""), json!({})), vec![]).await;
    let (_, code, text) = setup.call(&["one", "two"], &[]).await;
    assert_eq!((code, text.as_str()), (9, "cannot use resiliency policies with retries on streaming RPCs"));
    setup.peers.script.lock().clear();
    setup.peers.script.lock().push_back(Some((vec!["a", "b"], 0)));
    let (data, code, _) = setup.call(&["one", "two"], &[("dapr-stream", "true")]).await;
    assert_eq!((data.len(), code), (16, 0), "a stream is passed on as it is");
    setup.end().await;
}

#[tokio::test]
async fn a_timeout_is_for_the_whole_call_and_open_breakers_refuse() {
    let extra = json!({
        "timeouts": {"DefaultAppTimeoutPolicy": "200ms"},
        "circuitBreakers": {"DefaultAppCircuitBreakerPolicy": {"trip": "consecutiveFailures >= 2", "timeout": "1m"}},
    });
    let retry = json!({"duration": "1ms", "maxRetries": 1});
    let setup = setup(policies(retry, extra), vec![None, None]).await;
    let (_, code, text) = setup.call(&["ask"], &[]).await;
    assert_eq!((code, text.as_str()), (4, "context deadline exceeded"));
    let (_, code, text) = setup.call(&["ask"], &[]).await;
    assert_eq!((code, text.as_str()), (2, "circuit breaker is open"));
    assert_eq!(setup.calls(), 2);
    setup.end().await;
}

#[tokio::test]
async fn a_peer_that_is_away_is_tried_again_whatever_the_codes() {
    let setup = setup(policies(two_more("3"), json!({})), vec![]).await;
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = away.local_addr().unwrap().to_string();
    drop(away);
    setup.service.set_resolver(Arc::new(Fixed(address)));
    let (_, code, text) = setup.call(&["ask"], &[]).await;
    assert_eq!(code, 14);
    assert!(text.contains("Error while dialing"), "{text}");
    setup.end().await;
}
