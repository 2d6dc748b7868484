//! One piece of work in a trace.

use std::borrow::Cow;
use std::fmt::{Display, Write};
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

/// Keys and values of a span, in the order given. All values stand in one text:
/// one allocation a span and not one an attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// With the end of the value in `text`; it begins where the one before ends.
    keys: Vec<(Cow<'static, str>, usize)>,
    text: String,
}

/// Attributes that most spans have, and the length of their values together.
const USUAL_ATTRIBUTES: usize = 12;
const USUAL_TEXT: usize = 256;

impl Attributes {
    pub(super) fn with_usual_room(limits: &SpanLimits) -> Self {
        Self {
            keys: Vec::with_capacity(limits.attributes.min(USUAL_ATTRIBUTES)),
            text: String::with_capacity(USUAL_TEXT),
        }
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.keys.iter().map(move |(key, end)| {
            let value = &self.text[start..*end];
            start = *end;
            (&**key, value)
        })
    }

    /// Adds what `value` prints unless that is nothing.
    fn push(&mut self, key: Cow<'static, str>, value: impl Display, limits: &SpanLimits) -> Pushed {
        let start = self.text.len();
        // Writing to a string fails only where the value's own printing does.
        let _ = write!(self.text, "{value}");
        if self.text.len() == start {
            return Pushed::Empty;
        }
        if self.keys.len() >= limits.attributes {
            self.text.truncate(start);
            return Pushed::NoRoom;
        }
        if let Some((cut, _)) = limits.value.and_then(|limit| self.text[start..].char_indices().nth(limit)) {
            self.text.truncate(start + cut);
        }
        self.keys.push((key, self.text.len()));
        Pushed::Added
    }
}

enum Pushed {
    Added,
    Empty,
    NoRoom,
}

impl<K: Into<Cow<'static, str>>, V: Display> FromIterator<(K, V)> for Attributes {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        let mut all = Self::default();
        let limits = SpanLimits { attributes: usize::MAX, value: None };
        for (key, value) in pairs {
            all.push(key.into(), value, &limits);
        }
        all
    }
}

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
    pub attributes: Attributes,
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
            attributes: Attributes::default(),
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

    pub fn rename(&mut self, name: impl Display) {
        if let Some(recording) = &mut self.recording {
            // The room of the name before is used again.
            recording.data.name.clear();
            let _ = write!(recording.data.name, "{name}");
        }
    }

    /// Empty values, and attributes beyond the limit, are left out.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Display) {
        if let Some(recording) = &mut self.recording {
            let (data, limits) = (&mut recording.data, &recording.limits);
            if let Pushed::NoRoom = data.attributes.push(key.into(), value, limits) {
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
