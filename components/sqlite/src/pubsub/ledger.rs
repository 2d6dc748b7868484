//! Which messages this consumer has in its hands, and what of that is not
//! written down yet.
//!
//! The file holds spans of message ids rather than single ids: taking a
//! hundred messages adds one row, and finishing them deletes it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A span that is partly done for this long is written down in parts. Until
/// then a crash delivers its finished messages again.
const PARTIAL_AFTER: Duration = Duration::from_millis(100);

/// A row of the pending table: message ids from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) row: i64,
    pub(super) first: i64,
    pub(super) last: i64,
}

/// How handling a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// To be delivered again, not before `at` (milliseconds since 1970).
    Again {
        at: i64,
        attempts: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Done,
    Again { at: i64, attempts: u32 },
}

struct Entry {
    attempts: u32,
    /// Ascending.
    messages: Vec<(i64, State)>,
    open: usize,
    spans: Vec<Span>,
    written: Instant,
    dirty: bool,
    /// Something has to be delivered again, so that writing cannot wait.
    urgent: bool,
}

#[derive(Default)]
pub(super) struct Ledger {
    entries: BTreeMap<u64, Entry>,
    next: u64,
    open: usize,
}

/// A row to be replaced: what stays taken, and what is to be delivered again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rewrite {
    pub(super) entry: u64,
    pub(super) span: Span,
    pub(super) attempts: u32,
    pub(super) keep: Vec<(i64, i64)>,
    /// Message id, when, deliveries so far.
    pub(super) again: Vec<(i64, i64, u32)>,
}

impl Ledger {
    /// Adds what was taken; the key names it in [`Ledger::settle`].
    pub(super) fn add(&mut self, span: Span, attempts: u32, ids: &[i64], now: Instant) -> u64 {
        let key = self.next;
        self.next += 1;
        self.open += ids.len();
        let entry = Entry {
            attempts,
            messages: ids.iter().map(|id| (*id, State::Open)).collect(),
            open: ids.len(),
            spans: vec![span],
            written: now,
            dirty: ids.is_empty(),
            urgent: false,
        };
        self.entries.insert(key, entry);
        key
    }

    pub(super) fn settle(&mut self, key: u64, id: i64, outcome: Outcome) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Ok(at) = entry.messages.binary_search_by_key(&id, |(id, _)| *id) else { return };
        let state = &mut entry.messages[at].1;
        if *state != State::Open {
            return;
        }
        *state = match outcome {
            Outcome::Done => State::Done,
            Outcome::Again { at, attempts } => {
                entry.urgent = true;
                State::Again { at, attempts }
            }
        };
        entry.open -= 1;
        entry.dirty = true;
        self.open -= 1;
    }

    /// Messages whose handlers run.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Rows that this consumer holds.
    pub(super) fn rows(&self) -> Vec<i64> {
        self.entries.values().flat_map(|entry| entry.spans.iter().map(|span| span.row)).collect()
    }

    /// When something that waits has to be written, if nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.entries.values().filter(|e| e.dirty).map(|e| e.written + PARTIAL_AFTER).min()
    }

    /// What to write now; `all` does not wait for more.
    pub(super) fn plan(&mut self, now: Instant, all: bool) -> Vec<Rewrite> {
        let mut plan = Vec::new();
        for (key, entry) in &mut self.entries {
            let waits = entry.open > 0 && !entry.urgent && !all;
            if !entry.dirty || (waits && now.duration_since(entry.written) < PARTIAL_AFTER) {
                continue;
            }
            let before = plan.len();
            plan.extend(entry.spans.iter().filter_map(|span| entry.rewrite(*key, *span)));
            if plan.len() == before {
                // Its rows have gone to another consumer.
                entry.dirty = false;
                entry.urgent = false;
            }
        }
        self.entries.retain(|_, entry| entry.open > 0 || !entry.spans.is_empty());
        plan
    }

    /// Notes that a plan was carried out: the new rows of each rewrite, `None`
    /// where the row had gone to another consumer.
    pub(super) fn written(&mut self, plan: &[Rewrite], rows: Vec<Option<Vec<Span>>>, now: Instant) {
        for (rewrite, new) in plan.iter().zip(rows) {
            let Some(entry) = self.entries.get_mut(&rewrite.entry) else { continue };
            entry.spans.retain(|span| span.row != rewrite.span.row);
            entry.spans.extend(new.unwrap_or_default());
            for (id, ..) in &rewrite.again {
                if let Ok(at) = entry.messages.binary_search_by_key(id, |(id, _)| *id) {
                    entry.messages[at].1 = State::Done;
                }
            }
            entry.written = now;
            entry.dirty = false;
            entry.urgent = false;
        }
        self.entries.retain(|_, entry| entry.open > 0 || !entry.spans.is_empty());
    }
}

