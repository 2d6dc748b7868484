//! The state machines: every input is an argument (time, randomness, what the
//! call came to), every output a value. Nothing here sleeps, reads a clock or
//! logs.

mod breaker;
mod retry;

pub use breaker::{Admission, Breaker, BreakerConfig, Counts, Rejection, State, Ticket, Transition};
pub use retry::{Backoff, Decision, Failure, GiveUp, Retry, RetryConfig};
