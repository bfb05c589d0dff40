//! The report: what was done, what it cost, and what is wrong, as text for people and as JSON for comparison.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    path::Path,
    time::Duration,
};

use anyhow::Context;
use serde_json::{Value, json};

use crate::{check::Violation, ledger::Book, schedule::Fault};

/// How many of the ids at fault are printed; the JSON has all of them.
const SHOWN: usize = 20;

/// A fault, and how it went.
#[derive(Debug, Clone)]
pub(crate) struct Happened {
    pub(crate) fault: Fault,
    /// When, since the run began.
    pub(crate) at: Duration,
    /// From its end until a marker had gone all the way.
    pub(crate) recovery: Duration,
    /// Events that were published again meanwhile.
    pub(crate) duplicates: u64,
    /// How long it took until the silence of a wire to the broker was noticed at both connections.
    pub(crate) noticed: Option<Duration>,
}

/// How a scenario went that has figures of its own.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// What was seen, a line each.
    pub(crate) facts: Vec<String>,
    /// What should not have been.
    pub(crate) violations: Vec<String>,
}

impl Step {
    /// One of which nothing is known yet.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Notes what was seen, and says so on the way.
    pub(crate) fn fact(&mut self, fact: String) {
        println!("            {fact}");
        self.facts.push(fact);
    }

    /// Notes what should not have been.
    pub(crate) fn violation(&mut self, violation: String) {
        println!("            VIOLATED: {violation}");
        self.violations.push(violation);
    }

    /// A violation, if something took longer than it may.
    pub(crate) fn within(&mut self, what: &str, took: Duration, limit: Duration) {
        if took > limit {
            self.violation(format!("{what} took {took:.2?}, more than {limit:.1?}"));
        }
    }
}

/// How a rolling restart went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rolling {
    pub(crate) stops: Vec<(String, Duration)>,
    pub(crate) failed: Vec<String>,
    pub(crate) duplicates: u64,
    pub(crate) violations: Vec<String>,
}

/// How an outage of the broker went.
#[derive(Debug, Clone)]
pub(crate) struct Outage {
    pub(crate) away: Duration,
    /// Events in the outboxes at its end.
    pub(crate) waiting: u64,
    pub(crate) recovery: Duration,
    /// Until a twentieth of them was left, or no more than usual.
    pub(crate) drained: Duration,
    pub(crate) latency_before: Latency,
    pub(crate) latency_during: Latency,
    pub(crate) failed: usize,
    /// First, most and last resident memory of each process, in KiB.
    pub(crate) memory: BTreeMap<String, [u64; 3]>,
    /// The memory of the servers after it, in KiB, with their children.
    pub(crate) servers: BTreeMap<String, u64>,
    pub(crate) violations: Vec<String>,
}

/// How long requests took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Latency {
    pub(crate) count: usize,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

impl Latency {
    /// Of durations that are sorted.
    pub(crate) fn of(sorted: &[Duration]) -> Self {
        let at = |part: usize| sorted.get((sorted.len() * part / 100).min(sorted.len().saturating_sub(1)));
        Self {
            count: sorted.len(),
            median: at(50).copied().unwrap_or_default(),
            p99: at(99).copied().unwrap_or_default(),
        }
    }

    pub(crate) fn json(self) -> Value {
        json!({ "requests": self.count, "medianMs": millis(self.median), "p99Ms": millis(self.p99) })
    }

    /// How many times the median is that of `other`.
    pub(crate) fn median_ratio(self, other: Self) -> f64 {
        ratio(self.median, other.median)
    }

    /// How many times the 99th percentile is that of `other`.
    pub(crate) fn p99_ratio(self, other: Self) -> f64 {
        ratio(self.p99, other.p99)
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} times, p50 {:.1?}, p99 {:.1?}", self.count, self.median, self.p99)
    }
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64().max(1e-6)
}

/// Everything about a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) command: String,
    pub(crate) date: String,
    pub(crate) seed: u64,
    pub(crate) profile: &'static str,
    pub(crate) cores: usize,
    pub(crate) machine_load: [f64; 2],
    pub(crate) took: Duration,
    pub(crate) load_took: Duration,
    pub(crate) orders: usize,
    pub(crate) statuses: BTreeMap<String, usize>,
    pub(crate) unknown: usize,
    pub(crate) raced: [usize; 2],
    pub(crate) events: usize,
    pub(crate) duplicates: u64,
    /// Messages that were held against the contract.
    pub(crate) checked: u64,
    pub(crate) poison: usize,
    pub(crate) faults: Vec<Happened>,
    /// How long it took until other relays had the lanes of a frozen one.
    pub(crate) takeovers: Vec<Duration>,
    pub(crate) rolling: Option<Rolling>,
    pub(crate) outage: Option<Outage>,
    pub(crate) steps: Vec<Step>,
    pub(crate) violations: Vec<Violation>,
}

