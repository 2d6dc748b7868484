//! The one executable to install: the `dapr` command, and every program it
//! contains under that program's own name (cli.md §12.1).
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use dapr_cli::Program;
use dapr_components::registry::Registry;
use dapr_lint::{Catalogue, Checks};

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

/// What `dapr lint` holds files against: the components and the compilers of
/// the sidecar in this executable.
fn catalogue() -> Catalogue {
    let mut registry = Registry::default();
    dapr_components_all::register_all(&mut registry);
    let route = |text: &str| {
        let rule = dapr_blocks::pubsub::Rule::new(text, "/");
        rule.map(|_| ()).map_err(|error| error.to_string())
    };
    Catalogue::new(&registry, Checks { route, access_control: dapr_sidecar::check_access_control })
}

fn main() -> ExitCode {
    dapr_cli::main(std::env::args_os().collect(), PROGRAMS, catalogue)
}
