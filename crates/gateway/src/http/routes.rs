//! The route table: method, path, group, version and handler of every route.
//! Routing, allow and deny lists, the API log and metric names derive from it
//! (api.md §2).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use dapr_transport::Body;
use http::{Method, Response};

use super::call::Call;
use super::{
    bindings, configuration, conversation, crypto, health, lock, metadata, pubsub, reply, secrets, state,
    unserved,
};
use crate::Api;

pub type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
pub type Handler = fn(Arc<Api>, Call) -> Answer;

/// One line of the table.
pub struct Route {
    pub methods: &'static [Method],
    /// Without a leading slash; `{name}` is one segment, `{name...}` the rest.
    pub pattern: &'static str,
    /// Allow-list group, such as `state`.
    pub group: &'static str,
    /// Allow-list version, such as `v1`.
    pub version: &'static str,
    /// Name in the API log and in metrics.
    pub name: &'static str,
    pub handler: Handler,
    /// Needs no API token and cannot be denied.
    pub open: bool,
    /// Also served on the public port.
    pub public: bool,
}

/// An `async fn(Arc<Api>, Call) -> Result<Response, ApiError>` as a handler.
macro_rules! to {
    ($handler:path) => {
        |api, call| {
            Box::pin(async move {
                match $handler(api, call).await {
                    Ok(response) => response,
                    Err(error) => reply::error(&error),
                }
            })
        }
    };
}

macro_rules! route {
    ($methods:ident $pattern:literal, $group:literal $version:literal, $name:literal => $handler:path $(, $flag:ident)*) => {
        #[allow(clippy::needless_update)]
        Route {
            methods: $methods,
            pattern: $pattern,
            group: $group,
            version: $version,
            name: $name,
            handler: to!($handler),
            $($flag: true,)*
            ..PLAIN
        }
    };
}

const PLAIN: Route = Route {
    methods: &[],
    pattern: "",
    group: "",
    version: "",
    name: "",
    handler: |_, _| Box::pin(async { reply::no_content() }),
    open: false,
    public: false,
};

const GET: &[Method] = &[Method::GET];
const PUT: &[Method] = &[Method::PUT];
const POST: &[Method] = &[Method::POST];
const DELETE: &[Method] = &[Method::DELETE];
const WRITE: &[Method] = &[Method::POST, Method::PUT];
const TIMER: &[Method] = &[Method::POST, Method::PUT, Method::DELETE];
const ANY: &[Method] = &[Method::GET, Method::POST, Method::PUT, Method::DELETE];

