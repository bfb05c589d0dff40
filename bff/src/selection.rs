//! What a client selected, as a tree of plain field names, and what of it travels to a service.
//!
//! Fragments are spread, aliases forgotten, repeated fields merged: an alias is a matter between us and the client, and
//! a service is asked for each field once. Type conditions are not looked at, because every field of this API returns
//! a concrete type, so validation lets no fragment pass that does not apply.
//!
//! Names are sorted, so clients that want the same in another order send the services the same document.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use async_graphql::{
    Name, Positioned,
    parser::types::{Field, FragmentDefinition, Selection as Item, SelectionSet},
};
use serde_json::Value;

/// The fragments of a document by name.
pub(crate) type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

/// The selection of one field: nothing for a scalar or an enum, fields for an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) enum Selection {
    /// The field is a value.
    #[default]
    Value,
    /// The field is an object, of which these fields are selected. `__typename` is not among them: it is answered
    /// here.
    Object(BTreeMap<Name, Selection>),
}

impl Selection {
    /// What `fields`, all of the same name and type, select together.
    pub(crate) fn of<'a>(fields: impl IntoIterator<Item = &'a Field>, fragments: &'a Fragments) -> Self {
        let sets: Vec<&SelectionSet> = fields.into_iter().filter_map(written_selection_set).collect();
        if sets.is_empty() {
            return Self::Value;
        }
        let mut groups: BTreeMap<Name, Vec<&Field>> = BTreeMap::new();
        for field in collect_fields(sets, fragments) {
            if field.name.node != "__typename" {
                groups.entry(field.name.node.clone()).or_default().push(field);
            }
        }
        Self::Object(groups.into_iter().map(|(name, fields)| (name, Self::of(fields, fragments))).collect())
    }

    /// An object of which nothing is selected yet.
    pub(crate) fn object() -> Self {
        Self::Object(BTreeMap::new())
    }

    /// With one more field. A value has no fields, so nothing is added to it.
    pub(crate) fn with(mut self, name: &'static str, selection: Self) -> Self {
        if let Self::Object(fields) = &mut self {
            fields.entry(Name::new(name)).or_default().merge(selection);
        }
        self
    }

    /// With one more field, a value.
    pub(crate) fn with_value(self, name: &'static str) -> Self {
        self.with(name, Self::Value)
    }

    /// A field, if it is selected.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Value => None,
            Self::Object(fields) => fields.get_mut(name),
        }
    }

    /// Takes a field out, if it is selected.
    pub(crate) fn take(&mut self, name: &str) -> Option<Self> {
        match self {
            Self::Value => None,
            Self::Object(fields) => fields.remove(name),
        }
    }

    /// Adds what another selection of the same field selects.
    pub(crate) fn merge(&mut self, other: Self) {
        let Self::Object(others) = other else { return };
        match self {
            Self::Value => *self = Self::Object(others),
            Self::Object(fields) => {
                for (name, selection) in others {
                    fields.entry(name).or_default().merge(selection);
                }
            }
        }
    }

    /// Whether no field is selected.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Value => true,
            Self::Object(fields) => fields.is_empty(),
        }
    }

    /// Where `answer` lacks a selected field, as a path like `nodes.0.amount`. A null has nothing in it to lack.
    pub(crate) fn missing_in(&self, answer: &Value) -> Option<String> {
        let Self::Object(fields) = self else { return None };
        match answer {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .find_map(|(index, item)| self.missing_in(item).map(|path| format!("{index}.{path}"))),
            Value::Object(object) => fields.iter().find_map(|(name, selection)| match object.get(name.as_str()) {
                None => Some(name.to_string()),
                Some(value) => selection.missing_in(value).map(|path| format!("{name}.{path}")),
            }),
            _ => None,
        }
    }
}

/// As it stands in a document, e.g. `{id invoice{amount}}`. An object needs some field: where none travels,
/// `__typename` stands in.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Object(fields) = self else { return Ok(()) };
        if fields.is_empty() {
            return f.write_str("{__typename}");
        }
        for (index, (name, selection)) in fields.iter().enumerate() {
            write!(f, "{}{name}{selection}", if index == 0 { '{' } else { ' ' })?;
        }
        f.write_str("}")
    }
}

/// The fields of selection sets of one object, fragments spread, in the order of the document (the specification's
/// `CollectFields`). Each fragment is visited once, so spreading it twice, or a thousand times, adds nothing.
pub(crate) fn collect_fields<'a>(
    sets: impl IntoIterator<Item = &'a SelectionSet>,
    fragments: &'a Fragments,
) -> Vec<&'a Field> {
    fn visit<'a>(
        set: &'a SelectionSet,
        fragments: &'a Fragments,
        visited: &mut HashSet<&'a Name>,
        fields: &mut Vec<&'a Field>,
    ) {
        for item in &set.items {
            match &item.node {
                Item::Field(field) => fields.push(&field.node),
                Item::InlineFragment(fragment) => visit(&fragment.node.selection_set.node, fragments, visited, fields),
                Item::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if let Some(fragment) = fragments.get(name).filter(|_| visited.insert(name)) {
                        visit(&fragment.node.selection_set.node, fragments, visited, fields);
                    }
                }
            }
        }
    }
    let (mut visited, mut fields) = (HashSet::new(), Vec::new());
    for set in sets {
        visit(set, fragments, &mut visited, &mut fields);
    }
    fields
}

