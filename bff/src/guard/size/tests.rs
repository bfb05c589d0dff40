use std::collections::HashSet;

use chassis::graphql::parse;
use proptest::prelude::*;

use super::*;

fn measure(text: &str, limits: &Limits) -> (Result<(), String>, usize) {
    let document = parse(text).unwrap();
    let mut walk = Walk { fragments: &document.fragments, limits, measured: HashMap::new(), steps: 0 };
    let result = walk.document(&document).map(drop).map_err(|error| error.message);
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
    let leaf =
        prop_oneof![Just("a".to_owned()), Just("x: a @d".to_owned()), (0..8_usize).prop_map(|n| format!("...F{n}")),];
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
        let fragments = fragments.iter().enumerate().map(|(n, s)| format!("fragment F{n} on T {{ {} }} ", s.join(" ")));
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
fn spread<'a>(set: &'a SelectionSet, document: &'a ExecutableDocument, path: &mut HashSet<&'a Name>) -> Option<u64> {
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
