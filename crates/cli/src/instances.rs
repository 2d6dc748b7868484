//! The sidecars that run on this machine (cli.md §6.1).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dapr_gocompat::bools::parse_bool;
use futures::future::join_all;

use crate::http_client::Endpoint;
use crate::metadata;

const DEFAULT_HTTP_PORT: i64 = 3500;
const DEFAULT_GRPC_PORT: i64 = 50001;
/// Ticks a second in `/proc`; fixed by the kernel's interface to programs.
const CLOCK_TICKS: u64 = 100;

/// A process that is a sidecar, from its command line alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sidecar {
    pub pid: i32,
    pub app_id: String,
    pub http_port: i64,
    pub grpc_port: i64,
    pub app_port: i64,
    pub metrics_enabled: bool,
    /// `--unix-domain-socket`.
    pub socket: String,
    pub created: SystemTime,
}

/// A sidecar with what it says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub sidecar: Sidecar,
    pub extended: BTreeMap<String, String>,
}

impl Sidecar {
    /// Where its HTTP API listens.
    pub fn endpoint(&self) -> Endpoint {
        if self.socket.is_empty() {
            return Endpoint::Port(u16::try_from(self.http_port).unwrap_or_default());
        }
        match Path::new(&self.socket).is_dir() {
            true => Endpoint::socket(&self.socket, &self.app_id, "http"),
            false => Endpoint::Socket((&self.socket).into()),
        }
    }
}

impl Instance {
    pub fn text(&self, key: &str) -> &str {
        self.extended.get(key).map_or("", String::as_str)
    }

    pub fn cli_pid(&self) -> i32 {
        self.text("cliPID").parse().unwrap_or(0)
    }

    pub fn app_pid(&self) -> i32 {
        self.text("appPID").parse().unwrap_or(0)
    }
}

/// All sidecars, each asked for its metadata, all at the same time.
pub(crate) async fn list() -> Vec<Instance> {
    let asked = scan().into_iter().map(|sidecar| async move {
        let extended = metadata::extended(&sidecar.endpoint()).await.unwrap_or_default();
        Instance { sidecar, extended }
    });
    join_all(asked).await
}

/// All sidecars by process id. Processes that end meanwhile are left out.
pub(crate) fn scan() -> Vec<Sidecar> {
    let boot = boot_time();
    let mut found: Vec<Sidecar> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| read(pid, boot))
        .collect();
    found.sort_by_key(|sidecar| sidecar.pid);
    found
}

fn read(pid: i32, boot: u64) -> Option<Sidecar> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, started) = name_and_start(&stat)?;
    if !matches!(name.to_lowercase().as_str(), "daprd" | "daprd.exe") {
        return None;
    }
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&line);
    let args: Vec<&str> = text.trim_end_matches('\0').split('\0').collect();
    let created = UNIX_EPOCH + Duration::from_secs(boot + started / CLOCK_TICKS);
    sidecar(pid, &args, created)
}

/// The name stands in parentheses and may hold some itself.
fn name_and_start(stat: &str) -> Option<(&str, u64)> {
    const START_FIELD: usize = 19;
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let started = stat[close + 1..].split_whitespace().nth(START_FIELD)?;
    Some((&stat[open + 1..close], started.parse().ok()?))
}

fn boot_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn sidecar(pid: i32, args: &[&str], created: SystemTime) -> Option<Sidecar> {
    let flags = flags(args.get(1..)?);
    let text = |name: &str| flags.get(name).copied().unwrap_or_default();
    let number = |name: &str, default| text(name).parse().unwrap_or(default);
    let app_id = text("app-id").to_owned();
    (!app_id.is_empty()).then(|| Sidecar {
        pid,
        app_id,
        http_port: number("dapr-http-port", DEFAULT_HTTP_PORT),
        grpc_port: number("dapr-grpc-port", DEFAULT_GRPC_PORT),
        app_port: number("app-port", 0),
        metrics_enabled: parse_bool(text("enable-metrics")).unwrap_or(true),
        socket: text("unix-domain-socket").to_owned(),
        created,
    })
}

/// `--k v`, `--k=v` and `--k`, without dashes; one dash does as well.
fn flags<'a>(args: &[&'a str]) -> BTreeMap<&'a str, &'a str> {
    let mut flags = BTreeMap::new();
    let mut rest = args.iter().copied().peekable();
    while let Some(arg) = rest.next() {
        let Some(name) =
            arg.strip_prefix("--").or_else(|| arg.strip_prefix('-').filter(|name| name.len() > 1))
        else {
            continue;
        };
        match name.split_once('=') {
            Some((name, value)) => flags.insert(name, value),
            None => flags.insert(name, rest.next_if(|next| !next.starts_with("--")).unwrap_or_default()),
        };
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Sidecar> {
        sidecar(7, &line.split(' ').collect::<Vec<_>>(), UNIX_EPOCH)
    }

    #[test]
    fn command_lines_tell_ids_and_ports() {
        let found = parse(
            "daprd --app-id order --dapr-http-port 3501 --dapr-grpc-port=50002 --enable-mtls --app-port 80",
        )
        .unwrap();
        assert_eq!(
            (found.app_id.as_str(), found.http_port, found.grpc_port, found.app_port),
            ("order", 3501, 50002, 80)
        );
        assert!(found.metrics_enabled);
        let found = parse("/bin/sh /x/daprd --profile-port -1 --enable-metrics=false --app-id=b").unwrap();
        assert_eq!((found.app_id.as_str(), found.http_port, found.grpc_port), ("b", 3500, 50001));
        assert!(!found.metrics_enabled);
        assert_eq!(parse("daprd -app-id x -dapr-http-port 1").unwrap().http_port, 1);
    }

    #[test]
    fn what_is_no_sidecar_of_an_app_is_left_out() {
        assert_eq!(parse("daprd"), None);
        assert_eq!(parse("daprd --version"), None);
        assert_eq!(parse("daprd --app-id --x"), None);
    }

    #[test]
    fn process_names_may_hold_parentheses() {
        let stat = "12 (a (b) c) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        assert_eq!(name_and_start(stat), Some(("a (b) c", 4242)));
    }

    #[test]
    fn this_test_is_no_sidecar() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(scan().iter().all(|sidecar| sidecar.pid != own));
    }
}
