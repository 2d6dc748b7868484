//! Decisions without I/O: which validator judges a request, what every request
//! must hold, who a pod is, which names a certificate gets and when one is
//! renewed.

mod pod;
mod request;
mod schedule;
#[cfg(test)]
mod tests;

pub use pod::{Pod, PodIdentity, TokenUser, expected_identity};
pub use request::{SignRequest, ValidatorKind, check, choose, dns_names, shown};
pub use schedule::renewal;
