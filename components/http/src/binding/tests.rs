use std::sync::Arc;

use super::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers a request, given as text with its body, with a whole response.
type Answer = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// Serves every connection of a free port until the test ends.
async fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer: Answer = Arc::new(answer);
    let tasks = dapr_kernel::tasks::TaskGroup::new(dapr_kernel::Shutdown::new());
    tasks.clone().spawn("server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            tasks.spawn("connection", serve_stream(stream, answer.clone()));
        }
    });
    url
}

async fn serve_stream(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer) {
    let mut received = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text[..end]
                .lines()
                .find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            let total = end + 4 + length.map_or(0, |l| l.trim().parse().unwrap());
            if received.len() >= total {
                received.drain(..total);
                if stream.write_all(&answer(&text)).await.is_err() {
                    return;
                }
                continue;
            }
        }
        if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

fn respond(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Answers 200 with the request itself.
async fn echo() -> String {
    serve(|request| respond("200 OK", "", request.as_bytes())).await
}

async fn binding(items: &[(&str, &str)]) -> HttpBinding {
    HttpBinding::new(&Properties::new(items.iter().copied()).unwrap()).await.unwrap()
}

async fn call(
    binding: &HttpBinding,
    operation: &str,
    metadata: &[(&str, &str)],
    data: &'static str,
) -> Result<InvokeResponse, InvokeError> {
    let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let request = InvokeRequest { data: data.into(), metadata, operation: operation.to_owned() };
    binding.invoke(request).await
}

fn body(response: InvokeResponse) -> String {
    String::from_utf8(response.data.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn operations_become_methods_and_only_some_have_a_body() {
    let binding = binding(&[("url", &echo().await)]).await;
    for (operation, method, has_body) in [
        ("create", "POST", true),
        ("Post", "POST", true),
        ("put", "PUT", true),
        ("patch", "PATCH", true),
        ("get", "GET", false),
        ("delete", "DELETE", false),
        ("options", "OPTIONS", false),
        ("trace", "TRACE", false),
    ] {
        let sent = body(call(&binding, operation, &[], "the data").await.unwrap());
        assert!(sent.starts_with(&format!("{method} / HTTP/1.1\r\n")), "{sent}");
        assert_eq!(sent.ends_with("\r\n\r\nthe data"), has_body, "{sent}");
        assert_eq!(sent.contains("Content-Type: application/json; charset=utf-8\r\n"), has_body, "{sent}");
        assert!(sent.contains("Accept: application/json; charset=utf-8\r\n"), "{sent}");
    }
    let error = call(&binding, "fly", &[], "").await.unwrap_err();
    assert_eq!(error.message, "invalid operation: fly");
    let head = serve(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec()).await;
    let response = call(&super::tests::binding(&[("url", &head)]).await, "head", &[], "").await.unwrap();
    assert_eq!((&response.data.unwrap()[..], response.metadata["Content-Length"].as_str()), (&b""[..], "5"));
}

#[tokio::test]
async fn paths_are_joined_with_one_slash() {
    let url = format!("{}/base/", echo().await);
    let binding = binding(&[("url", &url)]).await;
    for (path, line) in
        [("", "GET /base/ "), ("/a/b?c=d", "GET /base/a/b?c=d "), ("//x y", "GET /base/x%20y ")]
    {
        let sent = body(call(&binding, "get", &[("path", path)], "").await.unwrap());
        assert!(sent.starts_with(line), "{path}: {sent}");
    }
}

#[tokio::test]
async fn headers_come_from_capitals_token_and_trace() {
    let url = echo().await;
    let items = [("url", url.as_str()), ("securityToken", "s3"), ("securityTokenHeader", "X-Token")];
    let binding = binding(&items).await;
    let metadata = [
        ("X-Mine", "1"),
        ("x-lower", "2"),
        ("Content-Type", "text/plain"),
        ("Traceparent", "custom"),
        ("traceparent", "real"),
        ("tracestate", ""),
        ("baggage", "b=1"),
        ("Host", "elsewhere"),
    ];
    let sent = body(call(&binding, "post", &metadata, "x").await.unwrap());
    for line in ["X-Mine: 1", "Content-Type: text/plain", "Traceparent: real", "Baggage: b=1", "X-Token: s3"]
    {
        assert!(sent.contains(&format!("\r\n{line}\r\n")), "{line}: {sent}");
    }
    for absent in ["lower", "custom", "Tracestate", "elsewhere"] {
        assert!(!sent.contains(absent), "{absent}: {sent}");
    }
    let error = call(&binding, "get", &[("A b", "1")], "").await.unwrap_err();
    assert_eq!(error.message, "net/http: invalid header field name \"A b\"");
}

#[tokio::test]
async fn a_failing_status_is_an_error_with_data_and_metadata() {
    let url = serve(|_| respond("404 Not Found", "x-many: a\r\nX-Many: b\r\nETag: 1\r\n", b"nothing")).await;
    let strict = binding(&[("url", &url)]).await;
    let error = call(&strict, "get", &[], "").await.unwrap_err();
    assert_eq!(error.message, "received status code 404");
    let metadata = &error.response.metadata;
    for (name, value) in
        [("statusCode", "404"), ("status", "404 Not Found"), ("X-Many", "a, b"), ("Etag", "1")]
    {
        assert_eq!(metadata[name], value, "{name}");
    }
    assert_eq!(body(error.response), "nothing");
    call(&strict, "get", &[("errorIfNot2XX", "false")], "").await.unwrap();
    let lenient = binding(&[("url", &url), ("errorIfNot2XX", "no")]).await;
    call(&lenient, "get", &[], "").await.unwrap();
    call(&lenient, "get", &[("errorIfNot2XX", "true")], "").await.unwrap_err();
}

#[tokio::test]
async fn bodies_are_cut_at_the_limit_and_the_connection_is_kept() {
    let url = serve(|_| respond("200 OK", "", &[b'x'; 5000])).await;
    let cut = binding(&[("url", &url), ("maxResponseBodySize", "1Ki")]).await;
    for _ in 0..3 {
        assert_eq!(call(&cut, "get", &[], "").await.unwrap().data.unwrap().len(), 1024);
    }
    for unlimited in ["0", "-1"] {
        let whole = binding(&[("url", &url), ("maxResponseBodySize", unlimited)]).await;
        assert_eq!(call(&whole, "get", &[], "").await.unwrap().data.unwrap().len(), 5000);
    }
}

#[tokio::test]
async fn gzip_is_unpacked_unless_the_caller_asked_for_it() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &vec![b'a'; 100_000]).unwrap();
    let packed = encoder.finish().unwrap();
    let length = packed.len();
    let url = serve(move |request| {
        assert!(request.contains("Accept-Encoding: gzip\r\n"), "{request}");
        respond("200 OK", "Content-Encoding: gzip\r\n", &packed)
    })
    .await;
    let plain = binding(&[("url", &url)]).await;
    let response = call(&plain, "get", &[], "").await.unwrap();
    assert!(!response.metadata.contains_key("Content-Encoding"));
    assert_eq!(response.data.unwrap().len(), 100_000);
    let raw = call(&plain, "get", &[("Accept-Encoding", "gzip")], "").await.unwrap();
    assert_eq!((raw.metadata["Content-Encoding"].as_str(), raw.data.unwrap().len()), ("gzip", length));
    let cut = binding(&[("url", &url), ("maxResponseBodySize", "777")]).await;
    assert_eq!(call(&cut, "get", &[], "").await.unwrap().data.unwrap().len(), 777);
}

#[tokio::test]
async fn redirects_are_followed() {
    let url = serve(|request| {
        let line = request.lines().next().unwrap();
        match line.split(' ').nth(1).unwrap() {
            "/see-other" => respond("302 Found", "Location: /end\r\n", b""),
            "/same" => respond("307 Temporary Redirect", "Location: end\r\n", b""),
            "/loop" => respond("302 Found", "Location: /loop\r\n", b""),
            "/nowhere" => respond("302 Found", "", b"stay"),
            _ => respond("200 OK", "", request.as_bytes()),
        }
    })
    .await;
    let binding = binding(&[("url", &url)]).await;
    let sent = body(call(&binding, "post", &[("path", "see-other")], "data").await.unwrap());
    assert!(
        sent.starts_with("GET /end ") && sent.contains(&format!("Referer: {url}/see-other\r\n")),
        "{sent}"
    );
    let sent = body(call(&binding, "post", &[("path", "same")], "data").await.unwrap());
    assert!(sent.starts_with("POST /end ") && sent.ends_with("data"), "{sent}");
    let error = call(&binding, "get", &[("path", "loop")], "").await.unwrap_err().message;
    assert_eq!(error, format!("Get \"{url}/loop\": stopped after 10 redirects"));
    let error = call(&binding, "get", &[("path", "nowhere")], "").await.unwrap_err();
    assert_eq!(error.message, "received status code 302");
}

#[tokio::test]
async fn what_can_not_be_reached() {
    let message = async |items: &[(&str, &str)]| {
        call(&binding(items).await, "create", &[], "").await.unwrap_err().message
    };
    assert_eq!(message(&[]).await, "Post \"\": unsupported protocol scheme \"\"");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(
        message(&[("url", &format!("http://127.0.0.1:{port}/x"))]).await,
        format!("Post \"http://127.0.0.1:{port}/x\": dial tcp 127.0.0.1:{port}: connect: connection refused")
    );
    // A listener that never accepts nor answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let error = message(&[("url", &url), ("responseTimeout", "100ms")]).await;
    assert_eq!(error, format!("Post \"{url}\": context deadline exceeded"));
}

#[tokio::test]
async fn large_responses_leave_no_memory_behind() {
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
    let large = respond("200 OK", "", &vec![b'x'; 3 << 20]);
    let binding = binding(&[("url", &serve(move |_| large.clone()).await)]).await;
    for _ in 0..10 {
        call(&binding, "get", &[], "").await.unwrap();
    }
    let before = resident();
    for _ in 0..300 {
        assert_eq!(call(&binding, "get", &[], "").await.unwrap().data.unwrap().len(), 3 << 20);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 50 << 20, "grew by {} MiB", grown >> 20);
}

/// Self-signed certificate for `localhost` and its key, as PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[tokio::test]
async fn tls_with_own_root_and_client_certificate() {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};

    let (server_pem, server_key) = certificate();
    let (client_pem, client_key) = certificate();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut accepted = rustls::RootCertStore::empty();
    accepted.add(CertificateDer::from_pem_slice(client_pem.as_bytes()).unwrap()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(accepted.into(), provider.clone())
            .build()
            .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(server_pem.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(server_key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let tasks = dapr_kernel::tasks::TaskGroup::new(dapr_kernel::Shutdown::new());
    tasks.spawn("tls server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve_stream(stream, Arc::new(|_| respond("200 OK", "Connection: close\r\n", b"safe"))).await;
            }
        }
    });
    let all = [
        ("url", url.as_str()),
        ("MTLSRootCA", &server_pem),
        ("MTLSClientCert", &client_pem),
        ("MTLSClientKey", &client_key),
        ("MTLSRenegotiation", "RenegotiateNever"),
    ];
    assert_eq!(body(call(&binding(&all).await, "get", &[], "").await.unwrap()), "safe");
    assert!(call(&binding(&all[..2]).await, "get", &[], "").await.is_err(), "no client certificate");
    assert!(call(&binding(&all[..1]).await, "get", &[], "").await.is_err(), "an unknown root");
}

#[tokio::test]
async fn tls_material_is_checked_at_start() {
    let error = async |items: &[(&str, &str)]| {
        HttpBinding::new(&Properties::new(items.iter().copied()).unwrap()).await.err().unwrap().to_string()
    };
    let text = error(&[("MTLSRootCA", "/nope.pem")]).await;
    assert!(text.starts_with("provided \"MTLSRootCA\" value is neither a valid file path"), "{text}");
    let (pem, _) = certificate();
    let (_, other_key) = certificate();
    let text = error(&[("MTLSClientCert", &pem), ("MTLSClientKey", &other_key)]).await;
    assert!(text.starts_with("failed to load client certificate: "), "{text}");
    assert_eq!(error(&[("MTLSRenegotiation", "x")]).await, "invalid renegotiation value: x");
    assert!(error(&[("maxResponseBodySize", "big")]).await.contains("maxResponseBodySize"));
}
