//! `dapr lint`: what is wrong with resource files before anything runs. An
//! addition to Dapr's commands (docs/lint.md).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dapr_flags::{Command, Flag, Matches};
use dapr_lint::{Finding, Job, Report, Severity};
use serde_json::json;

use super::{Handler, help_flag};
use crate::context::Context;
use crate::run::file;
use crate::say::{Level, stdout};

const EXAMPLE: &str = "
# Check what \"dapr run\" would load
dapr lint

# Check the folder of a project and its configuration
dapr lint --resources-path ./resources --config ./config.yaml

# Check everything that a run file names, for every application in it
dapr lint -f .

# Check single files, for a script
dapr lint statestore.yaml pubsub.yaml -o json
";
/// Where pluggable components leave their sockets (runtime.md §10).
const SOCKETS: &str = "DAPR_COMPONENTS_SOCKETS_FOLDER";
const DEFAULT_SOCKETS: &str = "/tmp/dapr-components-sockets";
/// Building blocks that a pluggable component may serve.
const PLUGGABLE: [&str; 4] = ["state", "pubsub", "bindings", "secretstores"];

pub(super) fn command() -> Command<Handler> {
    Command::<Handler>::new(
        "lint",
        "Check resource files before anything runs. Supported platforms: Self-hosted",
    )
    .args_usage("[files or folders]")
    .example(EXAMPLE)
    .flag(help_flag())
    .flag(Flag::list("resources-path", &[], "The path for resources directory"))
    .flag(Flag::string("config", "", "Dapr configuration file").short('c'))
    .flag(
        Flag::string("run-file", "", "Check what a run template file names, for each of its apps").short('f'),
    )
    .flag(Flag::string("app-id", "", "The id of the application that the resources are for").short('a'))
    .flag(Flag::string("output", "", "The output format. Valid values are: json").short('o'))
    .flag(Flag::bool("strict", false, "Warnings count as errors for the exit code"))
    .run(run)
}

fn run(context: &Context, matches: &Matches) -> ExitCode {
    match check(context, matches) {
        Ok(report) => answer(context, matches, &report),
        Err(reason) => {
            context.say.failure(reason);
            ExitCode::FAILURE
        }
    }
}

fn check(context: &Context, matches: &Matches) -> Result<Report, String> {
    let output = matches.string("output");
    if !matches!(output, "" | "json") {
        return Err(format!("unknown output format {output}. Valid values are: json"));
    }
    let jobs = jobs(context, matches)?;
    let catalogue =
        context.catalogue().ok_or("this executable has no sidecar whose components it could know")?;
    let env = |name: &str| context.var(name).map(str::to_owned);
    let mut report = Report::default();
    for job in &jobs {
        report.merge(dapr_lint::lint(job, &catalogue, &env));
    }
    if report.files.is_empty() && report.findings.is_empty() {
        let looked = jobs.iter().flat_map(|job| job.folders.iter().chain(&job.configurations));
        let looked: Vec<String> = looked.map(|path| path.display().to_string()).collect();
        return Err(format!("no YAML file was found to check in {}", looked.join(", ")));
    }
    Ok(report)
}

fn jobs(context: &Context, matches: &Matches) -> Result<Vec<Job>, String> {
    let run_file = matches.string("run-file");
    if !run_file.is_empty() {
        return of_run_file(context, run_file);
    }
    let mut job = Job { pluggable: pluggable(context), working_folder: current(), ..Job::default() };
    let app = matches.string("app-id");
    if !app.is_empty() {
        job.app = Some(app.to_owned());
    }
    for path in matches.positionals().iter().chain(matches.list("resources-path")) {
        let path = PathBuf::from(path);
        let meta = path.metadata().map_err(|error| crate::layout::stat_error(&path, &error))?;
        if meta.is_dir() { job.folders.push(path) } else { job.files.push(path) }
    }
    let config = matches.string("config");
    if !config.is_empty() {
        let path = PathBuf::from(config);
        path.metadata().map_err(|error| crate::layout::stat_error(&path, &error))?;
        job.configurations.push(path);
    }
    if job.folders.is_empty() && job.files.is_empty() && job.configurations.is_empty() {
        let layout = context.layout().map_err(|error| error.to_string())?;
        job.folders.extend(existing(layout.components()));
        job.configurations.extend(existing(layout.config()));
        if job.folders.is_empty() && job.configurations.is_empty() {
            let (resources, config) = (layout.components(), layout.config());
            return Err(format!(
                "there is nothing to check: neither {} nor {} exists. Name files or folders, or run dapr init",
                resources.display(),
                config.display()
            ));
        }
    }
    Ok(vec![job])
}

