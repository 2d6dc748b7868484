//! The scenarios. bench/README.md says what each is for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::load::{self, Call, Load, Request};
use super::options::Names;
use super::processes::{App, Echo, Sentry, Sidecar, SidecarPlan, cpu_time, shorten};
use super::report::{Metric, Sample};
use super::{Bench, Side, http, mtls, observed, paths, pubsub, single};

/// Connections of the saturating generator.
pub const CONNECTIONS: u32 = 16;
/// Connections for the bodies of 1 MB.
const LARGE_CONNECTIONS: u32 = 4;
pub const PACED_RATE: u32 = 1_000;
pub const SMALL_BODY: usize = 1_024;
const LARGE_BODY: usize = 1 << 20;
/// State keys read and written in turn.
const KEYS: u32 = 1_000;
/// Characters of an unexpected answer that are shown.
const ANSWER_LENGTH: usize = 300;
/// A Configuration whose spec follows.
const CONFIGURATION: &str =
    "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: bench\nspec:\n";
const INVOKE_TIMEOUT: Duration = Duration::from_secs(20);
/// More failed requests than this share make a measurement worthless.
const TOLERATED_ERRORS: f64 = 0.01;

/// A program from outside that produces the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    Wrk,
    Oha,
    H2load,
}

pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    kind: Kind,
}