impl Entry {
    fn rewrite(&self, key: u64, span: Span) -> Option<Rewrite> {
        let (mut keep, mut again): (Vec<(i64, i64)>, Vec<_>) = (Vec::new(), Vec::new());
        let (mut changed, mut in_run) = (false, false);
        let inside = |id: i64| (span.first..=span.last).contains(&id);
        for (id, state) in self.messages.iter().filter(|(id, _)| inside(*id)) {
            match state {
                State::Open => match keep.last_mut() {
                    Some((_, last)) if in_run => *last = *id,
                    _ => {
                        keep.push((*id, *id));
                        in_run = true;
                    }
                },
                State::Done | State::Again { .. } => {
                    if let State::Again { at, attempts } = state {
                        again.push((*id, *at, *attempts));
                    }
                    changed = true;
                    in_run = false;
                }
            }
        }
        changed |= keep.is_empty();
        changed.then_some(Rewrite { entry: key, span, attempts: self.attempts, keep, again })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(row: i64, first: i64, last: i64) -> Span {
        Span { row, first, last }
    }

    #[test]
    fn a_finished_span_is_one_deletion() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let key = ledger.add(span(7, 1, 3), 1, &[1, 2, 3], now);
        ledger.settle(key, 2, Outcome::Done);
        assert!(ledger.plan(now, false).is_empty(), "a partial span waits");
        ledger.settle(key, 1, Outcome::Done);
        ledger.settle(key, 3, Outcome::Done);
        let plan = ledger.plan(now, false);
        assert_eq!(plan.len(), 1);
        assert!(plan[0].keep.is_empty() && plan[0].again.is_empty());
        ledger.written(&plan, vec![Some(Vec::new())], now);
        assert!(ledger.is_empty() && ledger.open() == 0);
    }

    #[test]
    fn a_slow_message_splits_its_span() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let key = ledger.add(span(7, 1, 5), 1, &[1, 2, 3, 4, 5], now);
        ledger.settle(key, 3, Outcome::Done);
        let later = now + PARTIAL_AFTER;
        let plan = ledger.plan(later, false);
        assert_eq!(plan[0].keep, [(1, 2), (4, 5)]);
        ledger.written(&plan, vec![Some(vec![span(8, 1, 2), span(9, 4, 5)])], later);
        ledger.settle(key, 4, Outcome::Done);
        ledger.settle(key, 5, Outcome::Done);
        let plan = ledger.plan(later, true);
        assert_eq!(plan.len(), 1, "the untouched part stays as it is");
        assert_eq!((plan[0].span, plan[0].keep.len()), (span(9, 4, 5), 0));
    }

    #[test]
    fn a_failed_message_is_written_at_once_and_only_once() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let key = ledger.add(span(7, 1, 3), 2, &[1, 2, 3], now);
        ledger.settle(key, 2, Outcome::Again { at: 99, attempts: 2 });
        let plan = ledger.plan(now, false);
        assert_eq!(
            (plan[0].keep.as_slice(), plan[0].again.as_slice()),
            (&[(1, 1), (3, 3)][..], &[(2, 99, 2)][..])
        );
        ledger.written(&plan, vec![Some(vec![span(8, 1, 1), span(9, 3, 3)])], now);
        ledger.settle(key, 1, Outcome::Done);
        ledger.settle(key, 3, Outcome::Done);
        let plan = ledger.plan(now, false);
        assert!(plan.iter().all(|rewrite| rewrite.again.is_empty() && rewrite.keep.is_empty()));
        ledger.written(&plan, vec![Some(vec![]), Some(vec![])], now);
        assert!(ledger.is_empty());
    }

    #[test]
    fn what_another_consumer_took_over_is_forgotten() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let key = ledger.add(span(7, 1, 1), 1, &[1], now);
        ledger.settle(key, 1, Outcome::Done);
        let plan = ledger.plan(now, false);
        ledger.written(&plan, vec![None], now);
        assert!(ledger.is_empty());

        let key = ledger.add(span(8, 2, 3), 1, &[2, 3], now);
        ledger.settle(key, 2, Outcome::Done);
        let plan = ledger.plan(now, true);
        ledger.written(&plan, vec![None], now);
        ledger.settle(key, 3, Outcome::Again { at: 0, attempts: 1 });
        assert!(ledger.plan(now, true).is_empty());
        assert!(ledger.is_empty() && ledger.due().is_none());
    }

    #[test]
    fn a_span_without_messages_is_removed() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        ledger.add(span(7, 1, 3), 1, &[], now);
        assert_eq!(ledger.plan(now, false).len(), 1);
    }
}
