use super::*;
use crate::runner;

/// In an unoptimised build, within seconds; see the crate for the full run.
const SEEDS: u64 = 3;

#[test]
fn two_years_pass_without_violation() {
    if let Err(violation) = runner::search(0, SEEDS, |seed| run(seed, TWO_YEARS).map(drop)) {
        panic!("{violation}");
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    let seen = |seed| format!("{:?}", run(seed, 30 * DAY));
    assert_eq!(seen(3), seen(3));
    assert_ne!(seen(3), seen(4));
}

/// A simulation that sees nothing proves nothing.
#[test]
fn a_run_sees_what_it_is_about() {
    let seen = run(1, TWO_YEARS).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(seen.issued > 100_000 && seen.healthy > 50_000, "{seen:?}");
    assert!(seen.refused > 10 && seen.restarts > 10 && seen.outages > 20 && seen.roots >= 3, "{seen:?}");
}

/// A clock was set back while the pause after a failed renewal ran, and the
/// retry came minutes late.
#[test]
fn seed_61_a_clock_set_back_does_not_postpone_the_retry() {
    if let Err(violation) = run(61, 314 * DAY) {
        panic!("{violation}");
    }
}
