//! Runs the public load generators and reads their results.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::process::Command;

/// Longest time a generator may take beyond its window.
const OVERTIME: Duration = Duration::from_secs(60);

/// Result of one run; latencies in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub requests: f64,
    pub errors: f64,
    /// Completed requests a second.
    pub rate: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

/// A request as the generators send it.
pub struct Request<'a> {
    pub port: u16,
    pub method: &'a str,
    /// `{key}` becomes 1..=`keys` in turn, here and in the body (wrk only).
    pub path: &'a str,
    pub content_type: &'a str,
    pub keys: u32,
    pub body: Option<&'a Path>,
}

/// Saturates: `connections` connections, each with one request in flight.
pub async fn wrk(request: &Request<'_>, connections: u32, seconds: u32) -> anyhow::Result<Load> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/load/wrk.lua");
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--timeout", "30s", "--script", script])
        .arg(format!("http://127.0.0.1:{}", request.port))
        .args(["--", request.method, request.path, request.content_type, &request.keys.to_string()]);
    match request.body {
        Some(file) => command.arg(file),
        None => command.arg("-"),
    };
    let output = run(command, seconds).await?;
    let result = output.lines().rev().find(|line| line.starts_with('{')).context("wrk printed no result")?;
    let result: Value = serde_json::from_str(result)?;
    let field = |name: &str| number(&result, name);
    let requests = field("requests")?;
    Ok(Load {
        requests,
        errors: field("errors")?,
        rate: requests * 1e6 / field("duration_us")?,
        p50: field("p50_us")?,
        p90: field("p90_us")?,
        p99: field("p99_us")?,
    })
}

/// Fixed rate; a latency counts from the moment its request was due.
pub async fn oha(program: &Path, request: &Request<'_>, rate: u32, seconds: u32) -> anyhow::Result<Load> {
    let mut command = oha_command(program, rate, seconds);
    command.args(["-m", request.method, "-T", request.content_type]);
    if let Some(file) = request.body {
        command.arg("-D").arg(file);
    }
    command.arg(format!("http://127.0.0.1:{}{}", request.port, request.path));
    oha_result(&run(command, seconds).await?)
}

/// The same with a path for each request: any that matches the pattern, in which dots are dots.
pub async fn oha_paths(
    program: &Path,
    port: u16,
    pattern: &str,
    rate: u32,
    seconds: u32,
) -> anyhow::Result<Load> {
    let mut command = oha_command(program, rate, seconds);
    command
        .args(["-m", "POST", "-T", "text/plain", "-d", "x", "--rand-regex-url"])
        .arg(format!("http://127.0.0.1:{port}{pattern}"));
    oha_result(&run(command, seconds).await?)
}

fn oha_command(program: &Path, rate: u32, seconds: u32) -> Command {
    let mut command = Command::new(program);
    command.args(["--no-tui", "--no-color", "--output-format", "json", "--latency-correction"]).args([
        "-q",
        &rate.to_string(),
        "-z",
        &format!("{seconds}s"),
        "-c",
        "16",
        "-w",
    ]);
    command
}

fn oha_result(output: &str) -> anyhow::Result<Load> {
    let result: Value = serde_json::from_str(output).context("oha printed no JSON")?;
    let counts = |name: &str| -> Vec<(String, f64)> {
        let object = result[name].as_object();
        object
            .into_iter()
            .flatten()
            .map(|(key, count)| (key.clone(), count.as_f64().unwrap_or(0.0)))
            .collect()
    };
    let statuses = counts("statusCodeDistribution");
    let answered: f64 = statuses.iter().map(|(_, count)| count).fold(0.0, std::ops::Add::add);
    let refused: f64 = statuses
        .iter()
        .filter(|(status, _)| !status.starts_with('2'))
        .map(|(_, count)| count)
        .fold(0.0, std::ops::Add::add);
    let broken: f64 =
        counts("errorDistribution").iter().map(|(_, count)| count).fold(0.0, std::ops::Add::add);
    let percentile = |name: &str| Ok::<_, anyhow::Error>(number(&result["latencyPercentiles"], name)? * 1e6);
    Ok(Load {
        requests: answered + broken,
        errors: refused + broken,
        rate: number(&result["summary"], "requestsPerSec")?,
        p50: percentile("p50")?,
        p90: percentile("p90")?,
        p99: percentile("p99")?,
    })
}

