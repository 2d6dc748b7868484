//! The client against an operator in this process that can restart.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_security::identity::KeyAlgorithm;
use dapr_security::provider::{self, Provider, TokenSource};
use dapr_transport::{Body, listen, server};
use dapr_wire::operator::v1 as wire;
use dapr_wire::operator::v1::operator_server::{Operator, OperatorServer};
use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tonic::{Request, Response, Status};
use tower_service::Service as _;

use crate::*;

const LIMIT: Duration = Duration::from_secs(30);
/// Lists between which nothing is expected of them.
const NEVER: Duration = Duration::from_secs(3600);

/// What the operator has, and what it tells those who follow.
#[derive(Clone)]
struct Fake {
    components: Arc<Mutex<Vec<&'static str>>>,
    /// Answers to the next lists that are none.
    refusals: Arc<Mutex<Vec<Status>>>,
    lists: Arc<Mutex<u32>>,
    events: Arc<Mutex<broadcast::Sender<(i32, &'static str)>>>,
}

impl Default for Fake {
    fn default() -> Self {
        let events = Arc::new(Mutex::new(broadcast::channel(16).0));
        Self { components: Arc::default(), refusals: Arc::default(), lists: Arc::default(), events }
    }
}

impl Fake {
    fn tell(&self, kind: i32, component: &'static str) {
        self.events.lock().send((kind, component)).unwrap();
    }

    /// Ends the streams, as an operator that stops does.
    async fn stop(&self, server: TaskGroup) {
        server.shutdown().trigger();
        *self.events.lock() = broadcast::channel(16).0;
        server.stop(LIMIT).await;
    }

    async fn followed(&self) {
        while self.events.lock().receiver_count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What an older operator lacks, spelled as the trait's attribute would.
macro_rules! none {
    ($($name:ident($request:ident) -> $answer:ty;)*) => {$(
        fn $name<'a, 'b>(
            &'a self,
            _: Request<wire::$request>,
        ) -> Pin<Box<dyn Future<Output = Answer<$answer>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented("older")) })
        }
    )*};
}

#[tonic::async_trait]
impl Operator for Fake {
    type ComponentUpdateStream = Events<wire::ComponentUpdateEvent>;
    type SubscriptionUpdateStream = Events<wire::SubscriptionUpdateEvent>;
    type HTTPEndpointUpdateStream = Events<wire::HttpEndpointUpdateEvent>;
    type MCPServerUpdateStream = Events<wire::McpServerUpdateEvent>;
    type ConfigurationUpdateStream = Events<wire::ConfigurationUpdateEvent>;
    type ResiliencyUpdateStream = Events<wire::ResiliencyUpdateEvent>;
    type WorkflowAccessPolicyUpdateStream = Events<wire::WorkflowAccessPolicyUpdateEvent>;

    async fn list_components(
        &self,
        request: Request<wire::ListComponentsRequest>,
    ) -> Answer<wire::ListComponentResponse> {
        assert_eq!(request.into_inner().namespace, "ns");
        *self.lists.lock() += 1;
        if let Some(refusal) = self.refusals.lock().pop() {
            return Err(refusal);
        }
        let components = self.components.lock().iter().map(|c| Bytes::from_static(c.as_bytes())).collect();
        Ok(Response::new(wire::ListComponentResponse { components }))
    }

    /// Silent until there is an event, as the operator is: not even headers.
    async fn component_update(
        &self,
        _: Request<wire::ComponentUpdateRequest>,
    ) -> Answer<Self::ComponentUpdateStream> {
        let mut events = self.events.lock().subscribe();
        let event = |(kind, name): (i32, &'static str)| wire::ComponentUpdateEvent {
            component: Bytes::from_static(name.as_bytes()),
            r#type: kind,
        };
        let first = events.recv().await.map_err(|_| Status::ok(""))?;
        let rest = futures::stream::unfold(events, move |mut events| async move {
            let next = events.recv().await.ok()?;
            Some((Ok(event(next)), events))
        });
        let first = futures::stream::once(async move { Ok(event(first)) });
        Ok(Response::new(Box::pin(futures::StreamExt::chain(first, rest))))
    }

    async fn list_subscriptions(&self, _: Request<()>) -> Answer<wire::ListSubscriptionsResponse> {
        Err(Status::permission_denied("no namespace"))
    }

    async fn list_subscriptions_v2(
        &self,
        _: Request<wire::ListSubscriptionsRequest>,
    ) -> Answer<wire::ListSubscriptionsResponse> {
        Err(Status::internal("grpc: error while marshaling: proto: Marshal called with nil"))
    }

