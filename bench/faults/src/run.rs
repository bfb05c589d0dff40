//! A run in progress: the system, its load, what watches it, and what happened to it so far.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::StdRng};
use tokio::time::{sleep, timeout};

use crate::{
    broker::{self, Management, Message},
    client::Client,
    ledger::Ledger,
    load::Load,
    marker, poison,
    proxy::Wire,
    replica::Service,
    report::{Happened, Step},
    schedule::{Fault, Server, Target},
    shuffle,
    system::System,
    tap::Tap,
};

/// How many events are delivered again at once.
const AGAIN: usize = 200;
/// The longest time until the lanes of a frozen relay are free: so long may its transaction idle.
const LANES: Duration = Duration::from_secs(15);
/// The longest time until a replica notices that the broker is silent: twice the heartbeat of 10 s, and something for
/// the machine.
const NOTICED: Duration = Duration::from_secs(22);
/// The same when only what the replica sends is swallowed. It hears the broker's heartbeats, so it is for the broker to
/// notice, which looks each 10 s and gives up at the second look that finds nothing.
const NOTICED_BY_BROKER: Duration = Duration::from_secs(32);
/// How long connections may take to appear in the management API.
const LISTED: Duration = Duration::from_secs(10);

/// A run.
pub(crate) struct Run {
    pub(crate) system: System,
    pub(crate) load: Load,
    pub(crate) tap: Tap,
    pub(crate) client: Client,
    pub(crate) ledger: Ledger,
    pub(crate) management: Management,
    pub(crate) random: StdRng,
    pub(crate) began: Instant,
    /// How many orders come at once before some faults.
    pub(crate) burst: u64,
    /// The tokens of what nobody can process.
    pub(crate) poisoned: BTreeSet<String>,
    pub(crate) happened: Vec<Happened>,
    /// How long it took until other relays had the lanes of a frozen one.
    pub(crate) takeovers: Vec<Duration>,
    /// The longest time that a recovery may take.
    pub(crate) limit: Duration,
    /// Faults that took longer than they may, and how.
    pub(crate) slow: Vec<String>,
    /// How the scenarios went that are no list of faults.
    pub(crate) steps: Vec<Step>,
}