/// The selection set of an object's field, also when `@skip` has emptied it. The parser gives a field without one an
/// empty set at line 0, where nothing is ever written.
fn written_selection_set(field: &Field) -> Option<&SelectionSet> {
    let set = &field.selection_set;
    (set.pos.line > 0).then_some(&set.node)
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::{parse_query, types::DocumentOperations};
    use serde_json::json;

    use super::*;

    /// The selection of the operation's first root field, as it would travel.
    fn selection(document: &str) -> Selection {
        let document = parse_query(document).unwrap();
        let DocumentOperations::Single(operation) = &document.operations else { panic!("one operation") };
        let fields = collect_fields([&operation.node.selection_set.node], &document.fragments);
        Selection::of(fields, &document.fragments)
    }

    fn check(document: &str, expected: &str) {
        assert_eq!(selection(document).to_string(), expected, "{document}");
    }

    #[test]
    fn names_travel_sorted_and_without_aliases() {
        check("{ o { b a } }", "{a b}");
        check("{ o { x: a, y: a, z: b { c } b { d } } }", "{a b{c d}}");
        check("{ o }", "");
    }

    #[test]
    fn fragments_are_spread_wherever_they_stand() {
        check("{ o { ...F } } fragment F on O { a ... on O { b ...G } } fragment G on O { c { d } }", "{a b c{d}}");
        check("{ ...R } fragment R on Query { o { a } }", "{a}");
        check("{ o { ...F ... { ...F } } } fragment F on O { a }", "{a}");
    }

    #[test]
    fn the_places_of_a_root_field_are_merged() {
        check("{ o { a } ...R } fragment R on Query { o { b { c } } o { b { d } } }", "{a b{c d}}");
    }

    #[test]
    fn an_object_of_which_no_field_travels_still_exists() {
        check("{ o { __typename } }", "{__typename}");
        check("{ o { p { t: __typename } a } }", "{a p{__typename}}");
    }

    #[test]
    fn an_object_whose_fields_are_all_skipped_is_still_an_object() {
        let mut document = parse_query("{ o { p { a } } }").unwrap();
        let DocumentOperations::Single(operation) = &mut document.operations else { panic!("one operation") };
        let Item::Field(o) = &mut operation.node.selection_set.node.items[0].node else { panic!("a field") };
        let Item::Field(p) = &mut o.node.selection_set.node.items[0].node else { panic!("a field") };
        // What the library does with `a @skip(if: true)`.
        p.node.selection_set.node.items.clear();
        assert_eq!(Selection::of([&o.node], &document.fragments).to_string(), "{p{__typename}}");
    }

    #[test]
    fn fragments_that_double_at_each_level_take_no_time() {
        let mut document = "{ o { ...F0 } } ".to_owned();
        for level in 0..60 {
            document.push_str(&format!("fragment F{level} on O {{ ...F{0} ...F{0} }} ", level + 1));
        }
        document.push_str("fragment F60 on O { a }");
        check(&document, "{a}");
        check("{ o { ...F } } fragment F on O { a ...F }", "{a}");
    }

    #[test]
    fn a_field_can_be_taken_out_and_put_in() {
        let mut order = selection("{ order { id invoice { amount } } }");
        assert_eq!(order.take("invoice").unwrap().to_string(), "{amount}");
        assert_eq!(order.take("invoice"), None);
        assert_eq!(order.with_value("id").with_value("amount").to_string(), "{amount id}");
        assert!(selection("{ order { __typename } }").is_empty());
    }

    #[test]
    fn what_an_answer_lacks_is_found() {
        let selection = selection("{ orders { nodes { id timeline { at } } pageInfo { endCursor } } }");
        let missing = |answer: Value| selection.missing_in(&answer);
        let page =
            |node: Value| json!({ "nodes": [{ "id": 1, "timeline": [] }, node], "pageInfo": { "endCursor": null } });
        assert_eq!(missing(page(json!({ "id": 2, "timeline": [{ "at": 3 }], "more": 4 }))), None);
        assert_eq!(missing(page(json!({ "timeline": [] }))).as_deref(), Some("nodes.1.id"));
        assert_eq!(missing(page(json!({ "id": 2, "timeline": [{}] }))).as_deref(), Some("nodes.1.timeline.0.at"));
        assert_eq!(missing(json!({ "nodes": [] })).as_deref(), Some("pageInfo"));
        assert_eq!(missing(json!(null)), None);
    }
}
