//! Processes by their id: signals, memory, and whether they are still there.
//!
//! Never by name: other runs on the machine have processes of the same name.

use std::process::Command;

use anyhow::{Context, ensure};

/// Sends a signal, by its name without `SIG`.
///
/// # Errors
/// When the process is not there.
pub(crate) fn signal(pid: u32, name: &str) -> anyhow::Result<()> {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().context("kill")?;
    ensure!(status.success(), "SIG{name} did not reach process {pid}");
    Ok(())
}

/// The resident memory in KiB; `None` when the process is gone.
pub(crate) fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The machine: its cores, and the load of the last minute.
pub(crate) fn machine() -> (usize, f64) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or_default();
    (cores, load)
}
