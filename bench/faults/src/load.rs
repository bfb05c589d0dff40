//! The load: orders at a steady rate, some of them sent twice, paid, canceled, or both at once.
//!
//! Every order follows from the seed and its number. An outcome that is unknown is asked for again, with the same
//! key, until it is known: so at the end the ledger has no open question.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::bail;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use crate::{
    client::{Answer, Client},
    ledger::{Ledger, Line},
    system::AMOUNT_LIMIT,
};

/// How many requests of each kind are on their way at most.
const CLIENTS: usize = 24;
/// How often a client looks whether its next order is due.
const LOOK: Duration = Duration::from_millis(10);
/// The most milliseconds that a cancellation is ahead of the payment that it races with.
const HEAD_START_MS: u64 = 60;
/// The pause before an unknown outcome is asked for again.
const AGAIN: Duration = Duration::from_millis(150);

/// Running load.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<anyhow::Result<()>>,
}

struct Shared {
    client: Client,
    ledger: Ledger,
    seed: u64,
    rate: f64,
    orders: u64,
    began: Instant,
    next: AtomicU64,
    ahead: AtomicU64,
    enough: AtomicBool,
    placing: AtomicUsize,
    placed: AtomicU64,
    later: Mutex<VecDeque<(Instant, FollowUp)>>,
    unfinished: AtomicUsize,
    invoiced: Mutex<Vec<(Uuid, i64)>>,
}

/// What is done with an order after it was placed.
#[derive(Debug, Clone, Copy)]
struct FollowUp {
    order: Uuid,
    amount: i64,
    wish: Wish,
}

#[derive(Debug, Clone, Copy)]
enum Wish {
    Nothing,
    Pay,
    Cancel,
    /// Both at once.
    Race,
}

