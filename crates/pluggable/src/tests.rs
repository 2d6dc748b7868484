//! Adapters against a component in this process that serves a Unix socket.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dapr_components::pubsub::{HandlerError, Message, MessageHandler, SubscribeRequest};
use dapr_components::registry::Registry;
use dapr_components::state::{Error, Feature, GetRequest, SetRequest, Value};
use dapr_components::{InitContext, Properties};
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use dapr_transport::{Body, listen, server};
use dapr_wire::components::v1 as wire;
use dapr_wire::components::v1::pub_sub_server::{PubSub, PubSubServer};
use dapr_wire::components::v1::state_store_server::{StateStore, StateStoreServer};
use futures::Stream;
use http::Response;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::{Request, Status, Streaming};
use tonic_reflection::server::Builder;
use tower_service::Service as _;

type Answer<T> = Result<tonic::Response<T>, Status>;

/// What the component was told and what it has to deliver.
#[derive(Clone, Default)]
struct Process {
    instances: Arc<Mutex<Vec<String>>>,
    properties: Arc<Mutex<Vec<(String, String)>>>,
    sets: Arc<Mutex<Vec<wire::SetRequest>>>,
    pulled: Arc<Mutex<Option<mpsc::UnboundedSender<wire::PullMessagesRequest>>>>,
    deliver: Arc<Mutex<Option<mpsc::Receiver<Result<wire::PullMessagesResponse, Status>>>>>,
}

impl Process {
    fn note<T>(&self, request: &Request<T>) {
        let instance = request.metadata().get("x-component-instance").expect("every call has it");
        self.instances.lock().push(instance.to_str().unwrap().to_owned());
    }

    fn init(&self, metadata: Option<wire::MetadataRequest>) {
        self.properties.lock().extend(metadata.unwrap().properties);
    }
}

#[tonic::async_trait]
impl StateStore for Process {
    async fn init(&self, request: Request<wire::InitRequest>) -> Answer<wire::InitResponse> {
        self.note(&request);
        Process::init(self, request.into_inner().metadata);
        Ok(wire::InitResponse {}.into())
    }
    async fn features(&self, _: Request<wire::FeaturesRequest>) -> Answer<wire::FeaturesResponse> {
        Ok(wire::FeaturesResponse { features: vec!["ETAG".into(), "UNHEARD_OF".into()] }.into())
    }
    async fn get(&self, request: Request<wire::GetRequest>) -> Answer<wire::GetResponse> {
        self.note(&request);
        Ok(match request.into_inner().key.as_str() {
            "missing" => wire::GetResponse::default(),
            "broken" => return Err(Status::data_loss("gone")),
            _ => wire::GetResponse {
                data: "v".into(),
                etag: Some(wire::Etag { value: "7".into() }),
                ..Default::default()
            },
        }
        .into())
    }
    async fn set(&self, request: Request<wire::SetRequest>) -> Answer<wire::SetResponse> {
        self.sets.lock().push(request.into_inner());
        Ok(wire::SetResponse {}.into())
    }
    async fn delete(&self, _: Request<wire::DeleteRequest>) -> Answer<wire::DeleteResponse> {
        Err(Status::unimplemented("no"))
    }
    async fn ping(&self, _: Request<wire::PingRequest>) -> Answer<wire::PingResponse> {
        Ok(wire::PingResponse {}.into())
    }
    async fn bulk_delete(&self, _: Request<wire::BulkDeleteRequest>) -> Answer<wire::BulkDeleteResponse> {
        Err(Status::unimplemented("no"))
    }
    async fn bulk_get(&self, _: Request<wire::BulkGetRequest>) -> Answer<wire::BulkGetResponse> {
        Err(Status::unimplemented("no"))
    }
    async fn bulk_set(&self, _: Request<wire::BulkSetRequest>) -> Answer<wire::BulkSetResponse> {
        Err(Status::unimplemented("no"))
    }
}

