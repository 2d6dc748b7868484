//! Subscriptions that an application opens as a stream (api.md §6.5).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use dapr_errors::{ApiError, pubsub as errors};
use dapr_kernel::Shutdown;
use dapr_wire::runtime::v1 as rt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::deliver::{self, DeliveryError, Event};
use super::handler::{Drain, Postman};
use super::ingress::attempted;
use super::route::{Origin, Route, Rule, SharedRoute};
use super::service::{Loaded, PubSubService};
use super::spans;
use super::subscriptions::Running;

const SCOPE: &str = "dapr.runtime.pubsub.streamer";
/// Where streamed events say they go.
const PATH: &str = "/";
/// Events on their way to one client that it has not taken yet.
const QUEUE: usize = 16;

/// What a client subscribes to.
#[derive(Clone, Debug, Default)]
pub struct StreamRequest {
    pub pubsub: String,
    pub topic: String,
    pub metadata: BTreeMap<String, String>,
    /// Empty for none.
    pub dead_letter_topic: String,
}

/// An event for the client, which answers by its id.
pub type StreamDelivery = rt::TopicEventRequest;

/// Why a stream was not opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("{0}")]
    Text(String),
}

/// An open stream. Dropping it ends the subscription.
pub struct EventStream {
    deliveries: mpsc::Receiver<StreamDelivery>,
    acks: Acks,
    subscribed: Subscribed,
}

impl EventStream {
    /// The next event; `None` once the subscription has been stopped.
    pub async fn next(&mut self) -> Option<StreamDelivery> {
        self.subscribed.stream.life.guard(self.deliveries.recv()).await.flatten()
    }

    /// Takes the client's answers; usable while [`Self::next`] is waited for.
    pub fn acks(&self) -> Acks {
        self.acks.clone()
    }
}

/// Ends the subscription when dropped.
struct Subscribed {
    service: PubSubService,
    stream: Arc<Stream>,
}

/// A client's stream. It outlives the component that its events come from:
/// without one it waits for the next (runtime.md §4).
pub(super) struct Stream {
    pub(super) route: SharedRoute,
    /// Ends with the client or the sidecar.
    pub(super) life: Shutdown,
    postman: Arc<StreamPostman>,
    /// The subscription at the broker.
    attached: Mutex<Option<(Shutdown, Arc<Drain>)>>,
}

impl Stream {
    pub(super) fn is_attached(&self) -> bool {
        self.attached.lock().is_some()
    }

    /// Takes the subscription at the broker away, for the caller to end it.
    pub(super) fn detach(&self) -> Option<Running> {
        let (stop, drain) = self.attached.lock().take()?;
        Some(Running { route: self.route.clone(), stop, drain })
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.stream.life.trigger();
        self.service.0.manager.streams.lock().retain(|s| !Arc::ptr_eq(s, &self.stream));
        let route = &self.stream.route;
        tracing::info!(target: SCOPE, "Unsubscribed from pubsub '{}' topic '{}'", route.pubsub, route.topic);
    }
}

/// The answers that events wait for. Cloning shares them.
#[derive(Clone, Default)]
pub struct Acks(Arc<Mutex<HashMap<String, VecDeque<Waiting>>>>);

struct Waiting {
    /// Identity of the delivery among those of the same event id.
    token: Arc<()>,
    answer: oneshot::Sender<i32>,
}

impl Acks {
    /// `event_processed`: the id and the status number of the answer. Of
    /// several deliveries with one id the oldest is answered.
    pub fn processed(&self, id: &str, status: i32) {
        let mut waiting = self.0.lock();
        let oldest = waiting.get_mut(id).and_then(VecDeque::pop_front);
        if waiting.get(id).is_some_and(VecDeque::is_empty) {
            waiting.remove(id);
        }
        match oldest {
            // A delivery that gave up meanwhile needs no answer.
            Some(delivery) => drop(delivery.answer.send(status)),
            None => tracing::error!(target: SCOPE, "no client stream expecting publish response for id {id}"),
        }
    }

    fn expect(&self, id: &str) -> Expected {
        let (answer, answered) = oneshot::channel();
        let token = Arc::new(());
        let waiting = Waiting { token: token.clone(), answer };
        self.0.lock().entry(id.to_owned()).or_default().push_back(waiting);
        Expected { acks: self.clone(), id: id.to_owned(), token, answered }
    }
}

