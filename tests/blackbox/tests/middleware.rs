//! HTTP middleware in a running sidecar: both pipelines, identity providers
//! and policies, and what is said about mistakes.
#![forbid(unsafe_code)]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dapr_blackbox::{
    FakeApp, Options, Request, Response, Scratch, Sidecar, component, eventually, respond, respond_json,
};
use http::Method;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

const RELOAD_TIMEOUT: Duration = Duration::from_secs(20);

fn middleware(name: &str, kind: &str, metadata: &Value) -> String {
    component(name, &format!("middleware.http.{kind}"), metadata)
}

/// A Configuration with (name, type) in either pipeline.
fn configuration(api: &[(&str, &str)], app: &[(&str, &str)]) -> String {
    let handlers = |list: &[(&str, &str)]| -> Value {
        let handlers =
            list.iter().map(|(name, kind)| json!({"name": name, "type": format!("middleware.http.{kind}")}));
        json!({"handlers": handlers.collect::<Vec<_>>()})
    };
    json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Configuration",
        "metadata": {"name": "config"},
        "spec": {"httpPipeline": handlers(api), "appHttpPipeline": handlers(app)},
    })
    .to_string()
}

/// Says what it was sent.
async fn echo(request: Request) -> Response {
    let headers: serde_json::Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    respond_json(&json!({
        "path": request.uri().path(),
        "query": request.uri().query(),
        "headers": headers,
        "body": String::from_utf8_lossy(request.body()),
    }))
}

struct Setup {
    sidecar: Sidecar,
    folder: std::path::PathBuf,
    _app: FakeApp,
    _scratch: Scratch,
}

impl Setup {
    async fn start(components: &[String], api: &[(&str, &str)], app: &[(&str, &str)]) -> Self {
        let mut setup = Self::spawn(components, api, app).await;
        setup.sidecar.ready().await;
        setup
    }

    /// Without waiting: the pipeline is before the health endpoint, too.
    async fn spawn(components: &[String], api: &[(&str, &str)], app: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new("middleware");
        let fake = FakeApp::start(echo).await;
        let texts: Vec<&str> = components.iter().map(String::as_str).collect();
        let folder = scratch.resources("resources", &texts);
        let config = scratch.write("config.yaml", &configuration(api, app));
        let options = Options::new("app").app(fake.port).resources(&folder).config(config);
        let sidecar = Sidecar::spawn(&scratch, options);
        Self { sidecar, folder, _app: fake, _scratch: scratch }
    }

