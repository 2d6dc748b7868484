//! The run file: several applications in one YAML file (cli.md §5.1).

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use dapr_gocompat::path::clean;
use dapr_gocompat::quote::quote;
use dapr_resources::yaml::{Node, parse_first};

use super::config::{RunConfig, Shared};
use super::logs::Destination;
use super::yaml_in::Fields;
use crate::context::Context;
use crate::layout::stat_error;

const DEFAULT_NAME: &str = "dapr.yaml";
/// The run file comes from stdin.
const STDIN: &str = "-";
const PULL_POLICIES: [&str; 3] = ["Always", "Never", "IfNotPresent"];

#[derive(Debug)]
pub(crate) struct RunFile {
    pub name: String,
    pub apps: Vec<App>,
}

/// One application of a run file, all paths absolute.
#[derive(Debug)]
pub(crate) struct App {
    pub dir: PathBuf,
    pub run: RunConfig,
    pub(super) app_log: Destination,
    pub(super) daprd_log: Destination,
}

/// The file that `path` means: itself, `dapr.yaml` in a folder, or stdin.
pub(crate) fn locate(path: &str) -> Result<PathBuf, String> {
    if path == STDIN {
        return Ok(path.into());
    }
    let file = Path::new(path);
    let meta = file
        .metadata()
        .map_err(|error| format!("error getting file info for {path}: {}", stat_error(file, &error)))?;
    if meta.is_dir() {
        let inside = file.join(DEFAULT_NAME);
        check(&inside).map_err(|reason| {
            format!("error in validating the file path {}: {reason}", quote(&inside.to_string_lossy()))
        })?;
        return Ok(inside);
    }
    match file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
        true => Ok(file.to_owned()),
        false => Err(format!("file {} is not a YAML file", quote(path))),
    }
}

/// Absolute and without `.` and `..`; the same text for the same file is how
/// `stop` finds what `run` started.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    clean(&whole.to_string_lossy()).into()
}

fn check(path: &Path) -> Result<(), String> {
    match path.metadata() {
        Ok(_) => Ok(()),
        Err(error) => {
            let reason = stat_error(path, &error);
            Err(format!("error in getting the file info for {}: {reason}", path.display()))
        }
    }
}

/// Reads, resolves and checks a run file.
pub(crate) fn read(context: &Context, path: &Path) -> Result<RunFile, String> {
    let text = match path.as_os_str() == STDIN {
        true => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| format!("error in reading the provided app config from stdin: {error}"))?;
            text
        }
        false => std::fs::read_to_string(path)
            .map_err(|error| format!("error in reading the provided app config file: {error}"))?,
    };
    let base = absolute(path).parent().map(Path::to_owned).unwrap_or_default();
    parse(context, &text, &base)
}

fn parse(context: &Context, text: &str, base: &Path) -> Result<RunFile, String> {
    let unreadable = |reason: String| format!("error in parsing the provided app config file: {reason}");
    let node = parse_first(text).map_err(|error| unreadable(error.to_string()))?;
    let raw = Raw::of(node.as_ref()).map_err(unreadable)?;
    if raw.version == 0 {
        return Err("required field 'version' not found in the provided run template file".to_owned());
    }
    let paths = Paths { context };
    let mut common = raw.common;
    paths.resolve_shared(base, &mut common)?;
    let apps = raw.apps.into_iter().map(|app| paths.app(base, &common, app)).collect::<Result<_, _>>()?;
    Ok(RunFile { name: raw.name, apps })
}

/// The file's fields before paths are resolved.
struct Raw {
    version: i64,
    name: String,
    common: Shared,
    apps: Vec<RawApp>,
}

struct RawApp {
    dir: String,
    pull_policy: String,
    run: RunConfig,
}

impl Raw {
    fn of(node: Option<&Node>) -> Result<Self, String> {
        let fields = Fields::of(node)?;
        Ok(Self {
            version: fields.int("version")?,
            name: fields.text("name")?,
            common: shared(&Fields::of(fields.node("common"))?)?,
            apps: fields.items("apps")?.iter().map(raw_app).collect::<Result<_, _>>()?,
        })
    }
}

