//! Text formats that Go programs define and that clients, files and peers of
//! Dapr therefore rely on: durations, quantities, booleans, quoting, path
//! cleaning, URL escaping, JSON, times, HTTP status lines and header names.
//!
//! Everything here is a pure function of its arguments. The crate must not know
//! Dapr: no resource, no API, no I/O, no clock. Entry points are the modules;
//! the error they share is [`ParseError`].
#![forbid(unsafe_code)]

pub mod bools;
pub mod duration;
pub mod header;
pub mod http_status;
pub mod json;
pub mod path;
pub mod quantity;
pub mod quote;
pub mod text;
pub mod time;
pub mod urlesc;

/// A text that is not in the expected format. Its display is the message a Go
/// program prints for the same input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

impl ParseError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}
