//! Histories: what clients, the network and crashes do, made up along the model so that each step has something to
//! work on.

use contracts::topology::QUEUES;
use proptest::{
    prelude::*,
    sample::{select, subsequence},
};
use proptest_state_machine::ReferenceStateMachine;

use super::{
    model::Model,
    steps::{Action, Asked, Fact, LIMIT, Label, Message, NOBODYS, Side, Step},
};

/// The most orders in a history. A relay on PostgreSQL takes eight lanes at once, and an order has one: so its window
/// is always the whole outbox, as the model says.
const ORDERS: usize = 6;
/// How far a transaction may come before it is cut off. The longest takes fewer polls.
const POLLS: usize = 12;

/// The generator of histories.
#[derive(Debug)]
pub(super) struct Histories;

impl ReferenceStateMachine for Histories {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::default()).boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Step> {
        prop_oneof![
            6 => action(model).prop_map(Step::Do),
            1 => (action(model), 0..POLLS).prop_map(|(action, polls)| Step::CutOff(action, polls)),
            1 => (action(model), action(model)).prop_map(together),
            1 => batch(model).prop_map(Step::Unacknowledged),
            2 => relay(model).prop_map(|(side, _)| Step::Relay(side, vec![])),
            1 => relay(model).prop_map(|(side, lost)| Step::Relay(side, lost)),
            1 => relay(model).prop_map(|(side, lost)| Step::RelayDies(side, lost)),
            2 => relay(model).prop_map(|(side, lost)| Step::Vanish(side, lost)),
        ]
        .boxed()
    }

    fn apply(model: Model, step: &Step) -> Model {
        model.after(step)
    }
}

fn action(model: &Model) -> BoxedStrategy<Action> {
    let label = label(model);
    let mut actions = vec![
        (2, label.clone().prop_map(Action::Cancel).boxed()),
        (2, label.prop_map(Action::Pay).boxed()),
        (2, select(Side::BOTH.to_vec()).prop_map(Action::Reconcile).boxed()),
        (if model.network.is_empty() { 1 } else { 6 }, batch(model).prop_map(Action::Deliver).boxed()),
    ];
    if model.asked < ORDERS {
        let label = Label(model.asked);
        actions.push((3, asked().prop_map(move |asked| Action::Place(label, asked)).boxed()));
    }
    proptest::strategy::Union::new_weighted(actions).boxed()
}

fn together((one, other): (Action, Action)) -> Step {
    let other = match (&one, other) {
        (Action::Place(Label(first), _), Action::Place(_, asked)) => Action::Place(Label(first + 1), asked),
        // How two passes of one service share what is due is the business of their locks.
        (Action::Reconcile(side), Action::Reconcile(_)) => Action::Reconcile(side.other()),
        (_, other) => other,
    };
    Step::Together(one, other)
}

fn asked() -> impl Strategy<Value = Asked> {
    let key = prop_oneof![2 => Just(None), 3 => select(vec!["a", "b"]).prop_map(Some)];
    (select(vec![LIMIT, 1, LIMIT + 1]), select(vec!["ada", "bob"]), key).prop_map(|(amount, customer, key)| Asked {
        amount,
        customer,
        key,
    })
}

fn label(model: &Model) -> BoxedStrategy<Label> {
    let placed: Vec<Label> = model.rows.orders.keys().copied().collect();
    match placed.is_empty() {
        true => Just(NOBODYS).boxed(),
        false => prop_oneof![15 => select(placed), 1 => Just(NOBODYS)].boxed(),
    }
}

/// Some messages of one queue in any order, old ones among them, now and then one of them twice.
fn batch(model: &Model) -> BoxedStrategy<Vec<Message>> {
    let queues = QUEUES.map(|queue| -> Vec<Message> {
        model.network.keys().filter(|message| message.queue().is_some_and(|of| of == queue)).copied().collect()
    });
    let queues: Vec<Vec<Message>> = queues.into_iter().filter(|messages| !messages.is_empty()).collect();
    if queues.is_empty() {
        return Just(vec![]).boxed();
    }
    select(queues)
        .prop_flat_map(|messages| {
            let again = prop::option::weighted(0.2, select(messages.clone()));
            (subsequence(messages.clone(), 1..=messages.len()).prop_shuffle(), again)
        })
        .prop_map(|(mut batch, again)| {
            batch.extend(again);
            batch
        })
        .boxed()
}

/// One of the outboxes, if possible one with something in it, and some of what is in it.
fn relay(model: &Model) -> impl Strategy<Value = (Side, Vec<Fact>)> + use<> {
    let windows = Side::BOTH.map(|side| -> (Side, Vec<Fact>) {
        (side, model.rows.outbox.keys().filter(|fact| fact.side() == side).copied().collect())
    });
    let full: Vec<_> = windows.iter().filter(|(_, window)| !window.is_empty()).cloned().collect();
    select(if full.is_empty() { windows.to_vec() } else { full })
        .prop_flat_map(|(side, window)| (Just(side), subsequence(window.clone(), 0..=window.len())))
}