#[tonic::async_trait]
impl PubSub for Process {
    async fn init(&self, request: Request<wire::PubSubInitRequest>) -> Answer<wire::PubSubInitResponse> {
        self.note(&request);
        Process::init(self, request.into_inner().metadata);
        Ok(wire::PubSubInitResponse {}.into())
    }
    async fn features(&self, _: Request<wire::FeaturesRequest>) -> Answer<wire::FeaturesResponse> {
        Ok(wire::FeaturesResponse { features: vec!["MESSAGE_TTL".into()] }.into())
    }
    async fn publish(&self, _: Request<wire::PublishRequest>) -> Answer<wire::PublishResponse> {
        Err(Status::unavailable("busy"))
    }
    async fn bulk_publish(&self, _: Request<wire::BulkPublishRequest>) -> Answer<wire::BulkPublishResponse> {
        Err(Status::unimplemented("no"))
    }
    type PullMessagesStream = Pin<Box<dyn Stream<Item = Result<wire::PullMessagesResponse, Status>> + Send>>;
    async fn pull_messages(
        &self,
        request: Request<Streaming<wire::PullMessagesRequest>>,
    ) -> Answer<Self::PullMessagesStream> {
        self.note(&request);
        let (mut requests, pulled) = (request.into_inner(), self.pulled.lock().take().unwrap());
        let mut deliver = self.deliver.lock().take().unwrap();
        let stream = futures::stream::poll_fn(move |context| {
            while let std::task::Poll::Ready(next) = Pin::new(&mut requests).poll_next(context) {
                match next {
                    Some(Ok(request)) => pulled.send(request).unwrap(),
                    _ => return std::task::Poll::Ready(None),
                }
            }
            deliver.poll_recv(context)
        });
        Ok(tonic::Response::new(Box::pin(stream)))
    }
    async fn pause(&self, _: Request<wire::PauseRequest>) -> Answer<wire::PauseResponse> {
        Err(Status::unimplemented("no"))
    }
    async fn resume(&self, _: Request<wire::ResumeRequest>) -> Answer<wire::ResumeResponse> {
        Err(Status::unimplemented("no"))
    }
    async fn ping(&self, _: Request<wire::PingRequest>) -> Answer<wire::PingResponse> {
        Ok(wire::PingResponse {}.into())
    }
}

/// Serves the process's two services and reflection.
struct Served(Process);

impl server::Service for Served {
    async fn call(&self, request: http::Request<Incoming>, _: server::Peer) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let answer = if path.starts_with("/dapr.proto.components.v1.StateStore/") {
            StateStoreServer::new(self.0.clone()).call(request).await
        } else if path.starts_with("/dapr.proto.components.v1.PubSub/") {
            PubSubServer::new(self.0.clone()).call(request).await
        } else {
            let reflection = Builder::configure()
                .register_encoded_file_descriptor_set(dapr_wire::FILE_DESCRIPTOR_SET)
                .with_service_name("dapr.proto.components.v1.StateStore")
                .with_service_name("dapr.proto.components.v1.PubSub");
            return reflection.build_v1alpha().unwrap().call(request).await.unwrap().map(Body::boxed);
        };
        answer.unwrap().map(Body::boxed)
    }
}

fn serve(process: &Process, socket: &Path) -> TaskGroup {
    let tasks = TaskGroup::new(Shutdown::new());
    let listener = listen::bind_unix(socket).unwrap();
    let options = server::Options::grpc(1 << 20);
    tasks.spawn(
        "component",
        server::serve(listener, Arc::new(Served(process.clone())), options, tasks.clone()),
    );
    tasks
}

fn context(component_type: &str) -> InitContext {
    InitContext {
        name: "mine".into(),
        component_type: component_type.into(),
        version: "v1".into(),
        properties: Properties::new([("Key", "value")]).unwrap(),
        identity: AppIdentity::new("app", None),
        tasks: TaskGroup::new(Shutdown::new()),
    }
}

async fn found(process: &Process) -> (Registry, TaskGroup, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let tasks = serve(process, &folder.path().join("Abc.sock"));
    let mut registry = Registry::default();
    crate::discover(folder.path(), &mut registry).await.unwrap();
    (registry, tasks, folder)
}

