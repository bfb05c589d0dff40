//! The saga on its real stores: random histories against the pure functions.
//!
//! A history is what clients, the network and crashes may do: requests, also repeated and of orders that nobody has;
//! windows of the outboxes that leave whole, in part, or twice; batches in any order, old messages among them, whose
//! acknowledgement may be lost; transactions that are cut off, or run beside each other. After each step both
//! databases must hold what the model says, row by row; at the end everything is delivered, and then once more.
//!
//! A failing history is shortened to a few steps, and its seed goes to `proptest-regressions/`: commit it.
//! `PROPTEST_CASES=10000` searches longer.

mod history;
mod invariants;
mod model;
mod rows;
mod steps;
mod system;
mod wire;

use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::Ordering},
};

use contracts::{EventType, topology::QUEUES};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner},
};
use proptest_state_machine::ReferenceStateMachine;

use history::Histories;
use model::Model;
use steps::{Action, Asked, Fact, LIMIT, Label, Side, Step};
use system::{Run, System};

/// Histories in a plain run of the tests: some seconds.
const CASES: u32 = 32;
/// The longest history, the deliveries at its end not counted.
const STEPS: usize = 40;

#[test]
fn the_stores_follow_the_model_through_any_history() {
    let (runtime, system) = started();
    let seen = Mutex::new(Seen::default());
    let config = Config {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { CASES },
        // Every try at a shorter history is a whole run.
        max_shrink_iters: 2000,
        failure_persistence: Some(Box::new(FileFailurePersistence::default())),
        source_file: Some(file!()),
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&Histories::sequential_strategy(1..=STEPS), |(_, steps, counter)| {
        let progress = |done: usize| {
            if let Some(counter) = &counter {
                counter.store(done, Ordering::SeqCst);
            }
        };
        let history = runtime.block_on(run(&system, &steps, progress)).map_err(TestCaseError::fail)?;
        seen.lock().unwrap().add(&history);
        Ok(())
    });
    if let Err(TestError::Fail(reason, (_, steps, _))) = result {
        let steps: Vec<String> = steps.iter().map(|step| format!("  {step:?}\n")).collect();
        panic!("after this history:\n{}{reason}", steps.concat());
    }
    result.unwrap();
    let seen = seen.into_inner().unwrap();
    eprintln!("{} histories: {seen:?}", runner.config().cases);
    assert!(seen.redelivered > 0, "a run without duplicates proves nothing");
}

/// The databases of one test, and a runtime for it: the runner of the properties is not asynchronous.
fn started() -> (tokio::runtime::Runtime, System) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let system = runtime.block_on(System::start());
    (runtime, system)
}

/// What the histories of a run went through.
#[derive(Debug, Default)]
struct Seen {
    orders: usize,
    redelivered: usize,
    /// Transactions that were cut off: rolled back, committed without an answer, or too late to matter.
    cut_off: [usize; 3],
    /// Pairs at once of which the second one was first.
    swapped: usize,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.orders += other.orders;
        self.redelivered += other.redelivered;
        self.swapped += other.swapped;
        self.cut_off.iter_mut().zip(other.cut_off).for_each(|(sum, more)| *sum += more);
    }
}

/// Runs one history, delivers everything, and then everything once more.
async fn run(system: &System, steps: &[Step], progress: impl Fn(usize)) -> Result<Seen, String> {
    let mut history = History { run: Run::start(system).await, model: Model::default(), seen: Seen::default() };
    for (done, step) in steps.iter().enumerate() {
        progress(done + 1);
        history.step(step).await?;
    }
    history.settle().await?;
    let settled = history.model.rows.clone();
    for queue in QUEUES {
        let facts = history.model.network.keys().rev().copied();
        let again = facts.filter(|fact| fact.queue().is_some_and(|of| of == queue)).collect();
        history.step(&Step::Do(Action::Deliver(again))).await?;
    }
    if history.model.rows != settled {
        return Err("something moved when old messages came again".to_owned());
    }
    history.seen.orders = settled.orders.len();
    history.seen.redelivered = history.run.redelivered;
    Ok(history.seen)
}

struct History<'a> {
    run: Run<'a>,
    model: Model,
    seen: Seen,
}

