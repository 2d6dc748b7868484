//! Metrics of the authority (control-plane.md §3.7).

use dapr_security::expiry::Ends;
use dapr_security::rotation::Time;
use dapr_telemetry::metrics::{Counter, Family, Gauge, Registry, RegistryOptions};

/// One for the process: a reload keeps the counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    received: Counter,
    signed: Counter,
    failed: Counter,
    serving_failed: Counter,
    changed: Counter,
    expiry: Gauge,
    root_expiry: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::without_rules(RegistryOptions::default());
        let plain = |name: &str, help| registry.counter(name, help, &[]).with(&[]);
        let reasons: Family<Counter> = registry.counter(
            "sentry/cert/sign/failure_total",
            "Requests that got no certificate.",
            &["reason"],
        );
        let serving: Family<Counter> = registry.counter(
            "sentry/servercert/issue_failed_total",
            "Failures to issue the certificate of the authority's own server.",
            &["reason"],
        );
        let expiry = registry.gauge(
            "sentry/issuercert/expiry_timestamp",
            "Unix time in seconds at which the issuer certificate ends.",
            &[],
        );
        // Dapr has no such metric.
        let root_expiry = registry.gauge(
            "sentry/rootcert/expiry_timestamp",
            "Unix time in seconds at which the root certificate above the issuer ends.",
            &[],
        );
        Self {
            received: plain("sentry/cert/sign/request_received_total", "Requests for certificates."),
            signed: plain("sentry/cert/sign/success_total", "Certificates issued."),
            failed: reasons.with(&["sign"]),
            serving_failed: serving.with(&[""]),
            changed: plain("sentry/issuercert/changed_total", "Changes of the issuer's certificate or key."),
            expiry: expiry.with(&[]),
            root_expiry: root_expiry.with(&[]),
            registry,
        }
    }

    pub fn render(&self) -> String {
        self.registry.render()
    }

    pub fn request_received(&self) {
        self.received.increment();
    }

    pub fn request_signed(&self) {
        self.signed.increment();
    }

    pub fn request_failed(&self) {
        self.failed.increment();
    }

    pub fn serving_certificate_failed(&self) {
        self.serving_failed.increment();
    }

    pub fn issuer_changed(&self) {
        self.changed.increment();
    }

    pub fn certificates_end(&self, ends: Ends) {
        let seconds = |at: Time| i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
        self.expiry.set(seconds(ends.issuer));
        self.root_expiry.set(seconds(ends.root));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_dapr() {
        let metrics = Metrics::new();
        metrics.request_received();
        metrics.request_failed();
        let end = Time::from_seconds;
        metrics.certificates_end(Ends { issuer: end(1_700_000_000), root: end(1_800_000_000) });
        let text = metrics.render();
        let value = |line: &str| text.lines().any(|l| l == line);
        assert!(value("dapr_sentry_cert_sign_request_received_total 1"), "{text}");
        assert!(value("dapr_sentry_cert_sign_failure_total{reason=\"sign\"} 1"), "{text}");
        let expiry =
            text.lines().find(|l| l.starts_with("dapr_sentry_issuercert_expiry_timestamp ")).unwrap();
        assert_eq!(expiry.split(' ').nth(1).unwrap().parse::<f64>().unwrap(), 1.7e9);
        assert!(text.lines().any(|l| l.starts_with("dapr_sentry_rootcert_expiry_timestamp 1.8e")), "{text}");
        assert!(!text.contains("success_total"), "nothing before it is recorded");
    }
}
