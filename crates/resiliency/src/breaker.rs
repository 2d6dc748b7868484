//! A named breaker shared by many calls: the state machine behind a lock, with
//! its expression and its log line.

use std::time::Instant;

use parking_lot::Mutex;

use crate::core::{Breaker, BreakerConfig, Rejection, State, Ticket, Transition};
use crate::policy::SCOPE;
use crate::trip::Trip;

#[derive(Debug)]
pub struct CircuitBreaker {
    name: String,
    trip: Trip,
    breaker: Mutex<Breaker>,
}

impl CircuitBreaker {
    pub fn new(name: impl Into<String>, config: BreakerConfig, trip: Trip, now: Instant) -> Self {
        Self { name: name.into(), trip, breaker: Mutex::new(Breaker::new(config, now)) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn state(&self, now: Instant) -> State {
        let (state, transition) = self.breaker.lock().state(now);
        self.log(transition);
        state
    }

    /// Lets a call through or not. The call counts as failed unless
    /// [`Permit::settle`] says otherwise: one that is dropped midway must not
    /// keep a half-open breaker waiting for its result.
    pub(crate) fn admit(&self, now: Instant) -> Result<Permit<'_>, Rejection> {
        let admission = self.breaker.lock().admit(now);
        self.log(admission.transition);
        let ticket = admission.ticket?;
        Ok(Permit { breaker: self, ticket: Some(ticket) })
    }

    fn settle(&self, now: Instant, ticket: Ticket, success: bool) {
        let transition = self.breaker.lock().settle(now, ticket, success, |counts| self.trip.trips(counts));
        self.log(transition);
    }

    fn log(&self, transition: Option<Transition>) {
        if let Some(Transition { from, to }) = transition {
            let name = dapr_gocompat::quote::quote(&self.name);
            tracing::info!(target: SCOPE, "Circuit breaker {name} changed state from {from} to {to}");
        }
    }
}

/// A call that a breaker let through.
pub(crate) struct Permit<'a> {
    breaker: &'a CircuitBreaker,
    ticket: Option<Ticket>,
}

impl Permit<'_> {
    pub(crate) fn settle(mut self, now: Instant, success: bool) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.settle(now, ticket, success);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.settle(tokio::time::Instant::now().into_std(), ticket, false);
        }
    }
}
