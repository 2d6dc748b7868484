//! One HTTP/1.1 request to a sidecar on this machine.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// What an answer may hold; a sidecar's own limit for bodies is far below.
const MAX_ANSWER: usize = 256 << 20;

/// Where a sidecar's API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A port of the loopback interface.
    Port(u16),
    Socket(PathBuf),
}

impl Endpoint {
    /// `SOCKET_DIR/dapr-APP_ID-KIND.socket`.
    pub fn socket(folder: &str, app_id: &str, kind: &str) -> Self {
        Self::Socket(socket_path(folder, app_id, kind))
    }

    /// Whether something accepts connections.
    pub async fn connect(&self) -> std::io::Result<()> {
        match self {
            Self::Port(port) => TcpStream::connect(("127.0.0.1", *port)).await.map(drop),
            Self::Socket(path) => UnixStream::connect(path).await.map(drop),
        }
    }

    /// The start of a URL, for messages.
    pub fn url(&self) -> String {
        match self {
            Self::Port(port) => format!("http://127.0.0.1:{port}"),
            Self::Socket(_) => "http://unix".to_owned(),
        }
    }
}

pub(crate) fn socket_path(folder: &str, app_id: &str, kind: &str) -> PathBuf {
    Path::new(folder).join(format!("dapr-{app_id}-{kind}.socket"))
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("cannot connect to the sidecar at {endpoint}: {source}")]
    Connect { endpoint: String, source: std::io::Error },
    #[error("the sidecar at {endpoint} broke off: {reason}")]
    Exchange { endpoint: String, reason: String },
    #[error("the sidecar at {endpoint} did not answer within {} s", limit.as_secs())]
    Timeout { endpoint: String, limit: Duration },
    #[error("not a valid request: {0}")]
    Request(#[from] http::Error),
}

pub(crate) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// A request without its destination.
pub(crate) struct Call<'a> {
    pub method: Method,
    /// Path and query; what an HTTP request line cannot hold gets escaped.
    pub path: &'a str,
    pub content_type: Option<&'a str>,
    pub body: Bytes,
}

/// Sends `call` and reads the whole answer. `limit` bounds the exchange.
pub(crate) async fn send(
    endpoint: &Endpoint,
    call: Call<'_>,
    limit: Option<Duration>,
) -> Result<Answer, HttpError> {
    let request = build(endpoint, call)?;
    let exchange = async {
        let failed = |source| HttpError::Connect { endpoint: endpoint.url(), source };
        let answer = match endpoint {
            Endpoint::Port(port) => {
                exchange(TcpStream::connect(("127.0.0.1", *port)).await.map_err(failed)?, request).await
            }
            Endpoint::Socket(path) => {
                exchange(UnixStream::connect(path).await.map_err(failed)?, request).await
            }
        };
        answer.map_err(|reason| HttpError::Exchange { endpoint: endpoint.url(), reason })
    };
    match limit {
        None => exchange.await,
        Some(limit) => match tokio::time::timeout(limit, exchange).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::Timeout { endpoint: endpoint.url(), limit }),
        },
    }
}

fn build(endpoint: &Endpoint, call: Call<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
    let host = match endpoint {
        Endpoint::Port(port) => format!("127.0.0.1:{port}"),
        Endpoint::Socket(_) => "unix".to_owned(),
    };
    let mut request = Request::builder().method(call.method).uri(escape(call.path)).header("host", host);
    if let Some(content_type) = call.content_type {
        request = request.header("content-type", content_type);
    }
    request.body(Full::new(call.body))
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let mut connection = pin!(connection);
    let mut answer = pin!(async move {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| error.to_string())?;
        Ok(Answer { status: head.status, body: body.to_bytes() })
    });
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            result = &mut answer => return result,
            _ = &mut connection, if open => open = false,
        }
    }
}

/// Percent-encodes what may not stand in a request line; existing escapes and
/// reserved characters pass untouched (cli.md §12.26).
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'!'..=b'~'
                if !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'#') =>
            {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_what_breaks_a_request_line_is_escaped() {
        assert_eq!(escape("/v1.0/x?a=b&c=%20d"), "/v1.0/x?a=b&c=%20d");
        assert_eq!(escape("/a b\"é"), "/a%20b%22%C3%A9");
    }

    async fn answer_once(listener: TcpListener, answer: &'static str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::Port(listener.local_addr().unwrap().port());
        let call = Call {
            method: Method::POST,
            path: "/v1.0/x",
            content_type: Some("application/json"),
            body: Bytes::from_static(b"{}"),
        };
        let server = answer_once(listener, "HTTP/1.1 201 Created\r\nconnection: close\r\n\r\nhello");
        let (answer, request) = tokio::join!(send(&endpoint, call, Some(Duration::from_secs(10))), server);
        let answer = answer.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (201, &b"hello"[..]));
        assert!(request.starts_with("POST /v1.0/x HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("content-type: application/json\r\n"), "{request}");
    }

    #[tokio::test]
    async fn silence_ends_at_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::Port(listener.local_addr().unwrap().port());
        let call = Call { method: Method::GET, path: "/", content_type: None, body: Bytes::new() };
        let result = send(&endpoint, call, Some(Duration::from_millis(50))).await;
        assert!(matches!(result, Err(HttpError::Timeout { .. })));
    }
}
