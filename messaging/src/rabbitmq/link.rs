//! A supervised connection: generation after generation, for as long as somebody holds the link.
//!
//! The supervisor is a task that connects, watches, closes and connects again. It alone listens to the connection's
//! events, because the library gives each event to one listener only. Others see the state through a watch channel.

use std::{
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use lapin::Event;
use tokio::{
    sync::watch,
    time::{Instant, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{generation::Generation, topology::Topology, uri::Broker};
use crate::BusStatus;
use chassis::{
    backoff::{Backoff, Throttle},
    label_set, label_value,
    metrics::Metrics,
};

/// How often the connection is looked at, in case that its end produced no event.
const LOOK: Duration = Duration::from_millis(500);
/// A generation that lasted this long was a success: the pauses start small again, and its end is news.
const SETTLED: Duration = Duration::from_secs(10);

label_value! {
    /// What a link is for.
    pub(super) enum Role {
        Publishing => "publishing",
        Consuming => "consuming",
        Listening => "listening",
    }
}

label_set! {
    struct OfLink { role: Role }
}

/// How the link is now.
#[derive(Debug, Clone)]
enum State {
    /// No connection, and why.
    Down(String),
    /// A connection; `blocked` has the broker's reason while it takes no messages from us.
    Up { generation: Arc<Generation>, blocked: Option<String> },
}

impl State {
    fn alive(&self) -> Result<&Arc<Generation>, &str> {
        match self {
            Self::Down(reason) => Err(reason),
            Self::Up { generation, .. } if generation.is_over() => Err("the connection has just failed"),
            Self::Up { generation, .. } => Ok(generation),
        }
    }

    fn usable(&self) -> Result<&Arc<Generation>, String> {
        match self {
            Self::Up { blocked: Some(reason), .. } => Err(format!("the broker has blocked publishing: {reason}")),
            _ => self.alive().map_err(str::to_owned),
        }
    }
}

/// A supervised connection. Dropping the last handle ends it.
#[derive(Debug)]
pub(super) struct Link {
    role: Role,
    state: watch::Receiver<State>,
    /// How many generations there were.
    generations: Arc<AtomicU64>,
    stop: CancellationToken,
    supervisor: TaskTracker,
}

impl Link {
    /// Starts the supervisor.
    pub(super) fn open(role: Role, broker: Broker, topology: Arc<Topology>) -> Arc<Self> {
        let (state, seen) = watch::channel(State::Down("still connecting".to_owned()));
        let stop = CancellationToken::new();
        let supervisor = TaskTracker::new();
        let generations = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&generations);
        supervisor.spawn(Supervisor { role, broker, topology, state, generations: counted, stop: stop.clone() }.run());
        supervisor.close();
        Arc::new(Self { role, state: seen, generations, stop, supervisor })
    }

    /// The present generation, if it can publish now; else what keeps it.
    pub(super) fn usable(&self) -> Result<Arc<Generation>, String> {
        self.state.borrow().usable().cloned()
    }

    /// The present generation, if there is one.
    pub(super) fn alive(&self) -> Result<Arc<Generation>, String> {
        self.state.borrow().alive().cloned().map_err(str::to_owned)
    }

    /// The next generation that is alive. Pends for as long as there is none.
    pub(super) async fn wait_alive(&self) -> Arc<Generation> {
        self.wait(|state| state.alive().ok().cloned()).await
    }

    /// Pends until messages can be published.
    pub(super) async fn wait_usable(&self) {
        self.wait(|state| state.usable().ok().map(drop)).await;
    }

    /// Pends until the broker blocks us; answers its reason.
    pub(super) async fn wait_blocked(&self) -> String {
        self.wait(|state| match state {
            State::Up { blocked, .. } => blocked.clone(),
            State::Down(_) => None,
        })
        .await
    }

    fn is_blocked(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up { blocked: Some(_), .. })
    }

    /// How it stands, for the readiness report.
    pub(super) fn status(&self) -> BusStatus {
        match self.state.borrow().usable() {
            Err(reason) => BusStatus::Degraded(format!("{}: {reason}", self.role.as_str())),
            Ok(generation) if generation.differences().is_empty() => BusStatus::Up,
            Ok(generation) => BusStatus::Differs(generation.differences().join("; ")),
        }
    }

    /// Ends the supervisor and waits for it.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.supervisor.wait().await;
    }

    async fn wait<T>(&self, mut seen: impl FnMut(&State) -> Option<T>) -> T {
        let mut states = self.state.clone();
        loop {
            if let Some(found) = seen(&states.borrow_and_update()) {
                return found;
            }
            if states.changed().await.is_err() {
                // The link was closed. Whoever waits here has a signal of its own to stop.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Has what the links are for counted: whether they are there, and how often they had to come back.
pub(super) fn measure(links: Vec<Weak<Link>>, metrics: &Metrics) {
    let of_links = move |read: fn(&Link) -> f64| {
        let links = links.clone();
        move || {
            let links = links.iter().filter_map(Weak::upgrade);
            links.map(|link| (OfLink { role: link.role }, read(&link))).collect()
        }
    };
    metrics.all_observed(
        "amqp_connection_up",
        "Whether there is a connection to the broker, 1 or 0",
        of_links(|link| f64::from(u8::from(link.alive().is_ok()))),
    );
    metrics.all_observed(
        "amqp_connection_blocked",
        "Whether the broker takes no messages on the connection, 1 or 0: it is short of memory or disk",
        of_links(|link| f64::from(u8::from(link.is_blocked()))),
    );
    metrics.all_counted(
        "amqp_reconnects_total",
        "How often a connection to the broker was made anew",
        of_links(|link| link.generations.load(Ordering::Relaxed).saturating_sub(1) as f64),
    );
}

struct Supervisor {
    role: Role,
    broker: Broker,
    topology: Arc<Topology>,
    state: watch::Sender<State>,
    generations: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Supervisor {
    async fn run(self) {
        let mut pauses = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        let mut losses = Throttle::default();
        // Every loss that was written into the log gets its recovery written too, and no other does.
        let mut announce = true;
        loop {
            let Some((reason, lasted)) = self.generation(&mut announce).await else { break };
            if lasted >= SETTLED {
                pauses.reset();
                losses.reset();
            }
            if losses.is_due() {
                announce = true;
                let (role, address) = (self.role.as_str(), self.broker.address());
                warn!(role, "no connection to RabbitMQ at {address} for {role}: {reason}");
            }
            self.state.send_replace(State::Down(reason));
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = sleep(pauses.next_pause()) => {}
            }
        }
        self.state.send_replace(State::Down("the bus is closed".to_owned()));
    }

    /// Lives through one generation. Answers why it ended and how long it was up; `None` when it was told to stop.
    async fn generation(&self, announce: &mut bool) -> Option<(String, Duration)> {
        let name = format!("tandem {}", self.role.as_str());
        let started = tokio::select! {
            () = self.stop.cancelled() => return None,
            started = Generation::start(&self.broker, &name, &self.topology) => started,
        };
        let generation = match started {
            Ok(generation) => Arc::new(generation),
            Err(broken) => return Some((broken.to_string(), Duration::ZERO)),
        };
        if std::mem::take(announce) {
            let (role, address) = (self.role.as_str(), self.broker.address());
            info!(role, "connected to RabbitMQ at {address} for {role}");
        }
        let since = Instant::now();
        self.generations.fetch_add(1, Ordering::Relaxed);
        self.state.send_replace(State::Up { generation: Arc::clone(&generation), blocked: None });
        let ended = tokio::select! {
            () = self.stop.cancelled() => None,
            reason = self.watch(&generation) => Some(reason),
        };
        // All who hold it learn of its end now, before it is closed under them.
        generation.fail(ended.as_deref().unwrap_or("the bus is closed"));
        if let Some(reason) = &ended {
            self.state.send_replace(State::Down(reason.clone()));
        }
        let lasted = since.elapsed();
        generation.close().await;
        ended.map(|reason| (reason, lasted))
    }

    /// Follows a generation to its end, and the broker's moods on the way. Answers why it ended.
    async fn watch(&self, generation: &Generation) -> String {
        let connection = generation.connection();
        let mut events = pin!(connection.events_listener());
        let mut look = interval(LOOK);
        let mut last_error = None;
        loop {
            tokio::select! {
                reason = generation.over() => return reason,
                _ = look.tick() => {}
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => self.set_blocked(Some(reason)),
                    Some(Event::ConnectionUnblocked) => self.set_blocked(None),
                    Some(Event::Error(error)) => last_error = Some(error.to_string()),
                    // `None` cannot happen while the connection is held; new kinds of events are not for us.
                    Some(_) | None => {}
                },
            }
            if !connection.status().connected() {
                return last_error.unwrap_or_else(|| "the connection was lost".to_owned());
            }
        }
    }

    fn set_blocked(&self, reason: Option<String>) {
        match &reason {
            Some(reason) => warn!(role = self.role.as_str(), "the broker has blocked publishing: {reason}"),
            None => info!(role = self.role.as_str(), "the broker takes messages again"),
        }
        self.state.send_modify(|state| {
            if let State::Up { blocked, .. } = state {
                *blocked = reason;
            }
        });
    }
}
