//! What a process as a whole uses: what it runs, its runtime, its share of the machine.

use std::{fs, io, time::Duration};

use super::Metrics;
use crate::label_set;

/// The clock ticks in `/proc` have been this many a second on every architecture that we build for (proc_pid_stat(5)).
const TICKS: f64 = 100.0;

label_set! {
    /// What runs.
    struct Build {
        version: &'static str,
        git_sha: &'static str,
        rustc: &'static str,
    }
}

/// The metrics of this process, under the name `process`.
pub fn of_process(process: &'static str) -> Metrics {
    let metrics = Metrics::new(process);
    build(&metrics);
    runtime(&metrics);
    usage(&metrics);
    telemetry(&metrics);
    metrics
}

fn build(metrics: &Metrics) {
    metrics.all_observed("build_info", "What runs; always 1", || {
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
            git_sha: option_env!("GIT_SHA").unwrap_or("unknown"),
            rustc: env!("RUSTC_VERSION"),
        };
        vec![(build, 1.0)]
    });
}

/// The stable part of the runtime's metrics. Sums over the workers: one that hangs shows in the time that all are busy.
fn runtime(metrics: &Metrics) {
    let runtime = || tokio::runtime::Handle::current().metrics();
    metrics.observed("tokio_workers", "Threads that run tasks", move || Some(runtime().num_workers() as f64));
    metrics.observed(
        "tokio_alive_tasks",
        "Tasks that have not ended",
        move || Some(runtime().num_alive_tasks() as f64),
    );
    metrics.observed(
        "tokio_global_queue_depth",
        "Tasks that are ready to run and that no worker has taken yet",
        move || Some(runtime().global_queue_depth() as f64),
    );
    metrics.counted("tokio_worker_busy_seconds_total", "Time that workers spent with tasks, all together", move || {
        let runtime = runtime();
        let busy: Duration = (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker)).sum();
        Some(busy.as_secs_f64())
    });
    metrics.counted("tokio_worker_parks_total", "How often workers had nothing to do", move || {
        let runtime = runtime();
        Some((0..runtime.num_workers()).map(|worker| runtime.worker_park_count(worker)).sum::<u64>() as f64)
    });
}

/// A collector that is away costs no request anything, so this is how one notices.
fn telemetry(metrics: &Metrics) {
    metrics.counted("telemetry_dropped_spans_total", "Spans that were made and never exported", || {
        Some(crate::telemetry::dropped_spans() as f64)
    });
}

/// What the kernel says of this process.
#[derive(Debug, Clone, Copy)]
struct Usage {
    cpu_seconds: f64,
    started: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
    open_files: f64,
    max_files: f64,
}

/// The names are those that all Prometheus clients use.
fn usage(metrics: &Metrics) {
    let reading = metrics.reading("process", Duration::ZERO, || async { Usage::read() });
    let of = |field: fn(Usage) -> f64| {
        let reading = reading.clone();
        move || reading.get().map(field)
    };
    metrics.counted("process_cpu_seconds_total", "Time on a processor, user and system", of(|usage| usage.cpu_seconds));
    metrics.observed(
        "process_start_time_seconds",
        "When the process began, in seconds since the epoch",
        of(|usage| usage.started),
    );
    metrics.observed("process_resident_memory_bytes", "Memory that is in RAM", of(|usage| usage.resident_bytes));
    metrics.observed("process_virtual_memory_bytes", "Address space that is in use", of(|usage| usage.virtual_bytes));
    metrics.observed("process_threads", "Threads of the operating system", of(|usage| usage.threads));
    metrics.observed("process_open_fds", "Open files and sockets", of(|usage| usage.open_files));
    metrics.observed("process_max_fds", "How many files and sockets may be open", of(|usage| usage.max_files));
}

impl Usage {
    fn read() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let status = fs::read_to_string("/proc/self/status")?;
        let kilobytes = |name| number_after(&status, name).map(|kilobytes| kilobytes * 1024.0);
        Ok(Self {
            cpu_seconds: (stat_field(&stat, 14)? + stat_field(&stat, 15)?) / TICKS,
            started: number_after(&fs::read_to_string("/proc/stat")?, "btime")? + stat_field(&stat, 22)? / TICKS,
            resident_bytes: kilobytes("VmRSS:")?,
            virtual_bytes: kilobytes("VmSize:")?,
            threads: number_after(&status, "Threads:")?,
            open_files: fs::read_dir("/proc/self/fd")?.count() as f64,
            max_files: number_after(&fs::read_to_string("/proc/self/limits")?, "Max open files")?,
        })
    }
}

/// A field of `/proc/self/stat`, by its number in proc_pid_stat(5). The second is the program's name in brackets, which may
/// have spaces and brackets of its own.
fn stat_field(stat: &str, number: usize) -> io::Result<f64> {
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest);
    let field = after_name.and_then(|rest| rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok());
    field.ok_or_else(|| io::Error::other(format!("no field {number} in /proc/self/stat")))
}

/// The first number in the line that begins with `name`.
fn number_after(text: &str, name: &str) -> io::Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no {name} in /proc")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_may_be_anything() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1234 1 1 1";
        assert_eq!((stat_field(stat, 14).unwrap(), stat_field(stat, 15).unwrap()), (250.0, 50.0));
        assert_eq!(stat_field(stat, 22).unwrap(), 1234.0);
        assert!(stat_field(stat, 99).is_err());
    }

    #[test]
    fn this_process_is_what_it_looks_like() {
        let usage = Usage::read().unwrap();
        let now = contracts::now().timestamp() as f64;
        assert!((now - 3600.0 * 24.0..=now + 1.0).contains(&usage.started), "{usage:?}");
        assert!(usage.resident_bytes > 1e6 && usage.virtual_bytes >= usage.resident_bytes, "{usage:?}");
        assert!(usage.threads >= 2.0 && usage.open_files >= 3.0 && usage.max_files >= usage.open_files, "{usage:?}");
        assert!(usage.cpu_seconds >= 0.0);
    }
}
