//! Process groups.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Sends `signal` to all processes of the group; nobody left is fine.
pub(super) fn signal(group: i32, signal: Signal) {
    let _ = killpg(Pid::from_raw(group), signal);
}

/// Whether a process of the group still runs. One that ended but that nobody
/// has waited for does not count: in a container whose first process waits for
/// nobody, an application's orphans stay like that for ever.
pub(super) fn is_alive(group: i32) -> bool {
    if killpg(Pid::from_raw(group), None) == Err(Errno::ESRCH) {
        return false;
    }
    let Ok(processes) = std::fs::read_dir("/proc") else { return true };
    processes.flatten().any(|process| is_running_member(&process.path(), group))
}

fn is_running_member(process: &Path, group: i32) -> bool {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    // Behind the name in parentheses: state, parent, group.
    let Some(close) = stat.rfind(')') else { return false };
    let mut fields = stat[close + 1..].split_whitespace();
    let state = fields.next().unwrap_or("X");
    fields.nth(1).and_then(|text| text.parse().ok()) == Some(group) && !matches!(state, "Z" | "X")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn ended_processes_that_nobody_waited_for_do_not_count() {
        let mut child = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let group = i32::try_from(child.id()).unwrap();
        assert!(is_alive(group));
        signal(group, Signal::SIGKILL);
        let ended = (0..200).any(|_| {
            std::thread::park_timeout(std::time::Duration::from_millis(50));
            !is_alive(group)
        });
        assert!(ended, "still a zombie, yet not alive");
        child.wait().unwrap();
        assert!(!is_alive(group));
    }
}
