//! The command line. `--help` is the reference.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::measure::Measurement;

/// Runs the real services on a PostgreSQL and a RabbitMQ of their own, kills and disturbs them under load, and then
/// compares what the clients were told with what is there.
#[derive(Debug, Clone, Parser)]
#[command(version, after_help = "Exit code: 0 every invariant holds, 1 one is violated, 2 the run itself failed.")]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) measurement: Option<Measurement>,

    /// How many orders at least; load goes on while there are faults left [default: 5000; short: 3000]
    #[arg(long)]
    orders: Option<u64>,

    /// How many processes are killed by SIGKILL; the other faults come in proportion [default: 10; short: 6]
    #[arg(long)]
    kills: Option<usize>,

    /// What decides about the load and the faults; the same seed plans the same [default: the time]
    #[arg(long, global = true)]
    seed: Option<u64>,

    /// Over how many seconds the orders are spread [default: as long as the faults should take]
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,

    /// What to do.
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) scenario: Scenario,

    /// How many processes of each service.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(2..=5))]
    pub(crate) replicas: u16,

    /// How long a replica is frozen, and the wire swallows everything [default: 25; short: 3]
    #[arg(long, value_name = "SECONDS")]
    pause: Option<u64>,

    /// How long the broker is away in the scenario `outage` [default: 30; short: 5]
    #[arg(long, value_name = "SECONDS")]
    outage: Option<u64>,

    /// How often each failpoint ends a replica
    #[arg(long, default_value_t = 2, value_name = "TIMES")]
    pub(crate) each: u16,

    /// How long a recovery may take once a fault is over [default: 5; short: 240]
    #[arg(long, value_name = "SECONDS")]
    recovery: Option<u64>,

    /// A form of about three minutes, for test.sh.
    #[arg(long)]
    short: bool,

    /// Run the programs beside this one as they are, without building them first.
    #[arg(long, global = true)]
    pub(crate) no_build: bool,

    /// Where the reports go: NAME.json and NAME.txt.
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) report: Option<PathBuf>,

    /// Keep the folder of the run: ledger, logs, data.
    #[arg(long, global = true)]
    pub(crate) keep: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// One after the other; the short form leaves out `failpoints`, `disk`, `clock` and `lost`.
    All,
    /// Each replica in turn is restarted by SIGTERM: no request may fail.
    Rolling,
    /// The broker is away under steady load: no order may fail, and memory must not grow with the backlog.
    Outage,
    /// Each failpoint in turn ends a replica under load, a relay is frozen with its lanes, and a message crashes
    /// whoever consumes it. Builds the services a second time.
    Failpoints,
    /// The broker runs out of memory, then of disk, and takes no messages.
    Alarms,
    /// A queue is full.
    Full,
    /// The disk of the database is full. Needs root, for a file system of its own.
    Disk,
    /// The clocks of two replicas are wrong by an hour. Needs libfaketime.
    Clock,
    /// Queues are deleted, purged and unbound, with what is in them.
    Lost,
    /// Kills and other faults in a random order.
    Mixed,
}

impl Options {
    /// Fills in what depends on other options.
    pub(crate) fn settle(&mut self) {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
        self.seed.get_or_insert(now);
        self.orders.get_or_insert(if self.short { 3000 } else { 5000 });
        self.kills.get_or_insert(if self.short { 6 } else { 10 });
        self.pause.get_or_insert(if self.short { 3 } else { 25 });
        self.outage.get_or_insert(if self.short { 5 } else { 30 });
        self.recovery.get_or_insert(if self.short { 240 } else { 5 });
    }

    /// Whether a scenario is part of what was asked for.
    pub(crate) fn includes(&self, scenario: Scenario) -> bool {
        use Scenario::{All, Clock, Disk, Failpoints, Lost};
        let left_out = self.short && matches!(scenario, Failpoints | Disk | Clock | Lost);
        self.scenario == scenario || self.scenario == All && !left_out
    }

    pub(crate) fn orders(&self) -> u64 {
        self.orders.unwrap_or_default()
    }

    pub(crate) fn kills(&self) -> usize {
        self.kills.unwrap_or_default()
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        self.duration.map(Duration::from_secs)
    }

    pub(crate) fn pause(&self) -> Duration {
        Duration::from_secs(self.pause.unwrap_or_default())
    }

    pub(crate) fn recovery(&self) -> Duration {
        Duration::from_secs(self.recovery.unwrap_or_default())
    }

    /// How long a client waits for an answer: longer where all of it shares the machine with other work.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(if self.short { 60 } else { 10 })
    }

    pub(crate) fn is_short(&self) -> bool {
        self.short
    }

    pub(crate) fn outage(&self) -> Duration {
        Duration::from_secs(self.outage.unwrap_or_default())
    }
}
