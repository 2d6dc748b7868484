//! `process_*`, read from `/proc/self`. What cannot be read is left out.

use std::fs;

use super::text::push_plain;

/// Clock ticks per second in `/proc/self/stat`: fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn push(out: &mut String) {
    let stat = Stat::read();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut put = |name: &str, help: &str, kind: &str, value: Option<f64>| {
        if let Some(value) = value {
            push_plain(out, name, help, kind, value);
        }
    };
    put("process_cpu_seconds_total", "CPU time spent.", "counter", stat.as_ref().map(|s| s.cpu_seconds));
    put("process_max_fds", "Limit of open file descriptors.", "gauge", max_fds());
    put("process_open_fds", "Open file descriptors.", "gauge", open_fds());
    put("process_resident_memory_bytes", "Memory in RAM.", "gauge", status_bytes(&status, "VmRSS:"));
    put("process_start_time_seconds", "Start as Unix time.", "gauge", stat.as_ref().and_then(Stat::start));
    put("process_virtual_memory_bytes", "Address space.", "gauge", status_bytes(&status, "VmSize:"));
}

struct Stat {
    cpu_seconds: f64,
    /// Seconds from the machine's start to the process's.
    since_boot: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may hold spaces; fields count from after it.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        let cpu_seconds = (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND;
        Some(Self { cpu_seconds, since_boot: ticks(19)? / TICKS_PER_SECOND })
    }

    fn start(&self) -> Option<f64> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let boot = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim();
        Some(boot.parse::<f64>().ok()? + self.since_boot)
    }
}

fn open_fds() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn max_fds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn status_bytes(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}