enum Kind {
    Start,
    Idle,
    Size,
    InvokePaced,
    InvokeMtls,
    InvokeSaturated {
        body: usize,
        connections: u32,
    },
    StateGet(&'static str),
    StateSet(&'static str),
    GrpcStateGet,
    GrpcProxied,
    InvokeObserved,
    UniquePaths,
    BulkPublish(&'static str),
    /// Component of ours and of theirs.
    PublishPaced(&'static str, &'static str),
    PublishSaturated(&'static str, &'static str),
}

const fn scenario(name: &'static str, what: &'static str, kind: Kind) -> Scenario {
    Scenario { name, what, kind }
}

pub static ALL: &[Scenario] = &[
    scenario("start", "exec to the first 204 of /v1.0/healthz, median of 20", Kind::Start),
    scenario("idle", "memory 5 s after start", Kind::Idle),
    scenario("size", "size of the program", Kind::Size),
    scenario("invoke-paced", "1 KB echo through two sidecars at 1,000/s", Kind::InvokePaced),
    scenario(
        "invoke-mtls",
        "1 KB echo through two sidecars with mutual TLS at 1,000/s, and its cost over plaintext",
        Kind::InvokeMtls,
    ),
    scenario(
        "invoke-observed",
        "the same with metrics, every request traced to OTLP, and a resiliency policy",
        Kind::InvokeObserved,
    ),
    scenario(
        "unique-paths",
        "memory under 1,000/s, each request with a path of its own; only when named, see --seconds",
        Kind::UniquePaths,
    ),
    scenario(
        "invoke-saturated",
        "1 KB echo through two sidecars, 16 connections",
        Kind::InvokeSaturated { body: SMALL_BODY, connections: CONNECTIONS },
    ),
    scenario(
        "invoke-1mb",
        "1 MB echo through two sidecars, 4 connections",
        Kind::InvokeSaturated { body: LARGE_BODY, connections: LARGE_CONNECTIONS },
    ),
    scenario(
        "state-get-in-memory",
        "state.in-memory, 1 KB value, 16 connections",
        Kind::StateGet("state.in-memory"),
    ),
    scenario(
        "state-set-in-memory",
        "state.in-memory, 1 KB value, 16 connections",
        Kind::StateSet("state.in-memory"),
    ),
    scenario("state-get-sqlite", "state.sqlite, 1 KB value, 16 connections", Kind::StateGet("state.sqlite")),
    scenario("state-set-sqlite", "state.sqlite, 1 KB value, 16 connections", Kind::StateSet("state.sqlite")),
    scenario("state-get-redis", "state.redis, 1 KB value, 16 connections", Kind::StateGet("state.redis")),
    scenario("state-set-redis", "state.redis, 1 KB value, 16 connections", Kind::StateSet("state.redis")),
    scenario("grpc-state-get", "GetState, state.in-memory, 1 KB value, 16 streams", Kind::GrpcStateGet),
    scenario(
        "grpc-proxied",
        "unary call of the app's own service through two sidecars, 1 KB echo, 16 streams",
        Kind::GrpcProxied,
    ),
    scenario(
        "bulk-publish-redis",
        "publish of 100 messages a request against one a request, pubsub.redis, 16 connections",
        Kind::BulkPublish("capped.pubsub.redis"),
    ),
    scenario(
        "publish-paced-redis",
        "publish to delivery at 500/s, pubsub.redis",
        Kind::PublishPaced("pubsub.redis", "pubsub.redis"),
    ),
    scenario(
        "publish-paced-in-memory",
        "publish to delivery at 500/s, pubsub.in-memory",
        Kind::PublishPaced("pubsub.in-memory", "pubsub.in-memory"),
    ),
    scenario(
        "publish-paced-sqlite",
        "publish to delivery at 500/s, ours pubsub.sqlite, theirs pubsub.in-memory",
        Kind::PublishPaced("pubsub.sqlite", "pubsub.in-memory"),
    ),
    scenario(
        "publish-redis",
        "messages delivered, pubsub.redis, 16 connections",
        Kind::PublishSaturated("pubsub.redis", "pubsub.redis"),
    ),
    scenario(
        "publish-in-memory",
        "messages delivered, pubsub.in-memory, 16 connections",
        Kind::PublishSaturated("pubsub.in-memory", "pubsub.in-memory"),
    ),
    scenario(
        "publish-sqlite",
        "messages delivered, ours pubsub.sqlite, theirs pubsub.in-memory, 16 connections",
        Kind::PublishSaturated("pubsub.sqlite", "pubsub.in-memory"),
    ),
];

/// The scenarios with one of the names or prefixes, in the order of [`ALL`]; all without any but the one that is
/// for long runs.
pub fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    for name in names {
        anyhow::ensure!(
            ALL.iter().any(|scenario| scenario.name.starts_with(name.as_str())),
            "no scenario is called {name:?}; cargo xtask bench --list prints them"
        );
    }
    let chosen = |scenario: &&Scenario| {
        // A complete name is not also a prefix: `publish-redis` is one scenario.
        (names.is_empty() && !matches!(scenario.kind, Kind::UniquePaths))
            || names.iter().any(|name| {
                let exact = ALL.iter().any(|other| other.name == name);
                if exact { scenario.name == name } else { scenario.name.starts_with(name.as_str()) }
            })
    };
    Ok(ALL.iter().filter(chosen).collect())
}

impl Scenario {
    pub fn generator(&self) -> Option<Generator> {
        match self.kind {
            Kind::Start | Kind::Idle | Kind::Size | Kind::PublishPaced(..) => None,
            Kind::InvokePaced | Kind::InvokeMtls | Kind::InvokeObserved | Kind::UniquePaths => {
                Some(Generator::Oha)
            }
            Kind::GrpcStateGet | Kind::GrpcProxied => Some(Generator::H2load),
            Kind::InvokeSaturated { .. }
            | Kind::StateGet(_)
            | Kind::StateSet(_)
            | Kind::BulkPublish(_)
            | Kind::PublishSaturated(..) => Some(Generator::Wrk),
        }
    }

    pub fn needs_sentry(&self) -> bool {
        matches!(self.kind, Kind::InvokeMtls)
    }

    pub fn needs_redis(&self) -> bool {
        match self.kind {
            Kind::StateGet(component) | Kind::StateSet(component) | Kind::BulkPublish(component) => {
                component.ends_with(".redis")
            }
            Kind::PublishPaced(ours, theirs) | Kind::PublishSaturated(ours, theirs) => {
                ours.ends_with(".redis") || theirs.ends_with(".redis")
            }
            _ => false,
        }
    }

    /// One measurement of one side with processes and data of its own.
    pub async fn run(&self, bench: &Bench, side: Side) -> anyhow::Result<Sample> {
        let of = |ours, theirs| if side == Side::Ours { ours } else { theirs };
        match self.kind {
            Kind::Start => single::start(bench, side).await,
            Kind::Idle => single::idle(bench, side).await,
            Kind::Size => single::size(bench, side),
            Kind::InvokePaced => invoke_paced(bench, side).await,
            Kind::InvokeMtls => mtls::paced(bench, side).await,
            Kind::InvokeObserved => observed::paced(bench, side).await,
            Kind::UniquePaths => paths::unique(bench, side).await,
            Kind::BulkPublish(component) => pubsub::bulk(bench, side, component).await,
            Kind::InvokeSaturated { body, connections } => {
                invoke_saturated(bench, side, body, connections).await
            }
            Kind::StateGet(component) => state(bench, side, component, false).await,
            Kind::StateSet(component) => state(bench, side, component, true).await,
            Kind::GrpcStateGet => grpc_state_get(bench, side).await,
            Kind::GrpcProxied => grpc_proxied(bench, side).await,
            Kind::PublishPaced(ours, theirs) => pubsub::paced(bench, side, of(ours, theirs)).await,
            Kind::PublishSaturated(ours, theirs) => pubsub::saturated(bench, side, of(ours, theirs)).await,
        }
    }
}

/// Files of one measurement.
pub struct Setup {
    pub folder: tempfile::TempDir,
    pub configuration: Option<PathBuf>,
    resources: PathBuf,
}

impl Setup {
    pub fn new(bench: &Bench) -> anyhow::Result<Self> {
        Self::with_configuration(bench, "")
    }

    /// `spec` are further lines of the Configuration's spec, indented by two.
    pub fn with_configuration(bench: &Bench, spec: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(bench.scratch.path())?;
        let resources = folder.path().join("resources");
        std::fs::create_dir(&resources)?;
        let mut text = match bench.options.names {
            Names::Mdns if spec.is_empty() => None,
            Names::Mdns => Some(CONFIGURATION.to_owned()),
            Names::Sqlite => {
                let names_db = folder.path().join("names.db").display().to_string();
                Some(template("names.sqlite")?.replace("{names_db}", &names_db))
            }
        };
        if let Some(text) = &mut text {
            text.push_str(spec);
        }
        let file = folder.path().join("configuration.yaml");
        let configuration = text.map(|text| std::fs::write(&file, text).map(|()| file)).transpose()?;
        Ok(Setup { folder, configuration, resources })
    }

    /// Puts the component file of `kind` (bench/resources) in place.
    pub async fn component(&self, bench: &Bench, kind: &str) -> anyhow::Result<()> {
        let mut text = template(kind)?.replace("{scratch}", &self.folder.path().display().to_string());
        if kind.ends_with(".redis") {
            bench.redis.as_ref().context("redis was not started")?.clear().await?;
            text = text.replace("{redis_port}", &bench.redis_port()?.to_string());
        }
        std::fs::write(self.resources.join("component.yaml"), text)?;
        Ok(())
    }

    /// Puts a resource file in place.
    pub fn resource(&self, name: &str, text: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.resources.join(format!("{name}.yaml")), text)?)
    }