impl History<'_> {
    /// Takes a step, and finds the outcome of the model that the stores are in.
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        let answers = self.run.perform(step).await.map_err(|error| format!("{step:?}: {error}"))?;
        let rows = rows::read(self.run.system, &self.run.labels).await.map_err(|error| format!("{step:?}: {error}"))?;
        invariants::moved_forward(&self.model.rows, &rows).map_err(|error| format!("{step:?}: {error}"))?;
        invariants::told_one_story(&rows, &self.run).map_err(|error| format!("{step:?}: {error}"))?;

        let outcomes = self.model.outcomes(step);
        let found = outcomes.iter().position(|(model, expected)| model.rows == rows && *expected == answers);
        let Some(found) = found else {
            let outcomes = outcomes.iter().map(|(model, expected)| {
                let differences = model.rows.differences(&rows);
                format!("expected the answers {expected:?} and\n{differences}")
            });
            let outcomes: Vec<String> = outcomes.collect();
            return Err(format!("{step:?} answered {answers:?}; {}", outcomes.join("or ")));
        };
        match step {
            Step::CutOff(..) => self.seen.cut_off[2 - found] += 1,
            Step::Together(..) => self.seen.swapped += found,
            _ => {}
        }
        self.model = outcomes.into_iter().nth(found).map(|(model, _)| model).unwrap_or_default();
        Ok(())
    }

    /// Relays and delivers until nothing is left, then checks what must hold in the end.
    async fn settle(&mut self) -> Result<(), String> {
        // An order of life, and a margin: created, issued, paid, canceled, refunded.
        for _ in 0..10 {
            for side in [Side::Orders, Side::Invoices] {
                self.step(&Step::Relay(side, vec![])).await?;
            }
            let batches = QUEUES.map(|queue| self.model.pending(queue));
            if batches.iter().all(Vec::is_empty) {
                return invariants::settled(&self.model.rows, &self.run);
            }
            for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
                self.step(&Step::Do(Action::Deliver(batch))).await?;
            }
        }
        Err("it does not come to rest".to_owned())
    }
}

/// What the search came up with when the tombstone, the rank, the de-duplication, the number of an event, or the answer
/// to a key used twice was taken away.
#[test]
fn the_shortest_histories_of_known_mistakes() {
    let order = Label(0);
    let place = |label, amount| Action::Place(label, Asked { amount, customer: "ada", key: Some("a") });
    let deliver = |events: &[EventType]| Action::Deliver(events.iter().map(|&event| Fact { order, event }).collect());
    let leave = |side| Step::Relay(side, vec![]);
    use EventType::{InvoiceIssued, InvoicePaid, OrderCanceled, OrderCreated};
    use Step::Do;

    let overtaken = vec![
        Do(place(order, LIMIT)),
        Do(Action::Cancel(order)),
        leave(Side::Orders),
        Do(deliver(&[OrderCanceled])),
        Do(Action::Pay(order)),
        Do(deliver(&[OrderCreated])),
    ];
    let paid_and_canceled = vec![
        Do(place(order, LIMIT)),
        leave(Side::Orders),
        Step::Together(deliver(&[OrderCreated]), Action::Cancel(order)),
        Do(Action::Pay(order)),
        leave(Side::Invoices),
        Do(deliver(&[InvoicePaid, InvoiceIssued])),
    ];
    let left_twice = vec![
        Do(place(order, LIMIT)),
        Step::RelayDies(Side::Orders, vec![]),
        Step::Unacknowledged(vec![Fact { order, event: OrderCreated }]),
        leave(Side::Orders),
        Do(deliver(&[OrderCreated, OrderCreated])),
    ];
    let one_key_twice = vec![
        Step::CutOff(place(order, LIMIT), 4),
        Do(place(Label(1), LIMIT)),
        Step::Together(place(Label(2), LIMIT), place(Label(3), LIMIT + 1)),
    ];
    let (runtime, system) = started();
    for history in [overtaken, paid_and_canceled, left_twice, one_key_twice] {
        if let Err(reason) = runtime.block_on(run(&system, &history, |_| {})) {
            panic!("{history:#?}\n{reason}");
        }
    }
}

/// Without this the property above could be true of little.
#[test]
fn the_histories_go_everywhere() {
    let mut runner = TestRunner::deterministic();
    let strategy = Histories::sequential_strategy(STEPS);
    let mut pairs: BTreeMap<String, usize> = BTreeMap::new();
    let mut tombstones = 0;
    for _ in 0..200 {
        let (mut model, steps, _) = strategy.new_tree(&mut runner).unwrap().current();
        for step in &steps {
            model = model.after(step);
            let is_tombstone = |row: &model::InvoiceRow| row.content.is_none();
            tombstones += usize::from(model.rows.invoices.values().any(is_tombstone));
        }
        for (label, order) in &model.rows.orders {
            let invoice = model.rows.invoices.get(label).map(|row| row.state);
            *pairs.entry(format!("{:?} {invoice:?}", order.state)).or_default() += 1;
        }
    }
    assert!(pairs.len() >= 20 && tombstones > 20, "{pairs:#?}, tombstones in {tombstones} steps");
}
