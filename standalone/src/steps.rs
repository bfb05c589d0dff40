//! What happens to orders, a line for each step on the terminal: the flow that the console shows in the browser.
//!
//! ```text
//! 14:01:03  …168ff5c4  order created     1999 customer-123       trace 8b246fb1a673bd15ec08cd33a0ef07f6
//! 14:01:03  …168ff5c4  invoice issued    +5 ms                   trace 8b246fb1a673bd15ec08cd33a0ef07f6
//! ```
//!
//! The bus tells of every event. Nobody waits for the terminal: a thread writes, and what it does not keep up with is
//! left out and counted.

use std::{
    io::Write,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::Duration,
};

use chrono::{DateTime, Local, TimeDelta, TimeZone, Utc};
use contracts::{EventEnvelope, EventType, OrderCreated};
use lru::LruCache;
use messaging::{EventBus, Listener, Subscription};
use tokio::{sync::oneshot, time::timeout};
use uuid::Uuid;

/// How many steps may wait to be written.
const BACKLOG: usize = 1024;

/// Of how many orders it is remembered what was told, the latest.
const ORDERS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// How long the last lines may take when the program stops.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text and nothing else.
    Plain,
    /// With colours (ECMA-48, SGR).
    Colour,
}

/// The steps of orders, from when this was made.
pub(crate) struct Steps {
    sender: Arc<Sender>,
    subscription: Subscription,
    waiting: Option<Receiver<Message>>,
    written: Option<oneshot::Receiver<()>>,
}

/// What the bus calls.
struct Sender {
    since: DateTime<Utc>,
    messages: SyncSender<Message>,
    left_out: AtomicU64,
}

enum Message {
    Step(Step),
    End,
}

/// A step of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    order: Uuid,
    event: EventType,
    at: DateTime<Utc>,
    /// Amount and customer of a new order.
    detail: Option<String>,
    trace: Option<String>,
}

impl Steps {
    /// Hears `bus`. What happened before, e.g. to sample orders, is not told, also where it is heard only now.
    pub(crate) fn of(bus: &dyn EventBus) -> Self {
        let (messages, waiting) = mpsc::sync_channel(BACKLOG);
        let sender = Arc::new(Sender { since: contracts::now(), messages, left_out: AtomicU64::new(0) });
        let subscription = bus.listen(Arc::clone(&sender) as Arc<dyn Listener>);
        Self { sender, subscription, waiting: Some(waiting), written: None }
    }

    /// Writes the lines, those that wait and those to come.
    pub(crate) fn tell(&mut self, out: impl Write + Send + 'static, style: Style) {
        let Some(messages) = self.waiting.take() else { return };
        let (done, written) = oneshot::channel();
        let sender = Arc::clone(&self.sender);
        thread::spawn(move || {
            // Nobody may be reading; that is no reason not to serve.
            let _ = write(&messages, &sender.left_out, out, style);
            let _ = done.send(());
        });
        self.written = Some(written);
    }

    /// Ends after the last line, unless nobody reads them.
    pub(crate) async fn stop(self) {
        self.subscription.stop().await;
        if let Some(written) = self.written
            && self.sender.messages.try_send(Message::End).is_ok()
        {
            let _ = timeout(LAST_LINES, written).await;
        }
    }
}

impl Listener for Sender {
    fn listening(&self) {}