/// A unary gRPC call.
pub struct Call<'a> {
    pub port: u16,
    /// `/package.Service/Method`.
    pub method: &'a str,
    /// Metadata.
    pub headers: &'a [(&'a str, &'a str)],
    /// File of the length-prefixed request.
    pub message: &'a Path,
    /// An answer with fewer bytes of data is an error.
    pub smallest_answer: u64,
}

/// Saturates one HTTP/2 connection with `streams` calls in flight.
pub async fn h2load(call: &Call<'_>, streams: u32, seconds: u32) -> anyhow::Result<Load> {
    let log = call.message.with_extension("log");
    // h2load appends.
    match std::fs::remove_file(&log) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut command = Command::new("h2load");
    command.args(["-t", "1", "-c", "1", "-m", &streams.to_string(), "-D", &seconds.to_string()]).args([
        "-H",
        "content-type: application/grpc",
        "-H",
        "te: trailers",
    ]);
    for (name, value) in call.headers {
        command.args(["-H", &format!("{name}: {value}")]);
    }
    command
        .arg("-d")
        .arg(call.message)
        .arg(format!("--log-file={}", log.display()))
        .arg(format!("http://127.0.0.1:{}{}", call.port, call.method));
    let output = run(command, seconds).await?;
    let lines = std::fs::read_to_string(&log)?;
    // Time since the epoch, HTTP status, microseconds until the end of the answer.
    let rows = lines.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        let (_, status, time) = (fields.next()?, fields.next()?, fields.next()?);
        Some((status == "200", time.trim().parse::<f64>().ok()?))
    });
    let (good, bad): (Vec<_>, Vec<_>) = rows.partition(|(good, _)| *good);
    let mut times: Vec<f64> = good.into_iter().map(|(_, time)| time).collect();
    times.sort_by(f64::total_cmp);
    let data = h2load_data_bytes(&output).context("h2load printed no traffic")?;
    let answered = times.len() as u64;
    // A gRPC error is a 200 without data.
    anyhow::ensure!(
        answered > 0 && data >= answered * call.smallest_answer,
        "{answered} gRPC answers held only {data} bytes: the calls failed"
    );
    Ok(Load {
        requests: (times.len() + bad.len()) as f64,
        errors: bad.len() as f64,
        rate: times.len() as f64 / f64::from(seconds),
        p50: percentile(&times, 0.50),
        p90: percentile(&times, 0.90),
        p99: percentile(&times, 0.99),
    })
}

/// From `traffic: 1.2MB (123) total, 1KB (12) headers (space savings 9%), 9B (111) data`.
fn h2load_data_bytes(output: &str) -> Option<u64> {
    let line = output.lines().find(|line| line.starts_with("traffic:"))?;
    let (before, _) = line.rsplit_once(") data")?;
    before.rsplit_once('(')?.1.parse().ok()
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

fn number(value: &Value, name: &str) -> anyhow::Result<f64> {
    value[name].as_f64().with_context(|| format!("the load generator reported no {name}: {value}"))
}

async fn run(mut command: Command, seconds: u32) -> anyhow::Result<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let limit = Duration::from_secs(u64::from(seconds)) + OVERTIME;
    let output = tokio::time::timeout(limit, command.kill_on_drop(true).output())
        .await
        .with_context(|| format!("{name} did not end"))?
        .with_context(|| format!("start {name}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{name} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_data_bytes_of_h2load() {
        let text = "x\ntraffic: 1.53MB (1607272) total, 48.87KB (50048) headers (space savings 92.3%), 1.37MB (1437500) data\n";
        assert_eq!(h2load_data_bytes(text), Some(1_437_500));
        assert_eq!(h2load_data_bytes("nothing"), None);
    }
}
