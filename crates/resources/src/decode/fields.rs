//! Field types that more than one kind uses.

use std::time::Duration;

use dapr_gocompat::duration::parse_duration;
use serde::{Deserialize, Deserializer, de::Error};

/// A Go duration; absent or null is `None`.
pub(crate) fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| parse_duration(&text)).transpose().map_err(D::Error::custom)
}
