//! Makes spans.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::context::{SpanId, TraceContext, TraceId};
use super::queue::SpanQueue;
use super::sampler::Sampler;
use super::span::{Attributes, Recording, Span, SpanData, SpanKind, SpanLimits};

const SAMPLED: u8 = 1;

/// Where spans come from. Cloning shares it. The default is
/// [`Tracer::pass_through`].
#[derive(Clone, Debug, Default)]
pub struct Tracer(Mode);

#[derive(Clone, Debug, Default)]
enum Mode {
    Off,
    #[default]
    PassThrough,
    Active(Active),
}

#[derive(Clone, Debug)]
struct Active {
    sampler: Sampler,
    queues: Arc<[Arc<SpanQueue>]>,
    limits: SpanLimits,
}

impl Tracer {
    /// `samplingRate: "0"`: no spans, and no trace headers but those that
    /// callers send.
    pub fn off() -> Self {
        Self(Mode::Off)
    }

    /// Neither a rate nor an exporter: no spans. Contexts of callers are
    /// passed on, and where there is none, the zero context is written.
    pub fn pass_through() -> Self {
        Self(Mode::PassThrough)
    }

    /// Spans for every request. Those that are sampled go to all queues;
    /// without any, only their ids travel.
    pub fn active(sampler: Sampler, queues: Vec<Arc<SpanQueue>>) -> Self {
        Self(Mode::Active(Active { sampler, queues: queues.into(), limits: SpanLimits::default() }))
    }

    /// The same with other limits of attributes.
    #[must_use]
    pub fn limited(mut self, limits: SpanLimits) -> Self {
        if let Mode::Active(active) = &mut self.0 {
            active.limits = limits;
        }
        self
    }

    pub fn is_off(&self) -> bool {
        matches!(self.0, Mode::Off)
    }

    /// Whether spans are made.
    pub fn is_active(&self) -> bool {
        matches!(self.0, Mode::Active(_))
    }

    /// Begins a span below `parent`, or a trace without a valid one. `name` is
    /// asked for only if the span is recorded.
    pub fn start(
        &self,
        kind: SpanKind,
        parent: Option<&TraceContext>,
        name: impl FnOnce() -> String,
    ) -> Span {
        let Mode::Active(active) = &self.0 else { return Span::none() };
        let parent = parent.filter(|p| p.is_valid());
        let trace_id = parent.map_or_else(new_trace_id, |p| p.trace_id);
        let sampled = active.sampler.samples(trace_id, parent);
        let flags = parent.map_or(0, |p| p.flags & !SAMPLED) | if sampled { SAMPLED } else { 0 };
        let context = TraceContext {
            trace_id,
            span_id: new_span_id(),
            flags,
            state: parent.map(|p| p.state.clone()).unwrap_or_default(),
        };
        if !sampled || active.queues.is_empty() {
            return Span::new(context, None);
        }
        let data = SpanData {
            name: name(),
            kind,
            context: context.clone(),
            parent: parent.map(|p| p.span_id).unwrap_or_default(),
            start: SystemTime::now(),
            attributes: Attributes::with_usual_room(&active.limits),
            ..SpanData::default()
        };
        let recording =
            Recording { data, started: Instant::now(), queues: active.queues.clone(), limits: active.limits };
        Span::new(context, Some(Box::new(recording)))
    }
}

/// Never all zero.
fn new_trace_id() -> TraceId {
    TraceId(fastrand::u128(1..).to_be_bytes())
}

fn new_span_id() -> SpanId {
    SpanId(fastrand::u64(1..).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::queue::BatchLimits;
    use super::*;

    fn tracer(rate: f64) -> (Tracer, Arc<SpanQueue>) {
        let queue = Arc::new(SpanQueue::new(BatchLimits::default(), None));
        (Tracer::active(Sampler::new(rate), vec![queue.clone()]), queue)
    }

    #[test]
    fn a_sampled_span_is_recorded_below_its_parent() {
        let (tracer, queue) = tracer(1.0);
        let mut root = tracer.start(SpanKind::Client, None, || "root".to_owned());
        root.set("a", "1");
        root.set("empty", "");
        root.http_status(404);
        let child = tracer.start(SpanKind::Server, root.context(), || "child".to_owned());
        drop(child);
        drop(root);
        let spans = queue.take();
        assert_eq!((spans[0].name.as_str(), spans[1].name.as_str()), ("child", "root"));
        assert_eq!(spans[0].parent, spans[1].context.span_id);
        assert_eq!(spans[0].context.trace_id, spans[1].context.trace_id);
        assert_eq!(spans[1].parent, SpanId::default());
        assert_eq!(spans[1].attributes, Attributes::from_iter([("a", "1")]));
        assert_eq!(spans[1].error.as_deref(), Some("Code(404): Not Found"));
        assert!(spans[1].end >= spans[1].start);
    }

    #[test]
    fn attributes_have_limits() {
        let (tracer, queue) = tracer(1.0);
        let tracer = tracer.limited(SpanLimits { attributes: 1, value: Some(2) });
        let mut span = tracer.start(SpanKind::Client, None, || "s".to_owned());
        span.set("a", "äbc");
        span.set("b", "x");
        drop(span);
        let span = &queue.take()[0];
        assert_eq!((&span.attributes, span.dropped), (&Attributes::from_iter([("a", "äb")]), 1));
    }

    #[test]
    fn an_unsampled_span_has_an_id_and_nothing_else() {
        let (tracer, queue) = tracer(0.0);
        let span = tracer.start(SpanKind::Client, None, || panic!("the name is not needed"));
        assert!(!span.is_recording() && span.context().unwrap().is_valid());
        assert!(!span.context().unwrap().is_sampled());
        drop(span);
        assert!(queue.take().is_empty());
    }

    #[test]
    fn the_callers_decision_counts() {
        let (tracer, queue) = tracer(0.0);
        let parent =
            TraceContext::parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03")
                .unwrap();
        let span = tracer.start(SpanKind::Client, Some(&parent), || "s".to_owned());
        assert_eq!(span.context().unwrap().flags, 3);
        drop(span);
        assert_eq!(queue.take()[0].parent, parent.span_id);
    }

    #[test]
    fn without_tracing_there_is_no_span() {
        for tracer in [Tracer::off(), Tracer::pass_through()] {
            let span = tracer.start(SpanKind::Client, None, || panic!("not needed"));
            assert!(span.context().is_none());
        }
    }
}
