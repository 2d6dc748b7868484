//! Components that fail on demand.

use std::path::{Path, PathBuf};

use dapr_blackbox::{Pluggable, Refusal};
use dapr_wire::components::v1 as wire;
use dapr_wire::google::rpc;
use prost::Message;

const INVALID_ARGUMENT: i32 = 3;
const FAILED_PRECONDITION: i32 = 9;
const INTERNAL: i32 = 13;
const DATA_LOSS: i32 = 15;

/// Operations that the transactional store takes at once.
pub const MOST_OPERATIONS: i64 = 3;

fn decode<M: Message + Default>(message: &[u8]) -> M {
    M::decode(message).expect("the sidecar's message")
}

/// The last word of a key says what becomes of it.
fn judge(key: &str) -> Result<(), Refusal> {
    let detail = |code: i32, message: &str, name: &str, value: Vec<u8>| {
        let any = prost_types::Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value };
        let status = rpc::Status { code, message: message.to_owned(), details: vec![any] };
        Refusal { code, message: message.to_owned(), details: status.encode_to_vec() }
    };
    let etag = |code: i32| {
        let violation = rpc::bad_request::FieldViolation {
            field: "etag".to_owned(),
            description: "etag is another".to_owned(),
            ..Default::default()
        };
        let bad = rpc::BadRequest { field_violations: vec![violation] };
        detail(code, "no", "BadRequest", bad.encode_to_vec())
    };
    match key.rsplit(['|', ' ']).next().unwrap_or_default() {
        "fail" => Err(Refusal { code: INTERNAL, message: "disk on fire".to_owned(), ..Refusal::default() }),
        "mismatch" => Err(etag(FAILED_PRECONDITION)),
        "invalid" => Err(etag(INVALID_ARGUMENT)),
        "own" => {
            let pairs = [("kit_error", "true"), ("http_code", "506"), ("tag", "ERR_OF_ITS_OWN")];
            let metadata = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            let info = rpc::ErrorInfo {
                reason: "REASON_OF_ITS_OWN".to_owned(),
                domain: "example.com".to_owned(),
                metadata,
            };
            Err(detail(DATA_LOSS, "lost", "ErrorInfo", info.encode_to_vec()))
        }
        _ => Ok(()),
    }
}

fn socket(folder: &Path, name: &str) -> PathBuf {
    std::fs::create_dir_all(folder).expect("folder");
    folder.join(format!("{name}.sock"))
}

/// A state store that judges each item by its key. `features` as it reports
/// them.
pub fn state_store(folder: &Path, name: &str, features: &[&str]) -> Pluggable {
    let features: Vec<String> = features.iter().map(|f| (*f).to_owned()).collect();
    let services = [
        "dapr.proto.components.v1.StateStore",
        "dapr.proto.components.v1.TransactionalStateStore",
        "dapr.proto.components.v1.QueriableStateStore",
        "dapr.proto.components.v1.TransactionalStoreMultiMaxSize",
    ];
    Pluggable::start(&socket(folder, name), &services, move |path, message| {
        match path.rsplit('/').next().unwrap_or_default() {
            "Features" => {
                return Ok(wire::FeaturesResponse { features: features.clone() }.encode_to_vec());
            }
            "MultiMaxSize" => {
                return Ok(wire::MultiMaxSizeResponse { max_size: MOST_OPERATIONS }.encode_to_vec());
            }
            "Get" => judge(&decode::<wire::GetRequest>(message).key)?,
            "Set" => judge(&decode::<wire::SetRequest>(message).key)?,
            "Delete" => judge(&decode::<wire::DeleteRequest>(message).key)?,
            "BulkSet" => {
                decode::<wire::BulkSetRequest>(message).items.iter().try_for_each(|i| judge(&i.key))?;
            }
            "BulkDelete" => {
                decode::<wire::BulkDeleteRequest>(message).items.iter().try_for_each(|i| judge(&i.key))?;
            }
            "BulkGet" => {
                decode::<wire::BulkGetRequest>(message).items.iter().try_for_each(|i| judge(&i.key))?;
            }
            "Transact" => transact(&decode(message))?,
            "Query" => judge("fail")?,
            _ => {}
        }
        Ok(Vec::new())
    })
}

fn transact(request: &wire::TransactionalStateRequest) -> Result<(), Refusal> {
    use wire::transactional_state_operation::Request;
    request.operations.iter().try_for_each(|operation| match &operation.request {
        Some(Request::Set(item)) => judge(&item.key),
        Some(Request::Delete(item)) => judge(&item.key),
        None => Ok(()),
    })
}

/// A broker that judges each message by its topic; that of an outbox like the
/// one it is for.
pub fn broker(folder: &Path, name: &str) -> Pluggable {
    Pluggable::start(&socket(folder, name), &["dapr.proto.components.v1.PubSub"], |path, message| {
        match path.rsplit('/').next().unwrap_or_default() {
            "Publish" => {
                let topic = decode::<wire::PublishRequest>(message).topic;
                judge(topic.strip_suffix("outbox").unwrap_or(&topic))?;
            }
            "BulkPublish" => judge(&decode::<wire::BulkPublishRequest>(message).topic)?,
            _ => {}
        }
        Ok(Vec::new())
    })
}

/// A secret store that judges by key; what is asked for in bulk always fails.
pub fn secret_store(folder: &Path, name: &str) -> Pluggable {
    Pluggable::start(&socket(folder, name), &["dapr.proto.components.v1.SecretStore"], |path, message| {
        match path.rsplit('/').next().unwrap_or_default() {
            "Get" => judge(&decode::<wire::GetSecretRequest>(message).key)?,
            "BulkGet" => judge("fail")?,
            _ => {}
        }
        Ok(Vec::new())
    })
}

/// A binding that judges by operation.
pub fn binding(folder: &Path, name: &str) -> Pluggable {
    Pluggable::start(&socket(folder, name), &["dapr.proto.components.v1.OutputBinding"], |path, message| {
        match path.rsplit('/').next().unwrap_or_default() {
            "ListOperations" => {
                let operations = ["fail", "get"].map(str::to_owned).to_vec();
                return Ok(wire::ListOperationsResponse { operations }.encode_to_vec());
            }
            "Invoke" => judge(&decode::<wire::InvokeRequest>(message).operation)?,
            _ => {}
        }
        Ok(Vec::new())
    })
}
