//! The size of a document with every fragment standing wherever it is spread, without ever spreading one: a fragment is
//! measured once, and what was measured is added wherever it is spread.

use std::collections::HashMap;

use async_graphql::{
    Name, Pos, Positioned, ServerError,
    parser::types::{Directive, ExecutableDocument, Field, FragmentDefinition, Selection, SelectionSet},
};
use chassis::graphql::request_error;

use super::{Limits, TOO_COMPLEX, within};

/// How deep selection sets may be nested, those of fragments included. The library walks them recursively and allows
/// as many.
const MAX_LEVELS: u32 = 32;

/// How deep lists may be nested in introspection: `types { fields { type { fields { name } } } }` has two. Each is as
/// long as the schema is wide. (The rule of graphql-js, `MaxIntrospectionDepthRule`.)
const MAX_INTROSPECTION_LISTS: u64 = 2;

/// About how many values introspection may answer. The query that tools send asks for 60,000 of this estimate, a tenth
/// of which our schema has.
const MAX_INTROSPECTION_VALUES: u64 = 200_000;

/// Refuses a document that is larger than the limits allow.
pub(super) fn check(document: &ExecutableDocument, limits: &Limits) -> Result<(), ServerError> {
    let mut walk = Walk { fragments: &document.fragments, limits, measured: HashMap::new(), steps: 0 };
    walk.document(document)
}

/// What a selection set comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    /// Fields, inline fragments and fragment spreads.
    selections: u64,
    aliases: u64,
    /// The fields of the set itself.
    width: u64,
    /// Fields within each other.
    depth: u64,
    /// Selection sets within each other, the set itself not counted.
    levels: u32,
    /// Lists of introspection within each other.
    lists: u64,
    /// About how many values are answered, if this is introspection.
    values: u64,
    /// The values of the introspection that is complete.
    introspected: u64,
}

impl Size {
    /// This and another beside it. Doubling a hundred times must not come round to zero.
    fn and(self, other: Self) -> Self {
        Self {
            selections: self.selections.saturating_add(other.selections),
            aliases: self.aliases.saturating_add(other.aliases),
            width: self.width.saturating_add(other.width),
            depth: self.depth.max(other.depth),
            levels: self.levels.max(other.levels),
            lists: self.lists.max(other.lists),
            values: self.values.saturating_add(other.values),
            introspected: self.introspected.saturating_add(other.introspected),
        }
    }

    /// A fragment with this content, where it is spread or stands.
    fn as_fragment(self) -> Self {
        Self { selections: self.selections.saturating_add(1), levels: self.levels + 1, ..self }
    }
}

struct Walk<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    limits: &'a Limits,
    /// What each fragment comes to; `None` as long as it is being measured.
    measured: HashMap<&'a Name, Option<Size>>,
    /// How many selections were looked at.
    steps: usize,
}

impl<'a> Walk<'a> {
    fn document(&mut self, document: &'a ExecutableDocument) -> Result<(), ServerError> {
        let mut selections = 0_u64;
        for (_, operation) in document.operations.iter() {
            self.directives(&operation.node.directives)?;
            for variable in &operation.node.variable_definitions {
                self.directives(&variable.node.directives)?;
            }
            let size = self.set(&operation.node.selection_set.node, 0)?;
            within(TOO_COMPLEX, "root fields", size.width, self.limits.root_fields.into())?;
            within(TOO_COMPLEX, "levels of fields", size.depth, self.limits.depth.into())?;
            within(TOO_COMPLEX, "aliases", size.aliases, self.limits.aliases.into())?;
            within(TOO_COMPLEX, "values by introspection", size.introspected, MAX_INTROSPECTION_VALUES)?;
            selections = selections.saturating_add(size.selections);
        }
        // Validation goes through all operations, whichever of them runs, and through fragments that nobody spreads.
        for (name, fragment) in &document.fragments {
            self.fragment(name, fragment.pos, 0)?;
        }
        within(TOO_COMPLEX, "selections", selections, self.limits.selections.into())
    }

    /// Measures a selection set that stands within `level` others.
    fn set(&mut self, set: &'a SelectionSet, level: u32) -> Result<Size, ServerError> {
        self.may_be_at(level)?;
        set.items.iter().try_fold(Size::default(), |size, selection| {
            self.steps += 1;
            self.directives(selection.node.directives())?;
            let more = match &selection.node {
                Selection::Field(field) => self.field(field, level)?,
                Selection::InlineFragment(fragment) => {
                    self.set(&fragment.node.selection_set.node, level + 1)?.as_fragment()
                }
                Selection::FragmentSpread(spread) => {
                    self.fragment(&spread.node.fragment_name.node, spread.pos, level + 1)?.as_fragment()
                }
            };
            Ok(size.and(more))
        })
    }

