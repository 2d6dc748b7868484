//! Publishing many messages with one call (api.md §2.3, §6.1).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dapr_components::pubsub::{BulkEntry, BulkPublishRequest, Error, FailedEntry, PublishRequest};
use dapr_errors::pubsub::Serialization;
use dapr_errors::{ApiError, pubsub as errors};
use dapr_resiliency::{Outcome, PolicyError, StatusCode};
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::cloudevent::{self, Envelopes, Form, Publish};
use super::service::{Failed, Loaded, PubSubService, Trace, Via, raw_payload, ttl_of};
use super::spans::Entries;

/// Messages published at once when the bus has no bulk operation.
const MAX_CONCURRENT: usize = 100;

/// Messages that an application publishes with one call.
#[derive(Debug)]
pub struct BulkCall<'a> {
    pub pubsub: &'a str,
    pub topic: &'a str,
    pub entries: Vec<BulkEntryCall>,
    /// Whether [`EntryIds`] admitted the ids already; they are checked here if not.
    pub ids_admitted: bool,
    pub metadata: HashMap<String, String>,
    pub trace: Trace<'a>,
    pub via: Via,
    /// Path or method of the call: what the spans of entries are named after.
    pub name: &'a str,
}

#[derive(Clone, Debug, Default)]
pub struct BulkEntryCall {
    /// Unique within the call.
    pub entry_id: String,
    pub event: Bytes,
    pub form: Form,
    pub content_type: String,
    /// The call's metadata reaches only entries that have their own, which
    /// then wins (api.md §2.3).
    pub metadata: Option<HashMap<String, String>>,
}

/// Why a bulk publish did not succeed as a whole.
#[derive(Clone, Debug)]
pub enum BulkFailure {
    /// Nothing was published.
    Refused(ApiError),
    /// The entries listed did not get through, the others did.
    Failed { failed: Vec<FailedEntry>, error: ApiError },
}

impl BulkFailure {
    pub fn error(&self) -> &ApiError {
        match self {
            Self::Refused(error) | Self::Failed { error, .. } => error,
        }
    }
}

impl From<ApiError> for BulkFailure {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

/// The entry ids seen so far in one call.
#[derive(Debug, Default)]
pub struct EntryIds<'a>(HashSet<&'a str>);

impl<'a> EntryIds<'a> {
    pub fn with_capacity(count: usize) -> Self {
        Self(HashSet::with_capacity(count))
    }

    /// Refuses ids that are blank or came before.
    pub fn admit(&mut self, id: &'a str, pubsub: &str, topic: &str, app_id: &str) -> Result<(), ApiError> {
        if !id.is_empty() && self.0.insert(id) {
            return Ok(());
        }
        let reason = "entryId is duplicated or not present for entry";
        Err(errors::events(Serialization::MarshalEvents, pubsub, topic, app_id, reason))
    }
}

/// An attempt of which some entries failed.
#[derive(Debug)]
struct Attempt {
    failed: Vec<FailedEntry>,
    cause: Failed,
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cause.fmt(f)
    }
}

impl Outcome for Attempt {
    fn retriable(&self) -> bool {
        self.cause.retriable()
    }

    fn status(&self) -> Option<StatusCode> {
        self.cause.status()
    }
}

impl PubSubService {
    /// The checks that come before a call's body is looked at.
    pub fn check(
        &self,
        pubsub: &str,
        topic: &str,
        metadata: &HashMap<String, String>,
    ) -> Result<(), ApiError> {
        self.target(pubsub, topic)?;
        raw_payload(metadata).map(drop).map_err(|value| errors::bad_metadata(pubsub, &value))
    }

    /// Publishes messages in no particular order. Returns once the broker has
    /// all of them or none can be tried again.
    pub async fn bulk_publish(&self, call: BulkCall<'_>) -> Result<(), BulkFailure> {
        let mut spans = Entries::new(&self.0.options.tracer, call.name, call.via, call.trace);
        let outcome = self.publish_entries(call, &mut spans).await;
        spans.end(&outcome);
        outcome
    }

