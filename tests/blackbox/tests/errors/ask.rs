//! Asks a sidecar and collects every answer that is not the expected one.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use dapr_blackbox::{GrpcAnswer, Scratch, Sidecar, ask_grpc, grpc_frame};
use dapr_wire::google::rpc;
use prost::Message;
use serde_json::{Value, json};

const SERVICE: &str = "/dapr.proto.runtime.v1.Dapr";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// The folder of expected answers: a file for each sidecar that is asked.
const ANSWERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/errors/answers");
/// Names a folder into which answers are written instead of being compared:
/// how the files came about, with `DAPRD_BIN` naming Dapr's own program.
const RECORD: &str = "DAPR_TEST_RECORD_ERRORS";
/// Begins an answer in a file, in front of protocol and case.
const CASE: &str = "### ";
/// Within an answer: what follows is this project's, which is known to differ.
const OURS: &str = "\n--- ours\n";

pub struct Ask<'a> {
    sidecar: &'a Sidecar,
    file: &'static str,
    expected: BTreeMap<String, String>,
    masks: Vec<(String, &'static str)>,
    wrong: Vec<String>,
    recorded: String,
}

impl<'a> Ask<'a> {
    /// `file` holds the answers that are expected.
    pub fn new(sidecar: &'a Sidecar, file: &'static str) -> Self {
        let text = std::fs::read_to_string(format!("{ANSWERS}/{file}.txt")).unwrap_or_default();
        let text = format!("\n{text}");
        let begin = format!("\n{CASE}");
        let cases = text.split(&begin).skip(1);
        let cases = cases.map(|case| case.split_once('\n').expect("a case and its answer"));
        let expected = cases.map(|(case, answer)| (case.to_owned(), answer.trim_end().to_owned()));
        let expected = expected.collect();
        Self { sidecar, file, expected, masks: Vec::new(), wrong: Vec::new(), recorded: String::new() }
    }

    /// Answers name `text`, which is another one each time.
    pub fn mask(&mut self, text: impl Into<String>, name: &'static str) {
        self.masks.push((text.into(), name));
    }

    pub fn mask_port(&mut self, port: u16, name: &'static str) {
        self.mask(port.to_string(), name);
    }

    /// `line` is method and path; the answer reads `<status> <body>`.
    pub async fn http(&mut self, what: &str, line: &str, body: impl Into<Bytes>) {
        self.http_with(what, line, &JSON, body).await;
    }

    pub async fn http_with(
        &mut self,
        what: &str,
        line: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) {
        let (method, path) = line.split_once(' ').expect("method and path");
        let method = method.parse().expect("a method");
        let answer = self.sidecar.client.send(method, path, headers, body).await;
        self.compare("http", what, &format!("{} {}", answer.status.as_u16(), answer.text()));
    }

    /// The answer reads `<code>: <message>` and a line for each detail.
    pub async fn grpc(&mut self, what: &str, method: &str, message: &impl Message) {
        self.grpc_with(what, method, &[], message).await;
    }

    pub async fn grpc_with(
        &mut self,
        what: &str,
        method: &str,
        metadata: &[(&str, &str)],
        message: &impl Message,
    ) {
        self.grpc_stream(what, method, metadata, grpc_frame(&message.encode_to_vec())).await;
    }

    /// A call with several messages.
    pub async fn grpc_stream(&mut self, what: &str, method: &str, metadata: &[(&str, &str)], frames: Bytes) {
        let path = if method.starts_with('/') { method.to_owned() } else { format!("{SERVICE}/{method}") };
        let answer = ask_grpc(self.sidecar.grpc_port, &path, metadata, frames).await;
        self.compare("grpc", what, &status_text(&answer));
    }