    pub fn body(&self, text: &str) -> anyhow::Result<PathBuf> {
        let file = self.folder.path().join("body");
        std::fs::write(&file, text)?;
        Ok(file)
    }

    pub async fn sidecar(
        &self,
        bench: &Bench,
        side: Side,
        app_id: &str,
        app: Option<App>,
    ) -> anyhow::Result<Sidecar> {
        self.secured_sidecar(bench, side, app_id, app, None).await
    }

    async fn secured_sidecar(
        &self,
        bench: &Bench,
        side: Side,
        app_id: &str,
        app: Option<App>,
        sentry: Option<&Sentry>,
    ) -> anyhow::Result<Sidecar> {
        Sidecar::start(SidecarPlan {
            program: &bench.program(side, "daprd")?,
            sentry,
            app_id,
            app,
            resources: Some(&self.resources),
            configuration: self.configuration.as_deref(),
            scratch: self.folder.path(),
        })
        .await
    }
}

pub fn template(name: &str) -> anyhow::Result<String> {
    let file =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/resources")).join(format!("{name}.yaml"));
    std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
}

pub fn warm_up_seconds(bench: &Bench) -> u32 {
    bench.options.seconds.min(2)
}

pub fn check_errors(load: &Load, sidecar: &Sidecar) -> anyhow::Result<()> {
    anyhow::ensure!(
        load.requests > 0.0 && load.errors <= load.requests * TOLERATED_ERRORS,
        "{} of {} requests failed; {}",
        load.errors,
        load.requests,
        sidecar.log_tail()
    );
    Ok(())
}