fn raw_app(node: &Node) -> Result<RawApp, String> {
    let fields = Fields::of(Some(node))?;
    let run = RunConfig {
        shared: shared(&fields)?,
        app_id: fields.text("appID")?,
        app_channel_address: fields.text("appChannelAddress")?,
        app_port: fields.int("appPort")?,
        http_port: fields.int("daprHTTPPort")?,
        grpc_port: fields.int("daprGRPCPort")?,
        profile_port: fields.int("profilePort")?,
        metrics_port: fields.int("metricsPort")?,
        internal_grpc_port: fields.int("daprInternalGRPCPort")?,
        unix_domain_socket: fields.text("unixDomainSocket")?,
        command: fields.texts("command")?,
    };
    Ok(RawApp { dir: fields.text("appDirPath")?, pull_policy: fields.text("containerImagePullPolicy")?, run })
}

fn shared(fields: &Fields<'_>) -> Result<Shared, String> {
    let mut resources_paths = fields.texts("resourcesPaths")?;
    let single = fields.text("resourcesPath")?;
    if !single.trim().is_empty() {
        resources_paths.push(single);
    }
    Ok(Shared {
        config_file: fields.text("configFilePath")?,
        app_protocol: fields.text("appProtocol")?,
        listen_addresses: fields.text("apiListenAddresses")?,
        enable_profiling: fields.bool("enableProfiling")?,
        log_level: fields.text("logLevel")?,
        app_max_concurrency: fields.int("appMaxConcurrency")?,
        placement: fields.optional_text("placementHostAddress")?,
        components_path: String::new(),
        resources_paths,
        app_ssl: fields.bool("appSSL")?,
        max_body_size: fields.text("maxBodySize")?,
        read_buffer_size: fields.text("readBufferSize")?,
        enable_app_health: fields.bool("enableAppHealthCheck")?,
        app_health_path: fields.text("appHealthCheckPath")?,
        app_health_interval: fields.int("appHealthProbeInterval")?,
        app_health_timeout: fields.int("appHealthProbeTimeout")?,
        app_health_threshold: fields.int("appHealthThreshold")?,
        enable_api_logging: fields.bool("enableApiLogging")?,
        scheduler: fields.optional_text("schedulerHostAddress")?,
        runtime_path: fields.text("runtimePath")?,
        env: fields.map("env")?,
        app_log_destination: fields.text("appLogDestination")?,
        daprd_log_destination: fields.text("daprdLogDestination")?,
    })
}

impl Shared {
    /// Takes from `common` what this has at its zero value; `false`, `0` and
    /// the empty text never override (cli.md §12.17).
    fn fill_from(&mut self, common: &Shared) {
        fn fill<T: Default + PartialEq + Clone>(own: &mut T, common: &T) {
            if *own == T::default() {
                own.clone_from(common);
            }
        }
        fill(&mut self.config_file, &common.config_file);
        fill(&mut self.app_protocol, &common.app_protocol);
        fill(&mut self.listen_addresses, &common.listen_addresses);
        fill(&mut self.enable_profiling, &common.enable_profiling);
        fill(&mut self.log_level, &common.log_level);
        fill(&mut self.app_max_concurrency, &common.app_max_concurrency);
        fill(&mut self.placement, &common.placement);
        fill(&mut self.resources_paths, &common.resources_paths);
        fill(&mut self.app_ssl, &common.app_ssl);
        fill(&mut self.max_body_size, &common.max_body_size);
        fill(&mut self.read_buffer_size, &common.read_buffer_size);
        fill(&mut self.enable_app_health, &common.enable_app_health);
        fill(&mut self.app_health_path, &common.app_health_path);
        fill(&mut self.app_health_interval, &common.app_health_interval);
        fill(&mut self.app_health_timeout, &common.app_health_timeout);
        fill(&mut self.app_health_threshold, &common.app_health_threshold);
        fill(&mut self.enable_api_logging, &common.enable_api_logging);
        fill(&mut self.scheduler, &common.scheduler);
        fill(&mut self.runtime_path, &common.runtime_path);
        fill(&mut self.app_log_destination, &common.app_log_destination);
        fill(&mut self.daprd_log_destination, &common.daprd_log_destination);
        let mut env: BTreeMap<String, String> = common.env.clone();
        env.append(&mut self.env);
        self.env = env;
    }
}

/// Turns the file's paths into absolute ones that exist.
struct Paths<'a> {
    context: &'a Context,
}

