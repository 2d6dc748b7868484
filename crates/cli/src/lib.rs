//! The `dapr` command: installation, running applications beside their
//! sidecars, and talking to sidecars that run on this machine (cli.md).
//!
//! The crate must not know the sidecar or any other program it can start: those
//! are handed in as a table of [`Program`]s, so that one executable is all of
//! them. Entry point: [`main`].
#![forbid(unsafe_code)]

mod commands;
mod context;
mod http_client;
mod instances;
mod layout;
mod metadata;
mod programs;
mod records;
mod run;
mod say;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

pub use programs::Program;

/// Tells what the sidecar in this executable can run: handed in, as the programs
/// are, for the commands that judge files.
pub type MakeCatalogue = fn() -> dapr_lint::Catalogue;

/// Runs the program that `args` (with the program's own name first) ask for:
/// one of `programs` when the executable was started under its name or with it
/// as the first argument, otherwise the `dapr` command.
pub fn main(args: Vec<OsString>, programs: &[Program], catalogue: MakeCatalogue) -> ExitCode {
    if let Some(code) = programs::dispatch(&args, programs) {
        return code;
    }
    if run::guard::is_request(&args) {
        return run::guard::main();
    }
    commands::execute(args, programs, catalogue)
}
