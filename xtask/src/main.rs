//! The project's only task runner: every step of CI and of a release is one
//! subcommand here. It knows the workspace's folders and the programs that
//! build it, never a crate of it. Entry: the table [`TASKS`].
#![forbid(unsafe_code)]

mod bench;
mod check;
mod command;
mod deps;
mod example;
mod fuzz;
#[cfg(test)]
mod map;
mod test;

type Task = fn(&[String]) -> anyhow::Result<()>;

/// Name, what `cargo xtask NAME` runs, its usage.
const TASKS: &[(&str, Task, &str)] = &[
    ("test", test::test, test::USAGE),
    ("check", check::check, check::USAGE),
    ("example", example::example, example::USAGE),
    ("bench", bench::run, bench::USAGE),
    ("fuzz", fuzz::fuzz, fuzz::USAGE),
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = arguments.first().map_or("", String::as_str);
    if let Some((_, task, _)) = TASKS.iter().find(|(name, ..)| *name == wanted) {
        return task(&arguments[1..]);
    }
    let usages: Vec<_> = TASKS.iter().map(|(_, _, usage)| *usage).collect();
    anyhow::bail!("usage: cargo xtask TASK\n\n{}", usages.join("\n"))
}
