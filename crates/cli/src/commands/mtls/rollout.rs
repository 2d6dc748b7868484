//! Restarting the services of the control plane so that they use new
//! certificates at once.

use std::time::{Duration, SystemTime};

use dapr_gocompat::time::rfc3339;
use dapr_kubernetes::Client;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::context::Context;

/// As they are shown, and where they are.
const SERVICES: [(&str, &str); 4] = [
    ("deploy/dapr-sentry", "deployments/dapr-sentry"),
    ("deploy/dapr-sidecar-injector", "deployments/dapr-sidecar-injector"),
    ("deploy/dapr-operator", "deployments/dapr-operator"),
    ("statefulsets/dapr-placement-server", "statefulsets/dapr-placement-server"),
];
/// What `kubectl rollout restart` sets, so that both tools see one thing.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
const POLL: Duration = Duration::from_secs(1);

/// Restarts all and waits until they run again, for `limit` at most.
pub(super) async fn restart(
    context: &Context,
    client: &Client,
    namespace: &str,
    limit: Duration,
) -> Result<(), String> {
    let path = |service: &str| format!("/apis/apps/v1/namespaces/{namespace}/{service}");
    let deadline = Instant::now() + limit;
    let mut failures = Vec::new();
    let mut started = Vec::new();
    for (name, service) in SERVICES {
        context.say.info(format!("Restarting {name}.."));
        match begin(client, &path(service)).await {
            Ok(()) => started.push((name, path(service))),
            Err(e) => failures.push(format!("error in restarting deployment {name}. Error is {e}")),
        }
    }
    for (name, path) in started {
        if let Err(e) = finish(client, &path, deadline).await {
            failures.push(format!("error in checking status for deployment {name}. Error is {e}"));
        }
    }
    if !failures.is_empty() {
        return Err(failures.join("\n"));
    }
    context.say.success("All control plane services have restarted successfully!");
    Ok(())
}

async fn begin(client: &Client, path: &str) -> Result<(), String> {
    let mut workload: Value = client.get(path).await.map_err(|e| e.to_string())?;
    stamp(&mut workload, &rfc3339(SystemTime::now()));
    let answer: Result<Value, _> = client.put(path, &workload).await;
    answer.map(drop).map_err(|e| e.to_string())
}

fn stamp(workload: &mut Value, time: &str) {
    let metadata = &mut workload["spec"]["template"]["metadata"];
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    metadata["annotations"][RESTARTED_AT] = time.into();
}

async fn finish(client: &Client, path: &str, deadline: Instant) -> Result<(), String> {
    loop {
        let workload: Value = client.get(path).await.map_err(|e| e.to_string())?;
        if is_rolled_out(&workload) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err("timed out waiting for it".to_owned());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether every replica is of the newest template and ready.
fn is_rolled_out(workload: &Value) -> bool {
    let (status, number) = (&workload["status"], |value: &Value| value.as_i64().unwrap_or(0));
    let wanted = workload["spec"]["replicas"].as_i64().unwrap_or(1);
    number(&status["observedGeneration"]) >= number(&workload["metadata"]["generation"])
        && number(&status["updatedReplicas"]) >= wanted
        && number(&status["readyReplicas"]) >= wanted
        && number(&status["replicas"]) <= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_changes_an_annotation_of_the_template_alone() {
        let mut workload =
            json!({"spec": {"replicas": 3, "template": {"metadata": {"annotations": {"a": "b"}}}}});
        stamp(&mut workload, "now");
        let annotations = json!({"a": "b", RESTARTED_AT: "now"});
        assert_eq!(
            workload,
            json!({"spec": {"replicas": 3, "template": {"metadata": {"annotations": annotations}}}})
        );
        let mut bare = json!({"spec": {"template": {"metadata": null}}});
        stamp(&mut bare, "now");
        assert_eq!(bare["spec"]["template"]["metadata"]["annotations"], json!({RESTARTED_AT: "now"}));
    }

    #[test]
    fn all_replicas_have_to_be_new_and_ready() {
        let workload = |generation, updated, ready, all| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {
                "observedGeneration": generation, "updatedReplicas": updated, "readyReplicas": ready, "replicas": all}})
        };
        assert!(is_rolled_out(&workload(2, 2, 2, 2)));
        for waiting in
            [workload(1, 2, 2, 2), workload(2, 1, 2, 2), workload(2, 2, 1, 2), workload(2, 2, 2, 3)]
        {
            assert!(!is_rolled_out(&waiting), "{waiting}");
        }
    }
}