    fn event(&self, event: &EventEnvelope) {
        if event.occurred_at <= self.since {
            return;
        }
        if self.messages.try_send(Message::Step(Step::of(event))).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Step {
    fn of(event: &EventEnvelope) -> Self {
        let created = (event.event_type == EventType::OrderCreated)
            .then(|| serde_json::from_slice::<OrderCreated>(&event.body).ok())
            .flatten();
        Self {
            order: event.order_id,
            event: event.event_type,
            at: event.occurred_at,
            detail: created.map(|order| format!("{} {}", order.amount.get(), printable(order.customer.id.as_str()))),
            trace: event.trace_context.trace_id().map(str::to_owned),
        }
    }
}

/// Writes until the end, or until nobody takes it.
fn write(messages: &Receiver<Message>, left_out: &AtomicU64, mut out: impl Write, style: Style) -> std::io::Result<()> {
    let mut told = Told::default();
    for message in messages {
        let Message::Step(step) = message else { return Ok(()) };
        let missing = left_out.swap(0, Ordering::Relaxed);
        if missing > 0 {
            writeln!(out, "… {missing} steps are not shown: they came faster than they could be written")?;
        }
        if let Some(later) = told.tell(&step) {
            let detail = step.detail.or_else(|| later.map(elapsed)).unwrap_or_default();
            let line = Line {
                at: step.at,
                order: step.order,
                what: &step.event.as_str().replace('.', " "),
                detail: &detail,
                trace: step.trace.as_deref(),
                tone: Tone::of(step.event),
            };
            writeln!(out, "{}", line.text(&Local, style))?;
            out.flush()?;
        }
    }
    Ok(())
}

/// What was told of the latest orders.
struct Told(LruCache<Uuid, OfOrder>);

/// What was told of an order: each thing happens to it once.
struct OfOrder {
    events: Vec<EventType>,
    last: DateTime<Utc>,
}

impl Default for Told {
    fn default() -> Self {
        Self(LruCache::new(ORDERS))
    }
}

impl Told {
    /// None if it was told before: events may come twice. Else how long after the step before it this one happened.
    fn tell(&mut self, step: &Step) -> Option<Option<TimeDelta>> {
        let Some(known) = self.0.get_mut(&step.order) else {
            self.0.put(step.order, OfOrder { events: vec![step.event], last: step.at });
            return Some(None);
        };
        if known.events.contains(&step.event) {
            return None;
        }
        let later = step.at - known.last;
        known.events.push(step.event);
        known.last = known.last.max(step.at);
        Some(Some(later.max(TimeDelta::zero())))
    }
}

/// How a step is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Begins,
    Goes,
    Succeeds,
    Ends,
}

impl Tone {
    fn of(event: EventType) -> Self {
        match event {
            EventType::OrderCreated => Self::Begins,
            EventType::InvoiceIssued => Self::Goes,
            EventType::InvoicePaid | EventType::OrderPaid => Self::Succeeds,
            EventType::OrderCanceled
            | EventType::InvoiceVoided
            | EventType::InvoiceRefunded
            | EventType::InvoiceRejected => Self::Ends,
        }
    }

    /// The parameters of "select graphic rendition": bold, yellow, green, magenta. The colours of the terminal's own
    /// theme, which are readable on its background.
    fn sgr(self) -> &'static str {
        match self {
            Self::Begins => "1",
            Self::Goes => "33",
            Self::Succeeds => "32",
            Self::Ends => "35",
        }
    }
}

/// A line.
pub(crate) struct Line<'a> {
    pub(crate) at: DateTime<Utc>,
    pub(crate) order: Uuid,
    pub(crate) what: &'a str,
    pub(crate) detail: &'a str,
    pub(crate) trace: Option<&'a str>,
    pub(crate) tone: Tone,
}

/// The columns: as wide as the longest event, and as most amounts with their customers.
const WHAT: usize = 16;
const DETAIL: usize = 22;

impl Line<'_> {
    /// The line, at most 101 columns wide, its time in `zone`.
    pub(crate) fn text(&self, zone: &impl TimeZone<Offset: std::fmt::Display>, style: Style) -> String {
        let at = self.at.with_timezone(zone).format("%H:%M:%S");
        let id = self.order.simple().to_string();
        // The end of the id, as in the console: the beginning is a time, and alike in orders of the same moment.
        let order = &id[id.len() - 8..];
        let (what, detail) = (self.what, shortened(self.detail));
        let trace = self.trace.map(|trace| format!("trace {trace}")).unwrap_or_default();
        match style {
            Style::Plain => {
                let line = format!("{at}  …{order}  {what:WHAT$}  {detail:DETAIL$}  {trace}");
                line.trim_end().to_owned()
            }
            Style::Colour => {
                let sgr = self.tone.sgr();
                format!(
                    "\x1b[2m{at}\x1b[0m  …{order}  \x1b[{sgr}m{what:WHAT$}\x1b[0m  {detail:DETAIL$}  \x1b[2m{trace}\x1b[0m"
                )
            }
        }
    }
}

fn shortened(detail: &str) -> String {
    match detail.char_indices().nth(DETAIL) {
        None => detail.to_owned(),
        Some(_) => detail.chars().take(DETAIL - 1).chain(['…']).collect(),
    }
}

/// What a customer is called, without the characters by which text could disturb the terminal, e.g. turn its direction.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_ascii_graphic() { vec![c] } else { c.escape_debug().collect() }).collect()
}

