//! The receiver of `tracing` events.

use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use super::fields::Fields;
use super::{GRPC_API_SCOPE, HTTP_API_SCOPE, Level, Shared};

/// Scope of events that name none: their target is a module path of ours.
const DEFAULT_SCOPE: &str = "dapr.runtime";

/// Writes events as log lines. Spans are ignored: requests are traced by
/// [`crate::trace`], not by the logger.
pub struct Logger(Arc<Shared>);

impl Logger {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let (level, threshold) = (Level::from(metadata.level()), self.0.settings.load().level);
        match Origin::of(metadata.target()) {
            Origin::ApiLog => level <= Level::Info,
            Origin::Scope | Origin::Module => level <= threshold,
            // Libraries are heard only by those who debug, and only on trouble.
            Origin::Foreign => threshold == Level::Debug && level <= Level::Warn,
        }
    }
}

enum Origin {
    ApiLog,
    Scope,
    Module,
    Foreign,
}

impl Origin {
    fn of(target: &str) -> Self {
        match target {
            HTTP_API_SCOPE | GRPC_API_SCOPE => Self::ApiLog,
            scope if scope == "dapr" || scope.starts_with("dapr.") => Self::Scope,
            module if module.starts_with("dapr_") || module.starts_with("daprd") => Self::Module,
            _ => Self::Foreign,
        }
    }
}

impl Subscriber for Logger {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() && self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The API log is at info at any threshold.
        Some(match self.0.settings.load().level {
            Level::Debug => LevelFilter::TRACE,
            _ => LevelFilter::INFO,
        })
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let scope = match Origin::of(metadata.target()) {
            Origin::Module => DEFAULT_SCOPE,
            _ => metadata.target(),
        };
        self.0.log(metadata.level().into(), scope, &fields);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
