use async_trait::async_trait;
use dapr_components::nameresolution::{Error, NameResolver, ResolveRequest};
use serde_json::Value;

const PLACEHOLDER: &str = "{appid}";

/// Puts the application's name into a format; the result is the address.
pub struct NameFormat {
    format: String,
}

impl NameFormat {
    /// `configuration` has `format`, in any case.
    pub fn new(configuration: &Value) -> Result<Self, String> {
        let fields = configuration.as_object().into_iter().flatten();
        let mut formats = fields.filter(|(name, _)| name.eq_ignore_ascii_case("format"));
        let format = formats.next().and_then(|(_, value)| value.as_str()).unwrap_or_default();
        if format.is_empty() {
            return Err("format is required in metadata".to_owned());
        }
        if !format.contains(PLACEHOLDER) {
            return Err(format!("format must contain {PLACEHOLDER} placeholder"));
        }
        Ok(Self { format: format.to_owned() })
    }
}

#[async_trait]
impl NameResolver for NameFormat {
    async fn resolve(&self, request: &ResolveRequest<'_>) -> Result<Vec<String>, Error> {
        if request.app_id.is_empty() {
            return Err(Error("empty ID not allowed".to_owned()));
        }
        Ok(vec![self.format.replace(PLACEHOLDER, request.app_id)])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn the_name_is_put_into_the_format() {
        let resolve = async |format: &str, app_id| {
            let resolver = NameFormat::new(&json!({"Format": format})).map_err(Error)?;
            resolver.resolve(&ResolveRequest { app_id, namespace: "n", port: 1 }).await
        };
        assert_eq!(resolve("{appid}.x:1", "a").await.unwrap(), ["a.x:1"]);
        assert_eq!(resolve("{appid}.x:1", "").await.unwrap_err().to_string(), "empty ID not allowed");
        assert_eq!(
            resolve("x:1", "a").await.unwrap_err().to_string(),
            "format must contain {appid} placeholder"
        );
        assert_eq!(NameFormat::new(&Value::Null).err().unwrap(), "format is required in metadata");
    }
}
