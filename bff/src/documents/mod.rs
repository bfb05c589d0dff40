//! Where the document of a request comes from: its text, or a hash under which the text is known.
//!
//! Clients may send the hash alone (automatic persisted queries) and add the text when it is not known. With a list of
//! trusted documents, nothing else runs. Whichever way a document came, it has passed the guard and is parsed once, and
//! what kind of operation it holds is looked at afterwards: a mutation does not pass a GET by being a hash.

mod document;
mod hash;
mod known;
mod persisted;
mod trusted;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_graphql::{Request, ServerError};

use crate::guard::Guard;
pub(crate) use document::Document;
use hash::DocumentHash;
use known::Known;
use persisted::PersistedQuery;
use trusted::Trusted;

/// The documents that may run.
#[derive(Debug)]
pub(crate) enum Documents {
    /// Any that passes the guard; those that were used lately are known by their hash.
    Any { guard: Guard, known: Mutex<Known> },
    /// Those on a list.
    Trusted(Trusted),
}

impl Documents {
    /// All documents within the limits.
    pub(crate) fn any(guard: Guard) -> Self {
        Self::Any { guard, known: Mutex::default() }
    }

    /// The documents of a manifest, and no others.
    ///
    /// # Errors
    /// What is wrong with the file, naming it and the document at fault.
    pub(crate) fn trusted(manifest: &Path, guard: &Guard) -> anyhow::Result<Self> {
        Trusted::read(manifest, guard).map(Self::Trusted)
    }

    /// The names of all operations that may run, where that is known.
    pub(crate) fn operation_names(&self) -> BTreeSet<String> {
        match self {
            Self::Any { .. } => BTreeSet::new(),
            Self::Trusted(trusted) => trusted.operation_names(),
        }
    }

    /// The document of a request.
    ///
    /// # Errors
    /// What the guard and the parser say; `PERSISTED_QUERY_NOT_FOUND` for a hash that is not known (a client sends the
    /// text then); `PERSISTED_QUERY_NOT_IN_LIST` and `QUERY_NOT_IN_LIST` for what is not trusted.
    pub(crate) fn find(&self, request: &Request) -> Result<Arc<Document>, ServerError> {
        let persisted = PersistedQuery::of(request)?;
        match (self, persisted) {
            (Self::Trusted(trusted), Some(persisted)) if request.query.is_empty() => trusted.by_id(&persisted.id),
            (Self::Trusted(trusted), _) => trusted.by_text(&request.query),
            (Self::Any { known, .. }, Some(persisted)) if request.query.is_empty() => {
                let found = persisted.hash().and_then(|hash| lock(known).get(&hash));
                found.ok_or_else(persisted::not_found)
            }
            (Self::Any { guard, known }, persisted) => {
                // Before the hash is made: it takes time for each byte.
                guard.bytes(&request.query)?;
                let hash = DocumentHash::of(&request.query);
                if persisted.is_some_and(|persisted| persisted.hash() != Some(hash)) {
                    return Err(persisted::mismatch());
                }
                if let Some(document) = lock(known).get(&hash) {
                    return Ok(document);
                }
                let document = Arc::new(Document::check(&request.query, guard)?);
                lock(known).insert(hash, &request.query, &document);
                Ok(document)
            }
        }
    }
}

fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
