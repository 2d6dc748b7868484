//! The project's only task runner: every step of CI and of a release is one
//! subcommand here.
#![forbid(unsafe_code)]

mod bench;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("bench") => bench::run(&arguments[1..]),
        _ => anyhow::bail!("usage: cargo xtask <task>\n\n{}", bench::USAGE),
    }
}
