//! When to open the stream of a kind, when to list, and when to wait.

use std::time::{Duration, Instant};

/// First pause after a failure; grows up to [`MAX_PAUSE`] (control-plane.md
/// §11.4: an operator that restarts is back within seconds).
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(15);
const GROWTH: f64 = 1.5;
/// By what share of it a pause may differ.
const JITTER: f64 = 0.5;
/// A stream that held this long, or brought an event, worked: when it ends, the
/// next is opened almost at once. Not quite, because all sidecars of a cluster
/// lose theirs at the same moment.
const WORKED: Duration = Duration::from_secs(5);
const SPREAD: Duration = Duration::from_millis(100);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Begins; also after each pause.
    Go,
    /// The stream is open, as far as one can tell without an event.
    Opened,
    /// The list is there and was taken over.
    Listed,
    ListFailed,
    /// An event came and was taken over.
    Received,
    /// The time that [`Action::Read`] named has come.
    Due,
    /// The stream ended, or was not opened.
    Ended(End),
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By an error, or without one: the operator ends streams when it stops.
    Lost,
    /// The operator is older and knows no such stream: lists are all there is.
    Unknown,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Open,
    List,
    /// Read the stream, if there is one, until this time; then [`Input::Due`].
    Read {
        until: Instant,
    },
    /// Then [`Input::Go`].
    Pause(Duration),
}

/// Follows one kind.
///
/// A list comes after the stream is open and while nothing is read from it, so
/// that what happens meanwhile is among the events that are read next: nothing
/// is lost between the two.
#[derive(Debug)]
pub struct Follow {
    /// Between two lists while all is well (runtime.md §4).
    interval: Duration,
    opened: Option<Instant>,
    events: bool,
    streams: u32,
    stream_failures: u32,
    list_failures: u32,
    without_stream: bool,
    next_list: Instant,
}

impl Follow {
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            opened: None,
            events: false,
            streams: 0,
            stream_failures: 0,
            list_failures: 0,
            without_stream: false,
            next_list: now,
        }
    }

    /// Whether the stream that is open is not the first.
    pub fn is_reconnected(&self) -> bool {
        self.streams > 1
    }

    /// `random` is uniform in `[0, 1)`.
    pub fn step(&mut self, now: Instant, input: Input, random: f64) -> Action {
        match input {
            Input::Go => Action::Open,
            Input::Opened => {
                self.opened = Some(now);
                self.events = false;
                self.streams += 1;
                Action::List
            }
            Input::Due => Action::List,
            Input::Listed => {
                self.list_failures = 0;
                self.next_list = now + self.interval;
                Action::Read { until: self.next_list }
            }
            Input::ListFailed => {
                let wait = pause(self.list_failures, random).min(self.interval);
                self.list_failures = self.list_failures.saturating_add(1);
                self.next_list = now + wait;
                Action::Read { until: self.next_list }
            }
            Input::Received => {
                self.events = true;
                Action::Read { until: self.next_list }
            }
            Input::Ended(End::Unknown) => {
                self.without_stream = true;
                match self.opened.take() {
                    // It was taken for open, and the list for after that is there or under way.
                    Some(_) => Action::Read { until: self.next_list },
                    None => Action::List,
                }
            }
            Input::Ended(End::Lost) => {
                let worked =
                    self.opened.take().is_some_and(|at| self.events || now.duration_since(at) >= WORKED);
                if worked {
                    self.stream_failures = 0;
                    return Action::Pause(SPREAD.mul_f64(random));
                }
                let wait = pause(self.stream_failures, random);
                self.stream_failures = self.stream_failures.saturating_add(1);
                Action::Pause(wait)
            }
        }
    }

    /// Whether the operator has no stream of this kind.
    pub fn is_without_stream(&self) -> bool {
        self.without_stream
    }
}

fn pause(failures: u32, random: f64) -> Duration {
    let grown = FIRST_PAUSE.mul_f64(GROWTH.powi(failures.min(32) as i32)).min(MAX_PAUSE);
    grown.mul_f64(1.0 - JITTER + 2.0 * JITTER * random)
}
