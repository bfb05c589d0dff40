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

    /// How long a replica is frozen, and the wire swallows everything [default: 30; short: 4]
    #[arg(long, value_name = "SECONDS")]
    pause: Option<u64>,

    /// How long the broker is away in the scenario `outage` [default: 30; short: 6]
    #[arg(long, value_name = "SECONDS")]
    outage: Option<u64>,

    /// A form of two to three minutes, for test.sh.
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
    /// Rolling, outage and mixed, one after the other.
    All,
    /// Each replica in turn is restarted by SIGTERM: no request may fail.
    Rolling,
    /// The broker is away under steady load: no order may fail, and memory must not grow with the backlog.
    Outage,
    /// Kills and other faults in a random order.
    Mixed,
}

impl Scenario {
    /// Whether this one is part of what was asked for.
    pub(crate) fn includes(self, other: Self) -> bool {
        self == other || self == Self::All
    }
}

impl Options {
    /// Fills in what depends on other options.
    pub(crate) fn settle(&mut self) {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
        self.seed.get_or_insert(now);
        self.orders.get_or_insert(if self.short { 3000 } else { 5000 });
        self.kills.get_or_insert(if self.short { 6 } else { 10 });
        self.pause.get_or_insert(if self.short { 4 } else { 30 });
        self.outage.get_or_insert(if self.short { 6 } else { 30 });
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

    pub(crate) fn outage(&self) -> Duration {
        Duration::from_secs(self.outage.unwrap_or_default())
    }
}
