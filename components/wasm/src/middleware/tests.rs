use std::sync::Arc;

use dapr_components::Properties;
use dapr_components::middleware::Endpoint;
use dapr_kernel::tasks::TaskGroup;
use dapr_kernel::{AppIdentity, Shutdown};
use parking_lot::Mutex;

use super::*;

/// What every guest of these tests has; functions for the two calls follow.
const FRAME: &str = r#"
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "get_config" (func $get_config (param i32 i32) (result i32)))
  (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
  (import "http_handler" "set_uri" (func $set_uri (param i32 i32)))
  (import "http_handler" "set_method" (func $set_method (param i32 i32)))
  (import "http_handler" "get_header_names" (func $get_header_names (param i32 i32 i32) (result i64)))
  (import "http_handler" "get_header_values" (func $get_header_values (param i32 i32 i32 i32 i32) (result i64)))
  (import "http_handler" "set_header_value" (func $set_header_value (param i32 i32 i32 i32 i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
  (import "http_handler" "set_status_code" (func $set_status_code (param i32)))
  (import "http_handler" "get_source_addr" (func $get_source_addr (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1 1)
"#;
const NOTHING_AFTER: &str = r#"(func (export "handle_response") (param i32 i32))"#;

struct Test {
    wasm: Arc<dyn HttpMiddleware>,
    end: End,
    _folder: tempfile::TempDir,
}

#[derive(Default)]
struct End {
    seen: Mutex<Vec<(String, String)>>,
}

#[async_trait]
impl Endpoint for End {
    async fn call(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?;
        let line = format!("{} {}", parts.method, parts.uri);
        self.seen.lock().push((line, String::from_utf8_lossy(&body).into_owned()));
        Ok(Response::builder()
            .status(201)
            .header("from", "end")
            .header("kind", "x")
            .body(Body::from("answer"))
            .unwrap())
    }
}

fn context(properties: &[(&str, &str)]) -> InitContext {
    InitContext {
        name: "test".into(),
        component_type: "middleware.http.wasm".into(),
        version: "v1".into(),
        properties: Properties::new(properties.iter().copied()).unwrap(),
        identity: AppIdentity::new("me", None),
        tasks: TaskGroup::new(Shutdown::new()),
    }
}

async fn load(module: &str, more: &[(&str, &str)]) -> Result<Test, InitError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest.wasm");
    std::fs::write(&file, wat::parse_str(module).unwrap()).unwrap();
    let url = format!("file://{}", file.display());
    let mut properties = vec![("url", url.as_str())];
    properties.extend(more);
    let wasm = Arc::new(Wasm::new(&context(&properties)).await?);
    Ok(Test { wasm, end: End::default(), _folder: folder })
}

async fn guest(functions: &str) -> Test {
    load(&format!("(module {FRAME} {functions})"), &[("guestConfig", "settings")]).await.unwrap()
}

impl Test {
    async fn send(&self, body: &'static str) -> Response<Body> {
        let mut request = Request::post("/path?query").header("x-one", "1").body(Body::from(body)).unwrap();
        request.extensions_mut().insert(Peer(Some(([127, 0, 0, 1], 7).into())));
        Next::new(std::slice::from_ref(&self.wasm), &self.end).run(request).await.unwrap()
    }

    fn seen(&self) -> (String, String) {
        self.end.seen.lock().pop().expect("the request went on")
    }
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_guest_may_change_the_request() {
    let test = guest(&format!(
        r#"(data (i32.const 0) "PUT/new?x=1body")
        (func (export "handle_request") (result i64)
          (call $set_method (i32.const 0) (i32.const 3))
          (call $set_uri (i32.const 3) (i32.const 8))
          (call $write_body (i32.const 0) (i32.const 11) (i32.const 4))
          (i64.const 1))
        {NOTHING_AFTER}"#
    ))
    .await;
    for _ in 0..3 {
        let response = test.send("old").await;
        assert_eq!((response.status().as_u16(), &response.headers()["from"]), (201, &"end".parse().unwrap()));
        assert_eq!(text(response).await, "answer");
        assert_eq!(test.seen(), ("PUT /new?x=1".to_owned(), "body".to_owned()));
    }
}

#[tokio::test]
async fn a_guest_may_answer() {
    // The answer: configuration, URI, caller, the value of a header.
    let test = guest(&format!(
        r#"(data (i32.const 0) "x-onex-new") (global $at (mut i32) (i32.const 1000))
        (func $more (param i32) (global.set $at (i32.add (global.get $at) (local.get 0))))
        (func (export "handle_request") (result i64)
          (global.set $at (i32.const 1000))
          (call $more (call $get_config (global.get $at) (i32.const 100)))
          (call $more (call $get_uri (global.get $at) (i32.const 100)))
          (call $more (call $get_source_addr (global.get $at) (i32.const 100)))
          (call $more (i32.wrap_i64 (call $get_header_values
            (i32.const 0) (i32.const 0) (i32.const 5) (global.get $at) (i32.const 100))))
          (call $set_status_code (i32.const 418))
          (call $set_header_value (i32.const 1) (i32.const 5) (i32.const 5) (i32.const 0) (i32.const 5))
          (call $write_body (i32.const 1) (i32.const 1000) (i32.sub (global.get $at) (i32.const 1000)))
          (i64.const 0))
        {NOTHING_AFTER}"#
    ))
    .await;
    for _ in 0..2 {
        let response = test.send("").await;
        assert_eq!(response.status(), 418);
        assert_eq!(response.headers()["x-new"], "x-one");
        assert_eq!(text(response).await, "settings/path?query127.0.0.1:71\0");
        assert!(test.end.seen.lock().is_empty());
    }
}

#[tokio::test]
async fn a_guest_that_asked_for_it_may_change_the_answer() {
    // The body of the answer comes back with a mark after it.
    let test = guest(
        r#"(data (i32.const 0) "x-new!") (global $len (mut i32) (i32.const 0))
        (func (export "handle_request") (result i64)
          (drop (call $enable_features (i32.const 2)))
          (i64.const 0x700000001))
        (func (export "handle_response") (param i32 i32)
          (if (i32.ne (local.get 0) (i32.const 7)) (then unreachable))
          (if (i32.ne (local.get 1) (i32.const 0)) (then unreachable))
          (global.set $len (i32.wrap_i64 (call $read_body (i32.const 1) (i32.const 100) (i32.const 100))))
          (call $write_body (i32.const 1) (i32.const 100) (global.get $len))
          (call $write_body (i32.const 1) (i32.const 5) (i32.const 1))
          (call $set_header_value (i32.const 1) (i32.const 0) (i32.const 5) (i32.const 5) (i32.const 1))
          (call $set_status_code (i32.const 202)))"#,
    )
    .await;
    let response = test.send("old").await;
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["from"], "end");
    assert_eq!(response.headers()["x-new"], "!");
    assert_eq!(text(response).await, "answer!");
    assert_eq!(test.seen().1, "old");
}

#[tokio::test]
async fn what_a_guest_reads_is_gone_unless_it_asked_to_keep_it() {
    for (features, expected) in [(0, "cd"), (1, "abcd")] {
        let test = guest(&format!(
            r#"(func (export "handle_request") (result i64)
              (drop (call $enable_features (i32.const {features})))
              (drop (call $read_body (i32.const 0) (i32.const 0) (i32.const 2)))
              (i64.const 1))
            {NOTHING_AFTER}"#
        ))
        .await;
        test.send("abcd").await;
        assert_eq!(test.seen().1, expected, "features {features}");
    }
}

#[tokio::test]
async fn the_answer_cannot_be_changed_without_asking() {
    let test = guest(
        r#"(func (export "handle_request") (result i64) (i64.const 1))
        (func (export "handle_response") (param i32 i32) (call $set_status_code (i32.const 202)))"#,
    )
    .await;
    let response = test.send("").await;
    assert_eq!(response.status(), 500);
    let reason = text(response).await;
    assert!(
        reason.contains("can't set status code after next handler unless buffer_response is enabled"),
        "{reason}"
    );
    assert_eq!(test.send("").await.status(), 500, "another instance serves the next request");
}

#[tokio::test]
async fn a_guest_that_fails_is_an_error() {
    let test =
        guest(&format!(r#"(func (export "handle_request") (result i64) unreachable) {NOTHING_AFTER}"#)).await;
    assert_eq!(test.send("").await.status(), 500);
    assert!(test.end.seen.lock().is_empty());
}

#[tokio::test]
async fn a_guest_that_never_ends_is_an_error() {
    let module = format!(
        r#"(module (memory (export "memory") 1)
        (func (export "handle_request") (result i64) (loop $again (br $again)) (i64.const 1))
        {NOTHING_AFTER})"#
    );
    let guest = Guest::new(&wat::parse_str(module).unwrap(), "", false, 100_000).unwrap();
    let wasm: Arc<dyn HttpMiddleware> = Arc::new(Wasm { guest });
    let end = End::default();
    let answer = Next::new(&[wasm], &end).run(Request::new(Body::empty())).await.unwrap();
    assert_eq!(answer.status(), 500);
    assert!(end.seen.lock().is_empty());
}

#[tokio::test]
async fn unknown_functions_of_wasi_say_that_they_are() {
    let test = guest(&format!(
        r#"(func (export "handle_request") (result i64)
          (if (i32.ne (call $random_get (i32.const 0) (i32.const 8)) (i32.const 0)) (then unreachable))
          (if (i32.ne (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0)) (i32.const 52)) (then unreachable))
          (i64.const 1))
        {NOTHING_AFTER}"#
    ))
    .await;
    assert_eq!(test.send("").await.status(), 201);
}

#[tokio::test]
async fn a_module_must_have_the_interface() {
    let error = async |module: &str| load(module, &[]).await.err().unwrap().to_string();
    let request = r#"(func (export "handle_request") (result i64) (i64.const 0))"#;
    assert_eq!(error("(module)").await, "wasm: guest doesn't export func[handle_request]");
    assert_eq!(
        error(r#"(module (func (export "handle_request")))"#).await,
        "wasm: guest exports the wrong signature for func[handle_request]. should be () -> (i64)"
    );
    assert_eq!(
        error(&format!("(module {request})")).await,
        "wasm: guest doesn't export func[handle_response]"
    );
    assert_eq!(
        error(&format!("(module {request} {NOTHING_AFTER})")).await,
        "wasm: guest doesn't export memory[memory]"
    );
    let unknown = error(&format!(
        r#"(module (import "other" "x" (func)) (memory (export "memory") 1) {request} {NOTHING_AFTER})"#
    ))
    .await;
    assert!(unknown.starts_with("wasm: error instantiating guest: "), "{unknown}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.wasm");
    std::fs::write(&file, "no module").unwrap();
    let url = format!("file://{}", file.display());
    let text = Wasm::new(&context(&[("url", &url)])).await.err().unwrap().to_string();
    assert!(text.starts_with("wasm: error compiling guest: "), "{text}");
    let none = Wasm::new(&context(&[])).await.err().unwrap().to_string();
    assert_eq!(none, "wasm: failed to parse metadata: missing url");
}
