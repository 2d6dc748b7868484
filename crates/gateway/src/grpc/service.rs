//! The generated service trait, one line a method: request, answer, handler.

use std::pin::Pin;
use std::sync::Arc;

use dapr_wire::common::v1::InvokeResponse;
use dapr_wire::runtime::v1 as rt;
use dapr_wire::runtime::v1::dapr_server::Dapr;
use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::spans::Slot;
use super::{
    bindings, configuration, conversation, crypto, invoke, lock, pubsub, secrets, state, system, unserved,
};
use crate::Api;

/// Messages that a method sends over time.
pub type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
pub struct DaprService {
    api: Arc<Api>,
}

impl DaprService {
    pub fn new(api: Arc<Api>) -> Self {
        Self { api }
    }
}

/// Expands to the whole `impl`, so that the async-trait attribute sees the
/// methods and not a macro.
macro_rules! service {
    (
        streams { $($stream:ident: $item:ty,)* }
        $($name:ident($request:ty) -> $response:ty => $handler:path;)*
    ) => {
        #[tonic::async_trait]
        impl Dapr for DaprService {
            $(type $stream = Messages<$item>;)*

            $(async fn $name(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                if let Some(slot) = request.extensions().get::<Slot>() {
                    slot.clone().describe(request.get_ref());
                }
                $handler(&self.api, request).await
            })*
        }
    };
}