impl Paths<'_> {
    fn resolve(&self, base: &Path, path: &mut String) -> Result<(), String> {
        if path.is_empty() {
            return Ok(());
        }
        let expanded = match path.strip_prefix("~/") {
            Some(rest) => {
                let home = self
                    .context
                    .home()
                    .map_err(|error| format!("error in getting the home directory for {path}: {error}"))?;
                home.join(rest)
            }
            None => PathBuf::from(path.as_str()),
        };
        let whole = match expanded.is_absolute() {
            true => expanded,
            false => clean(&base.join(expanded).to_string_lossy()).into(),
        };
        check(&whole)?;
        *path = whole.to_string_lossy().into_owned();
        Ok(())
    }

    fn resolve_shared(&self, base: &Path, shared: &mut Shared) -> Result<(), String> {
        self.resolve(base, &mut shared.config_file)?;
        self.resolve(base, &mut shared.runtime_path)?;
        shared.resources_paths.iter_mut().try_for_each(|path| self.resolve(base, path))
    }

    fn app(&self, base: &Path, common: &Shared, raw: RawApp) -> Result<App, String> {
        let RawApp { mut dir, pull_policy, mut run } = raw;
        if dir.is_empty() {
            return Err("required field 'appDirPath' not found in the provided app config file".to_owned());
        }
        self.resolve(base, &mut dir)?;
        let dir = PathBuf::from(dir);
        self.resolve_shared(&dir, &mut run.shared)?;
        if !pull_policy.is_empty() && !PULL_POLICIES.contains(&pull_policy.as_str()) {
            let allowed = PULL_POLICIES.join(", ");
            return Err(format!(
                "invalid containerImagePullPolicy: {pull_policy}, allowed values: {allowed}"
            ));
        }
        self.own_resources(&dir, &mut run.shared);
        run.shared.fill_from(common);
        self.default_resources(&mut run.shared)?;
        if run.app_id.is_empty() {
            run.app_id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        }
        let app_log = Destination::parse(&run.shared.app_log_destination, Destination::FileAndConsole)?;
        let daprd_log = Destination::parse(&run.shared.daprd_log_destination, Destination::File)?;
        Ok(App { dir, run, app_log, daprd_log })
    }

    /// What the application keeps beside its code comes before `common`.
    fn own_resources(&self, dir: &Path, shared: &mut Shared) {
        let folder = dir.join(".dapr");
        let existing = |path: PathBuf| path.exists().then(|| path.to_string_lossy().into_owned());
        if shared.resources_paths.is_empty() {
            shared.resources_paths.extend(existing(folder.join("resources")));
        }
        if shared.config_file.is_empty() {
            shared.config_file = existing(folder.join("config.yaml")).unwrap_or_default();
        }
    }

    fn default_resources(&self, shared: &mut Shared) -> Result<(), String> {
        if !shared.resources_paths.is_empty() && !shared.config_file.is_empty() {
            return Ok(());
        }
        let layout =
            self.context.layout_at(layout_path(self.context, shared)).map_err(|error| error.to_string())?;
        if shared.resources_paths.is_empty() {
            shared.resources_paths.push(layout.components().to_string_lossy().into_owned());
        }
        if shared.config_file.is_empty() {
            shared.config_file = layout.config().to_string_lossy().into_owned();
        }
        Ok(())
    }
}

