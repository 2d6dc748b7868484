use super::*;
use crate::explain::{Origin, Target};
use dapr_resources::{Resiliency, Resource};
use serde_json::{Value, json};

fn policies(spec: Value) -> Policies {
    let mut builder = PoliciesBuilder::new();
    builder
        .add(&Resiliency::from_json(&json!({"metadata": {"name": "res"}, "spec": spec})).unwrap())
        .unwrap();
    builder.build()
}

fn full() -> Policies {
    policies(json!({
        "policies": {
            "timeouts": {"t": "5s", "DefaultTimeoutPolicy": "1s", "DefaultAppTimeoutPolicy": "2s",
                "DefaultStatestoreComponentOutboundTimeoutPolicy": "3s", "DefaultComponentTimeoutPolicy": "4s"},
            "retries": {"r": {}},
            "circuitBreakers": {"c": {}},
        },
        "targets": {
            "apps": {"a": {"timeout": "t", "retry": "r", "circuitBreaker": "c", "circuitBreakerCacheSize": 2},
                "bare": {}, "typo": {"retry": "nothere"}},
            "actors": {"ty": {"timeout": "t", "circuitBreaker": "c", "circuitBreakerScope": "type"},
                "each": {"retry": "r", "circuitBreaker": "c", "circuitBreakerScope": "both"}},
            "components": {"s": {"inbound": {"circuitBreaker": "c"}, "outbound": {"circuitBreaker": "c", "retry": "r"}}},
        }
    }))
}

fn same(a: &Policy, b: &Policy) -> bool {
    Arc::ptr_eq(a.breaker().unwrap(), b.breaker().unwrap())
}

#[test]
fn nothing_configured_resolves_to_the_absent_policy() {
    let p = Policies::default();
    assert!(p.app_method("a", "m").is_none() && p.http_endpoint("a", "m").is_none());
    assert!(p.actor_pre_lock("t", "1").is_none() && p.actor_post_lock("t", "1").is_none());
    assert!(p.component("s", Kind::Statestore, Direction::Outbound).is_none());
    assert!(!p.has_app("a"));
}

#[test]
fn builtins_exist_without_resources() {
    let p = Policies::default();
    let max = |b| p.builtin(b).retry().unwrap().max_retries;
    assert_eq!(max(Builtin::ServiceRetries), Some(3));
    assert_eq!(max(Builtin::ActorNotFoundRetries), Some(5));
    assert!(!p.builtin(Builtin::ActorReminderRetries).has_retries());
    assert_eq!(p.builtin(Builtin::InitializationRetries).name(), "DaprBuiltInInitializationRetries");
}

#[test]
fn a_named_target_suppresses_every_default() {
    let p = full();
    assert!(p.app_method("bare", "m").is_none());
    assert!(p.app_method("typo", "m").is_none());
    assert!(p.has_app("bare"));
    assert_eq!(p.app_method("other", "m").timeout(), Some(Duration::from_secs(2)));
    assert!(p.component("s", Kind::Statestore, Direction::Outbound).timeout().is_none());
}

#[test]
fn defaults_go_from_the_most_specific_to_the_general() {
    let p = full();
    let t = |kind, d| p.component("x", kind, d).timeout().unwrap().as_secs();
    assert_eq!(t(Kind::Statestore, Direction::Outbound), 3);
    assert_eq!(t(Kind::Statestore, Direction::Inbound), 4);
    assert_eq!(t(Kind::Pubsub, Direction::Outbound), 4);
    assert_eq!(p.actor_post_lock("x", "1").timeout(), Some(Duration::from_secs(1)));
}

#[test]
fn app_breakers_are_per_method_and_bounded() {
    let p = full();
    let first = p.app_method("a", "m");
    assert_eq!(first.breaker().unwrap().name(), "a:m");
    assert_eq!(first.name(), "endpoint[a, a:m]");
    assert!(same(&first, &p.app_method("a", "m")));
    assert!(!same(&first, &p.app_method("a", "n")));
    assert!(!same(&first, &p.http_endpoint("a", "m")));
    assert!(!same(&first, &p.app_method("a", "m")), "two others pushed it out");
}

#[test]
fn default_app_breakers_are_kept_too() {
    let p = policies(json!({"policies": {"circuitBreakers": {"DefaultAppCircuitBreakerPolicy": {}}}}));
    assert!(same(&p.app_method("a", "m"), &p.app_method("a", "m")));
    assert!(!same(&p.app_method("a", "m"), &p.app_method("b", "m")));
}

#[test]
fn actor_policies_split_at_the_lock() {
    let p = full();
    let (pre, post) = (p.actor_pre_lock("ty", "1"), p.actor_post_lock("ty", "1"));
    assert!(pre.timeout().is_none() && pre.breaker().is_some());
    assert!(post.breaker().is_none() && post.timeout() == Some(Duration::from_secs(5)));
    assert!(p.actor_post_lock("each", "1").is_none());
}

#[test]
fn actor_breaker_scope_decides_what_is_shared() {
    let p = full();
    assert!(same(&p.actor_pre_lock("ty", "1"), &p.actor_pre_lock("ty", "2")));
    assert!(!same(&p.actor_pre_lock("each", "1"), &p.actor_pre_lock("each", "2")));
    assert_eq!(p.actor_pre_lock("each", "1").breaker().unwrap().name(), "each-1");
}

#[test]
fn one_breaker_per_component_for_both_directions() {
    let p = full();
    let (i, o) = (
        p.component("s", Kind::Pubsub, Direction::Inbound),
        p.component("s", Kind::Pubsub, Direction::Outbound),
    );
    assert!(same(&i, &o));
    assert_eq!(o.breaker().unwrap().name(), "c-s");
    assert_eq!((i.name(), o.name()), ("component[s] input", "component[s] output"));
}

#[test]
fn explanations_say_why() {
    let p = full();
    let e = p.explain(Target::App("a".into()));
    assert!(e.choices.iter().all(|c| c.origin == Origin::Named));
    assert_eq!(
        p.explain(Target::App("typo".into())).to_string(),
        "app typo:\n  \
         timeout: none (the target is listed without one, so defaults do not apply)\n  \
         retry: none (the target names nothere, which does not exist)\n  \
         circuitbreaker: none (the target is listed without one, so defaults do not apply)"
    );
    let target =
        Target::Component { name: "x".into(), kind: Kind::Statestore, direction: Direction::Outbound };
    assert_eq!(
        p.explain(target).to_string(),
        "Statestore component x (outbound):\n  \
         timeout: 3s (DefaultStatestoreComponentOutboundTimeoutPolicy, a default)\n  \
         retry: none (the target is not listed and there is no default)\n  \
         circuitbreaker: none (the target is not listed and there is no default)"
    );
    assert_eq!(
        p.explain(Target::Builtin(Builtin::ServiceRetries)).to_string(),
        "DaprBuiltInServiceRetries:\n  retry: every 1s, 3 times (built in)"
    );
}
