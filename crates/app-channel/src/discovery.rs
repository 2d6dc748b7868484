//! Waiting for the application to listen (runtime.md §2.1).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dapr_security::tls::{self, ClientTls, Verify};
use dapr_transport::connect::{BoxStream, Destination, Wrapper};

use crate::Options;
use crate::channel::join_host_port;

const DIAL_TIMEOUT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(100);
/// Tries between two log lines.
const TRIES_PER_LINE: u32 = 100;

/// Returns once the application's port accepts a connection (with a TLS
/// handshake for the TLS protocols); never gives up.
pub async fn wait_for_app(options: &Options) {
    let port = options.port;
    tracing::info!(
        target: "dapr.runtime",
        "application protocol: {}. waiting on port {port}.  This will block until the app is listening on that port.",
        options.protocol.as_str(),
    );
    let mut destination = Destination::tcp(join_host_port(&options.address, port), DIAL_TIMEOUT);
    if options.protocol.is_tls() {
        destination = destination.wrapped(unverified_tls(options));
    }
    let mut tries = 0u32;
    while destination.probe().await.is_err() {
        tries += 1;
        if tries.is_multiple_of(TRIES_PER_LINE) {
            tracing::info!(target: "dapr.runtime", "waiting for application to listen on port {port}");
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::info!(target: "dapr.runtime", "application discovered on port {port}");
}

/// TLS to the application does not check its certificate: it runs on the same
/// machine and usually signs its own (api.md §5.1).
pub(crate) fn unverified_tls(options: &Options) -> Wrapper {
    let alpn = if options.protocol.is_grpc() { vec![b"h2".to_vec()] } else { Vec::new() };
    let config = tls::client_config(&ClientTls { verify: Verify::None, alpn, ..ClientTls::default() })
        .map(tls::Connector::new)
        .map_err(|e| e.to_string());
    let host: Arc<str> = options.address.as_str().into();
    Arc::new(move |stream| {
        let (config, host) = (config.clone(), host.clone());
        Box::pin(async move {
            let connector = config.map_err(io::Error::other)?;
            let stream = connector.connect(&host, stream).await.map_err(io::Error::other)?;
            Ok(Box::new(stream) as BoxStream)
        })
    })
}
