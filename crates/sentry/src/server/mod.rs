//! What listens: the certificate authority, its OIDC endpoints, health and
//! metrics.

mod api;
mod oidc;
mod plain;

pub use api::{CaApi, CaOptions};
pub use oidc::OidcApi;
pub use plain::{HealthApi, MetricsApi};
