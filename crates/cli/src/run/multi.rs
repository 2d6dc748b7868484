//! `dapr run -f`: the applications of a run file (cli.md §5.2).

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dapr_gocompat::quote::quote;
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use futures::future::join_all;
use nix::unistd::{Pid, setpgid};
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::file::{App, RunFile, absolute, layout_path};
use super::guard::Guard;
use super::logs::Log;
use super::ports::Ports;
use super::prepare::{prepare, sockets};
use super::process::{Process, failure};
use super::sidecar;
use super::start::{Interrupts, exec_error, http_endpoint, sidecar_command, starting, wait_for_sidecar};
use crate::context::Context;
use crate::say::{Level, Say, stdout};
use crate::{instances, metadata};

const HOST_IP: &str = "DAPR_HOST_IP";
/// How long the rest of an ended process's output may take; something it left
/// behind may hold its pipe.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);

/// Runs until a signal.
pub(crate) async fn run(context: &Context, file: RunFile, path: &Path) -> ExitCode {
    // One group for this command and the sidecars, so that `stop -f` reaches all.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    let mut interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            context.say.failure(format!("cannot listen for signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let runner = Runner {
        context,
        say: context.say,
        path,
        template: file.name,
        tasks: TaskGroup::new(Shutdown::new()),
        guard: Arc::new(Guard::start(context.executable().map(PathBuf::as_path))),
        fixed_ports: file.apps.iter().flat_map(fixed_ports).collect(),
    };
    let mut running: Vec<Running> = Vec::new();
    let mut failed = false;
    let mut interrupted = false;
    for app in file.apps {
        let started = tokio::select! {
            biased;
            () = interrupts.next() => { interrupted = true; None }
            started = runner.start(app, &mut running) => Some(started),
        };
        match started {
            Some(Ok(())) => {}
            Some(Err(())) => failed = true,
            None => {}
        }
        if failed || interrupted {
            break;
        }
    }
    if !failed {
        if !interrupted {
            interrupts.next().await;
        }
        stdout("\n");
        runner
            .say
            .info("Received signal to stop Dapr and app processes. Shutting down Dapr and app processes.");
    }
    runner.shut_down(&mut running, &mut interrupts).await;
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn fixed_ports(app: &App) -> Vec<i64> {
    let run = &app.run;
    vec![
        run.app_port,
        run.http_port,
        run.grpc_port,
        run.metrics_port,
        run.internal_grpc_port,
        run.profile_port,
    ]
}

struct Runner<'a> {
    context: &'a Context,
    say: Say,
    /// The run file.
    path: &'a Path,
    template: String,
    tasks: TaskGroup,
    guard: Arc<Guard>,
    /// Ports that some application of the file asks for by number.
    fixed_ports: Vec<i64>,
}

/// One application and its sidecar.
struct Running {
    app: App,
    daprd: Arc<Process>,
    daprd_log: Log,
    process: Option<Arc<Process>>,
    /// None without a command.
    app_log: Option<Log>,
    copies: Vec<JoinHandle<Option<()>>>,
    /// Reports ends; silent once this command ends the processes itself.
    reporting: Shutdown,
}