    /// An answer in whatever form suits the case.
    pub fn compare(&mut self, protocol: &str, what: &str, answered: &str) {
        let case = format!("{protocol} {what}");
        let mask = |text: String, (varying, name): &(String, &str)| text.replace(varying, name);
        let answered = self.masks.iter().fold(without_ids(answered.trim_end()), mask);
        self.recorded.push_str(&format!("{CASE}{case}\n{answered}\n"));
        let expected = self.expected.remove(&case).unwrap_or_default();
        if !expected.split(OURS).any(|expected| expected == answered) {
            self.wrong.push(format!("{case}\n  expected {expected}\n  answered {answered}"));
        }
    }

    /// Panics with all that was wrong.
    pub fn done(self) {
        if let Some(folder) = std::env::var_os(RECORD) {
            let path = std::path::Path::new(&folder).join(format!("{}.txt", self.file));
            return std::fs::write(path, self.recorded).expect("a folder for answers");
        }
        assert!(self.wrong.is_empty(), "unexpected answers:\n{}", self.wrong.join("\n"));
        assert!(self.expected.is_empty(), "never asked: {:?}", self.expected.keys());
    }
}

/// With `ID` in place of everything that looks like a UUID.
fn without_ids(text: &str) -> String {
    const LENGTH: usize = 36;
    let is_id = |text: &str| {
        let parts: Vec<_> = text.split('-').map(str::len).collect();
        parts == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.get(..LENGTH).is_some_and(is_id) { LENGTH } else { first.len_utf8() };
        out.push_str(if length == LENGTH { "ID" } else { &rest[..length] });
        rest = &rest[length..];
    }
    out
}

/// A status with its details, as text.
pub fn status_text(answer: &GrpcAnswer) -> String {
    let Some(code) = answer.code() else { return format!("no status: {answer:?}") };
    let message = percent_decoded(answer.field("grpc-message").unwrap_or_default());
    let mut text = format!("{}: {message}", NAMES.get(code as usize).unwrap_or(&"?"));
    if let Some(details) = answer.field("grpc-status-details-bin") {
        let details = STANDARD_NO_PAD.decode(details.trim_end_matches('=')).expect("base64");
        let status = rpc::Status::decode(details.as_slice()).expect("a status");
        assert_eq!((status.code, &status.message), (code, &message), "the status says it twice");
        for detail in &status.details {
            text.push('\n');
            text.push_str(&detail_text(detail));
        }
    }
    text
}

const NAMES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

fn detail_text(detail: &prost_types::Any) -> String {
    let bytes = detail.value.as_slice();
    match detail.type_url.as_str() {
        "type.googleapis.com/google.rpc.ErrorInfo" => {
            let info = rpc::ErrorInfo::decode(bytes).expect("an ErrorInfo");
            let metadata: BTreeMap<_, _> = info.metadata.into_iter().collect();
            format!("ErrorInfo {} {} {metadata:?}", info.reason, info.domain)
        }
        "type.googleapis.com/google.rpc.ResourceInfo" => {
            let info = rpc::ResourceInfo::decode(bytes).expect("a ResourceInfo");
            format!(
                "ResourceInfo {} {:?} {:?} {:?}",
                info.resource_type, info.resource_name, info.owner, info.description
            )
        }
        "type.googleapis.com/google.rpc.BadRequest" => {
            let bad = rpc::BadRequest::decode(bytes).expect("a BadRequest");
            let fields = bad.field_violations.into_iter().map(|v| (v.field, v.description));
            format!("BadRequest {:?}", fields.collect::<Vec<_>>())
        }
        "type.googleapis.com/google.rpc.Help" => {
            let help = rpc::Help::decode(bytes).expect("a Help");
            let links = help.links.into_iter().map(|l| (l.description, l.url));
            format!("Help {:?}", links.collect::<Vec<_>>())
        }
        other => format!("{other} {bytes:?}"),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) if first == b'%' => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A Configuration file with `spec`.
pub fn configuration(scratch: &Scratch, spec: &Value) -> std::path::PathBuf {
    let document = json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Configuration",
        "metadata": {"name": "config"},
        "spec": spec,
    });
    scratch.write("config.yaml", &document.to_string())
}