/// One answer that is waited for; forgotten when dropped.
struct Expected {
    acks: Acks,
    id: String,
    token: Arc<()>,
    answered: oneshot::Receiver<i32>,
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut waiting = self.acks.0.lock();
        if let Some(same_id) = waiting.get_mut(&self.id) {
            same_id.retain(|w| !Arc::ptr_eq(&w.token, &self.token));
            if same_id.is_empty() {
                waiting.remove(&self.id);
            }
        }
    }
}

/// Sends events to the client and waits for its answers, however long.
struct StreamPostman {
    deliveries: mpsc::Sender<StreamDelivery>,
    acks: Acks,
    stop: Shutdown,
    service: PubSubService,
}

#[async_trait]
impl Postman for StreamPostman {
    fn needs_event(&self) -> bool {
        true
    }

    async fn deliver(&self, event: &Event) -> Result<(), DeliveryError> {
        let started = self.service.metrics().map(|metrics| (metrics, Instant::now()));
        let message = deliver::to_grpc(event)?;
        let mut span = spans::delivery(&self.service.0.options.tracer, &event.attributes, &event.topic);
        let mut expected = self.acks.expect(&message.id);
        let exchange = async {
            self.deliveries.send(message).await.ok()?;
            (&mut expected.answered).await.ok()
        };
        let outcome = match self.stop.guard(exchange).await.flatten() {
            Some(status) => deliver::judge_grpc(status, event.id()),
            None => Err(DeliveryError::retry("stream closed")),
        };
        spans::judge(&mut span, &outcome);
        drop(span);
        if let Some((metrics, started)) = started {
            attempted(metrics, event, &outcome, None, started);
        }
        outcome
    }
}

impl PubSubService {
    /// Subscribes for a client; returns once the subscription stands. Every
    /// stream is a subscription of its own at the broker.
    pub async fn open_stream(&self, request: StreamRequest) -> Result<EventStream, StreamError> {
        let StreamRequest { pubsub, topic, metadata, dead_letter_topic } = request;
        let loaded = self.loaded(&pubsub).ok_or_else(|| errors::not_found(&pubsub))?;
        let refused = |reason: String| {
            StreamError::Text(format!("failed to create subscription for {pubsub}: {reason}"))
        };
        if !loaded.config.subscribe.allows(&topic) {
            return Err(refused(format!(
                "subscription to topic '{topic}' on pubsub '{pubsub}' is not allowed"
            )));
        }
        let rule = Rule::new("", PATH).map_err(|e| refused(e.to_string()))?;
        let route = Arc::new(Route {
            pubsub: pubsub.clone(),
            topic,
            rules: vec![rule],
            metadata,
            dead_letter_topic,
            bulk: None,
            origin: Origin::Streaming,
        });
        let life = self.0.options.tasks.shutdown().child();
        let (sender, deliveries) = mpsc::channel(QUEUE);
        let acks = Acks::default();
        let postman = Arc::new(StreamPostman {
            deliveries: sender,
            acks: acks.clone(),
            stop: life.clone(),
            service: self.clone(),
        });
        let stream = Arc::new(Stream { route: route.clone(), life, postman, attached: Mutex::default() });
        self.0.manager.streams.lock().push(stream.clone());
        let subscribed = Subscribed { service: self.clone(), stream: stream.clone() };
        self.attach(&stream, &loaded).await.map_err(refused)?;
        tracing::info!(target: SCOPE, "Subscribing to pubsub '{}' topic '{}'", route.pubsub, route.topic);
        Ok(EventStream { deliveries, acks, subscribed })
    }

    /// Begins the subscription of a stream at the broker.
    pub(super) async fn attach(&self, stream: &Stream, loaded: &Arc<Loaded>) -> Result<(), String> {
        let (stop, drain) = (stream.life.child(), Arc::new(Drain::default()));
        *stream.attached.lock() = Some((stop.clone(), drain.clone()));
        let begun = self.subscribe(loaded, &stream.route, &stop, &drain, stream.postman.clone()).await;
        if begun.is_err() {
            drop(stream.attached.lock().take());
        }
        begun
    }