/// From milliseconds to hours, as the console says it.
fn elapsed(later: TimeDelta) -> String {
    let milliseconds = later.num_milliseconds();
    match milliseconds {
        ..1000 => format!("+{milliseconds} ms"),
        1000..60_000 => format!("+{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        60_000..3_600_000 => format!("+{} min", later.num_minutes()),
        _ => format!("+{} h", later.num_hours()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn step(order: u128, event: EventType, at: i64) -> Step {
        Step {
            order: Uuid::from_u128(order),
            event,
            at: DateTime::from_timestamp_millis(at).unwrap(),
            detail: (event == EventType::OrderCreated).then(|| "1999 ada".to_owned()),
            trace: Some("8b246fb1a673bd15ec08cd33a0ef07f6".to_owned()),
        }
    }

    fn written(steps: Vec<Step>, style: Style) -> String {
        let (sender, receiver) = mpsc::sync_channel(steps.len() + 1);
        steps.into_iter().for_each(|step| sender.send(Message::Step(step)).unwrap());
        sender.send(Message::End).unwrap();
        let mut out = Vec::new();
        write(&receiver, &AtomicU64::new(0), &mut out, style).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn line(step: &Step, detail: &str, style: Style) -> String {
        let what = step.event.as_str().replace('.', " ");
        let trace = step.trace.as_deref();
        let tone = Tone::of(step.event);
        Line { at: step.at, order: step.order, what: &what, detail, trace, tone }.text(&Utc, style)
    }

    #[test]
    fn a_line_has_its_columns() {
        let mut step = step(0x168f_f5c4, EventType::InvoiceIssued, 50_463_000);
        assert_eq!(
            line(&step, "+5 ms", Style::Plain),
            "14:01:03  …168ff5c4  invoice issued    +5 ms                   trace 8b246fb1a673bd15ec08cd33a0ef07f6"
        );
        assert_eq!(
            line(&step, "+5 ms", Style::Colour),
            "\x1b[2m14:01:03\x1b[0m  …168ff5c4  \x1b[33minvoice issued  \x1b[0m  +5 ms                   \x1b[2mtrace \
             8b246fb1a673bd15ec08cd33a0ef07f6\x1b[0m"
        );
        step.trace = None;
        assert_eq!(line(&step, "+5 ms", Style::Plain), "14:01:03  …168ff5c4  invoice issued    +5 ms");
        // However long a customer is called, and whatever is in it.
        let long = line(&step, &format!("1999 {}", printable(&"客".repeat(255))), Style::Plain);
        assert_eq!(long, "14:01:03  …168ff5c4  invoice issued    1999 客客客客客客客客客客客客客客客客…");
        assert_eq!(printable("O'Hara \u{202e}adA"), "O'Hara \\u{202e}adA");
    }

    #[test]
    fn each_step_is_told_once_with_the_time_since_the_one_before() {
        let created = step(1, EventType::OrderCreated, 1_000);
        let text = written(
            vec![
                created.clone(),
                step(2, EventType::OrderCreated, 1_001),
                step(1, EventType::InvoiceIssued, 1_005),
                created,
                step(1, EventType::InvoicePaid, 7_105),
                step(1, EventType::OrderPaid, 7_110),
                step(1, EventType::InvoicePaid, 7_105),
                step(1, EventType::OrderCanceled, 3_607_110),
            ],
            Style::Plain,
        );
        let told: Vec<String> = text.lines().map(|line| line.chars().skip(10).take(42).collect()).collect();
        let told: Vec<&str> = told.iter().map(|line| line.trim_end()).collect();
        assert_eq!(
            told,
            [
                "…00000001  order created     1999 ada",
                "…00000002  order created     1999 ada",
                "…00000001  invoice issued    +5 ms",
                "…00000001  invoice paid      +6.1 s",
                "…00000001  order paid        +5 ms",
                "…00000001  order canceled    +1 h",
            ]
        );
    }

    #[tokio::test]
    async fn a_terminal_that_does_not_move_holds_up_nothing() {
        use std::io;

        /// As a terminal after Ctrl+S: the first write never ends.
        struct Stuck(Arc<AtomicBool>);
        impl Write for Stuck {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0.store(true, Ordering::SeqCst);
                loop {
                    thread::park();
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let bus = messaging::in_process::InProcessBus::new();
        let mut steps = Steps::of(&bus);
        let began = Arc::new(AtomicBool::new(false));
        steps.tell(Stuck(Arc::clone(&began)), Style::Plain);
        let event = |number: usize| EventEnvelope {
            id: Uuid::new_v4(),
            event_type: EventType::OrderCanceled,
            source: "orders".into(),
            aggregate_id: Uuid::from_u128(number as u128),
            event_no: 2,
            order_id: Uuid::from_u128(number as u128),
            occurred_at: contracts::now() + TimeDelta::seconds(1),
            trace_context: contracts::TraceContext::default(),
            asks: false,
            body: bytes::Bytes::from_static(b"{}"),
        };
        for number in 0..BACKLOG + 10 {
            steps.sender.event(&event(number));
        }
        assert!(steps.sender.left_out.load(Ordering::Relaxed) >= 9);
        testkit::eventually("it writes", || async { began.load(Ordering::SeqCst).then_some(()) }).await;
        timeout(LAST_LINES * 20, steps.stop()).await.unwrap();
    }

    #[test]
    fn what_was_left_out_is_counted() {
        let (sender, receiver) = mpsc::sync_channel(2);
        sender.send(Message::Step(step(1, EventType::OrderPaid, 1))).unwrap();
        sender.send(Message::End).unwrap();
        let mut out = Vec::new();
        write(&receiver, &AtomicU64::new(3), &mut out, Style::Plain).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("… 3 steps are not shown"), "{text}");
    }
}
