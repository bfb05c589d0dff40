//! Objects of which everything is left out.
//!
//! `timeline { at @skip(if: true) }` answers an object without fields for each step. The library answers null instead,
//! also where the schema says that nothing is null, and forgets what another place of the document selects of the same
//! object. So a selection set that conditions could empty gets a field of ours that none does, under a key that is taken
//! out of the answer again.

use async_graphql::{
    Name, Positioned, Value,
    parser::types::{DocumentOperations, ExecutableDocument, Field, OperationType, Selection, SelectionSet},
};

/// Names that begin with two underscores are not the clients' (GraphQL specification, section 2.1.8).
const KEY: &str = "__placeholder";

/// Adds a placeholder to each selection set of which all items have a condition, and says whether there was any.
pub fn add_placeholders(document: &mut ExecutableDocument) -> bool {
    let mut added = false;
    let operations: Vec<_> = match &mut document.operations {
        DocumentOperations::Single(operation) => vec![operation],
        DocumentOperations::Multiple(all) => all.values_mut().collect(),
    };
    for operation in operations {
        // A subscription has exactly one root field, and `__typename` is none.
        if operation.node.ty == OperationType::Subscription {
            for selection in &mut operation.node.selection_set.node.items {
                added |= add_below(&mut selection.node);
            }
        } else {
            added |= add(&mut operation.node.selection_set);
        }
    }
    for fragment in document.fragments.values_mut() {
        if fragment.node.type_condition.node.on.node != "Subscription" {
            added |= add(&mut fragment.node.selection_set);
        }
    }
    added
}

/// Takes the placeholders out of an answer.
pub fn remove_placeholders(data: &mut Value) {
    match data {
        Value::Object(fields) => {
            fields.shift_remove(KEY);
            fields.values_mut().for_each(remove_placeholders);
        }
        Value::List(items) => items.iter_mut().for_each(remove_placeholders),
        _ => {}
    }
}

fn add(set: &mut Positioned<SelectionSet>) -> bool {
    let items = &mut set.node.items;
    let may_be_empty = !items.is_empty() && items.iter().all(|item| has_condition(&item.node));
    let mut added = may_be_empty;
    for item in &mut *items {
        added |= add_below(&mut item.node);
    }
    if may_be_empty {
        let name = |text| Positioned::new(Name::new(text), set.pos);
        let field = Field {
            alias: Some(name(KEY)),
            name: name("__typename"),
            arguments: Vec::new(),
            directives: Vec::new(),
            selection_set: Positioned::default(),
        };
        items.push(Positioned::new(Selection::Field(Positioned::new(field, set.pos)), set.pos));
    }
    added
}

fn add_below(selection: &mut Selection) -> bool {
    match selection {
        Selection::Field(field) => add(&mut field.node.selection_set),
        Selection::InlineFragment(fragment) => add(&mut fragment.node.selection_set),
        Selection::FragmentSpread(_) => false,
    }
}

fn has_condition(selection: &Selection) -> bool {
    selection.directives().iter().any(|directive| matches!(directive.node.name.node.as_str(), "skip" | "include"))
}

#[cfg(test)]
mod tests {
    use async_graphql::{EmptyMutation, EmptySubscription, Object, Request, Schema, SimpleObject, value};

    use super::*;
    use crate::graphql::{GraphqlService, parse};

    #[derive(SimpleObject)]
    struct Step {
        at: i32,
        by: i32,
    }

    struct Query;

    #[Object]
    impl Query {
        async fn steps(&self) -> Vec<Step> {
            vec![Step { at: 1, by: 2 }, Step { at: 3, by: 4 }]
        }

        async fn step(&self) -> Option<Step> {
            Some(Step { at: 5, by: 6 })
        }
    }

    #[tokio::test]
    async fn an_object_of_which_everything_is_left_out_is_an_object() {
        let schema = Schema::new(Query, EmptyMutation, EmptySubscription);
        for (document, expected) in [
            ("{ steps { at @skip(if: true) } }", value!({ "steps": [{}, {}] })),
            ("{ step { at @skip(if: true) } step { by } }", value!({ "step": { "by": 6 } })),
            (
                "{ steps { ...F @include(if: false) } steps { at } } fragment F on Step { by }",
                value!({ "steps": [{ "at": 1 }, { "at": 3 }] }),
            ),
            (
                "{ step { ... { at @skip(if: true) } ...F } } fragment F on Step { by @skip(if: true) }",
                value!({ "step": {} }),
            ),
            ("{ step @skip(if: true) { at } }", value!({})),
            ("{ step { at @skip(if: false) __typename @skip(if: true) } }", value!({ "step": { "at": 5 } })),
        ] {
            let Ok(admitted) = schema.admit(Request::new(document)) else { panic!("refused: {document}") };
            let response = schema.run(admitted).await;
            assert_eq!((response.data, response.errors), (expected, vec![]), "{document}");
        }
    }

    #[test]
    fn a_set_that_no_condition_empties_stays_as_it_is() {
        for document in
            ["{ a b @skip(if: true) }", "{ a { ...F } } fragment F on T { b }", "subscription { a @skip(if: true) }"]
        {
            assert!(!add_placeholders(&mut parse(document).unwrap()), "{document}");
        }
        assert!(add_placeholders(&mut parse("subscription { a { b @skip(if: true) } }").unwrap()));
    }
}
