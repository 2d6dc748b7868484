//! Spans as lines of the log.

use std::sync::Arc;
use std::time::SystemTime;

use dapr_telemetry::trace::SpanData;

use crate::collector::SendError;
use crate::worker::{Export, SCOPE};

pub struct Stdout;

impl Export for Stdout {
    fn name(&self) -> &'static str {
        "the log"
    }

    async fn export(&self, spans: &[Arc<SpanData>]) -> Result<(), SendError> {
        for span in spans {
            tracing::info!(target: SCOPE, "{}", line(span));
        }
        Ok(())
    }
}

fn line(span: &SpanData) -> String {
    format!(
        "[{}] Trace: {} Span: {}/{} Time: [{} ->  {}] Annotations: []",
        span.name,
        span.context.trace_id,
        span.parent,
        span.context.span_id,
        time(span.start),
        time(span.end)
    )
}

/// As Go prints a time.
fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at)
        .map(|t| t.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_line_has_daprs_form() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        let span = SpanData { name: "n".to_owned(), start, end: start, ..SpanData::default() };
        assert_eq!(
            line(&span),
            "[n] Trace: 00000000000000000000000000000000 Span: 0000000000000000/0000000000000000 Time: [1970-01-01 00:00:01.5 +0000 UTC ->  1970-01-01 00:00:01.5 +0000 UTC] Annotations: []"
        );
    }
}