    fn field(&mut self, field: &'a Positioned<Field>, level: u32) -> Result<Size, ServerError> {
        let (name, set) = (field.node.name.node.as_str(), &field.node.selection_set.node);
        let has_fields = !set.items.is_empty();
        if name == "__typename" && (has_fields || !field.node.arguments.is_empty()) {
            return Err(refusal("__typename has no arguments and no fields".to_owned(), field.pos));
        }
        let below = if has_fields { self.set(set, level + 1)? } else { Size::default() };
        let list = list_of_introspection(name);
        let size = Size {
            selections: below.selections.saturating_add(1),
            aliases: below.aliases.saturating_add(u64::from(field.node.alias.is_some())),
            width: 1,
            depth: below.depth + 1,
            levels: below.levels + u32::from(has_fields),
            lists: below.lists + u64::from(list.is_some_and(|list| list.nests)),
            values: below.values.saturating_add(1).saturating_mul(list.map_or(1, |list| list.length)),
            introspected: below.introspected,
        };
        if !matches!(name, "__schema" | "__type") {
            return Ok(size);
        }
        within(TOO_COMPLEX, "nested lists of introspection", size.lists, MAX_INTROSPECTION_LISTS)?;
        let introspected = size.introspected.saturating_add(size.values);
        Ok(Size { depth: 1, lists: 0, values: 0, introspected, ..size })
    }

    /// What a fragment comes to that is spread at `place`. One that does not exist is for validation to refuse.
    fn fragment(&mut self, name: &'a Name, place: Pos, level: u32) -> Result<Size, ServerError> {
        let size = match self.measured.get(name) {
            Some(Some(size)) => *size,
            Some(None) => return Err(refusal(format!("the fragment {:?} spreads itself", name.as_str()), place)),
            None => {
                let Some(fragment) = self.fragments.get(name) else { return Ok(Size::default()) };
                self.measured.insert(name, None);
                self.directives(&fragment.node.directives)?;
                let size = self.set(&fragment.node.selection_set.node, level)?;
                self.measured.insert(name, Some(size));
                size
            }
        };
        // It may have been measured at a place that is not as deep as this one.
        self.may_be_at(level + size.levels)?;
        Ok(size)
    }

    fn directives(&self, directives: &[Positioned<Directive>]) -> Result<(), ServerError> {
        within(TOO_COMPLEX, "directives at one place", directives.len() as u64, self.limits.directives.into())
    }

    fn may_be_at(&self, level: u32) -> Result<(), ServerError> {
        within(TOO_COMPLEX, "nested selection sets", level.into(), MAX_LEVELS.into())
    }
}

/// A list that introspection answers.
#[derive(Debug, Clone, Copy)]
struct List {
    /// About as long as ours are at most. Only the magnitude counts.
    length: u64,
    /// Whether it leads to types that have such a list again.
    nests: bool,
}

fn list_of_introspection(field: &str) -> Option<List> {
    let (length, nests) = match field {
        "types" => (50, false),
        "fields" | "inputFields" => (10, true),
        "interfaces" | "possibleTypes" => (3, true),
        "enumValues" => (10, false),
        "args" => (5, false),
        "directives" => (5, false),
        _ => return None,
    };
    Some(List { length, nests })
}

