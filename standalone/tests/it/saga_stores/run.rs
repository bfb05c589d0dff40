//! One history on the stores, beside the model, to its end.

use std::collections::BTreeSet;

use contracts::topology::QUEUES;

use super::{
    invariants,
    model::{Model, Rows},
    rows,
    steps::{Action, Answer, Fact, Message, Side, Step},
    system::{Run, System},
};

/// How often both reconcilers have to look, at the most, before everything that was lost is made good: a question comes
/// with all that its sender knows, and so does its answer.
const REPAIRS: usize = 1;

/// What the histories of a run went through.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) orders: usize,
    pub(super) redelivered: usize,
    /// Messages that the bus lost.
    pub(super) vanished: usize,
    /// Histories in the end of which the reconcilers had something to repair.
    pub(super) repaired: usize,
    /// Transactions that were cut off: rolled back, committed without an answer, or too late to matter.
    cut_off: [usize; 3],
    /// Pairs at once of which the second one was first.
    swapped: usize,
}

impl Seen {
    pub(super) fn add(&mut self, other: &Self) {
        self.orders += other.orders;
        self.redelivered += other.redelivered;
        self.vanished += other.vanished;
        self.repaired += other.repaired;
        self.swapped += other.swapped;
        self.cut_off.iter_mut().zip(other.cut_off).for_each(|(sum, more)| *sum += more);
    }
}

/// Runs one history, delivers everything, has what was lost asked for, and delivers everything once more.
pub(super) async fn run(system: &System, steps: &[Step], progress: impl Fn(usize)) -> Result<Seen, String> {
    let run = Run::start(system).await;
    let mut history = History { run, model: Model::default(), told: BTreeSet::new(), seen: Seen::default() };
    for (done, step) in steps.iter().enumerate() {
        progress(done + 1);
        history.step(step).await?;
    }
    history.repair().await?;
    let settled = history.model.rows.clone();
    history.deliver_again(false).await?;
    if history.model.rows != settled {
        return Err("something moved when old messages came again".to_owned());
    }
    history.deliver_again(true).await?;
    history.settle().await?;
    if history.model.rows != settled {
        return Err("something moved when old questions came again".to_owned());
    }
    history.seen.orders = settled.orders.len();
    history.seen.redelivered = history.run.redelivered;
    history.seen.vanished = history.run.vanished;
    Ok(history.seen)
}

struct History<'a> {
    run: Run<'a>,
    model: Model,
    /// What was ever in an outbox.
    told: BTreeSet<Fact>,
    seen: Seen,
}

impl History<'_> {
    /// Takes a step, and finds the outcome of the model that the stores are in.
    async fn step(&mut self, step: &Step) -> Result<Vec<Answer>, String> {
        let answers = self.run.perform(step).await.map_err(|error| format!("{step:?}: {error}"))?;
        let rows = rows::read(self.run.system, &self.run.labels).await.map_err(|error| format!("{step:?}: {error}"))?;
        self.check(step, &rows).map_err(|error| format!("{step:?}: {error}"))?;
        self.told.extend(rows.outbox.keys());

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
            Step::Together(..) => self.seen.swapped += found % 2,
            _ => {}
        }
        self.model = outcomes.into_iter().nth(found).map(|(model, _)| model).unwrap_or_default();
        Ok(answers)
    }

    fn check(&self, step: &Step, rows: &Rows) -> Result<(), String> {
        invariants::moved_forward(&self.model.rows, rows)?;
        invariants::told_one_story(rows, &self.run)?;
        invariants::spoke_when_asked((&self.model.rows, rows), step, &self.told)
    }

    /// Relays and delivers until nothing is left.
    async fn settle(&mut self) -> Result<(), String> {
        // An order of life, and a margin: created, issued, paid, canceled, refunded.
        for _ in 0..10 {
            for side in Side::BOTH {
                self.step(&Step::Relay(side, vec![])).await?;
            }
            let batches = QUEUES.map(|queue| self.model.pending(queue));
            if batches.iter().all(Vec::is_empty) {
                return Ok(());
            }
            for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
                self.step(&Step::Do(Action::Deliver(batch))).await?;
            }
        }
        Err("it does not come to rest".to_owned())
    }

    /// Has both reconcilers ask until it changes nothing, then checks what must hold in the end.
    async fn repair(&mut self) -> Result<(), String> {
        self.settle().await?;
        for repairs in 0..=REPAIRS {
            let before = self.model.rows.clone();
            let mut overdue = 0;
            for side in Side::BOTH {
                let answers = self.step(&Step::Do(Action::Reconcile(side))).await?;
                overdue +=
                    answers.iter().map(|a| if let Answer::Asked(pass) = a { pass.overdue } else { 0 }).sum::<u64>();
            }
            self.settle().await?;
            if self.model.rows == before {
                if overdue > 0 {
                    return Err(format!("{overdue} wait for an answer that they have got"));
                }
                self.seen.repaired += usize::from(repairs > 0);
                return invariants::settled(&self.model.rows, &self.run);
            }
        }
        Err(format!("{REPAIRS} looks of both reconcilers did not make it good"))
    }

    /// Delivers what ever arrived once more, the latest first: all that asks, or all that does not.
    async fn deliver_again(&mut self, asks: bool) -> Result<(), String> {
        for queue in QUEUES {
            let of_queue = |message: &Message| message.asks == asks && message.queue().is_some_and(|of| of == queue);
            let again = self.model.network.keys().rev().copied().filter(of_queue).collect();
            self.step(&Step::Do(Action::Deliver(again))).await?;
        }
        Ok(())
    }
}
