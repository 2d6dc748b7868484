//! From a gRPC status to the errors of our traits (runtime.md §13).

use std::error::Error as _;

use dapr_components::InitError;
use dapr_components::state::Error;
use dapr_errors::{Code, grpc_nested};
use dapr_transport::client::ClientError;
use dapr_wire::google::rpc;
use prost::Message;
use tonic::Status;

const ERROR_INFO: &str = "google.rpc.ErrorInfo";
const BAD_REQUEST: &str = "google.rpc.BadRequest";

/// How a status reads inside another message.
pub fn text(status: &Status) -> String {
    grpc_nested(code(status), status.message())
}

/// A call that found no connection is told from one that failed.
fn code(status: &Status) -> Code {
    match status.source() {
        Some(source) if source.is::<ClientError>() => Code::Unavailable,
        _ => Code::from_i32(status.code() as i32),
    }
}

/// Of a message bus: the status code stays with it.
pub fn publish(status: Status) -> dapr_components::pubsub::Error {
    dapr_components::pubsub::Error::Status { code: code(&status) as i32, message: text(&status) }
}

pub fn init(status: Status) -> InitError {
    InitError::new(text(&status))
}

/// For reads: only errors that bring their own status are special.
pub fn read(status: Status) -> Error {
    own(&status).unwrap_or_else(|| Error::other(text(&status)))
}

/// For writes of items: ETag failures too.
pub fn write(status: Status) -> Error {
    own(&status).or_else(|| etag(&status)).unwrap_or_else(|| Error::other(text(&status)))
}

/// For bulk deletes: a row mismatch too.
pub fn bulk_delete(status: Status) -> Error {
    own(&status)
        .or_else(|| etag(&status))
        .or_else(|| row_mismatch(&status))
        .unwrap_or_else(|| Error::other(text(&status)))
}

/// The detail of a status that has exactly one, if it is of this type.
fn only<M: Message + Default>(status: &Status, name: &str) -> Option<M> {
    let decoded = rpc::Status::decode(status.details()).ok()?;
    let [detail] = decoded.details.as_slice() else { return None };
    let is = detail.type_url.rsplit('/').next() == Some(name);
    if is { M::decode(detail.value.as_slice()).ok() } else { None }
}

/// An error that brings its HTTP status and tag.
fn own(status: &Status) -> Option<Error> {
    let info: rpc::ErrorInfo = only(status, ERROR_INFO)?;
    if info.metadata.get("kit_error").map(String::as_str) != Some("true") {
        return None;
    }
    let http = info.metadata.get("http_code")?.parse().ok()?;
    let code = code(status);
    Some(Error::Rich {
        http,
        grpc: code as i32,
        grpc_name: code.name().to_owned(),
        tag: info.metadata.get("tag").cloned().unwrap_or_default(),
        message: status.message().to_owned(),
        domain: info.domain,
        reason: info.reason,
    })
}

fn etag(status: &Status) -> Option<Error> {
    let kind = match status.code() {
        tonic::Code::FailedPrecondition => Error::EtagMismatch,
        tonic::Code::InvalidArgument => Error::EtagInvalid,
        _ => return None,
    };
    let request: rpc::BadRequest = only(status, BAD_REQUEST)?;
    match request.field_violations.as_slice() {
        [violation] if violation.field == "etag" => Some(kind(violation.description.clone())),
        _ => None,
    }
}

fn row_mismatch(status: &Status) -> Option<Error> {
    if status.code() != tonic::Code::Internal {
        return None;
    }
    let info: rpc::ErrorInfo = only(status, ERROR_INFO)?;
    let mut rows = [0i64; 2];
    for (name, row) in ["expected", "affected"].into_iter().zip(&mut rows) {
        let given = info.metadata.get(name)?;
        match given.parse() {
            Ok(number) => *row = number,
            Err(_) => {
                let (status, given) = (text(status), dapr_gocompat::quote::quote(given));
                return Some(Error::other(format!(
                    "{status}; cannot convert '{name}' rows to integer: {given} is not a number"
                )));
            }
        }
    }
    let [expected, affected] = rows;
    Some(Error::other(format!("delete affected only {affected} rows, expected {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: tonic::Code, details: Vec<(&str, Vec<u8>)>) -> Status {
        let details = details
            .into_iter()
            .map(|(name, value)| prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value })
            .collect();
        let inner = rpc::Status { code: code as i32, message: "m".into(), details };
        Status::with_details(code, "m", inner.encode_to_vec().into())
    }

    fn info(pairs: &[(&str, &str)]) -> Vec<u8> {
        let metadata = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        rpc::ErrorInfo { reason: "r".into(), domain: "d".into(), metadata }.encode_to_vec()
    }

    fn violations(fields: &[&str]) -> Vec<u8> {
        let field_violations = fields
            .iter()
            .map(|field| rpc::bad_request::FieldViolation {
                field: (*field).to_owned(),
                description: "why".into(),
                ..Default::default()
            })
            .collect();
        rpc::BadRequest { field_violations }.encode_to_vec()
    }

    #[test]
    fn etag_failures_are_told_by_their_one_violation() {
        use tonic::Code::{Aborted, FailedPrecondition, InvalidArgument};
        let of = |code, fields: &[&str]| write(status(code, vec![(BAD_REQUEST, violations(fields))]));
        assert_eq!(of(FailedPrecondition, &["etag"]), Error::EtagMismatch("why".into()));
        assert_eq!(of(InvalidArgument, &["etag"]), Error::EtagInvalid("why".into()));
        assert!(matches!(of(FailedPrecondition, &["etag", "etag"]), Error::Other(_)));
        assert!(matches!(of(FailedPrecondition, &["key"]), Error::Other(_)));
        assert!(matches!(of(Aborted, &["etag"]), Error::Other(_)));
    }

    #[test]
    fn an_error_of_its_own_keeps_status_and_tag() {
        let pairs = [("kit_error", "true"), ("http_code", "506"), ("tag", "t")];
        let error = read(status(tonic::Code::DataLoss, vec![(ERROR_INFO, info(&pairs))]));
        assert_eq!(error.to_string(), "api error: code = DataLoss desc = m");
        assert!(
            matches!(error, Error::Rich { http: 506, grpc: 15, tag, domain, .. } if tag == "t" && domain == "d")
        );
        let twice = vec![(ERROR_INFO, info(&pairs)), (ERROR_INFO, info(&pairs))];
        let error = read(status(tonic::Code::DataLoss, twice));
        assert_eq!(error, Error::other("rpc error: code = DataLoss desc = m"));
    }

    #[test]
    fn a_bulk_delete_tells_how_many_rows_it_touched() {
        let of = |pairs: &[(&str, &str)]| {
            bulk_delete(status(tonic::Code::Internal, vec![(ERROR_INFO, info(pairs))])).to_string()
        };
        assert_eq!(of(&[("expected", "3"), ("affected", "1")]), "delete affected only 1 rows, expected 3");
        assert_eq!(of(&[("expected", "3")]), "rpc error: code = Internal desc = m");
        assert!(of(&[("expected", "x"), ("affected", "1")]).contains("cannot convert 'expected' rows"));
    }
}