impl Run {
    /// Prints a line with the time of the run.
    pub(crate) fn say(&self, text: &str) {
        println!("{:8.1} s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// Makes one fault, heals it, and measures how long a marker takes from then on.
    pub(crate) async fn suffer(&mut self, fault: Fault) -> anyhow::Result<()> {
        let at = self.began.elapsed();
        let before = self.tap.duplicates();
        self.say(&fault.to_string());
        let (healed, client, noticed) = self.make(fault).await?;
        let recovery = marker::recovery(&client, &self.ledger, healed).await?;
        if recovery > self.limit {
            self.slow.push(format!("{fault}, at {at:.1?}: recovered in {recovery:.2?}, more than {:?}", self.limit));
        }
        let duplicates = self.tap.duplicates() - before;
        self.say(&format!(
            "  recovered in {recovery:.2?}; {duplicates} events published again; {} orders",
            self.load.placed()
        ));
        self.happened.push(Happened { fault, at, recovery, duplicates, noticed });
        Ok(())
    }

    /// Makes and heals a fault. Answers when it was healed, the client to send a marker with (after something happened
    /// to one replica, that one has to do its part), and how long a silence went unnoticed.
    async fn make(&mut self, fault: Fault) -> anyhow::Result<(Instant, Client, Option<Duration>)> {
        let (mut client, mut noticed) = (self.client.clone(), None);
        if fault.wants_burst() {
            self.load.burst(self.burst);
            sleep(Duration::from_millis(self.random.random_range(20..400))).await;
        }
        match fault {
            Fault::Kill { target, down } => {
                self.kill(target).await?;
                sleep(down).await;
                client = self.revive(target, client).await?;
            }
            Fault::KillTwo { targets: [one, other], down } => {
                self.kill(one).await?;
                self.kill(other).await?;
                sleep(down).await;
                // The servers first, as a machine that comes back would have it.
                client = self.revive(one.max(other), client).await?;
                client = self.revive(one.min(other), client).await?;
            }
            Fault::Freeze { replica: n, time } => {
                self.freeze(n, time).await?;
                client = client.only(&self.system.replicas[n].url);
            }
            Fault::CloseConnections => self.close_connections().await?,
            Fault::Cut { replica, server, wire, time } => {
                self.set_wires(replica, server, wire);
                sleep(time).await;
                noticed = self.noticed(fault);
                self.set_wires(replica, server, Wire::Passes);
                if let Some(n) = replica {
                    client = client.only(&self.system.replicas[n].url);
                }
            }
            Fault::Duplicate => {
                let recent = self.tap.recent(AGAIN);
                let mut again: Vec<Message> = [&recent[..]; 3].concat();
                again.extend(recent.iter().step_by(100).flat_map(|message| std::iter::repeat_n(message, 97)).cloned());
                broker::publish(&self.system.broker_url(), &again).await?;
            }
            Fault::Reorder => {
                let moved = shuffle::queues(&self.system.broker_url(), &mut self.random).await?;
                self.say(&format!("  {moved} messages shuffled"));
            }
            Fault::Poison => self.poison().await?,
        }
        Ok((Instant::now(), client, noticed))
    }

    async fn kill(&mut self, target: Target) -> anyhow::Result<()> {
        match target {
            Target::Replica(n) => self.system.replicas[n].kill().await,
            Target::Broker => self.system.servers.kill_broker(),
            Target::Postgres => self.system.servers.kill_postgres(),
        }
    }

    /// Starts it again. Answers `client`, of that replica only, if it is one.
    async fn revive(&mut self, target: Target, client: Client) -> anyhow::Result<Client> {
        match target {
            Target::Replica(n) => {
                let replica = &mut self.system.replicas[n];
                replica.start().await?;
                return Ok(client.only(&replica.url));
            }
            Target::Broker => self.system.servers.start_broker().await?,
            Target::Postgres => self.system.servers.start_postgres().await?,
        }
        Ok(client)
    }

    /// How long it took until a replica had given up its connections to a silent broker, if there was time for it. A
    /// pool of database connections looks at one when it needs it: there is nothing to wait for.
    fn noticed(&mut self, fault: Fault) -> Option<Duration> {
        let Fault::Cut { replica: Some(n), server: Server::Broker, wire, time } = fault else { return None };
        let limit = if wire == Wire::SwallowsRequests { NOTICED_BY_BROKER } else { NOTICED };
        if !wire.is_silent() || time < limit {
            return None;
        }
        let noticed = self.system.replicas[n].broker.silence().noticed();
        if noticed.is_none_or(|noticed| noticed > limit) {
            let took = noticed.map_or("not at all".to_owned(), |noticed| format!("after {noticed:.1?}"));
            self.slow.push(format!("{fault}: noticed {took}, later than {limit:?}"));
        }
        noticed
    }

    /// The longest time until orders go all the way again while a relay is frozen with its lanes.
    pub(crate) fn takeover_limit(&self) -> Duration {
        LANES + self.limit
    }

    /// Freezes a replica. The lanes that it holds have to pass to the others meanwhile, if the time is long enough.
    async fn freeze(&mut self, n: usize, time: Duration) -> anyhow::Result<()> {
        let replica = &self.system.replicas[n];
        let until = Instant::now() + time;
        replica.signal("STOP")?;
        if replica.service == Service::Orders && time > self.takeover_limit() {
            let others = self.client.without(&replica.url);
            let took = timeout(time, marker::lanes(&others, &self.ledger)).await.unwrap_or(Ok(time))?;
            self.say(&format!("  its lanes were taken over within {took:.2?}"));
            self.takeovers.push(took);
        }
        sleep(until.saturating_duration_since(Instant::now())).await;
        self.system.replicas[n].signal("CONT")
    }

    pub(crate) fn set_wires(&self, replica: Option<usize>, server: Server, wire: Wire) {
        for (n, one) in self.system.replicas.iter().enumerate() {
            if replica.is_none_or(|replica| replica == n) {
                let proxy = if server == Server::Database { &one.database } else { &one.broker };
                proxy.set(wire);
            }
        }
    }

    /// The list of connections runs behind: it is asked until it had some.
    async fn close_connections(&self) -> anyhow::Result<()> {
        let until = Instant::now() + LISTED;
        loop {
            let closed = self.management.close_connections().await?;
            if closed > 0 || Instant::now() > until {
                self.say(&format!("  {closed} connections closed"));
                return Ok(());
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// The tokens are noted first: what may have been sent counts as sent, and is sent until it is confirmed.
    pub(crate) async fn poison(&mut self) -> anyhow::Result<()> {
        let kinds = poison::every_kind(&mut self.random, &self.load.invoiced());
        let (tokens, messages): (Vec<String>, Vec<Message>) = kinds.into_iter().unzip();
        self.poisoned.extend(tokens);
        broker::publish(&self.system.broker_url(), &messages).await
    }
}
