use std::collections::BTreeMap;

use dapr_gocompat::json::to_go_json;
use dapr_wire::google::rpc;
use prost::Message;
use serde_json::{Value, json};

/// One entry of an error's `details`.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// `metadata` is `null` in JSON when `None`.
    ErrorInfo {
        reason: String,
        metadata: Option<BTreeMap<String, String>>,
    },
    /// An ErrorInfo that a component gave, without its metadata.
    ForeignErrorInfo {
        reason: String,
        domain: String,
    },
    ResourceInfo {
        resource_type: String,
        resource_name: String,
        owner: String,
        description: String,
    },
    BadRequest {
        violations: Vec<(String, String)>,
    },
    Help {
        links: Vec<(String, String)>,
    },
}

const DOMAIN: &str = "dapr.io";
const TYPE_PREFIX: &str = "type.googleapis.com/google.rpc.";

impl Detail {
    pub fn error_info(reason: impl Into<String>) -> Self {
        Self::ErrorInfo { reason: reason.into(), metadata: None }
    }

    pub fn error_info_with<K: Into<String>, V: Into<String>>(
        reason: impl Into<String>,
        metadata: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let metadata = metadata.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self::ErrorInfo { reason: reason.into(), metadata: Some(metadata) }
    }

    /// JSON form with snake_case keys and `@type`.
    pub fn to_json(&self) -> Value {
        match self {
            Self::ErrorInfo { reason, metadata } => json!({
                "@type": format!("{TYPE_PREFIX}ErrorInfo"),
                "reason": reason, "domain": DOMAIN, "metadata": metadata,
            }),
            Self::ForeignErrorInfo { reason, domain } => json!({
                "@type": format!("{TYPE_PREFIX}ErrorInfo"),
                "reason": reason, "domain": domain, "metadata": null,
            }),
            Self::ResourceInfo { resource_type, resource_name, owner, description } => json!({
                "@type": format!("{TYPE_PREFIX}ResourceInfo"),
                "resource_type": resource_type, "resource_name": resource_name,
                "owner": owner, "description": description,
            }),
            Self::BadRequest { violations } => json!({
                "@type": format!("{TYPE_PREFIX}BadRequest"),
                "field_violations": violations.iter().map(violation).collect::<Vec<_>>(),
            }),
            Self::Help { links } => json!({
                "@type": format!("{TYPE_PREFIX}Help"),
                "links": links.iter()
                    .map(|(description, url)| json!({"description": description, "url": url}))
                    .collect::<Vec<_>>(),
            }),
        }
    }

    /// [`Self::to_json`] as text, with the keys in the order that Dapr has.
    pub(crate) fn to_json_text(&self) -> String {
        let text = |value: &Value| String::from_utf8_lossy(&to_go_json(value)).into_owned();
        let Self::BadRequest { violations } = self else { return text(&self.to_json()) };
        let violations = violations.iter().map(|given| {
            let object = violation(given);
            let fields = ["field", "description"]
                .into_iter()
                .filter_map(|name| object.get(name).map(|value| format!("\"{name}\":{}", text(value))));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        });
        let violations = violations.collect::<Vec<_>>().join(",");
        format!("{{\"@type\":\"{TYPE_PREFIX}BadRequest\",\"field_violations\":[{violations}]}}")
    }

    pub(crate) fn to_any(&self) -> prost_types::Any {
        match self.clone() {
            Self::ErrorInfo { reason, metadata } => any(
                "ErrorInfo",
                &rpc::ErrorInfo {
                    reason,
                    domain: DOMAIN.to_owned(),
                    metadata: metadata.unwrap_or_default().into_iter().collect(),
                },
            ),
            Self::ForeignErrorInfo { reason, domain } => {
                any("ErrorInfo", &rpc::ErrorInfo { reason, domain, ..Default::default() })
            }
            Self::ResourceInfo { resource_type, resource_name, owner, description } => {
                any("ResourceInfo", &rpc::ResourceInfo { resource_type, resource_name, owner, description })
            }
            Self::BadRequest { violations } => any(
                "BadRequest",
                &rpc::BadRequest {
                    field_violations: violations
                        .into_iter()
                        .map(|(field, description)| rpc::bad_request::FieldViolation {
                            field,
                            description,
                            ..Default::default()
                        })
                        .collect(),
                },
            ),
            Self::Help { links } => any(
                "Help",
                &rpc::Help {
                    links: links
                        .into_iter()
                        .map(|(description, url)| rpc::help::Link { description, url })
                        .collect(),
                },
            ),
        }
    }
}

/// Empty parts are left out.
fn violation((field, description): &(String, String)) -> Value {
    let parts = [("field", field), ("description", description)];
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
    parts.map(|(name, text)| (name.to_owned(), Value::String(text.clone()))).collect()
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("{TYPE_PREFIX}{name}"), value: message.encode_to_vec() }
}
