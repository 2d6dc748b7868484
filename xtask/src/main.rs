//! The project's only task runner: every step of CI and of a release is one
//! subcommand here.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    anyhow::bail!("usage: cargo xtask <task>")
}