    async fn publish_entries(&self, call: BulkCall<'_>, spans: &mut Entries<'_>) -> Result<(), BulkFailure> {
        let (pubsub, topic, via) = (call.pubsub, call.topic, call.via);
        let loaded = self.target(pubsub, topic)?;
        let raw = raw_payload(&call.metadata).map_err(|value| errors::bad_metadata(pubsub, &value))?;
        let (entries, metadata) = self.prepare(call, &loaded, raw, spans)?;
        let started = self.metrics().map(|metrics| (metrics, Instant::now()));
        let outcome = self.send_all(&loaded, topic, entries, metadata, via).await;
        if let Some((metrics, started)) = started {
            metrics.bulk_egress(pubsub, topic, outcome.is_ok(), started.elapsed());
        }
        outcome
    }

    /// The entries as the component takes them, and the call's metadata.
    fn prepare(
        &self,
        call: BulkCall<'_>,
        loaded: &Loaded,
        raw: bool,
        spans: &mut Entries<'_>,
    ) -> Result<(Vec<BulkEntry>, HashMap<String, String>), ApiError> {
        let BulkCall { pubsub, topic, mut entries, ids_admitted, metadata, trace, .. } = call;
        let app_id = self.0.options.identity.app_id();
        let common = Publish {
            source: app_id,
            topic,
            pubsub,
            trace_parent: trace.parent,
            trace_state: trace.state,
            ..Publish::default()
        };
        let size: usize = entries.iter().map(|e| e.event.len() + e.content_type.len()).sum();
        let mut envelopes = (!raw)
            .then(|| Envelopes::with_capacity(size + entries.len() * cloudevent::envelope_size(&common)));
        let mut ids = (!ids_admitted).then(|| EntryIds::with_capacity(entries.len()));
        let mut prepared = Vec::with_capacity(entries.len());
        for BulkEntryCall { entry_id, event, form, content_type, metadata: own } in &mut entries {
            if let Some(ids) = &mut ids {
                ids.admit(entry_id, pubsub, topic, app_id)?;
            }
            let metadata = own.take().map(|own| merge(&metadata, own)).unwrap_or_default();
            if let Some(envelopes) = &mut envelopes {
                let own_trace = spans.next();
                let publish = Publish {
                    content_type,
                    data: event,
                    trace_parent: own_trace.as_deref().unwrap_or(trace.parent),
                    ttl: ttl_of(loaded, &metadata),
                    ..common
                };
                envelopes
                    .wrap(&publish, *form, &metadata)
                    .map_err(|e| errors::cloud_event_creation(pubsub, app_id, e))?;
            }
            prepared.push((metadata, envelopes.as_ref().map_or(0, Envelopes::len)));
        }
        let envelopes = envelopes.map(Envelopes::finish);
        let mut start = 0;
        let entries = entries.into_iter().zip(prepared).map(|(entry, (metadata, end))| {
            let envelope = envelopes.as_ref().map(|all| all.slice(std::mem::replace(&mut start, end)..end));
            let BulkEntryCall { entry_id, event, content_type, .. } = entry;
            BulkEntry { entry_id, event: envelope.unwrap_or(event), content_type, metadata }
        });
        Ok((entries.collect(), metadata))
    }

    async fn send_all(
        &self,
        loaded: &Loaded,
        topic: &str,
        entries: Vec<BulkEntry>,
        metadata: HashMap<String, String>,
        via: Via,
    ) -> Result<(), BulkFailure> {
        if !loaded.config.publish.allows(topic) {
            return Err(errors::forbidden(&loaded.name, topic, self.0.options.identity.app_id()).into());
        }
        let request = BulkPublishRequest { topic: self.broker_topic(loaded, topic), entries, metadata };
        under_policy(loaded, request, via).await.map_err(|(failed, reason)| BulkFailure::Failed {
            failed,
            error: errors::publish_failed(&loaded.name, topic, reason),
        })
    }
}

fn merge(call: &HashMap<String, String>, own: HashMap<String, String>) -> HashMap<String, String> {
    let mut merged = call.clone();
    merged.extend(own);
    merged
}

