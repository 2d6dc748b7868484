//! Tries one input after the other.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::mutate::input;
use crate::progress::Progress;
use crate::targets::Target;

/// What tokio gives a worker thread: input that needs more ends a sidecar.
const STACK: usize = 2 << 20;

/// From the input number `first` on, until `duration` is over.
pub fn run(
    target: &'static Target,
    seed: u64,
    first: u64,
    duration: Duration,
    progress: &Path,
) -> anyhow::Result<()> {
    let progress = Progress::open(progress)?;
    let end = Instant::now() + duration;
    let seeds = (target.seeds)();
    on_small_stack(move || {
        for iteration in first.. {
            if Instant::now() >= end {
                break;
            }
            let input = input(&seeds, target.words, seed, iteration);
            progress.note(iteration, &input).expect("the file can be written while it is open");
            (target.run)(&input);
        }
    });
    Ok(())
}

/// A panic within goes on outside.
pub fn on_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
    let ended = thread.expect("a thread can be started").join();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}