fn of_run_file(context: &Context, path: &str) -> Result<Vec<Job>, String> {
    let path = file::locate(path).map_err(|reason| format!("Failed to get run file path: {reason}"))?;
    let file = file::read(context, &path)
        .map_err(|reason| format!("Error getting apps from config file: {reason}"))?;
    if file.apps.is_empty() {
        return Err("the run file has no apps: there is nothing to check".to_owned());
    }
    let apps: Vec<String> = file.apps.iter().map(|app| app.run.app_id.clone()).collect();
    let pluggable = pluggable(context);
    let job = |app: &file::App| Job {
        folders: app.run.shared.resources_paths.iter().map(|path| shown(path)).collect(),
        configurations: existing(shown(&app.run.shared.config_file)).into_iter().collect(),
        app: Some(app.run.app_id.clone()),
        apps: Some(apps.clone()),
        working_folder: Some(app.dir.clone()),
        pluggable: pluggable.clone(),
        ..Job::default()
    };
    Ok(file.apps.iter().map(job).collect())
}

/// A path as short as it can be written from here.
fn shown(path: &str) -> PathBuf {
    let path = PathBuf::from(path);
    let inside = current().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    inside.filter(|short| !short.as_os_str().is_empty()).unwrap_or(path)
}

fn current() -> Option<PathBuf> {
    std::env::current_dir().ok()
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.exists().then_some(path)
}

/// The types that sockets promise: `<type>.<file name>`.
fn pluggable(context: &Context) -> Vec<String> {
    let folder = context.var(SOCKETS).filter(|folder| !folder.is_empty()).unwrap_or(DEFAULT_SOCKETS);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        path.extension().is_some_and(|extension| extension == "sock").then_some(())?;
        path.file_stem().map(|stem| stem.to_string_lossy().into_owned())
    });
    names.flat_map(|name| PLUGGABLE.map(|block| format!("{block}.{name}"))).collect()
}

fn answer(context: &Context, matches: &Matches, report: &Report) -> ExitCode {
    let json = matches.string("output") == "json";
    stdout(&if json { as_json(report) } else { as_text(report) });
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let files = counted(report.files.len(), "file");
    let failed = errors > 0 || (matches.bool("strict") && warnings > 0);
    if !json {
        let level = match (failed, warnings) {
            (true, _) => Level::Failure,
            (false, 0) => Level::Success,
            (false, _) => Level::Warning,
        };
        let found = match (errors, warnings) {
            (0, 0) => "nothing is wrong".to_owned(),
            (0, warnings) => counted(warnings, "warning"),
            (errors, 0) => counted(errors, "error"),
            (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
        };
        context.say.err(level, format!("{files} checked: {found}"));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// A line a finding, as compilers write it.
fn as_text(report: &Report) -> String {
    report.findings.iter().map(line).collect()
}

fn line(finding: &Finding) -> String {
    let Finding { file, line, severity, resource, message, mend } = finding;
    let of = if resource.is_empty() { String::new() } else { format!("{resource}: ") };
    let mend = if mend.is_empty() { String::new() } else { format!(" ({mend})") };
    format!("{}:{line}: {}: {of}{message}{mend}\n", file.display(), severity.name())
}

fn as_json(report: &Report) -> String {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "file": finding.file.display().to_string(),
                "line": finding.line,
                "severity": finding.severity.name(),
                "resource": finding.resource,
                "message": finding.message,
                "mend": finding.mend,
            })
        })
        .collect();
    let files: Vec<_> = report.files.iter().map(|file| file.display().to_string()).collect();
    let errors = report.count(Severity::Error);
    let warnings = report.count(Severity::Warning);
    let all = json!({"errors": errors, "warnings": warnings, "files": files, "findings": findings});
    format!("{all:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let finding = |line, severity, resource: &str, mend: &str| Finding {
            file: "a.yaml".into(),
            line,
            severity,
            resource: resource.to_owned(),
            message: "unknown field verison".to_owned(),
            mend: mend.to_owned(),
        };
        Report {
            findings: vec![
                finding(3, Severity::Error, "Component a", "did you mean version?"),
                finding(9, Severity::Warning, "", ""),
            ],
            files: vec!["a.yaml".into()],
        }
    }

    #[test]
    fn findings_read_like_a_compilers() {
        assert_eq!(
            as_text(&report()),
            "a.yaml:3: error: Component a: unknown field verison (did you mean version?)\n\
             a.yaml:9: warning: unknown field verison\n"
        );
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(0, "file"), "0 files");
    }

    #[test]
    fn json_has_everything() {
        let value: serde_json::Value = serde_json::from_str(&as_json(&report())).unwrap();
        assert_eq!((&value["errors"], &value["warnings"]), (&json!(1), &json!(1)));
        assert_eq!(value["files"], json!(["a.yaml"]));
        assert_eq!(
            value["findings"][0],
            json!({
                "file": "a.yaml", "line": 3, "severity": "error", "resource": "Component a",
                "message": "unknown field verison", "mend": "did you mean version?",
            })
        );
    }
}
