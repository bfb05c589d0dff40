//! The documents that were used lately, parsed. Parsing takes over half of the time that a small query takes, and what
//! clients send is the same few documents again and again.

use std::sync::Arc;

use lru::LruCache;

use super::{document::Document, hash::DocumentHash};

/// How many bytes of text the documents may have together. Parsed they take about twenty times as much, so this is a
/// bound of some 20 MB, and room for two thousand documents of ordinary size.
const MAX_TEXT: usize = 1024 * 1024;

/// What the smallest document counts for, as it takes some room whatever its text.
const LEAST: usize = 128;

/// Documents by their hash. The ones that were not used for longest make room.
#[derive(Debug)]
pub(crate) struct Known {
    documents: LruCache<DocumentHash, (usize, Arc<Document>)>,
    bytes: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self { documents: LruCache::unbounded(), bytes: 0 }
    }
}

impl Known {
    /// A document that is known, which counts as used by this.
    pub(super) fn get(&mut self, hash: &DocumentHash) -> Option<Arc<Document>> {
        self.documents.get(hash).map(|(_, document)| Arc::clone(document))
    }

    /// Remembers the document with this hash and text.
    pub(super) fn insert(&mut self, hash: DocumentHash, text: &str, document: &Arc<Document>) {
        let bytes = text.len().max(LEAST);
        self.bytes += bytes;
        if let Some((before, _)) = self.documents.put(hash, (bytes, Arc::clone(document))) {
            self.bytes -= before;
        }
        while self.bytes > MAX_TEXT
            && let Some((_, (bytes, _))) = self.documents.pop_lru()
        {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Guard;

    #[test]
    fn the_documents_that_were_not_used_for_longest_make_room() {
        let mut known = Known::default();
        let document = Arc::new(Document::check("{ a }", &Guard::default()).unwrap());
        let text = |n: usize| format!("{n}{}", " ".repeat(MAX_TEXT / 4 - 1));
        for n in 0..4 {
            known.insert(DocumentHash::of(&text(n)), &text(n), &document);
        }
        assert!(known.get(&DocumentHash::of(&text(0))).is_some());
        // Again the same: nothing is counted twice.
        known.insert(DocumentHash::of(&text(3)), &text(3), &document);
        known.insert(DocumentHash::of(&text(4)), &text(4), &document);
        let there: Vec<bool> = (0..5).map(|n| known.get(&DocumentHash::of(&text(n))).is_some()).collect();
        assert_eq!(there, [true, false, true, true, true]);
        assert_eq!(known.bytes, MAX_TEXT);
    }

    #[test]
    fn tiny_documents_are_bounded_too() {
        let mut known = Known::default();
        let document = Arc::new(Document::check("{ a }", &Guard::default()).unwrap());
        for n in 0..2 * MAX_TEXT / LEAST {
            known.insert(DocumentHash::of(&n.to_string()), "", &document);
        }
        assert_eq!(known.documents.len(), MAX_TEXT / LEAST);
    }
}
