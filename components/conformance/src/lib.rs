//! What every component of a building block has to do, as suites that a
//! component's own tests call (components.md §15). A violation panics with a
//! message that names the expectation.
//!
//! The suites know the traits of `dapr-components` and no technology; what a
//! component may leave out is stated in a suite's `Config`, and a suite also
//! checks that what is left out is not advertised.
//! Entry points: [`state::run`], [`pubsub::run`], [`configuration::run`] and
//! [`lock::run`].
#![forbid(unsafe_code)]

pub mod configuration;
pub mod harness;
pub mod lock;
pub mod pubsub;
pub mod state;