    none! {
        get_configuration(GetConfigurationRequest) -> wire::GetConfigurationResponse;
        get_resiliency(GetResiliencyRequest) -> wire::GetResiliencyResponse;
        list_resiliency(ListResiliencyRequest) -> wire::ListResiliencyResponse;
        list_http_endpoints(ListHttpEndpointsRequest) -> wire::ListHttpEndpointsResponse;
        list_mcp_servers(ListMcpServersRequest) -> wire::ListMcpServersResponse;
        list_workflow_access_policy(ListWorkflowAccessPolicyRequest) -> wire::ListWorkflowAccessPolicyResponse;
        subscription_update(SubscriptionUpdateRequest) -> Self::SubscriptionUpdateStream;
        http_endpoint_update(HttpEndpointUpdateRequest) -> Self::HTTPEndpointUpdateStream;
        mcp_server_update(McpServerUpdateRequest) -> Self::MCPServerUpdateStream;
        configuration_update(ConfigurationUpdateRequest) -> Self::ConfigurationUpdateStream;
        resiliency_update(ResiliencyUpdateRequest) -> Self::ResiliencyUpdateStream;
        workflow_access_policy_update(WorkflowAccessPolicyUpdateRequest) -> Self::WorkflowAccessPolicyUpdateStream;
    }
}

struct Served(Fake);

impl server::Service for Served {
    async fn call(
        &self,
        request: http::Request<hyper::body::Incoming>,
        _: server::Peer,
    ) -> http::Response<Body> {
        OperatorServer::new(self.0.clone()).call(request).await.unwrap().map(Body::boxed)
    }
}

/// Serves on `port` until the group is stopped; 0 for any.
async fn serve(fake: &Fake, port: u16) -> (u16, TaskGroup) {
    let tasks = TaskGroup::new(Shutdown::new());
    let listener = listen::bind("127.0.0.1", port, LIMIT).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = Arc::new(Served(fake.clone()));
    tasks.spawn("operator", server::serve(listener, service, server::Options::grpc(1 << 20), tasks.clone()));
    (port, tasks)
}

/// Without an identity: the operator of these tests has none, either.
async fn connect(port: u16) -> (OperatorClient, TaskGroup) {
    let tasks = TaskGroup::new(Shutdown::new());
    let options = provider::Options {
        app_id: "app".to_owned(),
        namespace: "ns".to_owned(),
        mtls: false,
        kubernetes: false,
        control_plane_trust_domain: "localhost".to_owned(),
        control_plane_namespace: "default".to_owned(),
        trust_anchors: None,
        trust_anchors_file: None,
        sentry_address: String::new(),
        sentry_identity: None,
        jwt_audiences: Vec::new(),
        token: TokenSource::default(),
        identity_dir: None,
        key: KeyAlgorithm::default(),
    };
    let security = Provider::new(options).unwrap().start(&tasks, Arc::new(())).await.unwrap();
    let address = format!("127.0.0.1:{port}");
    let options = Options { address, namespace: "ns".to_owned(), security, tasks: tasks.clone() };
    (OperatorClient::connect(options).await.unwrap(), tasks)
}

/// An object is its name, except for one that nobody understands.
fn decode(bytes: &[u8]) -> Result<Entry<String>, Undecodable> {
    let value = String::from_utf8(bytes.to_vec()).unwrap();
    let name = value.split('=').next().unwrap_or_default().to_owned();
    if value.ends_with("=broken") {
        return Err(Undecodable { name: Some(name), reason: "broken".to_owned() });
    }
    Ok(Entry { name, version: None, value })
}

fn follow(client: &OperatorClient, interval: Duration) -> (Feed<String>, Bell) {
    let bell = Bell::default();
    let options = FeedOptions { kind: Kind::Components, decode, interval, bell: bell.clone() };
    (Feed::start(client, options), bell)
}

async fn until(bell: &Bell, feed: &Feed<String>, wanted: &[&str]) {
    let mut news = bell.listen();
    let followed = async {
        while feed.current().is_none_or(|now| now != wanted) {
            news.changed().await.unwrap();
        }
    };
    let reached = tokio::time::timeout(LIMIT, followed).await;
    assert!(reached.is_ok(), "{wanted:?} wanted, there is {:?}", feed.current());
}

const CREATED: i32 = 1;
const UPDATED: i32 = 2;
const DELETED: i32 = 3;

