//! The kinds that the operator serves, each by calls of its own.

use bytes::Bytes;
use dapr_transport::client::H2Channel;
use dapr_wire::operator::v1 as wire;
use dapr_wire::operator::v1::operator_client::OperatorClient as Calls;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use tonic::{Code, Status};

use crate::core::EventKind;

/// A kind of resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Components,
    /// In their current version.
    Subscriptions,
    HttpEndpoints,
    Resiliencies,
    McpServers,
    WorkflowAccessPolicies,
    /// The one of this name, if any: the operator lists none, and decides
    /// itself which one it tells a sidecar about.
    Configuration(Option<String>),
}

/// Events as they come; `None` for a kind of event that this release does not
/// know.
pub(crate) type Events = BoxStream<'static, Result<(Option<EventKind>, Bytes), Status>>;

impl Kind {
    /// As logs call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Components => "Component",
            Self::Subscriptions => "Subscription",
            Self::HttpEndpoints => "HTTPEndpoint",
            Self::Resiliencies => "Resiliency",
            Self::McpServers => "MCPServer",
            Self::WorkflowAccessPolicies => "WorkflowAccessPolicy",
            Self::Configuration(_) => "Configuration",
        }
    }

    pub(crate) async fn list(&self, channel: H2Channel, namespace: &str) -> Result<Vec<Bytes>, Status> {
        let mut calls = Calls::new(channel);
        let namespace = namespace.to_owned();
        macro_rules! list {
            ($call:ident, $request:ident, $field:ident) => {
                calls.$call(wire::$request { namespace }).await.map(|answer| answer.into_inner().$field)
            };
        }
        match self {
            Self::Components => list!(list_components, ListComponentsRequest, components),
            Self::Subscriptions => {
                older_is_none(list!(list_subscriptions_v2, ListSubscriptionsRequest, subscriptions))
            }
            Self::HttpEndpoints => list!(list_http_endpoints, ListHttpEndpointsRequest, http_endpoints),
            Self::Resiliencies => list!(list_resiliency, ListResiliencyRequest, resiliencies),
            Self::McpServers => unknown_is_none(list!(list_mcp_servers, ListMcpServersRequest, mcp_servers)),
            Self::WorkflowAccessPolicies => {
                unknown_is_none(list!(list_workflow_access_policy, ListWorkflowAccessPolicyRequest, policies))
            }
            Self::Configuration(None) => Ok(Vec::new()),
            Self::Configuration(Some(name)) => {
                let request = wire::GetConfigurationRequest { name: name.clone(), namespace };
                let answer = calls.get_configuration(request).await?.into_inner().configuration;
                Ok(Some(answer).filter(|bytes| !bytes.is_empty()).into_iter().collect())
            }
        }
    }

    /// Asks for events when it is polled. The operator answers with the first
    /// event: until then nobody can tell that it has not refused.
    pub(crate) fn events(&self, channel: H2Channel, namespace: &str) -> Events {
        let mut calls = Calls::new(channel);
        let namespace = namespace.to_owned();
        macro_rules! follow {
            ($call:ident, $request:ident, $field:ident) => {
                async move {
                    let stream = calls.$call(wire::$request { namespace }).await?.into_inner();
                    Ok(stream.map_ok(|event| (event_kind(event.r#type), event.$field)))
                }
                .into_stream_of_events()
            };
        }
        match self {
            Self::Components => follow!(component_update, ComponentUpdateRequest, component),
            Self::Subscriptions => follow!(subscription_update, SubscriptionUpdateRequest, subscription),
            Self::HttpEndpoints => follow!(http_endpoint_update, HttpEndpointUpdateRequest, http_endpoints),
            Self::Resiliencies => follow!(resiliency_update, ResiliencyUpdateRequest, resiliency),
            Self::McpServers => follow!(mcp_server_update, McpServerUpdateRequest, mcp_server),
            Self::WorkflowAccessPolicies => {
                follow!(workflow_access_policy_update, WorkflowAccessPolicyUpdateRequest, policy)
            }
            Self::Configuration(_) => {
                follow!(configuration_update, ConfigurationUpdateRequest, configuration)
            }
        }
    }
}

fn event_kind(number: i32) -> Option<EventKind> {
    match wire::ResourceEventType::try_from(number).ok()? {
        wire::ResourceEventType::Created | wire::ResourceEventType::Updated => Some(EventKind::Put),
        wire::ResourceEventType::Deleted => Some(EventKind::Deleted),
        wire::ResourceEventType::Unknown => None,
    }
}

/// An operator of an older release has none of these.
fn unknown_is_none(answer: Result<Vec<Bytes>, Status>) -> Result<Vec<Bytes>, Status> {
    match answer {
        Err(status) if status.code() == Code::Unimplemented => Ok(Vec::new()),
        answer => answer,
    }
}

/// Older operators fail to encode that there is none.
fn older_is_none(answer: Result<Vec<Bytes>, Status>) -> Result<Vec<Bytes>, Status> {
    match answer {
        Err(status) if status.message().ends_with("Marshal called with nil") => Ok(Vec::new()),
        answer => answer,
    }
}

trait IntoEvents {
    fn into_stream_of_events(self) -> Events;
}

impl<F, S> IntoEvents for F
where
    F: Future<Output = Result<S, Status>> + Send + 'static,
    S: futures::Stream<Item = Result<(Option<EventKind>, Bytes), Status>> + Send + 'static,
{
    fn into_stream_of_events(self) -> Events {
        futures::stream::once(self).try_flatten().boxed()
    }
}
