//! The ledger: what the clients asked for and what they were told, outside the system, in a file of its own.
//!
//! Invariant: nobody acts on an answer before its line is on the disk. Many clients share one fsync.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::mpsc,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Line {
    /// An order is about to be asked for.
    Asked { key: String, amount: i64, customer: String },
    /// 201.
    Placed { key: String, id: Uuid },
    /// An answer that says no.
    Refused { key: String, status: u16 },
    /// No answer, or one that says nothing: it is asked again with the same key.
    Unknown { key: String, why: String },
    /// The payment of an order was accepted.
    Paid { order: Uuid },
    /// It was refused.
    PayRefused { order: Uuid },
    /// The cancellation of an order was accepted.
    Canceled { order: Uuid },
}

type Entry = (Line, oneshot::Sender<()>);

/// The writing end. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    entries: mpsc::Sender<Entry>,
    path: PathBuf,
}

impl Ledger {
    /// A new file.
    pub(crate) fn create(path: PathBuf) -> anyhow::Result<Self> {
        let file = File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let (entries, received) = mpsc::channel();
        std::thread::spawn(move || write_all(file, &received));
        Ok(Self { entries, path })
    }

    /// Writes a line; returns when it is on the disk.
    pub(crate) async fn write(&self, line: Line) -> anyhow::Result<()> {
        let (done, on_disk) = oneshot::channel();
        self.entries.send((line, done)).ok().context("the ledger is closed")?;
        on_disk.await.context("the ledger cannot be written")
    }

    /// Reads back what the disk has.
    pub(crate) fn read(&self) -> anyhow::Result<Book> {
        Book::read(&self.path)
    }
}

/// A failure to write ends the thread: every later `write` then fails, and the run with it.
fn write_all(mut file: File, received: &mpsc::Receiver<Entry>) {
    while let Ok(first) = received.recv() {
        let mut text = Vec::new();
        let mut waiting = Vec::new();
        for (line, done) in std::iter::once(first).chain(received.try_iter()) {
            if serde_json::to_writer(&mut text, &line).is_err() {
                return;
            }
            text.push(b'\n');
            waiting.push(done);
        }
        if file.write_all(&text).and_then(|()| file.sync_data()).is_err() {
            return;
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}

/// What was asked under a key, and every id that was answered: one, if all is well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) amount: i64,
    pub(crate) customer: String,
    pub(crate) ids: BTreeSet<Uuid>,
    pub(crate) refused: bool,
}

/// The ledger as it was read back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    pub(crate) asks: BTreeMap<String, Ask>,
    pub(crate) paid: BTreeSet<Uuid>,
    pub(crate) pay_refused: BTreeSet<Uuid>,
    pub(crate) canceled: BTreeSet<Uuid>,
    pub(crate) unknown: usize,
}

impl Book {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let mut book = Self::default();
        for line in BufReader::new(File::open(path)?).lines() {
            book.enter(serde_json::from_str(&line?)?);
        }
        Ok(book)
    }

    /// Takes in a line.
    pub(crate) fn enter(&mut self, line: Line) {
        match line {
            Line::Asked { key, amount, customer } => {
                let ask = self.asks.entry(key).or_default();
                (ask.amount, ask.customer) = (amount, customer);
            }
            Line::Placed { key, id } => {
                self.asks.entry(key).or_default().ids.insert(id);
            }
            Line::Refused { key, .. } => self.asks.entry(key).or_default().refused = true,
            Line::Unknown { .. } => self.unknown += 1,
            Line::Paid { order } => {
                self.paid.insert(order);
            }
            Line::PayRefused { order } => {
                self.pay_refused.insert(order);
            }
            Line::Canceled { order } => {
                self.canceled.insert(order);
            }
        }
    }
}
