//! The saga on its real stores: random histories against the pure functions.
//!
//! A history is what clients, the network and crashes may do: requests, also repeated and of orders that nobody has;
//! windows of the outboxes that leave whole, in part, or twice, or that the bus takes and loses; batches in any order,
//! old messages among them, whose acknowledgement may be lost; passes of the reconcilers; transactions that are cut off,
//! or run beside each other. After each step both databases must hold what the model says, row by row. At the end
//! everything is delivered, what was lost is asked for, and then everything comes once more.
//!
//! A failing history is shortened to a few steps, and its seed goes to `proptest-regressions/`: commit it.
//! `PROPTEST_CASES=10000` searches longer.

mod asking;
mod history;
mod invariants;
mod model;
mod rows;
mod run;
mod steps;
mod system;
mod wire;

use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::Ordering},
};

use contracts::EventType;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner},
};
use proptest_state_machine::ReferenceStateMachine;

use history::Histories;
use run::{Seen, run};
use steps::{Action, Asked, Fact, LIMIT, Label, Message, Side, Step};
use system::System;

/// Histories in a plain run of the tests: some seconds.
const CASES: u32 = 20;
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
    assert!(seen.vanished > 0, "a run without losses proves nothing");
}

/// The databases of one test, and a runtime for it: the runner of the properties is not asynchronous.
fn started() -> (tokio::runtime::Runtime, System) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let system = runtime.block_on(System::start());
    (runtime, system)
}

/// What the search came up with when the tombstone, the rank, the de-duplication, the number of an event, or the answer
/// to a key used twice was taken away; or when the reconcilers left out canceled orders or tombstones, gave the wrong
/// number to what they said again, or when answers asked or came without a question.
#[test]
fn the_shortest_histories_of_known_mistakes() {
    let order = Label(0);
    let place = |label, amount| Action::Place(label, Asked { amount, customer: "ada", key: Some("a") });
    let message = |event| Message { fact: Fact { order, event }, asks: false };
    let deliver = |events: &[EventType]| Action::Deliver(events.iter().map(|&event| message(event)).collect());
    let leave = |side| Step::Relay(side, vec![]);
    use EventType::{InvoiceIssued, InvoicePaid, InvoiceVoided, OrderCanceled, OrderCreated};
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
        Step::Unacknowledged(vec![message(OrderCreated)]),
        leave(Side::Orders),
        Do(deliver(&[OrderCreated, OrderCreated])),
    ];
    let one_key_twice = vec![
        Step::CutOff(place(order, LIMIT), 4),
        Do(place(Label(1), LIMIT)),
        Step::Together(place(Label(2), LIMIT), place(Label(3), LIMIT + 1)),
    ];
    let canceled_and_lost = vec![
        Do(place(order, LIMIT)),
        Do(Action::Cancel(order)),
        Step::Vanish(Side::Orders, vec![message(OrderCreated).fact, message(OrderCanceled).fact]),
        Do(Action::Reconcile(Side::Orders)),
    ];
    let question = |event| Do(Action::Deliver(vec![Message { asks: true, ..message(event) }]));
    let asked_for_nothing = vec![
        Do(place(order, LIMIT + 1)),
        leave(Side::Orders),
        Do(deliver(&[OrderCreated])),
        leave(Side::Invoices),
        Do(Action::Reconcile(Side::Orders)),
        leave(Side::Orders),
        question(OrderCreated),
        Do(Action::Cancel(order)),
        leave(Side::Orders),
        Do(deliver(&[OrderCanceled])),
    ];
    let only_its_end_is_known = vec![
        Do(place(order, LIMIT)),
        Do(Action::Cancel(order)),
        Step::Vanish(Side::Orders, vec![message(OrderCreated).fact]),
        Do(deliver(&[OrderCanceled])),
        leave(Side::Invoices),
        Do(deliver(&[InvoiceVoided])),
        Do(Action::Reconcile(Side::Invoices)),
    ];
    let canceled_after_it_was_paid = vec![
        Do(place(order, LIMIT)),
        leave(Side::Orders),
        Do(deliver(&[OrderCreated])),
        Do(Action::Pay(order)),
        leave(Side::Invoices),
        Do(deliver(&[InvoicePaid])),
        Do(Action::Cancel(order)),
        leave(Side::Orders),
        Do(Action::Reconcile(Side::Orders)),
        leave(Side::Orders),
    ];
    let known = [overtaken, paid_and_canceled, left_twice, one_key_twice];
    let lost = [canceled_and_lost, asked_for_nothing, only_its_end_is_known, canceled_after_it_was_paid];
    let (runtime, system) = started();
    for history in known.into_iter().chain(lost) {
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