/// Publishes under the outbound policy; retries send only what failed.
async fn under_policy(
    loaded: &Loaded,
    request: BulkPublishRequest,
    via: Via,
) -> Result<(), (Vec<FailedEntry>, String)> {
    if loaded.outbound.is_none() {
        return attempt(loaded, &request, via).await.map_err(|a| (a.failed, a.cause.to_string()));
    }
    let left = Mutex::new(Arc::new(request));
    let run = loaded.outbound.run(|_| async {
        let request = left.lock().clone();
        let outcome = attempt(loaded, &request, via).await;
        if let Err(attempt) = &outcome {
            let failed: HashSet<&str> = attempt.failed.iter().map(|f| f.entry_id.as_str()).collect();
            Arc::make_mut(&mut left.lock()).entries.retain(|e| failed.contains(e.entry_id.as_str()));
        }
        outcome
    });
    run.await.map_err(|error| match error {
        PolicyError::Operation(Attempt { failed, cause }) => (failed, cause.to_string()),
        other => {
            let reason = other.to_string();
            (all_failed(&left.lock().entries, &reason), reason)
        }
    })
}

fn all_failed(entries: &[BulkEntry], reason: &str) -> Vec<FailedEntry> {
    entries.iter().map(|e| FailedEntry { entry_id: e.entry_id.clone(), error: reason.to_owned() }).collect()
}

async fn attempt(loaded: &Loaded, request: &BulkPublishRequest, via: Via) -> Result<(), Attempt> {
    let failure = |failed, error| Err(Attempt { failed, cause: Failed { error, via } });
    match loaded.component.bulk_publish(request).await {
        None => match entry_by_entry(loaded, request).await {
            Ok(()) => Ok(()),
            Err((failed, error)) => failure(failed, error),
        },
        Some(Ok(failed)) => match failed.first().map(|first| Error::Other(first.error.clone())) {
            None => Ok(()),
            Some(error) => failure(failed, error),
        },
        Some(Err(error)) => failure(all_failed(&request.entries, &error.to_string()), error),
    }
}

