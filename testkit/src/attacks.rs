//! Requests made to cost more than they look like, and how each is refused.

use serde_json::{Value, json};

/// A request and the code of its refusal.
#[derive(Debug)]
pub struct Attack {
    /// What it does, for the message of a test that fails.
    pub name: &'static str,
    /// The body of a POST, or the payload of `subscribe`.
    pub body: Value,
    /// `extensions.code` of the first error of its refusal.
    pub code: &'static str,
}

const TOO_LARGE: &str = "QUERY_TOO_LARGE";
const TOO_COMPLEX: &str = "QUERY_TOO_COMPLEX";
const NOT_PARSED: &str = "GRAPHQL_PARSE_FAILED";
const NOT_VALID: &str = "GRAPHQL_VALIDATION_FAILED";

/// All that are well-formed as HTTP.
pub fn all() -> Vec<Attack> {
    let documents =
        documents().into_iter().map(|(name, query, code)| Attack { name, body: json!({ "query": query }), code });
    documents.chain(with_variables()).collect()
}

fn documents() -> Vec<(&'static str, String, &'static str)> {
    let order = |below: &str| format!("{{ order(id: \"o1\") {{ {below} }} }}");
    vec![
        ("fragments that double, to a million fields", doubling(19, "id"), TOO_COMPLEX),
        ("fragments that double, to half a billion of nothing", doubling(28, "...Missing"), TOO_COMPLEX),
        ("fragments that multiply by forty, beyond any number", multiplying(), TOO_COMPLEX),
        ("a fragment that spreads itself", "{ ...F } fragment F on Query { ...F }".to_owned(), NOT_VALID),
        ("fragments in a circle that nobody spreads", circle(20), NOT_VALID),
        ("a chain of fragments", chain(100), TOO_COMPLEX),
        (
            "fields nested beyond the limit",
            order(&(nested("invoice { order {", "", 6) + "id" + &"} }".repeat(6))),
            TOO_COMPLEX,
        ),
        ("fields nested five thousand times", nested("{ a", "}", 5000), TOO_LARGE),
        ("fields nested five thousand times, never closed", "{ a".repeat(5000), TOO_LARGE),
        ("inline fragments nested forty times", nested("{ ...", "", 40) + " { a }" + &"}".repeat(40), TOO_COMPLEX),
        ("sixteen aliases", format!("{{ {} }}", numbered(16, |n| format!("a{n}: __typename "))), TOO_COMPLEX),
        ("a thousand aliases", format!("{{ {} }}", numbered(1000, |n| format!("a{n}: __typename "))), TOO_LARGE),
        (
            "aliases in fragments",
            format!("{{ {} }} fragment F on Query {{ a: __typename }}", "...F ".repeat(16)),
            TOO_COMPLEX,
        ),
        ("two thousand fields", format!("{{ {} }}", "__typename ".repeat(2000)), TOO_LARGE),
        ("twenty-one root fields", format!("{{ {} }}", "__typename ".repeat(21)), TOO_COMPLEX),
        ("five hundred directives", format!("{{ __typename {} }}", "@a".repeat(400)), TOO_COMPLEX),
        ("directives on __typename", order(&format!("__typename {}", "@skip(if: false) ".repeat(6))), TOO_COMPLEX),
        (
            "directives on a fragment",
            format!("{{ ...F }} fragment F on Query {} {{ __typename }}", "@a ".repeat(6)),
            TOO_COMPLEX,
        ),
        ("arguments of __typename", format!("{{ __typename({}) }}", "a: 1 ".repeat(300)), NOT_VALID),
        (
            "introspection in circles",
            introspection("fields { type { fields { type { fields { name } } } } }"),
            TOO_COMPLEX,
        ),
        (
            "wide introspection",
            introspection(&format!("fields {{ type {{ fields {{ {} }} }} }}", "name ".repeat(900))),
            TOO_COMPLEX,
        ),
        ("introspection again and again", repeated_introspection(), TOO_COMPLEX),
        ("lists nested a thousand times", lists(1000), TOO_LARGE),
        ("lists that are never closed", format!("{{ order(id: {}", "[".repeat(5000)), TOO_LARGE),
        (
            "objects nested a thousand times",
            format!("{{ order(id: {}1{}) }}", "{a:".repeat(1000), "}".repeat(1000)),
            TOO_LARGE,
        ),
        (
            "a type nested a thousand times",
            format!("query($a: {}Int{}) {{ __typename }}", "[".repeat(1000), "]".repeat(1000)),
            TOO_LARGE,
        ),
        (
            "a block string of a hundred kilobytes",
            format!("{{ order(id: \"\"\"{}\"\"\") }}", "x ".repeat(50_000)),
            TOO_LARGE,
        ),
        ("block strings that are never closed", format!("{{ order(id: [{}", "\"\"\" ".repeat(5001)), TOO_LARGE),
        ("a string that is never closed", format!("{{ order(id: \"{}", "\\".repeat(16_001)), NOT_PARSED),
        ("a comment of a hundred kilobytes", format!("# {}\n{{ __typename }}", "x".repeat(100_000)), TOO_LARGE),
        ("sixteen kilobytes of commas", format!("{{ {} }}", ",".repeat(16_000)), NOT_PARSED),
        ("a name of sixteen kilobytes", format!("{{ {} }}", "x".repeat(16_000)), TOO_LARGE),
        ("a number of sixteen kilobytes", order(&format!("invoice(a: 1{})", "0".repeat(16_000))), NOT_PARSED),
        (
            "names that are almost right",
            format!("{{ order(id: 1) {{ {} }} }}", numbered(120, |n| format!("{}{n} ", "createdAt".repeat(14)))),
            NOT_VALID,
        ),
        ("five hundred operations", numbered(500, |n| format!("query Q{n} {{ __typename }} ")), TOO_LARGE),
        (
            "as many operations as there are tokens",
            numbered(199, |n| format!("query Q{n} {{ __typename }} ")),
            NOT_VALID,
        ),
        (
            "as many variables as there are tokens",
            format!("query({}) {{ __typename }}", numbered(240, |n| format!("$v{n}: ID "))),
            NOT_VALID,
        ),
        (
            "every field conflicts, at every level",
            order(&(nested("... {", "", 30) + &"amount(a: 1) amount(a: 2)".repeat(40) + &"}".repeat(30))),
            NOT_VALID,
        ),
        (
            "two fields with all arguments there are",
            order(&format!("a({0}) a({0} b: 1)", numbered(150, |n| format!("x{n}: 1 ")))),
            NOT_VALID,
        ),
    ]
}

