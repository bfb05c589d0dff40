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

/// The memory of a process and all its descendants in KiB, each page counted once (`Pss`): the children of a postmaster
/// share most of theirs.
pub(crate) fn memory_of_tree_kib(pid: u32) -> u64 {
    let own = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok());
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    own.unwrap_or(0) + children.map(memory_of_tree_kib).sum::<u64>()
}

/// Whether a process is stopped, by SIGSTOP for example.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && line.contains("T (stopped)"))
}

/// The machine: its cores, and the load of the last minute.
pub(crate) fn machine() -> (usize, f64) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or_default();
    (cores, load)
}
