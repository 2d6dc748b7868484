//! A started process: waiting for it, telling how it ended, ending it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use dapr_kernel::tasks::TaskGroup;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::group;
use super::guard::Guard;

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// A child process. It is reaped in the background as soon as it ends.
#[derive(Debug)]
pub(super) struct Process {
    pub pid: i32,
    /// It leads a group of its own, which is ended with it.
    leads_group: bool,
    exit: watch::Receiver<Option<ExitStatus>>,
    guard: Arc<Guard>,
}

impl Process {
    /// Takes over `child` and has it guarded.
    pub fn watch(mut child: Child, leads_group: bool, tasks: &TaskGroup, guard: &Arc<Guard>) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        match leads_group {
            true => guard.watch_group(pid),
            false => guard.watch_process(pid),
        }
        let (ended, exit) = watch::channel(None);
        let (guards, alone) = (Arc::clone(guard), !leads_group);
        tasks.spawn("child process", async move {
            let status = child.wait().await.unwrap_or_else(|_| ExitStatus::from_raw(1 << 8));
            if alone {
                guards.forget(pid);
            }
            ended.send_replace(Some(status));
        });
        Self { pid, leads_group, exit, guard: Arc::clone(guard) }
    }

    /// How it ended, once it has.
    pub fn status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    pub async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let status = exit.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        status.unwrap_or_else(|| ExitStatus::from_raw(1 << 8))
    }

    /// SIGTERM, and SIGKILL when that does not help in time; with a group, all
    /// of it, also when its leader is gone already (cli.md §4.4, §12.15).
    pub async fn stop(&self) {
        match self.leads_group {
            true => self.stop_group().await,
            false => self.stop_alone().await,
        }
    }

    async fn stop_alone(&self) {
        if self.status().is_some() {
            return;
        }
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
        if timeout(GRACE, self.exited()).await.is_err() {
            self.kill();
            self.exited().await;
        }
    }

    async fn stop_group(&self) {
        let deadline = Instant::now() + GRACE;
        group::signal(self.pid, Signal::SIGTERM);
        while group::is_alive(self.pid) {
            if Instant::now() >= deadline {
                group::signal(self.pid, Signal::SIGKILL);
                break;
            }
            sleep(POLL).await;
        }
        self.guard.forget(self.pid);
    }

    /// SIGKILL, to the whole group where there is one.
    pub fn kill(&self) {
        if self.leads_group {
            group::signal(self.pid, Signal::SIGKILL);
        } else if self.status().is_none() {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }
}

/// `exit status 1` or `signal: killed`; nothing for success.
pub(super) fn failure(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exit status {code}")),
        (None, signal) => {
            let dumped = if status.core_dumped() { " (core dumped)" } else { "" };
            Some(format!("signal: {}{dumped}", signal_name(signal.unwrap_or(0))))
        }
    }
}

/// A signal in words.
pub(super) fn signal_name(signal: i32) -> String {
    const NAMES: [(Signal, &str); 16] = [
        (Signal::SIGHUP, "hangup"),
        (Signal::SIGINT, "interrupt"),
        (Signal::SIGQUIT, "quit"),
        (Signal::SIGILL, "illegal instruction"),
        (Signal::SIGTRAP, "trace/breakpoint trap"),
        (Signal::SIGABRT, "aborted"),
        (Signal::SIGBUS, "bus error"),
        (Signal::SIGFPE, "floating point exception"),
        (Signal::SIGKILL, "killed"),
        (Signal::SIGUSR1, "user defined signal 1"),
        (Signal::SIGSEGV, "segmentation fault"),
        (Signal::SIGUSR2, "user defined signal 2"),
        (Signal::SIGPIPE, "broken pipe"),
        (Signal::SIGALRM, "alarm clock"),
        (Signal::SIGTERM, "terminated"),
        (Signal::SIGXCPU, "CPU time limit exceeded"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| *known as i32 == signal)
        .map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(failure(ExitStatus::from_raw(0)), None);
        assert_eq!(failure(ExitStatus::from_raw(3 << 8)).unwrap(), "exit status 3");
        assert_eq!(failure(ExitStatus::from_raw(9)).unwrap(), "signal: killed");
        assert_eq!(failure(ExitStatus::from_raw(15)).unwrap(), "signal: terminated");
    }
}
