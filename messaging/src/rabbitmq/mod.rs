//! The bus on RabbitMQ.
//!
//! Two connections serve a process, one to publish and one to consume: a broker that runs short of memory or disk
//! blocks connections that publish, acknowledgements on them included. Both are supervised: one [`generation`] is a
//! connection and all its channels, any error ends it, and the next one starts from nothing. The client library's
//! own recovery stays off, since it keeps channels alive across connections and with them stale tags.
//!
//! Nothing here waits for the broker at start: a service without it serves its API, and its events wait in the outbox.

mod aside;
mod confirm;
mod consumer;
mod depth;
mod generation;
mod hold;
pub mod letters;
mod link;
mod listener;
mod message;
mod publisher;
pub mod setup;
mod topology;
mod uri;
mod wire;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use chassis::{background::keep_running, backoff::Throttle, metrics::Metrics};
use contracts::topology::Queue;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{BusStatus, EventBus, Handler, Listener, Publisher, Subscription, metrics::Measuring};
use aside::Origin;
use confirm::ConfirmedPublisher;
use consumer::Consumer;
use depth::QueueDepths;
use link::{Link, Role};
use listener::LiveQueue;
use publisher::RabbitPublisher;
use topology::Topology;
pub use uri::InvalidUrl;

/// The value of `messaging.system` on its spans.
const SYSTEM: &str = "rabbitmq";

/// Events over a RabbitMQ broker.
///
/// Dropping it leaves its publishers and subscriptions working; the connections end with the last of them, or with
/// [`EventBus::close`].
#[derive(Debug)]
pub struct RabbitMq {
    service: &'static str,
    publishing: Arc<Link>,
    consuming: Arc<Link>,
    measuring: Measuring,
    depths: OnceLock<QueueDepths>,
}

impl RabbitMq {
    /// Starts to connect to the broker at `url`, `amqp://user:password@host:port/vhost` or `amqps://…`, and answers
    /// at once. `?cacertfile=/path/ca.pem` has an authority trusted that the system does not know. It goes on to connect for ever; [`EventBus::status`] says how it stands.
    ///
    /// Call it inside a Tokio runtime, which then runs the connections.
    ///
    /// # Errors
    /// When `url` or the file it names cannot be read. The text names what is wrong with it and leaves out the password.
    pub fn connect(url: &str) -> Result<Self, InvalidUrl> {
        Self::connect_as(url, "tandem")
    }

    /// The same for the service of this name, which it writes on what it sets aside.
    ///
    /// # Errors
    /// As [`RabbitMq::connect`].
    pub fn connect_as(url: &str, service: &'static str) -> Result<Self, InvalidUrl> {
        let broker = uri::parse(url)?;
        let topology = Arc::new(Topology::default());
        let publishing = Link::open(Role::Publishing, broker.clone(), Arc::clone(&topology));
        Ok(Self::over(service, publishing, Link::open(Role::Consuming, broker, topology)))
    }

    /// The same over a single connection, for a process that only listens.
    ///
    /// # Errors
    /// As [`RabbitMq::connect`].
    pub fn connect_to_listen(url: &str, service: &'static str) -> Result<Self, InvalidUrl> {
        let link = Link::open(Role::Listening, uri::parse(url)?, Arc::new(Topology::default()));
        Ok(Self::over(service, Arc::clone(&link), link))
    }

    fn over(service: &'static str, publishing: Arc<Link>, consuming: Arc<Link>) -> Self {
        Self { service, publishing, consuming, measuring: Measuring::unread(), depths: OnceLock::new() }
    }
}

#[async_trait]
impl EventBus for RabbitMq {
    fn measured_by(&self, metrics: &Metrics) -> Arc<dyn EventBus> {
        let (publishing, consuming) = (Arc::clone(&self.publishing), Arc::clone(&self.consuming));
        let mut links = vec![Arc::downgrade(&publishing)];
        if !Arc::ptr_eq(&publishing, &consuming) {
            links.push(Arc::downgrade(&consuming));
        }
        link::measure(links, metrics);
        let (measuring, depths) = (Measuring::of(metrics), OnceLock::new());
        Arc::new(Self { service: self.service, publishing, consuming, measuring, depths })
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        let confirmed = ConfirmedPublisher::new(Arc::clone(&self.publishing));
        Box::new(RabbitPublisher::new(confirmed, self.measuring.messaging().clone()))
    }

    fn subscribe(&self, queue: &'static Queue, handler: Arc<dyn Handler>) -> Subscription {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (consuming, publishing) = (Arc::clone(&self.consuming), Arc::clone(&self.publishing));
        let (service, stopped) = (self.service, stop.clone());
        let metrics = self.measuring.messaging().of(queue);
        let handler = metrics.around(handler);
        let depths = || QueueDepths::of(self.measuring.metrics(), Arc::downgrade(&self.consuming));
        self.depths.get_or_init(depths).add(queue);
        tasks.spawn(async move {
            let consumer = || Consumer {
                link: Arc::clone(&consuming),
                // Parking publishes, so it goes over the publishing connection.
                parking: ConfirmedPublisher::new(Arc::clone(&publishing)),
                origin: Origin { queue, service },
                handler: Arc::clone(&handler),
                metrics: metrics.clone(),
                stop: stopped.clone(),
                complaints: Throttle::default(),
            };
            keep_running("a consumer", || consumer().run()).await;
        });
        Subscription { stop, tasks }
    }

    fn listen(&self, listener: Arc<dyn Listener>) -> Subscription {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (link, stopped) = (Arc::clone(&self.consuming), stop.clone());
        tasks.spawn(async move {
            let queue =
                || LiveQueue { link: Arc::clone(&link), listener: Arc::clone(&listener), stop: stopped.clone() };
            keep_running("a queue of live updates", || queue().run()).await;
        });
        Subscription { stop, tasks }
    }

    fn status(&self) -> BusStatus {
        use BusStatus::{Degraded, Differs, Up};
        // What is away counts for more than what differs, which both connections see alike.
        match (self.publishing.status(), self.consuming.status()) {
            (status, _) if Arc::ptr_eq(&self.publishing, &self.consuming) => status,
            (Degraded(one), Degraded(other)) => Degraded(format!("{one}; {other}")),
            (Degraded(trouble), _) | (_, Degraded(trouble)) => Degraded(trouble),
            (Differs(what), _) | (_, Differs(what)) => Differs(what),
            (Up, Up) => Up,
        }
    }

    async fn close(&self) {
        tokio::join!(self.publishing.close(), self.consuming.close());
    }
}