service! {
    streams {
        SubscribeTopicEventsAlpha1Stream: rt::SubscribeTopicEventsResponseAlpha1,
        SubscribeActorEventsAlpha1Stream: rt::SubscribeActorEventsResponseAlpha1,
        SubscribeConfigurationAlpha1Stream: rt::SubscribeConfigurationResponse,
        SubscribeConfigurationStream: rt::SubscribeConfigurationResponse,
        EncryptAlpha1Stream: rt::EncryptResponse,
        DecryptAlpha1Stream: rt::DecryptResponse,
    }

    invoke_service(rt::InvokeServiceRequest) -> InvokeResponse => invoke::invoke_service;
    get_state(rt::GetStateRequest) -> rt::GetStateResponse => state::get;
    get_bulk_state(rt::GetBulkStateRequest) -> rt::GetBulkStateResponse => state::bulk_get;
    save_state(rt::SaveStateRequest) -> () => state::save;
    query_state_alpha1(rt::QueryStateRequest) -> rt::QueryStateResponse => state::query;
    delete_state(rt::DeleteStateRequest) -> () => state::delete;
    delete_bulk_state(rt::DeleteBulkStateRequest) -> () => state::bulk_delete;
    execute_state_transaction(rt::ExecuteStateTransactionRequest) -> () => state::transaction;
    publish_event(rt::PublishEventRequest) -> () => pubsub::publish;
    bulk_publish_event_alpha1(rt::BulkPublishRequest) -> rt::BulkPublishResponse => pubsub::bulk_publish;
    bulk_publish_event(rt::BulkPublishRequest) -> rt::BulkPublishResponse => pubsub::bulk_publish;
    subscribe_topic_events_alpha1(Streaming<rt::SubscribeTopicEventsRequestAlpha1>) -> Messages<rt::SubscribeTopicEventsResponseAlpha1> => pubsub::subscribe;
    invoke_binding(rt::InvokeBindingRequest) -> rt::InvokeBindingResponse => bindings::invoke;
    get_secret(rt::GetSecretRequest) -> rt::GetSecretResponse => secrets::get;
    get_bulk_secret(rt::GetBulkSecretRequest) -> rt::GetBulkSecretResponse => secrets::bulk_get;
    register_actor_timer(rt::RegisterActorTimerRequest) -> () => unserved::actors;
    unregister_actor_timer(rt::UnregisterActorTimerRequest) -> () => unserved::actors;
    register_actor_reminder(rt::RegisterActorReminderRequest) -> () => unserved::actors;
    unregister_actor_reminder(rt::UnregisterActorReminderRequest) -> () => unserved::actors;
    unregister_actor_reminders_by_type(rt::UnregisterActorRemindersByTypeRequest) -> rt::UnregisterActorRemindersByTypeResponse => unserved::actors;
    list_actor_reminders(rt::ListActorRemindersRequest) -> rt::ListActorRemindersResponse => unserved::actors;
    get_actor_state(rt::GetActorStateRequest) -> rt::GetActorStateResponse => unserved::actors;
    get_actor_reminder(rt::GetActorReminderRequest) -> rt::GetActorReminderResponse => unserved::actors;
    execute_actor_state_transaction(rt::ExecuteActorStateTransactionRequest) -> () => unserved::actors;
    invoke_actor(rt::InvokeActorRequest) -> rt::InvokeActorResponse => unserved::actors;
    subscribe_actor_events_alpha1(Streaming<rt::SubscribeActorEventsRequestAlpha1>) -> Messages<rt::SubscribeActorEventsResponseAlpha1> => unserved::actors;
    get_configuration_alpha1(rt::GetConfigurationRequest) -> rt::GetConfigurationResponse => configuration::get;
    get_configuration(rt::GetConfigurationRequest) -> rt::GetConfigurationResponse => configuration::get;
    subscribe_configuration_alpha1(rt::SubscribeConfigurationRequest) -> Messages<rt::SubscribeConfigurationResponse> => configuration::subscribe;
    subscribe_configuration(rt::SubscribeConfigurationRequest) -> Messages<rt::SubscribeConfigurationResponse> => configuration::subscribe;
    unsubscribe_configuration_alpha1(rt::UnsubscribeConfigurationRequest) -> rt::UnsubscribeConfigurationResponse => configuration::unsubscribe;
    unsubscribe_configuration(rt::UnsubscribeConfigurationRequest) -> rt::UnsubscribeConfigurationResponse => configuration::unsubscribe;
    try_lock_alpha1(rt::TryLockRequest) -> rt::TryLockResponse => lock::try_lock;
    unlock_alpha1(rt::UnlockRequest) -> rt::UnlockResponse => lock::unlock;
    encrypt_alpha1(Streaming<rt::EncryptRequest>) -> Messages<rt::EncryptResponse> => crypto::encrypt;
    decrypt_alpha1(Streaming<rt::DecryptRequest>) -> Messages<rt::DecryptResponse> => crypto::decrypt;
    get_metadata(rt::GetMetadataRequest) -> rt::GetMetadataResponse => system::get_metadata;
    set_metadata(rt::SetMetadataRequest) -> () => system::set_metadata;
    subtle_get_key_alpha1(rt::SubtleGetKeyRequest) -> rt::SubtleGetKeyResponse => unserved::subtle_crypto;
    subtle_encrypt_alpha1(rt::SubtleEncryptRequest) -> rt::SubtleEncryptResponse => unserved::subtle_crypto;
    subtle_decrypt_alpha1(rt::SubtleDecryptRequest) -> rt::SubtleDecryptResponse => unserved::subtle_crypto;
    subtle_wrap_key_alpha1(rt::SubtleWrapKeyRequest) -> rt::SubtleWrapKeyResponse => unserved::subtle_crypto;
    subtle_unwrap_key_alpha1(rt::SubtleUnwrapKeyRequest) -> rt::SubtleUnwrapKeyResponse => unserved::subtle_crypto;
    subtle_sign_alpha1(rt::SubtleSignRequest) -> rt::SubtleSignResponse => unserved::subtle_crypto;
    subtle_verify_alpha1(rt::SubtleVerifyRequest) -> rt::SubtleVerifyResponse => unserved::subtle_crypto;
    start_workflow_alpha1(rt::StartWorkflowRequest) -> rt::StartWorkflowResponse => unserved::actors;
    get_workflow_alpha1(rt::GetWorkflowRequest) -> rt::GetWorkflowResponse => unserved::actors;
    purge_workflow_alpha1(rt::PurgeWorkflowRequest) -> () => unserved::actors;
    terminate_workflow_alpha1(rt::TerminateWorkflowRequest) -> () => unserved::actors;
    pause_workflow_alpha1(rt::PauseWorkflowRequest) -> () => unserved::actors;
    resume_workflow_alpha1(rt::ResumeWorkflowRequest) -> () => unserved::actors;
    raise_event_workflow_alpha1(rt::RaiseEventWorkflowRequest) -> () => unserved::actors;
    start_workflow_beta1(rt::StartWorkflowRequest) -> rt::StartWorkflowResponse => unserved::actors;
    get_workflow_beta1(rt::GetWorkflowRequest) -> rt::GetWorkflowResponse => unserved::actors;
    purge_workflow_beta1(rt::PurgeWorkflowRequest) -> () => unserved::actors;
    terminate_workflow_beta1(rt::TerminateWorkflowRequest) -> () => unserved::actors;
    pause_workflow_beta1(rt::PauseWorkflowRequest) -> () => unserved::actors;
    resume_workflow_beta1(rt::ResumeWorkflowRequest) -> () => unserved::actors;
    raise_event_workflow_beta1(rt::RaiseEventWorkflowRequest) -> () => unserved::actors;
    shutdown(rt::ShutdownRequest) -> () => system::shutdown;
    schedule_job_alpha1(rt::ScheduleJobRequest) -> rt::ScheduleJobResponse => unserved::jobs;
    schedule_job(rt::ScheduleJobRequest) -> rt::ScheduleJobResponse => unserved::jobs;
    get_job_alpha1(rt::GetJobRequest) -> rt::GetJobResponse => unserved::jobs;
    get_job(rt::GetJobRequest) -> rt::GetJobResponse => unserved::jobs;
    delete_job_alpha1(rt::DeleteJobRequest) -> rt::DeleteJobResponse => unserved::jobs;
    delete_job(rt::DeleteJobRequest) -> rt::DeleteJobResponse => unserved::jobs;
    delete_jobs_by_prefix_alpha1(rt::DeleteJobsByPrefixRequestAlpha1) -> rt::DeleteJobsByPrefixResponseAlpha1 => unserved::jobs;
    delete_jobs_by_prefix(rt::DeleteJobsByPrefixRequest) -> rt::DeleteJobsByPrefixResponse => unserved::jobs;
    list_jobs_alpha1(rt::ListJobsRequestAlpha1) -> rt::ListJobsResponseAlpha1 => unserved::jobs;
    list_jobs(rt::ListJobsRequest) -> rt::ListJobsResponse => unserved::jobs;
    converse_alpha1(rt::ConversationRequest) -> rt::ConversationResponse => conversation::alpha1;
    converse_alpha2(rt::ConversationRequestAlpha2) -> rt::ConversationResponseAlpha2 => conversation::alpha2;
}