fn with_variables() -> Vec<Attack> {
    let list = "query($f: OrderFilter) { orders(filter: $f) { nodes { id } } }";
    let many = format!("query($v: [ID!]!) {{ order(id: 1) {{ {} }} }}", "id @skip(if: $v) ".repeat(100));
    vec![
        Attack {
            name: "a list of two thousand values",
            body: json!({ "query": list, "variables": { "f": { "status": vec![1; 2_000] } } }),
            code: TOO_LARGE,
        },
        Attack {
            name: "lists nested a hundred times in twenty variables",
            body: json!({
                "query": "{ __typename }",
                "variables": (0..20).map(|n| (format!("v{n}"), nested_value(100))).collect::<serde_json::Map<_, _>>(),
            }),
            code: TOO_LARGE,
        },
        Attack {
            name: "a list in a hundred places of the wrong type",
            body: json!({ "query": many, "variables": { "v": vec!["x"; 240] } }),
            code: NOT_VALID,
        },
        Attack {
            name: "a hundred kilobytes for an operation's name",
            body: json!({ "query": "{ __typename }", "operationName": "x".repeat(100_000) }),
            code: NOT_VALID,
        },
    ]
}

fn nested(open: &str, close: &str, times: usize) -> String {
    format!("{}{}", open.repeat(times), close.repeat(times))
}

fn numbered(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect()
}

fn doubling(levels: usize, end: &str) -> String {
    let fragments = numbered(levels, |n| format!("fragment F{n} on Order {{ ...F{0} ...F{0} }} ", n + 1));
    format!("{{ order(id: 1) {{ ...F0 }} }} {fragments} fragment F{levels} on Order {{ {end} }}")
}

fn multiplying() -> String {
    let fragments = numbered(10, |n| format!("fragment F{n} on Order {{ {} }} ", format!("...F{} ", n + 1).repeat(40)));
    format!("{{ order(id: 1) {{ ...F0 }} }} {fragments} fragment F10 on Order {{ id }}")
}

fn circle(length: usize) -> String {
    let fragments = numbered(length, |n| format!("fragment F{n} on Order {{ ...F{} }} ", (n + 1) % length));
    format!("{{ __typename }} {fragments}")
}

fn chain(length: usize) -> String {
    let fragments = numbered(length, |n| format!("fragment F{n} on Query {{ ...F{} }} ", n + 1));
    format!("{{ ...F0 }} {fragments} fragment F{length} on Query {{ __typename }}")
}

fn introspection(of_types: &str) -> String {
    format!("{{ __schema {{ types {{ {of_types} }} }} }}")
}

fn repeated_introspection() -> String {
    let once = "__schema { types { fields { type { fields { name args { name } } } } } } ";
    format!("{{ {} }}", once.repeat(15))
}

fn lists(depth: usize) -> String {
    format!("{{ order(id: {}{}) }}", "[".repeat(depth), "]".repeat(depth))
}

fn nested_value(depth: usize) -> Value {
    (0..depth).fold(json!(1), |value, _| json!([value]))
}
