//! How orders and invoices come together: which service is asked what, when, and how often.
//!
//! Each root field fetches everything below it before its object is built, one call a level: first its own service,
//! then, for all objects of that level at once, the other. Only what is selected travels, and a service of which
//! nothing is selected is not called. A join that fails is an error of the joined field alone.
//!
//! `orders.rs` and `invoices.rs` fetch objects, `join.rs` adds to them what the other service owns, `page.rs` says how
//! a page is asked for.

mod invoices;
mod join;
mod orders;
mod page;

use std::sync::Arc;

use chassis::identity::Caller;
use tokio::time::Instant;

use crate::{
    metrics::FieldMetrics,
    subgraph::{Subgraph, Terms},
};

/// The services behind the API.
#[derive(Debug)]
pub(crate) struct Subgraphs {
    pub(crate) orders: Subgraph,
    pub(crate) invoices: Subgraph,
    /// How long fields wait for them.
    pub(crate) fields: FieldMetrics,
}

/// Composes the answers of one request.
#[derive(Debug, Clone)]
pub(crate) struct Composer {
    subgraphs: Arc<Subgraphs>,
    /// Calls end when the request's time is up, so that what has arrived can still be answered.
    terms: Terms,
}

impl Composer {
    /// A composer for a request of `caller` that has until `deadline`.
    pub(crate) fn new(subgraphs: Arc<Subgraphs>, deadline: Instant, caller: Caller) -> Self {
        Self { subgraphs, terms: Terms { deadline, caller, alone: false } }
    }

    /// How long fields wait.
    pub(crate) fn fields(&self) -> &FieldMetrics {
        &self.subgraphs.fields
    }

    /// The same, reading nothing that was asked for before now.
    pub(crate) fn alone(mut self) -> Self {
        self.terms.alone = true;
        self
    }
}

/// The arguments of a list. Whether they are allowed is for the service to say.
#[derive(Debug)]
pub(crate) struct List<Filter, Sort> {
    /// How many objects.
    pub(crate) first: i32,
    /// Behind which cursor.
    pub(crate) after: Option<String>,
    /// Which objects.
    pub(crate) filter: Option<Filter>,
    /// In which order.
    pub(crate) sort: Sort,
}
