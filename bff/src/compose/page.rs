//! How a page is asked for: its objects once, whether the client selects `nodes`, `edges { node }` or both.

use crate::selection::Selection;

/// A selection on a connection, its two views of the objects brought together.
pub(super) struct PageSelection {
    /// What is selected of each object, by either view.
    pub(super) node: Option<Selection>,
    /// What is selected of the edges beside their objects; `None` where they are not selected.
    edges: Option<Selection>,
    /// The rest: `pageInfo`.
    rest: Selection,
}

impl PageSelection {
    /// Takes a connection's selection apart.
    pub(super) fn new(mut connection: Selection) -> Self {
        let mut node = connection.take("nodes");
        let mut edges = connection.take("edges");
        if let Some(selected) = edges.as_mut().and_then(|edges| edges.take("node")) {
            node.get_or_insert_default().merge(selected);
        }
        Self { node, edges, rest: connection }
    }

    /// The selection that travels: the objects through `edges` where those are selected, else through `nodes`.
    pub(super) fn into_selection(self) -> Selection {
        match (self.edges, self.node) {
            (Some(edges), Some(node)) => self.rest.with("edges", edges.with("node", node)),
            (Some(edges), None) => self.rest.with("edges", edges),
            (None, Some(node)) => self.rest.with("nodes", node),
            (None, None) => self.rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(connection: Selection, expected: &str) {
        assert_eq!(PageSelection::new(connection).into_selection().to_string(), expected);
    }

    #[test]
    fn the_objects_of_a_page_travel_once() {
        let connection = Selection::object;
        let id = || Selection::object().with_value("id");
        let amount_edge =
            || Selection::object().with_value("cursor").with("node", Selection::object().with_value("amount"));
        check(connection().with("nodes", id()), "{nodes{id}}");
        check(connection().with("edges", amount_edge()), "{edges{cursor node{amount}}}");
        check(connection().with("nodes", id()).with("edges", amount_edge()), "{edges{cursor node{amount id}}}");
        check(connection().with("edges", Selection::object().with_value("cursor")), "{edges{cursor}}");
        check(connection().with("nodes", Selection::object()), "{nodes{__typename}}");
        check(connection(), "{__typename}");
    }
}
