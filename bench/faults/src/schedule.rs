//! The plan of the scenario `mixed`: which faults, in which order. A pure function of the seed.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::proxy::Wire;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a start after some time.
    Kill { target: Target, down: Duration },
    /// SIGSTOP for some time.
    Freeze { replica: usize, time: Duration },
    /// The broker closes the connections of all services.
    CloseConnections,
    /// The wire of one replica, or of all, is not what it was for some time.
    Cut { replica: Option<usize>, server: Server, wire: Wire, time: Duration },
    /// The last events are delivered again, three times each.
    Duplicate,
    /// Messages are taken out of every queue and put back in another order.
    Reorder,
    /// Messages that nobody can process.
    Poison,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// A replica, by its place: from 0, those of orders first.
    Replica(usize),
    /// RabbitMQ.
    Broker,
    /// The postmaster.
    Postgres,
}

/// The other end of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// PostgreSQL.
    Database,
    /// RabbitMQ.
    Broker,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = |replica: &Option<usize>| replica.map_or("every replica".to_owned(), |n| format!("replica {n}"));
        match self {
            Self::Kill { target: Target::Replica(n), down } => write!(f, "SIGKILL replica {n}, back after {down:?}"),
            Self::Kill { target: Target::Broker, down } => write!(f, "SIGKILL broker, back after {down:?}"),
            Self::Kill { target: Target::Postgres, down } => write!(f, "SIGKILL postmaster, back after {down:?}"),
            Self::Freeze { replica, time } => write!(f, "SIGSTOP replica {replica} for {time:?}"),
            Self::CloseConnections => f.write_str("broker closes connections"),
            Self::Cut { replica, server, wire, time } => {
                let how = if *wire == Wire::Refuses { "refuses" } else { "swallows" };
                let server = if *server == Server::Database { "database" } else { "broker" };
                write!(f, "wire of {} to the {server} {how} for {time:?}", whom(replica))
            }
            Self::Duplicate => f.write_str("events delivered three times more"),
            Self::Reorder => f.write_str("messages shuffled in their queues"),
            Self::Poison => f.write_str("poison into orders"),
        }
    }
}

impl Fault {
    /// A name for its kind: recoveries are compared within it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Kill { target: Target::Replica(_), .. } => "kill replica",
            Self::Kill { target: Target::Broker, .. } => "kill broker",
            Self::Kill { target: Target::Postgres, .. } => "kill postmaster",
            Self::Freeze { .. } => "freeze replica",
            Self::CloseConnections => "close connections",
            Self::Cut { server: Server::Database, wire: Wire::Refuses, .. } => "database refused",
            Self::Cut { server: Server::Database, .. } => "database swallowed",
            Self::Cut { wire: Wire::Refuses, .. } => "broker refused",
            Self::Cut { .. } => "broker swallowed",
            Self::Duplicate => "duplicates",
            Self::Reorder => "reordering",
            Self::Poison => "poison",
        }
    }

    /// Whether it has to come in the middle of much work: a kill while nothing happens proves nothing.
    pub(crate) fn wants_burst(&self) -> bool {
        matches!(self, Self::Kill { .. } | Self::Freeze { .. })
    }

    /// About how long it takes with its recovery: the load is spread over the sum.
    pub(crate) fn estimate(&self) -> Duration {
        let seconds = Duration::from_secs;
        match self {
            Self::Kill { target: Target::Replica(_), down } => *down + seconds(2),
            Self::Kill { target: Target::Broker, down } => *down + seconds(10),
            Self::Kill { target: Target::Postgres, down } => *down + seconds(4),
            Self::Freeze { time, .. } | Self::Cut { time, .. } => *time + seconds(3),
            Self::CloseConnections | Self::Duplicate | Self::Reorder | Self::Poison => seconds(3),
        }
    }
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Kills.
    pub(crate) kills: usize,
    /// Replicas of each service; those of orders come first.
    pub(crate) replicas: usize,
    /// How long a replica is frozen and a wire swallows.
    pub(crate) pause: Duration,
}

/// The faults of a run.
pub(crate) fn plan(seed: u64, extent: Extent) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut faults: Vec<Fault> = (0..extent.kills).map(|n| kill(n, &mut random, extent.replicas)).collect();
    for _ in 0..(extent.kills / 10).max(1) {
        faults.extend(others(&mut random, extent));
    }
    faults.shuffle(&mut random);
    faults
}

/// Of six kills two hit orders, two invoices, one the broker and one the database.
fn kill(n: usize, random: &mut StdRng, replicas: usize) -> Fault {
    let target = match n % 6 {
        0 | 3 => Target::Replica(random.random_range(0..replicas)),
        1 | 4 => Target::Replica(random.random_range(replicas..2 * replicas)),
        2 => Target::Broker,
        _ => Target::Postgres,
    };
    Fault::Kill { target, down: Duration::from_millis(random.random_range(0..2000)) }
}

/// One of each other kind.
fn others(random: &mut StdRng, extent: Extent) -> Vec<Fault> {
    let Extent { replicas, pause, .. } = extent;
    let short = Duration::from_millis(random.random_range(1000..3000));
    let mut any = || random.random_range(0..2 * replicas);
    let mut faults = vec![
        Fault::Freeze { replica: any() % replicas, time: pause },
        Fault::Freeze { replica: replicas + any() % replicas, time: pause },
        Fault::CloseConnections,
        Fault::Duplicate,
        Fault::Reorder,
        Fault::Poison,
    ];
    for server in [Server::Database, Server::Broker] {
        faults.push(Fault::Cut { replica: None, server, wire: Wire::Refuses, time: short });
        faults.push(Fault::Cut { replica: Some(any()), server, wire: Wire::Refuses, time: short });
        faults.push(Fault::Cut { replica: Some(any()), server, wire: Wire::Swallows, time: pause });
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent { kills: 12, replicas: 2, pause: Duration::from_secs(1) };

    #[test]
    fn the_same_seed_plans_the_same() {
        assert_eq!(plan(42, EXTENT), plan(42, EXTENT));
        assert_ne!(plan(42, EXTENT), plan(43, EXTENT));
    }

    #[test]
    fn every_kind_of_fault_comes_and_every_kill_counts() {
        let plan = plan(42, EXTENT);
        let kinds: std::collections::BTreeSet<_> = plan.iter().map(Fault::kind).collect();
        assert_eq!(kinds.len(), 12, "{kinds:?}");
        assert_eq!(plan.iter().filter(|fault| matches!(fault, Fault::Kill { .. })).count(), 12);
    }
}
