//! `dapr run` for one application (cli.md §4.3, §4.4).

use std::future::{Future, pending};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;

use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use tokio::process::Command;

use super::config::RunConfig;
use super::guard::Guard;
use super::ports::Ports;
use super::prepare::{prepare, sockets};
use super::process::{Process, failure, signal_name};
use super::start::{Interrupts, exec_error, http_endpoint, sidecar_command, starting, wait_for_sidecar};
use super::{lookup, sidecar};
use crate::context::Context;
use crate::layout::Layout;
use crate::say::{Say, Style, stdout, stdout_is_terminal, styled};
use crate::{instances, metadata};

const NO_COMMAND: &str = "WARNING: no application command found.";
const OLD_RUNTIME: &str = "The scheduler is only compatible with dapr runtime 1.14 onwards.";

/// Runs until a signal, the sidecar's end or the application's end.
pub(crate) async fn run(context: &Context, layout: &Layout, mut config: RunConfig) -> ExitCode {
    let say = context.say;
    if config.command.is_empty() {
        stdout(&format!("{}\n", styled(Style::BoldWhite, NO_COMMAND, stdout_is_terminal())));
    }
    let guard = Arc::new(Guard::start(context.executable().map(PathBuf::as_path)));
    let running = instances::scan();
    let mut ports = Ports::beside(&running);
    let program = sidecar::locate(context, layout);
    if let Err(reason) = prepare(&mut config, layout, context.var("NAMESPACE"), &running, &mut ports) {
        say.failure(reason);
        return ExitCode::FAILURE;
    }
    if !program.version.knows_scheduler() {
        say.info(OLD_RUNTIME);
        config.shared.scheduler = None;
    }
    let mut interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            say.failure(format!("cannot listen for signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let tasks = TaskGroup::new(Shutdown::new());
    say.info(starting(&config));
    ports.release();
    // A group of its own: Ctrl-C reaches this command, which decides what ends when.
    let child = sidecar_command(&program, &config, say.json).process_group(0).spawn();
    let daprd = match child {
        Ok(child) => Process::watch(child, false, &tasks, &guard),
        Err(error) => {
            say.failure(exec_error(&program.path, &error));
            return ExitCode::FAILURE;
        }
    };
    let session = Session { say, config, daprd, tasks, guard };
    let (app, started) = session.start(context, &mut interrupts).await;
    if let Err(Start::AppFailed) = started {
        session.daprd.kill();
        session.daprd.exited().await;
        say.success("Start App failed, try to stop Dapr successfully");
        return ExitCode::FAILURE;
    }
    if started.is_ok() {
        session.ended(app.as_ref(), &mut interrupts).await;
    }
    session.shut_down(app.as_ref(), &mut interrupts).await
}

struct Session {
    say: Say,
    config: RunConfig,
    daprd: Process,
    tasks: TaskGroup,
    guard: Arc<Guard>,
}

enum Start {
    /// A signal came, or a process ended.
    Ended,
    AppFailed,
}

impl Session {
    async fn start(
        &self,
        context: &Context,
        interrupts: &mut Interrupts,
    ) -> (Option<Process>, Result<(), Start>) {
        if self.config.app_port <= 0 {
            // A sidecar with an application port waits for the application
            // before it listens; waiting for it here would wait for ever.
            let say = self.say;
            let wait = wait_for_sidecar(&self.config, |level, line| say.out(level, line));
            if self.unless_ended(None, interrupts, wait).await.is_none() {
                return (None, Err(Start::Ended));
            }
        }
        let app = match self.start_app(context) {
            Ok(app) => app,
            Err(reason) => {
                self.say.failure(reason);
                return (None, Err(Start::AppFailed));
            }
        };
        let announce = self.announce(app.as_ref());
        match self.unless_ended(app.as_ref(), interrupts, announce).await {
            Some(()) => (app, Ok(())),
            None => (app, Err(Start::Ended)),
        }
    }

    /// The application inherits the terminal as it is: no pipes, no prefix.
    fn start_app(&self, context: &Context) -> Result<Option<Process>, String> {
        let Some((name, args)) = self.config.command.split_first() else { return Ok(None) };
        let file = lookup::find(name, context.var("PATH").unwrap_or_default())
            .map_err(|reason| format!("Failed to find command {name}: {reason}"))?;
        let child = Command::new(&file)
            .args(args)
            .envs(self.config.app_env())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("failed to fork/exec app: {}", exec_error(&file, &error)))?;
        Ok(Some(Process::watch(child, true, &self.tasks, &self.guard)))
    }

    /// Leaves with the sidecar what `list` and `stop` need.
    async fn announce(&self, app: Option<&Process>) {
        let say = self.say;
        let endpoint = http_endpoint(&self.config);
        let put = async |key: &str, value: &str| {
            let result = metadata::put(&endpoint, key, value).await;
            if let Err(reason) = &result {
                say.warning(format!("Could not update sidecar metadata for {key}: {reason}"));
            }
            result.is_ok()
        };
        put("cliPID", &std::process::id().to_string()).await;
        let Some(app) = app else {
            say.success("You're up and running! Dapr logs will appear here.\n");
            return;
        };
        say.info(format!("Updating metadata for appPID: {}", app.pid));
        put("appPID", &app.pid.to_string()).await;
        let command = self.config.command.join(" ");
        say.info(format!("Updating metadata for app command: {command}"));
        if put("appCommand", &command).await {
            say.success("You're up and running! Both Dapr and your app logs will appear here.\n");
        }
    }

    /// Does `work`, unless the session ends first.
    async fn unless_ended<T>(
        &self,
        app: Option<&Process>,
        interrupts: &mut Interrupts,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            () = self.ended(app, interrupts) => None,
            done = work => Some(done),
        }
    }

    /// Waits for what ends the session and tells about a process that ended.
    async fn ended(&self, app: Option<&Process>, interrupts: &mut Interrupts) {
        let app_exit = async {
            match app {
                Some(app) => app.exited().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            status = self.daprd.exited() => match failure(status) {
                Some(reason) => self.say.failure(format!("The daprd process exited with error code: {reason}")),
                None => self.say.success("Exited Dapr successfully"),
            },
            status = app_exit => self.tell_app_exit(status),
            () = interrupts.next() => {}
        }
    }

    fn tell_app_exit(&self, status: ExitStatus) {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(0), _) => self.say.success("Exited App successfully"),
            (Some(code), _) => self.say.failure(format!("The App process exited with error code: {code}")),
            (None, signal) => self.say.failure(format!(
                "The App process was terminated by signal: {}",
                signal_name(signal.unwrap_or(0))
            )),
        }
    }

    /// Ends the sidecar, then the application; another signal on the way ends
    /// both at once.
    async fn shut_down(&self, app: Option<&Process>, interrupts: &mut Interrupts) -> ExitCode {
        self.say.info("\nterminated signal received: shutting down");
        let daprd_end = self.daprd.status();
        let app_end = app.and_then(Process::status);
        let orderly = async {
            if daprd_end.is_none() {
                self.daprd.stop().await;
            }
            self.tell_daprd_end(daprd_end);
            if let Some(app) = app {
                app.stop().await;
            }
        };
        tokio::select! {
            () = orderly => {}
            () = interrupts.next() => {
                self.daprd.kill();
                app.inspect(|app| app.kill());
            }
        }
        self.tell_app_end(app.is_some(), app_end);
        sockets(&self.config).iter().for_each(|path| drop(std::fs::remove_file(path)));
        let failed = [daprd_end, app_end].into_iter().flatten().any(|status| !status.success());
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// `end` is how the sidecar had ended by itself.
    fn tell_daprd_end(&self, end: Option<ExitStatus>) {
        match end.map(failure) {
            None => self.say.success("Exited Dapr successfully"),
            Some(Some(reason)) => self.say.failure(format!("Error exiting Dapr: {reason}")),
            Some(None) => {}
        }
    }

    fn tell_app_end(&self, has_app: bool, end: Option<ExitStatus>) {
        use std::os::unix::process::ExitStatusExt;
        match end {
            None if has_app => self.say.success("Exited App successfully"),
            Some(status) if !status.success() => {
                let reason = match (status.code(), status.signal()) {
                    (Some(code), _) => format!("app exited with status {code}"),
                    (None, signal) => {
                        format!("app terminated by signal: {}", signal_name(signal.unwrap_or(0)))
                    }
                };
                self.say.failure(format!("Error exiting App: {reason}"));
            }
            _ => {}
        }
    }
}
