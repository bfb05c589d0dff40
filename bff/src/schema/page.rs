//! One page of a list: its objects once, however the client asked for them.
//!
//! `nodes` and `edges { node }` are two views of the same objects. They are fetched and joined once, as edges, so that
//! a client that asks for both costs no second call and both views agree.

use async_graphql::{OutputType, SimpleObject};
use serde::Deserialize;

use super::{fetched::Asked, invoice::Invoice, order::Order};

/// A page as it was fetched.
#[derive(Debug, Deserialize)]
#[serde(from = "PageAnswer<T>")]
pub(crate) struct Page<T: OutputType> {
    pub(crate) edges: Vec<Edge<T>>,
    pub(crate) page_info: Asked<PageInfo>,
}

impl<T: OutputType> Page<T> {
    /// The objects, in their order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &T> {
        self.edges.iter().filter_map(|edge| edge.node.get())
    }

    /// The objects, in their order.
    pub(crate) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.edges.iter_mut().filter_map(|edge| edge.node.get_mut())
    }
}

// No doc comments on what is part of the schema and has no description there.
#[derive(Debug, SimpleObject, Deserialize)]
#[graphql(concrete(name = "OrderEdge", params(Order)), concrete(name = "InvoiceEdge", params(Invoice)))]
#[serde(default)]
pub(crate) struct Edge<T: OutputType> {
    cursor: Asked<String>,
    node: Asked<T>,
}

impl<T: OutputType> Default for Edge<T> {
    fn default() -> Self {
        Self { cursor: Asked::default(), node: Asked::default() }
    }
}

// Where a page begins and ends, and whether there is more.
#[derive(Debug, Default, SimpleObject, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PageInfo {
    has_previous_page: Asked<bool>,
    has_next_page: Asked<bool>,
    start_cursor: Asked<Option<String>>,
    end_cursor: Asked<Option<String>>,
}

impl PageInfo {
    /// The cursor of the next page, where there is one and both were asked for.
    pub(crate) fn next(&self) -> Option<String> {
        let more = self.has_next_page.get().is_some_and(|more| *more);
        self.end_cursor.get().cloned().flatten().filter(|_| more)
    }
}

/// A page on the wire: either `nodes` or `edges` was asked for, never both (see [`crate::compose::page`]).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de>"))]
struct PageAnswer<T: OutputType> {
    #[serde(default = "Vec::new")]
    nodes: Vec<T>,
    #[serde(default = "Vec::new")]
    edges: Vec<Edge<T>>,
    #[serde(default)]
    page_info: Asked<PageInfo>,
}

impl<T: OutputType> From<PageAnswer<T>> for Page<T> {
    fn from(answer: PageAnswer<T>) -> Self {
        let as_edge = |node| Edge { cursor: Asked::default(), node: Asked::known(node) };
        let edges = answer.edges.into_iter().chain(answer.nodes.into_iter().map(as_edge)).collect();
        Self { edges, page_info: answer.page_info }
    }
}
