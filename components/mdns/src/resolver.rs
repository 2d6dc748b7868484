//! The shell around `core`: one task that owns the sockets, and callers that
//! share the state with it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dapr_components::nameresolution::{Error, Instance, NameResolver, ResolveRequest};
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::StartError;
use crate::core::{Core, Effect, Service};
use crate::interfaces::InterfaceScope;
use crate::network::{MAX_PACKET, Network};
use crate::registry::{LocalRegistry, Registration};

/// A caller never waits longer (runtime.md §7).
const CALLER_LIMIT: Duration = Duration::from_secs(2);
/// Callers that may wait for one application.
const MAX_WAITERS: usize = 10_000;
/// Packets handled before the task looks at anything else.
const PACKETS_PER_TURN: usize = 64;

/// How a resolver reaches others.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub interfaces: InterfaceScope,
    /// Folder of the local registry; `None` is the per-user runtime folder, an
    /// empty path means no registry.
    pub registry_dir: Option<PathBuf>,
}

impl Options {
    /// Reads `nameResolution.configuration`; only `registryDir` means something.
    pub fn from_configuration(configuration: &serde_json::Value) -> Result<Self, StartError> {
        let registry_dir = match configuration.get("registryDir") {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::String(dir)) => Some(PathBuf::from(dir)),
            Some(other) => return Err(StartError::RegistryDir(other.to_string())),
        };
        Ok(Self { registry_dir, ..Self::default() })
    }
}

/// Finds sidecars by multicast DNS and announces its own.
pub struct MdnsResolver {
    shared: Arc<Shared>,
    stop: Shutdown,
    task: Mutex<Option<JoinHandle<Option<()>>>>,
}

struct Shared {
    state: Mutex<State>,
    /// Something is due at once.
    wake: Notify,
}

struct State {
    core: Core,
    waiters: HashMap<String, Vec<oneshot::Sender<Result<String, Error>>>>,
    closed: bool,
}

impl Shared {
    /// Runs one step of the core and answers the callers that it settles, all
    /// under one lock: a caller that comes in between would get the outcome of
    /// a lookup that ended before it asked. Returns what is left to do.
    fn step(&self, step: impl FnOnce(&mut Core) -> Vec<Effect>) -> Vec<Effect> {
        let mut state = self.state.lock();
        let mut effects = step(&mut state.core);
        effects.retain(|effect| match effect {
            Effect::Resolved(app_id) | Effect::NotFound(app_id) => {
                state.answer_callers(app_id);
                false
            }
            _ => true,
        });
        effects
    }
}

impl State {
    fn answer_callers(&mut self, app_id: &str) {
        for waiter in self.waiters.remove(app_id).unwrap_or_default() {
            let address = self.core.lookup(app_id).map(str::to_owned);
            let outcome = address.ok_or_else(|| Error(format!("couldn't find service: {app_id}")));
            // The caller may have given up.
            let _ = waiter.send(outcome);
        }
    }
}

impl MdnsResolver {
    /// Opens and joins the sockets, then leaves the rest to a task of `tasks`:
    /// questions that arrive from here on are answered, the announcement and
    /// the registry entry follow at once. Blocked multicast is no error.
    ///
    /// Must be called within a tokio runtime.
    pub fn start(instance: Instance, options: Options, tasks: &TaskGroup) -> Result<Self, StartError> {
        let app_id = instance.identity.app_id();
        if app_id.is_empty() {
            return Err(StartError::NameMissing);
        }
        if instance.internal_grpc_port == 0 {
            return Err(StartError::PortMissing);
        }
        let address = SocketAddr::new(instance.address, instance.internal_grpc_port);
        let hostname = gethostname::gethostname().to_string_lossy().into_owned();
        let pid = std::process::id();

        let (service, unnameable) = match Service::new(app_id, &hostname, pid, address) {
            Ok(service) => (Some(service), None),
            Err(e) => (None, Some(e.to_string())),
        };
        let (network, problem) = Network::open(options.interfaces);
        if let Some(problem) = problem.or(unnameable).filter(|_| options.interfaces != InterfaceScope::None) {
            tracing::warn!(
                target: "dapr.contrib",
                "mDNS is not available: {problem}. Applications of this user on this machine are found \
                 through the local registry; others are not"
            );
        } else if network.is_open() {
            tracing::info!(target: "dapr.contrib", "local service entry announced: {app_id} -> {address}");
        }
        let root = options.registry_dir.unwrap_or_else(LocalRegistry::default_root);
        let registry = (!root.as_os_str().is_empty()).then(|| LocalRegistry::new(&root));

        let mut core = Core::new(service, Instant::now());
        core.set_multicast(network.is_open());
        let shared = Arc::new(Shared {
            state: Mutex::new(State { core, waiters: HashMap::new(), closed: false }),
            wake: Notify::new(),
        });
        let stop = tasks.shutdown().child();
        let engine = Engine {
            shared: shared.clone(),
            network,
            registry,
            stop: stop.clone(),
            warned: false,
            own: Own { app_id: app_id.to_owned(), pid, address },
        };
        let task = tasks.spawn("mDNS", engine.run());
        Ok(Self { shared, stop, task: Mutex::new(Some(task)) })
    }