async fn entry_by_entry(
    loaded: &Loaded,
    request: &BulkPublishRequest,
) -> Result<(), (Vec<FailedEntry>, Error)> {
    // Boxed and collected: a lazy stream of borrowing futures ties its lifetimes
    // so tightly that callers cannot box this one.
    let mut publishes: Vec<BoxFuture<'_, (&BulkEntry, Result<(), Error>)>> =
        Vec::with_capacity(request.entries.len());
    for entry in &request.entries {
        publishes.push(Box::pin(async move {
            let publish = PublishRequest {
                topic: request.topic.clone(),
                data: entry.event.clone(),
                metadata: entry.metadata.clone(),
                content_type: Some(entry.content_type.clone()),
            };
            (entry, loaded.component.publish(publish).await)
        }));
    }
    let mut publishes = futures::stream::iter(publishes).buffer_unordered(MAX_CONCURRENT);
    let mut failed = Vec::new();
    let mut first = None;
    while let Some((entry, outcome)) = publishes.next().await {
        if let Err(error) = outcome {
            failed.push(FailedEntry { entry_id: entry.entry_id.clone(), error: error.to_string() });
            first.get_or_insert(error);
        }
    }
    match first {
        None => Ok(()),
        Some(error) => Err((failed, error)),
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use dapr_components::Properties;
    use dapr_components::pubsub::{Feature, MessageHandler, PubSub, SubscribeRequest};
    use dapr_kernel::tasks::TaskGroup;
    use dapr_kernel::{AppIdentity, Shutdown};
    use serde_json::Value;

    use super::super::{Options, PubSubConfig};
    use super::*;

    /// Refuses messages whose data contains `bad`.
    #[derive(Default)]
    struct Bus(Mutex<Vec<PublishRequest>>);

    #[async_trait]
    impl PubSub for Bus {
        fn features(&self) -> &[Feature] {
            &[]
        }

        async fn publish(&self, request: PublishRequest) -> Result<(), Error> {
            if String::from_utf8_lossy(&request.data).contains("bad") {
                return Err(Error::Other("refused".to_owned()));
            }
            self.0.lock().push(request);
            Ok(())
        }

        async fn subscribe(
            &self,
            _: SubscribeRequest,
            _: Shutdown,
            _: Arc<dyn MessageHandler>,
        ) -> Result<(), Error> {
            Ok(())
        }
    }

    fn service(bus: Arc<Bus>, properties: &[(&str, &str)]) -> PubSubService {
        let service = PubSubService::new(Options {
            identity: AppIdentity::new("me", None),
            policies: dapr_resiliency::Policies::default(),
            tasks: TaskGroup::new(Shutdown::new()),
            skip_programmatic: false,
            metrics: None,
            tracer: dapr_telemetry::trace::Tracer::default(),
        });
        let properties = Properties::new(properties.iter().copied()).unwrap();
        service.add("p", bus, PubSubConfig::new(&properties, "me", false));
        service
    }

    fn call(entries: &[(&str, &'static str)]) -> BulkCall<'static> {
        let entries = entries.iter().map(|(id, data)| BulkEntryCall {
            entry_id: (*id).to_owned(),
            event: Bytes::from_static(data.as_bytes()),
            form: Form::AsSent,
            content_type: "text/plain".to_owned(),
            metadata: None,
        });
        BulkCall {
            pubsub: "p",
            topic: "t",
            entries: entries.collect(),
            ids_admitted: false,
            metadata: HashMap::from([("cloudevent.id".to_owned(), "of-call".to_owned())]),
            trace: Trace::default(),
            via: Via::Http,
            name: "bulk",
        }
    }

    #[tokio::test]
    async fn entries_are_wrapped_and_call_metadata_needs_entry_metadata() {
        let bus = Arc::new(Bus::default());
        let mut call = call(&[("1", "a"), ("2", "b")]);
        call.entries[1].metadata = Some(HashMap::from([("k".to_owned(), "v".to_owned())]));
        service(bus.clone(), &[]).bulk_publish(call).await.unwrap();
        let published = bus.0.lock();
        let event = |i: usize| serde_json::from_slice::<Value>(&published[i].data).unwrap();
        assert_eq!(published.len(), 2);
        assert_eq!(event(0)["data"], "a");
        assert_ne!(event(0)["id"], "of-call");
        assert!(published[0].metadata.is_empty());
        assert_eq!(event(1)["id"], "of-call");
        assert_eq!(published[1].metadata["k"], "v");
        assert_eq!(published[1].content_type.as_deref(), Some("text/plain"));
    }

    #[tokio::test]
    async fn only_failed_entries_are_listed() {
        let bus = Arc::new(Bus::default());
        let failure =
            service(bus.clone(), &[]).bulk_publish(call(&[("1", "a"), ("2", "bad")])).await.unwrap_err();
        let BulkFailure::Failed { failed, error } = failure else { panic!("refused: {failure:?}") };
        assert_eq!(failed, [FailedEntry { entry_id: "2".to_owned(), error: "refused".to_owned() }]);
        assert_eq!(error.message, "error when publishing to topic t in pubsub p: refused");
        assert_eq!(bus.0.lock().len(), 1);
    }

    #[tokio::test]
    async fn bad_entries_and_topics_are_refused_before_anything_is_published() {
        let bus = Arc::new(Bus::default());
        for (properties, entries, wanted) in [
            (
                &[][..],
                &[("1", "a"), ("1", "b")][..],
                "error marshaling events to bytes for topic t pubsub p. error: entryId is duplicated or not present for entry",
            ),
            (
                &[],
                &[("", "a")],
                "error marshaling events to bytes for topic t pubsub p. error: entryId is duplicated or not present for entry",
            ),
            (&[("allowedTopics", "other")], &[("1", "a")], "topic t is not allowed for app id me"),
        ] {
            let failure = service(bus.clone(), properties).bulk_publish(call(entries)).await.unwrap_err();
            assert!(matches!(failure, BulkFailure::Refused(_)));
            assert_eq!(failure.error().message, wanted);
        }
        assert!(bus.0.lock().is_empty());
    }

    #[test]
    fn codes_are_those_of_the_callers_protocol() {
        let slow = Error::Status { code: 8, message: "slow".to_owned() };
        assert_eq!(Via::Http.status(&slow), Some(StatusCode::http(429)));
        assert_eq!(Via::Grpc.status(&slow), Some(StatusCode::grpc(8)));
        assert_eq!(Via::Http.status(&Error::Other("slow".to_owned())), None);
    }

    #[tokio::test]
    async fn raw_payloads_stay_as_they_are() {
        let bus = Arc::new(Bus::default());
        let mut call = call(&[("1", "a")]);
        call.metadata.insert("rawPayload".to_owned(), "true".to_owned());
        service(bus.clone(), &[]).bulk_publish(call).await.unwrap();
        assert_eq!(bus.0.lock()[0].data, "a");
    }
}