#[tokio::test]
async fn lists_first_then_events() {
    let fake = Fake::default();
    *fake.components.lock() = vec!["a=1", "b=1"];
    let (port, _operator) = serve(&fake, 0).await;
    let (client, _tasks) = connect(port).await;
    let (feed, bell) = follow(&client, NEVER);
    tokio::time::timeout(LIMIT, feed.opened()).await.unwrap();
    until(&bell, &feed, &["a=1", "b=1"]).await;
    fake.tell(CREATED, "c=1");
    until(&bell, &feed, &["a=1", "b=1", "c=1"]).await;
    fake.tell(UPDATED, "a=2");
    fake.tell(UPDATED, "c=broken");
    fake.tell(0, "b=2");
    fake.tell(DELETED, "b=1");
    until(&bell, &feed, &["a=2", "c=1"]).await;
    assert_eq!(*fake.lists.lock(), 1);
}

#[tokio::test]
async fn what_changed_while_the_operator_was_away_is_found() {
    let fake = Fake::default();
    *fake.components.lock() = vec!["a=1", "b=1"];
    let (port, operator) = serve(&fake, 0).await;
    let (client, _tasks) = connect(port).await;
    let (feed, bell) = follow(&client, NEVER);
    until(&bell, &feed, &["a=1", "b=1"]).await;
    fake.followed().await;
    fake.stop(operator).await;
    *fake.components.lock() = vec!["a=2", "c=1"];
    let (_, again) = serve(&fake, port).await;
    until(&bell, &feed, &["a=2", "c=1"]).await;
    // The stream is a new one, and works.
    fake.followed().await;
    fake.tell(CREATED, "e=1");
    until(&bell, &feed, &["a=2", "c=1", "e=1"]).await;
    fake.stop(again).await;
    *fake.components.lock() = vec!["d=1"];
    let (_, _again) = serve(&fake, port).await;
    until(&bell, &feed, &["d=1"]).await;
}

#[tokio::test]
async fn lists_make_good_what_no_event_told() {
    let fake = Fake::default();
    let (port, _operator) = serve(&fake, 0).await;
    let (client, _tasks) = connect(port).await;
    let (feed, bell) = follow(&client, Duration::from_millis(20));
    until(&bell, &feed, &[]).await;
    *fake.components.lock() = vec!["a=1"];
    until(&bell, &feed, &["a=1"]).await;
    // A list that fails changes nothing, and is asked for again.
    fake.refusals.lock().push(Status::unknown("secrets \"x\" not found"));
    *fake.components.lock() = vec!["a=broken", "b=1"];
    until(&bell, &feed, &["a=1", "b=1"]).await;
}

#[tokio::test]
async fn an_older_operator_is_listed_and_lacks_kinds() {
    let fake = Fake::default();
    let (port, _operator) = serve(&fake, 0).await;
    let (client, _tasks) = connect(port).await;
    for kind in
        [Kind::McpServers, Kind::WorkflowAccessPolicies, Kind::Subscriptions, Kind::Configuration(None)]
    {
        assert_eq!(client.list(&kind).await.unwrap(), Vec::<Bytes>::new(), "{kind:?}");
    }
    let refused = client.list(&Kind::HttpEndpoints).await.unwrap_err();
    assert_eq!(refused.to_string(), "rpc error: code = Unimplemented desc = older");
    let options = FeedOptions { kind: Kind::McpServers, decode, interval: NEVER, bell: Bell::default() };
    let feed = Feed::start(&client, options);
    tokio::time::timeout(LIMIT, feed.opened()).await.unwrap();
}

#[tokio::test]
async fn a_busy_operator_is_asked_again() {
    let fake = Fake::default();
    *fake.components.lock() = vec!["a=1"];
    *fake.refusals.lock() = vec![Status::resource_exhausted("busy"), Status::unavailable("starting")];
    let (port, _operator) = serve(&fake, 0).await;
    let (client, _tasks) = connect(port).await;
    assert_eq!(client.list(&Kind::Components).await.unwrap(), [Bytes::from_static(b"a=1")]);
    assert_eq!(*fake.lists.lock(), 3);
    fake.refusals.lock().push(Status::permission_denied("identity does not match requested namespace"));
    let refused = client.list(&Kind::Components).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "rpc error: code = PermissionDenied desc = identity does not match requested namespace"
    );
}

#[tokio::test]
async fn connections_that_break_are_made_again() {
    let broken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = broken.local_addr().unwrap().port();
    let fake = Fake::default();
    *fake.components.lock() = vec!["a=1"];
    let (client, tasks) = connect(port).await;
    let server = async {
        for _ in 0..3 {
            drop(broken.accept().await.unwrap());
        }
        drop(broken);
        serve(&fake, port).await
    };
    let (listed, _operator) = tokio::join!(client.list(&Kind::Components), server);
    assert_eq!(listed.unwrap(), [Bytes::from_static(b"a=1")]);
    drop(tasks);
}
