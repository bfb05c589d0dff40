//! The readers that somebody uses now: one for each token and selection. What one caller was answered is never shown to
//! another, also where both have selected the same.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use chassis::identity::Caller;

use super::reader::Reader;
use crate::selection::Selection;

type Known = HashMap<(Caller, Selection), Weak<Reader>>;

#[derive(Default)]
pub(super) struct Readers(Mutex<Known>);

impl Readers {
    /// The reader of `caller` for `selection`, or a new one from `make`.
    pub(super) fn get_or_insert(
        &self,
        caller: &Caller,
        selection: Selection,
        make: impl FnOnce(Caller, Selection) -> Reader,
    ) -> Arc<Reader> {
        let mut known = self.lock();
        let key = (caller.clone(), selection);
        if let Some(reader) = known.get(&key).and_then(Weak::upgrade) {
            return reader;
        }
        let reader = Arc::new(make(key.0.clone(), key.1.clone()));
        known.insert(key, Arc::downgrade(&reader));
        reader
    }

    /// Everybody who subscribes now, each once.
    pub(super) fn callers(&self) -> HashSet<Caller> {
        self.lock().keys().map(|(caller, _)| caller.clone()).collect()
    }

    /// Without those that nobody uses any more.
    fn lock(&self) -> MutexGuard<'_, Known> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, reader| reader.strong_count() > 0);
        known
    }
}