fn refusal(message: String, place: Pos) -> ServerError {
    request_error("GRAPHQL_VALIDATION_FAILED", message, Some(place))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use chassis::graphql::parse;
    use proptest::prelude::*;

    use super::*;

    fn measure(text: &str, limits: &Limits) -> (Result<(), String>, usize) {
        let document = parse(text).unwrap();
        let mut walk = Walk { fragments: &document.fragments, limits, measured: HashMap::new(), steps: 0 };
        let result = walk.document(&document).map_err(|error| error.message);
        (result, walk.steps)
    }

    fn check(text: &str, limits: Limits, expected: Result<(), &str>) {
        assert_eq!(measure(text, &limits).0, expected.map_err(str::to_owned), "{text}");
    }

    /// Allowed with this much, refused with a little less.
    fn check_limit(text: &str, what: &str, found: u32, limits: impl Fn(u32) -> Limits) {
        check(text, limits(found), Ok(()));
        let message = format!("{found} {what} are more than the {} allowed", found - 1);
        check(text, limits(found - 1), Err(&message));
    }

    /// Fragments of which each spreads the next one twice.
    fn doubling(levels: usize, end: &str) -> String {
        let spread = |n| format!("fragment F{n} on T {{ ...F{0} ...F{0} }} ", n + 1);
        let fragments: String = (0..levels).map(spread).collect();
        format!("{{ o {{ ...F0 }} }} {fragments} fragment F{levels} on T {{ {end} }}")
    }

    #[test]
    fn selections_count_wherever_they_are_spread() {
        let limits = |selections| Limits { selections, ..Limits::default() };
        check_limit("{ a { b ... { c } } }", "selections", 4, limits);
        check_limit("{ ...F ...F } fragment F on T { a { b } }", "selections", 6, limits);
        check_limit("query A { a } query B { b { c } }", "selections", 3, limits);
        // o, then 2^0 to 2^4 spreads, then 2^4 times the end.
        check_limit(&doubling(4, "a"), "selections", 1 + 31 + 16, limits);
        // What is spread counts although nothing is there: the library looks it up each time.
        check_limit(&doubling(4, "...Missing"), "selections", 1 + 31 + 16, limits);
    }

    #[test]
    fn a_document_that_doubles_at_every_level_costs_a_step_for_each_selection() {
        let (result, steps) = measure(&doubling(29, "a"), &Limits::default());
        let found = 1 + (1_u64 << 30) - 1 + (1 << 29);
        assert_eq!(result, Err(format!("{found} selections are more than the 1000 allowed")));
        assert_eq!(steps, 2 + 2 * 29 + 1);
    }

    #[test]
    fn what_is_larger_than_a_number_can_say_is_refused_as_well() {
        let spread = |n: usize| format!("fragment F{n} on T {{ {} }} ", format!("...F{} ", n + 1).repeat(40));
        let fragments: String = (0..20).map(spread).collect();
        let (result, _) = measure(&format!("{{ ...F0 }} {fragments} fragment F20 on T {{ a }}"), &Limits::default());
        let message = format!("{} root fields are more than the 20 allowed", u64::MAX);
        assert_eq!(result, Err(message));
    }

    #[test]
    fn depth_counts_fields_and_not_fragments() {
        let limits = |depth| Limits { depth, ..Limits::default() };
        check_limit("{ a { b { c } } d }", "levels of fields", 3, limits);
        check_limit("{ ... { a { ...F } } } fragment F on T { ... { b { c } } }", "levels of fields", 3, limits);
    }

    #[test]
    fn aliases_count_wherever_they_are_spread() {
        let limits = |aliases| Limits { aliases, ..Limits::default() };
        check_limit("{ a: b c { d: e ...F ...F } } fragment F on T { f: g }", "aliases", 4, limits);
        check("query A { a: b } query B { a: b }", limits(1), Ok(()));
    }

    #[test]
    fn root_fields_count_wherever_they_are_spread() {
        let limits = |root_fields| Limits { root_fields, ..Limits::default() };
        check_limit("{ a ... { b { x y z } } ...F ...F } fragment F on T { c }", "root fields", 4, limits);
        check_limit("query A { a } query B { b c }", "root fields", 2, limits);
    }

    #[test]
    fn directives_count_at_every_place() {
        let limits = |directives| Limits { directives, ..Limits::default() };
        for document in [
            "{ a @d @d }",
            "{ a { b { __typename @d @d } } }",
            "{ ... @d @d { a } }",
            "{ ...F @d @d } fragment F on T { a }",
            "{ ...F } fragment F on T @d @d { a }",
            "{ b } fragment F on T { a @d @d }",
            "query @d @d { a }",
            "query($v: Int @d @d) { a }",
            "{ ...Missing @d @d }",
        ] {
            check_limit(document, "directives at one place", 2, limits);
        }
    }

    #[test]
    fn selection_sets_are_nested_as_deep_as_the_library_allows() {
        let nested = |n: usize| format!("{{ {} a {} }}", "... { ".repeat(n), "}".repeat(n));
        let chain = |n: usize| {
            let fragments: String = (1..n).map(|n| format!("fragment F{n} on T {{ ...F{} }} ", n + 1)).collect();
            // Measured at the top first, where it is within the limit.
            format!("{{ ...F{n} ...F1 }} {fragments} fragment F{n} on T {{ a }}")
        };
        for document in [nested, chain] {
            check(&document(32), Limits::default(), Ok(()));
            let message = "33 nested selection sets are more than the 32 allowed";
            check(&document(33), Limits::default(), Err(message));
        }
    }

    #[test]
    fn fragments_that_spread_themselves_are_refused() {
        for (document, name) in [
            ("{ ...F } fragment F on T { ...F }", "F"),
            ("{ a } fragment F on T { b { ... { ...F } } }", "F"),
            ("{ ...F } fragment F on T { ...G } fragment G on T { a { ...F } }", "F"),
        ] {
            check(document, Limits::default(), Err(&format!("the fragment {name:?} spreads itself")));
        }
    }

    #[test]
    fn typename_has_nothing_below_it() {
        for document in ["{ __typename(a: 1) }", "{ a { t: __typename { b } } }"] {
            check(document, Limits::default(), Err("__typename has no arguments and no fields"));
        }
    }

    #[test]
    fn introspection_may_be_deep_but_not_wide() {
        let deep = format!("{{ __schema {{ types {{ {} kind {} }} }} }}", "ofType { ".repeat(20), "}".repeat(20));
        check(&deep, Limits::default(), Ok(()));
        let lists = "{ __type(name: \"T\") { fields { type { inputFields { type { interfaces { name } } } } } } }";
        let message = "3 nested lists of introspection are more than the 2 allowed";
        check(lists, Limits::default(), Err(message));

        let wide = |n: usize| {
            let names = "name ".repeat(n);
            format!("{{ __schema {{ types {{ fields {{ type {{ fields {{ {names} }} }} }} }} }} }}")
        };
        check(&wide(35), Limits::default(), Ok(()));
        let found = 50 + 50 * 10 * (1 + 1 + 10 + 10 * 40) + 1;
        let message = format!("{found} values by introspection are more than the 200000 allowed");
        check(&wide(40), Limits::default(), Err(&message));
        let twice = format!("{{ {} {} }}", &wide(20)[1..wide(20).len() - 1], &wide(20)[1..wide(20).len() - 1]);
        assert!(measure(&twice, &Limits::default()).0.unwrap_err().contains("values by introspection"));
    }

    /// A selection set out of few names, with spreads of fragments that may be missing or spread it again.
    fn selection_set() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("a".to_owned()),
            Just("x: a @d".to_owned()),
            (0..8_usize).prop_map(|n| format!("...F{n}")),
        ];
        leaf.prop_recursive(5, 24, 4, |inner| {
            (
                prop_oneof![Just("b"), Just("... "), Just("... on T"), Just("__schema"), Just("fields")],
                prop::collection::vec(inner, 1..4),
            )
                .prop_map(|(head, items)| format!("{head} {{ {} }}", items.join(" ")))
        })
    }

    fn document() -> impl Strategy<Value = String> {
        let definitions = |most| prop::collection::vec(prop::collection::vec(selection_set(), 1..4), 1..most);
        (definitions(3), definitions(8)).prop_map(|(operations, fragments)| {
            let operations = operations.iter().enumerate().map(|(n, s)| format!("query Q{n} {{ {} }} ", s.join(" ")));
            let fragments =
                fragments.iter().enumerate().map(|(n, s)| format!("fragment F{n} on T {{ {} }} ", s.join(" ")));
            operations.chain(fragments).collect()
        })
    }

    /// The selections that are written.
    fn written(set: &SelectionSet) -> usize {
        let below = |selection: &Positioned<Selection>| match &selection.node {
            Selection::Field(field) => written(&field.node.selection_set.node),
            Selection::InlineFragment(fragment) => written(&fragment.node.selection_set.node),
            Selection::FragmentSpread(_) => 0,
        };
        set.items.iter().map(|selection| 1 + below(selection)).sum()
    }

    /// The selections when every fragment is spread. `None` when a fragment spreads itself, or when they are many.
    fn spread<'a>(
        set: &'a SelectionSet,
        document: &'a ExecutableDocument,
        path: &mut HashSet<&'a Name>,
    ) -> Option<u64> {
        set.items.iter().try_fold(0_u64, |sum, selection| {
            let below = match &selection.node {
                Selection::Field(field) => spread(&field.node.selection_set.node, document, path)?,
                Selection::InlineFragment(fragment) => spread(&fragment.node.selection_set.node, document, path)?,
                Selection::FragmentSpread(place) => {
                    let name = &place.node.fragment_name.node;
                    match document.fragments.get(name) {
                        None => 0,
                        Some(_) if !path.insert(name) => return None,
                        Some(fragment) => {
                            let below = spread(&fragment.node.selection_set.node, document, path)?;
                            path.remove(name);
                            below
                        }
                    }
                }
            };
            Some(sum + 1 + below).filter(|sum| *sum < 100_000)
        })
    }

    proptest! {
        #[test]
        fn the_guard_looks_at_each_selection_once_and_counts_what_spreading_would_give(text in document()) {
            let document = parse(&text).unwrap();
            let limits = Limits { selections: 0, depth: 32, aliases: u32::MAX, root_fields: u32::MAX, ..Limits::default() };
            let (result, steps) = measure(&text, &limits);

            let fragments = document.fragments.values().map(|fragment| written(&fragment.node.selection_set.node));
            let operations = document.operations.iter().map(|(_, operation)| written(&operation.node.selection_set.node));
            prop_assert!(steps <= fragments.chain(operations).sum::<usize>(), "{steps} steps");

            let total: Option<u64> = document.operations.iter()
                .map(|(_, operation)| spread(&operation.node.selection_set.node, &document, &mut HashSet::new()))
                .sum();
            let message = result.unwrap_err();
            if let (Some(total), true) = (total, message.contains(" selections ")) {
                prop_assert_eq!(message, format!("{total} selections are more than the 0 allowed"));
            }
        }
    }
}