impl Load {
    /// Starts to place `orders` orders, `rate` of them a second, and more until [`Self::finish`].
    pub(crate) fn start(client: Client, ledger: Ledger, seed: u64, orders: u64, rate: f64) -> Self {
        let shared = Arc::new(Shared {
            client,
            ledger,
            seed,
            rate,
            orders,
            began: Instant::now(),
            next: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
            enough: AtomicBool::new(false),
            placing: AtomicUsize::new(CLIENTS),
            placed: AtomicU64::new(0),
            later: Mutex::default(),
            unfinished: AtomicUsize::new(0),
            invoiced: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(Arc::clone(&shared).place_orders());
            clients.spawn(Arc::clone(&shared).follow_up());
        }
        Self { shared, clients }
    }

    /// Has `orders` orders placed at once, beside the steady ones.
    pub(crate) fn burst(&self, orders: u64) {
        self.shared.ahead.fetch_add(orders, Ordering::Relaxed);
    }

    /// How many orders were placed.
    pub(crate) fn placed(&self) -> u64 {
        self.shared.placed.load(Ordering::Relaxed)
    }

    /// Orders that are known to have an invoice, with their amounts: some of the first.
    pub(crate) fn invoiced(&self) -> Vec<(Uuid, i64)> {
        self.shared.invoiced.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets what was begun come to its end, and the orders that are still wanted.
    pub(crate) async fn finish(&mut self) -> anyhow::Result<Duration> {
        self.shared.enough.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended??;
        }
        Ok(self.shared.began.elapsed())
    }
}

impl Shared {
    async fn place_orders(self: Arc<Self>) -> anyhow::Result<()> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            // What is missing at the end comes as fast as it can.
            while self.began.elapsed() < self.due(number) && !self.enough.load(Ordering::Relaxed) {
                sleep(LOOK).await;
            }
            if number >= self.orders && self.enough.load(Ordering::Relaxed) {
                self.placing.fetch_sub(1, Ordering::Relaxed);
                return Ok(());
            }
            self.place_one(number).await?;
        }
    }

    /// When an order is due; a burst moves all that follow it forward.
    fn due(&self, number: u64) -> Duration {
        let steady = number.saturating_sub(self.ahead.load(Ordering::Relaxed));
        Duration::from_secs_f64(steady as f64 / self.rate)
    }

    async fn place_one(&self, number: u64) -> anyhow::Result<()> {
        let mut random = StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
        let above_limit = random.random_bool(0.02);
        let amount = random.random_range(1..=100_000) + if above_limit { AMOUNT_LIMIT } else { 0 };
        let customer = format!("customer-{}", random.random_range(0..500));
        let key = format!("{}-{number}", self.seed);
        let twice = random.random_bool(0.02);
        let wish = match random.random_range(0..100) {
            0..30 => Wish::Pay,
            30..45 => Wish::Cancel,
            45..60 => Wish::Race,
            _ => Wish::Nothing,
        };
        let at_once = random.random_bool(0.5);

        let placed = if twice {
            let place = || place(&self.client, &self.ledger, &key, amount, &customer);
            let (first, second) = tokio::join!(place(), place());
            second?;
            first?
        } else {
            place(&self.client, &self.ledger, &key, amount, &customer).await?
        };
        let Some(order) = placed else { return Ok(()) };
        self.placed.fetch_add(1, Ordering::Relaxed);
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        let due = Instant::now() + if at_once { Duration::ZERO } else { Duration::from_millis(500) };
        self.put_off(due, FollowUp { order, amount, wish });
        Ok(())
    }

    fn put_off(&self, due: Instant, follow_up: FollowUp) {
        self.later.lock().unwrap_or_else(PoisonError::into_inner).push_back((due, follow_up));
    }

    async fn follow_up(self: Arc<Self>) -> anyhow::Result<()> {
        loop {
            let next = {
                let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
                let due = later.iter().take(64).position(|(due, _)| *due <= Instant::now());
                due.and_then(|position| later.remove(position))
            };
            match next {
                Some((_, follow_up)) => {
                    if self.done(follow_up).await? {
                        self.unfinished.fetch_sub(1, Ordering::Relaxed);
                    } else {
                        self.put_off(Instant::now() + Duration::from_millis(500), follow_up);
                    }
                }
                None if self.placing.load(Ordering::Relaxed) == 0 && self.unfinished.load(Ordering::Relaxed) == 0 => {
                    return Ok(());
                }
                None => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Does what is wished. False when the invoice is not there yet.
    async fn done(&self, follow_up: FollowUp) -> anyhow::Result<bool> {
        let FollowUp { order, amount, wish } = follow_up;
        let (client, ledger) = (&self.client, &self.ledger);
        match wish {
            Wish::Nothing => return Ok(true),
            Wish::Cancel => cancel(client, ledger, order).await?,
            Wish::Pay | Wish::Race => {
                let Answer::Ok(Value::String(invoice)) = client.invoice_of(order).await else { return Ok(false) };
                {
                    let mut invoiced = self.invoiced.lock().unwrap_or_else(PoisonError::into_inner);
                    if invoiced.len() < 100 {
                        invoiced.push((order, amount));
                    }
                }
                if matches!(wish, Wish::Pay) {
                    pay(client, ledger, order, &invoice).await?;
                } else {
                    // The cancellation has a longer way to the invoice than the payment: a head start for some, so
                    // that either may win.
                    let head_start = Duration::from_millis(rand::rng().random_range(0..HEAD_START_MS));
                    let pay_later = async {
                        sleep(head_start).await;
                        pay(client, ledger, order, &invoice).await
                    };
                    let (paid, canceled) = tokio::join!(pay_later, cancel(client, ledger, order));
                    paid?;
                    canceled?;
                }
            }
        }
        Ok(true)
    }
}

/// Places an order, however often it takes. `None` when it was refused.
pub(crate) async fn place(
    client: &Client,
    ledger: &Ledger,
    key: &str,
    amount: i64,
    customer: &str,
) -> anyhow::Result<Option<Uuid>> {
    let key = key.to_owned();
    ledger.write(Line::Asked { key: key.clone(), amount, customer: customer.to_owned() }).await?;
    loop {
        match client.place(&key, amount, customer).await {
            Answer::Ok(id) => {
                let Some(id) = id.as_str().and_then(|id| id.parse().ok()) else { bail!("201 without an id: {id}") };
                ledger.write(Line::Placed { key, id }).await?;
                return Ok(Some(id));
            }
            Answer::Refused(status) => {
                ledger.write(Line::Refused { key, status }).await?;
                return Ok(None);
            }
            Answer::Unknown(why) => ledger.write(Line::Unknown { key: key.clone(), why }).await?,
        }
        sleep(AGAIN).await;
    }
}

/// Pays an invoice, however often it takes.
pub(crate) async fn pay(client: &Client, ledger: &Ledger, order: Uuid, invoice: &str) -> anyhow::Result<()> {
    loop {
        match client.pay(invoice).await {
            Answer::Ok(_) => return ledger.write(Line::Paid { order }).await,
            Answer::Refused(_) => return ledger.write(Line::PayRefused { order }).await,
            Answer::Unknown(_) => sleep(AGAIN).await,
        }
    }
}

/// Cancels an order, however often it takes.
pub(crate) async fn cancel(client: &Client, ledger: &Ledger, order: Uuid) -> anyhow::Result<()> {
    loop {
        match client.cancel(order).await {
            Answer::Ok(_) => return ledger.write(Line::Canceled { order }).await,
            Answer::Refused(status) => bail!("the cancellation of {order} was refused: {status}"),
            Answer::Unknown(_) => sleep(AGAIN).await,
        }
    }
}