    /// Registers the caller with the lookup of `app_id`.
    fn wait_for(&self, app_id: &str) -> Result<Lookup, Error> {
        let mut state = self.shared.state.lock();
        if let Some(address) = state.core.lookup(app_id) {
            return Ok(Lookup::Known(address.to_owned()));
        }
        if state.closed {
            return Err(Error(format!("couldn't find service: {app_id}: the mDNS resolver is closed")));
        }
        state.core.browse(app_id, Instant::now()).map_err(|e| Error(e.to_string()))?;
        let waiters = state.waiters.entry(app_id.to_owned()).or_default();
        if waiters.len() >= MAX_WAITERS {
            return Err(Error(format!("couldn't find service: {app_id}: too many callers wait for it")));
        }
        let (sender, receiver) = oneshot::channel();
        waiters.push(sender);
        Ok(Lookup::Pending(receiver))
    }
}

enum Lookup {
    Known(String),
    Pending(oneshot::Receiver<Result<String, Error>>),
}

#[async_trait]
impl NameResolver for MdnsResolver {
    async fn resolve(&self, request: &ResolveRequest<'_>) -> Result<Vec<String>, Error> {
        let app_id = request.app_id;
        let receiver = match self.wait_for(app_id)? {
            Lookup::Known(address) => return Ok(vec![address]),
            Lookup::Pending(receiver) => receiver,
        };
        self.shared.wake.notify_one();
        match tokio::time::timeout(CALLER_LIMIT, receiver).await {
            Ok(Ok(outcome)) => outcome.map(|address| vec![address]),
            // The task ended or is stuck.
            Ok(Err(_)) | Err(_) => Err(Error(format!("timeout waiting for address for app id {app_id}"))),
        }
    }

    async fn close(&self) {
        self.stop.trigger();
        let task = self.task.lock().take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for MdnsResolver {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

struct Own {
    app_id: String,
    pid: u32,
    address: SocketAddr,
}

/// The task: does what the core says.
struct Engine {
    shared: Arc<Shared>,
    network: Network,
    registry: Option<LocalRegistry>,
    stop: Shutdown,
    /// Failed sends were reported.
    warned: bool,
    own: Own,
}

impl Engine {
    async fn run(mut self) {
        let mut buffer = vec![0; MAX_PACKET];
        let mut registration = None;
        let mut first = true;
        let stop = self.stop.wait();
        tokio::pin!(stop);
        loop {
            let effects = self.shared.step(|core| core.tick(Instant::now()));
            self.perform(effects);
            if std::mem::take(&mut first) {
                registration = self.register();
            }
            let deadline = self.shared.state.lock().core.deadline();
            tokio::select! {
                () = &mut stop => break,
                () = self.shared.wake.notified() => {}
                () = self.network.readable() => self.receive(&mut buffer),
                () = sleep_until(deadline) => {}
            }
        }
        self.end(registration);
    }

    fn end(&mut self, registration: Option<Registration>) {
        drop(registration);
        let (goodbye, waiters) = {
            let mut state = self.shared.state.lock();
            state.closed = true;
            (state.core.goodbye(), std::mem::take(&mut state.waiters))
        };
        drop(waiters);
        if let Some(goodbye) = goodbye.filter(|_| self.network.is_open()) {
            self.network.multicast_all(&goodbye);
        }
    }

    /// A few file operations on the runtime folder of the user: cheaper done
    /// here than handed to another thread.
    fn register(&self) -> Option<Registration> {
        let Own { app_id, pid, address } = &self.own;
        match self.registry.as_ref()?.register(app_id, *pid, *address) {
            Ok(registration) => Some(registration),
            Err(e) => {
                tracing::debug!(target: "dapr.contrib", "no local registry entry for {app_id}: {e}");
                None
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        for _ in 0..PACKETS_PER_TURN {
            let Some((length, from)) = self.network.receive(buffer) else { return };
            if !self.network.is_neighbour(from) {
                continue;
            }
            let packet = &buffer[..length];
            let effects = self.shared.step(|core| {
                core.receive(packet, from, Instant::now()).unwrap_or_else(|e| {
                    tracing::trace!(target: "dapr.contrib", "packet from {from} ignored: {e}");
                    Vec::new()
                })
            });
            self.perform(effects);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::MulticastAll(packet) => self.multicast_all(&packet),
                Effect::Multicast { near, packet } => self.network.multicast(&packet, near),
                Effect::Unicast { to, packet } => self.network.unicast(&packet, to),
                Effect::ReadRegistry(app_id) => self.read_registry(&app_id),
                // Dealt with where they arise.
                Effect::Resolved(_) | Effect::NotFound(_) => {}
            }
        }
    }

    fn multicast_all(&mut self, packet: &[u8]) {
        let works = self.network.multicast_all(packet) > 0;
        self.shared.state.lock().core.set_multicast(works);
        if !works && !self.warned {
            self.warned = true;
            tracing::warn!(
                target: "dapr.contrib",
                "mDNS packets cannot be sent on any network interface; applications of this user on this \
                 machine are found through the local registry"
            );
        }
    }

    fn read_registry(&self, app_id: &str) {
        let Some(registry) = &self.registry else { return };
        let addresses = registry.find(app_id);
        self.shared.step(|core| core.registry_answer(app_id, &addresses, Instant::now()));
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
