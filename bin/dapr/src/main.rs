//! The one executable to install: the `dapr` command, and every program it
//! contains under that program's own name (cli.md §12.1).
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use dapr_cli::Program;

/// What this executable can run as besides the command itself.
const PROGRAMS: &[Program] =
    &[Program { name: "daprd", run: daprd }, Program { name: "sentry", run: sentry }];

/// Programs want their arguments without the program's name.
fn daprd(args: Vec<OsString>) -> ExitCode {
    dapr_sidecar::main(args.into_iter().skip(1).collect())
}

fn sentry(args: Vec<OsString>) -> ExitCode {
    dapr_sentry::main(args.into_iter().skip(1).collect())
}

fn main() -> ExitCode {
    dapr_cli::main(std::env::args_os().collect(), PROGRAMS)
}
