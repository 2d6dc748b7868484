//! `bindings.cron`: an event at each due time of a schedule.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dapr_components::bindings::{EventHandler, InputBinding, ReadEvent, RequestMetadata};
use dapr_components::{InitContext, InitError, Properties};
use dapr_gocompat::time;
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use crate::schedule::{Dialect, ParseError, Schedule};

/// Runs may overlap; this many at most, so that an application that hangs does
/// not let them pile up without end.
const MAX_OVERLAPPING_RUNS: usize = 1024;

/// Least pause between two runs: the precision of the timer.
const MIN_PAUSE: Duration = Duration::from_millis(1);

pub struct CronBinding {
    name: Arc<str>,
    log_name: Arc<str>,
    schedule: Schedule,
    tasks: TaskGroup,
    /// Given by `close`.
    closed: Shutdown,
}

/// The schedule that the metadata asks for.
pub(crate) fn schedule(properties: &Properties) -> Result<Schedule, InitError> {
    let text = properties.get("schedule").filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| InitError::new("schedule not set"))?;
    parse(text).map_err(|e| InitError::new(format!("invalid schedule format '{text}': {e}")))
}

pub(crate) fn parse(text: &str) -> Result<Schedule, ParseError> {
    Schedule::parse(text, Dialect::BINDING, &TimeZone::system())
}

impl CronBinding {
    pub fn new(context: &InitContext) -> Result<Self, InitError> {
        let schedule = schedule(&context.properties)?;
        Ok(Self {
            name: context.name.clone(),
            log_name: context.log_name().into(),
            schedule,
            tasks: context.tasks.clone(),
            closed: context.tasks.shutdown().child(),
        })
    }
}

#[async_trait]
impl InputBinding for CronBinding {
    async fn read(&self, stop: Shutdown, handler: Arc<dyn EventHandler>) -> Result<(), String> {
        if self.closed.is_triggered() {
            return Err("binding is closed".to_owned());
        }
        let run = Run {
            name: self.name.clone(),
            log_name: self.log_name.clone(),
            schedule: self.schedule.clone(),
            tasks: self.tasks.clone(),
            running: Arc::new(Semaphore::new(MAX_OVERLAPPING_RUNS)),
            handler,
        };
        let closed = self.closed.clone();
        self.tasks.spawn("cron", async move {
            closed.guard(stop.guard(run.fire_forever())).await;
        });
        Ok(())
    }

    async fn close(&self) {
        self.closed.trigger();
    }
}

struct Run {
    name: Arc<str>,
    log_name: Arc<str>,
    schedule: Schedule,
    tasks: TaskGroup,
    running: Arc<Semaphore>,
    handler: Arc<dyn EventHandler>,
}

impl Run {
    /// Returns only when nothing is due any more.
    async fn fire_forever(self) {
        let mut due = self.schedule.next(Timestamp::now());
        while let Some(at) = due {
            wait_until(at).await;
            self.fire();
            let now = Timestamp::now();
            // From the planned time, so that nothing drifts; what was missed
            // meanwhile (a suspended machine, say) is not caught up.
            due = self.schedule.next(at).filter(|next| *next > now).or_else(|| self.schedule.next(now));
        }
    }

    fn fire(&self) {
        let Ok(permit) = self.running.clone().try_acquire_owned() else {
            tracing::warn!(
                target: "dapr.contrib",
                component = %self.log_name,
                "name: {}, {MAX_OVERLAPPING_RUNS} earlier runs have not ended: this one is left out",
                self.name
            );
            return;
        };
        tracing::debug!(
            target: "dapr.contrib", component = %self.log_name,
            "name: {}, schedule fired", self.name
        );
        let handler = self.handler.clone();
        self.tasks.spawn("cron run", async move {
            // What the application answers has no effect on the schedule.
            let _ = handler.handle(event(Timestamp::now())).await;
            drop(permit);
        });
    }
}

async fn wait_until(at: Timestamp) {
    let mut left = at.duration_since(Timestamp::now());
    loop {
        let pause = Duration::try_from(left).unwrap_or_default().max(MIN_PAUSE);
        tokio::time::sleep(pause).await;
        left = at.duration_since(Timestamp::now());
        if left <= SignedDuration::ZERO {
            return;
        }
    }
}

fn event(now: Timestamp) -> ReadEvent {
    let metadata = RequestMetadata::from([
        // Upstream names the zone of the timer, not that of the expression.
        ("timeZone".to_owned(), "Local".to_owned()),
        ("readTimeUTC".to_owned(), time::date_string(now.into())),
    ]);
    ReadEvent { metadata, ..ReadEvent::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dapr_components::Properties;
    use dapr_components::bindings::RequestMetadata;
    use dapr_kernel::AppIdentity;
    use tokio::sync::mpsc;

    fn context(schedule: &str) -> InitContext {
        InitContext {
            name: "tick".into(),
            component_type: "bindings.cron".into(),
            version: "v1".into(),
            properties: Properties::new([("schedule", schedule)]).unwrap(),
            identity: AppIdentity::new("app", None),
            tasks: TaskGroup::new(Shutdown::new()),
        }
    }

    struct Recorder(mpsc::UnboundedSender<RequestMetadata>);

    #[async_trait]
    impl EventHandler for Recorder {
        async fn handle(&self, event: ReadEvent) -> Result<Option<bytes::Bytes>, String> {
            assert!(event.data.is_empty());
            let _ = self.0.send(event.metadata);
            Err("the application failed".to_owned())
        }
    }

    #[tokio::test]
    async fn fires_until_it_is_stopped_whatever_the_application_answers() {
        let binding = CronBinding::new(&context("@every 20ms")).unwrap();
        let (sender, mut events) = mpsc::unbounded_channel();
        let stop = Shutdown::new();
        binding.read(stop.clone(), Arc::new(Recorder(sender))).await.unwrap();
        for _ in 0..3 {
            let metadata = events.recv().await.unwrap();
            assert_eq!(metadata["timeZone"], "Local");
            assert!(metadata["readTimeUTC"].ends_with(" +0000 UTC"), "{metadata:?}");
        }
        stop.trigger();
        // The channel ends with the last holder of the handler.
        while events.recv().await.is_some() {}
    }

    #[tokio::test]
    async fn close_ends_reading_for_good() {
        let binding = CronBinding::new(&context("@every 10ms")).unwrap();
        let (sender, mut events) = mpsc::unbounded_channel();
        binding.read(Shutdown::new(), Arc::new(Recorder(sender.clone()))).await.unwrap();
        binding.close().await;
        let again = binding.read(Shutdown::new(), Arc::new(Recorder(sender))).await;
        assert_eq!(again.unwrap_err(), "binding is closed");
        while events.recv().await.is_some() {}
    }

    #[test]
    fn schedules_are_checked_at_start() {
        let error = |schedule| CronBinding::new(&context(schedule)).err().unwrap().to_string();
        assert_eq!(error(""), "schedule not set");
        assert_eq!(
            error("invalid schedule"),
            "invalid schedule format 'invalid schedule': expected 5 to 6 fields, found 2: [invalid schedule]"
        );
    }
}