impl Runner<'_> {
    /// Starts one application. What was started stands in `running` before
    /// anything is waited for, so that a signal on the way ends it as well.
    async fn start(&self, mut app: App, running: &mut Vec<Running>) -> Result<(), ()> {
        let id = app.run.app_id.clone();
        self.say.info(format!("Validating config and starting app {}", quote(&id)));
        let (program, mut ports) = self.prepare(&mut app).map_err(|reason| {
            self.say.failure(format!(
                "Error validating run config for app {} present in {}: {reason}",
                quote(&id),
                self.path.display()
            ));
        })?;
        let (daprd_log, app_log) = self.open_logs(&app)?;
        let fail = |reason: &str| {
            let line = format!("Error starting Dapr and app ({}): {reason}", quote(&id));
            self.tell_both(&daprd_log, app_log.as_ref(), &line);
        };
        daprd_log.status(self.say, Level::Info, &starting(&app.run));
        ports.release();
        let (daprd, copies) = self.start_sidecar(&program, &app, &daprd_log).map_err(|reason| {
            daprd_log.status(self.say, Level::Failure, &format!("Error starting daprd process: {reason}"));
            fail(&reason);
        })?;
        let reporting = Shutdown::new();
        self.report_sidecar(&daprd, &daprd_log, &reporting);
        running.push(Running {
            app,
            daprd,
            daprd_log: daprd_log.clone(),
            process: None,
            app_log: app_log.clone(),
            copies,
            reporting,
        });
        let this = running.last_mut().expect("pushed above");
        if this.app.run.app_port <= 0 {
            let wait =
                wait_for_sidecar(&this.app.run, |level, line| this.daprd_log.status(self.say, level, &line));
            while_alive(&this.daprd, wait).await;
        }
        if let Err(reason) = self.start_app(this) {
            if let Some(log) = &app_log {
                log.text(
                    &self.say.bare_line(Level::Failure, format!("Error starting app process: {reason}")),
                );
            }
            fail(&reason);
            return Err(());
        }
        self.announce(this).await;
        Ok(())
    }

    fn prepare(&self, app: &mut App) -> Result<(sidecar::Program, Ports), String> {
        let layout = self
            .context
            .layout_at(layout_path(self.context, &app.run.shared))
            .map_err(|error| error.to_string())?;
        let program = sidecar::locate(self.context, &layout);
        let scheduler = &mut app.run.shared.scheduler;
        if program.version.wants_scheduler() && scheduler.as_deref().unwrap_or_default().is_empty() {
            // An empty address does not turn the scheduler off here (cli.md §12.17).
            *scheduler = Some("localhost".to_owned());
        }
        let running = instances::scan();
        let mut ports = Ports::beside(&running);
        let own = fixed_ports(app);
        self.fixed_ports.iter().filter(|port| !own.contains(port)).for_each(|port| ports.avoid(*port));
        prepare(&mut app.run, &layout, self.context.var("NAMESPACE"), &running, &mut ports)?;
        Ok((program, ports))
    }

    fn open_logs(&self, app: &App) -> Result<(Log, Option<Log>), ()> {
        let id = &app.run.app_id;
        let folder = logs_folder(app);
        let stamp = jiff::Zoned::now().strftime("%Y%m%d%H%M%S").to_string();
        let open = |kind: &str, destination| {
            let path = folder.join(format!("{id}_{kind}_{stamp}.log"));
            let log = std::fs::create_dir_all(&folder).and_then(|()| Log::open(destination, &path));
            log.map_err(|error| {
                let path = self.path.display();
                let line =
                    format!("Error getting {kind} log file for app {} present in {path}: {error}", quote(id));
                self.say.failure(line);
            })
        };
        let daprd_log = open("daprd", app.daprd_log)?;
        if app.run.command.is_empty() {
            let path = self.path.display();
            self.say.warning(format!("No application command found for app {} present in {path}", quote(id)));
            return Ok((daprd_log, None));
        }
        Ok((daprd_log, Some(open("app", app.app_log)?)))
    }

    fn start_sidecar(
        &self,
        program: &sidecar::Program,
        app: &App,
        log: &Log,
    ) -> Result<(Arc<Process>, Vec<JoinHandle<Option<()>>>), String> {
        let mut command = sidecar_command(program, &app.run, self.say.json);
        command.current_dir(&app.dir);
        if self.context.var(HOST_IP).is_none() {
            command.env(HOST_IP, "127.0.0.1");
        }
        match log.direct() {
            Some(streams) => {
                let (out, err) = streams.map_err(|error| error.to_string())?;
                command.stdout(out).stderr(err);
            }
            None => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
        }
        let mut child = command.spawn().map_err(|error| exec_error(&program.path, &error))?;
        let copies = log.copy_output(&mut child, None, &self.tasks);
        Ok((Arc::new(Process::watch(child, false, &self.tasks, &self.guard)), copies))
    }

    fn start_app(&self, this: &mut Running) -> Result<(), String> {
        let Some(log) = &this.app_log else {
            this.daprd_log.file_text(&self.say.bare_line(Level::Warning, "No application command present"));
            return Ok(());
        };
        let (name, args) = this.app.run.command.split_first().ok_or("exec: no command")?;
        if name.trim().is_empty() {
            return Err("exec: no command".to_owned());
        }
        let mut child = Command::new(name)
            .args(args)
            .envs(this.app.run.app_env())
            .current_dir(&this.app.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("exec: {}: {}", quote(name), crate::layout::errno_text(&error)))?;
        let prefix = format!("== APP - {} == ", this.app.run.app_id);
        this.copies.extend(log.copy_output(&mut child, Some(&prefix), &self.tasks));
        let process = Arc::new(Process::watch(child, true, &self.tasks, &self.guard));
        self.report_app(&process, log, &this.reporting);
        this.process = Some(process);
        Ok(())
    }

    /// Says when the sidecar ends before this command ends it. The others run on.
    fn report_sidecar(&self, daprd: &Arc<Process>, log: &Log, reporting: &Shutdown) {
        let (daprd, log, say, reporting) = (Arc::clone(daprd), log.clone(), self.say, reporting.clone());
        self.tasks.spawn("sidecar end", async move {
            tokio::select! {
                biased;
                () = reporting.wait() => {}
                status = daprd.exited() => match failure(status) {
                    Some(reason) => log.status(
                        say, Level::Failure, &format!("The daprd process exited with error code: {reason}")),
                    None => log.status(say, Level::Success, "Exited Dapr successfully"),
                },
            }
        });
    }

    fn report_app(&self, app: &Arc<Process>, log: &Log, reporting: &Shutdown) {
        let (app, log, say, reporting) = (Arc::clone(app), log.clone(), self.say, reporting.clone());
        self.tasks.spawn("application end", async move {
            tokio::select! {
                biased;
                () = reporting.wait() => {}
                status = app.exited() => log.text(&match failure(status) {
                    Some(reason) => say.bare_line(
                        Level::Failure, format!("The App process exited with error code: {reason}")),
                    None => say.bare_line(Level::Success, "Exited App successfully"),
                }),
            }
        });
    }

    /// Leaves with the sidecar what `list` and `stop` need, then says so.
    async fn announce(&self, this: &Running) {
        let endpoint = http_endpoint(&this.app.run);
        let tell = |level, line: &str| this.daprd_log.status(self.say, level, line);
        let own_pid = std::process::id().to_string();
        tell(Level::Info, &format!("Updating metadata for cliPID: {own_pid}"));
        let mut attributes = vec![
            ("cliPID", own_pid),
            ("runTemplatePath", absolute(self.path).to_string_lossy().into_owned()),
            ("runTemplateName", self.template.clone()),
        ];
        let path_of = |log: Option<&Log>| Some(log?.path()?.to_string_lossy().into_owned());
        attributes.extend(path_of(this.app_log.as_ref()).map(|path| ("appLogPath", path)));
        attributes.extend(path_of(Some(&this.daprd_log)).map(|path| ("daprdLogPath", path)));
        if let Some(process) = &this.process {
            attributes.push(("appCommand", this.app.run.command.join(" ")));
            attributes.push(("appPID", process.pid.to_string()));
        }
        let put_all = async {
            for (key, value) in &attributes {
                match *key {
                    "appCommand" => tell(Level::Info, &format!("Updating metadata for app command: {value}")),
                    "appPID" => tell(Level::Info, &format!("Updating metadata for appPID: {value}")),
                    _ => {}
                }
                if let Err(reason) = metadata::put(&endpoint, key, value).await {
                    tell(Level::Warning, &format!("Could not update sidecar metadata for {key}: {reason}"));
                }
            }
        };
        while_alive(&this.daprd, put_all).await;
        tell(Level::Success, "You're up and running! Dapr logs will appear here.\n");
        let run = &this.app.run;
        self.say.info(format!(
            "Started Dapr with app id {}. HTTP Port: {}. gRPC Port: {}",
            quote(&run.app_id),
            run.http_port,
            run.grpc_port
        ));
        self.say.info(format!("Writing log files to directory : {}", logs_folder(&this.app).display()));
    }

    /// Ends everything, all applications at the same time; another signal on
    /// the way ends them at once.
    async fn shut_down(&self, running: &mut [Running], interrupts: &mut Interrupts) {
        let stopping = async { join_all(running.iter().map(|this| self.stop(this))).await };
        // `stop -f` and Ctrl-C may arrive twice: for the group and for this process.
        let again = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            interrupts.next().await;
        };
        let orderly = tokio::select! {
            _ = stopping => true,
            () = again => false,
        };
        for this in running.iter_mut() {
            if !orderly {
                this.daprd.kill();
                this.process.iter().for_each(|process| process.kill());
            }
            let rest = join_all(std::mem::take(&mut this.copies));
            let _ = tokio::time::timeout(OUTPUT_LIMIT, rest).await;
            sockets(&this.app.run).iter().for_each(|path| drop(std::fs::remove_file(path)));
        }
    }

    async fn stop(&self, this: &Running) {
        let daprd_end = this.daprd.status();
        let app_end = this.process.as_ref().and_then(|process| process.status());
        this.reporting.trigger();
        let tell = |level, line: &str| this.daprd_log.status(self.say, level, line);
        const ENDING: &str = "\ntermination signal received: shutting down";
        tell(Level::Info, ENDING);
        if let Some(log) = &this.app_log {
            log.text(&self.say.bare_line(Level::Info, ENDING));
        }
        match daprd_end.map(failure) {
            None => {
                this.daprd.stop().await;
                tell(Level::Success, "Exited Dapr successfully");
            }
            Some(Some(reason)) => tell(Level::Failure, &format!("Error exiting Dapr: {reason}")),
            Some(None) => {}
        }
        let Some(process) = &this.process else { return };
        // Also when it ended by itself: it may have left something running.
        process.stop().await;
        match (app_end.and_then(failure), &this.app_log) {
            (Some(reason), Some(log)) => {
                log.text(&self.say.bare_line(Level::Failure, format!("Error exiting App: {reason}")));
            }
            _ => tell(Level::Success, "Exited App successfully"),
        }
    }

    /// A failure that concerns both logs and the terminal.
    fn tell_both(&self, daprd_log: &Log, app_log: Option<&Log>, line: &str) {
        let has_file = daprd_log.path().is_some() || app_log.is_some_and(|log| log.path().is_some());
        let bare = self.say.bare_line(Level::Failure, line);
        match has_file {
            true => stdout(&bare),
            false => self.say.out(Level::Failure, line),
        }
        daprd_log.file_text(&bare);
        app_log.inspect(|log| log.file_text(&bare));
    }
}

fn logs_folder(app: &App) -> PathBuf {
    app.dir.join(".dapr").join("logs")
}

/// Does `work` as long as the sidecar lives; there is nothing to wait for after.
async fn while_alive(daprd: &Process, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = work => {}
        _ = daprd.exited() => {}
    }
}