    /// Resolves when the sidecar ends: clients that have not said yet what
    /// they want need not be waited for.
    pub async fn closing(&self) {
        self.0.options.tasks.shutdown().wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use dapr_kernel::AppIdentity;
    use dapr_kernel::tasks::TaskGroup;

    use super::super::{Options, PubSubConfig, PublishCall, Trace};
    use super::*;

    fn service() -> PubSubService {
        let tasks = TaskGroup::new(Shutdown::new());
        let service = PubSubService::new(Options {
            identity: AppIdentity::new("me", None),
            policies: dapr_resiliency::Policies::default(),
            tasks: tasks.clone(),
            skip_programmatic: false,
            metrics: None,
            tracer: dapr_telemetry::trace::Tracer::default(),
        });
        service.add("p", Arc::new(dapr_in_memory::PubSub::new(tasks)), PubSubConfig::default());
        service
    }

    async fn open(service: &PubSubService, dead_letter_topic: &str) -> EventStream {
        let request = StreamRequest {
            pubsub: "p".into(),
            topic: "t".into(),
            dead_letter_topic: dead_letter_topic.into(),
            ..StreamRequest::default()
        };
        service.open_stream(request).await.unwrap()
    }

    async fn publish(service: &PubSubService, topic: &str, data: &'static str) {
        let call = PublishCall {
            pubsub: "p",
            topic,
            content_type: "text/plain",
            data: Bytes::from_static(data.as_bytes()),
            metadata: HashMap::new(),
            trace: Trace::default(),
            via: crate::pubsub::Via::Http,
        };
        service.publish(call).await.unwrap();
    }

    async fn next(stream: &mut EventStream) -> Option<StreamDelivery> {
        tokio::time::timeout(Duration::from_secs(10), stream.next()).await.unwrap()
    }

    #[tokio::test]
    async fn events_arrive_and_are_answered_by_id() {
        let service = service();
        let mut stream = open(&service, "").await;
        for data in ["one", "two"] {
            publish(&service, "t", data).await;
            let event = next(&mut stream).await.unwrap();
            assert_eq!(
                (event.data.as_ref(), event.path.as_str(), event.topic.as_str()),
                (data.as_bytes(), "/", "t")
            );
            stream.acks().processed("stranger", 0);
            stream.acks().processed(&event.id, 0);
        }
        assert_eq!(service.subscriptions().len(), 1);
        drop(stream);
        assert!(service.subscriptions().is_empty());
    }

    #[tokio::test]
    async fn dropped_events_become_dead_letters() {
        let service = service();
        let mut stream = open(&service, "dead").await;
        let dead = StreamRequest { pubsub: "p".into(), topic: "dead".into(), ..StreamRequest::default() };
        let mut dead = service.open_stream(dead).await.unwrap();
        publish(&service, "t", "x").await;
        let event = next(&mut stream).await.unwrap();
        stream.acks().processed(&event.id, 2);
        let letter = next(&mut dead).await.unwrap();
        assert_eq!((letter.id, letter.data.as_ref()), (event.id, &b"x"[..]));
    }

    #[tokio::test]
    async fn the_end_of_the_sidecar_ends_streams() {
        let service = service();
        let mut stream = open(&service, "").await;
        service.stop_streams().await;
        assert!(next(&mut stream).await.is_none());
    }

    #[tokio::test]
    async fn streams_outlive_their_component() {
        let service = service();
        let mut stream = open(&service, "").await;
        service.suspend_component("p").await;
        service.remove("p").unwrap().close().await;
        assert_eq!(service.subscriptions().len(), 1);
        let bus = dapr_in_memory::PubSub::new(service.0.options.tasks.clone());
        service.add("p", Arc::new(bus), PubSubConfig::default());
        service.resume_component("p").await;
        publish(&service, "t", "again").await;
        let event = next(&mut stream).await.unwrap();
        assert_eq!(event.data.as_ref(), b"again");
        stream.acks().processed(&event.id, 0);
    }

    #[tokio::test]
    async fn an_unanswered_event_is_let_go_with_its_stream() {
        let service = service();
        let mut stream = open(&service, "").await;
        publish(&service, "t", "x").await;
        assert!(next(&mut stream).await.is_some());
        let acks = stream.acks();
        drop(stream);
        let emptied = async {
            while !acks.0.lock().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), emptied).await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_subscribed_to_is_told() {
        let service = service();
        let missing = StreamRequest { pubsub: "none".into(), topic: "t".into(), ..StreamRequest::default() };
        let Err(StreamError::Api(error)) = service.open_stream(missing).await else { panic!("opened") };
        assert_eq!((error.message.as_str(), error.details.len()), ("pubsub none is not found", 1));
    }
}