/// Adds the memory of the largest sidecar.
pub fn memory_of(sample: Sample, sidecars: &[&Sidecar]) -> anyhow::Result<Sample> {
    let memory = sidecars.iter().map(|sidecar| sidecar.memory()).collect::<Result<Vec<_>, _>>()?;
    let rss = memory.iter().map(|memory| memory.rss).max().unwrap_or(0);
    let anonymous = memory.iter().map(|memory| memory.anonymous).max().unwrap_or(0);
    Ok(sample.with(Metric::Rss, rss as f64).with(Metric::Anonymous, anonymous as f64))
}

/// Measures one window: load, processor time and memory of the sidecars.
pub async fn window(
    sidecars: &[&Sidecar],
    load: impl Future<Output = anyhow::Result<Load>>,
) -> anyhow::Result<(Load, Sample)> {
    let before = cpu_time(sidecars)?;
    let load = load.await?;
    let cpu = cpu_time(sidecars)? - before;
    check_errors(&load, sidecars[0])?;
    let sample = Sample::of_load(&load).with(Metric::Cpu, cpu.as_secs_f64() * 1e6 / load.requests);
    Ok((load, memory_of(sample, sidecars)?))
}

/// Caller's sidecar, callee's sidecar and the callee.
pub struct Pair {
    pub caller: Sidecar,
    callee: Sidecar,
    echo: Echo,
    pub setup: Setup,
    /// Path of the callee's echo at the caller's sidecar.
    pub path: String,
}

impl Pair {
    pub async fn start(bench: &Bench, side: Side, sentry: Option<&Sentry>) -> anyhow::Result<Self> {
        Self::start_in(bench, side, sentry, Setup::new(bench)?).await
    }