#[tokio::test]
async fn a_state_store_is_discovered_and_used() {
    let process = Process::default();
    let (registry, _tasks, _folder) = found(&process).await;
    let store = registry.state.find("state.abc", "v1").unwrap()(context("state.abc")).await.unwrap();
    assert_eq!(store.features(), [Feature::Etag]);
    assert!(store.queryable());
    assert_eq!(*process.properties.lock(), [("Key".to_owned(), "value".to_owned())]);

    let get = |key: &str| GetRequest { key: key.to_owned(), ..Default::default() };
    let item = store.get(&get("k")).await.unwrap().unwrap();
    assert_eq!((&item.data[..], item.etag.as_deref()), (&b"v"[..], Some("7")));
    assert!(store.get(&get("missing")).await.unwrap().is_none());
    let error = store.get(&get("broken")).await.unwrap_err();
    assert_eq!(error, Error::other("rpc error: code = DataLoss desc = gone"));

    store.set(&SetRequest::new("k", Value::Bytes("null".into()))).await.unwrap();
    let nil = store.set(&SetRequest::new("k", Value::Json("null".into()))).await.unwrap_err();
    assert!(nil.to_string().contains("nil value"), "{nil}");
    assert_eq!(process.sets.lock().len(), 1);
    assert!(process.instances.lock().iter().all(|name| name == "mine"));

    store.close().await;
    let closed = store.get(&get("k")).await.unwrap_err().to_string();
    assert!(closed.starts_with("rpc error: code = Unavailable"), "{closed}");
}

/// Takes the first message, fails the second and gives up the third.
struct Handler(Mutex<Vec<Message>>);

#[async_trait::async_trait]
impl MessageHandler for Handler {
    async fn handle(&self, message: Message) -> Result<(), HandlerError> {
        let mut seen = self.0.lock();
        seen.push(message);
        match seen.len() {
            1 => Ok(()),
            2 => Err(HandlerError::Failed("no".to_owned())),
            _ => Err(HandlerError::Cancelled),
        }
    }
}

#[tokio::test]
async fn messages_are_pulled_and_acknowledged() {
    let process = Process::default();
    let (pulled, mut requests) = mpsc::unbounded_channel();
    let (deliver, delivered) = mpsc::channel(4);
    *process.pulled.lock() = Some(pulled);
    *process.deliver.lock() = Some(delivered);
    let (registry, _tasks, _folder) = found(&process).await;
    let context = context("pubsub.abc");
    let (stop, tasks) = (Shutdown::new(), context.tasks.clone());
    let bus = registry.pubsub.find("pubsub.abc", "").unwrap()(context).await.unwrap();
    let failed = bus.publish(Default::default()).await.unwrap_err();
    assert_eq!(failed.to_string(), "rpc error: code = Unavailable desc = busy");
    assert_eq!(failed.grpc_code(), Some(14));

    let handler = Arc::new(Handler(Mutex::default()));
    let request = SubscribeRequest { topic: "t".into(), ..Default::default() };
    bus.subscribe(request, stop.clone(), handler.clone()).await.unwrap();
    let patience = Duration::from_secs(20);
    let mut next = async || tokio::time::timeout(patience, requests.recv()).await.expect("in time");
    assert_eq!(next().await.unwrap().topic.unwrap().name, "t");
    for id in ["1", "2", "3"] {
        let message =
            wire::PullMessagesResponse { id: id.into(), topic_name: "t".into(), ..Default::default() };
        deliver.send(Ok(message)).await.unwrap();
    }
    let first = next().await.unwrap();
    assert_eq!((first.ack_message_id.as_str(), first.ack_error), ("1", None));
    let second = next().await.unwrap();
    assert_eq!((second.ack_message_id.as_str(), second.ack_error.unwrap().message), ("2", "no".to_owned()));
    while handler.0.lock().len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.trigger();
    assert_eq!(next().await, None, "the stream ends without a word about the third");
    assert!(tasks.stop(patience).await);
}

#[tokio::test]
async fn a_socket_that_nobody_serves_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("dead.sock")).unwrap());
    let error = crate::discover(folder.path(), &mut Registry::default()).await.unwrap_err().to_string();
    assert!(error.contains("dead.sock") && error.contains("Unavailable"), "{error}");
}
