//! The components of this crate have no metadata of their own
//! (components.md §3.1, §4.1).

use dapr_components::description::Description;

pub(crate) const STATE: Description = Description::new(&["state.in-memory"], &[]);
pub(crate) const PUBSUB: Description = Description::new(&["pubsub.in-memory"], &[]);
