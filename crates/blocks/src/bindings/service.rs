use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use dapr_app_channel::AppChannel;
use dapr_components::bindings::{InputBinding, InvokeError, InvokeRequest, InvokeResponse, OutputBinding};
use dapr_errors::{ApiError, bindings as errors};
use dapr_kernel::AppIdentity;
use dapr_kernel::tasks::TaskGroup;
use dapr_resiliency::{Direction, Kind, Outcome, Policies, Policy, PolicyError};

use dapr_telemetry::metrics::catalogue::Catalogue;
use dapr_telemetry::trace::Tracer;

use super::input::{Input, InputConfig, Reading};
use crate::observed::Meter;

/// What the service is built from.
#[derive(Clone)]
pub struct Options {
    pub identity: AppIdentity,
    pub policies: Policies,
    pub tasks: TaskGroup,
    /// `--app-binding-options-timeout`: patience for the probe of one input
    /// binding.
    pub options_timeout: Duration,
    pub metrics: Option<Arc<Catalogue>>,
    pub tracer: Tracer,
}

/// A call of an output binding that failed. Data and metadata still reach the
/// caller (api.md §2.4).
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct InvokeFailure {
    pub error: ApiError,
    pub response: InvokeResponse,
}

/// The directions that a removed component had.
pub type Removed = (Option<Arc<dyn OutputBinding>>, Option<Arc<dyn InputBinding>>);

/// Output and input bindings. Cloning shares them.
#[derive(Clone)]
pub struct BindingsService(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub options: Options,
    outputs: ArcSwap<HashMap<String, Arc<Output>>>,
    /// Sorted, so that inputs start in a known order.
    pub inputs: ArcSwap<BTreeMap<String, Arc<Input>>>,
    pub app: ArcSwapOption<AppChannel>,
    pub reading: tokio::sync::Mutex<Reading>,
}

struct Output {
    binding: Arc<dyn OutputBinding>,
    policy: Policy,
    /// One for each of the binding's operations.
    meters: Vec<(String, Meter)>,
}

/// A failed attempt: every failure of a binding may be tried again.
#[derive(Debug)]
struct Attempt(InvokeError);

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Outcome for Attempt {}

