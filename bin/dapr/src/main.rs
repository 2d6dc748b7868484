//! The one executable to install: the `dapr` command, and every program it
//! contains under that program's own name (cli.md §12.1).
#![forbid(unsafe_code)]

use std::process::ExitCode;

use dapr_cli::Program;

/// What this executable can run as besides the command itself.
const PROGRAMS: &[Program] = &[];

fn main() -> ExitCode {
    dapr_cli::main(std::env::args_os().collect(), PROGRAMS)
}
