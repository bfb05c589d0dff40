//! The plan of the scenario `mixed`: which faults, in which order. A pure function of the seed.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::proxy::Wire;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a start after some time.
    Kill { target: Target, down: Duration },
    /// Two at once, and both again after some time.
    KillTwo { targets: [Target; 2], down: Duration },
    /// SIGSTOP for some time.
    Freeze { replica: usize, time: Duration },
    /// The broker closes the connections of all services.
    CloseConnections,
    /// The wire of one replica, or of all, is not what it was for some time.
    Cut { replica: Option<usize>, server: Server, wire: Wire, time: Duration },
    /// The last events are delivered again, three times each, and one in a hundred of them a hundred times.
    Duplicate,
    /// Messages are taken out of every queue and put back in another order.
    Reorder,
    /// Messages that nobody can process.
    Poison,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replica(n) => write!(f, "replica {n}"),
            Self::Broker => f.write_str("broker"),
            Self::Postgres => f.write_str("postmaster"),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Database { "database" } else { "broker" })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = |replica: &Option<usize>| replica.map_or("every replica".to_owned(), |n| format!("replica {n}"));
        match self {
            Self::Kill { target, down } => write!(f, "SIGKILL {target}, back after {down:?}"),
            Self::KillTwo { targets: [one, other], down } => {
                write!(f, "SIGKILL {one} and {other} at once, back after {down:?}")
            }
            Self::Freeze { replica, time } => write!(f, "SIGSTOP replica {replica} for {time:?}"),
            Self::CloseConnections => f.write_str("broker closes connections"),
            Self::Cut { replica, server, wire, time } => {
                write!(f, "wire of {} to the {server} {} for {time:?}", whom(replica), wire.verb())
            }
            Self::Duplicate => f.write_str("events delivered three times more"),
            Self::Reorder => f.write_str("messages shuffled in their queues"),
            Self::Poison => f.write_str("poison into orders"),
        }
    }
}

impl Fault {
    /// A name for its kind: recoveries are compared within it.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Kill { target: Target::Replica(_), .. } => "kill replica".to_owned(),
            Self::Kill { target, .. } => format!("kill {target}"),
            Self::KillTwo { .. } => "kill two".to_owned(),
            Self::Freeze { .. } => "freeze replica".to_owned(),
            Self::CloseConnections => "close connections".to_owned(),
            Self::Cut { server, wire, .. } => format!("{server} {}", wire.verb()),
            Self::Duplicate => "duplicates".to_owned(),
            Self::Reorder => "reordering".to_owned(),
            Self::Poison => "poison".to_owned(),
        }
    }

    /// How many processes it kills.
    pub(crate) fn kills(&self) -> usize {
        match self {
            Self::Kill { .. } => 1,
            Self::KillTwo { .. } => 2,
            _ => 0,
        }
    }

    /// Whether it has to come in the middle of much work: a kill while nothing happens proves nothing.
    pub(crate) fn wants_burst(&self) -> bool {
        matches!(self, Self::Kill { .. } | Self::KillTwo { .. } | Self::Freeze { .. } | Self::Reorder)
    }

    /// About how long it takes with its recovery: the load is spread over the sum.
    pub(crate) fn estimate(&self) -> Duration {
        let seconds = Duration::from_secs;
        match self {
            Self::Kill { target: Target::Replica(_), down } => *down + seconds(2),
            Self::Kill { target: Target::Broker, down } | Self::KillTwo { down, .. } => *down + seconds(10),
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
    /// Each way in which a wire can be bad on one of the two wires only.
    pub(crate) short: bool,
}

/// For how many kills each other kind of fault comes once.
const KILLS_PER_ROUND: usize = 15;

/// The faults of a run.
pub(crate) fn plan(seed: u64, extent: Extent) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut faults: Vec<Fault> = (0..extent.kills).map(|n| kill(n, &mut random, extent.replicas)).collect();
    for round in 0..(extent.kills / KILLS_PER_ROUND).max(1) {
        faults.extend(others(round, &mut random, extent));
    }
    faults.shuffle(&mut random);
    faults
}

/// Of six kills two hit orders, two invoices, one the broker and one the database.
fn kill(n: usize, random: &mut StdRng, replicas: usize) -> Fault {
    Fault::Kill { target: target(n, random, replicas), down: Duration::from_millis(random.random_range(0..2000)) }
}

fn target(n: usize, random: &mut StdRng, replicas: usize) -> Target {
    match n % 6 {
        0 | 3 => Target::Replica(random.random_range(0..replicas)),
        1 | 4 => Target::Replica(random.random_range(replicas..2 * replicas)),
        2 => Target::Broker,
        _ => Target::Postgres,
    }
}

/// One of each other kind.
fn others(round: usize, random: &mut StdRng, extent: Extent) -> Vec<Fault> {
    let Extent { replicas, pause, .. } = extent;
    // Different kinds, so different targets.
    let two = [0, 1, 2, 5].map(|n| target(n, random, replicas));
    let (one, other) = [(0, 2), (1, 3), (2, 3), (0, 1)][round % 4];
    let mut brief = || Duration::from_millis(random.random_range(500..2000));
    let times: Vec<Duration> = (0..6).map(|_| brief()).collect();
    let mut any = || random.random_range(0..2 * replicas);
    let mut faults = vec![
        Fault::KillTwo { targets: [two[one], two[other]], down: times[0] },
        Fault::Freeze { replica: any() % replicas, time: pause },
        Fault::Freeze { replica: replicas + any() % replicas, time: times[1] },
        Fault::CloseConnections,
        Fault::Duplicate,
        Fault::Reorder,
        Fault::Poison,
    ];
    let wires = [
        (None, Wire::Refuses, times[2]),
        (Some(any()), Wire::Refuses, times[2]),
        (Some(any()), Wire::Swallows, pause),
        (Some(any()), Wire::Delays, times[3]),
        (Some(any()), Wire::Loses, times[4]),
        (Some(any()), Wire::Trickles, times[5]),
    ];
    for (replica, wire, time) in wires {
        let servers = [Server::Database, Server::Broker];
        let of = if extent.short { &servers[any() % 2..][..1] } else { &servers };
        faults.extend(of.iter().map(|&server| Fault::Cut { replica, server, wire, time }));
    }
    // Each way on each wire, one after the other.
    let wire = if round.is_multiple_of(2) { Wire::SwallowsRequests } else { Wire::SwallowsAnswers };
    let server = if round % 4 < 2 { Server::Broker } else { Server::Database };
    faults.push(Fault::Cut { replica: Some(any()), server, wire, time: pause });
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent { kills: 60, replicas: 2, pause: Duration::from_secs(1), short: false };

    #[test]
    fn the_same_seed_plans_the_same() {
        assert_eq!(plan(42, EXTENT), plan(42, EXTENT));
        assert_ne!(plan(42, EXTENT), plan(43, EXTENT));
    }

    #[test]
    fn every_kind_of_fault_comes_and_every_kill_counts() {
        let plan = plan(42, EXTENT);
        let kinds: std::collections::BTreeSet<_> = plan.iter().map(Fault::kind).collect();
        // Nine that are no wires, five and the two ways of silence of each of the two wires.
        assert_eq!(kinds.len(), 9 + 2 * 7, "{kinds:?}");
        assert_eq!(plan.iter().map(Fault::kills).sum::<usize>(), 60 + 2 * 4);
        assert!(!plan.iter().any(|fault| matches!(fault, Fault::KillTwo { targets: [a, b], .. } if a == b)));
    }
}