impl BindingsService {
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner {
            options,
            outputs: ArcSwap::default(),
            inputs: ArcSwap::default(),
            app: ArcSwapOption::empty(),
            reading: tokio::sync::Mutex::default(),
        }))
    }

    /// Adds or replaces an output binding.
    pub fn add_output(&self, name: &str, binding: Arc<dyn OutputBinding>) {
        let policy = self.0.options.policies.component(name, Kind::Binding, Direction::Outbound);
        let metrics = self.0.options.metrics.as_deref().map(|m| &m.components.output_binding);
        let meter = |operation: &&str| ((*operation).to_owned(), Meter::new(metrics, name, operation));
        let meters = binding.operations().iter().map(meter).collect();
        let output = Arc::new(Output { binding, policy, meters });
        self.0.outputs.rcu(|table| {
            let mut next = HashMap::clone(table);
            next.insert(name.to_owned(), output.clone());
            next
        });
    }

    /// Adds or replaces an input binding. It is read from by the next
    /// [`Self::start_inputs`] or [`Self::start_input`].
    pub fn add_input(&self, name: &str, binding: Arc<dyn InputBinding>, config: InputConfig) {
        let policy = self.0.options.policies.component(name, Kind::Binding, Direction::Inbound);
        let metrics = self.0.options.metrics.as_deref().map(|m| &m.components);
        let meter = Meter::input_binding(metrics, name);
        let input = Arc::new(Input::new(name, binding, config, policy, meter));
        self.0.inputs.rcu(|table| {
            let mut next = BTreeMap::clone(table);
            next.insert(name.to_owned(), input.clone());
            next
        });
    }

    /// The directions that a component has now.
    pub fn get(&self, name: &str) -> Removed {
        let output = self.0.outputs.load().get(name).map(|o| o.binding.clone());
        let input = self.0.inputs.load().get(name).map(|i| i.binding.clone());
        (output, input)
    }

    /// Takes away the directions of `old` that its replacement does not have.
    pub fn remove_stale(&self, name: &str, old: &Removed) {
        let (output, input) = self.get(name);
        if same(output.as_ref(), old.0.as_ref()) {
            self.0.outputs.rcu(|table| {
                let mut next = HashMap::clone(table);
                next.remove(name);
                next
            });
        }
        if same(input.as_ref(), old.1.as_ref()) {
            self.0.inputs.rcu(|table| {
                let mut next = BTreeMap::clone(table);
                next.remove(name);
                next
            });
        }
    }

    /// Takes a component away. An input that is being read from must have been
    /// stopped with [`Self::stop_input`].
    pub fn remove(&self, name: &str) -> Option<Removed> {
        let (output, input) = self.get(name);
        if output.is_none() && input.is_none() {
            return None;
        }
        self.0.outputs.rcu(|table| {
            let mut next = HashMap::clone(table);
            next.remove(name);
            next
        });
        self.0.inputs.rcu(|table| {
            let mut next = BTreeMap::clone(table);
            next.remove(name);
            next
        });
        Some((output, input))
    }

    pub fn set_app_channel(&self, channel: Option<AppChannel>) {
        self.0.app.store(channel.map(Arc::new));
    }

    /// Calls an output binding for the application.
    pub async fn invoke(&self, name: &str, request: InvokeRequest) -> Result<InvokeResponse, InvokeFailure> {
        let outcome = match &self.0.options.metrics {
            None => self.call(name, request).await,
            Some(metrics) => self.measured(metrics, name, request).await,
        };
        outcome.map_err(|failed| InvokeFailure {
            error: errors::invoke_failed(name, &failed.message),
            response: failed.response,
        })
    }

    /// Calls of bindings and operations that do not exist are counted too.
    async fn measured(
        &self,
        metrics: &Catalogue,
        name: &str,
        request: InvokeRequest,
    ) -> Result<InvokeResponse, InvokeError> {
        let output = self.0.outputs.load().get(name).cloned();
        let known = output.as_ref().and_then(|o| o.meters.iter().find(|(op, _)| *op == request.operation));
        if let Some((_, meter)) = known {
            return meter.watch(self.call(name, request)).await;
        }
        let (operation, started) = (request.operation.clone(), Instant::now());
        let outcome = self.call(name, request).await;
        metrics.components.output_binding.record(name, &operation, outcome.is_ok(), started.elapsed());
        outcome
    }

    /// Calls an output binding under its outbound policy.
    pub(super) async fn call(
        &self,
        name: &str,
        request: InvokeRequest,
    ) -> Result<InvokeResponse, InvokeError> {
        if request.operation.is_empty() {
            return Err(InvokeError::new("operation field is missing from request"));
        }
        let Some(output) = self.0.outputs.load().get(name).cloned() else {
            return Err(InvokeError::new(format!("couldn't find output binding {name}")));
        };
        let supported = output.binding.operations();
        if !supported.contains(&request.operation.as_str()) {
            let (operation, supported) = (&request.operation, supported.join(" "));
            return Err(InvokeError::new(format!(
                "binding {name} does not support operation {operation}. supported operations:{supported}"
            )));
        }
        if output.policy.is_none() {
            return output.binding.invoke(request).await;
        }
        let attempt = |_| {
            let request = request.clone();
            async { output.binding.invoke(request).await.map_err(Attempt) }
        };
        output.policy.run(attempt).await.map_err(|error| match error {
            PolicyError::Operation(Attempt(failed)) => failed,
            other => InvokeError::new(other.to_string()),
        })
    }
}

fn same<T: ?Sized>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if Arc::ptr_eq(a, b))
}
