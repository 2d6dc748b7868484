//! A compiled guest and its instances.

use std::sync::Arc;

use parking_lot::Mutex;
use wasmi::{Config, Engine, Error, ExternType, FuncType, Linker, Module, Store, TypedFunc, ValType};

use crate::memory;
use crate::state::{Exchange, State};
use crate::{handler_abi, wasi};

const SCOPE: &str = "dapr.middleware.http.wasm";
const HANDLE_REQUEST: &str = "handle_request";
const HANDLE_RESPONSE: &str = "handle_response";
/// Instructions that one call may take: some seconds, so that a guest that
/// never returns does not hold its thread for ever.
pub const FUEL: u64 = 5_000_000_000;
/// Instances that wait for the next request.
const MAX_IDLE: usize = 64;

/// A guest that instances can be made of.
pub struct Guest {
    module: Module,
    linker: Linker<State>,
    config: Arc<str>,
    strict: bool,
    /// Instructions that one call may take.
    fuel: u64,
    idle: Mutex<Vec<Instance>>,
    /// Whether bodies have to be here before the guest is called.
    reads_bodies: bool,
}

/// One instance; serves one request at a time.
pub struct Instance {
    store: Store<State>,
    fuel: u64,
    handle_request: TypedFunc<(), i64>,
    handle_response: TypedFunc<(i32, i32), ()>,
}

impl Guest {
    /// Compiles a guest and makes the first instance.
    pub fn new(wasm: &[u8], config: &str, strict: bool, fuel: u64) -> Result<Self, String> {
        let engine = Engine::new(Config::default().consume_fuel(true));
        let module = Module::new(&engine, wasm).map_err(|e| format!("wasm: error compiling guest: {e}"))?;
        check(&module)?;
        let mut linker = Linker::new(&engine);
        let linked = handler_abi::link(&mut linker).and_then(|()| wasi::link(&mut linker, &module));
        linked.map_err(|e| format!("wasm: error instantiating host: {e}"))?;
        let reads_bodies = module.imports().any(|import| import.name() == "read_body");
        let idle = Mutex::new(Vec::new());
        let guest = Self { module, linker, config: config.into(), strict, fuel, idle, reads_bodies };
        let first = guest.instance()?;
        guest.put_back(first);
        Ok(guest)
    }

    pub fn reads_bodies(&self) -> bool {
        self.reads_bodies
    }

    /// An idle instance, or a new one.
    pub fn instance(&self) -> Result<Instance, String> {
        if let Some(idle) = self.idle.lock().pop() {
            return Ok(idle);
        }
        self.create().map_err(|e| format!("wasm: error instantiating guest: {e}"))
    }

    /// For the next request. An instance whose call failed is not put back.
    pub fn put_back(&self, mut instance: Instance) {
        instance.store.data_mut().exchange = None;
        instance.flush();
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(instance);
        }
    }

    fn create(&self) -> Result<Instance, Error> {
        let state = State::new(self.config.clone(), self.strict);
        let mut store = Store::new(self.module.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_fuel(self.fuel)?;
        let instance = self.linker.instantiate_and_start(&mut store, &self.module)?;
        // Programs begin with the one, libraries with the other.
        for start in ["_start", "_initialize"] {
            if let Ok(start) = instance.get_typed_func::<(), ()>(&store, start) {
                match start.call(&mut store, ()) {
                    Err(error) if error.i32_exit_status() != Some(0) => return Err(error),
                    _ => break,
                }
            }
        }
        Ok(Instance {
            handle_request: instance.get_typed_func(&store, HANDLE_REQUEST)?,
            handle_response: instance.get_typed_func(&store, HANDLE_RESPONSE)?,
            store,
            fuel: self.fuel,
        })
    }
}

/// What a guest must show.
fn check(module: &Module) -> Result<(), String> {
    let function = |name: &str, kind: FuncType, shape: &str| match module.get_export(name) {
        Some(ExternType::Func(found)) if found == kind => Ok(()),
        Some(ExternType::Func(_)) => {
            Err(format!("wasm: guest exports the wrong signature for func[{name}]. should be {shape}"))
        }
        _ => Err(format!("wasm: guest doesn't export func[{name}]")),
    };
    function(HANDLE_REQUEST, FuncType::new([], [ValType::I64]), "() -> (i64)")?;
    function(HANDLE_RESPONSE, FuncType::new([ValType::I32, ValType::I32], []), "(i32, 32) -> ()")?;
    match module.get_export(memory::EXPORT) {
        Some(ExternType::Memory(_)) => Ok(()),
        _ => Err("wasm: guest doesn't export memory[memory]".to_owned()),
    }
}

impl Instance {
    /// Features that hold for every request.
    pub fn features(&self) -> u32 {
        self.store.data().features
    }

    /// Shows the guest a request. What it answers says with its lower half
    /// whether the request goes on; the upper half is for
    /// [`Instance::handle_response`].
    pub fn handle_request(&mut self, exchange: Exchange) -> Result<u64, Error> {
        self.store.data_mut().exchange = Some(exchange);
        self.store.set_fuel(self.fuel)?;
        let answer = self.handle_request.call(&mut self.store, ());
        self.flush();
        answer.map(i64::cast_unsigned)
    }

    /// Shows the guest what the next handler answered.
    pub fn handle_response(&mut self, context: u32, failed: bool) -> Result<(), Error> {
        self.store.set_fuel(self.fuel)?;
        let parameters = (context.cast_signed(), i32::from(failed));
        let answer = self.handle_response.call(&mut self.store, parameters);
        self.flush();
        answer
    }

    pub fn exchange(&mut self) -> Option<&mut Exchange> {
        self.store.data_mut().exchange.as_mut()
    }

    /// What the guest wrote goes to the log.
    fn flush(&mut self) {
        let state = self.store.data_mut();
        for (name, output) in [("stdout", &mut state.stdout), ("stderr", &mut state.stderr)] {
            if !output.is_empty() {
                tracing::debug!(target: SCOPE, "wasm {name}: {}", String::from_utf8_lossy(output));
                output.clear();
            }
        }
    }
}