    async fn invoke(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> dapr_blackbox::Answer {
        self.sidecar.client.send(Method::POST, path, headers, body).await
    }
}

const METHOD: &str = "/v1.0/invoke/app/method/m";

#[tokio::test]
async fn both_pipelines_run_in_order_and_skip_what_is_missing() {
    let components = [
        middleware("first", "routeralias", &json!({"routes": r#"{"/short/{id}": "/middle"}"#})),
        middleware("second", "routeralias", &json!({"routes": format!(r#"{{"/middle": "{METHOD}"}}"#)})),
        middleware("loud", "uppercase", &json!({})),
        middleware("louder", "uppercase", &json!({"direction": "response"})),
    ];
    let api = [("first", "routeralias"), ("gone", "routeralias"), ("second", "routeralias")];
    let app = [("loud", "uppercase"), ("louder", "uppercase"), ("loud", "nosuch")];
    let setup = Setup::start(&components, &api, &app).await;
    let answer = setup.invoke("/short/7?x=1", &[], "grüße").await.expect(200);
    let text = answer.text();
    assert!(text.contains(r#""PATH":"/M""#) && text.contains(r#""BODY":"GRÜßE""#), "{text}");
    assert!(text.contains(r#""QUERY":"ID=7&X=1""#), "{text}");
    // The probes and the sidecar's own routes are not the application's.
    setup.sidecar.client.get("/v1.0/metadata").await.expect(200);
    setup.sidecar.stop().await;
}

#[tokio::test]
async fn a_middleware_that_is_added_later_joins_its_pipeline() {
    let setup = Setup::start(&[], &[], &[("loud", "uppercase")]).await;
    let body = async || setup.invoke(METHOD, &[], "text").await.expect(200).json()["body"].clone();
    assert_eq!(body().await, "text");
    std::fs::write(setup.folder.join("later.yaml"), middleware("loud", "uppercase", &json!({})))
        .expect("written");
    eventually("the body is loud", RELOAD_TIMEOUT, || async {
        let body = body().await;
        if body == "TEXT" { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_guard_that_is_replaced_leaves_no_gap() {
    let rule = |rule: &str| middleware("guard", "routerchecker", &json!({"rule": rule}));
    let setup = Setup::start(&[rule("healthz")], &[("guard", "routerchecker")], &[]).await;
    let mut files = std::fs::read_dir(&setup.folder).expect("a folder");
    let file = files.next().expect("a file").expect("read").path();
    // At once, so that nobody sees half a file.
    let replace = |text: &str| {
        let fresh = setup.folder.with_file_name("fresh.yaml");
        std::fs::write(&fresh, rule(text)).expect("written");
        std::fs::rename(&fresh, &file).expect("renamed");
    };
    for round in 0..10 {
        replace(&format!("healthz|never{round}"));
        for _ in 0..20 {
            setup.invoke(METHOD, &[], "").await.expect(400);
        }
    }
    replace(".*");
    eventually("the new rule counts", RELOAD_TIMEOUT, || async {
        let status = setup.invoke(METHOD, &[], "").await.status;
        if status == 200 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn callers_are_limited() {
    let components = [middleware("limit", "ratelimit", &json!({"maxRequestsPerSecond": "1"}))];
    let setup = Setup::start(&components, &[("limit", "ratelimit")], &[]).await;
    let mut refused = None;
    for _ in 0..10 {
        let answer = setup.invoke(METHOD, &[], "").await;
        assert_eq!(answer.headers["x-rate-limit-limit"], "1.00");
        assert!(
            answer.headers["x-rate-limit-request-remote-addr"].to_str().unwrap().starts_with("127.0.0.1:")
        );
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("ten requests take less than ten seconds");
    assert_eq!(refused.text(), "You have reached maximum request limit.");
}

/// Signs tokens as an identity provider does.
struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("random");
        let key = EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).expect("just made");
        Self { key, random }
    }

    fn keys(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "kid": "key", "alg": "ES256",
            "x": part(&point[1..33]), "y": part(&point[33..]),
        }]})
    }

    fn token(&self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "key"})), part(claims));
        let signature = self.key.sign(&self.random, signed.as_bytes()).expect("signed");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn only_tokens_of_the_issuer_pass() {
    let signer = Arc::new(Signer::new());
    let issuer = Arc::new(OnceLock::<String>::new());
    let (signs, names) = (signer.clone(), issuer.clone());
    let provider = FakeApp::start(move |request: Request| {
        let (signs, names) = (signs.clone(), names.clone());
        async move {
            let issuer = names.get().expect("set before the sidecar starts");
            match request.uri().path() {
                "/.well-known/openid-configuration" => {
                    respond_json(&json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}))
                }
                "/keys" => respond_json(&signs.keys()),
                _ => respond(404, ""),
            }
        }
    })
    .await;
    let issuer = issuer.get_or_init(|| format!("http://127.0.0.1:{}", provider.port)).clone();
    let components = [middleware("who", "bearer", &json!({"issuer": issuer, "audience": "me"}))];
    let setup = Setup::spawn(&components, &[("who", "bearer")], &[]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let good = signer.token(&json!({"iss": issuer, "aud": "me", "exp": now + 60}));
    let late = signer.token(&json!({"iss": issuer, "aud": "me", "exp": now - 600}));
    let other = Signer::new().token(&json!({"iss": issuer, "aud": "me", "exp": now + 60}));
    let ask =
        async |token: &str| setup.invoke(METHOD, &[("authorization", &format!("Bearer {token}"))], "").await;
    let bearer = format!("Bearer {good}");
    eventually("the sidecar is ready", RELOAD_TIMEOUT, || async {
        let headers = [("authorization", bearer.as_str())];
        let answer = setup.sidecar.client.try_send(Method::GET, "/v1.0/healthz", &headers, "").await;
        match answer {
            Ok(answer) if answer.status == 204 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    ask(&good).await.expect(200);
    setup.sidecar.client.get("/v1.0/healthz").await.expect(401);
    for bad in [&late, &other, "no token at all"] {
        assert_eq!(ask(bad).await.expect(401).text(), "Unauthorized");
    }
    setup.invoke(METHOD, &[], "").await.expect(401);
}

#[tokio::test]
async fn the_application_is_called_with_a_token_of_the_component() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let provider = FakeApp::start(move |request: Request| {
        log.lock().push(String::from_utf8_lossy(request.body()).into_owned());
        async { respond_json(&json!({"access_token": "secret", "token_type": "bearer", "expires_in": 3600})) }
    })
    .await;
    let url = format!("http://127.0.0.1:{}/token", provider.port);
    let metadata = json!({
        "headerName": "x-token",
        "clientID": "me",
        "clientSecret": "mine",
        "scopes": "a,b",
        "tokenURL": url,
    });
    let components = [middleware("token", "oauth2clientcredentials", &metadata)];
    let setup = Setup::start(&components, &[], &[("token", "oauth2clientcredentials")]).await;
    for _ in 0..3 {
        let sent = setup.invoke(METHOD, &[], "").await.expect(200).json();
        assert_eq!(sent["headers"]["x-token"], "Bearer secret");
    }
    assert_eq!(*asked.lock(), ["grant_type=client_credentials&scope=a+b"]);
}

#[tokio::test]
async fn a_browser_is_sent_to_the_provider_and_back() {
    let provider =
        FakeApp::start(|_| async { respond_json(&json!({"access_token": "t", "token_type": "bearer"})) })
            .await;
    let url = format!("http://127.0.0.1:{}/token", provider.port);
    let metadata = json!({
        "clientID": "me",
        "clientSecret": "mine",
        "authURL": "https://provider.example/login",
        "tokenURL": url,
        "authHeaderName": "x-auth",
        "pathFilter": "/v1.0/invoke/",
    });
    let setup = Setup::start(&[middleware("login", "oauth2", &metadata)], &[("login", "oauth2")], &[]).await;
    let client = &setup.sidecar.client;
    let sent = client.get(METHOD).await.expect(302);
    let location = sent.headers["location"].to_str().unwrap();
    let state = location.rsplit_once("&state=").expect("a state").1;
    assert!(
        location.starts_with("https://provider.example/login?access_type=offline&client_id=me"),
        "{location}"
    );
    let cookie = sent.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    let open = async |path: &str| client.send(Method::GET, path, &[("cookie", cookie)], "").await;
    let wrong = open(&format!("{METHOD}?state=x&code=y")).await.expect(400);
    assert_eq!(wrong.text(), "invalid state");
    let back = open(&format!("{METHOD}?state={state}&code=y")).await.expect(302);
    assert_eq!(back.headers["location"], METHOD);
    let answer = open(METHOD).await.expect(200).json();
    assert_eq!(answer["headers"]["x-auth"], "Bearer t");
}

#[tokio::test]
async fn flow_and_routes_are_guarded() {
    let rules = format!(r#"[{{"resource": "POST:{METHOD}", "threshold": 2, "statIntervalInMs": 60000}}]"#);
    let components = [
        middleware("flow", "sentinel", &json!({"appName": "x", "flowRules": rules})),
        middleware("paths", "routerchecker", &json!({"rule": "^/v1.0/[a-z/]+$"})),
    ];
    let api = [("paths", "routerchecker"), ("flow", "sentinel")];
    let setup = Setup::start(&components, &api, &[]).await;
    let refused = setup.invoke(&format!("{METHOD}2"), &[], "").await.expect(400);
    assert_eq!(refused.text(), "invalid router");
    for expected in [200, 200, 429] {
        setup.invoke(METHOD, &[], "").await.expect(expected);
    }
}

#[tokio::test]
async fn a_policy_decides() {
    let rego = r#"package http
default allow = false
allow = {"allow": true, "additional_headers": {"x-user": user}} {
    user := input.request.query.user[0]
    input.request.path_parts[4] == "m"
}"#;
    let setup =
        Setup::start(&[middleware("policy", "opa", &json!({"rego": rego}))], &[], &[("policy", "opa")]).await;
    // The application sees the method alone.
    setup.invoke(&format!("{METHOD}?user=me"), &[], "").await.expect(403);
    let setup =
        Setup::spawn(&[middleware("policy", "opa", &json!({"rego": rego}))], &[("policy", "opa")], &[]).await;
    eventually("the sidecar is ready", RELOAD_TIMEOUT, || async {
        match setup.sidecar.client.try_send(Method::GET, METHOD, &[], "").await {
            Ok(answer) if answer.status == 403 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let answer = setup.invoke(&format!("{METHOD}?user=me"), &[], "").await.expect(200).json();
    assert_eq!(answer["headers"]["x-user"], "me");
}

/// Puts the guest's configuration into a header of the request and a mark
/// behind the answer.
const GUEST: &str = r#"(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "get_config" (func $get_config (param i32 i32) (result i32)))
  (import "http_handler" "set_header_value" (func $set_header_value (param i32 i32 i32 i32 i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-guest!")
  (func (export "handle_request") (result i64)
    (drop (call $enable_features (i32.const 2)))
    (call $set_header_value (i32.const 0) (i32.const 0) (i32.const 7)
      (i32.const 100) (call $get_config (i32.const 100) (i32.const 100)))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32) (local $len i32)
    (local.set $len (i32.wrap_i64 (call $read_body (i32.const 1) (i32.const 100) (i32.const 60000))))
    (call $write_body (i32.const 1) (i32.const 100) (local.get $len))
    (call $write_body (i32.const 1) (i32.const 7) (i32.const 1))))"#;

#[tokio::test]
async fn a_guest_works_on_requests_and_answers() {
    let files = Scratch::new("middleware-guest");
    let wasm = files.path().join("guest.wasm");
    std::fs::write(&wasm, wat::parse_str(GUEST).expect("a module")).expect("written");
    let url = format!("file://{}", wasm.display());
    let components = [middleware("guest", "wasm", &json!({"url": url, "guestConfig": "settings"}))];
    let setup = Setup::start(&components, &[], &[("guest", "wasm")]).await;
    for _ in 0..3 {
        let text = setup.invoke(METHOD, &[], "body").await.expect(200).text();
        let json: Value = serde_json::from_str(text.strip_suffix('!').expect("the mark")).expect("JSON");
        assert_eq!((&json["headers"]["x-guest"], &json["body"]), (&json!("settings"), &json!("body")));
    }
}

/// Output of a sidecar that cannot start with this component.
async fn refused(manifest: &str) -> String {
    let scratch = Scratch::new("middleware");
    let options = Options::new("bad").resources(scratch.resources("resources", &[manifest]));
    Sidecar::spawn(&scratch, options).failed().await
}

#[tokio::test]
async fn mistakes_are_named() {
    for (kind, metadata, expected) in [
        ("nosuch", json!({}), "HTTP middleware middleware.http.nosuch/v1 has not been registered"),
        ("bearer", json!({"audience": "x"}), "metadata property 'issuer' is required"),
        ("routerchecker", json!({"rule": "("}), "failed to compile rule regexp: "),
        ("routeralias", json!({"routes": "[]"}), "failed to decode 'routes' property as JSON or YAML: "),
        ("ratelimit", json!({"maxRequestsPerSecond": "-1"}), "maxRequestsPerSecond must be a positive value"),
        ("oauth2clientcredentials", json!({}), "metadata errors: Parameter 'headerName' needs to be set. "),
        ("opa", json!({"rego": "no policy"}), ""),
        ("wasm", json!({"url": "guest.wasm"}), "wasm: failed to parse metadata: invalid URL: guest.wasm"),
        ("sentinel", json!({"flowRules": "x"}), "fail to load sentinel flow rules 'x': "),
    ] {
        let output = refused(&middleware("mw", kind, &metadata)).await;
        let prefix = format!(
            "[CREATE_COMPONENT_FAILURE]: creation error occurred for mw (middleware.http.{kind}/v1): process component mw error: "
        );
        let fatal = output.lines().find(|line| line.contains("level=fatal")).unwrap_or_default();
        assert!(fatal.contains(&prefix) && fatal.contains(expected), "{kind}: no {expected:?} in\n{output}");
    }
}