    /// With the configuration and resources of `setup`.
    pub async fn start_in(
        bench: &Bench,
        side: Side,
        sentry: Option<&Sentry>,
        setup: Setup,
    ) -> anyhow::Result<Self> {
        let echo = Echo::start(&bench.tools.echo, None).await?;
        // A name of its own: resolvers remember where a name was before.
        let callee_id = format!("callee-{}", echo.port);
        let callee =
            setup.secured_sidecar(bench, side, &callee_id, Some(App::http(echo.port)), sentry).await?;
        let caller_id = format!("caller-{}", echo.port);
        let caller = setup.secured_sidecar(bench, side, &caller_id, None, sentry).await?;
        let path = format!("/v1.0/invoke/{callee_id}/method/echo");
        let pair = Pair { caller, callee, echo, setup, path };
        let deadline = Instant::now() + INVOKE_TIMEOUT;
        loop {
            let answer = http::request(pair.caller.http_port, "POST", &pair.path, "ping").await?;
            if answer.status == 200 && answer.body.contains("ping") {
                return Ok(pair);
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "invoking answers {} {}; {}",
                answer.status,
                answer.body,
                pair.caller.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn sidecars(&self) -> [&Sidecar; 2] {
        [&self.caller, &self.callee]
    }
}

pub fn post<'a>(port: u16, path: &'a str, body: &'a Path) -> Request<'a> {
    Request {
        port,
        method: "POST",
        path,
        content_type: "application/octet-stream",
        keys: 1,
        body: Some(body),
    }
}

async fn invoke_paced(bench: &Bench, side: Side) -> anyhow::Result<Sample> {
    let oha = bench.tools.oha.as_deref().context("oha was not installed for this scenario")?;
    let pair = Pair::start(bench, side, None).await?;
    let body = pair.setup.body(&"x".repeat(SMALL_BODY))?;
    let through = post(pair.caller.http_port, &pair.path, &body);
    let direct = post(pair.echo.port, "/echo", &body);
    let direct = load::oha(oha, &direct, PACED_RATE, bench.options.seconds).await?;
    load::oha(oha, &through, PACED_RATE, warm_up_seconds(bench)).await?;
    let run = load::oha(oha, &through, PACED_RATE, bench.options.seconds);
    let (load, sample) = window(&pair.sidecars(), run).await?;
    Ok(sample
        .with(Metric::AddedP50, load.p50 - direct.p50)
        .with(Metric::AddedP90, load.p90 - direct.p90)
        .with(Metric::AddedP99, load.p99 - direct.p99))
}

async fn invoke_saturated(
    bench: &Bench,
    side: Side,
    body: usize,
    connections: u32,
) -> anyhow::Result<Sample> {
    let pair = Pair::start(bench, side, None).await?;
    let body = pair.setup.body(&"x".repeat(body))?;
    let request = post(pair.caller.http_port, &pair.path, &body);
    load::wrk(&request, connections, warm_up_seconds(bench)).await?;
    let run = load::wrk(&request, connections, bench.options.seconds);
    Ok(window(&pair.sidecars(), run).await?.1)
}

/// A sidecar with a state store that holds all keys.
async fn filled_store(bench: &Bench, side: Side, component: &str) -> anyhow::Result<(Sidecar, Setup)> {
    let setup = Setup::new(bench)?;
    setup.component(bench, component).await?;
    let sidecar = setup.sidecar(bench, side, "stateful", None).await?;
    // One by one: a bulk write is parallel, and on SQLite the writers wait for each other.
    for key in 1..=KEYS {
        let body = format!("[{}]", item(&key.to_string()));
        let answer = http::request(sidecar.http_port, "POST", "/v1.0/state/store", &body).await?;
        anyhow::ensure!(
            answer.status == 204,
            "writing state answers {} {}; {}",
            answer.status,
            shorten(&answer.body, ANSWER_LENGTH),
            sidecar.log_tail()
        );
    }
    Ok((sidecar, setup))
}

fn item(key: &str) -> String {
    format!(r#"{{"key":"key-{key}","value":"{}"}}"#, "x".repeat(SMALL_BODY))
}

async fn state(bench: &Bench, side: Side, component: &str, write: bool) -> anyhow::Result<Sample> {
    let (sidecar, setup) = filled_store(bench, side, component).await?;
    let body = setup.body(&format!("[{}]", item("{key}")))?;
    let request = Request {
        port: sidecar.http_port,
        method: if write { "POST" } else { "GET" },
        path: if write { "/v1.0/state/store" } else { "/v1.0/state/store/key-{key}" },
        content_type: "application/json",
        keys: KEYS,
        body: write.then_some(body.as_path()),
    };
    load::wrk(&request, CONNECTIONS, warm_up_seconds(bench)).await?;
    let run = load::wrk(&request, CONNECTIONS, bench.options.seconds);
    Ok(window(&[&sidecar], run).await?.1)
}

const GET_STATE: &str = "/dapr.proto.runtime.v1.Dapr/GetState";

async fn grpc_state_get(bench: &Bench, side: Side) -> anyhow::Result<Sample> {
    let (sidecar, setup) = filled_store(bench, side, "state.in-memory").await?;
    let message = setup.folder.path().join("get-state");
    std::fs::write(&message, get_state_request("store", "key-1"))?;
    let request = Call {
        port: sidecar.grpc_port,
        method: GET_STATE,
        headers: &[],
        message: &message,
        smallest_answer: SMALL_BODY as u64,
    };
    let call = |seconds| load::h2load(&request, CONNECTIONS, seconds);
    call(warm_up_seconds(bench)).await?;
    let run = call(bench.options.seconds);
    Ok(window(&[&sidecar], run).await?.1)
}

/// A service that sidecars know nothing of: they pass frames on.
async fn grpc_proxied(bench: &Bench, side: Side) -> anyhow::Result<Sample> {
    let setup = Setup::new(bench)?;
    let echo = Echo::start(&bench.tools.echo, None).await?;
    let callee_id = format!("callee-{}", echo.port);
    let callee = setup.sidecar(bench, side, &callee_id, Some(App::grpc(echo.port))).await?;
    let caller = setup.sidecar(bench, side, &format!("caller-{}", echo.port), None).await?;
    let message = setup.folder.path().join("message");
    std::fs::write(&message, framed(&[b'x'; SMALL_BODY]))?;
    let request = Call {
        port: caller.grpc_port,
        method: "/bench.Echo/Unary",
        headers: &[("dapr-app-id", &callee_id)],
        message: &message,
        smallest_answer: SMALL_BODY as u64,
    };
    let call = |seconds| load::h2load(&request, CONNECTIONS, seconds);
    // The first may meet a name that is not known yet; they warm up, too.
    let deadline = Instant::now() + INVOKE_TIMEOUT;
    while let Err(error) = call(warm_up_seconds(bench)).await {
        anyhow::ensure!(Instant::now() < deadline, "{error:#}; {}", caller.log_tail());
    }
    let run = call(bench.options.seconds);
    Ok(window(&[&caller, &callee], run).await?.1)
}

/// `GetStateRequest { store_name = 1, key = 2 }`, framed. Both names are short enough for
/// one byte of length.
fn get_state_request(store: &str, key: &str) -> Vec<u8> {
    let mut message = Vec::new();
    for (tag, text) in [(0x0a, store), (0x12, key)] {
        message.push(tag);
        message.push(u8::try_from(text.len()).expect("constants of a few bytes"));
        message.extend_from_slice(text.as_bytes());
    }
    framed(&message)
}

/// `message` behind the five bytes of gRPC: not compressed, and its length.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("messages of the bench are short");
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Vec<&'static str> {
        let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        choose(&wanted).expect("known").into_iter().map(|scenario| scenario.name).collect()
    }

    #[test]
    fn chooses_by_name_and_by_prefix() {
        assert_eq!(names(&[]).len(), ALL.len() - 1);
        assert_eq!(names(&["unique"]), ["unique-paths"]);
        assert_eq!(names(&["size", "start"]), ["start", "size"]);
        let invoke = ["invoke-paced", "invoke-mtls", "invoke-observed", "invoke-saturated", "invoke-1mb"];
        assert_eq!(names(&["invoke"]), invoke);
        assert!(choose(&["nothing".to_owned()]).is_err());
    }

    #[test]
    fn every_component_file_is_there() {
        for scenario in ALL {
            let kinds = match scenario.kind {
                Kind::StateGet(kind) | Kind::StateSet(kind) => vec![kind],
                Kind::PublishPaced(ours, theirs) | Kind::PublishSaturated(ours, theirs) => vec![ours, theirs],
                _ => Vec::new(),
            };
            for kind in kinds {
                let text = template(kind).expect("file");
                assert!(text.contains(kind), "{kind}");
            }
        }
    }

    #[test]
    fn frames_the_grpc_request() {
        assert_eq!(get_state_request("s", "k1"), [0, 0, 0, 0, 7, 0x0a, 1, b's', 0x12, 2, b'k', b'1']);
    }
}
