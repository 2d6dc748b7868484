//! How many files, connections included, the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit to the highest that the process may give itself, as Dapr's
/// runtime does: the usual 1024 is less than the connections of a busy
/// application.
pub fn raise_limit() {
    let raise = || {
        let (now, highest) = getrlimit(Resource::RLIMIT_NOFILE)?;
        if now < highest { setrlimit(Resource::RLIMIT_NOFILE, highest, highest) } else { Ok(()) }
    };
    if let Err(error) = raise() {
        tracing::debug!(target: "dapr.runtime", "The limit of open files stays as it is: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_highest_allowed() {
        raise_limit();
        let (now, highest) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(now, highest);
    }
}
