//! Timeout, retry and circuit breaker as one engine, and the resolution of
//! `Resiliency` resources into the policy of one call (runtime.md §3.5).
//!
//! It must not know what is called (no HTTP, no gRPC, no component) or where
//! resources come from: it takes them decoded. [`core`] holds the state machines
//! without clock or I/O; [`Policy::run`] drives them on tokio. Entry types:
//! [`PoliciesBuilder`], [`Policies`], [`Policy`], [`Outcome`].
#![forbid(unsafe_code)]

mod breaker;
pub mod core;
mod explain;
mod observe;
mod policies;
mod policy;
mod resolve;
mod status;
mod trip;

pub use breaker::CircuitBreaker;
pub use explain::{Choice, Explanation, Origin, Target};
pub use observe::{Attachment, Flow, Meter, Observer, PolicyKind, Source};
pub use policies::{LoadError, PoliciesBuilder, Warning};
pub use policy::{Attempt, Outcome, Policy, PolicyError, PolicyParts};
pub use resolve::{Builtin, Direction, Kind, Policies};
pub use status::{CodeRanges, Matching, PatternError, StatusCode};
pub use trip::Trip;
