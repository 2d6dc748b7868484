//! The certificate authority as a program of its own.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    dapr_sentry::main(std::env::args_os().skip(1).collect())
}
