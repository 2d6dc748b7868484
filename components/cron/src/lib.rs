//! Cron expressions, and the input binding that fires on them.
//!
//! [`schedule`] is a pure calculation: no clock, no task, no component; other
//! services use it for the same dialect. [`binding`] is `bindings.cron`. This
//! crate must not know the application or the jobs API. Entry points:
//! [`register`], [`schedule::Schedule`].
#![forbid(unsafe_code)]

use std::sync::Arc;

use dapr_components::InitContext;
use dapr_components::bindings::InputBinding;
use dapr_components::registry::Registry;

pub mod binding;
mod description;
pub mod schedule;

/// Registers `bindings.cron`.
pub fn register(registry: &mut Registry) {
    registry.describe(&[&description::CRON]);
    registry.input_bindings.register("bindings.cron", |context: InitContext| async move {
        let binding = binding::CronBinding::new(&context)?;
        Ok(Arc::new(binding) as Arc<dyn InputBinding>)
    });
}
