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
    report::Happened,
    schedule::{Fault, Server, Target},
    shuffle,
    system::System,
    tap::Tap,
};

/// How many events are delivered again at once.
const AGAIN: usize = 200;
/// The longest time until the lanes of a frozen relay are free: its transaction may idle for 15 s.
pub(crate) const LANES: Duration = Duration::from_secs(18);
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
}

impl Run {
    /// Prints a line with the time of the run.
    pub(crate) fn say(&self, text: &str) {
        println!("{:8.1} s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// Makes one fault, heals it, and measures how long a marker takes from then on.
    pub(crate) async fn suffer(&mut self, fault: Fault) -> anyhow::Result<()> {
        let at = self.began.elapsed();
        let before = self.tap.published().duplicates();
        self.say(&fault.to_string());
        let (healed, client) = self.make(fault).await?;
        let recovery = marker::recovery(&client, &self.ledger, healed).await?;
        let duplicates = self.tap.published().duplicates() - before;
        self.say(&format!(
            "  recovered in {recovery:.2?}; {duplicates} events published again; {} orders",
            self.load.placed()
        ));
        self.happened.push(Happened { fault, at, recovery, duplicates });
        Ok(())
    }

    /// Makes and heals a fault. Answers when it was healed, and the client to send a marker with: after something
    /// happened to one replica, that one has to do its part.
    async fn make(&mut self, fault: Fault) -> anyhow::Result<(Instant, Client)> {
        let mut client = self.client.clone();
        if fault.wants_burst() {
            self.load.burst(self.burst);
            sleep(Duration::from_millis(self.random.random_range(20..400))).await;
        }
        match fault {
            Fault::Kill { target: Target::Replica(n), down } => {
                let replica = &mut self.system.replicas[n];
                replica.kill().await?;
                sleep(down).await;
                replica.start().await?;
                client = client.only(&replica.url);
            }
            Fault::Kill { target: Target::Broker, down } => {
                self.system.servers.kill_broker()?;
                sleep(down).await;
                self.system.servers.start_broker().await?;
            }
            Fault::Kill { target: Target::Postgres, down } => {
                self.system.servers.kill_postgres()?;
                sleep(down).await;
                self.system.servers.start_postgres().await?;
            }
            Fault::Freeze { replica: n, time } => {
                self.freeze(n, time).await?;
                client = client.only(&self.system.replicas[n].url);
            }
            Fault::CloseConnections => self.close_connections().await?,
            Fault::Cut { replica, server, wire, time } => {
                self.set_wires(replica, server, wire);
                sleep(time).await;
                self.set_wires(replica, server, Wire::Passes);
                if let Some(n) = replica {
                    client = client.only(&self.system.replicas[n].url);
                }
            }
            Fault::Duplicate => {
                let recent = self.tap.recent(AGAIN);
                let thrice: Vec<Message> = [&recent[..]; 3].concat();
                broker::publish(&self.system.broker_url(), &thrice).await?;
            }
            Fault::Reorder => {
                let moved = shuffle::queues(&self.system.broker_url(), &mut self.random).await?;
                self.say(&format!("  {moved} messages shuffled"));
            }
            Fault::Poison => self.poison().await?,
        }
        Ok((Instant::now(), client))
    }

    /// Freezes a replica. The lanes that it holds have to pass to the others meanwhile, if the time is long enough.
    async fn freeze(&mut self, n: usize, time: Duration) -> anyhow::Result<()> {
        let replica = &self.system.replicas[n];
        let until = Instant::now() + time;
        replica.signal("STOP")?;
        if replica.service == Service::Orders && time > LANES {
            let others = self.client.without(&replica.url);
            let took = timeout(time, marker::lanes(&others, &self.ledger)).await.unwrap_or(Ok(time))?;
            self.say(&format!("  its lanes were taken over within {took:.2?}"));
            self.takeovers.push(took);
        }
        sleep(until.saturating_duration_since(Instant::now())).await;
        self.system.replicas[n].signal("CONT")
    }

    fn set_wires(&self, replica: Option<usize>, server: Server, wire: Wire) {
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
    async fn poison(&mut self) -> anyhow::Result<()> {
        let kinds = poison::every_kind(&mut self.random, &self.load.invoiced());
        let (tokens, messages): (Vec<String>, Vec<Message>) = kinds.into_iter().unzip();
        self.poisoned.extend(tokens);
        broker::publish(&self.system.broker_url(), &messages).await
    }
}
