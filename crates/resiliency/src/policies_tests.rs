use super::*;
use crate::core::GiveUp;
use dapr_resources::Resource;
use serde_json::json;

fn resource(spec: serde_json::Value) -> Resiliency {
    Resiliency::from_json(&json!({"metadata": {"name": "res"}, "spec": spec})).unwrap()
}

fn error(spec: serde_json::Value) -> String {
    PoliciesBuilder::new().add(&resource(spec)).unwrap_err().to_string()
}

fn tables(spec: serde_json::Value) -> Tables {
    let mut builder = PoliciesBuilder::new();
    builder.add(&resource(spec)).unwrap();
    builder.tables
}

#[test]
fn bare_integers_are_milliseconds() {
    let t = tables(json!({"policies": {
        "timeouts": {"a": 250, "b": "1m", "c": "-5s"},
        "retries": {"r": {"duration": "100"}},
    }}));
    assert_eq!(t.timeouts["a"], Duration::from_millis(250));
    assert_eq!(t.timeouts["b"], Duration::from_secs(60));
    assert_eq!(t.timeouts["c"], Duration::ZERO);
    assert_eq!(t.retries["r"].backoff, Backoff::Constant(Duration::from_millis(100)));
}

#[test]
fn retry_defaults() {
    let t = tables(
        json!({"policies": {"retries": {"c": {}, "e": {"policy": "Exponential", "maxRetries": -1}, "z": {"maxRetries": 0}}}}),
    );
    assert_eq!(*t.retries["c"], RetryConfig::constant(Duration::from_secs(5), None));
    assert_eq!(*t.retries["e"], RetryConfig::exponential(Duration::from_secs(60), None));
    assert_eq!(t.retries["z"].max_retries, Some(0));
}

#[test]
fn errors_read_as_users_know_them() {
    assert_eq!(
        error(json!({"policies": {"timeouts": {"t": "5x"}}})),
        "invalid duration \"t\", 5x: time: unknown unit \"x\" in duration \"5x\""
    );
    assert_eq!(
        error(json!({"policies": {"retries": {"r": {"policy": "linear", "duration": "soon"}}}})),
        "invalid retry configuration \"r\": 2 error(s) decoding:\n\n\
         * error decoding 'duration': invalid duration \"soon\"\n\
         * error decoding 'policy': invalid PolicyType \"linear\": unexpected back off policy type: linear"
    );
    assert!(error(json!({"policies": {"circuitBreakers": {"c": {"trip": "1 +"}}}})).starts_with(
        "invalid retry configuration \"c\": 1 error(s) decoding:\n\n* error decoding 'trip': invalid Expr \"1 +\": "
    ));
    assert_eq!(
        error(json!({"policies": {"retries": {"r": {"matching": {"httpStatusCodes": "99"}}}}})),
        "invalid pattern 99, start code 99 is not valid"
    );
    assert_eq!(
        error(json!({"targets": {"actors": {"a": {"circuitBreaker": "c"}}}})),
        "actor circuit breakers must include scope"
    );
    assert_eq!(
        error(json!({"targets": {"actors": {"a": {"circuitBreaker": "c", "circuitBreakerScope": "x"}}}})),
        "unknown circuit breaker scope \"x\""
    );
}

#[test]
fn a_scope_without_a_breaker_is_not_looked_at() {
    tables(json!({"targets": {"actors": {"a": {"circuitBreakerScope": "x"}}}}));
}

#[test]
fn an_invalid_resource_leaves_no_trace_in_the_tables() {
    let mut builder = PoliciesBuilder::new();
    let bad = json!({"policies": {"timeouts": {"good": "1s"}}, "targets": {"actors": {"a": {"circuitBreaker": "c"}}}});
    builder.add(&resource(bad)).unwrap_err();
    assert!(builder.tables.timeouts.is_empty());
    builder.load(&resource(json!({"policies": {"timeouts": {"t": "x"}}})));
    builder.add(&resource(json!({"policies": {"timeouts": {"next": "1s"}}}))).unwrap();
    assert_eq!(builder.tables.timeouts.len(), 1);
}

#[test]
fn later_resources_overwrite_the_same_names() {
    let mut builder = PoliciesBuilder::new();
    builder.add(&resource(json!({"policies": {"timeouts": {"a": "1s", "b": "1s"}}}))).unwrap();
    builder.add(&resource(json!({"policies": {"timeouts": {"a": "2s"}}}))).unwrap();
    assert_eq!(builder.tables.timeouts["a"], Duration::from_secs(2));
    assert_eq!(builder.tables.timeouts["b"], Duration::from_secs(1));
}

#[test]
fn builtins_are_never_below_three_retries() {
    for given in [-1, 0, 2] {
        let name = "DaprBuiltInServiceRetries";
        let mut builder = PoliciesBuilder::new();
        let spec = json!({"policies": {"retries": {name: {"duration": "10ms", "maxRetries": given}}}});
        assert_eq!(builder.add(&resource(spec)).unwrap(), [Warning::TooFewRetries(name.to_owned())]);
        assert_eq!(*builder.tables.retries[name], RetryConfig::constant(Duration::from_millis(10), Some(3)));
    }
}

#[test]
fn actor_not_found_retries_cannot_be_overridden() {
    let name = "DaprBuiltInActorNotFoundRetries";
    let mut builder = PoliciesBuilder::new();
    let warnings =
        builder.add(&resource(json!({"policies": {"retries": {name: {"maxRetries": 9}}}}))).unwrap();
    assert_eq!(warnings, [Warning::Protected(name.to_owned())]);
    assert_eq!(builder.tables.retries[name].max_retries, Some(5));
}

#[test]
fn reminder_retries_ship_with_none() {
    let config = builtin_retry(Builtin::ActorReminderRetries);
    let now = std::time::Instant::now();
    let failure = crate::core::Failure { retriable: true, status: None };
    assert_eq!(
        crate::core::Retry::new(&config, now).step(now, failure, 0.5),
        crate::core::Decision::GiveUp(GiveUp::Exhausted)
    );
}
