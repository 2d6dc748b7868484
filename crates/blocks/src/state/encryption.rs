//! Values encrypted at rest (api.md §8).

use std::sync::Arc;

use bytes::Bytes;
use dapr_components::state::{BulkItem, Item, Value};
use dapr_gocompat::text;
use dapr_security::at_rest::Keys;

/// Stands between callers and a store whose values are encrypted.
#[derive(Clone)]
pub(super) struct Encryption(Arc<Keys>);

impl Encryption {
    pub fn new(keys: Keys) -> Self {
        Self(Arc::new(keys))
    }

    /// Bytes are encrypted as they are; JSON as the text that Go prints for
    /// it, which is what later reads answer with (api.md §2.1).
    pub fn seal(&self, value: &Value) -> Value {
        let plain = match value {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Json(json) => match serde_json::from_slice(json) {
                Ok(value) => Bytes::from(text::of_json(&value)),
                Err(_) => json.clone(),
            },
        };
        Value::Bytes(self.0.seal(&plain))
    }

    pub fn open(&self, store: &str, item: &mut Item) -> Result<(), String> {
        match self.0.open(&item.data) {
            Ok(plain) => {
                item.data = plain;
                Ok(())
            }
            Err(error) => Err(format!("could not decrypt data for state store {store}: {error}")),
        }
    }

    /// A value that cannot be read becomes the error of its item.
    pub fn open_bulk(&self, store: &str, item: &mut BulkItem) {
        let Ok(Some(found)) = &mut item.result else { return };
        if let Err(reason) = self.open(store, found) {
            item.result = Err(reason);
        }
    }
}
