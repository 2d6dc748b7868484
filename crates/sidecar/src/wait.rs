//! `--wait`: until another sidecar is ready for outbound calls.

use std::process::ExitCode;
use std::time::Duration;

use dapr_flags::output;
use dapr_kernel::Shutdown;
use dapr_kernel::tasks::TaskGroup;
use dapr_transport::Body;
use dapr_transport::client::{Http1Options, Http1Pool};
use dapr_transport::connect::Destination;

const PAUSE: Duration = Duration::from_millis(100);
const REQUEST_LIMIT: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);

/// Exit code 0 in any case: the contract's (runtime.md §1).
pub fn until_outbound_ready(http_port: u16) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::SUCCESS };
    let ready = runtime.block_on(async { tokio::time::timeout(PATIENCE, poll(http_port)).await.is_ok() });
    if ready {
        output::stderr("Dapr is outbound-ready!\n");
    } else {
        output::stderr("timeout waiting for Dapr to become outbound ready\n");
    }
    ExitCode::SUCCESS
}

async fn poll(port: u16) {
    let destination = Destination::tcp(format!("localhost:{port}"), REQUEST_LIMIT);
    let pool = Http1Pool::new(destination, Http1Options::default(), TaskGroup::new(Shutdown::new()));
    output::stderr(&format!("waiting for Dapr outbound on port {port}\n"));
    while !tokio::time::timeout(REQUEST_LIMIT, ask(&pool, port)).await.unwrap_or(false) {
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(pool: &Http1Pool, port: u16) -> bool {
    let request = http::Request::get("/v1.0/healthz/outbound")
        .header("host", format!("localhost:{port}"))
        .body(Body::empty());
    let Ok(request) = request else { return false };
    pool.send(request).await.is_ok_and(|r| r.status() == 204)
}
