//! `middleware.http.sentinel`: limits flow, concurrency and the share of slow
//! answers, by method and path.

mod breaker;
mod flow;
mod rules;
mod system;
mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dapr_components::middleware::{Answer, HttpMiddleware, Next, refuse};
use dapr_components::{InitContext, InitError};
use dapr_transport::Body;
use http::{Request, StatusCode};
use parking_lot::Mutex;

use crate::uri::decoded_path;
use breaker::{Breaker, Passage};
use flow::{Flow, Verdict};
use rules::{IsolationRule, Rules, SystemRule};
use system::{Host, Inbound};

pub struct Sentinel {
    shared: Arc<Shared>,
}

struct Shared {
    started: Instant,
    host: Host,
    guards: Mutex<Guards>,
}

struct Guards {
    system: Vec<SystemRule>,
    inbound: Inbound,
    flow: Vec<Flow>,
    /// With the number of requests under way.
    isolation: Vec<(IsolationRule, u64)>,
    breakers: Vec<Breaker>,
}

impl Sentinel {
    pub fn new(context: &InitContext) -> Result<Self, InitError> {
        let Rules { flow, isolation, breakers, system } = Rules::read(&context.properties)?;
        let guards = Guards {
            system,
            inbound: Inbound::default(),
            flow: flow.into_iter().map(Flow::new).collect(),
            isolation: isolation.into_iter().map(|rule| (rule, 0)).collect(),
            breakers: breakers.into_iter().map(Breaker::new).collect(),
        };
        let shared = Shared { started: Instant::now(), host: Host::default(), guards: Mutex::new(guards) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Lets a request in, maybe after a while; `None` refuses it.
    async fn enter(&self, resource: String) -> Option<Entry> {
        let now = self.shared.started.elapsed();
        let wait = self.shared.guards.lock().enter(&resource, now, &self.shared.host)?;
        let entry = Entry { shared: self.shared.clone(), resource, since: Instant::now() };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Some(entry)
    }
}

impl Guards {
    /// How long the request has to wait; `None` refuses it.
    fn enter(&mut self, resource: &str, now: Duration, host: &Host) -> Option<Duration> {
        let now_ms = now.as_millis() as u64;
        if !self.system.iter().all(|rule| self.inbound.allows(rule, host, now_ms)) {
            return None;
        }
        let mut wait = Duration::ZERO;
        for flow in self.flow.iter_mut().filter(|f| f.guarded() == resource) {
            match flow.check(now, host) {
                Verdict::Pass => {}
                Verdict::Wait(time) => wait = wait.max(time),
                Verdict::Refuse => return None,
            }
        }
        let full = |(rule, under_way): &(IsolationRule, u64)| {
            rule.resource == resource && *under_way >= u64::from(rule.threshold)
        };
        if self.isolation.iter().any(full) || !self.breakers_allow(resource, now_ms) {
            return None;
        }
        for flow in self.flow.iter_mut().filter(|f| f.counted() == resource) {
            flow.passed(now_ms);
        }
        for (_, under_way) in self.isolation.iter_mut().filter(|(rule, _)| rule.resource == resource) {
            *under_way += 1;
        }
        self.inbound.concurrency += 1;
        self.inbound.window.current(now_ms).passed += 1;
        Some(wait)
    }

    fn breakers_allow(&mut self, resource: &str, now: u64) -> bool {
        let mut probing = Vec::new();
        for (at, breaker) in self.breakers.iter_mut().enumerate().filter(|(_, b)| b.resource() == resource) {
            match breaker.ask(now) {
                Passage::Free => {}
                Passage::Probe => probing.push(at),
                Passage::Barred => {
                    for at in probing {
                        self.breakers[at].take_back(now);
                    }
                    return false;
                }
            }
        }
        true
    }

    fn leave(&mut self, resource: &str, now: u64, took: u64) {
        for (_, under_way) in self.isolation.iter_mut().filter(|(rule, _)| rule.resource == resource) {
            *under_way = under_way.saturating_sub(1);
        }
        for breaker in self.breakers.iter_mut().filter(|b| b.resource() == resource) {
            breaker.answered(now, took);
        }
        self.inbound.concurrency = self.inbound.concurrency.saturating_sub(1);
        let counts = self.inbound.window.current(now);
        counts.completed += 1;
        counts.took += took;
        counts.fastest = counts.fastest.min(took);
    }
}

/// A request under way, until its answer was read.
struct Entry {
    shared: Arc<Shared>,
    resource: String,
    since: Instant,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let now = self.shared.started.elapsed().as_millis() as u64;
        let took = self.since.elapsed().as_millis() as u64;
        self.shared.guards.lock().leave(&self.resource, now, took);
    }
}

#[async_trait]
impl HttpMiddleware for Sentinel {
    async fn handle(&self, request: Request<Body>, next: Next<'_>) -> Answer {
        let resource = format!("{}:{}", request.method(), decoded_path(request.uri()));
        let Some(entry) = self.enter(resource).await else {
            return Ok(refuse(StatusCode::TOO_MANY_REQUESTS));
        };
        Ok(next.run(request).await?.map(|body| body.guarded(entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{End, context, get, send_to, text};

    fn made(properties: &[(&str, &str)]) -> Arc<dyn HttpMiddleware> {
        Arc::new(Sentinel::new(&context(properties)).unwrap())
    }

    #[tokio::test]
    async fn what_is_too_much_for_a_resource_is_refused() {
        let rules = r#"[{"resource": "GET:/a b", "threshold": 2, "statIntervalInMs": 60000}]"#;
        let (sentinel, end) = (made(&[("appName", "x"), ("flowRules", rules)]), End::default());
        for _ in 0..2 {
            assert_eq!(send_to(&sentinel, &end, get("/a%20b?x=1")).await.status(), 200);
        }
        let refused = send_to(&sentinel, &end, get("/a%20b")).await;
        assert_eq!((refused.status().as_u16(), text(refused).await), (429, "Too Many Requests".to_owned()));
        assert_eq!(send_to(&sentinel, &end, get("/other")).await.status(), 200);
    }

    #[tokio::test]
    async fn a_request_is_under_way_until_its_answer_was_read() {
        let rules = r#"[{"resource": "GET:/a", "threshold": 1}]"#;
        let (sentinel, end) = (made(&[("isolationRules", rules)]), End::default());
        let body = || get("/a").map(|_| Body::from("text"));
        let open = send_to(&sentinel, &end, body()).await;
        assert_eq!(send_to(&sentinel, &end, body()).await.status(), 429);
        assert_eq!(text(open).await, "text");
        assert_eq!(send_to(&sentinel, &end, body()).await.status(), 200);
    }

    #[tokio::test]
    async fn another_resource_may_be_what_counts() {
        let rules = r#"[{"resource": "GET:/a", "relationStrategy": 1, "refResource": "GET:/b",
            "threshold": 1, "statIntervalInMs": 60000}]"#;
        let (sentinel, end) = (made(&[("flowRules", rules)]), End::default());
        assert_eq!(send_to(&sentinel, &end, get("/a")).await.status(), 200);
        assert_eq!(send_to(&sentinel, &end, get("/a")).await.status(), 200);
        assert_eq!(send_to(&sentinel, &end, get("/b")).await.status(), 200);
        assert_eq!(send_to(&sentinel, &end, get("/a")).await.status(), 429);
    }

    #[test]
    fn rules_must_be_json_and_senseless_ones_are_left_out() {
        let error = |p: &[(&str, &str)]| Sentinel::new(&context(p)).err().unwrap().to_string();
        for (property, kind) in [
            ("flowRules", "flow"),
            ("isolationRules", "isolation"),
            ("circuitBreakerRules", "circuit breaker"),
            ("hotSpotParamRules", "hotspot param"),
            ("systemRules", "system"),
        ] {
            let text = error(&[(property, "{}")]);
            assert!(text.starts_with(&format!("fail to load sentinel {kind} rules '{{}}': ")), "{text}");
        }
        let senseless =
            made_guards(r#"[{"resource": "", "threshold": 1}, {"resource": "x", "threshold": -1}]"#);
        assert_eq!(senseless, 0);
    }

    fn made_guards(rules: &str) -> usize {
        let sentinel = Sentinel::new(&context(&[("flowRules", rules)])).unwrap();
        let guards = sentinel.shared.guards.lock();
        guards.flow.len()
    }
}
