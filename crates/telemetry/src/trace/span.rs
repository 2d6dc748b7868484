//! One piece of work in a trace.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderMap;

use super::context::{SpanId, TraceContext};
use super::headers;
use super::queue::SpanQueue;

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpanKind {
    #[default]
    Client,
    Server,
    Producer,
}

pub type Attribute = (Cow<'static, str>, String);

/// What a span holds of the attributes it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLimits {
    pub attributes: usize,
    /// In characters; what is longer is cut. `None` for no limit.
    pub value: Option<usize>,
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self { attributes: 128, value: None }
    }
}

impl SpanLimits {
    fn cut(&self, mut value: String) -> String {
        if let Some((end, _)) = self.value.and_then(|limit| value.char_indices().nth(limit)) {
            value.truncate(end);
        }
        value
    }
}

/// A finished span, as exporters get it.
#[derive(Clone, Debug)]
pub struct SpanData {
    pub name: String,
    pub kind: SpanKind,
    pub context: TraceContext,
    /// All zero for the first span of a trace.
    pub parent: SpanId,
    pub start: SystemTime,
    pub end: SystemTime,
    pub attributes: Vec<Attribute>,
    /// Attributes that found no room.
    pub dropped: u32,
    /// Why the work failed; `None` when it did not.
    pub error: Option<String>,
}

impl Default for SpanData {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: SpanKind::default(),
            context: TraceContext::default(),
            parent: SpanId::default(),
            start: SystemTime::UNIX_EPOCH,
            end: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            dropped: 0,
            error: None,
        }
    }
}

/// Work under way. It ends, and is exported if it is sampled, when it is
/// dropped. Without tracing it is empty and costs nothing.
#[derive(Debug, Default)]
pub struct Span {
    context: Option<TraceContext>,
    recording: Option<Box<Recording>>,
}

#[derive(Debug)]
pub(super) struct Recording {
    pub data: SpanData,
    pub started: Instant,
    pub queues: Arc<[Arc<SpanQueue>]>,
    pub limits: SpanLimits,
}

impl Span {
    pub(super) fn new(context: TraceContext, recording: Option<Box<Recording>>) -> Self {
        Self { context: Some(context), recording }
    }

    /// A span that is none.
    pub fn none() -> Self {
        Self::default()
    }

    /// The context that work below this belongs to; `None` when no span was
    /// made and the caller's context, if any, is passed on as it came.
    pub fn context(&self) -> Option<&TraceContext> {
        self.context.as_ref()
    }

    /// Whether attributes will be seen by anyone: compute them only then.
    pub fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    pub fn rename(&mut self, name: String) {
        if let Some(recording) = &mut self.recording {
            recording.data.name = name;
        }
    }

    /// Empty values, and attributes beyond the limit, are left out.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        if let Some(recording) = &mut self.recording {
            let value = value.into();
            if value.is_empty() {
                return;
            }
            let (data, limits) = (&mut recording.data, &recording.limits);
            if data.attributes.len() < limits.attributes {
                data.attributes.push((key.into(), limits.cut(value)));
            } else {
                data.dropped = data.dropped.saturating_add(1);
            }
        }
    }

    /// Marks the work as failed.
    pub fn fail(&mut self, reason: impl Into<String>) {
        if let Some(recording) = &mut self.recording {
            recording.data.error = Some(reason.into());
        }
    }

    /// An HTTP status: 400 and above are failures.
    pub fn http_status(&mut self, status: u16) {
        if status >= 400 && self.is_recording() {
            let text = match dapr_gocompat::http_status::status_text(status) {
                "" => "Unknown",
                text => text,
            };
            self.fail(format!("Code({status}): {text}"));
        }
    }

    /// Makes this span the parent of whoever reads the headers; leaves them as
    /// they are when there is no span.
    pub fn write_http(&self, map: &mut HeaderMap) {
        if let Some(context) = &self.context {
            headers::write_http(context, map);
        }
    }

    /// The same in gRPC metadata.
    pub fn write_grpc(&self, map: &mut HeaderMap) {
        if let Some(context) = &self.context {
            headers::write_grpc(context, map);
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let mut data = std::mem::take(&mut self.data);
        // The clock may have been set meanwhile; durations must not notice.
        data.end = data.start + self.started.elapsed();
        let data = Arc::new(data);
        for queue in self.queues.iter() {
            queue.push(data.clone());
        }
    }
}