/// Of the orders that were paid and canceled at once: how often the payment came first, and how often it did not.
pub(crate) fn raced(book: &Book) -> [usize; 2] {
    [book.paid.intersection(&book.canceled).count(), book.pay_refused.intersection(&book.canceled).count()]
}

impl Report {
    fn kills(&self) -> usize {
        self.faults.iter().map(|happened| happened.fault.kills()).sum()
    }

    /// After kills there must be duplicates; where there are none, the kills hit nothing.
    fn proves_nothing(&self) -> bool {
        self.kills() > 0 && self.duplicates == 0
    }

    /// Recovery times of each kind of fault, shortest first.
    fn recoveries(&self) -> BTreeMap<String, Vec<Duration>> {
        let mut kinds: BTreeMap<_, Vec<Duration>> = BTreeMap::new();
        for happened in &self.faults {
            kinds.entry(happened.fault.kind()).or_default().push(happened.recovery);
        }
        kinds.values_mut().for_each(|times| times.sort_unstable());
        kinds
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).unwrap_or_default();
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let [before, after] = self.machine_load;
        writeln!(out, "\n{}", self.command)?;
        writeln!(
            out,
            "{}, seed {}, {} build, {} cores, machine load {before} to {after}",
            self.date, self.seed, self.profile, self.cores
        )?;
        let rate = self.orders as f64 / self.load_took.as_secs_f64().max(0.001);
        writeln!(
            out,
            "{} orders in {:.0?} ({rate:.0}/s), the run {:.0?}; {:?}",
            self.orders, self.load_took, self.took, self.statuses
        )?;
        writeln!(
            out,
            "unknown outcomes asked again: {}; pay and cancel at once: {} paid first, {} canceled first",
            self.unknown, self.raced[0], self.raced[1]
        )?;
        writeln!(
            out,
            "{} faults, {} kills; {} events, {} published again, {} messages held against the contract; {} poison",
            self.faults.len(),
            self.kills(),
            self.events,
            self.duplicates,
            self.checked,
            self.poison
        )?;
        if self.proves_nothing() {
            writeln!(out, "NO DUPLICATES after kills: this run proves nothing. More orders or more kills?")?;
        }
        writeln!(
            out,
            "\n{:<26} {:>5} {:>9} {:>9} {:>9}  recovery in seconds",
            "fault", "times", "min", "median", "max"
        )?;
        for (kind, times) in self.recoveries() {
            let [min, median, max] = spread(&times).map(|time| time.as_secs_f64());
            writeln!(out, "{kind:<26} {:>5} {min:>9.2} {median:>9.2} {max:>9.2}", times.len())?;
        }
        if let Some(slowest) = self.takeovers.iter().max() {
            writeln!(out, "\nlanes of frozen relays: taken over within {slowest:.1?} at most")?;
        }
        if let Some(slowest) = self.faults.iter().filter_map(|happened| happened.noticed).max() {
            writeln!(out, "silence of the wire to the broker: noticed within {slowest:.1?} at most")?;
        }
        if let Some(rolling) = &self.rolling {
            let slowest = rolling.stops.iter().map(|(_, took)| *took).max().unwrap_or_default();
            writeln!(
                out,
                "\nrolling restart: {} failed requests, {} events published again, slowest stop {slowest:.2?}",
                rolling.failed.len(),
                rolling.duplicates
            )?;
        }
        if let Some(outage) = &self.outage {
            let Outage {
                away,
                waiting,
                recovery,
                drained,
                latency_before,
                latency_during,
                failed,
                memory,
                servers,
                ..
            } = outage;
            writeln!(
                out,
                "\nbroker away {away:.1?}: {failed} failed requests, {waiting} events waited, recovered in {recovery:.2?}, drained in {drained:.2?}"
            )?;
            writeln!(
                out,
                "placing took {:.1?} (p99 {:.1?}) before and {:.1?} (p99 {:.1?}) meanwhile",
                latency_before.median, latency_before.p99, latency_during.median, latency_during.p99
            )?;
            for (name, [first, most, last]) in memory {
                writeln!(out, "  {name:<14} {first:>8} KiB, most {most:>8}, last {last:>8}")?;
            }
            for (name, kib) in servers {
                writeln!(out, "  {name:<14} {kib:>8} KiB afterwards")?;
            }
        }
        for Step { name, facts, .. } in &self.steps {
            writeln!(out, "\n{name}")?;
            for fact in facts {
                writeln!(out, "  {fact}")?;
            }
        }
        write_violations(out, &self.violations)
    }

    fn json(&self) -> Value {
        let recoveries: BTreeMap<_, _> = self
            .recoveries()
            .into_iter()
            .map(|(kind, times)| {
                let [min, median, max] = spread(&times).map(millis);
                (kind, json!({ "times": times.len(), "minMs": min, "medianMs": median, "maxMs": max }))
            })
            .collect();
        let faults: Vec<_> = self
            .faults
            .iter()
            .map(|happened| {
                json!({
                    "atMs": millis(happened.at),
                    "fault": happened.fault.to_string(),
                    "recoveryMs": millis(happened.recovery),
                    "publishedAgain": happened.duplicates,
                    "noticedMs": happened.noticed.map(millis),
                })
            })
            .collect();
        json!({
            "command": self.command, "date": self.date, "seed": self.seed, "profile": self.profile,
            "machine": { "cores": self.cores, "loadBefore": self.machine_load[0], "loadAfter": self.machine_load[1] },
            "seconds": self.took.as_secs_f64(), "loadSeconds": self.load_took.as_secs_f64(),
            "orders": self.orders, "statuses": self.statuses, "unknownOutcomes": self.unknown,
            "raced": { "paidFirst": self.raced[0], "canceledFirst": self.raced[1] },
            "events": self.events, "publishedAgain": self.duplicates, "provesNothing": self.proves_nothing(),
            "kills": self.kills(), "poison": self.poison, "heldAgainstTheContract": self.checked, "recovery": recoveries, "faults": faults,
            "laneTakeoverMs": self.takeovers.iter().copied().map(millis).collect::<Vec<_>>(),
            "rolling": self.rolling.as_ref().map(|rolling| json!({
                "failedRequests": rolling.failed, "publishedAgain": rolling.duplicates,
                "stopMs": rolling.stops.iter().map(|(name, took)| (name.clone(), millis(*took))).collect::<BTreeMap<_, _>>(),
            })),
            "outage": self.outage.as_ref().map(|outage| json!({
                "awayMs": millis(outage.away), "eventsWaited": outage.waiting, "failedRequests": outage.failed,
                "recoveryMs": millis(outage.recovery), "drainedMs": millis(outage.drained),
                "latencyBefore": outage.latency_before.json(), "latencyDuring": outage.latency_during.json(),
                "residentKiB": outage.memory, "serversKiB": outage.servers,
            })),
            "steps": self.steps, "violations": self.violations,
        })
    }

    /// Writes `name.txt` and `name.json`.
    pub(crate) fn save(&self, name: &Path) -> anyhow::Result<()> {
        save(name, self.text().trim_start(), &self.json())
    }
}

/// What is violated, or that nothing is.
pub(crate) fn write_violations(out: &mut String, violations: &[Violation]) -> std::fmt::Result {
    if violations.is_empty() {
        writeln!(out, "\nEvery invariant holds.")?;
    }
    for Violation { invariant, at_fault } in violations {
        writeln!(out, "\nVIOLATED: {invariant} ({} times)", at_fault.len())?;
        for one in at_fault.iter().take(SHOWN) {
            writeln!(out, "  {one}")?;
        }
    }
    Ok(())
}

/// Writes `name.txt` and `name.json`.
pub(crate) fn save(name: &Path, text: &str, json: &Value) -> anyhow::Result<()> {
    let save = |extension: &str, text: &str| {
        let path = name.with_added_extension(extension);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    save("txt", text)?;
    save("json", &format!("{json:#}\n"))
}

/// Least, median, most; of a list that is sorted and not empty.
fn spread(times: &[Duration]) -> [Duration; 3] {
    [0, times.len() / 2, times.len().saturating_sub(1)].map(|at| times.get(at).copied().unwrap_or_default())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
