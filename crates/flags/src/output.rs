//! What a program says outside its log: help, answers and errors of the
//! command line. A reader that has gone (`--help | head -1`) is no failure.

use std::io::{Write, stderr as errors, stdout as answers};

/// Writes to stdout at once.
pub fn stdout(text: &str) {
    let mut stream = answers().lock();
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

pub fn stderr(text: &str) {
    let _ = errors().lock().write_all(text.as_bytes());
}