/// `runtimePath` of the file, else that of the command line.
pub(super) fn layout_path<'a>(context: &'a Context, shared: &'a Shared) -> &'a str {
    if shared.runtime_path.is_empty() { context.runtime_path() } else { &shared.runtime_path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::say::Say;

    /// A folder with two applications; the second has resources of its own.
    fn shop() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in ["one", "two/.dapr/resources", "shared", "home/.dapr"] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        std::fs::write(folder.path().join("conf.yaml"), "spec: {}").unwrap();
        folder
    }

    fn read_in(folder: &Path, text: &str) -> Result<RunFile, String> {
        let context = Context::of_process(&[], Say::default(), &folder.join("home").to_string_lossy());
        parse(&context, text, folder)
    }

    #[test]
    fn applications_inherit_and_override() {
        let shop = shop();
        let file = read_in(
            shop.path(),
            "version: 1\nname: shop\ncommon:\n  resourcesPath: shared\n  configFilePath: conf.yaml\n  logLevel: debug\n  \
             enableApiLogging: true\n  env: {A: common, B: 1.10}\n  unknown: x\napps:\n- appDirPath: one\n  appID: first\n  \
             appPort: 8080\n  command: [python3, app.py]\n  logLevel: warn\n  enableApiLogging: false\n  \
             env: {A: own, C: yes}\n  placementHostAddress: \"\"\n- appDirPath: ./two/\n  daprdLogDestination: console\n",
        )
        .unwrap();
        assert_eq!(file.name, "shop");
        let [one, two] = &file.apps[..] else { panic!("two applications") };
        let in_shop = |path: &str| shop.path().join(path).to_string_lossy().into_owned();
        assert_eq!((one.run.app_id.as_str(), one.run.app_port), ("first", 8080));
        assert_eq!(one.run.command, ["python3", "app.py"]);
        assert_eq!(one.run.shared.log_level, "warn");
        assert!(one.run.shared.enable_api_logging, "false does not override");
        assert_eq!(one.run.shared.placement.as_deref(), Some(""));
        let env: Vec<(&str, &str)> =
            one.run.shared.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(env, [("A", "own"), ("B", "1.10"), ("C", "yes")]);
        assert_eq!(one.run.shared.resources_paths, [in_shop("shared")]);
        assert_eq!(one.run.shared.config_file, in_shop("conf.yaml"));
        assert_eq!((one.app_log, one.daprd_log), (Destination::FileAndConsole, Destination::File));
        assert_eq!(two.run.app_id, "two");
        assert_eq!(two.run.shared.resources_paths, [in_shop("two/.dapr/resources")]);
        assert_eq!(two.daprd_log, Destination::Console);
    }

    #[test]
    fn without_anything_the_installation_serves() {
        let shop = shop();
        let file = read_in(shop.path(), "version: 1\napps: [{appDirPath: one}]").unwrap();
        let root = shop.path().join("home/.dapr");
        let shared = &file.apps[0].run.shared;
        assert_eq!(shared.resources_paths, [root.join("components").to_string_lossy()]);
        assert_eq!(shared.config_file, root.join("config.yaml").to_string_lossy());
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let shop = shop();
        let missing = shop.path().join("nowhere");
        let missing = missing.display();
        for (text, message) in [
            ("apps: []", "required field 'version' not found in the provided run template file".to_owned()),
            (
                "version: 1\napps: [{appID: x}]",
                "required field 'appDirPath' not found in the provided app config file".to_owned(),
            ),
            (
                "version: 1\napps: [{appDirPath: nowhere}]",
                format!("error in getting the file info for {missing}: stat {missing}: no such file or directory"),
            ),
            (
                "version: 1\napps: [{appDirPath: one, containerImagePullPolicy: Maybe}]",
                "invalid containerImagePullPolicy: Maybe, allowed values: Always, Never, IfNotPresent".to_owned(),
            ),
            (
                "version: 1\napps: [{appDirPath: one, appLogDestination: printer}]",
                "invalid log destination type: printer".to_owned(),
            ),
            (
                "version: 1\napps: [{appDirPath: one, appPort: many}]",
                "error in parsing the provided app config file: yaml: line 2: expected a whole number, found `many`".to_owned(),
            ),
        ] {
            assert_eq!(read_in(shop.path(), text).map(|_| ()), Err(message));
        }
        assert_eq!(read_in(shop.path(), "version: 1").unwrap().apps.len(), 0);
    }

    #[test]
    fn paths_lead_to_yaml_files() {
        let shop = shop();
        let path = |name: &str| shop.path().join(name).to_string_lossy().into_owned();
        std::fs::write(path("one/dapr.yaml"), "").unwrap();
        std::fs::write(path("notes.txt"), "").unwrap();
        assert_eq!(locate("-"), Ok("-".into()));
        assert_eq!(locate(&path("one")), Ok(path("one/dapr.yaml").into()));
        assert_eq!(locate(&path("conf.yaml")), Ok(path("conf.yaml").into()));
        assert_eq!(
            locate(&path("notes.txt")),
            Err(format!("file \"{}\" is not a YAML file", path("notes.txt")))
        );
        assert!(locate(&path("two")).unwrap_err().starts_with("error in validating the file path "));
        let gone = path("gone");
        assert_eq!(
            locate(&gone),
            Err(format!("error getting file info for {gone}: stat {gone}: no such file or directory"))
        );
    }
}
