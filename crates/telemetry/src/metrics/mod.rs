//! The metric registry and daprd's metrics (runtime.md §9).
//!
//! A [`Registry`] is a value: a reload drops one and builds the next. A
//! [`Family`] hands out handles; a handle is a shared atomic, so whoever
//! resolves it once pays nothing later.

pub mod catalogue;
mod family;
mod http_path;
mod process;
mod registry;
mod route;
mod rules;
mod series;
mod text;

pub use family::{
    Buckets, Counter, Family, Gauge, Histogram, LATENCY_BUCKETS_MS, RATIO_BUCKETS, SIZE_BUCKETS, Sample,
};
pub use http_path::{HttpLabelOptions, HttpLabels};
pub use registry::{
    FAMILY_SERIES_LIMIT, FamilyReading, Registry, RegistryOptions, SERIES_LIMIT, SeriesReading,
};
pub use rules::{LabelRule, Rule, RuleError, Rules};
pub use series::SeriesCache;
pub use text::{CONTENT_TYPE, format_float};
