//! Directives of `__typename`, where validation sees them.
//!
//! The library's validation does not look at `__typename` at all: it takes any directive there, and a variable that is
//! used nowhere else for one that is not used. `... @skip(if: $x) { __typename }` says the same as `__typename
//! @skip(if: $x)`, and everybody looks at an inline fragment.

use async_graphql::{
    Positioned,
    parser::types::{ExecutableDocument, InlineFragment, Selection, SelectionSet},
};

/// Moves the directives of every `__typename` to a fragment around it.
pub(super) fn wrap(document: &mut ExecutableDocument) {
    for operation in operations(document) {
        wrap_in(operation);
    }
    for fragment in document.fragments.values_mut() {
        wrap_in(&mut fragment.node.selection_set.node);
    }
}

fn operations(document: &mut ExecutableDocument) -> Vec<&mut SelectionSet> {
    use async_graphql::parser::types::DocumentOperations::{Multiple, Single};
    match &mut document.operations {
        Single(operation) => vec![&mut operation.node.selection_set.node],
        Multiple(all) => all.values_mut().map(|operation| &mut operation.node.selection_set.node).collect(),
    }
}

fn wrap_in(set: &mut SelectionSet) {
    for selection in &mut set.items {
        match &mut selection.node {
            Selection::Field(field) if field.node.name.node == "__typename" && !field.node.directives.is_empty() => {
                let place = selection.pos;
                let directives = std::mem::take(&mut field.node.directives);
                let items = vec![Positioned::new(Selection::Field(field.clone()), place)];
                let selection_set = Positioned::new(SelectionSet { items }, place);
                let fragment = InlineFragment { type_condition: None, directives, selection_set };
                selection.node = Selection::InlineFragment(Positioned::new(fragment, place));
            }
            Selection::Field(field) => wrap_in(&mut field.node.selection_set.node),
            Selection::InlineFragment(fragment) => wrap_in(&mut fragment.node.selection_set.node),
            Selection::FragmentSpread(_) => {}
        }
    }
}
