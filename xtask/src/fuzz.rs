//! `cargo xtask fuzz`: broken input for everything that reads what others sent
//! (fuzz/). What ends a target lies in fuzz/artifacts afterwards.

use crate::command::{cargo, run};

pub const USAGE: &str =
    "  fuzz [TARGET] [--seconds N] [--seed N]   mutate good input, a minute per target unless told otherwise;
       TARGET --input FILE             try one file";

/// Debug assertions and overflow checks are on: the profile is `dev`.
pub fn fuzz(arguments: &[String]) -> anyhow::Result<()> {
    run(cargo().args(["run", "--quiet", "--package", "dapr-fuzz", "--"]).args(arguments))
}
