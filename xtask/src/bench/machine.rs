//! What the kernel says about the machine and about processes (Linux, /proc).

use std::time::Duration;

use anyhow::Context as _;

/// Above this share of busy processor time a measurement says little about the sidecar.
pub const QUIET_BELOW: f64 = 0.15;

/// Ticks a second in /proc/<pid>/stat: fixed by Linux's user interface.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time taken by anything during one second, stolen time included, as a share of all.
pub async fn busy_share() -> anyhow::Result<f64> {
    let before = cpu_times()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = cpu_times()?;
    let all = after.all.saturating_sub(before.all).max(1);
    let idle = after.idle.saturating_sub(before.idle);
    Ok(1.0 - idle as f64 / all as f64)
}

pub fn load_average() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

struct CpuTimes {
    all: u64,
    idle: u64,
}

fn cpu_times() -> anyhow::Result<CpuTimes> {
    let text = std::fs::read_to_string("/proc/stat")?;
    parse_cpu_times(&text).context("/proc/stat has no line `cpu`")
}

/// Fields: user nice system idle iowait irq softirq steal; guest time is inside user and not counted twice.
fn parse_cpu_times(text: &str) -> Option<CpuTimes> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
    let (idle, iowait) = (*fields.get(3)?, *fields.get(4)?);
    Some(CpuTimes { all: fields.iter().sum(), idle: idle + iowait })
}

/// User and system time of a process since it started.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    let ticks = parse_ticks(&text).with_context(|| format!("/proc/{pid}/stat is not as expected"))?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

/// utime + stime: fields 14 and 15, counted behind the program's name, which may hold blanks.
fn parse_ticks(text: &str) -> Option<u64> {
    let (_, behind_name) = text.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident memory in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub rss: u64,
    pub anonymous: u64,
}

pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    parse_memory(&text).with_context(|| format!("/proc/{pid}/status has no VmRSS and RssAnon"))
}

fn parse_memory(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Memory { rss: field("VmRSS:")?, anonymous: field("RssAnon:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_steal_as_busy_and_guest_once() {
        let times = parse_cpu_times("cpu  10 0 20 60 5 1 2 2 10 0\ncpu0 1 2 3\n").expect("parses");
        assert_eq!((times.all, times.idle), (100, 65));
    }

    #[test]
    fn ticks_behind_a_name_with_blanks() {
        let text = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 700 30 0 0 20 0 9 0";
        assert_eq!(parse_ticks(text), Some(730));
    }

    #[test]
    fn memory_from_status() {
        let text = "Name:\tdaprd\nVmRSS:\t   84992 kB\nRssAnon:\t   17408 kB\n";
        assert_eq!(parse_memory(text), Some(Memory { rss: 84_992, anonymous: 17_408 }));
    }
}
