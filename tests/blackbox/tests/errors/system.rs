//! Health, and building blocks that need services which are not there.

use dapr_blackbox::{Options, START_TIMEOUT, Scratch, Sidecar, eventually, free_port};
use dapr_wire::runtime::v1 as rt;
use http::Method;

use crate::ask::Ask;

#[tokio::test]
async fn not_ready() {
    let scratch = Scratch::new("errors");
    // An application that never comes.
    let sidecar = Sidecar::spawn(&scratch, Options::new("errors").app(free_port()));
    eventually("daprd listens", START_TIMEOUT, || async {
        let answer = sidecar.client.try_send(Method::GET, "/v1.0/healthz/outbound", &[], "").await;
        answer.map_err(|e| e.to_string()).and_then(|a| if a.status == 204 { Ok(()) } else { Err(a.text()) })
    })
    .await;
    let mut ask = Ask::new(&sidecar, "health");
    ask.http("not ready", "GET /v1.0/healthz", "").await;
    ask.http("of another", "GET /v1.0/healthz?appid=other", "").await;
    ask.http("of this", "GET /v1.0/healthz?appid=errors", "").await;
    ask.done();
    sidecar.stop().await;
}

/// Without placement, scheduler and actor runtime.
#[tokio::test]
async fn control_plane_absent() {
    let scratch = Scratch::new("errors");
    let sidecar = Sidecar::start(&scratch, Options::new("errors")).await;
    let mut ask = Ask::new(&sidecar, "system");
    for (what, line, body) in [
        ("health of another", "GET /v1.0/healthz?appid=other", ""),
        ("actor call", "PUT /v1.0/actors/t/1/method/m", ""),
        ("actor state", "GET /v1.0/actors/t/1/state/k", ""),
        ("actor transaction", "POST /v1.0/actors/t/1/state", "[]"),
        ("actor transaction no JSON", "POST /v1.0/actors/t/1/state", "nonsense"),
        ("actor reminder", "POST /v1.0/actors/t/1/reminders/r", "{}"),
        ("actor reminder no JSON", "POST /v1.0/actors/t/1/reminders/r", "nonsense"),
        ("actor reminder get", "GET /v1.0/actors/t/1/reminders/r", ""),
        ("actor reminder delete", "DELETE /v1.0/actors/t/1/reminders/r", ""),
        ("actor timer", "POST /v1.0/actors/t/1/timers/x", "{}"),
        ("actor timer delete", "DELETE /v1.0/actors/t/1/timers/x", ""),
        ("reserved actor state", "GET /v1.0/actors/dapr.internal.x/1/state/k", ""),
        ("workflow start", "POST /v1.0/workflows/dapr/w/start", ""),
        ("workflow start with an ID", "POST /v1.0/workflows/dapr/w/start?instanceID=a%24b", ""),
        ("workflow get", "GET /v1.0/workflows/dapr/1", ""),
        ("workflow event", "POST /v1.0/workflows/dapr/1/raiseEvent/e", ""),
        ("workflow pause", "POST /v1.0-beta1/workflows/dapr/1/pause", ""),
        ("workflow resume", "POST /v1.0-alpha1/workflows/dapr/1/resume", ""),
        ("workflow terminate", "POST /v1.0/workflows/dapr/1/terminate", ""),
        ("workflow purge", "POST /v1.0/workflows/dapr/1/purge", ""),
        ("job", "POST /v1.0-alpha1/jobs/j", r#"{"schedule": "@daily"}"#),
        ("job nothing", "POST /v1.0-alpha1/jobs/j", ""),
        ("job with a name", "POST /v1.0-alpha1/jobs/j", r#"{"name": "j", "schedule": "@daily"}"#),
        ("job no JSON", "POST /v1.0-alpha1/jobs/j", "nonsense"),
        ("job blank name", "POST /v1.0-alpha1/jobs/%20", r#"{"schedule": "@daily"}"#),
        ("job get", "GET /v1.0-alpha1/jobs/j", ""),
        ("job delete", "DELETE /v1.0-alpha1/jobs/j", ""),
    ] {
        ask.http(what, line, body).await;
    }
    actors(&mut ask).await;
    workflows_and_jobs(&mut ask).await;
    ask.done();
    sidecar.stop().await;
}

async fn actors(ask: &mut Ask<'_>) {
    let (actor_type, actor_id) = (String::from("t"), String::from("1"));
    let call = rt::InvokeActorRequest {
        actor_type: actor_type.clone(),
        actor_id: actor_id.clone(),
        method: "m".into(),
        ..Default::default()
    };
    ask.grpc("actor call", "InvokeActor", &call).await;
    let state = rt::GetActorStateRequest {
        actor_type: actor_type.clone(),
        actor_id: actor_id.clone(),
        key: "k".into(),
    };
    ask.grpc("actor state", "GetActorState", &state).await;
    let reserved = rt::GetActorStateRequest { actor_type: "dapr.internal.x".into(), ..state };
    ask.grpc("reserved actor state", "GetActorState", &reserved).await;
    let save = rt::ExecuteActorStateTransactionRequest {
        actor_type: actor_type.clone(),
        actor_id: actor_id.clone(),
        ..Default::default()
    };
    ask.grpc("actor transaction", "ExecuteActorStateTransaction", &save).await;
    let reminder = rt::RegisterActorReminderRequest {
        actor_type: actor_type.clone(),
        actor_id: actor_id.clone(),
        name: "r".into(),
        ..Default::default()
    };
    ask.grpc("actor reminder", "RegisterActorReminder", &reminder).await;
    ask.grpc(
        "actor reminder without a name",
        "RegisterActorReminder",
        &rt::RegisterActorReminderRequest { name: String::new(), ..reminder },
    )
    .await;
    let named = rt::GetActorReminderRequest {
        actor_type: actor_type.clone(),
        actor_id: actor_id.clone(),
        name: "r".into(),
    };
    ask.grpc("actor reminder get", "GetActorReminder", &named).await;
    // The same fields.
    ask.grpc("actor reminder delete", "UnregisterActorReminder", &named).await;
    ask.grpc("actor timer delete", "UnregisterActorTimer", &named).await;
    let timer = rt::RegisterActorTimerRequest {
        actor_type: actor_type.clone(),
        actor_id,
        name: "x".into(),
        ..Default::default()
    };
    ask.grpc("actor timer", "RegisterActorTimer", &timer).await;
    let list = rt::ListActorRemindersRequest { actor_type, ..Default::default() };
    ask.grpc("actor reminders", "ListActorReminders", &list).await;
    ask.grpc("actor reminders delete", "UnregisterActorRemindersByType", &list).await;
}

async fn workflows_and_jobs(ask: &mut Ask<'_>) {
    let start = |name: &str, id: &str| rt::StartWorkflowRequest {
        workflow_name: name.into(),
        instance_id: id.into(),
        workflow_component: "dapr".into(),
        ..Default::default()
    };
    for version in ["Alpha1", "Beta1"] {
        ask.grpc(&format!("workflow start {version}"), &format!("StartWorkflow{version}"), &start("w", "1"))
            .await;
        for call in ["Get", "Terminate", "Pause", "Resume", "Purge"] {
            // The ID has the same number in all of them.
            let request = rt::GetWorkflowRequest { instance_id: "1".into(), ..Default::default() };
            let what = format!("workflow {} {version}", call.to_lowercase());
            ask.grpc(&what, &format!("{call}Workflow{version}"), &request).await;
        }
        let event = rt::RaiseEventWorkflowRequest {
            instance_id: "1".into(),
            event_name: "e".into(),
            ..Default::default()
        };
        ask.grpc(&format!("workflow event {version}"), &format!("RaiseEventWorkflow{version}"), &event).await;
    }
    ask.grpc("workflow without a name", "StartWorkflowBeta1", &start("", "1")).await;
    ask.grpc("workflow with a wrong ID", "StartWorkflowBeta1", &start("w", "a$b")).await;
    ask.grpc("workflow with a long ID", "StartWorkflowBeta1", &start("w", &"a".repeat(65))).await;
    ask.grpc("workflow without an ID", "GetWorkflowBeta1", &rt::GetWorkflowRequest::default()).await;
    let job = |name: &str, schedule: Option<&str>| rt::ScheduleJobRequest {
        job: Some(rt::Job { name: name.into(), schedule: schedule.map(str::to_owned), ..Default::default() }),
        ..Default::default()
    };
    for version in ["", "Alpha1"] {
        let (schedule, get) = (format!("ScheduleJob{version}"), format!("GetJob{version}"));
        ask.grpc(&format!("job{version}"), &schedule, &job("j", Some("@daily"))).await;
        ask.grpc(&format!("job{version} nothing"), &schedule, &rt::ScheduleJobRequest::default()).await;
        ask.grpc(&format!("job{version} without a name"), &schedule, &job(" ", Some("@daily"))).await;
        ask.grpc(&format!("job{version} without a schedule"), &schedule, &job("j", None)).await;
        let named = rt::GetJobRequest { name: "j".into() };
        ask.grpc(&format!("job{version} get"), &get, &named).await;
        ask.grpc(&format!("job{version} delete"), &format!("DeleteJob{version}"), &named).await;
        ask.grpc(&format!("jobs{version} list"), &format!("ListJobs{version}"), &()).await;
        ask.grpc(&format!("jobs{version} delete"), &format!("DeleteJobsByPrefix{version}"), &()).await;
    }
}