/// Every route that needs a handler of its own.
pub static TABLE: &[Route] = &[
    route!(GET "v1.0/state/{store}/{key}", "state" "v1", "GetState" => state::get),
    route!(WRITE "v1.0/state/{store}", "state" "v1", "SaveState" => state::save),
    route!(DELETE "v1.0/state/{store}/{key}", "state" "v1", "DeleteState" => state::delete),
    route!(WRITE "v1.0/state/{store}/bulk", "state" "v1", "GetBulkState" => state::bulk_get),
    route!(WRITE "v1.0/state/{store}/transaction", "state" "v1", "ExecuteStateTransaction" => state::transaction),
    route!(WRITE "v1.0-alpha1/state/{store}/query", "state" "v1alpha1", "QueryStateAlpha1" => state::query),
    route!(GET "v1.0/secrets/{store}/bulk", "secrets" "v1", "GetBulkSecret" => secrets::bulk_get),
    route!(GET "v1.0/secrets/{store}/{key}", "secrets" "v1", "GetSecret" => secrets::get),
    route!(WRITE "v1.0/publish/bulk/{pubsub}/{topic...}", "publish" "v1", "BulkPublishEvent" => pubsub::bulk_publish),
    route!(WRITE "v1.0-alpha1/publish/bulk/{pubsub}/{topic...}", "publish" "v1alpha1", "BulkPublishEventAlpha1" => pubsub::bulk_publish),
    route!(WRITE "v1.0/publish/{pubsub}/{topic...}", "publish" "v1", "PublishEvent" => pubsub::publish),
    route!(WRITE "v1.0/bindings/{name}", "bindings" "v1", "InvokeBinding" => bindings::invoke),
    route!(GET "v1.0/configuration/{store}", "configuration" "v1", "GetConfiguration" => configuration::get),
    route!(GET "v1.0/configuration/{store}/subscribe", "configuration" "v1", "SubscribeConfiguration" => configuration::subscribe),
    route!(GET "v1.0/configuration/{store}/{id}/unsubscribe", "configuration" "v1", "UnsubscribeConfiguration" => configuration::unsubscribe),
    route!(GET "v1.0-alpha1/configuration/{store}", "configuration" "v1alpha1", "GetConfigurationAlpha1" => configuration::get),
    route!(GET "v1.0-alpha1/configuration/{store}/subscribe", "configuration" "v1alpha1", "SubscribeConfigurationAlpha1" => configuration::subscribe),
    route!(GET "v1.0-alpha1/configuration/{store}/{id}/unsubscribe", "configuration" "v1alpha1", "UnsubscribeConfigurationAlpha1" => configuration::unsubscribe),
    route!(POST "v1.0-alpha1/lock/{store}", "lock" "v1alpha1", "TryLockAlpha1" => lock::try_lock),
    route!(POST "v1.0-alpha1/unlock/{store}", "unlock" "v1alpha1", "UnlockAlpha1" => lock::unlock),
    route!(PUT "v1.0-alpha1/crypto/{name}/encrypt", "crypto" "v1alpha1", "EncryptAlpha1" => crypto::encrypt),
    route!(PUT "v1.0-alpha1/crypto/{name}/decrypt", "crypto" "v1alpha1", "DecryptAlpha1" => crypto::decrypt),
    route!(POST "v1.0-alpha1/subtlecrypto/{name}/{operation}", "subtlecrypto" "v1alpha1", "SubtleCryptoAlpha1" => unserved::subtle_crypto),
    route!(POST "v1.0/jobs/{name}", "jobs" "v1", "ScheduleJob" => unserved::jobs),
    route!(GET "v1.0/jobs/{name}", "jobs" "v1", "GetJob" => unserved::jobs),
    route!(DELETE "v1.0/jobs/{name}", "jobs" "v1", "DeleteJob" => unserved::jobs),
    route!(POST "v1.0-alpha1/jobs/{name}", "jobs" "v1alpha1", "ScheduleJobAlpha1" => unserved::jobs),
    route!(GET "v1.0-alpha1/jobs/{name}", "jobs" "v1alpha1", "GetJobAlpha1" => unserved::jobs),
    route!(DELETE "v1.0-alpha1/jobs/{name}", "jobs" "v1alpha1", "DeleteJobAlpha1" => unserved::jobs),
    route!(POST "v1.0-alpha1/conversation/{name}/converse", "conversation" "v1alpha1", "ConverseAlpha1" => conversation::alpha1),
    route!(POST "v1.0-alpha2/conversation/{name}/converse", "conversation" "v1alpha2", "ConverseAlpha2" => conversation::alpha2),
    route!(GET "v1.0/workflows/{component}/{id}", "workflows" "v1", "GetWorkflow" => unserved::actors),
    route!(POST "v1.0/workflows/{component}/{id}/{operation}", "workflows" "v1", "StartWorkflow" => unserved::actors),
    route!(POST "v1.0/workflows/{component}/{id}/raiseEvent/{event}", "workflows" "v1", "RaiseEventWorkflow" => unserved::actors),
    route!(GET "v1.0-beta1/workflows/{component}/{id}", "workflows" "v1beta1", "GetWorkflowBeta1" => unserved::actors),
    route!(POST "v1.0-beta1/workflows/{component}/{id}/{operation}", "workflows" "v1beta1", "StartWorkflowBeta1" => unserved::actors),
    route!(POST "v1.0-beta1/workflows/{component}/{id}/raiseEvent/{event}", "workflows" "v1beta1", "RaiseEventWorkflowBeta1" => unserved::actors),
    route!(GET "v1.0-alpha1/workflows/{component}/{id}", "workflows" "v1alpha1", "GetWorkflowAlpha1" => unserved::actors),
    route!(POST "v1.0-alpha1/workflows/{component}/{id}/{operation}", "workflows" "v1alpha1", "StartWorkflowAlpha1" => unserved::actors),
    route!(POST "v1.0-alpha1/workflows/{component}/{id}/raiseEvent/{event}", "workflows" "v1alpha1", "RaiseEventWorkflowAlpha1" => unserved::actors),
    route!(ANY "v1.0/actors/{type}/{id}/method/{method...}", "actors" "v1", "InvokeActor" => unserved::actors),
    route!(WRITE "v1.0/actors/{type}/{id}/state", "actors" "v1", "ExecuteActorStateTransaction" => unserved::actors),
    route!(GET "v1.0/actors/{type}/{id}/state/{key}", "actors" "v1", "GetActorState" => unserved::actors),
    route!(ANY "v1.0/actors/{type}/{id}/reminders/{name}", "actors" "v1", "ActorReminder" => unserved::actors),
    route!(TIMER "v1.0/actors/{type}/{id}/timers/{name}", "actors" "v1", "ActorTimer" => unserved::actors),
    route!(GET "v1.0/metadata", "metadata" "v1", "GetMetadata" => metadata::get, public),
    route!(GET "v1.0/metadata/resiliency", "metadata" "v1", "GetResiliency" => metadata::resiliency),
    route!(PUT "v1.0/metadata/{key}", "metadata" "v1", "SetMetadata" => metadata::set, public),
    route!(GET "v1.0/healthz", "healthz" "v1", "Healthz" => health::ready, open, public),
    route!(GET "v1.0/healthz/outbound", "healthz" "v1", "HealthzOutbound" => health::outbound, open, public),
    route!(POST "v1.0/shutdown", "shutdown" "v1", "Shutdown" => health::shutdown),
];
