//! Trusted documents: the operations of our own clients, extracted when these are built. With such a list, no stranger
//! can make the API do work that nobody has looked at.
//!
//! Two formats of the manifest: Apollo's (`{"format": "apollo-persisted-query-manifest", "version": 1, "operations":
//! [{"id", "body", …}]}`) and a plain map from a name, as a rule the hash, to the text.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use async_graphql::ServerError;
use chassis::graphql::request_error;
use serde::Deserialize;
use serde_json::Value;

use super::{document::Document, hash::DocumentHash};
use crate::guard::Guard;

/// The documents of a manifest.
#[derive(Debug)]
pub(crate) struct Trusted {
    by_id: HashMap<String, Arc<Document>>,
    by_text: HashMap<DocumentHash, Arc<Document>>,
}

/// The format of Apollo's tools.
#[derive(Deserialize)]
struct ApolloManifest {
    version: u32,
    operations: Vec<ApolloOperation>,
}

#[derive(Deserialize)]
struct ApolloOperation {
    id: String,
    body: String,
}

const APOLLO_FORMAT: &str = "apollo-persisted-query-manifest";

impl Trusted {
    /// Reads a manifest. Each of its documents must pass the guard, like everybody's.
    ///
    /// # Errors
    /// What is wrong, naming the file and the document at fault.
    pub(super) fn read(path: &Path, guard: &Guard) -> Result<Self> {
        let read = || Self::parse(&fs::read_to_string(path)?, guard);
        read().with_context(|| format!("cannot use the trusted documents of {}", path.display()))
    }

    fn parse(text: &str, guard: &Guard) -> Result<Self> {
        let mut trusted = Self { by_id: HashMap::new(), by_text: HashMap::new() };
        for (id, text) in entries(text)? {
            let document =
                Document::check(&text, guard).map_err(|error| anyhow!("the document {id:?}: {}", error.message))?;
            // A name that looks like a hash and is another's would run something else than its client asked for.
            let hash = DocumentHash::of(&text);
            if DocumentHash::parse(&id).is_some_and(|named| named != hash) {
                bail!("the document {id:?} has another SHA-256 than its name says");
            }
            let document = Arc::new(document);
            trusted.by_text.insert(hash, Arc::clone(&document));
            if trusted.by_id.insert(id.clone(), document).is_some() {
                bail!("the document {id:?} is there twice");
            }
        }
        ensure!(!trusted.by_id.is_empty(), "there is no document in it, so nothing could run");
        Ok(trusted)
    }

    pub(super) fn operation_names(&self) -> BTreeSet<String> {
        let operations = self.by_text.values().flat_map(|document| document.executable.operations.iter());
        operations.filter_map(|(name, _)| name.map(ToString::to_string)).collect()
    }

    /// The document of this name.
    pub(super) fn by_id(&self, id: &str) -> Result<Arc<Document>, ServerError> {
        self.by_id.get(id).cloned().ok_or_else(|| {
            request_error("PERSISTED_QUERY_NOT_IN_LIST", "there is no trusted document of this name", None)
        })
    }

    /// The document with this text.
    pub(super) fn by_text(&self, text: &str) -> Result<Arc<Document>, ServerError> {
        self.by_text.get(&DocumentHash::of(text)).cloned().ok_or_else(|| {
            request_error("QUERY_NOT_IN_LIST", "only trusted documents run here, and this is none of them", None)
        })
    }
}

/// The names and texts of a manifest, in either format.
fn entries(text: &str) -> Result<Vec<(String, String)>> {
    let manifest: Value = serde_json::from_str(text).context("it is not JSON")?;
    let Value::Object(map) = manifest else { bail!("it must be a JSON object") };
    // In a plain map every value is a text.
    if map.get("operations").is_some_and(Value::is_array) {
        let format = map.get("format").and_then(Value::as_str).unwrap_or("none");
        ensure!(format == APOLLO_FORMAT, "its format must be {APOLLO_FORMAT:?}, not {format:?}");
        let manifest: ApolloManifest = serde_json::from_value(Value::Object(map))?;
        ensure!(manifest.version == 1, "its version must be 1, not {}", manifest.version);
        return Ok(manifest.operations.into_iter().map(|operation| (operation.id, operation.body)).collect());
    }
    let entry = |(id, text)| match text {
        Value::String(text) => Ok((id, text)),
        _ => bail!("{id:?} must be the text of a document; or is an Apollo manifest without operations meant?"),
    };
    map.into_iter().map(entry).collect()
}
